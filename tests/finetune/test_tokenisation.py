"""The comparison of tokenizers: ours, and two that are trained here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CanineTokenizer, PreTrainedTokenizerFast

from corpus.documents import SEGMENT
from corpus.engine import LocalEngine
from corpus.errors import BadValue, IntegrityError, StoreError
from corpus.manifest import Outcome
from corpus.progress import Reporter
from corpus.store import Store, Work
from corpus.tables import describe_file, write_table
from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer, train_vocabulary
from finetune.predictions import code_shares
from finetune.tokenisation import (
    GROUPS,
    LENGTHS,
    Codec,
    compare_on_corpus,
    compare_tokenizers,
    draw_texts,
    format_comparison,
    measure_codec,
    open_codec,
    read_documents,
)
from pretrain.fast_tokenizer import make_fast_tokenizer, save_fast_tokenizer

SCHEMA = pa.schema(
    [("doc_id", pa.string()), ("text", pa.string()), ("segments", pa.list_(SEGMENT))]
)
Find = Callable[..., dict[str, Any]]


def make_documents(posts: list[list[tuple[str, str]]]) -> pa.Table:
    """Posts of (kind, text) segments, joined by a blank line."""
    rows = []
    for number, parts in enumerate(posts, 1):
        segments, start = [], 0
        for kind, text in parts:
            segments.append({"kind": kind, "start": start, "end": start + len(text)})
            start += len(text) + 2
        text = "\n\n".join(text for _, text in parts)
        rows.append({"doc_id": f"x.org/{number}", "text": text, "segments": segments})
    return pa.Table.from_pylist(rows, SCHEMA)


POSTS = [
    [("title", "How?"), ("prose", "What does the loop do, é?"), ("comment", "See [SEP].")],
    [("title", "Loop"), ("code", "for i in range(10):\n\tprint(i, my_long_name)\n" * 3)],
    [("prose", "Some of both, half."), ("code", "return it"), ("prose", "So it is \u6f22.")],
    [("prose", "word " * 300)],
]
DOCUMENTS = make_documents(POSTS)
TEXTS: list[str] = DOCUMENTS["text"].to_pylist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds `ours.model`, `ours`: the same for transformers, `wordpiece` and `bytes`."""
    folder = tmp_path_factory.mktemp("tokenizers")
    model, _ = train_vocabulary(TEXTS, vocabulary_size=400)
    (folder / "ours.model").write_bytes(model)
    (folder / "ours").mkdir()
    save_fast_tokenizer(make_fast_tokenizer(Tokenizer(model), max_tokens=16), folder / "ours")
    make_wordpiece().save_pretrained(folder / "wordpiece")
    make_byte_level().save_pretrained(folder / "bytes")
    for name in ("ours", "wordpiece", "bytes"):
        (folder / name / "config.json").write_text("{}")
    return folder


def make_wordpiece() -> PreTrainedTokenizerFast:
    """As BERT's: lower case, no white space; it adds [CLS], and cuts at 16 if it is let."""
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = ["[UNK]", "[CLS]", "[PAD]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=60, special_tokens=special, show_progress=False, limit_alphabet=30
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", backend.token_to_id("[CLS]"))]
    )
    backend.enable_truncation(16)
    backend.enable_padding(length=16, pad_id=backend.token_to_id("[PAD]"), pad_token="[PAD]")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", cls_token="[CLS]", pad_token="[PAD]"
    )


