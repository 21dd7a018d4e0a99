"""Metrics are what scikit-learn and seqeval say, and their intervals what resampled rows give."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import seqeval.metrics
from seqeval.scheme import IOB2
from sklearn import metrics as sk

from corpus.errors import BadValue
from finetune.metrics import (
    LOWER_IS_BETTER,
    MAIN_METRIC,
    METRIC_NAMES,
    SEQUENCE_METRICS,
    TOKEN_METRICS,
    Estimate,
    count_confusion,
    score,
    score_slices,
)
from finetune.predictions import SCHEMA

LABELS = ("bad", "good", "odd")
TAGS = ("O", "B-Class", "I-Class", "B-Version", "I-Version")
NO_ANSWER = "-"
RESAMPLES = 40
Row = dict[str, Any]


def make_table(rows: Sequence[Row]) -> pa.Table:
    filled = [{"example_id": f"x/{at}", "group": f"g{at:03}", **row} for at, row in enumerate(rows)]
    return pa.Table.from_pylist(filled, SCHEMA)


def make_pairs(pairs: Sequence[tuple[Any, Any]]) -> pa.Table:
    """A table of gold and predicted, a group an example."""
    lists = [[[one] if isinstance(one, str) else one for one in pair] for pair in pairs]
    return make_table([{"gold": gold, "predicted": predicted} for gold, predicted in lists])


def draw_sequences(
    seeds: int = 3, num: int = 90, labels: Sequence[str] = LABELS, share_answered: float = 0.9
) -> list[pa.Table]:
    """Predictions that are right more often than not, in groups of one to five examples."""
    rng = np.random.default_rng(7)
    gold = rng.choice(labels, num, p=[0.6, 0.3, 0.1])
    groups = [f"g{group}" for group in rng.integers(0, num // 3, num)]
    tables = []
    for _ in range(seeds):
        lean = 1.5 * np.array([[one == label for label in LABELS] for one in gold])
        powers = np.exp(rng.normal(size=(num, len(LABELS))) + lean)
        probabilities = powers / powers.sum(1, keepdims=True)
        predicted = [[LABELS[one]] for one in probabilities.argmax(1)]
        is_answer = rng.random(num) < share_answered
        rows = [
            {
                "gold": [str(gold[at])],
                "group": groups[at],
                "predicted": predicted[at] if is_answer[at] else None,
                "probabilities": probabilities[at].tolist(),
            }
            for at in range(num)
        ]
        tables.append(make_table(rows))
    return tables


def draw_tokens(seeds: int = 3, num: int = 60) -> list[pa.Table]:
    """Any tags, so an I- may continue nothing; of some sentences nothing is said."""
    rng = np.random.default_rng(11)
    gold = [rng.choice(TAGS, rng.integers(1, 12)).tolist() for _ in range(num)]
    groups = [f"g{group}" for group in rng.integers(0, num // 3, num)]
    return [
        make_table(
            [
                {"gold": tags, "group": group, "predicted": say_tags(tags, rng)}
                for tags, group in zip(gold, groups, strict=True)
            ]
        )
        for _ in range(seeds)
    ]


def say_tags(gold: list[str], rng: np.random.Generator) -> list[str] | None:
    if rng.random() < 0.1:
        return None
    return [tag if rng.random() < 0.8 else str(rng.choice(TAGS)) for tag in gold]


def flatten(table: pa.Table) -> tuple[list[str], list[str]]:
    """Gold and predicted labels; no answer is one that is never gold."""
    rows = table.select(["gold", "predicted"]).to_pylist()
    pairs = [(row["gold"], row["predicted"] or [NO_ANSWER] * len(row["gold"])) for row in rows]
    return [x for gold, _ in pairs for x in gold], [x for _, said in pairs for x in said]


def read_sentences(table: pa.Table) -> tuple[list[list[str]], list[list[str]]]:
    rows = table.select(["gold", "predicted"]).to_pylist()
    gold = [row["gold"] for row in rows]
    return gold, [row["predicted"] or ["O"] * len(row["gold"]) for row in rows]


def ask_sklearn(table: pa.Table, name: str) -> float:
    gold, predicted = flatten(table)
    occurring = sorted({*gold, *predicted} - {NO_ANSWER})
    probabilities = np.array(table["probabilities"].to_pylist(), "f8")
    asked: dict[str, Callable[[], float]] = {
        "weighted_f1": lambda: sk.f1_score(gold, predicted, average="weighted"),
        "weighted_recall": lambda: sk.recall_score(
            gold, predicted, average="weighted", zero_division=0
        ),
        "balanced_accuracy": lambda: sk.recall_score(
            gold, predicted, labels=sorted(set(gold)), average="macro"
        ),
        "macro_f1": lambda: sk.f1_score(gold, predicted, labels=occurring, average="macro"),
        "mcc": lambda: sk.matthews_corrcoef(gold, predicted),
        "ece": lambda: bin_by_hand(gold, predicted, probabilities),
        "brier": lambda: sk.brier_score_loss(
            gold, renormalise(probabilities), labels=LABELS, scale_by_half=False
        ),
    }
    return float(asked[name]())


def renormalise(probabilities: Any) -> Any:
    """Rows of float32 sum to 1 but for their last digit, which scikit-learn minds."""
    return probabilities / probabilities.sum(1, keepdims=True)


def bin_by_hand(gold: list[str], predicted: list[str], probabilities: Any) -> float:
    tops = probabilities.max(1)
    is_right = np.array(gold) == np.array(predicted)
    error = 0.0
    for number in range(15):
        inside = (tops > number / 15) & (tops <= (number + 1) / 15)
        if inside.any():
            error += abs(is_right[inside].mean() - tops[inside].mean()) * inside.mean()
    return error


def ask_seqeval(table: pa.Table, name: str, **options: Any) -> float:
    if name == "token_accuracy":
        return float(sk.accuracy_score(*flatten(table)))
    measure = getattr(seqeval.metrics, f"{name.removeprefix('entity_')}_score")
    return float(measure(*read_sentences(table), zero_division=0, **options))


def resample_rows(
    tables: Sequence[pa.Table],
    ask: Callable[[pa.Table], float],
    seed: int,
) -> list[float]:
    """Draw groups, take all rows of each as often as it was drawn, measure anew."""
    groups = np.array(tables[0]["group"].to_pylist())
    names, rng = sorted(set(groups)), np.random.default_rng(seed)
    means = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(names), len(names))
        rows = np.concatenate([np.flatnonzero(groups == names[one]) for one in drawn])
        means.append(float(np.mean([ask(table.take(pa.array(rows))) for table in tables])))
    return means


# Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEQUENCE_METRICS)
def test_a_metric_of_classes_is_the_mean_of_what_scikit_learn_says_of_each_seed(name: str) -> None:
    tables = draw_sequences(share_answered=1)
    expected = np.mean([ask_sklearn(table, name) for table in tables])
    assert score(tables, LABELS, "sequence")[name].value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", SEQUENCE_METRICS)
def test_an_example_without_an_answer_is_wrong(name: str) -> None:
    (table,) = draw_sequences(seeds=1, share_answered=0.7)
    expected = ask_sklearn(table, name)
    assert score([table], LABELS, "sequence")[name].value == pytest.approx(expected, rel=1e-6)


def test_the_paper_s_accuracy_is_the_balanced_accuracy_of_scikit_learn() -> None:
    (table,) = draw_sequences(seeds=1, share_answered=1)
    expected = sk.balanced_accuracy_score(*flatten(table))
    found = score([table], LABELS, "sequence")["balanced_accuracy"].value
    assert found == pytest.approx(expected)


def test_a_class_that_is_only_predicted_counts_for_macro_f1_and_for_no_recall() -> None:
    table = make_pairs([("bad", "bad"), ("bad", "odd"), ("good", "good")])
    found = score([table], LABELS, "sequence")
    assert found["macro_f1"].value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["balanced_accuracy"].value == pytest.approx((1 / 2 + 1) / 2)


def test_a_class_that_occurs_nowhere_changes_nothing() -> None:
    table = make_pairs([("bad", "bad"), ("bad", "good"), ("good", "good")])
    assert score([table], LABELS, "sequence") == score([table], LABELS[:2], "sequence")


@pytest.mark.parametrize(("top", "error"), [(0.8, 0.2), (0.5, 0.5), (1.0, 0.0)])
def test_calibration_error_is_the_distance_of_probability_and_accuracy(
    top: float, error: float
) -> None:
    row = {"gold": ["bad"], "predicted": ["bad"], "probabilities": [top, 1 - top, 0]}
    found = score([make_table([row] * 4)], LABELS, "sequence")["ece"].value
    assert found == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("name", TOKEN_METRICS)
def test_a_metric_of_entities_is_the_mean_of_what_seqeval_says_of_each_seed(name: str) -> None:
    tables = draw_tokens()
    expected = np.mean([ask_seqeval(table, name) for table in tables])
    assert score(tables, TAGS, "token")[name].value == pytest.approx(expected)


@pytest.mark.parametrize("name", ["entity_f1", "entity_precision", "entity_recall"])
def test_well_formed_tags_are_scored_as_strict_iob2(name: str) -> None:
    pieces = (["O"], ["B-Class"], ["B-Class", "I-Class"], ["B-Version", "I-Version"], ["O", "O"])
    rng = np.random.default_rng(3)
    drawn = [[tag for one in rng.integers(0, 5, 9) for tag in pieces[one]] for _ in range(80)]
    table = make_pairs([(gold, (said * 2)[: len(gold)]) for gold, said in pairwise(drawn)])
    expected = ask_seqeval(table, name, mode="strict", scheme=IOB2)
    assert expected > 0.1
    assert score([table], TAGS, "token")[name].value == pytest.approx(expected)


def test_an_i_that_continues_nothing_begins_an_entity() -> None:
    table = make_pairs([(["B-Class", "I-Class", "O"], ["I-Class", "I-Class", "O"])])
    assert score([table], TAGS, "token")["entity_f1"].value == 1


def test_entities_end_with_their_sentence() -> None:
    table = make_pairs([(["B-Class"], ["B-Class"]), (["I-Class"], ["I-Class"])])
    found = score([table, table], TAGS, "token")
    assert found["entity_recall"].value == 1
    assert found == score([table], TAGS, "token")


def test_the_order_in_which_labels_are_listed_changes_nothing() -> None:
    tables = draw_tokens()
    assert score(tables, TAGS[::-1], "token") == score(tables, TAGS, "token")


# Intervals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEQUENCE_METRICS)
def test_intervals_of_classes_are_those_of_resampled_rows(name: str) -> None:
    tables = draw_sequences(seeds=2)
    drawn = resample_rows(tables, lambda table: ask_sklearn(table, name), seed=5)
    found = score(tables, LABELS, "sequence", resamples=RESAMPLES, seed=5)[name]
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), rel=1e-6)


@pytest.mark.parametrize("name", TOKEN_METRICS)
def test_intervals_of_entities_are_those_of_resampled_rows(name: str) -> None:
    tables = draw_tokens(seeds=2)
    drawn = resample_rows(tables, lambda table: ask_seqeval(table, name), seed=5)
    found = score(tables, TAGS, "token", resamples=RESAMPLES, seed=5)[name]
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_resamples_in_batches_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = draw_sequences()
    whole = score(tables, LABELS, "sequence", resamples=50)
    monkeypatch.setattr("finetune.metrics.MAX_WEIGHTS", 7 * 25)
    assert score(tables, LABELS, "sequence", resamples=50) == whole


def test_examples_of_one_group_make_intervals_wider() -> None:
    rows = [{"gold": ["bad"], "predicted": [LABELS[at % 20 // 10]]} for at in range(200)]
    apart = score([make_table(rows)], LABELS, "sequence")["weighted_recall"]
    grouped = [{**row, "group": f"g{at // 10}"} for at, row in enumerate(rows)]
    together = score([make_table(grouped)], LABELS, "sequence")["weighted_recall"]
    assert apart.value == together.value == 0.5
    assert width(together) > 2.5 * width(apart)


def width(estimate: Estimate) -> float:
    assert estimate.low is not None and estimate.high is not None
    return estimate.high - estimate.low


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_the_order_of_rows_changes_no_digit(kind: str) -> None:
    tables = draw_sequences(num=600) if kind == "sequence" else draw_tokens()
    order = pa.array(np.random.default_rng(1).permutation(len(tables[0])))
    labels = LABELS if kind == "sequence" else TAGS
    shuffled = [table.take(order) for table in tables]
    assert score(shuffled, labels, kind) == score(tables, labels, kind)


def test_another_seed_draws_others() -> None:
    tables = draw_sequences()
    found = [score(tables, LABELS, "sequence", seed=seed)["macro_f1"] for seed in (1, 2)]
    assert found[0].value == found[1].value and found[0].low != found[1].low


# What is undefined ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_no_examples_have_no_metrics(kind: str) -> None:
    found = score([make_table([])], TAGS, kind)
    assert set(found.values()) == {Estimate(None, reason="no examples")}


@pytest.mark.parametrize("pair", [("bad", "good"), ("good", "bad")])
def test_one_class_in_gold_or_predicted_has_no_correlation(pair: tuple[str, str]) -> None:
    found = score([make_pairs([("bad", "bad"), pair])], LABELS, "sequence")
    assert found["mcc"] == Estimate(None, reason="one class only, in gold or predicted")
    assert found["weighted_recall"].value == 0.5


def test_a_metric_that_is_undefined_for_one_seed_is_undefined() -> None:
    fine = make_pairs([("bad", "bad"), ("good", "good")])
    collapsed = make_pairs([("bad", "bad"), ("good", "bad")])
    found = score([fine, collapsed], LABELS, "sequence")
    assert found["mcc"].value is None and found["weighted_recall"].value == 0.75


def test_resamples_in_which_a_metric_is_undefined_are_left_out() -> None:
    pairs = [("bad", "bad")] * 5 + [("good", "good")]
    found = score([make_pairs(pairs)], LABELS, "sequence")
    assert found["mcc"] == Estimate(1, 1, 1)


@pytest.mark.parametrize("num_without", [1, 3])
def test_without_probabilities_there_is_no_calibration(num_without: int) -> None:
    row = {"gold": ["bad"], "predicted": ["bad"]}
    rows = [{**row, "probabilities": [1, 0, 0]}] * (3 - num_without) + [row] * num_without
    found = score([make_table(rows)], LABELS, "sequence")
    assert found["ece"] == found["brier"] == Estimate(None, reason="gives no probabilities")


def test_without_entities_there_are_no_ratios_of_them() -> None:
    found = score([make_pairs([(["O"], ["O"])] * 2)], TAGS, "token")
    reasons = {
        "entity_f1": "no entities, in gold or predicted",
        "entity_precision": "no entities predicted",
        "entity_recall": "no entities in gold",
    }
    assert {name: found[name] for name in reasons} == {
        name: Estimate(None, reason=reason) for name, reason in reasons.items()
    }
    assert found["token_accuracy"] == Estimate(1, 1, 1)


def test_entities_that_are_only_predicted_make_f1_zero_and_recall_undefined() -> None:
    found = score([make_pairs([(["O"], ["B-Class"])] * 2)], TAGS, "token")
    assert (found["entity_f1"].value, found["entity_precision"].value) == (0, 0)
    assert found["entity_recall"].value is None


def test_one_group_has_no_interval() -> None:
    rows = [{"gold": ["bad"], "predicted": [said], "group": "g"} for said in LABELS]
    found = score([make_table(rows)], LABELS, "sequence")["weighted_recall"]
    reason = "too few leakage groups for an interval"
    assert found == Estimate(pytest.approx(1 / 3), reason=reason)


# Slices and confusion ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_a_slice_is_scored_as_if_there_were_nothing_else(kind: str) -> None:
    tables = draw_sequences() if kind == "sequence" else draw_tokens()
    labels = LABELS if kind == "sequence" else TAGS
    is_in = np.random.default_rng(2).random(len(tables[0])) < 0.4
    alone = score([table.filter(pa.array(is_in)) for table in tables], labels, kind)
    found = score_slices(tables, labels, kind, {"some": is_in, "all": is_in | True})
    assert found["some"] == (is_in.sum(), alone[MAIN_METRIC[kind]])
    assert found["all"] == (len(is_in), score(tables, labels, kind)[MAIN_METRIC[kind]])


def test_an_empty_slice_has_no_examples() -> None:
    tables = draw_sequences()
    found = score_slices(tables, LABELS, "sequence", {"none": np.zeros(len(tables[0]), bool)})
    assert found == {"none": (0, Estimate(None, reason="no examples"))}


def test_confusion_adds_up_seeds_and_keeps_no_answer_apart() -> None:
    tables = draw_sequences()
    known = [*LABELS, NO_ANSWER]
    expected = sum(sk.confusion_matrix(*flatten(table), labels=known) for table in tables)
    found = count_confusion(tables, LABELS)
    assert found.dtype == np.int64 and found[:, -1].sum() > 0
    assert found.tolist() == expected[:-1].tolist()


def test_confusion_of_tags_is_of_tokens() -> None:
    tables = draw_tokens(seeds=1)
    expected = sk.confusion_matrix(*flatten(tables[0]), labels=[*TAGS, NO_ANSWER])
    assert count_confusion(tables, TAGS).tolist() == expected[:-1].tolist()


# What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "kind", "message"),
    [
        ([], "sequence", "no predictions to score"),
        ([make_pairs([("bad", "bad")])], "pairs", "kind is 'pairs'; give one of sequence, token"),
        ([make_pairs([("ugly", "bad")])], "sequence", "label 'ugly' of predictions is none"),
        ([make_pairs([("bad", "ugly")])], "sequence", "label 'ugly' of predictions is none"),
        ([make_pairs([(["bad"] * 2, ["bad"])])], "token", "more or fewer tags than gold"),
        ([make_pairs([("bad", "bad")] * num) for num in (1, 2)], "sequence", "other examples"),
        (
            [make_table([{"gold": ["bad"], "predicted": ["bad"], "probabilities": [1.0]}])],
            "sequence",
            "probabilities are not of 3 labels",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(tables: list[pa.Table], kind: str, message: str) -> None:
    with pytest.raises(BadValue, match=re.escape(message)):
        score(tables, LABELS, kind)


def test_every_metric_has_a_name_for_people() -> None:
    names = [*SEQUENCE_METRICS, *TOKEN_METRICS]
    assert list(METRIC_NAMES) == names and set(MAIN_METRIC.values()) | LOWER_IS_BETTER < set(names)
