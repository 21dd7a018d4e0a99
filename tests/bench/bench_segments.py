"""Bodies per second of `split_body`, against the same split by BeautifulSoup over lxml.

    python tests/bench/bench_segments.py --data ../shared/data

Splits --bodies different bodies of the real dumps with each, in turns, so that a busy machine hurts
both alike. Prints one JSON line: medians of CPU seconds; on how many of these bodies the two agree;
and in how many bodies of all the dumps a character is missing that html5lib finds there.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bs4 import BeautifulSoup
from bs4.element import Comment, NavigableString, PageElement, Tag
from lxml import etree

from corpus.segments import split_body

Blocks = list[tuple[str, str]]
CONTAINERS = ["dd", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "p"]
BLOCKS = frozenset([*CONTAINERS, "blockquote", "ol", "pre", "table", "ul"])


def split_ours(body_html: str) -> Blocks:
    body = split_body(body_html)
    return [(one.kind, body.text[one.start : one.end]) for one in body.segments]


def split_soup(body_html: str) -> Blocks:
    """The plain way: BeautifulSoup's tree, and recursion over its blocks."""
    soup = BeautifulSoup(body_html, "lxml")
    return join_prose(soup_blocks(soup.body)) if soup.body else []


def soup_blocks(node: Tag) -> Blocks:
    blocks: Blocks = []
    words = ""
    for child in node.children:
        if not isinstance(child, Tag) or child.name not in BLOCKS:
            words += soup_words(child)
            continue
        blocks += [("prose", tidy(words))]
        words = ""
        if child.name == "pre":
            blocks += [("code", child.get_text().removesuffix("\n"))]
        elif child.name in ("ol", "ul"):
            blocks += soup_list(child)
        elif child.name == "blockquote":
            blocks += [
                (kind, prefix(text, "> ", "> ") if kind == "prose" else text)
                for kind, text in join_prose(soup_blocks(child))
            ]
        elif child.name == "table":
            rows = [[tidy(soup_words(cell)) for cell in row(["td", "th"])] for row in child("tr")]
            blocks += [("prose", "\n".join(" | ".join(row) for row in rows))]
        else:
            blocks += soup_blocks(child)
    blocks += [("prose", tidy(words))]
    return [block for block in blocks if block[1].strip(" \t\n")]


def soup_list(node: Tag) -> Blocks:
    blocks: Blocks = []
    number = int(str(node.get("start", "1")))
    is_loose = node.find("p") is not None
    for item in node("li", recursive=False):
        marker = f"{number}. " if node.name == "ol" else "- "
        number += 1
        first = marker
        for kind, text in join_prose(soup_blocks(item), "\n\n" if is_loose else "\n"):
            if kind == "prose":
                text = prefix(text, first, " " * len(marker))
                first = " " * len(marker)
            blocks.append((kind, text))
    return join_prose(blocks, "\n\n" if is_loose else "\n")


def soup_words(node: PageElement) -> str:
    if isinstance(node, NavigableString):
        return "" if isinstance(node, Comment) else re.sub(r"[ \t\n\r\f]+", " ", node)
    assert isinstance(node, Tag)
    if node.name == "br":
        return "\n"
    if node.name == "img":
        alt = str(node.get("alt", ""))
        return "" if alt == "enter image description here" else alt
    if node.name == "code":
        return node.get_text().replace("\n", " ")
    return "".join(map(soup_words, node.children))


def tidy(words: str) -> str:
    return re.sub(r" *\n *", "\n", re.sub(r" +", " ", words)).strip(" \n")


def prefix(text: str, first: str, rest: str) -> str:
    lines = text.split("\n")
    return "\n".join(
        [first + lines[0], *(rest + line if line else rest.rstrip() for line in lines[1:])]
    )


def join_prose(blocks: Blocks, separator: str = "\n\n") -> Blocks:
    joined: Blocks = []
    for kind, text in blocks:
        if joined and kind == joined[-1][0] == "prose":
            joined[-1] = (kind, joined[-1][1] + separator + text)
        else:
            joined.append((kind, text))
    return joined


def is_missing_text(body_html: str) -> bool:
    """Whether a character that html5lib finds, white space apart, is not there in its order."""
    soup = BeautifulSoup(f"<body>{body_html}", "html5lib")
    for image in soup("img"):
        alt = str(image.get("alt", ""))
        image.replace_with("" if alt == "enter image description here" else alt)
    remaining = iter(split_body(body_html).text)
    return not all(
        character in remaining for character in soup.get_text() if character not in " \t\n\r\f"
    )


def read_bodies(data: Path) -> list[str]:
    bodies: set[Any] = set()
    for path in sorted((data / "dumps").glob("*/*/Posts.xml")):
        rows = etree.fromstring(path.read_bytes().replace(b"\t", b"&#9;"))
        bodies.update(row.get("Body") for row in rows)
    return sorted(bodies - {None, ""})


def measure(split: Callable[[str], Blocks], bodies: list[str]) -> float:
    gc.collect()
    started = time.process_time()
    for body_html in bodies:
        split(body_html)
    return time.process_time() - started


def compare(bodies: list[str], num_bodies: int, repeats: int) -> dict[str, Any]:
    """Time both splits in turns on evenly spaced bodies, then look for what is missing in all."""
    sample = bodies[:: max(1, len(bodies) // num_bodies)]
    measure(split_ours, sample[:50]), measure(split_soup, sample[:50])
    turns = [(measure(split_ours, sample), measure(split_soup, sample)) for _ in range(repeats)]
    ours, soup = (median(seconds) for seconds in zip(*turns, strict=True))
    return {
        "bench": "segments",
        "num_bodies": len(sample),
        "num_characters": sum(map(len, sample)),
        "bodies_per_second": {
            "ours": round(len(sample) / ours),
            "beautifulsoup_lxml": round(len(sample) / soup),
        },
        "speedup": round(median(b / a for a, b in turns), 2),
        "num_alike": sum(split_ours(body) == split_soup(body) for body in sample),
        "num_checked": len(bodies),
        "num_missing_text": sum(map(is_missing_text, bodies)),
    }


def versions() -> dict[str, str]:
    packages = ("beautifulsoup4", "html5lib", "lxml", "selectolax")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds dumps/")
    parser.add_argument("--bodies", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    result = compare(read_bodies(arguments.data), arguments.bodies, arguments.repeat)
    print(json.dumps(result | {"versions": versions()}))


if __name__ == "__main__":
    main()
