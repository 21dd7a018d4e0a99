"""Clients of a hub in processes of their own: one that publishes, one that loads with `datasets`.

`huggingface_hub` reads its environment once, when it is imported; `point_at` does the same later,
so that one process can look at several hubs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from corpus.hub import Publication, publish
from corpus.manifest import read_manifest
from corpus.progress import Reporter

TOKEN = "hf_write"
# Run first in every Python process: what goes beyond the loopback, fails.
GUARD = """
import socket
connect = socket.socket.connect
def guarded(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise SystemExit(f"tried to reach {address}")
    connect(self, address)
socket.socket.connect = guarded
"""
LOAD = """
import json, sys
import datasets
repo, revision = sys.argv[1:]
loaded = datasets.load_dataset(repo, revision=revision)
print(json.dumps({split: loaded[split].to_list() for split in loaded}, default=str))
"""


def point_at(url: str, home: Path, *, xet: bool) -> dict[str, Any]:
    """Return what has to be set in `huggingface_hub.constants` to use another hub and cache."""
    return {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_XET": not xet,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "AGENT_HARNESSES_PATH": str(home / "harnesses.json"),
    }


def publish_folder(url: str, home: Path, folder: Path, version: str, repo: str) -> None:
    """Publish a folder with its manifest.json; what a process does that may be killed."""
    for name, value in point_at(url, home, xet=False).items():
        setattr(constants, name, value)
    os.environ["HF_TOKEN"] = TOKEN
    set_client_factory(default_client_factory)
    publication = Publication(folder, read_manifest(folder / "manifest.json"), version)
    publish(publication, repo, reporter=Reporter(quiet=True))


def load_with_datasets(
    url: str, home: Path, repo: str, revision: str, **variables: str
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each split as `datasets` gives them, in a fresh process."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "sitecustomize.py").write_text(GUARD)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_HOME": str(home),
        "HF_ENDPOINT": url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "PYTHONPATH": str(home),
        **variables,
    }
    command = [sys.executable, "-c", LOAD, repo, revision]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    loaded: dict[str, list[dict[str, Any]]] = json.loads(ran.stdout.splitlines()[-1])
    return loaded
