"""Progress: one bar a stage on stderr, fed by tasks wherever they run.

A task calls `advance`; in a worker process the amount goes through a pipe to the process that
draws. Nothing is drawn with `--quiet` or where stderr is no terminal, and tasks never know.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

Sink = Callable[[int], object]


def _ignore(amount: int) -> None:
    """Report to nobody."""


_sink: Sink = _ignore


def advance(amount: int) -> None:
    """Report that this much of the running stage is done, in the stage's own unit."""
    _sink(amount)


def connect(sink: Sink) -> Sink:
    """Send what this process's tasks report to `sink`; return where it went before."""
    global _sink
    before, _sink = _sink, sink
    return before


class Reporter:
    """What the person at the terminal sees of a build."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Draw on stderr where it is a terminal and `quiet` is not set."""
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.draws = not quiet and sys.stderr.isatty()

    def say(self, line: str) -> None:
        """Print one line above any bar; nothing with `--quiet`."""
        self.console.print(line, soft_wrap=True, markup=False)

    @contextmanager
    def note_if_slow(self, line: str, seconds: float = 2.0) -> Iterator[None]:
        """Print a line if the block takes longer than `seconds`."""
        timer = threading.Timer(seconds, self.say, [line])
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[None]:
        """Show a bar of `total` units ("bytes" or a plural noun) while the block runs."""
        if not self.draws:
            yield
            return
        columns = (TextColumn("{task.description:<11}"), BarColumn(), *_amount_columns(unit))
        clock = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        # Results on stdout go where the user sent them, and not through the bar.
        bar = Progress(
            *columns, *clock, console=self.console, transient=True, redirect_stdout=False
        )
        with bar:
            task = bar.add_task(label, total=total)
            before = connect(lambda amount: bar.advance(task, amount))
            try:
                yield
            finally:
                connect(before)


class _RateColumn(ProgressColumn):
    """Units a second; rich has this for bytes only."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("?/s" if speed is None else f"{speed:,.1f}/s", style="progress.data.speed")


def _amount_columns(unit: str) -> tuple[ProgressColumn, ...]:
    if unit == "bytes":
        return DownloadColumn(), TransferSpeedColumn()
    return MofNCompleteColumn(), TextColumn(unit), _RateColumn()
