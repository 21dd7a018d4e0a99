"""Stage 3, posts: typed tables, partitioned by thread and sorted by key, whatever order they had.

A partition is a site and a range of thread ids; everything about a thread lies in one. Writes:

    posts/<site>/<partition>.parquet      as in the dump and `thread_id`; by thread_id, id
    comments/  history/  links/           likewise, by post_id, id
    rejects/<table>/<site>/<partition>.parquet    rows not carried on: table, id, reason
    threads/<site>.npy                    int64 (2, n): post ids ascending, and their threads
    users/<site>.arrow                    user id ascending, display name

A thread has the id of its question, whether that is in the dump or not; a post without a parent is
a thread of its own. A row of a post that is not in the dump is kept, where its post would be.

Of rows with one id the first in the dump stays. Comments, events and links are the same row only
where their post is the same, too: what is kept does not depend on the width of partitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.engine import Engine
from corpus.manifest import FileEntry, Flow, Outcome, digest_json, merge_outcomes
from corpus.progress import Reporter
from corpus.recipe import PostsSection
from corpus.rows import SCHEMAS
from corpus.shuffle import gather, scatter
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, read_table, write_table

VERSION = 1
# A scatter task holds a few times this in memory.
SCATTER_BYTES = 256_000_000
TEXT_COLUMNS = ("body", "text", "title", "comment")
# Ids are the 32-bit integers of a database, from 1 on.
MAX_ID = 2**31 - 1

FOLDER_BY_TABLE = {
    "Posts": "posts",
    "Comments": "comments",
    "PostHistory": "history",
    "PostLinks": "links",
}
POSTS_SCHEMA = SCHEMAS["Posts"].append(pa.field("thread_id", pa.int64()))
REJECT_SCHEMA = pa.schema({"table": pa.string(), "id": pa.int64(), "reason": pa.string()})
REJECT_REASONS = (
    "id_out_of_range",  # no site gave this id to the row, its post or its parent
    "repeated_id",  # an earlier row has it
)

Array = np.ndarray[Any, Any]


class Chunk(NamedTuple):
    """Some row groups of one table of one site: the work of one scatter task."""

    path: Path
    site: str
    table: str
    number: int  # within the table
    row_groups: list[int]
    partition_threads: int

    @property
    def name(self) -> str:
        """The name of the task and of the file that it writes."""
        return f"scatter/{self.site}/{self.table}-{self.number:05d}.arrow"


class Gathering(NamedTuple):
    """One partition of one table of one site: the work of one gather task."""

    paths: list[Path]
    site: str
    table: str
    partition: int

    @property
    def name(self) -> str:
        """The name of the partition's files; ten digits hold every id."""
        return f"{self.site}/{self.partition:010d}.parquet"


