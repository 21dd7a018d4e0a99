"""The learning rate of every step, and whether a run may go on with another length.

A run has up to three phases: it warms up, it trains, it decays. `cosine` and `linear` decay from
the end of the warm-up on, so all their steps depend on the length of the run; `wsd` (warm-up,
stable, decay) holds the rate until its decay, so that a run can be made longer from any checkpoint
before it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from corpus.errors import RecipeError
from pretrain.recipe import OptimiserSection


@dataclass(frozen=True, slots=True)
class Phases:
    """Steps at which the phases of a run begin; all count from 0."""

    num_steps: int
    warmup_steps: int
    decay_start: int


def make_phases(num_steps: int, section: OptimiserSection) -> Phases:
    """Cut a run into its phases; the decay never begins inside the warm-up.

    >>> make_phases(100, OptimiserSection(schedule="wsd"))
    Phases(num_steps=100, warmup_steps=2, decay_start=90)
    >>> make_phases(100, OptimiserSection(schedule="cosine"))
    Phases(num_steps=100, warmup_steps=2, decay_start=2)
    """
    warmup = round(section.warmup_fraction * num_steps)
    if section.schedule != "wsd":
        return Phases(num_steps, warmup, warmup)
    return Phases(num_steps, warmup, max(warmup, find_masking_decay(num_steps, section)))


def find_masking_decay(num_steps: int, section: OptimiserSection) -> int:
    """Return the step from which the masking rate of the decay holds, with any schedule.

    >>> find_masking_decay(100, OptimiserSection(decay_fraction=0.2))
    80
    """
    return num_steps - round(section.decay_fraction * num_steps)


def learning_rate_at(step: int, phases: Phases, section: OptimiserSection) -> float:
    """Return the learning rate of a step: its peak at the warm-up's last, its least at the run's.

    WSD decays by one minus the square root of the way, which ends lower than a straight line does.

    Source: Haegele et al., Scaling laws and compute-optimal training beyond fixed training
    durations (2024), section 3.

    >>> section = OptimiserSection(learning_rate=1.0, schedule="linear", warmup_fraction=0.2)
    >>> [round(learning_rate_at(s, make_phases(10, section), section), 3) for s in (0, 1, 5, 9)]
    [0.5, 1.0, 0.55, 0.1]
    """
    if step < phases.warmup_steps:
        return section.learning_rate * (step + 1) / phases.warmup_steps
    if step < phases.decay_start:
        return section.learning_rate
    way = (step - phases.decay_start + 1) / (phases.num_steps - phases.decay_start)
    left = {
        "cosine": (1 + math.cos(math.pi * way)) / 2,
        "linear": 1 - way,
        "wsd": 1 - math.sqrt(way),
    }[section.schedule]
    return section.learning_rate * (section.final_fraction + (1 - section.final_fraction) * left)


def check_length(step: int, old: Phases, new: Phases, section: OptimiserSection) -> None:
    """Check that a run whose first `step` steps were taken for one length may have another.

    Only `wsd` may, between its warm-up and its decay: with other schedules, or in other phases,
    the steps taken would have had other learning rates, and the result would be that of no recipe.

    Raises:
        RecipeError: it may not; says what would do.
    """
    if old == new:
        return
    warm = max(old.warmup_steps, new.warmup_steps)
    if section.schedule == "wsd" and warm <= step <= min(old.decay_start, new.decay_start):
        return
    if section.schedule != "wsd":
        why = f"with schedule {section.schedule!r} every step depends on it"
    else:
        why = f"step {step} is in its warm-up or its decay, which depend on it"
    raise RecipeError(
        f"run.num_tokens makes {new.num_steps} steps, the checkpoint is of a run of "
        f"{old.num_steps}, and {why}; set it back, or train into another --out"
    )
