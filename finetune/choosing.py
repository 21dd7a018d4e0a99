"""What models are chosen by: the main metric of what they say of validation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa

from finetune.fitting import to_list
from finetune.metrics import MAIN_METRIC, score
from finetune.tasks import TaskData


def score_validation(task: TaskData, labels: Sequence[str | Sequence[str] | None]) -> float:
    """Return the main metric of labels of the validation split, in its order.

    Args:
        task: of either kind.
        labels: a label an example, or a list of tags; None: no answer.

    Returns:
        The metric; minus infinity where it is undefined, so that any other is better.

    Raises:
        BadValue: a label that is not of the task, or more or fewer tags than tokens.
    """
    examples = task.splits["validation"]
    table = pa.table(
        {
            "example_id": examples["example_id"],
            "group": examples["group"],
            "gold": [to_list(one) for one in examples["label"].to_pylist()],
            "predicted": [to_list(one) for one in labels],
            "probabilities": pa.nulls(len(examples), pa.list_(pa.float32())),
        }
    )
    value = score([table], task.labels, task.kind, resamples=0)[MAIN_METRIC[task.kind]].value
    return -math.inf if value is None else value
