"""A task as the inputs of one model, in batches of equal lengths, and the model's answers back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from corpus.errors import BadValue, StoreError
from finetune.choosing import score_validation
from finetune.encoding import Encoded, encode_sentences, encode_texts, make_rows, read_tags
from finetune.fitting import Ask, Predicted
from finetune.pretrained import Limits, open_tokenizer, read_limits
from finetune.tasks import OUTSIDE, TaskData

# Shapes: B inputs of a batch, S tokens of the longest, L labels.

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What one unit is trained on: the task as inputs, at most `max_tokens` each."""

    task: TaskData
    ask: Ask
    encoded: dict[str, Encoded]
    max_tokens: int
    pad_id: int

    @property
    def path(self) -> str:
        """Where the model is."""
        return str(self.ask.entry.path)


def prepare_job(task: TaskData, ask: Ask) -> Job:
    """Tokenise all splits of a task for a model.

    Raises:
        StoreError: the model is not there, or cannot do this; its tokenizer is another model's.
        BadValue: it has no room for anything but special tokens; or validation has no entity.
    """
    _check_validation(task)
    path = str(ask.entry.path)
    limits, tokenizer = read_limits(path), open_tokenizer(path)
    keep, max_tokens = ask.recipe.input.keep, ask.recipe.input.max_tokens
    if limits.max_tokens is not None and limits.max_tokens < max_tokens:
        max_tokens = limits.max_tokens
        ask.reporter.say(f"{ask.entry.name} has {max_tokens:,} positions: no input is longer")
    # Any: of texts the one takes strings, the other lists of them.
    encode: Any = encode_texts if task.kind == "sequence" else encode_sentences
    column = "text" if task.kind == "sequence" else "tokens"
    encoded = {
        split: encode(tokenizer, table[column].to_pylist(), max_tokens=max_tokens, keep=keep)
        for split, table in task.splits.items()
    }
    _check_ids(path, encoded, limits, tokenizer.pad_token_id)
    return Job(task, ask, encoded, max_tokens, tokenizer.pad_token_id)


def label_rows(job: Job, split: str) -> list[dict[str, Any]]:
    """Return the rows of a split with their labels, in order of the examples."""
    code_by_label = {label: code for code, label in enumerate(job.task.labels)}
    given = job.task.splits[split]["label"].to_pylist()
    if job.task.kind == "sequence":
        return make_rows(job.encoded[split], [code_by_label[one] for one in given])
    return make_rows(job.encoded[split], [[code_by_label[tag] for tag in tags] for tags in given])


def sort_rows(job: Job, split: str, rows: Sequence[Any]) -> list[Any]:
    """Put the rows of a split in order of their length: batches of equals need little padding."""
    return [rows[number] for number in job.encoded[split].order().tolist()]


def read_logits(logits: Any, labels: Any = None) -> torch.Tensor:
    """Return what is kept of a batch's logits, as Trainer asks for it.

    Args:
        logits: shape (B, L) of sequences, (B, S, L) of tokens; or a tuple that begins with them.
        labels: not looked at.

    Returns:
        Of sequences probabilities, float32, shape (B, L); of tokens codes, int64, shape (B, S).

    >>> read_logits(torch.zeros(1, 4)).tolist(), read_logits(torch.eye(2)[None]).tolist()
    ([[0.25, 0.25, 0.25, 0.25]], [[0, 1]])
    """
    logits = logits[0] if isinstance(logits, tuple) else logits
    is_sequence = logits.ndim == 2
    kept: torch.Tensor = logits.float().softmax(-1) if is_sequence else logits.argmax(-1)
    return kept


def read_answers(job: Job, split: str, sorted_answers: Array) -> Predicted:
    """Return what a model says of a split.

    Args:
        job: of the model.
        split: whose rows it was given, as `sort_rows` orders them.
        sorted_answers: of all rows, as `read_logits` gives them.
    """
    encoded = job.encoded[split]
    answers = np.empty_like(sorted_answers)
    answers[encoded.order()] = sorted_answers
    if job.task.kind == "token":
        tags = read_tags(encoded, answers, job.task.labels)
        return Predicted(tags, None, encoded.num_tokens, encoded.num_cut)
    labels = [job.task.labels[code] for code in answers.argmax(1).tolist()]
    return Predicted(labels, answers, encoded.num_tokens, encoded.num_cut)


def score_answers(job: Job, sorted_answers: Array) -> float:
    """Return the main metric of a model's answers on validation."""
    return score_validation(job.task, read_answers(job, "validation", sorted_answers).labels)


def _check_validation(task: TaskData) -> None:
    """Raise BadValue where no model can be chosen on validation."""
    tags = {tag for tags in task.splits["validation"]["label"].to_pylist() for tag in tags}
    if task.kind == "token" and tags <= {OUTSIDE}:
        raise BadValue(
            f"validation of {task.benchmark!r} has no entity of the types of the task, so no model "
            "can be chosen on it; give a benchmark with some, or other task.types"
        )


def _check_ids(path: str, encoded: dict[str, Encoded], limits: Limits, pad_id: int) -> None:
    largest = max(int(ids.max()) for one in encoded.values() for ids in one.ids)
    if max(largest, pad_id) >= limits.num_ids:
        raise StoreError(
            f"the tokenizer of model {path!r} gives id {max(largest, pad_id)}, the model knows "
            f"{limits.num_ids:,} ids; give one whose tokenizer and weights belong together"
        )
