"""What annotators are shown of an answer, and what is kept from them.

    content    the question, the answer as it was before it was given away, its comments, all its
               revisions, the other answers; times in ISO 8601 with Z; each with author and licence
    hidden     stratum, probability, signals and votes; and what examples are made of later

`text_at` is the last millisecond that the answer's text knows of. Comments and revisions may be
newer: people judge with all that the dump knows, models with that text alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import REVISION_COLUMNS, UserNames, credit
from corpus.description import describe_comments, describe_posts
from corpus.layout import lay_out
from corpus.licences import licence_at
from corpus.manifest import Json
from corpus.rows import SCHEMAS
from labeling.canonical import canonicalise, is_rendered
from labeling.markdown import dialect_at, render_markdown
from labeling.revisions import TYPES_BY_PART, find_events, find_revisions

EXCERPT_CHARS = 300
KIND_BY_TYPE = dict(zip(TYPES_BY_PART["body"], ("created", "edited", "rolled_back"), strict=True))


class Thread(NamedTuple):
    """Tables of one partition, of the threads that are shown; `posts` are described as well."""

    site: str
    dump_at: datetime
    posts: list[Json]
    comments: dict[int, list[Json]]
    history: dict[int, list[Json]]


def read_threads(
    site: str,
    dump_at: datetime,
    tables: Mapping[str, pa.Table],
    thread_ids: pa.Array,
    users: UserNames,
) -> Thread:
    """Describe the posts of some threads, their comments and the revisions of their bodies.

    Args:
        site: the site's name.
        dump_at: what the dump knows up to.
        tables: Posts, Comments and PostHistory of the partition.
        thread_ids: those that are shown.
        users: the site's.
    """
    posts = tables["Posts"].filter(pc.is_in(tables["Posts"]["thread_id"], thread_ids))
    ids = posts["id"].combine_chunks()
    comments, history = (
        tables[name].filter(pc.is_in(tables[name]["post_id"], ids))
        for name in ("Comments", "PostHistory")
    )
    links = SCHEMAS["PostLinks"].empty_table()
    described = describe_posts(site, posts, links, history.select(list(REVISION_COLUMNS)), users)
    for column in ("title", "body", "parent_id"):
        described = described.append_column(column, posts[column])
    return Thread(
        site,
        dump_at,
        described.to_pylist(),
        _group_comments(site, comments, users),
        _group_revisions(site, history, users),
    )


def make_items(candidates: pa.Table, history: pa.Table, thread: Thread) -> Iterator[Json]:
    """Yield the item of each candidate whose text is not empty once it is laid out.

    Args:
        candidates: columns as `items` writes them, and inclusion_probability; `votes` as a struct.
        history: PostHistory of the partition.
        thread: all threads of the candidates.
    """
    bounds = candidates["text_at"].combine_chunks()
    texts = find_revisions(history, candidates["post_id"].to_numpy(), bounds)
    posts = {post["post_id"]: post for post in thread.posts}
    for row, revision in zip(candidates.to_pylist(), texts.to_pylist(), strict=True):
        answer = posts[row["post_id"]]
        question = posts[answer["parent_id"]]
        shown = _show_answer(answer, revision)
        if shown["text"]:
            yield {
                "item_id": f"{thread.site}/{row['post_id']}",
                "content": _show(thread, question, shown, row, revision["at"]),
                "hidden": _hide(thread, answer, row, revision),
            }


def format_time(at: datetime) -> str:
    """Return a UTC time in ISO 8601 with milliseconds and Z.

    >>> format_time(datetime(2020, 1, 2, tzinfo=UTC))
    '2020-01-02T00:00:00.000Z'
    """
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _show(thread: Thread, question: Json, shown: Json, row: Json, revised_at: datetime) -> Json:
    post_id = shown["post_id"]
    others = [
        _show_other(post)
        for post in thread.posts
        if post["parent_id"] == question["post_id"] and post["post_id"] != post_id
    ]
    return {
        "site": thread.site,
        "link": shown["link"],
        "text_at": format_time(_text_at(row, revised_at, thread.dump_at)),
        "judged_at": format_time(thread.dump_at),
        "question": _show_question(question),
        "answer": shown,
        "comments": thread.comments.get(post_id, []),
        "history": thread.history.get(post_id, []),
        "answers": others,
    }


def _text_at(row: Json, revised_at: datetime, dump_at: datetime) -> datetime:
    # Posts and comments say up to when the dump knows; an edit may be a little newer than they.
    latest = max(dump_at, revised_at)
    return row["text_at"] - timedelta(milliseconds=1) if row["text_at"] else latest


def _show_question(post: Json) -> Json:
    return {
        "title": post["title"] or "",
        "html": post["body"] or "",
        "tags": post["tags"],
        "score": post["score"] or 0,
        "author": post["author_name"],
        "author_link": post["author_link"],
        "created_at": format_time(post["created_at"]),
        "link": post["link"],
        "licence": post["licence"],
    }


def _show_answer(post: Json, revision: Json) -> Json:
    markdown = revision["body"]
    dialect = dialect_at(revision["at"])
    layout = canonicalise(None, markdown, dialect=dialect)
    names = ("kind", "start", "end", "language")
    return {
        "post_id": post["post_id"],
        "html": markdown if is_rendered(markdown) else render_markdown(markdown, dialect),
        "text": layout.text,
        "segments": [dict(zip(names, segment[:4], strict=True)) for segment in layout.segments],
        "inline_code": [list(span) for span in layout.inline_code],
        "score": post["score"] or 0,
        "is_accepted": bool(post["is_accepted"]),
        "author": post["author_name"],
        "author_link": post["author_link"],
        "created_at": format_time(post["created_at"]),
        "link": post["link"],
        "licence": revision["licence"] or licence_at(revision["at"]),
    }


def _show_other(post: Json) -> Json:
    text = " ".join(lay_out(None, post["body"], ()).text.split())
    return {
        "post_id": post["post_id"],
        "created_at": format_time(post["created_at"]),
        "score": post["score"] or 0,
        "is_accepted": bool(post["is_accepted"]),
        "author": post["author_name"],
        "author_link": post["author_link"],
        "link": post["link"],
        "licence": post["licence"],
        "excerpt": text[:EXCERPT_CHARS],
    }


def _hide(thread: Thread, answer: Json, row: Json, revision: Json) -> Json:
    others = [post for post in thread.posts if post["parent_id"] == answer["parent_id"]]
    revisions = thread.history.get(row["post_id"], [])
    return {
        "stratum": row["stratum"],
        "inclusion_probability": row["inclusion_probability"],
        "votes": row["votes"],
        "signals": [{**one, "at": format_time(one["at"])} for one in row["signals"]],
        "group": row["group"],
        "split": row["split"],
        "thread_id": row["thread_id"],
        "input_at": format_time(revision["at"]),
        "label_at": format_time(row["text_at"]) if row["text_at"] else None,
        "author_id": answer["author_id"],
        "licence_source": "row" if revision["licence"] else "dates",
        "markdown": revision["body"],
        "metadata": {
            "score": answer["score"] or 0,
            "is_accepted": int(bool(answer["is_accepted"])),
            "num_answers": len(others),
            "num_comments": len(thread.comments.get(row["post_id"], [])),
            "num_revisions": len(revisions),
            "age_days": (thread.dump_at - answer["created_at"]).days,
        },
    }


def _group_comments(site: str, comments: pa.Table, users: UserNames) -> dict[int, list[Json]]:
    comments = comments.sort_by([(key, "ascending") for key in ("post_id", "created_at", "id")])
    described = describe_comments(site, comments, users).to_pylist()
    found: dict[int, list[Json]] = {}
    columns = (comments["post_id"].to_pylist(), comments["text"].to_pylist())
    for post_id, text, row in zip(*columns, described, strict=True):
        shown = {
            "comment_id": row["comment_id"],
            "created_at": format_time(row["created_at"]),
            "author": row["author_name"],
            "author_link": row["author_link"],
            "text": text or "",
            "score": row["score"] or 0,
            "licence": row["licence"],
        }
        found.setdefault(post_id, []).append(shown)
    return found


def _group_revisions(site: str, history: pa.Table, users: UserNames) -> dict[int, list[Json]]:
    events = find_events(history, TYPES_BY_PART["body"])
    authors = credit(site, events["user_id"], events["user_display_name"], users)
    found: dict[int, list[Json]] = {}
    names = zip(authors.names.to_pylist(), authors.links.to_pylist(), strict=True)
    for row, (author, author_link) in zip(events.to_pylist(), names, strict=True):
        shown = {
            "revision_id": row["id"],
            "at": format_time(row["created_at"]),
            "author": author,
            "author_link": author_link,
            "kind": KIND_BY_TYPE[row["post_history_type_id"]],
            "comment": row["comment"] or "",
            "markdown": (row["text"] or "").replace("\r\n", "\n"),
            "licence": row["licence"] or licence_at(row["created_at"]),
        }
        found.setdefault(row["post_id"], []).append(shown)
    return found
