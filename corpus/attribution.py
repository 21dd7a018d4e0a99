"""Who wrote a text, and under which licence: what CC BY-SA asks a copy to say.

Each answer comes with its source, the first of these that is known:

    author     users    the name that the Users table has for the row's user id
               row      the name in the row, which deleted users leave behind
               id       neither; the name is then what sites give by default, `user<id>`
               deleted  no id and no name; the name is then "deleted user"
    licence    row      the row states it (dumps since mid-2020)
               history  posts: the last revision of title or body states it, or its date tells
               dates    posts: by the later of creation and last edit; comments: by creation

Edits by user -1 (in bulk, June 2020) renew no licence, nor do edits of tags: ten posts of
datascience.meta of which only tags were edited since 2018-05-02 still state 3.0 in 2024. So history
gives what posts state for 420 of 420 (with tags: 7,168 of 7,178 in more dumps), the dates alone for
11,783 of 12,047.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.licences import licences_at

AUTHOR_SOURCES = ("users", "row", "id", "deleted")
DELETED_USER = "deleted user"
COMMUNITY_USER = -1
# PostHistoryTypeId of the first title and body, and of their edits and rollbacks.
FIRST_REVISIONS, EDITS = (1, 2), (4, 5, 7, 8)
_NO_ID = np.iinfo("i8").min

REVISION_COLUMNS = ("id", "post_id", "post_history_type_id", "created_at", "user_id", "licence")


class UserNames(NamedTuple):
    """The people of one site: user ids (int64, ascending) and the display name of each."""

    ids: np.ndarray[Any, Any]
    names: pa.Array


class Credits(NamedTuple):
    """The authors of some rows: user id and profile link (null without an id), name, source."""

    ids: pa.Array
    names: pa.Array
    links: pa.Array
    sources: pa.Array


class Licences(NamedTuple):
    """The licences of some rows, and how each is known: one of `licences.LICENCE_SOURCES`."""

    names: pa.Array
    sources: pa.Array


def credit(
    site: str, user_ids: pa.ChunkedArray, display_names: pa.ChunkedArray, users: UserNames
) -> Credits:
    """Credit the author of each row, given the user id and the name that the rows have, or null.

    >>> ids, names = pa.array([7, 8, None]), pa.array([None, None, "user12"])
    >>> found = credit("x.org", ids, names, UserNames(np.array([7]), pa.array(["Ada"])))
    >>> found.names.to_pylist(), found.links[0].as_py(), found.sources.to_pylist()
    (['Ada', 'user8', 'user12'], 'https://x.org/users/7', ['users', 'id', 'row'])
    """
    names, sources = _first_known(
        {
            "users": look_up(user_ids, users),
            "row": _without_empty(display_names),
            "id": _default_names(user_ids),
            "deleted": pa.scalar(DELETED_USER),
        }
    )
    links = pc.binary_join_element_wise(f"https://{site}/users", user_ids.cast(pa.string()), "/")
    return Credits(user_ids, names, links, sources)


def post_link(site: str, kind: str, post_id: int) -> str:
    """Return where a post is read; what has no page of its own is read on that of its revisions.

    >>> post_link("x.org", "answer", 7), post_link("x.org", "tag_wiki", 8)
    ('https://x.org/a/7', 'https://x.org/posts/8/revisions')
    """
    if kind == "question":
        return f"https://{site}/q/{post_id}"
    if kind == "answer":
        return f"https://{site}/a/{post_id}"
    return f"https://{site}/posts/{post_id}/revisions"


def comment_licences(comments: pa.Table) -> Licences:
    """Return the licence of each comment, given columns licence and created_at."""
    known = {
        "row": _without_empty(comments["licence"]),
        "dates": licences_at(comments["created_at"]),
    }
    return Licences(*_first_known(known))


def post_licences(posts: pa.Table, history: pa.Table | None) -> Licences:
    """Return the licence of each post.

    Args:
        posts: columns id, licence, created_at, edited_at.
        history: REVISION_COLUMNS, all rows of these posts; None where the site has no PostHistory.
    """
    known = {"row": _without_empty(posts["licence"])}
    if history is not None:
        revisions = _last_revisions(history)
        places = pc.index_in(posts["id"], value_set=revisions["post_id"])
        known["history"] = comment_licences(revisions).names.take(places)
    dates = [posts[column].cast(pa.int64()) for column in ("created_at", "edited_at")]
    known["dates"] = licences_at(pc.max_element_wise(*dates))
    return Licences(*_first_known(known))


def _first_known(choices: Mapping[str, Any]) -> tuple[pa.Array, pa.Array]:
    """Return for each row the first value that is not null, and the key it was found under."""
    keys = [pc.if_else(pc.is_valid(values), key, None) for key, values in choices.items()]
    return pc.coalesce(*choices.values()), pc.coalesce(*keys)


def _without_empty(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(texts, ""), None, texts)


def look_up(user_ids: pa.ChunkedArray, users: UserNames) -> pa.Array:
    """Return the display name of each user; null where the Users table has none."""
    wanted = pc.fill_null(user_ids, _NO_ID).to_numpy()
    places = np.searchsorted(users.ids, wanted)
    is_there = places < len(users.ids)
    is_there[is_there] = users.ids[places[is_there]] == wanted[is_there]
    return _without_empty(users.names.take(pa.array(places, mask=~is_there)).cast(pa.string()))


def _default_names(user_ids: pa.ChunkedArray) -> pa.Array:
    """Return the names that sites show for people who gave none; null without an id."""
    names = pc.binary_join_element_wise("user", user_ids.cast(pa.string()), "")
    return pc.if_else(pc.equal(user_ids, COMMUNITY_USER), "Community", names)


def _last_revisions(history: pa.Table) -> pa.Table:
    """Return the revision that gives each post its licence, for those that have one."""
    kinds = history["post_history_type_id"]
    is_by_people = pc.fill_null(pc.not_equal(history["user_id"], COMMUNITY_USER), True)
    is_edit = pc.and_(pc.is_in(kinds, pa.array(EDITS, pa.int32())), is_by_people)
    is_first = pc.is_in(kinds, pa.array(FIRST_REVISIONS, pa.int32()))
    revisions = history.filter(pc.or_(is_first, is_edit))
    order = [("post_id", "ascending"), ("created_at", "descending"), ("id", "descending")]
    revisions = revisions.take(pc.sort_indices(revisions, order))
    return revisions.take(
        pa.array(np.unique(revisions["post_id"].to_numpy(), return_index=True)[1])
    )
