"""Judgements as files: nothing is lost on the way, and a broken file brings nothing in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from corpus.errors import SourceError, StoreError
from corpus.manifest import Flow
from labeling import potato
from labeling.annotations import CAUSES, LABELS, AnnotationStore, Draft
from labeling.exchange import export_annotations, read_annotations
from labeling.item_text import read_item_text
from labeling.label_studio import LABELING_CONFIG, export_label_studio, import_label_studio
from labeling.obsoletion_examples import read_export
from labeling.potato import export_potato, import_potato

ANSWER = "\N{GRINNING FACE} Call frob(),\nas of 1.2; frob() is best."
CONTENT = {
    "judged_at": "2024-03-01T00:00:00.000Z",
    "question": {"title": "How do I <b>?", "html": "<p>With <code>x</code> &amp; y</p>"},
    "answer": {"text": ANSWER, "created_at": "2012-05-06T07:08:09.000Z"},
    "comments": [{"comment_id": 77, "created_at": "2019-01-02T03:04:05.000Z", "text": "Gone."}],
}
EVIDENCE = (
    {"kind": "span", "start": 7, "end": 13, "quote": "frob()"},
    {"kind": "comment", "id": 77},
    {"kind": "revision", "id": -5},
)
FULL = Draft("obsolete", "library", EVIDENCE, 3, "It is gone:\n\u2028see \N{GRINNING FACE}", 61.5)


def make_store(folder: Path, name: str = "a.sqlite") -> AnnotationStore:
    now = datetime(2024, 5, 6, tzinfo=UTC)

    def clock() -> datetime:
        nonlocal now
        now += timedelta(seconds=1)
        return now

    items = [
        {"item_id": f"site/{number}", "content": CONTENT, "hidden": {"stratum": f"s{number}"}}
        for number in range(4)
    ]
    return AnnotationStore.create(folder / name, items, guideline="Judge.", clock=clock)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    store = make_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[AnnotationStore]:
    store = make_store(tmp_path, "b.sqlite")
    yield store
    store.close()


@pytest.fixture
def judged(store: AnnotationStore) -> AnnotationStore:
    for name in ("ann", "bob"):
        store.add_annotator(name)
    store.add_annotator("ruth", "adjudicator")
    store.add_annotator("judge-m", "machine")
    store.save("site/0", "ann", Draft("cannot_tell", confidence=1), expected_revision=0)
    store.save("site/0", "ann", FULL, expected_revision=1)
    store.save("site/0", "bob", Draft("current"), expected_revision=0)
    store.save("site/0", "judge-m", Draft("current"), expected_revision=0)
    store.save("site/0", "ruth", Draft("obsolete", "tool"), expected_revision=0)
    store.save("site/1", "bob", Draft("current"), expected_revision=0)
    store.undo("bob")
    store.save("site/2", "ann", Draft("current"), expected_revision=0)
    return store


def drafts(store: AnnotationStore) -> dict[tuple[str, str], Draft]:
    return {
        (one.item_id, one.annotator): one.draft
        for item_id in store.item_ids()
        for one in store.judgements(item_id)
        if one.draft
    }


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, indent=1), "utf-8")
    return path


def write_rows(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


# The project's own --------------------------------------------------------------------------


def test_all_revisions_come_back(judged: AnnotationStore, tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    assert export_annotations(judged, path) == 4
    items = read_annotations(path)
    assert [item.item_id for item in items] == judged.item_ids()
    every = [one for item in items for one in (*item.judgements, *item.superseded)]
    key = lambda one: (one.item_id, one.annotator, one.revision)  # noqa: E731
    assert sorted(every, key=key) == list(judged.iter_judgements())
    for item in items:
        assert list(item.judgements) == judged.judgements(item.item_id)
        assert item.resolved == judged.adjudicated_label(item.item_id)
        assert item.content == CONTENT and item.hidden == judged.read_hidden(item.item_id)
    assert [item.resolved.reason for item in items] == ["adjudicated", "none", "single", "none"]
    assert [one.draft is None for one in items[1].superseded] == [False, True]


def test_an_export_of_the_same_is_the_same_and_replaces(
    judged: AnnotationStore, tmp_path: Path
) -> None:
    path = tmp_path / "judgements.jsonl"
    num_events = judged.check_log()
    export_annotations(judged, path)
    content = path.read_bytes()
    export_annotations(judged, path)
    assert path.read_bytes() == content and content.isascii()
    assert judged.check_log() == num_events + 2
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.sqlite", "judgements.jsonl"]
    with pytest.raises(StoreError, match="cannot be written"):
        export_annotations(judged, tmp_path / "nowhere" / "x")


def test_what_is_exported_is_what_examples_are_made_of(
    judged: AnnotationStore, tmp_path: Path
) -> None:
    path = tmp_path / "judgements.jsonl"
    export_annotations(judged, path)
    rows = list(read_export(path))
    assert [row["label"] for row in rows] == ["obsolete", None, None, None]
    assert [one["annotator"] for one in rows[0]["judgements"]] == ["ann", "bob", "judge-m", "ruth"]
    assert [one["label"] for one in rows[1]["judgements"]] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line[:-5], r"line 1, column \d+: not JSON"),
        (lambda line: "[1]", "line 1: not a JSON object"),
        (lambda line: line.replace('"hidden"', '"shown"'), "line 1: no annotated item"),
        (lambda line: line.replace('"reason": "adj', '"reason": "'), "line 1: no annotated item"),
        (lambda line: line.replace('"role": "annotator"', '"role": "x"'), "line 1: no judgement"),
        (lambda line: line.replace('"confidence": 3', '"confidence": 9'), "confidence is 9"),
        (lambda line: line.replace('"at": "2024', '"at": "'), "line 1: no judgement of site/0"),
        (lambda line: line.replace('"note"', '"nota"'), "line 1: no judgement of site/0"),
        (lambda line: f"{line}\n{line}", "line 2: item site/0 is there twice"),
        (lambda line: line + "\udcff", "cannot be read"),
        (lambda line: "[" * 100_000, "line 1"),
    ],
)
def test_a_broken_export_is_refused_with_its_line(
    judged: AnnotationStore, tmp_path: Path, change: Any, message: str
) -> None:
    path = tmp_path / "judgements.jsonl"
    export_annotations(judged, path)
    lines = path.read_text().split("\n")
    broken = "\n".join([change(lines[0]), *lines[1:]])
    path.write_bytes(broken.encode("utf-8", "surrogateescape"))
    with pytest.raises(SourceError, match=message) as caught:
        read_annotations(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


# Label Studio -------------------------------------------------------------------------------


def test_the_labelling_interface_fits_what_is_exported(
    judged: AnnotationStore, tmp_path: Path
) -> None:
    path = tmp_path / "tasks.json"
    export_label_studio(judged, path)
    task = json.loads(path.read_text())[0]
    view = ElementTree.fromstring(LABELING_CONFIG)
    by_name = {one.get("name"): one for one in view.iter() if one.get("name")}
    for one in view.iter():
        if (value := one.get("value", "")).startswith("$"):
            assert value[1:] in task["data"]
        assert one.get("toName", "answer") in by_name
    kinds = {"choices": "Choices", "labels": "Labels", "rating": "Rating", "textarea": "TextArea"}
    regions = task["annotations"][0]["result"]
    assert {region["from_name"] for region in regions} == {
        *("label", "cause", "confidence", "evidence", "pointers", "note")
    }
    for region in regions:
        assert by_name[region["from_name"]].tag == kinds[region["type"]]
        assert by_name[region["from_name"]].get("toName") == region["to_name"]
    for name, values in (("label", LABELS), ("cause", CAUSES)):
        assert tuple(one.get("value") for one in by_name[name]) == values
    hotkeys = [one.get("hotkey") for one in view.iter() if one.get("hotkey")]
    assert len(set(hotkeys)) == len(hotkeys)


def test_tasks_come_back_from_label_studio(
    judged: AnnotationStore, other: AnnotationStore, tmp_path: Path
) -> None:
    path = tmp_path / "tasks.json"
    assert export_label_studio(judged, path, users={"ann": 3}) == 4
    tasks = json.loads(path.read_text())
    assert all(task["predictions"] == [] for task in tasks)
    assert "stratum" not in path.read_text()
    regions = tasks[0]["annotations"][0]["result"]
    (span,) = [one["value"] for one in regions if one["type"] == "labels"]
    assert span == {"start": 7, "end": 13, "text": "frob()", "labels": ["evidence"]}
    ids = [one["unique_id"] for task in tasks for one in task["annotations"]]
    assert len(set(ids)) == len(ids) == 3
    # The machine and the adjudicator stay.
    report = import_label_studio(other, path, annotators={3: "ann"})
    assert report == (Flow(3, 3, {}), Flow(3, 3, {}), 3)
    expected = {key: one for key, one in drafts(judged).items() if key[1] in ("ann", "bob")}
    assert drafts(other) == expected
    assert import_label_studio(other, path, annotators={3: "ann"}).num_new == 0


def studio_task(*annotations: dict[str, Any], item_id: str = "site/0") -> dict[str, Any]:
    """A task as the tool's own export has it, with all that it adds."""
    return {
        "id": 12,
        "annotations": list(annotations),
        "file_upload": "5d8f-tasks.json",
        "drafts": [],
        "predictions": [],
        "data": {"item_id": item_id, "answer": ANSWER, "title": "How do I <b>?"},
        "meta": {},
        "created_at": "2026-10-01T08:00:00.000000Z",
        "updated_at": "2026-10-01T09:00:00.000000Z",
        "inner_id": 1,
        "total_annotations": len(annotations),
        "cancelled_annotations": 0,
        "total_predictions": 0,
        "comment_count": 0,
        "unresolved_comment_count": 0,
        "last_comment_updated_at": None,
        "project": 4,
        "updated_by": 1,
        "comment_authors": [],
    }


