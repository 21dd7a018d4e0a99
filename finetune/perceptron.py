"""The structured perceptron (Collins, 2002): a linear model of sequences of tags.

The score of a sequence is the sum of the weights of what is seen of each token, by its tag, and of
every tag after another; the best one is found by Viterbi, among those in which every I- continues
its type. It is trained until its own sequences are those of gold, and asked with the average of
its weights: close to a conditional random field at a fraction of its time.

All sums are of integers, so the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

# Below every sum of weights, and far enough from the least int64 to be added for every token.
FORBIDDEN = -(2**50)


class Weights(NamedTuple):
    """Of a linear model of tags, all int64.

    `features` of shape (num_features, num_tags); `transitions` of shape (num_tags + 1, num_tags):
    from the tag before, in the last row from the start of a sentence.
    """

    features: Array
    transitions: Array


def forbid_transitions(labels: Sequence[str]) -> Array:
    """Return what is added to transitions: FORBIDDEN to an I- that would continue nothing, else 0.

    >>> forbid_transitions(["O", "B-Class", "I-Class"])[:, 2] == FORBIDDEN
    array([ True, False, False,  True])
    """
    before = [*labels, "O"]
    return np.array(
        [
            [FORBIDDEN if tag[:2] == "I-" and tag[2:] != last[2:] else 0 for tag in labels]
            for last in before
        ]
    )


def find_tags(weights: Weights, rows: Array, forbidden: Array) -> Array:
    """Return the sequence of tags that has the highest sum of weights (Viterbi).

    Args:
        weights: of the model.
        rows: int64, shape (num_tokens, num_features): of a sentence.
        forbidden: as `forbid_transitions` returns it.

    Returns:
        int64, shape (num_tokens,); the first of equals, from the end of the sentence.
    """
    num_tokens, num_tags = len(rows), weights.transitions.shape[1]
    tags = np.zeros(num_tokens, "i8")
    if not num_tokens:
        return tags
    scores = weights.features[rows].sum(axis=1)
    transitions = weights.transitions + forbidden
    # Transposed: the maximum along rows is several times as fast.
    from_tag = np.ascontiguousarray(transitions[:-1].T)
    best, every = scores[0] + transitions[-1], np.arange(num_tags)
    best_before = np.zeros((num_tokens, num_tags), "i8")
    for place in range(1, num_tokens):
        sums = from_tag + best
        best_before[place] = sums.argmax(axis=1)
        best = sums[every, best_before[place]] + scores[place]
    tags[-1] = best.argmax()
    for place in range(num_tokens - 1, 0, -1):
        tags[place - 1] = best_before[place, tags[place]]
    return tags


def iter_epochs(
    sentences: Sequence[Array],
    gold: Sequence[Array],
    num_features: int,
    forbidden: Array,
    rng: np.random.Generator,
) -> Iterator[Weights]:
    """Train without end and yield the averaged weights after every epoch.

    Args:
        sentences: as `rows` of `find_tags`.
        gold: int64, shape (num_tokens,), of each sentence: its tags.
        num_features: rows of `Weights.features`.
        forbidden: as `forbid_transitions` returns it.
        rng: shuffles the sentences of each epoch.

    Yields:
        The sums of the weights after every sentence, which rank sequences as their means do.
    """
    num_tags = forbidden.shape[1]
    weights, early = (
        Weights(np.zeros((num_features, num_tags), "i8"), np.zeros(forbidden.shape, "i8"))
        for _ in range(2)
    )
    step = 0
    while True:
        for number in rng.permutation(len(sentences)).tolist():
            rows, tags = sentences[number], gold[number]
            found = find_tags(weights, rows, forbidden)
            if (found != tags).any():
                for codes, sign in ((tags, 1), (found, -1)):
                    _add(weights, rows, codes, sign)
                    # What was added at a step is missing from the sums of the steps before.
                    _add(early, rows, codes, sign * step)
            step += 1
        yield Weights(*(step * now - less for now, less in zip(weights, early, strict=True)))


def _add(weights: Weights, rows: Array, codes: Array, value: int) -> None:
    """Add to the weights of the features of a sentence and of its transitions, in place."""
    before = np.concatenate([[len(weights.transitions) - 1], codes[:-1]])
    np.add.at(weights.features, (rows, codes[:, np.newaxis]), value)
    np.add.at(weights.transitions, (before, codes), value)
