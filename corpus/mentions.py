"""Mentions of what was taken down, in the rows that stay: links, and lists of ids.

A link is a URL of a site, with or without its scheme, whose path names a post, a comment or a user;
in rows of the site itself also the path alone. What it names is gone, so all of it becomes
`[removed]`. PostHistory keeps who voted, and what a question is a duplicate of, as JSON in `Text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.manifest import Json

REMOVED = "[removed]"
# Brackets that close what they open are part of a title.
_WORD = r"[^\s\"'<>()\[\]{}|\\^`]"
_TAIL = rf"(?:{_WORD}|\({_WORD}*\))*"
_PAGES = r"/(?:questions|q|a|posts|users|revisions)/"
# What a path names: kind, and where the id is.
_NAMES = (
    ("post", re.compile(r"^/(?:questions|q|a|posts|revisions)/(\d+)")),
    ("post", re.compile(r"^/questions/\d+/[^/?#]*/(\d+)")),  # an answer, after the title
    ("post", re.compile(r"#(?:answer-)?(\d+)")),
    ("post", re.compile(r"#comment\d+_(\d+)")),
    ("comment", re.compile(r"(?:#comment|^/posts/comments/)(\d+)")),
    ("user", re.compile(r"^/users/(?:[a-z-]+/)*(\d+)")),
    ("user", re.compile(r"^/[qa]/\d+/(\d+)")),  # a shared link ends in who shared it
)

Array = np.ndarray[Any, Any]


class Gone(NamedTuple):
    """What is gone from a site: ids, int64, ascending."""

    posts: Array
    comments: Array
    users: Array


def replace_links(
    texts: pa.ChunkedArray, site: str, gone_by_site: Mapping[str, Gone]
) -> pa.ChunkedArray:
    """Replace links to what is gone, from whichever site.

    Args:
        texts: a string column of rows of `site`.
        site: whose rows these are.
        gone_by_site: what is gone.

    >>> gone = Gone(np.array([12]), np.array([], int), np.array([7]))
    >>> texts = pa.chunked_array([["see https://x.org/q/12/9.", "//x.org/users/7/ada", "/q/12"]])
    >>> replace_links(texts, "y.org", {"x.org": gone}).to_pylist()
    ['see [removed].', '[removed]', '/q/12']
    """
    sites = tuple(sorted(gone_by_site))
    may_link = pc.match_substring_regex(texts, _likely(sites, site))
    places = np.flatnonzero(pc.fill_null(may_link, False).to_numpy())
    pattern = _pattern(sites)

    def replace(match: re.Match[str]) -> str:
        link = match[0].rstrip(".,;:!?*_")
        gone = gone_by_site.get(match["site"] or site)
        path = (match["path"] or match["own"]).rstrip(".,;:!?*_")
        return REMOVED + match[0][len(link) :] if gone and _is_gone(path, gone) else match[0]

    changed = {}
    for place in places.tolist():
        before = texts[place].as_py()
        after = pattern.sub(replace, before)
        if after != before:
            changed[place] = after
    return _put(texts, changed)


def drop_listed(texts: pa.ChunkedArray, gone: Gone) -> pa.ChunkedArray:
    """Take what is gone out of the lists of voters and of originals in PostHistory's `text`.

    >>> gone = Gone(np.array([12]), np.array([], int), np.array([7]))
    >>> text = '{"OriginalQuestionIds":[12,13],"Voters":[{"Id":7,"DisplayName":"Ada"}]}'
    >>> drop_listed(pa.chunked_array([[text]]), gone).to_pylist()
    ['{"OriginalQuestionIds":[13],"Voters":[]}']
    """
    is_list = pc.match_substring_regex(texts, r'^\{.*"(Voters|OriginalQuestionIds)"')
    changed = {}
    for place in np.flatnonzero(pc.fill_null(is_list, False).to_numpy()).tolist():
        text = texts[place].as_py()
        if (shorter := _drop_listed(text, gone)) is not None:
            changed[place] = shorter
    return _put(texts, changed)


def _drop_listed(text: str, gone: Gone) -> str | None:
    """Return the JSON without what is gone; None: it names nothing that is, or is no JSON."""
    try:
        content: Json = json.loads(text)
        voters, originals = content.get("Voters", []), content.get("OriginalQuestionIds", [])
        kept = [one for one in voters if int(one.get("Id") or 0) not in gone.users]
        others = [one for one in originals if int(one) not in gone.posts]
    except (ValueError, TypeError, AttributeError):
        return None
    if len(kept) == len(voters) and len(others) == len(originals):
        return None
    for key, value in (("Voters", kept), ("OriginalQuestionIds", others)):
        if key in content:
            content[key] = value
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _is_gone(path: str, gone: Gone) -> bool:
    ids = {"post": gone.posts, "comment": gone.comments, "user": gone.users}
    return any(
        has_id(ids[kind], int(digits)) for kind, where in _NAMES for digits in where.findall(path)
    )


def has_id(ids: Array, number: int) -> bool:
    """Tell whether a number is among ids, which ascend.

    >>> has_id(np.array([3, 5]), 5), has_id(np.array([3, 5]), 4), has_id(np.array([3, 5]), 10**30)
    (True, False, False)
    """
    if number >= 2**63:
        return False
    place = int(np.searchsorted(ids, number))
    return place < len(ids) and int(ids[place]) == number


@lru_cache(maxsize=8)
def _pattern(sites: tuple[str, ...]) -> re.Pattern[str]:
    hosts = "|".join(map(re.escape, sites))
    absolute = (
        rf"(?:https?:)?(?://)?(?<![\w.-])(?:www\.)?(?P<site>{hosts})(?::\d+)?(?P<path>/{_TAIL})"
    )
    return re.compile(rf"{absolute}|(?<![\w./%~-])(?P<own>{_PAGES}\d{_TAIL})", re.IGNORECASE)


@lru_cache(maxsize=64)
def _likely(sites: tuple[str, ...], site: str) -> str:
    """Return a pattern (RE2) that every text with such a link matches, to look at few texts."""
    hosts = "|".join(map(re.escape, sites))
    own = rf"|{_PAGES}[0-9]" if site in sites else ""
    return rf"(?i)(?:{hosts})(?::[0-9]+)?/{own}"


def _put(texts: pa.ChunkedArray, changed: Mapping[int, str]) -> pa.ChunkedArray:
    """Return the column with other values in some places."""
    if not changed:
        return texts
    mask = np.zeros(len(texts), bool)
    mask[list(changed)] = True
    values = pa.array([changed[place] for place in sorted(changed)], texts.type)
    whole = texts.combine_chunks()
    return pa.chunked_array([pc.replace_with_mask(whole, pa.array(mask), values)])
