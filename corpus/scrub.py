"""Stage 5, scrub: personal data and secrets in documents replaced, and where they were.

Writes, for each partition of the documents:

    documents/<site>/<partition>.parquet    the same rows, columns and order; a partition without
                                            any secret is the documents' own file, by hard link
    ledger/<site>/<partition>.parquet       columns: `LEDGER_SCHEMA`; a row a secret, where there
                                            is one; by document, its text first, then its links

Texts and link targets are scrubbed; names of authors are not, which the licence demands. The ledger
says where something stood and of which kind it was, never what: no secret, no digest of one.
`corpus.secrets` says what a secret is and what stands in its place.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.documents import BATCH_DOCUMENTS, DOCUMENT_SCHEMA, TEXT_COLUMNS
from corpus.durable import link
from corpus.engine import Engine
from corpus.manifest import FileEntry, Flow, Outcome, digest_json, merge_outcomes
from corpus.progress import Reporter
from corpus.recipe import SECRET_KINDS, ScrubSection, SecretKind
from corpus.rules import Rule
from corpus.secrets import (
    Finding,
    Numbering,
    Replaced,
    find_secrets,
    match_hints,
    replace_findings,
    rules_of,
)
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import read_table, write_table

VERSION = 1
LEDGER_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("link", pa.int32()),  # place in the document's links; null: in its text
        ("kind", pa.string()),
        ("start", pa.int32()),  # code points of the text, or the target, as it was
        ("end", pa.int32()),
        ("new_start", pa.int32()),  # of what stands there now
        ("new_end", pa.int32()),
    ]
)
CHANGED_COLUMNS = ("text", "body_end", "segments", "inline_code", "links")

Row = dict[str, Any]


class Partition(NamedTuple):
    """One partition of the documents: the work of one task."""

    documents: Path
    entry: FileEntry
    kinds: Sequence[SecretKind]

    @property
    def name(self) -> str:
        """Its site and file."""
        return self.entry.name.removeprefix("documents/")


def build_scrub(
    documents: Artifact, recipe: ScrubSection, store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Replace personal data and secrets in the texts and link targets of all documents."""
    kinds = [kind for kind in SECRET_KINDS if kind not in recipe.keep]
    partitions = [
        Partition(documents.folder, entry, kinds) for entry in documents.files("documents/")
    ]

    def make(work: Work) -> Outcome:
        tasks = [Task(partition.name, partition) for partition in partitions]
        return merge_outcomes(work.map(_scrub_partition, tasks, key=_key))

    return store.build("scrub", VERSION, recipe, {"documents": documents}, make, engine, reporter)


def scrub_document(row: Row, rules: Sequence[Rule]) -> tuple[Row, list[Row]]:
    """Replace what the rules find in one document.

    Args:
        row: columns doc_id and `CHANGED_COLUMNS`.
        rules: those to go by.

    Returns:
        The changed columns, and rows of the ledger. A span that ends within a secret is stretched
        to the end of what stands there; of two spans of inline code within one, the first has it.
    """
    text, targets = row["text"], [one["target"] for one in row["links"]]
    numbering = Numbering([text, *targets])
    new_text, replaced = replace_findings(text, _find_in_segments(row, rules), numbering)
    scrubbed = [
        replace_findings(target, find_secrets(target, rules), numbering) for target in targets
    ]
    ledger = [_entry(row["doc_id"], None, one) for one in replaced]
    for place, (_, within) in enumerate(scrubbed):
        ledger += [_entry(row["doc_id"], place, one) for one in within]
    links = [
        {**_move_span(one, replaced), "target": target}
        for one, (target, _) in zip(row["links"], scrubbed, strict=True)
    ]
    changed = {
        "text": new_text,
        "body_end": _move(row["body_end"], replaced, is_end=True),
        "segments": [_move_span(segment, replaced) for segment in row["segments"]],
        "inline_code": _separate(_move_span(span, replaced) for span in row["inline_code"]),
        "links": links,
    }
    return changed, ledger


def _find_in_segments(row: Row, rules: Sequence[Rule]) -> Iterator[Finding]:
    """Yield findings, none of which goes beyond its segment."""
    for segment in row["segments"]:
        at = segment["start"]
        for start, end, kind in find_secrets(row["text"][at : segment["end"]], rules):
            yield Finding(at + start, at + end, kind)


