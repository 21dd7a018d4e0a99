"""The proof that a corpus's train split holds nothing of a benchmark's evaluation examples.

Nothing of the benchmark's own build is believed: all is found anew in the finished files of both,
with other hashes. Evaluation examples are those of validation and test; the sentences of one post
are one text.

    thread          none is of a thread that train has
    near_duplicate  none is within the recipe's threshold of a document of train: exact, all pairs
    ngram           of none does train hold more than the recipe's share of n-grams
    canary          no document of train holds the string that test files carry

Writes `proof.json`, as the corpus's own proof does, and before that plants examples in train and
must find them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.boundaries import MAX_OFFENDERS, list_sources, make_check, name_row
from corpus.contamination import (
    Evaluation,
    Source,
    describe_evaluation,
    find_fractions,
    find_near,
    locate,
)
from corpus.engine import Engine
from corpus.errors import BadValue, LeakageFound, StoreError
from corpus.leakage import check_detector
from corpus.manifest import Json, Outcome
from corpus.progress import Reporter
from corpus.recipe import Split
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, read_table, write_table
from labeling.dealing import CANARY, make_benchmark_settings
from labeling.recipe import BenchmarkRecipe, parse_benchmark_recipe

VERSION = 1
SEED = 7_919  # not that of the build
EVALUATION_SPLITS: tuple[Split, ...] = ("validation", "test")
COLUMNS = ("example_id", "site", "thread_id", "text")
TEXT_SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("thread", pa.string()),
        ("text", pa.string()),
        ("body_end", pa.int32()),
    ]
)


def build_contamination(
    benchmark: Artifact,
    dataset: Artifact,
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Compare a benchmark's evaluation examples with a corpus's train split; keep what was found.

    Args:
        benchmark: the files that are published.
        dataset: the corpus's.
        recipe: the benchmark's: what counts as shared.
        store: where artifacts lie.
        engine: where tasks run.
        reporter: what the person sees.

    Raises:
        IntegrityError: the detector does not find what was planted.
    """

    def make(work: Work) -> Outcome:
        evaluated = _write_texts(work.folder, benchmark)
        train = list_sources(dataset, "train")
        evaluation = describe_evaluation(work, evaluated, make_benchmark_settings(recipe, SEED))
        check_detector(work, evaluation, evaluated)
        checks = [
            _check_threads(evaluated, train),
            _check_near(work, evaluation, evaluated, train),
            _check_ngrams(work, evaluation, evaluated, train, recipe.benchmark.max_overlap),
            _check_canary(work, train),
        ]
        path = work.folder / "proof.json"
        path.write_text(json.dumps({"checks": checks}, indent=2) + "\n", "utf-8")
        figures = {check["check"]: check["num_found"] for check in checks}
        return Outcome((describe_file(path, "proof.json"),), {}, figures)

    section = recipe.benchmark.model_dump(
        mode="json", include={"near_duplicate", "ngram_tokens", "max_overlap"}
    )
    inputs = {"benchmark": benchmark, "dataset": dataset}
    return store.build("contamination", VERSION, section, inputs, make, engine, reporter)


def prove_contamination(
    store: Store, name: str, corpus: str, *, engine: Engine, reporter: Reporter
) -> Artifact:
    """Compare a built benchmark with any corpus of the same store.

    Raises:
        StoreError: the one is no benchmark, or the other no corpus.
    """
    made, other = store.read_run(name), store.read_run(corpus)
    if "release" not in made or "benchmark" not in made:
        raise StoreError(
            f"{name!r} is no finished benchmark; build it with `sobert labeling build`"
        )
    if "dataset" not in other:
        raise StoreError(f"{corpus!r} is no corpus; --corpus takes a `sobert corpus build`")
    recipe = parse_benchmark_recipe(made["release"].manifest.recipe)
    with store.lock():
        return build_contamination(
            made["benchmark"], other["dataset"], recipe, store, engine, reporter
        )


def read_checks(proof: Artifact) -> list[Json]:
    """Return the checks of a proof: what each compared and found, and the first offenders."""
    checks: list[Json] = json.loads(proof.path("proof.json").read_bytes())["checks"]
    return checks


def check_contamination(proof: Artifact) -> None:
    """Raise LeakageFound where the proof found something."""
    found = {check: num for check, num in proof.manifest.outcome.figures.items() if num}
    if found:
        what = ", ".join(f"{num} by {check}" for check, num in found.items())
        raise LeakageFound(
            f"the corpus's train split holds evaluation examples of the benchmark ({what}); hold "
            "their threads out (splits.hold_out_files) and build the corpus again; offenders: "
            f"{proof.path('proof.json')}"
        )


