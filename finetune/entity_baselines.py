"""Baselines that find entities: strings known from train, and a linear model of a token's window.

    gazetteer   every string that is an entity in train often enough, of its most frequent type,
                the longest match from left to right
    window      a structured perceptron: features of a token and its neighbours, and the tag before

Neither sees the column `markup`, as no encoder does: with the marks of a token and its neighbours
`window` had an entity F1 of 0.567 in place of 0.555 on StackOverflowNER's dev (2026-11-21).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from finetune.choosing import score_validation
from finetune.fitting import Ask, Fitted, Predicted
from finetune.perceptron import Weights, find_tags, forbid_transitions, iter_epochs
from finetune.tasks import TaskData
from labeling.entities import Entity, bio_to_spans, spans_to_bio
from labeling.ner_probes import Tokens, flatten_tokens

Array = np.ndarray[Any, Any]
Known = dict[tuple[str, ...], tuple[str, float]]

THRESHOLDS = tuple(number / 10 for number in range(1, 10))
# Best on validation was the seventh, and the ninth and tenth no better than the sixth
# (StackOverflowNER, 2026-11-21).
MAX_EPOCHS = 10
# Of what train has once, all is one feature: at test it stands for what train has not. Keeping each
# makes three times the features and an F1 lower by 0.01 to 0.02 on validation.
MIN_COUNT = 2


# Gazetteer -----------------------------------------------------------------------------------


def fit_gazetteer(task: TaskData, ask: Ask) -> Fitted:
    """Find the strings that are entities in train.

    Chosen on validation: whether case is folded, and how often a string must be an entity.
    """
    train = task.splits["train"]
    sentences, tags = train["tokens"].to_pylist(), train["label"].to_pylist()
    known_by_fold = {fold: learn_entities(sentences, tags, fold=fold) for fold in (False, True)}
    asked = {split: table["tokens"].to_pylist() for split, table in task.splits.items()}

    def predict(split: str, fold: bool, threshold: float) -> list[list[str]]:
        known = {key: one for key, one in known_by_fold[fold].items() if one[1] >= threshold}
        return [
            spans_to_bio(spans, len(tokens))
            for tokens, spans in zip(
                asked[split], find_known(asked[split], known, fold=fold), strict=True
            )
        ]

    grid = [(fold, threshold) for fold in (False, True) for threshold in THRESHOLDS]
    fold, threshold = max(grid, key=lambda one: score_validation(task, predict("validation", *one)))
    num_known = sum(share >= threshold for _, share in known_by_fold[fold].values())
    return Fitted(
        {split: Predicted(predict(split, fold, threshold)) for split in asked if split != "train"},
        {
            "num_parameters": num_known,
            "chosen": {"fold_case": fold, "threshold": threshold},
            "description": "the tokens of a sentence, looked up among the entities of train",
        },
    )


def learn_entities(
    sentences: Sequence[Sequence[str]], tags: Sequence[Sequence[str]], *, fold: bool
) -> Known:
    """Learn which sequences of tokens are entities.

    Args:
        sentences: their tokens.
        tags: BIO, one a token.
        fold: whether case is folded.

    Returns:
        By sequence: its most frequent type, the first in the alphabet of equals, and the share of
        its occurrences, overlapping ones too, that are an entity.

    >>> learn_entities([["go", "to", "Go"], ["Go"]], [["O", "O", "B-Language"], ["O"]], fold=False)
    {('Go',): ('Language', 0.5)}
    """
    types: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    folded = [_fold(sentence, fold) for sentence in sentences]
    for tokens, given in zip(folded, tags, strict=True):
        for start, end, kind in bio_to_spans(given):
            types[tokens[start:end]][kind] += 1
    lengths = _list_lengths(types)
    seen = Counter(span for tokens in folded for _, span in _iter_matches(tokens, types, lengths))
    return {
        span: (min(counts, key=lambda kind: (-counts[kind], kind)), counts.total() / seen[span])
        for span, counts in types.items()
    }


def find_known(
    sentences: Sequence[Sequence[str]], known: Known, *, fold: bool
) -> Iterator[list[Entity]]:
    """Find the entities of each sentence: from left to right the longest sequence that is known.

    >>> known = {("java",): ("Language", 1.0), ("java", "script"): ("Language", 0.5)}
    >>> next(find_known([["Java", "script", "java"]], known, fold=True))
    [Entity(start=0, end=2, type='Language'), Entity(start=2, end=3, type='Language')]
    """
    lengths = _list_lengths(known)
    for sentence in sentences:
        found: list[Entity] = []
        for start, span in _iter_matches(_fold(sentence, fold), known, lengths):
            if not found or start >= found[-1].end:
                found.append(Entity(start, start + len(span), known[span][0]))
        yield found


def _fold(tokens: Sequence[str], fold: bool) -> tuple[str, ...]:
    return tuple(token.casefold() for token in tokens) if fold else tuple(tokens)


def _list_lengths(spans: Iterable[tuple[str, ...]]) -> dict[str, list[int]]:
    """Return by first token how long spans are, the longest first."""
    lengths: defaultdict[str, set[int]] = defaultdict(set)
    for span in spans:
        lengths[span[0]].add(len(span))
    return {token: sorted(found, reverse=True) for token, found in lengths.items()}


def _iter_matches(
    tokens: tuple[str, ...],
    spans: Container[tuple[str, ...]],
    lengths: Mapping[str, Sequence[int]],
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield all spans of a sentence, by their start; of one start the longest first."""
    for start, token in enumerate(tokens):
        for length in lengths.get(token, ()):
            span = tokens[start : start + length]
            # Where the sentence ends, a slice is a shorter span, which has its own turn.
            if len(span) == length and span in spans:
                yield start, span


