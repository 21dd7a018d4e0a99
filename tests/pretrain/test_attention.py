from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from pretrain.attention import PackedAttention, make_layout, rotate, rotations
from pretrain.batches import Batch
from pretrain.recipe import Family
from tests.pretrain.conftest import make_batch, random_documents, small_shape

LENGTHS = [5, 17, 1, 30]


def make_heads(seed: int = 1) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(sum(LENGTHS), 4, 16, dtype=torch.float64) for _ in range(3)]


def layout_of(family: Family) -> object:
    documents = [document[:length] for document, length in zip(_long(), LENGTHS, strict=True)]
    return make_layout(make_batch(documents), small_shape(family))


def _long() -> list[list[int]]:
    return random_documents([40] * len(LENGTHS))


def naive_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """All pairs of tokens, those of other documents masked by minus infinity."""
    document = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    scores = torch.einsum("tnw,snw->nts", q, k) / 16**0.5
    scores = scores.masked_fill(document[:, None] != document[None], -torch.inf)
    return torch.einsum("nts,snw->tnw", scores.softmax(-1), v).flatten(1)


@pytest.mark.parametrize("family", ["classic", "modern"])
def test_attention_is_the_textbooks_within_each_document(family: Family) -> None:
    layout = layout_of(family)
    query, key, value = make_heads()
    attention = PackedAttention(SimpleNamespace(attention_dropout=0.0))
    attended = attention(query, key, value, None, packed_seq_params=layout)
    if family == "modern":
        positions = torch.cat([torch.arange(length) for length in LENGTHS])
        query, key = (turn_as_complex(x, positions) for x in (query, key))
    # The angles are those of float32.
    tolerance = 1e-12 if family == "classic" else 1e-5
    assert (attended - naive_attention(query, key, value)).abs().max() < tolerance


def turn_as_complex(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Channels i and i + W/2 as one complex number, multiplied by e^(i angle)."""
    half = x.shape[-1] // 2
    rates = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    turns = torch.polar(torch.ones(len(positions), half).double(), positions[:, None] * rates)
    turned = torch.complex(x[..., :half], x[..., half:]) * turns[:, None]
    return torch.cat((turned.real, turned.imag), dim=-1)


def test_rotated_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(1)
    query, key = torch.randn(16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    products = []
    for first in (0, 7, 100):
        cos, sin = rotations(torch.tensor([first, first + 3]), 16, 10_000.0)
        turned = rotate(torch.stack((query, key))[:, None], cos, sin)
        products.append(float((turned[0] * turned[1]).sum()))
    assert products == pytest.approx([products[0]] * 3, abs=1e-4)
    assert products[0] != pytest.approx(float(query @ key), abs=1e-2)


def test_attention_is_dropped_out_in_training_alone() -> None:
    layout = layout_of("classic")
    heads = make_heads()
    attention = PackedAttention(SimpleNamespace(attention_dropout=0.5))
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(attention(*heads, packed_seq_params=layout))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    whole = attention.eval()(*heads, packed_seq_params=layout)
    assert (whole - naive_attention(*heads)).abs().max() < 1e-12


def test_rotation_keeps_the_precision_it_was_given() -> None:
    cos, sin = rotations(torch.arange(4), 8, 10_000.0)
    assert rotate(torch.randn(4, 2, 8, dtype=torch.bfloat16), cos, sin).dtype == torch.bfloat16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("width", [64, 96])
def test_the_kernel_of_variable_lengths_equals_document_by_document(width: int) -> None:
    torch.manual_seed(1)
    layout = make_layout(_on_cuda(), small_shape("classic"))
    heads = [
        torch.randn(128, 4, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        for _ in range(3)
    ]
    attention = PackedAttention(SimpleNamespace(attention_dropout=0.0))
    attended = attention(*heads, packed_seq_params=layout)
    attended.float().square().sum().backward()
    wide = [x.detach().float().requires_grad_() for x in heads]
    expected = attention(*wide, packed_seq_params=layout)
    expected.square().sum().backward()
    assert (attended.float() - expected).abs().max() < 2e-2
    for mine, theirs in zip(heads, wide, strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert (mine.grad.float() - theirs.grad).abs().max() < 5e-2 * theirs.grad.abs().max()


def _on_cuda() -> Batch:
    batch = make_batch(random_documents([40, 17, 71]))
    return replace(batch, bounds_D1=batch.bounds_D1.cuda())
