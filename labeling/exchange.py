"""Judgements out of the store and into it, as files; here the project's own JSON lines.

One item a line, by item_id, ASCII:

    item_id, content, hidden
    label, reason   after resolving (`judgements.AdjudicatedLabel`); label null where not settled
    judgements      those that stand, by annotator: annotator, role, revision, at,
                    guideline_sha256 and the fields of a draft
    superseded      all other revisions alike, by annotator, revision; label null: withdrawn

`labeling.label_studio` and `labeling.potato` write and read the files of those tools.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from corpus.durable import TEMPORARY, sync
from corpus.errors import BadValue, SourceError, StoreError
from corpus.manifest import Flow
from labeling.annotations import AnnotationStore, Given
from labeling.judgements import (
    LABELS,
    ROLES,
    AdjudicatedLabel,
    Draft,
    Json,
    Judgement,
    draft_to_json,
    is_text,
    is_whole,
    parse_draft,
)

REASONS = ("agreed", "adjudicated", "single", "disagreed", "none")
_KEYS = ("item_id", "label", "reason", "judgements", "superseded", "content", "hidden")
_DRAFT_KEYS = tuple(draft_to_json(Draft("current")))
_JUDGEMENT_KEYS = ("annotator", "role", "revision", "at", "guideline_sha256", *_DRAFT_KEYS)


class AnnotatedItem(NamedTuple):
    """An item with all that was said of it."""

    item_id: str
    content: Json
    hidden: Json
    resolved: AdjudicatedLabel
    judgements: tuple[Judgement, ...]
    superseded: tuple[Judgement, ...]


class ImportReport(NamedTuple):
    """What an import did: judgements in, taken and refused; evidence alike; how many are new."""

    judgements: Flow
    evidence: Flow
    num_new: int


def export_annotations(store: AnnotationStore, path: Path) -> int:
    """Write all items with all judgements, hidden parts too, and return how many items there are.

    Raises:
        StoreError: the file cannot be written.
    """
    revisions = defaultdict[str, list[Judgement]](list)
    for judgement in store.iter_judgements():
        revisions[judgement.item_id].append(judgement)
    item_ids = store.item_ids()
    lines = (_format_item(store, item_id, revisions[item_id]) for item_id in item_ids)
    write_lines(path, lines)
    store.record_export(path.name)
    return len(item_ids)


def read_annotations(path: Path) -> list[AnnotatedItem]:
    """Read what `export_annotations` wrote.

    Raises:
        SourceError: it cannot be read or is none; names line and column, or what is wrong.
    """
    items = []
    seen = set[str]()
    for where, row in read_json_lines(path):
        item = _parse_item(row, where)
        if item.item_id in seen:
            raise SourceError(f"{where}: item {item.item_id} is there twice; export anew")
        seen.add(item.item_id)
        items.append(item)
    return items


def read_json_lines(path: Path) -> Iterator[tuple[str, Json]]:
    """Iterate over the objects of a file of JSON lines, each with its place.

    Raises:
        SourceError: the file cannot be read, or a line is no object; with line and column.
    """
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"{path}, line {number}"
        if line.strip():
            content = parse_json(line, where)
            if not isinstance(content, dict):
                raise SourceError(f"{where}: not a JSON object; is it the file that was exported?")
            yield where, content


def read_text(path: Path) -> str:
    """Return the text of a published file.

    Raises:
        SourceError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read ({error}); give the file as exported") from error


def parse_json(text: str, where: str) -> Any:
    """Parse JSON.

    Raises:
        SourceError: it is none; with the column, and the line where there are several.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text else ""
        raise SourceError(
            f"{where}{line}, column {error.colno}: not JSON ({error.msg}); export it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: not JSON that can be read ({error})") from error


def write_lines(path: Path, lines: Iterator[str]) -> None:
    """Write a text file, one line each; it is there whole, or as it was before.

    Raises:
        StoreError: it cannot be written.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error


