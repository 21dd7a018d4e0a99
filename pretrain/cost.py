"""What training costs: FLOPs of a step, memory, and the plan of a run.

Counted are the FLOPs that the mathematics of the model needs, a multiply and an add as two; what a
kernel repeats or pads is no use and is not counted. MFU, the model FLOPs utilisation, is that count
over what the device could have done at its peak in the same time.

Source: Chowdhery et al., PaLM (2022), appendix B, for MFU and the count by weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from corpus.manifest import Json
from corpus.rendering import format_count
from pretrain.batches import Batch
from pretrain.devices import DTYPES, PEAKS
from pretrain.presets import ModelShape, count_parameters, make_shape
from pretrain.recipe import ModelSection, Preset, PretrainRecipe

# Backward does twice the products of forward: one for the input's gradient, one for the weight's.
PASSES = 3
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Work:
    """What decides the FLOPs of a step; adds up over micro-batches and ranks."""

    num_tokens: int = 0
    squared_lengths: int = 0
    num_masked: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.num_tokens + other.num_tokens,
            self.squared_lengths + other.squared_lengths,
            self.num_masked + other.num_masked,
        )


def measure_work(batch: Batch) -> Work:
    """Count the tokens of a batch, the squares of its documents' lengths, and the masked tokens."""
    squares = sum(length**2 for length in batch.lengths)
    return Work(len(batch.tokens_T), squares, len(batch.masked_M))


def count_flops(shape: ModelShape, work: Work) -> float:
    """Return the FLOPs of one training step (forward and backward) on this work.

    With h hidden size, f width of the MLP, L layers, V vocabulary, T tokens, M masked tokens, and
    S the effective attention length, the mean over tokens of the length of the token's document
    (sum of squared lengths / T):

        weights   2 T L (4 h^2 + 2 h f)     query, key, value, output; MLP in and out. A gated MLP
                                            has a third matrix: 3 h f
        attention 2 T L 2 h S               scores, and the values they weigh: S products of h a
                                            token each, in all heads together
        head      2 M (h^2 + h V)           sparse: masked tokens only; `modern` has no h^2

    is one forward pass, and backward is two more. Embeddings, norms, softmax, GELU, dropout and the
    optimiser are left out: below 1 % at h = 768. At 125M (h 768, L 12, V 50,048), 15 % masked and
    S = 700 that is 6 (L (4 h^2 + 2 h f) + 2 L h S + 0.15 (h^2 + h V)) = 622 MFLOP a token.
    """
    hidden, is_gated = shape.hidden_size, shape.family == "modern"
    layer = 4 * hidden**2 + (3 if is_gated else 2) * hidden * shape.ffn_size
    weights = work.num_tokens * shape.num_layers * layer
    attention = 2 * shape.num_layers * hidden * work.squared_lengths
    transform = 0 if is_gated else hidden**2
    head = work.num_masked * (transform + hidden * shape.vocabulary_size)
    return 2.0 * PASSES * (weights + attention + head)


def plan_cost(
    recipe: PretrainRecipe,
    *,
    vocabulary_size: int = 50_000,
    num_tokens: int = 27_000_000_000,
    attention_tokens: int = 700,
    mfu: float = 0.25,
    peak: float | None = None,
    dollars_per_hour: float = 3.0,
    device_gib: float = 80.0,
) -> Json:
    """Work out what the recipe's model, and every preset of its family, need and cost.

    Args:
        recipe: `model`, `data.row_tokens`, `masking.rate` and `run.precision` are used.
        vocabulary_size: pieces of the tokenizer.
        num_tokens: to train on.
        attention_tokens: effective attention length S (`count_flops`), cut at the row.
        mfu: what is reached of the peak; published small encoders reach 25 % on an H100, 35 % at
            the size of `large`.
        peak: FLOP/s of the device; left out, an H100's in the recipe's precision.
        dollars_per_hour: price of one device.
        device_gib: its memory.

    Returns:
        The assumptions, and one row for the recipe and for each preset: parameters, GiB of
        weights, gradients, optimiser and of the activations of one row, rows that fit, FLOPs a
        token, and tokens a second, device-hours, days and dollars.
    """
    sections = {"recipe": recipe.model} | {
        preset: ModelSection(preset=preset, family=recipe.model.family)
        for preset in get_args(Preset)
    }
    length = min(attention_tokens, recipe.data.row_tokens)
    assumed = {
        "num_tokens": num_tokens,
        "row_tokens": recipe.data.row_tokens,
        "attention_tokens": length,
        "masked_share": recipe.masking.rate,
        "precision": recipe.run.precision,
        "mfu": mfu,
        "peak_flops": peak or PEAKS["H100"][DTYPES[recipe.run.precision]],
        "dollars_per_hour": dollars_per_hour,
        "device_gib": device_gib,
        "vocabulary_size": vocabulary_size,
    }
    shapes = {name: make_shape(one, vocabulary_size) for name, one in sections.items()}
    rows = [{"model": name, **_plan_model(shape, assumed)} for name, shape in shapes.items()]
    return {"assumed": assumed, "models": rows}


