from __future__ import annotations

import json
import os
import shutil
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from corpus import posts, rows, selection, splits
from corpus.datacard import MEANING_BY_COLUMN, format_toml, list_features, render_card
from corpus.dataset import DATASET_SCHEMA
from corpus.engine import LocalEngine
from corpus.errors import IntegrityError
from corpus.manifest import Flow
from corpus.progress import Reporter
from corpus.recipe import Recipe, parse_recipe
from corpus.release import build_release, sum_files
from corpus.rendering import explain_reason, format_bytes, quote_markdown
from corpus.statistics import load_statistics
from corpus.store import Artifact, Store, verify_artifact

Json = dict[str, Any]
CARD = {"name": "x", "title": "X", "summary": "Texts."}


@pytest.fixture(scope="module")
def artifacts(demo_build: Any) -> dict[str, Artifact]:
    return demo_build.artifacts


@pytest.fixture(scope="module")
def release(artifacts: dict[str, Artifact]) -> Artifact:
    return artifacts["release"]


@pytest.fixture(scope="module")
def card(release: Artifact) -> str:
    return release.path("README.md").read_text("utf-8")


@pytest.fixture
def numbers(artifacts: dict[str, Artifact]) -> Json:
    return load_statistics(artifacts["statistics"])


@pytest.fixture(scope="module")
def parquet(artifacts: dict[str, Artifact]) -> Json:
    return sum_files(artifacts["dataset"])


@pytest.fixture(scope="module")
def datasets() -> Any:
    import datasets  # a second that only these tests need

    datasets.disable_progress_bars()
    return datasets


def front_matter(card: str) -> Json:
    _, header, _ = card.split("---\n", 2)
    return yaml.safe_load(header)


def count_by_split(artifact: Artifact) -> dict[str, int]:
    counts: dict[str, int] = {}
    for path in sorted((artifact.folder / "data").iterdir()):
        split = path.name.split("-")[0]
        counts[split] = counts.get(split, 0) + pq.read_metadata(path).num_rows
    return counts


# Front matter -------------------------------------------------------------------------------


def test_the_front_matter_says_what_the_hub_asks_for(card: str, release: Artifact) -> None:
    found = front_matter(card)
    assert found["license"] == "cc-by-sa-4.0"
    assert found["language"] == ["en"]
    assert found["pretty_name"] == "sobert demo corpus"
    assert found["size_categories"] == ["n<1K"]
    assert found["task_categories"] == ["fill-mask"]
    assert found["source_datasets"] == ["original"]
    (config,) = found["configs"]
    assert config["default"] is True
    for data_files in config["data_files"]:
        assert list(release.folder.glob(data_files["path"]))
    assert [one["split"] for one in config["data_files"]] == ["train", "validation", "test"]


def test_the_sizes_of_the_front_matter_are_those_of_the_files(card: str, release: Artifact) -> None:
    info = front_matter(card)["dataset_info"]
    entries = release.files("data/")
    assert {one["name"]: one["num_examples"] for one in info["splits"]} == count_by_split(release)
    assert info["dataset_size"] == sum(one["num_bytes"] for one in info["splits"])
    assert info["download_size"] == sum(entry.num_bytes for entry in entries)
    assert info["download_size"] == sum(release.path(e.name).stat().st_size for e in entries)


def test_features_are_written_as_datasets_writes_them(datasets: Any, card: str) -> None:
    features = datasets.Features.from_arrow_schema(DATASET_SCHEMA)
    assert list_features(DATASET_SCHEMA) == features._to_yaml_list()
    assert front_matter(card)["dataset_info"]["features"] == features._to_yaml_list()


@pytest.mark.parametrize(
    ("num_documents", "category"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**9, "1B<n<10B")],
)
def test_the_size_category_follows_from_the_number_of_documents(
    demo_build: Any, numbers: Json, parquet: Json, num_documents: int, category: str
) -> None:
    numbers["totals"]["documents"] = num_documents
    found = front_matter(render_card(demo_build.recipe, numbers, parquet))
    assert found["size_categories"] == [category]


