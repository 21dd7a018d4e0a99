"""How two builds differ: stages, recipe keys, and every document that is new, gone or another one.

What changed of a document is named by where it shows: `title`, `body`, `comments` (their texts),
`markup` (spans and links of a text that stayed), `tags`, `score`, `state` (accepted, closed,
edited, marked as a duplicate), `author` (or editor), `licence`, `split`. Why one came, went or
moved is read from the artifacts of both builds, not guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from corpus.manifest import FileEntry, Json
from corpus.posts import load_threads
from corpus.store import Artifact
from corpus.tables import read_table

Run = Mapping[str, Artifact]
Array = np.ndarray[Any, Any]

# The columns that show each kind of change; `_describe_texts` has those of texts.
COLUMNS_BY_CHANGE: dict[str, tuple[str, ...]] = {
    "tags": ("tags",),
    "score": ("score",),
    "state": ("is_accepted", "duplicate_of", "edited_at", "closed_at", "community_owned_at"),
    "author": ("author_id", "author_name", "author_source", "editor_id", "editor_name"),
    "licence": ("licence", "licence_source"),
}
TEXTS = ("title", "body", "comments")
CHANGES = (*TEXTS, "markup", *COLUMNS_BY_CHANGE)
DIFFERENCE_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("change", pa.string()),  # added, removed or changed
        ("changed", pa.list_(pa.string())),  # of CHANGES and "split"
        ("why", pa.string()),  # of added, removed, and of a changed split
        ("old_split", pa.string()),
        ("new_split", pa.string()),
    ]
)
_STATE = pa.schema(
    [
        *((name, pa.string()) for name in ("doc_id", "site", "split", "group")),
        ("post_id", pa.int64()),
        *((change, pa.binary(16)) for change in (*TEXTS, "markup")),
        *((change, pa.string()) for change in COLUMNS_BY_CHANGE),
    ]
)


class Sides(NamedTuple):
    """The documents of shards that only one of two builds has, and how many both share."""

    before: pa.Table
    after: pa.Table
    num_shared: int


def diff_documents(old: Run, new: Run) -> tuple[pa.Table, int]:
    """Return every difference between the documents of two builds, and how many have none.

    Returns:
        Rows of DIFFERENCE_SCHEMA by doc_id; the number of documents that are the same in both.
    """
    sides = _read_sides(old["dataset"], new["dataset"])
    before, after = sides.before, sides.after
    places = pc.index_in(after["doc_id"], value_set=before["doc_id"])
    is_common = pc.is_valid(places)
    added, common_after = after.filter(pc.invert(is_common)), after.filter(is_common)
    common_before = before.take(places.drop_null())
    is_kept = pc.is_in(before["doc_id"], value_set=common_before["doc_id"])
    removed = before.filter(pc.invert(is_kept))
    rows = [
        *_iter_one_sided("added", added, _explain_absence(added, old)),
        *_iter_one_sided("removed", removed, _explain_absence(removed, new)),
        *_iter_changed(common_before, common_after, _compare_splits(old, new)),
    ]
    table = pa.Table.from_pylist(rows, DIFFERENCE_SCHEMA).sort_by("doc_id")
    num_changed = len(rows) - len(added) - len(removed)
    return table, sides.num_shared + len(common_after) - num_changed


def count_changes(table: pa.Table, num_same: int) -> Json:
    """Count the rows of `diff_documents`.

    Returns:
        `documents`: added, removed, same, changed, and those changed in each respect (a document
        may count in several). `moved`: by `<split> to <split>`. `why`: by change and reason.
    """
    rows = table.to_pylist()
    totals = Counter(row["change"] for row in rows)
    parts = Counter(part for row in rows for part in row["changed"])
    score_only = sum(row["changed"] == ["score"] for row in rows)
    moved = Counter(
        f"{row['old_split']} to {row['new_split']}" for row in rows if "split" in row["changed"]
    )
    why = Counter((row["change"], row["why"]) for row in rows if row["why"])
    named = {f"changed {part}": parts[part] for part in (*CHANGES, "split") if parts[part]}
    return {
        "documents": {
            "added": totals["added"],
            "removed": totals["removed"],
            "same": num_same,
            "changed": totals["changed"],
            **named,
            **({"changed score only": score_only} if score_only else {}),
        },
        "moved": dict(sorted(moved.items())),
        "why": [
            {"change": change, "why": reason, "documents": num}
            for (change, reason), num in sorted(why.items())
        ],
    }


def diff_recipes(old: Run, new: Run) -> list[Json]:
    """Return the recipe keys that differ: `key` (dotted), `old`, `new`."""
    # The release knows the whole recipe.
    asked, asked_now = (run["release"].manifest.recipe for run in (old, new))
    return [
        {"key": key, "old": one, "new": other} for key, one, other in _differences(asked, asked_now)
    ]


def _differences(old: Json, new: Json, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{path}{key}.")
        elif one != other:
            yield f"{path}{key}", one, other


def _read_sides(old: Artifact, new: Artifact) -> Sides:
    # Shards with the same rows need not be read: after a new dump of a site, that is most of them.
    entries = [
        {(split_of(entry), entry.rows_sha256): entry for entry in dataset.files("data/")}
        for dataset in (old, new)
    ]
    shared = entries[0].keys() & entries[1].keys()
    before, after = (
        _read_states(dataset, [by_rows[key] for key in by_rows if key not in shared])
        for dataset, by_rows in zip((old, new), entries, strict=True)
    )
    num_shared = sum(entry.num_rows for key, entry in entries[1].items() if key in shared)
    return Sides(before, after, num_shared)


def split_of(entry: FileEntry) -> str:
    """Return the split that a file of a dataset belongs to."""
    return entry.name.removeprefix("data/").split("-")[0]


def _read_states(dataset: Artifact, entries: Iterable[FileEntry]) -> pa.Table:
    """Return for each document where it is, and for each kind of change what would show it."""
    tables = [_STATE.empty_table()]
    for entry in entries:
        rows = read_table(dataset.path(entry.name))
        columns = {name: rows[name] for name in ("doc_id", "site", "post_id", "group")}
        columns["split"] = pa.repeat(split_of(entry), len(rows))
        columns |= _describe_texts(rows)
        for change, names in COLUMNS_BY_CHANGE.items():
            values = [_as_text(rows[name]) for name in names]
            columns[change] = pc.binary_join_element_wise(*values, "\t")
        tables.append(pa.table(columns).select(_STATE.names).cast(_STATE))
    return pa.concat_tables(tables)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), "|")
    return pc.fill_null(column.cast(pa.string()), "\0")


def _describe_texts(rows: pa.Table) -> dict[str, list[bytes]]:
    """Digest the title, the body, the comments with their authors, and the markup of documents."""
    digests: dict[str, list[bytes]] = {name: [] for name in (*TEXTS, "markup")}
    names = ["text", "body_end", "segments", "inline_code", "links", "comments"]
    for row in rows.select(names).to_pylist():
        text, segments = row["text"], row["segments"]
        title_end = segments[0]["end"] if segments and segments[0]["kind"] == "title" else 0
        people = [[comment["comment_id"], comment["author_name"]] for comment in row["comments"]]
        spans = [row["segments"], row["inline_code"], row["links"]]
        digests["title"].append(_digest(text[:title_end]))
        digests["body"].append(_digest(text[title_end : row["body_end"]]))
        digests["comments"].append(_digest(text[row["body_end"] :] + json.dumps(people)))
        digests["markup"].append(_digest(json.dumps(spans)))
    return digests


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _iter_one_sided(change: str, rows: pa.Table, reasons: Sequence[str]) -> Iterator[Json]:
    side = "new_split" if change == "added" else "old_split"
    for doc_id, split, why in zip(
        rows["doc_id"].to_pylist(), rows["split"].to_pylist(), reasons, strict=True
    ):
        yield {"doc_id": doc_id, "change": change, "changed": [], "why": why, side: split}


def _iter_changed(before: pa.Table, after: pa.Table, splits_asked: str | None) -> Iterator[Json]:
    """Yield the differences of documents that both have, given in one order."""
    names = (*CHANGES, "split")
    differs = np.array([_differ(before[name], after[name]) for name in names])
    # Where a text is another one, so are its spans: that says nothing more.
    text_differs = differs[: len(TEXTS)].any(axis=0)
    differs[CHANGES.index("markup")] &= ~text_differs
    for place in np.flatnonzero(differs.any(axis=0)).tolist():
        one, other = before.slice(place, 1).to_pylist()[0], after.slice(place, 1).to_pylist()[0]
        changed = [name for name, is_so in zip(names, differs[:, place], strict=True) if is_so]
        why = _explain_move(one, other, splits_asked) if "split" in changed else None
        yield {
            "doc_id": one["doc_id"],
            "change": "changed",
            "changed": changed,
            "why": why,
            "old_split": one["split"],
            "new_split": other["split"],
        }


def _differ(some: pa.ChunkedArray, others: pa.ChunkedArray) -> Array:
    return ~np.asarray(pc.equal(some, others), bool)


def _compare_splits(old: Run, new: Run) -> str | None:
    """Name the keys of `splits` that differ but for what is held out; None where there is none."""
    keys = [one["key"] for one in diff_recipes(old, new) if one["key"].startswith("splits.")]
    return ", ".join(key for key in keys if not key.startswith("splits.hold_out")) or None


def _explain_move(one: Json, other: Json, splits_asked: str | None) -> str:
    if splits_asked:
        return f"the recipe asks otherwise: {splits_asked}"
    if one["group"] != other["group"]:
        return "its leakage group joined another, or left it"
    if other["split"] == "test":
        return "it is held out now"
    return "its leakage group outgrew splits.largest_evaluation_group, or is no longer held out"


def _explain_absence(rows: pa.Table, run: Run) -> list[str]:
    """Say of each document why a build does not have it."""
    reasons = np.full(len(rows), "", object)
    for site in pc.unique(rows["site"]).to_pylist():
        of_site = np.flatnonzero(pc.equal(rows["site"], site).to_numpy())
        wanted = rows["post_id"].to_numpy()[of_site]
        known = _known_reasons(run, site, wanted)
        in_dump = _is_in_dump(run, site, wanted)
        reasons[of_site] = [
            known.get(post_id) or ("no document" if is_there else "not in the dump")
            for post_id, is_there in zip(wanted.tolist(), in_dump.tolist(), strict=True)
        ]
    return [str(reason) for reason in reasons]


def _known_reasons(run: Run, site: str, post_ids: Array) -> dict[int, str]:
    """Return why posts of a site became no document, or are in no split, by post id."""
    wanted = pa.array(post_ids)
    found: dict[int, str] = {}
    for entry in run["documents"].files(f"rejects/{site}/"):
        rejects = read_table(run["documents"].path(entry.name), ["table", "id", "reason"])
        rejects = rejects.filter(pc.equal(rejects["table"], "Posts"))
        rejects = rejects.filter(pc.is_in(rejects["id"], value_set=wanted))
        found |= zip(rejects["id"].to_pylist(), rejects["reason"].to_pylist(), strict=True)
    for entry in run["splits"].files(f"splits/{site}/"):
        dealt = read_table(run["splits"].path(entry.name), ["post_id", "reason"])
        dealt = dealt.filter(pc.is_in(dealt["post_id"], value_set=wanted)).drop_null()
        found |= zip(dealt["post_id"].to_pylist(), dealt["reason"].to_pylist(), strict=True)
    return found


def _is_in_dump(run: Run, site: str, post_ids: Array) -> Array:
    posts = run["posts"]
    if not posts.path(f"threads/{site}.npy").is_file():
        return np.zeros(len(post_ids), bool)
    return np.isin(post_ids, load_threads(posts.folder, site)[0])


def list_moved_to_train(table: pa.Table) -> list[str]:
    """Return the documents that were in test and are in train now, by doc_id."""
    moved = pc.and_(pc.equal(table["old_split"], "test"), pc.equal(table["new_split"], "train"))
    return [str(doc_id) for doc_id in table.filter(moved)["doc_id"].to_pylist()]


def write_differences(table: pa.Table, path: Path) -> None:
    """Write the rows of `diff_documents` as CSV, UTF-8; what changed is joined by spaces."""
    place = table.schema.get_field_index("changed")
    joined = pc.binary_join(table["changed"], " ")
    pa.csv.write_csv(table.set_column(place, "changed", joined), path)