def import_given(store: AnnotationStore, given: Sequence[tuple[str, Given]], path: Path) -> int:
    """Save judgements of a file, all or none, and return how many are new.

    Args:
        store: that has the items.
        given: each with its place in the file.
        path: the file.

    Raises:
        SourceError: one cannot be saved, or two are of one item and annotator; names the place.
    """
    known = set(store.item_ids())
    places: dict[tuple[str, str], str] = {}
    for where, one in given:
        if one.item_id not in known:
            raise SourceError(f"{where}: {one.item_id!r} is no item of this store; check both")
        earlier = places.setdefault((one.item_id, one.annotator), where)
        if earlier != where:
            raise SourceError(
                f"{where}: {one.annotator} judged {one.item_id} at {earlier} already; keep one"
            )
    try:
        return store.import_judgements([one for _, one in given], path.name)
    except BadValue as error:
        raise SourceError(f"{path} holds what cannot be saved: {error}") from error


def locate_quote(text: str, start: object, end: object, quote: object) -> Json | None:
    """Return the evidence of a span that another tool marked; None where it fits nowhere.

    Where the offsets do not give the quote (they may count otherwise), the quote's only place does.

    >>> locate_quote("Call frob() now", 5, 11, "frob()")["start"]
    5
    >>> locate_quote("Call frob() now", 9, 15, "frob()")["start"]
    5
    >>> locate_quote("so so", 9, 11, "so") is None
    True
    """
    found = ""
    if isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text):
        found = text[start:end]
    if found and quote in (None, found):
        return {"kind": "span", "start": start, "end": end, "quote": found}
    if isinstance(quote, str) and quote and text.count(quote) == 1:
        start = text.index(quote)
        return {"kind": "span", "start": start, "end": start + len(quote), "quote": quote}
    return None


def _format_item(store: AnnotationStore, item_id: str, revisions: Sequence[Judgement]) -> str:
    newest = {one.annotator: one for one in revisions}  # they come by revision
    standing = [one for one in newest.values() if one.draft]
    resolved = store.adjudicated_label(item_id)
    row = {
        "item_id": item_id,
        "label": resolved.label,
        "reason": resolved.reason,
        "judgements": [_flatten(one) for one in standing],
        "superseded": [_flatten(one) for one in revisions if one not in standing],
        "content": store.read_item(item_id),
        "hidden": store.read_hidden(item_id),
    }
    return json.dumps(row)


def _flatten(judgement: Judgement) -> Json:
    draft = judgement.draft
    said = draft_to_json(draft) if draft else dict.fromkeys(_DRAFT_KEYS)
    return {
        "annotator": judgement.annotator,
        "role": judgement.role,
        "revision": judgement.revision,
        "at": judgement.at.isoformat(),
        "guideline_sha256": judgement.guideline_sha256,
        **said,
    }


def _parse_item(row: Json, where: str) -> AnnotatedItem:
    is_item = sorted(row) == sorted(_KEYS) and is_text(row["item_id"])
    is_item = is_item and row["label"] in (*LABELS, None) and row["reason"] in REASONS
    is_item = is_item and all(isinstance(row[key], list) for key in ("judgements", "superseded"))
    is_item = is_item and all(isinstance(row[key], dict) for key in ("content", "hidden"))
    if not is_item:
        raise SourceError(f"{where}: no annotated item; its keys must be {', '.join(_KEYS)}")
    judgements, superseded = (
        tuple(_parse_judgement(one, row["item_id"], where) for one in row[key])
        for key in ("judgements", "superseded")
    )
    resolved = AdjudicatedLabel(row["label"], row["reason"])
    return AnnotatedItem(
        row["item_id"], row["content"], row["hidden"], resolved, judgements, superseded
    )


def _parse_judgement(row: Any, item_id: str, where: str) -> Judgement:
    try:
        if sorted(row) != sorted(_JUDGEMENT_KEYS):
            raise BadValue(f"its keys must be {', '.join(_JUDGEMENT_KEYS)}")
        if row["role"] not in ROLES or not is_whole(row["revision"]):
            raise BadValue("its role or revision is none")
        said = {key: row[key] for key in _DRAFT_KEYS}
        draft = None if said["label"] is None else parse_draft(said)
        at = datetime.fromisoformat(row["at"])
    except (BadValue, ValueError, TypeError) as error:
        raise SourceError(f"{where}: no judgement of {item_id} ({error}); export anew") from error
    return Judgement(
        item_id,
        str(row["annotator"]),
        row["role"],
        row["revision"],
        draft,
        cast("str", row["guideline_sha256"]),
        at,
    )
