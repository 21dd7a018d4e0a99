from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import BadValue
from corpus.vocabulary import Tokenizer, load_tokenizer
from pretrain.masking import (
    BEGINS,
    ENDS,
    WORD_TOKENS,
    Masked,
    Masking,
    find_word_edges,
    make_masking,
    mask_tokens,
)
from pretrain.recipe import MaskingSection

NUM_PIECES = 300
CLS, SEP, MASK = 2, 3, 4


@pytest.fixture(scope="module")
def tokenizer(demo_build) -> Tokenizer:
    return load_tokenizer(demo_build.artifacts["tokenizer"].path("tokenizer.model"))


def invent_masking(*, whole_words: bool = True, rate: float = 0.15, seed: int = 7) -> Masking:
    """Two pieces in five begin a word, one in ten ends one."""
    numbers = np.arange(NUM_PIECES)
    edges_V = ((numbers % 5 < 2) * BEGINS + (numbers % 10 == 9) * ENDS).astype(np.uint8)
    edges_V[:5] = BEGINS + ENDS
    return Masking(rate, whole_words, seed, edges_V)


def invent_row(generator: np.random.Generator, num_documents: int, longest: int) -> list[int]:
    tokens: list[int] = []
    for _ in range(num_documents):
        length = int(generator.integers(1, longest + 1))
        tokens += [CLS, *generator.integers(5, NUM_PIECES, length).tolist(), SEP]
    return tokens


def mask_rows(rows: list[list[int]], masking: Masking, **keys: Any) -> list[Masked]:
    """Mask rows as one batch; return each row's part, counted from the start of the row."""
    bounds = np.cumsum([0, *map(len, rows)])
    tokens_T = np.array([token for row in rows for token in row], np.int64)
    keys = {
        "epochs_R": [0] * len(rows),
        "rows_R": list(range(len(rows))),
        "rates_R": [masking.rate] * len(rows),
    } | keys
    given = tokens_T.copy()
    masked = mask_tokens(tokens_T, bounds, masking, **keys)
    assert np.array_equal(tokens_T, given), "the argument was changed"
    parts = []
    for start, end in pairwise(bounds.tolist()):
        is_here = (masked.masked_M >= start) & (masked.masked_M < end)
        part = masked.tokens_T[start:end]
        parts.append(Masked(part, masked.masked_M[is_here] - start, masked.targets_M[is_here]))
    assert sum(len(part.masked_M) for part in parts) == len(masked.masked_M)
    return parts


def mask_one_by_one(
    tokens: list[int], masking: Masking, epoch: int, row: int, rate: float
) -> tuple[list[int], list[int], list[int]]:
    """The oracle: the module's docstring, token by token."""
    words: list[list[int]] = []
    for at, token in enumerate(tokens):
        if token < 5:
            continue
        begins = not masking.whole_words or masking.edges_V[token] & BEGINS
        after = at == 0 or tokens[at - 1] < 5 or masking.edges_V[tokens[at - 1]] & ENDS
        if begins or after or len(words[-1]) == WORD_TOKENS:
            words.append([])
        words[-1].append(at)
    num_text = sum(map(len, words))
    budget = min(max(int(rate * num_text + 0.5), 1), num_text) if rate else 0
    stream = np.random.Philox(key=np.array([masking.seed * 2**32 + epoch, row], np.uint64))
    draws = [int(stream.random_raw()) >> 32 for _ in words]
    order = sorted(range(len(words)), key=lambda word: (draws[word], word))
    chosen = sorted([at for word in order for at in words[word]][:budget])
    seen = list(tokens)
    for at in chosen:
        draw = int(stream.random_raw())
        if draw >> 32 < 0.8 * 2**32:
            seen[at] = MASK
        elif draw >> 32 < 0.9 * 2**32:
            seen[at] = 5 + ((draw & 0xFFFFFFFF) * (NUM_PIECES - 5) >> 32)
    return seen, chosen, [tokens[at] for at in chosen]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shapes=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 90)), min_size=1, max_size=5),
    rate=st.sampled_from([0.0, 0.01, 0.15, 0.3, 1.0]),
    whole_words=st.booleans(),
)
def test_a_batch_is_masked_as_token_by_token(
    seed: int, shapes: list[tuple[int, int]], rate: float, whole_words: bool
) -> None:
    generator = np.random.default_rng(seed)
    rows = [invent_row(generator, *shape) for shape in shapes]
    masking = invent_masking(whole_words=whole_words, rate=rate, seed=seed)
    epochs = generator.integers(0, 2**32, len(rows)).tolist()
    numbers = generator.integers(0, 2**40, len(rows)).tolist()
    for at, part in enumerate(mask_rows(rows, masking, epochs_R=epochs, rows_R=numbers)):
        expected = mask_one_by_one(rows[at], masking, epochs[at], numbers[at], rate)
        assert (
            part.tokens_T.tolist(),
            part.masked_M.tolist(),
            part.targets_M.tolist(),
        ) == expected


