"""The proof of a takedown: every file of a store is searched for what was taken down.

Hits, and what they are searched for in:

    id      `<site>/<id>` of a post in any text; ids of posts and comments in columns and JSON
    author  ids of people in columns, JSON and links to their pages
    link    URLs of posts and comments
    text    50 characters in a row of a text that was taken down

How one text is searched is said in `corpus.searcher`, how a file is read in `corpus.store_files`.
What cannot be read is named. The record itself, which says what was taken down, is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from corpus.engine import Engine
from corpus.errors import ProofFailed
from corpus.manifest import Json
from corpus.progress import Reporter, advance
from corpus.removals import RECORD, WINDOWS
from corpus.searcher import Searcher, Sought
from corpus.store_files import Unreadable, read_parts

KINDS = ("id", "author", "link", "text")
MAX_NAMED = 20
NUM_CHUNKS = 16


class Found(NamedTuple):
    """What a search came upon: hits by kind and file; texts and bytes that were searched."""

    hits: dict[str, Counter[str]]
    num_texts: int
    num_bytes: int
    unread: list[str]


def search_store(
    store: Path,
    sought: Sought,
    *,
    engine: Engine,
    reporter: Reporter,
    folders: Sequence[Path] | None = None,
) -> Json:
    """Search every file of a store, or of some folders in it.

    Returns:
        `files`, `texts` and `bytes` searched; `hits` by kind; `by_file`: those of the first files
        that have any; `unread`: files that cannot be read; `compared`: as `text`, or where not all
        texts are at hand by `digest`, too.
    """
    paths = sorted(_list_files(store, folders))
    chunks = [paths[number::NUM_CHUNKS] for number in range(min(NUM_CHUNKS, len(paths)))]
    total = sum(path.stat().st_size for path in paths)
    with reporter.bar("prove", total, "bytes"):
        parts = engine.map(partial(_search_files, store, sought), chunks)
    hits = {name: one for part in parts for name, one in part.hits.items()}
    totals = sum(hits.values(), Counter[str]())
    return {
        "files": len(paths),
        "texts": sum(part.num_texts for part in parts),
        "bytes": sum(part.num_bytes for part in parts),
        "hits": {kind: totals[kind] for kind in KINDS},
        "by_file": {name: dict(hits[name]) for name in sorted(hits)[:MAX_NAMED]},
        "unread": sorted(name for part in parts for name in part.unread),
        "compared": "digest" if Searcher(sought).needs_digests else "text",
    }


def check_found(found: Json) -> None:
    """Raise ProofFailed, naming the files, where a search came upon anything."""
    if num := sum(found["hits"].values()):
        files = ", ".join(found["by_file"])
        kinds = ", ".join(f"{count:,} by {kind}" for kind, count in found["hits"].items() if count)
        raise ProofFailed(
            f"{num:,} hits of what was taken down are left ({kinds}), in {files}; nothing of this "
            "store may be published: run the same command again, and report it if this stays"
        )


def check_searcher(sought: Sought) -> None:
    """Raise ProofFailed unless the search finds each name, and a text, that is planted."""
    searcher = Searcher(sought)
    for name in sought.names:
        planted = {
            "post": f"see https://{name.site}/questions/{name.id}/title and {name.site}/{name.id}",
            "comment": f"https://{name.site}/posts/comments/{name.id}",
            "user": f"https://{name.site}/users/{name.id}/name",
        }
        if not searcher.search(planted[name.kind], name.site):
            raise ProofFailed(f"the search does not find {name} where it was planted; report this")
    for text in sought.texts[:MAX_NAMED]:
        if searcher.is_own(text) and not searcher.search(f"before\n{text}\nafter", None)["text"]:
            raise ProofFailed("the search does not find a text where it was planted; report this")


def _list_files(store: Path, folders: Sequence[Path] | None) -> Iterator[Path]:
    for folder in [store] if folders is None else folders:
        for path in folder.rglob("*"):
            if path.is_file() and not (path.parent == store and _is_record(path)):
                yield path


def _is_record(path: Path) -> bool:
    return path.name.startswith(RECORD) or path.match(WINDOWS)


def _search_files(store: Path, sought: Sought, paths: Sequence[Path]) -> Found:
    searcher = Searcher(sought)
    found = Found({}, 0, 0, [])
    for path in paths:
        name = path.relative_to(store).as_posix()
        site = next(
            (part for part in path.relative_to(store).parts if part in searcher.sites), None
        )
        site = site or next((one for one in searcher.sites if path.name.startswith(one)), None)
        hits, num_texts = searcher.search(f" {name}", None), 0
        try:
            for texts, ids in read_parts(path, store, site, searcher):
                num_texts += len(texts)
                hits += ids + searcher.search("\0 ".join(texts), site)
        except Unreadable:
            found.unread.append(name)
        if hits:
            found.hits[name] = hits
        num_bytes = path.stat().st_size
        advance(num_bytes)
        found = found._replace(
            num_texts=found.num_texts + num_texts, num_bytes=found.num_bytes + num_bytes
        )
    return found
