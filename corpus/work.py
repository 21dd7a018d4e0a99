"""The work of a stage: tasks that write into an unfinished artifact, each done once.

    <artifact>.building/               what tasks write
                       .tasks/         a record a task: its outcome, once its files are on disk

A build that was killed is run again: a task whose record and files agree is not done twice, all
else is, over whatever it had left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from corpus.durable import write_json
from corpus.engine import Engine
from corpus.manifest import Outcome, digest_file, outcome_from_json, outcome_to_json
from corpus.progress import Reporter, advance

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
    _names: set[str] = field(default_factory=set, init=False, repr=False)

    def map(
        self,
        task: Callable[[Path, Any], Outcome],
        tasks: Sequence[Task],
        *,
        unit: str = "parts",
        reports_itself: bool = False,
    ) -> list[Outcome]:
        """Run `task(folder, payload)` on every task not yet done; outcomes in order.

        A task may write only files that it names in its outcome. `Task.amount` is its size in
        `unit`; a task that `reports_itself` calls `progress.advance` as it goes.
        """
        for one in tasks:
            # Of two tasks of one name, the second would be given the outcome of the first.
            assert one.name not in self._names, f"stage {self.stage} has two tasks {one.name!r}"
            self._names.add(one.name)
        run = partial(_run_task, task, self.folder, reports_itself)
        total = sum(one.amount for one in tasks)
        with self.reporter.bar(self.stage, total, unit):
            return self.engine.map(run, tasks)


def _run_task(
    task: Callable[[Path, Any], Outcome], folder: Path, reports_itself: bool, one: Task
) -> Outcome:
    record = folder / TASKS / f"{one.name.replace('/', '~')}.json"
    if outcome := _read_record(record, folder):
        advance(one.amount)
        return outcome
    outcome = task(folder, one.payload)
    write_json(record, outcome_to_json(outcome))
    if not reports_itself:
        advance(one.amount)
    return outcome


def _read_record(record: Path, folder: Path) -> Outcome | None:
    try:
        outcome = outcome_from_json(json.loads(record.read_bytes()))
        is_whole = all(digest_file(folder / f.name) == f.sha256 for f in outcome.files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return outcome if is_whole else None
