"""Leakage groups are dealt out in the recipe's fractions, and stay where they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.dealing import ThreadTable, split_by_digest, split_groups
from corpus.groups import Threads, list_threads
from corpus.recipe import SPLITS, SplitsSection

HALVES = {"train": 0.5, "validation": 0.25, "test": 0.25}


def table_of(num_threads: int, num_documents: int = 1) -> ThreadTable:
    threads = list_threads([("x.org", np.arange(1, num_threads + 1))])
    sizes = np.full(num_threads, num_documents)
    return ThreadTable(threads, sizes, np.arange(num_threads).astype("M8[ms]"))


def test_fractions_hold_within_one_percent_on_a_hundred_thousand_groups() -> None:
    fractions = {"train": 0.8, "validation": 0.15, "test": 0.05}
    table = table_of(100_000)
    split_of = split_groups(table, np.arange(100_000), SplitsSection(fractions=fractions))
    for number, name in enumerate(SPLITS):
        assert abs((split_of == number).mean() - fractions[name]) < 0.01


@settings(deadline=None)
@given(st.text(), st.text(), st.integers(1, 2**31 - 1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_evaluation_fraction_only_adds_groups(
    salt: str, site: str, thread_id: int, one: float, other: float
) -> None:
    def is_test(fraction: float) -> bool:
        fractions = {"train": 1 - fraction, "validation": 0.0, "test": fraction}
        section = SplitsSection(salt=salt, fractions=fractions)
        return split_by_digest(f"{site}/{thread_id}", section) == "test"

    small, large = sorted([one, other])
    assert is_test(large) or not is_test(small)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=30, unique=True),
    st.lists(st.integers(10**6 + 1, 2 * 10**6), max_size=30, unique=True),
)
def test_new_threads_move_no_old_one(old: list[int], new: list[int]) -> None:
    def split_all(ids: list[int]) -> dict[int, int]:
        threads = list_threads([("x.org", np.array(ids))])
        table = ThreadTable(threads, np.ones(len(ids)), np.sort(ids).astype("M8[ms]"))
        found = split_groups(table, np.arange(len(ids)), SplitsSection(fractions=HALVES))
        return dict(zip(sorted(ids), found.tolist(), strict=True))

    before, after = split_all(old), split_all([*old, *new])
    assert {one: after[one] for one in old} == before


def test_another_salt_deals_otherwise() -> None:
    one, other = (
        split_groups(table_of(1000), np.arange(1000), SplitsSection(salt=salt, fractions=HALVES))
        for salt in ("sobert", "another")
    )
    assert 300 < (one != other).sum() < 900


def test_groups_named_in_batches_are_dealt_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    section = SplitsSection(fractions=HALVES)
    whole = split_groups(table_of(100), np.arange(100), section)
    monkeypatch.setattr("corpus.dealing.NAMES_AT_A_TIME", 7)
    assert split_groups(table_of(100), np.arange(100), section).tolist() == whole.tolist()


def test_a_group_larger_than_the_limit_is_train() -> None:
    all_test = {"train": 0.0, "validation": 0.0, "test": 1.0}
    section = SplitsSection(fractions=all_test, largest_evaluation_group=6)
    table = table_of(7, num_documents=2)
    three_and_four = np.array([0, 0, 0, 3, 3, 3, 3])
    names = [SPLITS[place] for place in split_groups(table, three_and_four, section)]
    assert names == ["test"] * 3 + ["train"] * 4


def test_no_threads_are_no_splits() -> None:
    empty = ThreadTable(Threads([], np.empty(0, "i8")), np.empty(0, "i8"), np.empty(0, "M8[ms]"))
    assert len(split_groups(empty, np.empty(0, "i8"), SplitsSection())) == 0
