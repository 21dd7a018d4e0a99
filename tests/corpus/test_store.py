"""A store holds whole artifacts or none, whatever is killed, or fails, or was changed."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from corpus.durable import write_json
from corpus.engine import Engine, LocalEngine
from corpus.errors import BadValue, ConservationError, IntegrityError, StoreError
from corpus.manifest import Flow, Outcome, merge_outcomes
from corpus.progress import Reporter, connect
from corpus.recipe import PostsSection
from corpus.store import Artifact, Store, Task, Work, verify_artifact
from corpus.tables import describe_file, read_table, write_table

CHECKOUT = Path(__file__).parents[2]
NUM_PARTS = 2
SCHEMA = pa.schema({"n": pa.int64()})


# A stage as stages are: tasks, files for the tasks that follow, and a file of its own.


def write_part(folder: Path, payload: tuple[int, Path]) -> Outcome:
    number, log = payload
    with log.open("a") as file:
        file.write(f"part {number}\n")
    rows = pa.table({"n": list(range(number * 10))})
    kept = write_table(folder, f"parts/{number}.parquet", rows.slice(number), SCHEMA)
    (folder / "scratch").mkdir(exist_ok=True)
    scratch = folder / "scratch" / f"{number}.txt"
    scratch.write_bytes(b"%d" % number)
    flow = Flow(len(rows), kept.num_rows, {"first": number})
    return Outcome((kept, describe_file(scratch, f"scratch/{number}.txt")), {"rows": flow})


def sum_parts(folder: Path, log: Path) -> Outcome:
    with log.open("a") as file:
        file.write("sum\n")
    paths = sorted((folder / "parts").iterdir())
    return Outcome(figures={"total": sum(sum(read_table(path)["n"].to_pylist()) for path in paths)})


def make_stage(work: Work, log: Path) -> Outcome:
    parts = work.map(write_part, [Task(f"part/{n}", (n, log)) for n in range(1, NUM_PARTS + 1)])
    [total] = work.map(sum_parts, [Task("sum", log)])
    summary = work.folder / "summary.json"
    summary.write_text(json.dumps(total.figures), "utf-8")
    # Largest first, as a stage may like it; the manifest goes by name.
    kept = [Outcome((part.files[0],), part.flows) for part in reversed(parts)]
    files = Outcome((describe_file(summary, "summary.json"),))
    return merge_outcomes([*kept, files, total])


def build(store: Store, log: Path, engine: Engine | None = None, **changes: Any) -> Artifact:
    """Build the stage as `build_corpus` builds the line."""
    arguments: dict[str, Any] = {
        "stage": "demo",
        "stage_version": 1,
        "recipe": {"width": 10},
        "inputs": {},
        "make": lambda work: make_stage(work, log),
        "engine": engine or LocalEngine(),
        "reporter": Reporter(quiet=True),
    }
    with store.lock():
        artifact = store.build(**arguments | changes)
        store.write_run("demo", {"demo": artifact})
        store.sweep()
    return artifact


def read_tree(folder: Path) -> dict[str, bytes]:
    """Return the files of a store by name, without what is not part of any identity."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("provenance.json", ".lock")
    }


def read_log(log: Path) -> Counter[str]:
    return Counter(log.read_text().split("\n")[:-1]) if log.exists() else Counter()