def build_posts(
    rows: Artifact, recipe: PostsSection, store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Partition and sort the typed rows, and index threads and user names."""

    def make(work: Work) -> Outcome:
        keys = _site_keys(rows, recipe)
        found = {site: work.take(site, key) for site, key in keys.items()}
        made = _make_sites(work, rows, recipe, [site for site in keys if found[site] is None])
        for site, outcome in made.items():
            work.keep(site, keys[site], outcome)
        return merge_outcomes(found[site] or made[site] for site in keys)

    return store.build("posts", VERSION, recipe, {"rows": rows}, make, engine, reporter)


def _site_keys(rows: Artifact, recipe: PostsSection) -> dict[str, str]:
    """Digest what the posts of each site follow from, by site, sorted."""
    files: dict[str, dict[str, str]] = {}
    for entry in rows.files("rows/"):
        files.setdefault(entry.name.split("/")[1], {})[entry.name] = entry.rows_sha256
    section = recipe.model_dump(mode="json")
    return {site: digest_json({"files": files[site], "recipe": section}) for site in sorted(files)}


def _make_sites(
    work: Work, rows: Artifact, recipe: PostsSection, sites: Sequence[str]
) -> dict[str, Outcome]:
    """Partition and index some sites; the outcome of each."""
    tasks = [Task(f"index/{site}", (rows.folder, site)) for site in sites]
    made = {
        site: [outcome] for site, outcome in zip(sites, work.map(_index_site, tasks), strict=True)
    }
    chunks = [chunk for chunk in _plan_chunks(rows, recipe) if chunk.site in made]
    scattered = work.map(_scatter_chunk, [Task(chunk.name, chunk) for chunk in chunks])
    gatherings = _plan_gatherings(work.folder, chunks, scattered)
    gathered = work.map(
        _gather_partition, [Task(f"gather/{one.table}/{one.name}", one) for one in gatherings]
    )
    for one, outcome in zip(gatherings, gathered, strict=True):
        made[one.site].append(outcome)
    return {site: merge_outcomes(outcomes) for site, outcomes in made.items()}


def read_partition(
    posts: Path, table: str, site: str, name: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read the rows of one partition of a table, none where it has no file.

    Args:
        posts: the folder of the artifact.
        table: Posts, Comments, PostHistory or PostLinks.
        site: the site's name.
        name: the partition's file, `<10 digits>.parquet`.
        columns: those to read; all else.
    """
    path = posts / FOLDER_BY_TABLE[table] / site / name
    if path.is_file():
        return read_table(path, columns)
    schema = POSTS_SCHEMA if table == "Posts" else SCHEMAS[table]
    return schema.empty_table().select(columns or schema.names)


def has_table(posts: Path, table: str, site: str) -> bool:
    """Tell whether a site has any rows of a table."""
    return (posts / FOLDER_BY_TABLE[table] / site).is_dir()


def load_threads(posts: Path, site: str) -> tuple[Any, Any]:
    """Memory-map a site's post ids (int64, ascending) and the thread id of each (int64)."""
    both = np.load(posts / "threads" / f"{site}.npy", mmap_mode="r")
    return both[0], both[1]


def thread_of(post_ids: Any, threads: tuple[Any, Any]) -> Any:
    """Return the thread of each post, int64; -1 where the post is not in the dump.

    >>> thread_of(np.array([2, 9]), (np.array([1, 2]), np.array([1, 1]))).tolist()
    [1, -1]
    """
    known, thread_ids = threads
    if not len(known):
        return np.full(len(post_ids), -1, "i8")
    places = np.minimum(np.searchsorted(known, post_ids), len(known) - 1)
    return np.where(known[places] == post_ids, thread_ids[places], -1)


def load_user_names(posts: Path, site: str) -> tuple[Any, pa.Array]:
    """Memory-map a site's user ids (int64, ascending) and their display names."""
    path = posts / "users" / f"{site}.arrow"
    if not path.is_file():
        return np.empty(0, "i8"), pa.array([], pa.large_string())
    # The one batch as it is: combining even one copies it, 650 MB for Stack Overflow's users.
    batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    return batch["id"].to_numpy(), batch["display_name"]


def _index_site(folder: Path, payload: tuple[Path, str]) -> Outcome:
    rows, site = payload
    source = rows / "rows" / site
    files = [_write_threads(folder, source / "Posts.parquet", site)]
    if (source / "Users.parquet").is_file():
        files.append(_write_users(folder, source / "Users.parquet", site))
    return Outcome(tuple(files))


def _write_threads(folder: Path, source: Path, site: str) -> FileEntry:
    posts = read_table(source, ["id", "parent_id"])
    posts = posts.filter(pa.array(_are_in_range(posts, "Posts")))
    ids, first = np.unique(posts["id"].to_numpy(), return_index=True)
    threads = pc.coalesce(posts["parent_id"], posts["id"]).to_numpy()[first]
    name = f"threads/{site}.npy"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, np.stack([ids, threads]).astype("<i8"))
    return describe_file(folder / name, name, num_rows=len(ids))


def _write_users(folder: Path, source: Path, site: str) -> FileEntry:
    users = read_table(source, ["id", "display_name"])
    ids, first = np.unique(users["id"].to_numpy(), return_index=True)
    names = users["display_name"].cast(pa.large_string()).take(pa.array(first))
    batch = pa.record_batch({"id": pa.array(ids), "display_name": names.combine_chunks()})
    name = f"users/{site}.arrow"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as out:
        out.write_batch(batch)
    return describe_file(folder / name, name, num_rows=len(ids))


def _are_in_range(rows: pa.Table, table: str) -> Array:
    """Tell rows whose own id and whose post's (of a post: its parent's) a site can have given."""
    other = pc.coalesce(rows["parent_id"], rows["id"]) if table == "Posts" else rows["post_id"]
    ids = np.stack([rows["id"].to_numpy(), other.to_numpy()])
    in_range: Array = np.all((ids >= 1) & (ids <= MAX_ID), axis=0)
    return in_range


