"""Examples from judgements: what the input is, who is named, and what becomes of every item."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import SourceError
from corpus.manifest import Json, Manifest, Outcome
from corpus.store import Artifact
from labeling.examples import DEALT_FIELDS, EXAMPLE_SCHEMA
from labeling.obsoletion_examples import (
    OBSOLETION_SCHEMA,
    make_obsoletion_examples,
    read_export,
    read_obsoletion_examples,
)


def item(post_id: int = 2, **hidden: Any) -> Json:
    answer = {
        **{"post_id": post_id, "text": "Use a.\n\nx = a()", "inline_code": [[4, 5]]},
        "segments": [
            {"kind": "prose", "start": 0, "end": 6, "language": None},
            {"kind": "code", "start": 8, "end": 15, "language": "python"},
        ],
        **{"author": "Ada", "author_link": None, "licence": "CC BY-SA 3.0"},
        "link": f"https://x.org/a/{post_id}",
    }
    question = {"title": " Which? ", "tags": ["a"], "html": "<p>Body</p>"}
    comments = [{"comment_id": 7, "text": "a is deprecated"}]
    kept = {
        **{"stratum": "comment", "inclusion_probability": 0.25, "group": "x.org/1"},
        **{"split": "test", "thread_id": 1, "author_id": 5, "licence_source": "row"},
        **{"input_at": "2012-01-01T00:00:00.000Z", "label_at": "2013-01-01T00:00:00.000Z"},
        **{"markdown": "Use `a`.", "metadata": {"score": 3}, "votes": {}, "signals": []},
    }
    content = {"site": "x.org", "question": question, "answer": answer, "comments": comments}
    return {"item_id": f"x.org/{post_id}", "content": content, "hidden": {**kept, **hidden}}


def judgement(annotator: str, label: str | None = "obsolete", **more: Any) -> Json:
    said = {
        **{"annotator": annotator, "role": "annotator", "revision": 1, "label": label},
        **{"cause": None, "evidence": [], "confidence": 2, "note": ""},
        **{"guideline_sha256": "0f", "at": "2026-01-02T03:04:05+00:00"},
    }
    return {**said, **more}


def judged(*judgements: Json, post_id: int = 2, label: str | None = "obsolete") -> Json:
    reason = "agreed" if label else "disagreed"
    row = {"item_id": f"x.org/{post_id}", "label": label, "reason": reason}
    return {**row, "judgements": list(judgements)}


def example(*judgements: Json, label: str = "obsolete") -> Json:
    (row,) = make_obsoletion_examples(
        [item()], [judged(*judgements, label=label)]
    ).table.to_pylist()
    return dict(row)


def test_the_columns_are_those_of_every_benchmark_and_its_own() -> None:
    table = make_obsoletion_examples([item()], [judged(judgement("ada"))]).table
    assert table.schema.names == [*OBSOLETION_SCHEMA.names, *(one.name for one in DEALT_FIELDS)]
    assert OBSOLETION_SCHEMA.names[: len(EXAMPLE_SCHEMA.names)] == EXAMPLE_SCHEMA.names


def test_the_input_is_the_title_and_the_answer_and_nothing_else() -> None:
    row = example(judgement("ada"))
    assert row["text"] == "Which?\n\nUse a.\n\nx = a()"
    assert row["body_end"] == len(row["text"])
    parts = [(one["kind"], row["text"][one["start"] : one["end"]]) for one in row["segments"]]
    assert parts == [("title", "Which?"), ("prose", "Use a."), ("code", "x = a()")]
    assert row["segments"][2]["language"] == "python"
    assert [row["text"][one["start"] : one["end"]] for one in row["inline_code"]] == ["a"]
    assert row["input_at"] < row["label_at"]
    assert "deprecated" not in row["text"] and row["raw_text"] == "Use `a`."


def test_evidence_of_those_who_agree_is_kept_once_and_points_into_the_text() -> None:
    span = {"kind": "span", "start": 4, "end": 5, "quote": "a"}
    comment = {"kind": "comment", "id": 7}
    row = example(
        judgement("ada", evidence=[span, comment]),
        judgement("bob", evidence=[comment]),
        judgement("cy", "current", evidence=[{"kind": "revision", "id": 9}]),
    )
    assert [(one["kind"], one["id"]) for one in row["evidence"]] == [("comment", 7), ("span", None)]
    shown = row["evidence"][1]
    assert row["text"][shown["start"] : shown["end"]] == shown["quote"] == "a"


@pytest.mark.parametrize(
    ("judgements", "cause"),
    [
        ([judgement("ada", cause="link"), judgement("bob", cause="link")], "link"),
        ([judgement("ada", cause="link"), judgement("bob", cause="tool")], None),
        ([judgement("ada", cause="link"), judgement("bob")], "link"),
        ([judgement("ada"), judgement("bob")], None),
        (
            [
                judgement("ada", cause="link"),
                judgement("bob", cause="link"),
                judgement("eve", cause="tool", role="adjudicator"),
            ],
            "tool",
        ),
        # Who says that it is current names no cause of its being obsolete; nor do machines.
        ([judgement("ada", cause="link"), judgement("m", cause="tool", role="machine")], "link"),
    ],
)
def test_the_cause_is_settled_like_the_label(judgements: list[Json], cause: str | None) -> None:
    assert example(*judgements)["cause"] == cause


def test_names_of_annotators_are_in_no_row() -> None:
    row = example(
        judgement("Zoe Quick", at="2026-01-01T00:00:00+00:00"),
        judgement("Ada Brown"),
        judgement("llm-9", role="machine"),
        judgement("gone", None),
    )
    assert "Zoe" not in repr(row) and "Ada Brown" not in repr(row) and "llm" not in repr(row)
    names = [one["annotator"] for one in row["judgements"]]
    assert names == ["annotator-1", "annotator-2", "machine-1"]


def test_who_joins_later_changes_no_pseudonym() -> None:
    first = judged(judgement("zoe"))
    later = judged(judgement("ada", at="2027-01-01T00:00:00+00:00"), post_id=3)
    rows = make_obsoletion_examples([item(), item(3)], [first, later]).table.to_pylist()
    assert [row["judgements"][0]["annotator"] for row in rows] == ["annotator-1", "annotator-2"]


def test_every_item_is_an_example_or_has_a_reason() -> None:
    exported = [
        judged(judgement("ada"), post_id=2),
        judged(judgement("ada", "current"), post_id=3, label="current"),
        judged(judgement("ada", "cannot_tell"), post_id=4, label="cannot_tell"),
        judged(post_id=5, label=None),
    ]
    found = make_obsoletion_examples([item(n) for n in (6, 5, 4, 3, 2)], exported)
    assert found.table["example_id"].to_pylist() == ["x.org/2", "x.org/3"]
    assert found.table["label"].to_pylist() == ["obsolete", "current"]
    assert found.rejected == {"cannot_tell": 1, "disagreed": 1, "not_judged": 1}
    assert found.num_items == 5 == len(found.table) + found.rejected.total()
    assert found.notes["labels"] == {"current": 1, "obsolete": 1}


def test_without_examples_there_is_a_table_all_the_same() -> None:
    found = make_obsoletion_examples([item()], [])
    assert len(found.table) == 0 and found.rejected == {"not_judged": 1}


# Files ----------------------------------------------------------------------------------------


def write(path: Path, *rows: Json) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_exports_are_read_with_the_items_of_the_build(tmp_path: Path) -> None:
    write(tmp_path / "items.jsonl", item(2), item(3))
    items = Artifact(tmp_path, Manifest("items", 1, {}, {}, Outcome()))
    paths = [
        write(tmp_path / "one.jsonl", judged(judgement("ada"))),
        write(tmp_path / "two.jsonl", judged(judgement("ada"), post_id=3)),
    ]
    table, num_items, rejected, _ = read_obsoletion_examples(items, paths)
    assert (len(table), num_items, rejected.total()) == (2, 2, 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda row: "{", "line 2: no exported judgement"),
        (lambda row: "[]", "line 2: no exported judgement"),
        (lambda row: json.dumps({**row, "label": "old"}), "line 2: no exported judgement"),
        (lambda row: json.dumps({**row, "judgements": [{}]}), "line 2: no exported judgement"),
        (lambda row: json.dumps({"item_id": "x"}), "line 2: no exported judgement"),
    ],
)
def test_a_file_that_is_no_export_is_named_with_its_line(
    tmp_path: Path, spoil: Callable[[Json], str], message: str
) -> None:
    row = judged(judgement("ada"))
    path = tmp_path / "export.jsonl"
    path.write_text(json.dumps(row) + "\n" + spoil(row) + "\n", "utf-8")
    with pytest.raises(SourceError, match=message):
        list(read_export(path))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.jsonl cannot be read"):
        list(read_export(tmp_path / "gone.jsonl"))


def test_items_of_another_build_and_items_given_twice_are_refused() -> None:
    with pytest.raises(SourceError, match=r"x\.org/3, which is no item of this build"):
        make_obsoletion_examples([item()], [judged(post_id=3, label=None)])
    with pytest.raises(SourceError, match=r"x\.org/2 is exported twice"):
        make_obsoletion_examples([item()], [judged(judgement("a")), judged(judgement("b"))])
