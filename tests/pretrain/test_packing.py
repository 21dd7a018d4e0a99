from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import BadValue, IntegrityError, StoreError
from pretrain.packing import (
    BATCH_DOCUMENTS,
    SPECIAL_TOKENS,
    Plan,
    load_plan,
    plan_identity,
    plan_rows,
    save_plan,
)

LENGTHS = st.lists(st.integers(0, 60), max_size=80)
IDENTITY = plan_identity("ab" * 32, "train", 64, 1)


def draw_lengths(count: int) -> np.ndarray:
    # As real posts are: median 130 tokens, mean 220, one in 500 longer than a row.
    return np.random.default_rng(5).lognormal(4.9, 1.0, count).astype(np.int64)


def fills(plan: Plan) -> list[int]:
    windows = [plan.windows(row) for row in range(plan.num_rows)]
    return [sum(w.stop - w.start + SPECIAL_TOKENS for w in row) for row in windows]


def equal(one: Plan, other: Plan) -> bool:
    names = ("row_offsets", "documents", "starts", "stops")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@settings(deadline=None)
@given(LENGTHS, st.integers(3, 40), st.integers(0, 9))
def test_every_token_is_in_exactly_one_window(
    lengths: list[int], row_tokens: int, seed: int
) -> None:
    plan = plan_rows(lengths, row_tokens, seed)
    seen = [[0] * length for length in lengths]
    for row in range(plan.num_rows):
        for document, start, stop in plan.windows(row):
            for token in range(start, stop):
                seen[document][token] += 1
    assert all(count == 1 for document in seen for count in document)


@settings(deadline=None)
@given(LENGTHS, st.integers(3, 40))
def test_no_row_is_overfull_and_none_is_empty(lengths: list[int], row_tokens: int) -> None:
    plan = plan_rows(lengths, row_tokens, seed=1)
    assert all(SPECIAL_TOKENS < fill <= row_tokens for fill in fills(plan))
    assert plan.num_tokens == sum(fills(plan))


def naive_fills(lengths: list[int], row_tokens: int, seed: int) -> list[int]:
    order = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    room = row_tokens - 2
    rows: list[int] = []
    for first in range(0, len(order), BATCH_DOCUMENTS):
        needs = []
        for document in order[first : first + BATCH_DOCUMENTS]:
            whole, rest = divmod(lengths[document], room)
            needs += [room + 2] * whole + ([rest + 2] if rest else [])
        for need in sorted(needs, reverse=True):
            fitting = [row for row in range(len(rows)) if rows[row] + need <= row_tokens]
            if fitting:
                rows[max(fitting, key=lambda row: rows[row])] += need
            else:
                rows.append(need)
    return sorted(rows)


@settings(deadline=None)
@given(LENGTHS, st.integers(3, 40), st.integers(0, 3))
def test_rows_are_filled_as_by_a_naive_best_fit(
    lengths: list[int], row_tokens: int, seed: int
) -> None:
    assert sorted(fills(plan_rows(lengths, row_tokens, seed))) == naive_fills(
        lengths, row_tokens, seed
    )


def test_rows_stay_open_from_batch_to_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = np.random.default_rng(2).integers(1, 40, 300).tolist()
    for module in ("pretrain.packing", __name__):
        monkeypatch.setattr(f"{module}.BATCH_DOCUMENTS", 16, raising=True)
    assert sorted(fills(plan_rows(lengths, 50, 3))) == naive_fills(lengths, 50, 3)


def test_98_percent_of_the_room_is_filled_at_the_lengths_of_real_posts() -> None:
    assert plan_rows(draw_lengths(2_000), 2_048, seed=1).efficiency > 0.98
    assert plan_rows(draw_lengths(20_000), 2_048, seed=1).efficiency > 0.998


def test_the_seed_decides() -> None:
    lengths = draw_lengths(1_000)
    assert equal(plan_rows(lengths, 512, 1), plan_rows(lengths, 512, 1))
    assert not equal(plan_rows(lengths, 512, 1), plan_rows(lengths, 512, 2))


def test_documents_that_are_neighbours_do_not_sit_together() -> None:
    plan = plan_rows(np.full(9_000, 100), 1_024, seed=1)
    steps = [np.diff([w.document for w in plan.windows(row)]) for row in range(plan.num_rows)]
    # Two documents drawn at random are a third of the whole apart.
    assert 2_800 < np.abs(np.concatenate(steps)).mean() < 3_200


def test_a_long_document_is_cut_into_whole_rows_and_a_rest() -> None:
    plan = plan_rows([25], 10, seed=1)
    assert [plan.windows(row) for row in range(4)] == [
        [(0, 0, 8)],
        [(0, 8, 16)],
        [(0, 16, 24)],
        [(0, 24, 25)],
    ]


def test_nothing_makes_no_rows() -> None:
    for lengths in ([], [0, 0]):
        plan = plan_rows(lengths, 16, seed=1)
        assert (plan.num_rows, plan.num_tokens, plan.efficiency) == (0, 0, 1.0)


@pytest.mark.parametrize(("lengths", "row_tokens"), [([3], 2), ([-1], 16), ([2**31], 16)])
def test_what_cannot_be_planned_is_refused(lengths: list[int], row_tokens: int) -> None:
    with pytest.raises(BadValue):
        plan_rows(lengths, row_tokens, seed=1)


def test_a_plan_comes_back_from_its_file_which_is_the_same_each_time(tmp_path: Path) -> None:
    plan = plan_rows(draw_lengths(200), 64, seed=1)
    one, other = tmp_path / "a" / "rows.npz", tmp_path / "b" / "rows.npz"
    save_plan(plan, one, IDENTITY)
    save_plan(plan, other, IDENTITY)
    loaded = load_plan(one, IDENTITY)
    assert equal(loaded, plan) and loaded.row_tokens == 64
    assert [array.dtype for array in (loaded.row_offsets, loaded.documents)] == ["i8", "i4"]
    assert one.read_bytes() == other.read_bytes()
    assert [path.name for path in one.parent.iterdir()] == ["rows.npz"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("shards", "cd" * 32), ("split", "test"), ("row_tokens", 128), ("seed", 2), ("version", 0)],
)
def test_a_plan_that_answers_something_else_is_refused(
    tmp_path: Path, key: str, value: object
) -> None:
    path = tmp_path / "rows.npz"
    save_plan(plan_rows([5, 6], 64, seed=1), path, IDENTITY)
    with pytest.raises(StoreError, match=f"was made for {key} .*, not {value!r}; delete it"):
        load_plan(path, IDENTITY | {key: value})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and so on", b"no plan"])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="is no plan of rows"):
        load_plan(path, IDENTITY)


def test_a_plan_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    save_plan(plan_rows(draw_lengths(200), 64, seed=1), path, IDENTITY)
    whole = path.read_bytes()
    for length in range(0, len(whole), 997):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            load_plan(path, IDENTITY)


def test_a_save_that_fails_leaves_the_plan_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.npz"
    save_plan(plan_rows([5, 6], 64, seed=1), path, IDENTITY)
    before = path.read_bytes()

    def fail(_: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("pretrain.packing.sync", fail)
    with pytest.raises(OSError, match="no space left"):
        save_plan(plan_rows([7], 64, seed=1), path, IDENTITY)
    assert path.read_bytes() == before
