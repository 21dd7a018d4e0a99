"""Publishing as a user does it: the commands, in processes of their own, at a loopback hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corpus.store import Store
from corpus.tables import read_table
from tests.hub_reader import GUARD, TOKEN, load_with_datasets
from tests.hub_server import Server, serve_hub

REPO = "user/demo"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_hub() as running:
        yield running


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    """Run `sobert ...` with the hub as the only place that it may reach."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "sitecustomize.py").write_text(GUARD)

    def started(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_HOME": str(home),
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(home),
            **variables,
        }
        command = [sys.executable, "-m", "sobert", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    return started


def test_a_corpus_is_published_once_and_loads_back(
    run: Run, server: Server, demo_copy: Store, tmp_path: Path
) -> None:
    publish = ("corpus", "publish", "demo", "--repo", REPO, "--store", demo_copy.folder)
    planned = run(*publish, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "croissant.json" in planned.stdout
    assert "no such repository" in planned.stdout
    assert not server.writes()
    first = run(*publish)
    assert first.returncode == 0, first.stderr
    assert "v0.1.0" in first.stdout
    assert f'datasets.load_dataset("{REPO}", revision="v0.1.0")' in first.stdout
    server.log.clear()
    second = run(*publish, "--json")
    assert json.loads(second.stdout)["status"] == "as before"
    assert not server.writes()
    loaded = load_with_datasets(server.url, tmp_path / "reader", REPO, "v0.1.0")
    dataset = demo_copy.read_run("demo")["dataset"]
    for split, rows in loaded.items():
        files = dataset.files(f"data/{split}-")
        texts = [
            text for one in files for text in read_table(dataset.path(one.name))["text"].to_pylist()
        ]
        assert [row["text"] for row in rows] == texts


def test_a_model_is_published(run: Run, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(100))
    publish = ("pretrain", "publish", folder, "--repo", "user/model", "--version", "1.0.0")
    done = run(*publish)
    assert done.returncode == 0, done.stderr
    assert "load" not in done.stdout
    names = set(server.hub.find("models", "user/model").find("v1.0.0").files)
    assert names - {".gitattributes"} == {"config.json", "model.safetensors", "manifest.json"}
    (folder / "config.json").write_text('{"a": 1}')
    refused = run(*publish)
    assert refused.returncode == 1
    assert "give --version another number" in refused.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [({"HF_TOKEN": ""}, "hf auth login"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")],
)
def test_without_a_token_or_a_hub_it_says_what_to_do(
    run: Run, demo_copy: Store, variables: dict[str, str], said: str
) -> None:
    publish = ("corpus", "publish", "demo", "--repo", "user/other", "--store", demo_copy.folder)
    refused = run(*publish, "--quiet", **variables)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
