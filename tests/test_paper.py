"""The whole chain in one command: dump, corpus, shards, pretraining, four benchmarks, report."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_the_paper_is_made_from_a_dump_to_a_report_of_four_tasks(tmp_path: Path) -> None:
    made = subprocess.run(
        ["make", "paper", f"PAPER={tmp_path}"], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr[-2_000:]
    figures = json.loads((tmp_path / "report" / "figures.json").read_bytes())
    assert {one["task"] for one in figures["tasks"]} == {"quality", "closed", "ner", "obsoletion"}
    assert (tmp_path / "report" / "report.html").stat().st_size > 50_000
    before = (tmp_path / "report" / "report.md").read_bytes()
    again = subprocess.run(
        ["make", "paper", f"PAPER={tmp_path}"], cwd=CHECKOUT, capture_output=True
    )
    assert again.returncode == 0
    assert (tmp_path / "report" / "report.md").read_bytes() == before
