"""The engines of clusters keep the contract of all engines, and say what they lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from corpus import cluster, node, progress
from corpus.cluster import ClusterEngine, Key, Lost, Node
from corpus.engine import Engine, LocalEngine, open_engine
from corpus.errors import BadValue, MalformedXml, StoreError, TaskFailed
from corpus.node import Answer, Site, own_versions, pack, unpack, work
from corpus.options import EngineKind
from corpus.progress import Reporter

# The contract: these run here too, on the engines of the fixture below.
from tests.corpus.test_engine import (
    square,
    test_an_engine_can_be_used_again_and_after_an_error,
    test_an_error_comes_with_its_type_and_message,
    test_an_error_that_cannot_be_sent_is_still_told,
    test_no_items_give_no_results,
    test_progress_of_tasks_arrives_in_full_before_map_returns,
    test_results_come_in_the_order_of_items,
    test_the_error_of_the_first_item_that_fails_is_raised,
    touch_or_fail,
    wait_then_fail,
)

CHECKOUT = Path(__file__).parents[2]
CONTRACT = (
    test_an_engine_can_be_used_again_and_after_an_error,
    test_an_error_comes_with_its_type_and_message,
    test_an_error_that_cannot_be_sent_is_still_told,
    test_no_items_give_no_results,
    test_progress_of_tasks_arrives_in_full_before_map_returns,
    test_results_come_in_the_order_of_items,
    test_the_error_of_the_first_item_that_fails_is_raised,
)


@pytest.fixture(scope="module", params=["ray", "dask"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A cluster of two workers on this machine, started once."""
    kind: EngineKind = request.param
    if not find_spec({"ray": "ray", "dask": "distributed"}[kind]):
        pytest.skip("the extra `cluster` is not installed")
    reporter = Reporter()
    reporter.draws = True
    store = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(CHECKOUT))
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        patch.syspath_prepend(CHECKOUT)
        with open_engine(kind, workers=2, store=store, reporter=reporter) as started:
            yield started
    assert list(store.rglob("*")) == []


def report_until(path: Path) -> int:
    """Report one by one until someone has heard of it; return how many were reported."""
    deadline, number = time.monotonic() + 60, 0
    while not path.exists():
        assert time.monotonic() < deadline
        progress.advance(1)
        number += 1
        time.sleep(0.01)
    return number


def report_then_die_once(path: Path) -> str:
    progress.advance(5)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def die(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def return_a_lock(item: int) -> Any:
    return node._alone


@pytest.fixture
def amounts() -> Iterator[list[int]]:
    heard: list[int] = []
    before = progress.connect(heard.append)
    yield heard
    progress.connect(before)


def test_the_first_error_is_that_of_the_first_item_though_a_later_one_came_sooner(
    engine: Engine, tmp_path: Path
) -> None:
    sooner, later = tmp_path / "sooner", tmp_path / "later"
    with pytest.raises(MalformedXml, match=r"^first item$"):
        engine.map(wait_then_fail, [(sooner, later, "first item"), (None, sooner, "second item")])


def test_after_an_error_no_task_begins_but_those_that_wait_already(
    engine: Engine, tmp_path: Path
) -> None:
    with pytest.raises(BadValue, match=r"^first$"):
        engine.map(touch_or_fail, [tmp_path / str(number) for number in range(500)])
    assert len(list(tmp_path.iterdir())) < 100


def test_an_error_names_where_in_the_task_it_rose(engine: Engine) -> None:
    with pytest.raises(BadValue) as caught:
        engine.map(touch_or_fail, [Path("0")])
    assert 'raise BadValue("first")' in str(caught.value.__cause__)


def test_the_bar_moves_while_a_task_runs_and_ends_where_it_should(
    engine: Engine, tmp_path: Path
) -> None:
    heard, amounts = tmp_path / "heard", []

    def hear(amount: int) -> None:
        amounts.append(amount)
        heard.touch()

    before = progress.connect(hear)
    [reported] = engine.map(report_until, [heard])
    progress.connect(before)
    assert len(amounts) > 1
    assert sum(amounts) == reported


def test_a_task_whose_worker_was_killed_runs_again_is_told_and_counts_once(
    engine: Engine, tmp_path: Path, amounts: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    assert engine.map(report_then_die_once, paths) == ["a", "b"]
    assert sum(amounts) == 10
    told = capsys.readouterr()
    assert "note: a worker died; task a runs again, attempt 2 of 4\n" in told.err
    assert told.out == ""


def test_a_task_that_kills_every_worker_ends_the_build(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "MAX_ATTEMPTS", 2)
    with pytest.raises(TaskFailed, match=r"task 1 was lost 2 times \(a worker died\), .* memory"):
        engine.map(die, [1])
    assert engine.map(square, [1, 2]) == [1, 4]


def test_tasks_run_in_the_folder_of_the_driver(engine: Engine) -> None:
    assert engine.map(_cwd, [1, 2]) == [Path.cwd()] * 2


def _cwd(item: int) -> Path:
    return Path.cwd()


def test_a_result_that_cannot_be_sent_is_an_error(engine: Engine) -> None:
    with pytest.raises(TypeError, match=r"cannot pickle '_thread\.lock' object"):
        engine.map(return_a_lock, [1, 2])


# On a node


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(node, "_entered", set())
    (tmp_path / "seal").write_text("nonce")
    return Site(tmp_path, Path("store"), Path("seal"), "nonce", own_versions())


def ask(site: Site, task: Callable[[Any], Any] = square, item: Any = 3) -> Answer:
    return unpack(work(pack((task, item)), site, lambda: "n1"))


def test_a_node_that_shares_all_does_the_task_in_the_folder(site: Site) -> None:
    os.chdir("/")
    assert ask(site) == Answer(9)
    assert Path.cwd() == site.folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seal": Path("other")}, "store store is not seen by node n1; give a --store on a path"),
        ({"nonce": "other"}, "store store is not seen by node n1"),
        ({"folder": Path("gone")}, r"node n1 has no folder gone \(No such file or directory\); "),
        ({"versions": {"pyarrow": "1.0"}}, "n1 has pyarrow .* has 1.0: they may write other bytes"),
    ],
)
def test_a_node_that_does_not_share_all_does_nothing(
    site: Site, changes: dict[str, Any], message: str
) -> None:
    answer = ask(replace(site, **changes))
    with pytest.raises((StoreError, BadValue), match=message):
        raise answer.error or AssertionError


