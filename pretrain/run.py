"""A pretraining run, from shards to checkpoints; the same call again goes on where it stopped.

Writes into its folder:

    run.json        what was asked (recipe, ids of the inputs), what it became (shape, steps), what
                    it cost (device, seconds, tokens, FLOPs), how it stands, and the evaluation
    log.jsonl, events/, rows/    see `logs`; rows/ also holds the plans of packing
    checkpoints/    see `checkpoint`
    report.html     curves and figures on one page
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from corpus.durable import write_json
from corpus.errors import BadValue, RecipeError, StoreError
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.store import Artifact
from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer, load_tokenizer
from pretrain.batches import Batch
from pretrain.checkpoint import (
    Identity,
    Ledger,
    check_identity,
    identify,
    load_weights,
    newest_checkpoint,
    restore,
    save_checkpoint,
)
from pretrain.devices import DTYPES, describe_device, peak_flops
from pretrain.evaluate import MASKING, SEED, count_piece_bytes, evaluate
from pretrain.loader import iter_batches
from pretrain.logs import LOG, ROWS, Log, RowLog, open_logs, read_log
from pretrain.loop import Job, Stop, catch_signals, train
from pretrain.masking import make_masking
from pretrain.model import build_encoder
from pretrain.optimiser import build_optimiser
from pretrain.parallel import Parallel, start_parallel, wrap_data_parallel
from pretrain.presets import count_parameters, make_shape
from pretrain.recipe import PretrainRecipe, RunSection
from pretrain.report import render_run
from pretrain.rows import RowSource, count_tokens, open_rows
from pretrain.schedule import check_length, find_masking_decay, make_phases

RUN = "run.json"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"
TOOLCHAIN = ("torch", "megatron-core", "numpy", "sentencepiece")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run reads: the shards, the tokenizer they were made with, the rows packed of them."""

    shards: Artifact
    tokenizer: Artifact
    vocabulary: Tokenizer
    train: RowSource
    validation: RowSource | None


class Named(NamedTuple):
    """What people call what a run is of: names are for the card, and identify nothing."""

    build: str | None
    init_from: str | None


def run_pretraining(
    recipe: PretrainRecipe,
    shards: Artifact,
    tokenizer: Artifact,
    out: Path,
    *,
    reporter: Reporter,
    workers: int = 0,
    resume: bool = True,
    initial: Mapping[str, torch.Tensor] | None = None,
    init_from: str | None = None,
    name: str | None = None,
) -> Json:
    """Train a model, or go on training it; every process that torchrun starts calls this.

    Args:
        recipe: what to train and how.
        shards: to train on.
        tokenizer: that the shards were made with.
        out: the run's folder, made where it is not there.
        reporter: for the terminal of the first process.
        workers: processes of each rank that read ahead.
        resume: go on from the newest checkpoint in `out`; else there must be none.
        initial: whole weights by the names of `Encoder`, to begin with instead of drawn ones.
        init_from: what the model is called that they are of, for the card.
        name: of the corpus build that the shards are of, for the card.

    Returns:
        What run.json holds; `state` is "finished", or "stopped" after SIGTERM or SIGINT.

    Raises:
        RecipeError: the recipe does not fit the machine, or the checkpoint in `out`.
        StoreError: the shards have no train split.
        BadValue: not to resume, and there is a checkpoint.
        SobertError: three steps in a row were not finite.
    """
    with catch_signals() as stop, start_parallel(recipe.run) as parallel:
        reporter = reporter if parallel.rank == 0 else Reporter(quiet=True)
        inputs = open_inputs(recipe, shards, tokenizer, out, reporter)
        job = make_job(recipe, inputs, parallel, workers=workers, initial=initial)
        if job.rows_per_step * recipe.data.row_tokens > recipe.run.batch_tokens:
            reporter.say(f"a step takes {job.rows_per_step} rows, more than run.batch_tokens")
        run = Run(job, inputs, out, stop, reporter, Named(name, init_from))
        return run.train(resume=resume)


