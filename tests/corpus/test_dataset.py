"""The published Parquet: what the Hub expects, every kept document once, bytes that stay."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from corpus import tables
from corpus.dataset import DATASET_SCHEMA, build_dataset, shard_width
from corpus.dedup import build_dedup
from corpus.engine import LocalEngine
from corpus.manifest import Flow
from corpus.progress import Reporter
from corpus.recipe import SPLITS, CutsSection, SplitsSection, parse_recipe
from corpus.splits import build_splits
from corpus.store import Artifact, Store
from corpus.tables import read_table

Row = dict[str, Any]

THIRDS = SplitsSection(fractions={"train": 0.5, "validation": 0.25, "test": 0.25})


def own_text(number: int) -> str:
    rng = random.Random(number)
    return " ".join(f"word{rng.randrange(10**6)}" for _ in range(30))


@pytest.fixture
def build(
    make_documents: Callable[..., dict[str, Artifact]], tmp_path: Path
) -> Callable[..., Artifact]:
    """Build the dataset of documents given as rows."""

    def run(
        rows: Sequence[Row], section: SplitsSection = THIRDS, partition_threads: int = 16
    ) -> Artifact:
        recipe = parse_recipe({"card": {"name": "x", "title": "X", "summary": ""}})
        recipe = recipe.model_copy(update={"splits": section})
        made = make_documents(rows, partition_threads=partition_threads)
        at = (Store(tmp_path / "store"), LocalEngine(), Reporter(quiet=True))
        dedup = build_dedup(made["documents"], recipe.dedup, *at)
        splits = build_splits(made["documents"], dedup, made["posts"], recipe, *at)
        return build_dataset(made["documents"], dedup, splits, recipe.splits, *at)

    return run


def read_rows(artifact: Artifact, folder: str) -> dict[str, list[Row]]:
    return {
        entry.name.removeprefix(folder): read_table(artifact.path(entry.name)).to_pylist()
        for entry in artifact.files(folder)
    }


def test_the_datasets_library_reads_it_as_it_is(demo_build: Any, tmp_path: Path) -> None:
    dataset = demo_build.artifacts["dataset"]
    figures = demo_build.artifacts["splits"].manifest.outcome.figures
    loaded = datasets.load_dataset(str(dataset.folder), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in loaded.items()} == {
        split: figures[f"documents_{split}"] for split in SPLITS
    }
    assert loaded["train"].features.arrow_schema.remove_metadata() == DATASET_SCHEMA
    expected = [row for name, rows in read_rows(dataset, "data/test").items() for row in rows]
    assert loaded["test"].to_list() == expected


def test_every_kept_document_is_there_once_with_its_group_and_cluster(demo_build: Any) -> None:
    artifacts = demo_build.artifacts
    documents = {
        row["doc_id"]: row
        for rows in read_rows(artifacts["documents"], "documents/").values()
        for row in rows
    }
    clusters = {
        row["doc_id"]: row["cluster"]
        for row in read_table(artifacts["dedup"].path("clusters.parquet")).to_pylist()
    }
    expected: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for name, rows in read_rows(artifacts["splits"], "splits/").items():
        for row in rows:
            if row["split"]:
                doc_id = f"{name.split('/')[0]}/{row['post_id']}"
                judged = {"group": row["group"], "cluster": clusters.get(doc_id)}
                expected[row["split"]].append(documents[doc_id] | judged)
    found: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for name, rows in read_rows(artifacts["dataset"], "data/").items():
        found[name.split("-")[0]] += rows
    assert found == expected
    assert sum(row["cluster"] is not None for rows in found.values() for row in rows) == 5


def test_files_are_named_as_the_hub_names_them_and_none_is_empty(
    build: Callable[..., Artifact],
) -> None:
    rows = [
        {"post_id": number, "site": site, "text": own_text(number * 2 + (site > "x"))}
        for number in range(1, 144)
        for site in ("a.org", "x.org")
    ]
    made = build(rows)
    for split in SPLITS:
        entries = made.files(f"data/{split}-")
        total = len(entries)
        names = [f"data/{split}-{place:05d}-of-{total:05d}.parquet" for place in range(total)]
        assert [entry.name for entry in entries] == names
        assert all(entry.num_rows for entry in entries)
    # 9 partitions a site; halves are two wide, quarters four wide.
    assert [len(made.files(f"data/{split}-")) for split in SPLITS] == [10, 6, 6]
    assert made.manifest.outcome.flows["documents"] == Flow(286, 286)


def test_rows_go_by_site_thread_and_post(build: Callable[..., Artifact]) -> None:
    rows = [
        {
            "post_id": number,
            "site": site,
            "thread_id": number % 50 + 1,
            "text": own_text(7 * number),
        }
        for number, site in enumerate(["x.org", "a.org", "x.org-b"] * 50, 1)
    ]
    random.Random(0).shuffle(rows)
    made = build(rows)
    for split in SPLITS:
        parts = read_rows(made, f"data/{split}-").values()
        keys = [(row["site"], row["thread_id"], row["post_id"]) for part in parts for row in part]
        assert keys == sorted(keys)
        assert all(len({row["site"] for row in part}) == 1 for part in parts)


def test_a_new_thread_leaves_the_bytes_of_other_ranges_alone(
    build: Callable[..., Artifact],
) -> None:
    rows = [{"post_id": number, "text": own_text(number)} for number in range(1, 161)]
    before = build(rows)
    after = build([*rows, *({"post_id": n, "text": own_text(n)} for n in range(500, 510))])
    kept = {entry.sha256 for entry in before.files()}
    assert kept < {entry.sha256 for entry in after.files()}
    # One more thread in the last range: one file of one split is another.
    after = build([*rows, {"post_id": 161, "text": own_text(161)}])
    new = {entry.name.split("-")[0] for entry in after.files() if entry.sha256 not in kept}
    assert len(new) == 1


@pytest.mark.parametrize(
    ("fractions", "widths"),
    [
        ({"train": 0.98, "validation": 0.01, "test": 0.01}, (1, 64, 64)),
        ({"train": 0.7, "validation": 0.15, "test": 0.15}, (1, 4, 4)),
        ({"train": 0.5, "validation": 0.25, "test": 0.25}, (2, 4, 4)),
        ({"train": 1.0, "validation": 0.0, "test": 0.0}, (1, 64, 64)),
        ({"train": 0.0, "validation": 0.001, "test": 0.999}, (64, 64, 1)),
    ],
)
def test_shards_of_a_small_split_are_wide(
    fractions: dict[str, float], widths: tuple[int, ...]
) -> None:
    section = SplitsSection(fractions=fractions)
    assert tuple(shard_width(split, section) for split in SPLITS) == widths


def test_shards_by_date_are_narrow_because_the_last_partitions_are_all_test() -> None:
    section = SplitsSection(cuts=CutsSection(test=date(2020, 1, 1)))
    assert [shard_width(split, section) for split in SPLITS] == [1, 8, 8]


def test_row_groups_have_a_bound(
    build: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP_BYTES", 10_000)
    rows = [{"post_id": number, "text": own_text(number)} for number in range(1, 101)]
    made = build(rows, partition_threads=1000)
    (entry,) = made.files("data/train-")
    metadata = pq.read_metadata(made.path(entry.name))
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    assert len(groups) > 2
    assert all(group.total_byte_size < 20_000 for group in groups)


def test_the_bytes_of_texts_are_counted(demo_build: Any) -> None:
    dataset = demo_build.artifacts["dataset"]
    for split in SPLITS:
        texts = [r["text"] for rows in read_rows(dataset, f"data/{split}-").values() for r in rows]
        figure = dataset.manifest.outcome.figures[f"text_bytes_{split}"]
        assert figure == sum(len(text.encode()) for text in texts)


def test_no_documents_are_no_files(build: Callable[..., Artifact]) -> None:
    made = build([])
    assert made.files() == []
    assert made.manifest.outcome.flows["documents"] == Flow()
