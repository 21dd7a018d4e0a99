"""Dask under the cluster engine: `distributed` is imported when a cluster is opened.

Dask's own scheduler runs a task again whose worker died; of a cluster that is joined, it does so
before the engine hears of it. Dask has no token: a cluster beyond one machine needs its TLS.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from corpus.cluster import Key, Lost, Node
from corpus.errors import BadValue, TaskFailed
from corpus.node import Site, work
from corpus.options import missing_extra

TOPIC = "sobert"


class DaskCluster:
    """A Dask cluster: a running one by its address, or one of this machine alone."""

    def __init__(self, address: str | None = None, workers: int = 1) -> None:
        """Start nothing yet; `address` is `tcp://HOST:PORT`, None starts `workers` here."""
        self._address, self._workers = address, workers
        self._amounts: dict[Key, int] = {}
        self._local: Any = None

    def open(self, *, reports: bool) -> None:
        """Start or join the cluster.

        Raises:
            MissingPackage: Dask's `distributed` is not installed.
            BadValue: the cluster cannot be joined.
        """
        try:
            import dask
            import distributed
        except ImportError as error:
            raise missing_extra("cluster", error) from error
        # Not typed in full.
        self._distributed: Any = distributed
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            self._local = None if self._address else self._start()
        try:
            self._client = self._distributed.Client(self._local or self._address)
        except (OSError, ValueError) as error:
            raise BadValue(f"cannot join Dask at {self._address} ({error})") from error
        if reports:
            self._client.subscribe_topic(TOPIC, self._hear)
        self._reports = reports

    def close(self) -> None:
        """Leave the cluster; end it where it was started here."""
        self._client.close()
        if self._local:
            self._local.close()

    def nodes(self) -> dict[str, Node]:
        """Return the live workers, by address."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {one: Node(one, known["nthreads"]) for one, known in workers.items()}

    def submit(self, call: bytes, site: Site, key: Key, *, node: str | None) -> Any:
        """Run `work` on a worker."""
        workers = [node] if node else None
        arguments = (call, site, key, self._reports)
        return self._client.submit(_work, *arguments, workers=workers, pure=False)

    def wait(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return handles that are done."""
        with suppress(TimeoutError):
            self._distributed.wait(handles, timeout=seconds, return_when="FIRST_COMPLETED")
        return [handle for handle in handles if handle.done()]

    def answer(self, handle: Any) -> bytes:
        """Return what `work` returned; raise Lost where it never did.

        Raises:
            TaskFailed: it could not even begin.
        """
        try:
            answer: bytes = handle.result()
        except (self._distributed.KilledWorker, self._distributed.CancelledError) as error:
            raise Lost("a worker died") from error
        except (ImportError, RuntimeError) as error:
            raise TaskFailed(
                f"a node cannot run a task ({error}); install the same sobert on every node"
            ) from error
        return answer

    def cancel(self, handles: Sequence[Any]) -> None:
        """Stop tasks that have not begun; those that run end with their worker."""
        if handles:
            self._client.cancel(handles, force=True)

    def reported(self) -> Mapping[Key, int]:
        """Return what tasks have reported on their way."""
        return self._amounts

    def _start(self) -> Any:
        return self._distributed.LocalCluster(
            n_workers=self._workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )

    def _hear(self, event: tuple[float, tuple[Key, int]]) -> None:
        key, amount = event[1]
        self._amounts[tuple(key)] = amount  # type: ignore[index]


def _work(call: bytes, site: Site, key: Key, reports: bool) -> bytes:
    import distributed

    worker: Any = distributed.get_worker()
    report = partial(_report, worker, key) if reports else None
    return work(call, site, lambda: str(worker.address), report)


def _report(worker: Any, key: Key, amount: int) -> None:
    worker.log_event(TOPIC, (key, amount))
