"""The proof that train holds nothing of a benchmark's evaluation examples: its own and a corpus's.

Nothing of the benchmark's own build is believed: all is found anew in the finished files of both,
with other hashes. Evaluation examples are those of validation and test; the sentences of one post
are one text.

    thread          none is of a thread that the corpus's train has
    duplicate_link  none is of a thread that duplicate links join, over any others, to one of train
    near_duplicate  none is within the recipe's threshold of a document of train: exact, all pairs
    ngram           of none does train hold more than the recipe's share of n-grams
    canary          no document of train quotes the string that test files carry
    own_thread, own_near_duplicate, own_ngram    the same of the benchmark's own train; of
                    sentences (`ner`) the thread alone, for what repeats is marked there

Threads can be compared only where the corpus has their site; `num_compared` counts those.

Writes `proof.json`, as the corpus's own proof does, and before that plants examples in train and
must find them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.boundaries import MAX_OFFENDERS, find_present, list_sources, make_check
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
from corpus.groups import group_threads, link_pairs, list_threads
from corpus.leakage import check_detector
from corpus.lookup import Array
from corpus.manifest import Json, Outcome
from corpus.progress import Reporter
from corpus.recipe import SPLITS, Split
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, read_table, write_table
from labeling.dealing import CANARY, make_benchmark_settings
from labeling.recipe import BenchmarkRecipe, read_stored_recipe

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


class Comparison(NamedTuple):
    """The evaluation examples, described, and the most n-grams that train may hold of one."""

    work: Work
    evaluation: Evaluation
    evaluated: Sequence[Source]
    max_overlap: float


def build_contamination(
    benchmark: Artifact,
    corpus: Mapping[str, Artifact] | None,
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Compare a benchmark's evaluation examples with train; keep what was found.

    Args:
        benchmark: the files that are published.
        corpus: `dataset` and `posts` of the corpus; None: the benchmark's own train alone.
        recipe: the benchmark's: what counts as shared.
        store: where artifacts lie.
        engine: where tasks run.
        reporter: what the person sees.

    Raises:
        BadValue: there are no evaluation examples.
        IntegrityError: the detector does not find what was planted.
    """

    def make(work: Work) -> Outcome:
        evaluated = _write_texts(work.folder, benchmark, EVALUATION_SPLITS)
        settings = make_benchmark_settings(recipe, SEED)
        evaluation = describe_evaluation(work, evaluated, settings)
        check_detector(work, evaluation, evaluated)
        own = _write_texts(work.folder, benchmark, ("train",))
        comparison = Comparison(work, evaluation, evaluated, recipe.benchmark.max_overlap)
        checks = [_check_own_threads(evaluated, own)]
        if not recipe.ner:
            checks += _check_texts(comparison, own, "own_")
        if corpus:
            train = list_sources(corpus["dataset"], "train")
            checks += _check_corpus_threads(evaluated, corpus)
            checks += _check_texts(comparison, train, "")
            checks.append(_check_canary(work, train))
        path = work.folder / "proof.json"
        path.write_text(json.dumps({"checks": checks}, indent=2) + "\n", "utf-8")
        figures = {check["check"]: check["num_found"] for check in checks}
        return Outcome((describe_file(path, "proof.json"),), {}, figures)

    section = recipe.benchmark.model_dump(
        mode="json", include={"near_duplicate", "ngram_tokens", "max_overlap"}
    )
    read = {name: corpus[name] for name in ("dataset", "posts")} if corpus else {}
    inputs = {"benchmark": benchmark, **read}
    proof = store.build("contamination", VERSION, section, inputs, make, engine, reporter)
    for note in _note_gaps(proof):
        reporter.say(f"note: {note}")
    return proof


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
    recipe = read_stored_recipe(made["release"].manifest.recipe)
    with store.lock():
        return build_contamination(made["benchmark"], other, recipe, store, engine, reporter)


def read_checks(proof: Artifact) -> list[Json]:
    """Return the checks of a proof: what each compared and found, and the first offenders."""
    checks: list[Json] = json.loads(proof.path("proof.json").read_bytes())["checks"]
    return checks


def check_contamination(proof: Artifact) -> None:
    """Raise LeakageFound where the proof found something."""
    found = {check: num for check, num in proof.manifest.outcome.figures.items() if num}
    if found:
        what = ", ".join(f"{num} by {check}" for check, num in found.items())
        todo = "hold their threads out (splits.hold_out_files) and build the corpus again"
        if any(check.startswith("own_") for check in found):
            todo = "this is a fault in sobert, report it"
        raise LeakageFound(
            f"train holds evaluation examples of the benchmark ({what}); {todo}; offenders: "
            f"{proof.path('proof.json')}"
        )


def _note_gaps(proof: Artifact) -> Iterator[str]:
    for check in read_checks(proof):
        if check["check"] == "thread" and check["sites_missing"]:
            sites = ", ".join(check["sites_missing"])
            yield (
                f"the corpus has nothing of {sites}, so threads of the benchmark could not be "
                "compared by id; name its folder as the site is called, or give SITE=PATH"
            )


