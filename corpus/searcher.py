"""Looking for what was taken down in one text, or among the ids of one column.

Nothing of `corpus.removing` is used. Texts are compared as texts where they are still at hand, as
`find_shared` does; else by the digests in the record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from corpus.quotes import WINDOW, WindowSet, digest_windows, have_window, make_window_set
from corpus.removals import Name

# More are compared by digest: a set of their 25-character pieces takes 110 bytes a character.
MAX_TEXT_CHARS = 4_000_000
_HALF = WINDOW // 2
_POST_ID = re.compile(
    r"(?:.*_)?(?:post|thread|answer|question)_ids?|duplicate_of|parent_id|OriginalQuestionIds"
)
_USER_ID = re.compile(r"(?:.*_)?(?:user|author|editor)_id")
_COMMENT_ID = re.compile(r"(?:.*_)?comment_id")

Array = np.ndarray[Any, Any]


class Sought(NamedTuple):
    """What is searched for: names, texts as far as they are at hand, and the record's windows."""

    names: tuple[Name, ...]
    texts: tuple[str, ...]
    windows: Array


def find_shared(text: str, pieces: frozenset[str], whole: str) -> Iterator[str]:
    """Yield windows of a text that another text holds, exactly and at 1/25 of the look-ups.

    A window of 50 holds one of the pieces that the text is cut into at every 25th character.

    Args:
        text: white space as single spaces.
        pieces: every 25 characters in a row of the other text.
        whole: that text.

    >>> other = "".join(map(chr, range(300, 400)))
    >>> pieces = frozenset(other[i : i + 25] for i in range(76))
    >>> [other.index(one) for one in find_shared(f"abc{other[10:61]}", pieces, other)]
    [10, 11]
    """
    done = 0
    for start in range(0, len(text) - _HALF + 1, _HALF):
        if text[start : start + _HALF] in pieces:
            for first in range(max(done, start - _HALF), min(start, len(text) - WINDOW) + 1):
                done = first + 1
                if text[first : first + WINDOW] in whole:
                    yield text[first : first + WINDOW]


class Searcher:
    """Counts hits in texts and in ids."""

    def __init__(self, sought: Sought) -> None:
        """Make sets of what is sought."""
        self._ids: dict[tuple[str, str], set[int]] = {}
        for name in sought.names:
            self._ids.setdefault((name.kind, name.site), set()).add(name.id)
        self.sites = sorted({name.site for name in sought.names})
        self._windows: WindowSet = make_window_set(sought.windows)
        texts = [_normal(text) for text in sought.texts] if _has_texts(sought) else []
        self._whole = "\0".join(texts)
        self._pieces = frozenset(
            text[i : i + _HALF] for text in texts for i in range(len(text) - _HALF + 1)
        )
        digests, _ = digest_windows(pa.array(texts, pa.string()))
        # What was taken down before is known by its digests alone.
        self.needs_digests = not np.isin(sought.windows, digests).all()
        hosts = "|".join(map(re.escape, self.sites))
        self._named = re.compile(
            rf"(?<![\w.-])({hosts})(?::\d+)?(/(?:[^\s\"'<>\\()]|\([^\s\"'<>\\()]*\))*)",
            re.IGNORECASE,
        )

    def is_own(self, text: str) -> bool:
        """Tell whether a text holds a window of the record."""
        return bool(have_window(pa.array([text]), self._windows)[0])

    def search(self, text: str, site: str | None) -> Counter[str]:
        """Count the hits in a text, that of rows of a site where it is known."""
        hits = Counter[str]()
        for host, path in self._named.findall(text) if self.sites else ():
            hits += self._search_path(host.lower(), path)
        if site in self.sites:
            for path in re.findall(
                r"(?<![\w./%~-])(/(?:questions|q|a|posts|users|revisions)/\d[^\s()]*)", text
            ):
                hits += self._search_path(str(site), path)
            hits["author"] += sum(
                self.has("user", str(site), int(digits))
                for digits in re.findall(r'"Id": ?(\d+), ?"DisplayName"', text)
            )
        hits["text"] += self._count_windows(text)
        return +hits

    def has(self, kind: str, site: str, number: int) -> bool:
        """Tell whether an id is sought."""
        return number in self._ids.get((kind, site), ())

    def search_ids(self, column: str, ids: Array, site: str, table: str | None) -> Counter[str]:
        """Count the hits among the numbers of a column, given the table it is of, if any."""
        kind = _kind_of(column, table)
        wanted = self._ids.get((kind, site)) if kind else None
        if not wanted or not len(ids):
            return Counter()
        num = int(np.isin(ids, np.array(sorted(wanted), np.int64)).sum())
        return +Counter({"author" if kind == "user" else "id": num})

    def _search_path(self, site: str, path: str) -> Counter[str]:
        patterns = (
            ("id", "post", r"^/([1-9]\d*)(?!\d)"),
            (
                "link",
                "post",
                r"(?:^/(?:questions|q|a|posts|revisions)/|#(?:comment\d+_|answer-)?)(\d+)",
            ),
            # Not with those above: a pattern that has found the question would begin after it.
            ("link", "post", r"^/questions/\d+/[^/?#\[\]{}|^`]*/(\d+)"),
            ("link", "comment", r"(?:^/posts/comments/|#comment)(\d+)"),
            ("author", "user", r"^/(?:users/(?:[a-z-]+/)*|[qa]/\d+/)(\d+)"),
        )
        return Counter(
            hit
            for hit, kind, pattern in patterns
            for digits in re.findall(pattern, path)
            if self.has(kind, site, int(digits))
        )

    def _count_windows(self, text: str) -> int:
        shared = find_shared(_normal(text), self._pieces, self._whole) if self._pieces else ()
        if not any(True for _ in shared):
            return int(self.needs_digests and self.is_own(text))
        # What others wrote first is shared, and stays theirs: the record says which is whose.
        digests, _ = digest_windows(pa.array([text]))
        return int(np.isin(digests, self._windows.digests).sum())


def _has_texts(sought: Sought) -> bool:
    return 0 < sum(map(len, sought.texts)) <= MAX_TEXT_CHARS


def _normal(text: str) -> str:
    return " ".join(text.split())


def _kind_of(column: str, table: str | None) -> str | None:
    if column == "id":
        return {"Posts": "post", "Comments": "comment", "Users": "user"}.get(table or "")
    if _COMMENT_ID.fullmatch(column):
        return "comment"
    if _USER_ID.fullmatch(column):
        return "user"
    return "post" if _POST_ID.fullmatch(column) else None
