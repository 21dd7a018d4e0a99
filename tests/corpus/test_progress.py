"""A bar is drawn on a terminal's stderr and nowhere else, and it is always cleared away."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from corpus import progress
from corpus.progress import Reporter, advance, connect

SHOW_CURSOR, CLEAR_LINE = "\x1b[?25h", "\x1b[2K"


class Terminal:
    """A pseudo-terminal as stderr, and all that was drawn on it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._seen, side = pty.openpty()
        self._stderr = open(side, "w", encoding="utf-8")
        self._monkeypatch = monkeypatch
        self._drawn = b""

    def reporter(self, *, quiet: bool = False) -> Reporter:
        # Not before the test runs: pytest sets its own stderr between a fixture and its test.
        self._monkeypatch.setattr(sys, "stderr", self._stderr)
        return Reporter(quiet=quiet)

    def read(self) -> str:
        self._stderr.flush()
        while select.select([self._seen], [], [], 0)[0]:
            self._drawn += os.read(self._seen, 65536)
        return self._drawn.decode("utf-8", "replace")

    def read_until(self, pattern: str) -> str:
        deadline = time.monotonic() + 30
        while not re.search(pattern, drawn := self.read()):
            assert time.monotonic() < deadline, drawn[-500:]
            advance(1_000)
        return drawn

    def close(self) -> None:
        self._stderr.close()
        os.close(self._seen)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    opened = Terminal(monkeypatch)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    yield opened
    opened.close()


def test_bytes_are_drawn_with_size_rate_and_time_left(
    terminal: Terminal, capfd: pytest.CaptureFixture[str]
) -> None:
    with terminal.reporter().bar("rows", 10**12, "bytes"):
        drawn = terminal.read_until(r"\d [kMG]?B/s \d:\d\d:\d\d left \d+:\d\d:\d\d")
    assert "rows" in drawn
    assert re.search(r"\d+\.\d/1\.0 TB", drawn)
    assert capfd.readouterr() == ("", "")


def test_parts_are_drawn_with_count_rate_and_time_left(terminal: Terminal) -> None:
    with terminal.reporter().bar("dedup", 10**9, "parts"):
        drawn = terminal.read_until(r"\d parts [\d,.]+/s \d:\d\d:\d\d left \d+:\d\d:\d\d")
    assert re.search(r"dedup .*\d+/1000000000", drawn)


def test_the_bar_counts_what_tasks_report(terminal: Terminal) -> None:
    with terminal.reporter().bar("dedup", 3, "parts"):
        advance(1)
        advance(1)
    assert "2/3" in terminal.read()


def test_no_work_is_drawn_too(terminal: Terminal) -> None:
    with terminal.reporter().bar("dedup", 0, "parts"):
        pass
    assert "0/0" in terminal.read()


def draw(terminal: Terminal, fails: bool) -> None:
    with suppress(ZeroDivisionError), terminal.reporter().bar("dedup", 3, "parts"):
        advance(1)
        if fails:
            raise ZeroDivisionError


@pytest.mark.parametrize("fails", [False, True])
def test_the_bar_is_cleared_and_the_cursor_shown_again(terminal: Terminal, fails: bool) -> None:
    draw(terminal, fails)
    drawn = terminal.read()
    assert "1/3" in drawn
    assert SHOW_CURSOR in drawn[drawn.rindex("1/3") :]
    assert drawn.endswith(CLEAR_LINE)


@pytest.mark.parametrize("fails", [False, True])
def test_after_a_bar_reports_go_where_they_went_before(terminal: Terminal, fails: bool) -> None:
    amounts: list[int] = []
    before = connect(amounts.append)
    draw(terminal, fails)
    advance(5)
    connect(before)
    assert amounts == [5]


def test_results_are_not_taken_from_stdout(
    terminal: Terminal, capfd: pytest.CaptureFixture[str]
) -> None:
    with terminal.reporter().bar("dedup", 3, "parts"):
        print("a result")
    assert capfd.readouterr().out == "a result\n"
    assert "a result" not in terminal.read()


def test_lines_are_said_above_the_bar_as_they_are(terminal: Terminal) -> None:
    reporter = terminal.reporter()
    with reporter.bar("dedup", 3, "parts"):
        reporter.say("[bold]posts[/bold] 1,234 " + "x" * 200)
    assert "[bold]posts[/bold] 1,234 " + "x" * 200 in terminal.read()


def test_quiet_draws_and_says_nothing(
    terminal: Terminal, capfd: pytest.CaptureFixture[str]
) -> None:
    reporter = terminal.reporter(quiet=True)
    with reporter.bar("dedup", 3, "parts"):
        advance(1)
        reporter.say("hello")
    assert terminal.read() == ""
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_lines_are_said_and_nothing_is_drawn(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    reporter = Reporter()
    with reporter.bar("dedup", 3, "parts"):
        advance(1)
        reporter.say("[hello]")
    assert capfd.readouterr() == ("", "[hello]\n")


def test_nobody_listens_at_first() -> None:
    code = "from corpus.progress import advance, connect; advance(1); print(connect(print)(2))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(progress.__file__).parents[1],
    )
    assert (ran.stdout, ran.stderr) == ("None\n", "")
