"""The rows of the sample dump: what the five tables of a dump hold for each post.

Owns what a dump derives from posts: counts, dates of the last edit and of closing, licences,
the numbering of comments, links and history, and the Markdown of a revision. Refuses to know the
posts themselves (`corpus.demo_gardens`, `corpus.demo_homelab`) and XML (`corpus.demo`).
"""

from __future__ import annotations

import html
import re
import textwrap
import uuid

from corpus.demo_posts import (
    Author,
    Comment,
    Event,
    Post,
    Site,
    closed_at,
    has_date,
    is_fabricated,
)

Row = dict[str, str | int | None]

_LICENCES = (("2018-05-02", "CC BY-SA 4.0"), ("2011-04-08", "CC BY-SA 3.0"), ("", "CC BY-SA 2.5"))
_EDITS = range(4, 10)  # history kinds: edits of title, body, tags, and their rollbacks
_LICENSED_EVENTS = (*range(1, 10), 24)

_MARKDOWN = (
    # Since 2020 blocks are rendered without a blank line between them.
    (r"(</(?:p|div|blockquote)>|-->)\n(?=<|$)", r"\1\n\n"),
    (r"<blockquote>\s*(?:<p>)?", "> "),
    (r"</blockquote>\n?|</?p>|</?[ou]l>\n?|</li>", ""),
    (r"<li>", "- "),
    (r"</?code>", "`"),
    (r"</?em>", "*"),
    (r"</?strong>", "**"),
    (r"<h2>(.*?)</h2>", r"## \1"),
    (r"<h3>(.*?)</h3>", r"### \1"),
    (r'<a href="([^"]*)"[^>]*>(.*?)</a>', r"[\2](\1)"),
    (r"\n{3,}", "\n\n"),
)


def rows_by_table(site: Site) -> dict[str, list[Row]]:
    """Make the rows of the five tables of a site, in the order in which its dump has them.

    Returns:
        By table (`Posts`, `Comments`, `PostHistory`, `PostLinks`, `Users`) its rows: attributes in
        the order of the real dumps, None for one that the row does not have. A fabricated post,
        and one without a date, has no history.
    """
    rows = {
        "Posts": [_post_row(site, post) for post in site.posts],
        "Comments": _comment_rows(site),
        "PostHistory": _history_rows(site),
        "PostLinks": _link_rows(site),
        "Users": _user_rows(site),
    }
    if site.is_recent:
        return rows
    return {table: sorted(rows[table], key=_row_id) for table in rows}


def _row_id(row: Row) -> int:
    return int(row["Id"] or 0)


def _numbered(rows: list[Row], step: int) -> list[Row]:
    """Give each row an Id that rises with its date; the numbers between belong to lost rows."""
    order = sorted(range(len(rows)), key=lambda index: str(rows[index]["CreationDate"]))
    id_by_index = {index: 1 + rank * step for rank, index in enumerate(order)}
    return [{"Id": id_by_index[index], **row} for index, row in enumerate(rows)]


def _post_row(site: Site, post: Post) -> Row:
    is_question = post.kind == 1
    answers = [other for other in site.posts if other.parent == post.post_id]
    edits = [event for event in post.events if event.kind in _EDITS]
    dates = [post.at, *(event.at for event in edits), *(a.at for a in answers if has_date(a.at))]
    wiki = [event.at for event in post.events if event.kind == 16]
    return {
        "Id": post.post_id,
        "PostTypeId": post.kind,
        "AcceptedAnswerId": post.accepted,
        "ParentId": post.parent,
        "CreationDate": post.at,
        "Score": post.score,
        "ViewCount": post.views,
        "Body": post.body,
        **_author("OwnerUserId", "OwnerDisplayName", post.by),
        **_author("LastEditorUserId", "LastEditorDisplayName", edits[-1].by if edits else None),
        "LastEditDate": edits[-1].at if edits else None,
        "LastActivityDate": max(dates),
        "Title": post.title,
        "Tags": _tags(post, site.is_recent) if is_question else None,
        "AnswerCount": len(answers) if is_question else None,
        "CommentCount": len(post.comments),
        "ClosedDate": closed_at(post),
        "CommunityOwnedDate": wiki[0] if wiki else None,
        "ContentLicense": _post_licence(post) if site.is_recent else None,
    }


def _comment_rows(site: Site) -> list[Row]:
    rows = [_comment_row(site, post, each) for post in site.posts for each in post.comments]
    return _numbered(rows, step=3)