def activation_bytes(shape: ModelShape, row_tokens: int, masked_share: float, width: int) -> float:
    """Estimate the bytes that one row keeps from the forward pass for the backward.

    In each layer and for each token: what enters the two norms (2 h, float32 or wider) and leaves
    them (2 h), queries, keys, values and what attention gives (4 h), the MLP before and after its
    activation (2 f), and with dropout one byte of mask for each of 2 h. `modern` keeps more: the
    rotated queries and keys (2 h), what RMSNorm has normalised before its scale (2 h, float32),
    and 5 f for its gate: both halves, megatron's copy of the second, the activated one and their
    product. Attention keeps its output, no matrix of scores (which PyTorch does on a CPU where
    attention has dropout). For each masked token logits, their softmax, and the head's 3 h.

    Args:
        shape: of the model.
        row_tokens: tokens of a row.
        masked_share: of them.
        width: bytes of a number in matrix products: 2 with bfloat16.
    """
    hidden, wide = shape.hidden_size, max(width, 4)
    is_modern = shape.family == "modern"
    norms = 2 * hidden * (width + (2 if is_modern else 1) * wide)
    products = (6 if is_modern else 4) * hidden + (5 if is_modern else 2) * shape.ffn_size
    masks = 2 * hidden if shape.dropout else 0
    layer = norms + products * width + masks
    head = masked_share * (shape.vocabulary_size * (width + wide) + 3 * hidden * width)
    return row_tokens * (shape.num_layers * layer + 2 * hidden * wide + head)


def format_plan(plan: Json) -> str:
    """Write a plan as a table for the terminal, a column a model."""
    assumed = plan["assumed"]
    lines: list[tuple[str, Callable[[Json], str]]] = [
        ("", lambda row: str(row["model"])),
        ("parameters", lambda row: f"{row['num_parameters'] / 1e6:,.1f}M"),
        ("weights, GiB", lambda row: f"{row['weights_gib']:.2f}"),
        ("gradients, GiB", lambda row: f"{row['gradients_gib']:.2f}"),
        ("optimiser, GiB", lambda row: f"{row['optimiser_gib']:.2f}"),
        ("activations a row, GiB", lambda row: f"{row['activations_gib_per_row']:.2f}"),
        ("rows that fit", lambda row: format_count(row["rows_that_fit"])),
        ("MFLOP a token", lambda row: f"{row['flops_per_token'] / 1e6:,.0f}"),
        ("tokens a second", lambda row: f"{row['tokens_per_second']:,.0f}"),
        ("FLOPs in all", lambda row: f"{row['flops']:.2e}"),
        ("device-days", lambda row: f"{row['days']:,.2f}"),
        ("dollars", lambda row: f"{row['dollars']:,.0f}"),
    ]
    head = (
        f"{assumed['num_tokens'] / 1e9:,.1f}B tokens in rows of {assumed['row_tokens']:,}, "
        f"{assumed['masked_share']:.0%} masked, documents of {assumed['attention_tokens']:,} "
        f"tokens, {assumed['precision']}; one device of {assumed['peak_flops'] / 1e12:,.0f} "
        f"TFLOP/s and {assumed['device_gib']:.0f} GiB at {assumed['mfu']:.0%} MFU, "
        f"${assumed['dollars_per_hour']:.2f} an hour"
    )
    return "\n".join([head, *(_format_line(name, show, plan["models"]) for name, show in lines)])


def _format_line(name: str, show: Callable[[Json], str], models: Sequence[Json]) -> str:
    return f"{name:<23}" + "".join(f"{show(row):>12}" for row in models)


def _plan_model(shape: ModelShape, assumed: Json) -> Json:
    width = torch.tensor([], dtype=DTYPES[assumed["precision"]]).element_size()
    # Master weights, gradients and both moments are float32 under autocast, which keeps a second
    # copy of the weights while a micro-batch runs.
    wide = max(width, 4)
    num_parameters = count_parameters(shape)
    weights = num_parameters * (wide + (width if width < wide else 0))
    gradients, optimiser = num_parameters * wide, 2 * num_parameters * wide
    tokens = 1_000_000
    masked = round(tokens * assumed["masked_share"])
    work = Work(tokens, tokens * assumed["attention_tokens"], masked)
    flops_per_token = count_flops(shape, work) / tokens
    speed = assumed["mfu"] * assumed["peak_flops"] / flops_per_token
    hours = assumed["num_tokens"] / speed / 3_600
    row = activation_bytes(shape, assumed["row_tokens"], assumed["masked_share"], width)
    free = assumed["device_gib"] * GIB - weights - gradients - optimiser
    return {
        "num_parameters": num_parameters,
        "weights_gib": weights / GIB,
        "gradients_gib": gradients / GIB,
        "optimiser_gib": optimiser / GIB,
        "activations_gib_per_row": row / GIB,
        "rows_that_fit": max(0, int(free / row)),
        "flops_per_token": flops_per_token,
        "flops": flops_per_token * assumed["num_tokens"],
        "tokens_per_second": speed,
        "hours": hours,
        "days": hours / 24,
        "dollars": hours * assumed["dollars_per_hour"],
    }
