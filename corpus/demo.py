"""Write the sample dump: two invented sites, in exactly the form of a real dump.

`make demo` builds this dump, the README shows it, and most tests run on it. The posts are in
`corpus.demo_gardens` and `corpus.demo_homelab`; this module gives them the form of the five tables
that the pipeline reads, `<folder>/<site>/{Posts,Comments,PostHistory,PostLinks,Users}.xml`:

    encoding     UTF-8 with a byte order mark; CRLF between lines, none after the last
    rows         two spaces and `<row Name="value" ... />`, attributes in the order of real dumps
    escapes      `&lt; &gt; &quot; &amp; &#xA; &#xD;` as .NET writes them; TABs stay TABs
    forbidden    one character that XML 1.0 forbids, as a reference (`&#x0E;`) that it forbids too

The same bytes on every run. What the tables hold is also counted here, from the posts and not
from the XML, for the tests of the pipeline to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from corpus.demo_gardens import GARDENS
from corpus.demo_homelab import HOMELAB
from corpus.demo_posts import Site, closed_at, has_date, is_fabricated
from corpus.demo_tables import Row, rows_by_table

SITES = (GARDENS, HOMELAB)

# What deduplication should find among all documents, and nothing else: no other two texts are
# alike (word 5-gram Jaccard below 0.1, `tests/corpus/test_demo.py`).
EXACT_PAIR = ("homelab.example.org/89", "homelab.example.org/151")
NEAR_PAIRS = (
    ("homelab.example.org/223", "homelab.example.org/241"),
    ("gardens.example.org/301", "homelab.example.org/290"),
)
# Each is like the next, but the first is not like the last.
CHAIN = ("gardens.example.org/104", "gardens.example.org/132", "gardens.example.org/196")

KINDS = {
    1: "question",
    2: "answer",
    3: "orphaned_tag_wiki",
    4: "tag_wiki_excerpt",
    5: "tag_wiki",
    6: "moderator_nomination",
    7: "wiki_placeholder",
}

_FORBIDDEN = [chr(code) for code in range(0x20) if chr(code) not in "\t\n\r"]
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#xA;", "\r": "&#xD;"}
    | {character: f"&#x{ord(character):02X};" for character in _FORBIDDEN}
)
_LICENCE_COMMENT = (
    "<!--",
    "  Sample data of an invented site; no person or place in it is real.",
    "  Written in the form of a public dump, whose text is licensed row by row",
    "  under CC BY-SA 2.5, 3.0 or 4.0: see the attribute ContentLicense.",
    "-->",
)


def write_demo_dump(folder: Path) -> None:
    """Write the sample dump, one folder a site, into `folder`.

    Args:
        folder: made if it is not there; files of the same names are overwritten.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_demo_dump(Path(name))
    ...     sorted(path.name for path in Path(name, "gardens.example.org").iterdir())
    ['Comments.xml', 'PostHistory.xml', 'PostLinks.xml', 'Posts.xml', 'Users.xml']
    """
    for site in SITES:
        write_site(folder / site.name, site)


def write_site(folder: Path, site: Site) -> None:
    """Write the five tables of a site into `folder`, made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    heading = _LICENCE_COMMENT if site.is_recent else ()
    for table, rows in rows_by_table(site).items():
        text = _table_xml(table.lower(), heading, rows)
        (folder / f"{table}.xml").write_bytes(text.encode("utf-8-sig"))


def demo_counts() -> dict[str, dict[str, int]]:
    """Count by site what the tables of the sample dump hold.

    Returns:
        By site and then by name: the rows that can be used of each table (`posts`, `comments`,
        `history`, `links`, `users`), the posts among them by kind (`question`, `answer`, ...)
        and by oddity (`accepted`, `closed`, `bots`, `fabricated`, `orphans`), and the rows to be
        rejected (`posts_quarantined`, `comments_quarantined`) or repaired (`posts_repaired`,
        `history_repaired`). Bots, fabricated posts and orphans are counted among the posts.

    >>> demo_counts()["homelab.example.org"]["fabricated"]
    2
    """
    return {site.name: _counts(site) for site in SITES}


def _counts(site: Site) -> dict[str, int]:
    posts = [post for post in site.posts if has_date(post.at)]
    comments = [comment for post in site.posts for comment in post.comments]
    usable_comments = [comment for comment in comments if has_date(comment.at)]
    history = rows_by_table(site)["PostHistory"]
    ids = {post.post_id for post in posts}
    return {
        "posts": len(posts),
        "comments": len(usable_comments),
        "history": len(history),
        "links": len(site.links),
        "users": len(site.users),
        **{name: sum(post.kind == kind for post in posts) for kind, name in KINDS.items()},
        "accepted": sum(post.accepted is not None for post in posts),
        "closed": sum(closed_at(post) is not None for post in posts),
        "bots": sum(post.by == -2 for post in posts),
        "fabricated": sum(is_fabricated(post) for post in posts),
        "orphans": sum(post.parent not in ids for post in posts if post.kind == 2),
        "empty_comments": sum(not comment.text for comment in usable_comments),
        "duplicate_links": sum(link.kind == 3 for link in site.links),
        "dangling_links": sum(not {link.post, link.related} <= ids for link in site.links),
        "posts_quarantined": len(site.posts) - len(posts),
        "comments_quarantined": len(comments) - len(usable_comments),
        "posts_repaired": sum(_is_repaired(post.body) for post in posts),
        "history_repaired": sum(_is_repaired(str(row["Text"])) for row in history),
    }


def _is_repaired(text: str) -> bool:
    return any(character in text for character in _FORBIDDEN)


def _table_xml(root: str, heading: Iterable[str], rows: Iterable[Row]) -> str:
    lines = [_row_xml(row) for row in rows]
    declaration = '<?xml version="1.0" encoding="utf-8"?>'
    return "\r\n".join([declaration, *heading, f"<{root}>", *lines, f"</{root}>"])


def _row_xml(row: Row) -> str:
    present = {name: str(value) for name, value in row.items() if value is not None}
    return "  <row " + "".join(f'{k}="{v.translate(_ESCAPES)}" ' for k, v in present.items()) + "/>"
