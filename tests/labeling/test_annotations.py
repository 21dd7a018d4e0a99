"""The annotation store: nothing acknowledged is lost, nobody overwrites, nobody sees the others."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.errors import BadValue, IntegrityError, StoreError
from labeling.annotations import (
    AnnotationStore,
    Annotator,
    Draft,
    Given,
    Progress,
    StaleJudgement,
)
from labeling.judgements import MAX_NOTE_CHARS, draft_to_json, parse_draft

OBSOLETE, CURRENT, UNSURE = Draft("obsolete", "library"), Draft("current"), Draft("cannot_tell")


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def pass_minutes(self, minutes: float) -> None:
        self.at += timedelta(minutes=minutes)


def items(num_items: int) -> list[dict[str, Any]]:
    return [
        {
            "item_id": f"site/{number}",
            "content": {"answer": {"text": f"text {number}"}},
            "hidden": {"signal": f"secret {number}"},
        }
        for number in range(num_items)
    ]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "annotations.sqlite"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with five annotators, made once: every transaction waits for the disk."""
    path = tmp_path_factory.mktemp("annotations") / "annotations.sqlite"
    store = AnnotationStore.create(path, items(6), guideline="# What to do", clock=Clock())
    for name in ("ann", "bob", "cleo"):
        store.add_annotator(name)
    store.add_annotator("ruth", "adjudicator")
    store.add_annotator("judge-m", "machine")
    store.close()
    return path


@pytest.fixture
def store(made: Path, path: Path, clock: Clock) -> Iterator[AnnotationStore]:
    shutil.copy(made, path)
    store = AnnotationStore(path, clock=clock)
    yield store
    store.close()


def edit(path: Path, *statements: str) -> None:
    """Do to the file what no method does."""
    connection = sqlite3.connect(path)
    for table, verb in (("judgements", "UPDATE"), ("judgements", "DELETE"), ("items", "UPDATE")):
        connection.execute(f"DROP TRIGGER {table}_never_{verb}")
    for verb in ("UPDATE", "DELETE"):
        connection.execute(f"DROP TRIGGER events_never_{verb}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


# Making and opening --------------------------------------------------------------------------


def test_a_store_is_as_it_was_when_opened_again(store: AnnotationStore, path: Path) -> None:
    given = Draft("obsolete", "link", ({"kind": "span", "start": 1, "end": 3, "quote": "ex"},), 3)
    saved = store.save("site/1", "ann", given, expected_revision=0)
    store.close()
    again = AnnotationStore(path, clock=Clock())
    assert again.current("site/1", "ann") == saved
    assert saved.draft == given and saved.revision == 1 and saved.role == "annotator"
    assert again.item_ids() == [f"site/{number}" for number in range(6)]
    assert again.annotators()[:2] == [Annotator("ann", "annotator"), Annotator("bob", "annotator")]
    again.close()


def test_what_is_there_already_is_not_overwritten(path: Path, clock: Clock) -> None:
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists already"):
        AnnotationStore.create(path, items(1), guideline="g", clock=clock)
    assert path.read_bytes() == b"mine"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no items"),
        ([*items(2), *items(1)], "site/0 is given twice"),
        ([{"item_id": "a", "content": {}}], "needs item_id, content, hidden"),
        ([{"item_id": "", "content": {}, "hidden": {}}], "not empty"),
        ([{"item_id": 7, "content": {}, "hidden": {}}], "must be text"),
    ],
)
def test_items_that_are_none_are_refused_and_no_file_is_left(
    path: Path, clock: Clock, given: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        AnnotationStore.create(path, given, guideline="g", clock=clock)
    assert not list(path.parent.iterdir())


def test_a_clock_without_a_time_zone_is_refused_and_no_file_is_left(path: Path) -> None:
    with pytest.raises(BadValue, match="time zone"):
        AnnotationStore.create(path, items(1), guideline="g", clock=lambda: datetime(2024, 1, 1))
    assert not list(path.parent.iterdir())


def test_times_are_kept_in_utc(path: Path) -> None:
    there = timezone(timedelta(hours=-5))
    clock = Clock()
    clock.at = datetime(2024, 1, 1, 20, tzinfo=there)
    store = AnnotationStore.create(path, items(1), guideline="g", clock=clock)
    store.add_annotator("ann")
    saved = store.save("site/0", "ann", CURRENT, expected_revision=0)
    store.close()
    assert saved.at == clock.at and saved.at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no annotation store at"), (b"x" * 4096, "not a database"), (b"", "not an annotation")],
)
def test_what_is_no_store_is_not_opened(path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=message):
        AnnotationStore(path, clock=Clock())


