"""Real posts, tiled to any size without becoming duplicates of each other.

Every tile but the first gives each post a new Id and puts another word of the same texts in place
of every fourth plain word, so that a tile's posts are no near-duplicates of another's, and words
are as frequent and as varied as in real text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROW = re.compile(rb"^\s*<row .*/>\s*$")
IDS = re.compile(rb' (Id|ParentId|AcceptedAnswerId)="(\d+)"')
WORD = re.compile(rb"(?<= )([a-z]{3,12})(?= )")
SITE_STEP, ID_STEP = 8_000, 72_000


def iter_real_rows(data: Path) -> Iterator[bytes]:
    """Yield the rows of each site's latest Posts.xml, as lines; ids made unique by site."""
    latest = {path.parents[1].name: path for path in sorted(data.glob("dumps/*/*/Posts.xml"))}
    for number, (site, path) in enumerate(latest.items()):
        if site == "slices":
            continue
        for line in path.read_bytes().split(b"\n"):
            if ROW.match(line):
                yield shift_ids(line, number * SITE_STEP)


def shift_ids(row: bytes, step: int) -> bytes:
    """Add a number to the ids of a row."""
    return IDS.sub(lambda found: b' %s="%d"' % (found[1], int(found[2]) + step), row)


def change_words(row: bytes, tile: int, words: list[bytes]) -> bytes:
    """Replace every fourth plain word by one that depends on the tile and the place."""
    count = iter(range(len(row)))

    def change(word: re.Match[bytes]) -> bytes:
        place = next(count)
        return word[1] if place % 4 else words[(tile * 7_919 + place * 104_729) % len(words)]

    return WORD.sub(change, row)


def write_tiled_posts(data: Path, path: Path, num_bytes: int) -> int:
    """Write a Posts.xml of about `num_bytes` from real rows; return its number of rows."""
    rows = list(iter_real_rows(data))
    words = [word for row in rows[:500] for word in WORD.findall(row)]
    num_rows = size = tile = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n<posts>\r\n')
        while size < num_bytes:
            for row in rows:
                if size >= num_bytes:
                    break
                if tile:
                    row = change_words(shift_ids(row, tile * ID_STEP), tile, words)
                size += file.write(row.rstrip() + b"\r\n")
                num_rows += 1
            tile += 1
        file.write(b"</posts>\r\n")
    return num_rows