EACH_ONCE = Counter(["sum", *(f"part {number}" for number in range(1, NUM_PARTS + 1))])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, bytes]:
    """The store that a build gives which nothing went wrong with."""
    store = Store(tmp_path / "wanted")
    build(store, tmp_path / "wanted log")
    return read_tree(store.folder)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let spawned workers import the tasks above by the name that pytest gave this module."""
    monkeypatch.syspath_prepend(CHECKOUT)


# What is built


def test_an_artifact_is_its_files_and_its_manifest_and_nothing_else(
    store: Store, log: Path
) -> None:
    artifact = build(store, log)
    assert artifact.folder == store.folder / "demo" / artifact.manifest.recipe_digest[:16]
    names = [f"parts/{number}.parquet" for number in range(1, NUM_PARTS + 1)]
    assert [entry.name for entry in artifact.files()] == [*names, "summary.json"]
    assert [entry.name for entry in artifact.files("parts/")] == names
    folder = artifact.folder.relative_to(store.folder).as_posix()
    inside = [*names, "summary.json", "manifest.json"]
    assert set(read_tree(store.folder)) == {"runs/demo.json", *(f"{folder}/{n}" for n in inside)}
    assert sorted(path.name for path in artifact.folder.iterdir() if path.is_dir()) == ["parts"]
    assert artifact.manifest.outcome.flows == {"rows": Flow(30, 27, {"first": 3})}


def test_what_was_built_is_not_built_again(store: Store, log: Path) -> None:
    first = build(store, log)
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    assert build(store, log) == first
    assert read_log(log) == EACH_ONCE
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")} == before


@pytest.mark.parametrize(
    "changes",
    [{"stage": "other"}, {"stage_version": 2}, {"recipe": {"width": 11}}, {"recipe": {}}],
)
def test_another_question_has_another_artifact(
    store: Store, log: Path, changes: dict[str, Any]
) -> None:
    assert build(store, log).folder != build(store, log, **changes).folder
    assert read_log(log) == EACH_ONCE + EACH_ONCE


def test_what_follows_is_built_again_only_if_its_input_has_other_rows(
    store: Store, log: Path
) -> None:
    def follow(before: Artifact) -> Artifact:
        return build(store, log, stage="next", inputs={"demo": before})

    first = follow(build(store, log))
    # Another recipe that gives the same rows.
    assert follow(build(store, log, recipe={"width": 11})).folder == first.folder
    other = build(store, log, make=lambda work: Outcome(figures={"x": 1}), recipe={"width": 12})
    assert follow(other).folder != first.folder


def test_sections_of_a_recipe_are_part_of_the_question(store: Store, log: Path) -> None:
    section = PostsSection(partition_threads=5)
    artifact = build(store, log, recipe=section)
    assert artifact.manifest.recipe == {"partition_threads": 5}
    assert build(store, log, recipe={"partition_threads": 5}) == artifact


def test_two_stores_hold_the_same_bytes(
    tmp_path: Path, wanted: dict[str, bytes], log: Path, importable: None
) -> None:
    elsewhere = Store(tmp_path / "deep" / "er" / "else")
    with LocalEngine(2) as engine:
        build(elsewhere, log, engine)
    assert read_tree(elsewhere.folder) == wanted


def test_a_store_can_be_moved(store: Store, log: Path, tmp_path: Path) -> None:
    build(store, log)
    moved = Store(store.folder.rename(tmp_path / "moved"))
    verify_artifact(moved.read_run("demo")["demo"])
    build(moved, log)
    assert read_log(log) == EACH_ONCE


def test_a_relative_store_is_the_same(
    tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    build(Store(Path("store")), log)
    assert read_tree(tmp_path / "store") == wanted


def test_provenance_says_who_and_when_and_is_no_part_of_identity(
    store: Store, log: Path, tmp_path: Path
) -> None:
    artifact = build(store, log)
    path = artifact.folder / "provenance.json"
    assert {"command", "finished_at", "host", "python", "versions"} == set(
        json.loads(path.read_bytes())
    )
    path.write_text("{}")
    assert store.read_run("demo")["demo"].manifest.id == artifact.manifest.id
    verify_artifact(artifact)


# What is killed


class Killed(BaseException):
    """What a kill looks like from inside: nothing more is done, and nobody catches it."""


CALLS: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "mkdir"),
    (os, "rename"),
    (os, "replace"),
    (os, "rmdir"),
    (os, "unlink"),
    (Path, "write_bytes"),
]


@contextmanager
def failing(at: int, error: BaseException, *, lasting: bool) -> Iterator[list[str]]:
    """Let the `at`-th call that changes the disk fail, once or from there on; list the calls."""
    made: list[str] = []

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            number = len(made) - 1
            if number == at and name == "write_bytes":
                call(args[0], args[1][: len(args[1]) // 2])
            if number == at or (lasting and number > at):
                raise error
            return call(*args, **kwargs)

        return counted

    with pytest.MonkeyPatch.context() as patched:
        for owner, name in CALLS:
            patched.setattr(owner, name, wrap(name, getattr(owner, name)))
        yield made


def is_past_the_end(at: int, made: list[str]) -> bool:
    """Tell whether a build has come to its end before its `at`-th call."""
    assert len(made) > at or at > 40, "there is more than this that can fail"
    return len(made) <= at


def test_a_build_killed_anywhere_is_simply_run_again(
    tmp_path: Path, wanted: dict[str, bytes]
) -> None:
    for at in itertools.count():
        store, log = Store(tmp_path / str(at)), tmp_path / f"{at} log"
        with failing(at, Killed(), lasting=True) as made, suppress(Killed):
            build(store, log)
        records = store.folder.glob("demo/*.building/.tasks/*.json")
        finished = {record.stem.replace("~", " ") for record in records}
        build(store, log)
        assert read_tree(store.folder) == wanted
        repeated = read_log(log) - EACH_ONCE
        assert repeated.total() <= 1
        assert not set(repeated) & finished
        if is_past_the_end(at, made):
            break


@pytest.mark.parametrize(
    ("code", "lasting"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["full", "broken once"]
)
def test_a_disk_that_fails_anywhere_is_a_store_error_and_damages_nothing(
    tmp_path: Path, wanted: dict[str, bytes], code: int, lasting: bool
) -> None:
    earlier = build(Store(tmp_path / "earlier"), tmp_path / "earlier log", recipe={"width": 11})
    place = earlier.folder.relative_to(tmp_path / "earlier")
    for at in itertools.count():
        store, log, message = Store(tmp_path / str(at)), tmp_path / f"{at} log", ""
        shutil.copytree(tmp_path / "earlier", store.folder)
        error = OSError(code, os.strerror(code), "some/file")
        with failing(at, error, lasting=lasting) as made:
            try:
                build(store, log)
            except StoreError as caught:
                message = str(caught)
        verify_artifact(replace(earlier, folder=store.folder / place))
        verify_artifact(store.read_run("demo")["demo"])
        if is_past_the_end(at, made):
            assert not message
            break
        # That a folder is there already is as good as making it.
        assert message or made[at] == "mkdir"
        if message:
            assert str(store.folder) in message and os.strerror(code) in message
            assert "run the same command again" in message
            assert ("free some space" in message) == (code == errno.ENOSPC)
        build(store, log)
        shutil.rmtree(store.folder / place)
        assert read_tree(store.folder) == wanted


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {checkout!r})
from corpus.engine import LocalEngine
from corpus.store import Store
from tests.corpus.test_store import build
if __name__ == "__main__":
    with LocalEngine(2) as engine:
        build(Store(Path(sys.argv[1])), Path(sys.argv[2]), engine)
"""


