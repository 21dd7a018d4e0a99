"""Annotated sentences in the documents of a small corpus: the exact spans, and what has none.

The dumps at hand have none of the annotated threads: posts are invented, as HTML in a dump and, cut
into tokens by hand, as the published files have them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from corpus.errors import BadValue, IntegrityError
from corpus.recipe import PostsSection
from corpus.store import Artifact, Store
from corpus.tables import read_table
from corpus.vocabulary import Tokenizer, train_vocabulary
from labeling.alignment import (
    Offset,
    align_labels,
    piece_offsets,
    read_entities,
    trim_offsets,
)
from labeling.conll import read_ner_file
from labeling.entities import Entity
from labeling.grounding import (
    Document,
    describe_grounding,
    document_labels,
    document_words,
    ground_examples,
    ground_thread,
    has_site,
    match_answers,
    read_threads,
)
from labeling.ner import NER_SCHEMA, Examples, describe_ner, make_ner_examples
from labeling.recipe import NerSection
from sobert import main
from tests.corpus import conftest as corpus_conftest

# The dump writer and the line up to documents, as the tests of the corpus have them.
write_dump, run_stages = corpus_conftest.write_dump, corpus_conftest.run_stages

SITE = "stackoverflow.com"
Rows = list[dict[str, Any]]
# token/Type: begins an entity, token/=Type goes on; CODE: a block that was taken out.
TRAIN = {
    100: [
        "How do I sort a HashMap/Library_Class by value in Java/Language 8/Version ?\n"
        "My array/Data_Structure list/=Data_Structure does n't keep its order :\n"
        "CODE\n"
        'I tried " TreeMap/Library_Class " and Collections.sort()/Library_Function , too .',
        "Stream the entries and collect them into a LinkedHashMap/Library_Class again .\n"
        "CODE\n"
        "That needs Java/Language 8/Version or newer .",
        "Do n't sort the map at all : keep a second list/Data_Structure of its keys .\n"
        "It costs memory , but Android/Operating_System has no streams .",
        "Guava/Library has an ordering class for exactly this purpose , see its wiki .",
    ],
    200: [
        "Why does Windows/Operating_System Explorer/=Operating_System lock my file ?\n"
        "I cannot delete report.csv/File_Name after the import has finished .",
    ],
}
DEV = {
    300: [
        "The button/User_Interface_Element in my Swing/Library window never repaints itself .\n"
        "What is wrong with this code ?\nCODE",
        "Call repaint()/Library_Function from the event thread and never from a worker .",
    ],
}


def body(*parts: str) -> str:
    return "".join(part if part[0] == "<" else f"<p>{part}</p>" for part in parts)


SORT = "<pre><code>Collections.sort(map); // by value in Java 8 ?\n</code></pre>"
POSTS: Rows = [
    {
        "Id": 100,
        "Title": "Sorting maps",
        "Tags": "<java>",
        "Body": body(
            "How do I sort a <code>HashMap</code> by value in Java 8?",
            # A word was changed since ("order"), and quotes are others.
            "My array list doesn’t keep its sequence:",
            SORT,
            "I tried “TreeMap” and <code>Collections.sort()</code>, too.",
        ),
    },
    # The second answer of the file is the older post.
    {
        "Id": 104,
        "PostTypeId": 2,
        "ParentId": 100,
        "Body": body(
            "Don't sort the map at all: keep a second <b>list</b> of its keys.",
            "It costs memory, but Android has no streams.",
        ),
    },
    {
        "Id": 109,
        "PostTypeId": 2,
        "ParentId": 100,
        "Body": body(
            "Stream the entries and collect them into a LinkedHashMap again.",
            "<pre><code>map.entrySet().stream()</code></pre>",
            "That needs Java 8 or newer.",
        ),
    },
    {"Id": 150, "Title": "Of another matter", "Tags": "<c>", "Body": body("Sort a HashMap in C?")},
    {
        "Id": 200,
        "Title": "A locked file",
        "Tags": "<windows>",
        "Body": body(
            # Words came between the two of an entity since.
            "Why does Windows (the new) Explorer lock my file?",
            "I cannot delete report.csv after the import has finished.",
        ),
    },
    {
        "Id": 300,
        "Title": "Swing paints nothing",
        "Tags": "<java><swing>",
        "Body": body(
            "The button in my Swing window never repaints itself. What is wrong with this code?",
            "<pre><code>panel.add(button);</code></pre>",
        ),
    },
    {
        "Id": 301,
        "PostTypeId": 2,
        "ParentId": 300,
        "Body": body("Call repaint() from the event thread and never from a worker."),
    },
]
# Its words are an answer's: nothing of them may be found there.
COMMENTS: Rows = [
    {
        "Id": 1,
        "PostId": 104,
        "Text": "Guava has an ordering class for exactly this purpose, see its wiki.",
    }
]


def write_file(path: Path, threads: dict[int, list[str]]) -> Path:
    """Write posts in the published format: a question, then its answers."""
    blocks: list[list[tuple[str, str]]] = []
    for question_id, posts in threads.items():
        for number, post in enumerate(posts):
            name = "Answer_to_Question_ID" if number else "Question_ID"
            url = f"https://{SITE}/questions/{question_id}/"
            blocks += [[(w, "O") for w in (name, ":", str(question_id))]]
            blocks += [[(w, "O") for w in ("Question_URL", ":", url)]]
            for line in post.split("\n"):
                line = line.replace("CODE", "CODE_BLOCK : Q_1 ( code omitted for annotation )")
                blocks.append([_read_token(token) for token in line.split()])
    lines = ["".join(f"{w}\t{tag}\t{w}\tO\n" for w, tag in block) for block in blocks]
    path.write_text("\t\n".join(lines), "utf-8")
    return path


def _read_token(token: str) -> tuple[str, str]:
    word, _, kind = token.partition("/")
    if not kind:
        return word, "O"
    return word, f"I-{kind[1:]}" if kind[0] == "=" else f"B-{kind}"


Build = Callable[..., Artifact]


@pytest.fixture
def build_documents(
    write_dump: Callable[..., str], run_stages: Callable[..., Any], tmp_path: Path
) -> Build:
    def build(
        posts: Rows = POSTS, site: str = SITE, width: int = 64, store: str = "store"
    ) -> Artifact:
        dump = write_dump(site, Posts=posts, Comments=COMMENTS)
        section = PostsSection(partition_threads=width)
        made: Artifact = run_stages(tmp_path / store, dump, posts=section)["documents"]
        return made

    return build


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    files = [
        read_ner_file(write_file(tmp_path / "train.txt", TRAIN), "train"),
        read_ner_file(write_file(tmp_path / "dev.txt", DEV), "validation"),
    ]
    return make_ner_examples(files, NerSection())


def texts_of(documents: Artifact) -> dict[str, str]:
    tables = [read_table(documents.path(entry.name)) for entry in documents.files("documents/")]
    return {row["doc_id"]: row["text"] for table in tables for row in table.to_pylist()}


def words_of(row: dict[str, Any], text: str) -> list[str | None]:
    return [one and text[one["start"] : one["end"]] for one in row["doc_tokens"]]


def by_id(examples: Examples) -> dict[str, dict[str, Any]]:
    return {row["example_id"].removeprefix(f"{SITE}/"): row for row in examples.table.to_pylist()}


# In a corpus ---------------------------------------------------------------------------------


def test_every_post_is_the_document_that_it_is(build_documents: Build, examples: Examples) -> None:
    documents = build_documents()
    assert len(documents.files("documents/")) > 2
    found = by_id(ground_examples(examples, documents))
    posts = {name.rpartition("/")[0]: row["doc_id"] for name, row in found.items()}
    assert posts == {
        "100/q": f"{SITE}/100",
        "100/a1": f"{SITE}/109",
        "100/a2": f"{SITE}/104",
        "100/a3": None,
        "200/q": f"{SITE}/200",
        "300/q": f"{SITE}/300",
        "300/a1": f"{SITE}/301",
    }


def test_spans_are_those_of_the_tokens_in_the_text(
    build_documents: Build, examples: Examples
) -> None:
    documents = build_documents()
    texts = texts_of(documents)
    found = by_id(ground_examples(examples, documents))
    words = {name: words_of(r, texts[r["doc_id"]]) for name, r in found.items() if r["doc_id"]}
    changed = {
        "100/q/2": {"n't": "n’t", "order": None},
    }
    assert words.pop("100/q/4")[2:5] == ["“", "TreeMap", "”"]
    for name, found_words in words.items():
        tokens = found[name]["tokens"]
        assert found_words == [changed.get(name, {}).get(token, token) for token in tokens], name
    # The very places: the words of the block of code are none.
    text, row = texts[f"{SITE}/100"], found["100/q/1"]
    assert text.count("by value in Java 8") == 2
    assert row["doc_tokens"][0]["start"] == text.index("How do I")
    assert row["doc_tokens"][-1]["end"] == text.index("8?") + 2
    spans = [
        one["start"]
        for name in ("1", "2", "4")
        for one in found[f"100/q/{name}"]["doc_tokens"]
        if one
    ]
    assert spans == sorted(spans)


def test_entities_are_found_whole_or_not_at_all(build_documents: Build, examples: Examples) -> None:
    documents = build_documents()
    texts = texts_of(documents)
    for name, row in by_id(ground_examples(examples, documents)).items():
        for entity in row["entities"]:
            words = row["text"][entity["start"] : entity["end"]]
            place = (entity["doc_start"], entity["doc_end"])
            if row["doc_id"] is None or words == "Windows Explorer":
                assert place == (None, None), name
            else:
                assert texts[row["doc_id"]][slice(*place)] == words
    assert [one["raw_type"] for one in row["entities"]] == ["Library_Function"]


def test_an_entity_of_which_a_word_was_changed_has_no_place(
    build_documents: Build, examples: Examples
) -> None:
    posts = [{**post, "Body": post["Body"].replace("My array", "My old")} for post in POSTS]
    row = by_id(ground_examples(examples, build_documents(posts)))["100/q/2"]
    assert [one is None for one in row["doc_tokens"]][:4] == [False, True, False, False]
    assert [(one["doc_start"], one["doc_end"]) for one in row["entities"]] == [(None, None)]


def test_all_else_of_the_examples_stays(build_documents: Build, examples: Examples) -> None:
    grounded = ground_examples(examples, build_documents())
    assert grounded.table.schema == examples.table.schema == NER_SCHEMA
    own = ["doc_id", "doc_tokens", "entities"]
    assert grounded.table.drop_columns(own).equals(examples.table.drop_columns(own))
    assert grounded.splits.equals(examples.splits) and grounded.groups.equals(examples.groups)
    assert describe_ner(grounded) == describe_ner(examples)
    names = ("start", "end", "type", "raw_type", "is_ill_formed")
    both = (table["entities"].to_pylist() for table in (grounded.table, examples.table))
    for one, other in zip(*both, strict=True):
        assert [[e[n] for n in names] for e in one] == [[e[n] for n in names] for e in other]


def test_without_a_corpus_no_place_is_known(examples: Examples) -> None:
    for row in examples.table.to_pylist():
        assert row["doc_id"] is None and row["doc_tokens"] is None
        assert {one["doc_start"] for one in row["entities"]} <= {None}
    assert {c["posts_grounded"] for c in describe_grounding(examples).values()} == {0}


def test_counts_are_by_split(build_documents: Build, examples: Examples) -> None:
    counts = describe_grounding(ground_examples(examples, build_documents()))
    lines = [line for posts in TRAIN.values() for line in "\n".join(posts).split("\n")]
    tokens = [token for line in lines for token in line.split() if line != "CODE"]
    num_of_lost = len(TRAIN[100][3].split())
    assert counts == {
        "train": {
            "posts": 5,
            "posts_grounded": 4,
            "tokens": len(tokens),
            "tokens_placed": len(tokens) - num_of_lost - len(["order"]),
            "entities": 14,
            "entities_placed": 12,
        },
        "validation": {
            "posts": 2,
            "posts_grounded": 2,
            "tokens": 29,
            "tokens_placed": 29,
            "entities": 3,
            "entities_placed": 3,
        },
    }


def test_only_rows_of_the_threads_are_read(build_documents: Build) -> None:
    documents = build_documents(width=1_000)
    found = read_threads(documents, np.array([99, 100, 300, 5_000]))
    assert {thread: len(one) for thread, one in found.items()} == {100: 3, 300: 2}
    assert not any("Guava" in one.text for one in found[100])


def test_row_groups_without_any_of_the_threads_are_not_read(build_documents: Build) -> None:
    documents = build_documents(width=1_000)
    (entry,) = documents.files("documents/")
    path = documents.path(entry.name)
    with pq.ParquetFile(path) as file:
        starts = [file.metadata.row_group(0).column(n).data_page_offset for n in range(5)]
    damaged = bytearray(path.read_bytes())
    for start in starts:
        damaged[start : start + 16] = bytes(16)
    path.write_bytes(bytes(damaged))
    assert read_threads(documents, np.array([99, 301])) == {}
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_threads(documents, np.array([99, 100, 301]))


def test_a_corpus_of_other_threads_grounds_nothing(
    build_documents: Build, examples: Examples
) -> None:
    others = [post for post in POSTS if post["Id"] == 150]
    assert ground_examples(examples, build_documents(others)).table.equals(examples.table)
    assert not has_site(build_documents(others, site="x.example.org", store="other"))


# Answers -------------------------------------------------------------------------------------

ONE = ["Use", "a", "tree", "map", ",", "it", "keeps", "all", "the", "keys", "in", "order"]
OTHER = ["Write", "your", "own", "comparator", ";", "give", "this", "to", "sort()", "."]


def answers(*texts: str) -> list[Document]:
    return [Document(f"{SITE}/{n}", "answer", text) for n, text in enumerate(texts, 1)]


def match(*posts: Sequence[str], texts: Sequence[str]) -> list[str | None]:
    named = {f"a{n}": [post] for n, post in enumerate(posts, 1)}
    found = ground_thread(named, answers(*texts))
    return [found[name].document.doc_id[-1] if name in found else None for name in named]


def test_two_answers_go_to_their_documents_in_any_order() -> None:
    texts = ["Write your own comparator; give this to sort().", " ".join(ONE)]
    assert match(ONE, OTHER, texts=texts) == ["2", "1"]
    assert match(OTHER, ONE, texts=texts) == ["1", "2"]


def test_an_answer_that_two_documents_have_is_neither() -> None:
    assert match(ONE, texts=[" ".join(ONE)] * 2) == [None]
    assert match(ONE, texts=[" ".join(ONE), " ".join(ONE[:-2])]) == ["1"]


def test_a_document_is_one_answer_the_one_with_more_words_in_it() -> None:
    assert match(ONE, [*ONE, *OTHER], texts=[" ".join([*ONE, *OTHER])]) == [None, "1"]
    assert match(ONE, ONE, texts=[" ".join(ONE)]) == [None, None]


def test_an_answer_needs_half_of_its_words() -> None:
    words = [f"word{n}" for n in range(12)]
    assert match(words, texts=[" ".join(words[:6])]) == ["1"]
    assert match(words, texts=[" ".join(words[:5])]) == [None]
    assert match_answers([], []) == [] and match_answers([[]], [3]) == [None]
    assert match_answers([[0, 0]], [0]) == [None]


def test_a_question_is_no_place_for_an_answer_nor_an_answer_for_a_question() -> None:
    question = Document(f"{SITE}/7", "question", " ".join(ONE))
    assert ground_thread({"a1": [ONE]}, [question]) == {}
    assert ground_thread({"q": [ONE]}, answers(" ".join(ONE))) == {}
    assert ground_thread({"q": [OTHER]}, [question])["q"].offsets == [[None] * len(OTHER)]


# Labels of the corpus text -------------------------------------------------------------------


def cut_words(text: str) -> list[Offset | None]:
    """Cut as no annotator did: two letters at most, white space of their own."""
    return [match.span() for match in re.finditer(r"\w{1,2}|[^\w\s]|\s+", text)]


def cut_pieces(text: str) -> list[Offset | None]:
    learned = ["the keys of the map keep the order of their values", "sort the list by value"]
    tokenizer = Tokenizer(train_vocabulary(learned, vocabulary_size=300)[0])
    return piece_offsets(tokenizer, [2, *tokenizer.encode(text), 3], text)


@pytest.mark.parametrize("cut", [cut_words, cut_pieces])
def test_labels_of_the_corpus_text_read_back_as_the_entities(
    cut: Callable[[str], list[Offset | None]], build_documents: Build, examples: Examples
) -> None:
    documents = build_documents()
    rows = ground_examples(examples, documents).table.to_pylist()
    num_entities = 0
    for doc_id, text in texts_of(documents).items():
        own = [row for row in rows if row["doc_id"] == doc_id]
        entities = document_labels(own, text)
        expected = [
            (one["type"], "".join(row["text"][one["start"] : one["end"]].split()))
            for row in own
            for one in row["entities"]
            if one["doc_start"] is not None and one["type"]
        ]
        assert [(e.type, "".join(text[e.start : e.end].split())) for e in entities] == expected
        offsets = trim_offsets(cut(text), text)
        words = document_words(own)
        for regions in (None, words):
            found = align_labels(entities, offsets, regions)
            assert (found.num_lost, found.num_straddling) == (0, 0)
            assert read_entities(found.labels, offsets, regions) == entities
        # What was never annotated has no label.
        labels = align_labels(entities, offsets, words).labels
        inside = [bool(o) and any(a < o[1] and o[0] < b for a, b in words) for o in offsets if o]
        shown = [label is not None for label, o in zip(labels, offsets, strict=True) if o]
        assert all(here or not label for here, label in zip(inside, shown, strict=True))
        assert sum(shown) == len(words)
        num_entities += len(entities)
    assert num_entities == 15


def test_words_of_an_entity_that_was_not_found_have_no_label(
    build_documents: Build, examples: Examples
) -> None:
    documents = build_documents()
    rows = ground_examples(examples, documents).table.to_pylist()
    own = [row for row in rows if row["doc_id"] == f"{SITE}/200"]
    text = texts_of(documents)[f"{SITE}/200"]
    words = [text[start:end] for start, end in document_words(own)]
    assert words[:4] == ["Why", "does", "lock", "my"]
    assert document_labels(own, text) == [
        Entity(text.index("report"), text.index("report") + len("report.csv"), "File_Name")
    ]


def test_labels_of_another_text_or_of_two_documents_are_refused(
    build_documents: Build, examples: Examples
) -> None:
    documents = build_documents()
    rows = ground_examples(examples, documents).table.to_pylist()
    text = texts_of(documents)[f"{SITE}/300"]
    own = [row for row in rows if row["doc_id"] == f"{SITE}/300"]
    with pytest.raises(BadValue, match=r"has 'button' at .* give its text in the corpus"):
        document_labels(own, f"An edit. {text}")
    with pytest.raises(BadValue, match="give those of one document"):
        document_labels(rows[:2] + own, text)
    with pytest.raises(BadValue, match="no document"):
        document_words([row for row in rows if row["doc_id"] is None])
    assert document_labels([], text) == [] and document_words([]) == []


# As a whole ----------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [*map(str, arguments), "--quiet"])
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture
def build_corpus(write_dump: Callable[..., str], tmp_path: Path) -> Callable[..., Store]:
    """Build a corpus of the invented posts, with the thread of the dev file held out."""

    def build(site: str = SITE) -> Store:
        recipe = tmp_path / "corpus.toml"
        recipe.write_text(
            '[card]\nname = "posts"\ntitle = "Posts"\nsummary = "Invented."\n'
            f'[splits]\nhold_out = ["{site}/300"]\n[tokenizer]\nvocabulary_size = 400\n'
        )
        dump = write_dump(site, Posts=POSTS, Comments=COMMENTS)
        store = Store(tmp_path / "store")
        run("corpus", "build", recipe, "--dump", dump, "--store", store.folder)
        return store

    return build


def build_ner(store: Store, folder: Path, benchmark: str = "") -> dict[str, Artifact]:
    recipe = folder / "ner.toml"
    recipe.write_text(
        '[card]\nname = "ner"\ntitle = "Entities"\nsummary = "Invented."\n'
        f"[benchmark]\n{benchmark}\n[ner]\n"
    )
    files = [write_file(folder / "train.txt", TRAIN), write_file(folder / "dev.txt", DEV)]
    sources = [part for file in files for part in ("--source", file)]
    run("labeling", "build", "ner", recipe, "--store", store.folder, *sources)
    return store.read_run("ner")


def test_the_command_line_fills_the_columns_of_what_is_published(
    build_corpus: Callable[..., Store], tmp_path: Path
) -> None:
    corpus = build_corpus()
    made = build_ner(corpus, tmp_path, 'corpus = "posts"')
    documents = corpus.read_run("posts")["scrub"]
    assert made["examples"].manifest.inputs == {"documents": documents.manifest.id}
    texts = texts_of(documents)
    num_placed = 0
    for split, ids in (("train", {"100", "109", "104", "200"}), ("validation", {"300", "301"})):
        (entry,) = made["benchmark"].files(f"data/{split}-")
        rows = read_table(made["benchmark"].path(entry.name)).to_pylist()
        assert {row["doc_id"] for row in rows} - {None} == {f"{SITE}/{one}" for one in ids}
        for row in rows:
            if row["doc_id"]:
                words = words_of(row, texts[row["doc_id"]])
                pairs = zip(words, row["tokens"], strict=True)
                assert all(w in (None, t) for w, t in pairs if t not in ("n't", '"'))
                num_placed += sum(word is not None for word in words)
    counts = json.loads(made["examples"].path("source.json").read_bytes())["grounding"]
    assert num_placed == sum(one["tokens_placed"] for one in counts.values())
    card = made["release"].path("README.md").read_text("utf-8")
    assert (
        "| `doc_tokens` | list of (start int32, end int32) |" in card and "posts_grounded" in card
    )
    datasets = pytest.importorskip("datasets")
    folder = str(made["release"].folder)
    loaded = datasets.load_dataset(folder, cache_dir=str(tmp_path / "cache"))
    row = next(row for row in loaded["train"] if row["example_id"].endswith("/100/q/2"))
    assert row["doc_id"] == f"{SITE}/100"
    assert [one is None for one in row["doc_tokens"]] == [False] * 7 + [True, False]


def test_the_corpus_is_an_input_only_where_it_is_searched(
    build_corpus: Callable[..., Store], tmp_path: Path
) -> None:
    corpus = build_corpus()
    searched = build_ner(corpus, tmp_path, 'corpus = "posts"')["examples"]
    alone = build_ner(corpus, tmp_path)["examples"]
    assert alone.manifest.inputs == {} and alone.manifest.id != searched.manifest.id
    assert "grounding" not in json.loads(alone.path("source.json").read_bytes())
    both = [read_table(one.path("examples/00000.parquet")) for one in (alone, searched)]
    assert both[0]["split"].equals(both[1]["split"]) and both[0]["group"].equals(both[1]["group"])
    assert both[0]["doc_id"].null_count == len(both[0]) > both[1]["doc_id"].null_count


def test_a_corpus_without_the_site_is_no_input(
    build_corpus: Callable[..., Store], tmp_path: Path
) -> None:
    examples = build_ner(build_corpus("x.example.org"), tmp_path, 'corpus = "posts"')["examples"]
    assert examples.manifest.inputs == {}
    assert "grounding" not in json.loads(examples.path("source.json").read_bytes())
