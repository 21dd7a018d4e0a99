"""The record of removals is whole or as it was, and says what was asked for, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus.errors import BadValue, IntegrityError
from corpus.recipe import parse_recipe
from corpus.removals import (
    Name,
    Record,
    Removal,
    add_removals,
    check_request,
    drop_held_out,
    parse_name,
    read_list,
    read_record,
    write_record,
)

ONE = Removal(Name("post", "x.org", 12), "asked by the author", "2026-01-31")
ALONG = Removal(Name("post", "x.org", 13), "asked", "2026-02-01", "post x.org/12")
WINDOWS = np.array([9, 7], np.uint64)


def test_what_was_written_is_read_sorted_and_without_repeats(tmp_path: Path) -> None:
    record = add_removals(Record(), [ALONG, ONE, ONE], np.array([9, 7, 9], np.uint64))
    write_record(tmp_path, record)
    found = read_record(tmp_path)
    assert found.removals == (ONE, ALONG)
    assert found.windows.tolist() == [7, 9]
    assert found.ids("post", "x.org").tolist() == [12, 13]
    assert found.sites() == ["x.org"]


def test_what_is_recorded_keeps_its_first_reason_and_date() -> None:
    record = add_removals(Record(), [ONE], WINDOWS)
    later = Removal(ONE.name, "again", "2027-01-01")
    assert add_removals(record, [later], WINDOWS).removals == (ONE,)


def test_a_store_without_a_record_builds_as_if_there_were_no_removals(tmp_path: Path) -> None:
    assert read_record(tmp_path).section() == {}


def test_identity_follows_from_names_and_windows_and_shows_neither() -> None:
    record = add_removals(Record(), [ONE], WINDOWS)
    later = add_removals(Record(), [Removal(ONE.name, "other", "2020-01-01")], WINDOWS)
    assert record.section() == later.section()
    assert record.section() != add_removals(record, [ALONG], WINDOWS).section()
    assert record.section() != add_removals(record, [], np.array([1], np.uint64)).section()
    assert "12" not in str(sorted(record.section()))


def test_a_record_whose_files_do_not_agree_stops_every_build(tmp_path: Path) -> None:
    write_record(tmp_path, add_removals(Record(), [ONE], WINDOWS))
    (windows,) = tmp_path.glob("removals-*.npy")
    np.save(windows, np.array([1], np.uint64))
    with pytest.raises(IntegrityError, match="damaged"):
        read_record(tmp_path)
    windows.unlink()
    with pytest.raises(IntegrityError, match="backup"):
        read_record(tmp_path)


def test_windows_of_the_record_before_are_cleared_away_last(tmp_path: Path) -> None:
    record = add_removals(Record(), [ONE], WINDOWS)
    write_record(tmp_path, record)
    write_record(tmp_path, add_removals(record, [ALONG], np.array([1], np.uint64)))
    assert len([*tmp_path.glob("removals-*.npy")]) == 1
    assert read_record(tmp_path).windows.tolist() == [1, 7, 9]


def test_a_list_names_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# asked in May\n\npost x.org/12\nuser a-b.net/7  # by mail\ncomment x.org/3\n")
    assert list(map(str, read_list(path))) == ["post x.org/12", "user a-b.net/7", "comment x.org/3"]


@pytest.mark.parametrize(
    "line",
    ["x.org/12", "post x.org", "post x.org/0", "thread x.org/1", "post x.org/1 2", "post /1"],
)
def test_a_broken_line_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list"
    path.write_text(f"post x.org/1\n{line}\n")
    with pytest.raises(BadValue, match="line 2"):
        read_list(path)


def test_a_list_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="cannot be read"):
        read_list(tmp_path / "none")


@pytest.mark.parametrize("text", ["x.org", "x.org/-1", "x.org/1/2", "../1", "x.org/0"])
def test_a_name_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="--user"):
        parse_name("user", text)


@pytest.mark.parametrize(("reason", "day"), [(" ", "2026-01-31"), ("x", "2026-1-31"), ("x", "May")])
def test_a_request_needs_a_reason_and_a_date(reason: str, day: str) -> None:
    with pytest.raises(BadValue):
        check_request(reason, day)


def test_a_recipe_holds_out_no_thread_that_was_taken_down() -> None:
    card = {"name": "x", "title": "X", "summary": ""}
    recipe = parse_recipe({"card": card, "splits": {"hold_out": ["x.org/12", "y.org/12"]}})
    record = add_removals(Record(), [ONE], WINDOWS)
    assert drop_held_out(recipe, record).splits.hold_out == ["y.org/12"]
    assert drop_held_out(recipe, Record()) is recipe