def test_an_absent_split_is_not_promised(demo_build: Any, numbers: Json, parquet: Json) -> None:
    del numbers["splits"]["validation"]
    found = front_matter(render_card(demo_build.recipe, numbers, parquet))
    assert [one["split"] for one in found["configs"][0]["data_files"]] == ["train", "test"]
    assert [one["name"] for one in found["dataset_info"]["splits"]] == ["train", "test"]


def test_several_languages_are_multilingual(demo_build: Any, numbers: Json, parquet: Json) -> None:
    section = demo_build.recipe.card.model_copy(update={"languages": ["no", "ru"]})
    recipe = demo_build.recipe.model_copy(update={"card": section})
    found = front_matter(render_card(recipe, numbers, parquet))
    assert found["language"] == ["no", "ru"]  # and not False
    assert found["multilinguality"] == ["multilingual"]


# Loading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["release", "dataset"])
def test_load_dataset_loads_every_split(
    datasets: Any, artifacts: dict[str, Artifact], card: str, stage: str, tmp_path: Path
) -> None:
    loaded = datasets.load_dataset(str(artifacts[stage].folder), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in loaded.items()} == count_by_split(artifacts[stage])
    assert f"dataset.num_rows  # {loaded.num_rows}" in card
    first = loaded["train"][0]
    assert first["doc_id"] == f"{first['site']}/{first['post_id']}"
    assert first["segments"][-1]["end"] == len(first["text"])


def test_load_dataset_refuses_a_card_whose_numbers_are_wrong(
    datasets: Any, release: Artifact, tmp_path: Path
) -> None:
    folder = tmp_path / "release"
    shutil.copytree(release.folder, folder)
    card = folder / "README.md"
    num_documents = count_by_split(release)["train"]
    text = card.read_text("utf-8")
    wrong = text.replace(f"num_examples: {num_documents}", f"num_examples: {num_documents + 1}")
    assert wrong != text
    card.write_text(wrong, "utf-8")
    with pytest.raises(datasets.exceptions.NonMatchingSplitsSizesError):
        datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


# The text -----------------------------------------------------------------------------------

SHOWN = (
    *(("totals", name) for name in ("documents", "comments", "authors", "tokens")),
    *(("splits", "train", name) for name in ("documents", "comments", "threads", "tokens")),
    ("splits", "test", "kinds", "question"),
    ("sites", "gardens.example.org", "documents"),
    ("sites", "gardens.example.org", "comments"),
    ("lengths", "over", "512"),
    *(("lengths", "quantiles", name) for name in ("50", "99")),
    ("tokens", "code"),
    ("segments", "code"),
    ("languages", "no_hint"),
    ("duplicates", "clusters"),
    ("duplicates", "removed", "exact"),
    ("duplicates", "removed", "near"),
    ("authors", "accounts"),
    ("authors", "documents", "deleted"),
    ("authors", "comments", "name"),
    ("vocabulary", "pieces"),
    ("proof", 0, "num_compared"),
    ("proof", 1, "num_found"),
    ("licences", 0, "count"),
    ("flows", 0, "rejected", "bad_date"),
)


def test_the_numbers_that_are_shown_are_those_of_the_statistics(
    demo_build: Any, numbers: Json, parquet: Json
) -> None:
    for row in numbers["licences"][1:]:
        row["count"] = 0  # they are added up
    for split in ("train", "validation"):
        numbers["splits"][split]["kinds"]["question"] = 0  # likewise
    wanted = []
    for place, path in enumerate(SHOWN):
        *parents, last = path
        parent: Any = numbers
        for key in parents:
            parent = parent[key]
        parent[last] = 987_654_000 + place
        wanted.append(f"{parent[last]:,}")
    card = render_card(demo_build.recipe, numbers, parquet)
    assert [number for number in wanted if number not in card] == []


