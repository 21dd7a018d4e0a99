"""The numbers of a report, all of them computed from recorded predictions and `result.json`.

What is here is JSON: `figures.json` is it, and both pages are made of it alone. A number that is
not defined is null beside the reason. Numbers have six places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.manifest import Json
from corpus.progress import Reporter
from finetune.breakdowns import (
    MIN_SLICE,
    Tables,
    count_confusions,
    iter_curves,
    iter_slices,
    list_errors,
    or_worst,
    round_number,
    score_types,
    to_json,
)
from finetune.comparison import compare, holm
from finetune.grouping import Model, TaskModels, group_units, split_setting
from finetune.metrics import (
    LOWER_IS_BETTER,
    MAIN_METRIC,
    METRIC_NAMES,
    SEQUENCE_METRICS,
    TOKEN_METRICS,
    Estimate,
    score,
)
from finetune.predictions import Unit

ALPHA = 0.05
# What the probes of questions measure, by their key.
PROBE_FIGURES = {"macro_f1": "macro F1", "auc": "AUC"}
# So many of the best models have a confusion matrix, or a column of types.
NUM_TOP = 3
# Of `figures`: added over seeds, and listed.
SUMMED = ("seconds", "dollars", "tokens_in", "tokens_out", "num_refused", "num_texts_cut")
LISTED = ("device", "learning_rate", "num_parameters", "max_characters", "served_models")


def collect_findings(units: Sequence[Unit], *, resamples: int, reporter: Reporter) -> Json:
    """Compute all that a report says.

    Args:
        units: finished, of one run or more.
        resamples: of leakage groups, for intervals and tests.
        reporter: for the terminal.

    Returns:
        {"resamples", "alpha", "min_slice", "metrics": {metric: {"name", "lower_is_better"}},
        "tasks": [see `describe_task`], "versions": {package: [versions]}}.

    Raises:
        BadValue: two models of a task did not predict the same examples.
    """
    tasks = []
    for number, one in enumerate(group_units(units), 1):
        reporter.say(f"{one.task['benchmark']}: {len(one.models)} models")
        tasks.append({"id": f"task-{number}", **describe_task(one, resamples)})
    return {
        "resamples": resamples,
        "alpha": ALPHA,
        "min_slice": MIN_SLICE,
        "metrics": {
            name: {"name": words, "lower_is_better": name in LOWER_IS_BETTER}
            for name, words in METRIC_NAMES.items()
        },
        "tasks": tasks,
        "versions": _collect_versions(units),
    }


def describe_task(one: TaskModels, resamples: int) -> Json:
    """Compute the figures of one task; its models from the best to the worst of the main metric.

    Returns:
        What the task is ("benchmark", "benchmark_id", "title", "task", "kind", "form", "target",
        "types", "labels", "evaluated"), "splits": {split: examples}, "num_examples", "num_groups",
        "main" and "metrics" (names), "models", and of `breakdowns` "slices", "curves",
        "confusions" (of sequences), "entities" (of tokens), "errors" (of the best model); and
        "probes" (`iter_probes`).

    Raises:
        BadValue: two models did not predict the same examples.
    """
    kind = one.task["kind"]
    main = MAIN_METRIC[kind]
    described = {model.label: _describe_model(model, resamples) for model in one.models}
    ranked = sorted(
        described.values(), key=lambda model: (-_rank(model["metrics"][main]), model["label"])
    )
    models = {model.label: model for model in one.models}
    tables = {
        model["label"]: [_forget_probabilities(table) for table in models[model["label"]].read()]
        for model in ranked
    }
    labels = _join_labels(one)
    _compare_with_best(ranked, tables, labels, kind, resamples)
    first = models[ranked[0]["label"]].read()[0]
    top = {model["label"]: tables[model["label"]] for model in ranked[:NUM_TOP]}
    return {
        **{key: one.task[key] for key in ("benchmark", "title", "kind", "evaluated")},
        **{key: one.asked["task"][key] for key in ("form", "target", "types")},
        "benchmark_id": one.asked["benchmark"],
        "task": one.task["name"],
        "labels": labels,
        "splits": one.task["num_examples"],
        "num_examples": len(first),
        "num_groups": len(pc.unique(first["group"])),
        "main": main,
        "metrics": list(SEQUENCE_METRICS if kind == "sequence" else TOKEN_METRICS),
        "models": ranked,
        "slices": list(iter_slices(tables, labels, kind, resamples)),
        "curves": list(iter_curves(one.models, described, main)),
        "confusions": count_confusions(top, labels) if kind == "sequence" else [],
        "entities": score_types(top, labels, resamples) if kind == "token" else [],
        "errors": list_errors(first, kind),
        "probes": list(iter_probes(one.task.get("probes", []))),
    }


def iter_probes(rows: Iterable[Json]) -> Iterator[Json]:
    """Yield each figure of the leak probes that the benchmark came with.

    >>> auc = {"value": 0.7, "low": 0.6, "high": 0.8}
    >>> row = {"probe": "markup", "form": "raw", "verdict": "leak", "auc": auc, "macro_f1": None}
    >>> [(one["figure"], one["estimate"]["low"]) for one in iter_probes([row])]
    [('AUC', 0.6)]
    """
    for row in rows:
        figures = {name: row[key] for key, name in PROBE_FIGURES.items() if row.get(key)}
        if row.get("value") is not None:
            figures[row["metric"].replace("_", " ")] = row
        for name, found in figures.items():
            estimate = Estimate(found["value"], found["low"], found["high"])
            yield {
                "probe": row["probe"],
                "form": row["form"],
                "verdict": row.get("verdict"),
                "figure": name,
                "estimate": to_json(estimate),
            }


# Models --------------------------------------------------------------------------------------


def _describe_model(model: Model, resamples: int) -> Json:
    """Return what a model is, was given, says and costs; how it compares is written in later."""
    asked, kind = model.result["asked"], model.result["task"]["kind"]
    tables, labels = model.read(), model.result["task"]["labels"]
    scored = score(tables, labels, kind, resamples=resamples)
    return {
        "label": model.label,
        "name": model.name,
        "setting": ", ".join(model.words.values()),
        "kind": model.result["model"]["kind"],
        "files": asked.get("model"),
        "weights": asked.get("weights"),
        "asked_model": asked.get("zero_shot", {}).get("model"),
        "seeds": [unit.result["seed"] for unit in model.units],
        "metrics": {name: to_json(estimate) for name, estimate in scored.items()},
        "by_seed": [round_number(one) for one in _score_seeds(tables, labels, kind)],
        "saw": _describe_sight(model, tables[0]),
        "num_answers": sum(map(len, tables)),
        "num_unanswered": sum(table["predicted"].null_count for table in tables),
        "cost": _sum_cost(model),
        "transfer": dict(_iter_transfer(model, resamples)),
        "versus_best": None,
    }


def _score_seeds(
    tables: Sequence[pa.Table], labels: Sequence[str], kind: str
) -> list[float | None]:
    # One resample: only the values are read.
    return [score([one], labels, kind, resamples=1)[MAIN_METRIC[kind]].value for one in tables]


def _describe_sight(model: Model, table: pa.Table) -> Json:
    """Return how much a model was shown; `num_cut` is null where it does not read tokens."""
    setting = split_setting(model.result["asked"])
    learns_nothing = model.result["model"]["kind"] == "zero_shot"
    reads_tokens = table["num_cut"].null_count < len(table)
    return {
        **{key: setting[key] for key in ("max_tokens", "keep", "train_share")},
        "num_train": None if learns_nothing else model.result["task"]["num_examples"]["train"],
        "num_cut": pc.sum(pc.greater(table["num_cut"], 0)).as_py() if reads_tokens else None,
    }


def _sum_cost(model: Model) -> Json:
    """Return what all seeds cost together; null, or nothing, where no seed says it."""
    figures = [unit.result["figures"] for unit in model.units]
    return {
        **{key: _add(one.get(key) for one in figures) for key in SUMMED},
        **{key: _list_distinct(one.get(key) for one in figures) for key in LISTED},
    }


def _add(given: Iterable[float | None]) -> float | None:
    known = [one for one in given if one is not None]
    return round_number(sum(known)) if known else None


def _list_distinct(given: Iterable[Any]) -> list[Any]:
    """Return what seeds say, each once; a seed may say several."""
    said = [one if isinstance(one, list) else [one] for one in given if one is not None]
    return sorted({one for some in said for one in some})


def _iter_transfer(model: Model, resamples: int) -> Iterator[tuple[str, Json]]:
    """Yield the main metric on each benchmark that was only predicted."""
    task = model.result["task"]
    for split in sorted(model.result["asked"]["others"]):
        if tables := model.read(split):
            found = score(tables, task["labels"], task["kind"], resamples=resamples)
            estimate = to_json(found[MAIN_METRIC[task["kind"]]])
            yield split, {"num_examples": len(tables[0]), "estimate": estimate}


def _compare_with_best(
    models: Sequence[Json], tables: Tables, labels: Sequence[str], kind: str, resamples: int
) -> None:
    """Write into each model but the first how it compares with the first."""
    best, *others = models
    found = [
        compare(tables[best["label"]], tables[one["label"]], labels, kind, resamples=resamples)
        for one in others
    ]
    corrected = holm([one.p_value for one in found])
    for model, one, p_holm in zip(others, found, corrected, strict=True):
        model["versus_best"] = {
            "difference": to_json(one.difference),
            "p_value": round_number(one.p_value),
            "p_holm": round_number(p_holm),
            "mcnemar_p": round_number(one.mcnemar_p),
            "num_only_best": one.num_only_first,
            "num_only_this": one.num_only_second,
            "is_worse": p_holm is not None and p_holm < ALPHA,
        }


def _join_labels(one: TaskModels) -> list[str]:
    """Return the labels of all models: of a smaller share of train a class may be missing."""
    given = [model.result["task"]["labels"] for model in one.models]
    if one.task["kind"] == "token":
        return list(given[0])
    return sorted({label for some in given for label in some})


def _forget_probabilities(table: pa.Table) -> pa.Table:
    """Return predictions that can be read under more labels than those of the model."""
    at = table.column_names.index("probabilities")
    return table.set_column(
        at, table.schema.field(at), pa.nulls(len(table), table.schema.types[at])
    )


def _rank(estimate: Json) -> float:
    return or_worst(estimate["value"])


def _collect_versions(units: Sequence[Unit]) -> Json:
    """Return by package the versions that units were made with."""
    packages = sorted({name for unit in units for name in unit.result["versions"]})
    return {
        name: _list_distinct(unit.result["versions"].get(name) for unit in units)
        for name in packages
    }
