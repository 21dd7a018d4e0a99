"""Probes of token labelling: what each finds, and that it sees nothing else."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import BadValue
from corpus.recipe import Split
from labeling.conll import NerFile, Post, Sentence, read_ner_file
from labeling.entities import TYPES_BY_LIST, TYPES_LOADER, bio_to_spans
from labeling.ner import Examples, make_ner_examples
from labeling.ner_probes import (
    PROBES,
    SHAPES,
    encode_tags,
    find_spans,
    flatten_tokens,
    probe_ner,
)
from labeling.recipe import NerSection, ProbesSection

RECIPE = ProbesSection(resamples=200)
Tagged = list[tuple[str, str, str]]
REASONS = ("placeholder", "mixed_placeholder")


def examples_of(**threads: list[list[Tagged]]) -> Examples:
    """Make examples of threads, each one question of sentences of (word, tag, markup)."""
    splits: tuple[Split, ...] = ("train", "validation", "test")
    files, question_id = [], 0
    for split in splits:
        posts = []
        for sentences in threads.get(split, []):
            question_id += 1
            parts = tuple(
                Sentence(number, 1, *_columns(tagged), ())
                for number, tagged in enumerate(sentences, start=1)
            )
            posts.append(Post("question", question_id, 0, "", 1, parts, ()))
        files.append(NerFile(split, split, tuple(posts), 0, dict.fromkeys(REASONS, 0), 0))
    return make_ner_examples(files, NerSection())


def _columns(tagged: Tagged) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    words, tags, markup = zip(*tagged, strict=True)
    return words, tags, markup


def values(examples: Examples, form: str = "loader", metric: str = "entity_f1") -> dict[str, float]:
    rows = probe_ner(examples, RECIPE)
    return {
        row["probe"]: row["value"]
        for row in rows
        if row["form"] == form and row["metric"] == metric
    }


def plain(*words: str) -> Tagged:
    return [(word, "O", "O") for word in words]


def naive_f1(gold: list[list[str]], predicted: list[list[str]]) -> float:
    """Micro F1 of entities, by sets."""
    spans = [
        {(number, *span) for number, tags in enumerate(side) for span in bio_to_spans(tags)}
        for side in (gold, predicted)
    ]
    total = len(spans[0]) + len(spans[1])
    return 2 * len(spans[0] & spans[1]) / total if total else 0.0


TAGS = st.lists(
    st.sampled_from(["O", "B-Algorithm", "I-Algorithm", "B-Class", "I-Class"]), min_size=1
)
CODES = {"O": 0, "B-Algorithm": 1, "I-Algorithm": 2, "B-Class": 3, "I-Class": 4}


@given(st.lists(TAGS, min_size=1))
def test_spans_of_codes_are_those_of_tags(sentences: list[list[str]]) -> None:
    codes = np.array([CODES[tag] for tags in sentences for tag in tags])
    starts = np.array([place == 0 for tags in sentences for place in range(len(tags))])
    expected, origin = [], 0
    for tags in sentences:
        expected += [(origin + start, origin + end) for start, end, _ in bio_to_spans(tags)]
        origin += len(tags)
    assert [*zip(*map(np.ndarray.tolist, find_spans(codes, starts)), strict=True)] == expected


def test_words_are_found_by_the_word_alone() -> None:
    train = [[[("map", "B-Class", "O"), ("me", "O", "O")]]]
    test = [[[("map", "B-Class", "O"), ("you", "O", "O")], plain("map")]]
    assert values(examples_of(train=train, test=test))["words"] == pytest.approx(2 / 3)


def test_markup_is_seen_with_its_neighbours() -> None:
    pair: Tagged = [("a", "B-Class", "B-Code_Block"), ("b", "I-Class", "I-Code_Block")]
    single: Tagged = [("c", "B-Variable_Name", "B-Code_Block"), ("d", "O", "O")]
    other: Tagged = [("e", "B-Class", "B-Code_Block"), ("f", "I-Class", "I-Code_Block")]
    found = values(examples_of(train=[[pair, single]], test=[[other, single]]))
    assert found["markup"] == 1.0
    assert found["majority"] == 0.0


def test_markup_before_a_token_is_seen() -> None:
    train = [[[("x", "O", "B-Keyboard_IP"), ("y", "B-Class", "O")], plain("y")]]
    test = [[[("a", "O", "B-Keyboard_IP"), ("b", "B-Class", "O")], plain("c")]]
    assert values(examples_of(train=train, test=test))["markup"] == 1.0


def test_a_place_in_the_sentence_gives_itself_away() -> None:
    """As far from the beginning, or from the end, as others that are none."""
    others = [[plain(*"xxxx")], [plain(*"xxxx")], [plain(*"xxxxxx")], [plain(*"xxxxxx")]]
    train = [*others, [[*plain("x", "x"), ("y", "B-Class", "O"), *plain("z", "z")]]]
    test = [[[*plain("a", "a"), ("b", "B-Class", "O"), *plain("c", "c")]]]
    found = values(examples_of(train=train, test=test))
    assert found.pop("position") == 1.0
    assert set(found.values()) == {0.0}


def test_a_place_in_the_post_gives_itself_away() -> None:
    train = [[plain("x"), [("y", "B-Class", "O")], plain("z"), plain("w")]]
    test = [[plain("a"), [("b", "B-Class", "O")], plain("c")]]
    found = values(examples_of(train=train, test=test))
    assert found.pop("position") == 1.0
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize(
    ("word", "shapes"),
    [
        ("main.py", {"dot_extension"}),
        ("etc.", set()),
        ("run()", {"parentheses"}),
        ("`x`", {"backtick"}),
        ("HTML", {"all_capitals"}),
        ("I", set()),
        ("v2.0.1", {"version"}),
        ("2.x", {"version", "dot_extension"}),
        ("42", {"number"}),
        ("HashMap", {"inner_capital"}),
        ("MAX_SIZE", {"all_capitals", "underscore"}),
        ("<br/>", {"angle_brackets"}),
        ("http://x.org", {"url", "dot_extension"}),
        ("words", set()),
    ],
)
def test_shapes_are_give_away_strings(word: str, shapes: set[str]) -> None:
    assert {name for name, pattern in SHAPES.items() if re.search(pattern, word)} == shapes
    examples = examples_of(train=[[plain(word)]])
    (key,) = PROBES["shape"](examples.table, flatten_tokens(examples.table)).tolist()
    assert {name for bit, name in enumerate(SHAPES) if key >> bit & 1} == shapes


def test_probes_know_nothing_of_what_they_are_asked() -> None:
    """Other labels in validation change no prediction: a copy of train with all labels gone."""
    tagged: list[list[Tagged]] = [[[("map", "B-Class", "O"), ("run()", "B-Library_Function", "O")]]]
    bare = [[plain("map", "run()")]]
    assert values(examples_of(train=tagged, validation=tagged))["words"] == 1.0
    assert values(examples_of(train=bare, validation=tagged)) == dict.fromkeys(PROBES, 0.0)


def test_test_is_evaluated_and_validation_only_without_it() -> None:
    tagged: list[list[Tagged]] = [[[("map", "B-Class", "O")]]]
    bare = [[plain("map")], [plain("map")]]
    both = examples_of(train=tagged, validation=tagged, test=bare)
    assert values(both)["words"] == 0.0
    assert {row["num_examples"] for row in probe_ner(both, RECIPE)} == {2}
    assert values(examples_of(train=tagged, validation=tagged))["words"] == 1.0


@pytest.mark.parametrize("split", ["train", "validation"])
def test_without_one_side_there_is_nothing_to_probe(split: str) -> None:
    with pytest.raises(BadValue, match="need train and test or validation"):
        probe_ner(examples_of(**{split: [[plain("map")]]}), RECIPE)


def test_the_lists_of_types_are_probed_apart() -> None:
    tagged: list[list[Tagged]] = [[[("1.5", "B-Value", "O"), ("out", "B-Output_Block", "O")]]]
    examples = examples_of(
        train=tagged, test=[[[("1.5", "B-Value", "O"), ("other", "B-Output_Block", "O")]]]
    )
    assert values(examples, "paper")["words"] == 1.0
    assert values(examples, "loader")["words"] == 0.0
    assert values(examples, "loader", "token_accuracy")["words"] == 0.5


# The published files -------------------------------------------------------------------------


@pytest.fixture(scope="session")
def published(shared_data: Path) -> Examples:
    folder = shared_data / "bench" / "ner"
    files = [
        read_ner_file(folder / "train.txt", "train"),
        read_ner_file(folder / "dev.txt", "validation"),
    ]
    return make_ner_examples(files, NerSection())


def test_codes_are_the_tags_of_the_examples(published: Examples) -> None:
    tokens = flatten_tokens(published.table)
    codes = encode_tags(published.table, tokens, TYPES_LOADER)
    names = ["O", *(f"{prefix}-{name}" for name in TYPES_LOADER for prefix in "BI")]
    tags = [tag for tags in published.table["ner_tags"].to_pylist() for tag in tags]
    assert [names[code] for code in codes.tolist()] == tags


def test_words_score_as_an_oracle_does(published: Examples) -> None:
    counts: dict[str, dict[str, int]] = {}
    gold: list[list[str]] = []
    asked: list[list[str]] = []
    order = ["O", *(f"{prefix}-{name}" for name in TYPES_LOADER for prefix in "BI")]
    for row in published.table.select(["tokens", "ner_tags", "split_published"]).to_pylist():
        if row["split_published"] != "train":
            gold.append(row["ner_tags"])
            asked.append(row["tokens"])
            continue
        for word, tag in zip(row["tokens"], row["ner_tags"], strict=True):
            of_word = counts.setdefault(word, {})
            of_word[tag] = of_word.get(tag, 0) + 1
    best = {
        word: max(found, key=lambda tag: (found[tag], -order.index(tag)))
        for word, found in counts.items()
    }
    predicted = [[best.get(word, "O") for word in words] for words in asked]
    assert values(published)["words"] == pytest.approx(naive_f1(gold, predicted), abs=1e-12)


def test_the_probes_of_the_published_files_are_quick_and_the_same_again(
    published: Examples,
) -> None:
    start = time.process_time()
    rows: list[dict[str, Any]] = probe_ner(published, RECIPE)
    assert time.process_time() - start < 20
    assert rows == probe_ner(published, RECIPE)
    assert len(rows) == len(PROBES) * len(TYPES_BY_LIST) * 2
    for row in rows:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        assert row["num_examples"] == 2_936
    found = values(published)
    assert found["majority"] == 0.0
    assert 0 < found["markup"] < found["words"] < 0.5