def make_byte_level() -> PreTrainedTokenizerFast:
    """A token a byte: nothing is merged, nothing is lost."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({one: id for id, one in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]")


@pytest.fixture(scope="module")
def find(folder: Path) -> Find:
    """Compare all on the four posts; returns the row of a tokenizer and a group."""
    names = ("ours.model", "ours", "wordpiece", "bytes")
    comparison = compare_tokenizers({name: str(folder / name) for name in names}, DOCUMENTS)

    def row(tokenizer: str, group: str = "posts") -> dict[str, Any]:
        (found,) = [
            one
            for one in comparison["rows"]
            if (one["tokenizer"], one["group"]) == (tokenizer, group)
        ]
        return found

    return row


def test_a_tokenizer_of_bytes_has_the_figures_of_bytes(find: Find) -> None:
    row = find("bytes")
    num_bytes = sum(len(text.encode()) for text in TEXTS)
    assert (row["num_texts"], row["num_bytes"], row["num_tokens"]) == (4, num_bytes, num_bytes)
    assert (row["bytes_per_token"], row["tokens_per_text"]) == (1.0, num_bytes / 4)
    assert (row["unknown_share"], row["changed_share"]) == (0.0, 0.0)
    assert row["over"] == [
        sum(len(text.encode()) > length for text in TEXTS) / 4 for length in LENGTHS
    ]
    assert row["over"] == [0.25, 0.25, 0.0] and row["split_word_share"] == 1.0


def test_a_length_is_over_only_from_the_next_token_on(folder: Path) -> None:
    codec = open_codec(str(folder / "bytes"))
    assert measure_codec(codec, ["x" * 512, "x" * 513])["over"] == [0.5, 0.0, 0.0]


def test_our_model_and_its_twin_for_transformers_have_the_same_figures(find: Find) -> None:
    for group in GROUPS:
        ours, twin = (find(name, group) for name in ("ours.model", "ours"))
        assert {**twin, "tokenizer": "ours.model"} == ours
    assert find("ours.model")["changed_share"] == 0.0 == find("ours.model")["unknown_share"]
    assert find("ours.model")["bytes_per_token"] > 1


def test_what_a_wordpiece_model_loses_is_counted(find: Find, folder: Path) -> None:
    theirs = PreTrainedTokenizerFast.from_pretrained(folder / "wordpiece")
    encoded = [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    row = find("wordpiece")
    # Neither [CLS] nor padding nor truncation, all of which the file asks for.
    num_tokens = sum(map(len, encoded))
    assert row["num_tokens"] == num_tokens > 4 * 16
    num_unknown = sum(ids.count(theirs.unk_token_id) for ids in encoded)
    assert row["unknown_share"] == num_unknown / num_tokens > 0
    assert row["changed_share"] == 1.0


def test_words_are_counted_as_often_as_they_occur() -> None:
    def encode(texts: Any) -> list[list[int]]:
        # A token for every two characters of what comes after the space.
        return [[0] * -(-len(text.strip()) // 2) for text in texts]

    codec = Codec(encode, lambda ids: "", None, 1)
    row = measure_codec(codec, ["to to be, or: a_longer1", "to"])
    assert row["num_words"] == 6
    assert row["pieces_per_word"] == (5 * 1 + 5) / 6 and row["split_word_share"] == 1 / 6
    assert row["changed_share"] == 1.0 and row["unknown_share"] == 0.0


def test_a_word_is_encoded_as_it_is_after_a_space(folder: Path) -> None:
    codec = open_codec(str(folder / "ours.model"))
    (ids,) = codec.encode([" word"])
    assert len(ids) == 1
    assert measure_codec(codec, ["word"])["pieces_per_word"] == 1.0


def test_posts_are_grouped_by_their_share_of_code() -> None:
    parts = {0: 100, 9: 91, 10: 90, 49: 51, 50: 50, 100: 0}
    # Code and prose without anything between them, so that the share is exact.
    rows = [
        {
            "doc_id": f"x.org/{code}",
            "text": "c" * code + "p" * prose,
            "segments": [
                {"kind": "code", "start": 0, "end": code},
                {"kind": "prose", "start": code, "end": 100},
            ],
        }
        for code, prose in parts.items()
    ]
    texts = draw_texts(pa.Table.from_pylist(rows, SCHEMA), 10)
    num_code = {group: sorted(text.count("c") for text in texts[group]) for group in GROUPS[:3]}
    assert num_code == {
        "posts": [0, 9, 10, 49, 50, 100],
        "code_heavy": [50, 100],
        "text_heavy": [0, 9],
    }


def test_shares_of_code_are_those_of_the_predictions() -> None:
    segments = DOCUMENTS["segments"].to_pylist()
    expected = [
        sum(one["end"] - one["start"] for one in some if one["kind"] == "code") / max(len(text), 1)
        for text, some in zip(TEXTS, segments, strict=True)
    ]
    chunked = pa.concat_tables([DOCUMENTS[:0], DOCUMENTS[:1], DOCUMENTS[1:]])
    assert code_shares(chunked).tolist() == expected
    assert max(expected) > 0.9 and min(expected) == 0


def test_segments_are_of_their_kind_and_titles_and_comments_of_none() -> None:
    texts = draw_texts(DOCUMENTS, 10)
    for kind in ("code", "prose"):
        expected = [text for post in POSTS for name, text in post if name == kind]
        assert sorted(texts[kind]) == sorted(expected)


def test_the_posts_that_are_drawn_depend_on_their_ids_alone() -> None:
    documents = make_documents([[("prose", f"post {number}")] for number in range(50)])
    few, more = draw_texts(documents, 10)["posts"], draw_texts(documents, 20)["posts"]
    backwards = documents.take(pa.array(range(49, -1, -1)))
    assert len(few) == 10 and few == more[:10] == draw_texts(backwards, 10)["posts"]
    assert few != documents["text"].to_pylist()[:10]
    others = make_documents([[("prose", f"other {number}")] for number in range(50)])
    assert [text.replace("other", "post") for text in draw_texts(others, 10)["posts"]] == few


def test_of_nothing_there_are_no_ratios_and_the_row_says_why(folder: Path) -> None:
    documents = make_documents([[("prose", "?!")]])
    paths = {name: str(folder / name) for name in ("ours.model", "bytes")}
    comparison = compare_tokenizers(paths, documents)
    for row in comparison["rows"]:
        if row["group"] in ("code", "code_heavy"):
            assert row["reason"] == "there is no text in this group"
            assert row["tokens_per_text"] is None and row["over"] == [None, None, None]
        else:
            assert row["reason"] == "there is no word in this group"
            assert row["tokens_per_text"] == 2 and row["pieces_per_word"] is None
    assert "–" in format_comparison(comparison)


def test_the_table_has_a_row_a_tokenizer_and_group(folder: Path) -> None:
    paths = {"a": str(folder / "ours.model"), "b": str(folder / "bytes")}
    said, blank, header, *rows = format_comparison(
        compare_tokenizers(paths, DOCUMENTS, num_posts=3)
    ).splitlines()
    assert said.startswith("4 documents, of each kind of post at most 3; a of ")
    assert said.endswith("b of 257 pieces") and blank == ""
    assert header.split()[:3] == ["group", "tokenizer", "texts"]
    assert [row.split()[:2] for row in rows] == [[group, name] for group in GROUPS for name in "ab"]
    assert "  1.00  " in rows[1] and "  100.0 %" in rows[1] and "0.000 %" in rows[1]


def store_dataset(store: Store, tables: dict[str, pa.Table]) -> None:
    """Keep a dataset of these files as the corpus `toy`."""

    def make(work: Work) -> Outcome:
        files = [
            write_table(work.folder, f"data/{name}.parquet", table, table.schema)
            for name, table in tables.items()
        ]
        return Outcome(tuple(files), {})

    dataset = store.build("dataset", 0, {}, {}, make, LocalEngine(), Reporter(quiet=True))
    store.write_run("toy", {"dataset": dataset})


def test_a_split_of_a_corpus_is_read_from_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    extended = DOCUMENTS.append_column("score", pa.array([1, 2, 3, 4]))
    names = ("train-00000-of-00001", "test-00000-of-00002", "test-00001-of-00002")
    store_dataset(store, dict(zip(names, (extended[:1], extended[1:2], extended[2:]), strict=True)))
    assert read_documents(store, "toy").equals(DOCUMENTS[1:])
    assert read_documents(store, "toy", "train").equals(DOCUMENTS[:1])
    with pytest.raises(StoreError, match="'toy' has no document in validation"):
        read_documents(store, "toy", "validation")


def test_a_corpus_brings_its_own_tokenizer_beside_those_that_are_given(
    tmp_path: Path, folder: Path
) -> None:
    store = Store(tmp_path / "store")
    store_dataset(store, {"test-00000-of-00001": DOCUMENTS})

    def make(work: Work) -> Outcome:
        (work.folder / MODEL).write_bytes((folder / "ours.model").read_bytes())
        return Outcome((describe_file(work.folder / MODEL, MODEL),), {})

    artifacts = store.read_run("toy")
    ours = store.build("tokenizer", 0, {}, artifacts, make, LocalEngine(), Reporter(quiet=True))
    store.write_run("toy", {**artifacts, "tokenizer": ours})
    found = compare_on_corpus(store, "toy", [f"b={folder / 'bytes'}"], num_posts=3)
    paths = {"toy": str(folder / "ours.model"), "b": str(folder / "bytes")}
    assert found == compare_tokenizers(paths, DOCUMENTS, num_posts=3)
    with pytest.raises(BadValue, match="'bytes' is not NAME=PATH"):
        compare_on_corpus(store, "toy", ["bytes"])


def test_a_corpus_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match="nothing"):
        read_documents(store, "nothing")
    store.write_run("bare", {})
    with pytest.raises(StoreError, match="'bare' has no dataset"):
        read_documents(store, "bare")


@pytest.mark.parametrize("path", ["nobody/no-such-model", "ours.model", "folder"])
def test_a_tokenizer_that_is_not_there_is_named(path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    where = path if "/" in path else str(tmp_path / path)
    with pytest.raises(StoreError) as caught:
        open_codec(where)
    assert where in str(caught.value) and "\n" not in str(caught.value)


def test_a_tokenizer_that_is_not_fast_is_refused(tmp_path: Path) -> None:
    CanineTokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StoreError, match="is not a fast one"):
        open_codec(str(tmp_path))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(b"no model")
    with pytest.raises(IntegrityError, match=r"bad\.model"):
        open_codec(str(tmp_path / "bad.model"))
