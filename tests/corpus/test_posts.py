"""Partitioned posts: the same for any order of the dump, and the same rows for any partition."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from corpus import posts as posts_module
from corpus.demo import demo_counts
from corpus.dump import build_dump, find_tables
from corpus.engine import LocalEngine
from corpus.ingest import build_rows
from corpus.manifest import Flow
from corpus.posts import (
    FOLDER_BY_TABLE,
    MAX_ID,
    POSTS_SCHEMA,
    REJECT_REASONS,
    REJECT_SCHEMA,
    build_posts,
    load_threads,
    load_user_names,
    thread_of,
)
from corpus.progress import Reporter
from corpus.recipe import PostsSection
from corpus.rows import SCHEMAS
from corpus.store import Artifact, Store
from corpus.tables import read_table

SITE = "x.example.org"
COUNT_BY_TABLE = {
    "Posts": "posts",
    "Comments": "comments",
    "PostHistory": "history",
    "PostLinks": "links",
}
Rows = list[dict[str, Any]]


def part(
    store: Path, *dumps: object, partition_threads: int = 64, engine: LocalEngine | None = None
) -> Artifact:
    tables = find_tables(map(str, dumps))
    at = (Store(store), LocalEngine(), Reporter(quiet=True))
    rows = build_rows(build_dump(tables, *at), tables, *at)
    section = PostsSection(partition_threads=partition_threads)
    return build_posts(rows, section, at[0], engine or LocalEngine(), at[2])


def read(posts: Artifact, folder: str) -> Rows:
    rows: Rows = []
    for entry in posts.files(f"{folder}/"):
        rows += read_table(posts.path(entry.name)).to_pylist()
    return rows


def ids(posts: Artifact, folder: str) -> list[int]:
    return [row["id"] for row in read(posts, folder)]


def partitions(posts: Artifact, folder: str) -> dict[int, list[int]]:
    """Ids by partition."""
    return {
        int(Path(entry.name).stem): [
            row["id"] for row in read_table(posts.path(entry.name)).to_pylist()
        ]
        for entry in posts.files(f"{folder}/{SITE}/")
    }


def rejected(posts: Artifact) -> dict[str, dict[str, int]]:
    flows = posts.manifest.outcome.flows
    return {table: dict(flow.rejected) for table, flow in flows.items() if flow.rejected}


# The sample dump -----------------------------------------------------------------------------


def test_rows_in_are_rows_out(demo_stages: dict[str, Artifact]) -> None:
    counts = list(demo_counts().values())
    for table, name in COUNT_BY_TABLE.items():
        num = sum(count[name] for count in counts)
        assert demo_stages["posts"].manifest.outcome.flows[table] == Flow(num, num, {})


def test_everything_about_a_thread_lies_in_its_partition(demo_stages: dict[str, Artifact]) -> None:
    posts = demo_stages["posts"]
    for site in demo_counts():
        threads = load_threads(posts.folder, site)
        for folder in FOLDER_BY_TABLE.values():
            for entry in posts.files(f"{folder}/{site}/"):
                rows = read_table(posts.path(entry.name))
                post_ids = rows["id" if folder == "posts" else "post_id"].to_numpy()
                found = thread_of(post_ids, threads)
                expected = np.where(found < 0, post_ids, found) // 64
                assert set(expected.tolist()) == {int(Path(entry.name).stem)}


def test_rows_are_sorted_by_thread_or_post_and_then_by_id(demo_stages: dict[str, Artifact]) -> None:
    posts = demo_stages["posts"]
    for folder in FOLDER_BY_TABLE.values():
        first = "thread_id" if folder == "posts" else "post_id"
        for entry in posts.files(f"{folder}/"):
            rows = read_table(posts.path(entry.name)).to_pylist()
            keys = [(row[first], row["id"]) for row in rows]
            assert keys == sorted(keys)


def test_columns_are_those_of_the_rows_and_the_thread(demo_stages: dict[str, Artifact]) -> None:
    posts = demo_stages["posts"]
    for table, folder in FOLDER_BY_TABLE.items():
        schema = POSTS_SCHEMA if table == "Posts" else SCHEMAS[table]
        for entry in posts.files(f"{folder}/"):
            assert read_table(posts.path(entry.name)).schema.equals(schema)


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_the_dump_leaves_no_trace(
    demo_dump: Path, demo_stages: dict[str, Artifact], tmp_path: Path, seed: int
) -> None:
    shuffled = tmp_path / "dump"
    shutil.copytree(demo_dump, shuffled)
    for path in shuffled.glob("*/*.xml"):
        lines = path.read_bytes().split(b"\r\n")
        places = [n for n, line in enumerate(lines) if line.startswith(b"  <row ")]
        rows = [lines[n] for n in places]
        random.Random(f"{seed} {path.name}").shuffle(rows)
        for n, row in zip(places, rows, strict=True):
            lines[n] = row
        path.write_bytes(b"\r\n".join(lines))
    assert part(tmp_path / "store", shuffled).manifest.id == demo_stages["posts"].manifest.id


@pytest.mark.parametrize("partition_threads", [1, 7, 65_536])
def test_partitions_of_any_width_hold_the_same_rows(
    demo_dump: Path, demo_stages: dict[str, Artifact], tmp_path: Path, partition_threads: int
) -> None:
    posts = part(tmp_path, demo_dump, partition_threads=partition_threads)
    for folder in FOLDER_BY_TABLE.values():
        assert _sorted(read(posts, folder)) == _sorted(read(demo_stages["posts"], folder))
    for site in demo_counts():
        threads = load_threads(posts.folder, site)[1]
        num_partitions = len(np.unique(threads // partition_threads))
        assert len(posts.files(f"posts/{site}/")) == num_partitions


def _sorted(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: (row["created_at"], row["id"], str(row)))


def test_a_table_cut_into_many_chunks_gives_the_same_partitions(
    demo_dump: Path,
    demo_stages: dict[str, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posts_module, "SCATTER_BYTES", 1)
    monkeypatch.setattr("corpus.tables.ROW_GROUP_BYTES", 4_000)
    posts = part(tmp_path, demo_dump)
    assert posts.manifest.id == demo_stages["posts"].manifest.id


# A build that was stopped --------------------------------------------------------------------


class _Stopped(Exception):
    pass


class _StoppingEngine(LocalEngine):
    """Runs a number of tasks, then stops."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.left = num_tasks

    def map(self, task: Any, items: Sequence[Any]) -> list[Any]:
        results = []
        for item in items:
            if not self.left:
                raise _Stopped
            self.left -= 1
            results.append(task(item))
        return results


