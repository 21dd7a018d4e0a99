"""Scan the `<row .../>` elements of a dump table: bytes in, cells out, compiled.

Owns the grammar of one row: its tag, its attributes, the unescaping of a value, and the reading of
a number or a time out of it. What stands between rows belongs to `corpus.xmlframe`, and whether a
row is UTF-8 is asked in `corpus.rows`: bytes from 128 up are copied as they are. One pass over the
bytes; what it finds goes into a `Scratch`, which serves the next block again.

A value keeps its TABs and line ends, where a conforming parser makes them spaces: dumps leave TAB
unescaped, so code would lose it. A character that XML forbids, raw or as a reference, becomes
U+FFFD and is counted. References to the two halves of a surrogate pair become their character.

Own code where a parser would do, for two measured reasons: no parser keeps a raw TAB, and this
takes a third of the time of a loop over lxml (`tests/bench/bench_rows.py`). One long module: for
changes, numba's cache looks only at the file of the function that is called.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

_Bytes = npt.NDArray[np.uint8]
_Function = TypeVar("_Function", bound=Callable[..., Any])
_compiled: Callable[[_Function], _Function] = njit(cache=True)

MAX_ROWS = 16_384  # in one scan; a MiB of PostLinks, which has the shortest rows, holds 10,000
MAX_ATTRIBUTES = 64  # in one row; Posts knows 22. Bounds the search for duplicate names

# What ended a scan. From BAD_TAG on it is an error.
DONE, MORE, FULL, OTHER = range(4)
BAD_TAG, NO_EQUALS, NO_QUOTE, BARE_LESS, BAD_REFERENCE, DUPLICATE, TOO_MANY, CONTENT = range(4, 12)

UNREAD, TEXT, INT32, INT64, TIME = range(5)  # how the value of an attribute is read
NO_FAULT, MISSING, BAD_NUMBER, BAD_DATE = range(4)  # why a row cannot be used

ABSENT = int(np.iinfo(np.int64).min)  # the cell of an attribute that the row does not have

TEXT_BYTES, VALUES, UNKNOWN, REPAIRED = range(4)  # places in Scratch.counts


class Attributes(NamedTuple):
    """The attributes of a table, packed to be compared byte by byte."""

    names: _Bytes  # all names, one after the other
    stops: npt.NDArray[np.int64]  # (num_attributes + 1,); name k is names[stops[k]:stops[k + 1]]
    kinds: _Bytes  # (num_attributes,); UNREAD, TEXT ...
    required: int  # bit k: no row may lack attribute k


class Scratch(NamedTuple):
    """What one scan found; overwritten by the next."""

    cells: npt.NDArray[np.int64]  # (rows, attributes); a number, ms since 1970, value k, or ABSENT
    spans: npt.NDArray[np.int64]  # (rows, 2); where the row starts and stops in the data
    faults: npt.NDArray[np.int64]  # (rows, 3); reason, attribute, and the value k to blame or -1
    text: _Bytes  # unescaped values, one after the other
    stops: npt.NDArray[np.int32]  # value k is text[stops[k]:stops[k + 1]]
    unknown: npt.NDArray[np.int64]  # (names, 2); where an unknown name starts and stops in the data
    counts: npt.NDArray[np.int64]  # (4,); bytes of text, values, unknown names, characters repaired


def pack_attributes(
    names: Sequence[str], kinds: Sequence[int], required: Sequence[str]
) -> Attributes:
    """Pack what is known of a table's attributes for `scan_rows`.

    >>> pack_attributes(["Id", "Text"], [INT64, TEXT], required=["Id"]).stops.tolist()
    [0, 2, 6]
    """
    return Attributes(
        names=np.frombuffer("".join(names).encode("ascii"), np.uint8),
        stops=np.cumsum([0, *map(len, names)]),
        kinds=np.array(kinds, np.uint8),
        required=sum(1 << names.index(name) for name in required),
    )


def make_scratch(num_attributes: int, num_bytes: int) -> Scratch:
    """Make room for the scan of num_bytes bytes.

    Text has three times that room, because a raw control character (1 byte) becomes U+FFFD (3). All
    else gets shorter, so most of the room is never touched, and takes no memory.

    >>> make_scratch(num_attributes=5, num_bytes=1000).text.nbytes
    3000
    """
    return Scratch(
        cells=np.empty((MAX_ROWS, num_attributes), np.int64),
        spans=np.empty((MAX_ROWS, 2), np.int64),
        faults=np.empty((MAX_ROWS, 3), np.int64),
        text=np.empty(3 * num_bytes, np.uint8),
        stops=np.zeros(MAX_ROWS * num_attributes + 1, np.int32),
        unknown=np.empty((MAX_ROWS, 2), np.int64),
        counts=np.zeros(4, np.int64),
    )


def _bytes_in(members: bytes) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(members)] = True
    return table


_IS_SPACE = _bytes_in(b" \t\r\n")
_NAME_START = string.ascii_letters.encode() + b"_:" + bytes(range(128, 256))
_IS_NAME_START = _bytes_in(_NAME_START)
_IS_NAME = _bytes_in(_NAME_START + b"0123456789-.")
# Bytes that end the run of characters that are copied as they are. U+FFFE and U+FFFF, which XML
# forbids, begin with 0xEF.
_IS_SPECIAL = _bytes_in(bytes(set(range(32)) - set(b"\t\r\n")) + b"\"'&<\xef")
_DIGIT = np.full(256, 99, np.int64)  # of a hexadecimal number; 99 is none in any base
_DIGIT[list(b"0123456789abcdef")] = range(16)
_DIGIT[list(b"ABCDEF")] = range(10, 16)
_DAYS_IN_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_ENTITY_NAMES = np.frombuffer(b"ltgtampquotapos", np.uint8)
_ENTITY_STOPS = np.array([0, 2, 4, 7, 11, 15])
_ENTITY_CHARACTERS = np.frombuffer(b"<>&\"'", np.uint8)
_ROW = np.frombuffer(b"<row", np.uint8)
_END_OF_ROW = np.frombuffer(b"</row", np.uint8)


@_compiled
def scan_rows(
    data: _Bytes, start: int, table: Attributes, scratch: Scratch
) -> tuple[int, int, int]:
    """Scan rows until something else than a whole row comes.

    Args:
        data: uint8; the bytes at hand, which may end anywhere.
        start: where a row begins, or white space before one.
        table: the attributes of the table.
        scratch: overwritten; made for at least as many bytes.

    Returns:
        What ended the scan, where, and how many whole rows come before. MORE: the data end inside
        the row that starts there, or between rows. FULL: scratch is full. OTHER: there is no row
        there. BAD_TAG and above: an error, there.
    """
    counts = scratch.counts
    counts[:] = 0
    position = start
    for row in range(MAX_ROWS):
        position = _skip_space(data, position)
        status = _match(data, position, _ROW)
        if status != DONE:
            return status, position, row
        if counts[UNKNOWN] + MAX_ATTRIBUTES >= len(scratch.unknown):
            return FULL, position, row
        before = (counts[0], counts[1], counts[2], counts[3])
        status, stop = _scan_row(data, position, row, table, scratch)
        if status == MORE:
            for k in range(4):
                counts[k] = before[k]
            return MORE, position, row
        if status != DONE:
            return status, stop, row
        scratch.spans[row, 0], scratch.spans[row, 1] = position, stop
        position = stop
    return FULL, position, MAX_ROWS


@_compiled
def _skip_space(data: _Bytes, position: int) -> int:
    while position < len(data) and _IS_SPACE[data[position]]:
        position += 1
    return position


@_compiled
def _match(data: _Bytes, position: int, name: _Bytes) -> int:
    """DONE where the data hold this name and it ends there, MORE where they end too early."""
    for i in range(len(name)):
        if position + i >= len(data):
            return MORE
        if data[position + i] != name[i]:
            return OTHER
    if position + len(name) >= len(data):
        return MORE
    return OTHER if _IS_NAME[data[position + len(name)]] else DONE


@_compiled
def _scan_row(
    data: _Bytes, start: int, row: int, table: Attributes, scratch: Scratch
) -> tuple[int, int]:
    scratch.cells[row, :] = ABSENT
    scratch.faults[row, 0] = NO_FAULT
    first_unknown = scratch.counts[UNKNOWN]
    position = start + len(_ROW)
    column = -1
    seen = 0
    for _ in range(MAX_ATTRIBUTES + 1):
        name = _skip_space(data, position)
        if name >= len(data):
            return MORE, name
        if data[name] == ord("/") or data[name] == ord(">"):
            _note_missing(row, table.required & ~seen, scratch)
            return _scan_row_end(data, name)
        if name == position or not _IS_NAME_START[data[name]]:
            return BAD_TAG, name
        stop = _skip_name(data, name)
        column = _find_column(data, name, stop, column + 1, table)
        if column < 0:
            if not _keep_unknown(data, name, stop, first_unknown, scratch):
                return DUPLICATE, name
        elif seen >> column & 1:
            return DUPLICATE, name
        else:
            seen |= 1 << column
        status, position = _scan_cell(data, stop, row, column, table, scratch)
        if status != DONE:
            return status, position
    return TOO_MANY, position


@_compiled
def _note_missing(row: int, missing: int, scratch: Scratch) -> None:
    if missing and scratch.faults[row, 0] == NO_FAULT:
        column = 0
        while not missing >> column & 1:
            column += 1
        _note_fault(row, MISSING, column, -1, scratch)


@_compiled
def _note_fault(row: int, reason: int, column: int, value: int, scratch: Scratch) -> None:
    """Blame the row on one value; the first fault found is the one told."""
    if scratch.faults[row, 0] == NO_FAULT:
        scratch.faults[row, 0] = reason
        scratch.faults[row, 1] = column
        scratch.faults[row, 2] = value


@_compiled
def _scan_row_end(data: _Bytes, position: int) -> tuple[int, int]:
    """Go past `/>`, or past `></row>` with nothing but white space between."""
    if data[position] == ord(">"):
        position = _skip_space(data, position + 1)
        status = _match(data, position, _END_OF_ROW)
        if status == OTHER:
            return CONTENT, position
        position = _skip_space(data, position + len(_END_OF_ROW))
    else:
        position += 1
    if position >= len(data):
        return MORE, position
    return (DONE, position + 1) if data[position] == ord(">") else (BAD_TAG, position)


@_compiled
def _skip_name(data: _Bytes, position: int) -> int:
    while position < len(data) and _IS_NAME[data[position]]:
        position += 1
    return position


@_compiled
def _find_column(data: _Bytes, start: int, stop: int, hint: int, table: Attributes) -> int:
    """Find a name in the table. Rows keep an order, so the search begins after the last name."""
    num_columns = len(table.kinds)
    for i in range(num_columns):
        column = (hint + i) % num_columns
        first = table.stops[column]
        if table.stops[column + 1] - first == stop - start:
            same = 0
            while same < stop - start and table.names[first + same] == data[start + same]:
                same += 1
            if same == stop - start:
                return column
    return -1


@_compiled
def _keep_unknown(
    data: _Bytes, start: int, stop: int, first_unknown: int, scratch: Scratch
) -> bool:
    """Note a name that the table does not know; False where its row already has it."""
    last = scratch.counts[UNKNOWN]
    for k in range(first_unknown, last):
        if np.array_equal(data[scratch.unknown[k, 0] : scratch.unknown[k, 1]], data[start:stop]):
            return False
    scratch.unknown[last, 0] = start
    scratch.unknown[last, 1] = stop
    scratch.counts[UNKNOWN] = last + 1
    return True


@_compiled
def _scan_cell(
    data: _Bytes, position: int, row: int, column: int, table: Attributes, scratch: Scratch
) -> tuple[int, int]:
    """Read `="value"` into the cell of its column, or away where no column is meant."""
    position = _skip_space(data, position)
    if position >= len(data):
        return MORE, position
    if data[position] != ord("="):
        return NO_EQUALS, position
    position = _skip_space(data, position + 1)
    if position >= len(data):
        return MORE, position
    if data[position] != ord('"') and data[position] != ord("'"):
        return NO_QUOTE, position
    start = scratch.counts[TEXT_BYTES]
    status, position = _scan_value(data, position + 1, data[position], scratch.text, scratch.counts)
    if column < 0 or table.kinds[column] == UNREAD:
        scratch.counts[TEXT_BYTES] = start
    elif status == DONE:
        _store_value(row, column, table.kinds[column], start, scratch)
    return status, position


@_compiled
def _store_value(row: int, column: int, kind: int, start: int, scratch: Scratch) -> None:
    """Put the end of the text into a cell: as a number, which leaves the text, or as a value.

    What should be a number and is none stays a value, to be shown.
    """
    stop = scratch.counts[TEXT_BYTES]
    value = scratch.counts[VALUES]
    if kind != TEXT:
        number = _parse_number(scratch.text, start, stop, kind)
        if number != ABSENT:
            scratch.cells[row, column] = number
            scratch.counts[TEXT_BYTES] = start
            return
        _note_fault(row, BAD_DATE if kind == TIME else BAD_NUMBER, column, value, scratch)
    scratch.cells[row, column] = value
    scratch.stops[value + 1] = stop
    scratch.counts[VALUES] = value + 1


@_compiled
def _scan_value(
    data: _Bytes, position: int, quote: int, text: _Bytes, counts: npt.NDArray[np.int64]
) -> tuple[int, int]:
    """Unescape a value onto the end of the text, up to its closing quote."""
    end = counts[TEXT_BYTES]
    while position < len(data):
        byte = data[position]
        if not _IS_SPECIAL[byte] or _is_harmless(data, position, quote):
            text[end] = byte
            end += 1
            position += 1
        elif byte == quote:
            counts[TEXT_BYTES] = end
            return DONE, position + 1
        elif byte == ord("<"):
            return BARE_LESS, position
        else:
            status, position, code_point = _read_character(data, position)
            if status != DONE:
                return status, position
            if not _is_allowed(code_point):
                code_point = 0xFFFD
                counts[REPAIRED] += 1
            end = _write_character(code_point, text, end)
    return MORE, position


@_compiled
def _is_harmless(data: _Bytes, position: int, quote: int) -> bool:
    """Whether a special byte is the other quote, or begins a character that XML allows."""
    if data[position] == 0xEF:
        after = data[position + 1 : position + 3]
        return not (len(after) == 2 and after[0] == 0xBF and after[1] >= 0xBE)
    return data[position] in (ord('"'), ord("'")) and data[position] != quote


@_compiled
def _read_character(data: _Bytes, start: int) -> tuple[int, int, int]:
    """Read one character that is not copied: what ended it, where, and its code point."""
    if data[start] == 0xEF:
        return DONE, start + 3, 0xFFFE
    if data[start] != ord("&"):
        return DONE, start + 1, int(data[start])
    status, stop, high = _read_reference(data, start)
    if status != DONE or not 0xD800 <= high < 0xDC00:
        return status, stop, high
    status, low_stop, low = _read_reference(data, stop)
    if status == MORE:
        return MORE, stop, 0
    if status == DONE and 0xDC00 <= low < 0xE000:
        return DONE, low_stop, 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
    return DONE, stop, high


@_compiled
def _read_reference(data: _Bytes, start: int) -> tuple[int, int, int]:
    """Read `&name;` or `&#number;`; OTHER where no reference starts."""
    if start < len(data) and data[start] != ord("&"):
        return OTHER, start, 0
    stop = start + 1
    while stop < len(data) and (_IS_NAME[data[stop]] or data[stop] == ord("#")):
        stop += 1
    if stop >= len(data):
        return MORE, start, 0
    code_point = -1
    if data[stop] == ord(";"):
        if data[start + 1] == ord("#"):
            code_point = _parse_code_point(data, start + 2, stop)
        else:
            code_point = _find_entity(data, start + 1, stop)
    return (DONE, stop + 1, code_point) if code_point >= 0 else (BAD_REFERENCE, start, 0)


@_compiled
def _find_entity(data: _Bytes, start: int, stop: int) -> int:
    """The character of one of the five names that XML defines, or -1."""
    for k in range(len(_ENTITY_CHARACTERS)):
        first = _ENTITY_STOPS[k]
        if stop - start == _ENTITY_STOPS[k + 1] - first:
            same = 0
            while same < stop - start and _ENTITY_NAMES[first + same] == data[start + same]:
                same += 1
            if same == stop - start:
                return int(_ENTITY_CHARACTERS[k])
    return -1


@_compiled
def _parse_code_point(data: _Bytes, start: int, stop: int) -> int:
    """The number after `&#`, at most 0x110000, which is no character; or -1."""
    base = 10
    if data[start] == ord("x"):
        base = 16
        start += 1
    code_point = 0 if start < stop else -1
    for k in range(start, stop):
        digit = _DIGIT[data[k]]
        if digit >= base:
            return -1
        code_point = min(code_point * base + digit, 0x110000)
    return code_point


@_compiled
def _write_character(code_point: int, text: _Bytes, end: int) -> int:
    """Append a character as UTF-8: where the text ends now."""
    if code_point < 0x80:
        text[end] = code_point
        return end + 1
    num_more = 1 if code_point < 0x800 else 2 if code_point < 0x10000 else 3
    text[end] = (0xF00 >> num_more + 1) & 0xFF | code_point >> 6 * num_more
    for k in range(num_more):
        text[end + 1 + k] = 0x80 | code_point >> 6 * (num_more - 1 - k) & 0x3F
    return end + 1 + num_more


@_compiled
def _is_allowed(code_point: int) -> bool:
    """Whether XML 1.0 allows a character (its production 2, Char)."""
    if code_point < 0x20:
        return code_point == 0x9 or code_point == 0xA or code_point == 0xD
    if code_point < 0x10000:
        return code_point < 0xD800 or 0xE000 <= code_point < 0xFFFE
    return code_point < 0x110000


@_compiled
def _parse_number(text: _Bytes, start: int, stop: int, kind: int) -> int:
    if kind == TIME:
        return _parse_time(text, start, stop)
    return _parse_integer(text, start, stop, 31 if kind == INT32 else 63)


@_compiled
def _parse_integer(text: _Bytes, start: int, stop: int, num_bits: int) -> int:
    """A decimal number that fits into so many bits and a sign, or ABSENT."""
    is_negative = start < stop and text[start] == ord("-")
    if is_negative:
        start += 1
    if not 0 < stop - start < 19:  # 18 digits always fit into 63 bits
        return ABSENT
    number = _parse_digits(text, start, stop)
    if number < 0 or number >> num_bits:
        return ABSENT
    return -number if is_negative else number


@_compiled
def _parse_digits(text: _Bytes, start: int, stop: int) -> int:
    """The number that these digits write, or -1 where one is not a digit."""
    number = 0
    for k in range(start, stop):
        digit = _DIGIT[text[k]]
        if digit > 9:
            return -1
        number = number * 10 + digit
    return number


@_compiled
def _parse_time(text: _Bytes, start: int, stop: int) -> int:
    """Milliseconds since 1970 of `2016-12-06`, `2016-12-06T17:10:44` or `2016-12-06T17:10:44.557`.

    Or ABSENT. A fraction has one to three digits: four would be lost in milliseconds.
    """
    day = _parse_day(text, start, min(stop, start + 10))
    if day == ABSENT or stop - start == 10:
        return day
    clock = _parse_clock(text, start + 10, stop)
    return ABSENT if clock < 0 else day + clock


@_compiled
def _parse_day(text: _Bytes, start: int, stop: int) -> int:
    """Milliseconds since 1970 of the midnight before `2016-12-06`, or ABSENT."""
    if stop - start != 10 or text[start + 4] != ord("-") or text[start + 7] != ord("-"):
        return ABSENT
    year = _parse_digits(text, start, start + 4)
    month = _parse_digits(text, start + 5, start + 7)
    day = _parse_digits(text, start + 8, stop)
    if min(year, month, day) < 1 or month > 12:
        return ABSENT
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _DAYS_IN_MONTH[month] + (is_leap and month == 2):
        return ABSENT
    # Years that begin in March put the leap day last: Hinnant, days_from_civil.
    year -= month <= 2
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = 365 * year + year // 4 - year // 100 + year // 400 + day_of_year
    return (days - 719_468) * 86_400_000


@_compiled
def _parse_clock(text: _Bytes, start: int, stop: int) -> int:
    """Milliseconds of `T17:10:44` or `T17:10:44.557`, or -1."""
    length = stop - start
    if length != 9 and not 11 <= length <= 13:
        return -1
    if text[start] != ord("T") or text[start + 3] != ord(":") or text[start + 6] != ord(":"):
        return -1
    hour = _parse_digits(text, start + 1, start + 3)
    minute = _parse_digits(text, start + 4, start + 6)
    second = _parse_digits(text, start + 7, start + 9)
    millisecond = 0
    if length > 9:
        millisecond = _parse_digits(text, start + 10, stop) * 10 ** (13 - length)
        if text[start + 9] != ord("."):
            return -1
    if min(hour, minute, second, millisecond) < 0 or hour > 23 or minute > 59 or second > 59:
        return -1
    return ((hour * 60 + minute) * 60 + second) * 1000 + millisecond
