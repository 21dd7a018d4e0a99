"""Stage 12, release: the folder that is published, complete in itself.

    README.md                  the dataset card
    report.html                the statistics as one page
    statistics.json            the numbers of both
    proof.json                 what the leakage proof compared and found
    recipe.json                the recipe
    hold_out.txt               the threads and posts of test: what the next version must hold out
    data/<split>-….parquet     the dataset's own files, by hard link

`datasets.load_dataset` loads the folder as it is, and compares the card's numbers with the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc

from corpus.datacard import render_card
from corpus.durable import link, write_json
from corpus.engine import Engine
from corpus.errors import IntegrityError
from corpus.manifest import FileEntry, Json, Outcome, digest_file
from corpus.progress import Reporter
from corpus.recipe import SPLITS, Recipe
from corpus.report import render_report
from corpus.statistics import STATISTICS, load_statistics
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file, read_table

VERSION = 3
PROOF = "proof.json"
HOLD_OUT = "hold_out.txt"


def build_release(
    dataset: Artifact,
    leakage: Artifact,
    statistics: Artifact,
    recipe: Recipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Put together what is published."""

    def make(work: Work) -> Outcome:
        numbers, parquet = load_statistics(statistics), sum_files(dataset)
        folder = work.folder
        (folder / "README.md").write_text(render_card(recipe, numbers, parquet), "utf-8")
        (folder / "report.html").write_text(render_report(recipe, numbers, parquet), "utf-8")
        write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
        lines = "".join(f"{name}\n" for name in list_held_out(dataset))
        (folder / HOLD_OUT).write_text(lines, "utf-8")
        pages = [
            describe_file(folder / name, name)
            for name in ("README.md", "report.html", "recipe.json", HOLD_OUT)
        ]
        linked = [
            link_file(folder, artifact, entry)
            for artifact, prefix in ((dataset, "data/"), (leakage, PROOF), (statistics, STATISTICS))
            for entry in artifact.files(prefix)
        ]
        return Outcome((*pages, *linked))

    inputs = {"dataset": dataset, "leakage": leakage, "statistics": statistics}
    return store.build("release", VERSION, recipe, inputs, make, engine, reporter)


def sum_files(dataset: Artifact) -> Json:
    """Return by split, where there is one, `num_files` and `num_bytes` of the published files."""
    files = {split: dataset.files(f"data/{split}-") for split in SPLITS}
    return {
        split: {
            "num_files": len(entries),
            "num_bytes": sum(entry.num_bytes for entry in entries),
        }
        for split, entries in files.items()
        if entries
    }


def list_threads_of(dataset: Artifact, splits: Iterable[str]) -> list[str]:
    """Return the threads of some splits, as `<site>/<thread id>`, sorted."""
    threads = set()
    for split in splits:
        for entry in dataset.files(f"data/{split}-"):
            rows = read_table(dataset.path(entry.name), ["site", "thread_id"])
            ids = rows["thread_id"].cast("string")
            threads |= set(pc.binary_join_element_wise(rows["site"], ids, "/").to_pylist())
    return sorted(threads)


def list_held_out(dataset: Artifact) -> list[str]:
    """Return what the next version must hold out, sorted: the threads of test, and its posts.

    A post may move to another thread, as where questions are merged.
    """
    names = set(list_threads_of(dataset, ["test"]))
    for entry in dataset.files("data/test-"):
        names |= set(read_table(dataset.path(entry.name), ["doc_id"])["doc_id"].to_pylist())
    return sorted(names)


def link_file(folder: Path, artifact: Artifact, entry: FileEntry) -> FileEntry:
    """Give a file of an artifact a second name here, or copy it where that cannot be."""
    source, path = artifact.path(entry.name), folder / entry.name
    path.parent.mkdir(exist_ok=True)
    if not link(source, path) and digest_file(path) != entry.sha256:
        raise IntegrityError(
            f"{source} was changed since it was built; delete its folder and build again"
        )
    return entry
