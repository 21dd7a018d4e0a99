"""Publishing against a hub on the loopback, with the real clients, faults and kills."""

from __future__ import annotations

import copy
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from huggingface_hub import HfApi, constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from corpus import hub_calls
from corpus.errors import BadValue, HubError, IntegrityError
from corpus.hub import Publication, describe_folder, plan_publication, publish
from corpus.manifest import Json, Manifest, Outcome
from corpus.progress import Reporter
from corpus.published import check_published, load_published
from corpus.tables import describe_file, write_table
from tests.hub_faults import Fault
from tests.hub_reader import TOKEN, load_with_datasets, point_at, publish_folder
from tests.hub_server import Server, serve_hub
from tests.hub_state import Hub

# huggingface_hub 2.4 gives a file to httpx2 in an older way, only without Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "user/bikes"
SCHEMA = pa.schema([("doc_id", pa.string()), ("text", pa.string())])
CARD = """---
license: cc-by-sa-4.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
---
# Bikes
"""
Write = Callable[..., Publication]


def rows_of(name: str, num_rows: int = 200) -> pa.Table:
    ids = [f"bicycles/{name}-{number}" for number in range(num_rows)]
    texts = [hashlib.sha256(one.encode()).hexdigest() * 4 for one in ids]
    return pa.table({"doc_id": ids, "text": texts}, schema=SCHEMA)


FILES = {"data/train-00000-of-00002.parquet": "a", "data/train-00001-of-00002.parquet": "b"}
FIRST = {**FILES, "data/test-00000-of-00001.parquet": "c"}
# One shard is changed, one file is gone, one is new.
SECOND = {**FILES, "data/test-00000-of-00001.parquet": "d"}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a folder as the publication stage does, and return it."""

    def written(version: str, tables: dict[str, str], card: str = CARD) -> Publication:
        folder = Path(tmp_path / f"publication-{version}-{len(list(tmp_path.iterdir()))}")
        entries = [
            write_table(folder, name, rows_of(label), SCHEMA) for name, label in tables.items()
        ]
        (folder / "README.md").write_text(card)
        note = "new.json" if tables == SECOND else "old.json"
        (folder / note).write_text("{}\n")
        (folder / "provenance.json").write_text('{"host": "not for others"}')
        entries += [describe_file(folder / name, name) for name in ("README.md", note)]
        recipe = {"version": version, "repo": REPO, "url": f"https://example.org/{REPO}"}
        manifest = Manifest("publication", 1, recipe, {}, Outcome(tuple(entries)))
        (folder / "manifest.json").write_text(json.dumps(manifest.to_json()))
        return Publication(folder, manifest, version)

    return written


@pytest.fixture
def look_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Point this process's clients at a hub."""

    def look(server: Server, *, xet: bool = False) -> None:
        for name, value in point_at(server.url, tmp_path / "home", xet=xet).items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        set_client_factory(default_client_factory)

    return look


@pytest.fixture
def server(look_at: Callable[..., None]) -> Iterator[Server]:
    """An empty hub that this process's clients look at."""
    with serve_hub() as running:
        look_at(running)
        yield running


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make no pause between tries, but keep how long each would be."""
    asked: list[float] = []
    monkeypatch.setattr(hub_calls.time, "sleep", asked.append)
    return asked


def send(publication: Publication, **more: Any) -> Json:
    return publish(publication, REPO, reporter=Reporter(quiet=True), **more)


def digests(publication: Publication) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in publication.manifest.outcome.files}


def published(hub: Hub, revision: str, kind: str = "datasets") -> dict[str, str] | None:
    """Return the SHA-256 of each file a reader of a revision sees, without the hub's own."""
    repository = hub.repositories.get((kind, REPO))
    if not repository or revision not in {**repository.branches, **repository.tags}:
        return None
    return {
        name: file.sha256 or hashlib.sha256(file.content or b"").hexdigest()
        for name, file in repository.find(revision).files.items()
        if name not in (".gitattributes", "manifest.json")
    }


def test_a_new_version_is_tagged_and_is_main(server: Server, write: Write) -> None:
    first = write("1.0.0", FIRST)
    sent = send(first, private=True)
    assert (sent["status"], sent["tag"], sent["num_new_files"]) == ("published", "v1.0.0", 6)
    assert sent["url"] == f"{server.url}/datasets/{REPO}"
    repository = server.hub.find("datasets", REPO)
    assert repository.private
    assert repository.tags == {"v1.0.0": sent["commit"]}
    assert set(repository.branches) == {"main"}
    assert published(server.hub, "v1.0.0") == published(server.hub, "main") == digests(first)


