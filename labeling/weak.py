"""Weak labels: labelling functions that vote on answers, or abstain; and how they agree.

They serve to choose what is annotated and to describe it; annotators never see them. A function is
plain, has a version that is part of what a stage is asked for, and may not fail: an error in one
stops the build. After Ratner et al., Snorkel (VLDB 2017), section 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from corpus.manifest import Json
from labeling.signals import Signal

OBSOLETE, CURRENT, ABSTAIN = 1, 0, -1
VOTES = {"obsolete": OBSOLETE, "current": CURRENT, "abstain": ABSTAIN}

Array = np.ndarray[Any, Any]

_YEAR = timedelta(days=365)
_CONFIRMATION = re.compile(
    r"\bstill\s+(?:\w+\s+)?(?:works?|working|valid|true|applies|relevant|accurate|correct|helpful"
    r"|useful|the (?:case|best))\b"
    r"|\b(?:works?|worked|working|tested|confirmed|valid|true)\s+(?:\w+\s+){0,3}?"
    r"(?:in|on|with|as of|for)\s+(?:\w+\s+){0,2}?(?:20[0-3]\d|the latest|v?\d+\.\d+)",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"\b(?:thanks|thank you|thx|worked for me|works for me|works like a charm|works great|saved"
    r" (?:me|my)|solved my|exactly what i)\b",
    re.IGNORECASE,
)
_DATED = re.compile(
    r"\b(?:as of|at the moment|currently|right now|in|since)\s*\(?(?:\w{3,9}\s+)?((?:19|20)\d\d)\b",
    re.IGNORECASE,
)
_LINK_WORDS = re.compile(r"\b(?:links?|urls?|404|page not found)\b", re.IGNORECASE)
_STRONG_WORDS = re.compile(
    r"\b(?:deprecated|obsoleted?|out-?dated|out[ -]of[ -]date|superseded|discontinued|no longer)\b",
    re.IGNORECASE,
)


class Remark(NamedTuple):
    """One comment on the answer."""

    at: datetime
    text: str
    score: int


class Candidate(NamedTuple):
    """What labelling functions know of an answer: all that the dump does."""

    created_at: datetime
    dump_at: datetime
    text: str  # Markdown, as the dump has it
    score: int
    is_accepted: bool
    edited_at: datetime | None  # the last edit of the text
    best_other: int | None  # the best score among the other answers
    remarks: tuple[Remark, ...]
    signals: tuple[Signal, ...]

    def quotes(self, kind: str) -> list[str]:
        """Return the words of the signals of one kind."""
        return [signal.quote for signal in self.signals if signal.kind == kind]

    @property
    def last_signal_at(self) -> datetime:
        """The time of the newest signal; that of the answer where there is none."""
        return max([signal.at for signal in self.signals], default=self.created_at)


class LabellingFunction(NamedTuple):
    """A vote, by name; `version` changes with what it says."""

    name: str
    version: int
    vote: Callable[[Candidate], int]


class Patterns(NamedTuple):
    """The distinct rows of a vote matrix, and how many answers have each."""

    votes: Array  # int8, shape (k, m)
    counts: Array  # int64, shape (k,)


def apply(functions: Sequence[LabellingFunction], candidates: Sequence[Candidate]) -> Array:
    """Return the vote of every function on every candidate, int8, shape (n, m)."""
    votes = [[function.vote(one) for function in functions] for one in candidates]
    matrix = np.array(votes, "i1").reshape(len(candidates), len(functions))
    assert np.isin(matrix, list(VOTES.values())).all(), "a labelling function gave no vote"
    return matrix


def count_patterns(votes: Array, counts: Array | None = None) -> Patterns:
    """Sum up votes, or the patterns of several parts, by row.

    >>> count_patterns(np.array([[1], [0], [1]], "i1")).counts.tolist()
    [1, 2]
    """
    counts = np.ones(len(votes), "i8") if counts is None else counts
    rows, places = np.unique(votes, axis=0, return_inverse=True)
    totals = np.zeros(len(rows), "i8")
    np.add.at(totals, places.reshape(-1), counts)
    return Patterns(rows, totals)


def label_by_majority(votes: Array) -> Array:
    """Return what most functions vote for, int8, shape (n,); no votes and ties abstain.

    >>> label_by_majority(np.array([[1, 1, 0], [1, 0, -1], [-1, -1, -1], [-1, 0, -1]])).tolist()
    [1, -1, -1, 0]
    """
    lead = (votes == OBSOLETE).sum(1) - (votes == CURRENT).sum(1)
    return np.select([lead > 0, lead < 0], [OBSOLETE, CURRENT], ABSTAIN).astype("i1")


def analyse(votes: Array, names: Sequence[str], gold: Array | None = None) -> Json:
    """Return how often each function votes, and with whom it agrees.

    Args:
        votes: int8, shape (n, m).
        names: of the m functions.
        gold: int8, shape (n,); ABSTAIN where the label is not known.

    Returns:
        `functions`: for each its votes, coverage (the share it votes on), overlap (with another's
        vote beside it), conflict (with another's against it), and with gold labels the accuracy of
        its votes (null where there are none). `majority`: how many answers most functions call so.

    >>> votes = np.array([[1, -1], [1, 0], [-1, 0], [-1, -1]])
    >>> first, second = analyse(votes, ["a", "b"], np.array([1, 0, 0, 0]))["functions"]
    >>> first["coverage"], first["overlap"], first["conflict"], first["accuracy"]
    (0.5, 0.25, 0.25, 0.5)
    >>> analyse(votes, ["a", "b"])["majority"]
    {'obsolete': 1, 'current': 1, 'abstain': 2}
    """
    return analyse_patterns(Patterns(votes, np.ones(len(votes), "i8")), names, gold)


def analyse_patterns(patterns: Patterns, names: Sequence[str], gold: Array | None = None) -> Json:
    """Do as `analyse`, of rows that stand for many answers; `gold` is one label a row."""
    votes, counts = patterns
    total = int(counts.sum())
    is_voted = votes != ABSTAIN
    functions = []
    for number, name in enumerate(names):
        mine, others = votes[:, number, None], np.delete(votes, number, axis=1)
        covers = is_voted[:, number]
        is_beside = covers & (others != ABSTAIN).any(1)
        is_against = covers & ((others != ABSTAIN) & (others != mine)).any(1)
        cast = {word: int(counts[votes[:, number] == vote].sum()) for word, vote in VOTES.items()}
        row: Json = {"name": name, "votes": cast}
        for what, mask in (("coverage", covers), ("overlap", is_beside), ("conflict", is_against)):
            row[what] = _share(int(counts[mask].sum()), total)
        if gold is not None:
            judged = covers & (gold != ABSTAIN)
            right = judged & (votes[:, number] == gold)
            row["accuracy"] = _share(int(counts[right].sum()), int(counts[judged].sum()))
        functions.append(row)
    majority = label_by_majority(votes)
    return {
        "num_answers": total,
        "coverage": _share(int(counts[is_voted.any(1)].sum()), total),
        "majority": {word: int(counts[majority == vote].sum()) for word, vote in VOTES.items()},
        "functions": functions,
    }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


# The functions --------------------------------------------------------------------------------


def _comment_says_so(one: Candidate) -> int:
    return OBSOLETE if one.quotes("comment") else ABSTAIN


def _comment_in_strong_words(one: Candidate) -> int:
    return OBSOLETE if any(map(_STRONG_WORDS.search, one.quotes("comment"))) else ABSTAIN


def _dead_link(one: Candidate) -> int:
    quotes = [*one.quotes("comment"), *one.quotes("edit")]
    return OBSOLETE if any(map(_LINK_WORDS.search, quotes)) else ABSTAIN


def _edit_adds_notice(one: Candidate) -> int:
    return OBSOLETE if one.quotes("edit") else ABSTAIN


def _question_says_so(one: Candidate) -> int:
    return OBSOLETE if one.quotes("question_comment") or one.quotes("notice") else ABSTAIN


def _overtaken(one: Candidate) -> int:
    return OBSOLETE if one.quotes("overtaken") else ABSTAIN


def _old_year_in_text(one: Candidate) -> int:
    """Votes obsolete where the text says how things are in a year long before the dump."""
    years = [int(match[1]) for match in _DATED.finditer(one.text)]
    is_old = bool(years) and max(years) <= one.dump_at.year - 4
    return OBSOLETE if is_old else ABSTAIN


def _confirmed_later(one: Candidate) -> int:
    late = (remark for remark in one.remarks if remark.at > one.last_signal_at)
    return CURRENT if any(_CONFIRMATION.search(remark.text) for remark in late) else ABSTAIN


def _thanked_after_years(one: Candidate) -> int:
    limit = max(one.last_signal_at, one.created_at + 2 * _YEAR)
    late = (remark for remark in one.remarks if remark.at > limit)
    return CURRENT if any(_THANKS.search(remark.text) for remark in late) else ABSTAIN


def _edited_of_late(one: Candidate) -> int:
    """Votes current where somebody has seen to an approved answer in the last year."""
    is_fresh = one.edited_at is not None and one.edited_at > one.dump_at - _YEAR
    return CURRENT if is_fresh and one.score > 0 and not one.quotes("edit") else ABSTAIN


def _first_choice(one: Candidate) -> int:
    """Votes current where an answer is accepted, without signals, and none has a higher score."""
    is_first = one.is_accepted and one.score >= (one.best_other or 0)
    return CURRENT if is_first and not one.signals else ABSTAIN


def _young(one: Candidate) -> int:
    is_young = one.created_at > one.dump_at - 2 * _YEAR
    return CURRENT if is_young and not one.signals else ABSTAIN


FUNCTIONS = (
    LabellingFunction("comment_says_so", 1, _comment_says_so),
    LabellingFunction("comment_in_strong_words", 1, _comment_in_strong_words),
    LabellingFunction("dead_link", 1, _dead_link),
    LabellingFunction("edit_adds_notice", 1, _edit_adds_notice),
    LabellingFunction("question_says_so", 1, _question_says_so),
    LabellingFunction("overtaken", 1, _overtaken),
    LabellingFunction("old_year_in_text", 1, _old_year_in_text),
    LabellingFunction("confirmed_later", 1, _confirmed_later),
    LabellingFunction("thanked_after_years", 1, _thanked_after_years),
    LabellingFunction("edited_of_late", 1, _edited_of_late),
    LabellingFunction("first_choice", 1, _first_choice),
    LabellingFunction("young", 1, _young),
)
NAMES = tuple(function.name for function in FUNCTIONS)
