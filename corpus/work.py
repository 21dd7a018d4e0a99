"""The work of a stage: tasks that write into an unfinished artifact, each done once.

    <artifact>.building/               what tasks write
                       .tasks/         a record a task: its outcome, once its files are on disk

A build that was killed is run again: a task whose record and files agree is not done twice, all
else is, over whatever it had left. A task with a key, a digest of all that it reads, is not done
at all where an earlier artifact of the stage holds its files (`corpus.reuse`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from corpus.durable import write_json
from corpus.engine import Engine
from corpus.manifest import Outcome, digest_file, outcome_from_json, outcome_to_json
from corpus.progress import Reporter, advance
from corpus.reuse import Reuse

TASKS = ".tasks"


class Task(NamedTuple):
    """One unit of a stage's work: a name that is unique in the stage, and what it works on."""

    name: str
    payload: Any
    amount: int = 1


@dataclass(frozen=True, slots=True)
class Work:
    """The unfinished artifact that a stage writes into."""

    folder: Path
    stage: str
    engine: Engine
    reporter: Reporter
    reuse: Reuse
    # Tasks that have a key, by whether an earlier artifact had their files.
    found: Counter[bool] = field(default_factory=Counter, init=False, repr=False)
    _names: set[str] = field(default_factory=set, init=False, repr=False)

    def take(self, name: str, key: str) -> Outcome | None:
        """Return what an earlier artifact has for this name and key, linked here, if it has it."""
        outcome = self.reuse.take(key, name, self.folder)
        self.found[outcome is not None] += 1
        return outcome

    def keep(self, name: str, key: str, outcome: Outcome) -> None:
        """Record what was made for this name and key, for `take`."""
        self.reuse.keep(key, name, outcome)

    def map(
        self,
        task: Callable[[Path, Any], Outcome],
        tasks: Sequence[Task],
        *,
        unit: str = "parts",
        reports_itself: bool = False,
        key: Callable[[Any], str] | None = None,
    ) -> list[Outcome]:
        """Run `task(folder, payload)` on every task not yet done; outcomes in order.

        A task may write only files that it names in its outcome. `Task.amount` is its size in
        `unit`; a task that `reports_itself` calls `progress.advance` as it goes. `key(payload)`,
        called where the task would run, digests everything that its outcome follows from but the
        stage's version and the task's name; that name may stand in those of its files.
        """
        for one in tasks:
            # Of two tasks of one name, the second would be given the outcome of the first.
            assert one.name not in self._names, f"stage {self.stage} has two tasks {one.name!r}"
            self._names.add(one.name)
        run = partial(_run_task, task, self.folder, reports_itself, self.reuse, key)
        total = sum(one.amount for one in tasks)
        with self.reporter.bar(self.stage, total, unit):
            done = self.engine.map(run, tasks)
        if key:
            self.found.update(was_found for _, was_found in done)
        return [outcome for outcome, _ in done]


def _run_task(
    task: Callable[[Path, Any], Outcome],
    folder: Path,
    reports_itself: bool,
    reuse: Reuse,
    key: Callable[[Any], str] | None,
    one: Task,
) -> tuple[Outcome, bool]:
    record = folder / TASKS / f"{one.name.replace('/', '~')}.json"
    if outcome := _read_record(record, folder):
        advance(one.amount)
        return outcome, False
    digest = key(one.payload) if key else None
    outcome = reuse.take(digest, one.name, folder) if digest else None
    was_found = outcome is not None
    outcome = outcome or task(folder, one.payload)
    write_json(record, outcome_to_json(outcome))
    if digest:
        reuse.keep(digest, one.name, outcome)
    if was_found or not reports_itself:
        advance(one.amount)
    return outcome, was_found


def _read_record(record: Path, folder: Path) -> Outcome | None:
    try:
        outcome = outcome_from_json(json.loads(record.read_bytes()))
        is_whole = all(digest_file(folder / f.name) == f.sha256 for f in outcome.files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return outcome if is_whole else None
