"""What all tests share: the real data where it is at hand, one demo build, and no network."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from corpus.build import build_corpus
from corpus.demo import write_demo_dump
from corpus.engine import LocalEngine
from corpus.progress import Reporter
from corpus.recipe import Recipe, load_recipe
from corpus.store import Artifact, Store

CHECKOUT = Path(__file__).resolve().parents[1]


class Build(NamedTuple):
    """One finished build; tests must not change its store."""

    store: Store
    recipe: Recipe
    dump: Path
    artifacts: dict[str, Artifact]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real public dumps beside the checkout; skips where it is absent."""
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real dumps are not beside this checkout (../shared/data)")
    return folder


@pytest.fixture(scope="session")
def demo_build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The sample dump, built once with the demo recipe by one worker."""
    dump = tmp_path_factory.mktemp("demo-dump")
    write_demo_dump(dump)
    recipe = load_recipe(CHECKOUT / "datacards" / "demo" / "recipe.toml")
    store = Store(tmp_path_factory.mktemp("demo-store"))
    at = {"store": store, "engine": LocalEngine(), "reporter": Reporter(quiet=True)}
    return Build(store, recipe, dump, build_corpus(recipe, [str(dump)], **at))


@pytest.fixture(scope="session")
def demo_store(demo_build: Build) -> Path:
    """The folder of the demo build's store."""
    return demo_build.store.folder


@pytest.fixture(scope="session")
def demo_dump(demo_build: Build) -> Path:
    """The folder of the sample dump."""
    return demo_build.dump


@pytest.fixture
def demo_copy(demo_build: Build, tmp_path: Path) -> Store:
    """A copy of the demo build's store that a test may build benchmarks in."""
    folder = tmp_path / "store"
    shutil.copytree(demo_build.store.folder, folder, copy_function=_link)
    return Store(folder)


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection beyond the loopback."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
