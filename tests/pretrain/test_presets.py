from __future__ import annotations

import pytest
import torch

from corpus.errors import RecipeError
from pretrain.model import build_encoder
from pretrain.parallel import Parallel
from pretrain.presets import count_parameters, make_shape
from pretrain.recipe import Family, ModelSection, Preset

VOCABULARY = 50_048


@pytest.mark.parametrize(
    ("preset", "family", "millions"),
    [
        ("tiny", "classic", 7.1),
        ("small", "classic", 30.9),
        ("base", "classic", 125.7),
        ("large", "classic", 762.4),
        ("tiny", "modern", 6.8),
        ("small", "modern", 29.8),
        ("base", "modern", 123.4),
        ("large", "modern", 756.4),
    ],
)
def test_a_preset_has_as_many_parameters_as_it_says(
    preset: Preset, family: Family, millions: float, parallel: Parallel
) -> None:
    shape = make_shape(ModelSection(preset=preset, family=family), VOCABULARY)
    encoder = build_encoder(shape, dtype=torch.float32, device="meta", seed=1)
    assert all(weight.is_meta for weight in encoder.parameters())
    assert count_parameters(shape) == sum(weight.numel() for weight in encoder.parameters())
    assert round(count_parameters(shape) / 1e6, 1) == millions


def test_the_large_preset_without_its_output_bias_is_that_of_the_issue() -> None:
    shape = make_shape(ModelSection(preset="large"), VOCABULARY)
    assert round((count_parameters(shape) - VOCABULARY) / 1e6, 1) == 762.3


def test_what_the_recipe_says_overrules_the_preset() -> None:
    section = ModelSection(preset="base", num_layers=3, hidden_size=96, num_heads=4, ffn_size=200)
    shape = make_shape(section, 1_000)
    assert (shape.num_layers, shape.hidden_size, shape.num_heads, shape.ffn_size) == (3, 96, 4, 200)
    assert (shape.max_positions, shape.head_width, shape.dropout) == (2_048, 24, 0.1)


@pytest.mark.parametrize(("size", "padded"), [(1, 128), (128, 128), (129, 256), (50_048, 50_048)])
def test_a_vocabulary_is_padded_up(size: int, padded: int) -> None:
    assert make_shape(ModelSection(), size).vocabulary_size == padded


def test_rotary_positions_refuse_an_odd_width() -> None:
    section = ModelSection(family="modern", hidden_size=30, num_heads=6)
    with pytest.raises(RecipeError, match="5 wide; rotary positions need an even width"):
        make_shape(section, 1_000)
    assert make_shape(section.model_copy(update={"family": "classic"}), 1_000).head_width == 5
