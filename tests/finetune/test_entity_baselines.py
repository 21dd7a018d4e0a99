"""Baselines of entities: strings that are known, a token's window, well-formed tags."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.baselines import FIT_BY_KIND
from finetune.entity_baselines import (
    MAX_EPOCHS,
    describe,
    find_known,
    learn_entities,
    number_features,
)
from finetune.fitting import Ask, Fitted
from finetune.perceptron import Weights, find_tags, forbid_transitions, iter_epochs
from finetune.tasks import TaskData, list_tags
from labeling.entities import bio_to_spans, repair_bio, spans_to_bio
from labeling.ner_probes import flatten_tokens
from tests.finetune.conftest import make_token_task

MakeAsk = Callable[..., Ask]
Rows = list[tuple[list[str], list[str]]]
KINDS = ("gazetteer", "window")
TAGS = ("O", "B-Class", "I-Class", "B-Version", "I-Version")


def rows(*sentences: str) -> Rows:
    """Rows of sentences as "use Hash/B-Class map/I-Class"."""
    pairs = [[word.partition("/") for word in sentence.split()] for sentence in sentences]
    return [([w for w, _, _ in some], [tag or "O" for _, _, tag in some]) for some in pairs]


def fit(kind: str, task: TaskData, make_ask: MakeAsk, seed: int = 1) -> Fitted:
    return FIT_BY_KIND[kind](task, make_ask({"kind": kind}, seed))


def predict(kind: str, train: Rows, asked: Rows, make_ask: MakeAsk) -> Sequence[Any]:
    """Fit with train as validation, and return the tags of what is asked."""
    task = make_token_task({"train": train, "validation": train, "test": asked})
    return fit(kind, task, make_ask).predicted["test"].labels


# Gazetteer -----------------------------------------------------------------------------------


def test_a_known_string_is_found_anywhere(make_ask: MakeAsk) -> None:
    train = rows("use Hash/B-Class map/I-Class now")
    assert predict("gazetteer", train, rows("a Hash map Hash map"), make_ask) == [
        ["O", "B-Class", "I-Class", "B-Class", "I-Class"]
    ]


def test_the_longest_match_from_left_to_right_wins() -> None:
    known = {
        ("a",): ("Class", 1.0),
        ("a", "b"): ("Version", 1.0),
        ("b", "c", "d"): ("Device", 1.0),
        ("c",): ("Class", 1.0),
    }
    (found,) = find_known([["a", "b", "c", "d", "a"]], known, fold=False)
    assert found == [(0, 2, "Version"), (2, 3, "Class"), (4, 5, "Class")]


def test_a_string_is_of_its_most_frequent_type() -> None:
    given = rows("x/B-Version", "x/B-Class", "x/B-Version", "y/B-Version", "y/B-Class")
    known = learn_entities(*zip(*given, strict=True), fold=False)
    assert known == {("x",): ("Version", 1.0), ("y",): ("Class", 1.0)}


def test_the_share_is_of_all_occurrences_of_the_sequence() -> None:
    given = rows("a/B-Class a/I-Class a a", "b a a/B-Class")
    known = learn_entities(*zip(*given, strict=True), fold=False)
    assert known == {("a", "a"): ("Class", 1 / 4), ("a",): ("Class", 1 / 6)}


TAGGED = st.lists(st.tuples(st.sampled_from("aAb"), st.sampled_from(TAGS)), max_size=6)


@settings(max_examples=50)
@given(st.lists(TAGGED, max_size=4), st.booleans())
def test_shares_are_those_of_counting_all_slices(
    sentences: list[list[tuple[str, str]]], fold: bool
) -> None:
    words = [[word for word, _ in some] for some in sentences]
    tags = [repair_bio([tag for _, tag in some])[0] for some in sentences]
    known = learn_entities(words, tags, fold=fold)
    folded = [[word.lower() if fold else word for word in some] for some in words]
    for span, (_, share) in known.items():
        size = len(span)
        slices = [
            (tuple(some[at : at + size]), (at, at + size) in {one[:2] for one in bio_to_spans(of)})
            for some, of in zip(folded, tags, strict=True)
            for at in range(len(some) - size + 1)
        ]
        outcomes = [is_entity for found, is_entity in slices if found == span]
        assert share == sum(outcomes) / len(outcomes)


def test_folding_case_is_chosen_on_validation(make_ask: MakeAsk) -> None:
    train = rows("use java/B-Language now", "Go/B-Language", "i go", "go", "go")
    folded, cased = rows("Java/B-Language"), rows("Go/B-Language now", "go", "go", "go")
    for validation, expected in ((folded, True), (cased, False)):
        task = make_token_task({"train": train, "validation": validation, "test": train})
        assert fit("gazetteer", task, make_ask).figures["chosen"]["fold_case"] is expected


def test_the_threshold_is_chosen_on_validation(make_ask: MakeAsk) -> None:
    train = rows("x/B-Class", "x", "y/B-Class")
    for validation, num_known in ((rows("x/B-Class y/B-Class"), 2), (rows("x y/B-Class"), 1)):
        task = make_token_task({"train": train, "validation": validation, "test": train})
        figures = fit("gazetteer", task, make_ask).figures
        assert figures["num_parameters"] == num_known
        assert (figures["chosen"]["threshold"] > 0.5) == (num_known == 1)


# What the window sees ------------------------------------------------------------------------


def test_a_window_ends_with_its_sentence() -> None:
    task = make_token_task({"train": rows("one two", "three four")})
    seen = describe(flatten_tokens(task.splits["train"]))
    assert seen["lower-1"].to_pylist() == ["", "one", "", "three"]
    assert seen["lower+2"].to_pylist() == ["", "", "", ""]
    assert seen["lower+0 lower+1"].to_pylist() == ["one two", "two ", "three four", "four "]


def test_all_that_train_lacks_is_one_feature_and_so_is_what_it_has_once() -> None:
    seen = {
        "train": {"x": pa.array(["a", "b", "a"]), "y": pa.array(["c", "c", "c"])},
        "test": {"x": pa.array(["b", "new", "a"]), "y": pa.array(["c", "a", ""])},
    }
    numbers, num_rows = number_features(seen)
    assert num_rows == 4
    assert numbers["train"].tolist() == [[1, 3], [0, 3], [1, 3]]
    assert numbers["test"].tolist() == [[0, 3], [0, 2], [1, 2]]


def test_a_neighbour_tells_what_an_unknown_word_is(make_ask: MakeAsk) -> None:
    names = ["abc", "def", "ghi", "jkl", "mno", "pqr"]
    train = rows(*(f"class {x}/B-Class is" for x in names), *(f"the {x} is" for x in names))
    assert predict("window", train, rows("class xyz is", "the xyz is"), make_ask) == [
        ["O", "B-Class", "O"],
        ["O", "O", "O"],
    ]


def test_the_shape_tells_what_an_unknown_word_is(make_ask: MakeAsk) -> None:
    train = rows(*(f"see {x}{x}.{x}/B-Version for {x}" for x in range(10)), "see me for you")
    assert predict("window", train, rows("see 77.9 for you"), make_ask) == [
        ["O", "B-Version", "O", "O"]
    ]


# The perceptron ------------------------------------------------------------------------------


def score_path(weights: Weights, given: np.ndarray[Any, Any], path: Sequence[int]) -> int:
    before = [len(TAGS), *path[:-1]]
    features = sum(
        int(weights.features[row, tag].sum()) for row, tag in zip(given, path, strict=True)
    )
    return features + sum(int(weights.transitions[pair]) for pair in zip(before, path, strict=True))


def is_well_formed(tags: Sequence[str]) -> bool:
    return spans_to_bio(bio_to_spans(tags), len(tags)) == list(tags)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_tags_found_are_the_best_of_all_well_formed_sequences(seed: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    weights = Weights(rng.integers(-9, 10, (6, 5)), rng.integers(-9, 10, (6, 5)))
    given = rng.integers(0, 6, (length, 3))
    legal = [
        path
        for path in product(range(len(TAGS)), repeat=length)
        if is_well_formed([TAGS[code] for code in path])
    ]
    found = find_tags(weights, given, forbid_transitions(TAGS)).tolist()
    assert tuple(found) in legal
    assert score_path(weights, given, found) == max(score_path(weights, given, p) for p in legal)


def test_a_sentence_without_tokens_has_no_tags() -> None:
    weights = Weights(np.zeros((1, 5), "i8"), np.zeros((6, 5), "i8"))
    assert find_tags(weights, np.zeros((0, 3), "i8"), forbid_transitions(TAGS)).tolist() == []


def test_averaged_weights_are_the_sum_of_those_after_every_sentence() -> None:
    """Against a perceptron that adds them all up as it goes."""
    rng = np.random.default_rng(3)
    sentences = [rng.integers(0, 8, (length, 2)) for length in (3, 1, 4, 2)]
    gold = [np.array(one) for one in ([0, 1, 2], [3], [1, 2, 0, 3], [0, 0])]
    forbidden = forbid_transitions(TAGS)
    features, transitions = np.zeros((8, 5), "i8"), np.zeros((6, 5), "i8")
    sums = [np.zeros_like(features), np.zeros_like(transitions)]
    order = np.random.default_rng(5)
    epochs = iter_epochs(sentences, gold, 8, forbidden, np.random.default_rng(5))
    for _, averaged in zip(range(3), epochs, strict=False):
        for number in order.permutation(4):
            given, tags = sentences[number], gold[number]
            said = find_tags(Weights(features, transitions), given, forbidden)
            for path, sign in ((tags.tolist(), 1), (said.tolist(), -1)):
                for row, before, tag in zip(given, [5, *path[:-1]], path, strict=True):
                    transitions[before, tag] += sign
                    for feature in row:
                        features[feature, tag] += sign
            sums[0] += features
            sums[1] += transitions
        np.testing.assert_array_equal(averaged.features, sums[0])
        np.testing.assert_array_equal(averaged.transitions, sums[1])


def test_the_epoch_that_is_best_on_validation_is_kept(
    make_ask: MakeAsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.3, 0.5, 0.5, *[0.2] * MAX_EPOCHS])
    asked = []

    def score(task: TaskData, labels: Sequence[Any]) -> float:
        asked.append(labels)
        return next(scores)

    monkeypatch.setattr("finetune.entity_baselines.score_validation", score)
    task = toy_task()
    found = fit("window", task, make_ask)
    assert found.figures["chosen"] == {"epochs": 3}
    assert found.predicted["validation"].labels == asked[2]
    assert len(asked) == MAX_EPOCHS


# Both ----------------------------------------------------------------------------------------


def toy_task(seed: int = 1) -> TaskData:
    """Words that are entities at random, most of them the same ones."""
    rng = np.random.default_rng(seed)

    def sentences(num: int) -> Rows:
        made = []
        for _ in range(num):
            words = [f"w{number}" for number in rng.integers(0, 12, 8)]
            tags = [
                str(rng.choice(list_tags("loader"))) if word < "w3" or rng.random() < 0.05 else "O"
                for word in words
            ]
            made.append((words, repair_bio(tags)[0]))
        return made

    return make_token_task(
        {"train": sentences(40), "validation": sentences(10), "test": sentences(10)}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_tags_are_well_formed_and_one_a_token(kind: str, make_ask: MakeAsk) -> None:
    task = toy_task()
    task = replace(task, splits={**task.splits, "other": task.splits["test"].slice(2, 3)})
    found = fit(kind, task, make_ask).predicted
    assert set(found) == {"validation", "test", "other"}
    for split, predicted in found.items():
        assert predicted.probabilities is None
        tokens = task.splits[split]["tokens"].to_pylist()
        assert [len(tags or ()) for tags in predicted.labels] == list(map(len, tokens))
        assert all(is_well_formed(tags or ()) for tags in predicted.labels)
        assert {tag for tags in predicted.labels for tag in tags or ()} <= set(task.labels)
    assert found["other"].labels == found["test"].labels[2:5]


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_the_same_again(kind: str, make_ask: MakeAsk) -> None:
    first, second = (fit(kind, toy_task(), make_ask) for _ in range(2))
    assert first.figures == second.figures
    assert first.predicted["test"].labels == second.predicted["test"].labels


@pytest.mark.parametrize("kind", KINDS)
def test_tags_and_markup_of_what_is_asked_are_not_looked_at(kind: str, make_ask: MakeAsk) -> None:
    task = toy_task()
    test = task.splits["test"]
    for name, value in (("label", "O"), ("markup", "B-Code_Block")):
        column = [[value] * len(one) for one in test["tokens"].to_pylist()]
        place = test.column_names.index(name)
        test = test.set_column(place, test.schema.field(name), [column])
    other = replace(task, splits={**task.splits, "test": test})
    first, second = (fit(kind, one, make_ask) for one in (task, other))
    assert first.predicted["test"].labels == second.predicted["test"].labels


@pytest.mark.parametrize("kind", KINDS)
def test_a_train_without_entities_finds_none(kind: str, make_ask: MakeAsk) -> None:
    train, asked = rows("use it", "or not"), rows("use Hash/B-Class")
    task = make_token_task({"train": train, "validation": asked, "test": asked})
    assert fit(kind, task, make_ask).predicted["test"].labels == [["O", "O"]]


@pytest.mark.parametrize("kind", KINDS)
def test_figures_are_json(kind: str, make_ask: MakeAsk) -> None:
    figures = fit(kind, toy_task(), make_ask).figures
    assert set(json.loads(json.dumps(figures))) == {"num_parameters", "chosen", "description"}


def test_a_seed_changes_the_window(make_ask: MakeAsk) -> None:
    first, second = (fit("window", toy_task(), make_ask, seed) for seed in (1, 2))
    assert first.predicted["test"].labels != second.predicted["test"].labels