def test_words_that_are_too_long_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    masking = invent_masking(rate=0.5)
    inside = [7] * 100  # a piece that neither begins nor ends a word
    row = [CLS, *inside, SEP, CLS, *inside[: WORD_TOKENS + 1], SEP]
    (part,) = mask_rows([row], masking)
    assert part.masked_M.tolist() == mask_one_by_one(row, masking, 0, 0, 0.5)[1]
    # Words are chosen at 50 %, so both chosen and unchosen runs end where words are cut.
    edges = np.flatnonzero(np.diff(np.isin(np.arange(len(row)), part.masked_M).astype(int)))
    assert sum(edge % WORD_TOKENS == 0 for edge in edges if edge < 100) >= 2


@pytest.mark.parametrize("rate", [0.15, 0.3])
@pytest.mark.parametrize("whole_words", [True, False])
def test_the_rate_is_exact_in_every_row(rate: float, whole_words: bool) -> None:
    generator = np.random.default_rng(3)
    rows = [invent_row(generator, 3, longest) for longest in range(1, 120)]
    for row, part in zip(
        rows, mask_rows(rows, invent_masking(whole_words=whole_words, rate=rate)), strict=True
    ):
        num_text = sum(token >= 5 for token in row)
        assert len(part.masked_M) == max(1, int(np.floor(rate * num_text + 0.5)))


def test_at_most_one_word_of_a_row_is_not_hidden_whole() -> None:
    generator = np.random.default_rng(4)
    masking = invent_masking()
    rows = [invent_row(generator, 3, 100) for _ in range(40)]
    num_cut = 0
    for row, part in zip(rows, mask_rows(rows, masking), strict=True):
        hidden = set(part.masked_M.tolist())
        words: list[list[int]] = []
        for at, token in enumerate(row):
            edges_before = masking.edges_V[row[at - 1]]
            if masking.edges_V[token] & BEGINS or edges_before & ENDS:
                words.append([])
            words[-1].append(at)
        cut = [word for word in words if 0 < len(hidden.intersection(word)) < len(word)]
        assert len(cut) <= 1
        num_cut += len(cut)
        for word in cut:
            count = len(hidden.intersection(word))
            assert sorted(hidden.intersection(word)) == word[:count]
    assert num_cut > 0


def test_special_tokens_are_neither_chosen_nor_drawn() -> None:
    generator = np.random.default_rng(5)
    rows = [invent_row(generator, 20, 30) for _ in range(60)]
    for row, part in zip(rows, mask_rows(rows, invent_masking(rate=1.0)), strict=True):
        given = np.array(row)
        assert part.masked_M.tolist() == np.flatnonzero(given >= 5).tolist()
        assert part.targets_M.tolist() == given[given >= 5].tolist()
        assert np.array_equal(part.tokens_T[given < 5], given[given < 5])
        assert set(part.tokens_T[part.masked_M].tolist()) <= {MASK, *range(5, NUM_PIECES)}


def test_80_percent_become_the_mask_10_another_piece_and_10_stay() -> None:
    row = [CLS, *np.random.default_rng(6).integers(5, NUM_PIECES, 1_000).tolist(), SEP]
    parts = mask_rows([row] * 200, invent_masking(rate=1.0))
    seen = np.concatenate([part.tokens_T[part.masked_M] for part in parts])
    targets = np.concatenate([part.targets_M for part in parts])
    is_mask, stays = seen == MASK, seen == targets
    # 200,000 draws: the standard error is 0.0009 of 0.8, and 0.0007 of 0.1.
    assert is_mask.mean() == pytest.approx(0.8, abs=0.004)
    assert stays.mean() == pytest.approx(0.1 + 0.1 / (NUM_PIECES - 5), abs=0.003)
    drawn = np.bincount(seen[~is_mask & ~stays], minlength=NUM_PIECES)
    assert drawn[:5].sum() == 0
    assert drawn[5:].min() > 0.5 * drawn[5:].mean() and drawn[5:].max() < 1.6 * drawn[5:].mean()


