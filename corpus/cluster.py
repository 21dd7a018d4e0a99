"""An engine on many nodes, over whatever cluster runs its tasks; the adapters are beside it.

All nodes are asked before the first task, and those that come later before theirs (`corpus.node`).

A task that raises is never run again; a task whose worker or node died is, a few times. Amounts of
progress come with a task's answer, so that what is lost or run twice counts once; what a running
task reports on its way only moves the bar sooner.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from corpus import progress
from corpus.engine import Item, Result
from corpus.errors import SobertError, StoreError, TaskFailed
from corpus.node import Answer, Site, leave_mark, own_versions, pack, unpack, unseen
from corpus.progress import Reporter
from corpus.store import BUILDING

MAX_ATTEMPTS = 4
# Ray's workers look once a second whether their node still lives, and then end. Until they have,
# they would write beside those that do the same task again.
GRACE_SECONDS = 2.0
POLL_SECONDS = 0.5
# A store that is mounted but does not answer would hold a node for ever.
ANSWER_SECONDS = 120.0

Key = tuple[int, int]


class Node(NamedTuple):
    """A node that runs tasks: what people call it, and how many it runs at once."""

    name: str
    slots: int


class Lost(Exception):
    """The worker or node that ran a task died before it answered."""


class Cluster(Protocol):
    """What an adapter does; a handle stands for a task that was submitted."""

    def open(self, *, reports: bool) -> None:
        """Start or join the cluster; `reports`: whether anybody watches `reported`."""

    def close(self) -> None:
        """Leave the cluster; end it where it was started here."""

    def nodes(self) -> dict[str, Node]:
        """Return the live nodes that run tasks, by id."""

    def submit(self, call: bytes, site: Site, key: Key, *, node: str | None) -> Any:
        """Run `work` on a node, on this one where it is named; return its handle at once."""

    def wait(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return handles that are done, after this time at most; one at least where there are."""

    def answer(self, handle: Any) -> bytes:
        """Return what `work` returned; raise Lost where it never did."""

    def cancel(self, handles: Sequence[Any]) -> None:
        """Stop tasks, wherever they are."""

    def reported(self) -> Mapping[Key, int]:
        """Return what tasks have reported on their way, by key."""


