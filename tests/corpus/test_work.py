"""Tasks of a stage are run once, and told apart by their names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.engine import LocalEngine
from corpus.manifest import Flow, Outcome
from corpus.progress import Reporter, advance, connect
from corpus.reuse import Reuse
from corpus.tables import describe_file
from corpus.work import Task, Work


@pytest.fixture
def amounts() -> Iterator[list[int]]:
    reported: list[int] = []
    before = connect(reported.append)
    yield reported
    connect(before)


def start(folder: Path) -> Work:
    (folder / ".tasks").mkdir(exist_ok=True)
    reuse = Reuse(folder.parent / "store", "demo", 1, "demo/0")
    return Work(folder, "demo", LocalEngine(), Reporter(quiet=True), reuse)


def write(folder: Path, name: str) -> Outcome:
    entries = []
    for part in ("b", "a"):
        path = folder / f"{name}-{part}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        entries.append(describe_file(path, f"{name}-{part}"))
    flows = {"y": Flow(1, 0, {"z": 1, "a": 0}), "x": Flow()}
    return Outcome(tuple(entries), flows, {"q": 2, "p": 1})


def refuse(folder: Path, payload: Any) -> Outcome:
    raise AssertionError("this was done before")


def report(folder: Path, amount: int) -> Outcome:
    for _ in range(amount):
        advance(1)
    return Outcome()


def test_outcomes_come_in_the_order_of_tasks(tmp_path: Path) -> None:
    outcomes = start(tmp_path).map(write, [Task(name, name) for name in ("c", "a", "b")])
    assert [outcome.files[0].name for outcome in outcomes] == ["c-b", "a-b", "b-b"]


def test_a_task_done_before_has_the_outcome_that_it_had_in_its_order(tmp_path: Path) -> None:
    tasks = [Task("x/1", "x"), Task("x/2", "y")]
    first = start(tmp_path).map(write, tasks)
    again = start(tmp_path).map(refuse, tasks)
    assert repr(again) == repr(first)


def test_a_record_is_named_after_its_task_and_holds_its_outcome(tmp_path: Path) -> None:
    start(tmp_path).map(write, [Task("x/1", "x")])
    [record] = (tmp_path / ".tasks").iterdir()
    assert record.name == "x~1.json"
    assert [entry["name"] for entry in json.loads(record.read_bytes())["files"]] == ["x-b", "x-a"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"files": [{}]}', '{"files": 3, "flows": {}}', "\0"]
)
def test_a_record_that_is_none_is_no_record(tmp_path: Path, content: str) -> None:
    [first] = start(tmp_path).map(write, [Task("x", "x")])
    (tmp_path / ".tasks" / "x.json").write_text(content)
    with pytest.raises(AssertionError, match="this was done before"):
        start(tmp_path).map(refuse, [Task("x", "x")])
    assert start(tmp_path).map(write, [Task("x", "x")]) == [first]


def test_a_task_without_files_is_done_once_too(tmp_path: Path) -> None:
    start(tmp_path).map(report, [Task("x", 0)])
    assert start(tmp_path).map(refuse, [Task("x", 0)]) == [Outcome()]


def test_two_tasks_of_one_name_are_refused_in_one_map_and_in_two(tmp_path: Path) -> None:
    work = start(tmp_path)
    with pytest.raises(AssertionError, match="stage demo has two tasks 'x'"):
        work.map(report, [Task("x", 1), Task("x", 2)])
    work = start(tmp_path)
    work.map(report, [Task("x", 1)])
    with pytest.raises(AssertionError, match="stage demo has two tasks 'x'"):
        work.map(report, [Task("x", 2)])


def test_the_size_of_a_task_is_reported_when_it_is_done_or_was(
    tmp_path: Path, amounts: list[int]
) -> None:
    tasks = [Task("x", "x", 5), Task("y", "y", 7)]
    for _ in range(2):
        start(tmp_path).map(write, tasks)
        assert amounts == [5, 7]
        amounts.clear()


def test_a_task_that_reports_itself_is_not_reported_twice(
    tmp_path: Path, amounts: list[int]
) -> None:
    for amounts_of_task in ([1, 1, 1], [3]):
        start(tmp_path).map(report, [Task("x", 3, 3)], reports_itself=True)
        assert amounts == amounts_of_task
        amounts.clear()