@pytest.mark.parametrize("whole_words", [True, False])
def test_every_token_is_chosen_about_equally_often(whole_words: bool) -> None:
    row = invent_row(np.random.default_rng(8), 2, 600)
    epochs = 4_000
    masking = invent_masking(rate=0.2, whole_words=whole_words)
    masked = mask_tokens(
        np.tile(np.array(row), epochs),
        np.arange(epochs + 1) * len(row),
        masking,
        epochs_R=range(epochs),
        rows_R=[3] * epochs,
        rates_R=[masking.rate] * epochs,
    )
    counts = np.bincount(masked.masked_M % len(row), minlength=len(row))
    rates = counts[np.array(row) >= 5] / epochs
    # The standard error is 0.006. Of a row's last word the end may be lost: a little less there,
    # the less, the longer the row.
    assert rates.mean() == pytest.approx(0.2, abs=0.01)
    assert rates.min() > 0.16 and rates.max() < 0.24


def test_a_row_is_masked_alike_whatever_else_is_in_the_batch() -> None:
    generator = np.random.default_rng(9)
    rows = [invent_row(generator, 2, 50) for _ in range(12)]
    masking = invent_masking()
    numbers = [number * 1_000 for number in range(12)]
    together = mask_rows(rows, masking, rows_R=numbers)
    backwards = mask_rows(rows[::-1], masking, rows_R=numbers[::-1])[::-1]
    alone = [mask_rows([r], masking, rows_R=[n])[0] for r, n in zip(rows, numbers, strict=True)]
    for parts in (backwards, alone):
        for one, other in zip(together, parts, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_seed_epoch_and_row_each_change_what_is_chosen() -> None:
    row = invent_row(np.random.default_rng(10), 1, 400)
    chosen = {
        tuple(mask_rows([row], invent_masking(seed=s), epochs_R=[e], rows_R=[r])[0].masked_M)
        for s in (0, 1)
        for e in (0, 1)
        for r in (0, 1)
    }
    assert len(chosen) == 8


def test_no_rows_are_masked_as_nothing() -> None:
    empty = np.zeros(0, np.int64)
    masked = mask_tokens(empty, np.array([0]), invent_masking(), epochs_R=[], rows_R=[], rates_R=[])
    assert [len(part) for part in masked] == [0, 0, 0]


def test_a_token_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(BadValue, match="token 300 is not of the 300 pieces"):
        mask_rows([[CLS, 300, SEP]], invent_masking())


def test_words_of_real_text_begin_at_its_white_space(tokenizer: Tokenizer) -> None:
    text = "To be.\n\nThe\tlist  is\n    print(x)  # done\r\nend"
    ids = tokenizer.encode(text)
    masking = make_masking(MaskingSection(rate=1.0), tokenizer)
    pieces = [tokenizer.decode([number]) for number in ids]
    words, before = [""], ENDS
    for piece, number in zip(pieces, ids, strict=True):
        edges = masking.edges_V[number]
        if edges & BEGINS or before & ENDS:
            words.append("")
        words[-1] += piece
        before = edges
    stripped = [word.strip() for word in words if word.strip()]
    assert stripped == text.split()


def test_bytes_of_white_space_are_words_of_their_own_and_others_are_not(
    tokenizer: Tokenizer,
) -> None:
    edges = find_word_edges([tokenizer.decode([n]) for n in range(tokenizer.vocabulary_size)])
    assert len(edges) == tokenizer.vocabulary_size
    assert edges[5 + ord("\t")] == edges[5 + ord("\n")] == edges[0] == edges[CLS] == BEGINS + ENDS
    assert edges[5 + ord("a")] == edges[5 + 0xE6] == 0


def test_the_rate_of_the_decay_holds_from_its_row_on(tokenizer: Tokenizer) -> None:
    section = MaskingSection(rate=0.3, decay_rate=0.15)
    masking = make_masking(section, tokenizer, decay_row=10)
    assert masking.rates([0, 9, 10, 99]).tolist() == [0.3, 0.3, 0.15, 0.15]
    assert make_masking(section, tokenizer).rates([99]).tolist() == [0.3]
    constant = make_masking(MaskingSection(rate=0.3), tokenizer, decay_row=10)
    assert constant.rates([99]).tolist() == [0.3]


def test_rows_of_one_batch_may_have_rates_of_their_own() -> None:
    row = [CLS, *[6] * 100, SEP]
    parts = mask_rows([row] * 3, invent_masking(), rates_R=[0.3, 0.0, 0.15])
    assert [len(part.masked_M) for part in parts] == [30, 0, 15]
