"""7z archives are read as streams, alike by the 7z program and py7zr, and bad ones are refused."""

from __future__ import annotations

import io
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import py7zr
import pytest

from corpus import archive as archives
from corpus.archive import Member, iter_members, list_members
from corpus.errors import BadArchive

BZIP2 = [{"id": py7zr.FILTER_BZIP2}]
LZMA2 = [{"id": py7zr.FILTER_LZMA2, "preset": 1}]
COPY = [{"id": py7zr.FILTER_COPY}]
POSTS = b"<posts>" + Random(1).randbytes(300_000) + b"</posts>"
USERS = b"<users>" + b'<row Id="1"/>\r\n' * 5_000 + b"</users>"
PROGRAM = next(filter(None, map(shutil.which, archives.PROGRAMS)), None)


@pytest.fixture(params=["program", "py7zr"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to decode an archive."""
    if request.param == "py7zr":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    elif PROGRAM is None:
        pytest.skip("no 7z program is installed")
    return str(request.param)


def write_archive(
    path: Path, members: dict[str, bytes], filters: list[dict[str, Any]] | None = LZMA2
) -> Path:
    with py7zr.SevenZipFile(path, "w", filters=filters) as archive:
        for name, content in members.items():
            archive._writef(io.BytesIO(content), name)  # names are checked by writef
    return path


def read_members(path: Path, members: list[Member] | None = None) -> dict[str, bytes]:
    members = list_members(path) if members is None else members
    return {member.name: stream.read() for member, stream in iter_members(path, members)}


@pytest.mark.parametrize("filters", [BZIP2, LZMA2, None], ids=["bzip2", "lzma2", "lzma2-bcj"])
def test_members_of_a_solid_archive_come_in_its_order(
    tmp_path: Path, decoder: str, filters: list[dict[str, Any]] | None
) -> None:
    members = {"Badges.xml": b"b" * 70_000, "Users.xml": USERS, "Posts.xml": POSTS, "Tags.xml": b""}
    path = write_archive(tmp_path / "site.7z", members, filters)
    listed = list_members(path)
    assert [(one.name, one.num_bytes) for one in listed] == [
        (name, len(content)) for name, content in members.items()
    ]
    assert list(read_members(path)) == list(members)
    assert read_members(path) == members
    assert read_members(path, [listed[2]]) == {"Posts.xml": POSTS}


def test_real_archive_is_the_same_to_both_decoders(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared_data / "archives" / "meta.avp.stackexchange.com_2014-09.7z"
    by_program = read_members(path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert read_members(path) == by_program
    assert {len(by_program[member.name]) == member.num_bytes for member in list_members(path)} == {
        True
    }


def test_blocks_of_an_archive_are_not_mixed(tmp_path: Path, decoder: str) -> None:
    path = write_archive(tmp_path / "site.7z", {"Posts.xml": b"P" * 10_000_000}, COPY)
    with py7zr.SevenZipFile(path, "a", filters=COPY) as archive:
        archive.writef(io.BytesIO(b"U" * 10_000_000), "Users.xml")
    read = read_members(path)
    assert {name: set(content) for name, content in read.items()} == {
        "Posts.xml": set(b"P"),
        "Users.xml": set(b"U"),
    }


def test_a_reader_that_leaves_a_member_early_gets_the_next_from_its_start(
    tmp_path: Path, decoder: str
) -> None:
    path = write_archive(tmp_path / "site.7z", {"Posts.xml": POSTS, "Users.xml": USERS})
    begins = [stream.read(7) for _, stream in iter_members(path, list_members(path))]
    assert begins == [b"<posts>", b"<users>"]


def test_a_member_reads_like_a_file_in_steps(tmp_path: Path, decoder: str) -> None:
    path = write_archive(tmp_path / "site.7z", {"Posts.xml": POSTS})
    for _, stream in iter_members(path, list_members(path)):
        steps = [stream.read(size) for size in (0, 1, 1_000, -1, 10)]
        assert [len(step) for step in steps] == [0, 1, 1_000, len(POSTS) - 1_001, 0]
        assert b"".join(steps) == POSTS


def test_no_members_wanted_reads_nothing(tmp_path: Path, decoder: str) -> None:
    assert list(iter_members(tmp_path / "not there.7z", [])) == []


@pytest.mark.parametrize("name", ["*", "@x", "-so", "a b", "sub/Posts.xml", "é.xml"])
def test_names_are_names_and_no_patterns(tmp_path: Path, decoder: str, name: str) -> None:
    members = {"Posts.xml": POSTS, name: b"odd"}
    path = write_archive(tmp_path / "site [*].7z", members)
    assert read_members(path, [list_members(path)[1]]) == {name: b"odd"}


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "..\\evil.txt"])
def test_members_that_point_outside_are_never_written_to_disk(
    tmp_path: Path, decoder: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    path = write_archive(inside / "site.7z", {name: b"evil", "Posts.xml": POSTS})
    posts = [member for member in list_members(path) if member.name == "Posts.xml"]
    assert read_members(path, posts) == {"Posts.xml": POSTS}
    assert sorted(tmp_path.rglob("*")) == [inside, path]


def test_links_are_no_members(shared_data: Path) -> None:
    listed = list_members(shared_data / "hostile" / "py7zr" / "symlink.7z")
    assert [member.name for member in listed] == ["lib/libabc.so.1.2.3"]


def test_encrypted_archive_is_refused(shared_data: Path) -> None:
    with pytest.raises(BadArchive, match="is encrypted"):
        list_members(shared_data / "hostile" / "py7zr" / "encrypted_1.7z")


def test_archive_with_an_encrypted_list_is_refused(tmp_path: Path) -> None:
    with py7zr.SevenZipFile(
        tmp_path / "site.7z", "w", password="x", header_encryption=True
    ) as archive:
        archive.writef(io.BytesIO(POSTS), "Posts.xml")
    with pytest.raises(BadArchive, match="is encrypted"):
        list_members(tmp_path / "site.7z")


def test_wrong_checksum_is_found(shared_data: Path, decoder: str) -> None:
    path = shared_data / "hostile" / "py7zr" / "crc_corrupted.7z"
    assert len(list_members(path)) == 3
    with pytest.raises(BadArchive, match=r"(?i)crc"):
        read_members(path)


def test_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "bomb.7z", {"Posts.xml": b"\0" * 30_000_000})
    with pytest.raises(BadArchive, match=r"claims to expand to 30,000,000 bytes, over 200 times"):
        list_members(path)


def test_missing_archive_is_a_bad_archive(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match=r"none\.7z is not a whole 7z"):
        list_members(tmp_path / "none.7z")


@pytest.mark.parametrize("kept", [0, 10, 40, 5_000, -1])
def test_truncated_archive_is_refused(tmp_path: Path, kept: int) -> None:
    path = write_archive(tmp_path / "site.7z", {"Posts.xml": Random(1).randbytes(50_000)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadArchive, match="download it again"):
        list_members(path)


def change_header(path: Path, change: Callable[[bytearray], None]) -> None:
    """Change the header of an archive and make its checksums right again."""
    content = bytearray(path.read_bytes())
    offset, size = struct.unpack_from("<QQ", content, 12)
    header = content[32 + offset : 32 + offset + size]
    change(header)
    content[32 + offset :] = header
    struct.pack_into("<Q", content, 20, len(header))
    struct.pack_into("<I", content, 28, zlib.crc32(header))
    struct.pack_into("<I", content, 8, zlib.crc32(content[12:32]))
    path.write_bytes(content)


@pytest.mark.parametrize("declared", [49_999, 50_001, 65_535])
def test_wrong_declared_size_is_found(tmp_path: Path, decoder: str, declared: int) -> None:
    path = tmp_path / "site.7z"
    with py7zr.SevenZipFile(path, "w", filters=LZMA2) as archive:
        archive.set_encoded_header_mode(False)
        archive.writef(io.BytesIO(Random(1).randbytes(50_000)), "Posts.xml")
    # 7z writes 50,000 as 0xC0 and two bytes, little-endian.
    true, lie = (b"\xc0" + struct.pack("<H", size) for size in (50_000, declared))

    def change(header: bytearray) -> None:
        assert header.count(true) == 1
        header[:] = header.replace(true, lie)

    change_header(path, change)
    assert list_members(path) == [Member("Posts.xml", declared)]
    with pytest.raises(BadArchive):
        read_members(path)


def test_two_members_of_one_name_are_not_taken_for_one(tmp_path: Path, decoder: str) -> None:
    path = write_archive(tmp_path / "site.7z", {"Posts.xml": b"P" * 200_000}, COPY)
    with py7zr.SevenZipFile(path, "a", filters=COPY) as archive:
        archive.writef(io.BytesIO(b"U" * 200_000), "Posts.xml")
    first, _ = list_members(path)
    with pytest.raises(BadArchive, match="holds more than it lists"):
        read_members(path, [first])


def change_byte(random: Random, content: bytearray) -> None:
    content[random.randrange(len(content))] = random.randrange(256)


def test_changed_list_is_read_or_a_bad_archive(tmp_path: Path) -> None:
    path = tmp_path / "site.7z"
    with py7zr.SevenZipFile(path, "w", filters=BZIP2) as archive:
        archive.set_encoded_header_mode(False)
        archive.writef(io.BytesIO(POSTS[:100]), "Posts.xml")
    whole, random, num_refused = path.read_bytes(), Random(1), 0
    for _ in range(500):
        path.write_bytes(whole)
        change_header(path, partial(change_byte, random))
        try:
            list_members(path)
        except BadArchive:
            num_refused += 1
    assert num_refused > 100


def test_changed_archive_gives_its_bytes_or_a_bad_archive(tmp_path: Path, decoder: str) -> None:
    members = {"Posts.xml": POSTS[:2_000], "Users.xml": USERS[:2_000]}
    path = tmp_path / "site.7z"
    with py7zr.SevenZipFile(path, "w", filters=BZIP2) as archive:
        archive.set_encoded_header_mode(False)
        for name, content in members.items():
            archive.writef(io.BytesIO(content), name)
    whole, random = path.read_bytes(), Random(1)
    num_refused = 0
    for _ in range(60):
        path.write_bytes(whole)
        if random.random() < 0.5:
            change_header(path, partial(change_byte, random))
        else:
            changed = bytearray(whole)
            change_byte(random, changed)
            path.write_bytes(changed)
        try:
            wanted = [one for one in list_members(path) if one.name in members]
            read = read_members(path, wanted)
        except BadArchive:
            num_refused += 1
        else:
            assert all(members[name].startswith(content) for name, content in read.items())
    assert num_refused > 20


def alive() -> set[object]:
    """What this process runs: threads, and children, of which dead ones not waited for too."""
    listings = Path("/proc/self/task").glob("*/children")
    return {*threading.enumerate(), *(pid for one in listings for pid in one.read_text().split())}


def stop_by_closing(parts: Iterator[Any]) -> None:
    next(parts)[1].read(10)
    parts.close()  # type: ignore[attr-defined]


def stop_by_forgetting(parts: Iterator[Any]) -> None:
    next(parts)
    del parts


def stop_by_an_error(parts: Iterator[Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        for _, stream in parts:
            stream.read(10)
            raise ZeroDivisionError


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
@pytest.mark.parametrize("stop", [stop_by_closing, stop_by_forgetting, stop_by_an_error])
def test_a_reader_that_stops_leaves_no_process_and_no_thread(
    tmp_path: Path, decoder: str, stop: Callable[[Iterator[Any]], None]
) -> None:
    path = write_archive(tmp_path / "site.7z", {"Posts.xml": bytes(3_000_000)}, COPY)
    before = alive()
    stop(iter_members(path, list_members(path)))
    assert alive() == before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
def test_a_reader_that_ends_leaves_no_process_and_no_thread(tmp_path: Path, decoder: str) -> None:
    path = write_archive(tmp_path / "site.7z", {"Posts.xml": POSTS})
    before = alive()
    read_members(path)
    assert alive() == before
