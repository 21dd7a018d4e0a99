"""Megatron's indexed dataset: the `.bin` and `.idx` files that hold token ids for training.

Owns the two files, byte by byte. It neither tokenises nor knows what a sequence means: the caller
decides whether a sequence is a document or one segment of it, and what its mode says.

`PREFIX.bin` is nothing but the ids, sequence after sequence. `PREFIX.idx` says where they are,
all little endian:

    bytes               what
    9                   b"MMIDIDX" and two zero bytes
    8                   uint64, the version: 1
    1                   uint8, the dtype of the ids (DTYPE_BY_CODE): 8 is uint16, 4 is int32
    8                   uint64, number of sequences S
    8                   uint64, number of documents D, plus 1
    4 S                 int32, ids in each sequence
    8 S                 int64, byte of the .bin at which each sequence begins
    8 (D + 1)           int64, the first sequence of each document, then S
    S, or nothing       int8, a mode for each sequence (Megatron's multimodal index)

Two documents, of three sequences and of one, with 10 ids in all, uint16, with modes: the .bin has
10 x 2 = 20 bytes, the .idx has 34 + 4 x 4 + 8 x 4 + 8 x 3 + 4 = 110.

Source: NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py. Its builder lets an id that
is too large wrap silently (70,000 becomes 4,464 in uint16) and takes lengths that do not add up;
here both are refused, as is every file in which something does not fit.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from corpus.errors import BadValue, IntegrityError

MAGIC = b"MMIDIDX\0\0"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
DTYPE_BY_CODE: dict[int, np.dtype[np.number]] = {
    1: np.dtype("u1"),
    2: np.dtype("i1"),
    3: np.dtype("<i2"),
    4: np.dtype("<i4"),
    5: np.dtype("<i8"),
    6: np.dtype("<f8"),
    7: np.dtype("<f4"),
    8: np.dtype("<u2"),
}
CODE_BY_DTYPE = {dtype: code for code, dtype in DTYPE_BY_CODE.items()}


def choose_dtype(vocabulary_size: int) -> np.dtype[np.integer]:
    """Choose the dtype of the ids by Megatron's rule.

    Not the smallest that fits: Megatron takes int32 from 65,500 on, where others (NeMo, datatrove)
    go on with uint16 to 65,536.

    >>> choose_dtype(65_499), choose_dtype(65_500)
    (dtype('uint16'), dtype('int32'))
    """
    return np.dtype("<u2") if vocabulary_size < 65_500 else np.dtype("<i4")


def bin_path(prefix: Path) -> Path:
    """Name the file of the ids.

    >>> bin_path(Path("train-00000.v1")).name
    'train-00000.v1.bin'
    """
    return prefix.with_name(f"{prefix.name}.bin")


def idx_path(prefix: Path) -> Path:
    """Name the file of the index.

    >>> idx_path(Path("train-00000.v1")).name
    'train-00000.v1.idx'
    """
    return prefix.with_name(f"{prefix.name}.idx")


def map_file(path: Path) -> npt.NDArray[np.uint8]:
    """Map a file into memory, read-only; an empty one, which cannot be mapped, is an empty array.

    Raises:
        IntegrityError: there is no such file.
    """
    if not path.is_file():
        raise IntegrityError(f"{path} is missing; a shard is a .bin and an .idx, copy both")
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=np.uint8)
    return np.asarray(np.memmap(path, mode="r"))


def parse_header(path: Path, header: bytes) -> tuple[np.dtype[np.number], int, int]:
    """Parse the first 34 bytes of an `.idx` into dtype, number of sequences and of documents.

    Raises:
        IntegrityError: they are no header of this version.
    """
    require(path, len(header) == HEADER.size, f"{len(header)} bytes are no header")
    magic, version, code, num_sequences, num_entries = HEADER.unpack(header)
    require(path, magic == MAGIC, f"it begins with {magic!r}, not {MAGIC!r}")
    require(path, version == VERSION, f"version {version}, not {VERSION}")
    require(path, code in DTYPE_BY_CODE, f"no dtype has the code {code}")
    require(path, num_entries > 0, "the document index is empty")
    return DTYPE_BY_CODE[code], num_sequences, num_entries - 1


def require(path: Path, holds: bool, otherwise: str) -> None:
    """Raise IntegrityError for a file in which something does not hold."""
    if not holds:
        raise IntegrityError(f"{path}: {otherwise}; copy or build the shard again")


def check_sum(name: str, parts: npt.NDArray[np.int64], total: int) -> None:
    """Raise BadValue unless the parts, none negative, add up to the total.

    >>> check_sum("sequence_lengths", np.array([3, 2]), 6)
    Traceback (most recent call last):
    corpus.errors.BadValue: sequence_lengths add up to 5, not to the 6 that were given
    """
    if parts.min(initial=0) < 0 or parts.sum() != total:
        raise BadValue(f"{name} add up to {parts.sum()}, not to the {total} that were given")


def sync(file: BinaryIO) -> None:
    """Wait until all that was written to the file is on disk."""
    file.flush()
    os.fsync(file.fileno())


class IndexedWriter:
    """Write one `.bin` and `.idx`, sequentially: a context manager.

    The `.idx` is written last, on leaving the context, and both files are on disk then. When the
    context ends in an error, neither is left.

    Args:
        prefix: path of the two files without their suffixes.
        vocabulary_size: every id must be below it; it decides the dtype.
        with_modes: whether each sequence has a mode.

    >>> with IndexedWriter(getfixture("tmp_path") / "train", vocabulary_size=300) as writer:
    ...     writer.add_documents(np.arange(5), sequence_lengths=[3, 2], sequences_per_document=[2])
    >>> writer.num_documents, writer.num_sequences, writer.num_tokens
    (1, 2, 5)
    """

    def __init__(self, prefix: Path, *, vocabulary_size: int, with_modes: bool = False) -> None:
        """Create the `.bin`."""
        self.prefix = prefix
        self.vocabulary_size = vocabulary_size
        self.with_modes = with_modes
        self.dtype = choose_dtype(vocabulary_size)
        self.num_documents = 0
        self.num_sequences = 0
        self.num_tokens = 0
        # Arrays, one a call: as Python ints the index of 100 million sequences would take 10 GB.
        self._lengths = [np.zeros(0, "<i4")]
        self._document_index = [np.zeros(1, "<i8")]
        self._modes = [np.zeros(0, "i1")]
        self._bin = bin_path(prefix).open("wb")

    def add_documents(
        self,
        tokens: npt.NDArray[np.integer],
        *,
        sequence_lengths: npt.ArrayLike,
        sequences_per_document: npt.ArrayLike,
        modes: npt.ArrayLike | None = None,
    ) -> None:
        """Append whole documents, in the form in which `Tokenizer.encode_batch` returns them.

        Args:
            tokens: the ids of all sequences, one after the other, shape (num_tokens,).
            sequence_lengths: ids in each sequence, shape (num_sequences,), sum num_tokens.
            sequences_per_document: shape (num_documents,), sum num_sequences.
            modes: one for each sequence, -128 to 127; given if and only if the writer has modes.

        Raises:
            BadValue: an id is negative or not below the vocabulary size, or the parts do not add
                up. Nothing was written then.
        """
        lengths = np.asarray(sequence_lengths, dtype=np.int64)
        counts = np.asarray(sequences_per_document, dtype=np.int64)
        self._check_tokens(tokens)
        check_sum("sequence_lengths", lengths, len(tokens))
        check_sum("sequences_per_document", counts, len(lengths))
        self._modes.append(self._parse_modes(modes, len(lengths)))
        self._lengths.append(lengths.astype("<i4"))
        self._document_index.append(self.num_sequences + np.cumsum(counts))
        self._bin.write(tokens.astype(self.dtype).data)
        self.num_documents += len(counts)
        self.num_sequences += len(lengths)
        self.num_tokens += len(tokens)

    def _check_tokens(self, tokens: npt.NDArray[np.integer]) -> None:
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise BadValue(f"tokens of {tokens.dtype}, shape {tokens.shape}; give integers, 1-D")
        lowest, highest = int(tokens.min(initial=0)), int(tokens.max(initial=0))
        if lowest < 0 or highest >= self.vocabulary_size:
            raise BadValue(
                f"ids from {lowest} to {highest} for {self.prefix} do not fit its vocabulary of "
                f"{self.vocabulary_size}; encode with the tokenizer that it was opened for"
            )

    def _parse_modes(self, modes: npt.ArrayLike | None, num_sequences: int) -> npt.NDArray[np.int8]:
        values = np.asarray([] if modes is None else modes, dtype=np.int64)
        if len(values) != (num_sequences if self.with_modes else 0):
            raise BadValue(
                f"{len(values)} modes for {num_sequences} sequences of {self.prefix}, which was "
                f"opened with_modes={self.with_modes}; give one for each sequence, or none at all"
            )
        if values.min(initial=0) < -128 or values.max(initial=0) > 127:
            raise BadValue(f"modes from {values.min()} to {values.max()}; they must fit int8")
        return values.astype("i1")

    def __enter__(self) -> IndexedWriter:
        """Return the writer."""
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """Finish both files; after an error, leave neither."""
        with self._bin:
            if error_type is None:
                sync(self._bin)
        if error_type is None:
            self._write_index()
        else:
            bin_path(self.prefix).unlink()

    def _write_index(self) -> None:
        lengths = np.concatenate(self._lengths)
        pointers = (np.cumsum(lengths, dtype="<i8") - lengths) * self.dtype.itemsize
        document_index = np.concatenate(self._document_index)
        code = CODE_BY_DTYPE[self.dtype]
        with idx_path(self.prefix).open("wb") as file:
            file.write(HEADER.pack(MAGIC, VERSION, code, len(lengths), len(document_index)))
            for column in (lengths, pointers, document_index, np.concatenate(self._modes)):
                file.write(column.data)
            sync(file)


class IndexedReader:
    """Read a `.bin` and `.idx` through memory maps, all of the index checked when it is opened.

    The arrays are read-only views of the files, which stay mapped as long as one view lives.

    Args:
        prefix: path of the two files without their suffixes.

    Attributes:
        tokens: the ids of all sequences, shape (num_tokens,), in the dtype of the file.
        lengths: int32, shape (num_sequences,); ids in each sequence.
        document_index: int64, shape (num_documents + 1,); the first sequence of each document,
            then the number of sequences.
        modes: int8, shape (num_sequences,); None where the file has none.

    Raises:
        IntegrityError: a file is missing, is not of this format, or the two do not belong together.

    >>> prefix = getfixture("tmp_path") / "train"
    >>> with IndexedWriter(prefix, vocabulary_size=300) as writer:
    ...     writer.add_documents(np.arange(5), sequence_lengths=[3, 2], sequences_per_document=[2])
    >>> IndexedReader(prefix).document(0)
    [array([0, 1, 2], dtype=uint16), array([3, 4], dtype=uint16)]
    """

    def __init__(self, prefix: Path) -> None:
        """Map both files and check them."""
        self._idx_path = idx_path(prefix)
        self._bin_path = bin_path(prefix)
        index = map_file(self._idx_path)
        header = index[: HEADER.size].tobytes()
        self.dtype, num_sequences, self.num_documents = parse_header(self._idx_path, header)
        sizes = [HEADER.size, 4 * num_sequences, 8 * num_sequences, 8 * (self.num_documents + 1)]
        require(
            self._idx_path,
            len(index) in (sum(sizes), sum(sizes) + num_sequences),
            f"{len(index)} bytes; its header asks for {sum(sizes)}, or {num_sequences} more",
        )
        _, lengths, pointers, document_index, modes = np.split(index, np.cumsum(sizes))
        self.lengths: npt.NDArray[np.int32] = lengths.view("<i4")
        self.document_index: npt.NDArray[np.int64] = document_index.view("<i8")
        self.modes: npt.NDArray[np.int8] | None = modes.view("i1") if len(modes) else None
        self._pointers: npt.NDArray[np.int64] = pointers.view("<i8")
        self._check_index()
        content = map_file(self._bin_path)
        num_bytes = int(self.lengths.sum(dtype=np.int64)) * self.dtype.itemsize
        require(
            self._bin_path,
            len(content) == num_bytes,
            f"{len(content)} bytes; {self._idx_path.name} asks for {num_bytes}",
        )
        self.tokens = content.view(self.dtype)

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.lengths)

    def sequence(self, number: int) -> npt.NDArray[np.number]:
        """Return the ids of one sequence, counted from 0.

        Raises:
            BadValue: there is no such sequence.
        """
        if not 0 <= number < len(self):
            raise BadValue(f"no sequence {number} in {self._idx_path}, which has {len(self)}")
        start = int(self._pointers[number]) // self.dtype.itemsize
        return self.tokens[start : start + int(self.lengths[number])]

    def document(self, number: int) -> list[npt.NDArray[np.number]]:
        """Return the ids of one document, counted from 0, sequence by sequence.

        Raises:
            BadValue: there is no such document.
        """
        if not 0 <= number < self.num_documents:
            raise BadValue(f"no document {number} in {self._idx_path}, of {self.num_documents}")
        first, end = self.document_index[number : number + 2].tolist()
        return [self.sequence(i) for i in range(first, end)]

    def _check_index(self) -> None:
        ends = np.cumsum(self.lengths, dtype=np.int64)
        pointers = (ends - self.lengths) * self.dtype.itemsize
        documents = self.document_index
        for holds, otherwise in (
            (self.lengths.min(initial=0) >= 0, "a sequence has a negative length"),
            (np.array_equal(self._pointers, pointers), "pointers and lengths disagree"),
            (documents[0] == 0, "the first document does not begin at sequence 0"),
            (documents[-1] == len(self), "the last document does not end at the last sequence"),
            (np.diff(documents).min(initial=0) >= 0, "the documents are not in order"),
        ):
            require(self._idx_path, bool(holds), otherwise)