def _write_texts(folder: Path, benchmark: Artifact) -> list[Source]:
    """Write the evaluation texts, the sentences of a post as one; one file a split."""
    sources = []
    for split in EVALUATION_SPLITS:
        entries = benchmark.files(f"data/{split}-")
        if not entries:
            continue
        tables = [read_table(benchmark.path(entry.name), COLUMNS) for entry in entries]
        texts = _join_sentences(pa.concat_tables(tables))
        write_table(folder, f"{split}.parquet", texts, TEXT_SCHEMA)
        sources.append(Source(split, folder / f"{split}.parquet", split))
    if not sources:
        raise BadValue(
            "the benchmark has no validation or test examples: there is nothing to prove"
        )
    return sources


def _join_sentences(rows: pa.Table) -> pa.Table:
    """Return a row a post: `<site>/<post>` is what an example_id begins with."""
    texts: dict[str, list[str]] = {}
    threads: dict[str, str] = {}
    listed = zip(*(rows[name].to_pylist() for name in COLUMNS), strict=True)
    for example_id, site, thread_id, text in sorted(listed, key=_by_number):
        post = example_id if example_id.count("/") == 1 else example_id.rpartition("/")[0]
        texts.setdefault(post, []).append(text)
        threads[post] = f"{site}/{thread_id}"
    joined = {post: "\n".join(parts) for post, parts in texts.items()}
    columns_by_name = {
        "example_id": list(joined),
        "thread": list(threads.values()),
        "text": list(joined.values()),
        "body_end": [len(text) for text in joined.values()],
    }
    return pa.table(columns_by_name, schema=TEXT_SCHEMA)


def _by_number(row: tuple[str, ...]) -> list[tuple[int, str]]:
    """Sort ids by their parts, numbers as numbers."""
    parts = row[0].split("/")
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _check_threads(evaluated: Sequence[Source], train: Sequence[Source]) -> Json:
    rows = pa.concat_tables(
        [read_table(source.documents, ["example_id", "thread"]) for source in evaluated]
    )
    is_there = np.zeros(len(rows), bool)
    wanted = rows["thread"].combine_chunks()
    for source in train:
        documents = read_table(source.documents, ["site", "thread_id"])
        threads = pc.binary_join_element_wise(
            documents["site"], documents["thread_id"].cast(pa.string()), "/"
        )
        is_there |= np.asarray(pc.is_in(wanted, pc.unique(threads)), bool)
    found = rows.filter(pa.array(is_there))
    return make_check("thread", len(rows), 0, len(found), found[:MAX_OFFENDERS].to_pylist())


def _check_near(
    work: Work, evaluation: Evaluation, evaluated: Sequence[Source], train: Sequence[Source]
) -> Json:
    near = find_near(work, evaluation, train)
    first = [
        _name(evaluation, evaluated, number)
        | {"near": name_row(train[source], row)["doc_id"], "jaccard": round(shared / total, 4)}
        for number, source, row, shared, total in near[:MAX_OFFENDERS].tolist()
    ]
    num_examples, limit = int(evaluation.starts[-1]), evaluation.settings.threshold
    return make_check("near_duplicate", num_examples, limit, len(near), first)


def _check_ngrams(
    work: Work,
    evaluation: Evaluation,
    evaluated: Sequence[Source],
    train: Sequence[Source],
    limit: float,
) -> Json:
    fractions = find_fractions(work, evaluation, train)
    over = np.flatnonzero(fractions > limit)
    first = [
        _name(evaluation, evaluated, number)
        | {"fraction_in_train": round(float(fractions[number]), 4)}
        for number in over[:MAX_OFFENDERS].tolist()
    ]
    return make_check("ngram", len(fractions), limit, len(over), first)


def _check_canary(work: Work, train: Sequence[Source]) -> Json:
    tasks = [Task(f"canary-{source.name}", source) for source in train]
    counts = [outcome.figures for outcome in work.map(_count_canaries, tasks)]
    num_documents, num_found = (
        sum(count[name] for count in counts) for name in ("documents", "canaries")
    )
    return make_check("canary", num_documents, 0, num_found, [])


def _count_canaries(_: Path, source: Source) -> Outcome:
    texts = read_table(source.documents, ["text"])["text"]
    num_found = pc.sum(pc.match_substring(texts, CANARY)).as_py() or 0
    return Outcome((), {}, {"documents": len(texts), "canaries": num_found})


def _name(evaluation: Evaluation, evaluated: Sequence[Source], number: int) -> Json:
    """Name one evaluation example (of sentences: their post) and its split."""
    sources, rows = locate(evaluation, np.array([number]))
    source = evaluated[int(sources[0])]
    ids = read_table(source.documents, ["example_id"])["example_id"]
    return {"example_id": ids[int(rows[0])].as_py(), "split": source.split}