def region(name: str, kind: str, **value: Any) -> dict[str, Any]:
    return {
        "value": value,
        "id": "QJtKcDWrqZ",
        "from_name": name,
        "to_name": "answer",
        "type": kind,
        "origin": "manual",
    }


OBSOLETE = region("label", "choices", choices=["obsolete"])


def annotation(number: int, *regions: Any, user: Any = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "completed_by": user,
        "result": list(regions),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-10-01T08:30:00.000000Z",
        "updated_at": f"2026-10-01T08:30:{number:02}.000000Z",
        "draft_created_at": None,
        "lead_time": 12.25,
        "prediction": {},
        "result_count": len(regions),
        "unique_id": f"00000000-0000-0000-0000-{number:012}",
        "import_id": None,
        "last_action": None,
        "bulk_created": False,
        "task": 12,
        "project": 4,
        "updated_by": 1,
        "parent_prediction": None,
        "parent_annotation": None,
        "last_created_by": None,
    } | changes


def test_annotations_of_label_studio_are_read(store: AnnotationStore, tmp_path: Path) -> None:
    full = annotation(
        1,
        OBSOLETE,
        region("cause", "choices", choices=["link"]),
        region("confidence", "rating", rating=1),
        region("evidence", "labels", start=7, end=13, text="frob()", labels=["evidence"]),
        # Offsets of other units: the quote is there once, and found.
        region("evidence", "labels", start=0, end=4, text="best", labels=["evidence"]),
        region("evidence", "labels", start=99, end=103, text="frob()", labels=["evidence"]),
        region("pointers", "textarea", text=["comment:77", " answer:8 "]),
        region("note", "textarea", text=["Gone."]),
    )
    second = annotation(2, region("label", "choices", choices=["current"]), user={"id": 9})
    skipped = annotation(3, OBSOLETE, user=5, was_cancelled=True)
    path = write_json(
        tmp_path / "export.json",
        [studio_task(full, second, skipped, annotation(4, user=6)), studio_task(item_id="site/1")],
    )
    report = import_label_studio(store, path, annotators={1: "ann"})
    assert report.judgements == Flow(4, 2, {"cancelled": 1, "empty": 1})
    assert report.evidence == Flow(5, 4, {"not_in_answer": 1})
    at = ANSWER.index("best")
    evidence = (
        {"kind": "span", "start": 7, "end": 13, "quote": "frob()"},
        {"kind": "span", "start": at, "end": at + 4, "quote": "best"},
        {"kind": "comment", "id": 77},
        {"kind": "answer", "id": 8},
    )
    assert drafts(store) == {
        ("site/0", "ann"): Draft("obsolete", "link", evidence, 1, "Gone.", 12.25),
        ("site/0", "label-studio-9"): Draft("current", seconds_spent=12.25),
    }


