"""Benchmarks built as their users build them: one command, the same bytes, cards that load."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from corpus.store import Store
from labeling.dealing import CANARY
from sobert import main
from tests.conftest import CHECKOUT

DATACARDS = CHECKOUT / "datacards"
QUALITY_ROWS = [
    "Id,Title,Body,Tags,CreationDate,Y",
    *(
        f'{n},How to do {n} things,"<p>I want number {n} of {n * 7} to be {n * 13}</p>",<a><b>,'
        f"2016-01-{n % 27 + 1:02} 00:21:59,{('HQ', 'LQ_EDIT', 'LQ_CLOSE')[n % 3]}"
        for n in range(1, 61)
    ),
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def build(task: str, store: Path, *more: object, recipe: str | None = None) -> Result:
    path = DATACARDS / (recipe or f"demo-{task}") / "recipe.toml"
    return run("labeling", "build", task, path, "--store", store, "--quiet", *more)


def ids_of(store: Path, name: str) -> dict[str, str]:
    found = run("corpus", "show", name, "--store", store, "--json")
    return {stage: one["id"] for stage, one in json.loads(found.stdout)["stages"].items()}


@pytest.fixture
def quality_csv(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text("\n".join(QUALITY_ROWS) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("task", ["quality", "closed"])
def test_a_benchmark_of_the_demo_is_built_by_one_command(task: str, demo_copy: Store) -> None:
    result = build(task, demo_copy.folder)
    assert result.exit_code == 0, result.stderr
    assert f"sobert labeling probe demo-{task}" in result.stdout
    release = Path(re.findall(r"benchmark (\S+)", result.stdout)[0])
    text = (release / "README.md").read_text("utf-8")
    front = yaml.safe_load(text.split("---")[1])
    assert front["dataset_info"]["splits"]
    assert "| majority |" in text and "| No thread of validation or test" in text
    assert CANARY in text
    assert (release / "hold_out.txt").read_text().startswith("gardens.example.org/")
    again = build(task, demo_copy.folder, "--json")
    assert json.loads(again.stdout)["name"] == f"demo-{task}"


def test_two_workers_in_another_store_give_the_same_ids(demo_copy: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(demo_copy.folder, other)
    assert build("closed", demo_copy.folder).exit_code == 0
    assert build("closed", other, "--workers", 2).exit_code == 0
    ids = ids_of(demo_copy.folder, "demo-closed")
    assert len(ids) == 6 and ids_of(other, "demo-closed") == ids


def test_a_key_of_the_probes_reruns_the_probes_alone(demo_copy: Store, tmp_path: Path) -> None:
    assert build("closed", demo_copy.folder).exit_code == 0
    before = ids_of(demo_copy.folder, "demo-closed")
    made_at = {p: p.stat().st_mtime_ns for p in demo_copy.folder.glob("*/*/manifest.json")}
    text = (DATACARDS / "demo-closed" / "recipe.toml").read_text("utf-8")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text.replace("[probes]\n", "[probes]\nseed = 2\n"), "utf-8")
    result = run("labeling", "build", "closed", recipe, "--store", demo_copy.folder, "--quiet")
    assert result.exit_code == 0, result.stderr
    fresh = {
        path.parts[-3]
        for path in demo_copy.folder.glob("*/*/manifest.json")
        if made_at.get(path) != path.stat().st_mtime_ns
    }
    assert fresh == {"probes", "release"}
    after = ids_of(demo_copy.folder, "demo-closed")
    assert {k for k in before if before[k] == after[k]} >= {"labels", "examples", "benchmark"}


def test_the_release_loads_as_a_dataset(
    quality_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    store = tmp_path / "store"
    result = build("quality", store, "--source", quality_csv, recipe="quality-60k")
    assert result.exit_code == 0, result.stderr
    release = re.findall(r"benchmark (\S+)", result.stdout)[0]
    loaded = datasets.load_dataset(release, cache_dir=str(tmp_path / "cache"))
    assert sum(loaded.num_rows.values()) == 60
    assert set(loaded["test"].unique("canary")) != {None}
    assert loaded["train"].unique("canary") == [None]


def test_a_published_file_is_not_told_by_its_name_or_place(
    quality_csv: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert build("quality", store, "--source", quality_csv, recipe="quality-60k").exit_code == 0
    before = ids_of(store, "quality-60k")
    other = tmp_path / "elsewhere" / "valid.csv"
    other.parent.mkdir()
    quality_csv.rename(other)
    assert build("quality", store, "--source", other, recipe="quality-60k").exit_code == 0
    assert ids_of(store, "quality-60k") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("LQ_EDIT", "LQ_EDITED", 1),
            "line 2, column Y: .LQ_EDITED. is none of",
        ),
        (lambda text: text[: len(text) // 2], "line"),
        (lambda text: text.replace("CreationDate", "Created"), "CreationDate"),
        (lambda text: "", "line 1: the header misses"),
    ],
)
def test_a_wrong_or_half_file_ends_in_one_line_and_nothing_is_written(
    quality_csv: Path, tmp_path: Path, change: Any, message: str
) -> None:
    quality_csv.write_text(change(quality_csv.read_text("utf-8")), "utf-8")
    store = tmp_path / "store"
    result = build("quality", store, "--source", quality_csv, recipe="quality-60k")
    assert result.exit_code == 1
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(store.glob("*/*/manifest.json"))


def test_what_cannot_be_built_is_said_in_one_line(demo_copy: Store, tmp_path: Path) -> None:
    store = demo_copy.folder
    cases = [
        (build("closed", store, recipe="demo-quality"), "one of quality, not of closed"),
        (build("quality", store, recipe="quality-60k"), "names no corpus"),
        (build("quality", store, recipe="stack-quality"), "has no build 'stack-benchmarks'"),
        (build("ner", store, "--source", tmp_path / "x.txt", recipe="ner-stackoverflow"), "no"),
        (run("labeling", "probe", "demo", "--store", store), "has no probes"),
        (
            run("labeling", "contamination", "demo", "--corpus", "demo", "--store", store),
            "no finished benchmark",
        ),
    ]
    for result, message in cases:
        assert result.exit_code == 1, result.stdout
        assert message in result.stderr and result.stderr.startswith("sobert: ")


def test_a_benchmark_cannot_take_the_name_of_a_corpus(demo_copy: Store, tmp_path: Path) -> None:
    text = (DATACARDS / "demo-quality" / "recipe.toml").read_text("utf-8")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text.replace('"demo-quality"', '"demo"'), "utf-8")
    result = run("labeling", "build", "quality", recipe, "--store", demo_copy.folder)
    assert result.exit_code == 1 and "is a corpus in this store" in result.stderr


def test_contamination_of_another_corpus_exits_with_3_and_lists_offenders(
    demo_copy: Store, tmp_path: Path
) -> None:
    """The same dump dealt out with another salt: what was test is train there."""
    assert build("closed", demo_copy.folder).exit_code == 0
    clean = ("labeling", "contamination", "demo-closed", "--corpus", "demo", "--store")
    assert run(*clean, demo_copy.folder, "--quiet").exit_code == 0
    dump = tmp_path / "dump"
    assert run("corpus", "demo-dump", dump).exit_code == 0
    text = (DATACARDS / "demo" / "recipe.toml").read_text("utf-8")
    recipe = tmp_path / "recipe.toml"
    fractions = "fractions = { train = 0.7, validation = 0.15, test = 0.15 }"
    all_train = "fractions = { train = 1.0, validation = 0.0, test = 0.0 }"
    assert fractions in text
    text = text.replace('name = "demo"', 'name = "other"').replace(fractions, all_train)
    recipe.write_text(text, "utf-8")
    built = run("corpus", "build", recipe, "--dump", dump, "--store", demo_copy.folder, "--quiet")
    assert built.exit_code == 0, built.stderr
    result = run(
        *("labeling", "contamination", "demo-closed", "--corpus", "other"),
        *("--store", demo_copy.folder, "--quiet"),
    )
    assert result.exit_code == 3, result.stdout
    assert re.search(r"thread +\d+ compared +[1-9]", result.stdout)
    assert '"example_id"' in result.stdout and "hold_out" in result.stderr
