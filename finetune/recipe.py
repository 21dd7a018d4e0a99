"""The recipe of a fine-tuning: one benchmark, and the models that are compared on it.

[card]        name, title, summary, languages
[task]        which benchmark, what of it is read, what is to be found
[input]       how much of a text a model sees, and of how much of train it learns
[training]    of encoders and decoders: the grid, the seeds, when to stop
[lora]        of decoders
[zero_shot]   how a chat model is asked, and what it may cost
[[models]]    what is compared, in the order of the report
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from corpus.recipe import CardSection, Count, Section, check_recipe, read_recipe

ModelKind = Literal[
    "majority",
    "metadata",
    "markup",
    "tfidf",
    "gazetteer",
    "window",
    "encoder",
    "decoder",
    "zero_shot",
]
# Of models of transformers: what `path` names.
PATH_KINDS = ("encoder", "decoder")
SEQUENCE_KINDS = ("majority", "metadata", "markup", "tfidf", "encoder", "decoder", "zero_shot")
TOKEN_KINDS = ("majority", "gazetteer", "window", "encoder")
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class TaskSection(Section):
    """A benchmark by its name in the store; `form` is the column that is read.

    `raw_text` is the leaking form of published sets, to be shown beside `text`. `target` is
    `reason` for why a question was closed. `types` is the list of entity types.
    """

    benchmark: str
    form: Literal["text", "raw_text"] = "text"
    target: Literal["label", "reason"] = "label"
    types: Literal["loader", "paper"] = "loader"


class InputSection(Section):
    """What a model sees: at most `max_tokens` of a text, the special ones counted.

    Of a longer text `keep` stays: its start, its end, or half of each. `train_share` is the share
    of train's leakage groups that is learnt from; a smaller one is part of a larger.
    """

    max_tokens: Annotated[int, Field(ge=8, le=8_192)] = 512
    keep: Literal["start", "end", "both"] = "start"
    train_share: Share = 1.0


class TrainingSection(Section):
    """AdamW with warm-up and linear decay; stops `patience` epochs after the best on validation.

    Of `learning_rates` the one whose model is best on validation is taken, for every seed anew.
    `balanced` class weights are those of scikit-learn: rows / (classes * rows of the class).
    """

    epochs: Count = 5
    batch_size: Count = 16
    learning_rates: Annotated[list[Positive], Field(min_length=1)] = [5e-5]
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    class_weights: Literal["none", "balanced"] = "none"
    patience: Count = 2
    seeds: Annotated[list[Seed], Field(min_length=1)] = [1]
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class LoraSection(Section):
    """Low-rank adapters on the named linear layers of a decoder; none named: on all of them."""

    rank: Count = 8
    alpha: Count = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: list[str] = []


class ZeroShotSection(Section):
    """A chat model behind an endpoint; prices in dollars per million tokens.

    `prompt` holds {labels} and {text}. Asking stops before `budget_dollars` is passed.
    """

    endpoint: str = "http://localhost:8000/v1"
    model: str = ""
    prompt: str = (
        "Which of these labels fits the post below: {labels}? "
        "Answer with the label alone.\n\n{text}"
    )
    price_in: Annotated[float, Field(ge=0)] = 0.0
    price_out: Annotated[float, Field(ge=0)] = 0.0
    budget_dollars: Annotated[float, Field(ge=0)] = 1.0


class ModelEntry(Section):
    """One that is compared. `path` is a folder, or a name of the Hub that is in the local cache.

    `random` draws the weights anew: the same architecture without what it learnt before.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    kind: ModelKind
    path: str | None = None
    weights: Literal["pretrained", "random"] = "pretrained"

    @pydantic.model_validator(mode="after")
    def _path_where_there_is_a_model(self) -> Self:
        if (self.path is not None) != (self.kind in PATH_KINDS):
            said = "missing" if self.path is None else "given"
            raise ValueError(f"path is {said}; encoder and decoder have one, no other kind has")
        return self


class FinetuneRecipe(Section):
    """A whole recipe file."""

    card: CardSection
    task: TaskSection
    input: InputSection = InputSection()
    training: TrainingSection = TrainingSection()
    lora: LoraSection = LoraSection()
    zero_shot: ZeroShotSection = ZeroShotSection()
    models: Annotated[list[ModelEntry], Field(min_length=1)]

    @pydantic.model_validator(mode="after")
    def _names_differ(self) -> Self:
        twice = sorted(
            name for name, num in Counter(one.name for one in self.models).items() if num > 1
        )
        if twice:
            raise ValueError(f"models have the same name: {', '.join(twice)}; give each its own")
        return self


def load_finetune_recipe(path: Path) -> FinetuneRecipe:
    """Read a recipe file.

    Raises:
        RecipeError: not readable, not TOML, an unknown key, a value out of range.
    """
    return read_recipe(path, FinetuneRecipe)


def parse_finetune_recipe(content: dict[str, Any], where: str = "recipe") -> FinetuneRecipe:
    """Check parsed TOML against the schema.

    Raises:
        RecipeError: names the dotted path of every key that is wrong, on one line.

    >>> card = {"name": "x", "title": "X", "summary": ""}
    >>> content = {"card": card, "task": {"benchmark": "b"}}
    >>> content["models"] = [{"name": "most", "kind": "majority"}]
    >>> parse_finetune_recipe(content).task.form
    'text'
    """
    return check_recipe(content, FinetuneRecipe, where)