def _comment_row(site: Site, post: Post, comment: Comment) -> Row:
    return {
        "PostId": post.post_id,
        "Score": comment.score,
        "Text": comment.text,
        "CreationDate": comment.at,
        **_author("UserId", "UserDisplayName", comment.by),
        "ContentLicense": _licence(comment.at) if site.is_recent else None,
    }


def _history_rows(site: Site) -> list[Row]:
    posts = [post for post in site.posts if has_date(post.at) and not is_fabricated(post)]
    events = [(post, event) for post in posts for event in [*_first_revision(post), *post.events]]
    return _numbered([_history_row(site, post, event) for post, event in events], step=1)


def _first_revision(post: Post) -> list[Event]:
    body = post.first_body or _markdown(post.body)
    first = [Event(2, post.at, post.by, text=body)]
    if post.kind == 1:
        first.append(Event(1, post.at, post.by, text=post.first_title or post.title))
        first.append(Event(3, post.at, post.by, text=_tags(post, is_recent=False)))
    return first


def _history_row(site: Site, post: Post, event: Event) -> Row:
    text = event.text
    if text is None and event.kind in _EDITS:
        text = post.title if event.kind == 4 else _markdown(post.body)
    is_licensed = site.is_recent and event.kind in _LICENSED_EVENTS
    return {
        "PostHistoryTypeId": event.kind,
        "PostId": post.post_id,
        "RevisionGUID": _revision(site, post, event),
        "CreationDate": event.at,
        **_author("UserId", "UserDisplayName", event.by),
        "Comment": event.note,
        "Text": None if text is None else text.replace("\n", "\r\n"),
        "ContentLicense": _licence(event.at) if is_licensed else None,
    }


def _revision(site: Site, post: Post, event: Event) -> str:
    """Name a revision: the rows of one post and one moment are one revision."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{site.name}/{post.post_id}/{event.at}"))


def _link_rows(site: Site) -> list[Row]:
    rows: list[Row] = [
        {
            "CreationDate": link.at,
            "PostId": link.post,
            "RelatedPostId": link.related,
            "LinkTypeId": link.kind,
        }
        for link in site.links
    ]
    return _numbered(rows, step=7)


def _user_rows(site: Site) -> list[Row]:
    return [
        {
            "Id": user.user_id,
            "Reputation": 101,
            "CreationDate": user.at,
            "DisplayName": user.name,
            "LastAccessDate": site.dumped_at,
            **{name: user.private.get(name) for name in ("WebsiteUrl", "Location", "AboutMe")},
            "Views": 0,
            "UpVotes": 0,
            "DownVotes": 0,
            "EmailHash": user.private.get("EmailHash"),
            "Age": user.private.get("Age"),
            "AccountId": user.user_id,
        }
        for user in site.users
    ]


def _author(id_name: str, display_name: str, author: Author) -> Row:
    return {
        id_name: author if isinstance(author, int) else None,
        display_name: author if isinstance(author, str) else None,
    }


def _tags(post: Post, is_recent: bool) -> str:
    if is_recent:
        return f"|{'|'.join(post.tags)}|"
    return "".join(f"<{tag}>" for tag in post.tags)


def _licence(at: str) -> str:
    return next(licence for since, licence in _LICENCES if at >= since)


def _post_licence(post: Post) -> str:
    """Choose the licence by the last edit, of which a bulk edit (user -1) is none."""
    edits = [event.at for event in post.events if event.kind in _EDITS and event.by != -1]
    return _licence(max([post.at, *edits]))


def _markdown(body: str) -> str:
    """Write a body as its author may have typed it.

    Markdown may hold HTML, so whatever is not translated here stays as it is; lists lose their
    nesting, as in many first drafts.

    >>> _markdown("<p>Use <code>dd</code>:</p>\\n<pre><code>dd if=a\\n</code></pre>\\n<p>Done.</p>")
    'Use `dd`:\\n\\n    dd if=a\\n\\nDone.'
    """
    parts = re.split(r"<pre[^>]*><code>(.*?)</code></pre>\n+", body, flags=re.DOTALL)
    parts[1::2] = [textwrap.indent(code.rstrip("\n"), "    ") + "\n\n" for code in parts[1::2]]
    for pattern, replacement in _MARKDOWN:
        parts[::2] = [re.sub(pattern, replacement, prose) for prose in parts[::2]]
    return html.unescape("".join(parts)).strip()
