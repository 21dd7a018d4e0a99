"""Baselines that need no pretrained model; those that find entities are in `entity_baselines`.

    majority    the most frequent label of train; of tokens O
    metadata    gradient boosting over the numbers of the column `metadata`: no text
    markup      a decision tree over the marks of formats in the text: no words
    tfidf       logistic regression over TF-IDF of words, pairs of words and parts of words
    gazetteer   the strings that are entities in train
    window      a structured perceptron over a token and its neighbours

Each learns from train alone. What it has to choose it chooses on validation by the main metric from
the grid declared here, the first of equals. A seed changes none but `window`. One thread: sums of
floats depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from corpus.errors import StoreError
from corpus.manifest import Json
from finetune.choosing import score_validation
from finetune.entity_baselines import fit_gazetteer, fit_window
from finetune.fitting import Ask, Fit, Fitted, Predicted
from finetune.tasks import OUTSIDE, TaskData
from labeling.features import markup_features, metadata_features

Array = np.ndarray[Any, Any]

# As of `labeling.probes.TREE`: the leaves of 20 that boosting has by default find nothing in a few
# hundred rows.
LEAF = {"min_samples_leaf": 10, "random_state": 0}
BOOSTING = {"max_leaf_nodes": 8, "learning_rate": 0.1, "early_stopping": False}
# Words and pairs of words, and 3 or 4 characters within a word: of 1,655 published questions, 455
# of them held out, macro F1 was 0.79 with words alone, 0.80 with characters, 0.79 with 2 to 5 of
# them at twice the time (2026-11-21).
GRAMS = (
    {"analyzer": "word", "ngram_range": (1, 2)},
    {"analyzer": "char_wb", "ngram_range": (3, 4)},
)
# No vocabulary to be kept: pairs of words of 100,000 texts are tens of millions.
HASHING = {"n_features": 2**18, "alternate_sign": False, "norm": None, "dtype": np.float32}


class Family(NamedTuple):
    """Models that differ in their settings.

    `make` takes the class weights of scikit-learn and one of `grid`; `count` counts the parameters
    of one that is fitted.
    """

    make: Callable[..., Any]
    grid: Sequence[Json]
    count: Callable[[Any], int]


def fit_majority(task: TaskData, ask: Ask) -> Fitted:
    """Predict the most frequent label of train, the first of equals, by the shares of all labels;
    of a token task O, everywhere.
    """
    if task.kind == "sequence":
        nothing = {split: np.zeros((len(table), 1)) for split, table in task.splits.items()}
        return _fit_best(task, ask, nothing, PRIOR, "nothing but how frequent labels are in train")
    predicted = {
        split: Predicted([[OUTSIDE] * len(one) for one in table["tokens"].to_pylist()])
        for split, table in task.splits.items()
        if split != "train"
    }
    return Fitted(predicted, _describe(0, {}, "nothing: every token is outside of entities"))


def fit_metadata(task: TaskData, ask: Ask) -> Fitted:
    """Fit gradient boosting to the numbers of the column `metadata`; absent ones are NaN to it.

    Raises:
        StoreError: train has no such numbers.
    """
    found = {split: metadata_features(table) for split, table in task.splits.items()}
    train = found["train"]
    is_known = np.any(~np.isnan(train.values), axis=0)
    names = [train.names[column] for column in np.flatnonzero(is_known).tolist()]
    if not names:
        raise StoreError(
            f"{task.benchmark!r} has no metadata in train; take models of kind metadata out of "
            "the recipe"
        )
    inputs = {split: _align(one.names, one.values, names) for split, one in found.items()}
    seen = f"numbers that come with the post, and none of its text: {', '.join(names)}"
    return _fit_best(task, ask, inputs, BOOSTED, seen)


def fit_markup(task: TaskData, ask: Ask) -> Fitted:
    """Fit a decision tree to which marks of formats occur in the text."""
    found = {split: markup_features(table["text"]) for split, table in task.splits.items()}
    seen = (
        f"which of {len(found['train'].names)} marks of a format occur in the text (line ends, "
        "HTML, Markdown, odd spaces): no words, no lengths"
    )
    inputs = {split: one.values for split, one in found.items()}
    return _fit_best(task, ask, inputs, TREE, seen)


def fit_tfidf(task: TaskData, ask: Ask) -> Fitted:
    """Fit logistic regression to TF-IDF of words, pairs of words, and 3 or 4 characters of a word.

    All is lower case and hashed to 2**18 columns of each, so that memory grows with texts alone.
    """
    seen = "the whole text, lower case: its words, pairs of words, and 3 or 4 characters of a word"
    return _fit_best(task, ask, _weigh_grams(task), LINEAR, seen)


def _weigh_grams(task: TaskData) -> dict[str, Any]:
    """Return by split sparse float32, a row a text: of each kind of grams one of length 1."""
    parts: dict[str, list[Any]] = {split: [] for split in task.splits}
    for grams in GRAMS:
        counting = HashingVectorizer(**grams, **HASHING)
        counts = {s: counting.transform(one["text"].to_pylist()) for s, one in task.splits.items()}
        # What train has not has no weight: left out, little of train is quickly learnt.
        columns = np.unique(counts["train"].indices)
        weighting = TfidfTransformer(sublinear_tf=True).fit(counts["train"][:, columns])
        for split, rows in counts.items():
            parts[split].append(weighting.transform(rows[:, columns], copy=False))
    return {split: scipy.sparse.hstack(some, format="csr") for split, some in parts.items()}


def _align(names: Sequence[str], values: Array, wanted: Sequence[str]) -> Array:
    """Return the wanted columns, NaN where there is no such."""
    padded = np.column_stack([values, np.full(len(values), np.nan)])
    return padded[:, [names.index(name) if name in names else -1 for name in wanted]]


# Fitting -------------------------------------------------------------------------------------


def _fit_best(
    task: TaskData, ask: Ask, inputs: dict[str, Any], family: Family, seen: str
) -> Fitted:
    """Fit each model of a family to train and predict by the one that is best on validation."""
    gold = task.splits["train"]["label"].to_pylist()
    if len(set(gold)) == 1:
        family = PRIOR  # The others refuse to learn one class.
    weights = None if ask.recipe.training.class_weights == "none" else "balanced"

    def fit(settings: Json) -> tuple[float, Any, Json]:
        model = family.make(weights, **settings).fit(inputs["train"], gold)
        predicted = _predict(model, inputs["validation"], task.labels)
        return score_validation(task, predicted.labels), model, settings

    with threadpool_limits(1):
        _, model, chosen = max(map(fit, family.grid), key=lambda one: one[0])
        predicted = {
            split: _predict(model, inputs[split], task.labels)
            for split in task.splits
            if split != "train"
        }
    return Fitted(predicted, _describe(family.count(model), chosen, seen))


def _predict(model: Any, inputs: Any, labels: Sequence[str]) -> Predicted:
    """Return what a model says; a label that it has not seen has the probability 0."""
    given = model.predict_proba(inputs)
    probabilities = np.zeros((len(given), len(labels)), "f4")
    probabilities[:, [labels.index(one) for one in model.classes_]] = given
    return Predicted([labels[at] for at in probabilities.argmax(axis=1)], probabilities)


def _describe(num_parameters: int, chosen: Json, seen: str) -> Json:
    return {"num_parameters": num_parameters, "chosen": dict(chosen), "description": seen}


def _make_boosted(weights: str | None, **settings: Any) -> Any:
    return HistGradientBoostingClassifier(class_weight=weights, **BOOSTING, **LEAF, **settings)


def _make_tree(weights: str | None, **settings: Any) -> Any:
    return DecisionTreeClassifier(class_weight=weights, **LEAF, **settings)


def _make_linear(weights: str | None, **settings: Any) -> Any:
    return LogisticRegression(class_weight=weights, max_iter=1_000, **settings)


def _make_prior(weights: str | None, **settings: Any) -> Any:
    return DummyClassifier(strategy="prior", **settings)


def _count_boosted(model: Any) -> int:
    # No public attribute has the trees.
    return sum(len(tree.nodes) for trees in model._predictors for tree in trees)


PRIOR = Family(_make_prior, [{}], lambda model: len(model.classes_))
BOOSTED = Family(_make_boosted, [{"max_iter": num} for num in (25, 100, 400)], _count_boosted)
TREE = Family(
    _make_tree,
    [{"max_depth": depth} for depth in (2, 4, 8)],
    lambda model: int(model.tree_.node_count),
)
LINEAR = Family(
    _make_linear,
    [{"C": number} for number in (0.3, 1.0, 3.0, 10.0)],
    lambda model: int(model.coef_.size + model.intercept_.size),
)

FIT_BY_KIND: dict[str, Fit] = {
    "majority": fit_majority,
    "metadata": fit_metadata,
    "markup": fit_markup,
    "tfidf": fit_tfidf,
    "gazetteer": fit_gazetteer,
    "window": fit_window,
}
