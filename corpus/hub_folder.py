"""What is published: a finished folder, its manifest and a version, checked before it is sent.

`manifest.json` names every other file with its SHA-256. Its id is what was published, and
`recipe.version` in it is the version. Files of other names are not published.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub.utils.sha import git_hash

from corpus.errors import BadValue, IntegrityError
from corpus.hub_client import MANIFEST, RemoteFile, RepoType
from corpus.manifest import FileEntry, Json, Manifest, Outcome, digest_file

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)


class Publication(NamedTuple):
    """What is to be published: the files of `manifest` in `folder`, as `version` ("1.2.0")."""

    folder: Path
    manifest: Manifest
    version: str
    repo_type: RepoType = "dataset"

    @property
    def tag(self) -> str:
        """What the version is called on the hub."""
        return f"v{self.version}"

    def files(self) -> dict[str, LocalFile]:
        """Return what is published by name, the manifest last."""
        files = [
            LocalFile(entry.name, entry.num_bytes, entry.sha256, self.folder / entry.name)
            for entry in self.manifest.outcome.files
        ]
        content = render_manifest(self.manifest)
        sha256 = hashlib.sha256(content).hexdigest()
        files.append(LocalFile(MANIFEST, len(content), sha256, content))
        return {file.name: file for file in files}


class LocalFile(NamedTuple):
    """One file that is published."""

    name: str
    num_bytes: int
    sha256: str
    source: Path | bytes

    def is_same(self, remote: RemoteFile | None) -> bool:
        """Say whether the hub lists the same content; of large files it knows what it was told."""
        if remote is None or remote.num_bytes != self.num_bytes:
            return False
        if remote.sha256 is not None:
            return remote.sha256 == self.sha256
        content = self.source if isinstance(self.source, bytes) else self.source.read_bytes()
        return remote.blob_id == git_hash(content)


def describe_folder(folder: Path, stage: str, recipe: Json) -> Manifest:
    """Return the manifest of all files in a folder but `manifest.json`, by their bytes.

    Raises:
        BadValue: there is no file, or a link or a hidden file, which might not be meant for others.
    """
    entries = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or path.name.startswith("."):
            kind = "a link" if path.is_symlink() else "hidden"
            raise BadValue(f"{path} is {kind}, which is not published; take it out of the folder")
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            sha256 = digest_file(path)
            entries.append(FileEntry(name, path.stat().st_size, 0, sha256, sha256))
    if not entries:
        raise BadValue(f"{folder} holds no file to publish; give the folder of a finished model")
    return Manifest(stage, 1, recipe, {}, Outcome(tuple(entries)))


def render_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of `manifest.json`."""
    return json.dumps(manifest.to_json(), indent=2, ensure_ascii=False).encode() + b"\n"


def parse_version(version: str) -> tuple[int, ...]:
    """Return the three numbers of a version.

    >>> parse_version("1.12.0") > parse_version("1.2.0")
    True
    """
    match = _VERSION.fullmatch(version)
    if not match:
        raise BadValue(f"{version!r} is not a version; write three numbers, such as 1.2.0")
    return tuple(map(int, match.groups()))


def check_publication(publication: Publication) -> None:
    """Check the version and every file before anything is sent.

    Raises:
        BadValue: the version is not one, or is not the manifest's.
        IntegrityError: a file is not what the manifest says.
    """
    parse_version(publication.version)
    named = publication.manifest.recipe.get("version")
    if named != publication.version:
        raise BadValue(
            f"the manifest of {publication.folder} is of version {named}, not of "
            f"{publication.version}; build it again with this version"
        )
    for entry in publication.manifest.outcome.files:
        check_file(publication.folder, entry, "build it again")


def check_file(folder: Path, entry: FileEntry, todo: str) -> None:
    """Raise IntegrityError where a file of a folder is not the one its manifest names."""
    path = folder / entry.name
    if entry.name.startswith("/") or ".." in entry.name.split("/"):
        raise IntegrityError(f"the manifest in {folder} names {entry.name!r} outside; {todo}")
    if not path.is_file():
        raise IntegrityError(f"{path} is missing; {todo}")
    if path.stat().st_size != entry.num_bytes or digest_file(path) != entry.sha256:
        raise IntegrityError(f"{path} is not the file that its manifest names; {todo}")
