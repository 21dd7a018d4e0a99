"""The .bin and .idx files; megatron-core, which they are made for, is the oracle."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.errors import BadValue, IntegrityError
from corpus.indexed import IndexedReader, IndexedWriter, bin_path, choose_dtype, idx_path

Documents = list[list[list[int]]]

# A document of no sequence, a sequence of no id, and the largest ids of either dtype.
SMALL: Documents = [[[1, 2, 3], [4]], [], [[]], [[65_498, 0]], [[5], [], [6, 7]]]
LARGE: Documents = [[[65_499, 65_500, 65_535], [65_536]], [[2_000_000_000, 0]], [[7]]]


@pytest.fixture(scope="module")
def megatron() -> Any:
    """megatron-core's module of indexed datasets; on import it and torch warn of other things."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("megatron.core.datasets.indexed_dataset")


def flatten(
    documents: Documents,
) -> tuple[npt.NDArray[np.int64], dict[str, list[int]]]:
    sequences = [sequence for document in documents for sequence in document]
    tokens = np.array([number for sequence in sequences for number in sequence], dtype=np.int64)
    return tokens, {
        "sequence_lengths": list(map(len, sequences)),
        "sequences_per_document": list(map(len, documents)),
    }


def write(
    prefix: Path, documents: Documents, *, modes: list[int] | None = None, size: int = 65_499
) -> IndexedWriter:
    tokens, shape = flatten(documents)
    with IndexedWriter(prefix, vocabulary_size=size, with_modes=modes is not None) as writer:
        writer.add_documents(tokens, **shape, modes=modes)
    return writer


def read_bytes(prefix: Path) -> tuple[bytes, bytes]:
    return bin_path(prefix).read_bytes(), idx_path(prefix).read_bytes()


def modes_of(documents: Documents) -> list[int]:
    return [number % 5 for number, _ in enumerate(flatten(documents)[1]["sequence_lengths"])]


# ---- what is written


@pytest.mark.parametrize("with_modes", [False, True])
@pytest.mark.parametrize(
    ("documents", "size"), [(SMALL, 65_499), (SMALL, 65_500), (LARGE, 2_000_000_001)]
)
def test_the_bytes_are_those_of_megatron(
    megatron: Any, tmp_path: Path, documents: Documents, size: int, with_modes: bool
) -> None:
    modes = modes_of(documents) if with_modes else None
    write(tmp_path / "ours", documents, modes=modes, size=size)
    builder = megatron.IndexedDatasetBuilder(
        str(tmp_path / "theirs.bin"),
        dtype=megatron.DType.optimal_dtype(size),
        multimodal=with_modes,
    )
    remaining = iter(modes or [])
    for document in documents:
        builder.add_document(
            [number for sequence in document for number in sequence],
            list(map(len, document)),
            [next(remaining) for _ in document] if with_modes else None,
        )
    builder.finalize(str(tmp_path / "theirs.idx"))
    assert read_bytes(tmp_path / "ours") == read_bytes(tmp_path / "theirs")


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("with_modes", [False, True])
@pytest.mark.parametrize(("documents", "size"), [(SMALL, 65_499), (LARGE, 2_000_000_001)])
def test_megatron_reads_what_is_written(
    megatron: Any, tmp_path: Path, documents: Documents, size: int, with_modes: bool, mmap: bool
) -> None:
    modes = modes_of(documents) if with_modes else None
    write(tmp_path / "ours", documents, modes=modes, size=size)
    dataset = megatron.IndexedDataset(str(tmp_path / "ours"), multimodal=with_modes, mmap=mmap)
    sequences = [sequence for document in documents for sequence in document]
    items = [dataset[i] if with_modes else (dataset[i], None) for i in range(len(dataset))]
    assert [sequence.tolist() for sequence, _ in items] == sequences
    expected: list[Any] = modes or [None] * len(sequences)
    assert [mode for _, mode in items] == expected
    assert np.diff(dataset.document_indices).tolist() == list(map(len, documents))


def test_the_documented_example_has_the_documented_size(tmp_path: Path) -> None:
    documents = [[[1, 2, 3], [4, 5], [6]], [[7, 8, 9, 10]]]
    write(tmp_path / "example", documents, modes=[0, 1, 2, 3])
    assert [len(content) for content in read_bytes(tmp_path / "example")] == [20, 110]