@pytest.mark.parametrize("num_begun", [1, 2, 3])
def test_a_build_with_workers_that_is_really_killed_is_simply_run_again(
    store: Store, log: Path, tmp_path: Path, wanted: dict[str, bytes], num_begun: int
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(checkout=str(CHECKOUT)))
    command = [sys.executable, script, store.folder, log]
    killed = subprocess.Popen(command, start_new_session=True)
    while read_log(log).total() < num_begun and killed.poll() is None:
        time.sleep(0.001)
    with suppress(ProcessLookupError):
        os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    subprocess.run(command, check=True)
    assert read_tree(store.folder) == wanted
    assert (read_log(log) - EACH_ONCE).total() <= 2


def test_everything_is_on_disk_before_it_gets_its_name_and_the_name_after(
    store: Store, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync, rename = os.fsync, os.rename

    def watch_fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def watch_rename(source: Path, target: Path) -> None:
        inside = [*source.rglob("*"), source]
        assert {path.name for path in inside if path.stat().st_ino not in synced} == set()
        rename(source, target)
        synced.clear()

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(os, "rename", watch_rename)
    artifact = build(store, log)
    assert {path.stat().st_ino for path in (artifact.folder.parent, store.folder)} <= set(synced)


def stop_before_publishing(work: Work, log: Path) -> Outcome:
    make_stage(work, log)
    raise ZeroDivisionError


def stopped_build(store: Store, log: Path) -> Path:
    """Run all tasks of a build that is then stopped; return its unfinished folder."""
    with pytest.raises(ZeroDivisionError):
        build(store, log, make=lambda work: stop_before_publishing(work, log))
    [folder] = store.folder.glob("demo/*.building")
    return folder


def test_finished_tasks_are_not_run_again(
    store: Store, log: Path, wanted: dict[str, bytes]
) -> None:
    stopped_build(store, log)
    build(store, log)
    assert read_log(log) == EACH_ONCE
    assert read_tree(store.folder) == wanted


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["parts/2.parquet", "scratch/2.txt", ".tasks/part~2.json"])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
def test_a_task_whose_files_are_not_whole_is_run_again_and_no_other(
    store: Store,
    log: Path,
    wanted: dict[str, bytes],
    name: str,
    damage: Callable[[Path], None],
) -> None:
    damage(stopped_build(store, log) / name)
    build(store, log)
    assert read_log(log) == EACH_ONCE + Counter(["part 2"])
    assert read_tree(store.folder) == wanted


