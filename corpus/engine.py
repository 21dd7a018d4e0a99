"""The engine port: run a task on every item. Data travels through files, never through here.

An engine that says "done" proves nothing: whoever calls `map` checks the outcomes against its plan.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from corpus import progress
from corpus.errors import BadValue, TaskFailed
from corpus.options import EngineKind
from corpus.progress import Reporter

Item = TypeVar("Item")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1


class Engine(Protocol):
    """Where tasks run. Tasks, items and results are small and can be pickled."""

    def map(self, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Run `task` on every item; results in the order of items.

        Where tasks fail, the error of the first item that fails is raised: the same one for any
        number of workers, as tasks start in the order of items and those that run end.
        """


class LocalEngine:
    """This machine: in this process for one worker, in a spawned pool for more.

    >>> with LocalEngine() as engine:
    ...     engine.map(abs, [-2, 1])
    [2, 1]
    """

    def __init__(self, workers: int = 1) -> None:
        """Start nothing yet; the pool starts with the first `map` that needs it."""
        if workers < 1:
            raise BadValue(f"--workers is {workers}; it must be at least 1")
        self.workers = workers
        self._pool: _Pool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whoever presses Ctrl-C does not want to wait; after an error, running tasks are let end.
        interrupted = kind is not None and not issubclass(kind, Exception)
        self._close(kill=interrupted)

    def map(self, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Run `task` on every item; results in the order of items.

        Raises:
            TaskFailed: a worker was killed, or a task's own error cannot be sent to this process.
        """
        if self.workers == 1 or len(items) < 2:
            return [task(item) for item in items]
        self._pool = self._pool or _Pool(self.workers)
        try:
            return self._pool.map(task, items)
        except BrokenProcessPool as error:
            self._close(kill=True)
            raise TaskFailed(
                "a worker process was killed, most likely for memory; run the same command again "
                f"with fewer than {self.workers} --workers: finished work is kept"
            ) from error

    def _close(self, *, kill: bool) -> None:
        if self._pool is not None:
            self._pool.close(kill=kill)
            self._pool = None


def open_engine(
    kind: EngineKind,
    *,
    workers: int = 1,
    address: str | None = None,
    store: Path,
    reporter: Reporter,
) -> AbstractContextManager[Engine]:
    """Return the engine of this kind, to be entered with `with`.

    Args:
        kind: local, ray or dask; the last two need the extra `cluster`.
        workers: tasks at a time on this machine; a cluster that is joined has its own.
        address: of a running cluster; None starts one on this machine.
        store: where tasks write, which every node must see.
        reporter: is told of tasks that were lost and run again.

    Raises:
        BadValue: an address for this machine's own engine.
    """
    if kind == "local":
        if address:
            raise BadValue(f"--address {address} is of a cluster; add --engine ray or dask")
        return LocalEngine(workers)
    # Not at the top: these modules import this one.
    from corpus.cluster import Cluster, ClusterEngine
    from corpus.dask_engine import DaskCluster
    from corpus.ray_engine import RayCluster

    cluster: Cluster = (RayCluster if kind == "ray" else DaskCluster)(address, workers)
    return ClusterEngine(cluster, store, reporter)


class _Pool:
    """Worker processes, the pipe they report progress on, and the leash they die without.

    The pipe has no lock, which a worker that is killed would keep for ever: the kernel writes
    records of up to PIPE_BUF bytes whole. The leash is a pipe that nothing is written to; it ends
    when this process lets go of it, or is no more.
    """

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        reported, self._reports = context.Pipe(duplex=False)
        leash, self._leash = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            workers, context, _start_worker, (self._reports, leash)
        )
        self._drained = threading.Semaphore(0)
        self._forwarder = threading.Thread(target=self._forward, args=(reported,), daemon=True)
        self._forwarder.start()

    def map(self, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        futures = [self._executor.submit(_run, task, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
        results = [future.result() for future in futures]
        # What these tasks reported is in the pipe before this mark, and so counts for their bar.
        self._reports.send(None)
        self._drained.acquire()
        return results

    def close(self, *, kill: bool) -> None:
        if kill:
            self._leash.close()
        self._executor.shutdown(cancel_futures=True)
        self._leash.close()
        self._reports.close()
        self._forwarder.join()

    def _forward(self, reported: Connection) -> None:
        with reported, suppress(EOFError):
            while True:
                amount = reported.recv()
                if amount is None:
                    self._drained.release()
                else:
                    progress.advance(amount)


def _start_worker(reports: Connection, leash: Connection) -> None:
    # Ctrl-C goes to every process of the terminal: a worker dies of it, at once and in silence.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    progress.connect(reports.send)
    # A worker that outlives a killed parent would write beside the rerun. The thread sees the end
    # of the leash only when compiled code lets go of the interpreter, which can take seconds.
    threading.Thread(target=_exit_without, args=(leash,), daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_without(leash: Connection) -> None:
    connection.wait([leash])
    os._exit(1)


def _run(task: Callable[[Item], Result], item: Item) -> Result:
    try:
        return task(item)
    except Exception as error:
        if _can_be_sent(error):
            raise
        raise TaskFailed(f"{type(error).__qualname__} in a worker: {error}") from error


def attempt(task: Callable[[Item], Result], item: Item) -> tuple[Result | None, Exception | None]:
    """Run a task in a worker; return its result, or its error in a form that can be sent.

    >>> attempt(int, "x")
    (None, ValueError("invalid literal for int() with base 10: 'x'"))
    """
    try:
        return _run(task, item), None
    except Exception as error:
        return None, error


def _can_be_sent(error: Exception) -> bool:
    # An error that fails to arrive would break the pool, and look like a killed worker.
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False
