"""From items to people and back to a benchmark, as the commands do it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from corpus.errors import BadValue, StoreError
from corpus.store import Store
from corpus.tables import read_table
from labeling.annotating import database_path, enrol, open_annotations
from labeling.annotations import AnnotationStore
from labeling.judgements import Draft, Label
from sobert import main
from tests.conftest import CHECKOUT

NAME = "demo-obsoletion"
RECIPE = CHECKOUT / "datacards" / NAME / "recipe.toml"


class Clock:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self) -> None:
        self.now = datetime(2024, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def build(store: Store, *more: object) -> Result:
    return run("labeling", "build", "obsoletion", RECIPE, "--store", store.folder, "--quiet", *more)


def judge_all(annotations: AnnotationStore) -> None:
    """Ada and Ben judge all; where they disagree (two of 25), Eve cannot tell either."""
    enrol(annotations, ["ada", "ben"], "annotator")
    enrol(annotations, ["eve"], "adjudicator")
    for number, item_id in enumerate(annotations.item_ids()):
        label: Label = "obsolete" if number % 3 == 0 else "current"
        other: Label = "current" if number % 7 == 0 else label
        cause = "library" if label == "obsolete" else None
        annotations.save(item_id, "ada", Draft(label, cause), expected_revision=0)
        said = Draft(other, "library" if other == "obsolete" else None)
        annotations.save(item_id, "ben", said, expected_revision=0)
    for item_id in annotations.disagreements():
        annotations.save(item_id, "eve", Draft("cannot_tell"), expected_revision=0)


@pytest.fixture
def judged(demo_copy: Store) -> Store:
    result = build(demo_copy)
    assert result.exit_code == 0, result.stderr
    assert f"sobert labeling annotate {NAME}" in result.stdout
    annotations = open_annotations(demo_copy, NAME, clock=Clock())
    judge_all(annotations)
    annotations.close()
    return demo_copy


def test_judgements_become_a_benchmark_with_every_judgement_kept(
    judged: Store, tmp_path: Path
) -> None:
    out = tmp_path / "judgements.jsonl"
    exported = run("labeling", "export", NAME, "--out", out, "--store", judged.folder, "--json")
    num_items = json.loads(exported.stdout)["items"]
    result = build(judged, "--source", out)
    assert result.exit_code == 0, result.stderr
    run_of = judged.read_run(NAME)
    flow = run_of["examples"].manifest.outcome.flows["rows"]
    assert flow.num_in == num_items == flow.num_out + sum(flow.rejected.values())
    assert set(flow.rejected) == {"cannot_tell"}
    rows = [
        row
        for entry in run_of["benchmark"].files("data/")
        for row in read_table(run_of["benchmark"].path(entry.name)).to_pylist()
    ]
    assert len(rows) == flow.num_out
    for row in rows:
        assert row["label"] in ("obsolete", "current")
        said = [(one["role"], one["label"]) for one in row["judgements"]]
        assert said == [("annotator", row["label"])] * 2
        assert {one["annotator"] for one in row["judgements"]} == {"annotator-1", "annotator-2"}
        assert row["label_at"] is None or row["input_at"] <= row["label_at"]
    card = run_of["release"].path("README.md").read_text("utf-8")
    assert "| obsolete |" in card.replace("| current | obsolete |", "| obsolete |")
    assert "ada" not in re.findall(r"\w+", card)


def test_agreement_is_printed_with_intervals(judged: Store) -> None:
    shown = run("labeling", "agreement", NAME, "--store", judged.folder)
    assert shown.exit_code == 0, shown.stderr
    assert re.search(r"all +25 +observed_agreement +0\.\d+ \[0\.\d+, \d\.\d+\]", shown.stdout)
    assert "cohen ada / ben" in shown.stdout
    found = json.loads(
        run("labeling", "agreement", NAME, "--store", judged.folder, "--json").stdout
    )
    assert found["overall"]["num_judgements"] == 50 and found["machines"] == {}


def test_the_standing_tells_what_is_settled_and_the_rate_of_all_answers(judged: Store) -> None:
    shown = run("labeling", "standing", NAME, "--store", judged.folder)
    assert shown.exit_code == 0, shown.stderr
    assert re.search(r"obsolete among the 25 answers: \d+\.\d% \[", shown.stdout)
    found = json.loads(run("labeling", "standing", NAME, "--store", judged.folder, "--json").stdout)
    assert found["items"] == {"cannot_tell": 2, "current": 16, "obsolete": 7}
    assert sum(one["settled"] for one in found["strata"].values()) == 25
    # All answers of the demo are drawn, so the rate is what was counted.
    assert found["rate"]["obsolete"]["rate"] == pytest.approx(7 / 23)
    by_name = {one["name"]: one for one in found["functions"]}
    assert by_name["comment_says_so"]["coverage"] > 0
    assert all(0 <= (one["accuracy"] or 0) <= 1 for one in by_name.values())


def test_without_judgements_there_is_no_benchmark_and_it_says_why(
    demo_copy: Store, tmp_path: Path
) -> None:
    assert build(demo_copy).exit_code == 0
    out = tmp_path / "judgements.jsonl"
    assert run("labeling", "export", NAME, "--out", out, "--store", demo_copy.folder).exit_code == 0
    result = build(demo_copy, "--source", out)
    assert result.exit_code == 1 and "25 not_judged" in result.stderr


@pytest.mark.parametrize("tool", ["label-studio", "potato"])
def test_items_go_to_other_tools_with_their_configuration(
    judged: Store, tmp_path: Path, tool: str
) -> None:
    out = tmp_path / "items"
    shown = run(
        "labeling", "export", NAME, "--to", tool, "--out", out, "--store", judged.folder, "--json"
    )
    written = json.loads(shown.stdout)
    assert Path(written["file"]).stat().st_size > 1000
    assert Path(written["configuration"]).stat().st_size > 100
    hidden = ("stratum", "inclusion_probability", "votes")
    text = out.read_text("utf-8")
    assert not [word for word in hidden if f'"{word}"' in text]


def test_label_studios_own_export_is_taken_in(judged: Store, tmp_path: Path) -> None:
    items = tmp_path / "items.json"
    export = ("labeling", "export", NAME, "--to", "label-studio", "--out", items, "--store")
    assert run(*export, judged.folder).exit_code == 0
    task = json.loads(items.read_text("utf-8"))[1]
    result = {"from_name": "label", "to_name": "answer", "type": "choices"}
    times = dict.fromkeys(("created_at", "updated_at"), "2024-03-01T00:00:00Z")
    annotation = {"id": 5, "completed_by": 3, "was_cancelled": False, **times}
    annotation["result"] = [{**result, "value": {"choices": ["obsolete"]}}]
    task |= {"id": 1, "annotations": [annotation]}
    file = tmp_path / "export.json"
    file.write_text(json.dumps([task]), "utf-8")
    arguments = ("labeling", "import", NAME, file, "--from", "label-studio", "--store")
    taken = run(*arguments, judged.folder)
    assert taken.exit_code == 0, taken.stderr
    assert taken.stdout.startswith("1 judgements read, 1 taken, 1 new")
    file.write_text("[{", "utf-8")
    broken = run(*arguments, judged.folder)
    assert broken.exit_code == 1 and "column 3: not JSON" in broken.stderr


def test_other_items_than_the_annotations_were_made_of_are_refused(judged: Store) -> None:
    path = database_path(judged, NAME)
    path.rename(path.with_suffix(".away"))
    fewer: list[dict[str, Any]] = [{"item_id": "x.org/1", "content": {}, "hidden": {}}]
    AnnotationStore.create(path, fewer, guideline="g", clock=Clock()).close()
    with pytest.raises(StoreError, match="has other items now"):
        open_annotations(judged, NAME, clock=Clock())


def test_a_name_has_one_role_and_a_link_is_given_once(judged: Store) -> None:
    annotations = open_annotations(judged, NAME, clock=Clock())
    tokens = enrol(annotations, ["ada", "zoe"], "annotator")
    assert tokens["ada"] is None and tokens["zoe"]
    with pytest.raises(BadValue, match="'ada' is here as annotator"):
        enrol(annotations, ["ada"], "adjudicator")
    annotations.close()


def test_a_benchmark_without_items_cannot_be_annotated(demo_copy: Store) -> None:
    result = run("labeling", "agreement", "demo", "--store", demo_copy.folder)
    assert result.exit_code == 1 and "has no items to judge" in result.stderr