def _write_texts(folder: Path, benchmark: Artifact, splits: Sequence[Split]) -> list[Source]:
    """Write the texts of some splits, the sentences of a post as one; one file a split."""
    sources = []
    for split in splits:
        entries = benchmark.files(f"data/{split}-")
        if not entries:
            continue
        tables = [read_table(benchmark.path(entry.name), COLUMNS) for entry in entries]
        texts = _join_sentences(pa.concat_tables(tables))
        write_table(folder, f"{split}.parquet", texts, TEXT_SCHEMA)
        sources.append(Source(split, folder / f"{split}.parquet", split))
    if not sources and splits == EVALUATION_SPLITS:
        raise BadValue(
            "the benchmark has no validation or test examples: there is nothing to prove; read "
            "from more sites, or give these splits more in the recipe"
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


def _check_own_threads(evaluated: Sequence[Source], own: Sequence[Source]) -> Json:
    rows = _read_threads(evaluated)
    in_train = _read_threads(own)["thread"] if own else pa.array([], pa.string())
    found = rows.filter(pc.is_in(rows["thread"], pc.unique(in_train)))
    offenders = found[:MAX_OFFENDERS].to_pylist()
    return make_check("own_thread", len(rows), 0, len(found), offenders)


def _check_corpus_threads(
    evaluated: Sequence[Source], corpus: Mapping[str, Artifact]
) -> list[Json]:
    """Compare threads by id, and over the duplicate links of the corpus."""
    rows = _read_threads(evaluated)
    present = find_present(corpus["dataset"])
    known = present.threads.sites
    sites, ids = _split_names(rows["thread"])
    in_corpus = np.isin(sites, known)
    train = present.threads.names(np.flatnonzero(present.is_in[SPLITS.index("train")]))
    train_sites, train_ids = _split_names(train)
    asked = [(site, ids[in_corpus & (sites == site)]) for site in known]
    trained = [(site, train_ids[train_sites == site]) for site in known]
    # The threads of train and those that are asked about; other splits do not matter.
    threads = list_threads([*asked, *trained])
    is_train = np.zeros(len(threads.keys), bool)
    for site, thread_ids in trained:
        is_train[threads.find(site, thread_ids)] = True
    pairs = link_pairs(threads.sites, corpus["posts"])
    group_of = group_threads(threads, np.zeros(len(is_train)), pairs)
    holds_train = np.bincount(group_of, is_train, len(is_train)) > 0
    places = np.full(len(rows), -1, "i8")
    for site, thread_ids in asked:
        places[in_corpus & (sites == site)] = threads.find(site, thread_ids)
    is_in_train = (places >= 0) & np.append(is_train, False)[places]
    is_linked = (places >= 0) & np.append(holds_train[group_of], False)[places] & ~is_in_train
    missing = sorted(set(sites.tolist()) - set(known))
    return [
        make_check(
            check,
            int(in_corpus.sum()),
            0,
            int(is_found.sum()),
            rows.filter(pa.array(is_found))[:MAX_OFFENDERS].to_pylist(),
        )
        | {"sites_missing": missing}
        for check, is_found in (("thread", is_in_train), ("duplicate_link", is_linked))
    ]


def _split_names(names: pa.Array | pa.ChunkedArray) -> tuple[Array, Array]:
    """Return site, as strings, and thread id, int64, of each `<site>/<thread_id>`."""
    parts = [name.rpartition("/") for name in names.to_pylist()]
    sites = np.array([site for site, _, _ in parts], object).astype(str)
    return sites, np.array([int(number) for _, _, number in parts], "i8")


def _read_threads(sources: Sequence[Source]) -> pa.Table:
    return pa.concat_tables(
        [read_table(source.documents, ["example_id", "thread"]) for source in sources]
    )


def _check_texts(one: Comparison, train: Sequence[Source], prefix: str) -> list[Json]:
    near = find_near(one.work, one.evaluation, train)
    first = [
        _name(one, number)
        | {"near": _name_row(train[source], row), "jaccard": round(shared / total, 4)}
        for number, source, row, shared, total in near[:MAX_OFFENDERS].tolist()
    ]
    num_examples, threshold = int(one.evaluation.starts[-1]), one.evaluation.settings.threshold
    fractions = find_fractions(one.work, one.evaluation, train)
    over = np.flatnonzero(fractions > one.max_overlap)
    quoting = [
        _name(one, number) | {"fraction_in_train": round(float(fractions[number]), 4)}
        for number in over[:MAX_OFFENDERS].tolist()
    ]
    return [
        make_check(f"{prefix}near_duplicate", num_examples, threshold, len(near), first),
        make_check(f"{prefix}ngram", num_examples, one.max_overlap, len(over), quoting),
    ]


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


def _name(one: Comparison, number: int) -> Json:
    """Name one evaluation example (of sentences: their post) and its split."""
    sources, rows = locate(one.evaluation, np.array([number]))
    source = one.evaluated[int(sources[0])]
    return {"example_id": _name_row(source, int(rows[0])), "split": source.split}


def _name_row(source: Source, row: int) -> str:
    """Return the id of a document of a corpus, or of an example."""
    names = set(pq.read_schema(source.documents).names)
    column = "doc_id" if "doc_id" in names else "example_id"
    name: str = read_table(source.documents, [column])[column][row].as_py()
    return name
