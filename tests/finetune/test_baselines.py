"""Baselines of sequence tasks: what each can tell, and that none learns but from train."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score

from corpus.errors import StoreError
from finetune.baselines import (
    BOOSTED,
    FIT_BY_KIND,
    GRAMS,
    LINEAR,
    TREE,
    Family,
    _weigh_grams,
)
from finetune.choosing import score_validation
from finetune.fitting import Ask, Fitted, Predicted
from finetune.recipe import PATH_KINDS, ModelKind
from finetune.tasks import TaskData
from tests.finetune.conftest import make_sequence_task, make_token_task

MakeAsk = Callable[..., Ask]
Rows = list[tuple[str, str]]
LEARNED = ("metadata", "markup", "tfidf")
SEQUENCE_BASELINES = ("majority", *LEARNED)
TOPICS = {"bad": ("plz", "urgent", "help"), "good": ("theorem", "compile", "stack")}


def topic_rows(seed: int, num: int = 40, *, flip: bool = False) -> Rows:
    """Texts whose words tell the label; good ones have a list, which is a mark of a format."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num):
        label = ("bad", "good")[number % 2]
        words = " ".join(rng.choice(TOPICS[label], 6))
        text = f"- {words}" if label == "good" else words
        rows.append((text, {"bad": "good", "good": "bad"}[label] if flip else label))
    return rows


def topic_task(**splits: Rows) -> TaskData:
    given = {"train": topic_rows(1), "validation": topic_rows(2, 12), "test": topic_rows(3, 10)}
    return with_metadata(make_sequence_task({**given, **splits}), score_of_label)


def score_of_label(row: dict[str, Any]) -> list[dict[str, Any]]:
    known = {"name": "score", "value": float(row["label"] == "good")}
    return [known, {"name": "views", "value": None}]


def with_metadata(
    task: TaskData, make: Callable[[dict[str, Any]], list[dict[str, Any]]]
) -> TaskData:
    splits = {
        split: pa.Table.from_pylist(
            [{**row, "metadata": make(row)} for row in table.to_pylist()], table.schema
        )
        for split, table in task.splits.items()
    }
    return replace(task, splits=splits)


def fit(kind: str, task: TaskData, make_ask: MakeAsk, **sections: Any) -> Fitted:
    return FIT_BY_KIND[kind](task, make_ask({"kind": kind}, **sections))


def is_right(task: TaskData, predicted: Predicted, split: str = "test") -> list[bool]:
    gold = task.splits[split]["label"].to_pylist()
    return [one == other for one, other in zip(gold, predicted.labels, strict=True)]


# What each can tell --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LEARNED)
def test_what_a_baseline_sees_is_found(kind: str, make_ask: MakeAsk) -> None:
    task = topic_task()
    found = fit(kind, task, make_ask).predicted
    assert all(is_right(task, found["validation"], "validation"))
    assert all(is_right(task, found["test"]))


@pytest.mark.parametrize(
    ("kind", "blind_to"),
    [("metadata", "text"), ("markup", "metadata"), ("tfidf", "metadata")],
)
def test_what_a_baseline_must_not_see_changes_nothing(
    kind: str, blind_to: str, make_ask: MakeAsk
) -> None:
    task = topic_task()
    blinded = {}
    for split, table in task.splits.items():
        place = table.column_names.index(blind_to)
        column = table[blind_to].take(pa.array(np.arange(len(table))[::-1]))
        blinded[split] = table.set_column(place, blind_to, column)
    first, second = (fit(kind, one, make_ask) for one in (task, replace(task, splits=blinded)))
    assert_same(first, second)


def test_words_are_no_markup(make_ask: MakeAsk) -> None:
    rows = [(text.removeprefix("- "), label) for text, label in topic_rows(1)]
    found = fit("markup", topic_task(train=rows, validation=rows, test=rows), make_ask)
    assert len(set(found.predicted["test"].labels)) == 1
    assert found.figures["num_parameters"] == 1


def test_majority_is_the_most_frequent_label_of_train_by_its_share(make_ask: MakeAsk) -> None:
    rows = {"train": ["b", "b", "a", "c"], "validation": ["a"], "test": ["a", "c"]}
    task = make_sequence_task({s: [("x", label) for label in some] for s, some in rows.items()})
    found = fit("majority", task, make_ask).predicted["test"]
    assert found.labels == ["b", "b"]
    assert found.probabilities is not None
    np.testing.assert_array_equal(found.probabilities, [[0.25, 0.5, 0.25]] * 2)


