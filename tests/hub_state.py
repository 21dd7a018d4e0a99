"""What a hub keeps: repositories of commits, branches and tags, and a store of large objects.

Everything is in memory. A commit is a whole map of path to file, so a reader of a commit never
sees another. Ids are those of git where a client computes them itself (blobs), and made of the
content and the parent where it does not (commits).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

DATE = "2026-01-02T03:04:05.000Z"
# The hub keeps these as large objects, whatever their size.
LARGE_SUFFIXES = (".parquet", ".safetensors", ".bin", ".model")
LARGE_BYTES = 10_000_000


class Refused(Exception):
    """A request that the hub answers with an error: status, the hub's code, a message."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class File:
    """A file of a commit: its own bytes, or a pointer to a large object."""

    oid: str
    num_bytes: int
    content: bytes | None = None
    sha256: str | None = None
    xet_hash: str | None = None


@dataclass(frozen=True)
class Commit:
    sha: str
    parents: tuple[str, ...]
    title: str
    files: Mapping[str, File]


@dataclass
class Repository:
    """Branches and tags are names of commits; a tag is never moved."""

    name: str
    kind: str
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> Commit:
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]

    def commit(self, branch: str, title: str, parent: str | None, files: dict[str, File]) -> Commit:
        head = self.branches.get(branch)
        if parent is not None and parent != head:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        text = f"{head}\n{title}\n{sorted((path, file.oid) for path, file in files.items())}"
        sha = hashlib.sha1(text.encode()).hexdigest()
        commit = Commit(sha, (head,) if head else (), title, files)
        self.commits[sha], self.branches[branch] = commit, sha
        return commit

    def history(self, revision: str) -> Iterable[Commit]:
        commit: Commit | None = self.find(revision)
        while commit:
            yield commit
            commit = self.commits[commit.parents[0]] if commit.parents else None


@dataclass
class Hub:
    """All repositories and large objects, who may do what, and how large objects travel."""

    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    # "write" may do everything, "read" may only look.
    tokens: dict[str, str] = field(default_factory=lambda: {"hf_write": "write", "hf_read": "read"})
    # Where Xet clients keep their chunks; None is the older way, by plain HTTP.
    xet_folder: Path | None = None
    # Large objects are sent in parts of this size; None is in one piece.
    part_bytes: int | None = None
    page_files: int = 1000

    def create(self, kind: str, name: str, private: bool) -> Repository:
        if (kind, name) in self.repositories:
            raise Refused(409, "You already created this repo")
        repository = Repository(name, kind, private)
        attributes = b"".join(
            b"*%s filter=lfs diff=lfs merge=lfs -text\n" % one.encode() for one in LARGE_SUFFIXES
        )
        repository.commit("main", "initial commit", None, {".gitattributes": plain(attributes)})
        self.repositories[kind, name] = repository
        return repository

    def find(self, kind: str, name: str) -> Repository:
        if (kind, name) not in self.repositories:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return self.repositories[kind, name]

    def large(self, sha256: str) -> File:
        """Return the pointer to a large object that is here, as a commit names it."""
        xet_hash = read_xet_hashes(self.xet_folder).get(sha256) if self.xet_folder else None
        if sha256 in self.objects:
            num_bytes = len(self.objects[sha256])
        elif xet_hash:
            num_bytes = 0
        else:
            raise Refused(400, f"LFS object {sha256} was never uploaded")
        return pointer(sha256, num_bytes, xet_hash)


def plain(content: bytes) -> File:
    """Return a file that git itself keeps."""
    return File(blob_oid(content), len(content), content)


def pointer(sha256: str, num_bytes: int, xet_hash: str | None = None) -> File:
    """Return a file that git keeps a pointer of."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {num_bytes}\n"
    return File(blob_oid(text.encode()), num_bytes, None, sha256, xet_hash)


def blob_oid(content: bytes) -> str:
    """Return git's id of a blob.

    >>> blob_oid(b"Hello, World!")
    'b45ef6fec89518d314f546fd6c3025367b721684'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path: str, num_bytes: int) -> bool:
    return num_bytes > 0 and (path.endswith(LARGE_SUFFIXES) or num_bytes > LARGE_BYTES)


def check_card(text: str) -> list[str]:
    """Return what is wrong with the front matter of a card."""
    if not text.startswith("---"):
        return []
    try:
        content = yaml.safe_load(text.split("---")[1])
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    return [] if isinstance(content, dict) else ["the metadata is no mapping"]


def read_xet_hashes(folder: Path) -> dict[str, str]:
    """Return the Xet hash by sha256 of every file whose upload has ended.

    A shard file is of records of 48 bytes: a header, then per file a record (hash, flags, number
    of segments), its segments, as many of verification (flag 31) and one with the sha256 (flag 30).
    """
    hashes: dict[str, str] = {}
    for shard in sorted(folder.rglob("*.mdb")):
        content = shard.read_bytes()
        at = 48
        while at + 48 <= len(content) and content[at : at + 32] != b"\xff" * 32:
            file_hash, flags, num_segments = struct.unpack_from("<32sII", content, at)
            at += 48 * (1 + num_segments * (2 if flags & 1 << 31 else 1))
            if flags & 1 << 30:
                hashes[_hex(content[at : at + 32])] = _hex(file_hash)
                at += 48
    return hashes


def _hex(digest: bytes) -> str:
    """Return a Xet hash as text: four little-endian numbers of 64 bits."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))
