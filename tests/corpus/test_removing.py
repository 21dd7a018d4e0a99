"""What is taken down leaves the rows, and so does what names or quotes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.dump import build_dump, find_tables
from corpus.engine import LocalEngine
from corpus.ingest import build_rows
from corpus.ownership import collect_texts, find_named, find_own_windows, list_rows
from corpus.progress import Reporter
from corpus.removals import Name, Record, Removal, add_removals, read_record, write_record
from corpus.store import Artifact, Store
from corpus.tables import read_table

SITE, OTHER = "x.example.org", "y.example.org"
WORDS = "Set the valve to three bars, wait for the lamp, and only then open the second tap."
LATER = "2018-01-02T03:04:05.678"
AT = (LocalEngine(), Reporter(quiet=True))

Dump = Callable[..., str]


def take(
    store: Path, *dumps: str, asked: str, earlier: Artifact | None = None, words: bool = True
) -> Artifact:
    """Record what is asked for (`post 1, user 2`), as `remove` does, and build rows without it."""
    tables = find_tables(dumps)
    rows = earlier or build_rows(build_dump(tables, Store(store), *AT), tables, Store(store), *AT)
    names = {
        Name(one.split()[0], SITE, int(one.split()[1])) for one in filter(None, asked.split(", "))
    }
    sites = list_rows([rows.folder])
    along, _ = find_named(sites, names)
    removals = [Removal(name, "asked", "2026-01-02") for name in names]
    removals += [Removal(name, "asked", "2026-01-02", why) for name, why in along.items()]
    record = add_removals(read_record(store), removals, np.empty(0, np.uint64))
    if words:
        own = find_own_windows(sites, record, collect_texts(sites, record), LocalEngine())
        record = add_removals(record, [], own)
    store.mkdir(exist_ok=True)
    write_record(store, record)
    dump = build_dump(tables, Store(store), *AT)
    return build_rows(dump, tables, Store(store), *AT, earlier=earlier)


def read(rows: Artifact, table: str, site: str = SITE) -> dict[int, dict[str, Any]]:
    path = rows.path(f"rows/{site}/{table}.parquet")
    return {row["id"]: row for row in read_table(path).to_pylist()}


def ids(rows: Artifact, table: str, site: str = SITE) -> list[int]:
    return sorted(read(rows, table, site))


def rejected(rows: Artifact, table: str) -> dict[str, int]:
    rows.manifest.check_conserved()
    return dict(rows.manifest.outcome.flows[table].rejected)


def test_a_question_takes_along_its_answers_and_what_belongs_to_them(
    write_dump: Dump, tmp_path: Path
) -> None:
    dump = write_dump(
        Posts=[{"Id": 1}, {"Id": 2, "PostTypeId": 2, "ParentId": 1}, {"Id": 3}],
        Comments=[{"Id": 5, "PostId": 1}, {"Id": 6, "PostId": 2}, {"Id": 7, "PostId": 3}],
        PostHistory=[{"Id": 8, "PostId": 2}, {"Id": 9, "PostId": 3}],
        PostLinks=[{"Id": 4, "PostId": 3, "RelatedPostId": 2}],
        Users=[{"Id": 11, "DisplayName": "Ada"}],
    )
    rows = take(tmp_path / "store", dump, asked="post 1")
    found = {table: ids(rows, table) for table in ("Posts", "Comments", "PostHistory", "PostLinks")}
    assert found == {"Posts": [3], "Comments": [7], "PostHistory": [9], "PostLinks": []}
    assert rejected(rows, "Posts") == {"removed": 2}
    assert ids(rows, "Users") == [11]


def test_an_answer_goes_alone_and_is_accepted_no_more(write_dump: Dump, tmp_path: Path) -> None:
    dump = write_dump(
        Posts=[
            {"Id": 1, "AcceptedAnswerId": 2},
            {"Id": 2, "PostTypeId": 2, "ParentId": 1},
            {"Id": 3, "PostTypeId": 2, "ParentId": 1},
        ]
    )
    posts = read(take(tmp_path / "store", dump, asked="post 2"), "Posts")
    assert sorted(posts) == [1, 3]
    assert posts[1]["accepted_answer_id"] is None


def test_a_comment_goes_alone(write_dump: Dump, tmp_path: Path) -> None:
    dump = write_dump(Posts=[{"Id": 1}], Comments=[{"Id": 5, "PostId": 1}, {"Id": 6, "PostId": 1}])
    rows = take(tmp_path / "store", dump, asked="comment 5")
    assert ids(rows, "Comments") == [6]
    assert rejected(rows, "Comments") == {"removed": 1}


def test_a_person_goes_with_all_they_wrote_and_is_nobody_where_they_edited(
    write_dump: Dump, tmp_path: Path
) -> None:
    edit = {"LastEditorUserId": 12, "LastEditorDisplayName": "Bea", "LastEditDate": LATER}
    voters = '{"OriginalQuestionIds":[2],"Voters":[{"Id":12,"DisplayName":"Bea"}]}'
    dump = write_dump(
        Posts=[{"Id": 1, **edit}, {"Id": 2, "OwnerUserId": 12}],
        Comments=[{"Id": 5, "PostId": 1, "UserId": 12}, {"Id": 6, "PostId": 1}],
        PostHistory=[
            {"Id": 8, "PostId": 1, "UserId": 12, "Text": "their words", "Comment": "I, Bea"},
            {"Id": 9, "PostId": 1, "PostHistoryTypeId": 10, "Text": voters},
            {"Id": 10, "PostId": 2, "UserId": 11},
        ],
        Users=[{"Id": 11, "DisplayName": "Ada"}, {"Id": 12, "DisplayName": "Bea"}],
    )
    rows = take(tmp_path / "store", dump, asked="user 12")
    post, history = read(rows, "Posts")[1], read(rows, "PostHistory")
    assert (post["last_editor_user_id"], post["last_editor_display_name"]) == (None, None)
    assert post["edited_at"] is not None
    assert (ids(rows, "Posts"), ids(rows, "Comments"), ids(rows, "Users")) == ([1], [6], [11])
    assert sorted(history) == [8, 9]
    assert [history[8][name] for name in ("user_id", "comment", "text")] == [
        None,
        None,
        "their words",
    ]
    assert history[9]["text"] == '{"OriginalQuestionIds":[],"Voters":[]}'


def test_links_to_what_is_gone_are_replaced_on_every_site(write_dump: Dump, tmp_path: Path) -> None:
    body = (
        f'<a href="https://{SITE}/questions/2/a-title#9">words</a> //{SITE}/a/2 {SITE}/q/2/77. '
        f"https://{SITE}/questions/22/b https://meta.{SITE}/q/2 https://{SITE}/users/12/bea "
    )
    text = f"see https://{SITE}/questions/1/t#comment7_1, and [it](/q/2)"
    dump = write_dump(
        Posts=[{"Id": 1, "Body": body}, {"Id": 2}],
        Comments=[{"Id": 5, "PostId": 1, "Text": text}, {"Id": 7, "PostId": 1}],
        Users=[{"Id": 12, "DisplayName": "Bea"}],
    )
    other = write_dump(OTHER, Posts=[{"Id": 1, "Body": f"<p>http://www.{SITE}/a/2 /q/2</p>"}])
    rows = take(tmp_path / "store", dump, other, asked="post 2, comment 7, user 12")
    assert read(rows, "Posts")[1]["body"] == (
        f'<a href="[removed]">words</a> [removed] [removed]. '
        f"https://{SITE}/questions/22/b https://meta.{SITE}/q/2 [removed] "
    )
    assert read(rows, "Comments")[5]["text"] == "see [removed], and [it]([removed])"
    assert read(rows, "Posts", OTHER)[1]["body"] == "<p>[removed] /q/2</p>"


def test_a_quote_goes_with_what_hangs_on_it_but_its_answers_stay(
    write_dump: Dump, tmp_path: Path
) -> None:
    bold = f"<blockquote>{WORDS.replace('three bars', '<b>three</b> bars')}</blockquote>"
    dump = write_dump(
        Posts=[
            {"Id": 1, "Body": f"<p>{WORDS}</p>"},
            {"Id": 2, "Body": bold, "CreationDate": LATER, "AcceptedAnswerId": 3},
            {"Id": 3, "PostTypeId": 2, "ParentId": 2},
        ],
        Comments=[
            {"Id": 5, "PostId": 2},
            {"Id": 6, "PostId": 3, "Text": f"as in: {WORDS}", "CreationDate": LATER},
            {"Id": 7, "PostId": 3},
        ],
        PostHistory=[{"Id": 8, "PostId": 2}, {"Id": 9, "PostId": 3, "Text": "x"}],
    )
    rows = take(tmp_path / "store", dump, asked="post 1")
    found = [ids(rows, table) for table in ("Posts", "Comments", "PostHistory")]
    assert found == [[3], [7], [9]]
    assert rejected(rows, "Posts") == {"removed": 1, "quotes_removed": 1}
    assert rejected(rows, "Comments") == {"quotes_removed": 2}


def test_a_revision_that_quotes_goes_alone(write_dump: Dump, tmp_path: Path) -> None:
    dump = write_dump(
        Posts=[{"Id": 1, "Body": f"<p>{WORDS}</p>"}, {"Id": 2}],
        PostHistory=[
            {"Id": 8, "PostId": 2, "Text": f"> {WORDS}", "CreationDate": LATER},
            {"Id": 9, "PostId": 2, "Text": "own words", "CreationDate": LATER},
        ],
    )
    rows = take(tmp_path / "store", dump, asked="post 1")
    assert (ids(rows, "Posts"), ids(rows, "PostHistory")) == ([2], [9])


def test_what_others_wrote_first_is_theirs(write_dump: Dump, tmp_path: Path) -> None:
    dump = write_dump(
        Posts=[
            {"Id": 1, "Body": f"<p>{WORDS}</p>", "CreationDate": LATER},
            {"Id": 2, "Body": f"<p>{WORDS}</p>"},
            {"Id": 3, "Body": f"<p>{WORDS}</p>", "CreationDate": "2020-01-01T00:00:00.000"},
        ]
    )
    assert ids(take(tmp_path / "store", dump, asked="post 1"), "Posts") == [2, 3]


def test_an_older_post_that_was_edited_later_may_have_quoted(
    write_dump: Dump, tmp_path: Path
) -> None:
    body = f"<p>{WORDS}</p>"
    dump = write_dump(
        Posts=[
            {"Id": 1, "Body": body, "CreationDate": "2017-01-01T00:00:00.000"},
            {"Id": 2, "Body": body, "LastEditDate": LATER},
        ]
    )
    assert ids(take(tmp_path / "store", dump, asked="post 1"), "Posts") == []


def test_markup_and_the_words_of_other_peoples_answers_may_be_quoted(
    write_dump: Dump, tmp_path: Path
) -> None:
    image = '<p><img src="https://i.example.org/a.png" rel="nofollow noreferrer" alt="a b c"></p>'
    dump = write_dump(
        Posts=[
            {"Id": 1, "Body": image},
            {"Id": 2, "PostTypeId": 2, "ParentId": 1, "Body": f"<p>{WORDS}</p>", "OwnerUserId": 9},
            {"Id": 3, "Body": f"{image}<p>{WORDS}</p>", "CreationDate": LATER},
        ]
    )
    assert ids(take(tmp_path / "store", dump, asked="post 1"), "Posts") == [3]


def test_a_row_in_quarantine_stays_without_its_bytes(write_dump: Dump, tmp_path: Path) -> None:
    bad = {"Score": "many"}
    dump = write_dump(
        Posts=[{"Id": 1}, {"Id": 2, **bad}, {"Id": 3, **bad}],
        Comments=[{"Id": 5, "PostId": 2, **bad}, {"Id": 6, "PostId": 3, "Text": "kept", **bad}],
    )
    rows = take(tmp_path / "store", dump, asked="post 2")
    for table, kept in (("Posts", b'Id="3"'), ("Comments", b"kept")):
        found = read_table(rows.path(f"quarantine/{SITE}/{table}.parquet")).to_pylist()
        assert [row["reason"] for row in found] == ["bad_number", "bad_number"]
        assert found[0]["raw"] == b""
        assert found[0]["detail"] == "removed"
        assert kept in found[1]["raw"]


def test_rows_are_the_same_from_the_dump_and_from_earlier_rows(
    demo_dump: Path, tmp_path: Path
) -> None:
    tables = find_tables([str(demo_dump)])
    store = Store(tmp_path / "store")
    first = build_rows(build_dump(tables, store, *AT), tables, store, *AT)
    names = [Name("post", "homelab.example.org", 223), Name("user", "gardens.example.org", 11)]
    removals = [Removal(name, "asked", "2026-01-02") for name in names]
    record = add_removals(Record(), removals, np.empty(0, np.uint64))
    write_record(store.folder, record)
    dump = build_dump(tables, store, *AT)
    after = build_rows(dump, [], store, *AT, earlier=first)
    (tmp_path / "other").mkdir()
    write_record(tmp_path / "other", record)
    other = Store(tmp_path / "other")
    anew = build_rows(build_dump(tables, other, *AT), tables, other, *AT)
    assert after.manifest.to_json() == anew.manifest.to_json()
    assert after.manifest.id != first.manifest.id
    assert not (anew.folder / "raw").exists()


@pytest.mark.parametrize("asked", ["post 99", "comment 99", "user 99"])
def test_what_is_not_there_changes_no_row(write_dump: Dump, tmp_path: Path, asked: str) -> None:
    dump = write_dump(Posts=[{"Id": 1}], Comments=[{"Id": 5, "PostId": 1}])
    rows = take(tmp_path / "store", dump, asked=asked)
    assert (ids(rows, "Posts"), ids(rows, "Comments")) == ([1], [5])
    assert rejected(rows, "Posts") == {}


def test_an_answer_that_came_after_the_record_goes_with_its_question(
    write_dump: Dump, tmp_path: Path
) -> None:
    record = add_removals(
        Record(), [Removal(Name("post", SITE, 1), "asked", "2026-01-02")], np.empty(0, np.uint64)
    )
    (tmp_path / "store").mkdir()
    write_record(tmp_path / "store", record)
    dump = write_dump(Posts=[{"Id": 1}, {"Id": 2, "PostTypeId": 2, "ParentId": 1}, {"Id": 3}])
    tables = find_tables([dump])
    store = Store(tmp_path / "store")
    rows = build_rows(build_dump(tables, store, *AT), tables, store, *AT)
    assert ids(rows, "Posts") == [3]
