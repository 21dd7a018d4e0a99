"""The command line: every command, its twin, its exit code, and where it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from corpus.build import STAGES
from sobert import main

CHECKOUT = Path(__file__).resolve().parents[1]
RECIPE = CHECKOUT / "datacards" / "demo" / "recipe.toml"


def sobert(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def iter_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in sorted(group.commands.items()):
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += iter_commands(command, (*path, name))
    return found


@pytest.mark.parametrize("path", iter_commands(main), ids=" ".join)
def test_every_command_has_help_with_a_sentence_for_every_option(path: tuple[str, ...]) -> None:
    result = sobert(*path, "--help")
    assert result.exit_code == 0
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    assert all(p.help for p in command.params if isinstance(p, click.Option) and p.name != "help")


def test_usage_errors_end_with_2() -> None:
    assert sobert("corpus", "build").exit_code == 2
    assert sobert("corpus", "nothing").exit_code == 2
    assert sobert("corpus", "build", RECIPE, "--dump", "x", "--workers", "0").exit_code == 2


def test_a_wrong_recipe_ends_with_1_and_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "recipe.toml"
    wrong.write_text(RECIPE.read_text("utf-8") + "\n[dedup]\nthreshhold = 0.7\n", "utf-8")
    result = sobert("corpus", "build", wrong, "--dump", tmp_path, "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "dedup.threshhold" in result.stderr
    assert not (tmp_path / "store").exists()


def test_a_missing_dump_ends_with_1_and_says_what_to_do(tmp_path: Path) -> None:
    result = sobert("corpus", "build", RECIPE, "--dump", tmp_path / "no", "--store", tmp_path / "s")
    assert result.exit_code == 1
    assert "--dump" in result.stderr


def test_an_unknown_build_ends_with_1_and_names_the_known(demo_store: Path) -> None:
    result = sobert("corpus", "show", "other", "--store", demo_store)
    assert result.exit_code == 1
    assert "demo" in result.stderr


def test_show_without_a_name_lists_builds(demo_store: Path) -> None:
    assert sobert("corpus", "show", "--store", demo_store).stdout == "demo\n"


def test_show_adds_up_in_every_stage(demo_store: Path) -> None:
    shown = json.loads(sobert("corpus", "show", "demo", "--store", demo_store, "--json").stdout)
    for stage in shown["stages"].values():
        for flow in stage["flows"].values():
            assert flow["in"] == flow["out"] + sum(flow["rejected"].values())


def test_sample_prints_the_same_documents_for_the_same_seed(demo_store: Path) -> None:
    at = ("--store", demo_store, "--num", 3)
    one = sobert("corpus", "sample", "demo", *at, "--seed", 5).stdout
    assert one == sobert("corpus", "sample", "demo", *at, "--seed", 5).stdout
    assert one != sobert("corpus", "sample", "demo", *at, "--seed", 6).stdout
    assert one.count("https://") >= 3


def test_sample_of_more_than_there_is_prints_all(demo_store: Path) -> None:
    at = ("--store", demo_store, "--json")
    rows = json.loads(sobert("corpus", "sample", "demo", *at, "--num", 10_000).stdout)["documents"]
    assert len({row["doc_id"] for row in rows}) == len(rows) == 60


def test_dry_run_builds_nothing_and_says_what_would_run(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    assert sobert("corpus", "demo-dump", dump).exit_code == 0
    at = ("--dump", dump, "--store", tmp_path / "store", "--dry-run")
    plan = json.loads(sobert("corpus", "build", RECIPE, *at, "--json").stdout)
    assert set(plan["stages"].values()) == {"would run"}
    assert not (tmp_path / "store").exists()
    assert "would run" in sobert("corpus", "build", RECIPE, *at).stdout


def test_dry_run_of_what_is_built_says_so(demo_store: Path, demo_dump: Path) -> None:
    at = ("--dump", demo_dump, "--store", demo_store, "--dry-run", "--json")
    plan = json.loads(sobert("corpus", "build", RECIPE, *at).stdout)
    assert set(plan["stages"].values()) == {"as before"}


def test_building_what_is_built_runs_nothing_and_prints_where_it_lies(
    demo_store: Path, demo_dump: Path
) -> None:
    result = sobert("corpus", "build", RECIPE, "--dump", demo_dump, "--store", demo_store)
    assert result.exit_code == 0
    assert result.stderr.count("as before") == len(STAGES)
    paths = [line.split(maxsplit=1)[1] for line in result.stdout.splitlines()[:3]]
    assert all(Path(path).exists() for path in paths)


def test_a_build_does_not_differ_from_itself(demo_store: Path) -> None:
    found = json.loads(
        sobert("corpus", "diff", "demo", "demo", "--store", demo_store, "--json").stdout
    )
    assert set(found["stages"].values()) == {"same"}
    assert found["documents"] == {"added": 0, "removed": 0, "same": 60, "changed": 0}


def test_report_writes_one_page(demo_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    result = sobert("corpus", "report", "demo", "--store", demo_store, "--out", out)
    assert result.stdout == f"{out}\n"
    assert out.read_text("utf-8").lstrip().lower().startswith("<!doctype html>")


def test_verify_ends_with_0_and_after_a_flipped_bit_with_3(
    demo_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(demo_store, store)
    assert sobert("corpus", "verify", "demo", "--store", store).exit_code == 0
    victim = sorted(store.glob("shards/*/*.bin"))[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))
    result = sobert("corpus", "verify", "demo", "--store", store)
    assert result.exit_code == 3
    assert victim.name in result.stderr
    assert result.stderr.count("\n") == 1