def test_of_equally_frequent_labels_majority_is_the_first(make_ask: MakeAsk) -> None:
    task = topic_task()
    assert set(fit("majority", task, make_ask).predicted["test"].labels) == {"bad"}


def test_majority_of_tokens_is_outside(make_ask: MakeAsk) -> None:
    rows = [(["use", "map"], ["O", "B-Class"]), (["map"], ["B-Class"])]
    task = make_token_task({"train": rows, "validation": rows, "test": rows})
    found = fit("majority", task, make_ask).predicted
    assert set(found) == {"validation", "test"}
    assert found["test"].labels == [["O", "O"], ["O"]]
    assert found["test"].probabilities is None


# Metadata ------------------------------------------------------------------------------------


def test_that_a_number_is_absent_can_tell(make_ask: MakeAsk) -> None:
    def absent(row: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"name": "score", "value": 1.0 if row["label"] == "good" else None}]

    task = with_metadata(topic_task(), absent)
    assert all(is_right(task, fit("metadata", task, make_ask).predicted["test"]))


def test_numbers_are_matched_by_their_names(make_ask: MakeAsk) -> None:
    """Test has one that train has not, which comes before the others."""
    task = topic_task()
    other = with_metadata(task, lambda row: [{"name": "age", "value": -9.0}, *score_of_label(row)])
    task = replace(task, splits={**task.splits, "test": other.splits["test"]})
    found = fit("metadata", task, make_ask)
    assert all(is_right(task, found.predicted["test"]))
    assert found.figures["description"].endswith(": score")


def test_a_number_that_a_split_lacks_is_absent_there(make_ask: MakeAsk) -> None:
    task = with_metadata(topic_task(), lambda row: score_of_label(row)[: row["label"] == "good"])
    other = with_metadata(task, lambda row: [{"name": "age", "value": 1.0}])
    task = replace(task, splits={**task.splits, "test": other.splits["test"]})
    assert set(fit("metadata", task, make_ask).predicted["test"].labels) == {"bad"}


@pytest.mark.parametrize("given", [[], [{"name": "score", "value": None}]])
def test_without_metadata_the_message_says_what_to_do(given: Any, make_ask: MakeAsk) -> None:
    task = with_metadata(topic_task(), lambda row: given)
    with pytest.raises(StoreError, match="'toy' has no metadata in train; take models of kind"):
        fit("metadata", task, make_ask)


# TF-IDF --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(GRAMS)))
def test_hashed_grams_are_those_of_a_vocabulary(number: int) -> None:
    """Angles between texts are the same: nothing collides in a few texts."""
    task = topic_task()
    parts, start = {}, 0
    for part, grams in enumerate(GRAMS):
        oracle = TfidfVectorizer(**grams, sublinear_tf=True)
        known = oracle.fit_transform(task.splits["train"]["text"].to_pylist())
        parts[part] = (start, known, oracle.transform(task.splits["test"]["text"].to_pylist()))
        start += known.shape[1]
    rows = _weigh_grams(task)
    assert rows["train"].shape[1] == start
    begin, known, asked = parts[number]
    columns = slice(begin, begin + known.shape[1])
    got = (rows["test"][:, columns] @ rows["train"][:, columns].T).toarray()
    np.testing.assert_allclose(got, (asked @ known.T).toarray(), atol=1e-6)


def test_parts_of_words_are_seen(make_ask: MakeAsk) -> None:
    """Words that train has not, made of what its words are made of."""
    train = [
        (f"{word}{n}", label) for n in range(20) for word, label in (("aaaa", "a"), ("bbbb", "b"))
    ]
    test = [("xaaaay", "a"), ("xbbbby", "b")]
    task = make_sequence_task({"train": train, "validation": test, "test": test})
    assert all(is_right(task, fit("tfidf", task, make_ask).predicted["test"]))


# All of them ---------------------------------------------------------------------------------


def assert_same(first: Fitted, second: Fitted) -> None:
    assert first.figures == second.figures
    for split, found in first.predicted.items():
        other = second.predicted[split]
        assert found.labels == other.labels
        assert found.probabilities is not None and other.probabilities is not None
        np.testing.assert_array_equal(found.probabilities, other.probabilities)


@pytest.mark.parametrize("kind", SEQUENCE_BASELINES)
def test_a_class_that_train_lacks_has_no_probability(kind: str, make_ask: MakeAsk) -> None:
    task = topic_task(test=[*topic_rows(3, 10), ("- stack", "aaa")])
    found = fit(kind, task, make_ask).predicted["test"]
    assert task.labels == ("aaa", "bad", "good")
    assert found.probabilities is not None
    assert found.probabilities.shape == (11, 3) and found.probabilities.dtype == np.float32
    assert not found.probabilities[:, 0].any()
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert found.labels == [task.labels[at] for at in found.probabilities.argmax(axis=1)]


