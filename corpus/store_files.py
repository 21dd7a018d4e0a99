"""Every file of a store as texts and ids, for the search that proves a takedown.

Read are Parquet (every column, nested ones too), Arrow, JSON, JSON lines, thread indexes, SQLite
(the tables, and the bytes of the file), the shards, decoded, and all else as bytes.
"""

from __future__ import annotations

import html
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.indexed import IndexedReader
from corpus.searcher import Searcher
from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer, load_tokenizer

BATCH_ROWS = 2_000
_UNREADABLE = {".7z", ".bz2", ".gz", ".pt", ".safetensors", ".tar", ".xz", ".zip", ".zst"}
_NAMED_BY = ("doc_id", "example_id", "item_id")


class Unreadable(Exception):
    """A file that holds nothing that can be searched as it is."""


Part = tuple[Sequence[str], Counter[str]]


def read_parts(path: Path, store: Path, site: str | None, searcher: Searcher) -> Iterator[Part]:
    """Yield texts of a file, and the hits among its ids.

    Raises:
        Unreadable: it holds nothing that can be searched as it is.
    """
    match path.suffix:
        case ".parquet":
            return _read_parquet(path, site, searcher)
        case ".arrow":
            return _read_arrow(path, site, searcher)
        case ".json" | ".jsonl":
            return _read_json(path, site, searcher)
        case ".npy" if path.parent.name == "threads":
            ids = np.load(path, mmap_mode="r")
            return iter([((), searcher.search_ids("post_id", ids, site or "", None))])
        case ".bin":
            return _read_shard(path, store)
        case ".sqlite":
            return _read_sqlite(path, searcher)
        case suffix if suffix in _UNREADABLE:
            raise Unreadable
    return _read_bytes(path)


def _read_parquet(path: Path, site: str | None, searcher: Searcher) -> Iterator[Part]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS):
            yield from _read_rows(pa.Table.from_batches([batch]), site, _table_of(path), searcher)


def _read_arrow(path: Path, site: str | None, searcher: Searcher) -> Iterator[Part]:
    table = "Users" if path.parent.name == "users" else None
    with pa.ipc.open_file(path) as file:
        for number in range(file.num_record_batches):
            rows = pa.Table.from_batches([file.get_batch(number)])
            yield from _read_rows(rows, site, table, searcher)


def _table_of(path: Path) -> str | None:
    """Return the table whose rows a file of the stages rows and posts has."""
    folders = {"posts": "Posts", "comments": "Comments"}
    if path.parents[1].name == "rows":
        return path.stem
    return folders.get(path.parents[1].name)


def _read_rows(
    rows: pa.Table, site: str | None, table: str | None, searcher: Searcher
) -> Iterator[Part]:
    sites = _sites_of(rows, site)
    for one in sorted(set(sites)):
        part = rows if len(set(sites)) == 1 else rows.filter(pa.array([s == one for s in sites]))
        texts: list[str] = []
        hits = Counter[str]()
        for column in part.column_names:
            for chunk in part[column].chunks:
                for name, leaf in _iter_leaves(column, chunk):
                    if pa.types.is_integer(leaf.type):
                        ids = leaf.drop_null().to_numpy(zero_copy_only=False)
                        hits += searcher.search_ids(name, ids, one, table)
                    else:
                        texts += _texts_of(leaf)
        yield texts, hits


def _sites_of(rows: pa.Table, site: str | None) -> list[str]:
    if "site" in rows.column_names:
        return [one or "" for one in rows["site"].to_pylist()]
    for column in _NAMED_BY:
        if column in rows.column_names:
            return [(name or "").partition("/")[0] for name in rows[column].to_pylist()]
    return [site or ""] * len(rows)


def _iter_leaves(name: str, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    kind = array.type
    if pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from _iter_leaves(kind.field(number).name, pa.compute.struct_field(array, number))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _iter_leaves(name, array.flatten())
    elif pa.types.is_dictionary(kind):
        yield from _iter_leaves(name, array.dictionary_decode())
    elif pa.types.is_integer(kind) or _is_text(kind):
        yield name, array


def _is_text(kind: pa.DataType) -> bool:
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
    return any(is_it(kind) for is_it in texts)


def _texts_of(leaf: pa.Array) -> list[str]:
    values = leaf.drop_null().to_pylist()
    if pa.types.is_binary(leaf.type):
        return [html.unescape(value.decode(errors="replace")) for value in values]
    texts: list[str] = values
    return texts


def _read_json(path: Path, site: str | None, searcher: Searcher) -> Iterator[Part]:
    content = path.read_bytes()
    lines = content.split(b"\n") if path.suffix == ".jsonl" else [content]
    for line in filter(None, lines):
        try:
            value = json.loads(line)
        except ValueError:
            yield [line.decode(errors="replace")], Counter()
            continue
        hits = Counter[str]()
        texts = list(_walk(value, "", site, searcher, hits))
        yield texts, hits


def _walk(
    value: Any, key: str, site: str | None, searcher: Searcher, hits: Counter[str]
) -> Iterator[str]:
    """Yield the texts of a JSON value, keys too; count the ids in it."""
    if isinstance(value, Mapping):
        named = [value.get("site"), *(str(value.get(name, "")) for name in _NAMED_BY)]
        own = next((one.partition("/")[0] for one in named if isinstance(one, str) and one), site)
        for name, one in value.items():
            yield str(name)
            yield from _walk(one, str(name), own, searcher, hits)
    elif isinstance(value, list):
        for one in value:
            yield from _walk(one, key, site, searcher, hits)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int):
        hits.update(searcher.search_ids(key, np.array([value], object), site or "", None))


def _read_shard(path: Path, store: Path) -> Iterator[Part]:
    tokenizer = _tokenizer_of(path.parent, store)
    prefix = path.with_suffix("")
    if tokenizer is None or not prefix.with_suffix(".idx").is_file():
        raise Unreadable
    reader = IndexedReader(prefix)
    for number in range(reader.num_documents):
        sequences = reader.document(number)
        yield [tokenizer.decode(np.concatenate(sequences))] if sequences else [], Counter()


def _tokenizer_of(folder: Path, store: Path) -> Tokenizer | None:
    """Return the tokenizer that an artifact of shards was made with; None where it is gone."""
    try:
        wanted = json.loads((folder / "manifest.json").read_bytes())["inputs"]["tokenizer"]
        for manifest in sorted(store.glob("tokenizer/*/manifest.json")):
            if json.loads(manifest.read_bytes())["id"] == wanted:
                return load_tokenizer(manifest.with_name(MODEL))
    except (OSError, ValueError, LookupError):
        pass
    return None


def _read_sqlite(path: Path, searcher: Searcher) -> Iterator[Part]:
    yield from _read_bytes(path)  # pages that hold no row any more, too
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            listed = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in listed.fetchall():
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    yield _read_row(row, searcher)
    except sqlite3.Error as error:
        raise Unreadable from error


def _read_row(row: Iterable[object], searcher: Searcher) -> Part:
    """Return the texts of a row of SQLite, those inside its JSON too, and hits among ids there."""
    values = [value for value in row if isinstance(value, str)]
    site = next(
        (v.partition("/")[0] for v in values if v.partition("/")[0] in searcher.sites), None
    )
    texts: list[str] = []
    hits = Counter[str]()
    for value in values:
        try:
            texts += _walk(json.loads(value), "", site, searcher, hits)
        except ValueError:
            texts.append(value)
    return texts, hits


def _read_bytes(path: Path) -> Iterator[Part]:
    text = path.read_bytes().decode(errors="replace")
    yield [html.unescape(text) if path.suffix == ".html" else text], Counter()