def test_another_sqlite_file_is_not_opened(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE items (item_id)")
    connection.close()
    with pytest.raises(StoreError, match="is not an annotation store; name the file"):
        AnnotationStore(path, clock=Clock())


def test_another_version_of_the_schema_is_not_opened(store: AnnotationStore, path: Path) -> None:
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StoreError, match="version 9, this sobert reads version 1"):
        AnnotationStore(path, clock=Clock())


def test_the_journal_is_a_rollback_journal(store: AnnotationStore, path: Path) -> None:
    store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    connection.close()
    again = AnnotationStore(path, clock=Clock())
    assert again._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert again._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert again._connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    again.close()


def test_a_file_in_write_ahead_mode_that_another_has_open_is_refused(
    store: AnnotationStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    monkeypatch.setattr("labeling.annotation_schema.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("SELECT * FROM items").fetchall()
    with pytest.raises(StoreError):
        AnnotationStore(path, clock=Clock())
    other.close()


def test_only_its_owner_may_read_the_file(store: AnnotationStore, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_closed_store_says_so_on_one_line(store: AnnotationStore) -> None:
    store.close()
    with pytest.raises(StoreError, match="closed") as caught:
        store.item_ids()
    assert "\n" not in str(caught.value)


# Who -----------------------------------------------------------------------------------------


def test_a_token_is_kept_as_its_digest_alone(store: AnnotationStore, path: Path) -> None:
    token = store.add_annotator("dora")
    assert len(bytes.fromhex(token)) == 32
    assert store.authenticate(token) == Annotator("dora", "annotator")
    assert store.authenticate(token[:-1]) is store.authenticate("") is None
    assert store.authenticate("\ud800 ü") is None
    content = path.read_bytes()
    assert token.encode() not in content
    assert hashlib.sha256(token.encode()).hexdigest().encode() in content


@pytest.mark.parametrize("name", ["", "Ann", "-a", "a b", "a" * 33, "é", "a\n", "../x"])
def test_names_that_are_none_are_refused(store: AnnotationStore, name: str) -> None:
    with pytest.raises(BadValue, match="annotator's name"):
        store.add_annotator(name)


def test_a_new_token_makes_the_old_one_void(store: AnnotationStore) -> None:
    first = store.add_annotator("eve")
    second = store.renew_token("eve")
    assert store.authenticate(first) is None
    assert store.authenticate(second) == Annotator("eve", "annotator")
    assert store.check_log() > 0
    with pytest.raises(StoreError, match="no annotator 'nobody'"):
        store.renew_token("nobody")


def test_a_name_is_given_once(store: AnnotationStore) -> None:
    with pytest.raises(BadValue, match="there is an annotator ann already"):
        store.add_annotator("ann", "machine")
    with pytest.raises(BadValue, match="role"):
        store.add_annotator("dora", "admin")  # type: ignore[arg-type]


def test_strangers_and_unknown_items_are_refused(store: AnnotationStore) -> None:
    for call in (
        lambda: store.next_item("zoe"),
        lambda: store.save("site/0", "zoe", CURRENT, expected_revision=0),
        lambda: store.undo("zoe"),
        lambda: store.progress("zoe"),
        lambda: store.record_login("zoe"),
        lambda: store.current("site/0", "zoe"),
    ):
        with pytest.raises(StoreError, match="no annotator 'zoe'"):
            call()
    for call in (
        lambda: store.save("site/99", "ann", CURRENT, expected_revision=0),
        lambda: store.read_item("site/99"),
        lambda: store.read_hidden("site/99"),
    ):
        with pytest.raises(StoreError, match="no item 'site/99'"):
            call()
    with pytest.raises(StoreError, match="surrogates"):
        store.read_item("\ud800")


def test_what_is_hidden_is_seen_by_one_method_alone(store: AnnotationStore) -> None:
    store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    store.save("site/0", "bob", CURRENT, expected_revision=0)
    seen = [
        *map(store.read_item, store.item_ids()),
        [store.next_item(one.name) for one in store.annotators()],
        [store.history(one.name) for one in store.annotators()],
        store.judgements("site/0"),
        list(store.iter_judgements()),
        store.disagreements(),
    ]
    assert "secret" not in repr(seen)
    assert store.read_hidden("site/3") == {"signal": "secret 3"}


def test_what_an_annotator_is_given_does_not_depend_on_what_another_says(
    store: AnnotationStore, path: Path, clock: Clock, tmp_path: Path
) -> None:
    other = AnnotationStore.create(
        tmp_path / "other.sqlite", items(6), guideline="# What to do", clock=clock
    )
    for name in ("ann", "bob"):
        other.add_annotator(name)
    views = []
    for one, draft in ((store, OBSOLETE), (other, UNSURE)):
        for item_id in ("site/0", "site/1"):
            one.save(item_id, "ann", draft, expected_revision=0)
        seen = [one.read_item(item_id) for item_id in one.item_ids()]
        state = (one.current("site/0", "bob"), one.history("bob"), one.progress("bob"))
        views.append((seen, state, one.next_item("bob")))
    other.close()
    assert views[0] == views[1]


# Saving --------------------------------------------------------------------------------------


def test_a_double_submit_is_one_save(store: AnnotationStore) -> None:
    first = store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    late = Draft("obsolete", "library", seconds_spent=4.5)
    assert store.save("site/0", "ann", OBSOLETE, expected_revision=0) == first
    assert store.save("site/0", "ann", late, expected_revision=0) == first
    assert store.save("site/0", "ann", OBSOLETE, expected_revision=1) == first
    assert len(list(store.iter_judgements())) == 1


def test_a_stale_save_is_refused_with_both_versions(store: AnnotationStore) -> None:
    store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    newest = store.save("site/0", "ann", CURRENT, expected_revision=1)
    for expected in (0, 1, 3):
        with pytest.raises(StaleJudgement, match="compare both versions") as caught:
            store.save("site/0", "ann", UNSURE, expected_revision=expected)
        assert (caught.value.current, caught.value.given) == (newest, UNSURE)
    # The first window sends again what it sent first: that is not what is there now.
    with pytest.raises(StaleJudgement):
        store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    assert [one.revision for one in store.iter_judgements()] == [1, 2]


def test_a_first_save_expects_no_revision(store: AnnotationStore) -> None:
    with pytest.raises(BadValue, match="expected_revision is 2; it must be 0"):
        store.save("site/0", "ann", CURRENT, expected_revision=2)


def test_old_revisions_stay_and_the_newest_is_current(store: AnnotationStore) -> None:
    for revision, draft in enumerate((OBSOLETE, CURRENT, UNSURE)):
        store.save("site/0", "ann", draft, expected_revision=revision)
    assert [one.draft for one in store.iter_judgements()] == [OBSOLETE, CURRENT, UNSURE]
    assert [one.draft for one in store.judgements("site/0")] == [UNSURE]


@pytest.mark.parametrize("table", ["judgements", "events", "items", "guidelines", "settings"])
def test_rows_cannot_be_changed_or_taken_away(
    store: AnnotationStore, path: Path, table: str
) -> None:
    store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    connection = sqlite3.connect(path)
    column = connection.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = 0"):
        with pytest.raises(sqlite3.IntegrityError, match="insert only"):
            connection.execute(statement)
    connection.close()


SPAN = {"kind": "span", "start": 0, "end": 2, "quote": "so"}


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        (Draft("wrong"), "label is 'wrong'"),  # type: ignore[arg-type]
        (Draft("obsolete", "magic"), "cause is 'magic'"),
        (Draft("current", "link"), "only an obsolete one has a cause"),
        (Draft("cannot_tell", "link"), "only an obsolete one has a cause"),
        (Draft("current", confidence=0), "confidence is 0"),
        (Draft("current", confidence=4), "confidence is 4"),
        (Draft("current", confidence=True), "confidence is True"),
        (Draft("current", confidence=2.0), "confidence is 2.0"),  # type: ignore[arg-type]
        (Draft("current", note="x" * (MAX_NOTE_CHARS + 1)), "at most 10,000"),
        (Draft("current", note="\udc00"), "the note must be text"),
        (Draft("current", seconds_spent=-1.0), "0 or more"),
        (Draft("current", seconds_spent=float("nan")), "finite"),
        (Draft("current", seconds_spent="1"), "must be a number"),  # type: ignore[arg-type]
        (Draft("current", evidence=[SPAN]), "must be a tuple"),  # type: ignore[arg-type]
        (Draft("current", evidence=(SPAN,) * 101), "at most 100"),
        (Draft("current", evidence=("so",)), "evidence 1 is str"),  # type: ignore[arg-type]
        (Draft("current", evidence=({"kind": "image"},)), "has kind 'image'"),
        (Draft("current", evidence=(SPAN, {**SPAN, "end": 0})), "evidence 2 is no span"),
        (Draft("current", evidence=({**SPAN, "start": -1},)), "evidence 1 is no span"),
        (Draft("current", evidence=({**SPAN, "start": "0"},)), "evidence 1 is no span"),
        (Draft("current", evidence=({**SPAN, "quote": ""},)), "evidence 1 is no span"),
        (Draft("current", evidence=({**SPAN, "colour": 1},)), "evidence 1 is no span"),
        (Draft("current", evidence=({"kind": "comment"},)), "evidence 1 is no comment"),
        (Draft("current", evidence=({"kind": "answer", "id": True},)), "evidence 1 is no answer"),
        (Draft("current", evidence=({"kind": "revision", "id": 2**63},)), "is no revision"),
    ],
)
def test_drafts_that_are_none_are_refused_on_one_line(
    store: AnnotationStore, draft: Draft, message: str
) -> None:
    with pytest.raises(BadValue, match=message) as caught:
        store.save("site/0", "ann", draft, expected_revision=0)
    assert "\n" not in str(caught.value)
    assert not list(store.iter_judgements())


def test_a_draft_is_the_same_after_json() -> None:
    pieces = (SPAN, {"kind": "comment", "id": -3}, {"kind": "revision", "id": 2**60})
    draft = Draft("obsolete", "protocol", pieces, 1, "ü \0 \N{GRINNING FACE} \u2028", 1.25)
    assert parse_draft(json.loads(json.dumps(draft_to_json(draft)))) == draft
    for content in ({}, {"label": "current", "colour": 1}, {"label": "current", "evidence": {}}):
        with pytest.raises(BadValue):
            parse_draft(content)


def test_undo_withdraws_the_newest_and_offers_it_again(store: AnnotationStore) -> None:
    assert store.undo("ann") is None
    first = store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    second = store.save("site/1", "ann", CURRENT, expected_revision=0)
    assert store.undo("ann") == second
    withdrawn = store.current("site/1", "ann")
    assert withdrawn is not None and withdrawn.draft is None and withdrawn.revision == 2
    assert store.next_item("ann") == "site/1"
    assert store.judgements("site/1") == [] and store.history("ann") == [first]
    assert store.undo("ann") == first and store.undo("ann") is None
    again = store.save("site/1", "ann", CURRENT, expected_revision=2)
    assert again.revision == 3 and store.history("ann") == [again]
    assert [one.draft for one in store.iter_judgements() if one.item_id == "site/1"] == [
        CURRENT,
        None,
        CURRENT,
    ]


def test_history_is_ones_own_newest_first(store: AnnotationStore) -> None:
    for number in range(4):
        store.save(f"site/{number}", "ann", CURRENT, expected_revision=0)
    store.save("site/5", "bob", CURRENT, expected_revision=0)
    store.save("site/1", "ann", OBSOLETE, expected_revision=1)
    history = [one.item_id for one in store.history("ann", limit=3)]
    assert history == ["site/1", "site/3", "site/2"]


def test_a_judgement_keeps_the_guideline_it_was_made_under(store: AnnotationStore) -> None:
    old = store.save("site/0", "ann", CURRENT, expected_revision=0)
    digest = store.set_guideline("# What to do now")
    assert digest == hashlib.sha256(b"# What to do now").hexdigest() == store.guideline_sha256
    assert store.guideline == "# What to do now"
    assert store.set_guideline("# What to do now") == digest
    new = store.save("site/1", "ann", CURRENT, expected_revision=0)
    assert old.guideline_sha256 == hashlib.sha256(b"# What to do").hexdigest()
    assert new.guideline_sha256 == digest
    # A double submit from before is still one; to say it again under the new one is new.
    assert store.save("site/0", "ann", CURRENT, expected_revision=0) == old
    assert store.save("site/0", "ann", CURRENT, expected_revision=1).guideline_sha256 == digest
    with pytest.raises(BadValue, match="guideline is empty"):
        store.set_guideline(" \n")


# Who is offered what -------------------------------------------------------------------------


def judge_all(store: AnnotationStore, name: str) -> list[str]:
    order = []
    while (item_id := store.next_item(name)) is not None:
        store.save(item_id, name, CURRENT, expected_revision=0)
        order.append(item_id)
    return order


def test_everybody_has_an_own_order(path: Path, clock: Clock) -> None:
    store = AnnotationStore.create(
        path, items(40), guideline="g", judgements_per_item=3, seed=5, clock=clock
    )
    orders = []
    for name in ("ann", "bob", "cleo"):
        store._connection.execute("PRAGMA synchronous = OFF")  # 120 saves
        store.add_annotator(name)
        orders.append(judge_all(store, name))
    store.close()

    def expected(name: str) -> list[str]:
        keys = {
            f"site/{number}": hashlib.blake2b(
                f'[5,"{name}","site/{number}"]'.encode(), digest_size=16
            ).digest()
            for number in range(40)
        }
        return sorted(keys, key=keys.__getitem__)

    assert orders == [expected(name) for name in ("ann", "bob", "cleo")]
    assert len({tuple(order) for order in orders}) == 3


def test_each_item_is_judged_as_often_as_asked(store: AnnotationStore) -> None:
    num_done = Counter[str]()
    for name in ("ann", "bob", "cleo"):
        num_done.update(judge_all(store, name))
    assert set(num_done.values()) == {2} and len(num_done) == 6
    assert store.next_item("cleo") is None


def test_an_item_stays_with_its_annotator_until_the_lease_ends(
    store: AnnotationStore, clock: Clock
) -> None:
    mine = store.next_item("ann")
    clock.pass_minutes(29)
    assert store.next_item("ann") == mine
    held = [store.next_item("bob")]
    # Two leases on two items at most: all six are offered to cleo one after the other, but those.
    for item_id in store.item_ids():
        if item_id not in (mine, *held):
            store.save(item_id, "ann", CURRENT, expected_revision=0)
            store.save(item_id, "bob", CURRENT, expected_revision=0)
    assert store.next_item("cleo") in (mine, *held)


def test_a_lease_of_others_blocks_an_item_until_it_ends(path: Path, clock: Clock) -> None:
    store = AnnotationStore.create(
        path, items(1), guideline="g", judgements_per_item=1, clock=clock
    )
    for name in ("ann", "bob"):
        store.add_annotator(name)
    assert store.next_item("ann") == "site/0" and store.next_item("bob") is None
    clock.pass_minutes(29.9)
    assert store.next_item("bob") is None
    clock.pass_minutes(0.2)
    assert store.next_item("bob") == "site/0" and store.next_item("ann") is None
    # What was read for long is still saved.
    store.save("site/0", "ann", CURRENT, expected_revision=0)
    store.save("site/0", "bob", OBSOLETE, expected_revision=0)
    assert store.disagreements() == ["site/0"]
    store.close()


def test_the_machine_is_offered_every_item_and_takes_none_from_people(
    store: AnnotationStore,
) -> None:
    assert judge_all(store, "judge-m") == store.item_ids()
    assert len(judge_all(store, "ann")) == len(judge_all(store, "bob")) == 6
    store.add_annotator("judge-n", "machine")
    assert judge_all(store, "judge-n") == store.item_ids()


def test_adjudicators_are_offered_nothing(store: AnnotationStore) -> None:
    assert store.next_item("ruth") is None


# What comes of it ----------------------------------------------------------------------------


def test_the_label_after_resolving_says_how_it_came_about(store: AnnotationStore) -> None:
    def saved(name: str, draft: Draft) -> tuple[str | None, str]:
        newest = store.current("site/0", name)
        revision = newest.revision if newest else 0
        store.save("site/0", name, draft, expected_revision=revision)
        return store.adjudicated_label("site/0")

    assert store.adjudicated_label("site/0") == (None, "none")
    assert saved("judge-m", CURRENT) == (None, "none")
    assert saved("ann", OBSOLETE) == (None, "single")
    assert saved("bob", OBSOLETE) == ("obsolete", "agreed")
    assert store.disagreements() == []  # the machine's label is no disagreement
    with pytest.raises(BadValue, match="nobody disagrees on site/0"):
        saved("ruth", CURRENT)
    assert saved("cleo", UNSURE) == (None, "disagreed")
    assert store.disagreements() == ["site/0"]
    assert saved("ruth", CURRENT) == ("current", "adjudicated")
    assert store.disagreements() == []
    assert saved("ruth", UNSURE) == ("cannot_tell", "adjudicated")
    store.undo("ruth")
    assert store.adjudicated_label("site/0") == (None, "disagreed")
    assert store.disagreements() == ["site/0"]
    assert saved("cleo", OBSOLETE) == ("obsolete", "agreed")


def test_the_newest_of_two_adjudicators_holds(store: AnnotationStore) -> None:
    store.add_annotator("sam", "adjudicator")
    store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    store.save("site/0", "bob", CURRENT, expected_revision=0)
    store.save("site/0", "sam", OBSOLETE, expected_revision=0)
    store.save("site/0", "ruth", CURRENT, expected_revision=0)
    assert store.adjudicated_label("site/0") == ("current", "adjudicated")


def test_progress_counts_what_is_left_for_oneself(store: AnnotationStore) -> None:
    assert store.progress("ann") == Progress(0, 6, None)
    for number, seconds in enumerate((10.0, 600.0, 30.0)):
        draft = Draft("current", seconds_spent=seconds)
        store.save(f"site/{number}", "ann", draft, expected_revision=0)
    assert store.progress("ann") == Progress(3, 6, 90.0)
    for name in ("bob", "cleo"):
        for item_id in ("site/4", "site/5"):
            store.save(item_id, name, OBSOLETE, expected_revision=0)
    assert store.progress("ann") == Progress(3, 4, 30.0)
    store.save("site/0", "bob", OBSOLETE, expected_revision=0)
    assert store.progress("ruth") == Progress(0, 1, None)
    assert store.progress("judge-m") == Progress(0, 6, None)


# The audit log -------------------------------------------------------------------------------


def test_every_act_is_an_event(store: AnnotationStore, path: Path) -> None:
    store.record_login("ann")
    store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    store.save("site/0", "bob", CURRENT, expected_revision=0)
    store.save("site/0", "ruth", CURRENT, expected_revision=0)
    store.undo("ann")
    store.set_guideline("# Another")
    head = store.record_export("items.jsonl")
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT event, digest FROM events ORDER BY seq").fetchall()
    connection.close()
    assert [event for event, _ in rows] == [
        "created",
        "guideline_set",
        *["annotator_added"] * 5,
        "logged_in",
        *["saved"] * 2,
        "adjudicated",
        "undone",
        "guideline_set",
        "exported",
    ]
    assert rows[-1][1] == head
    assert store.check_log() == len(rows)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE events SET at = '2020' WHERE seq = 3", "event 3 does not follow"),
        ("UPDATE events SET event = 'saved' WHERE seq = 3", "event 3 does not follow"),
        ("DELETE FROM events WHERE seq = 3", "event 3 does not follow"),
        ("DELETE FROM events WHERE seq = (SELECT MAX(seq) FROM events)", "row 2 of judgements"),
        ("DELETE FROM judgements WHERE seq = 2", "row 2 of judgements"),
        ("UPDATE judgements SET label = 'current', draft = '{\"label\":\"current\"}'", "row 1"),
        ("UPDATE judgements SET at = at || ' ' WHERE seq = 2", "row 2 of judgements"),
        ("UPDATE annotators SET role = 'adjudicator' WHERE name = 'bob'", "row 2 of annotators"),
        ("INSERT INTO annotators VALUES (9, 'eve', 'annotator', 'x')", "row 6 of annotators"),
        ("UPDATE items SET content = '{}' WHERE item_id = 'site/2'", "item site/2 is not as"),
        ("DELETE FROM items WHERE item_id = 'site/2'", "the items or the settings"),
    ],
)
def test_a_changed_file_is_found_out(
    store: AnnotationStore, path: Path, statement: str, message: str
) -> None:
    store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    store.save("site/1", "ann", CURRENT, expected_revision=0)
    assert store.check_log() == 9
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER items_never_DELETE")
    connection.commit()
    connection.close()
    edit(path, statement)
    with pytest.raises(IntegrityError, match=message):
        store.check_log()