def test_what_the_manifest_does_not_name_stays_here(server: Server, write: Write) -> None:
    send(write("1.0.0", FIRST))
    assert "provenance.json" not in server.hub.find("datasets", REPO).find("v1.0.0").files


def test_every_file_is_read_back_before_the_tag(server: Server, write: Write) -> None:
    first = write("1.0.0", FIRST)
    send(first)
    tagged = next(i for i, one in enumerate(server.log) if "/tag/" in one.path)
    fetched = " ".join(one.path for one in server.log[:tagged] if one.method == "GET")
    for name, sha256 in digests(first).items():
        assert f"/cdn/{sha256}" in fetched or name in fetched


def test_a_repository_that_holds_other_files_is_left_alone(server: Server, write: Write) -> None:
    api = HfApi()
    api.create_repo(REPO, repo_type="dataset")
    at = {"repo_id": REPO, "repo_type": "dataset"}
    api.upload_file(path_or_fileobj=b"a,b", path_in_repo="precious.csv", **at)
    with pytest.raises(BadValue, match=r"precious.csv, 1 in all.*give another --repo"):
        send(write("1.0.0", FIRST))
    assert set(server.hub.find("datasets", REPO).branches) == {"main"}


def test_what_should_be_private_is_not_published_where_all_see_it(
    server: Server, write: Write
) -> None:
    HfApi().create_repo(REPO, repo_type="dataset")
    with pytest.raises(BadValue, match="is there and public"):
        send(write("1.0.0", FIRST), private=True)
    assert server.hub.find("datasets", REPO).tags == {}


def test_a_second_publish_of_a_version_writes_nothing(server: Server, write: Write) -> None:
    first = write("1.0.0", FIRST)
    commit = send(first)["commit"]
    server.log.clear()
    again = send(first)
    assert (again["status"], again["commit"], again["num_new_files"]) == ("as before", commit, 0)
    assert server.writes() == []


def test_a_new_version_sends_only_what_changed(server: Server, write: Write) -> None:
    send(write("1.0.0", FIRST))
    server.log.clear()
    second = write("1.1.0", SECOND)
    sent = send(second)
    changed = digests(second)["data/test-00000-of-00001.parquet"]
    assert [one.path for one in server.puts()] == [f"/lfs/{changed}"]
    assert sent["num_new_files"] == 3  # the shard, the new file, the manifest
    assert published(server.hub, "main") == published(server.hub, "v1.1.0") == digests(second)
    # What the last version has was read back then.
    assert [one.path for one in server.log if "/cdn/" in one.path] == [f"/cdn/{changed}"]


def test_main_moves_by_one_commit_and_never_back(server: Server, write: Write) -> None:
    first, second = write("1.0.0", FIRST), write("1.1.0", SECOND)
    send(second)
    send(first)
    assert published(server.hub, "v1.0.0") == digests(first)
    assert published(server.hub, "main") == digests(second)
    titles = [one.title for one in server.hub.find("datasets", REPO).history("main")]
    assert titles == ["Version 1.1.0", "initial commit"]


def test_a_published_version_never_changes(server: Server, write: Write) -> None:
    commit = send(write("1.0.0", FIRST))["commit"]
    server.log.clear()
    with pytest.raises(BadValue, match=r"published with other content.*another number"):
        send(write("1.0.0", SECOND))
    assert server.writes() == []
    assert server.hub.find("datasets", REPO).tags == {"v1.0.0": commit}


def test_main_follows_a_version_whose_tag_was_deleted_by_hand(server: Server, write: Write) -> None:
    send(write("1.0.0", FIRST))
    del server.hub.find("datasets", REPO).tags["v1.0.0"]
    other = write("1.0.0", SECOND)
    send(other)
    assert published(server.hub, "v1.0.0") == published(server.hub, "main") == digests(other)


