"""Near-duplicates, from texts to representatives, against brute force and real pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.components import components
from corpus.errors import BadValue
from corpus.minhash import band_hashes, normalise, shingle_sets, signatures
from corpus.pairs import (
    Choice,
    candidate_pairs,
    choose_representatives,
    jaccard_of_pairs,
    overlap_of_pairs,
)

THRESHOLD = 0.7
BANDS = 32  # of 4 values: finds a pair of similarity 0.7 in all but 2 of 10,000 cases


def oracle_set(text: str, width: int = 5) -> frozenset[str]:
    """The shingles of a text as Python strings."""
    tokens = normalise(text).split(" ") if normalise(text) else []
    width = min(width, len(tokens))
    last = len(tokens) - width if tokens else -1
    return frozenset(" ".join(tokens[i : i + width]) for i in range(last + 1))


def oracle_jaccard(one: str, other: str) -> float:
    a, b = oracle_set(one), oracle_set(other)
    return len(a & b) / max(len(a | b), 1)


def near_duplicate_pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> np.ndarray:
    """All of it as a stage does it: candidates, then those whose exact similarity passes."""
    values, offsets = shingle_sets(texts, width=5)
    hashes = band_hashes(signatures(texts, width=5, num_perm=128, seed=1), bands=BANDS)
    pairs = candidate_pairs(hashes.T, max_bucket=100, eligible=np.diff(offsets) > 0)
    return pairs[jaccard_of_pairs(values, offsets, pairs) >= threshold]


def choose(texts: Sequence[str], rank: np.ndarray | None = None, max_cluster: int = 1000) -> Choice:
    """Choose representatives of the clusters of near-duplicates; rank is by number by default."""
    return choose_representatives(
        components(len(texts), near_duplicate_pairs(texts)),
        np.arange(len(texts)) if rank is None else rank,
        *shingle_sets(texts, width=5),
        threshold=THRESHOLD,
        max_cluster=max_cluster,
    )


def sets_of(*sets: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Sets of small numbers, in place of shingle hashes."""
    offsets = np.cumsum([0, *map(len, sets)])
    return np.array([x for members in sets for x in sorted(members)], np.uint64), offsets


@pytest.fixture(scope="module")
def edited_texts() -> list[str]:
    """300 texts, most of them an earlier one with up to 15 of its 60 words replaced."""
    generator = np.random.default_rng(5)
    words = np.array([f"w{i}" for i in range(3000)])
    texts = [generator.choice(words, 60)]
    while len(texts) < 300:
        edited = texts[generator.integers(len(texts))].copy()
        places = generator.choice(60, generator.choice([1, 2, 3, 15, 60]), replace=False)
        edited[places] = generator.choice(words, len(places))
        texts.append(edited)
    return [" ".join(text) for text in texts]


def test_pairs_above_the_threshold_are_those_of_brute_force(edited_texts: list[str]) -> None:
    sets = [oracle_set(text) for text in edited_texts]
    expected = [
        [i, j]
        for i, j in combinations(range(len(sets)), 2)
        if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= THRESHOLD
    ]
    assert len(expected) > 100
    assert near_duplicate_pairs(edited_texts).tolist() == expected


@pytest.mark.parametrize(("size", "num_true"), [(100, 5), (1000, 10)])
def test_all_known_near_duplicate_articles_are_found_and_no_other(
    shared_data: Path, size: int, num_true: int
) -> None:
    folder = shared_data / "dups" / "minhash_articles"
    lines = (folder / f"articles_{size}.train").read_text("utf-8").splitlines()
    names, articles = zip(*(line.split(" ", 1) for line in lines), strict=True)
    truth = (folder / f"articles_{size}.truth").read_text("utf-8").splitlines()
    expected = {frozenset(line.split()) for line in truth}
    found = {frozenset((names[i], names[j])) for i, j in near_duplicate_pairs(articles)}
    assert len(expected) == num_true
    assert found == expected


@pytest.fixture(scope="module")
def labelled_questions(shared_data: Path) -> tuple[list[str], list[str]]:
    """1,000 pairs of questions, flattened, and whether people call each pair duplicate."""
    path = shared_data / "dups" / "askubuntu_pairs" / "askubuntu_noclue_val.tsv"
    rows = [line.split("\t") for line in path.read_text("utf-8").rstrip("\n").split("\n")]
    return [text for _, *pair in rows for text in pair], [label for label, *_ in rows]


