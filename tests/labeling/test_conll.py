"""Reading the files of StackOverflowNER: what is in them, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from corpus.errors import SourceError
from labeling.conll import NerFile, Placeholder, read_ner_file


def line(word: str, tag: str = "O", markup: str = "O") -> str:
    return f"{word}\t{tag}\t{word}\t{markup}\n"


def header(question_id: int, name: str = "Question_ID") -> str:
    url = f"https://stackoverflow.com/questions/{question_id}/"
    parts = [name, ":", str(question_id)], ["Question_URL", ":", url]
    return "\t\n".join("".join(map(line, part)) for part in parts) + "\t\n\t\n"


def block(*words: str, tag: str = "Code_Block") -> str:
    first, *rest = words
    lines = [line(first, f"B-{tag}", f"B-{tag}")]
    return "".join([*lines, *(line(word, f"I-{tag}", f"I-{tag}") for word in rest)]) + "\t\n"


CODE = ("CODE_BLOCK", ":", "Q_12", "(", "code", "omitted", "for", "annotation", ")")
OUTPUT = ("OP_BLOCK", ":", "(", "output", "omitted", "for", "annotation", ")")
ANSWER = "Answer_to_Question_ID"
PLAIN = header(7) + line("Use") + line("maps", "B-Library_Class", "B-Code_Block") + "\t\n"

Read = Callable[[str | bytes], NerFile]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_content(content: str | bytes) -> NerFile:
        path = tmp_path / "train.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_ner_file(path, "train")

    return read_content


def test_a_post_has_its_header_and_sentences(read: Read) -> None:
    (post,) = read(PLAIN).posts
    assert (post.kind, post.question_id, post.answer_number, post.line) == ("question", 7, 0, 1)
    assert post.url == "https://stackoverflow.com/questions/7/"
    (sentence,) = post.sentences
    assert sentence.tokens == ("Use", "maps")
    assert sentence.tags == ("O", "B-Library_Class")
    assert sentence.markup == ("O", "B-Code_Block")
    assert PLAIN.split("\n")[sentence.line - 1].startswith("Use\t")


def test_answers_are_numbered_in_order_under_their_question(read: Read) -> None:
    words = line("Yes") + "\t\n"
    content = PLAIN + (header(7, ANSWER) + words) * 2 + header(9) + words + header(9, ANSWER)
    posts = read(content).posts
    assert [(post.kind, post.question_id, post.answer_number) for post in posts] == [
        ("question", 7, 0),
        ("answer", 7, 1),
        ("answer", 7, 2),
        ("question", 9, 0),
        ("answer", 9, 1),
    ]
    assert posts[-1].sentences == ()


def test_placeholders_become_markers_between_the_sentences(read: Read) -> None:
    content = PLAIN + block(*CODE) + line("or") + "\t\n" + block(*OUTPUT, tag="Output_Block")
    file = read(content)
    (post,) = file.posts
    assert [sentence.number for sentence in post.sentences] == [1, 3]
    code, output = post.placeholders
    assert (code.number, code.kind, code.name, code.num_words) == (2, "code", "Q_12", 0)
    assert (output.number, output.kind, output.name) == (4, "output", "")
    assert content.split("\n")[code.line - 1].startswith("CODE_BLOCK")
    assert file.rejected == {"placeholder": 2, "mixed_placeholder": 0}
    assert file.num_read == 4


def test_words_that_go_on_into_a_placeholder_are_rejected_and_counted(read: Read) -> None:
    file = read(PLAIN + line("Like") + line("this") + block(*CODE))
    (marker,) = file.posts[0].placeholders
    assert isinstance(marker, Placeholder) and marker.num_words == 2
    assert file.rejected == {"placeholder": 0, "mixed_placeholder": 1}


def test_words_that_only_look_like_headers_or_placeholders_stay(read: Read) -> None:
    words = ["Question_ID", "is", ":", "CODE_BLOCK", ":", "x", "omitted"]
    sentences = read(PLAIN + "".join(map(line, words)) + "\t\n").posts[0].sentences
    assert sentences[1].tokens == tuple(words)


def test_an_ill_formed_tag_is_repaired_and_kept_in_mind(read: Read) -> None:
    tags = ["I-Version", "I-Version", "I-Value", "B-Value", "I-Value"]
    content = PLAIN + "".join(line("w", tag) for tag in tags) + "\t\n"
    sentence = read(content).posts[0].sentences[1]
    assert sentence.tags == ("B-Version", "I-Version", "B-Value", "B-Value", "I-Value")
    assert sentence.ill_formed == (0, 2)


def test_annotations_in_headers_are_counted_only(read: Read) -> None:
    file = read(PLAIN.replace("7\tO\t7", "7\tB-Data_Type\t7", 1))
    assert file.num_header_tags == 1
    assert file.posts == read(PLAIN).posts


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\t\n", "\n"),
        lambda text: text.replace("\t\n", " \t\n\n\n"),
        lambda text: text.removesuffix("\t\n"),
        lambda text: text.removesuffix("\n\t\n"),
        lambda text: text.replace(
            "maps\tB-Library_Class\tmaps\tB-Code_Block", "maps B-Library_Class maps B-Code_Block"
        ),
    ],
    ids=["crlf", "bom", "empty lines", "many lines", "no separator", "no line end", "spaces"],
)
def test_how_lines_are_written_does_not_matter(read: Read, change: Callable[[str], str]) -> None:
    def contents(file: NerFile) -> list[tuple[object, ...]]:
        return [(one.tokens, one.tags, one.markup) for post in file.posts for one in post.sentences]

    assert change(PLAIN) != PLAIN
    assert contents(read(change(PLAIN))) == contents(read(PLAIN))


def test_a_line_separator_of_unicode_ends_no_line(read: Read) -> None:
    assert read(PLAIN + line("a\u2028b")).posts[0].sentences[1].tokens == ("a\u2028b",)


@pytest.mark.parametrize(
    ("content", "line_number", "column", "what"),
    [
        ("", 1, 1, "the file is empty"),
        ("\t\n\n", 1, 1, "the file is empty"),
        (line("Use") + "\t\n" + PLAIN, 1, 1, "no Question_ID"),
        (header(7), 1, 1, "holds no sentence"),
        (PLAIN + "word\n", 13, 2, "1 columns"),
        (PLAIN + "word\tO\n", 13, 3, "2 columns"),
        (PLAIN + "word\tO\tword\tO\tO\n", 13, 5, "5 columns"),
        (PLAIN + "two words\tO\ttwo words\tO\n", 13, 1, "'two words' is no word"),
        (PLAIN + "\tO\t\tO\n", 13, 1, "'' is no word"),
        (PLAIN + line("word", "Class_Name"), 13, 2, "is not O, B-<type> or I-<type>"),
        (PLAIN + line("word", ""), 13, 2, "is not O, B-<type> or I-<type>"),
        (PLAIN + line("word", "B-Person"), 13, 2, "'B-Person' has an unknown type"),
        (PLAIN + line("word", "O", "I-Bold"), 13, 4, "'I-Bold' has an unknown type"),
        (PLAIN + "word\tO\twort\tO\n", 13, 3, "'wort' is not that of column 1"),
        (PLAIN + header(8, ANSWER), 13, 1, "an answer to 8 does not follow that question"),
        (header(7, ANSWER) + line("w"), 1, 1, "an answer to 7 does not follow that question"),
        (PLAIN + line("Question_ID"), 13, 1, "has no question id"),
        (PLAIN + header(8).replace("8\tO\t8", "x\tO\tx"), 13, 1, "has no question id"),
        (PLAIN + header(8).split("\t\n")[0], 13, 1, "does not follow its Question_ID"),
        (PLAIN + header(8).replace("questions/8", "questions/9"), 17, 1, "does not follow its"),
        (PLAIN + header(8).split("\t\n")[1], 13, 1, "Question_URL in the middle of a post"),
        (PLAIN.encode() + b"w\tO\t\xe9\tO\n", 13, 3, "bytes that are not UTF-8"),
    ],
)
def test_a_file_that_is_not_as_published_is_refused(
    read: Read, content: str | bytes, line_number: int, column: int, what: str
) -> None:
    with pytest.raises(SourceError) as caught:
        read(content)
    message = str(caught.value)
    assert f"train.txt, line {line_number}, column {column}: " in message
    assert what in message and "\n" not in message


def test_every_cut_of_a_file_is_read_or_refused(read: Read) -> None:
    """A file may end after any line, never within one."""
    content = PLAIN + header(7, ANSWER) + line("Yes", "B-Value") + "\t\n"
    for end in range(len(content)):
        try:
            file = read(content[:end])
        except SourceError:
            continue
        assert file.posts[0].sentences[0].tokens in {("Use",), ("Use", "maps")}
        assert content[end] == "\n" or content[end - 1] in "\n\t" or end == len(content)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing.txt: not readable \(No such file"):
        read_ner_file(tmp_path / "missing.txt", "test")


@pytest.mark.parametrize(
    ("name", "num_sentences", "num_tokens", "num_ill_formed", "posts"),
    [
        ("train.txt", 9_263, 136_996, 7, {"question": 741, "answer": 897}),
        ("train_merged_labels.txt", 9_263, 136_996, 7, {"question": 741, "answer": 897}),
        ("dev.txt", 2_936, 43_296, 3, {"question": 247, "answer": 289}),
    ],
)
def test_the_published_files_have_the_published_counts(
    shared_data: Path,
    name: str,
    num_sentences: int,
    num_tokens: int,
    num_ill_formed: int,
    posts: dict[str, int],
) -> None:
    file = read_ner_file(shared_data / "bench" / "ner" / name, "train")
    sentences = [sentence for post in file.posts for sentence in post.sentences]
    assert len(sentences) == num_sentences
    assert sum(len(sentence.tokens) for sentence in sentences) == num_tokens
    assert sum(len(sentence.ill_formed) for sentence in sentences) == num_ill_formed
    assert Counter(post.kind for post in file.posts) == posts
    assert file.num_read == num_sentences + sum(file.rejected.values())


def test_merged_labels_change_no_words(shared_data: Path) -> None:
    folder = shared_data / "bench" / "ner"
    raw, merged = (
        read_ner_file(folder / name, "train") for name in ("train.txt", "train_merged_labels.txt")
    )
    for one, other in zip(raw.posts, merged.posts, strict=True):
        for left, right in zip(one.sentences, other.sentences, strict=True):
            assert left._replace(tags=()) == right._replace(tags=())
    assert raw.rejected == merged.rejected == {"placeholder": 2_004, "mixed_placeholder": 2}