def test_of_two_annotations_of_one_user_the_newest_counts(
    store: AnnotationStore, tmp_path: Path
) -> None:
    current = region("label", "choices", choices=["current"])
    for order in ((1, 2), (2, 1)):
        both = [annotation(number, (OBSOLETE, current)[number - 1]) for number in order]
        path = write_json(tmp_path / "export.json", [studio_task(*both)])
        report = import_label_studio(store, path)
        assert report.judgements == Flow(2, 1, {"superseded": 1})
        assert drafts(store)[("site/0", "label-studio-1")].label == "current"


TWO = region("label", "choices", choices=["obsolete", "current"])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"tasks": []}, "no list of tasks"),
        ([7], "task 1: no task with data.item_id"),
        ([{"item_id": "site/0", "label": "obsolete"}], "not JSON_MIN"),
        ([studio_task(item_id="site/99")], "task 1: there is no item 'site/99'"),
        ([studio_task() | {"data": {"item_id": "site/0", "answer": ""}}], "another answer"),
        ([studio_task(annotation(1, TWO))], "task 1, annotation 1: label has 2 values"),
        ([studio_task(annotation(1, OBSOLETE, OBSOLETE))], "label has 2 values"),
        ([studio_task(annotation(1, region("note", "textarea", text=[])))], "label has 0 values"),
        ([studio_task(annotation(1, region("label", "choices", choices=["old"])))], "'old'"),
        ([studio_task(annotation(1, OBSOLETE, 7))], "a region without a value"),
        ([studio_task(annotation(1, OBSOLETE, user=None))], "completed_by is None"),
        (
            [studio_task(annotation(1, OBSOLETE, region("pointers", "textarea", text=["c:1"])))],
            "pointer 'c:1' is none",
        ),
        (
            [studio_task(annotation(1, OBSOLETE, region("confidence", "rating", rating=5)))],
            "confidence is 5",
        ),
        (
            [studio_task(annotation(1, OBSOLETE), annotation(1, OBSOLETE, user=2))],
            "annotation 2: annotation 00000000-0000-0000-0000-000000000001 is there twice",
        ),
    ],
)
def test_a_broken_export_of_label_studio_brings_nothing_in(
    store: AnnotationStore, tmp_path: Path, tasks: Any, message: str
) -> None:
    good = studio_task(annotation(50, OBSOLETE), item_id="site/3")
    # What is good is there too, after what is broken: all is read before anything is saved.
    path = write_json(tmp_path / "x.json", [*tasks, good] if isinstance(tasks, list) else tasks)
    num_events = store.check_log()
    with pytest.raises(SourceError, match=message) as caught:
        import_label_studio(store, path)
    assert "\n" not in str(caught.value)
    assert store.check_log() == num_events and drafts(store) == {}