def test_many_calls_write_the_bytes_of_one(tmp_path: Path) -> None:
    modes = modes_of(SMALL)
    write(tmp_path / "one", SMALL, modes=modes)
    remaining = iter(modes)
    with IndexedWriter(tmp_path / "many", vocabulary_size=65_499, with_modes=True) as writer:
        for document in SMALL:
            tokens, shape = flatten([document])
            writer.add_documents(tokens, **shape, modes=[next(remaining) for _ in document])
    assert read_bytes(tmp_path / "one") == read_bytes(tmp_path / "many")
    assert (writer.num_documents, writer.num_sequences, writer.num_tokens) == (5, 7, 9)


def test_the_dtype_follows_megatron(megatron: Any) -> None:
    for size in (1, 50_048, 65_499, 65_500, 65_536, 1_000_000):
        assert choose_dtype(size) == np.dtype(megatron.DType.optimal_dtype(size))


@pytest.mark.parametrize("size", [60_000, 70_000])
@pytest.mark.parametrize("tokens", [[70_000], [0, -1], [2**40]])
def test_an_id_outside_the_vocabulary_is_refused(
    tmp_path: Path, tokens: list[int], size: int
) -> None:
    with (
        IndexedWriter(tmp_path / "train", vocabulary_size=size) as writer,
        pytest.raises(BadValue, match=f"do not fit its vocabulary of {size}"),
    ):
        writer.add_documents(
            np.array(tokens), sequence_lengths=[len(tokens)], sequences_per_document=[1]
        )
    assert writer.num_tokens == 0
    assert read_bytes(tmp_path / "train")[0] == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence_lengths": [2, 2]}, "sequence_lengths add up to 4, not to the 3"),
        ({"sequence_lengths": [4, -1]}, "sequence_lengths"),
        ({"sequences_per_document": [1]}, "sequences_per_document add up to 1, not to the 2"),
        ({"sequences_per_document": [3, -1]}, "sequences_per_document"),
        ({"modes": None}, "0 modes for 2 sequences"),
        ({"modes": [1]}, "1 modes for 2 sequences"),
        ({"modes": [1, 128]}, "int8"),
        ({"modes": [1, -129]}, "int8"),
        ({"tokens": np.array([1.0, 2.0, 3.0])}, "float64"),
        ({"tokens": np.array([[1], [2], [3]])}, "1-D"),
    ],
)
def test_parts_that_do_not_add_up_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    parts: dict[str, Any] = {
        "tokens": np.array([1, 2, 3]),
        "sequence_lengths": [2, 1],
        "sequences_per_document": [2],
        "modes": [0, 1],
    }
    with IndexedWriter(tmp_path / "train", vocabulary_size=10, with_modes=True) as writer:
        with pytest.raises(BadValue, match=message):
            writer.add_documents(**parts | change)
        writer.add_documents(**parts)
    assert len(IndexedReader(tmp_path / "train")) == 2


def test_modes_for_a_writer_without_are_refused(tmp_path: Path) -> None:
    with (
        IndexedWriter(tmp_path / "train", vocabulary_size=10) as writer,
        pytest.raises(BadValue, match="with_modes=False"),
    ):
        writer.add_documents(
            np.array([1]), sequence_lengths=[1], sequences_per_document=[1], modes=[0]
        )


def test_an_error_leaves_neither_file(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="killed"),
        IndexedWriter(tmp_path / "train", vocabulary_size=10) as writer,
    ):
        writer.add_documents(np.array([1]), sequence_lengths=[1], sequences_per_document=[1])
        raise RuntimeError("killed")
    assert list(tmp_path.iterdir()) == []


# ---- what is read


@settings(max_examples=50, deadline=None)
@given(
    documents=st.lists(
        st.lists(st.lists(st.integers(0, 99_999), max_size=5), max_size=4), max_size=6
    ),
    with_modes=st.booleans(),
)
def test_any_documents_come_back(documents: Documents, with_modes: bool) -> None:
    modes = modes_of(documents) if with_modes else None
    with TemporaryDirectory() as folder:
        prefix = Path(folder) / "train"
        write(prefix, documents, modes=modes, size=100_000)
        reader = IndexedReader(prefix)
        assert [
            [sequence.tolist() for sequence in reader.document(number)]
            for number in range(reader.num_documents)
        ] == documents
        assert len(reader) == sum(map(len, documents))
        # Without sequences nothing tells whether there were to be modes.
        assert (reader.modes.tolist() if reader.modes is not None else None) == (modes or None)