def _move(at: int, replaced: Sequence[Replaced], *, is_end: bool = False) -> int:
    """Say where a place of the old text is in the new one; within a secret, at an edge of it."""
    place = bisect_right(replaced, at, key=lambda one: one.end)
    if place < len(replaced) and replaced[place].start < at:
        return replaced[place].new_end if is_end else replaced[place].new_start
    before = replaced[place - 1] if place else None
    return at + before.new_end - before.end if before else at


def _move_span(span: Row, replaced: Sequence[Replaced]) -> Row:
    start, end = span["start"], span["end"]
    return {**span, "start": _move(start, replaced), "end": _move(end, replaced, is_end=True)}


def _separate(spans: Iterator[Row]) -> list[Row]:
    """Take from each span what the one before it has; drop those left with nothing."""
    separate: list[Row] = []
    for span in spans:
        start = max(span["start"], separate[-1]["end"] if separate else 0)
        if start < span["end"]:
            separate.append({**span, "start": start})
    return separate


def _entry(doc_id: str, link: int | None, one: Replaced) -> Row:
    return {"doc_id": doc_id, "link": link, **one._asdict()}


def _key(partition: Partition) -> str:
    return digest_json({"rows": partition.entry.rows_sha256, "kinds": list(partition.kinds)})


def _scrub_partition(folder: Path, partition: Partition) -> Outcome:
    source, path = partition.documents / partition.entry.name, folder / partition.entry.name
    rows = read_table(source)
    changed: dict[int, Row] = {}
    ledger: list[Row] = []
    for place, rules in sorted(_match_rows(rows, rules_of(partition.kinds)).items()):
        row = rows.slice(place, 1).select(["doc_id", *CHANGED_COLUMNS]).to_pylist()[0]
        columns, entries = scrub_document(row, rules)
        if entries:
            changed[place] = columns
            ledger += entries
    path.parent.mkdir(parents=True, exist_ok=True)
    files: tuple[FileEntry, ...] = (partition.entry,)
    if changed:
        # A build that was interrupted may have left a link here, which must not be written through.
        path.unlink(missing_ok=True)
        files = _write(folder, partition.name, _iter_batches(rows, changed), ledger)
    else:
        link(source, path)
    flows = {"documents": Flow(len(rows), len(rows))}
    return Outcome(files, flows, _count(ledger, len(changed)))


def _write(
    folder: Path, name: str, batches: Iterable[pa.Table], ledger: Sequence[Row]
) -> tuple[FileEntry, FileEntry]:
    entries = pa.Table.from_pylist(ledger, LEDGER_SCHEMA)
    documents = write_table(
        folder, f"documents/{name}", batches, DOCUMENT_SCHEMA, text_columns=TEXT_COLUMNS
    )
    return documents, write_table(folder, f"ledger/{name}", entries, LEDGER_SCHEMA)


def _match_rows(rows: pa.Table, rules: Sequence[Rule]) -> dict[int, list[Rule]]:
    """Say by row which rules may find something in its text or in the target of a link."""
    by_row = match_hints(rows["text"], rules)
    links = rows["links"].combine_chunks()
    parents = pc.list_parent_indices(links).to_numpy()
    targets = match_hints(pc.struct_field(links.flatten(), "target"), rules)
    for place, some in targets.items():
        row = int(parents[place])
        both = [*by_row.get(row, []), *some]
        by_row[row] = [rule for rule in rules if rule in both]
    return by_row


def _iter_batches(rows: pa.Table, changed: Mapping[int, Row]) -> Iterator[pa.Table]:
    """Yield rows with what is changed in place of what was, as many at once as documents has."""
    for start in range(0, len(rows), BATCH_DOCUMENTS):
        batch = rows.slice(start, BATCH_DOCUMENTS)
        places = [place for place in changed if start <= place < start + len(batch)]
        order = np.arange(len(batch))
        order[[place - start for place in places]] = len(batch) + np.arange(len(places))
        for name in CHANGED_COLUMNS if places else ():
            field = DOCUMENT_SCHEMA.field(name)
            new = pa.array([changed[place][name] for place in places], field.type)
            column = pa.chunked_array([*batch[name].chunks, new]).take(pa.array(order))
            batch = batch.set_column(batch.schema.get_field_index(name), field, column)
        yield batch


def _count(ledger: Sequence[Row], num_changed: int) -> dict[str, int]:
    counts = Counter(entry["kind"] for entry in ledger)
    return {
        "changed_documents": num_changed,
        **{f"replaced_{kind}": counts[kind] for kind in SECRET_KINDS},
    }