def open_inputs(
    recipe: PretrainRecipe, shards: Artifact, tokenizer: Artifact, out: Path, reporter: Reporter
) -> Inputs:
    """Open what a run reads; plans how its rows are packed where that is not done.

    Raises:
        StoreError: the shards have no train split, or were made with another tokenizer.
    """
    of_shards = shards.manifest.inputs.get("tokenizer")
    if of_shards != tokenizer.manifest.id:
        raise StoreError(
            f"{shards.folder} was made with tokenizer {str(of_shards)[:16]}, not "
            f"{tokenizer.manifest.id[:16]}; give the one of the same build"
        )
    at: dict[str, Any] = {"folder": out / ROWS, "row_tokens": recipe.data.row_tokens}
    train = open_rows(shards, "train", seed=recipe.data.seed, **at)
    validation = None
    if count_tokens(shards, "validation"):
        validation = open_rows(shards, "validation", seed=SEED, **at)
    else:
        reporter.say("nothing is evaluated: the shards hold no token of the split 'validation'")
    reporter.say(
        f"{train.num_tokens:,} tokens in {train.num_rows:,} rows, {train.plan.efficiency:.2%} full"
    )
    vocabulary = load_tokenizer(tokenizer.path(MODEL))
    return Inputs(shards, tokenizer, vocabulary, train, validation)


