"""Agreement, held against scikit-learn, statsmodels, the definition, and a printed example."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats import inter_rater

from corpus.errors import BadValue
from labeling.agreement import (
    NO_OVERLAP,
    ONE_LABEL,
    agreement,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    make_matrix,
    observed_agreement,
)
from labeling.judgements import Draft, Judgement

Array = np.ndarray[Any, Any]


def random_labels(seed: int, *, gaps: float, num_items: int = 12, num_names: int = 4) -> Array:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, (num_items, 1))
    labels = np.where(rng.random((num_items, num_names)) < 0.6, truth, rng.integers(0, 3))
    noise = rng.integers(0, 3, labels.shape)
    labels = np.where(rng.random(labels.shape) < 0.3, noise, labels)
    return np.where(rng.random(labels.shape) < gaps, -1, labels).astype(np.int8)


def naive_alpha(labels: Array) -> float:
    """Alpha by its words: disagreement of pairs within items, over that of all pairs.

    Each item's pairs weigh as many judgements as it has; items of one judgement do not count.
    """
    rows = [[int(one) for one in row if one >= 0] for row in labels]
    rows = [row for row in rows if len(row) > 1]
    everything = [one for row in rows for one in row]
    within = 0.0
    for row in rows:
        pairs = list(itertools.permutations(row, 2))
        within += len(row) * sum(one != other for one, other in pairs) / len(pairs)
    pairs = list(itertools.permutations(everything, 2))
    between = sum(one != other for one, other in pairs) / len(pairs)
    return 1 - within / len(everything) / between


@pytest.mark.parametrize("seed", range(60))
def test_alpha_is_that_of_all_pairs(seed: int) -> None:
    labels = random_labels(seed, gaps=(0.0, 0.2, 0.5)[seed % 3])
    assert float(krippendorff_alpha(labels)) == pytest.approx(naive_alpha(labels), abs=1e-12)


def test_alpha_is_that_of_the_printed_example() -> None:
    # Four observers, twelve units, five labels and gaps; nominal alpha is printed as 0.743.
    # Source: Krippendorff, Computing Krippendorff's alpha-reliability (2011), section C.
    table = """
        1 2 3 3 2 1 4 1 2 . . .
        1 2 3 3 2 2 4 1 2 5 . 3
        . 3 3 3 2 3 4 2 2 5 1 .
        1 2 3 3 2 4 4 1 2 5 1 .
    """
    rows = [[0 if one == "." else int(one) for one in line.split()] for line in table.split("\n")]
    values = np.array([row for row in rows if row]).T
    assert values.shape == (12, 4)
    labels = (values - 1).astype(np.int8)
    assert float(krippendorff_alpha(labels)) == pytest.approx(0.743, abs=5e-4)
    assert naive_alpha(labels) == pytest.approx(0.743, abs=5e-4)


def test_kappa_is_that_of_scikit_learn() -> None:
    for seed in range(60):
        labels = random_labels(seed, gaps=0.2, num_names=2)
        has_both = (labels >= 0).all(1)
        first, second = labels[has_both].T
        expected = cohen_kappa_score(first, second, labels=[0, 1, 2])
        assert float(cohen_kappa(*labels.T)) == pytest.approx(expected, abs=1e-12)


def test_fleiss_kappa_is_that_of_statsmodels() -> None:
    for seed in range(60):
        labels = random_labels(seed, gaps=0.0, num_names=2 + seed % 4)
        table = np.stack([(labels == label).sum(1) for label in range(3)], 1)
        expected = inter_rater.fleiss_kappa(table, method="fleiss")
        assert float(fleiss_kappa(labels)) == pytest.approx(expected, abs=1e-12)


def test_fleiss_kappa_does_not_ask_who_gave_which_label() -> None:
    labels = random_labels(3, gaps=0.0, num_names=3)
    # Each item has three judgements, of five people: who gave them does not matter.
    spread = np.full((len(labels), 5), -1, np.int8)
    for row, line in enumerate(labels):
        spread[row, [(row + shift) % 5 for shift in range(3)]] = line
    assert float(fleiss_kappa(spread)) == pytest.approx(float(fleiss_kappa(labels)), abs=1e-12)


def test_fleiss_kappa_of_unequal_items_is_refused() -> None:
    with pytest.raises(BadValue, match="unequal numbers"):
        fleiss_kappa(np.array([[0, 0, 1], [0, 1, -1]], np.int8))


@pytest.mark.parametrize("seed", range(20))
def test_a_weight_is_how_often_an_item_is_there(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = random_labels(seed, gaps=0.0 if seed % 2 else 0.3)
    weights = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), 5).astype("f8")
    measures = [krippendorff_alpha, observed_agreement]
    measures += [fleiss_kappa] if seed % 2 else []
    for measure in measures:
        drawn = [measure(np.repeat(labels, row.astype(int), 0)) for row in weights]
        np.testing.assert_allclose(measure(labels, weights), drawn, rtol=0, atol=1e-12)
    first, second = labels[:, 0], labels[:, 1]
    drawn = [
        cohen_kappa(np.repeat(first, row.astype(int)), np.repeat(second, row.astype(int)))
        for row in weights
    ]
    np.testing.assert_allclose(cohen_kappa(first, second, weights), drawn, rtol=0, atol=1e-12)


def test_perfect_and_inverse_agreement() -> None:
    same = np.array([[0, 0], [1, 1], [2, 2]], np.int8)
    assert krippendorff_alpha(same) == fleiss_kappa(same) == cohen_kappa(*same.T) == 1
    swapped = np.array([[0, 1], [1, 0]] * 50, np.int8)
    assert cohen_kappa(*swapped.T) == fleiss_kappa(swapped) == -1
    assert krippendorff_alpha(swapped) == pytest.approx(-0.99)
    assert observed_agreement(swapped) == 0


def test_what_is_not_defined_is_nan() -> None:
    for labels in ([[0, 0], [0, 0]], [[0, -1], [-1, 1]]):
        matrix = np.array(labels, np.int8)
        for value in (krippendorff_alpha(matrix), fleiss_kappa(matrix), cohen_kappa(*matrix.T)):
            assert np.isnan(value)
    assert np.isnan(observed_agreement(np.array([[0, -1]], np.int8)))
    assert np.isnan(krippendorff_alpha(np.empty((0, 2), np.int8)))


# The report ----------------------------------------------------------------------------------


def measures_in(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        if "value" in content:
            yield content
        for one in content.values():
            yield from measures_in(one)
    if isinstance(content, list):
        for one in content:
            yield from measures_in(one)


def test_the_report_has_all_strata_pairs_and_counts() -> None:
    labels = random_labels(8, gaps=0.2, num_items=80, num_names=3)
    strata = ["mined" if row % 2 else "random" for row in range(80)]
    report = agreement(labels, strata, ["ann", "bob", "cleo"], resamples=200, seed=3)
    assert list(report["strata"]) == ["mined", "random"]
    overall = report["overall"]
    assert overall["num_items"] == 80
    assert overall["num_judgements"] == int((labels >= 0).sum())
    assert overall["num_by_label"] == {
        label: int((labels == number).sum())
        for number, label in enumerate(("obsolete", "current", "cannot_tell"))
    }
    assert overall["krippendorff_alpha"]["value"] == float(krippendorff_alpha(labels))
    assert overall["fleiss_kappa"]["reason"] == "items have unequal numbers of judgements"
    assert [pair["annotators"] for pair in overall["pairs"]] == [
        ["ann", "bob"],
        ["ann", "cleo"],
        ["bob", "cleo"],
    ]
    confusion = np.array(overall["pairs"][1]["confusion"])
    for one, other in itertools.product(range(3), repeat=2):
        expected = ((labels[:, 0] == one) & (labels[:, 2] == other)).sum()
        assert confusion[one, other] == expected
    odd = labels[1::2]
    mined = report["strata"]["mined"]
    assert mined["krippendorff_alpha"]["value"] == float(krippendorff_alpha(odd))
    assert [mined["num_items"], mined["num_items_judged_twice"]] == [
        40,
        int(((odd >= 0).sum(1) >= 2).sum()),
    ]
    found = list(measures_in(report))
    assert len(found) == 3 * (3 + 3)
    for one in found:
        if one["value"] is not None:
            assert one["low"] <= one["value"] <= one["high"]


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    labels = random_labels(9, gaps=0.1, num_items=60, num_names=3)
    found = agreement(labels, ["s"] * 60, ["a", "b", "c"], resamples=4_000, seed=1)["overall"]
    paired = labels[(labels >= 0).sum(1) >= 2]
    rng = np.random.default_rng(0)
    drawn = [
        float(krippendorff_alpha(paired[rng.integers(0, len(paired), len(paired))]))
        for _ in range(4_000)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found["krippendorff_alpha"]["low"] == pytest.approx(low, abs=0.02)
    assert found["krippendorff_alpha"]["high"] == pytest.approx(high, abs=0.02)


def test_a_seed_is_one_report_and_a_stratum_does_not_depend_on_the_others() -> None:
    labels = random_labels(10, gaps=0.2, num_items=40, num_names=3)
    names = ["a", "b", "c"]
    strata = ["x"] * 20 + ["y"] * 20
    one = agreement(labels, strata, names, resamples=100, seed=5)
    assert one == agreement(labels, strata, names, resamples=100, seed=5)
    assert one != agreement(labels, strata, names, resamples=100, seed=6)
    alone = agreement(labels[:20], ["x"] * 20, names, resamples=100, seed=5)
    assert alone["strata"]["x"] == one["strata"]["x"]


def test_chunks_of_resamples_change_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = random_labels(11, gaps=0.0, num_items=30, num_names=2)
    whole = agreement(labels, ["x"] * 30, ["a", "b"], resamples=150, seed=5)
    monkeypatch.setattr("labeling.agreement._MAX_WEIGHTS", 30 * 7)
    assert agreement(labels, ["x"] * 30, ["a", "b"], resamples=150, seed=5) == whole


@pytest.mark.parametrize(
    ("labels", "measure", "reason"),
    [
        ([[0, 0], [0, 0]], "krippendorff_alpha", ONE_LABEL),
        ([[0, 0], [0, 0]], "fleiss_kappa", ONE_LABEL),
        ([[0, -1], [-1, 1]], "krippendorff_alpha", NO_OVERLAP),
        ([[0, -1], [-1, 1]], "fleiss_kappa", NO_OVERLAP),
        ([[0, -1], [-1, 1]], "observed_agreement", NO_OVERLAP),
        ([[-1, -1], [-1, -1]], "observed_agreement", NO_OVERLAP),
    ],
)
def test_what_is_not_defined_has_a_reason(
    labels: list[list[int]], measure: str, reason: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = agreement(np.array(labels, np.int8), ["x", "x"], ["a", "b"], resamples=100)
    found = report["overall"][measure]
    assert found["value"] is found["low"] is found["high"] is None
    assert found["reason"] == reason and found["num_undefined"] == 100


def test_no_items_and_one_item_are_measured_without_an_interval() -> None:
    nothing = agreement(np.empty((0, 2), np.int8), [], ["a", "b"], resamples=100)
    assert nothing["strata"] == {} and nothing["overall"]["num_items"] == 0
    one = agreement(np.array([[0, 1]], np.int8), ["x"], ["a", "b"], resamples=100)["overall"]
    assert one["observed_agreement"]["value"] == 0
    assert one["observed_agreement"]["low"] is None
    assert one["observed_agreement"]["reason"] == "one item has no interval"


@pytest.mark.parametrize(
    ("labels", "strata", "resamples", "message"),
    [
        ([[0, 0]], ["x", "y"], 100, "shape"),
        ([[0, 3]], ["x"], 100, "labels must be -1 to 2"),
        ([[0, -2]], ["x"], 100, "labels must be -1 to 2"),
        ([[0, 0]], ["x"], 99, "resamples is 99"),
    ],
)
def test_what_does_not_fit_is_refused(
    labels: list[list[int]], strata: list[str], resamples: int, message: str
) -> None:
    with pytest.raises(BadValue, match=message):
        agreement(np.array(labels, np.int8), strata, ["a", "b"], resamples)


def test_the_matrix_has_newest_revisions_without_what_was_withdrawn() -> None:
    def judged(item_id: str, name: str, revision: int, draft: Draft | None) -> Judgement:
        at = datetime(2024, 1, 1, tzinfo=UTC)
        return Judgement(item_id, name, "annotator", revision, draft, "0" * 64, at)

    judgements = [
        judged("i", "ann", 2, Draft("current")),
        judged("i", "ann", 1, Draft("obsolete")),
        judged("j", "ann", 1, Draft("obsolete")),
        judged("j", "bob", 1, Draft("cannot_tell")),
        judged("j", "bob", 2, None),
        judged("j", "stranger", 1, Draft("obsolete")),
        judged("elsewhere", "ann", 1, Draft("obsolete")),
    ]
    expected = [[-1, -1], [0, -1], [1, -1]]
    assert make_matrix(judgements, ["h", "j", "i"], ["ann", "bob"]).tolist() == expected


def test_a_thousand_resamples_of_ten_thousand_items_take_seconds() -> None:
    labels = random_labels(1, gaps=0.3, num_items=10_000, num_names=4)
    start = time.perf_counter()
    agreement(labels, ["x"] * 5_000 + ["y"] * 5_000, list("abcd"), resamples=200)
    assert time.perf_counter() - start < 20
