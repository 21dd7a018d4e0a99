"""The loop: micro-batches, accumulated to a step, until the run's tokens are consumed.

The loss of a step is the sum over the masked tokens of the whole global batch divided by their
number, so neither the size of a micro-batch nor the number of ranks changes what is computed (but
for the order in which floats are added up).

A step whose loss or gradient is not finite is not taken: weights and moments stay as they are, and
its rows are passed over. After three in a row the run ends with an error. SIGTERM and SIGINT let
the step end, save and return; a second one does what it would have done.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from corpus.errors import SobertError
from pretrain.batches import Batch
from pretrain.checkpoint import Ledger
from pretrain.cost import Work, count_flops, measure_work
from pretrain.devices import autocast, move_batch
from pretrain.logs import Log
from pretrain.model import Encoder
from pretrain.optimiser import set_learning_rate
from pretrain.parallel import Parallel, clip_gradients, seed_dropout
from pretrain.recipe import PretrainRecipe
from pretrain.schedule import Phases, learning_rate_at

# Shapes: M masked tokens of a micro-batch.

MAX_SKIPPED = 3

Handler = Callable[[int, FrameType | None], Any] | int | None


@dataclass(slots=True)
class Stop:
    """Whether someone has asked the run to stop, and by which signal."""

    signal_name: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """All that the loop works on.

    Args:
        recipe: as it was asked for.
        encoder: the model as it was built.
        model: what wraps it for data parallelism; gives the losses of a micro-batch.
        optimiser: of its weights.
        parallel: this rank.
        phases: of the run, in steps.
        rows_per_step: of all ranks.
        open_batches: iterates over this rank's micro-batches, from a row of the run on.
        peak: FLOP/s of one device.
    """

    recipe: PretrainRecipe
    encoder: Encoder
    model: torch.nn.Module
    optimiser: torch.optim.Optimizer
    parallel: Parallel
    phases: Phases
    rows_per_step: int
    open_batches: Callable[[int], Iterator[Batch]]
    peak: float

    @property
    def micro_batches(self) -> int:
        """How many micro-batches make a step of one rank."""
        run = self.recipe.run
        return self.rows_per_step // (run.micro_batch_rows * self.parallel.data_size)


class Step(NamedTuple):
    """What one step gave, the same on every rank."""

    loss: float
    grad_norm: float
    learning_rate: float
    work: Work
    must_stop: bool

    @property
    def problem(self) -> str | None:
        """Why the step was not taken; None where it was."""
        for name, value in (("loss", self.loss), ("norm of the gradient", self.grad_norm)):
            if not math.isfinite(value):
                return f"{name} is {value}"
        return None


def train(
    job: Job,
    ledger: Ledger,
    log: Log,
    stop: Stop,
    *,
    after_step: Callable[[Ledger, bool], None],
    note_rows: Callable[[int, list[int]], None] = lambda step, rows: None,
) -> Ledger:
    """Train from where the ledger stands to the end of the run, or until it is to stop.

    Args:
        job: what to train, on what.
        ledger: how far the run is.
        log: is given the numbers of each step.
        stop: set by a signal.
        after_step: saves and evaluates where it is time; told whether this step is the last.
        note_rows: is given the number of each step, and the rows of the plan this rank took.

    Raises:
        SobertError: three steps in a row were not finite.
    """
    stream = job.open_batches(ledger.rows)
    clock = time.perf_counter()
    while ledger.step < job.phases.num_steps:
        started = time.perf_counter()
        batches = list(islice(stream, job.micro_batches))
        step = take_step(job, batches, ledger, stop)
        now = time.perf_counter()
        # What came between two steps, saving and evaluating, is paid for as well.
        ledger, clock = _advance(job, ledger, step, now - clock), now
        note_rows(ledger.step, [row for batch in batches for row in batch.rows])
        _write(job, log, step, ledger, now - started)
        after_step(ledger, step.must_stop or ledger.step == job.phases.num_steps)
        if step.must_stop:
            break
    return ledger


def take_step(job: Job, batches: list[Batch], ledger: Ledger, stop: Stop) -> Step:
    """Take one step on this rank's micro-batches; every rank calls it."""
    run, parallel = job.recipe.run, job.parallel
    work = _add_work(batches, parallel)
    learning_rate = learning_rate_at(ledger.step, job.phases, job.recipe.optimiser)
    set_learning_rate(job.optimiser, learning_rate)
    # The wrapper takes the mean of the data ranks' gradients; the loss is a mean over all tokens.
    scale = parallel.data_size / max(work.num_masked, 1)
    # Of all ranks: the loss, and how many have been asked to stop.
    sums = torch.zeros(2, dtype=torch.float64, device=parallel.device)
    for number, batch in enumerate(batches):
        seed_dropout(run.seed, ledger.rows + number * run.micro_batch_rows, parallel)
        with _syncing(job.model, job.encoder, number == len(batches) - 1):
            with autocast(parallel.device, run.precision):
                losses_M = job.model(move_batch(batch, parallel.device))
            # Megatron's linear layers go back under autocast by themselves on CUDA only.
            with autocast(torch.device("cpu"), run.precision):
                (losses_M.sum() * scale).backward()
        sums[0] += losses_M.detach().sum(dtype=torch.float64)
    norm = clip_gradients(job.encoder, job.recipe.optimiser.max_grad_norm)
    sums[1] += bool(stop.signal_name)
    dist.all_reduce(sums)
    loss, stops = sums.tolist()
    mean = loss / parallel.tensor_size / max(work.num_masked, 1)
    step = Step(mean, float(norm), learning_rate, work, stops > 0)
    if not step.problem:
        job.optimiser.step()
    job.optimiser.zero_grad(set_to_none=True)
    return step


