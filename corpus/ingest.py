"""Stage 2, rows: every table as typed rows in dump order, and what could not be read.

Writes, for each table of each site:

    rows/<site>/<Table>.parquet         columns as in `rows.SCHEMAS`
    quarantine/<site>/<Table>.parquet   columns as in `rows.QUARANTINE_SCHEMA`: reason, byte
                                        offset, raw bytes; only where a row cannot be used

A source (an XML file, or an archive with all its tables) is one task and is read once, front to
back, in constant memory. Where the store has a record of removals (`corpus.removals`), the tables
are read into `raw/` of the unfinished artifact and written without what was taken down from there
(`corpus.removing`); `raw/` is no part of the artifact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from corpus.archive import iter_members, list_members
from corpus.dump import DumpTable, load_digests
from corpus.engine import Engine
from corpus.manifest import Flow, Outcome, digest_json, merge_outcomes
from corpus.progress import Reporter, advance
from corpus.removals import read_record
from corpus.removing import open_rows, remove_rows
from corpus.rows import QUARANTINE_SCHEMA, SCHEMAS, RowBatch, iter_row_batches
from corpus.store import Artifact, Store, Task, Work
from corpus.warmup import compile_rows

VERSION = 1
# Batches are of about 1 MB; row groups as small as that would be slow to read.
GROUP_BYTES = 32_000_000
RAW = "raw/"


class Source(NamedTuple):
    """A file, the tables in it, all of one site, and its digest."""

    tables: list[DumpTable]
    sha256: str

    @property
    def name(self) -> str:
        """The name of its task."""
        return "-".join([self.tables[0].site, *(table.table for table in self.tables)])


def build_rows(
    dump: Artifact,
    tables: Sequence[DumpTable],
    store: Store,
    engine: Engine,
    reporter: Reporter,
    *,
    earlier: Artifact | None = None,
) -> Artifact:
    """Read every table of the dump into typed rows, without what the store's record names.

    Args:
        dump: what there is.
        tables: where it is.
        store: where artifacts lie, and the record of removals.
        engine: where tasks run.
        reporter: what the person sees.
        earlier: rows of the same dump from before some of the removals, which are read in place of
            the tables: these may be gone. The rows are the same.

    Raises:
        MalformedXml: a table breaks off or is not written as dumps are.
        BadArchive: an archive breaks off.
        IntegrityError: the record of removals is damaged.
    """
    record = read_record(store.folder)

    def make(work: Work) -> Outcome:
        if earlier:
            return remove_rows(work, earlier.folder, earlier.manifest.outcome, store.folder, record)
        compile_rows(reporter)
        sources = _list_sources(dump, tables)
        if not record.removals:
            return _read_sources(work, sources, "")
        raw = _read_sources(work, sources, RAW)
        files = [replace(entry, name=entry.name.removeprefix(RAW)) for entry in raw.files]
        raw = replace(raw, files=tuple(files))
        return remove_rows(work, work.folder / RAW, raw, store.folder, record)

    section = record.section()
    return store.build("rows", VERSION, section, {"dump": dump}, make, engine, reporter)


def _list_sources(dump: Artifact, tables: Sequence[DumpTable]) -> list[Source]:
    digests = load_digests(dump)
    groups = groupby(_by_source(tables), lambda table: table.path)
    sources = [list(group) for _, group in groups]
    return [Source(source, digests[source[0].site, source[0].table]) for source in sources]


def _read_sources(work: Work, sources: Sequence[Source], prefix: str) -> Outcome:
    """Read all tables into files whose names begin with `prefix`."""
    tasks = [
        Task(source.name, (prefix, source), sum(table.num_bytes for table in source.tables))
        for source in sources
    ]
    outcomes = work.map(_read_source, tasks, unit="bytes", reports_itself=True, key=_key)
    return merge_outcomes(outcomes)


def _key(payload: tuple[str, Source]) -> str:
    prefix, source = payload
    return digest_json({"prefix": prefix, "name": source.name, "sha256": source.sha256})


def _by_source(tables: Sequence[DumpTable]) -> list[DumpTable]:
    # Largest first, so that the last task to end is a small one; the order is not part of anything.
    sizes: dict[Path, int] = {}
    for table in tables:
        sizes[table.path] = sizes.get(table.path, 0) + table.num_bytes
    return sorted(tables, key=lambda table: (-sizes[table.path], table.path, table.table))


def _read_source(folder: Path, payload: tuple[str, Source]) -> Outcome:
    prefix, source = payload
    return merge_outcomes(
        _read_table(folder, prefix, table, stream) for table, stream in _open_tables(source.tables)
    )


def _open_tables(tables: list[DumpTable]) -> Iterator[tuple[DumpTable, BinaryIO]]:
    table_by_member = {table.member: table for table in tables if table.member}
    if not table_by_member:
        for table in tables:
            with table.path.open("rb") as file:
                yield table, file
        return
    archive = tables[0].path
    # In archive order, the only one in which a solid block can be decoded in one pass.
    members = [member for member in list_members(archive) if member in table_by_member]
    for member, stream in iter_members(archive, members):
        yield table_by_member[member], stream


def _read_table(folder: Path, prefix: str, table: DumpTable, stream: BinaryIO) -> Outcome:
    name = f"{table.site}/{table.table}"
    batches = iter_row_batches(stream, table.table, file=f"{name}.xml")
    figures, rejected = Counter({"characters_repaired": 0}), Counter[str]()
    with ExitStack() as stack:
        rows = open_rows(folder, f"{prefix}rows/{name}.parquet", SCHEMAS[table.table])
        quarantine = open_rows(folder, f"{prefix}quarantine/{name}.parquet", QUARANTINE_SCHEMA)
        stack.enter_context(rows)
        for group in _iter_groups(batches):
            rows.write(pa.Table.from_batches([batch.rows for batch in group]))
            bad = pa.Table.from_batches([batch.quarantined for batch in group])
            if len(bad):
                if not rejected:
                    stack.enter_context(quarantine)
                quarantine.write(bad)
                rejected.update(bad["reason"].to_pylist())
            for batch in group:
                figures["characters_repaired"] += batch.num_repaired
                for attribute, count in batch.unknown_attributes.items():
                    figures[f"unknown_attribute {table.table}.{attribute}"] += count
                advance(batch.num_bytes)
    entries = [rows.entry(), *([quarantine.entry()] if rejected else [])]
    num_out = entries[0].num_rows
    flow = Flow(num_out + rejected.total(), num_out, rejected)
    return Outcome(tuple(entries), {table.table: flow}, figures)


def _iter_groups(batches: Iterable[RowBatch]) -> Iterator[list[RowBatch]]:
    """Gather batches until a group of them is worth a row group."""
    group: list[RowBatch] = []
    num_bytes = 0
    for batch in batches:
        group.append(batch)
        num_bytes += batch.rows.nbytes + batch.quarantined.nbytes
        if num_bytes >= GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group
