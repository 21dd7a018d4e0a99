"""Samples that depend on ids alone, and estimates that hold for the population."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from corpus.errors import BadValue
from labeling.sampling import draw, estimate_rate

IDS = [f"x.org/{number}" for number in range(500)]
STRATA = ["rare" if number % 50 == 0 else "none" for number in range(500)]


def drawn_ids(ids: list[str], strata: list[str], *, seed: int = 1) -> list[str]:
    return sorted(ids[place] for place in draw(strata, seed, 30, ids).places)


def test_small_strata_are_drawn_whole_and_probabilities_say_so() -> None:
    drawn = draw(STRATA, 1, 30, IDS)
    assert Counter(STRATA[place] for place in drawn.places) == {"none": 30, "rare": 10}
    for place, probability in zip(drawn.places, drawn.probabilities, strict=True):
        assert probability == (1 if STRATA[place] == "rare" else 30 / 490)
    assert drawn.population_sizes == {"none": 490, "rare": 10}


def test_the_draw_does_not_depend_on_order() -> None:
    assert drawn_ids(IDS[::-1], STRATA[::-1]) == drawn_ids(IDS, STRATA)


def test_the_draw_depends_on_the_seed() -> None:
    assert drawn_ids(IDS, STRATA, seed=2) != drawn_ids(IDS, STRATA)


@pytest.mark.parametrize("cut", [0, 1, 77, 499])
def test_a_draw_from_the_draws_of_parts_is_the_draw_from_the_whole(cut: int) -> None:
    ids: list[str] = []
    strata: list[str] = []
    sizes = Counter[str]()
    for part in (slice(cut), slice(cut, None)):
        drawn = draw(STRATA[part], 1, 30, IDS[part])
        ids += [IDS[part][place] for place in drawn.places]
        strata += [STRATA[part][place] for place in drawn.places]
        sizes.update(drawn.population_sizes)
    again = draw(strata, 1, 30, ids, sizes)
    whole = draw(STRATA, 1, 30, IDS)
    assert [ids[place] for place in again.places] == [IDS[place] for place in whole.places]
    assert again.probabilities.tolist() == whole.probabilities.tolist()


def test_every_item_is_drawn_as_often_as_its_probability_says() -> None:
    times = Counter(one for seed in range(300) for one in drawn_ids(IDS, STRATA, seed=seed))
    common = [times[one] for one, stratum in zip(IDS, STRATA, strict=True) if stratum == "none"]
    expected = 300 * 30 / 490
    assert np.mean(common) == pytest.approx(expected)
    # Binomial: a chi-square of 489 degrees of freedom is below 600 in all but 4 of 10,000 runs.
    spread = np.sum((np.array(common) - expected) ** 2) / (expected * (1 - 30 / 490))
    assert spread < 600


def test_nothing_is_drawn_of_nothing() -> None:
    drawn = draw([], 1, 5, [])
    assert len(drawn.places) == 0 and drawn.population_sizes == {}


# Estimates ------------------------------------------------------------------------------------


def test_each_stratum_stands_for_its_size() -> None:
    labels = ["obsolete"] * 8 + ["current"] * 2 + ["obsolete"] + ["current"] * 9
    found = estimate_rate(labels, ["a"] * 10 + ["b"] * 10, {"a": 100, "b": 900})
    assert found["obsolete"]["rate"] == pytest.approx(0.1 * 0.8 + 0.9 * 0.1)
    assert found["obsolete"]["low"] < 0.17 < found["obsolete"]["high"]


def test_what_nobody_can_tell_is_reported_apart() -> None:
    labels = ["obsolete", "current", "cannot_tell", "cannot_tell"]
    found = estimate_rate(labels, ["a"] * 4, {"a": 40})
    assert found["obsolete"]["rate"] == 0.5 and found["cannot_tell"]["rate"] == 0.5
    assert found["strata"]["a"] == {"size": 40, "obsolete": 1, "current": 1, "cannot_tell": 2}


def test_a_population_judged_to_the_last_answer_leaves_nothing_to_guess() -> None:
    found = estimate_rate(["obsolete"] + ["current"] * 3, ["a"] * 4, {"a": 4})
    assert found["obsolete"] == {"rate": 0.25, "low": 0.25, "high": 0.25}


def test_a_large_stratum_without_findings_widens_the_interval_upwards_only() -> None:
    found = estimate_rate(["current"] * 100, ["a"] * 100, {"a": 10**6})["obsolete"]
    assert found["rate"] == found["low"] == 0 and 0.01 < found["high"] < 0.05


def test_without_judgements_there_is_no_rate() -> None:
    found = estimate_rate([], [], {"a": 4})
    assert found["obsolete"] == {"rate": None, "low": None, "high": None}
    assert found["num_left_out"] == 4


def test_an_unknown_stratum_or_label_is_refused() -> None:
    with pytest.raises(BadValue, match="no population size"):
        estimate_rate(["obsolete"], ["b"], {"a": 4})
    with pytest.raises(BadValue, match="no label"):
        estimate_rate(["old"], ["a"], {"a": 4})


@pytest.mark.parametrize("rates", [(0.5, 0.3, 0.02), (0.5, 0.3, 0.002), (0.9, 0.02, 0.0)])
def test_intervals_hold_the_truth_in_about_95_of_100_samples(
    rates: tuple[float, float, float],
) -> None:
    sizes = {"a": 300, "b": 150, "c": 20_000}
    population = {
        stratum: np.arange(size) < round(size * rate)
        for (stratum, size), rate in zip(sizes.items(), rates, strict=True)
    }
    truth = sum(int(answers.sum()) for answers in population.values()) / sum(sizes.values())
    rng = np.random.default_rng(7)
    strata = [stratum for stratum in sizes for _ in range(100)]
    hits, num = 0, 300
    for seed in range(num):
        judged = np.concatenate([rng.choice(one, 100, False) for one in population.values()])
        labels = ["obsolete" if one else "current" for one in judged]
        found = estimate_rate(labels, strata, sizes, resamples=300, seed=seed)["obsolete"]
        hits += found["low"] <= truth <= found["high"]
    # Three standard errors of 300 trials are 0.038.
    assert 0.912 <= hits / num <= 0.988