@contextmanager
def catch_signals() -> Iterator[Stop]:
    """Turn the first SIGTERM or SIGINT into a wish to stop; the second works as it did before."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal_name = signal.Signals(number).name
        _restore(before)

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        _restore(before)


def _restore(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _add_work(batches: list[Batch], parallel: Parallel) -> Work:
    """Add up what all ranks are about to do."""
    work = sum((measure_work(batch) for batch in batches), Work())
    counts = [work.num_tokens, work.squared_lengths, work.num_masked]
    sums = torch.tensor(counts, dtype=torch.int64, device=parallel.device)
    dist.all_reduce(sums)
    return Work(*(one // parallel.tensor_size for one in sums.tolist()))


@contextmanager
def _syncing(model: torch.nn.Module, encoder: Encoder, is_last: bool) -> Iterator[None]:
    """Exchange gradients between data ranks with the last micro-batch of a step only."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel) and not is_last:
        with model.no_sync():
            yield
        return
    if isinstance(encoder, torch.distributed.fsdp.FSDPModule):
        encoder.set_requires_gradient_sync(is_last)
    yield


def _advance(job: Job, ledger: Ledger, step: Step, seconds: float) -> Ledger:
    is_bad = bool(step.problem)
    return replace(
        ledger,
        step=ledger.step + 1,
        rows=ledger.rows + job.rows_per_step,
        tokens=ledger.tokens + step.work.num_tokens,
        masked_tokens=ledger.masked_tokens + step.work.num_masked,
        flops=ledger.flops + count_flops(job.encoder.shape, step.work),
        seconds=ledger.seconds + seconds,
        num_skipped=ledger.num_skipped + is_bad,
        skipped_in_a_row=ledger.skipped_in_a_row + 1 if is_bad else 0,
    )


def _write(job: Job, log: Log, step: Step, ledger: Ledger, seconds: float) -> None:
    if step.problem:
        log.skip(step.problem, ledger.rows - job.rows_per_step, job.rows_per_step, ledger)
        if ledger.skipped_in_a_row == MAX_SKIPPED:
            raise SobertError(
                f"{MAX_SKIPPED} steps in a row were not finite, the last at step {ledger.step} "
                f"({step.problem}); lower optimiser.learning_rate or raise its warmup_fraction; "
                "the checkpoints of before are kept"
            )
        return
    flops = count_flops(job.encoder.shape, step.work)
    log.write(
        {
            "loss": step.loss,
            "grad_norm": step.grad_norm,
            "learning_rate": step.learning_rate,
            "tokens_per_second": step.work.num_tokens / seconds,
            "mfu": flops / seconds / job.peak / job.parallel.world_size,
        },
        ledger,
    )