# Window --------------------------------------------------------------------------------------


def fit_window(task: TaskData, ask: Ask) -> Fitted:
    """Train a structured perceptron; the epoch after which it stops is chosen on validation."""
    tokens = {split: flatten_tokens(table) for split, table in task.splits.items()}
    rows, num_features = number_features({split: describe(one) for split, one in tokens.items()})
    inputs = {split: _cut(rows[split], one.bounds) for split, one in tokens.items()}
    code_of = {tag: code for code, tag in enumerate(task.labels)}
    gold = [
        np.array([code_of[tag] for tag in tags], "i8")
        for tags in task.splits["train"]["label"].to_pylist()
    ]
    forbidden = forbid_transitions(task.labels)
    rng = np.random.default_rng(ask.seed)

    def predict(split: str, weights: Weights) -> list[list[str]]:
        found = (find_tags(weights, one, forbidden) for one in inputs[split])
        return [[task.labels[code] for code in codes] for codes in found]

    epochs = iter_epochs(inputs["train"], gold, num_features, forbidden, rng)
    _, epoch, weights = max(
        (
            (score_validation(task, predict("validation", weights)), epoch, weights)
            for epoch, weights in enumerate(islice(epochs, MAX_EPOCHS), start=1)
        ),
        key=lambda one: one[0],
    )
    return Fitted(
        {split: Predicted(predict(split, weights)) for split in inputs if split != "train"},
        {
            "num_parameters": int(sum(map(np.count_nonzero, weights))),
            "chosen": {"epochs": epoch},
            "description": (
                "a token's word, case, shape, beginning and end, the two words before and after "
                "it, and the tag before"
            ),
        },
    )


def describe(tokens: Tokens) -> dict[str, pa.Array]:
    """Return what is seen of each token: strings, shape (num_tokens,), by the name of the feature.

    What is beyond the sentence is "".

    >>> table = pa.table({"tokens": [["Use", "HashMap2"], ["!"]]})
    >>> found = describe(flatten_tokens(table))
    >>> found["shape+0"].to_pylist(), found["lower-1"].to_pylist(), found["last3"].to_pylist()
    (['Xx', 'XxXx0', '!'], ['', 'use', ''], ['Use', 'ap2', '!'])
    """
    words = tokens.words
    lower, shape = pc.utf8_lower(words), words
    for pattern, mark in ((r"\p{Lu}+", "X"), (r"\p{Ll}+", "x"), (r"\d+", "0")):
        shape = pc.replace_substring_regex(shape, pattern, mark)
    seen = {f"lower{step:+d}": _shift(lower, tokens, step) for step in range(-2, 3)}
    for step in (-1, 0, 1):
        seen[f"word{step:+d}"] = _shift(words, tokens, step)
        seen[f"shape{step:+d}"] = _shift(shape, tokens, step)
    for length in range(1, 5):
        seen[f"first{length}"] = pc.utf8_slice_codeunits(words, 0, length)
        seen[f"last{length}"] = pc.utf8_slice_codeunits(words, -length)
    for first, second in (("lower-1", "lower+0"), ("lower+0", "lower+1")):
        seen[f"{first} {second}"] = pc.binary_join_element_wise(seen[first], seen[second], " ")
    return seen


def number_features(seen: Mapping[str, Mapping[str, pa.Array]]) -> tuple[dict[str, Array], int]:
    """Number the values of all features that train has MIN_COUNT times.

    Args:
        seen: by split: of each feature the strings of all tokens, as `describe` returns them.

    Returns:
        By split: int64, shape (num_tokens, num_features), a row of `Weights.features` for each;
        and how many rows there are. The first of each feature is of all other values.

    >>> number_features({"train": {"word": pa.array(["a", "b", "a"])}})[0]["train"].tolist()
    [[1], [0], [1]]
    """
    columns: dict[str, list[Array]] = {split: [] for split in seen}
    num_rows = 0
    for name, strings in seen["train"].items():
        counts = pc.value_counts(strings)
        is_kept = pc.greater_equal(counts.field("counts"), MIN_COUNT)
        values = counts.field("values").filter(is_kept)
        for split, features in seen.items():
            places = pc.fill_null(pc.index_in(features[name], values), -1).to_numpy()
            columns[split].append(num_rows + 1 + places.astype("i8"))
        num_rows += 1 + len(values)
    return {split: np.column_stack(some) for split, some in columns.items()}, num_rows


def _cut(rows: Array, bounds: Array) -> list[Array]:
    return [rows[start:end] for start, end in pairwise(bounds.tolist())]


def _shift(values: pa.Array, tokens: Tokens, step: int) -> pa.Array:
    """Return the values of the tokens that are `step` further in the same sentence."""
    places = np.arange(len(values)) + step
    sentence_of = tokens.sentence_of
    is_there = (places >= 0) & (places < len(values))
    places[~is_there] = 0
    is_there &= sentence_of[places] == sentence_of
    return pc.fill_null(values.take(pa.array(places, mask=~is_there)), "")
