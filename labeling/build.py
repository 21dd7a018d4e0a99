"""The line of a benchmark: from a corpus, or from published files, to what is published.

    quality, closed    labels ─► examples ─┐
    published files    examples ───────────┼─► benchmark ─► contamination ─► probes ─► release
    obsoletion         candidates ─► items ─► (people) ─► examples ─┘

Each stage is found again by what was asked of it, as those of a corpus are.
"""

from __future__ import annotations

from collections.abc import Sequence

from corpus.engine import Engine
from corpus.errors import BadValue, StoreError
from corpus.progress import Reporter
from corpus.store import Artifact, Store
from labeling.card import count_examples
from labeling.contamination import build_contamination, check_contamination
from labeling.dealing import build_benchmark_data
from labeling.items import build_candidates, build_items
from labeling.labels import build_labels
from labeling.probing import build_probes
from labeling.questions import build_question_examples
from labeling.recipe import RULE_KEYS, BenchmarkRecipe, Task
from labeling.release import build_benchmark_release
from labeling.sources import build_published_examples

Corpus = dict[str, Artifact]


def build_benchmark(
    task: Task,
    recipe: BenchmarkRecipe,
    sources: Sequence[str] = (),
    *,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> dict[str, Artifact]:
    """Build a benchmark and name the run after the recipe's card.

    Args:
        task: quality, closed, ner or obsoletion: the section that the recipe must have.
        recipe: what to build.
        sources: published files; for obsoletion the exported judgements. None: from the corpus
            that the recipe names.
        store: where artifacts lie, the corpus's among them; locked while this runs.
        engine: where tasks run; the result does not depend on it.
        reporter: what the person at the terminal sees.

    Returns:
        The artifact of each stage, in order. Of obsoletion without judgements the items to judge
        are the last.

    Raises:
        SobertError: one clear line; finished work is kept for the next run.
        LeakageFound: train holds evaluation examples; there is no release then, and no run.
    """
    if task != recipe.task:
        raise BadValue(
            f"the recipe is one of {recipe.task}, not of {task}; give a recipe of {task}"
        )
    _check_rule(recipe, sources)
    name = recipe.card.name
    with store.lock():
        _check_name(store, name, task)
        corpus = _read_corpus(store, recipe)
        artifacts = run_line(recipe, corpus, sources, store, engine, reporter)
        store.write_run(name, artifacts)
        store.sweep()
    return artifacts


def run_line(
    recipe: BenchmarkRecipe,
    corpus: Corpus | None,
    sources: Sequence[str],
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> dict[str, Artifact]:
    """Call every stage that the task has, in order; return the artifact of each."""
    at = (store, engine, reporter)
    made: dict[str, Artifact] = {}
    if recipe.task == "obsoletion":
        posts, splits = _need(corpus, recipe, "posts", "splits")
        made["candidates"] = build_candidates(posts, splits, recipe, *at)
        made["items"] = build_items(made["candidates"], posts, recipe, *at)
        if not sources:
            return made
        made["examples"] = build_published_examples(sources, recipe, made["items"], *at)
    elif sources:
        documents = corpus["scrub"] if corpus and recipe.ner else None
        made["examples"] = build_published_examples(sources, recipe, None, *at, documents=documents)
    else:
        posts, splits = _need(corpus, recipe, "posts", "splits")
        made["labels"] = build_labels(posts, splits, recipe, *at)
        made["examples"] = build_question_examples(made["labels"], posts, recipe, *at)
    _check_any(made["examples"])
    dataset = corpus["dataset"] if corpus else None
    made["benchmark"] = build_benchmark_data(made["examples"], dataset, recipe, *at)
    _check_labels(made["benchmark"], recipe)
    made["contamination"] = build_contamination(made["benchmark"], corpus, recipe, *at)
    check_contamination(made["contamination"])
    made["probes"] = build_probes(made["benchmark"], recipe, *at)
    made["release"] = build_benchmark_release(made, recipe, *at)
    return made


def _check_any(examples: Artifact) -> None:
    """Raise BadValue where there is no example, saying what became of what was read."""
    if not any(entry.num_rows for entry in examples.files("examples/")):
        flows = examples.manifest.outcome.flows.values()
        rejected = [f"{num:,} {reason}" for flow in flows for reason, num in flow.rejected.items()]
        raise BadValue(
            f"there is no example ({', '.join(rejected) or 'nothing was read'}); read from more "
            "sites, judge more items, or look at what the recipe leaves out"
        )


def _check_labels(benchmark: Artifact, recipe: BenchmarkRecipe) -> None:
    """Raise BadValue where all examples have one label: there is nothing to tell apart."""
    counts = count_examples(benchmark)
    labels = {label for row in counts.values() for label, num in row.items() if num} - {"examples"}
    if not recipe.ner and len(labels) < 2:
        raise BadValue(
            f"all examples are {', '.join(labels) or 'left out'}: there is nothing to tell apart; "
            "read from more sites, or ask for less in the recipe"
        )


def _check_rule(recipe: BenchmarkRecipe, sources: Sequence[str]) -> None:
    """Raise BadValue where the recipe has a rule for labels that published files bring along."""
    section = getattr(recipe, recipe.task)
    ignored = sorted(section.model_fields_set & RULE_KEYS) if sources else []
    if ignored and recipe.task in ("quality", "closed"):
        raise BadValue(
            f"{recipe.task}.{ignored[0]} is for labels from a dump; published files have theirs: "
            "remove the key, or build without --source"
        )


def _check_name(store: Store, name: str, task: Task) -> None:
    """Raise BadValue where another kind of build has this name."""
    if name not in store.run_names():
        return
    run = store.read_run(name)
    kind = "corpus" if "dump" in run else _task_of(run)
    if kind != task:
        raise BadValue(
            f"{name!r} is a build of {kind} in this store; give the recipe another card.name"
        )


def _task_of(run: Corpus) -> str:
    if "items" in run:
        return "obsoletion"
    return str(run["benchmark"].manifest.recipe["task"])


def _read_corpus(store: Store, recipe: BenchmarkRecipe) -> Corpus | None:
    name = recipe.benchmark.corpus
    if name is None:
        return None
    corpus = store.read_run(name)
    if "dataset" not in corpus:
        raise StoreError(
            f"{name!r} is a benchmark, not a corpus; name a corpus as benchmark.corpus"
        )
    return corpus


def _need(corpus: Corpus | None, recipe: BenchmarkRecipe, *stages: str) -> list[Artifact]:
    if corpus is None:
        raise BadValue(
            f"the recipe {recipe.card.name!r} names no corpus; set benchmark.corpus to a build of "
            "this store, or give published files with --source"
        )
    return [corpus[stage] for stage in stages]
