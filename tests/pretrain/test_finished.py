"""A run as its users run it: trained, gone on with, evaluated, exported, begun with again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sobert import main
from tests.conftest import CHECKOUT

RECIPE = """
[card]
name = "toy"
title = "A toy"
summary = "For tests."
[model]
num_layers = 1
hidden_size = 32
num_heads = 2
ffn_size = 64
max_positions = 128
dropout = 0.0
[data]
row_tokens = 128
[run]
num_tokens = 6_000
batch_tokens = 1_024
micro_batch_rows = 4
save_every_steps = 2
evaluate_every_steps = 2
evaluate_rows = 4
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def trained(demo_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE, "utf-8")
    at = ("--shards", "demo", "--store", demo_store, "--quiet")
    result = run("pretrain", "run", recipe, *at, "--out", folder / "out")
    assert result.exit_code == 0, result.stderr
    assert f"sobert pretrain export {folder / 'out'}" in result.stdout
    return folder


def test_a_finished_run_is_not_trained_again(trained: Path, demo_store: Path) -> None:
    at = ("--shards", "demo", "--store", demo_store, "--quiet", "--json")
    before = json.loads((trained / "out" / "run.json").read_bytes())
    again = run("pretrain", "run", trained / "recipe.toml", *at, "--out", trained / "out")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["progress"] == before["progress"]


def test_a_checkpoint_is_evaluated_as_its_run_was(trained: Path, demo_store: Path) -> None:
    at = ("--shards", "demo", "--store", demo_store, "--quiet", "--json")
    found = run("pretrain", "evaluate", trained / "out", *at, "--rows", 4)
    assert found.exit_code == 0, found.stderr
    recorded = json.loads((trained / "out" / "run.json").read_bytes())["evaluation"]
    assert json.loads(found.stdout) == recorded
    nowhere = run("pretrain", "evaluate", trained, *at)
    assert nowhere.exit_code == 1 and "is no checkpoint" in nowhere.stderr


def test_a_run_is_exported_and_another_begins_with_it(trained: Path, demo_store: Path) -> None:
    at = ("--shards", "demo", "--store", demo_store)
    model = trained / "model"
    exported = run("pretrain", "export", trained / "out", *at, "--out", model)
    assert exported.exit_code == 0, exported.stderr
    names = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer.model"}
    assert names <= {path.name for path in model.iterdir()}
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in model.iterdir())
    out = ("--out", trained / "second", "--init-from", model, "--quiet", "--json")
    second = run("pretrain", "run", trained / "recipe.toml", *at, *out)
    assert second.exit_code == 0, second.stderr
    summary = json.loads(second.stdout)
    assert summary["init_from"] == "model"
    first = json.loads((trained / "out" / "run.json").read_bytes())
    assert summary["evaluation"]["all"]["loss"] < first["evaluation"]["all"]["loss"]
    there = run("pretrain", "export", trained / "out", *at, "--out", model)
    assert there.exit_code == 1 and "is there already" in there.stderr


def test_shards_are_those_of_a_corpus(trained: Path, demo_store: Path, tmp_path: Path) -> None:
    at = ("--shards", "nothing", "--store", demo_store, "--out", tmp_path / "out")
    result = run("pretrain", "run", trained / "recipe.toml", *at)
    assert result.exit_code == 1 and "has no build 'nothing'" in result.stderr


@pytest.mark.parametrize("name", ["pretrain-tiny", "sobert-base"])
def test_a_plan_tells_what_recipes_of_the_repository_need(name: str) -> None:
    recipe = CHECKOUT / "datacards" / name / "recipe.toml"
    shown = run("pretrain", "plan", recipe)
    assert shown.exit_code == 0, shown.stderr
    assert "parameters" in shown.stdout and "dollars" in shown.stdout
    assert json.loads(run("pretrain", "plan", recipe, "--json").stdout)["models"]
