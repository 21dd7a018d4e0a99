"""What documents say of posts and of comments beside their texts: columns, one row each.

Owns the columns that are not the dump's own; works on whole columns, never on rows.

    tags          of an answer: those of its question
    is_accepted   of an answer whose question is in the dump; else null
    duplicate_of  the posts that people marked this one a duplicate of, by id
    editor_*      the last editor; null where nobody edited
    comments      the page of one is `https://<site>/posts/comments/<comment_id>`
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import UserNames, comment_licences, credit, post_licences, post_link
from corpus.selection import kinds_of

DUPLICATE_LINK = 3
COMMENT_SCHEMA = pa.schema(
    [
        ("comment_id", pa.int64()),
        ("created_at", pa.timestamp("ms", "UTC")),
        ("score", pa.int32()),
        ("author_id", pa.int64()),
        ("author_name", pa.string()),
        ("author_link", pa.string()),
        ("licence", pa.string()),
        ("licence_source", pa.string()),
    ]
)


def describe_posts(
    site: str, posts: pa.Table, links: pa.Table, history: pa.Table | None, users: UserNames
) -> pa.Table:
    """Describe the posts of a partition.

    Args:
        site: the site's name.
        posts: columns as in `posts.POSTS_SCHEMA`; whole threads.
        links: columns post_id, related_post_id, link_type_id.
        history: columns `attribution.REVISION_COLUMNS`; None where the site has no PostHistory.
        users: the site's.

    Returns:
        The columns of documents but those of their layouts and comments; a row a post.
    """
    kinds, ids = kinds_of(posts), posts["id"].to_pylist()
    question = pc.index_in(posts["thread_id"], posts["id"])
    author = credit(site, posts["owner_user_id"], posts["owner_display_name"], users)
    editor = credit(site, posts["last_editor_user_id"], posts["last_editor_display_name"], users)
    # In avp.meta 2014-09, post 127 has an editor and no date.
    was_edited = pc.or_(pc.is_valid(posts["edited_at"]), pc.not_equal(editor.sources, "deleted"))
    licences = post_licences(posts, history)
    columns = {
        "doc_id": [f"{site}/{post_id}" for post_id in ids],
        "site": pa.repeat(site, len(ids)),
        "post_id": posts["id"],
        "thread_id": posts["thread_id"],
        "kind": kinds,
        "tags": _tags(posts, question),
        "score": posts["score"],
        "is_accepted": _is_accepted(posts, kinds, question),
        "duplicate_of": _duplicates(links, ids),
        "created_at": posts["created_at"],
        "edited_at": posts["edited_at"],
        "closed_at": posts["closed_at"],
        "community_owned_at": posts["community_owned_at"],
        "author_id": author.ids,
        "author_name": author.names,
        "author_link": author.links,
        "author_source": author.sources,
        "editor_id": pc.if_else(was_edited, editor.ids, None),
        "editor_name": pc.if_else(was_edited, editor.names, None),
        "link": [post_link(site, *one) for one in zip(kinds.to_pylist(), ids, strict=True)],
        "licence": licences.names,
        "licence_source": licences.sources,
    }
    return pa.table(columns)


def describe_comments(site: str, comments: pa.Table, users: UserNames) -> pa.Table:
    """Describe comments, given columns as in `rows.SCHEMAS`; columns: COMMENT_SCHEMA."""
    author = credit(site, comments["user_id"], comments["user_display_name"], users)
    columns = [
        *(comments[column] for column in ("id", "created_at", "score")),
        *(author.ids, author.names, author.links),
        *comment_licences(comments),
    ]
    return pa.table(columns, schema=COMMENT_SCHEMA)


def _tags(posts: pa.Table, question: pa.ChunkedArray) -> pa.ChunkedArray:
    has_tags = pc.greater(pc.fill_null(pc.list_value_length(posts["tags"]), 0), 0)
    source = pc.if_else(has_tags, pa.array(range(len(posts)), pa.int32()), question)
    return pc.coalesce(posts["tags"].take(source), pa.scalar([], posts["tags"].type))


def _is_accepted(posts: pa.Table, kinds: pa.Array, question: pa.ChunkedArray) -> pa.ChunkedArray:
    accepted = pc.equal(posts["accepted_answer_id"].take(question), posts["id"])
    is_known = pc.and_(pc.equal(kinds, "answer"), pc.is_valid(question))
    return pc.if_else(is_known, pc.fill_null(accepted, False), None)


def _duplicates(links: pa.Table, post_ids: list[int]) -> list[list[int]]:
    links = links.filter(pc.equal(links["link_type_id"], DUPLICATE_LINK))
    pairs = zip(links["post_id"].to_pylist(), links["related_post_id"].to_pylist(), strict=True)
    originals: dict[int, list[int]] = {}
    for post_id, related_post_id in sorted(set(pairs)):
        originals.setdefault(post_id, []).append(related_post_id)
    return [originals.get(post_id, []) for post_id in post_ids]
