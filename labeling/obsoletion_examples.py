"""Examples of the obsoletion benchmark: items that people have judged.

The input is the title of the question and the answer as it was before it was given away; what gave
it away (comments, later edits, other answers) is withheld. Annotators have pseudonyms, numbered by
when they first judged, so that who joins later changes nobody's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from corpus.errors import SourceError
from corpus.layout import SEPARATOR
from corpus.manifest import Json
from corpus.store import Artifact
from labeling.examples import DEALT_FIELDS, EXAMPLE_SCHEMA
from labeling.judgements import CAUSES

_TIME = pa.timestamp("ms", "UTC")
JUDGEMENT = pa.struct(
    [
        ("annotator", pa.string()),
        ("role", pa.string()),
        ("label", pa.string()),
        ("cause", pa.string()),
        ("confidence", pa.int8()),
        ("note", pa.string()),
        ("at", _TIME),
        ("guideline_sha256", pa.string()),
    ]
)
EVIDENCE = pa.struct(
    [
        ("kind", pa.string()),  # span | comment | answer | revision
        ("id", pa.int64()),  # null for spans
        ("start", pa.int32()),  # of a span of the text; else null, as are end and quote
        ("end", pa.int32()),
        ("quote", pa.string()),
    ]
)
OBSOLETION_SCHEMA = pa.schema(
    [
        *EXAMPLE_SCHEMA,
        ("cause", pa.string()),  # of an obsolete one: one of `judgements.CAUSES`, null if disputed
        ("stratum", pa.string()),
        ("inclusion_probability", pa.float64()),
        ("judgements", pa.list_(JUDGEMENT)),
        ("evidence", pa.list_(EVIDENCE)),  # of those who judged as the label is
    ]
)
LABELS = ("obsolete", "current")
REJECT_REASONS = (
    "not_judged",  # nobody has yet
    "single",  # one person has; see `judgements.Reason` for these
    "disagreed",
    "cannot_tell",
)

Span = tuple[int, int]


class Examples(NamedTuple):
    """Rows of OBSOLETION_SCHEMA and DEALT_FIELDS, by example_id; and why items are no examples."""

    table: pa.Table
    num_items: int
    rejected: Counter[str]
    notes: Json


def read_obsoletion_examples(
    items: Artifact, paths: Sequence[Path], *, left_out: str | None = None
) -> Examples:
    """Read exported judgements into examples.

    Args:
        items: the artifact of `labeling.items.build_items`.
        paths: exports (JSON lines, UTF-8); each item is in one of them at most.
        left_out: why what was judged and is no item is left out; None: it is an error.

    Raises:
        SourceError: a file cannot be read, or is no export of these items; with its line.
    """
    lines = items.path("items.jsonl").read_text("ascii").splitlines()
    exported = [row for path in paths for row in read_export(path)]
    shown = [json.loads(line) for line in lines]
    known = {item["item_id"] for item in shown}
    there = [row for row in exported if left_out is None or row["item_id"] in known]
    examples = make_obsoletion_examples(shown, there)
    if left_out and len(exported) > len(there):
        examples.rejected[left_out] += len(exported) - len(there)
    return examples


def read_export(path: Path) -> Iterator[Json]:
    """Yield the rows of one exported file.

    Raises:
        SourceError: it cannot be read, or a line is not what is exported.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read ({error}); give the file as exported") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _parse_row(line, f"{path}, line {number}")


def make_obsoletion_examples(items: Iterable[Json], exported: Iterable[Json]) -> Examples:
    """Return an example for each item that people have settled as obsolete or current.

    Args:
        items: as `labeling.items` writes them.
        exported: of each judged item: item_id, label (null: not settled), reason, judgements.

    Raises:
        SourceError: an item that is not there, or that is exported twice.
    """
    judged: dict[str, Json] = {}
    for row in exported:
        if judged.setdefault(row["item_id"], row) is not row:
            raise SourceError(f"{row['item_id']} is exported twice; give one export of each item")
    pseudonyms = name_annotators(judged.values())
    rows, rejected, known = [], Counter[str](), set()
    for item in sorted(items, key=lambda one: str(one["item_id"])):
        known.add(item["item_id"])
        said = judged.get(item["item_id"])
        if reason := _reject(said):
            rejected[reason] += 1
        elif said:
            rows.append(_make_row(item, said, pseudonyms))
    if unknown := judged.keys() - known:
        raise SourceError(
            f"the export judges {min(unknown)}, which is no item of this build; give the export of "
            "the items that were built"
        )
    table = pa.Table.from_pylist(rows, pa.schema([*OBSOLETION_SCHEMA, *DEALT_FIELDS]))
    notes = {
        "labels": dict(sorted(Counter(row["label"] for row in rows).items())),
        "num_annotators": Counter(name.rpartition("-")[0] for name in pseudonyms.values()),
    }
    return Examples(table, len(known), rejected, notes)


