"""Reuse: what a task made for an earlier artifact, found again by a digest of all that it read.

    store/reuse/<stage>/<key>.json     the task's name, its outcome, and the artifact of its files

A new dump leaves most partitions of most sites alone; their files get a second name (a hard link)
in the new artifact. A record proves nothing: its files are taken only where their digests are
what it says, so an artifact may be deleted at any time. The bytes are those of a build from
scratch, as a task is a function of what its key digests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from corpus.durable import TEMPORARY, link
from corpus.manifest import (
    FileEntry,
    Outcome,
    digest_file,
    digest_json,
    outcome_from_json,
    outcome_to_json,
)

REUSE = "reuse"


class Reuse(NamedTuple):
    """The records of one stage of one version, and the artifact that is being made."""

    store: Path
    stage: str
    version: int
    artifact: str  # its folder once it is finished, relative to the store

    def take(self, key: str, task: str, folder: Path) -> Outcome | None:
        """Link what a task with this key has made into `folder`; None where it is not there."""
        files: list[FileEntry] = []
        try:
            record = json.loads(self._path(key).read_bytes())
            outcome = outcome_from_json(record["outcome"])
            source, before = self.store / record["artifact"], str(record["task"])
            files = [replace(one, name=one.name.replace(before, task)) for one in outcome.files]
            for one, renamed in zip(outcome.files, files, strict=True):
                _link_verified(source / one.name, folder, renamed)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            remove_links(folder, files)
            return None
        return replace(outcome, files=tuple(files))

    def keep(self, key: str, task: str, outcome: Outcome) -> None:
        """Record what a task has made.

        Not synced to the disk, which would cost more than most tasks of a small build: a record
        that was lost or torn is no record.
        """
        content = {"artifact": self.artifact, "task": task, "outcome": outcome_to_json(outcome)}
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + TEMPORARY)
        temporary.write_text(json.dumps(content), "utf-8")
        temporary.replace(path)

    def _path(self, key: str) -> Path:
        digest = digest_json({"key": key, "version": self.version})
        return self.store / REUSE / self.stage / f"{digest[:32]}.json"


def remove_links(folder: Path, files: Iterable[FileEntry]) -> None:
    """Remove links before a task writes there: it would write into the other artifact."""
    for entry in files:
        (folder / entry.name).unlink(missing_ok=True)


def sweep_reuse(store: Path) -> None:
    """Remove the records whose artifact is gone, and what was half written."""
    for leftover in sorted(store.glob(f"{REUSE}/*/*{TEMPORARY}")):
        leftover.unlink()
    for record in sorted(store.glob(f"{REUSE}/*/*.json")):
        try:
            is_there = (store / json.loads(record.read_bytes())["artifact"]).is_dir()
        except (ValueError, LookupError, TypeError):
            is_there = False
        if not is_there:
            record.unlink()


def _link_verified(source: Path, folder: Path, entry: FileEntry) -> None:
    path = folder / entry.name
    path.parent.mkdir(parents=True, exist_ok=True)
    link(source, path)
    if digest_file(path) != entry.sha256:
        raise ValueError(f"{source} is not what its record says")