def test_what_no_task_names_does_not_get_into_the_artifact(
    store: Store, log: Path, wanted: dict[str, bytes]
) -> None:
    folder = stopped_build(store, log)
    for name in ("parts/9.parquet", "x/y/z.txt", ".hidden", "manifest.json", "manifest.json.tmp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("left over")
    (folder / "link").symlink_to(folder.parent)
    artifact = build(store, log)
    assert read_tree(store.folder) == wanted
    assert not (artifact.folder / "link").is_symlink() and not (artifact.folder / "x").exists()


def test_a_folder_that_someone_began_to_delete_is_made_anew(
    store: Store, log: Path, wanted: dict[str, bytes]
) -> None:
    (build(store, log).folder / "manifest.json").unlink()
    build(store, log)
    assert read_tree(store.folder) == wanted
    assert read_log(log) == EACH_ONCE + EACH_ONCE


def test_what_a_stage_fails_with_is_what_is_raised_and_nothing_is_published(
    store: Store, log: Path
) -> None:
    def lose_rows(work: Work) -> Outcome:
        return Outcome(flows={"rows": Flow(3, 2)})

    with pytest.raises(ConservationError, match="stage demo: 3 rows in, 2 out"):
        build(store, log, make=lose_rows)
    assert not list(store.folder.glob("demo/*/manifest.json"))
    assert store.run_names() == []


def test_leftovers_of_other_recipes_are_swept_and_artifacts_are_not(
    store: Store, log: Path
) -> None:
    artifact = build(store, log)
    stopped = store.folder / "rows" / ("0" * 16 + ".building")
    (stopped / "deep").mkdir(parents=True)
    (store.folder / "runs" / "old.json.tmp").write_text("{")
    other = build(store, log, recipe={"width": 11})
    assert not stopped.exists()
    assert sorted(path.name for path in (store.folder / "runs").iterdir()) == ["demo.json"]
    verify_artifact(artifact)
    verify_artifact(other)


def test_leftovers_that_cannot_be_removed_are_a_store_error(
    store: Store, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = store.folder / "rows" / ("0" * 16 + ".building")
    stopped.mkdir(parents=True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "rmdir", refuse)
    with pytest.raises(StoreError, match=r"Input/output error; see to that"):
        store.sweep()


def test_a_full_disk_in_a_worker_is_the_same_store_error(
    store: Store, log: Path, importable: None
) -> None:
    with LocalEngine(2) as engine, pytest.raises(StoreError, match=r"No space left .* free some"):
        build(store, log, engine, make=lambda work: fill_the_disk(work))


def fill_the_disk(work: Work) -> Outcome:
    return merge_outcomes(work.map(write_to_full_disk, [Task("a", None), Task("b", None)]))


def write_to_full_disk(folder: Path, payload: None) -> Outcome:
    path = folder / "x.parquet"
    with suppress(FileExistsError):
        path.symlink_to("/dev/full")
    return Outcome((write_table(folder, path.name, pa.table({"n": [1]}), SCHEMA),))


# Who may write


def test_a_second_build_is_refused_at_once_and_told_who_holds_the_store(store: Store) -> None:
    with store.lock():
        begun = time.monotonic()
        holder = rf"in use .*\(process {os.getpid()} on .*\); wait"
        with pytest.raises(StoreError, match=holder), Store(store.folder).lock():
            pass
        assert time.monotonic() - begun < 1
    with store.lock():
        pass


def test_the_lock_is_freed_after_an_error(store: Store) -> None:
    with suppress(ZeroDivisionError), store.lock():
        raise ZeroDivisionError
    with store.lock():
        pass


HOLDER = """
import sys
from pathlib import Path
from corpus.store import Store
with Store(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_ends_with_its_holder(store: Store) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.folder],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"process {holder.pid} on "), store.lock():
            pass
        holder.kill()
        holder.wait()
        with store.lock():
            pass


def test_a_store_that_cannot_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match=f"store {folder}: "), Store(folder).lock():
            pass


def test_a_place_without_locks_is_not_said_to_be_in_use(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="No locks available"), store.lock():
        pass


def test_opening_a_store_writes_nothing(store: Store) -> None:
    assert store.run_names() == []
    assert not store.folder.exists()


# What is read back


def test_a_build_is_found_by_its_name_in_the_order_of_its_stages(store: Store, log: Path) -> None:
    one, other = build(store, log), build(store, log, stage="another", recipe={"width": 3})
    store.write_run("second", {"rows": one, "posts": other, "dump": one})
    run = store.read_run("second")
    assert list(run.items()) == [("rows", one), ("posts", other), ("dump", one)]
    assert store.run_names() == ["demo", "second"]


@pytest.mark.parametrize("name", ["demos", "", ".", "../demo", "runs/demo", "/etc/passwd", "DEMO"])
def test_an_unknown_name_lists_the_known_ones(store: Store, log: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"; it has: none yet$"):
        store.read_run(name)
    build(store, log)
    (store.folder / "demo.json").write_text("{}")
    with pytest.raises(StoreError, match=r"has no build '.*'; it has: demo$"):
        store.read_run(name)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", ".x", "x.json", "A", "a b", "x\n", "-x"])
def test_a_name_cannot_leave_the_folder_of_names(store: Store, log: Path, name: str) -> None:
    artifact = build(store, log)
    before = read_tree(store.folder)
    with pytest.raises(BadValue, match="cannot name a build; use a-z, 0-9 and hyphens"):
        store.write_run(name, {"demo": artifact})
    assert read_tree(store.folder) == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"stages": {"demo": {}}}', '{"stages": [1]}'])
def test_a_run_that_was_changed_is_an_integrity_error(
    store: Store, log: Path, content: str
) -> None:
    build(store, log)
    (store.folder / "runs" / "demo.json").write_text(content)
    with pytest.raises(
        IntegrityError, match=r"runs/demo\.json was changed .*; run the build again"
    ):
        store.read_run("demo")


def test_an_artifact_that_is_gone_is_an_integrity_error(store: Store, log: Path) -> None:
    shutil.rmtree(build(store, log).folder)
    with pytest.raises(IntegrityError, match="is gone; run the build again"):
        store.read_run("demo")
    build(store, log)
    assert store.read_run("demo")


def test_another_artifact_in_the_place_of_the_named_one_is_found(store: Store, log: Path) -> None:
    artifact = build(store, log)
    changed = replace(artifact.manifest, outcome=Outcome(figures={"total": 1}))
    write_json(artifact.folder / "manifest.json", changed.to_json())
    with pytest.raises(IntegrityError, match=r"manifest\.json was changed \(id "):
        store.read_run("demo")


def test_an_artifact_of_another_recipe_is_not_taken_for_the_one_asked(
    store: Store, log: Path
) -> None:
    artifact = build(store, log)
    other = replace(artifact.manifest, recipe={"width": 99})
    write_json(artifact.folder / "manifest.json", other.to_json())
    with pytest.raises(IntegrityError, match="answers another recipe; delete it and build again"):
        build(store, log)


def test_a_broken_manifest_is_an_integrity_error_and_not_built_over(
    store: Store, log: Path
) -> None:
    truncate(build(store, log).folder / "manifest.json")
    with pytest.raises(IntegrityError, match=r"manifest\.json is not a manifest"):
        build(store, log)


# What is verified


def test_what_is_whole_is_verified_and_reports_its_bytes(store: Store, log: Path) -> None:
    artifact = build(store, log)
    amounts: list[int] = []
    before = connect(amounts.append)
    verify_artifact(artifact)
    connect(before)
    assert amounts == [entry.num_bytes for entry in artifact.files()]


@pytest.mark.parametrize("name", ["parts/2.parquet", "summary.json"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, "was changed since it was built; delete its folder and build again"),
        (truncate, "was changed since it was built"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "was changed since it was built"),
        (Path.unlink, r"is missing \(No such file or directory\); delete its folder"),
    ],
    ids=["flipped", "truncated", "longer", "missing"],
)
def test_what_is_damaged_is_found(
    store: Store, log: Path, name: str, damage: Callable[[Path], object], message: str
) -> None:
    artifact = build(store, log)
    damage(artifact.path(name))
    with pytest.raises(IntegrityError, match=f"{name} {message}"):
        verify_artifact(artifact)


def test_other_rows_are_found_though_the_bytes_are_those_of_the_manifest(
    store: Store, log: Path
) -> None:
    artifact = build(store, log)
    rows = pa.table({"n": [1, 2, 3]})
    forged = write_table(artifact.folder, "parts/2.parquet", rows, SCHEMA)
    files = tuple(
        replace(entry, num_bytes=forged.num_bytes, sha256=forged.sha256)
        if entry.name == forged.name
        else entry
        for entry in artifact.files()
    )
    manifest = replace(artifact.manifest, outcome=replace(artifact.manifest.outcome, files=files))
    write_json(artifact.folder / "manifest.json", manifest.to_json())
    named = store.read_run("demo")["demo"]
    verify_artifact(named, deep=False)
    with pytest.raises(IntegrityError, match=r"parts/2\.parquet does not hold the rows"):
        verify_artifact(named)
