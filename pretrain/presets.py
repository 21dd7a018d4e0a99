"""The shapes of the encoders: presets, what a recipe overrules in them, how many parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from corpus.errors import RecipeError
from pretrain.recipe import Family, ModelSection

# The vocabulary is padded up to a multiple of this, whatever the tensor parallelism, so that a
# checkpoint has the same shape however it was trained; 50,048 is one already.
VOCABULARY_MULTIPLE = 128
ROTARY_BASE = 10_000.0


class Preset(NamedTuple):
    """What a preset fixes; the feed-forward width of `modern` holds as many weights in three
    matrices as that of `classic` in two.
    """

    num_layers: int
    hidden_size: int
    num_heads: int
    classic_ffn_size: int
    modern_ffn_size: int


PRESETS = {
    "tiny": Preset(2, 128, 2, 512, 344),
    "small": Preset(6, 384, 6, 1_536, 1_024),
    "base": Preset(12, 768, 12, 3_072, 2_048),
    "large": Preset(24, 1_536, 16, 6_144, 4_096),
}
MAX_POSITIONS = 2_048


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Everything that decides an encoder's weights and its function.

    Args:
        vocabulary_size: padded; ids from the tokenizer's own size on never occur.
        max_positions: the longest document; `classic` learns a vector for each position.
        dropout: of embeddings, of attention and of hidden states.
        rotary_base: of `modern`; its slowest pair turns once in 2 pi times as many positions.
    """

    family: Family
    num_layers: int
    hidden_size: int
    num_heads: int
    ffn_size: int
    max_positions: int
    vocabulary_size: int
    dropout: float
    norm_epsilon: float
    initial_std: float
    rotary_base: float = ROTARY_BASE

    @property
    def head_width(self) -> int:
        """The channels of one attention head."""
        return self.hidden_size // self.num_heads


def make_shape(section: ModelSection, vocabulary_size: int) -> ModelShape:
    """The preset of a recipe, with what the recipe overrules.

    Args:
        section: `[model]` of the recipe.
        vocabulary_size: of the tokenizer; padded up to a multiple of `VOCABULARY_MULTIPLE`.

    Raises:
        RecipeError: the heads do not divide the hidden size, or into an odd width where positions
            are rotary.

    >>> make_shape(ModelSection(preset="base"), 50_000).vocabulary_size
    50048
    >>> make_shape(ModelSection(preset="tiny", num_heads=3), 1_000)
    Traceback (most recent call last):
    corpus.errors.RecipeError: model.num_heads is 3; it must divide model.hidden_size, 128
    """
    preset = PRESETS[section.preset]
    modern = section.family == "modern"
    shape = ModelShape(
        family=section.family,
        num_layers=section.num_layers or preset.num_layers,
        hidden_size=section.hidden_size or preset.hidden_size,
        num_heads=section.num_heads or preset.num_heads,
        ffn_size=section.ffn_size
        or (preset.modern_ffn_size if modern else preset.classic_ffn_size),
        max_positions=section.max_positions or MAX_POSITIONS,
        vocabulary_size=-(-vocabulary_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE,
        dropout=section.dropout,
        norm_epsilon=section.norm_epsilon,
        initial_std=section.initial_std,
    )
    if shape.hidden_size % shape.num_heads:
        raise RecipeError(
            f"model.num_heads is {shape.num_heads}; it must divide model.hidden_size, "
            f"{shape.hidden_size}"
        )
    if modern and shape.head_width % 2:
        raise RecipeError(
            f"a head of model.hidden_size {shape.hidden_size} is {shape.head_width} wide; "
            "rotary positions need an even width"
        )
    return shape


def count_parameters(shape: ModelShape) -> int:
    """How many weights an encoder has, its masked-LM head included, tied weights once.

    >>> count_parameters(make_shape(ModelSection(preset="base"), 50_048))
    125707904
    """
    h, f, v = shape.hidden_size, shape.ffn_size, shape.vocabulary_size
    if shape.family == "modern":
        return v * h + shape.num_layers * (4 * h * h + 3 * h * f + 2 * h) + h
    attention = 4 * h * h + 4 * h
    mlp = 2 * h * f + f + h
    head = h * h + h + 2 * h + v
    return (
        (v + shape.max_positions) * h + shape.num_layers * (attention + mlp + 4 * h) + 2 * h + head
    )
