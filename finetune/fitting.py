"""What every model of a comparison is: a function from a task to what it says of the examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corpus.manifest import Json
from corpus.progress import Reporter
from finetune.recipe import FinetuneRecipe, ModelEntry
from finetune.tasks import TaskData

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a model, besides the task.

    Args:
        recipe: whole.
        entry: the model's.
        seed: of all that is random.
        working: a folder of its own, which may not be there yet; kept from one try to the next, so
            that a model that was killed can go on; removed once the unit is finished.
        reporter: for the terminal.
    """

    recipe: FinetuneRecipe
    entry: ModelEntry
    seed: int
    working: Path
    reporter: Reporter


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What a model says of the examples of one split, in their order.

    Args:
        labels: one label an example, or a list of tags; None: no answer that could be read.
        probabilities: float32, shape (num_examples, num_labels), rows sum to 1; None: it has none.
        num_tokens: int32, shape (num_examples,): of the whole input; None: it has no tokens.
        num_cut: int32, shape (num_examples,): how many of these it did not see.
    """

    labels: Sequence[str | Sequence[str] | None]
    probabilities: Array | None = None
    num_tokens: Array | None = None
    num_cut: Array | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """One model, trained or asked once.

    Args:
        predicted: by split: of all splits of the task but train.
        figures: what `result.json` says of it besides: seconds, num_parameters, learning_rate,
            curve, dollars, tokens, unparsable ..., all JSON.
        attachments: files that are kept beside the predictions, by their names.
    """

    predicted: dict[str, Predicted]
    figures: Json = field(default_factory=dict)
    attachments: tuple[Path, ...] = ()


def to_list(label: str | Sequence[str] | None) -> list[str] | None:
    """Return a label, or a list of tags, as predictions keep it: one form for both kinds of task.

    >>> to_list("HQ"), to_list(["O", "B-Class"]), to_list(None)
    (['HQ'], ['O', 'B-Class'], None)
    """
    if label is None:
        return None
    return [label] if isinstance(label, str) else list(label)


Fit = Callable[[TaskData, Ask], Fitted]