@pytest.mark.parametrize("num_tasks", [4, 30])
def test_a_stopped_build_goes_on_to_the_same_end(
    demo_dump: Path,
    demo_stages: dict[str, Artifact],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_tasks: int,
) -> None:
    monkeypatch.setattr(posts_module, "SCATTER_BYTES", 1)
    monkeypatch.setattr("corpus.tables.ROW_GROUP_BYTES", 4_000)
    with pytest.raises(_Stopped):
        part(tmp_path, demo_dump, engine=_StoppingEngine(num_tasks))
    # The second run reads the rows' manifest from disk, where files are in another order.
    posts = part(tmp_path, demo_dump)
    assert posts.manifest.id == demo_stages["posts"].manifest.id


# Rows that repeat an id, or have an impossible one ------------------------------------------


WIDTHS = pytest.mark.parametrize("partition_threads", [1, 7, 65_536])


@WIDTHS
def test_of_rows_with_one_id_the_first_in_the_dump_stays(
    write_dump: Callable[..., str], tmp_path: Path, partition_threads: int
) -> None:
    dump = write_dump(
        Posts=[
            {"Id": 500, "Title": "first"},
            {"Id": 500, "Title": "again"},
            # The same post once more, as an answer in another partition.
            {"Id": 500, "PostTypeId": 2, "ParentId": 90_000, "Title": "elsewhere"},
            {"Id": 90_000},
        ],
        Comments=[{"Id": 1, "PostId": 500, "Text": text} for text in ("first", "again")],
    )
    posts = part(tmp_path / "store", dump, partition_threads=partition_threads)
    assert [(row["id"], row["title"]) for row in read(posts, "posts")] == [
        (500, "first"),
        (90_000, None),
    ]
    assert [row["text"] for row in read(posts, "comments")] == ["first"]
    assert rejected(posts) == {"Posts": {"repeated_id": 2}, "Comments": {"repeated_id": 1}}
    assert ids(posts, "rejects/Posts") == [500, 500]


