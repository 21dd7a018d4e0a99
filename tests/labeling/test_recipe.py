"""Benchmark recipes are read strictly, and those of the repository are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corpus.errors import RecipeError
from labeling.recipe import TASKS, load_benchmark_recipe, parse_benchmark_recipe

DATACARDS = Path(__file__).resolve().parents[2] / "datacards"
CARD = {"name": "x", "title": "X", "summary": ""}
BENCHMARKS = sorted(
    path
    for path in DATACARDS.glob("*/recipe.toml")
    if any(f"[{task}]" in path.read_text("utf-8") for task in TASKS)
)


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.parent.name)
def test_recipes_of_the_repository_are_read(path: Path) -> None:
    assert load_benchmark_recipe(path).card.name == path.parent.name


def test_there_is_a_recipe_of_every_task() -> None:
    assert {load_benchmark_recipe(path).task for path in BENCHMARKS} == set(TASKS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "task sections are: none"),
        ({"quality": {}, "closed": {}}, "task sections are: quality, closed"),
        ({"quality": {"hihg_score": 1}}, "quality.hihg_score is an unknown key"),
        ({"closed": {"rate": "some"}}, "closed.rate"),
        ({"closed": {"reasons": ["rude"]}}, "closed.reasons.0"),
        ({"quality": {}, "benchmark": {"max_overlap": 2}}, "benchmark.max_overlap"),
        ({"quality": {}, "probes": {"num_folds": 1}}, "probes.num_folds"),
    ],
)
def test_what_is_wrong_is_named(content: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_benchmark_recipe({"card": CARD, **content})


def test_a_file_that_is_no_toml_or_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_benchmark_recipe(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_text("[card")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_benchmark_recipe(tmp_path / "x.toml")