def count_rows_per_step(recipe: PretrainRecipe, data_size: int) -> int:
    """Return the rows that all ranks take in one step.

    As many as hold `run.batch_tokens`, down to a multiple of what all ranks take at once; one such
    at least.

    >>> from pretrain.recipe import parse_pretrain_recipe
    >>> card = {"name": "x", "title": "X", "summary": ""}
    >>> run = {"batch_tokens": 20_000, "micro_batch_rows": 2}
    >>> recipe = parse_pretrain_recipe({"card": card, "run": run})
    >>> count_rows_per_step(recipe, data_size=1), count_rows_per_step(recipe, data_size=8)
    (8, 16)
    """
    at_once = recipe.run.micro_batch_rows * data_size
    wanted = recipe.run.batch_tokens // recipe.data.row_tokens
    return max(1, wanted // at_once) * at_once


def make_job(
    recipe: PretrainRecipe,
    inputs: Inputs,
    parallel: Parallel,
    *,
    workers: int,
    initial: Mapping[str, torch.Tensor] | None = None,
) -> Job:
    """Build the model and all that the loop needs.

    Raises:
        RecipeError: rows are longer than the model has positions.
    """
    shape = make_shape(recipe.model, inputs.vocabulary.vocabulary_size)
    if recipe.data.row_tokens > shape.max_positions:
        raise RecipeError(
            f"data.row_tokens is {recipe.data.row_tokens}; it must be at most "
            f"model.max_positions, {shape.max_positions}"
        )
    run, source = recipe.run, inputs.train
    rows_per_step = count_rows_per_step(recipe, parallel.data_size)
    num_steps = math.ceil(run.num_tokens * source.num_rows / source.num_tokens / rows_per_step)
    decay_row = find_masking_decay(num_steps, recipe.optimiser) * rows_per_step
    masking = make_masking(recipe.masking, inputs.vocabulary, decay_row=decay_row)
    dtype = DTYPES["float64" if run.precision == "float64" else "float32"]
    encoder = build_encoder(shape, dtype=dtype, device=parallel.device, seed=run.seed)
    if initial:
        load_weights(encoder, initial, parallel)
    model = wrap_data_parallel(encoder, parallel, run.data_parallel)

    def open_batches(start_row: int) -> Iterator[Batch]:
        return iter_batches(
            source,
            masking,
            seed=run.seed,
            start_row=start_row,
            num_rows_total=num_steps * rows_per_step,
            micro_batch_rows=run.micro_batch_rows,
            data_rank=parallel.data_rank,
            data_size=parallel.data_size,
            workers=workers,
        )

    return Job(
        recipe=recipe,
        encoder=encoder,
        model=model,
        optimiser=build_optimiser(encoder.parameters(), recipe.optimiser),
        parallel=parallel,
        phases=make_phases(num_steps, recipe.optimiser),
        rows_per_step=rows_per_step,
        open_batches=open_batches,
        peak=peak_flops(parallel.device, run.precision)[0],
    )


def iter_validation(
    source: RowSource, tokenizer: Tokenizer, run: RunSection, parallel: Parallel, num_rows: int
) -> Iterator[Batch]:
    """Iterate over this rank's share of the first `num_rows` rows, masked as every run's are.

    Rows that would not go round are left out: with another number of data ranks it may be a few
    rows less.
    """
    rows = min(num_rows, source.num_rows) // parallel.data_size * parallel.data_size
    return iter_batches(
        source,
        make_masking(MASKING, tokenizer),
        seed=SEED,
        start_row=0,
        num_rows_total=max(rows, parallel.data_size),
        micro_batch_rows=run.micro_batch_rows,
        data_rank=parallel.data_rank,
        data_size=parallel.data_size,
    )


class Run:
    """One run on this rank: what the loop calls back between its steps."""

    def __init__(
        self,
        job: Job,
        inputs: Inputs,
        out: Path,
        stop: Stop,
        reporter: Reporter,
        named: Named,
    ) -> None:
        """Take all that was opened."""
        self.named = named
        self.job, self.inputs, self.out = job, inputs, out
        self.stop, self.reporter = stop, reporter
        self.evaluation: Json | None = None
        self.checkpoint: Path | None = None
        self.piece_bytes_V = count_piece_bytes(inputs.vocabulary)

    def train(self, *, resume: bool) -> Json:
        """Train to the end, or until someone stops it; return what run.json holds."""
        ledger = self._resume(resume)
        self._write(ledger, "running")
        phases, parallel = self.job.phases, self.job.parallel
        logs = open_logs(
            self.out, self.reporter, parallel, num_steps=phases.num_steps, step=ledger.step
        )
        with logs as (log, rows):

            def after_step(ledger: Ledger, is_last: bool) -> None:
                self._after_step(ledger, is_last, log, rows)

            note = rows.note if rows else (lambda step, rows: None)
            ledger = train(self.job, ledger, log, self.stop, after_step=after_step, note_rows=note)
        state = "finished" if ledger.step == phases.num_steps else "stopped"
        summary = self._write(ledger, state)
        if parallel.rank == 0:
            page = render_run(summary, list(read_log(self.out / LOG)))
            (self.out / REPORT).write_text(page, encoding="utf-8")
        if state == "stopped":
            self.reporter.say(
                f"stopped by {self.stop.signal_name or 'another rank'} after step {ledger.step} of "
                f"{phases.num_steps}; saved {self.checkpoint}; run the same command to go on"
            )
        return summary

    def _after_step(self, ledger: Ledger, is_last: bool, log: Log, rows: RowLog | None) -> None:
        run, phases = self.job.recipe.run, self.job.phases
        is_end = ledger.step == phases.num_steps
        is_before_decay = ledger.step == phases.decay_start > phases.warmup_steps
        if ledger.step % run.evaluate_every_steps == 0 or is_end:
            self._evaluate(ledger, log)
        if ledger.step % run.save_every_steps == 0 or is_last or is_before_decay:
            log.sync()
            if rows:
                rows.sync()
            self._save(ledger, is_kept=is_before_decay and not is_end)
            self._write(ledger, "running")

    def _evaluate(self, ledger: Ledger, log: Log) -> None:
        source, recipe, parallel = self.inputs.validation, self.job.recipe, self.job.parallel
        if not source:
            return
        batches = iter_validation(
            source, self.inputs.vocabulary, recipe.run, parallel, recipe.run.evaluate_rows
        )
        precision = recipe.run.precision
        self.evaluation = evaluate(
            self.job.encoder, batches, self.piece_bytes_V, parallel, precision=precision
        )
        log.write(
            {
                f"validation/{figure}/{kind}": row[figure]
                for kind, row in self.evaluation.items()
                for figure in ("loss", "accuracy", "bits_per_byte")
                if row[figure] is not None
            },
            ledger,
        )

    def _identity(self) -> Identity:
        return Identity(
            recipe=identify(self.job.recipe),
            tokenizer=self.inputs.tokenizer.manifest.id,
            shards=self.inputs.shards.manifest.id,
            rows_per_step=self.job.rows_per_step,
            num_steps=self.job.phases.num_steps,
        )

    def _resume(self, resume: bool) -> Ledger:
        newest = newest_checkpoint(self.out / CHECKPOINTS)
        if newest is None:
            return Ledger()
        if not resume:
            raise BadValue(f"{self.out} has checkpoints; resume, or give another --out")
        check_identity(newest, self._identity())
        section, ledger = self.job.recipe.optimiser, newest.ledger
        before = make_phases(newest.identity.num_steps, section)
        check_length(ledger.step, before, self.job.phases, section)
        restore(newest, self.job.encoder, self.job.optimiser, self.job.parallel)
        self.checkpoint = newest.folder
        self.evaluation = self._read_evaluation()
        self.reporter.say(f"goes on from {newest.folder}, step {ledger.step}")
        return ledger

    def _read_evaluation(self) -> Json | None:
        try:
            content: Json = json.loads((self.out / RUN).read_bytes())
        except (OSError, ValueError):
            return None
        return content.get("evaluation")

    def _save(self, ledger: Ledger, *, is_kept: bool) -> None:
        job = self.job
        self.checkpoint = save_checkpoint(
            self.out / CHECKPOINTS,
            job.encoder,
            job.optimiser,
            self._identity(),
            ledger,
            job.parallel,
            keep=job.recipe.run.keep_checkpoints,
            is_kept=is_kept,
        )

    def _write(self, ledger: Ledger, state: str) -> Json:
        summary = self._describe(ledger, state)
        if self.job.parallel.rank == 0:
            write_json(self.out / RUN, summary)
        dist.barrier()
        return summary

    def _describe(self, ledger: Ledger, state: str) -> Json:
        job, source = self.job, self.inputs.train
        return {
            "state": state,
            "recipe": job.recipe.model_dump(mode="json"),
            "inputs": {
                "name": self.named.build,
                "shards": self.inputs.shards.manifest.id,
                "tokenizer": self.inputs.tokenizer.manifest.id,
                "dataset": self.inputs.shards.manifest.inputs.get("dataset"),
            },
            "init_from": self.named.init_from,
            "shape": asdict(job.encoder.shape),
            "num_parameters": count_parameters(job.encoder.shape),
            "packing": {
                "num_rows": source.num_rows,
                "num_tokens": source.num_tokens,
                "efficiency": source.plan.efficiency,
            },
            "phases": asdict(job.phases),
            "rows_per_step": job.rows_per_step,
            "progress": asdict(ledger),
            "cost": describe_cost(ledger, job.parallel, job.peak),
            "evaluation": self.evaluation,
            "checkpoint": self.checkpoint and self.checkpoint.relative_to(self.out).as_posix(),
            "versions": {package: version(package) for package in TOOLCHAIN},
        }


def describe_cost(ledger: Ledger, parallel: Parallel, peak: float) -> Json:
    """Return the cost ledger: on what a run has run so far, how long, and what it has done there.

    Seconds are those of all steps with what came between them, over all times it was resumed; steps
    that a kill undid are not counted.
    """
    device_seconds = ledger.seconds * parallel.world_size
    return {
        "device": describe_device(parallel.device),
        "num_devices": parallel.world_size,
        "seconds": ledger.seconds,
        "device_hours": device_seconds / 3_600,
        "tokens": ledger.tokens,
        "flops": ledger.flops,
        "peak_flops": peak,
        "mfu": ledger.flops / device_seconds / peak if device_seconds else None,
    }
