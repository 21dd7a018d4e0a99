"""What an edit changed: lines that went and came, and in lines that were changed, the words.

Owns the comparison of two revisions of a post for reading; says nothing about markup. Nothing is
lost: the lines that are not new, in order, are the old text, those that are not gone the new one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

Kind = Literal["same", "gone", "new", "skipped"]
# difflib goes through all pairs of equal elements once for each match that it finds: 30,000
# characters of two words took it 12 s. What would take more steps than this, at the worst, is shown
# as replaced as a whole (measured: 0.1 s at the most for two texts).
MAX_STEPS = 3_000_000
MAX_REPEATED = 16  # pairs of one repeated line, such as a blank one, that may begin a match
LEAST_STEPS = 1_000  # for one pair of lines; with fewer, words are not compared at all
# Two lines less alike than this share only small words; marking those hides the change.
LEAST_RATIO = 0.4
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


class Part(NamedTuple):
    """Words of a line, and whether they are what was changed."""

    text: str
    is_changed: bool


class Line(NamedTuple):
    """A line of either revision; of kind "skipped", one part that is the number of lines."""

    kind: Kind
    parts: list[Part]


def compare_revisions(old: str, new: str, *, context: int = 2) -> list[Line]:
    r"""Compare two texts by line, then changed lines by word.

    Args:
        old: text before.
        new: text after.
        context: how many unchanged lines to keep around a change; others are counted only.

    >>> for line in compare_revisions("Use wget.\nThen run it.", "Use curl.\nThen run it."):
    ...     print(line.kind, [part.text for part in line.parts if part.is_changed])
    gone ['wget']
    new ['curl']
    same []
    """
    lines = list(_iter_lines(old.split("\n"), new.split("\n")))
    near = set[int]()
    for number, line in enumerate(lines):
        if line.kind != "same":
            near.update(range(number - context, number + context + 1))
    shown: list[Line] = []
    for number, line in enumerate(lines):
        if number in near:
            shown.append(line)
        elif shown and shown[-1].kind == "skipped":
            num_skipped = int(shown[-1].parts[0].text) + 1
            shown[-1] = Line("skipped", [Part(str(num_skipped), False)])
        else:
            shown.append(Line("skipped", [Part("1", False)]))
    return shown


def _iter_lines(old: list[str], new: list[str]) -> Iterator[Line]:
    codes = _opcodes(old, new, MAX_STEPS)
    num_pairs = sum(min(c[2] - c[1], c[4] - c[3]) for c in codes if c[0] != "equal")
    max_steps = MAX_STEPS // max(1, num_pairs)
    for kind, old_from, old_to, new_from, new_to in codes:
        gone, came = old[old_from:old_to], new[new_from:new_to]
        if kind == "equal":
            yield from (Line("same", [Part(line, False)]) for line in gone)
        else:
            yield from _compare_words(gone, came, max_steps)


def _compare_words(gone: list[str], came: list[str], max_steps: int) -> Iterator[Line]:
    """Pair the lines that were replaced with those that replaced them, as far as both go."""
    paired = list(zip(gone, came, strict=False)) if max_steps >= LEAST_STEPS else []
    pairs = [_compare_line(*pair, max_steps) for pair in paired]
    unpaired = len(pairs)
    yield from (Line("gone", parts) for parts, _ in pairs)
    yield from (Line("gone", [Part(line, True)]) for line in gone[unpaired:])
    yield from (Line("new", parts) for _, parts in pairs)
    yield from (Line("new", [Part(line, True)]) for line in came[unpaired:])


def _compare_line(old: str, new: str, max_steps: int) -> tuple[list[Part], list[Part]]:
    old_words, new_words = _WORD.findall(old), _WORD.findall(new)
    codes = _opcodes(old_words, new_words, max_steps)
    num_same = sum(code[2] - code[1] for code in codes if code[0] == "equal")
    if 2 * num_same < LEAST_RATIO * (len(old_words) + len(new_words)):
        return [Part(old, True)], [Part(new, True)]
    gone = [Part("".join(old_words[c[1] : c[2]]), c[0] != "equal") for c in codes if c[1] < c[2]]
    came = [Part("".join(new_words[c[3] : c[4]]), c[0] != "equal") for c in codes if c[3] < c[4]]
    return gone, came


def _opcodes(
    old: Sequence[str], new: Sequence[str], max_steps: int
) -> list[tuple[str, int, int, int, int]]:
    """Return difflib's opcodes; what both begin and end with is set aside first."""
    head, shorter = 0, min(len(old), len(new))
    while head < shorter and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < shorter - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    old_end, new_end = len(old) - tail, len(new) - tail
    codes = [("equal", 0, head, 0, head)] if head else []
    codes += [
        (kind, a + head, b + head, c + head, d + head)
        for kind, a, b, c, d in _match(old[head:old_end], new[head:new_end], max_steps)
    ]
    return [*codes, ("equal", old_end, len(old), new_end, len(new))] if tail else codes


def _match(
    old: Sequence[str], new: Sequence[str], max_steps: int
) -> Sequence[tuple[str, int, int, int, int]]:
    num_old, num_new = Counter(old), Counter(new)
    num_pairs = {key: num_old[key] * num for key, num in num_new.items() if key in num_old}
    frequent = {key for key, num in num_pairs.items() if num > MAX_REPEATED}
    num_left = sum(num for num in num_pairs.values() if num <= MAX_REPEATED)
    if (num_left + 1) * min(len(old), len(new)) > max_steps:
        return [("replace", 0, len(old), 0, len(new))]
    if sum(num_pairs.values()) * min(len(old), len(new)) <= max_steps:
        frequent = set()
    return SequenceMatcher(frequent.__contains__, old, new, autojunk=False).get_opcodes()
