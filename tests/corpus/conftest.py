"""What the tests of the stages share: dumps written from rows, and the line up to documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pytest

from corpus.documents import DOCUMENT_SCHEMA, build_documents
from corpus.dump import build_dump, find_tables
from corpus.engine import LocalEngine
from corpus.ingest import build_rows
from corpus.manifest import Flow, Outcome
from corpus.posts import build_posts
from corpus.progress import Reporter
from corpus.recipe import DocumentsSection, PostsSection
from corpus.rows import SCHEMAS
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file, write_table

AT = "2016-01-02T03:04:05.678"
# What every row of a table has to have; a test names what it is about.
DEFAULTS: dict[str, dict[str, Any]] = {
    "Posts": {"PostTypeId": 1, "CreationDate": AT, "Body": "<p>words</p>", "OwnerUserId": 11},
    "Comments": {"CreationDate": AT, "Text": "words", "UserId": 11},
    "PostHistory": {"PostHistoryTypeId": 2, "CreationDate": AT, "UserId": 11},
    "PostLinks": {"CreationDate": AT, "LinkTypeId": 3},
    "Users": {},
}


@pytest.fixture
def write_dump(tmp_path: Path) -> Callable[..., str]:
    """Write tables of rows (attributes; None takes one away) as the dump of a site."""

    def write(site: str = "x.example.org", **tables: Sequence[Mapping[str, Any]]) -> str:
        folder = tmp_path / "dump" / site
        folder.mkdir(parents=True, exist_ok=True)
        for table, rows in tables.items():
            lines = [_row_xml({**DEFAULTS[table], **row}) for row in rows]
            root = table.lower()
            (folder / f"{table}.xml").write_text(
                "\n".join([f"<{root}>", *lines, f"</{root}>"]), "utf-8"
            )
        return str(folder)

    return write


def _row_xml(row: Mapping[str, Any]) -> str:
    attributes = [f"{k}={quoteattr(str(v))}" for k, v in row.items() if v is not None]
    return f"<row {' '.join(attributes)} />"


@pytest.fixture(scope="session")
def run_stages() -> Callable[..., dict[str, Artifact]]:
    """Run the line up to documents; return the artifact of each stage."""

    def run(
        store: Path,
        *dumps: object,
        posts: PostsSection | None = None,
        documents: DocumentsSection | None = None,
    ) -> dict[str, Artifact]:
        tables = find_tables(map(str, dumps))
        at = (Store(store), LocalEngine(), Reporter(quiet=True))
        dump = build_dump(tables, *at)
        rows = build_rows(dump, tables, *at)
        parted = build_posts(rows, posts or PostsSection(), *at)
        made = build_documents(parted, documents or DocumentsSection(), *at)
        return {"dump": dump, "rows": rows, "posts": parted, "documents": made}

    return run


@pytest.fixture(scope="session")
def demo_stages(demo_build: Any) -> dict[str, Artifact]:
    """The artifacts of the demo build: partitions of 64 threads, the usual documents."""
    artifacts: dict[str, Artifact] = demo_build.artifacts
    return artifacts


@pytest.fixture
def make_documents(tmp_path: Path) -> Callable[..., dict[str, Artifact]]:
    """Make the artifacts `posts` and `documents` of documents given as rows, without a dump.

    A row has a post_id and a text, and what else its test is about; `links` are duplicate links
    (site, post_id, related_post_id), `store` the name of a folder.
    """

    def make(
        rows: Sequence[Mapping[str, Any]],
        links: Sequence[tuple[str, int, int]] = (),
        *,
        partition_threads: int = 64,
        store: str = "store",
    ) -> dict[str, Artifact]:
        documents = [_document(row) for row in rows]
        documents.sort(key=lambda row: (row["site"], row["thread_id"], row["post_id"]))
        at = (LocalEngine(), Reporter(quiet=True))
        made = {}
        for stage, write in (("posts", _write_posts), ("documents", _write_documents)):
            plan = {"rows": repr(documents), "links": repr(links), "width": partition_threads}
            run = partial(write, documents, links, partition_threads)
            made[stage] = Store(tmp_path / store).build(stage, 1, plan, {}, run, *at)
        return made

    return make


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    """A whole document of the fields that a test gives; `comments` are (time, text)."""
    at = datetime(2016, 1, 1, tzinfo=UTC) + timedelta(hours=row["post_id"])
    document = {"site": "x.org", "thread_id": row["post_id"], "created_at": at, "score": 0, **row}
    comments = document.pop("comments", [])
    document["body_end"] = len(document["text"])
    segments = [{"kind": "prose", "start": 0, "end": document["body_end"]}]
    for comment_at, comment in comments:
        start = len(document["text"]) + 2
        document["text"] += f"\n\n{comment}"
        segments.append({"kind": "comment", "start": start, "end": start + len(comment)})
        document.setdefault("comments", []).append({"created_at": comment_at})
    doc_id = f"{document['site']}/{document['post_id']}"
    return {"doc_id": doc_id, "segments": segments, "comments": [], **document}


def _write_documents(
    documents: Sequence[Mapping[str, Any]], links: object, width: int, work: Work
) -> Outcome:
    by_partition: dict[str, list[Mapping[str, Any]]] = {}
    for row in documents:
        name = f"documents/{row['site']}/{row['thread_id'] // width:08d}.parquet"
        by_partition.setdefault(name, []).append(row)
    files = [
        write_table(work.folder, name, pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), DOCUMENT_SCHEMA)
        for name, rows in sorted(by_partition.items())
    ]
    return Outcome(tuple(files), {"documents": Flow(len(documents), len(documents))})


def _write_posts(
    documents: Sequence[Mapping[str, Any]],
    links: Sequence[tuple[str, int, int]],
    width: int,
    work: Work,
) -> Outcome:
    files = []
    for site in sorted({row["site"] for row in documents}):
        posts = sorted((r["post_id"], r["thread_id"]) for r in documents if r["site"] == site)
        path = work.folder / "threads" / f"{site}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.array(posts).T)
        files.append(describe_file(path, f"threads/{site}.npy"))
        rows = [
            {"id": number, "post_id": one, "related_post_id": other, "link_type_id": 3}
            for number, (of, one, other) in enumerate(links)
            if of == site
        ]
        table = pa.Table.from_pylist(rows, SCHEMAS["PostLinks"])
        name = f"links/{site}/00000000.parquet"
        files.append(write_table(work.folder, name, table, table.schema))
    return Outcome(tuple(files))
