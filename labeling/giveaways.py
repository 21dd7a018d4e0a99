"""Words by which people give an answer away as out of date.

They choose what is annotated, and are never part of an input. A word is judged with what stands
before it: "not deprecated" gives nothing away, nor does what "goes out of date quickly".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ADJECTIVE = (
    r"\b(?:deprecated|obsoleted?|out-?dated|out[ -]of[ -]date|superseded|discontinued)\b"
    r"(?!\s+(?:\w+\s+)?(?:quickly|soon|fast)\b)"
)
_STATE = (
    r"(?:works?|working(?! (?:with|on|for|in))|valid|supported|supports?|exists?"
    r"|available|maintained|developed|true"
    r"|recommended|correct|appl(?:y|ies|icable)|accurate|the case|in use|relevant|functional"
    r"|functions?|compiles?|manufactured|produced|sold|made|makes?|creates?|possible|online"
    r"|up[ -]to[ -]date)"
)
_VERSIONS = r"(?:versions?|releases?)"
_NUMBER = r"`?v?\d+\.\d[\w.]*"
_PATTERNS = (
    _ADJECTIVE,
    r"\bdeprecation\b",
    rf"\b(?:no longer|not any longer)\s+(?:\w+\s+){{0,2}}?{_STATE}\b",
    rf"(?:\bnot\b|n['’]?t\b)[^.!?\n]{{0,20}}\b{_STATE}\b[^.!?\n]{{0,20}}\b(?:anymore|any longer"
    r"|any more(?=\s*(?:$|[.,;:!?)])))",
    rf"\b(?:as of|since|starting (?:with|from)|changed in|removed in|dropped in)\s+"
    rf"(?:the\s+)?(?:(?:version|release|v\.?)\s*`?\d[\w.]*|(?:[\w+#-]+\s+)?{_NUMBER})",
    rf"\b(?:in|with|on|for|as of|since)\s+(?:the\s+|more\s+|all\s+)*"
    rf"(?:newer|recent|latest|later|modern)\s+(?:\w+\s+)?{_VERSIONS}\b",
    rf"\b(?:does(?:n['’]?t| not)|do(?:n['’]?t| not)|won['’]?t|fails? to)\s+(?:work|compile|run)"
    rf"\b[^.!?\n]{{0,30}}\b(?:{_VERSIONS}\s+`?\d|{_NUMBER})",
    r"\b(?:should|must|can|please|better|just)\s+now\s+use\b",
    r"\b(?:dead|broken|stale|rotten)\s+(?:\w+\s+)?(?:links?|urls?)\b",
    r"\b(?:links?|urls?)\b[^.!?\n]{0,30}?\b(?:dead|broken|404|gone|rotten|down|expired)\b",
    r"\blinks?\b[^.!?\n]{0,20}(?:\bnot|n['’]?t)\s+work(?:ing|s)?\b",
    r"\b(?:is|are|gives?|returns?|a|now|gets?|getting|shows?|got)\s+(?:an?\s+)?(?:http\s+)?404\b",
    r"\bpage not found\b",
)
GIVEAWAY = re.compile("|".join(_PATTERNS), re.IGNORECASE)
# Whatever GIVEAWAY finds has one of these stems; RE2 sorts out the rest of a column.
STEMS = (
    r"(?i)deprecat|obsolete|out-?dated|out[ -]of[ -]date|superseded|discontinued|longer"
    r"|any ?more|as of|since|starting|changed in|removed in|dropped in|version|release|fail|work"
    r"|compile|run|now|link|url|404|page not"
)
# A marker that opens a line: what follows was added to an answer that stood.
_MARKER = re.compile(
    r"^\W{0,6}(?:update|edit|edited|updated)\b\s*(?:\W{0,4}(?:\d|[a-z]{3,9}\s+\d)[^:\n]{0,20})?"
    r"\W{0,3}[:\-–—*\]#]",
    re.IGNORECASE,
)
_RENEWAL = re.compile(
    r"\b(?:updat|fix|repair|replac|correct)\w*\s+(?:\w+\s+){0,3}?(?:links?|urls?|versions?|api)\b"
    r"|\bupdated?\s+(?:for|to)\s+(?:the\s+)?(?:new|latest|current|[\w+#-]*\s*v?\d)",
    re.IGNORECASE,
)
_WINDOW = 40
_NEGATED = re.compile(
    r"(?:\b(?:not|never|hardly|isn['’]?t|aren['’]?t|wasn['’]?t)|n['’]t)\s+(?:\w+\s+){0,2}$",
    re.IGNORECASE,
)
# "has become obsolete" has happened; "may become obsolete" has not.
_TO_COME = re.compile(
    r"(?<!has )(?<!have )(?<!had )(?<!['’]ve )(?<!['’]s )"
    r"\b(?:go|goes|going|get|gets|getting|become|becomes|becoming"
    r"|(?:will|would|may|might|could|can)(?:\s+\w+)?\s+be(?:come)?|tends?\s+to\s+be|to\s+be)"
    r"\s+(?:\w+\s+){0,3}$",
    re.IGNORECASE,
)
# Said of comments and of flags, not of the answer; or of what may be.
_EXCUSES = (
    re.compile(r"\b(?:comments?|flag\w*|close\w*)\b[^.!?\n]*$", re.IGNORECASE),
    re.compile(r"\b(?:if|whether)\b[^.!?\n]*$", re.IGNORECASE),
)


def find_giveaway(text: str) -> str | None:
    """Return the first words by which a text says that something is out of date.

    >>> find_giveaway("Note that `foo` is deprecated since 2.0; use `bar` instead.")
    'deprecated'
    >>> find_giveaway("This is not deprecated at all."), find_giveaway("Tools go out of date.")
    (None, None)
    """
    return next(iter_giveaways(text), None)


def iter_giveaways(text: str) -> Iterator[str]:
    """Yield all of them, in the order of the text."""
    for match in GIVEAWAY.finditer(text):
        before = text[max(0, match.start() - _WINDOW) : match.start()]
        is_adjective = re.fullmatch(_ADJECTIVE, match.group(), re.IGNORECASE) is not None
        excuses = (_NEGATED, _TO_COME, *_EXCUSES) if is_adjective else _EXCUSES
        if not any(excuse.search(before) for excuse in excuses):
            yield match.group()


def find_added_notice(before: str, after: str) -> str | None:
    r"""Return the words by which an edit says that the text before it was out of date.

    Args:
        before: the Markdown before the edit.
        after: the Markdown after it.

    >>> find_added_notice("Use foo.", "Use foo.\n\nEdit: use bar.")
    'Edit:'
    >>> find_added_notice("foo is deprecated", "Foo is deprecated.") is None
    True
    """
    known = set(before.splitlines())
    before = before.lower()
    for line in after.splitlines():
        if line in known:
            continue
        words = list(iter_giveaways(line))
        if marker := _MARKER.match(line):
            words.insert(0, marker.group().strip())
        for word in words:
            # What stood there before, in a line that was changed elsewhere, is no news.
            if after.lower().count(word.lower()) > before.count(word.lower()):
                return word
    return None


def find_renewal(edit_comment: str) -> str | None:
    """Return the words by which an editor says that something old was brought up to date.

    >>> find_renewal("fixed broken link"), find_renewal("spelling")
    ('fixed broken link', None)
    """
    match = _RENEWAL.search(edit_comment)
    return match.group() if match else find_giveaway(edit_comment)
