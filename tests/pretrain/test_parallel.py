"""Two processes over gloo against one.

The file is also what each of the two processes runs: all ways to train, one after the other.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

if __name__ == "__main__":
    warnings.simplefilter("ignore")

from corpus.errors import RecipeError
from pretrain.head import best_guesses, masked_losses
from pretrain.model import Encoder, Split, build_encoder
from pretrain.parallel import (
    Parallel,
    clip_gradients,
    join_tensor,
    seed_dropout,
    split_tensor,
    start_parallel,
    wrap_data_parallel,
)
from pretrain.recipe import Family, RunSection
from tests.conftest import CHECKOUT
from tests.pretrain.conftest import make_batch, random_documents, small_shape

FAMILIES: tuple[Family, ...] = ("classic", "modern")
NUM_STEPS = 3


class Way(NamedTuple):
    family: Family
    how: str
    tensor_parallel: int


class Outcome(NamedTuple):
    first_weights: dict[str, torch.Tensor]
    losses: list[float]
    norms: list[float]
    weights: dict[str, torch.Tensor]


class Head(NamedTuple):
    losses_M: torch.Tensor
    guesses_M: torch.Tensor


WAYS = [
    Way(family, how, size)
    for family in FAMILIES
    for how, size in (("ddp", 1), ("fsdp", 1), ("ddp", 2))
]


def gather_state(encoder: Encoder) -> dict[str, torch.Tensor]:
    state = {}
    for name, value in encoder.state_dict().items():
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        split = encoder.splits.get(name)
        state[name] = (join_tensor(whole, split) if split else whole).detach().clone()
    return state


def train(way: Way, parallel: Parallel) -> Outcome:
    """Some steps on two micro-batches of unequal size, shared by the data ranks."""
    encoder = build_encoder(small_shape(way.family), dtype=torch.float64, device="cpu", seed=3)
    first_weights = gather_state(encoder)
    model = wrap_data_parallel(encoder, parallel, way.how)  # type: ignore[arg-type]
    # The epsilon keeps the noise of gradients that should be zero from becoming whole steps.
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=1e-3, eps=1e-6)
    losses, norms = [], []
    for step in range(NUM_STEPS):
        documents = random_documents([40, 17, 60, 25, 33], seed=step)
        batches = [make_batch(documents[:2]), make_batch(documents[2:])]
        num_masked = sum(len(batch.masked_M) for batch in batches)
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches[parallel.data_rank :: parallel.data_size]:
            loss = model(batch).sum() * (parallel.data_size / num_masked)
            loss.backward()
            total += loss.detach() / parallel.data_size
        torch.distributed.all_reduce(total)
        losses.append(float(total) / parallel.tensor_size)
        norms.append(float(clip_gradients(encoder, 0.5)))
        optimiser.step()
        optimiser.zero_grad()
    return Outcome(first_weights, losses, norms, gather_state(encoder))


def run_head(parallel: Parallel) -> Head:
    """The loss and the best guess where logits lie on all tensor ranks."""
    torch.manual_seed(1)
    logits_MV, targets_M = torch.randn(50, 64), torch.randint(64, (50,))
    logits_MV[7] = 0.0
    share = split_tensor(logits_MV, Split(1, 1), parallel.tensor_rank, parallel.tensor_size)
    before = share.clone()
    outcome = Head(masked_losses(share, targets_M), best_guesses(share))
    assert torch.equal(share, before)
    return outcome


def run_with_dropout(parallel: Parallel) -> tuple[float, float]:
    """The same hidden states on all tensor ranks: the loss is one (smallest, largest of ranks)."""
    shape = small_shape("classic", dropout=0.2)
    encoder = build_encoder(shape, dtype=torch.float64, device="cpu", seed=3)
    seed_dropout(1, 0, parallel)
    loss = encoder.losses_M(make_batch(random_documents([40, 17]))).mean().detach()
    smallest, largest = loss.clone(), loss.clone()
    torch.distributed.all_reduce(smallest, torch.distributed.ReduceOp.MIN)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return float(smallest), float(largest)


def run_alone(way: Way) -> Outcome:
    with start_parallel(RunSection()) as parallel:
        return train(way._replace(tensor_parallel=1), parallel)


def main(ports: list[str], out: Path) -> None:
    torch.set_num_threads(1)
    outcomes: dict[Any, Any] = {}
    for way, port in zip(WAYS, ports, strict=True):
        os.environ["MASTER_PORT"] = port
        with start_parallel(RunSection(tensor_parallel=way.tensor_parallel)) as parallel:
            # As tuples: in this process the classes are those of __main__.
            outcomes[tuple(way)] = tuple(train(way, parallel))
            if way.tensor_parallel == 2:
                outcomes["head"] = tuple(run_head(parallel))
                outcomes["dropout"] = run_with_dropout(parallel)
                outcomes["parallel"] = (parallel.data_size, parallel.tensor_size)
    (out / os.environ["RANK"]).write_bytes(pickle.dumps(outcomes))


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """What rank 0 of two processes found, each way of training."""
    out = tmp_path_factory.mktemp("ranks")
    ports = _free_ports(len(WAYS))
    processes = []
    for rank in range(2):
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "0",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(CHECKOUT),
        }
        command = [sys.executable, "-W", "ignore", __file__, str(out), *ports]
        processes.append(
            subprocess.Popen(
                command, env=environment, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT
            )
        )
    try:
        for process in processes:
            _, said = process.communicate(timeout=240)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
    outcomes, others = (pickle.loads((out / str(rank)).read_bytes()) for rank in range(2))
    for way in WAYS:
        assert outcomes[tuple(way)][1:3] == others[tuple(way)][1:3], "the ranks disagree"
    return outcomes  # type: ignore[no-any-return]


def _free_ports(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.family}-{way.how}-tp{way[2]}")
def test_two_processes_train_as_one(way: Way, of_two: dict[Any, Any]) -> None:
    both, alone = Outcome(*of_two[tuple(way)]), run_alone(way)
    # Megatron's loss over a shared vocabulary is in float32, whatever the model is in.
    loss_tolerance, tolerance = (1e-6, 1e-5) if way.tensor_parallel == 2 else (1e-12, 1e-10)
    assert both.first_weights.keys() == alone.first_weights.keys()
    for name, weight in alone.first_weights.items():
        assert torch.equal(both.first_weights[name], weight), name
    assert both.losses == pytest.approx(alone.losses, abs=loss_tolerance)
    assert both.norms == pytest.approx(alone.norms, abs=tolerance)
    for name, weight in alone.weights.items():
        assert (both.weights[name] - weight).abs().max() < tolerance, name
        assert not torch.equal(weight, alone.first_weights[name]), name


@pytest.mark.slow
def test_a_shared_vocabulary_gives_the_losses_and_guesses_of_a_whole_one(
    of_two: dict[Any, Any], parallel: Parallel
) -> None:
    assert of_two["parallel"] == (1, 2)
    both, alone = Head(*of_two["head"]), run_head(parallel)
    assert (both.losses_M - alone.losses_M).abs().max() < 1e-5
    assert torch.equal(both.guesses_M, alone.guesses_M)
    assert alone.guesses_M[7] == 0


@pytest.mark.slow
def test_dropout_of_hidden_states_is_the_same_on_all_tensor_ranks(of_two: dict[Any, Any]) -> None:
    smallest, largest = of_two["dropout"]
    assert smallest == largest


def test_one_process_can_start_again_and_again() -> None:
    for _ in range(2):
        with start_parallel(RunSection()) as parallel:
            assert (parallel.rank, parallel.data_size, parallel.tensor_size) == (0, 1, 1)
    assert not torch.distributed.is_initialized()


def test_tensor_parallelism_must_divide_the_processes() -> None:
    with (
        pytest.raises(RecipeError, match=r"run.tensor_parallel is 2; it must divide .* 1$"),
        start_parallel(RunSection(tensor_parallel=2)),
    ):
        pass


def test_clipping_scales_all_gradients_to_the_largest_norm(parallel: Parallel) -> None:
    encoder = build_encoder(small_shape("classic"), dtype=torch.float64, device="cpu", seed=1)
    encoder.losses_M(make_batch(random_documents([40, 17]))).sum().backward()
    gradients = {n: w.grad.clone() for n, w in encoder.named_parameters() if w.grad is not None}
    norm = float(torch.cat([gradient.flatten() for gradient in gradients.values()]).norm())
    assert float(clip_gradients(encoder, norm * 2)) == pytest.approx(norm, rel=1e-12)
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None and torch.equal(weight.grad, gradients[name])
    clip_gradients(encoder, norm / 2)
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None
        assert torch.allclose(weight.grad, gradients[name] / 2, rtol=1e-5)


@pytest.mark.parametrize("split", [Split(0, 1), Split(0, 2), Split(1, 1)])
def test_the_shares_of_a_weight_hold_each_element_once(split: Split) -> None:
    whole = torch.arange(8 * 6).view(8, 6)
    shares = [split_tensor(whole, split, rank, 2) for rank in range(2)]
    assert sorted(torch.cat(shares).flatten().tolist()) == list(range(48))
    assert shares[0].numel() == shares[1].numel()


if __name__ == "__main__":
    main(sys.argv[2:], Path(sys.argv[1]))