def test_a_backup_is_a_store(store: AnnotationStore, tmp_path: Path) -> None:
    saved = store.save("site/0", "ann", OBSOLETE, expected_revision=0)
    copy = tmp_path / "backup.sqlite"
    store.backup(copy)
    with pytest.raises(StoreError, match="exists already"):
        store.backup(copy)
    store.save("site/1", "ann", OBSOLETE, expected_revision=0)
    restored = AnnotationStore(copy, clock=Clock())
    assert list(restored.iter_judgements()) == [saved]
    assert restored.check_log() == store.check_log() - 1
    restored.close()
    assert copy.stat().st_mode & 0o777 == 0o600


# From elsewhere ------------------------------------------------------------------------------


def test_an_import_is_all_or_nothing(store: AnnotationStore) -> None:
    given = [Given("site/0", "ls-1", OBSOLETE), Given("site/1", "ls-2", CURRENT)]
    num_events = store.check_log()
    for bad, error in (
        (Given("site/99", "ls-1", CURRENT), StoreError),
        (Given("site/2", "Not A Name", CURRENT), BadValue),
        (Given("site/2", "ruth", CURRENT), BadValue),
        (Given("site/2", "ls-1", Draft("wrong")), BadValue),  # type: ignore[arg-type]
    ):
        with pytest.raises(error):
            store.import_judgements([*given, bad], "tasks.json")
    assert store.check_log() == num_events and len(store.annotators()) == 5
    assert store.import_judgements(given, "tasks.json") == 2
    assert store.import_judgements(given, "tasks.json") == 0
    assert store.import_judgements([Given("site/0", "ls-1", CURRENT)], "tasks.json") == 1
    assert [one.revision for one in store.iter_judgements()] == [1, 2, 1]
    store.check_log()


