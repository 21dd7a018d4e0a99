"""How many of what are drawn."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.drawing import draw_examples, limit_strata, share_out
from labeling.recipe import BenchmarkRecipe, parse_benchmark_recipe

CARD = {"name": "x", "title": "X", "summary": ""}
SIZES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1)


def make_recipe(task: str, **section: object) -> BenchmarkRecipe:
    return parse_benchmark_recipe({"card": CARD, task: section})


@settings(deadline=None)
@given(SIZES, st.integers(0, 120))
def test_a_cap_is_a_cap_and_is_used_up(sizes: dict[str, int], most: int) -> None:
    shares = share_out(sizes, most)
    assert sum(shares.values()) == min(most, sum(sizes.values()))
    assert all(0 <= shares[name] <= num for name, num in sizes.items())
    for name, num in sizes.items():
        exact = num * min(1, most / max(1, sum(sizes.values())))
        assert abs(shares[name] - exact) < 1 + 1e-9


def test_per_class_caps_every_class_over_all_splits() -> None:
    sizes = {"HQ/train": 30, "HQ/test": 10, "LQ_EDIT/train": 3, "LQ_CLOSE/test": 9}
    limits = limit_strata(sizes, make_recipe("quality", per_class=1))
    assert limits == {"HQ/train": 1, "HQ/test": 0, "LQ_EDIT/train": 1, "LQ_CLOSE/test": 1}


def test_a_cap_of_balanced_questions_leaves_them_balanced() -> None:
    sizes = {"closed/train": 30, "open/train": 900, "closed/test": 10, "open/test": 300}
    limits = limit_strata(sizes, make_recipe("closed", rate="balanced", max_questions=21))
    assert limits == {"closed/train": 7, "open/train": 7, "closed/test": 3, "open/test": 3}


def test_a_split_without_closed_questions_has_no_open_ones_either() -> None:
    limits = limit_strata({"open/test": 5}, make_recipe("closed", rate="balanced"))
    assert limits == {"open/test": 0}


def test_at_the_natural_rate_all_are_drawn_or_a_share_of_each() -> None:
    sizes = {"closed/train": 20, "open/train": 980}
    assert limit_strata(sizes, make_recipe("closed", rate="natural")) == sizes
    capped = limit_strata(sizes, make_recipe("closed", rate="natural", max_questions=100))
    assert capped == {"closed/train": 2, "open/train": 98}


def test_one_example_more_changes_at_most_the_last_one_drawn() -> None:
    recipe = make_recipe("quality", per_class=10)
    ids = [f"x.org/{n}" for n in range(40)]
    strata = np.array(["HQ/train"] * 40)
    before = {
        one for one, is_it in zip(ids, draw_examples(ids, strata, recipe), strict=True) if is_it
    }
    more = [*ids, "x.org/40"]
    after = draw_examples(more, np.append(strata, "HQ/train"), recipe)
    kept = {one for one, is_it in zip(more, after, strict=True) if is_it}
    assert len(before) == len(kept) == 10 and len(before - kept) <= 1