def test_a_cut_export_of_label_studio_names_line_and_column(
    store: AnnotationStore, tmp_path: Path
) -> None:
    path = write_json(tmp_path / "x.json", [studio_task(annotation(1, OBSOLETE))])
    path.write_text(path.read_text()[:60])
    with pytest.raises(SourceError, match=r"x\.json, line \d+, column \d+: not JSON"):
        import_label_studio(store, path)


def test_a_name_that_is_none_brings_nothing_in(store: AnnotationStore, tmp_path: Path) -> None:
    path = write_json(
        tmp_path / "x.json", [studio_task(annotation(1, OBSOLETE), annotation(2, OBSOLETE, user=2))]
    )
    with pytest.raises(SourceError, match="cannot be saved: the annotator's name is 'A B'"):
        import_label_studio(store, path, annotators={2: "A B"})
    assert store.annotators() == []


# Potato --------------------------------------------------------------------------------------


def test_items_go_out_as_potato_shows_them(judged: AnnotationStore, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    assert export_potato(judged, path) == 4
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["id"] for row in rows] == judged.item_ids()
    assert rows[0]["text"] == ANSWER and rows[0]["comments"] == "2019-01-02: Gone."
    assert "stratum" not in path.read_text()
    config = yaml.safe_load(potato.CONFIG)
    assert {field["key"] for field in config["instance_display"]["fields"]} <= set(rows[0])
    schemes = {scheme["name"]: scheme for scheme in config["annotation_schemes"]}
    assert schemes["label"]["labels"] == list(LABELS)
    assert schemes["cause"]["labels"] == list(CAUSES)
    assert schemes["confidence"]["labels"] == ["guess", "fairly sure", "certain"]
    (marked,) = [one for one in config["instance_display"]["fields"] if one.get("span_target")]
    assert marked["key"] == config["item_properties"]["text_key"] == "text"


def exported(item_id: str = "site/0", user: str = "Ann", **labels: Any) -> dict[str, Any]:
    """A line of the tool's exporter."""
    return {
        "instance_id": item_id,
        "user_id": user,
        "labels": {"label": {"obsolete": "obsolete"}} | labels,
        "spans": {},
        "links": {},
    }