def test_a_file_that_a_node_lacks_is_told_with_the_name_of_the_node(site: Site) -> None:
    error = ask(site, Path.read_bytes, Path("Posts.xml")).error
    assert str(error) == "[Errno 2] No such file or directory on node n1: 'Posts.xml'"


# Nodes that come, go and keep silent


class FakeCluster:
    """Nodes of this process, which do what they are told when they are waited for."""

    def __init__(self) -> None:
        self.alive = {"1": Node("n1", 1), "2": Node("n2", 1)}
        self.lost: list[str] = []
        self.silent: list[str | None] = []
        self.blind: list[str | None] = []
        self.most = self.submitted = 0
        self.waiting: dict[int, Callable[[], bytes]] = {}
        self.cancelled: list[int] = []

    def open(self, *, reports: bool) -> None: ...

    def close(self) -> None: ...

    def nodes(self) -> dict[str, Node]:
        return dict(self.alive)

    def submit(self, call: bytes, site: Site, key: Key, *, node: str | None) -> int:
        def run() -> bytes:
            if node in self.lost or (node is None and self.lost and self.lost.pop()):
                raise Lost("a node died")
            return pack(Answer()) if node in self.blind else work(call, site, lambda: "n0")

        self.submitted += 1
        if node not in self.silent:
            self.waiting[self.submitted] = run
        self.most = max(self.most, len(self.waiting))
        return self.submitted

    def wait(self, handles: Sequence[int], seconds: float) -> Sequence[int]:
        # The last one first: order must not come from the cluster.
        return [handle for handle in handles if handle in self.waiting][-1:]

    def answer(self, handle: int) -> bytes:
        return self.waiting.pop(handle)()

    def cancel(self, handles: Sequence[int]) -> None:
        self.cancelled += handles

    def reported(self) -> dict[Key, int]:
        return {}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCluster:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "GRACE_SECONDS", 0.0)
    return FakeCluster()


def run(fake: FakeCluster, items: Sequence[Any], task: Callable[[Any], Any] = square) -> list[Any]:
    with ClusterEngine(fake, Path("store"), Reporter()) as engine:
        return engine.map(task, items)


def test_tasks_are_handed_out_a_few_at_a_time_and_come_back_in_order(fake: FakeCluster) -> None:
    assert run(fake, range(100)) == [number**2 for number in range(100)]
    assert fake.most == 4


def test_a_node_whose_own_mark_the_driver_does_not_see_is_refused(fake: FakeCluster) -> None:
    fake.blind = ["2"]
    with pytest.raises(StoreError, match=r"^store store is not seen by node n2; give a --store"):
        run(fake, [1])
    assert list(Path("store").iterdir()) == []


def test_a_node_that_does_not_answer_is_named(fake: FakeCluster) -> None:
    fake.silent = ["1"]
    with pytest.raises(StoreError, match=r"node n1 gave no answer in 120 s; see whether it reach"):
        run(fake, [1])


def test_a_node_that_dies_while_it_is_asked_is_done_without(fake: FakeCluster) -> None:
    fake.lost = ["1"]
    assert run(fake, [1, 2]) == [1, 4]


def test_a_node_that_goes_is_named_and_its_task_runs_again(
    fake: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with ClusterEngine(fake, Path("store"), Reporter()) as engine:
        assert engine.map(square, [5]) == [25]
        fake.lost = ["any"]
        del fake.alive["2"]
        assert engine.map(square, [1, 2, 3]) == [1, 4, 9]
    told = capsys.readouterr().err
    assert "note: node n2 is gone; what it ran runs again elsewhere\n" in told
    assert "note: a node died; task 2 runs again, attempt 2 of 4\n" in told


def test_no_node_left_is_said_once_and_waited_for(
    fake: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with ClusterEngine(fake, Path("store"), Reporter()) as engine:
        engine.map(square, [1])
        fake.alive.clear()
        assert engine.map(square, range(6)) == [0, 1, 4, 9, 16, 25]
    told = capsys.readouterr().err
    assert told.count("note: no node is left to run tasks; waiting for one\n") == 1


def test_ctrl_c_cancels_what_runs(fake: FakeCluster) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(fake, range(9), interrupt)
    assert len(fake.cancelled) == 3


def interrupt(item: int) -> None:
    raise KeyboardInterrupt


# How they are opened


def test_this_machine_is_opened_by_default_and_takes_no_address() -> None:
    at = {"store": Path("store"), "reporter": Reporter()}
    assert isinstance(open_engine("local", workers=2, **at), LocalEngine)
    with pytest.raises(BadValue, match="--address x:1 is of a cluster; add --engine ray or dask"):
        open_engine("local", address="x:1", **at)