@pytest.mark.parametrize("part", ["inputs", "targets"])
def test_files_from_elsewhere_are_read_as_megatron_reads_them(
    megatron: Any, shared_data: Path, part: str
) -> None:
    prefix = shared_data / "megatron" / f"ag_news_prompt_{part}_document"
    ours, theirs = IndexedReader(prefix), megatron.IndexedDataset(str(prefix))
    assert len(ours) == len(theirs) == 100
    assert ours.dtype == theirs.index.dtype
    assert [ours.sequence(i).tolist() for i in range(100)] == [
        theirs[i].tolist() for i in range(100)
    ]
    assert ours.document_index.tolist() == theirs.document_indices.tolist()
    assert ours.modes is None


def test_the_views_are_read_only(tmp_path: Path) -> None:
    write(tmp_path / "train", SMALL, modes=modes_of(SMALL))
    reader = IndexedReader(tmp_path / "train")
    assert reader.modes is not None
    for array in (reader.tokens, reader.lengths, reader.document_index, reader.modes):
        assert not array.flags.writeable


@pytest.mark.parametrize("number", [-1, 7])
def test_a_sequence_that_is_not_there_is_refused(tmp_path: Path, number: int) -> None:
    write(tmp_path / "train", SMALL)
    with pytest.raises(BadValue, match=f"no sequence {number}"):
        IndexedReader(tmp_path / "train").sequence(number)


@pytest.mark.parametrize("number", [-1, 5])
def test_a_document_that_is_not_there_is_refused(tmp_path: Path, number: int) -> None:
    write(tmp_path / "train", SMALL)
    with pytest.raises(BadValue, match=f"no document {number}"):
        IndexedReader(tmp_path / "train").document(number)


# ---- what is refused


def patch(offset: int, layout: str, value: int) -> Callable[[bytes], bytes]:
    """Make a function that overwrites one number of an index; a negative offset is from its end."""

    def change(content: bytes) -> bytes:
        start = offset % len(content)
        packed = struct.pack(layout, value)
        return content[:start] + packed + content[start + len(packed) :]

    return change


# SMALL has 7 sequences and 5 documents: lengths at 34, pointers at 62, documents at 118 to 166.
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: b"", "no header"),
        (lambda content: content[:20], "no header"),
        (lambda content: content[:-1], "165 bytes"),
        (lambda content: content + b"\0", "167 bytes"),
        (patch(0, "<B", 0), "begins with"),
        (patch(9, "<Q", 2), "version 2"),
        (patch(17, "<B", 0), "code 0"),
        (patch(17, "<B", 9), "code 9"),
        (patch(18, "<Q", 8), "166 bytes"),
        (patch(18, "<Q", 2**64 - 1), "166 bytes"),
        (patch(26, "<Q", 0), "document index is empty"),
        (patch(26, "<Q", 5), "166 bytes"),
        (patch(34, "<i", 4), "pointers and lengths disagree"),
        (patch(34, "<i", -3), "negative length"),
        (patch(62, "<q", 2), "pointers and lengths disagree"),
        (patch(70, "<q", 8), "pointers and lengths disagree"),
        (patch(118, "<q", 1), "first document"),
        (patch(-8, "<q", 8), "last document"),
        (patch(126, "<q", 4), "not in order"),
    ],
)
def test_a_broken_index_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    write(tmp_path / "train", SMALL)
    path = idx_path(tmp_path / "train")
    assert len(path.read_bytes()) == 166
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(IntegrityError, match=message):
        IndexedReader(tmp_path / "train")


@pytest.mark.parametrize("content", [b"", b"\0" * 16, b"\0" * 17, b"\0" * 20])
def test_ids_that_are_cut_off_are_refused(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "train", SMALL)
    bin_path(tmp_path / "train").write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{len(content)} bytes; train.idx asks for 18"):
        IndexedReader(tmp_path / "train")


@pytest.mark.parametrize("missing", [bin_path, idx_path])
def test_a_missing_file_is_named(tmp_path: Path, missing: Callable[[Path], Path]) -> None:
    write(tmp_path / "train", SMALL)
    missing(tmp_path / "train").unlink()
    with pytest.raises(IntegrityError, match=f"{missing(Path('train'))} is missing"):
        IndexedReader(tmp_path / "train")
