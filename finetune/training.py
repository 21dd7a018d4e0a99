"""Encoders and decoders, trained on a task by the Trainer of `transformers`.

    working/rate-<number>/checkpoint-<step>/   of an epoch's end: the newest one, and the best one
    working/rate-<number>/finished.json        what a learning rate that is through has come to

`rate-0` is the recipe's first learning rate. A unit that was killed goes on from the newest whole
checkpoint, and says what it would have said: weights, optimiser and all random states are in it.
Rates, epochs and nothing else are chosen on validation.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from corpus.durable import write_json
from corpus.errors import RecipeError
from corpus.manifest import Json
from corpus.progress import Reporter, advance
from finetune.encoding import collate, make_rows
from finetune.fitting import Ask, Fitted, Predicted
from finetune.job import (
    Job,
    label_rows,
    prepare_job,
    read_answers,
    read_logits,
    score_answers,
    sort_rows,
)
from finetune.metrics import MAIN_METRIC
from finetune.objective import is_over, make_loss, weigh_classes
from finetune.pretrained import add_adapters, load_adapters, open_model, quiet_transformers
from finetune.recipe import TrainingSection
from finetune.tasks import TaskData
from pretrain.devices import describe_device

FINISHED, STATE, OPTIMISER = "finished.json", "trainer_state.json", "optimizer.pt"


def fit_pretrained(task: TaskData, ask: Ask) -> Fitted:
    """Train a model on train, by every learning rate, and let the best on validation predict.

    Args:
        task: sequences, or tokens where the model is an encoder.
        ask: whose entry is an encoder or a decoder.

    Returns:
        Predictions of all splits but train; of sequences with probabilities. Figures:
        `num_parameters`, `num_trained_parameters`; `learning_rate`, the one chosen; `metric`, and
        `curve`: a row {learning_rate, epoch, score} for every epoch, the score on validation;
        `max_tokens` and `keep`; `num_cut` by split; `device`, `precision`; `num_tokens_seen` and
        `training_seconds`, both of all learning rates.

    Raises:
        StoreError: the model is not there, or cannot do this.
        RecipeError: it was trained to no numbers at all, or a layer for adapters is not there.
        BadValue: validation has no entity to choose a model by.
    """
    with quiet_transformers():
        job = prepare_job(task, ask)
        rates = range(len(ask.recipe.training.learning_rates))
        finished = [_train_rate(job, number) for number in rates]
        best = max(rates, key=lambda number: max(finished[number]["scores"]))
        trainer = _make_trainer(job, best, _load_best(job, best, finished[best]["best_step"]))
        predicted = {
            split: _predict(job, trainer, split) for split in task.splits if split != "train"
        }
    return Fitted(predicted, _describe(job, finished, best, trainer))


# Training ------------------------------------------------------------------------------------


def _train_rate(job: Job, number: int) -> Json:
    """Train by one learning rate, or what is left of it."""
    folder = _folder(job, number)
    if (folder / FINISHED).is_file():
        done: Json = json.loads((folder / FINISHED).read_bytes())
        return done
    training, rate = job.ask.recipe.training, job.ask.recipe.training.learning_rates[number]
    model = _open(job)
    if job.ask.entry.kind == "decoder":
        model = add_adapters(model, job.ask.recipe.lora)
    newest, state = _find_newest(folder)
    if state is None or not is_over(_read_scores(state), training):
        trainer = _make_trainer(job, number, model)
        with job.ask.reporter.bar(f"rate {rate:g}", trainer.args.max_steps, "steps"):
            trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        state = trainer.state
    finished = {
        "learning_rate": rate,
        "scores": _read_scores(state),
        "best_step": state.best_global_step,
        "num_trained_parameters": sum(one.numel() for one in _trained(model)),
        "num_tokens_seen": int(state.num_input_tokens_seen),
        "seconds": _read_seconds(state),
    }
    write_json(folder / FINISHED, finished)
    # Twice the size of the weights, and of no use any more.
    (folder / f"checkpoint-{state.best_global_step}" / OPTIMISER).unlink(missing_ok=True)
    return finished


def _make_trainer(job: Job, number: int, model: Any) -> Any:
    training = job.ask.recipe.training
    rows = [row for row in label_rows(job, "train") if np.any(np.array(row["labels"]) >= 0)]
    num_steps = training.epochs * math.ceil(len(rows) / training.batch_size)
    arguments = TrainingArguments(
        output_dir=str(_folder(job, number)),
        max_steps=num_steps,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.batch_size,
        learning_rate=training.learning_rates[number],
        weight_decay=training.weight_decay,
        optim="adamw_torch",
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(training.warmup_share * num_steps),
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        metric_for_best_model="score",
        greater_is_better=True,
        logging_strategy="no",
        include_num_input_tokens_seen="non_padding",
        seed=job.ask.seed,
        bf16=_uses_bfloat16(training),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        report_to="none",
    )
    # Of several devices one is used: more would make batches larger than the recipe's.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    weights = None
    if training.class_weights == "balanced":
        codes = np.concatenate([np.atleast_1d(row["labels"]) for row in rows])
        weights = weigh_classes(codes[codes >= 0], len(job.task.labels))
    trainer = _Trainer(
        model=model,
        args=arguments,
        data_collator=partial(collate, pad_id=job.pad_id),
        train_dataset=rows,
        eval_dataset=sort_rows(job, "validation", label_rows(job, "validation")),
        compute_loss_func=make_loss(weights),
        compute_metrics=lambda given: {"score": score_answers(job, given.predictions)},
        preprocess_logits_for_metrics=read_logits,
        callbacks=[_Watch(training, job.ask.reporter)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Trainer(Trainer):  # type: ignore[misc]  # transformers has no types
    """Trainer that evaluates in the order of the rows; its own groups these by length, too."""

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        return self.get_test_dataloader(self.eval_dataset if eval_dataset is None else eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        loader = torch.utils.data.DataLoader(
            test_dataset, self.args.eval_batch_size, collate_fn=self.data_collator
        )
        # One that accelerate does not know of would be cut as the last batch of train is.
        return self.accelerator.prepare(loader)


class _Watch(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Ends training in time, and keeps the seconds that it took beside each score."""

    def __init__(self, training: TrainingSection, reporter: Reporter) -> None:
        self.training = training
        self.reporter = reporter
        self.begun = self.before = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.begun, self.before = time.perf_counter(), _read_seconds(state)
        advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        advance(1)

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        state.log_history[-1]["seconds"] = self.before + time.perf_counter() - self.begun
        scores = _read_scores(state)
        control.should_training_stop = is_over(scores, self.training)
        if self.reporter.draws:
            self.reporter.say(f"  epoch {len(scores)}: {scores[-1]:.4f} on validation")