class ClusterEngine:
    """An engine whose tasks run on a cluster; results and errors are those of `LocalEngine`."""

    def __init__(self, cluster: Cluster, store: Path, reporter: Reporter) -> None:
        """Start nothing yet.

        Args:
            cluster: the adapter.
            store: the folder that tasks read and write, which all nodes must see.
            reporter: is told of what was lost and runs again.
        """
        self.cluster, self.reporter = cluster, reporter
        self._store = store
        self._site: Site | None = None
        self._nodes: dict[str, Node] = {}
        self._num_maps = 0

    def __enter__(self) -> Self:
        self.cluster.open(reports=self.reporter.draws)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._site:
            shutil.rmtree(self._site.seal.parents[1], ignore_errors=True)
        self.cluster.close()

    def map(self, task: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Run `task` on every item; results in the order of items.

        Raises:
            StoreError: a node does not see the store.
            BadValue: a node lacks the working directory, or has other packages.
            TaskFailed: the workers of one task died again and again.
        """
        if not items:
            return []
        self._site = self._site or self._open_site()
        self._num_maps += 1
        return _Map(self, task, items, self._site, self._num_maps).run()

    def count_slots(self) -> int:
        """Return how many tasks run at once now; say which nodes are gone."""
        nodes = self.cluster.nodes()
        for gone in sorted(node.name for id, node in self._nodes.items() if id not in nodes):
            self.reporter.say(f"note: node {gone} is gone; what it ran runs again elsewhere")
        if self._nodes and not nodes:
            self.reporter.say("note: no node is left to run tasks; waiting for one")
        self._nodes = nodes
        return sum(node.slots for node in nodes.values())

    def _open_site(self) -> Site:
        nonce = os.urandom(8).hex()
        folder = self._store / ".nodes" / (nonce + BUILDING)
        site = Site(Path.cwd(), self._store, folder / "seal", nonce, own_versions())
        try:
            folder.mkdir(parents=True)
            leave_mark((site.seal, nonce))
            self._ask_nodes(site, folder)
        except (OSError, SobertError):
            shutil.rmtree(folder.parent, ignore_errors=True)
            raise
        return site

    def _ask_nodes(self, site: Site, folder: Path) -> None:
        self.count_slots()
        asked = {
            id: self.cluster.submit(
                pack((leave_mark, (folder / id.translate(_NO_PATH), site.nonce))),
                site,
                (0, 0),
                node=id,
            )
            for id in self._nodes
        }
        deadline = time.monotonic() + ANSWER_SECONDS
        for id, handle in asked.items():
            name = self._nodes[id].name
            if not self.cluster.wait([handle], max(0.0, deadline - time.monotonic())):
                raise StoreError(
                    f"node {name} gave no answer in {ANSWER_SECONDS:.0f} s; see whether it reaches "
                    f"store {site.store}"
                )
            try:
                answer = unpack(self.cluster.answer(handle))
            except Lost:
                continue
            if answer.error:
                raise answer.error
            self._check_mark(folder / id.translate(_NO_PATH), site, name)

    def _check_mark(self, mark: Path, site: Site, node: str) -> None:
        try:
            is_seen = mark.read_text("utf-8") == site.nonce
        except OSError:
            is_seen = False
        if not is_seen:
            raise unseen(site.store, node)


# Dask calls its nodes by their address.
_NO_PATH = str.maketrans("/:", "__")


class _Job(NamedTuple):
    number: int
    attempt: int


class _Map:
    """One `map`: what runs, what is done, and how much of it was shown."""

    def __init__(
        self,
        engine: ClusterEngine,
        task: Callable[[Any], Any],
        items: Sequence[Any],
        site: Site,
        serial: int,
    ) -> None:
        self._engine, self._cluster = engine, engine.cluster
        self._task, self._items, self._site, self._serial = task, items, site, serial
        self._running: dict[Any, _Job] = {}
        self._answers: dict[int, Answer] = {}
        self._shown = [0] * len(items)
        self._next = 0
        self._has_failed = False

    def run(self) -> list[Any]:
        """Return all results, or raise the error of the first item that fails."""
        try:
            while self._running or self._has_more():
                self._fill(2 * max(1, self._engine.count_slots()))
                self._collect()
        finally:
            # Empty but after Ctrl-C: tasks that run when another fails are let end.
            self._cluster.cancel(list(self._running))
        answers = [self._answers[number] for number in sorted(self._answers)]
        for answer in answers:
            if answer.error:
                raise answer.error from TaskFailed(f"in a worker:\n{answer.trace}")
        return [answer.result for answer in answers]

    def _has_more(self) -> bool:
        return self._next < len(self._items) and not self._has_failed

    def _fill(self, most: int) -> None:
        """Keep as many waiting as are running: what waits calls for nodes where they come."""
        while self._has_more() and len(self._running) < most:
            self._start(_Job(self._next, 1))
            self._next += 1

    def _start(self, job: _Job) -> None:
        key = (self._serial, job.number)
        call = pack((self._task, self._items[job.number]))
        self._running[self._cluster.submit(call, self._site, key, node=None)] = job

    def _collect(self) -> None:
        lost = []
        for handle in self._cluster.wait(list(self._running), POLL_SECONDS):
            job = self._running.pop(handle)
            try:
                self._finish(job, unpack(self._cluster.answer(handle)))
            except Lost as error:
                if job.attempt == MAX_ATTEMPTS:
                    self._finish(job, Answer(error=self._give_up(job, error)))
                else:
                    lost.append(job)
                    self._say_lost(job, error)
        reported = self._cluster.reported()
        for job in self._running.values():
            if amount := reported.get((self._serial, job.number)):
                self._show(job.number, max(amount, self._shown[job.number]))
        if lost:
            time.sleep(GRACE_SECONDS)
        for job in lost:
            self._start(_Job(job.number, job.attempt + 1))

    def _finish(self, job: _Job, answer: Answer) -> None:
        self._answers[job.number] = answer
        self._has_failed = self._has_failed or answer.error is not None
        if not answer.error:
            self._show(job.number, answer.amount)

    def _show(self, number: int, amount: int) -> None:
        progress.advance(amount - self._shown[number])
        self._shown[number] = amount

    def _name(self, job: _Job) -> str:
        return str(getattr(self._items[job.number], "name", job.number + 1))

    def _say_lost(self, job: _Job, error: Lost) -> None:
        attempts = f"{job.attempt + 1} of {MAX_ATTEMPTS}"
        self._engine.reporter.say(
            f"note: {error}; task {self._name(job)} runs again, attempt {attempts}"
        )

    def _give_up(self, job: _Job, error: Lost) -> TaskFailed:
        return TaskFailed(
            f"task {self._name(job)} was lost {MAX_ATTEMPTS} times ({error}), most likely for "
            "memory; run the same command again with fewer workers a node: finished work is kept"
        )
