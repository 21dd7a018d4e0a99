"""Examples of the named-entity benchmark: rows, splits, repeats and counts."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import SourceError
from corpus.recipe import Split
from labeling.conll import NerFile, Placeholder, Post, Sentence, read_ner_file
from labeling.entities import repair_bio
from labeling.examples import EXAMPLE_SCHEMA
from labeling.ner import NER_SCHEMA, Examples, describe_ner, find_repeated, make_ner_examples
from labeling.recipe import BenchmarkSection, NerSection

LONG = "this sentence is in two threads"


def sentence(number: int, text: str, tags: str = "", markup: str = "") -> Sentence:
    tokens = tuple(text.split())
    given = tags.split() or ["O"] * len(tokens)
    repaired, places = repair_bio(given)
    marked = tuple(markup.split() or ["O"] * len(tokens))
    return Sentence(number, 1, tokens, tuple(repaired), marked, tuple(places))


def post(question_id: int, *sentences: Sentence, answer: int = 0) -> Post:
    url = f"https://stackoverflow.com/questions/{question_id}/"
    kind: Any = "answer" if answer else "question"
    return Post(kind, question_id, answer, url, 1, sentences, ())


def file(split: Split, *posts: Post) -> NerFile:
    num_read = sum(len(one.sentences) for one in posts) + 3
    rejected = {"placeholder": 2, "mixed_placeholder": 1}
    return NerFile(f"{split}.txt", split, posts, num_read, rejected, 0)


def make(*files: NerFile, benchmark: BenchmarkSection | None = None, **recipe: Any) -> Examples:
    return make_ner_examples(files, NerSection(**recipe), benchmark)


MIXED = sentence(
    2,
    "Set HashMap to 1.5 with array list ok",
    "O B-Library_Class O B-Value O B-Data_Structure I-Data_Structure I-Version",
    "O B-Code_Block O O O B-Code_Block I-Code_Block B-Output_Block",
)


def test_an_example_is_a_sentence() -> None:
    table = make(file("test", post(7, MIXED))).table
    assert table.schema == NER_SCHEMA
    assert table.schema.names[: len(EXAMPLE_SCHEMA)] == EXAMPLE_SCHEMA.names
    (row,) = table.to_pylist()
    assert row["example_id"] == "stackoverflow.com/7/q/2"
    assert (row["site"], row["thread_id"], row["post_id"]) == ("stackoverflow.com", 7, 7)
    text = "Set HashMap to 1.5 with array list ok"
    assert row["text"] == row["raw_text"] == text
    assert row["body_end"] == len(text)
    assert [(one["kind"], one["start"], one["end"]) for one in row["segments"]] == [
        ("prose", 0, len(text))
    ]
    code = [text[one["start"] : one["end"]] for one in row["inline_code"]]
    assert code == ["HashMap", "array list"]
    assert row["link"] == "https://stackoverflow.com/questions/7/"
    assert row["split_published"] == "test"


def test_what_the_files_do_not_say_is_null() -> None:
    (row,) = make(file("test", post(7, MIXED, answer=2))).table.to_pylist()
    assert row["example_id"] == "stackoverflow.com/7/a2/2"
    unknown = ("post_id", "label", "tags", "licence", "licence_source", "author_id", "author_name")
    for column in (*unknown, "author_link", "input_at", "label_at"):
        assert row[column] is None


@pytest.mark.parametrize(("types", "value"), [("loader", None), ("paper", "Value")])
def test_tags_follow_the_list_and_entities_keep_every_raw_type(
    types: str, value: str | None
) -> None:
    (row,) = make(file("train", post(7, MIXED)), types=types).table.to_pylist()
    structure = ["B-Data_Structure", "I-Data_Structure", "B-Version"]
    assert row["ner_tags"] == ["O", "B-Class", "O", f"B-{value}" if value else "O", "O", *structure]
    found = [
        (row["text"][one["start"] : one["end"]], one["type"], one["raw_type"], one["is_ill_formed"])
        for one in row["entities"]
    ]
    assert found == [
        ("HashMap", "Class", "Library_Class", False),
        ("1.5", value, "Value", False),
        ("array list", "Data_Structure", "Data_Structure", False),
        ("ok", "Version", "Version", True),
    ]


def test_ids_are_distinct_and_rows_in_the_order_of_the_files() -> None:
    thread = [post(7, sentence(1, "a"), MIXED), post(7, sentence(1, "b"), answer=1)]
    table = make(file("train", *thread), file("test", post(3, sentence(4, "c")))).table
    assert table["example_id"].to_pylist() == [
        *(f"stackoverflow.com/7/{name}" for name in ("q/1", "q/2", "a1/1")),
        "stackoverflow.com/3/q/4",
    ]


def test_a_thread_that_comes_twice_is_refused() -> None:
    with pytest.raises(SourceError, match=r"test.txt, line 1.*question 7 is in train.txt already"):
        make(file("train", post(7, MIXED)), file("test", post(8, MIXED), post(7, MIXED)))


def test_nothing_read_is_lost() -> None:
    examples = make(file("train", post(7, MIXED)), file("test", post(8, MIXED)))
    assert examples.rejected == {"placeholder": 4, "mixed_placeholder": 2}
    assert examples.num_read == len(examples.table) + sum(examples.rejected.values())


# Repeats and splits --------------------------------------------------------------------------


def test_repeats_are_sentences_of_evaluation_that_are_in_train() -> None:
    train = post(1, sentence(1, "Thanks !"), sentence(2, "Thanks !"), sentence(3, LONG))
    other = post(2, sentence(1, "Thanks !"), sentence(2, "thanks !"), sentence(3, LONG))
    examples = make(file("train", train), file("validation", other))
    assert examples.table["is_repeated"].to_pylist() == [False] * 3 + [True, False, True]
    assert find_repeated(examples.table, examples.splits).tolist() == [False] * 3 + [
        *(True, False, True)
    ]
    counts = describe_ner(examples)["splits"]
    assert (counts["validation"]["repeated"], counts["validation"]["repeated_5_tokens"]) == (2, 1)
    assert counts["train"]["repeated"] == 0


def test_published_splits_are_those_of_the_files() -> None:
    examples = make(file("train", post(1, MIXED)), file("test", post(2, MIXED)))
    assert examples.splits.to_pylist() == ["train", "test"]
    assert examples.groups.to_pylist() == ["stackoverflow.com/1", "stackoverflow.com/2"]


def test_resampled_threads_that_share_a_long_sentence_stay_together() -> None:
    shared = [
        post(number, sentence(1, LONG), sentence(2, "Thanks !")) for number in range(50, 10, -2)
    ]
    apart = [post(number, sentence(1, "Thanks !")) for number in range(51, 101, 2)]
    examples = make(file("train", *shared, *apart), splits="resampled")
    groups, splits = examples.groups.to_pylist(), examples.splits.to_pylist()
    assert set(groups[:40]) == {"stackoverflow.com/12"} and len(set(splits[:40])) == 1
    assert len(set(groups[40:])) == 25 and len(set(splits[40:])) == 3


def test_resampling_hangs_on_the_salt_alone() -> None:
    posts = [post(number, sentence(1, f"number {number}")) for number in range(1, 200)]
    halves: dict[Split, float] = {"train": 0.5, "validation": 0.2, "test": 0.3}
    benchmark = BenchmarkSection(fractions=halves, salt="one")
    one = make(file("train", *posts), splits="resampled", benchmark=benchmark)
    again = make(
        file("test", *reversed(posts)), splits="resampled", types="paper", benchmark=benchmark
    )
    assert one.splits.to_pylist() == again.splits.to_pylist()[::-1]
    assert 75 < one.splits.to_pylist().count("train") < 125
    salted = benchmark.model_copy(update={"salt": "two"})
    assert make(file("train", *posts), splits="resampled", benchmark=salted).splits != one.splits


# The published files -------------------------------------------------------------------------


@pytest.fixture(scope="session")
def published(shared_data: Path) -> list[NerFile]:
    folder = shared_data / "bench" / "ner"
    return [
        read_ner_file(folder / "train.txt", "train"),
        read_ner_file(folder / "dev.txt", "validation"),
    ]


def test_the_published_counts_come_out(published: list[NerFile]) -> None:
    counts = describe_ner(make(*published))
    expected = {
        "train": (9_263, 136_996, 3_521, 10_662, 11_281, 7, 0, 0),
        "validation": (2_936, 43_296, 1_107, 3_420, 3_683, 3, 124, 16),
    }
    for split, numbers in expected.items():
        found = counts["splits"][split]
        names = ("sentences", "tokens", "sentences_without_entity")
        lists = [found["types"][name] for name in ("loader", "paper")]
        assert numbers == (
            *(found[name] for name in names),
            # As published, mentions are B- tags: those that were repaired are not among them.
            *(one["mentions_well_formed"] for one in lists),
            *(found[name] for name in ("ill_formed", "repeated", "repeated_5_tokens")),
        )
        for one in lists:
            assert one["mentions"] == one["mentions_well_formed"] + found["ill_formed"]
            assert sum(one["by_type"].values()) == one["mentions"]
    assert counts["num_read"] == 9_263 + 2_936 + sum(counts["rejected"].values())


def test_character_spans_say_the_words_of_their_tags(published: list[NerFile]) -> None:
    for row in make(published[1]).table.to_pylist():
        listed = [one for one in row["entities"] if one["type"]]
        words = [row["text"][one["start"] : one["end"]].split() for one in listed]
        tagged = zip(row["tokens"], row["ner_tags"], strict=True)
        assert list(chain.from_iterable(words)) == [token for token, tag in tagged if tag != "O"]
        assert [f"B-{one['type']}" for one in listed] == [
            tag for tag in row["ner_tags"] if tag.startswith("B-")
        ]


def test_resampling_the_published_files_leaves_no_long_repeat(published: list[NerFile]) -> None:
    counts = describe_ner(make(*published, splits="resampled"))["splits"]
    assert [counts[split]["repeated_5_tokens"] for split in ("validation", "test")] == [0, 0]
    assert sum(one["sentences"] for one in counts.values()) == 9_263 + 2_936
    assert sum(one["threads"] for one in counts.values()) == 741 + 247


def test_markers_count_in_the_position_of_a_sentence() -> None:
    marker = Placeholder(1, 1, "code", "Q_1", 0)
    one = post(7, MIXED)._replace(placeholders=(marker,))
    (metadata,) = make(file("train", one)).table["metadata"].to_pylist()
    assert {pair["name"]: pair["value"] for pair in metadata} == {
        "answer_number": 0.0,
        "sentence_number": 2.0,
        "num_sentences": 2.0,
    }
