"""Ray under the cluster engine: core tasks only, as data travels through the store.

`ray` is imported when a cluster is opened. Its token (`RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`,
`RAY_AUTH_MODE`) is Ray's own to read; nothing here changes it.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from corpus.cluster import Key, Lost, Node
from corpus.errors import BadValue, TaskFailed
from corpus.node import Site, work
from corpus.options import missing_extra

# Results are small; Ray would set a third of the memory aside for them.
OBJECT_STORE_BYTES = 100 * 2**20


class RayCluster:
    """A Ray cluster: a running one by its address, or one of this machine alone."""

    def __init__(self, address: str | None = None, workers: int = 1) -> None:
        """Start nothing yet.

        Args:
            address: `HOST:PORT` or `auto` of a cluster that this machine is a node of; None
                starts one on the loopback that ends with this process.
            workers: tasks at a time of the one that is started.

        Raises:
            BadValue: the address is of Ray Client, which runs where there is no store.
        """
        if address and "://" in address:
            raise BadValue(f"--address {address}: run sobert on a node and give HOST:PORT or auto")
        self._address, self._workers = address, workers
        self._tally: Any = None

    def open(self, *, reports: bool) -> None:
        """Start or join the cluster.

        Raises:
            MissingPackage: Ray is not installed.
            BadValue: the cluster cannot be joined.
        """
        self._ray = ray = _import_ray(is_local=self._address is None)
        quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        try:
            if self._address:
                ray.init(address=self._address, **quiet)
            else:
                ray.init(
                    address="local",
                    num_cpus=self._workers,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    **quiet,
                )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise BadValue(
                f"cannot join Ray at {self._address or 'this machine'} ({_first_line(error)}); "
                "where it runs, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH must hold its token"
            ) from error
        self._work = ray.remote(max_retries=0)(_work)
        if reports:
            here = self._on(ray.get_runtime_context().get_node_id())
            self._tally = ray.remote(num_cpus=0)(Tally).options(scheduling_strategy=here).remote()

    def close(self) -> None:
        """Leave the cluster, which ends this job's tasks; end it where it was started here."""
        self._ray.shutdown()

    def nodes(self) -> dict[str, Node]:
        """Return the live nodes that have CPUs, by id."""
        return {
            one["NodeID"]: Node(
                _name(one["NodeManagerHostname"], one["NodeID"]), int(one["Resources"]["CPU"])
            )
            for one in self._ray.nodes()
            if one["Alive"] and one["Resources"].get("CPU", 0) >= 1
        }

    def submit(self, call: bytes, site: Site, key: Key, *, node: str | None) -> Any:
        """Run `work` on a node; on a named one at once, whatever else runs there."""
        run = self._work
        if node:
            run = run.options(num_cpus=0, scheduling_strategy=self._on(node))
        return run.remote(call, site, key, self._tally)

    def wait(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return handles that are done."""
        done: list[Any] = self._ray.wait(handles, num_returns=len(handles), timeout=0)[0]
        return done or self._ray.wait(handles, timeout=seconds)[0]

    def answer(self, handle: Any) -> bytes:
        """Return what `work` returned; raise Lost where it never did.

        Raises:
            TaskFailed: it could not even begin.
        """
        errors = self._ray.exceptions
        try:
            answer: bytes = self._ray.get(handle)
        except errors.RayTaskError as error:
            last_line = str(error).strip().rpartition("\n")[2]
            raise TaskFailed(
                f"a node cannot run a task ({last_line}); install the same sobert on every node"
            ) from error
        except errors.RayError as error:
            raise Lost(_LOST.get(type(error).__name__, _first_line(error))) from error
        return answer

    def cancel(self, handles: Sequence[Any]) -> None:
        """Stop tasks, by force."""
        for handle in handles:
            self._ray.cancel(handle, force=True)

    def reported(self) -> Mapping[Key, int]:
        """Return what tasks have reported on their way; nothing where nobody watches."""
        if self._tally is None:
            return {}
        try:
            amounts: dict[Key, int] = self._ray.get(self._tally.read.remote(), timeout=5)
        except self._ray.exceptions.RayError:
            return {}  # Only the bar is late; the amounts come with the answers.
        return amounts

    def _on(self, node: str) -> Any:
        strategies = self._ray.util.scheduling_strategies
        return strategies.NodeAffinitySchedulingStrategy(node, soft=False)


class Tally:
    """An actor on the driver's node that keeps what running tasks have reported."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._amounts: dict[Key, int] = {}

    def report(self, key: Key, amount: int) -> None:
        """Set what a task has reported so far; a task that runs again begins below."""
        self._amounts[key] = max(amount, self._amounts.get(key, 0))

    def read(self) -> dict[Key, int]:
        """Return all amounts."""
        return self._amounts


_LOST = {
    "WorkerCrashedError": "a worker died",
    "NodeDiedError": "a node died",
    "LocalRayletDiedError": "a node died",
    "OutOfMemoryError": "a worker was killed, its node being out of memory",
}


def _work(call: bytes, site: Site, key: Key, tally: Any) -> bytes:
    report = partial(tally.report.remote, key) if tally else None
    return work(call, site, _where, report)


def _where() -> str:
    import ray

    return _name(platform.node(), ray.get_runtime_context().get_node_id())


def _name(host: str, id: str) -> str:
    return f"{host} ({id[:8]})"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _import_ray(*, is_local: bool) -> Any:
    # Ray reads these when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # It prints of dead workers on stdout, where results go; the engine says so on stderr.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    if is_local:
        # Ray 2.60 takes no loopback address on Linux, and listens on all; this is its switch.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise missing_extra("cluster", error) from error
    return ray