def test_no_question_is_removed_that_is_not_like_what_stays(
    labelled_questions: tuple[list[str], list[str]],
) -> None:
    texts, _ = labelled_questions
    choice = choose(texts)
    removed = np.flatnonzero(choice.representative != np.arange(len(texts)))
    assert len(texts) - len(removed) >= len({normalise(text) for text in texts}) - 1
    for i in removed:
        representative = choice.representative[i]
        assert choice.representative[representative] == representative
        similarity = oracle_jaccard(texts[i], texts[representative])
        assert similarity == choice.similarity[i] >= THRESHOLD


def test_questions_that_people_call_duplicates_are_merged_only_if_they_are_near_duplicates(
    labelled_questions: tuple[list[str], list[str]],
) -> None:
    texts, labels = labelled_questions
    cluster = components(len(texts), near_duplicate_pairs(texts)).reshape(-1, 2)
    similar = np.array(
        [oracle_jaccard(*pair) >= THRESHOLD for pair in zip(texts[::2], texts[1::2], strict=True)]
    )
    assert labels.count("duplicate") == 500
    assert similar.sum() == 1
    assert ((cluster[:, 0] == cluster[:, 1]) == similar).all()


def test_the_order_of_documents_does_not_matter(edited_texts: list[str]) -> None:
    rank = np.random.default_rng(2).permutation(len(edited_texts))
    order = np.random.default_rng(3).permutation(len(edited_texts))
    place = np.argsort(order)
    straight = choose(edited_texts, rank)
    shuffled = choose([edited_texts[i] for i in order], rank[order])
    assert (order[shuffled.representative[place]] == straight.representative).all()
    assert (shuffled.similarity[place] == straight.similarity).all()


def test_short_texts_are_compared_whole() -> None:
    texts = ["Thanks!", "thanks !", "Thanks a lot!", "x += 1", "x -= 2"]
    assert near_duplicate_pairs(texts).tolist() == [[0, 1]]


def test_texts_without_tokens_are_like_nothing() -> None:
    assert near_duplicate_pairs(["", " ", "\n", "text"]).tolist() == []
    choice = choose_representatives(
        np.zeros(3, np.int64), np.arange(3), *sets_of([], [], []), threshold=0.5, max_cluster=2
    )
    assert choice.representative.tolist() == [0, 1, 2]


def test_cjk_texts_without_spaces_are_compared_by_character() -> None:
    text = "機械学習のモデルを訓練するときに損失が減らない場合の対処法を教えてください"
    other = "今日の天気は晴れですが明日は雨が降るかもしれないので傘を持って行きます"
    assert near_duplicate_pairs([text, other, text.replace("訓練", "学習", 1)], 0.6).tolist() == [
        [0, 2]
    ]


@settings(deadline=None)  # the first example may compile
@given(st.lists(st.lists(st.integers(0, 3), min_size=8, max_size=8), min_size=1, max_size=3))
def test_candidates_are_the_pairs_of_equal_hashes(rows: list[list[int]]) -> None:
    bands = np.array(rows, np.uint64)
    eligible = np.array([True] * 7 + [False])
    expected = [[i, j] for i, j in combinations(range(7), 2) if (bands[:, i] == bands[:, j]).any()]
    assert candidate_pairs(iter(bands), max_bucket=8, eligible=eligible).tolist() == expected


def test_a_giant_bucket_gives_pairs_in_proportion_to_its_size() -> None:
    hashes = np.array([9, 5, 9, 9, 9, 9, 5], np.uint64)
    pairs = candidate_pairs([hashes], max_bucket=4).tolist()
    assert pairs == [[0, 2], [0, 3], [0, 4], [0, 5], [1, 6], [2, 3], [3, 4], [4, 5]]
    giant = candidate_pairs([np.zeros(1_000_000, np.uint64)] * 2, max_bucket=100)
    assert len(giant) == 2 * 1_000_000 - 3


def test_no_documents_have_no_candidates() -> None:
    assert candidate_pairs([np.empty(0, np.uint64)], max_bucket=9).shape == (0, 2)
    assert candidate_pairs([], max_bucket=9).shape == (0, 2)