def name_annotators(exported: Iterable[Json]) -> dict[str, str]:
    """Return a pseudonym for each name: the role, and a number by the first judgement.

    >>> said = [("ada", "2026-02"), ("bob", "2026-01"), ("bob", "2026-03")]
    >>> judgements = [{"annotator": name, "role": "annotator", "at": at} for name, at in said]
    >>> name_annotators([{"judgements": judgements}])
    {'bob': 'annotator-1', 'ada': 'annotator-2'}
    """
    first: dict[str, tuple[str, str]] = {}
    for row in exported:
        for judgement in row["judgements"]:
            seen = (str(judgement["at"]), judgement["role"])
            first[judgement["annotator"]] = min(first.get(judgement["annotator"], seen), seen)
    numbers = Counter[str]()
    named = {}
    for name, (_, role) in sorted(first.items(), key=lambda one: (one[1], one[0])):
        numbers[role] += 1
        named[name] = f"{role}-{numbers[role]}"
    return named


def _parse_row(line: str, where: str) -> Json:
    try:
        row = json.loads(line)
        is_row = isinstance(row["item_id"], str) and {"label", "reason"} <= row.keys()
        for judgement in row["judgements"]:
            is_row &= isinstance(judgement["annotator"], str) and {"role", "at"} <= judgement.keys()
            datetime.fromisoformat(judgement["at"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SourceError(f"{where}: no exported judgement ({error!r}); export anew") from error
    if not is_row or row["label"] not in (*LABELS, "cannot_tell", None):
        raise SourceError(f"{where}: no exported judgement; export anew")
    return dict(row)


def _reject(row: Json | None) -> str:
    if row is None:
        return "not_judged"
    if row["label"] is None:
        return "not_judged" if row["reason"] == "none" else str(row["reason"])
    return "" if row["label"] in LABELS else str(row["label"])


def _make_row(item: Json, row: Json, pseudonyms: Mapping[str, str]) -> Json:
    content, hidden = item["content"], item["hidden"]
    answer, question = content["answer"], content["question"]
    title = question["title"].strip()
    offset = len(title) + len(SEPARATOR) if title else 0
    text = answer["text"] if not title else title + SEPARATOR + answer["text"]
    judgements = [one for one in row["judgements"] if one.get("label")]
    judgements.sort(key=lambda one: (one["at"], one["annotator"]))
    agreeing = [one for one in judgements if one["label"] == row["label"]]
    return {
        "example_id": item["item_id"],
        "site": content["site"],
        "post_id": answer["post_id"],
        "thread_id": hidden["thread_id"],
        "label": row["label"],
        "text": text,
        "body_end": len(text),
        "segments": list(_shift_segments(title, answer["segments"], offset)),
        "inline_code": [
            {"start": start + offset, "end": end + offset} for start, end in answer["inline_code"]
        ],
        "tags": question["tags"],
        "raw_text": hidden["markdown"],
        "input_at": datetime.fromisoformat(hidden["input_at"]),
        "label_at": hidden["label_at"] and datetime.fromisoformat(hidden["label_at"]),
        "author_id": hidden["author_id"],
        "author_name": answer["author"],
        "author_link": answer["author_link"],
        "link": answer["link"],
        "licence": answer["licence"],
        "licence_source": hidden["licence_source"],
        "metadata": [
            {"name": name, "value": float(value)} for name, value in hidden["metadata"].items()
        ],
        "cause": _settle_cause(agreeing) if row["label"] == "obsolete" else None,
        "stratum": hidden["stratum"],
        "inclusion_probability": hidden["inclusion_probability"],
        "judgements": [_make_judgement(one, pseudonyms) for one in judgements],
        "evidence": _gather_evidence(agreeing, offset),
        "group": hidden["group"],
        "split": hidden["split"],
    }


def _shift_segments(title: str, segments: Sequence[Json], offset: int) -> Iterator[Json]:
    if title:
        yield {"kind": "title", "start": 0, "end": len(title)}
    for segment in segments:
        start, end = segment["start"] + offset, segment["end"] + offset
        yield {**segment, "start": start, "end": end}


def _make_judgement(judgement: Json, pseudonyms: Mapping[str, str]) -> Json:
    names = ("role", "label", "cause", "confidence", "note", "guideline_sha256")
    return {
        **{name: judgement.get(name) for name in names},
        "annotator": pseudonyms[judgement["annotator"]],
        "at": datetime.fromisoformat(judgement["at"]),
    }


def _settle_cause(judgements: Sequence[Json]) -> str | None:
    """Return the adjudicator's cause, or else the one that most people name; None where two are."""
    decided = [one["cause"] for one in judgements if one["role"] == "adjudicator"]
    if decided and decided[-1]:
        return str(decided[-1])
    named = Counter(one.get("cause") for one in judgements if one["role"] == "annotator")
    counts = sorted(((named[cause], cause) for cause in CAUSES if named[cause]), reverse=True)
    if not counts or (len(counts) > 1 and counts[0][0] == counts[1][0]):
        return None
    return counts[0][1]


def _gather_evidence(judgements: Sequence[Json], offset: int) -> list[Json]:
    """Return what was marked, each once, spans as they stand in the example's text."""
    found: dict[tuple[Any, ...], Json] = {}
    for judgement in judgements:
        for piece in judgement.get("evidence") or ():
            shown = dict(piece)
            if shown["kind"] == "span":
                shown["start"], shown["end"] = shown["start"] + offset, shown["end"] + offset
            key = (shown["kind"], shown.get("id") or 0, shown.get("start", 0), shown.get("end", 0))
            found.setdefault(key, shown)
    return [found[key] for key in sorted(found)]
