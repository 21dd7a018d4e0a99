"""A fine-tuning run: every model of a recipe, by every seed, on one task; run again, it goes on.

    results/<model>-<seed>-<digest>/    a finished unit (see `predictions`)
    working/<the same>/                 what an unfinished one needs to go on; removed at its end

A unit's digest is of all that decides what it says: the benchmark, the model's own files, the
sections of the recipe, the seed. Other names, folders and machines change nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from corpus.errors import RecipeError
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.store import Store
from finetune.fitting import Ask, Fit
from finetune.predictions import RESULT, RESULTS, write_unit
from finetune.recipe import (
    PATH_KINDS,
    SEQUENCE_KINDS,
    TOKEN_KINDS,
    FinetuneRecipe,
    ModelEntry,
)
from finetune.tasks import TaskData, add_benchmark, read_task

VERSION = 1
WORKING = "working"
TOOLCHAIN = ("numpy", "scikit-learn", "torch", "transformers", "peft")
# Kinds that a seed changes; of the others one unit says all.
SEEDED_KINDS = ("encoder", "decoder")
# What a chat model costs changes nothing that it says.
COSTS = {"budget_dollars", "price_in", "price_out"}
# Of those that are not, kinds that learn with class weights.
WEIGHTED_KINDS = ("metadata", "markup", "tfidf")


class Planned(NamedTuple):
    """A unit to be: whose, by which seed, and what decides what it says."""

    entry: ModelEntry
    seed: int
    asked: Json

    @property
    def name(self) -> str:
        """Its folder."""
        content = json.dumps(self.asked, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(content).hexdigest()
        return f"{self.entry.name}-{self.seed}-{digest[:12]}"


def run_finetuning(
    recipe: FinetuneRecipe,
    store: Store,
    out: Path,
    *,
    transfer: Sequence[str] = (),
    reporter: Reporter,
) -> list[Path]:
    """Train, or ask, every model of a recipe that is not finished in `out`.

    Args:
        recipe: the task, and the models that are compared on it.
        store: where the benchmarks lie.
        out: the folder of the run, made where it is not there.
        transfer: benchmarks of the same task whose test is predicted as well, without training.
        reporter: for the terminal.

    Returns:
        The folders of all units, finished before or now, in the recipe's order.

    Raises:
        RecipeError: a model is of a kind that the task has not.
        StoreError: the benchmark, or a model, is not there.
    """
    task = read_task(store, recipe.task, train_share=recipe.input.train_share)
    for name in transfer:
        task = add_benchmark(task, store, recipe.task, name)
    check_kinds(recipe, task)
    if task.num_shared:
        reporter.say(f"{task.num_shared:,} examples elsewhere are of threads seen here: left out")
    if task.num_unlabelled:
        reporter.say(f"{task.num_unlabelled:,} examples have no label, or no such text: left out")
    if task.evaluated != "test":
        reporter.say("the benchmark has no test: its validation is reported, and train gives some")
    planned = plan_units(recipe, task)
    folders = [out / RESULTS / one.name for one in planned]
    for one, folder in zip(planned, folders, strict=True):
        if (folder / RESULT).is_file():
            reporter.say(f"{one.entry.name}, seed {one.seed}: finished before")
            continue
        working = out / WORKING / one.name
        _run_unit(task, Ask(recipe, one.entry, one.seed, working, reporter), one, folder)
        shutil.rmtree(working, ignore_errors=True)
    return folders


def check_kinds(recipe: FinetuneRecipe, task: TaskData) -> None:
    """Raise RecipeError where a model is of a kind that the task has not."""
    kinds = SEQUENCE_KINDS if task.kind == "sequence" else TOKEN_KINDS
    for entry in recipe.models:
        if entry.kind not in kinds:
            raise RecipeError(
                f"model {entry.name!r} is of kind {entry.kind!r}; {task.task} has "
                f"{', '.join(kinds)}"
            )


def plan_units(recipe: FinetuneRecipe, task: TaskData) -> list[Planned]:
    """List the units of a run: models in the recipe's order, each by all of its seeds.

    Raises:
        StoreError: a model is not there.
    """
    planned = []
    for entry in recipe.models:
        seeds = recipe.training.seeds if entry.kind in SEEDED_KINDS else recipe.training.seeds[:1]
        asked = _describe_asked(recipe, entry, task)
        planned += [Planned(entry, seed, {**asked, "seed": seed}) for seed in seeds]
    return planned


def find_fit(kind: str) -> Fit:
    """Return what trains and asks models of a kind; imported only now, as some take seconds.

    Raises:
        MissingPackage: the extra that it needs is not installed.
    """
    if kind in PATH_KINDS:
        from finetune.training import fit_pretrained

        return fit_pretrained
    if kind == "zero_shot":
        from finetune.zero_shot import fit_zero_shot

        return fit_zero_shot
    from finetune.baselines import FIT_BY_KIND

    return FIT_BY_KIND[kind]


def _run_unit(task: TaskData, ask: Ask, planned: Planned, folder: Path) -> None:
    ask.reporter.say(f"{ask.entry.name}, seed {ask.seed}")
    begun = time.perf_counter()
    fitted = find_fit(ask.entry.kind)(task, ask)
    fitted.figures.setdefault("seconds", time.perf_counter() - begun)
    result = {
        "model": ask.entry.model_dump(mode="json"),
        "seed": ask.seed,
        "asked": planned.asked,
        "task": {
            "name": task.task,
            "kind": task.kind,
            "benchmark": task.benchmark,
            "title": ask.recipe.card.title,
            "labels": list(task.labels),
            "evaluated": task.evaluated,
            "num_examples": {split: len(table) for split, table in task.splits.items()},
            "probes": task.probes,
        },
        "versions": {name: _version(name) for name in TOOLCHAIN},
    }
    write_unit(folder, task, fitted, result)


def _describe_asked(recipe: FinetuneRecipe, entry: ModelEntry, task: TaskData) -> Json:
    """Return what decides what a model says, and nothing else."""
    asked: Json = {
        "version": VERSION,
        "benchmark": task.benchmark_id,
        "others": {name: task.other_ids[name] for name in task.splits if name in task.other_ids},
        "task": recipe.task.model_dump(mode="json", exclude={"benchmark"}),
        "kind": entry.kind,
        "train_share": recipe.input.train_share,
    }
    if entry.path is not None:
        from finetune.pretrained import digest_model

        asked["model"] = digest_model(entry.path)
        asked["weights"] = entry.weights
        asked["input"] = recipe.input.model_dump(mode="json")
        asked["training"] = recipe.training.model_dump(mode="json", exclude={"seeds"})
    if entry.kind in WEIGHTED_KINDS:
        asked["class_weights"] = recipe.training.class_weights
    if entry.kind == "decoder":
        asked["lora"] = recipe.lora.model_dump(mode="json")
    if entry.kind == "zero_shot":
        asked["zero_shot"] = recipe.zero_shot.model_dump(mode="json", exclude=COSTS)
    return asked


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
