"""Published CSV files, read strictly: what is not exactly a table is an error that says where.

Quotes as RFC 4180 has them, `""` inside for one; line ends inside a field are kept as they are. A
header must hold exactly the columns that are known, in any order. Writes nothing.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from corpus.errors import SourceError

# Characters of a field; a post has 30,000 at most, as HTML some more. Python's own limit is 2^17.
MAX_FIELD = 1 << 20
_READ_BYTES = 1 << 20


class CsvRow(NamedTuple):
    """One row: the physical line of the file where it begins, and its fields by column."""

    line: int
    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A CSV file whose header and encoding were checked; its rows are not read yet."""

    path: Path
    encoding: str
    columns: tuple[str, ...]  # in the order of the file

    def iter_rows(self) -> Iterator[CsvRow]:
        """Iterate over the rows, in constant memory.

        Raises:
            SourceError: a row with too few or too many fields, a quote that is broken or left open,
                a NUL character, a field of more than MAX_FIELD characters.
        """
        with open(self.path, encoding=self.encoding, newline="") as stream:
            rows = _iter_fields(self.path, stream, self.columns)
            next(rows)
            for line, fields in rows:
                if len(fields) != len(self.columns):
                    raise _wrong_number(self.path, line, fields, self.columns)
                yield CsvRow(line, dict(zip(self.columns, fields, strict=True)))

    def error(self, row: CsvRow, column: str, what: str) -> SourceError:
        """Make the error of a field that is not what it should be."""
        return _error(self.path, row.line, column, what)


def read_csv(
    path: Path,
    columns: Sequence[str],
    *,
    encoding: str | None = None,
    encodings: Sequence[str] = ("utf-8-sig", "cp1252"),
) -> CsvFile:
    """Check the encoding of a CSV file and its header.

    Args:
        path: of the file.
        columns: that the header must hold, in any order.
        encoding: of the file, where it is known.
        encodings: those to try, in order; the first that all bytes agree with is taken.

    Raises:
        SourceError: not readable, no encoding fits (with the offset of the first byte that the last
            one does not know), columns missing or unknown.
    """
    found = _find_encoding(path, (encoding,) if encoding else tuple(encodings))
    with open(path, encoding=found, newline="") as stream:
        line, header = next(_iter_fields(path, stream, columns), (1, []))
    missing = [name for name in columns if name not in header]
    unknown = [name for name in header if name not in columns]
    twice = sorted({name for name in header if header.count(name) > 1})
    problems = {"misses": missing, "does not know": unknown, "has twice": twice}
    if any(problems.values()):
        said = "; ".join(f"{what} {', '.join(map(repr, n))}" for what, n in problems.items() if n)
        raise SourceError(
            f"{path}, line {line}: the header {said}; expected {','.join(columns)} in any order"
        )
    return CsvFile(path, found, tuple(header))


def _find_encoding(path: Path, encodings: Sequence[str]) -> str:
    problem = ""
    for encoding in encodings:
        decoder = codecs.getincrementaldecoder(encoding)()
        offset = 0
        try:
            with open(path, "rb") as stream:
                while chunk := stream.read(_READ_BYTES):
                    pending = len(decoder.getstate()[0])
                    decoder.decode(chunk)
                    offset += len(chunk)
                pending = len(decoder.getstate()[0])
                decoder.decode(b"", final=True)
            return encoding
        except UnicodeDecodeError as error:
            at = offset - pending + error.start
            problem = f"byte {at} (0x{error.object[error.start]:02x}) is not {encoding}"
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    raise SourceError(f"{path}: {problem}; give its encoding, or mend the file")


def _iter_fields(
    path: Path, stream: TextIO, columns: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    """Iterate over line and fields of each row, header included."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD))
    unread: list[str] = []  # the lines of the row that is being read
    reader = csv.reader(_iter_lines(stream, unread), strict=True)
    while True:
        line = reader.line_num + 1
        unread.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            place = min(_find_fault("".join(unread)), len(columns)) - 1
            raise _error(path, line, columns[place], _explain(str(error))) from error
        nul = next((place for place, field in enumerate(fields) if "\0" in field), None)
        if nul is not None:
            column = columns[min(nul, len(columns) - 1)]
            raise _error(path, line, column, "a NUL character; the file is damaged")
        yield line, fields


def _iter_lines(stream: TextIO, unread: list[str]) -> Iterator[str]:
    for line in stream:
        unread.append(line)
        yield line


def _explain(problem: str) -> str:
    if "unexpected end" in problem:
        return "the file ends inside quotes; it is cut off, or a quote is missing"
    if "expected after" in problem:
        return "a quote inside quotes that is not doubled"
    return f"{problem}; a quote is missing"


def _find_fault(row: str) -> int:
    r"""Return the number of the field in which a row stops being readable.

    >>> _find_fault('1,"a, ""b"" ",c,"d'), _find_fault('1,"a\\n"b,c')
    (4, 2)
    """
    number, length = 1, 0
    state = "start"  # of a field; then plain | quoted | ended, by a quote which may be half of two
    for sign in row:
        length += 1
        if length > MAX_FIELD:
            break
        if state == "quoted":
            state = "ended" if sign == '"' else "quoted"
        elif sign == ",":
            number, length, state = number + 1, 0, "start"
        elif sign == '"' and state != "plain":
            state = "quoted"
        elif state == "ended" and sign not in "\r\n":
            break
        else:
            state = "plain"
    return number


def _wrong_number(
    path: Path, line: int, fields: Sequence[str], columns: Sequence[str]
) -> SourceError:
    place = min(len(fields), len(columns) - 1)
    found = f"{len(fields)} fields where the header has {len(columns)}"
    return _error(path, line, columns[place], f"{found}; a quote or a comma is missing or too many")


def _error(path: Path, line: int, column: str, what: str) -> SourceError:
    return SourceError(f"{path}, line {line}, column {column}: {what}")
