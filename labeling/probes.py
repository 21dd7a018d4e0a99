"""The leak probes of a benchmark: models that must not be able to tell the label.

    majority    always the most frequent class
    metadata    a decision tree over the column `metadata`
    markup      a decision tree over marks of formats, in the raw text and in the canonical one
    order       a decision tree over ids and the order of rows
    give_away   a decision tree over strings that state a label, in both texts
    words       TF-IDF of words and pairs of words with logistic regression, in both texts: what
                can be had by meaning, to compare with

A leak is a property of the data, so all labelled examples of all splits are predicted, once each,
by models that saw no example of the same leakage group: cross-validation whose folds follow from
the digests of groups. Intervals hold 95 % of what resampled groups give. A probe without meaning
finds a leak where the lower bound of its AUC is above MAX_AUC; accuracy has no say, since where one
class is rare nothing beats the most frequent one. What cannot be measured is null, and the row says
why.

The order of rows changes nothing but what the probe of it sees: their places within each split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from corpus.manifest import Json
from labeling.examples import TEXT_COLUMNS
from labeling.features import (
    Features,
    give_away_features,
    markup_features,
    metadata_features,
    order_features,
)
from labeling.recipe import ProbesSection

Array = np.ndarray[Any, Any]
Predict = Callable[["Gold"], tuple[Array, list[str]]]

# The most that ids, order or strings may reach: reliability figures of the project.
MAX_AUC = 0.55
FORM_BY_COLUMN = {"text": "text", "raw_text": "raw"}
FIGURES = ("accuracy", "macro_f1", "auc")
NUM_NAMED = 3
# Of 300 rows, a mark in 12 % of each class was found in 6 of 12 draws by this tree, in none by
# gradient boosting of 8 or 31 leaves (its leaves hold 20) at ten times the time; without a leak
# neither found one in 36. Deeper trees found less. It also names the columns that it used.
TREE = {"max_depth": 4, "min_samples_leaf": 10, "random_state": 0}
WORD_BUCKETS = 2**18
REGRESSION = {"solver": "liblinear", "dual": True, "C": 3, "max_iter": 1_000, "random_state": 0}
_HEADER = ("probe", "form", "examples", "majority", "accuracy", "macro F1", "AUC", "verdict")


class Gold(NamedTuple):
    """What is to be found: class, leakage group and fold of each example, by number."""

    classes: tuple[str, ...]
    labels: Array
    groups: Array
    folds: Array


def run_probes(examples: pa.Table, recipe: ProbesSection) -> Json:
    """Measure what each probe tells of the labels.

    Args:
        examples: EXAMPLE_SCHEMA, and group and split; the rows of a split in the order of its file.
            One without a group is a group of its own.
        recipe: folds, resamples and seed.

    Returns:
        {"num_examples", "num_unlabelled", "num_folds", "resamples", "seed", "classes": {label:
        number}, "rows": [{"probe", "form": raw | text | null, "num_examples", "majority",
        "accuracy" | "macro_f1" | "auc": {"value", "low", "high"} or null, "verdict": leak |
        none found | null, "reason": null or why there are no figures, "seen": the columns that the
        trees cut at most}]}. Figures have four places.
    """
    is_labelled = pc.is_valid(examples["label"]).to_numpy()
    by_id = pc.sort_indices(examples["example_id"]).to_numpy()
    rows = by_id[is_labelled[by_id]]
    seen, order = examples.take(pa.array(rows)), order_features(examples)
    measured = [
        _measure_majority(seen, recipe),
        _probe_tree("metadata", None, seen, metadata_features(seen), recipe),
        *_probe_texts("markup", seen, recipe),
        _probe_tree("order", None, seen, Features(order.names, order.values[rows]), recipe),
        *_probe_texts("give_away", seen, recipe),
        *_probe_texts("words", seen, recipe),
    ]
    counts = sorted(pc.value_counts(seen["label"]).to_pylist(), key=lambda one: one["values"])
    return {
        "num_examples": len(rows),
        "num_unlabelled": len(examples) - len(rows),
        **recipe.model_dump(mode="json"),
        "classes": {one["values"]: one["counts"] for one in counts},
        "rows": measured,
    }


def render_probes(result: Json) -> str:
    """Render what `run_probes` found as a table for the terminal, with a line of what was done."""
    table = [_HEADER, *_iter_cells(result)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    return "\n".join([describe_probes(result), "", *lines]) + "\n"


def render_probes_markdown(result: Json) -> str:
    """Render the same rows as a table in Markdown."""
    table = [_HEADER, ["---"] * len(_HEADER), *_iter_cells(result)]
    lines = ["| " + " | ".join(map(_quote_cell, row)) + " |" for row in table]
    return "\n".join(lines) + "\n"


def _quote_cell(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<", "&lt;")


def describe_probes(result: Json) -> str:
    """Say in one line what was measured, and how."""
    classes = ", ".join(f"{label} {num:,}" for label, num in result["classes"].items())
    return (
        f"{result['num_examples']:,} labelled examples ({classes or 'none'}), "
        f"{result['num_unlabelled']:,} without a label left out; cross-validation in "
        f"{result['num_folds']} folds of leakage groups; 95 % intervals of {result['resamples']:,} "
        "resamples of groups"
    )


def deal_folds(labels: Array, groups: Array, digests: Sequence[bytes], num_folds: int) -> Array:
    """Deal groups out to folds, so that each has about its share of every class.

    The largest groups go first, equal ones by digest, each to the fold that has the fewest examples
    of the group's most frequent class.

    Args:
        labels, groups: int, shape (n,); the class and the group of each example, from 0.
        digests: of each group.

    Returns:
        int64, shape (n,); the fold of each example.
    """
    counts = np.zeros((len(digests), int(labels.max(initial=0)) + 1), int)
    np.add.at(counts, (groups, labels), 1)
    sizes, tops = counts.sum(1), counts.argmax(1)
    filled = np.zeros((num_folds, counts.shape[1]), int)
    fold_by_group = np.zeros(len(digests), int)
    for group in sorted(range(len(digests)), key=lambda one: (-sizes[one], digests[one])):
        fold = int(filled[:, tops[group]].argmin())
        fold_by_group[group] = fold
        filled[fold] += counts[group]
    return fold_by_group[groups]


# Probes --------------------------------------------------------------------------------------


def _probe_texts(probe: str, seen: pa.Table, recipe: ProbesSection) -> Iterator[Json]:
    """Probe both texts; examples without a raw one are left out of the rows of form raw."""
    for column in reversed(TEXT_COLUMNS):
        present = seen.filter(pc.is_valid(seen[column]))
        form = FORM_BY_COLUMN[column]
        if probe == "words":
            yield _measure(probe, form, present, _words_predictor(present[column]), recipe)
            continue
        is_markup = probe == "markup"
        found = (
            markup_features(present[column]) if is_markup else give_away_features(present, column)
        )
        yield _probe_tree(probe, form, present, found, recipe)


def _probe_tree(
    probe: str, form: str | None, seen: pa.Table, features: Features, recipe: ProbesSection
) -> Json:
    if not features.names:
        return _make_row(probe, form, seen) | {"reason": "the examples have no such columns"}
    row = _measure(probe, form, seen, _tree_predictor(features), recipe)
    if row["auc"] is not None:
        row["verdict"] = "leak" if row["auc"]["low"] > MAX_AUC else "none found"
    return row


def _measure_majority(seen: pa.Table, recipe: ProbesSection) -> Json:
    def predict(gold: Gold) -> tuple[Array, list[str]]:
        shares = np.bincount(gold.labels) / len(gold.labels)
        return np.tile(shares, (len(gold.labels), 1)), []

    return _measure("majority", None, seen, predict, recipe)


def _measure(
    probe: str, form: str | None, seen: pa.Table, predict: Predict, recipe: ProbesSection
) -> Json:
    row = _make_row(probe, form, seen)
    gold = _read_gold(seen, recipe)
    reason = _find_hindrance(gold, recipe.num_folds)
    if reason:
        return row | {"reason": reason}
    scores, names = predict(gold)
    return row | _estimate(np.round(scores, 4), gold, recipe) | {"seen": names}


def _make_row(probe: str, form: str | None, seen: pa.Table) -> Json:
    counts = pc.value_counts(seen["label"]).field("counts").to_numpy()
    return {
        "probe": probe,
        "form": form,
        "num_examples": len(seen),
        "majority": round(float(counts.max() / len(seen)), 4) if len(seen) else None,
        **dict.fromkeys((*FIGURES, "verdict", "reason")),
        "seen": [],
    }


def _read_gold(seen: pa.Table, recipe: ProbesSection) -> Gold:
    classes, labels = np.unique(np.asarray(seen["label"].to_pylist(), str), return_inverse=True)
    named = pc.coalesce(seen["group"], seen["example_id"]).to_pylist()
    names, groups = np.unique(np.asarray(named, str), return_inverse=True)
    keys = [f"{recipe.seed}\n{name}".encode() for name in names.tolist()]
    digests = [hashlib.blake2b(key, digest_size=8).digest() for key in keys]
    folds = deal_folds(labels, groups, digests, recipe.num_folds)
    return Gold(tuple(classes.tolist()), labels, groups, folds)


def _find_hindrance(gold: Gold, num_folds: int) -> str:
    """Say why nothing can be measured, or ""."""
    if len(gold.classes) < 2:
        return f"the labelled examples are of {len(gold.classes)} classes; a probe needs two"
    for number, label in enumerate(gold.classes):
        num_groups = len(np.unique(gold.groups[gold.labels == number]))
        if num_groups < num_folds:
            return f"{label} has {num_groups} leakage groups, fewer than the {num_folds} folds"
    return ""


# Models --------------------------------------------------------------------------------------


def _tree_predictor(features: Features) -> Predict:
    # Trees see nothing but the order of values, and keep them as float32: ids of eight digits would
    # lose their last one.
    ranked = np.column_stack([_rank(column) for column in features.values.T])

    def predict(gold: Gold) -> tuple[Array, list[str]]:
        scores = np.zeros((len(gold.labels), len(gold.classes)))
        weights = np.zeros(len(features.names))
        for train, held_out in _iter_folds(gold):
            tree = DecisionTreeClassifier(**TREE).fit(ranked[train], gold.labels[train])
            scores[np.ix_(held_out, tree.classes_)] = tree.predict_proba(ranked[held_out])
            weights += tree.feature_importances_
        heaviest = np.argsort(-np.round(weights, 9), kind="stable")[:NUM_NAMED]
        return scores, [features.names[one] for one in heaviest if weights[one] > 0]

    return predict


def _words_predictor(texts: pa.ChunkedArray) -> Predict:
    def predict(gold: Gold) -> tuple[Array, list[str]]:
        # No vocabulary: that of 60,000 posts would be five million pairs of words.
        hashing = {"n_features": WORD_BUCKETS, "alternate_sign": False, "norm": None}
        counts = HashingVectorizer(ngram_range=(1, 2), **hashing).transform(texts.to_pylist())
        # What is in one example cannot be both learned and asked.
        counts = counts[:, np.bincount(counts.indices, minlength=WORD_BUCKETS) > 1]
        scores = np.zeros((len(gold.labels), len(gold.classes)))
        for train, held_out in _iter_folds(gold):
            weighting = TfidfTransformer(sublinear_tf=True).fit(counts[train])
            known, asked = (weighting.transform(counts[rows]) for rows in (train, held_out))
            for number in range(len(gold.classes)):
                is_class = gold.labels[train] == number
                model = LogisticRegression(**REGRESSION)
                scores[held_out, number] = model.fit(known, is_class).predict_proba(asked)[:, 1]
        return scores, []

    return predict


def _iter_folds(gold: Gold) -> Iterator[tuple[Array, Array]]:
    for fold in np.unique(gold.folds):
        yield np.flatnonzero(gold.folds != fold), np.flatnonzero(gold.folds == fold)


def _rank(values: Array) -> Array:
    """Replace values by their ranks from 0; NaN stays."""
    ranks = np.full(len(values), np.nan)
    is_known = ~np.isnan(values)
    ranks[is_known] = np.unique(values[is_known], return_inverse=True)[1]
    return ranks


# Figures -------------------------------------------------------------------------------------


def _estimate(scores: Array, gold: Gold, recipe: ProbesSection) -> Json:
    """Return each figure, and its interval over resampled groups."""
    ranks = [np.unique(column, return_inverse=True)[1] for column in scores.T]
    predicted = scores.argmax(1)
    num_groups = int(gold.groups.max()) + 1
    rng = np.random.default_rng(recipe.seed)
    figures = _figures(ranks, predicted, gold, np.ones(len(scores)))
    resampled = np.empty((recipe.resamples, len(FIGURES)))
    for number in range(recipe.resamples):
        drawn = np.bincount(rng.integers(0, num_groups, num_groups), minlength=num_groups)
        resampled[number] = _figures(ranks, predicted, gold, drawn[gold.groups].astype(float))
    # Where all that was drawn is of one class there is no AUC.
    low, high = np.nanquantile(resampled, (0.025, 0.975), axis=0)
    return {
        name: {
            key: round(float(one), 4)
            for key, one in zip(("value", "low", "high"), all3, strict=True)
        }
        for name, all3 in zip(FIGURES, zip(figures, low, high, strict=True), strict=True)
    }


def _figures(
    ranks: Sequence[Array], predicted: Array, gold: Gold, weights: Array
) -> tuple[float, float, float]:
    """Return accuracy, macro F1 and macro AUC; a class of no weight is in neither mean."""
    num = len(gold.classes)
    cells = np.bincount(gold.labels * num + predicted, weights, num * num).reshape(num, num)
    hits, actual = np.diag(cells), cells.sum(1)
    present = actual > 0
    f1 = 2 * hits[present] / (actual + cells.sum(0))[present]
    areas = [
        roc_area(ranks[number], gold.labels == number, weights)
        for number in np.flatnonzero(present).tolist()
    ]
    return float(hits.sum() / cells.sum()), float(f1.mean()), float(np.mean(areas))


def roc_area(ranks: Array, is_class: Array, weights: Array) -> float:
    """Return the weighted area under the ROC curve of one class against the rest; ties count half.

    NaN where the rest has no weight. All sums are of whole numbers and halves, so exact.
    """
    size = int(ranks.max()) + 1
    inside = np.bincount(ranks, weights * is_class, size)
    outside = np.bincount(ranks, weights, size) - inside
    pairs = inside.sum() * outside.sum()
    won = inside @ (np.cumsum(outside) - outside / 2)
    return float(won / pairs) if pairs else float("nan")


def _iter_cells(result: Json) -> Iterator[list[str]]:
    for row in result["rows"]:
        majority = "-" if row["majority"] is None else f"{row['majority']:.4f}"
        verdict = row["verdict"] or row["reason"] or "-"
        if row["verdict"] == "leak":
            verdict += f" ({', '.join(row['seen'])})"
        named = (row["probe"], row["form"] or "-", f"{row['num_examples']:,}", majority)
        yield [*named, *(_show(row[figure]) for figure in FIGURES), verdict]


def _show(figure: Json | None) -> str:
    if figure is None:
        return "-"
    return f"{figure['value']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"
