"""What a run tells: a bar on the terminal, JSON lines, TensorBoard's event files.

`log.jsonl` has one line a number: metric, value, step, tokens, seconds, the last two counted from
the beginning of the run, resumed or not. Numbers are written in full, so that two runs can be
compared bit by bit. A skipped step has one line, metric `skipped`, whose value says why, with its
first row and their number; its loss is in no other line, as JSON knows no NaN.

`rows/consumed-<rank>.jsonl` has one line a step: step, and rows, the rows of the plan that this
data rank took, in their order. With the plan and the shards' maps they say which post was seen
when.

When a run goes on from a checkpoint, lines of later steps are cut off: those are taken again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

import torch.distributed as dist
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from corpus.durable import TEMPORARY, sync
from corpus.manifest import Json
from corpus.progress import Reporter
from pretrain.checkpoint import Ledger
from pretrain.parallel import Parallel

LOG = "log.jsonl"
EVENTS = "events"
ROWS = "rows"
CONSUMED = "consumed-{}.jsonl"
FLUSH_SECONDS = 30


def read_log(path: Path) -> Iterator[Json]:
    """Iterate over the lines of a log; a last line that was torn off is passed over."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)


def cut_logs(folder: Path, step: int) -> None:
    """Remove the lines of steps after this one, so that a resumed run writes each step once."""
    (folder / ROWS).mkdir(parents=True, exist_ok=True)
    for path in sorted([*folder.glob(LOG), *folder.glob(f"{ROWS}/{CONSUMED.format('*')}")]):
        _cut(path, step)


def _cut(path: Path, step: int) -> None:
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("w", encoding="utf-8") as kept:
        for line in read_log(path):
            if line["step"] <= step:
                kept.write(_to_line(line))
    sync(temporary)
    temporary.replace(path)


class Log(Protocol):
    """Where the loop writes its numbers."""

    def write(self, metrics: Mapping[str, float], ledger: Ledger) -> None:
        """Write the numbers of a step."""

    def skip(self, reason: str, first_row: int, num_rows: int, ledger: Ledger) -> None:
        """Write that a step was not taken."""

    def sync(self) -> None:
        """Bring all lines to the disk."""


class RunLog:
    """The log of one process that writes; a context manager.

    Args:
        folder: of the run.
        reporter: of the terminal.
        num_steps: of the whole run.
        step: after which it goes on.
    """

    def __init__(self, folder: Path, reporter: Reporter, *, num_steps: int, step: int) -> None:
        """Open the files, which `cut_logs` has cut to `step`."""
        self._lines: IO[str] = (folder / LOG).open("a", encoding="utf-8")
        self._events = SummaryWriter(
            str(folder / EVENTS), purge_step=step + 1, flush_secs=FLUSH_SECONDS
        )
        self._reporter = reporter
        self._bar, self._task = _make_bar(reporter, num_steps, step)

    def __enter__(self) -> RunLog:
        """Show the bar, where there is a terminal."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files, what was written on the disk."""
        if self._bar:
            self._bar.stop()
        self.sync()
        self._lines.close()
        self._events.close()

    def write(self, metrics: Mapping[str, float], ledger: Ledger) -> None:
        """Write the numbers of a step: a line each, an event each, and some beside the bar."""
        for metric, value in metrics.items():
            self._lines.write(_to_line(_describe(metric, value, ledger)))
            self._events.add_scalar(metric, value, ledger.step)
        self._lines.flush()
        if self._bar:
            if "loss" in metrics:
                self._bar.update(self._task, figures=describe_step(metrics))
            self._bar.update(self._task, completed=ledger.step)

    def skip(self, reason: str, first_row: int, num_rows: int, ledger: Ledger) -> None:
        """Write, and say, that a step was not taken."""
        rows = {"first_row": first_row, "num_rows": num_rows}
        self._lines.write(_to_line({**_describe("skipped", reason, ledger), **rows}))
        self._lines.flush()
        self._events.add_scalar("skipped", 1, ledger.step)
        self._reporter.say(
            f"step {ledger.step} (rows {first_row} to {first_row + num_rows - 1}) skipped: {reason}"
        )
        if self._bar:
            self._bar.update(self._task, completed=ledger.step)

    def sync(self) -> None:
        """Bring all lines to the disk."""
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._events.flush()


class NoLog:
    """The log of every other rank."""

    def write(self, metrics: Mapping[str, float], ledger: Ledger) -> None:
        """Write nothing."""

    def skip(self, reason: str, first_row: int, num_rows: int, ledger: Ledger) -> None:
        """Write nothing."""

    def sync(self) -> None:
        """Have nothing to bring."""


class RowLog:
    """The rows that one data rank takes; every rank of one model takes the same.

    Args:
        folder: of the run.
        data_rank: of this process.
    """

    def __init__(self, folder: Path, data_rank: int) -> None:
        """Open the file, which `cut_logs` has cut."""
        path = folder / ROWS / CONSUMED.format(data_rank)
        self._lines: IO[str] = path.open("a", encoding="utf-8")

    def note(self, step: int, rows: Sequence[int]) -> None:
        """Write the rows of a step."""
        self._lines.write(_to_line({"step": step, "rows": list(rows)}))
        self._lines.flush()

    def sync(self) -> None:
        """Bring all lines to the disk."""
        os.fsync(self._lines.fileno())

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


@contextmanager
def open_logs(
    folder: Path, reporter: Reporter, parallel: Parallel, *, num_steps: int, step: int
) -> Iterator[tuple[Log, RowLog | None]]:
    """Open the logs of this rank, of a run that goes on after `step`.

    Only rank 0 writes figures; the first rank of each model writes its rows.
    """
    if parallel.rank == 0:
        cut_logs(folder, step)
    dist.barrier()
    with ExitStack() as stack:
        log: Log = NoLog()
        rows = None
        if parallel.tensor_rank == 0:
            rows = stack.enter_context(closing(RowLog(folder, parallel.data_rank)))
        if parallel.rank == 0:
            log = stack.enter_context(RunLog(folder, reporter, num_steps=num_steps, step=step))
        yield log, rows


def describe_step(metrics: Mapping[str, float]) -> str:
    """Write what stands beside the bar.

    >>> describe_step({"loss": 3.14159, "tokens_per_second": 397_000.4, "mfu": 0.25})
    'loss 3.142  397,000 tokens/s  MFU 25.0 %'
    """
    return (
        f"loss {metrics['loss']:.3f}  {metrics['tokens_per_second']:,.0f} tokens/s  "
        f"MFU {100 * metrics['mfu']:.1f} %"
    )


def _make_bar(reporter: Reporter, num_steps: int, step: int) -> tuple[Progress | None, TaskID]:
    if not reporter.draws:
        return None, TaskID(0)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} steps  {task.fields[figures]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=reporter.console,
        transient=True,
        redirect_stdout=False,
    )
    return bar, bar.add_task("pretrain", total=num_steps, completed=step, figures="")


def _describe(metric: str, value: float | str, ledger: Ledger) -> Json:
    return {
        "metric": metric,
        "value": value,
        "step": ledger.step,
        "tokens": ledger.tokens,
        "seconds": round(ledger.seconds, 3),
    }


def _to_line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, allow_nan=False) + "\n"
