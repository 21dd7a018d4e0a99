"""The tokenizer for `transformers` against SentencePiece: the same ids for any text, and back."""

from __future__ import annotations

import html
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from corpus.errors import IntegrityError
from corpus.tables import read_table
from corpus.tokenizer import MODEL
from corpus.vocabulary import (
    FIRST_LEARNED_ID,
    SPECIAL_PIECES,
    Tokenizer,
    load_tokenizer,
    train_vocabulary,
)
from pretrain import fast_tokenizer
from pretrain.fast_tokenizer import (
    check_same_ids,
    list_vocabulary,
    make_fast_tokenizer,
    save_fast_tokenizer,
)

CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
HARD = [
    "",
    " ",
    "       ",
    "\n\n\n\n\t\t\t",
    "def f(x):\n\treturn x  \r\n\r\n",
    CONTROLS,
    "\u2581",
    "a\u2581\u2581 b \u2581",
    "e\u0301 \u0301\u0301\u200d\ufeff\u00a0\u3000\u2028",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f600\U0001f3fd",
    "\ufffd\uffff\U0010ffff",
    "<0x41> <0x0A>",
    "what [CLS], [SEP] and [MASK] do; [PAD][UNK]",
    "</s><s><unk>",
    "العربية 中文 हिन्दी ไทย",
]
REPEATS = (1, 1, 2, 3, 7)
fragments = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from([*HARD, "the ", " beer", "\n    ", "  ", "==", "404", "\t", "é", "e\u0301"]),
)


@pytest.fixture(scope="module")
def ours(demo_build) -> Tokenizer:
    return load_tokenizer(demo_build.artifacts["tokenizer"].path(MODEL))


@pytest.fixture(scope="module")
def made(ours: Tokenizer) -> PreTrainedTokenizerFast:
    return make_fast_tokenizer(ours, max_tokens=64)


