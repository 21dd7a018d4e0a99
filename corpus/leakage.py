"""The proof: an independent pass over the finished dataset that finds what splits share.

Nothing of the splits stage is believed: all is found anew, in the published Parquet, with other
hashes, and in the links of the dump.

    thread          no thread has documents in two splits
    duplicate_link  no two threads that duplicate links join, over any others, are in two splits
    cluster         no cluster of near-duplicates has documents in two splits
    hold_out        no thread that the recipe holds out is in train or validation
    after_cut       where the recipe cuts by date, nothing in a split is newer than it may be
    near_duplicate  no evaluation document is within the dedup threshold of one in a split before
                    its own: exact Jaccard, all pairs
    ngram           no evaluation text has more than the recipe's share of its n-grams in train

Every run first plants evaluation documents in train and must find them by the last two; a proof
whose detector is blind proves nothing. Writes `proof.json`: for each check how much was compared,
how much was found, the limit, and the first offenders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from corpus.boundaries import (
    MAX_OFFENDERS,
    check_clusters,
    check_held_out,
    check_links,
    check_threads,
    check_times,
    find_present,
    list_sources,
    make_check,
    name_row,
)
from corpus.contamination import (
    Evaluation,
    Source,
    describe_evaluation,
    find_fractions,
    find_near,
    locate,
    make_settings,
)
from corpus.documents import body_texts
from corpus.engine import Engine
from corpus.errors import IntegrityError, LeakageFound
from corpus.groups import threads_held_out
from corpus.manifest import Json, Outcome
from corpus.progress import Reporter
from corpus.recipe import Recipe
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file, read_table, write_table

VERSION = 2
# Not the seed of the splits stage: what is one hash there for two texts is two here.
SEED = 7_919
# Documents planted of the first shard of each evaluation split.
NUM_PLANTED = 100
PLANTED_SCHEMA = pa.schema({"text": pa.string(), "body_end": pa.int32()})


def build_leakage(
    dataset: Artifact,
    posts: Artifact,
    recipe: Recipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Prove that the splits share nothing that they may not.

    Raises:
        LeakageFound: they do; the proof that says what is kept, and named in the message.
        IntegrityError: the detector does not find what was planted.
    """

    def make(work: Work) -> Outcome:
        present = find_present(dataset)
        checks = [
            check_threads(present),
            check_links(present, posts),
            check_clusters(dataset),
            check_held_out(present, threads_held_out(recipe.splits.hold_out, posts)),
            check_times(dataset, recipe.splits.cuts),
            *_check_texts(work, dataset, recipe),
        ]
        path = work.folder / "proof.json"
        path.write_text(json.dumps({"checks": checks}, indent=2) + "\n", "utf-8")
        figures = {check["check"]: check["num_found"] for check in checks}
        return Outcome((describe_file(path, "proof.json"),), {}, figures)

    section = {
        "dedup": recipe.dedup.model_dump(mode="json", include={"shingle_tokens", "threshold"}),
        "leakage": recipe.leakage.model_dump(mode="json"),
        "splits": recipe.splits.model_dump(mode="json", include={"cuts", "hold_out"}),
    }
    inputs = {"dataset": dataset, "posts": posts}
    proof = store.build("leakage", VERSION, section, inputs, make, engine, reporter)
    check_proof(proof)
    return proof


def check_proof(proof: Artifact) -> None:
    """Raise LeakageFound where the proof found something."""
    found = {check: num for check, num in proof.manifest.outcome.figures.items() if num}
    if found:
        what = ", ".join(f"{num} by {check}" for check, num in found.items())
        raise LeakageFound(
            f"the splits share what they must not ({what}); read the offenders in "
            f"{proof.path('proof.json')} before you change a limit"
        )


def _check_texts(work: Work, dataset: Artifact, recipe: Recipe) -> list[Json]:
    validation = list_sources(dataset, "validation")
    evaluated = [*validation, *list_sources(dataset, "test")]
    compared = [*list_sources(dataset, "train"), *validation]
    evaluation = describe_evaluation(work, evaluated, make_settings(recipe, SEED))
    check_detector(work, evaluation, evaluated)
    return [
        _check_near(work, evaluation, evaluated, compared),
        _check_ngrams(work, evaluation, evaluated, compared, recipe.leakage.max_overlap),
    ]


def _check_near(
    work: Work, evaluation: Evaluation, evaluated: Sequence[Source], compared: Sequence[Source]
) -> Json:
    pairs = find_near(work, evaluation, compared)
    first = [
        _name_document(evaluation, evaluated, number)
        | {"near": name_row(compared[source], row), "jaccard": round(shared / total, 4)}
        for number, source, row, shared, total in pairs[:MAX_OFFENDERS].tolist()
    ]
    num_documents, limit = int(evaluation.starts[-1]), evaluation.settings.threshold
    return make_check("near_duplicate", num_documents, limit, len(pairs), first)


def _check_ngrams(
    work: Work,
    evaluation: Evaluation,
    evaluated: Sequence[Source],
    compared: Sequence[Source],
    limit: float,
) -> Json:
    fractions = find_fractions(work, evaluation, compared)
    over = np.flatnonzero(fractions > limit)
    first = [
        _name_document(evaluation, evaluated, number)
        | {"fraction_in_train": round(float(fractions[number]), 4)}
        for number in over[:MAX_OFFENDERS].tolist()
    ]
    return make_check("ngram", len(fractions), limit, len(over), first)


def check_detector(work: Work, evaluation: Evaluation, evaluated: Sequence[Source]) -> None:
    """Plant the first documents of each evaluation split in train, and find them all.

    Raises:
        IntegrityError: one was not found.
    """
    for number, source in enumerate(evaluated):
        if number and evaluated[number - 1].split == source.split:
            continue
        rows = read_table(source.documents, PLANTED_SCHEMA.names)[:NUM_PLANTED]
        name = f"planted-{source.split}"
        write_table(work.folder, f"{name}.parquet", rows, PLANTED_SCHEMA)
        planted = [Source(name, work.folder / f"{name}.parquet", "train")]
        start = int(evaluation.starts[number])
        fractions = find_fractions(work, evaluation, planted)[start:]
        found = {
            (one - start, row) for one, _, row, *_ in find_near(work, evaluation, planted).tolist()
        }
        for row, body in enumerate(body_texts(rows)):
            is_found = (row, row) in found and fractions[row] == 1
            if re.search("[a-z]", body) and not is_found:
                raise IntegrityError(
                    f"the leakage proof is blind: row {row} of {source.name}, planted in train, "
                    "was not found; this is a fault in sobert, report it"
                )


def _name_document(evaluation: Evaluation, evaluated: Sequence[Source], number: int) -> Json:
    source, row = locate(evaluation, np.array([number]))
    return name_row(evaluated[int(source[0])], int(row[0]))
