"""The recipe of a pretraining run: one TOML file, read as strictly as a corpus's.

[card]       name, title, summary, languages: of the model
[model]      preset and family; what a preset says can be overruled key by key
[data]       how documents are packed into rows
[masking]    which tokens are to be guessed
[optimiser]  AdamW and the schedule of its learning rate
[run]        how long, in which batches, how often it is saved
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from corpus.recipe import (
    CardSection,
    Count,
    Fraction,
    Section,
    check_recipe,
    read_recipe,
)

Preset = Literal["tiny", "small", "base", "large"]
Family = Literal["classic", "modern"]
Positive = Annotated[float, Field(gt=0)]


class ModelSection(Section):
    """The encoder. A key that is null has the preset's value.

    `classic` is that of the paper (learned positions, GELU, LayerNorm, biases; to MegatronBert),
    `modern` has rotary positions, a gated MLP, RMSNorm and no biases (to EuroBERT).
    """

    preset: Preset = "tiny"
    family: Family = "classic"
    num_layers: Count | None = None
    hidden_size: Count | None = None
    num_heads: Count | None = None
    ffn_size: Count | None = None
    max_positions: Count | None = None
    dropout: Fraction = 0.1
    norm_epsilon: Positive = 1e-5
    initial_std: Positive = 0.02


class DataSection(Section):
    """Rows of `row_tokens`, each of whole documents `[CLS] ... [SEP]` packed by seeded best fit.

    A document that is longer is cut into windows; every token of it is in exactly one.
    """

    row_tokens: Annotated[int, Field(ge=16, lt=2**16)] = 2_048
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1


class MaskingSection(Section):
    """Which tokens are hidden: a share of all that are not special, whole words at a time.

    From `decay_fraction` of the run on (WSD's decay), `decay_rate` is used instead, where given.
    """

    rate: Fraction = 0.15
    decay_rate: Fraction | None = None
    whole_words: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1


class OptimiserSection(Section):
    """AdamW, and a learning rate that warms up and then falls."""

    learning_rate: Positive = 5e-4
    final_fraction: Fraction = 0.1
    schedule: Literal["cosine", "linear", "wsd"] = "cosine"
    warmup_fraction: Fraction = 0.02
    decay_fraction: Fraction = 0.1
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.98]
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    max_grad_norm: Positive = 1.0


class RunSection(Section):
    """How long and how: `num_tokens` are real ones, padding not counted."""

    num_tokens: Annotated[int, Field(ge=1, lt=2**63)] = 1_000_000
    batch_tokens: Annotated[int, Field(ge=1, lt=2**40)] = 524_288
    micro_batch_rows: Count = 1
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    save_every_steps: Count = 100
    keep_checkpoints: Count = 2
    evaluate_every_steps: Count = 100
    evaluate_rows: Count = 64
    tensor_parallel: Count = 1
    data_parallel: Literal["ddp", "fsdp"] = "ddp"


class PretrainRecipe(Section):
    """A whole recipe file."""

    card: CardSection
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    masking: MaskingSection = MaskingSection()
    optimiser: OptimiserSection = OptimiserSection()
    run: RunSection = RunSection()

    @pydantic.model_validator(mode="after")
    def _rows_fit(self) -> Self:
        positions = self.model.max_positions
        if positions is not None and positions < self.data.row_tokens:
            raise ValueError(
                f"data.row_tokens is {self.data.row_tokens}; it must be at most "
                f"model.max_positions, {positions}"
            )
        return self


def load_pretrain_recipe(path: Path) -> PretrainRecipe:
    """Read a recipe file.

    Raises:
        RecipeError: not readable, not TOML, an unknown key, a value out of range.
    """
    return read_recipe(path, PretrainRecipe)


def parse_pretrain_recipe(content: dict[str, Any], where: str = "recipe") -> PretrainRecipe:
    """Check parsed TOML against the schema.

    Raises:
        RecipeError: names the dotted path of every key that is wrong, on one line.

    >>> card = {"name": "x", "title": "X", "summary": ""}
    >>> parse_pretrain_recipe({"card": card, "model": {"layers": 2}}, "x")
    Traceback (most recent call last):
    corpus.errors.RecipeError: x: model.layers is an unknown key; remove it or check its spelling
    """
    return check_recipe(content, PretrainRecipe, where)