def test_a_dry_run_tells_what_is_new_and_changes_nothing(server: Server, write: Write) -> None:
    first, second, quiet = write("1.0.0", FIRST), write("1.1.0", SECOND), Reporter(quiet=True)
    assert plan_publication(first, REPO, reporter=quiet)["hub"] == "no such repository"
    send(first)
    server.log.clear()
    assert plan_publication(first, REPO, reporter=quiet)["hub"] == "published"
    plan = plan_publication(second, REPO, reporter=quiet)
    assert plan["hub"] == "no such version"
    new = [file["name"] for file in plan["files"] if not file["is_there"]]
    assert new == ["data/test-00000-of-00001.parquet", "manifest.json", "new.json"]
    assert (plan["num_files"], plan["num_new_files"]) == (6, 3)
    assert 0 < plan["num_new_bytes"] < plan["num_bytes"]
    assert server.writes() == []
    assert plan["num_new_files"] == send(second)["num_new_files"]


def test_a_dry_run_without_a_hub_still_lists_the_files(
    server: Server, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    plan = plan_publication(write("1.0.0", FIRST), REPO, reporter=Reporter(quiet=True))
    assert "no connection" in plan["hub"]
    assert plan["num_new_files"] == plan["num_files"] == 6


def test_a_changed_file_is_refused_before_anything_is_sent(server: Server, write: Write) -> None:
    first = write("1.0.0", FIRST)
    (first.folder / "README.md").write_text(CARD.replace("Bikes", "Trikes"))
    with pytest.raises(IntegrityError, match=r"README\.md"):
        send(first)
    assert server.log == []


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0-rc1", "01.0.0"])
def test_a_version_is_three_numbers(version: str, server: Server, write: Write) -> None:
    with pytest.raises(BadValue, match="three numbers"):
        send(write(version, FIRST))
    assert server.log == []


def test_the_manifest_is_of_the_version(server: Server, write: Write) -> None:
    with pytest.raises(BadValue, match=r"of version 1\.0\.0, not of 2\.0\.0"):
        send(write("1.0.0", FIRST)._replace(version="2.0.0"))


def test_what_others_put_on_the_staging_branch_is_not_published(
    server: Server, write: Write
) -> None:
    first = write("1.0.0", FIRST)
    server.hub.create("datasets", REPO, False)
    api = HfApi()
    api.create_branch(REPO, branch="staging-v1.0.0", repo_type="dataset")
    api.upload_file(
        path_or_fileobj=b"strange",
        path_in_repo="data/train-00002-of-00002.parquet",
        repo_id=REPO,
        repo_type="dataset",
        revision="staging-v1.0.0",
    )
    send(first)
    assert published(server.hub, "v1.0.0") == published(server.hub, "main") == digests(first)


def test_bytes_that_come_back_changed_are_never_tagged(server: Server, write: Write) -> None:
    first = write("1.0.0", FIRST)
    shard = digests(first)["data/train-00000-of-00002.parquet"]

    def spoil(request: Any) -> None:
        if "/commit/staging" in request.path:
            content = server.hub.objects[shard]
            server.hub.objects[shard] = bytes([content[0] ^ 1]) + content[1:]

    server.watch(spoil)
    with pytest.raises(IntegrityError, match=r"train-00000.*nothing was tagged"):
        send(first)
    repository = server.hub.find("datasets", REPO)
    assert repository.tags == {}
    assert [one.title for one in repository.history("main")] == ["initial commit"]


STEPS = {
    "look": ("GET", "/refs$"),
    "create": ("POST", "/api/repos/create"),
    "branch": ("POST", "/branch/"),
    "list": ("GET", "/tree/"),
    "modes": ("POST", "/preupload/"),
    "batch": ("POST", "/objects/batch"),
    "put": ("PUT", "/lfs/"),
    "check card": ("POST", "/validate-yaml"),
    "stage": ("POST", "/commit/staging"),
    "read back": ("GET", "/cdn/"),
    "head": ("HEAD", "/resolve/"),
    "tag": ("POST", "/tag/"),
    "main": ("POST", "/commit/main"),
    "clean": ("DELETE", "/branch/"),
}
FAULTS: dict[str, dict[str, Any]] = {
    "429": {"status": 429, "headers": ((b"retry-after", b"7"),)},
    "500": {"status": 500},
    "500 and done": {"status": 500, "applied": True},
    "503 twice": {"status": 503, "times": 2},
    "lost": {},
    "lost answer": {"applied": True},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_while_files_are_sent_is_passed_over(
    fault: str, server: Server, write: Write, pauses: list[float]
) -> None:
    check_fault("put", fault, server, write("1.0.0", FIRST))
    if fault == "429":
        assert max(pauses) >= 7


@pytest.mark.parametrize("step", STEPS)
def test_an_answer_that_is_lost_is_asked_for_again(step: str, server: Server, write: Write) -> None:
    check_fault(step, "lost answer", server, write("1.0.0", FIRST))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", STEPS)
def test_every_fault_at_every_step_is_passed_over(
    step: str, fault: str, server: Server, write: Write
) -> None:
    check_fault(step, fault, server, write("1.0.0", FIRST))


def check_fault(step: str, fault: str, server: Server, first: Publication) -> None:
    method, path = STEPS[step]
    server.faults.append(Fault(method, path, **FAULTS[fault]))
    assert send(first)["status"] == "published"
    assert any(one.fault for one in server.log)
    assert published(server.hub, "v1.0.0") == published(server.hub, "main") == digests(first)
    assert set(server.hub.find("datasets", REPO).branches) == {"main"}


@pytest.mark.parametrize("num_bytes", [1, 1000])
def test_a_download_that_breaks_off_goes_on(num_bytes: int, server: Server, write: Write) -> None:
    server.faults.append(Fault("GET", "/cdn/", drop_after=num_bytes))
    assert send(write("1.0.0", FIRST))["status"] == "published"
    assert [one for one in server.log if one.fault]


def test_a_hub_that_stays_broken_ends_with_one_line(server: Server, write: Write) -> None:
    server.faults.append(Fault("POST", "/commit/staging", status=500, times=1000))
    with pytest.raises(HubError, match=r"answered 500.*run the same command again") as raised:
        send(write("1.0.0", FIRST))
    assert "\n" not in str(raised.value)
    assert len([one for one in server.log if one.fault]) == hub_calls.NUM_TRIES
    server.faults.clear()
    assert send(write("1.0.0", FIRST))["status"] == "published"


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(
    server: Server, write: Write, pauses: list[float]
) -> None:
    asked = ((b"retry-after", b"3600"),)
    server.faults.append(Fault("GET", "/refs", status=429, headers=asked))
    with pytest.raises(HubError, match=r"answered 429.*wait 3,600 s"):
        send(write("1.0.0", FIRST))
    assert pauses == []


def test_a_main_that_was_moved_meanwhile_is_looked_at_again(server: Server, write: Write) -> None:
    first = write("1.0.0", FIRST)

    def edit() -> None:
        repository = server.hub.find("datasets", REPO)
        repository.commit("main", "by hand", None, dict(repository.find("main").files))

    # The answer is the hub's own 412: the parent is no longer main's head.
    server.watch(lambda request: edit() if _first(server, "/commit/main") else None)
    send(first)
    assert 412 in [one.status for one in server.log if "/commit/main" in one.path]
    titles = [one.title for one in server.hub.find("datasets", REPO).history("main")]
    assert titles == ["Version 1.0.0", "by hand", "initial commit"]
    assert published(server.hub, "main") == digests(first)


def _first(server: Server, path: str) -> bool:
    """Say whether the request that has just come is the first of this path."""
    return path in server.log[-1].path and sum(path in one.path for one in server.log) == 1


@pytest.mark.parametrize("status", [409, 412])
@pytest.mark.parametrize("path", ["/commit/staging", "/commit/main", "/tag/"])
def test_a_conflict_is_looked_at_again(
    status: int, path: str, server: Server, write: Write
) -> None:
    if (status, path) == (412, "/tag/"):
        pytest.skip("a tag has no parent")
    server.faults.append(Fault("POST", path, status=status))
    first = write("1.0.0", FIRST)
    assert send(first)["status"] == "published"
    assert published(server.hub, "main") == digests(first)


def test_of_two_that_publish_other_content_one_is_refused(server: Server, write: Write) -> None:
    one, other = write("1.0.0", FIRST), write("1.0.0", SECOND)
    results: list[str] = []

    def work(publication: Publication) -> None:
        try:
            results.append(send(publication)["status"])
        except BadValue as error:
            results.append(str(error))

    # The second begins when the first is about to make the tag, which fails at first.
    second = threading.Thread(target=work, args=[other])
    server.faults.append(Fault("POST", "/tag/", call=second.start, status=500))
    work(one)
    second.join(60)
    assert sorted(results)[0] == "published"
    assert "published with other content" in sorted(results)[1]
    assert published(server.hub, "v1.0.0") in (digests(one), digests(other))
    assert published(server.hub, "main") == published(server.hub, "v1.0.0")


def test_without_a_token_it_says_how_to_log_in(
    server: Server, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(HubError, match="run: hf auth login, or set HF_TOKEN"):
        send(write("1.0.0", FIRST))
    assert server.log == []


@pytest.mark.parametrize(
    ("token", "said"), [("hf_read", "no right to write"), ("hf_wrong", "does not accept the token")]
)
def test_a_token_that_will_not_do_is_named_but_not_shown(
    token: str,
    said: str,
    server: Server,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=said) as raised:
        publish(write("1.0.0", FIRST), REPO, reporter=Reporter())
    captured = capsys.readouterr()
    assert token not in str(raised.value) + captured.err + captured.out


def test_offline_it_does_not_try(
    server: Server, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        send(write("1.0.0", FIRST))
    assert server.log == []


def test_retries_are_told_without_signatures(
    server: Server, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    server.hub.part_bytes = 1000
    server.faults.append(Fault("PUT", r"/lfs/.*part=2", status=503))
    publish(write("1.0.0", FIRST), REPO, reporter=Reporter())
    told = capsys.readouterr().err
    assert "503" in told
    assert "part=" not in told  # the query, where the real hub has its signature


def test_parts_are_put_together(server: Server, write: Write) -> None:
    server.hub.part_bytes = 5_000
    first = write("1.0.0", FIRST)
    send(first)
    assert len(server.puts()) > len(FIRST)
    assert published(server.hub, "v1.0.0") == digests(first)


def test_long_listings_are_read_to_the_end(server: Server, write: Write) -> None:
    server.hub.page_files = 2
    first = write("1.0.0", FIRST)
    send(first)
    assert any("cursor" in one.path for one in server.log)
    assert published(server.hub, "v1.0.0") == digests(first)


def test_files_are_sent_by_xet(look_at: Callable[..., None], write: Write, tmp_path: Path) -> None:
    """`local://` is internal to hf_xet 1.8; when it goes, this test goes with it."""
    first, second = write("1.0.0", FIRST), write("1.1.0", SECOND)
    with serve_hub(Hub(xet_folder=tmp_path / "chunks")) as server:
        look_at(server, xet=True)
        send(first)
        send(second)
        assert server.puts() == []
        assert published(server.hub, "v1.0.0") == digests(first)
        assert published(server.hub, "main") == digests(second)
        assert (
            load_published(REPO, version="1.1.0").name
            == server.hub.find("datasets", REPO).tags["v1.1.0"]
        )


def test_a_model_is_published_as_a_model(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Model\n")
    (folder / "model.safetensors").write_bytes(bytes(2000))
    manifest = describe_folder(folder, "model", {"version": "0.1.0"})
    sent = send(Publication(folder, manifest, "0.1.0", "model"))
    assert sent["url"] == f"{server.url}/{REPO}"
    assert published(server.hub, "v0.1.0", "models") == {
        entry.name: entry.sha256 for entry in manifest.outcome.files
    }
    loaded = load_published(REPO, version="0.1.0", repo_type="model")
    assert (loaded / "model.safetensors").read_bytes() == bytes(2000)


@pytest.mark.parametrize("name", [".netrc", "cache/.token"])
def test_a_hidden_file_is_not_described(name: str, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / name).write_text("secret")
    with pytest.raises(BadValue, match="hidden"):
        describe_folder(tmp_path, "model", {})


def test_a_link_is_not_described(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(BadValue, match="is a link"):
        describe_folder(tmp_path, "model", {})


def test_an_empty_folder_is_not_described(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="no file"):
        describe_folder(tmp_path, "model", {})


class Killing:
    """Publish 1.1.0 over 1.0.0 in a process that is killed at a request, then again."""

    def __init__(self, write: Write, look_at: Callable[..., None], tmp_path: Path) -> None:
        self.first, self.second = write("1.0.0", FIRST), write("1.1.0", SECOND)
        self.look_at, self.home = look_at, tmp_path / "home"
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.hub_reader"])
        with serve_hub() as server:
            look_at(server)
            send(self.first)
            self.hub = copy.deepcopy(server.hub)

    def run(self, server: Server) -> int | None:
        at = (server.url, self.home, self.second.folder, self.second.version, REPO)
        process = self.context.Process(target=publish_folder, args=at)
        process.start()
        self.pid = process.pid
        process.join(60)
        return process.exitcode

    def count_requests(self) -> int:
        with serve_hub(copy.deepcopy(self.hub)) as server:
            assert self.run(server) == 0
            return len(server.log)

    def kill_at(self, number: int, *, applied: bool) -> None:
        with serve_hub(copy.deepcopy(self.hub)) as server:
            self.look_at(server)
            server.watch(lambda request: self.check_readers(server.hub))
            kill = Fault(".*", "", nth=number, applied=applied, call=lambda: os.kill(self.pid, 9))
            server.faults.append(kill)
            code = self.run(server)
            # The client asks some things once a day: the last request may not come every time.
            assert code == (-9 if any(one.fault for one in server.log) else 0)
            server.faults.clear()
            self.check_readers(server.hub)
            if "v1.1.0" in server.hub.find("datasets", REPO).tags:
                load_published(REPO, version="1.1.0", manifest_id=self.second.manifest.id)
            assert self.run(server) == 0
            assert published(server.hub, "v1.1.0") == digests(self.second)
            assert published(server.hub, "main") == digests(self.second)
            assert set(server.hub.find("datasets", REPO).branches) == {"main"}

    def check_readers(self, hub: Hub) -> None:
        old, new = digests(self.first), digests(self.second)
        self.seen = [published(hub, one) for one in ("v1.0.0", "v1.1.0", "main")]
        assert self.seen[0] == old
        assert self.seen[1] in (None, new)
        assert self.seen[2] in (old, new)


@pytest.fixture
def killing(write: Write, look_at: Callable[..., None], tmp_path: Path) -> Killing:
    return Killing(write, look_at, tmp_path)


def test_killed_on_the_way_it_is_simply_run_again(killing: Killing) -> None:
    killing.kill_at(9, applied=False)


@pytest.mark.slow
def test_there_are_more_than_ten_places_to_be_killed_at(killing: Killing) -> None:
    assert killing.count_requests() > 30


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True])
def test_killed_at_every_request_readers_see_no_mix(killing: Killing, applied: bool) -> None:
    for number in range(1, killing.count_requests() + 1):
        killing.kill_at(number, applied=applied)


def test_datasets_loads_the_rows_of_a_tag(server: Server, write: Write, tmp_path: Path) -> None:
    send(write("1.0.0", FIRST))
    send(write("1.1.0", SECOND))
    loaded = load_with_datasets(
        server.url, tmp_path / "fresh", REPO, "v1.0.0", HF_HUB_DISABLE_XET="1"
    )
    train = [*rows_of("a").to_pylist(), *rows_of("b").to_pylist()]
    assert loaded == {"train": train, "test": rows_of("c").to_pylist()}


@pytest.fixture(scope="session")
def npm_modules() -> str:
    """The node_modules with @huggingface/hub: SOBERT_NODE_MODULES, or what npm says."""
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    roots = [os.environ.get("SOBERT_NODE_MODULES", "")]
    for more in ([], ["-g"]) if shutil.which("npm") else ():
        ran = subprocess.run(["npm", "root", *more], capture_output=True, text=True, check=True)
        roots.append(ran.stdout.strip())
    for root in filter(None, roots):
        if (Path(root) / "@huggingface/hub/dist/index.mjs").is_file():
            return root
    pytest.skip("npm's @huggingface/hub is not installed (SOBERT_NODE_MODULES)")


def run_npm(modules: str, verb: str, server: Server, *rest: str) -> str:
    script = Path(__file__).parents[1] / "hub_client.mjs"
    command = ["node", str(script), modules, verb, server.url, "dataset", REPO, *rest]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_second_client_reads_the_same_bytes(
    server: Server, write: Write, npm_modules: str
) -> None:
    first = write("1.0.0", FIRST)
    send(first)
    read = json.loads(run_npm(npm_modules, "read", server, "v1.0.0"))
    assert digests(first).items() <= read.items()
    assert set(read) - set(digests(first)) == {".gitattributes", "manifest.json"}


def test_what_the_second_client_writes_the_first_reads(
    server: Server, write: Write, npm_modules: str, tmp_path: Path
) -> None:
    first = write("1.0.0", FIRST)
    (first.folder / "provenance.json").unlink()
    run_npm(npm_modules, "write", server, "by npm", str(first.folder))
    read = HfApi().snapshot_download(REPO, repo_type="dataset", local_dir=tmp_path / "read")
    assert check_published(Path(read), version="1.0.0").id == first.manifest.id
