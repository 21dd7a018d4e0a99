"""Leak probes of token labelling: what is found by rules that read no meaning.

    majority    every token is O
    markup      what the writer of the post had marked, of a token and its neighbours
    position    where the token is in its sentence, and the sentence in its post
    shape       give-away strings: a file ending, parentheses, capitals, a version number
    words       the word alone

Each gives a token the tag that is most frequent in train for what it sees (the first of equals by
type, O before all; O where it was never seen). A threshold below one half, tuned on train, added at
most 0.03 to the F1 of any. Test is evaluated, or validation where there is no test: micro F1 of
whole entities and accuracy of tokens, with a 95 % bootstrap interval over threads, for both lists
of types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.errors import BadValue
from corpus.manifest import Json
from labeling.entities import TYPES_BY_LIST, merge_type
from labeling.ner import Examples
from labeling.recipe import ProbesSection

Array = np.ndarray[Any, Any]

# RE2. A URL and a chained call have a dot too; a word with a full stop after it has not.
SHAPES = {
    "dot_extension": r"\w?\.[A-Za-z][A-Za-z0-9]{0,5}$",
    "parentheses": r"\(.*\)$",
    "backtick": "`",
    "all_capitals": "^[A-Z][A-Z0-9_]+$",
    "version": r"^v?\d+(\.(\d+|x))+$",
    "number": r"^\d+$",
    "inner_capital": "[a-z][A-Z]",
    "underscore": r"\w_\w",
    "angle_brackets": "^<.+>$",
    "url": "^https?://",
}
# Further in, tokens and sentences are too few to tell apart.
MAX_TOKEN_PLACE, MAX_SENTENCE_PLACE = 15, 10


class Tokens(NamedTuple):
    """All tokens of the examples, one sentence after the other.

    `bounds` int64, shape (num_sentences + 1,): where sentences begin; `sentence_of` int64, shape
    (num_tokens,).
    """

    words: pa.Array
    bounds: Array
    sentence_of: Array


def probe_ner(examples: Examples, recipe: ProbesSection) -> list[Json]:
    """Run every probe under both lists of types.

    Returns:
        Rows of probe, form (the list of types), metric (`entity_f1` or `token_accuracy`), value,
        low, high, and num_examples, the number of sentences evaluated.

    Raises:
        BadValue: no sentences to train on, or none to evaluate.
    """
    table, splits = examples.table, np.array(examples.splits.to_pylist(), object)
    tokens = flatten_tokens(table)
    is_asked = splits == ("test" if (splits == "test").any() else "validation")
    if not is_asked.any() or not (splits == "train").any():
        raise BadValue("the probes need train and test or validation; read a file of each split")
    in_train, asked = (splits == "train")[tokens.sentence_of], is_asked[tokens.sentence_of]
    thread_of = table["thread_id"].to_numpy()[tokens.sentence_of[asked]]
    threads, groups = np.unique(thread_of, return_inverse=True)
    weights = _draw(len(threads), recipe)
    starts = _starts(tokens)[asked]
    rows: list[Json] = []
    for form, types in TYPES_BY_LIST.items():
        gold = encode_tags(table, tokens, types)
        for probe, make_keys in PROBES.items():
            keys = make_keys(table, tokens)
            predicted = predict_by_key(keys, gold, in_train, 2 * len(types) + 1)
            for metric, (above, below) in _count(gold[asked], predicted[asked], starts).items():
                value, low, high = _interval(above, below, groups, weights)
                at = {"probe": probe, "form": form, "metric": metric, "value": value}
                rows.append({**at, "low": low, "high": high, "num_examples": int(is_asked.sum())})
    return rows


def flatten_tokens(table: pa.Table) -> Tokens:
    """Lay out the tokens of examples, one sentence after the other."""
    column = table["tokens"].combine_chunks()
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype("i8")
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return Tokens(column.flatten(), bounds, np.repeat(np.arange(len(lengths)), lengths))


def encode_tags(table: pa.Table, tokens: Tokens, types: tuple[str, ...]) -> Array:
    """Return the tag of each token: 0 for O, 2k + 1 and 2k + 2 for B- and I- of the k-th type."""
    entities = table["entities"].combine_chunks()
    lengths = pc.list_value_length(entities).to_numpy(zero_copy_only=False)
    sentences = np.repeat(np.arange(len(table)), lengths)
    flat = entities.flatten()
    code_of = {name: code for code, name in enumerate(types)}
    raw_types = flat.field("raw_type").to_pylist()
    codes = np.array([code_of.get(merge_type(name), -1) for name in raw_types], "i8")
    # Where each token begins, were all sentences one text with a space between any two tokens.
    sizes = pc.utf8_length(tokens.words).to_numpy().astype("i8") + 1
    begins = np.concatenate([[0], np.cumsum(sizes)])
    origin = begins[tokens.bounds[sentences]]
    first = np.searchsorted(begins, origin + flat.field("start").to_numpy())
    last = np.searchsorted(begins, origin + flat.field("end").to_numpy())
    tags = np.zeros(len(tokens.words), "i8")
    for start, end, code in zip(first.tolist(), last.tolist(), codes.tolist(), strict=True):
        if code >= 0:
            tags[start:end] = 2 * code + 2
            tags[start] = 2 * code + 1
    return tags


def predict_by_key(keys: Array, tags: Array, in_train: Array, num_tags: int) -> Array:
    """Return for each token the most frequent tag of its key in train; 0 for a key not in train.

    >>> keys, tags = np.array([7, 7, 7, 8, 9]), np.array([1, 1, 0, 2, 2])
    >>> predict_by_key(keys, tags, np.array([True, True, True, True, False]), 3).tolist()
    [1, 1, 1, 2, 0]
    """
    distinct, codes = np.unique(keys, return_inverse=True)
    pairs = codes[in_train] * num_tags + tags[in_train]
    counts = np.bincount(pairs, minlength=len(distinct) * num_tags).reshape(-1, num_tags)
    best: Array = counts.argmax(axis=1)[codes]
    return best


def find_spans(tags: Array, starts: Array) -> tuple[Array, Array]:
    """Find entities as `entities.bio_to_spans` does.

    Args:
        tags: as `encode_tags` has them, shape (n,).
        starts: bool, shape (n,); whether a sentence begins at the token.

    Returns:
        Where entities begin, and where each ends: int64, shape (num_entities,).

    >>> [part.tolist() for part in find_spans(np.array([1, 2, 4, 0]), np.array([1, 0, 0, 0]) > 0)]
    [[0, 2], [2, 3]]
    """
    types = (tags + 1) // 2
    before = np.concatenate([[0], types[:-1]])
    is_inside = (tags > 0) & (tags % 2 == 0)
    continues = is_inside & (types == before) & ~starts
    begins = np.flatnonzero((tags > 0) & ~continues)
    stops = np.append(np.flatnonzero(~continues), len(tags))
    return begins, stops[np.searchsorted(stops, begins, side="right")]


def _count(gold: Array, predicted: Array, starts: Array) -> dict[str, tuple[Array, Array]]:
    """Return for each token what it adds above and below the line of each metric."""
    ends, num_spans = [], np.zeros(len(gold), "i8")
    for tags in (gold, predicted):
        begins, stops = find_spans(tags, starts)
        num_spans[begins] += 1
        ends.append(np.full(len(tags), -1))
        ends[-1][begins] = stops
    is_right = (ends[0] >= 0) & (ends[0] == ends[1]) & ((gold + 1) // 2 == (predicted + 1) // 2)
    return {
        "entity_f1": (2 * is_right, num_spans),
        "token_accuracy": (gold == predicted, np.ones(len(gold), "i8")),
    }


def _starts(tokens: Tokens) -> Array:
    starts = np.zeros(len(tokens.words), bool)
    starts[tokens.bounds[:-1]] = True
    return starts


def _draw(num_threads: int, recipe: ProbesSection) -> Array:
    """Return how often each thread is in each resample; int64, (resamples, num_threads)."""
    generator = np.random.default_rng(recipe.seed)
    shares = np.full(num_threads, 1 / num_threads)
    return generator.multinomial(num_threads, shares, size=recipe.resamples)


def _interval(
    above: Array, below: Array, groups: Array, weights: Array
) -> tuple[float, float, float]:
    """Return a ratio of sums and its 95 % percentile interval over groups; 0 / 0 is 0."""
    num_groups = weights.shape[1]
    # Sums of integers: exact in any order.
    sums = [np.bincount(groups, one, num_groups).astype("i8") for one in (above, below)]
    top, bottom = (np.append(one.sum(), weights @ one) for one in sums)
    ratios = top / np.maximum(bottom, 1)
    low, high = np.quantile(ratios[1:], [0.025, 0.975])
    return float(ratios[0]), float(low), float(high)


def _key_majority(table: pa.Table, tokens: Tokens) -> Array:
    return np.zeros(len(tokens.words), "i8")


def _key_markup(table: pa.Table, tokens: Tokens) -> Array:
    markup = table["markup"].combine_chunks().flatten().dictionary_encode().indices.to_numpy()
    starts = _starts(tokens)
    codes = markup.astype("i8") + 1
    before = np.where(starts, 0, np.roll(codes, 1))
    after = np.where(np.roll(starts, -1), 0, np.roll(codes, -1))
    width = codes.max(initial=0) + 1
    keys: Array = (before * width + codes) * width + after
    return keys


def _key_position(table: pa.Table, tokens: Tokens) -> Array:
    place = np.arange(len(tokens.words)) - tokens.bounds[tokens.sentence_of]
    left = tokens.bounds[tokens.sentence_of + 1] - np.arange(len(tokens.words))
    keys = np.minimum(place, MAX_TOKEN_PLACE) * (MAX_TOKEN_PLACE + 1)
    keys += np.minimum(left, MAX_TOKEN_PLACE)
    for name, most in (("answer_number", 1), ("sentence_number", MAX_SENTENCE_PLACE)):
        keys *= most + 1
        keys += np.minimum(_metadatum(table, name), most)[tokens.sentence_of]
    return keys


def _key_shape(table: pa.Table, tokens: Tokens) -> Array:
    keys = np.zeros(len(tokens.words), "i8")
    for bit, pattern in enumerate(SHAPES.values()):
        has = pc.match_substring_regex(tokens.words, pattern).to_numpy(zero_copy_only=False)
        keys += has.astype("i8") << bit
    return keys


def _key_words(table: pa.Table, tokens: Tokens) -> Array:
    codes: Array = tokens.words.dictionary_encode().indices.to_numpy()
    return codes


def _metadatum(table: pa.Table, name: str) -> Array:
    pairs = table["metadata"].combine_chunks().flatten()
    values = pairs.filter(pc.equal(pairs.field("name"), name)).field("value")
    numbers: Array = values.to_numpy().astype("i8")
    return numbers


# What each probe sees of a token, as a number.
PROBES: Mapping[str, Callable[[pa.Table, Tokens], Array]] = {
    "majority": _key_majority,
    "markup": _key_markup,
    "position": _key_position,
    "shape": _key_shape,
    "words": _key_words,
}