def test_sizes_of_files_are_those_of_the_manifest(
    demo_build: Any, numbers: Json, parquet: Json
) -> None:
    changed = parquet | {"test": {"num_files": 4_321, "num_bytes": 98_765_432_100}}
    card = render_card(demo_build.recipe, numbers, changed)
    assert "| 98.8 GB | 4,321 |" in card
    assert format_bytes(parquet["train"]["num_bytes"]) in card


def test_every_artifact_is_named_by_its_id(card: str, artifacts: dict[str, Artifact]) -> None:
    for stage, artifact in artifacts.items():
        if stage not in ("statistics", "release"):
            assert f"| {stage} | `{artifact.manifest.id}` |" in card


def test_the_card_knows_no_machine(card: str, release: Artifact, demo_build: Any) -> None:
    for path in (release.folder, demo_build.dump, Path.cwd(), Path.home()):
        assert str(path) not in card


def test_every_column_is_explained() -> None:
    assert list(MEANING_BY_COLUMN) == DATASET_SCHEMA.names


def test_every_reason_of_every_stage_is_put_into_words() -> None:
    closed = (
        *rows.QUARANTINE_REASONS,
        *posts.REJECT_REASONS,
        *selection.REJECT_REASONS,
        *splits.REASONS,
    )
    reasons = {*closed, "exact", "near", "kind:tag_wiki", "document_left_out"} - {"duplicate"}
    assert all(explain_reason(reason) for reason in sorted(reasons))


def test_what_a_dump_says_has_no_power_over_the_page(
    demo_build: Any, numbers: Json, parquet: Json
) -> None:
    hostile = "![x](http://evil.example/x.png) | <img src=x>\n# `"
    numbers["sites"] = {hostile: numbers["sites"]["gardens.example.org"]}
    numbers["licences"] = [numbers["licences"][0] | {"licence": hostile, "count": 1}]
    numbers["example"] |= {"text": hostile + "\n```\n", "author_name": hostile}
    card = render_card(demo_build.recipe, numbers, parquet)
    outside = card.split("```json")[0] + card.split("```json")[1].split("\n```", 1)[1]
    assert "![x]" not in outside
    assert "<img" not in outside
    assert "evil" in outside
    assert json.loads(card.split("```json\n")[1].split("\n```")[0])["text"] == hostile + "\n```\n"


def test_quoted_text_stays_in_its_cell() -> None:
    assert quote_markdown("a|b\nc `d` *e*") == r"a\|b c \`d\` \*e\*"


def test_the_same_statistics_give_the_same_card(
    demo_build: Any, numbers: Json, parquet: Json, card: str
) -> None:
    assert render_card(demo_build.recipe, numbers, parquet) == card


# The recipe ---------------------------------------------------------------------------------


def read_toml(text: str) -> Recipe:
    return parse_recipe(tomllib.loads(text))


def test_the_recipe_of_the_card_can_be_read_back(demo_build: Any, card: str) -> None:
    shown = card.split("```toml\n")[1].split("```")[0]
    assert read_toml(shown) == demo_build.recipe


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.dates(date(2009, 1, 1), date(2030, 1, 1)),
    st.lists(st.integers(1, 9).map(lambda place: f"x.org/{place}"), max_size=5),
)
def test_any_recipe_can_be_read_back(summary: str, day: date, hold_out: list[str]) -> None:
    splits = {"cuts": {"test": day}, "hold_out": hold_out}
    recipe = parse_recipe({"card": CARD | {"summary": summary}, "splits": splits})
    assert read_toml(format_toml(recipe)) == recipe


def test_a_long_list_is_cut_and_says_where_it_is_whole() -> None:
    hold_out = [f"x.org/{place}" for place in range(1_012)]
    text = format_toml(parse_recipe({"card": CARD, "splits": {"hold_out": hold_out}}))
    assert '"x.org/11"] # and 1,000 more: recipe.json\n' in text
    assert read_toml(text).splits.hold_out == hold_out[:12]


