"""What every engine promises, and what this machine's engine does when a worker dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from corpus import progress
from corpus.engine import Engine, LocalEngine
from corpus.errors import BadValue, LeakageFound, MalformedXml, SobertError, TaskFailed

CHECKOUT = Path(__file__).parents[2]

# Another engine joins the contract here.
ENGINES: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "local, 1 worker": LocalEngine,
    "local, 2 workers": partial(LocalEngine, 2),
    "local, 3 workers": partial(LocalEngine, 3),
}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let spawned workers import the tasks below by the name that pytest gave this module."""
    monkeypatch.syspath_prepend(CHECKOUT)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with ENGINES[request.param]() as started:
        yield started


class CannotBePickled(Exception):
    def __init__(self) -> None:
        super().__init__("it has a lock")
        self.lock = threading.Lock()


class CannotBeUnpickled(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def square(number: int) -> int:
    return number * number


def report(number: int) -> None:
    for _ in range(number):
        progress.advance(1)


def fail(error: BaseException | None) -> None:
    if error is not None:
        raise error


def fail_with_a_lock(number: int) -> None:
    raise CannotBePickled


def fail_with_two_arguments(number: int) -> None:
    raise CannotBeUnpickled(1, 2)


def wait_for(path: Path | None) -> None:
    """Wait for a file that only a later task makes; the deadline is for a broken engine."""
    deadline = time.monotonic() + 60
    while path is not None and not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_then_fail(item: tuple[Path | None, Path, str]) -> None:
    wanted, made, message = item
    wait_for(wanted)
    made.touch()
    raise MalformedXml(message)


def touch_or_fail(path: Path) -> None:
    if path.name == "0":
        raise BadValue("first")
    path.touch()


def kill_itself(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def exit_itself(item: int) -> None:
    sys.exit(3)


def sleep_in_compiled_code(path: Path) -> None:
    """Say who works here, and hold on to the interpreter for many seconds."""
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)
    sum(range(10**10))


# The contract


def test_results_come_in_the_order_of_items(engine: Engine) -> None:
    assert engine.map(square, range(20)) == [number**2 for number in range(20)]


def test_no_items_give_no_results(engine: Engine) -> None:
    assert engine.map(square, []) == []
    assert engine.map(square, [3]) == [9]


def test_an_engine_can_be_used_again_and_after_an_error(engine: Engine) -> None:
    with pytest.raises(MalformedXml):
        engine.map(fail, [MalformedXml("x"), None])
    assert engine.map(square, [1, 2]) == [1, 4]
    assert engine.map(square, [3, 4]) == [9, 16]


@pytest.mark.parametrize(
    "error",
    [
        MalformedXml("posts.xml: byte 7: breaks off; download it again"),
        LeakageFound("3 by ngram"),
        ValueError("x"),
        OSError(28, "No space left on device", "/store/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_with_its_type_and_message(engine: Engine, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        engine.map(fail, [None, error])
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


def test_the_error_of_the_first_item_that_fails_is_raised(engine: Engine) -> None:
    errors = [None, None, BadValue("second"), MalformedXml("third"), None, BadValue("last")]
    with pytest.raises(BadValue, match=r"^second$"):
        engine.map(fail, errors)


@pytest.mark.parametrize(
    ("task", "message"),
    [(fail_with_a_lock, "it has a lock"), (fail_with_two_arguments, "1 and 2")],
)
def test_an_error_that_cannot_be_sent_is_still_told(
    engine: Engine, task: Callable[[int], None], message: str
) -> None:
    with pytest.raises((TaskFailed, CannotBePickled, CannotBeUnpickled), match=message) as caught:
        engine.map(task, [1, 2])
    assert isinstance(caught.value, SobertError) or type(caught.value).__module__ == __name__


def test_progress_of_tasks_arrives_in_full_before_map_returns(engine: Engine) -> None:
    amounts: list[int] = []
    before = progress.connect(amounts.append)
    try:
        for _ in range(3):
            engine.map(report, [0, 3_000, 1, 3_000])
            assert sum(amounts) == 6_001
            amounts.clear()
    finally:
        progress.connect(before)


# This machine's engine


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_workers_below_one_is_refused(workers: int) -> None:
    with pytest.raises(BadValue, match=f"--workers is {workers}; it must be at least 1"):
        LocalEngine(workers)


def test_the_first_error_is_that_of_the_first_item_though_a_later_one_came_sooner(
    tmp_path: Path,
) -> None:
    sooner, later = tmp_path / "sooner", tmp_path / "later"
    with LocalEngine(2) as engine, pytest.raises(MalformedXml, match=r"^first item$"):
        engine.map(wait_then_fail, [(sooner, later, "first item"), (None, sooner, "second item")])


def test_after_an_error_tasks_that_have_not_begun_do_not_begin(tmp_path: Path) -> None:
    with LocalEngine(2) as engine:
        with pytest.raises(BadValue, match=r"^first$"):
            engine.map(touch_or_fail, [tmp_path / str(number) for number in range(5_000)])
        engine.map(square, [1, 2])
    assert len(list(tmp_path.iterdir())) < 4_999


def test_a_killed_worker_is_a_clear_error_and_no_hang() -> None:
    with LocalEngine(2) as engine:
        with pytest.raises(TaskFailed, match=r"was killed, .* with fewer than 2 --workers"):
            engine.map(kill_itself, range(8))
        assert engine.map(square, [1, 2]) == [1, 4]


def test_a_worker_that_was_killed_between_maps_is_a_clear_error() -> None:
    with LocalEngine(2) as engine:
        engine.map(square, [1, 2])
        for process in multiprocessing.active_children():
            os.kill(process.pid or 0, signal.SIGKILL)
        with pytest.raises(TaskFailed):
            engine.map(square, range(8))


def test_a_task_that_exits_ends_the_build_with_its_code() -> None:
    with LocalEngine(2) as engine, pytest.raises(SystemExit) as caught:
        engine.map(exit_itself, [1, 2])
    assert caught.value.code == 3


def test_an_engine_leaves_no_process_thread_or_file_behind() -> None:
    def alive() -> tuple[set[object], int]:
        running = {*threading.enumerate(), *multiprocessing.active_children()}
        return running, len(list(Path("/proc/self/fd").iterdir()))

    with LocalEngine(2) as engine:  # The first one starts what Python keeps: its resource tracker.
        engine.map(square, [1, 2])
    del engine
    before = alive()
    with LocalEngine(2) as engine:
        engine.map(square, [1, 2])
    del engine
    assert alive() == before


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def poll(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


# What a shell starts in the background ignores Ctrl-C, and so would the tests' children.
SCRIPT = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {checkout!r})
from corpus.engine import LocalEngine
from tests.corpus.test_engine import sleep_in_compiled_code
if __name__ == "__main__":
    with LocalEngine(2) as engine:
        engine.map(sleep_in_compiled_code, [Path(name) for name in sys.argv[1:]])
"""


@pytest.fixture
def parent_at_work(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process whose two workers are busy, and their process ids."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(checkout=str(CHECKOUT)))
    paths = [tmp_path / "one", tmp_path / "other"]
    parent = subprocess.Popen(
        [sys.executable, script, *paths], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    pids: list[int] = []
    try:
        poll(lambda: all(path.exists() for path in paths) or parent.poll() is not None)
        pids += [int(path.read_text()) for path in paths]
        yield parent, pids
    finally:
        for pid in [*pids, parent.pid]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        parent.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does it, on Linux")
def test_workers_die_with_a_killed_parent_at_once_whatever_they_do(
    parent_at_work: tuple[subprocess.Popen[str], list[int]],
) -> None:
    parent, workers = parent_at_work
    assert all(map(is_alive, workers))
    parent.kill()
    poll(lambda: not any(map(is_alive, workers)), seconds=5)


def test_workers_that_can_look_up_die_without_their_leash() -> None:
    from corpus.engine import _exit_without

    context = multiprocessing.get_context("spawn")
    reading, writing = context.Pipe(duplex=False)
    worker = context.Process(target=_exit_without, args=(reading,))
    worker.start()
    writing.close()
    worker.join(30)
    assert worker.exitcode == 1


def test_ctrl_c_ends_the_parent_and_its_workers_without_their_tracebacks(
    tmp_path: Path, parent_at_work: tuple[subprocess.Popen[str], list[int]]
) -> None:
    parent, workers = parent_at_work
    os.killpg(parent.pid, signal.SIGINT)
    _, complaints = parent.communicate(timeout=20)
    assert parent.returncode == -signal.SIGINT, complaints
    assert complaints.count("KeyboardInterrupt\n") == 1
    assert not any(map(is_alive, workers))
