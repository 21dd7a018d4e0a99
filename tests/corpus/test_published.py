"""Loading what was published: the right version, whole, or an error."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from corpus.errors import BadValue, HubError, IntegrityError
from corpus.hub import Publication, describe_folder, publish
from corpus.hub_folder import render_manifest
from corpus.progress import Reporter
from corpus.published import check_published, load_published
from tests.hub_reader import TOKEN, load_with_datasets, point_at
from tests.hub_server import Server, serve_hub

# huggingface_hub 2.4 gives a file to httpx2 in an older way, only without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "user/bikes"
LoadsFrom = Callable[[Server], None]


@pytest.fixture
def loads_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LoadsFrom:
    """Point this process's client at a hub."""

    def look(server: Server) -> None:
        for name, value in point_at(server.url, tmp_path / "home", xet=False).items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        set_client_factory(default_client_factory)

    return look


def write(folder: Path, version: str, word: str) -> Publication:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.jsonl").write_text(json.dumps({"text": word}) + "\n")
    (folder / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n# Bikes\n")
    manifest = describe_folder(folder, "publication", {"version": version})
    (folder / "manifest.json").write_bytes(render_manifest(manifest))
    return Publication(folder, manifest, version)


def send(publication: Publication) -> str:
    sent = publish(publication, REPO, reporter=Reporter(quiet=True))
    return str(sent["id"])


def test_a_version_loads_as_it_was_published(loads_from: LoadsFrom, tmp_path: Path) -> None:
    first, second = write(tmp_path / "1", "1.0.0", "hub"), write(tmp_path / "2", "1.1.0", "rim")
    with serve_hub() as server:
        loads_from(server)
        id = send(first)
        send(second)
        folder = load_published(REPO, version="1.0.0", manifest_id=id)
    assert (folder / "data" / "train.jsonl").read_text() == '{"text": "hub"}\n'
    # From the cache, when the hub is gone.
    constants.HF_HUB_OFFLINE = True
    try:
        assert load_published(REPO, version="1.0.0", manifest_id=id) == folder
        with pytest.raises(HubError):
            load_published(REPO, version="1.1.0")
    finally:
        constants.HF_HUB_OFFLINE = False


def test_a_version_that_is_not_there_is_named(loads_from: LoadsFrom, tmp_path: Path) -> None:
    with serve_hub() as server:
        loads_from(server)
        send(write(tmp_path / "1", "1.0.0", "hub"))
        with pytest.raises(HubError, match=r"user/bikes has no version 2\.0\.0"):
            load_published(REPO, version="2.0.0")
        with pytest.raises(BadValue, match="three numbers"):
            load_published(REPO, version="main")


def test_a_tag_that_was_moved_is_refused(loads_from: LoadsFrom, tmp_path: Path) -> None:
    with serve_hub() as server:
        loads_from(server)
        id = send(write(tmp_path / "1", "1.0.0", "hub"))
        send(write(tmp_path / "2", "1.1.0", "rim"))
        tags = server.hub.find("datasets", REPO).tags
        tags["v1.0.0"] = tags["v1.1.0"]
        with pytest.raises(IntegrityError, match=r"holds version 1\.1\.0, not 1\.0\.0"):
            load_published(REPO, version="1.0.0", manifest_id=id)


def test_offline_datasets_gives_another_version_and_we_refuse(
    loads_from: LoadsFrom, tmp_path: Path
) -> None:
    """Shows datasets#7928; when `datasets` refuses too, this test says so."""
    off = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_XET": "1"}
    with serve_hub() as server:
        loads_from(server)
        send(write(tmp_path / "1", "1.0.0", "hub"))
        home = tmp_path / "fresh"
        rows = load_with_datasets(server.url, home, REPO, "v1.0.0", HF_HUB_DISABLE_XET="1")
        assert rows == {"train": [{"text": "hub"}]}
        assert load_with_datasets(server.url, home, REPO, "v9.9.9", **off) == rows
    constants.HF_HUB_OFFLINE = True
    try:
        with pytest.raises(HubError):
            load_published(REPO, version="9.9.9")
    finally:
        constants.HF_HUB_OFFLINE = False


def test_a_folder_that_is_whole_is_accepted(tmp_path: Path) -> None:
    first = write(tmp_path / "1", "1.0.0", "hub")
    (first.folder / ".gitattributes").write_text("the hub's own")
    assert check_published(first.folder, version="1.0.0") == first.manifest


def test_another_id_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "1", "1.0.0", "hub")
    with pytest.raises(IntegrityError, match="of other content"):
        check_published(first.folder, version="1.0.0", manifest_id="0" * 64)


def _spoil(folder: Path) -> None:
    (folder / "data" / "train.jsonl").write_text('{"text": "hob"}\n')


def _lose(folder: Path) -> None:
    (folder / "README.md").unlink()


def _add(folder: Path) -> None:
    shutil.copy(folder / "data" / "train.jsonl", folder / "data" / "test.jsonl")


def _edit(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace("train.jsonl", "test.jsonl"))


@pytest.mark.parametrize("change", [_spoil, _lose, _add, _edit])
def test_a_folder_that_was_changed_is_refused(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    first = write(tmp_path / "1", "1.0.0", "hub")
    change(first.folder)
    with pytest.raises(IntegrityError):
        check_published(first.folder, version="1.0.0")


def test_a_manifest_that_names_a_file_outside_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "1", "1.0.0", "hub")
    manifest = describe_folder(first.folder, "publication", {"version": "1.0.0"})
    content = json.loads(render_manifest(manifest))
    content["files"][0]["name"] = "../outside"
    del content["id"]
    entries = [type(manifest.outcome.files[0])(**one) for one in content["files"]]
    changed = manifest.__class__(
        "publication", 1, {"version": "1.0.0"}, {}, type(manifest.outcome)(tuple(entries))
    )
    (first.folder / "manifest.json").write_bytes(render_manifest(changed))
    with pytest.raises(IntegrityError, match="outside"):
        check_published(first.folder, version="1.0.0")
