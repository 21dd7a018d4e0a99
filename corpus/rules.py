"""The form of a rule that finds secrets of one kind, and the boundaries that rules share.

A pattern must be linear in time whatever the text: every repeat has an upper bound, and what a
token may be made of must not stand right before it, so that a long run is read once and not once
for each of its characters. `tests/corpus/test_secrets.py` holds a worst case for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from corpus.recipe import SecretKind

# Where a token of letters, digits, `_` and `-` may begin: at the edge of one, or behind what an
# escape of a URL or a string ends with (`%3DAKIA…`, `\nAKIA…`).
EDGE = r"(?:(?<![A-Za-z0-9_-])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[nrt]))"
END = r"(?![A-Za-z0-9_-])"


class Rule(NamedTuple):
    """One way to find secrets of a kind.

    `pattern` marks what is replaced by the group `secret`. `hint` is a cheap pattern, in the
    syntax that RE2 and `re` share, which every text that holds such a secret has: it spares whole
    columns the fine pattern. `accepts` has the last word.
    """

    kind: SecretKind
    hint: str
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str]], bool]