def test_a_date_split_is_told_as_one(demo_build: Any, numbers: Json, parquet: Json) -> None:
    sections = demo_build.recipe.model_dump()
    sections["splits"]["cuts"] = {"validation": date(2019, 1, 1), "test": date(2020, 1, 1)}
    card = render_card(Recipe.model_validate(sections), numbers, parquet)
    assert "test begins on 2020-01-01, validation on 2019-01-01" in card
    assert "by a digest" not in card


# The release --------------------------------------------------------------------------------


def test_the_release_is_complete_and_intact(release: Artifact, demo_build: Any) -> None:
    names = {path.name for path in release.folder.iterdir()}
    pages = {"README.md", "report.html", "statistics.json", "proof.json", "recipe.json"}
    pages.add("hold_out.txt")
    assert names == pages | {"data", "manifest.json", "provenance.json"}
    verify_artifact(release)
    kept = json.loads(release.path("recipe.json").read_bytes())
    assert kept == demo_build.recipe.model_dump(mode="json")


def test_published_files_are_those_of_the_dataset(
    release: Artifact, artifacts: dict[str, Artifact]
) -> None:
    dataset = artifacts["dataset"]
    assert release.files("data/") == dataset.files("data/")
    for entry in dataset.files("data/"):
        assert release.path(entry.name).samefile(dataset.path(entry.name))


def build_again(artifacts: dict[str, Artifact], recipe: Recipe, folder: Path) -> Artifact:
    inputs = (artifacts[stage] for stage in ("dataset", "leakage", "statistics"))
    return build_release(*inputs, recipe, Store(folder), LocalEngine(), Reporter(quiet=True))


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("this file system has no hard links")

    monkeypatch.setattr(os, "link", refuse)


def test_files_are_copied_where_there_are_no_hard_links(
    artifacts: dict[str, Artifact],
    release: Artifact,
    demo_build: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_links(monkeypatch)
    again = build_again(artifacts, demo_build.recipe, tmp_path)
    assert again.manifest.id == release.manifest.id
    verify_artifact(again)
    for entry in again.files("data/"):
        assert again.path(entry.name).stat().st_nlink == 1


def test_a_damaged_file_is_not_copied(
    artifacts: dict[str, Artifact],
    demo_build: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_links(monkeypatch)
    dataset = artifacts["dataset"]
    damaged = Artifact(tmp_path / "dataset", dataset.manifest)
    shutil.copytree(dataset.folder, damaged.folder)
    with damaged.path(dataset.files("data/")[0].name).open("r+b") as file:
        file.write(b"PAR2")
    with pytest.raises(IntegrityError, match="was changed since it was built"):
        build_again(artifacts | {"dataset": damaged}, demo_build.recipe, tmp_path / "store")


def test_a_release_that_was_interrupted_is_made_anew(
    artifacts: dict[str, Artifact], release: Artifact, demo_build: Any, tmp_path: Path
) -> None:
    linked, half = release.files("data/")[:2]
    building = tmp_path / "release" / f"{release.folder.name}.building"
    (building / "data").mkdir(parents=True)
    (building / linked.name).hardlink_to(release.path(linked.name))
    (building / half.name).write_bytes(b"half a file")
    again = build_again(artifacts, demo_build.recipe, tmp_path)
    verify_artifact(again)
    assert not building.exists()


def test_no_documents_are_lost_on_the_way_to_the_statistics(
    artifacts: dict[str, Artifact],
) -> None:
    num_documents = sum(count_by_split(artifacts["dataset"]).values())
    flow = artifacts["statistics"].manifest.outcome.flows["documents"]
    assert flow == Flow(num_documents, num_documents)


def test_features_of_a_struct_are_those_of_its_fields() -> None:
    schema = pa.schema({"a": pa.struct({"b": pa.list_(pa.struct({"c": pa.bool_()}))})})
    inner = {"name": "b", "list": [{"name": "c", "dtype": "bool"}]}
    assert list_features(schema) == [{"name": "a", "struct": [inner]}]
