"""Read what stands around the rows of a dump table: byte order mark, declaration, comments, root.

Owns the window through which a table is seen, and every error about its bytes: each names the file
and the byte offset. Comments are skipped, wherever they stand between tags (dumps since 2024 begin
with a licence comment). A DOCTYPE is refused before anything of it is read.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from corpus.errors import DoctypeRefused, MalformedXml

MAX_ROW_BYTES = 64 << 20  # the body of a post has at most 30,000 characters

_BOM = b"\xef\xbb\xbf"
_SPACES = re.compile(rb"[ \t\r\n]*")
_DECLARATION = re.compile(
    rb"""<\?xml [ \t\r\n]+ version [ \t\r\n]*=[ \t\r\n]* (?:"1\.0"|'1\.0')
    (?:[ \t\r\n]+ encoding [ \t\r\n]*=[ \t\r\n]* (?:"(?P<double>[\w.-]+)"|'(?P<single>[\w.-]+)'))?
    (?:[ \t\r\n]+ standalone [ \t\r\n]*=[ \t\r\n]* (?:"(?:yes|no)"|'(?:yes|no)'))?
    [ \t\r\n]* \?>""",
    re.VERBOSE,
)
_ROOT = re.compile(rb"<(?P<name>[A-Za-z_][\w.-]*)[ \t\r\n]*(?P<is_empty>/?)>")
_OTHER_FORMATS = {
    b"\x1f\x8b": "gzip data",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


class Window:
    """The part of a table that is in sight: what is left of one block, and the next.

    A row must be in sight whole, so what is in sight grows where it must, up to MAX_ROW_BYTES.
    """

    __slots__ = ("_block_bytes", "_file", "_offset", "_stream", "data", "position")

    def __init__(self, stream: BinaryIO, file: str, block_bytes: int) -> None:
        self._stream, self._file, self._block_bytes = stream, file, block_bytes
        self._offset = 0  # of data[0] in the stream
        self.data = b""
        self.position = 0  # in data: where the part begins that is not yet read

    def offset_of(self, position: int) -> int:
        """Return the byte offset in the stream of a position in the data."""
        return self._offset + position

    def read_on(self) -> bool:
        """Bring more of the stream in sight, from the position on; False at its end.

        What is in sight at least doubles, so that looking at it again and again stays linear.
        """
        left = self.data[self.position :]
        if len(left) >= MAX_ROW_BYTES:
            raise self.error(f"more than {MAX_ROW_BYTES} bytes in one piece")
        num_bytes = min(max(self._block_bytes, len(left)), MAX_ROW_BYTES - len(left))
        block = self._stream.read(num_bytes)
        self._offset += self.position
        self.data, self.position = left + block, 0
        return bool(block)

    def peek(self, num_bytes: int) -> bytes:
        """Return the bytes that come next; fewer only where the stream ends."""
        while len(self.data) - self.position < num_bytes and self.read_on():
            pass
        return self.data[self.position : self.position + num_bytes]

    def skip_space(self) -> bool:
        """Go past white space; False at the end of the stream."""
        while True:
            match = _SPACES.match(self.data, self.position)
            assert match is not None
            self.position = match.end()
            if self.position < len(self.data):
                return True
            if not self.read_on():
                return False

    def see(self, start: bytes, end: bytes) -> bytes:
        """Return the markup that comes next, from its known start to its end."""
        while (found := self.data.find(end, self.position + len(start))) < 0:
            if not self.read_on():
                raise self.cut_off()
        return self.data[self.position : found + len(end)]

    def cut_off(self) -> MalformedXml:
        """Return the error of a stream that ends where the window does, before the table does."""
        place = f"cut off at byte {self.offset_of(len(self.data))}"
        if self.position < len(self.data):
            place += f", in what begins at byte {self.offset_of(self.position)}"
        return MalformedXml(f"{self._file}: {place}; the file is truncated: download it again")

    def error(
        self,
        problem: str,
        advice: str = "it is damaged or no dump: download it again",
        kind: type[MalformedXml] = MalformedXml,
    ) -> MalformedXml:
        """Return the error of a problem at the position."""
        return kind(f"{self._file}: {problem} at byte {self.offset_of(self.position)}; {advice}")


def open_root(window: Window) -> bytes:
    """Go past all that stands before the rows; return the root's name, nothing for `<posts/>`.

    Raises:
        DoctypeRefused: a DOCTYPE.
        MalformedXml: not XML, not UTF-8, or not a root without attributes.
    """
    if not window.read_on():
        raise window.error("the file is empty", "download it again")
    for magic, name in _OTHER_FORMATS.items():
        if window.peek(len(magic)) == magic:
            raise window.error(f"{name} instead of XML", "unpack it, or give it its own name")
    if window.peek(len(_BOM)) == _BOM:
        window.position += len(_BOM)
    if window.peek(5) == b"<?xml":
        _read_declaration(window)
    skip_misc(window)
    if not window.peek(1):
        raise window.cut_off()
    if window.peek(1) != b"<":
        raise window.error(f"{_excerpt(window)} instead of XML")
    tag = window.see(b"<", b">")
    match = _ROOT.fullmatch(tag)
    if match is None:
        raise window.error(f"no root like <posts> but {_excerpt(window)}")
    window.position += len(tag)
    return b"" if match["is_empty"] else match["name"]


def _read_declaration(window: Window) -> None:
    declaration = window.see(b"<?xml", b"?>")
    match = _DECLARATION.fullmatch(declaration)
    if match is None:
        raise window.error(f"a broken XML declaration, {_excerpt(window)},")
    encoding = match["double"] or match["single"] or b"utf-8"
    if encoding.lower() not in (b"utf-8", b"utf8"):
        raise window.error(f"encoding {encoding.decode()} instead of utf-8", "convert it first")
    window.position += len(declaration)


def skip_misc(window: Window) -> bool:
    """Go past white space and comments; tell whether there was a comment.

    Raises:
        DoctypeRefused: a DOCTYPE comes next.
        MalformedXml: a comment has no end, or `--` inside.
    """
    num_comments = 0
    while window.skip_space() and window.peek(4) == b"<!--":
        comment = window.see(b"<!--", b"-->")
        if b"--" in comment[4:-2]:
            raise window.error("a comment with `--` inside")
        window.position += len(comment)
        num_comments += 1
    if window.peek(4) in (b"<!", b"<!-"):
        raise window.cut_off()
    if window.peek(9) == b"<!DOCTYPE":
        raise window.error("a DOCTYPE", "no dump has one, and it is not read", DoctypeRefused)
    return num_comments > 0


def close_root(window: Window, name: bytes) -> None:
    """Go past the root's end tag.

    Raises:
        MalformedXml: something else comes next.
    """
    if window.peek(2) != b"</":
        raise window.error(f"{_excerpt(window)} instead of a row")
    tag = window.see(b"</", b">")
    if tag[2:-1].rstrip(b" \t\r\n") != name:
        raise window.error(f"{_excerpt(window)} instead of </{name.decode()}>")
    window.position += len(tag)


def check_end(window: Window) -> None:
    """Check that only white space and comments follow the root.

    Raises:
        DoctypeRefused: a DOCTYPE.
        MalformedXml: anything else follows.
    """
    skip_misc(window)
    if window.peek(1):
        raise window.error(f"{_excerpt(window)} after the end of the root")


def _excerpt(window: Window) -> str:
    return repr(window.peek(40))[1:]