@WIDTHS
def test_one_id_on_comments_of_two_posts_is_no_repetition(
    write_dump: Callable[..., str], tmp_path: Path, partition_threads: int
) -> None:
    dump = write_dump(
        Posts=[{"Id": 1}, {"Id": 9}],
        Comments=[{"Id": 5, "PostId": 9}, {"Id": 5, "PostId": 1}],
    )
    posts = part(tmp_path / "store", dump, partition_threads=partition_threads)
    assert [(row["post_id"], row["id"]) for row in read(posts, "comments")] == [(1, 5), (9, 5)]
    assert rejected(posts) == {}


@WIDTHS
def test_ids_that_no_site_gives_are_rejected(
    write_dump: Callable[..., str], tmp_path: Path, partition_threads: int
) -> None:
    impossible = [-(10**17), -5, 0, MAX_ID + 1, 10**15, 10**17]
    dump = write_dump(
        Posts=[
            *({"Id": n} for n in (1, MAX_ID, *impossible)),
            *({"Id": 100 + n, "ParentId": bad} for n, bad in enumerate(impossible)),
        ],
        Comments=[{"Id": 1, "PostId": n} for n in (1, MAX_ID, *impossible)],
        PostLinks=[{"Id": n, "PostId": 1, "RelatedPostId": 2} for n in (1, *impossible)],
    )
    posts = part(tmp_path / "store", dump, partition_threads=partition_threads)
    assert rejected(posts) == {
        "Posts": {"id_out_of_range": 12},
        "Comments": {"id_out_of_range": 6},
        "PostLinks": {"id_out_of_range": 6},
    }
    assert ids(posts, "posts") == [1, MAX_ID]
    assert [row["post_id"] for row in read(posts, "comments")] == [1, MAX_ID]
    assert load_threads(posts.folder, SITE)[0].tolist() == [1, MAX_ID]
    reasons = {row["reason"] for row in read(posts, "rejects")}
    assert reasons == {"id_out_of_range"} <= set(REJECT_REASONS)
    for entry in posts.files("rejects/"):
        assert read_table(posts.path(entry.name)).schema.equals(REJECT_SCHEMA)
    for entry in posts.files():
        if entry.name.endswith(".parquet"):
            assert re.fullmatch(r"\d{10}\.parquet", Path(entry.name).name)


def test_a_good_row_is_not_lost_to_a_bad_one_of_the_same_id(
    write_dump: Callable[..., str], tmp_path: Path
) -> None:
    dump = write_dump(Posts=[{"Id": 7, "ParentId": -3}, {"Id": 7, "Title": "good"}])
    posts = part(tmp_path / "store", dump)
    assert [row["title"] for row in read(posts, "posts")] == ["good"]
    assert rejected(posts) == {"Posts": {"id_out_of_range": 1}}


def test_names_of_partitions_sort_as_their_numbers(
    write_dump: Callable[..., str], tmp_path: Path
) -> None:
    post_ids = [2, 30, 99_999_999, 100_000_000, 1_000_000_001, MAX_ID]
    dump = write_dump(Posts=[{"Id": n} for n in reversed(post_ids)])
    posts = part(tmp_path / "store", dump, partition_threads=1)
    assert sorted(entry.name for entry in posts.files("posts/")) == [
        f"posts/{SITE}/{n:010d}.parquet" for n in post_ids
    ]


# Rows of posts that are not there ------------------------------------------------------------


