"""FLOPs against torch's own counter, memory against what autograd keeps, and the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pretrain.batches import Batch
from pretrain.cost import Work, activation_bytes, count_flops, format_plan, measure_work, plan_cost
from pretrain.devices import peak_flops
from pretrain.model import build_encoder
from pretrain.parallel import Parallel
from pretrain.presets import ModelShape, make_shape
from pretrain.recipe import Family, ModelSection, Preset, parse_pretrain_recipe
from tests.pretrain.conftest import make_batch, random_documents, small_shape

FAMILIES = list(get_args(Family))
CARD = {"name": "x", "title": "X", "summary": ""}


def count_by_torch(shape: ModelShape, batch: Batch) -> float:
    encoder = build_encoder(shape, dtype=torch.float32, device="cpu", seed=1)
    # Torch does not count its fused attention on a CPU; this one consists of two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder.losses_M(batch).sum().backward()
    return float(counter.get_total_flops())


@pytest.mark.parametrize("family", FAMILIES)
def test_flops_are_those_that_torch_counts(family: Family, parallel: Parallel) -> None:
    batch, shape = make_batch(random_documents([100, 28, 128])), small_shape(family)
    work = measure_work(batch)
    assert work == Work(256, 100**2 + 28**2 + 128**2, len(batch.masked_M))
    assert count_flops(shape, work) == count_by_torch(shape, batch)


def test_the_paper_s_base_needs_622_mflop_a_token() -> None:
    shape = make_shape(ModelSection(preset="base"), 50_048)
    tokens = 1_000_000
    flops = count_flops(shape, Work(tokens, 700 * tokens, 150_000)) / tokens
    assert flops == pytest.approx(622e6, rel=0.002)


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_what_autograd_keeps(family: Family, parallel: Parallel) -> None:
    shape = replace(small_shape(family), hidden_size=128, ffn_size=384)
    batch = make_batch(random_documents([128] * 4), masked=[range(1, 41)] * 4)
    encoder = build_encoder(shape, dtype=torch.float32, device="cpu", seed=1)
    weights = {weight.untyped_storage().data_ptr() for weight in encoder.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = encoder.losses_M(batch).sum()
    share = len(batch.masked_M) / len(batch.tokens_T)
    expected = activation_bytes(shape, len(batch.tokens_T), share, width=4)
    assert sum(kept.values()) == pytest.approx(expected, rel=0.03)
    loss.backward()


def test_the_peak_of_a_cpu_is_measured() -> None:
    peak, how = peak_flops(torch.device("cpu"), "float32")
    assert 1e9 < peak < 1e14
    assert how == "best of 5 matrix products"


def test_a_plan_has_a_row_for_the_recipe_and_each_preset() -> None:
    recipe = parse_pretrain_recipe(
        {"card": CARD, "model": {"preset": "base"}, "run": {"precision": "bfloat16"}}
    )
    plan = plan_cost(recipe, vocabulary_size=50_048)
    names = [row["model"] for row in plan["models"]]
    assert names == ["recipe", *get_args(Preset)]
    own, base = plan["models"][0], plan["models"][names.index("base")]
    assert {**own, "model": "base"} == base
    assert base["num_parameters"] == 125_707_904
    assert base["optimiser_gib"] == pytest.approx(125_707_904 * 8 / 2**30)
    assert base["tokens_per_second"] == pytest.approx(397_000, rel=0.01)
    assert base["days"] == pytest.approx(27e9 / base["tokens_per_second"] / 86_400)
    assert base["dollars"] == pytest.approx(base["days"] * 24 * 3)
    large = plan["models"][names.index("large")]
    assert large["num_parameters"] == pytest.approx(762.3e6, rel=1e-3)
    assert 10 < large["rows_that_fit"] < base["rows_that_fit"]


def test_a_plan_reads_as_a_table() -> None:
    table = format_plan(plan_cost(parse_pretrain_recipe({"card": CARD})))
    lines = table.splitlines()
    assert lines[0].startswith("27.0B tokens in rows of 2,048, 15% masked")
    assert lines[1].split() == ["recipe", "tiny", "small", "base", "large"]
    assert lines[2].split()[0] == "parameters"
    assert len({len(line) for line in lines[1:]}) == 1
