"""7z archives as streams: tables are read as they are decoded, and never written to disk.

Real site archives are one solid block, so a table can only be had by decoding all before it: the
wanted members are decoded in one pass, in archive order. The `7z` program decodes BZip2 at 1.4
times the speed of py7zr (LOG.md) and is used where it is installed; py7zr else, with equal bytes.
"""

from __future__ import annotations

import io
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

import py7zr
from py7zr.exceptions import ArchiveError, PasswordRequired

from corpus.errors import BadArchive

# Dumps shrink 5- to 10-fold. A bomb claims thousands.
MAX_EXPANSION = 200
PROGRAMS = ("7z", "7zz", "7za")
SKIP_BYTES = 1 << 20

# What py7zr trips over in bytes that are no archive: found with 6,000 mutated archives.
_UNREADABLE = (
    ArchiveError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)

# The bytes of the wanted members, one after the other, and at their end what went wrong, if any.
_Decoding: TypeAlias = tuple[BinaryIO, Callable[[], str | None]]


@dataclass(frozen=True, slots=True)
class Member:
    """One plain file in an archive and its size when decoded."""

    name: str
    num_bytes: int


def list_members(archive: Path) -> list[Member]:
    """List the plain files of a 7z, in archive order; links and folders are left out.

    Raises:
        BadArchive: not a 7z, broken, encrypted, or claims to expand more than 200-fold.
    """
    try:
        with py7zr.SevenZipFile(archive) as opened:
            is_encrypted = opened.needs_password()
            files = [one for one in opened.list() if not (one.is_directory or one.is_symlink)]
    except PasswordRequired:
        is_encrypted, files = True, []
    except _UNREADABLE as error:
        raise BadArchive(f"{archive} is not a whole 7z ({error!r}); download it again") from error
    if is_encrypted:
        raise BadArchive(f"{archive} is encrypted; sobert reads public dumps only")
    members = [Member(one.filename, one.uncompressed) for one in files]
    total = sum(member.num_bytes for member in members)
    if total > _most_bytes(archive):
        raise BadArchive(
            f"{archive} claims to expand to {total:,} bytes, over {MAX_EXPANSION} times its size; "
            "no dump does: check where it came from"
        )
    return members


def iter_members(archive: Path, members: Sequence[Member]) -> Iterator[tuple[Member, BinaryIO]]:
    """Yield each member, in archive order, with a stream of its bytes.

    Args:
        archive: a 7z.
        members: some of `list_members(archive)`, in its order.

    Raises:
        BadArchive: the archive breaks off, or a checksum in it does not hold. The last is known
            only at the end: what was read before is to be thrown away.
    """
    if not members:
        return
    with _decode(archive, [member.name for member in members]) as (stream, find_fault):
        for member in members:
            part = _Part(archive, member, stream, find_fault)
            yield member, cast(BinaryIO, part)
            while part.read(SKIP_BYTES):
                pass
        if stream.read(1):
            raise BadArchive(f"{archive} holds more than it lists; check where it came from")
        if fault := find_fault():
            raise BadArchive(f"{archive} is broken ({fault}); download it again")


class _Part(io.RawIOBase):
    """The next bytes of a stream: one member."""

    def __init__(
        self,
        archive: Path,
        member: Member,
        stream: BinaryIO,
        find_fault: Callable[[], str | None],
    ) -> None:
        self._archive, self._name, self._left = archive, member.name, member.num_bytes
        self._stream, self._find_fault = stream, find_fault

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        chunk = self._stream.read(wanted)
        self._left -= len(chunk)
        if wanted and not chunk:
            raise BadArchive(
                f"{self._archive} breaks off with {self._left:,} bytes of {self._name} to come "
                f"({self._find_fault() or 'no more data'}); download it again"
            )
        return chunk


def _decode(archive: Path, names: Sequence[str]) -> AbstractContextManager[_Decoding]:
    for program in PROGRAMS:
        if found := shutil.which(program):
            return _decode_with_program(found, archive, names)
    return _decode_with_py7zr(archive, names)


@contextmanager
def _decode_with_program(program: str, archive: Path, names: Sequence[str]) -> Iterator[_Decoding]:
    # One thread a build task: a worker is one core, and the bytes are the same. Without -spd, `*`
    # in a name would be a pattern.
    switches = ("-so", "-bd", "-spd", "-mmt=1")
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            [program, "x", *switches, "--", str(archive), *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        ) as process,
    ):

        def find_fault() -> str | None:
            if not (code := process.wait()):
                return None
            complaints.seek(0)
            return " ".join(complaints.read().decode("utf-8", "replace").split()) or f"exit {code}"

        try:
            yield cast(BinaryIO, process.stdout), find_fault
        finally:
            # At once: closing its output would end it only when it next writes.
            process.kill()


@contextmanager
def _decode_with_py7zr(archive: Path, names: Sequence[str]) -> Iterator[_Decoding]:
    """Turn py7zr's pushed chunks into a stream, through a pipe and a thread."""
    reading, writing = os.pipe()
    faults: list[str | None] = []

    def decode() -> None:
        try:
            with (
                open(writing, "wb", buffering=0) as sink,
                # Given a path, py7zr would decode several blocks at once, and mix them in the pipe.
                archive.open("rb") as file,
                # What lies before a wanted member is decoded too, so the cap is on the whole.
                py7zr.SevenZipFile(file, max_extract_size=_most_bytes(archive)) as opened,
            ):
                opened.extract(targets=names, factory=_PipeFactory(sink))
            faults.append(None)
        except _UNREADABLE as error:
            faults.append(repr(error))

    thread = threading.Thread(target=decode, daemon=True)

    def find_fault() -> str | None:
        thread.join()
        return faults[0] if faults else "the decoder died"

    try:
        with open(reading, "rb") as stream:
            thread.start()
            yield stream, find_fault
    finally:
        thread.join()


class _PipeFactory(py7zr.WriterFactory):  # type: ignore[misc]
    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink

    def create(self, filename: str) -> py7zr.Py7zIO:
        return _PipeEnd(self._sink)


class _PipeEnd(py7zr.Py7zIO):  # type: ignore[misc]
    """A member's end of the pipe: py7zr writes, nothing else is asked of it."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink, self._size = sink, 0

    def write(self, s: bytes | bytearray) -> int:
        view = memoryview(s)
        while view:
            view = view[self._sink.write(view) :]
        self._size += len(s)
        return len(s)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        pass

    def size(self) -> int:
        return self._size


def _most_bytes(archive: Path) -> int:
    return archive.stat().st_size * MAX_EXPANSION
