"""Two models are compared on the same resamples, and by McNemar as statsmodels has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
import seqeval.metrics
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from corpus.errors import BadValue
from finetune.comparison import compare, find_p_value, holm, measure_mcnemar
from finetune.metrics import Estimate
from finetune.predictions import SCHEMA

LABELS = ("bad", "good")
TAGS = ("O", "B-Class", "I-Class")
GROUPS = [f"g{at // 3}" for at in range(120)]


def make_table(gold: Sequence[list[str]], predicted: Sequence[list[str] | None]) -> pa.Table:
    rows = zip(GROUPS, gold, predicted, strict=False)
    return pa.Table.from_pylist(
        [
            {"example_id": f"x/{at}", "group": group, "gold": right, "predicted": said}
            for at, (group, right, said) in enumerate(rows)
        ],
        SCHEMA,
    )


def draw(share_right: float, seed: int, labels: Sequence[str] = LABELS) -> pa.Table:
    """A model that is right in about this share of what is the same gold for all."""
    gold_rng, rng = np.random.default_rng(0), np.random.default_rng(seed)
    size = 1 if labels is LABELS else 4
    gold = [gold_rng.choice(labels, size).tolist() for _ in GROUPS]
    said = [
        [tag if rng.random() < share_right else str(rng.choice(labels)) for tag in tags]
        for tags in gold
    ]
    return make_table(gold, said)


def measure(table: pa.Table, kind: str) -> float:
    gold, predicted = (table[name].to_pylist() for name in ("gold", "predicted"))
    if kind == "token":
        return float(seqeval.metrics.f1_score(gold, predicted))
    return float(
        f1_score(*([one for (one,) in column] for column in (gold, predicted)), average="macro")
    )


# Difference ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "labels"), [("sequence", LABELS), ("token", TAGS)])
def test_the_difference_is_that_of_both_on_the_same_resampled_rows(
    kind: str, labels: Sequence[str]
) -> None:
    first = [draw(0.7, seed, labels) for seed in (1, 2)]
    second = [draw(0.6, seed, labels) for seed in (3, 4, 5)]
    names, rng, differences = sorted(set(GROUPS)), np.random.default_rng(8), []
    for _ in range(50):
        drawn = rng.integers(0, len(names), len(names))
        rows = [np.flatnonzero(np.array(GROUPS) == names[one]) for one in drawn]
        taken = pa.array(np.concatenate(rows))
        means = [
            np.mean([measure(table.take(taken), kind) for table in some])
            for some in (first, second)
        ]
        differences.append(means[0] - means[1])
    found = compare(first, second, labels, kind, resamples=50, seed=8)
    assert found.difference[1:3] == pytest.approx(np.quantile(differences, [0.025, 0.975]))
    num_beyond = min(np.less_equal(differences, 0).sum(), np.greater_equal(differences, 0).sum())
    assert found.p_value == pytest.approx(2 * (num_beyond + 1) / 51)


def test_the_difference_is_of_means_over_seeds() -> None:
    first, second = [draw(0.7, 1), draw(0.7, 2)], [draw(0.6, 3)]
    expected = np.mean([measure(one, "sequence") for one in first]) - measure(second[0], "sequence")
    assert compare(first, second, LABELS, "sequence").difference.value == pytest.approx(expected)


def test_a_better_model_is_told_from_a_worse_one() -> None:
    found = compare([draw(0.95, 1)], [draw(0.5, 2)], LABELS, "sequence")
    assert found.difference.low is not None and found.difference.low > 0
    assert found.p_value == pytest.approx(2 / 1001)
    assert found.mcnemar_p is not None and found.mcnemar_p < 0.001


def test_turned_round_the_difference_changes_its_sign_only() -> None:
    one, other = [draw(0.7, 1)], [draw(0.6, 2)]
    forth, back = (compare(*pair, LABELS, "sequence") for pair in ((one, other), (other, one)))
    assert forth.difference.value == -(back.difference.value or 0)
    assert (forth.p_value, forth.mcnemar_p) == (back.p_value, back.mcnemar_p)
    assert forth.num_only_first == back.num_only_second


def test_equal_models_with_the_same_seeds_differ_by_nothing() -> None:
    tables = [draw(0.7, seed) for seed in (1, 2, 3)]
    found = compare(tables, tables, LABELS, "sequence")
    assert found == (Estimate(0.0, 0.0, 0.0), 1.0, 1.0, 0, 0)


def test_models_are_compared_by_the_metric_that_is_named() -> None:
    first, second = draw(0.9, 1), draw(0.6, 2)
    accuracies = [
        np.mean([gold == said for gold, said in zip(*flat(table), strict=True)])
        for table in (first, second)
    ]
    found = compare([first], [second], LABELS, "sequence", metric="weighted_recall")
    assert found.difference.value == pytest.approx(accuracies[0] - accuracies[1])


def flat(table: pa.Table) -> tuple[list[list[str]], list[list[str]]]:
    return table["gold"].to_pylist(), table["predicted"].to_pylist()


def test_about_one_in_twenty_of_equal_models_seems_to_differ() -> None:
    tables = [draw(0.7, seed) for seed in range(200)]
    seen = [
        compare([first], [second], LABELS, "sequence", resamples=200).p_value or 0
        for first, second in zip(tables[::2], tables[1::2], strict=True)
    ]
    # Of 100 at 5 %, 99 % of binomial draws are 1 to 11.
    assert 1 <= sum(p < 0.05 for p in seen) <= 11


# What is undefined, and what is refused ------------------------------------------------------


def test_a_difference_of_what_is_undefined_is_undefined() -> None:
    found = compare([draw(0.7, 1)], [draw(0.6, 2)], LABELS, "sequence", metric="ece")
    assert found.difference == Estimate(None, reason="gives no probabilities")
    assert found.p_value is None and found.mcnemar_p is not None


def test_one_group_has_no_p() -> None:
    first, second = (draw(0.7, seed).slice(0, 3) for seed in (1, 2))
    found = compare([first], [second], LABELS, "sequence", metric="weighted_recall")
    assert found.difference.reason == "too few leakage groups for an interval"
    assert found.difference.value is not None and found.p_value is None


def test_no_examples_have_no_comparison() -> None:
    nothing = draw(0.7, 1).slice(0, 0)
    found = compare([nothing], [nothing], LABELS, "sequence")
    assert found == (Estimate(None, reason="no examples"), None, None, 0, 0)


def test_models_on_other_examples_are_not_compared() -> None:
    table = draw(0.7, 1)
    turned = table.take(pa.array(range(len(table) - 1, -1, -1)))
    for other in (turned, table.slice(1)):
        with pytest.raises(BadValue, match="other examples, or in another order"):
            compare([table], [other], LABELS, "sequence")


def test_a_model_without_predictions_is_not_compared() -> None:
    for pair in (([], [draw(0.7, 1)]), ([draw(0.7, 1)], [])):
        with pytest.raises(BadValue, match="one model has no predictions"):
            compare(*pair, LABELS, "sequence")


def test_a_metric_of_the_other_kind_is_refused() -> None:
    table = draw(0.7, 1)
    with pytest.raises(BadValue, match="metric is 'entity_f1'; give one of weighted_f1"):
        compare([table], [table], LABELS, "sequence", metric="entity_f1")


# McNemar, p and Holm -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (5, 1), (1, 5), (9, 8), (300, 240)]
)
def test_mcnemar_is_that_of_statsmodels(only_first: int, only_second: int) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True] * 7 + [False] * 2)
    second = np.array([False] * only_first + [True] * only_second + [True] * 7 + [False] * 2)
    expected = mcnemar([[7, only_first], [only_second, 2]], exact=True).pvalue
    assert measure_mcnemar(first, second) == (pytest.approx(expected), only_first, only_second)


def test_mcnemar_is_of_the_first_seeds() -> None:
    first, second, other = draw(0.9, 1), draw(0.6, 2), draw(0.5, 3)
    alone = compare([first], [second], LABELS, "sequence")
    found = compare([first, other], [second, other, other], LABELS, "sequence")
    assert found[2:] == alone[2:] and found.num_only_first > 0


def test_an_example_without_an_answer_is_not_right() -> None:
    gold = [["bad"], ["bad"], ["good"]]
    first, second = make_table(gold, gold), make_table(gold, [None, ["bad"], ["bad"]])
    found = compare([first], [second], LABELS, "sequence")
    assert (found.num_only_first, found.num_only_second) == (2, 0)


def test_a_sentence_is_right_where_all_its_tags_are() -> None:
    gold = [["B-Class", "O"], ["O", "O"], ["B-Class", "O"]]
    first = make_table(gold, [["B-Class", "B-Class"], ["O", "O"], None])
    second = make_table(gold, [["B-Class", "O"], ["O", "B-Class"], ["O", "O"]])
    found = compare([first], [second], TAGS, "token")
    assert (found.num_only_first, found.num_only_second) == (1, 1)


def test_a_p_leaves_out_resamples_that_are_undefined() -> None:
    assert find_p_value(np.array([1.0, np.nan, 1.0, 1.0])) == 2 * 1 / 4
    assert find_p_value(np.array([np.nan])) is None


def test_holm_is_that_of_statsmodels() -> None:
    p_values = np.random.default_rng(4).random(12) ** 3
    assert holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_does_not_count_what_was_not_tested() -> None:
    assert holm([None, 0.02, None, 0.9]) == [None, 0.04, None, 0.9]
    assert holm([]) == []
