"""Labelling functions: what they vote, that they fail loudly, and how they are summed up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from labeling.signals import Signal
from labeling.weak import (
    ABSTAIN,
    CURRENT,
    FUNCTIONS,
    NAMES,
    OBSOLETE,
    Candidate,
    LabellingFunction,
    Remark,
    analyse,
    analyse_patterns,
    apply,
    count_patterns,
    label_by_majority,
)


def year(number: int) -> datetime:
    return datetime(number, 6, 1, tzinfo=UTC)


def candidate(**given: Any) -> Candidate:
    plain: dict[str, Any] = {
        "created_at": year(2010),
        "dump_at": year(2020),
        "text": "Use a.",
        "score": 3,
        "is_accepted": False,
        "edited_at": None,
        "best_other": 9,
        "remarks": (),
        "signals": (),
    }
    return Candidate(**{**plain, **given})


def votes_of(**given: Any) -> dict[str, int]:
    votes = apply(FUNCTIONS, [candidate(**given)])[0]
    return {name: int(v) for name, v in zip(NAMES, votes, strict=True) if v != ABSTAIN}


def signal(kind: str, quote: str = "", at: int = 2015) -> tuple[Signal, ...]:
    return (Signal(kind, year(at), 1, quote),)


@pytest.mark.parametrize(
    ("given", "votes"),
    [
        ({}, {}),
        (
            {"signals": signal("comment", "deprecated")},
            {"comment_says_so": OBSOLETE, "comment_in_strong_words": OBSOLETE},
        ),
        (
            {"signals": signal("comment", "dead link")},
            {"comment_says_so": OBSOLETE, "dead_link": OBSOLETE},
        ),
        ({"signals": signal("edit", "UPDATE:")}, {"edit_adds_notice": OBSOLETE}),
        ({"signals": signal("notice")}, {"question_says_so": OBSOLETE}),
        ({"signals": signal("overtaken", "accepted")}, {"overtaken": OBSOLETE}),
        ({"text": "As of 2011 there is none."}, {"old_year_in_text": OBSOLETE}),
        ({"text": "In 2011 none, in 2019 one."}, {}),
        ({"remarks": (Remark(year(2016), "Still works!", 0),)}, {"confirmed_later": CURRENT}),
        ({"remarks": (Remark(year(2016), "Thanks", 0),)}, {"thanked_after_years": CURRENT}),
        ({"remarks": (Remark(year(2011), "Thanks", 0),)}, {}),
        ({"edited_at": year(2020)}, {"edited_of_late": CURRENT}),
        ({"edited_at": year(2020), "score": 0}, {}),
        ({"is_accepted": True, "best_other": 3}, {"first_choice": CURRENT}),
        ({"is_accepted": True, "best_other": 4}, {}),
        ({"is_accepted": True, "best_other": None}, {"first_choice": CURRENT}),
        ({"created_at": year(2019)}, {"young": CURRENT}),
    ],
)
def test_each_function_votes_on_what_it_knows(given: dict[str, Any], votes: dict[str, int]) -> None:
    assert votes_of(**given) == votes


def test_a_confirmation_counts_only_after_the_last_signal() -> None:
    remarks = (Remark(year(2014), "still works", 0),)
    votes = votes_of(remarks=remarks, signals=signal("edit", "EDIT:"))
    assert votes == {"edit_adds_notice": OBSOLETE}


def test_a_function_that_fails_stops_everything() -> None:
    broken = LabellingFunction("broken", 1, lambda one: 1 // one.score)
    with pytest.raises(ZeroDivisionError):
        apply([broken], [candidate(score=0)])


def test_a_function_that_gives_no_vote_is_a_fault() -> None:
    with pytest.raises(AssertionError, match="no vote"):
        apply([LabellingFunction("wrong", 1, lambda one: 2)], [candidate()])


def test_no_candidates_have_no_votes() -> None:
    assert apply(FUNCTIONS, []).shape == (0, len(FUNCTIONS))
    assert analyse(apply(FUNCTIONS, []), NAMES)["coverage"] is None


def naive_analysis(votes: list[list[int]], gold: list[int]) -> list[dict[str, float | None]]:
    rows = []
    for number in range(len(votes[0])):
        mine = [row for row in votes if row[number] != -1]
        others = [[v for n, v in enumerate(row) if n != number and v != -1] for row in mine]
        right = [
            row[number] == label
            for row, label in zip(votes, gold, strict=True)
            if row[number] != -1 and label != -1
        ]
        rows.append(
            {
                "coverage": len(mine) / len(votes),
                "overlap": sum(map(bool, others)) / len(votes),
                "conflict": sum(
                    any(v != row[number] for v in other)
                    for row, other in zip(mine, others, strict=True)
                )
                / len(votes),
                "accuracy": sum(right) / len(right) if right else None,
            }
        )
    return rows


def test_the_analysis_equals_a_naive_count() -> None:
    rng = np.random.default_rng(5)
    votes = rng.integers(-1, 2, (300, 5)).astype("i1")
    gold = rng.integers(-1, 2, 300).astype("i1")
    found = analyse(votes, list("abcde"), gold)["functions"]
    for row, expected in zip(found, naive_analysis(votes.tolist(), gold.tolist()), strict=True):
        assert {key: row[key] for key in expected} == pytest.approx(expected, abs=1e-6)


def test_patterns_of_parts_sum_up_to_those_of_the_whole() -> None:
    votes = np.random.default_rng(6).integers(-1, 2, (300, 3)).astype("i1")
    parts = [count_patterns(votes[:70]), count_patterns(votes[70:])]
    together = count_patterns(
        np.concatenate([part.votes for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )
    assert len(together.votes) == 27
    assert analyse_patterns(together, list("abc")) == analyse(votes, list("abc"))


def test_ties_abstain() -> None:
    assert label_by_majority(np.array([[1, 0], [1, 1], [0, -1]])).tolist() == [-1, 1, 0]


def test_there_are_functions_for_both_labels_and_no_two_of_one_name() -> None:
    assert len(set(NAMES)) == len(FUNCTIONS) >= 8
