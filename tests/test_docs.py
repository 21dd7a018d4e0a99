"""The documents under test: commands that they show run, and print what they show.

A ```console block of README.md holds `$ sobert ...` lines and, after each, what it prints. They
run on the demo build with demo/store as its store. `make golden` writes them anew.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from corpus.build import STAGES
from corpus.store import Store
from sobert import main

CHECKOUT = Path(__file__).resolve().parents[1]
README = CHECKOUT / "README.md"
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def run_block(block: str, store: Path) -> str:
    """Run the block's commands; return the block as it should be."""
    lines = []
    for command in re.findall(r"^\$ sobert (.*)$", block, re.MULTILINE):
        arguments = [store if one == "demo/store" else one for one in shlex.split(command)]
        result = CliRunner().invoke(main, [str(one) for one in arguments])
        assert result.exit_code == 0, result.stderr
        printed = result.stdout.replace(str(store), "demo/store").rstrip("\n")
        lines.append(f"$ sobert {command}\n{printed}\n")
    return "".join(lines)


def test_readme_shows_what_the_commands_print(
    demo_copy: Store, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)
    text = README.read_text("utf-8")
    fresh = CONSOLE.sub(lambda one: f"```console\n{run_block(one[1], demo_copy.folder)}```", text)
    if pytestconfig.getoption("--update-golden"):
        README.write_text(fresh, "utf-8")
    assert fresh == README.read_text("utf-8"), "README.md is stale: run `make golden`"


def test_commands_in_the_readme_exist_with_their_options() -> None:
    shown = re.findall(r"^(?:\$ )?sobert ((?:.*\\\n)*.*)$", README.read_text("utf-8"), re.MULTILINE)
    assert shown
    for command in shown:
        words = shlex.split(command.replace("\\\n", " "))
        group, name, options = words[0], words[1], [w for w in words if w.startswith("--")]
        known = {o for p in main.commands[group].commands[name].params for o in p.opts}
        assert set(options) <= known, command


@pytest.mark.parametrize("package", ["corpus", "labeling", "pretrain"])
def test_readme_tree_names_every_module(package: str) -> None:
    text = README.read_text("utf-8")
    modules = {path.name for path in (CHECKOUT / package).glob("*.py")} - {"__init__.py"}
    assert sorted(name for name in modules if name not in text) == []


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (CHECKOUT / name).read_text("utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
        assert named <= targets


def test_every_stage_is_called_in_build_in_order() -> None:
    source = (CHECKOUT / "corpus" / "build.py").read_text("utf-8")
    line = source.partition("def run_line(")[2].partition("\ndef ")[0]
    calls = re.findall(r"\bbuild_(\w+)\(", line)
    assert tuple(calls) == STAGES
