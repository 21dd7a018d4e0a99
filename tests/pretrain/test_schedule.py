"""The learning rate of each step, and which runs may change their length."""

from __future__ import annotations

import pytest
import torch

from corpus.errors import RecipeError
from pretrain.recipe import OptimiserSection
from pretrain.schedule import Phases, check_length, learning_rate_at, make_phases

SCHEDULES = ["cosine", "linear", "wsd"]


def rates(section: OptimiserSection, num_steps: int) -> list[float]:
    phases = make_phases(num_steps, section)
    return [learning_rate_at(step, phases, section) for step in range(num_steps)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_warms_up_to_the_peak_and_ends_at_the_final_fraction(schedule: str) -> None:
    section = OptimiserSection(
        schedule=schedule, learning_rate=2.0, warmup_fraction=0.1, final_fraction=0.05
    )
    found = rates(section, 200)
    assert found[:20] == pytest.approx([2.0 * (step + 1) / 20 for step in range(20)])
    assert found[-1] == pytest.approx(0.1)
    assert max(found) == 2.0
    assert sorted(found[19:], reverse=True) == found[19:]


def test_the_cosine_is_that_of_torch() -> None:
    section = OptimiserSection(learning_rate=1.0, warmup_fraction=0, final_fraction=0.1)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=50, eta_min=0.1)
    expected = []
    for _ in range(50):
        optimiser.step()
        oracle.step()
        expected.append(optimiser.param_groups[0]["lr"])
    assert rates(section, 50) == pytest.approx(expected)


def test_wsd_holds_its_peak_until_the_decay() -> None:
    section = OptimiserSection(
        schedule="wsd", learning_rate=1.0, warmup_fraction=0.1, decay_fraction=0.2, final_fraction=0
    )
    found = rates(section, 100)
    assert found[9:80] == [1.0] * 71
    assert found[84] == pytest.approx(1 - 0.5)
    assert found[99] == pytest.approx(0.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_runs_of_a_few_steps_have_a_rate_at_each(schedule: str) -> None:
    section = OptimiserSection(schedule=schedule, warmup_fraction=1.0, decay_fraction=1.0)
    for num_steps in range(1, 5):
        assert all(rate > 0 for rate in rates(section, num_steps))


def test_a_wsd_run_may_grow_between_warm_up_and_decay_only() -> None:
    section = OptimiserSection(schedule="wsd")
    old, new = make_phases(100, section), make_phases(300, section)
    for step in (6, 50, 90):
        check_length(step, old, new, section)
    for step in (3, 91, 100):
        with pytest.raises(RecipeError, match=f"step {step} is in its warm-up or its decay"):
            check_length(step, old, new, section)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_other_schedules_keep_their_length(schedule: str) -> None:
    section = OptimiserSection(schedule=schedule)
    old = make_phases(100, section)
    check_length(50, old, Phases(100, 2, 2), section)
    with pytest.raises(RecipeError, match=f"makes 101 steps.*{schedule}"):
        check_length(50, old, make_phases(101, section), section)
