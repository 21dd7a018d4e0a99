"""Hostile HTML made harmless before it is parsed: costly bodies are flattened, no text is lost."""

from __future__ import annotations

import re
from collections import Counter

# Building a tree costs up to the square of its depth (50,000 nested <div>: 3.7 s) and of a tag's
# attributes, and formatting left open is cloned into every paragraph (30 kB: 2 s and 2.3 GB). So a
# body with more tags than MAX_TAGS, or an overlong one, is flattened first; two of 7,957 real ones
# are, and none is 10 deep. Up to SMALL_BODY characters no shape took over 30 ms.
MAX_TAGS = 512
MAX_DEPTH = 128
SMALL_BODY = 4096
LONG_TAG = re.compile(r"<[^<>]{4096}")
VALUE = r"""(?:"[^"]*+"|'[^']*+'|[^\s"'<>=]++)"""
TAG = re.compile(rf"""<(/?)([a-zA-Z][^\s/<>"'=]*+)(?:[^<>"'=]|(?<![\s=/])={VALUE})*+>""")
READ_ATTRIBUTE = re.compile(rf"\s(?:alt|class|href|start)={VALUE}", re.IGNORECASE)
FORMATTING = re.compile("b|big|em|font|i|nobr|s|small|strike|strong|tt|u")
SIBLING = re.compile("a|dd|dt|li|p|td|th|tr")  # closed by the next of its name
VOID = re.compile("area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr")


def is_costly(body_html: str) -> bool:
    """Tell whether parsing a body could take more than its length deserves.

    >>> is_costly("<b>" * 2_000), is_costly("<p>ordinary</p>")
    (True, False)
    """
    return len(body_html) > SMALL_BODY and (
        body_html.count("<") > MAX_TAGS or LONG_TAG.search(body_html) is not None
    )


def flatten(body_html: str) -> str:
    """Rewrite a costly body: no formatting, and the rest closed in order, MAX_DEPTH deep at most.

    No text is lost. A well-formed body that is not too deep reads the same afterwards.
    """
    open_names: list[str] = []
    num_open: Counter[str] = Counter()

    def close(name: str) -> str:
        tags = ""
        while num_open[name]:
            last = open_names.pop()
            num_open[last] -= 1
            tags += f"</{last}>" if len(open_names) < MAX_DEPTH else " "
            if last == name:
                break
        return tags

    def simplify(match: re.Match[str]) -> str:
        tag, closing, name = match[0], match[1], match[2].lower()
        if FORMATTING.fullmatch(name):
            return ""
        if name == "code":  # formatting too, but marked; alike, it is cloned three times at most
            tag = f"<{closing}code>"
        elif len(tag) > SMALL_BODY:
            tag = f"<{closing}{name}{''.join(READ_ATTRIBUTE.findall(tag))}>"
        if VOID.fullmatch(name):
            return tag
        is_next = open_names[-1:] == [name] and SIBLING.fullmatch(name)
        closed = close(name) if closing or is_next else ""
        if closing:
            return closed
        open_names.append(name)
        num_open[name] += 1
        return closed + (tag if len(open_names) <= MAX_DEPTH else " ")

    return TAG.sub(simplify, body_html)
