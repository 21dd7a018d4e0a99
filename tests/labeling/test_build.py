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
from corpus.tables import read_table
from labeling import dealing
from labeling.closed_csv import COLUMNS
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
        (
            build("ner", store, "--source", tmp_path / "x.txt", recipe="ner-stackoverflow"),
            "cannot be read: No such file",
        ),
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
    assert result.exit_code == 1 and "'demo' is a build of corpus in this store" in result.stderr


def test_nor_the_name_of_another_task_nor_a_corpus_that_of_a_benchmark(
    demo_copy: Store, demo_dump: Path, tmp_path: Path
) -> None:
    assert build("closed", demo_copy.folder).exit_code == 0
    text = (DATACARDS / "demo-quality" / "recipe.toml").read_text("utf-8")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text.replace('"demo-quality"', '"demo-closed"'), "utf-8")
    result = run("labeling", "build", "quality", recipe, "--store", demo_copy.folder)
    assert result.exit_code == 1 and "is a build of closed in this store" in result.stderr
    text = (DATACARDS / "demo" / "recipe.toml").read_text("utf-8")
    recipe.write_text(text.replace('"demo"', '"demo-closed"'), "utf-8")
    result = run("corpus", "build", recipe, "--dump", demo_dump, "--store", demo_copy.folder)
    assert result.exit_code == 1 and "is a benchmark in this store" in result.stderr


def test_the_card_names_the_canary_that_the_file_carries(quality_csv: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    text = (DATACARDS / "quality-60k" / "recipe.toml").read_text("utf-8")
    for name in ("quality-60k", "other-name"):
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(text.replace("quality-60k", name), "utf-8")
        source = ("--source", quality_csv, "--store", store, "--quiet")
        result = run("labeling", "build", "quality", recipe, *source)
        assert result.exit_code == 0, result.stderr
        release = Path(re.findall(r"benchmark (\S+)", result.stdout)[0])
        (path,) = release.glob("data/test-*.parquet")
        (canary,) = set(read_table(path)["canary"].to_pylist())
        assert canary in (release / "README.md").read_text("utf-8")


def test_published_labels_take_no_rule_and_are_drawn_as_asked(tmp_path: Path) -> None:
    statuses = ["open"] * 60 + ["off topic"] * 20 + ["not constructive"] * 10
    lines = [",".join(COLUMNS)]
    for number, status in enumerate(statuses, 1):
        closed = "" if status == "open" else "08/01/2012 00:00:00"
        words = " ".join(f"w{number * 31 % 997}x{n * number % 89}" for n in range(30))
        lines.append(
            f"{number},01/{number % 28 + 1:02}/2011 14:14:05,7,09/17/2010 10:15:06,1,2,"
            f"Title {number},{words},a,,,,,{closed},{status}"
        )
    source = tmp_path / "train.csv"
    source.write_text("\n".join(lines) + "\n", "utf-8")
    recipe = tmp_path / "recipe.toml"

    def build_of(section: str) -> Result:
        card = '[card]\nname = "x"\ntitle = "X"\nsummary = ""\n'
        recipe.write_text(f"{card}[closed]\n{section}", "utf-8")
        store = tmp_path / "store"
        arguments = ("--source", source, "--store", store, "--quiet", "--json")
        return run("labeling", "build", "closed", recipe, *arguments)

    refused = build_of('reopened = "open"\n')
    assert refused.exit_code == 1 and "closed.reopened is for labels from a dump" in refused.stderr
    built = build_of('rate = "balanced"\nreasons = ["off_topic"]\n')
    assert built.exit_code == 0, built.stderr
    stages = json.loads(built.stdout)["stages"]
    assert stages["examples"]["flows"]["rows"]["rejected"] == {"reason:opinion_based": 10}
    figures = stages["benchmark"]["figures"]
    for split in ("train", "validation", "test"):
        assert figures[f"{split}_closed"] == figures[f"{split}_open"]
    assert sum(figures[f"{split}_closed"] for split in ("train", "validation", "test")) <= 20


def test_a_benchmark_with_cuts_is_compared_with_a_corpus_later(
    quality_csv: Path, demo_copy: Store, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[card]\nname = "cut"\ntitle = "X"\nsummary = ""\n[quality]\n'
        "[benchmark]\ncuts = { validation = 2016-01-10, test = 2016-01-18 }\n",
        "utf-8",
    )
    at = ("--store", demo_copy.folder, "--quiet")
    built = run("labeling", "build", "quality", recipe, "--source", quality_csv, *at)
    assert built.exit_code == 0, built.stderr
    proven = run("labeling", "contamination", "cut", "--corpus", "demo", *at)
    assert proven.exit_code == 0, proven.stderr


def test_the_order_of_sources_is_not_part_of_what_is_built(tmp_path: Path) -> None:
    header = "Question_ID\tO\tQuestion_ID\tO\n:\tO\t:\tO\n{n}\tO\t{n}\tO\n\t\n"
    url = "https://stackoverflow.com/questions/{n}/"
    header += "Question_URL\tO\tQuestion_URL\tO\n:\tO\t:\tO\n" + f"{url}\tO\t{url}\tO\n\t\n"
    words = "Use\tO\tUse\tO\nnumpy\tB-Library\tnumpy\tO\n{w}\tO\t{w}\tO\n\t\n"
    paths = []
    for name, numbers in (("train", range(1, 9)), ("dev", range(11, 19))):
        path = tmp_path / f"{name}.txt"
        text = "".join(header.format(n=n) + words.format(w=f"word{n}") for n in numbers)
        path.write_text(text, "utf-8")
        paths.append(path)
    ids = []
    for number, order in enumerate((paths, paths[::-1])):
        sources = [one for path in order for one in ("--source", path)]
        store = tmp_path / f"store-{number}"
        result = build("ner", store, *sources, recipe="ner-stackoverflow")
        assert result.exit_code == 0, result.stderr
        ids.append(ids_of(store, "ner-stackoverflow"))
    assert ids[0] == ids[1]


def test_what_the_proof_finds_is_not_published(
    demo_copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage that takes out what train shares is made blind; the proof is not."""
    for step in ("_reject_near", "_reject_overlap"):
        monkeypatch.setattr(f"labeling.dealing.{step}", lambda *_: None)
    make = dealing._deal

    def put_all_in_test(examples: Any, recipe: Any) -> Any:
        dealt = make(examples, recipe)
        dealt.splits[:] = 2
        return dealt

    monkeypatch.setattr(dealing, "_deal", put_all_in_test)
    result = build("closed", demo_copy.folder)
    assert result.exit_code == 3 and "by thread" in result.stderr
    assert "demo-closed" not in demo_copy.run_names()


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