def _plan_chunks(rows: Artifact, recipe: PostsSection) -> list[Chunk]:
    chunks = []
    for entry in rows.files("rows/"):
        _, site, file = entry.name.split("/")
        path, table = rows.path(entry.name), file.removesuffix(".parquet")
        if table in FOLDER_BY_TABLE:
            chunks += [
                Chunk(path, site, table, number, row_groups, recipe.partition_threads)
                for number, row_groups in enumerate(_cut_row_groups(path))
            ]
    return chunks


def _cut_row_groups(path: Path) -> Iterator[list[int]]:
    metadata = pq.read_metadata(path)
    row_groups: list[int] = []
    num_bytes = 0
    for number in range(metadata.num_row_groups):
        row_groups.append(number)
        num_bytes += metadata.row_group(number).total_byte_size
        if num_bytes >= SCATTER_BYTES:
            yield row_groups
            row_groups, num_bytes = [], 0
    if row_groups:
        yield row_groups


def _scatter_chunk(folder: Path, chunk: Chunk) -> Outcome:
    with pq.ParquetFile(chunk.path, page_checksum_verification=True) as file:
        rows = file.read_row_groups(chunk.row_groups)
    post_ids = rows["id" if chunk.table == "Posts" else "post_id"].to_numpy()
    threads = thread_of(post_ids, load_threads(folder, chunk.site))
    threads = np.where(threads < 0, post_ids, threads)
    # What is out of range is rejected when it is gathered; any partition would do.
    partitions = np.where(_are_in_range(rows, chunk.table), threads, 0) // chunk.partition_threads
    if chunk.table == "Posts":
        thread_ids = pc.coalesce(rows["parent_id"], rows["id"])
        rows = rows.append_column("thread_id", thread_ids)
    present = scatter(rows, partitions, folder / chunk.name)
    # The partitions travel as figures: a task's outcome is all that is kept of it.
    figures = {str(partition): 1 for partition in present}
    entry = describe_file(folder / chunk.name, chunk.name, num_rows=len(rows))
    return Outcome((entry,), {}, figures)


def _plan_gatherings(
    folder: Path, chunks: Sequence[Chunk], scattered: Sequence[Outcome]
) -> list[Gathering]:
    paths: dict[tuple[str, str, int], list[Path]] = {}
    for chunk, outcome in zip(chunks, scattered, strict=True):
        for partition in outcome.figures:
            key = (chunk.site, chunk.table, int(partition))
            paths.setdefault(key, []).append(folder / chunk.name)
    return [Gathering(files, *key) for key, files in sorted(paths.items())]


def _gather_partition(folder: Path, gathering: Gathering) -> Outcome:
    table, name = gathering.table, gathering.name
    rows = gather(gathering.paths, gathering.partition)
    assert rows is not None
    reasons = _reject_reasons(rows, table)
    order = [("thread_id" if table == "Posts" else "post_id", "ascending"), ("id", "ascending")]
    kept = rows.filter(pa.array(reasons == ""))
    kept = kept.take(pc.sort_indices(kept, order))
    schema = POSTS_SCHEMA if table == "Posts" else SCHEMAS[table]
    folder_name = FOLDER_BY_TABLE[table]
    files = [write_table(folder, f"{folder_name}/{name}", kept, schema, text_columns=TEXT_COLUMNS)]
    rejected = reasons[reasons != ""]
    if len(rejected):
        ids = rows["id"].filter(pa.array(reasons != ""))
        columns = [pa.repeat(table, len(ids)), ids, pa.array(rejected, pa.string())]
        rejects = pa.table(columns, schema=REJECT_SCHEMA)
        files.append(write_table(folder, f"rejects/{table}/{name}", rejects, REJECT_SCHEMA))
    flow = Flow(len(rows), files[0].num_rows, Counter(rejected.tolist()))
    return Outcome(tuple(files), {table: flow})


def _reject_reasons(rows: pa.Table, table: str) -> Array:
    """Return one of REJECT_REASONS for each row, or "": objects, shape (len(rows),)."""
    reasons = np.where(_are_in_range(rows, table), "", "id_out_of_range").astype(object)
    places = np.flatnonzero(reasons == "")
    keys = [
        rows[column].to_numpy()[places]
        for column in ("id", "post_id")
        if column in rows.column_names
    ]
    order = np.lexsort(keys)
    is_same = [key[order][1:] == key[order][:-1] for key in keys]
    reasons[places[order[1:]][np.all(is_same, axis=0)]] = "repeated_id"
    return reasons
