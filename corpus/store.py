"""The store: artifacts, each a folder that is either whole or not there.

    store/<stage>/<first 16 hex of recipe_digest>/   files of the artifact
                                         manifest.json     what they are; the folder's seal
                                         provenance.json   who made it when; not part of identity
    store/<stage>/<16 hex>.building/     an unfinished artifact (`corpus.work`)
    store/runs/<name>.json               the artifacts of a build, by stage
    store/reuse/<stage>/<key>.json       what tasks have made for artifacts (`corpus.reuse`)
    store/.lock                          held by the one build that may write, and its name

A stage works in `.building`, which is synced, sealed by its manifest, renamed, and then cleared of
what is not in the manifest: in this order, so that a build killed anywhere is simply run again.
The lock is the kernel's, so it ends with its holder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from corpus.durable import TEMPORARY, sync, write_json
from corpus.engine import Engine
from corpus.errors import BadValue, IntegrityError, StoreError
from corpus.manifest import FileEntry, Flow, Json, Manifest, Outcome, digest_file, read_manifest
from corpus.progress import Reporter, advance
from corpus.recipe import Section
from corpus.reuse import Reuse, sweep_reuse
from corpus.tables import digest_rows
from corpus.work import TASKS, Task, Work

# What a stage needs to be one.
__all__ = ["Artifact", "Store", "Task", "Work", "verify_artifact"]

MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"
LOCK = ".lock"
BUILDING = ".building"
TOOLCHAIN = ("numba", "numpy", "pyarrow", "scipy", "selectolax", "sentencepiece")
# Options of `corpus remove` whose values say what was taken down.
_NAMING = ("--post", "--comment", "--user", "--reason")
_RUN_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Artifact:
    """One finished stage on disk."""

    folder: Path
    manifest: Manifest

    def files(self, prefix: str = "") -> list[FileEntry]:
        """List the files whose name starts with `prefix`, by name."""
        return [entry for entry in self.manifest.outcome.files if entry.name.startswith(prefix)]

    def path(self, name: str) -> Path:
        """Return where a file of this artifact lies."""
        return self.folder / name


class Store:
    """A folder of artifacts and named runs."""

    def __init__(self, folder: Path) -> None:
        """Open the store; nothing is created before something is built."""
        self.folder = folder

    def check_exists(self) -> None:
        """Raise StoreError where there is no such store; for what needs builds that are there."""
        if not (self.folder / "runs").is_dir():
            raise StoreError(f"there is no store at {self.folder}; build one, or give --store")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only build in this store while the block runs.

        Raises:
            StoreError: another build holds it, or the folder cannot be written.
        """
        with _mapped_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / LOCK).open("a+")
        with file:
            with _mapped_errors(self.folder):
                self._acquire(file)
            yield

    def _acquire(self, file: TextIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read() or "it has just begun"
            raise StoreError(
                f"store {self.folder} is in use by another build ({holder}); wait for it to end, "
                "or give another --store"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()

    def built(self, planned: Manifest) -> Artifact | None:
        """Return the artifact that answers this plan, where it is there."""
        folder = self._folder(planned)
        if not (folder / MANIFEST).is_file():
            return None
        artifact = Artifact(folder, read_manifest(folder / MANIFEST))
        if artifact.manifest.recipe_digest != planned.recipe_digest:
            raise IntegrityError(f"{folder} answers another recipe; delete it and build again")
        return artifact

    def build(
        self,
        stage: str,
        stage_version: int,
        recipe: Section | Json,
        inputs: Mapping[str, Artifact],
        make: Callable[[Work], Outcome],
        engine: Engine,
        reporter: Reporter,
    ) -> Artifact:
        """Return the artifact of a stage, made by `make` unless it is already there."""
        section = recipe.model_dump(mode="json") if isinstance(recipe, Section) else recipe
        ids = {name: artifact.manifest.id for name, artifact in inputs.items()}
        planned = Manifest(stage, stage_version, section, ids, Outcome())
        if artifact := self.built(planned):
            reporter.say(_summary(artifact, "as before"))
            return artifact
        return self.make(planned, make, engine, reporter)

    def make(
        self,
        planned: Manifest,
        make: Callable[[Work], Outcome],
        engine: Engine,
        reporter: Reporter,
    ) -> Artifact:
        """Make and publish the artifact that answers a plan."""
        started = time.monotonic()
        folder = self._folder(planned).with_suffix(BUILDING)
        with _mapped_errors(self.folder, planned.stage):
            _unlink_shared(folder)
            (folder / TASKS).mkdir(parents=True, exist_ok=True)
            final = self._folder(planned).relative_to(self.folder).as_posix()
            reuse = Reuse(self.folder, planned.stage, planned.version, final)
            work = Work(folder, planned.stage, engine, reporter, reuse)
            artifact = self._publish(replace(planned, outcome=make(work)), folder)
        how = f"{time.monotonic() - started:.1f} s"
        reporter.say(_summary(artifact, how, work.found))
        return artifact

    def sweep(self) -> None:
        """Remove what builds that were killed or failed have left, other recipes' included."""
        with _mapped_errors(self.folder):
            for leftover in sorted(self.folder.glob(f"*/*{BUILDING}")):
                shutil.rmtree(leftover)
            for leftover in sorted(self.folder.glob(f"runs/*{TEMPORARY}")):
                leftover.unlink()
            for tasks in sorted(self.folder.glob(f"*/*/{TASKS}")):
                _clean(Artifact(tasks.parent, read_manifest(tasks.parent / MANIFEST)))
            sweep_reuse(self.folder)

    def write_run(self, name: str, artifacts: Mapping[str, Artifact]) -> None:
        """Give the artifacts of a build a name: lower-case letters, digits and hyphens."""
        if not _RUN_NAME.fullmatch(name):
            raise BadValue(f"{name!r} cannot name a build; use a-z, 0-9 and hyphens")
        stages = {
            stage: {
                "folder": artifact.folder.relative_to(self.folder).as_posix(),
                "id": artifact.manifest.id,
            }
            for stage, artifact in artifacts.items()
        }
        with _mapped_errors(self.folder):
            write_json(self._run_path(name), {"stages": stages})
            sync(self.folder)

    def read_run(self, name: str) -> dict[str, Artifact]:
        """Return the artifacts of a named build, in the order of its stages.

        Raises:
            StoreError: no build of this name.
            IntegrityError: an artifact is gone, or is not the one that was named.
        """
        known = self.run_names()
        if name not in known:
            names = ", ".join(known) or "none yet"
            raise StoreError(f"store {self.folder} has no build {name!r}; it has: {names}")
        path = self._run_path(name)
        try:
            stages = json.loads(path.read_bytes())["stages"]
            named = [(stage, entry["folder"], entry["id"]) for stage, entry in stages.items()]
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{path} was changed ({error!r}); run the build again") from error
        return {stage: self._open(self.folder / folder, id) for stage, folder, id in named}

    def run_names(self) -> list[str]:
        """List the named builds, sorted."""
        return sorted(path.stem for path in self.folder.glob("runs/*.json"))

    def _open(self, folder: Path, expected_id: str) -> Artifact:
        if not (folder / MANIFEST).is_file():
            raise IntegrityError(f"{folder} is gone; run the build again to make it anew")
        artifact = Artifact(folder, read_manifest(folder / MANIFEST))
        if artifact.manifest.id != expected_id:
            raise IntegrityError(
                f"{folder / MANIFEST} was changed (id {artifact.manifest.id[:16]}, "
                f"expected {expected_id[:16]}); delete the folder and build again"
            )
        return artifact

    def _folder(self, manifest: Manifest) -> Path:
        return self.folder / manifest.stage / manifest.recipe_digest[:16]

    def _run_path(self, name: str) -> Path:
        return self.folder / "runs" / f"{name}.json"

    def _publish(self, manifest: Manifest, folder: Path) -> Artifact:
        manifest.check_conserved()
        for inside in sorted(path for path in folder.rglob("*") if path.is_dir()):
            sync(inside)
        write_json(folder / PROVENANCE, _provenance())
        write_json(folder / MANIFEST, manifest.to_json())
        final = self._folder(manifest)
        if final.exists():
            # Without a manifest it is no artifact: someone has begun to delete it.
            shutil.rmtree(final)
        folder.rename(final)
        sync(final.parent)
        sync(self.folder)
        artifact = Artifact(final, read_manifest(final / MANIFEST))
        # Not before: until the rename, a build that is killed needs what its tasks have recorded.
        _clean(artifact)
        return artifact


def verify_artifact(artifact: Artifact, *, deep: bool = True) -> None:
    """Check every file of an artifact against its manifest, bytes and rows.

    Raises:
        IntegrityError: a file is missing, was changed, or holds other rows.
    """
    for entry in artifact.files():
        path = artifact.path(entry.name)
        try:
            is_whole = path.stat().st_size == entry.num_bytes and digest_file(path) == entry.sha256
        except OSError as error:
            raise IntegrityError(
                f"{path} is missing ({error.strerror}); delete its folder and build again"
            ) from error
        if not is_whole:
            raise IntegrityError(
                f"{path} was changed since it was built; delete its folder and build again"
            )
        if deep and entry.rows_sha256 != entry.sha256 and digest_rows(path) != entry.rows_sha256:
            raise IntegrityError(
                f"{path} does not hold the rows its manifest names; delete its folder and build "
                "again"
            )
        advance(entry.num_bytes)


@contextmanager
def _mapped_errors(folder: Path, stage: str | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = f"store {folder}" + (f", stage {stage}" if stage else "")
        todo = "see to that and run the same command again: finished work is kept"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            todo = "free some space or give another --store, and run the same command again"
        raise StoreError(f"{place}: {error}; {todo}") from error


def _unlink_shared(folder: Path) -> None:
    """Remove the files of a killed build that another artifact has, too: a task would write there.

    Tasks that had linked them do so again.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_nlink > 1:
            path.unlink()


def _clean(artifact: Artifact) -> None:
    """Remove what is in an artifact's folder but not in its manifest; the tasks' records last."""
    folder = artifact.folder
    known = {folder / name for name in (MANIFEST, PROVENANCE)}
    known.update(artifact.path(entry.name) for entry in artifact.files())
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.relative_to(folder).parts[0] == TASKS:
            continue
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in known:
            path.unlink()
    shutil.rmtree(folder / TASKS)


def _summary(artifact: Artifact, how: str, found: Counter[bool] | None = None) -> str:
    manifest = artifact.manifest
    counts = [f"{kind} {_arrow(flow)}" for kind, flow in manifest.outcome.flows.items()]
    if found and found[True]:
        counts.append(f"{found[True]:,} of {found.total():,} parts as before")
    return f"{manifest.stage:<11} {artifact.folder.name}  {how:>9}  {', '.join(counts)}"


def _arrow(flow: Flow) -> str:
    if flow.num_in == flow.num_out:
        return f"{flow.num_out:,}"
    return f"{flow.num_in:,} -> {flow.num_out:,}"


def _hide_names(command: list[str]) -> list[str]:
    """Return a command without what a takedown names, which must be nowhere in the store.

    >>> _hide_names(["sobert", "remove", "--post", "x.org/1", "--user=x.org/2"])
    ['sobert', 'remove', '--post', '...', '--user=...']
    """
    hidden = ["..." if before in _NAMING else word for before, word in pairwise(["", *command])]
    return [re.sub(rf"^({'|'.join(_NAMING)})=.*", r"\1=...", word, flags=re.S) for word in hidden]


def _provenance() -> Json:
    return {
        "command": _hide_names(sys.argv),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in TOOLCHAIN},
    }
