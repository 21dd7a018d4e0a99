"""The search finds what is planted in every kind of file, and nothing where nothing is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.engine import LocalEngine
from corpus.errors import ProofFailed
from corpus.manifest import Json
from corpus.mentions import Gone, replace_links
from corpus.progress import Reporter
from corpus.proving import check_found, check_searcher, search_store
from corpus.quotes import digest_windows
from corpus.removals import Name
from corpus.searcher import Searcher, Sought, find_shared

WORDS = "Set the valve to three bars, wait for the lamp, and only then open the second tap."
NAMES = (Name("comment", "x.org", 5), Name("post", "x.org", 12), Name("user", "x.org", 7))
SOUGHT = Sought(NAMES, (WORDS,), np.unique(digest_windows(pa.array([WORDS]))[0]))


def search(store: Path, sought: Sought = SOUGHT) -> Json:
    return search_store(store, sought, engine=LocalEngine(), reporter=Reporter(quiet=True))


def write_parquet(path: Path) -> None:
    row = {"site": "x.org", "comments": [{"author_id": 7, "text": WORDS}], "thread_id": 12}
    pq.write_table(pa.Table.from_pylist([row, {**row, "site": "y.org"}]), path / "a.parquet")


def write_json_lines(path: Path) -> None:
    lines = [{"item_id": "x.org/12", "content": {"comments": [{"comment_id": 5}]}}, {"note": "no"}]
    (path / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_threads(path: Path) -> None:
    (path / "threads").mkdir()
    np.save(path / "threads" / "x.org.npy", np.array([[11, 12], [11, 12]]))


def write_users(path: Path) -> None:
    (path / "users").mkdir()
    batch = pa.record_batch({"id": [7, 8], "display_name": ["Ada", "Bea"]})
    file = path / "users" / "x.org.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as out:
        out.write_batch(batch)


def write_sqlite(path: Path) -> None:
    with sqlite3.connect(path / "a.sqlite") as connection:
        connection.execute("CREATE TABLE items (content TEXT)")
        text = WORDS.replace(" ", "\n")
        connection.execute("INSERT INTO items VALUES (?)", (json.dumps({"text": text}),))
    connection.close()


def write_freed_page(path: Path) -> None:
    connection = sqlite3.connect(path / "a.sqlite", isolation_level=None)
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("CREATE TABLE items (content TEXT)")
    connection.execute("INSERT INTO items VALUES (?)", (f"{'x' * 20_000} {WORDS}",))
    connection.execute("DELETE FROM items")
    connection.close()


def write_page(path: Path) -> None:
    (path / "a.html").write_text("<a href='https://x.org/questions/12/t#comment5_12'>x</a>")


def write_rows(path: Path) -> None:
    folder = path / "rows" / "x.org"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": [12, 13], "raw": [b"a", b"&#34;"]}), folder / "Posts.parquet")


@pytest.mark.parametrize(
    ("write", "hits"),
    [
        (write_parquet, {"id": 1, "author": 1, "text": 66}),
        (write_json_lines, {"id": 2}),
        (write_threads, {"id": 2}),
        (write_users, {"author": 1}),
        (write_sqlite, {"text": 33}),
        (write_freed_page, {"text": 33}),
        (write_page, {"link": 3}),
        (write_rows, {"id": 1}),
    ],
)
def test_what_is_planted_is_found(
    tmp_path: Path, write: Callable[[Path], None], hits: dict[str, int]
) -> None:
    write(tmp_path)
    found = search(tmp_path)
    assert {kind: num for kind, num in found["hits"].items() if num} == hits
    with pytest.raises(ProofFailed, match="hits"):
        check_found(found)


def test_shards_are_searched_as_text(demo_store: Path) -> None:
    folder = next(demo_store.glob("shards/*"))
    rows = pq.read_table(next(demo_store.glob("dataset/*/data/train-*.parquet")))
    text = max(rows["text"].to_pylist(), key=len)
    sought = Sought((), (text,), np.unique(digest_windows(pa.array([text]))[0]))
    at = {"engine": LocalEngine(), "reporter": Reporter(quiet=True)}
    found = search_store(demo_store, sought, folders=[folder], **at)
    assert found["hits"]["text"] > 0
    assert [name.endswith(".bin") for name in found["by_file"]] == [True]


@pytest.mark.parametrize(
    "link",
    [
        "https://x.org/questions/9/some-title/12",
        "https://x.org/questions/9/some-title/12#12",
        "https://x.org/questions/9/a-(b)-c/12",
        "https://x.org:443/q/12",
        "“/q/12”",
        "`/questions/9/t/12`",
        "[1]:/a/12",
        "</revisions/12/2>",
    ],
)
def test_a_link_is_found_and_replaced_however_it_is_written(link: str) -> None:
    gone = Gone(np.array([12]), np.array([5]), np.array([7]))
    assert Searcher(SOUGHT).search(f"see {link}.", "x.org")["link"] > 0
    replaced = replace_links(pa.chunked_array([[f"see {link}."]]), "x.org", {"x.org": gone})
    assert "12" not in replaced[0].as_py()
    assert "[removed]" in replaced[0].as_py()


def test_partition_names_other_sites_and_longer_ids_are_no_hits(tmp_path: Path) -> None:
    text = (
        "x.org/0000000012.parquet y.x.org/12 x.org/123 https://x.org/users/77 y.org/q/12 ax.org/12"
    )
    (tmp_path / "a.txt").write_text(text)
    found = search(tmp_path)
    assert sum(found["hits"].values()) == 0
    check_found(found)


def test_without_texts_the_digests_of_the_record_are_compared(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(f"# Title\n\n{WORDS}\n")
    found = search(tmp_path, SOUGHT._replace(texts=()))
    assert (found["compared"], found["hits"]["text"]) == ("digest", 1)


def test_what_others_wrote_first_is_no_hit(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(WORDS)
    assert search(tmp_path, SOUGHT._replace(windows=SOUGHT.windows[:0]))["hits"]["text"] == 0


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.7z").write_bytes(b"7z")
    assert search(tmp_path)["unread"] == ["a.7z"]


def test_the_record_itself_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "removals.json").write_text("x.org/12")
    assert search(tmp_path)["files"] == 0


def test_a_search_that_finds_nothing_planted_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    check_searcher(SOUGHT)
    monkeypatch.setattr(Searcher, "has", lambda *_: False)
    with pytest.raises(ProofFailed, match="planted"):
        check_searcher(SOUGHT)


def test_every_shared_window_is_found_wherever_it_stands() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    pieces = frozenset(text[i : i + 25] for i in range(len(text) - 24))
    for start in range(60):
        quoting = "-" * start + text[100:153] + "+" * 40
        expected = [text[i : i + 50] for i in range(100, 104)]
        assert [*find_shared(quoting, pieces, text)] == expected
