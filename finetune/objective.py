"""What is minimised on train, and when training ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from finetune.recipe import TrainingSection

# Shapes: B inputs of a batch, S tokens of the longest, L labels.

Array = np.ndarray[Any, Any]


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
