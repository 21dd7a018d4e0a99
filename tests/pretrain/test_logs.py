"""The log: a line a number, cut where a run goes on; the bar; the page of a run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from corpus.progress import Reporter
from pretrain.checkpoint import Ledger
from pretrain.logs import LOG, RowLog, RunLog, cut_logs, open_logs, read_log
from pretrain.parallel import Parallel
from pretrain.report import average, collect_curves, draw_lines

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUIET = Reporter(quiet=True)
STEP = {"loss": 6.5, "tokens_per_second": 1_000.0, "mfu": 0.25}


def write(folder: Path, steps: range) -> None:
    cut_logs(folder, steps.start - 1)
    with RunLog(folder, QUIET, num_steps=10, step=steps.start - 1) as log:
        for step in steps:
            log.write({"loss": 1 / step}, Ledger(step=step, tokens=100 * step, seconds=2.0 * step))


def test_a_line_holds_the_number_in_full_and_where_it_was_taken(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4))
    assert list(read_log(tmp_path / LOG))[2] == {
        "metric": "loss",
        "value": 1 / 3,
        "step": 3,
        "tokens": 300,
        "seconds": 6.0,
    }


def test_lines_after_the_checkpoint_are_cut_and_torn_ones_dropped(tmp_path: Path) -> None:
    write(tmp_path, range(1, 6))
    with (tmp_path / LOG).open("a") as log:
        log.write('{"metric": "lo')
    write(tmp_path, range(4, 7))
    assert [line["step"] for line in read_log(tmp_path / LOG)] == [1, 2, 3, 4, 5, 6]


def test_rows_are_noted_by_rank_and_cut_for_all(tmp_path: Path, parallel: Parallel) -> None:
    cut_logs(tmp_path, 0)
    for rank in range(2):
        rows = RowLog(tmp_path, rank)
        for step in (1, 2, 3):
            rows.note(step, [10 * step + rank])
        rows.close()
    with open_logs(tmp_path, QUIET, parallel, num_steps=9, step=2):
        pass
    for rank in range(2):
        lines = (tmp_path / "rows" / f"consumed-{rank}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [
            {"step": 1, "rows": [10 + rank]},
            {"step": 2, "rows": [20 + rank]},
        ]


def test_a_skipped_step_is_logged_with_its_rows_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_logs(tmp_path, 0)
    with RunLog(tmp_path, Reporter(), num_steps=10, step=0) as log:
        log.skip("loss is nan", 8, 4, Ledger(step=3, tokens=300))
    (line,) = read_log(tmp_path / LOG)
    assert (line["metric"], line["value"]) == ("skipped", "loss is nan")
    assert (line["first_row"], line["num_rows"]) == (8, 4)
    assert capsys.readouterr().err == "step 3 (rows 8 to 11) skipped: loss is nan\n"


def test_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    cut_logs(tmp_path, 0)
    with (
        RunLog(tmp_path, QUIET, num_steps=10, step=0) as log,
        pytest.raises(ValueError, match="JSON"),
    ):
        log.write({"loss": float("nan")}, Ledger(step=1))


def test_tensorboard_reads_the_events_of_a_resumed_run(tmp_path: Path) -> None:
    write(tmp_path, range(1, 6))
    write(tmp_path, range(4, 8))
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    scalars = events.Scalars("loss")
    assert [event.step for event in scalars] == [1, 2, 3, 4, 5, 6, 7]
    assert [event.value for event in scalars] == pytest.approx([1 / n for n in range(1, 8)])


def test_the_bar_shows_loss_speed_and_mfu(tmp_path: Path) -> None:
    reporter = Reporter()
    page = io.StringIO()
    reporter.console, reporter.draws = Console(file=page, force_terminal=True, width=120), True
    cut_logs(tmp_path, 0)
    with RunLog(tmp_path, reporter, num_steps=10, step=0) as log:
        log.write(STEP, Ledger(step=4))
        log.write({"validation/loss/all": 5.0}, Ledger(step=4))
    assert "4/10 steps  loss 6.500  1,000 tokens/s  MFU 25.0 %" in page.getvalue()
    assert "left" in page.getvalue()


def test_a_chart_keeps_all_numbers_in_its_averages() -> None:
    lines = [
        {"metric": "loss", "value": float(step % 7), "tokens": step} for step in range(1, 1_001)
    ]
    points = collect_curves([*lines, {"metric": "skipped", "value": "x", "tokens": 1}])["loss"]
    assert len(points) == 1_000
    thinned = average(points, 250)
    assert len(thinned) == 250
    assert sum(p.value for p in thinned) * 4 == pytest.approx(sum(p.value for p in points))
    svg = draw_lines({"a <b>": points, "c": points[:1]})
    assert svg.count("<polyline") == 2
    assert svg.count("<circle") == 1
    assert "a &lt;b&gt;" in svg