@pytest.mark.parametrize("kind", SEQUENCE_BASELINES)
def test_a_train_of_one_class_gives_that_class(kind: str, make_ask: MakeAsk) -> None:
    task = topic_task(train=[(text, "good") for text, _ in topic_rows(1)])
    found = fit(kind, task, make_ask).predicted["test"]
    assert set(found.labels) == {"good"}
    assert found.probabilities is not None
    np.testing.assert_array_equal(found.probabilities[:, 1], 1)


@pytest.mark.parametrize("kind", SEQUENCE_BASELINES)
def test_every_split_but_train_is_predicted(kind: str, make_ask: MakeAsk) -> None:
    task = topic_task()
    task = replace(task, splits={**task.splits, "other": task.splits["test"].slice(0, 3)})
    found = fit(kind, task, make_ask).predicted
    assert {split: len(one.labels) for split, one in found.items()} == {
        "validation": 12,
        "test": 10,
        "other": 3,
    }


@pytest.mark.parametrize("kind", SEQUENCE_BASELINES)
def test_labels_of_test_are_not_looked_at(kind: str, make_ask: MakeAsk) -> None:
    task, flipped = topic_task(), make_sequence_task({"test": topic_rows(3, 10, flip=True)})
    labels = flipped.splits["test"]["label"]
    place = task.splits["test"].column_names.index("label")
    test = task.splits["test"].set_column(place, "label", labels)
    other = replace(task, splits={**task.splits, "test": test})
    assert_same(fit(kind, task, make_ask), fit(kind, other, make_ask))


@pytest.mark.parametrize(
    ("kind", "family"), [("metadata", BOOSTED), ("markup", TREE), ("tfidf", LINEAR)]
)
def test_the_first_of_those_best_on_validation_is_chosen(
    kind: str, family: Family, make_ask: MakeAsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, nums_asked = iter([0.1, 0.3, 0.3, 0.2]), []

    def score(task: TaskData, labels: list[str]) -> float:
        nums_asked.append(len(labels))
        return next(scores)

    monkeypatch.setattr("finetune.baselines.score_validation", score)
    assert fit(kind, topic_task(), make_ask).figures["chosen"] == family.grid[1]
    assert nums_asked == [12] * len(family.grid)


@pytest.mark.parametrize("kind", LEARNED)
def test_balanced_class_weights_favour_the_rare_class(kind: str, make_ask: MakeAsk) -> None:
    rows = [("same", "good" if number % 10 == 0 else "bad") for number in range(60)]
    task = make_sequence_task({"train": rows, "validation": rows[:20], "test": rows[:1]})
    task = with_metadata(task, lambda row: [{"name": "score", "value": 1.0}])

    def rare(**sections: Any) -> float:
        found = fit(kind, task, make_ask, **sections).predicted["test"]
        assert found.probabilities is not None
        return float(found.probabilities[0, 1])

    assert rare() == pytest.approx(0.1, abs=0.02)
    assert rare(training={"class_weights": "balanced"}) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("kind", SEQUENCE_BASELINES)
def test_figures_say_what_was_fitted(kind: str, make_ask: MakeAsk) -> None:
    figures = fit(kind, topic_task(), make_ask).figures
    assert set(figures) == {"num_parameters", "chosen", "description"}
    assert type(figures["num_parameters"]) is int and figures["num_parameters"] > 0


def test_every_kind_that_needs_no_model_has_a_baseline() -> None:
    assert set(FIT_BY_KIND) == set(get_args(ModelKind)) - {*PATH_KINDS, "zero_shot"}


@pytest.mark.slow
def test_baselines_need_no_torch() -> None:
    code = "import sys, finetune.baselines; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What models are chosen by -------------------------------------------------------------------


def test_the_metric_of_validation_is_macro_f1() -> None:
    task = topic_task()
    gold = task.splits["validation"]["label"].to_pylist()
    said = ["good"] * 9 + gold[9:]
    oracle = f1_score(gold, said, average="macro")
    assert score_validation(task, said) == pytest.approx(oracle, abs=1e-12)


def test_no_answer_is_wrong() -> None:
    task = make_sequence_task({"validation": [("x", "a"), ("y", "b")]})
    assert score_validation(task, ["a", None]) == 0.5


def test_where_the_metric_is_undefined_any_other_is_better() -> None:
    task = make_token_task({"validation": [(["x"], ["O"])]})
    assert score_validation(task, [["O"]]) == -np.inf < score_validation(task, [["B-Class"]])
