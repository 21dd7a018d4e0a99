from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from pretrain.batches import Batch
from pretrain.model import Encoder, build_encoder
from pretrain.parallel import Parallel, seed_dropout
from pretrain.recipe import Family
from tests.pretrain.conftest import make_batch, random_documents, small_shape

FAMILIES = pytest.mark.parametrize("family", ["classic", "modern"])
pytestmark = pytest.mark.usefixtures("parallel")


def build(family: Family, dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> Encoder:
    encoder = build_encoder(small_shape(family, dropout), dtype=dtype, device="cpu", seed=1)
    # Fresh norms and biases are ones and zeros; nothing that ignored them would be noticed.
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in encoder.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn(weight.shape).to(dtype), alpha=0.1)
    return encoder


@FAMILIES
def test_a_packed_row_equals_its_documents_run_apart(family: Family) -> None:
    encoder = build(family)
    documents = random_documents([40, 17, 3, 60])
    packed = encoder(make_batch(documents))
    apart = torch.cat([encoder(make_batch([document])) for document in documents])
    assert packed.dtype == torch.float64
    assert (packed - apart).abs().max() < 1e-12
    shuffled = encoder(make_batch(documents[::-1]))
    assert (shuffled.sum() - apart.sum()).abs() < 1e-9


@FAMILIES
def test_a_token_changes_its_own_document_alone(family: Family) -> None:
    encoder = build(family)
    documents = random_documents([20, 30, 10])
    before = encoder.hidden_TH(make_batch(documents, [[], [], []]))
    documents[1][4] = 5 if documents[1][4] != 5 else 6
    moved = (
        (encoder.hidden_TH(make_batch(documents, [[], [], []])) - before).detach().abs().amax(dim=1)
    )
    assert bool((moved[20:50] > 1e-9).all())
    assert float(moved[:20].max()) == float(moved[50:].max()) == 0.0


@FAMILIES
def test_a_document_is_read_in_order(family: Family) -> None:
    encoder = build(family)
    document = random_documents([30])[0]
    swapped = [document[0], document[2], document[1], *document[3:]]
    rest = slice(3, None)
    before = encoder.hidden_TH(make_batch([document], [[]]))[rest]
    assert (encoder.hidden_TH(make_batch([swapped], [[]]))[rest] - before).abs().max() > 1e-6


@FAMILIES
def test_the_sparse_head_equals_the_dense_one(family: Family) -> None:
    batch = make_batch(random_documents([40, 17, 60]))
    sparse = build(family)
    sparse.losses_M(batch).mean().backward()
    dense = build(family)
    logits = dense.head(dense.hidden_TH(batch), dense.embedding.word_embeddings.weight)
    labels = torch.full_like(batch.tokens_T, -100)
    labels[batch.masked_M] = batch.targets_M
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    assert loss.item() == pytest.approx(sparse.losses_M(batch).mean().item(), abs=1e-12)
    for mine, theirs in zip(sparse.parameters(), dense.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert (mine.grad - theirs.grad).abs().max() < 1e-12


@FAMILIES
def test_every_weight_learns(family: Family) -> None:
    encoder = build(family)
    encoder.losses_M(make_batch(random_documents([40, 17]))).sum().backward()
    unmoved = [
        name
        for name, weight in encoder.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert unmoved == []


@FAMILIES
def test_fifty_steps_learn_eight_documents_by_heart(family: Family) -> None:
    encoder = build(family, torch.float32)
    batch = make_batch(random_documents([16] * 8))
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=5e-3)
    losses = []
    for _ in range(50):
        loss = encoder.losses_M(batch).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[0] > 5.0
    assert losses[-1] < losses[0] / 5
    losses_M, correct_M = encoder.scores_M(batch)
    assert losses_M.dtype == torch.float32
    assert correct_M.float().mean() > 0.9


@FAMILIES
def test_dropout_comes_from_the_seed(family: Family, parallel: Parallel) -> None:
    encoder = build(family, dropout=0.1)
    batch = make_batch(random_documents([40, 17]))
    drawn = []
    for seed, rows, rank in ((1, 0, 0), (1, 0, 0), (1, 8, 0), (2, 0, 0), (1, 0, 1)):
        seed_dropout(seed, rows, dataclasses.replace(parallel, data_rank=rank))
        drawn.append(encoder.losses_M(batch))
    assert torch.equal(drawn[0], drawn[1])
    for other in drawn[2:]:
        assert not torch.equal(drawn[0], other)
    encoder.eval()
    assert torch.equal(encoder.losses_M(batch), encoder.losses_M(batch))
    assert (encoder.losses_M(batch) - build(family).losses_M(batch)).abs().max() < 1e-12


@FAMILIES
def test_the_same_seed_draws_the_same_weights(family: Family) -> None:
    state = torch.random.get_rng_state()
    drawn = [
        build_encoder(small_shape(family), dtype=torch.float32, device="cpu", seed=seed)
        for seed in (1, 1, 2)
    ]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, again, other = (encoder.state_dict() for encoder in drawn)
    assert all(torch.equal(first[name], again[name]) for name in first)
    words = "embedding.word_embeddings.weight"
    assert not torch.equal(first[words], other[words])
    assert float(first[words].std()) == pytest.approx(0.02, rel=0.05)


@FAMILIES
def test_the_state_is_of_tensors_and_loads(family: Family) -> None:
    state = build(family).state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    fresh = build_encoder(small_shape(family), dtype=torch.float64, device="cpu", seed=9)
    fresh.load_state_dict(state)
    batch = make_batch(random_documents([40, 17]))
    assert torch.equal(fresh(batch), build(family)(batch))


@FAMILIES
def test_a_micro_batch_without_masked_tokens_has_zero_gradients(family: Family) -> None:
    encoder = build(family)
    encoder.losses_M(make_batch(random_documents([12]), [[]])).sum().backward()
    gradients = [weight.grad for weight in encoder.parameters() if weight.grad is not None]
    assert gradients and not any(gradient.any() for gradient in gradients)


@FAMILIES
def test_autocast_to_half_precision_trains(family: Family) -> None:
    encoder = build(family, torch.float32)
    batch: Batch = make_batch(random_documents([40, 17]))
    whole = encoder.losses_M(batch)
    with torch.autocast("cpu", torch.bfloat16):
        losses = encoder.losses_M(batch)
        # On CPU megatron's linear layers do not remember, going back, that they were cast.
        losses.mean().backward()  # type: ignore[no-untyped-call]
    assert losses.dtype == torch.float32
    assert (losses - whole).abs().max() < 0.1
    assert all(weight.grad is not None for weight in encoder.parameters())
