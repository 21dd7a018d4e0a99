"""What a node of a cluster does with a task: look at itself once, run it, and answer.

A node must have the driver's working directory, see its store, and have its packages, or the bytes
it writes would be others. The proof of the store is a file there,

    store/.nodes/<16 hex>.building/seal     which the driver wrote and every node must read
                                   <node>   which a node wrote and the driver must read

that goes with the engine, and with `Store.sweep` where the driver was killed.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import platform
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from corpus import progress
from corpus.engine import attempt
from corpus.errors import BadValue, StoreError
from corpus.store import TOOLCHAIN

REPORT_SECONDS = 0.5

Report = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Site:
    """What every node must share with the driver."""

    folder: Path
    store: Path
    seal: Path
    nonce: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task: its result or its error, and all the progress that it reported."""

    result: Any = None
    error: Exception | None = None
    trace: str = ""
    amount: int = 0


_entered: set[str] = set()
_alone = threading.Lock()


def work(call: bytes, site: Site, where: Callable[[], str], report: Report | None = None) -> bytes:
    """Run a task in this process of a node; return its packed `Answer`.

    Args:
        call: a packed pair of a function and the item that it works on.
        site: what this node must share with the driver; looked at once a process.
        where: returns the name of this node.
        report: is given the amount that was reported so far, twice a second at most.
    """
    # The working directory and the progress are the process's: of threads, one works at a time.
    with _alone:
        meter = _Meter(report)
        before = progress.connect(meter.add)
        result, error = attempt(partial(_run_there, site, where), call)
        progress.connect(before)
    packed, unsent = attempt(pack, Answer(result, error, _trace(error), meter.amount))
    return packed or pack(Answer(error=unsent, trace=_trace(unsent)))


def pack(value: Any) -> bytes:
    """Pickle a value as Python does by itself; Dask's errors would arrive without their text.

    >>> pickle.loads(pack(UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"))).reason
    'bad'
    """
    table = {kind: how for kind, how in copyreg.dispatch_table.items() if not _is_error(kind)}
    file = io.BytesIO()
    pickler = pickle.Pickler(file)
    pickler.dispatch_table = table
    pickler.dump(value)
    return file.getvalue()


def unpack(packed: bytes) -> Answer:
    """Return the answer that `work` packed."""
    answer: Answer = pickle.loads(packed)
    return answer


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _trace(error: Exception | None) -> str:
    return "".join(traceback.format_exception(error)) if error else ""


def _run_there(site: Site, where: Callable[[], str], call: bytes) -> Any:
    if site.nonce not in _entered:
        _enter(site, where())
        _entered.add(site.nonce)
    task, item = pickle.loads(call)
    try:
        return task(item)
    except FileNotFoundError as error:
        if error.strerror is None:
            raise
        told = f"{error.strerror} on node {where()}"
        raise FileNotFoundError(error.errno, told, error.filename) from error


def _enter(site: Site, node: str) -> None:
    try:
        os.chdir(site.folder)
    except OSError as error:
        raise BadValue(
            f"node {node} has no folder {site.folder} ({error.strerror}); run sobert in a folder "
            "that every node has"
        ) from error
    try:
        is_seen = site.seal.read_text("utf-8") == site.nonce
    except OSError:
        is_seen = False
    if not is_seen:
        raise unseen(site.store, node)
    for package, wanted in site.versions.items():
        if (found := own_versions()[package]) != wanted:
            raise BadValue(
                f"node {node} has {package} {found}, and {platform.node()} has {wanted}: they may "
                "write other bytes; install the same packages on every node"
            )


def unseen(store: Path, node: str) -> StoreError:
    """Return the error to raise where a node does not see the store."""
    return StoreError(
        f"store {store} is not seen by node {node}; give a --store on a path that all nodes share"
    )


def own_versions() -> dict[str, str]:
    """Return the version of all that decides bytes, by package."""
    installed = {package: version(package) for package in ("sobert", *TOOLCHAIN)}
    return {"python": platform.python_version(), **installed}


def leave_mark(mark: tuple[Path, str]) -> None:
    """Write a file (path, content); as a task, it shows the driver that a node can."""
    path, nonce = mark
    path.write_text(nonce, "utf-8")


class _Meter:
    """Adds up what a task reports, and passes the sum on now and then."""

    def __init__(self, report: Report | None) -> None:
        self.amount = 0
        self._report = report
        self._due = time.monotonic() + REPORT_SECONDS

    def add(self, amount: int) -> None:
        self.amount += amount
        if self._report and time.monotonic() >= self._due:
            self._report(self.amount)
            self._due = time.monotonic() + REPORT_SECONDS