@settings(deadline=None)  # the first example may compile
@given(st.lists(st.sets(st.integers(0, 12)), min_size=2, max_size=6))
def test_overlaps_are_those_of_python_sets(sets: list[set[int]]) -> None:
    pairs = np.array(list(combinations(range(len(sets)), 2)))
    values, offsets = sets_of(*map(sorted, sets))
    shared, union = overlap_of_pairs(values, offsets, pairs)
    assert shared.tolist() == [len(sets[i] & sets[j]) for i, j in pairs]
    assert union.tolist() == [len(sets[i] | sets[j]) for i, j in pairs]


def test_a_similarity_equal_to_the_threshold_passes() -> None:
    for shared, union in ((7, 10), (11, 20), (29, 100), (57, 100)):
        sets = sets_of(range(union), range(shared))
        (similarity,) = jaccard_of_pairs(*sets, np.array([[0, 1]]))
        assert similarity >= float(f"{shared / union:.2f}")


def test_of_a_chain_both_ends_stay() -> None:
    a, b, c = range(0, 10), range(1, 11), range(2, 12)  # a ~ b ~ c: 9 of 11; a and c: 8 of 12
    choice = choose_representatives(
        np.zeros(3, np.int64), np.array([0, 2, 1]), *sets_of(a, b, c), threshold=0.7, max_cluster=9
    )
    assert choice.representative.tolist() == [0, 0, 2]
    assert choice.similarity.tolist() == [1.0, 9 / 11, 1.0]


def test_the_most_similar_one_that_stays_represents() -> None:
    a, b, c = range(0, 10), range(1, 11), [*range(2, 12)]
    nearer_c = [*range(2, 11)]  # 8 of 11 with a, 9 of 10 with c
    choice = choose_representatives(
        np.zeros(4, np.int64),
        np.arange(4),
        *sets_of(a, c, nearer_c, b),
        threshold=0.7,
        max_cluster=9,
    )
    assert choice.representative.tolist() == [0, 1, 1, 0]


def test_of_a_giant_cluster_only_equal_sets_go() -> None:
    sets = [range(10), range(1, 10), range(10), range(1, 10), range(50, 60), range(50, 60)]
    component = np.array([0, 0, 0, 0, 4, 4])
    rank = np.array([3, 1, 2, 4, 6, 5])
    choice = choose_representatives(component, rank, *sets_of(*sets), threshold=0.7, max_cluster=3)
    assert choice.representative.tolist() == [2, 1, 2, 1, 5, 5]
    assert choice.oversized.tolist() == [0]
    whole = choose_representatives(component, rank, *sets_of(*sets), threshold=0.7, max_cluster=4)
    assert whole.representative.tolist() == [1, 1, 1, 1, 5, 5]
    assert whole.oversized.tolist() == []


@settings(deadline=None)  # the first example may compile
@given(st.lists(st.sets(st.integers(0, 6), min_size=1), min_size=1, max_size=9), st.randoms())
def test_what_goes_is_like_a_better_one_that_stays_and_those_are_not_alike(
    sets: list[set[int]], random: st.randoms
) -> None:
    rank = np.array(random.sample(range(100), len(sets)))
    choice = choose_representatives(
        np.zeros(len(sets), np.int64),
        rank,
        *sets_of(*map(sorted, sets)),
        threshold=0.5,
        max_cluster=100,
    )
    kept = np.unique(choice.representative)
    assert (choice.representative[kept] == kept).all()
    assert np.argmin(rank) in kept
    for i in set(range(len(sets))) - set(kept):
        better = [k for k in kept if rank[k] < rank[i]]
        similar = [len(sets[i] & sets[k]) / len(sets[i] | sets[k]) for k in better]
        assert choice.similarity[i] == max(similar) >= 0.5
        assert choice.representative[i] in better
    for i, j in combinations(kept, 2):
        assert len(sets[i] & sets[j]) / len(sets[i] | sets[j]) < 0.5


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(BadValue, match="max_bucket is 1"):
        candidate_pairs([], max_bucket=1)
    nodes, sets = np.zeros(2, np.int64), sets_of([1], [2])
    for threshold in (0, 1.1):
        with pytest.raises(BadValue, match=f"threshold is {threshold}"):
            choose_representatives(nodes, np.arange(2), *sets, threshold=threshold, max_cluster=2)
    with pytest.raises(BadValue, match="same rank"):
        choose_representatives(nodes, nodes, *sets, threshold=0.7, max_cluster=2)
