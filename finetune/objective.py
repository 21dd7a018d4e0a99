"""What is minimised on train, what a model is chosen by on validation, and when training ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score

from corpus.errors import BadValue
from finetune.recipe import TrainingSection
from finetune.tasks import Kind, TaskData
from labeling.entities import bio_to_spans

# Shapes: B inputs of a batch, S tokens of the longest, L labels.

Array = np.ndarray[Any, Any]

METRIC_BY_KIND: dict[Kind, str] = {"sequence": "macro_f1", "token": "entity_f1"}


def is_over(scores: Sequence[float], training: TrainingSection) -> bool:
    """Tell whether training ends after these epochs' scores on validation.

    >>> training = TrainingSection(epochs=9, patience=2)
    >>> [is_over(scores, training) for scores in ([], [0.5, 0.4], [0.5, 0.5, 0.4])]
    [False, False, True]
    """
    if not scores:
        return False
    num_since_best = len(scores) - 1 - list(scores).index(max(scores))
    return len(scores) >= training.epochs or num_since_best >= training.patience


def measure_score(task: TaskData, gold: Sequence[Any], predicted: Sequence[Any]) -> float:
    """Return what models are chosen by: macro F1 of sequences, F1 of entities.

    Raises:
        BadValue: there is no entity in `gold`: nothing can be chosen.
    """
    if task.kind == "sequence":
        return float(f1_score(gold, predicted, average="macro", zero_division=0.0))
    found = [
        (set(bio_to_spans(tags)), set(bio_to_spans(guessed)))
        for tags, guessed in zip(gold, predicted, strict=True)
    ]
    num_gold = sum(len(entities) for entities, _ in found)
    if not num_gold:
        raise BadValue(
            f"validation of {task.benchmark!r} has no entity of the types of the task, so no model "
            "can be chosen on it; give a benchmark with some, or other task.types"
        )
    num_right = sum(len(entities & guessed) for entities, guessed in found)
    return 2 * num_right / (num_gold + sum(len(guessed) for _, guessed in found))


def weigh_classes(codes: Array, num_labels: int) -> torch.Tensor:
    """Return the balanced weights of scikit-learn: rows / (classes * rows of the class).

    Args:
        codes: int, the labels that are learnt from.
        num_labels: of the task; those that `codes` has not count as no classes, and weigh nothing.

    Returns:
        float32, shape (num_labels,).

    >>> weigh_classes(np.array([0, 0, 0, 2]), 3).tolist()
    [0.6666666865348816, 0.0, 2.0]
    """
    counts = np.bincount(codes, minlength=num_labels)
    weights = len(codes) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.tensor(np.where(counts, weights, 0.0), dtype=torch.float32)


def make_loss(weights_L: torch.Tensor | None) -> Callable[..., torch.Tensor]:
    """Return cross-entropy in float32 over all labels of a batch, as Trainer calls it."""

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        logits = outputs.logits.float().flatten(0, -2)
        weight = None if weights_L is None else weights_L.to(logits.device)
        return torch.nn.functional.cross_entropy(logits, labels.flatten(), weight=weight)

    return loss
