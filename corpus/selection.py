"""Which posts and comments go into documents; each of the others has one reason.

A post is refused for the first reason that holds, in the order of REJECT_REASONS. Bots and planted
posts come before what the recipe wants of the rest, so their counts do not depend on that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import COMMUNITY_USER
from corpus.recipe import DocumentsSection

KIND_BY_POST_TYPE = {
    1: "question",
    2: "answer",
    3: "orphaned_tag_wiki",
    4: "tag_wiki_excerpt",
    5: "tag_wiki",
    6: "moderator_nomination",
    7: "wiki_placeholder",
    8: "privilege_wiki",
}
REJECT_REASONS = (
    "bot",  # by the answer bot
    "fabricated",  # planted in a dump
    "kind",  # not a kind the recipe wants; written as kind:<kind>
    "score",  # below the recipe's min_score
    "few_comments",  # fewer usable ones than the recipe's min_comments
    "empty",  # no text
    "post_missing",  # a comment whose post is not in the dump
    "post_rejected",  # a comment whose post became no document
)
BOT_USER = -2
# The two posts planted in the dumps of 2025-06-30 have ids of ten digits; real ids have eight.
FABRICATED_FROM_ID = 1_000_000_000

Array = np.ndarray[Any, Any]


def kinds_of(posts: pa.Table) -> pa.Array:
    """Name the kind of each post by its post_type_id; an unknown one is called by its number.

    >>> kinds_of(pa.table({"post_type_id": [1, 17]})).to_pylist()
    ['question', 'post_type_17']
    """
    coded = posts["post_type_id"].combine_chunks().dictionary_encode()
    names = [
        KIND_BY_POST_TYPE.get(code, f"post_type_{code}") for code in coded.dictionary.to_pylist()
    ]
    return pa.array(names, pa.string()).take(coded.indices)


def reject_comments(comments: pa.Table, recipe: DocumentsSection) -> Array:
    """Say for each comment why it is refused, whatever becomes of its post: bot | empty.

    Args:
        comments: columns user_id, text.
        recipe: what is wanted.

    Returns:
        Objects, shape (len(comments),): the reason, or "".
    """
    text = pc.utf8_trim_whitespace(pc.fill_null(comments["text"], ""))
    refused = {"empty": pc.equal(text, "")}
    if "bot" in recipe.keep_out:
        refused = {"bot": pc.equal(comments["user_id"], BOT_USER), **refused}
    return _first_reasons(len(comments), refused)


def reject_posts(
    posts: pa.Table,
    num_comments: Array,
    history: pa.Table | None,
    recipe: DocumentsSection,
) -> Array:
    """Say for each post why it is refused, as far as that is known before its text is.

    Args:
        posts: columns id, post_type_id, owner_user_id, score.
        num_comments: int64, shape (len(posts),); how many usable comments each post has.
        history: column post_id; None where the site has no PostHistory.
        recipe: what is wanted.

    Returns:
        Objects, shape (len(posts),): the reason, or "".
    """
    refused: dict[str, Any] = {}
    if "bot" in recipe.keep_out:
        refused["bot"] = pc.equal(posts["owner_user_id"], BOT_USER)
    if "fabricated" in recipe.keep_out:
        refused["fabricated"] = _are_fabricated(posts, history)
    kinds = kinds_of(posts)
    for kind in sorted(set(kinds.unique().to_pylist()).difference(recipe.kinds)):
        refused[f"kind:{kind}"] = pc.equal(kinds, kind)
    if recipe.min_score is not None:
        refused["score"] = pc.less(pc.fill_null(posts["score"], 0), recipe.min_score)
    refused["few_comments"] = pc.less(pa.array(num_comments), recipe.min_comments)
    return _first_reasons(len(posts), refused)


def _are_fabricated(posts: pa.Table, history: pa.Table | None) -> Any:
    """Tell planted posts: by an id of ten digits, or as the community's without any history."""
    is_planted = pc.greater_equal(posts["id"], FABRICATED_FROM_ID)
    if history is None:
        return is_planted
    is_unowned = pc.fill_null(pc.equal(posts["owner_user_id"], COMMUNITY_USER), False)
    return pc.or_(is_planted, pc.and_not(is_unowned, pc.is_in(posts["id"], history["post_id"])))


def _first_reasons(num_rows: int, refused: Mapping[str, Any]) -> Array:
    """Return the first reason whose mask holds (null: it does not), or ""."""
    reasons = np.full(num_rows, "", object)
    for reason, mask in reversed(list(refused.items())):
        reasons[np.asarray(pc.fill_null(mask, False), bool)] = reason
    return reasons
