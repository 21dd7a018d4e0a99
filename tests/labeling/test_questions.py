"""Which questions are drawn, and what their examples hold."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.engine import LocalEngine
from corpus.progress import Reporter
from corpus.store import Artifact, Store
from corpus.tables import read_table
from labeling.labels import build_labels
from labeling.questions import build_question_examples, draw_questions
from labeling.recipe import BenchmarkRecipe, parse_benchmark_recipe
from tests.conftest import Build
from tests.labeling.conftest import day

CARD = {"name": "x", "title": "X", "summary": ""}


def make_recipe(task: str, **section: object) -> BenchmarkRecipe:
    content = {"card": CARD, "benchmark": {"corpus": "demo"}, task: section}
    return parse_benchmark_recipe(content)


def make_table(rows: list[tuple[int, str, str]]) -> pa.Table:
    ids, labels, splits = ([row[n] for row in rows] for n in range(3))
    times = pa.array([day(one % 1000) for one in ids], pa.timestamp("ms", "UTC"))
    names = {"label": pa.array(labels, pa.string()), "split": pa.array(splits, pa.string())}
    return pa.table({"post_id": pa.array(ids, pa.int64()), **names, "asked_at": times})


def draw(rows: list[tuple[int, str, str]], recipe: BenchmarkRecipe) -> list[tuple[int, str, str]]:
    (reasons,) = draw_questions([("x.org", make_table(rows))], recipe)
    return [row for row, reason in zip(rows, reasons, strict=True) if not reason]


LABELLED = st.lists(
    st.tuples(
        st.integers(1, 10**6),
        st.sampled_from(["open", "open", "open", "closed"]),
        st.sampled_from(["train", "test"]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda row: row[0],
)


@settings(deadline=None)
@given(LABELLED, st.integers(0, 60))
def test_a_balanced_draw_has_as_many_open_as_closed_in_each_split(rows: list, cut: int) -> None:
    tables = [("x.org", make_table(rows[:cut])), ("y.org", make_table(rows[cut:]))]
    tables = [(site, table) for site, table in tables if len(table)]
    drawn = draw_questions(tables, make_recipe("closed", rate="balanced"))
    chosen = [
        (row["label"], row["split"])
        for (_, table), reasons in zip(tables, drawn, strict=True)
        for row, reason in zip(table.to_pylist(), reasons, strict=True)
        if not reason
    ]
    for split in ("train", "test"):
        all_closed = sum((label, where) == ("closed", split) for _, label, where in rows)
        all_open = sum((label, where) == ("open", split) for _, label, where in rows)
        assert chosen.count(("closed", split)) == min(all_closed, all_open)
        assert chosen.count(("open", split)) == min(all_closed, all_open)


@settings(deadline=None)
@given(LABELLED, st.randoms())
def test_what_is_drawn_does_not_depend_on_the_order_of_the_questions(rows: list, chance) -> None:
    shuffled = rows[:]
    chance.shuffle(shuffled)
    recipe = make_recipe("closed", rate="balanced")
    chosen = []
    for order in (rows, shuffled):
        chosen.append({row[0] for row in draw(order, recipe)})
    assert chosen[0] == chosen[1]


def test_a_cap_of_each_class_is_shared_by_the_splits() -> None:
    rows = [(n, "HQ", "train" if n % 4 else "test") for n in range(1, 41)]
    rows += [(n, "LQ_EDIT", "train") for n in range(41, 44)]
    kept = draw(rows, make_recipe("quality", per_class=20))
    assert sum(row[1:] == ("HQ", "train") for row in kept) == 15
    assert sum(row[1:] == ("HQ", "test") for row in kept) == 5
    assert sum(row[1] == "LQ_EDIT" for row in kept) == 3


def examples_of(build: Build, store: Store, recipe: BenchmarkRecipe) -> tuple[Artifact, pa.Table]:
    posts, splits = build.artifacts["posts"], build.artifacts["splits"]
    at = (store, LocalEngine(), Reporter(quiet=True))
    made = build_question_examples(build_labels(posts, splits, recipe, *at), posts, recipe, *at)
    tables = [read_table(made.path(entry.name)) for entry in made.files("examples/")]
    return made, pa.concat_tables(tables)


@pytest.mark.parametrize("task", ["quality", "closed"])
def test_inputs_are_the_first_revision_and_predate_their_labels(
    demo_build: Build, demo_copy: Store, task: str
) -> None:
    _, table = examples_of(demo_build, demo_copy, make_recipe(task))
    rows = table.to_pylist()
    assert rows
    for row in rows:
        assert row["label_at"] is None or row["input_at"] <= row["label_at"]
        assert not re.search(r"\[closed\]|Possible Duplicate|already has an answer", row["text"])
        covered = "".join(row["text"][s["start"] : s["end"]] for s in row["segments"])
        assert len(row["text"]) - len(covered) == 2 * (len(row["segments"]) - 1)
        assert row["licence"].startswith("CC BY-SA") and row["link"].startswith("https://")
        assert row["author_name"]


def test_an_edited_question_is_shown_as_it_was_before(demo_build: Build, demo_copy: Store) -> None:
    _, table = examples_of(demo_build, demo_copy, make_recipe("quality"))
    by_id = {row["example_id"]: row for row in table.to_pylist()}
    edited = by_id["homelab.example.org/265"]
    documents = demo_build.artifacts["documents"]
    (now,) = [
        row["text"]
        for entry in documents.files("documents/homelab.example.org/")
        for row in read_table(documents.path(entry.name), ["post_id", "text"]).to_pylist()
        if row["post_id"] == 265
    ]
    assert edited["text"] != now and edited["label"] == "LQ_EDIT"
    # The published set's leak: rendered for the others, as typed for this class.
    assert not edited["raw_body"].startswith("<p>")
    assert by_id["homelab.example.org/4"]["raw_body"].startswith("<p>")


def test_rows_in_are_rows_out_and_not_drawn(demo_build: Build, demo_copy: Store) -> None:
    made, table = examples_of(demo_build, demo_copy, make_recipe("closed", max_questions=4))
    flow = made.manifest.outcome.flows["questions"]
    assert flow.num_out == len(table) <= 4
    assert flow.num_in == flow.num_out + sum(flow.rejected.values())
