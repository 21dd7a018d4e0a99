"""A dump is found in every layout it comes in, and digested whatever it is called."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import py7zr
import pytest

from corpus.dump import TABLES, build_dump, find_tables, missing_tables
from corpus.engine import LocalEngine
from corpus.errors import BadArchive, DumpError
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.store import Artifact, Store

SITE = "ai.stackexchange.com"
CONTENT = {name: f"<{name.lower()}></{name.lower()}>".encode() for name in TABLES}


def write_tables(folder: Path, *tables: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables or TABLES:
        (folder / f"{table}.xml").write_bytes(CONTENT[table])
    return folder


def write_archive(path: Path, *tables: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with py7zr.SevenZipFile(path, "w") as archive:
        for table in tables or TABLES:
            archive.writef(io.BytesIO(CONTENT[table]), f"{table}.xml")
    return path


def found(*dumps: str | Path) -> set[tuple[str, str]]:
    return {(table.site, table.table) for table in find_tables(map(str, dumps))}


def all_of(*sites: str) -> set[tuple[str, str]]:
    return {(site, table) for site in sites for table in TABLES}


def build(store: Path, *dumps: str | Path) -> Artifact:
    tables = find_tables(map(str, dumps))
    return build_dump(tables, Store(store), LocalEngine(), Reporter(quiet=True))


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "folder of tables": lambda place: write_tables(place / SITE),
    "folder over it": lambda place: write_tables(place / SITE).parent,
    "date folder": lambda place: write_tables(place / SITE / "2016-12"),
    "folder over a date folder": lambda place: write_tables(place / SITE / "2016-12-05").parent,
    "archive": lambda place: write_archive(place / f"{SITE}.7z"),
    "dated archive": lambda place: write_archive(place / f"{SITE}_2017-03.7z"),
    "folder of archives": lambda place: write_archive(place / f"{SITE}.7z").parent,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found(tmp_path: Path, layout: str) -> None:
    assert found(LAYOUTS[layout](tmp_path / "dumps")) == all_of(SITE)


def test_an_archive_a_table_is_found(tmp_path: Path) -> None:
    for table in TABLES:
        write_archive(tmp_path / f"stackoverflow.com-{table}.7z", table)
    with py7zr.SevenZipFile(tmp_path / "stackoverflow.com-Votes.7z", "w") as archive:
        archive.writef(io.BytesIO(b"<votes></votes>"), "Votes.xml")
    assert found(tmp_path) == all_of("stackoverflow.com")


def test_a_folder_of_sites_in_many_forms_is_found(tmp_path: Path) -> None:
    write_tables(tmp_path / "a.org")
    write_tables(tmp_path / "b.org" / "2020-01")
    write_archive(tmp_path / "c.org.7z")
    write_tables(tmp_path / "more" / "d.org")
    assert found(tmp_path) == all_of("a.org", "b.org", "c.org", "d.org")


def test_tables_come_by_site_and_name_with_their_sizes(tmp_path: Path) -> None:
    write_tables(tmp_path / "b.org")
    write_archive(tmp_path / "a.org.7z")
    tables = find_tables([str(tmp_path)])
    assert [(table.site, table.table) for table in tables] == sorted(all_of("a.org", "b.org"))
    assert all(table.num_bytes == len(CONTENT[table.table]) for table in tables)


def test_the_site_can_be_given(tmp_path: Path) -> None:
    assert found(f"x.org={write_tables(tmp_path / 'download')}") == all_of("x.org")
    assert found(f"x.org={write_archive(tmp_path / 'download.7z')}") == all_of("x.org")
    dated = write_tables(tmp_path / "dated" / "2020-01").parent
    assert found(f"x.org={dated}") == all_of("x.org")


def test_a_path_may_hold_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tables(tmp_path / "by=me" / SITE)
    assert found(path) == all_of(SITE)
    assert found(f"x.org={path}") == all_of("x.org")
    monkeypatch.chdir(write_tables(tmp_path / "x.org=here").parent)
    write_tables(tmp_path / "x.org=here" / SITE)
    with pytest.raises(DumpError, match="is no name of one; give SITE=PATH"):
        find_tables(["x.org=here"])
    assert found("y.org=x.org=here/" + SITE) == all_of("y.org")


@pytest.mark.parametrize("dump", [".", "../ai.stackexchange.com", "x/..", "x/../2020-01"])
def test_the_site_of_a_relative_path_is_the_name_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dump: str
) -> None:
    folder = tmp_path / SITE
    write_tables(folder / "2020-01" if "2020" in dump else folder)
    (folder / "x").mkdir()
    monkeypatch.chdir(folder)
    assert found(dump) == all_of(SITE)


@pytest.mark.parametrize("site", ["..", "a/b", ".hidden", "a b", "-x", "a\n"])
def test_a_name_that_is_no_site_does_not_become_a_folder(tmp_path: Path, site: str) -> None:
    path = write_tables(tmp_path / "x.org")
    with pytest.raises(DumpError):
        find_tables([f"{site}={path}"])


def test_a_folder_that_is_no_site_asks_for_its_name(tmp_path: Path) -> None:
    path = write_tables(tmp_path / "my dump")
    with pytest.raises(DumpError, match=r"'my dump' is no name of one; give SITE=PATH"):
        find_tables([str(path)])
    assert found(f"x.org={path}") == all_of("x.org")


def test_a_site_given_twice_is_refused(tmp_path: Path) -> None:
    one, other = write_tables(tmp_path / SITE), write_archive(tmp_path / f"{SITE}.7z")
    with pytest.raises(DumpError, match="is given twice, by") as caught:
        find_tables([str(one), str(other)])
    assert str(one) in str(caught.value) and str(other) in str(caught.value)
    assert found(f"x.org={one}", other) == all_of("x.org", SITE)


def test_two_dates_of_a_site_are_refused(tmp_path: Path) -> None:
    for date in ("2016-12", "2017-03"):
        write_tables(tmp_path / SITE / date)
    with pytest.raises(DumpError, match="is given twice"):
        find_tables([str(tmp_path)])


def test_a_site_without_posts_is_refused(tmp_path: Path) -> None:
    path = write_tables(tmp_path / SITE, "Comments", "Users")
    with pytest.raises(DumpError, match=rf"{SITE} has no Posts table"):
        find_tables([str(path)])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    tables = find_tables([str(write_tables(tmp_path / SITE, "Posts", "Users"))])
    notes = missing_tables(tables)
    assert [note.split(":")[0] for note in notes] == [
        f"{SITE} has no {table}" for table in ("Comments", "PostHistory", "PostLinks")
    ]
    assert missing_tables(find_tables([str(write_tables(tmp_path / "full.org"))])) == []


def test_nothing_is_found_where_names_are_in_lower_case(tmp_path: Path) -> None:
    (tmp_path / SITE).mkdir()
    (tmp_path / SITE / "posts.xml").write_bytes(CONTENT["Posts"])
    with pytest.raises(DumpError, match=r"looked for Posts, Comments.*\(so written\)"):
        find_tables([str(tmp_path / SITE)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: place.mkdir(), "holds no table of a dump"),
        (lambda place: place.write_text("hello"), "is neither a folder nor a .7z"),
        (lambda place: None, "is neither a folder nor a .7z"),
    ],
    ids=["empty folder", "another file", "nothing there"],
)
def test_what_is_no_dump_is_refused(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "x.org")
    with pytest.raises(DumpError, match=message):
        find_tables([str(tmp_path / "x.org")])


def test_no_dump_at_all_is_refused() -> None:
    with pytest.raises(DumpError, match="no dump is given"):
        find_tables([])


def test_a_file_that_is_only_called_7z_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.org.7z").write_text("hello")
    with pytest.raises(BadArchive):
        find_tables([str(tmp_path)])


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write_tables(tmp_path / "elsewhere" / "x.org")
    site = tmp_path / "dumps" / SITE
    write_tables(site)
    (site / "again").symlink_to(site)
    (site / "above").symlink_to(site.parent)
    (tmp_path / "dumps" / "x.org").symlink_to(tmp_path / "elsewhere" / "x.org")
    assert found(tmp_path / "dumps") == all_of(SITE, "x.org")


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    path = write_tables(tmp_path / SITE)
    write_tables(path / ".Trash")
    (path / "._Posts.xml").write_bytes(b"\0\0")
    (path / "Posts.xml.bak").write_bytes(b"")
    (path / "Votes.xml").write_bytes(b"")
    assert found(path) == all_of(SITE)


def test_a_table_that_is_a_link_to_nowhere_is_not_passed_over(tmp_path: Path) -> None:
    path = write_tables(tmp_path / SITE, "Posts")
    (path / "Comments.xml").symlink_to(tmp_path / "gone.xml")
    with pytest.raises(DumpError, match=r"Comments\.xml is no file, or a link to nowhere"):
        find_tables([str(path)])


def test_a_table_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = write_tables(tmp_path / SITE, "Posts")
    os.mkfifo(path / "Users.xml")
    with pytest.raises(DumpError, match=r"Users\.xml is no file"):
        find_tables([str(path)])


def refuse(self: Path, *_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", str(self))


@pytest.mark.parametrize("call", ["open", "stat", "iterdir"])
def test_what_may_not_be_read_is_a_dump_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = write_tables(tmp_path / SITE)
    with monkeypatch.context() as patched:
        patched.setattr(Path, call, refuse)
        with pytest.raises(DumpError, match="cannot be read: Permission denied; check"):
            build(tmp_path / "store", path)


def test_a_table_that_went_away_is_a_dump_error(tmp_path: Path) -> None:
    path = write_tables(tmp_path / SITE)
    tables = find_tables([str(path)])
    (path / "Users.xml").unlink()
    with pytest.raises(DumpError, match=r"Users\.xml cannot be read: No such file"):
        build_dump(tables, Store(tmp_path / "store"), LocalEngine(), Reporter(quiet=True))


def test_the_listing_holds_digests_and_no_paths(tmp_path: Path) -> None:
    artifact = build(tmp_path / "store", write_tables(tmp_path / SITE, "Posts", "Users"))
    listing = (artifact.folder / "tables.json").read_text()
    assert str(tmp_path) not in listing
    recipe: Json = artifact.manifest.recipe
    assert recipe["tables"][0] == {
        "site": SITE,
        "table": "Posts",
        "num_bytes": len(CONTENT["Posts"]),
        "source_sha256": hashlib.sha256(CONTENT["Posts"]).hexdigest(),
    }
    assert artifact.manifest.outcome.figures == {"sites": 1, "tables": 2, "xml_bytes": 30}


def test_the_artifact_is_the_same_wherever_the_dumps_lie_and_in_any_order(tmp_path: Path) -> None:
    one, other = write_tables(tmp_path / "a.org"), write_archive(tmp_path / "b.org.7z")
    first = build(tmp_path / "store1", one, other)
    moved = tmp_path / "moved"
    moved.mkdir()
    one.rename(moved / "elsewhere")
    second = build(tmp_path / "store2", other, f"a.org={moved / 'elsewhere'}")
    assert first.manifest == second.manifest


def test_one_changed_byte_gives_another_artifact(tmp_path: Path) -> None:
    path = write_tables(tmp_path / SITE)
    first = build(tmp_path / "store", path)
    (path / "Users.xml").write_bytes(CONTENT["Users"].replace(b"u", b"U"))
    assert build(tmp_path / "store", path).manifest.id != first.manifest.id


def test_workers_digest_alike(tmp_path: Path) -> None:
    path = write_tables(tmp_path / SITE)
    alone = build(tmp_path / "store1", path)
    with LocalEngine(2) as engine:
        together = build_dump(
            find_tables([str(path)]), Store(tmp_path / "store2"), engine, Reporter(quiet=True)
        )
    assert alone.manifest == together.manifest
