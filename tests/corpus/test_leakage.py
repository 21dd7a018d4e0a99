"""The proof finds every kind of leak that is planted, and none where there is none."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from corpus import contamination, leakage, splits
from corpus.build import run_line
from corpus.dataset import DATASET_SCHEMA, build_dataset
from corpus.dedup import build_dedup
from corpus.demo import CHAIN
from corpus.documents import TEXT_COLUMNS
from corpus.dump import find_tables
from corpus.engine import LocalEngine
from corpus.errors import IntegrityError, LeakageFound
from corpus.leakage import build_leakage
from corpus.manifest import Json, Outcome
from corpus.progress import Reporter
from corpus.recipe import SPLITS, CutsSection, Recipe, parse_recipe
from corpus.splits import build_splits
from corpus.store import Artifact, Store, Work
from corpus.tables import read_table, write_table
from sobert import main

CHECKOUT = Path(__file__).resolve().parents[2]
RECIPE = CHECKOUT / "datacards" / "demo" / "recipe.toml"
GARDENS, HOMELAB = "gardens.example.org", "homelab.example.org"

Row = dict[str, Any]
Rows = dict[str, list[Row]]  # by split
Prove = Callable[..., dict[str, Json]]


def words(first: int, last: int) -> str:
    return " ".join(f"word{number}" for number in range(first, last))


def read_rows(dataset: Artifact) -> Rows:
    rows: Rows = {split: [] for split in SPLITS}
    for entry in dataset.files("data/"):
        split = entry.name.removeprefix("data/").split("-")[0]
        rows[split] += read_table(dataset.path(entry.name)).to_pylist()
    return rows


def write_rows(rows: Rows, work: Work) -> Outcome:
    files = []
    for split, documents in rows.items():
        sites = sorted({row["site"] for row in documents})
        for number, site in enumerate(sites):
            of_site = [row for row in documents if row["site"] == site]
            name = f"data/{split}-{number:05d}-of-{len(sites):05d}.parquet"
            table = pa.Table.from_pylist(of_site, DATASET_SCHEMA)
            files.append(
                write_table(work.folder, name, table, DATASET_SCHEMA, text_columns=TEXT_COLUMNS)
            )
    return Outcome(tuple(files))


def retell(row: Row, text: str) -> None:
    row.update(text=text, body_end=len(text))


def threads_in(rows: Rows, split: str) -> dict[tuple[str, int], list[Row]]:
    threads: dict[tuple[str, int], list[Row]] = {}
    for row in rows[split]:
        threads.setdefault((row["site"], row["thread_id"]), []).append(row)
    return threads


@pytest.fixture
def rows(demo_build: Any) -> Rows:
    """The documents of the demo dataset, to tamper with."""
    return read_rows(demo_build.artifacts["dataset"])


@pytest.fixture
def prove(demo_build: Any, tmp_path: Path) -> Prove:
    """Prove a dataset of these rows; return the checks that found something, by name."""

    def run(rows: Rows, **updates: Any) -> dict[str, Json]:
        recipe: Recipe = demo_build.recipe
        section = recipe.splits.model_copy(update=updates)
        recipe = recipe.model_copy(update={"splits": section})
        store = tmp_path / f"store-{len(list(tmp_path.iterdir()))}"
        at = (Store(store), LocalEngine(), Reporter(quiet=True))
        write = partial(write_rows, rows)
        dataset = at[0].build("dataset", 1, {"rows": repr(rows)}, {}, write, *at[1:])
        for _ in range(2):  # what was found is found again
            try:
                build_leakage(dataset, demo_build.artifacts["posts"], recipe, *at)
            except LeakageFound as error:
                assert error.exit_code == 3
                assert str(store / "leakage") in str(error)
        (path,) = store.glob("leakage/*/proof.json")
        checks = json.loads(path.read_text("utf-8"))["checks"]
        return {check["check"]: check for check in checks if check["num_found"]}

    return run


def test_the_demo_dataset_shares_nothing(rows: Rows, prove: Prove) -> None:
    assert prove(rows) == {}


def test_a_thread_in_two_splits_is_found(rows: Rows, prove: Prove) -> None:
    (site, thread_id), documents = next(
        (thread, documents)
        for thread, documents in threads_in(rows, "train").items()
        if len(documents) > 1
    )
    rows["train"].remove(documents[-1])
    rows["test"].append(documents[-1])
    found = prove(rows)
    assert list(found) == ["thread"]
    assert found["thread"]["offenders"] == [
        {"thread": f"{site}/{thread_id}", "splits": ["train", "test"]}
    ]


def move_thread(rows: Rows, site: str, thread_id: int) -> tuple[str, str]:
    """Move a whole thread to another split; return where it was and where it is."""
    (before,) = (s for s in SPLITS if (site, thread_id) in threads_in(rows, s))
    after = "test" if before != "test" else "train"
    moved = threads_in(rows, before)[site, thread_id]
    rows[before] = [row for row in rows[before] if row not in moved]
    rows[after] += moved
    return before, after


def test_a_duplicate_link_over_two_splits_is_found(rows: Rows, prove: Prove) -> None:
    before, after = move_thread(rows, GARDENS, 150)
    found = prove(rows)
    assert list(found) == ["duplicate_link"]
    assert found["duplicate_link"]["offenders"] == [
        {
            "threads": [
                {"thread": f"{GARDENS}/41", "splits": [before]},
                {"thread": f"{GARDENS}/150", "splits": [after]},
            ]
        }
    ]


def test_a_cluster_in_two_splits_is_found(rows: Rows, prove: Prove) -> None:
    site = CHAIN[0].split("/")[0]
    (thread_id,) = (
        row["thread_id"] for s in SPLITS for row in rows[s] if row["doc_id"] == CHAIN[0]
    )
    before, after = move_thread(rows, site, thread_id)
    found = prove(rows)
    assert list(found) == ["cluster"]
    (offender,) = found["cluster"]["offenders"]
    assert set(offender["splits"]) == {before, after}
    assert offender["cluster"] in CHAIN


@pytest.mark.parametrize(
    ("first", "second"), [("train", "test"), ("train", "validation"), ("validation", "test")]
)
def test_a_near_duplicate_in_a_split_before_is_found(
    rows: Rows, prove: Prove, first: str, second: str
) -> None:
    retell(rows[first][3], words(0, 60))
    retell(rows[second][2], f"{words(0, 55)} {words(70, 75)}")
    check = prove(rows)["near_duplicate"]
    (offender,) = check["offenders"]
    assert offender == {
        "doc_id": rows[second][2]["doc_id"],
        "split": second,
        "near": {"doc_id": rows[first][3]["doc_id"], "split": first},
        "jaccard": round(51 / 61, 4),
    }
    assert check["limit"] == 0.7


def test_what_is_below_the_threshold_is_no_near_duplicate(rows: Rows, prove: Prove) -> None:
    retell(rows["train"][3], words(0, 30))
    retell(rows["test"][2], f"{words(0, 24)} {words(70, 76)}")  # 20 of 32
    assert "near_duplicate" not in prove(rows)


def test_two_alike_of_one_split_are_no_leak(rows: Rows, prove: Prove) -> None:
    retell(rows["test"][2], words(0, 30))
    retell(rows["test"][3], words(0, 30))
    assert prove(rows) == {}


def test_an_evaluation_text_that_train_holds_is_found(rows: Rows, prove: Prove) -> None:
    retell(rows["train"][3], f"{words(100, 200)} {words(0, 30)} {words(200, 300)}")
    retell(rows["test"][2], f"{words(0, 30)} {words(400, 405)}")  # 18 of 23
    found = prove(rows)
    assert list(found) == ["ngram"]
    (offender,) = found["ngram"]["offenders"]
    assert offender == {
        "doc_id": rows["test"][2]["doc_id"],
        "split": "test",
        "fraction_in_train": round(18 / 23, 4),
    }


def test_as_much_as_the_limit_is_no_leak(rows: Rows, prove: Prove) -> None:
    retell(rows["train"][3], f"{words(100, 200)} {words(0, 30)} {words(200, 300)}")
    retell(rows["test"][2], f"{words(0, 30)} {words(400, 418)}")  # 18 of 36
    assert prove(rows) == {}


def test_a_held_out_thread_in_train_is_found(rows: Rows, prove: Prove) -> None:
    held_out = rows["train"][0]
    name = f"{held_out['site']}/{held_out['thread_id']}"
    test_thread = f"{rows['test'][0]['site']}/{rows['test'][0]['thread_id']}"
    found = prove(rows, hold_out=[name, test_thread])
    assert list(found) == ["hold_out"]
    assert found["hold_out"]["offenders"] == [{"thread": name, "splits": ["train"]}]


def test_what_is_newer_than_the_cut_is_found(rows: Rows, prove: Prove) -> None:
    newest = max(row["created_at"] for s in SPLITS for row in rows[s])
    after_all = date(newest.year + 10, 1, 1)
    assert prove(rows, cuts=CutsSection(test=after_all)) == {}
    late = rows["validation"][1]
    late["edited_at"] = datetime(after_all.year, 1, 1, tzinfo=UTC)
    found = prove(rows, cuts=CutsSection(test=after_all))
    assert list(found) == ["after_cut"]
    (offender,) = found["after_cut"]["offenders"]
    assert offender["doc_id"] == late["doc_id"]
    assert offender["newest_at"].startswith(str(after_all.year))


def test_many_offenders_are_counted_and_the_first_are_named(rows: Rows, prove: Prove) -> None:
    for split in ("train", "test"):
        for number in range(10):
            retell(rows[split][number], words(0, 60))
    check = prove(rows)["near_duplicate"]
    assert check["num_found"] == 100
    assert len(check["offenders"]) == 20
    threads = {(row["site"], row["thread_id"]) for s in SPLITS[:2] for row in rows[s]}
    rows["test"] += rows["train"] + rows["validation"]
    check = prove(rows)["thread"]
    assert check["num_found"] == len(threads) > 20
    assert len(check["offenders"]) == 20


@pytest.mark.parametrize("blind", ["find_near", "find_fractions"])
def test_a_blind_detector_proves_nothing(
    rows: Rows, prove: Prove, monkeypatch: pytest.MonkeyPatch, blind: str
) -> None:
    nothing = {
        "find_near": lambda *_: np.empty((0, 5), "i8"),
        "find_fractions": lambda work, evaluation, _: np.zeros(evaluation.starts[-1]),
    }
    monkeypatch.setattr(leakage, blind, nothing[blind])
    with pytest.raises(IntegrityError, match="blind") as caught:
        prove(rows)
    assert caught.value.exit_code == 3


def test_hashes_that_tell_nothing_apart_or_lose_all_are_seen_as_blind(
    rows: Rows, prove: Prove, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_all(texts: Sequence[str], **_: int) -> tuple[Any, Any]:
        return np.empty(0, "u8"), np.zeros(len(texts) + 1, "i8")

    monkeypatch.setattr(contamination, "shingle_sets", lose_all)
    with pytest.raises(IntegrityError, match="blind"):
        prove(rows)


@pytest.mark.parametrize(
    ("key", "value", "is_another"),
    [
        ("dedup.threshold", 0.8, True),
        ("dedup.shingle_tokens", 6, True),
        ("leakage.ngram_tokens", 12, True),
        ("leakage.max_overlap", 0.6, True),
        ("splits.cuts", CutsSection(test=date(2040, 1, 1)), True),
        ("splits.hold_out", ["x.org/1"], True),
        ("dedup.bands", 12, False),
        ("splits.salt", "another", False),
    ],
)
def test_the_proof_is_another_where_what_it_proves_is(
    demo_build: Any, tmp_path: Path, key: str, value: object, is_another: bool
) -> None:
    section, _, name = key.partition(".")
    updated = getattr(demo_build.recipe, section).model_copy(update={name: value})
    recipe = demo_build.recipe.model_copy(update={section: updated})
    artifacts = demo_build.artifacts
    at = (Store(tmp_path), LocalEngine(), Reporter(quiet=True))
    proof = build_leakage(artifacts["dataset"], artifacts["posts"], recipe, *at)
    assert (proof.folder.name != artifacts["leakage"].folder.name) == is_another


# The line, from documents to the proof.


@pytest.fixture
def line(
    make_documents: Callable[..., dict[str, Artifact]], tmp_path: Path
) -> Callable[..., Artifact]:
    """Run dedup, splits, dataset and the proof on documents given as rows."""

    def run(
        documents: Sequence[Row], links: Sequence[tuple[str, int, int]] = (), **sections: Any
    ) -> Artifact:
        card = {"name": "x", "title": "X", "summary": ""}
        recipe = parse_recipe({"card": card, **sections})
        made = make_documents(documents, links)
        at = (Store(tmp_path / "store"), LocalEngine(), Reporter(quiet=True))
        dedup = build_dedup(made["documents"], recipe.dedup, *at)
        dealt = build_splits(made["documents"], dedup, made["posts"], recipe, *at)
        dataset = build_dataset(made["documents"], dedup, dealt, recipe.splits, *at)
        return build_leakage(dataset, made["posts"], recipe, *at)

    return run


HALVES = {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}}
BLIND = {"bands": 1, "num_permutations": 120}


def tangled(num_documents: int) -> tuple[list[Row], list[tuple[str, int, int]]]:
    """Documents that quote, repeat and nearly repeat each other, with links among them."""
    rng = random.Random(0)
    rows: list[Row] = []
    for number in range(1, num_documents + 1):
        text = words(1000 * number, 1000 * number + rng.randrange(1, 60))
        if rows and rng.random() < 0.5:
            old = rng.choice(rows)["text"].split()
            some = old[: rng.randrange(len(old) + 1)]
            text = " ".join(some + text.split()[: rng.randrange(30)]) or "empty"
        thread_id = rng.choice(rows)["thread_id"] if rows and rng.random() < 0.4 else number
        rows.append({"post_id": number, "thread_id": thread_id, "text": text})
    ids = range(1, num_documents * 11 // 10)
    links = [("x.org", rng.choice(ids), rng.choice(ids)) for _ in range(num_documents // 10)]
    return rows, links


@pytest.mark.parametrize("dedup", [{}, BLIND])
def test_no_false_alarm_on_documents_that_repeat_each_other(
    line: Callable[..., Artifact], dedup: dict[str, int]
) -> None:
    rows, links = tangled(400)
    proof = line(rows, links, splits=HALVES, dedup=dedup)
    assert set(proof.manifest.outcome.figures.values()) == {0}
    by_check = {
        check["check"]: check
        for check in json.loads(proof.path("proof.json").read_text("utf-8"))["checks"]
    }
    assert by_check["near_duplicate"]["num_compared"] > 50
    assert by_check["duplicate_link"]["num_compared"] == 40


def test_what_the_splits_stage_does_not_see_the_proof_finds(
    line: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "find_near", lambda *_: np.empty((0, 5), "i8"))
    monkeypatch.setattr(
        splits, "find_fractions", lambda work, evaluation, _: np.zeros(evaluation.starts[-1])
    )
    rows, links = tangled(400)
    with pytest.raises(LeakageFound, match=r"\d+ by near_duplicate, \d+ by ngram"):
        line(rows, links, splits=HALVES, dedup=BLIND)


def test_hashes_that_hide_a_leak_from_the_splits_stage_do_not_hide_it_from_the_proof(
    line: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    shingle_sets = contamination.shingle_sets

    def unlucky(texts: Sequence[str], *, width: int, seed: int) -> tuple[Any, Any]:
        hashes, offsets = shingle_sets(texts, width=width, seed=seed)
        if seed == splits.SEED:  # no hash of one text is one of another
            hashes = hashes ^ np.random.default_rng(0).integers(0, 2**63, len(hashes), "u8")
            for first, last in pairwise(offsets):
                hashes[first:last].sort()
        return hashes, offsets

    monkeypatch.setattr(contamination, "shingle_sets", unlucky)
    rows, links = tangled(400)
    with pytest.raises(LeakageFound, match=r"\d+ by near_duplicate, \d+ by ngram"):
        line(rows, links, splits=HALVES, dedup=BLIND)


@pytest.mark.parametrize(
    ("fractions", "num_compared"),
    [
        ({"train": 1.0, "validation": 0.0, "test": 0.0}, 0),
        ({"train": 0.0, "validation": 0.0, "test": 1.0}, 40),
    ],
)
def test_splits_may_be_empty(
    line: Callable[..., Artifact], fractions: dict[str, float], num_compared: int
) -> None:
    rows = [{"post_id": n, "text": words(100 * n, 100 * n + 30)} for n in range(1, 41)]
    proof = line(rows, splits={"fractions": fractions})
    checks = json.loads(proof.path("proof.json").read_text("utf-8"))["checks"]
    assert [check["num_compared"] for check in checks[-2:]] == [num_compared] * 2


def test_two_duplicates_of_a_deleted_question_in_two_splits_are_found(
    line: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"post_id": n, "text": words(100 * n, 100 * n + 30)} for n in range(1, 41)]
    links = [("x.org", number, 99) for number in range(1, 41)]
    monkeypatch.setattr(splits, "link_pairs", lambda *_: np.empty((0, 2), "i8"))
    with pytest.raises(LeakageFound, match="1 by duplicate_link"):
        line(rows, links, splits=HALVES)


# The command line.


def build(dump: Path, store: Path, recipe: Path = RECIPE) -> Result:
    arguments = ["corpus", "build", recipe, "--dump", dump, "--store", store, "--quiet"]
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_a_build_that_leaks_ends_with_3_keeps_the_proof_and_has_no_name(
    demo_build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if groups had been forgotten: every thread is dealt alone.
    monkeypatch.setattr(splits, "group_threads", lambda threads, *_: np.arange(len(threads.keys)))
    store = tmp_path / "store"
    for _ in range(2):
        result = build(demo_build.dump, store)
        assert result.exit_code == 3
        assert result.stderr.count("\n") == 1
        assert "duplicate_link" in result.stderr
        (proof,) = store.glob("leakage/*/proof.json")
        assert str(proof) in result.stderr
        assert not list(store.glob("runs/*"))


@pytest.mark.parametrize(
    ("fractions", "exit_code", "message"),
    [
        ("{ train = 1.0, validation = 0.0, test = 0.0 }", 0, ""),
        ("{ train = 0.0, validation = 0.0, test = 1.0 }", 1, "the train split is empty"),
    ],
)
def test_a_corpus_needs_train_but_no_evaluation(
    demo_build: Any, tmp_path: Path, fractions: str, exit_code: int, message: str
) -> None:
    recipe = tmp_path / "recipe.toml"
    text = RECIPE.read_text("utf-8")
    recipe.write_text(re.sub("(?m)^fractions = .*", f"fractions = {fractions}", text), "utf-8")
    result = build(demo_build.dump, tmp_path / "store", recipe)
    assert (result.exit_code, message in result.stderr) == (exit_code, True)
    assert result.stderr.count("\n") == exit_code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("site", "dump", "num_documents"),
    [("iot", "2017-03", 828), ("bioinformatics", "2017-08", 1219), ("beer", "2016-09", 1891)],
)
def test_no_false_alarm_on_a_real_dump(
    shared_data: Path, tmp_path: Path, demo_build: Any, site: str, dump: str, num_documents: int
) -> None:
    name = f"{site}.stackexchange.com"
    tables = find_tables([f"{name}={shared_data / 'dumps' / name / dump}"])
    at = (Store(tmp_path), LocalEngine(), Reporter(quiet=True))
    artifacts = run_line(demo_build.recipe, tables, *at)
    assert set(artifacts["leakage"].manifest.outcome.figures.values()) == {0}
    assert sum(e.num_rows for e in artifacts["dataset"].files()) == num_documents
