"""The invented sentences: files like the published ones, which a list of words does not solve."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from labeling.conll import NerFile, read_ner_file
from labeling.demo_ner import FIRST_QUESTION, NUM_SENTENCES, WORDS_BY_TYPE, write_demo_ner
from labeling.entities import bio_to_spans
from labeling.ner import make_ner_examples
from labeling.recipe import load_benchmark_recipe
from tests.conftest import CHECKOUT

RECIPE = load_benchmark_recipe(CHECKOUT / "datacards" / "paper-ner" / "recipe.toml")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[NerFile]:
    folder = tmp_path_factory.mktemp("ner")
    write_demo_ner(folder)
    return [
        read_ner_file(folder / "train.txt", "train"),
        read_ner_file(folder / "dev.txt", "validation"),
        read_ner_file(folder / "test.txt", "test"),
    ]


def sentences(file: NerFile) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(one.tokens, one.tags) for post in file.posts for one in post.sentences]


def mentions(file: NerFile) -> Counter[tuple[str, str]]:
    """Count the entities of a file by type and words."""
    return Counter(
        (span.type, " ".join(tokens[span.start : span.end]))
        for tokens, tags in sentences(file)
        for span in bio_to_spans(tags)
    )


def test_the_same_bytes_are_written_twice(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_demo_ner(tmp_path / name)
    for name in NUM_SENTENCES:
        first, second = (tmp_path / one / f"{name}.txt" for one in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_files_are_read_without_a_reject_or_a_repair(files: list[NerFile]) -> None:
    assert [file.num_read for file in files] == list(NUM_SENTENCES.values())
    for file in files:
        assert sum(file.rejected.values()) == file.num_header_tags == 0
        assert all(not one.ill_formed for post in file.posts for one in post.sentences)


def test_each_question_has_an_answer_and_an_id_that_no_real_one_has(files: list[NerFile]) -> None:
    for file in files:
        assert {post.answer_number for post in file.posts} == {0, 1}
        assert all(post.question_id >= FIRST_QUESTION > 10**11 for post in file.posts)
        assert {len(post.sentences) for post in file.posts} == {5}


def test_every_split_has_every_type(files: list[NerFile]) -> None:
    for file in files:
        counts = Counter(kind for kind, _ in mentions(file).elements())
        assert set(counts) == set(WORDS_BY_TYPE)
        assert len(counts) >= 8
        assert min(counts.values()) >= 5, file.name


def test_some_entities_have_two_words(files: list[NerFile]) -> None:
    assert all(any(" " in words for _, words in mentions(file)) for file in files)


def test_most_words_of_entities_are_none_elsewhere(files: list[NerFile]) -> None:
    tags_by_word = defaultdict(set)
    for tokens, tags in sentences(files[0]):
        for token, tag in zip(tokens, tags, strict=True):
            tags_by_word[token].add(tag)
    tagged = [tags for tags in tags_by_word.values() if tags != {"O"}]
    assert sum("O" in tags for tags in tagged) / len(tagged) > 0.6


def test_a_list_of_the_words_of_train_is_wrong_about_many_in_test(files: list[NerFile]) -> None:
    known = {words: kind for kind, words in mentions(files[0])}
    true, found = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for tokens, tags in sentences(files[2]):
        true += Counter(tags_of(tokens, tags))
        found += Counter((known[token], token) for token in tokens if token in known)
    right = (true & found).total()
    assert right / found.total() < 0.8
    assert right / true.total() > 0.8


def tags_of(tokens: tuple[str, ...], tags: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(one.type, " ".join(tokens[one.start : one.end])) for one in bio_to_spans(tags)]


def test_examples_of_every_split_keep_at_least_eight_types(files: list[NerFile]) -> None:
    assert RECIPE.ner
    table = make_ner_examples(files, RECIPE.ner).table
    by_split = defaultdict(set)
    columns = (table["split_published"].to_pylist(), table["ner_tags"].to_pylist())
    for split, tags in zip(*columns, strict=True):
        by_split[split] |= {tag[2:] for tag in tags} - {""}
    assert set(by_split) == {"train", "validation", "test"}
    assert min(map(len, by_split.values())) >= 8