def test_an_answer_without_its_question_is_in_the_thread_of_that_question(
    write_dump: Callable[..., str], tmp_path: Path
) -> None:
    dump = write_dump(
        Posts=[{"Id": 3, "PostTypeId": 2, "ParentId": 200}],
        Comments=[{"Id": 1, "PostId": 3}, {"Id": 2, "PostId": 200}],
    )
    posts = part(tmp_path / "store", dump)
    assert partitions(posts, "posts") == {200 // 64: [3]}
    assert [row["thread_id"] for row in read(posts, "posts")] == [200]
    assert partitions(posts, "comments") == {200 // 64: [1, 2]}


def test_rows_of_missing_posts_are_kept_where_their_posts_would_be(
    write_dump: Callable[..., str], tmp_path: Path
) -> None:
    dump = write_dump(
        Posts=[{"Id": 1}],
        Comments=[{"Id": 1, "PostId": 130}],
        PostHistory=[{"Id": 2, "PostId": 131}],
        PostLinks=[{"Id": 3, "PostId": 132, "RelatedPostId": 1}],
    )
    posts = part(tmp_path / "store", dump)
    assert [partitions(posts, folder) for folder in ("comments", "history", "links")] == [
        {2: [1]},
        {2: [2]},
        {2: [3]},
    ]


def test_a_site_may_have_nothing_but_posts(write_dump: Callable[..., str], tmp_path: Path) -> None:
    posts = part(tmp_path / "store", write_dump(Posts=[{"Id": 1}]))
    assert sorted(entry.name for entry in posts.files()) == [
        f"posts/{SITE}/0000000000.parquet",
        f"threads/{SITE}.npy",
    ]
    user_ids, names = load_user_names(posts.folder, SITE)
    assert (len(user_ids), len(names)) == (0, 0)


def test_a_site_may_have_no_rows_at_all(write_dump: Callable[..., str], tmp_path: Path) -> None:
    posts = part(tmp_path / "store", write_dump(Posts=[], Users=[]))
    assert posts.manifest.outcome.flows == {}
    assert load_threads(posts.folder, SITE)[0].tolist() == []
    assert thread_of(np.array([1]), load_threads(posts.folder, SITE)).tolist() == [-1]
    assert len(load_user_names(posts.folder, SITE)[0]) == 0


# Users ---------------------------------------------------------------------------------------


def test_user_names_are_found_by_id_and_cost_no_memory(
    write_dump: Callable[..., str], tmp_path: Path
) -> None:
    users = [{"Id": n, "DisplayName": f"user {n}"} for n in range(20_000, 0, -1)]
    users.append({"Id": 7, "DisplayName": "again"})
    posts = part(tmp_path / "store", write_dump(Posts=[{"Id": 1}], Users=users))
    before = pa.total_allocated_bytes()
    user_ids, names = load_user_names(posts.folder, SITE)
    assert pa.total_allocated_bytes() - before < 10_000
    assert user_ids.tolist() == list(range(1, 20_001))
    assert names[6].as_py() == "user 7"


# Real dumps ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dump", "questions", "answers", "comments", "history", "links"),
    [
        ("iot.stackexchange.com/2017-03", 320, 508, 1607, 4202, 88),
        ("coffee.meta.stackexchange.com/2020-08", 81, 147, 338, 621, 25),
        ("datascience.meta.stackexchange.com/2024-01", 257, 341, 0, 0, 0),
        *(
            pytest.param(*counts, marks=pytest.mark.slow)
            for counts in (
                ("bioinformatics.stackexchange.com/2017-08", 419, 801, 2158, 3778, 36),
                ("ai.stackexchange.com/2016-12", 421, 749, 1165, 3612, 101),
                ("ai.stackexchange.com/2016-09", 264, 415, 0, 0, 0),
                ("beer.stackexchange.com/2016-09", 561, 1330, 1742, 4800, 91),
                ("beer.stackexchange.com/2014-05", 244, 448, 793, 1836, 59),
                ("avp.meta.stackexchange.com/2014-09", 132, 247, 460, 860, 48),
                ("conlang.meta.stackexchange.com/2020-08", 54, 115, 230, 450, 20),
                ("beer.meta.stackexchange.com/2014-05", 24, 49, 108, 140, 9),
                ("datascience.meta.stackexchange.com/2017-03", 95, 152, 0, 0, 0),
            )
        ),
    ],
)
def test_no_row_of_a_real_dump_is_lost(
    shared_data: Path,
    tmp_path: Path,
    dump: str,
    questions: int,
    answers: int,
    comments: int,
    history: int,
    links: int,
) -> None:
    posts = part(tmp_path, shared_data / "dumps" / dump)
    kinds = [row["post_type_id"] for row in read(posts, "posts")]
    assert (kinds.count(1), kinds.count(2)) == (questions, answers)
    found = [len(read(posts, folder)) for folder in ("comments", "history", "links")]
    assert found == [comments, history, links]
    assert rejected(posts) == {}
