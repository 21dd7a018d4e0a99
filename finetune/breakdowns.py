"""What a report shows of a task besides its table: slices, curves, confusions, types, errors.

All is JSON; models are named by their labels and stand in the order in which they are given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.manifest import Json
from finetune.grouping import Model
from finetune.metrics import Estimate, count_confusion, score, score_slices
from finetune.tasks import OUTSIDE
from labeling.entities import Entity, bio_to_spans

Array = np.ndarray[Any, Any]
# By the label of a model its predictions, a table a seed; all of the same examples.
Tables = Mapping[str, Sequence[pa.Table]]

NUM_ERRORS, NUM_TAGS = 10, 10
# A slice of fewer examples has an interval that says nothing.
MIN_SLICE = 20
_PLACES = 6


def to_json(estimate: Estimate) -> Json:
    """Return value, low, high and reason, the numbers with six places.

    >>> to_json(Estimate(None, reason="no entities"))
    {'value': None, 'low': None, 'high': None, 'reason': 'no entities'}
    """
    *numbers, reason = estimate
    return dict(zip(estimate._fields, [*map(round_number, numbers), reason], strict=True))


def or_worst(number: float | None) -> float:
    """Return the number, or less than any figure where there is none."""
    return -math.inf if number is None else number


def round_number(number: float | None) -> float | None:
    """Round to six places; None stays."""
    return None if number is None else round(number, _PLACES)


def iter_slices(tables: Tables, labels: Sequence[str], kind: str, resamples: int) -> Iterator[Json]:
    """Yield each way to slice the examples, and the main metric of every model in every slice.

    Whether a text was cut is of the model: its slices hold other examples for each.

    Yields:
        {"way", "rows": [{"name", "cells": a model {"num_examples", "estimate"}}]}; a slice of fewer
        than MIN_SLICE examples has no figure.
    """
    ways = {label: dict(_iter_ways(some[0])) for label, some in tables.items()}
    for way in next(iter(ways.values())):
        masks = {label: ways[label][way] for label in tables}
        scored = {
            label: _score_large(tables[label], labels, kind, masks[label], resamples)
            for label in tables
        }
        rows = [
            {"name": name, "cells": [scored[label][name] for label in tables]}
            for name in next(iter(masks.values()))
        ]
        yield {"way": way, "rows": rows}


def _score_large(
    tables: Sequence[pa.Table],
    labels: Sequence[str],
    kind: str,
    masks: Mapping[str, Array],
    resamples: int,
) -> dict[str, Json]:
    """Score slices; one of too few examples has no figure."""
    large = {name: mask for name, mask in masks.items() if mask.sum() >= MIN_SLICE}
    found = score_slices(tables, labels, kind, large, resamples=resamples, seed=1)
    cells = {}
    for name, mask in masks.items():
        too_small = Estimate(None, reason=f"fewer than {MIN_SLICE} examples")
        num, estimate = found.get(name, (int(mask.sum()), too_small))
        cells[name] = {"num_examples": num, "estimate": to_json(estimate)}
    return cells


def _iter_ways(table: pa.Table) -> Iterator[tuple[str, dict[str, Array]]]:
    years = table["year"].to_pylist()
    known = sorted({year for year in years if year is not None})
    yield "year", {str(year): np.array([one == year for one in years]) for year in known}
    tags = [set(some or ()) for some in table["tags"].to_pylist()]
    counts = Counter(tag for some in tags for tag in some)
    frequent = sorted(counts, key=lambda tag: (-counts[tag], tag))[:NUM_TAGS]
    yield "tag", {tag: np.array([tag in some for some in tags]) for tag in frequent}
    yield "length in characters", _slice_lengths(table["num_characters"].to_numpy())
    share = table["code_share"].to_numpy()
    yield (
        "share of code",
        {"none": share == 0, "under a half": (share > 0) & (share < 0.5), "more": share >= 0.5},
    )
    cut = pc.fill_null(table["num_cut"], -1).to_numpy()
    yield "how much the model saw", {"whole": cut == 0, "cut": cut > 0}


def _slice_lengths(lengths: Array) -> dict[str, Array]:
    """Cut at the quartiles; a length on the border is in the lower slice, equal quartiles are one.

    >>> {name: int(mask.sum()) for name, mask in _slice_lengths(np.array([5, 5, 5, 5, 9])).items()}
    {'up to 5': 4, 'longer': 1}
    """
    borders = sorted({int(one) for one in np.quantile(lengths, (0.25, 0.5, 0.75))})
    lows = [-1, *borders[:-1]]
    slices = {
        f"up to {high:,}": (lengths > low) & (lengths <= high)
        for low, high in zip(lows, borders, strict=True)
    }
    return {**slices, "longer": lengths > borders[-1]}


def iter_curves(models: Sequence[Model], found: Mapping[str, Json], main: str) -> Iterator[Json]:
    """Yield the curves over train_share and over max_tokens, where a model has several of these.

    Args:
        models: of the task.
        found: by label, what `findings` says of each.
        main: the metric.

    Yields:
        {"over", "lines": {name: [{"x", "train_share", "max_tokens", "num_seeds", "estimate"}]}};
        x is the number of examples in train, or of tokens. A line differs in nothing else.
    """
    for over in ("train_share", "max_tokens"):
        lines: dict[str, list[Json]] = {}
        for model in sorted(models, key=lambda one: one.label):
            words = {key: word for key, word in model.words.items() if key != over}
            name = ", ".join([model.name, *words.values()])
            lines.setdefault(name, []).append(_make_point(found[model.label], over, main))
        several = {
            name: sorted(points, key=lambda one: one["x"])
            for name, points in lines.items()
            if len({point["x"] for point in points}) > 1
        }
        if several:
            yield {"over": over, "lines": several}


def _make_point(model: Json, over: str, main: str) -> Json:
    saw = model["saw"]
    return {
        "x": saw["num_train"] if over == "train_share" else saw["max_tokens"],
        "train_share": saw["train_share"],
        "max_tokens": saw["max_tokens"],
        "num_seeds": len(model["seeds"]),
        "estimate": model["metrics"][main],
    }


def count_confusions(tables: Tables, labels: Sequence[str]) -> list[Json]:
    """Return of each model {"label", "num_seeds", "counts"}: gold by row, predicted by column, no
    answer last, summed over seeds.
    """
    return [
        {"label": label, "num_seeds": len(some), "counts": count_confusion(some, labels).tolist()}
        for label, some in tables.items()
    ]


def score_types(tables: Tables, labels: Sequence[str], resamples: int) -> list[Json]:
    """Return by entity type the F1 of each model, as if there were no other type.

    Returns:
        [{"type", "num_entities", "cells": an estimate a model}], in the order of the labels.
    """
    first = next(iter(tables.values()))[0]
    types = list(dict.fromkeys(label[2:] for label in labels if label != OUTSIDE))
    return [
        {
            "type": kind,
            "num_entities": _count_entities(first, kind),
            "cells": [
                to_json(
                    score(
                        [_keep_type(table, kind) for table in some],
                        [OUTSIDE, f"B-{kind}", f"I-{kind}"],
                        "token",
                        resamples=resamples,
                    )["entity_f1"]
                )
                for some in tables.values()
            ],
        }
        for kind in types
    ]


def _count_entities(table: pa.Table, kind: str) -> int:
    return sum(one.type == kind for tags in table["gold"].to_pylist() for one in bio_to_spans(tags))


def _keep_type(table: pa.Table, kind: str) -> pa.Table:
    for name in ("gold", "predicted"):
        kept = [
            None if tags is None else [tag if tag[2:] == kind else OUTSIDE for tag in tags]
            for tags in table[name].to_pylist()
        ]
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(kept, pa.list_(pa.string())))
    return table


def list_errors(table: pa.Table, kind: str) -> list[Json]:
    """Return the errors of one seed, the most confident first, then by example_id.

    Returns:
        At most NUM_ERRORS of {"example_id", "gold", "predicted", "probability", "excerpt"}; where
        nothing was predicted, or without probability, null. Of tokens, the entities that only one
        of both has.
    """
    columns = ["example_id", "gold", "predicted", "probabilities", "excerpt"]
    rows = table.select(columns).to_pylist()
    errors = [_describe_error(row, kind) for row in rows if row["gold"] != row["predicted"]]
    errors.sort(key=lambda one: (-or_worst(one["probability"]), one["example_id"]))
    return errors[:NUM_ERRORS]


def _describe_error(row: Json, kind: str) -> Json:
    gold, predicted = row["gold"], row["predicted"]
    if kind == "token" and predicted is not None:
        both = [set(bio_to_spans(tags)) for tags in (gold, predicted)]
        gold, predicted = (
            [_show_entity(one) for one in sorted(these - others)]
            for these, others in (both, both[::-1])
        )
    return {
        "example_id": row["example_id"],
        "gold": ", ".join(gold),
        "predicted": None if predicted is None else ", ".join(predicted),
        "probability": round_number(max(row["probabilities"] or (), default=None)),
        "excerpt": row["excerpt"],
    }


def _show_entity(entity: Entity) -> str:
    first, last = entity.start + 1, entity.end
    return f"{entity.type} at {first}" if first == last else f"{entity.type} at {first}–{last}"