def test_annotations_of_potatos_exporter_are_read(store: AnnotationStore, tmp_path: Path) -> None:
    spans = [
        {"start": 7, "end": 13, "label": "evidence", "text": "frob()", "target_field": "text"},
        {"start": 0, "end": 3, "label": "evidence", "text": "How", "target_field": "title"},
    ]
    full = exported(
        cause={"library": True, "link": False},
        confidence={"certain": "3"},
        note={"text_box": "Gone."},
    ) | {"spans": {"evidence": spans}}
    other = exported(user="bob@example.org", label={"current": "1", "obsolete": "0"})
    silent = exported("site/1", label={})
    path = write_rows(tmp_path / "annotations.jsonl", full, other, silent)
    report = import_potato(store, path, annotators={"Ann": "ann"})
    assert report.judgements == Flow(3, 2, {"no_label": 1})
    assert report.evidence == Flow(2, 1, {"not_in_answer": 1})
    evidence = ({"kind": "span", "start": 7, "end": 13, "quote": "frob()"},)
    assert drafts(store) == {
        ("site/0", "ann"): Draft("obsolete", "library", evidence, 3, "Gone."),
        ("site/0", "potato-bob-example-org"): Draft("current"),
    }
    assert import_potato(store, path, annotators={"Ann": "ann"}).num_new == 0


def test_annotations_of_older_files_are_their_folders(
    store: AnnotationStore, tmp_path: Path
) -> None:
    row = {
        "id": "site/2",
        "displayed_text": ANSWER,
        "label_annotations": {"label": {"cannot_tell": "3"}},
        "span_annotations": {"evidence": {"text": [{"start": 7, "end": 13}]}},
        "behavioral_data": {"time_string": "Time spent: 0d 0h 0m 7s "},
    }
    path = write_rows(tmp_path / "ann" / "annotated_instances.jsonl", row)
    import_potato(store, path)
    evidence = ({"kind": "span", "start": 7, "end": 13, "quote": "frob()"},)
    assert drafts(store) == {("site/2", "potato-ann"): Draft("cannot_tell", None, evidence)}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (exported("site/99"), "line 2: 'site/99' is no item"),
        (exported("site/3"), "line 2: potato-ann judged site/3 at .*line 1 already"),
        (exported(label={"obsolete": 1, "current": 1}), "label is obsolete and current"),
        (exported(label={"old": 1}), "label is 'old'"),
        (exported(label=["obsolete"]), "label is list"),
        (exported(confidence={"sure": 1}), "confidence is 'sure'"),
        (exported(label={"current": 1}, cause={"link": 1}), "only an obsolete one has a cause"),
        ({"instance_id": "site/0", "user_id": "Ann"}, "line 2: no labels"),
        (exported(user="ANN"), "ANN and Ann are both potato-ann"),
        (exported() | {"spans": 7}, "spans are int"),
        ([1], "line 2: not a JSON object"),
    ],
)
def test_a_broken_file_of_potato_brings_nothing_in(
    store: AnnotationStore, tmp_path: Path, row: Any, message: str
) -> None:
    path = write_rows(tmp_path / "annotations.jsonl", exported("site/3"), row)
    num_events = store.check_log()
    with pytest.raises(SourceError, match=message) as caught:
        import_potato(store, path)
    assert "\n" not in str(caught.value)
    assert store.check_log() == num_events and drafts(store) == {}


# Of all --------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_named(store: AnnotationStore, tmp_path: Path) -> None:
    for read in (import_label_studio, import_potato):
        with pytest.raises(SourceError, match=r"gone\.json cannot be read"):
            read(store, tmp_path / "gone.json")


def test_what_an_export_says_of_an_item_is_its_text() -> None:
    item = read_item_text(CONTENT)
    assert (item.title, item.question) == ("How do I <b>?", "With x & y")
    assert item.comments == ((77, "2019-01-02", "Gone."),)
    nothing = read_item_text({"question": None, "comments": None})
    assert (nothing.question, nothing.comments) == ("", ())


def test_imports_are_in_the_log_with_their_source(store: AnnotationStore, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "annotations.jsonl", exported())
    import_potato(store, path)
    rows = store._connection.execute("SELECT detail FROM events WHERE event = 'saved'").fetchall()
    assert [json.loads(row[0])["source"] for row in rows] == ["annotations.jsonl"]