def _find_newest(folder: Path) -> tuple[Path | None, Any]:
    """Return the newest whole checkpoint and its state: the file that is written last."""
    found = folder.glob("checkpoint-*")
    for path in sorted(found, key=lambda one: int(one.name.rpartition("-")[2]), reverse=True):
        try:
            return path, TrainerState.load_from_json(str(path / STATE))
        except (OSError, ValueError):
            continue  # killed while it was written
    return None, None


def _read_scores(state: Any) -> list[float]:
    return [row["eval_score"] for row in state.log_history if "eval_score" in row]


def _read_seconds(state: Any) -> float:
    return max((row["seconds"] for row in state.log_history if "seconds" in row), default=0.0)


def _open(job: Job, folder: Path | None = None) -> Any:
    """Return the model before training, or as it was saved in a folder."""
    # What is frozen needs no more digits than are computed with.
    is_half = job.ask.entry.kind == "decoder" and _uses_bfloat16(job.ask.recipe.training)
    return open_model(
        job.path if folder is None else str(folder),
        job.task.kind,
        job.task.labels,
        seed=job.ask.seed,
        pad_id=job.pad_id,
        weights=job.ask.entry.weights if folder is None else "pretrained",
        dtype=torch.bfloat16 if is_half else torch.float32,
    )


def _load_best(job: Job, number: int, step: int) -> Any:
    """Return the model as it was after its best epoch."""
    folder = _folder(job, number) / f"checkpoint-{step}"
    if job.ask.entry.kind == "decoder":
        return load_adapters(_open(job), folder)
    return _open(job, folder)


def _folder(job: Job, number: int) -> Path:
    return job.ask.working / f"rate-{number}"


def _trained(model: Any) -> list[torch.nn.Parameter]:
    return [one for one in model.parameters() if one.requires_grad]


def _uses_bfloat16(training: TrainingSection) -> bool:
    if training.precision == "float32" or not torch.cuda.is_available():
        return False
    return training.precision == "bfloat16" or torch.cuda.is_bf16_supported()


# Predictions ---------------------------------------------------------------------------------


def _predict(job: Job, trainer: Any, split: str) -> Predicted:
    answers = trainer.predict(sort_rows(job, split, make_rows(job.encoded[split]))).predictions
    if not np.isfinite(answers).all():
        raise RecipeError(
            f"model {job.ask.entry.name!r} came to no numbers at all; give it a smaller learning "
            "rate in training.learning_rates"
        )
    return read_answers(job, split, answers)


def _describe(job: Job, finished: Sequence[Json], best: int, trainer: Any) -> Json:
    return {
        "num_parameters": sum(one.numel() for one in trainer.model.parameters()),
        "num_trained_parameters": finished[best]["num_trained_parameters"],
        "learning_rate": finished[best]["learning_rate"],
        "metric": MAIN_METRIC[job.task.kind],
        "curve": [
            {"learning_rate": one["learning_rate"], "epoch": epoch, "score": score}
            for one in finished
            for epoch, score in enumerate(one["scores"], 1)
        ],
        "max_tokens": job.max_tokens,
        "keep": job.ask.recipe.input.keep,
        "num_cut": {split: int(one.num_cut.sum()) for split, one in job.encoded.items()},
        "device": describe_device(trainer.args.device),
        "precision": "bfloat16" if trainer.args.bf16 else "float32",
        "num_tokens_seen": sum(one["num_tokens_seen"] for one in finished),
        "training_seconds": sum(one["seconds"] for one in finished),
    }