# Many at once, and the power cut -------------------------------------------------------------


def test_eight_windows_of_four_people_lose_nothing(path: Path, clock: Clock) -> None:
    num_saves = 100
    store = AnnotationStore.create(path, items(30), guideline="g", clock=clock)
    for number in range(4):
        store.add_annotator(f"a{number}")
    # What is tested here is who comes first, not the disk.
    store._connection.execute("PRAGMA synchronous = OFF")
    saved: list[list[tuple[str, str, int, str]]] = [[] for _ in range(8)]
    problems: list[BaseException] = []
    num_stale = Counter[int]()

    def work(window: int) -> None:
        rng = np.random.default_rng(window)
        name, known = f"a{window % 4}", dict[str, int]()
        try:
            while len(saved[window]) < num_saves:
                item_id = f"site/{rng.integers(30)}"
                draft = Draft("current", note=f"{window} {len(saved[window])}")
                try:
                    one = store.save(item_id, name, draft, expected_revision=known.get(item_id, 0))
                except StaleJudgement as stale:
                    known[item_id] = stale.current.revision
                    num_stale[window] += 1
                    continue
                known[item_id] = one.revision
                saved[window].append((item_id, name, one.revision, draft.note))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(window,)) for window in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    kept = [
        (one.item_id, one.annotator, one.revision, one.draft.note)
        for one in store.iter_judgements()
        if one.draft
    ]
    assert kept == sorted(one for window in saved for one in window)
    assert len(kept) == 8 * num_saves and num_stale.total() > 0
    assert store.check_log() == len(kept) + 6
    store.close()