@pytest.fixture(scope="module")
def folder(made: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fast")
    save_fast_tokenizer(made, folder)
    return folder


@pytest.fixture(scope="module", params=["alone", "classic", "modern"])
def loaded(folder: Path, request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """What AutoTokenizer makes of the folder, beside either model's configuration or without."""
    config = folder / "config.json"
    config.unlink(missing_ok=True)
    if request.param != "alone":
        model_type = {"classic": "megatron-bert", "modern": "eurobert"}[request.param]
        config.write_text(json.dumps({"model_type": model_type}))
    return AutoTokenizer.from_pretrained(folder)


def test_every_document_of_a_corpus_gives_the_same_ids(demo_build, ours, loaded) -> None:
    dataset = demo_build.artifacts["dataset"]
    texts = [
        text
        for entry in dataset.files("data/")
        for text in read_table(dataset.path(entry.name), ["text"])["text"].to_pylist()
    ]
    assert len(texts) == 60
    check_same_ids(loaded, ours, texts)


def test_ten_thousand_real_texts_give_the_same_ids(shared_data: Path) -> None:
    texts: dict[str, None] = {}
    for path in sorted((shared_data / "dumps").glob("*/*/*.xml")):
        if path.stem in ("Posts", "Comments"):
            found = re.findall(r' (?:Body|Text)="([^"]*)"', path.read_text("utf-8"))
            texts |= dict.fromkeys(html.unescape(text) for text in found)
        if len(texts) > 10_000:
            break
    real = list(texts)[:10_000]
    assert len(real) == 10_000
    tokenizer = Tokenizer(train_vocabulary(real[::20], vocabulary_size=4_000)[0])
    check_same_ids(make_fast_tokenizer(tokenizer, max_tokens=64), tokenizer, real)


def test_hard_texts_give_the_same_ids_and_come_back(ours, loaded) -> None:
    check_same_ids(loaded, ours, HARD)
    for text in HARD:
        ids = loaded(text, add_special_tokens=False)["input_ids"]
        assert ids == ours.encode(text).tolist()
        assert loaded.decode(ids) == text == ours.decode(ids)


@settings(deadline=None, max_examples=300)
@given(texts=st.lists(st.lists(fragments, max_size=8).map("".join), min_size=1, max_size=8))
def test_any_text_gives_the_same_ids_and_comes_back(ours, made, texts) -> None:
    check_same_ids(made, ours, texts)


@pytest.mark.parametrize("alphabet", ["ab", "a ", "ab \n"])
def test_texts_that_repeat_themselves_are_merged_in_the_same_order(alphabet: str) -> None:
    # Here one piece can be made of several pairs that overlap: the order of merges shows.
    rng = np.random.default_rng(1)
    texts = [
        "".join(str(rng.choice(list(alphabet))) * int(rng.choice(REPEATS)) for _ in range(80))
        for _ in range(60)
    ]
    tokenizer = Tokenizer(train_vocabulary(texts, vocabulary_size=320)[0])
    fast = make_fast_tokenizer(tokenizer, max_tokens=64)
    longest = {2: 10, 4: 6}[len(alphabet)]
    for length in range(longest + 1):
        check_same_ids(
            fast, tokenizer, ["".join(x) for x in itertools.product(alphabet, repeat=length)]
        )


def test_input_is_framed_and_truncated_to_what_the_model_takes(ours, loaded) -> None:
    ids = ours.encode("a b").tolist()
    assert loaded("a b")["input_ids"] == [ours.cls_id, *ids, ours.sep_id]
    pair = loaded("a b", "a b", return_token_type_ids=True)
    assert pair["input_ids"] == [ours.cls_id, *ids, ours.sep_id, *ids, ours.sep_id]
    assert pair["token_type_ids"] == [0] * (len(ids) + 2) + [1] * (len(ids) + 1)
    long = loaded("a b" * 100, truncation=True)["input_ids"]
    assert (len(long), long[-1]) == (64, ours.sep_id)
    assert set(loaded("a")) == {"input_ids", "attention_mask"}


def test_special_tokens_have_our_ids_and_are_made_only_when_asked_for(ours, loaded) -> None:
    assert loaded.convert_tokens_to_ids(list(SPECIAL_PIECES)) == [0, 1, 2, 3, 4]
    assert (loaded.pad_token_id, loaded.mask_token_id) == (ours.pad_id, ours.mask_id)
    assert len(loaded) == ours.vocabulary_size
    text = "to [MASK] or not"
    assert ours.mask_id not in loaded(text)["input_ids"]
    assert loaded(text, split_special_tokens=False)["input_ids"].count(ours.mask_id) == 1
    # Asking once changes nothing for the next.
    assert ours.mask_id not in loaded(text)["input_ids"]


def test_padding_is_on_the_right_and_masked(loaded) -> None:
    batch = loaded(["a", "a b c d e"], padding=True)
    assert batch["input_ids"][0][-1] == 0
    assert batch["attention_mask"][0] == [1, 1, 1] + [0] * (len(batch["input_ids"][1]) - 3)


def test_offsets_are_those_of_the_text(loaded) -> None:
    text = "  def é(\u2581):\n\treturn  \U0001f600"
    spans = loaded(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    assert all(start <= end and end <= len(text) for start, end in spans)


def test_other_ids_are_refused(ours, monkeypatch: pytest.MonkeyPatch) -> None:
    in_order = fast_tokenizer.iter_merges
    monkeypatch.setattr(fast_tokenizer, "iter_merges", lambda pieces: [*in_order(pieces)][::-1])
    with pytest.raises(IntegrityError, match="the fast tokenizer gives ids"):
        make_fast_tokenizer(ours, max_tokens=64)


def test_a_lost_space_is_refused(ours) -> None:
    fast = make_fast_tokenizer(ours, max_tokens=64)
    fast.backend_tokenizer.decoder = fast_tokenizer.decoders.Sequence(
        [
            fast_tokenizer.decoders.ByteFallback(),
            fast_tokenizer.decoders.Fuse(),
            fast_tokenizer.decoders.Strip(" ", 1, 0),
        ]
    )
    with pytest.raises(IntegrityError, match="loses text"):
        check_same_ids(fast, ours, [" x"])


def test_files_are_the_same_each_time_and_name_a_class_that_old_releases_know(
    made, folder: Path, tmp_path: Path
) -> None:
    save_fast_tokenizer(made, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert str(tmp_path) not in (tmp_path / "tokenizer_config.json").read_text("utf-8")


def test_the_vocabulary_is_listed_by_id(ours, made) -> None:
    pieces = list_vocabulary(ours.model)
    assert [made.convert_tokens_to_ids(piece) for piece in pieces] == list(range(len(pieces)))
    assert pieces[FIRST_LEARNED_ID - 1] == "<0xFF>"
