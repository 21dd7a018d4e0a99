"""Typed rows from dumps: nothing lost, nothing published of a table that breaks off."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import py7zr
import pyarrow as pa
import pytest

from corpus import ingest, progress
from corpus.demo import demo_counts
from corpus.dump import build_dump, find_tables
from corpus.engine import LocalEngine
from corpus.errors import BadArchive, MalformedXml
from corpus.ingest import build_rows
from corpus.manifest import Flow
from corpus.progress import Reporter
from corpus.rows import QUARANTINE_SCHEMA, SCHEMAS
from corpus.store import Artifact, Store
from corpus.tables import read_table

COUNT_BY_TABLE = {
    "Posts": "posts",
    "Comments": "comments",
    "PostHistory": "history",
    "PostLinks": "links",
    "Users": "users",
}


def read_rows(store: Path, *dumps: object) -> Artifact:
    tables = find_tables(map(str, dumps))
    at = (Store(store), LocalEngine(), Reporter(quiet=True))
    return build_rows(build_dump(tables, *at), tables, *at)


def flows(rows: Artifact) -> dict[str, tuple[int, int]]:
    return {
        table: (flow.num_in, flow.num_out) for table, flow in rows.manifest.outcome.flows.items()
    }


def digests(rows: Artifact) -> dict[str, str]:
    return {entry.name.rsplit("/")[-1]: entry.rows_sha256 for entry in rows.files("rows/")}


# The sample dump -----------------------------------------------------------------------------


def test_rows_in_are_rows_out_and_rows_quarantined(demo_stages: dict[str, Artifact]) -> None:
    counts = list(demo_counts().values())
    found = demo_stages["rows"].manifest.outcome.flows
    for table, name in COUNT_BY_TABLE.items():
        out = sum(count[name] for count in counts)
        bad = sum(count.get(f"{name}_quarantined", 0) for count in counts)
        assert found[table] == Flow(out + bad, out, {"bad_date": bad} if bad else {})


def test_every_table_of_every_site_is_a_file(demo_stages: dict[str, Artifact]) -> None:
    rows = demo_stages["rows"]
    for site, counts in demo_counts().items():
        for table, name in COUNT_BY_TABLE.items():
            path = rows.path(f"rows/{site}/{table}.parquet")
            found = read_table(path)
            assert found.schema.equals(SCHEMAS[table])
            assert len(found) == counts[name]


def test_only_tables_with_unusable_rows_have_a_quarantine(demo_stages: dict[str, Artifact]) -> None:
    names = [entry.name for entry in demo_stages["rows"].files("quarantine/")]
    assert sorted(names) == [
        "quarantine/gardens.example.org/Posts.parquet",
        "quarantine/homelab.example.org/Comments.parquet",
    ]


def test_a_quarantined_row_is_kept_as_its_bytes_and_where_they_stood(
    demo_stages: dict[str, Artifact], demo_dump: Path
) -> None:
    for entry in demo_stages["rows"].files("quarantine/"):
        site, table = entry.name.removesuffix(".parquet").split("/")[1:]
        xml = (demo_dump / site / f"{table}.xml").read_bytes()
        rows = read_table(demo_stages["rows"].path(entry.name))
        assert rows.schema.equals(QUARANTINE_SCHEMA)
        (row,) = rows.to_pylist()
        assert xml[row["byte_offset"] :].startswith(row["raw"])
        assert row["raw"].startswith(b"<row Id=") and row["raw"].endswith(b"/>")
        assert (row["table"], row["reason"]) == (table, "bad_date")


def test_repaired_characters_and_unknown_attributes_are_counted(
    demo_stages: dict[str, Artifact], write_dump: Callable[..., str], tmp_path: Path
) -> None:
    repaired = sum(c["posts_repaired"] + c["history_repaired"] for c in demo_counts().values())
    assert demo_stages["rows"].manifest.outcome.figures == {"characters_repaired": repaired}
    dump = write_dump(Posts=[{"Id": 1, "Mood": "x"}, {"Id": 2, "Mood": "y"}, {"Id": 3}])
    figures = read_rows(tmp_path / "store", dump).manifest.outcome.figures
    assert figures == {"characters_repaired": 0, "unknown_attribute Posts.Mood": 2}


# Dumps that are not whole ---------------------------------------------------------------------


def test_nothing_is_published_of_a_table_that_breaks_off(
    write_dump: Callable[..., str], tmp_path: Path
) -> None:
    dump = write_dump(Posts=[{"Id": 1}], Comments=[{"Id": 1, "PostId": 1}])
    whole = Path(dump, "Comments.xml").read_bytes()
    Path(dump, "Comments.xml").write_bytes(whole.replace(b"</comments>", b""))
    store = tmp_path / "store"
    with pytest.raises(MalformedXml, match=r"x\.example\.org/Comments\.xml"):
        read_rows(store, dump)
    assert not list(store.glob("rows/*/manifest.json"))
    Path(dump, "Comments.xml").write_bytes(whole)
    assert flows(read_rows(store, dump)) == {"Posts": (1, 1), "Comments": (1, 1)}


def test_nothing_is_published_of_an_archive_whose_checksum_fails(
    write_dump: Callable[..., str], tmp_path: Path
) -> None:
    dump = write_dump(Posts=[{"Id": 1, "Body": "a word"}])
    archive = tmp_path / "x.example.org.7z"
    with py7zr.SevenZipFile(archive, "w", filters=[{"id": py7zr.FILTER_COPY}]) as writer:
        writer.write(Path(dump, "Posts.xml"), "Posts.xml")
    archive.write_bytes(archive.read_bytes().replace(b"a word", b"a ward"))
    with pytest.raises(BadArchive):
        read_rows(tmp_path / "store", archive)
    assert not list(tmp_path.glob("store/rows/*/manifest.json"))


def test_a_table_without_rows_is_an_empty_file(
    write_dump: Callable[..., str], tmp_path: Path
) -> None:
    rows = read_rows(tmp_path / "store", write_dump(Posts=[]))
    assert flows(rows) == {"Posts": (0, 0)}
    assert len(read_table(rows.path("rows/x.example.org/Posts.parquet"))) == 0


# Archives ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [["Posts", "Comments"], ["Comments", "Posts"]])
def test_tables_are_told_apart_in_whatever_order_an_archive_has_them(
    write_dump: Callable[..., str], tmp_path: Path, order: list[str]
) -> None:
    dump = write_dump(
        Posts=[{"Id": n} for n in range(1, 4)], Comments=[{"Id": 1, "PostId": 1, "Text": "hello"}]
    )
    archive = tmp_path / "x.example.org.7z"
    with py7zr.SevenZipFile(archive, "w") as writer:
        for table in order:
            writer.write(Path(dump, f"{table}.xml"), f"{table}.xml")
    from_archive, from_folder = (
        read_rows(tmp_path / "store", source) for source in (archive, dump)
    )
    assert flows(from_archive) == {"Posts": (3, 3), "Comments": (1, 1)}
    assert digests(from_archive) == digests(from_folder)


def test_an_archive_of_a_real_site_gives_the_rows_of_its_folder(
    shared_data: Path, tmp_path: Path
) -> None:
    archive = shared_data / "archives" / "iot.stackexchange.com_2017-03.7z"
    folder = shared_data / "dumps" / "iot.stackexchange.com" / "2017-03"
    from_archive, from_folder = (read_rows(tmp_path, source) for source in (archive, folder))
    assert digests(from_archive) == digests(from_folder)
    expected = {
        path.stem: len(re.findall(rb"<row ", path.read_bytes()))
        for path in folder.glob("*.xml")
        if path.stem in SCHEMAS
    }
    assert flows(from_archive) == {table: (num, num) for table, num in expected.items()}
    assert {t: expected[t] for t in ("Comments", "PostHistory", "PostLinks")} == {
        "Comments": 1607,
        "PostHistory": 4202,
        "PostLinks": 88,
    }


# Memory --------------------------------------------------------------------------------------


def lines(num_rows: int) -> Iterator[str]:
    yield "<comments>\n"
    for number in range(num_rows):
        # Every tenth row has no date that exists.
        day = "2021-02-31" if number % 10 == 0 else "2021-02-28"
        yield f'<row Id="{number}" PostId="1" Text="{"x" * 500}" CreationDate="{day}" />\n'
    yield "</comments>"


def test_memory_does_not_grow_with_the_table(
    write_dump: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "GROUP_BYTES", 2_000_000)
    dump = write_dump(Posts=[{"Id": 1}])
    with Path(dump, "Comments.xml").open("w") as file:
        file.writelines(lines(60_000))
    held: list[int] = []
    monkeypatch.setattr(progress, "_sink", lambda _: held.append(pa.total_allocated_bytes()))
    before = pa.total_allocated_bytes()
    rows = read_rows(tmp_path / "store", dump)
    assert flows(rows)["Comments"] == (60_000, 54_000)
    assert Path(dump, "Comments.xml").stat().st_size > 30_000_000
    assert max(held) - before < 10_000_000