SAVER = """
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from labeling.annotations import AnnotationStore, Draft
store = AnnotationStore(Path(sys.argv[1]), clock=lambda: datetime(2024, 1, 1, tzinfo=UTC))
revisions = {one.item_id: one.revision for one in store.iter_judgements()}
for number in range(10**9):
    item_id = f"site/{number % 50}"
    draft = Draft("current", note=f"{sys.argv[2]} {number} " + "x" * (number % 3000))
    saved = store.save(item_id, "ann", draft, expected_revision=revisions.get(item_id, 0))
    revisions[item_id] = saved.revision
    os.write(1, f"{item_id} {saved.revision}\\n".encode())  # whole or not at all
"""


def kill_while_saving(path: Path, num_kills: int) -> int:
    """Return how many saves were acknowledged; all of them must be there after each kill."""
    rng = np.random.default_rng(7)
    store = AnnotationStore.create(path, items(50), guideline="g", clock=Clock())
    store.add_annotator("ann")
    store.close()
    acknowledged = set[tuple[str, int]]()
    for round_number in range(num_kills):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path), str(round_number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        num_before = int(rng.integers(1, 40))
        lines = [process.stdout.readline() for _ in range(num_before)]
        try:
            process.wait(timeout=float(rng.uniform(0, 0.02)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        for line in lines:
            item_id, _, revision = line.strip().partition(" ")
            acknowledged.add((item_id, int(revision)))
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        store = AnnotationStore(path, clock=Clock())
        store.check_log()
        kept = {(one.item_id, one.revision) for one in store.iter_judgements()}
        store.close()
        assert acknowledged <= kept
        # What was being saved when the process was killed may be there, or not.
        assert len(kept) <= len(acknowledged) + round_number + 1
    return len(acknowledged)


def test_no_acknowledged_save_is_lost_by_a_kill(path: Path) -> None:
    assert kill_while_saving(path, 10) > 50


@pytest.mark.slow
def test_no_acknowledged_save_is_lost_by_a_hundred_kills(path: Path) -> None:
    assert kill_while_saving(path, 100) > 1_000
