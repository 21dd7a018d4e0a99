"""Tasks and annotations as Label Studio (1.23) has them: one JSON list of tasks.

A task's data is item_id, title, question, answer, comments, judged. What an annotation says goes by
the names of `LABELING_CONFIG`, the labelling interface of the project to import it into:

    label, cause    choices           confidence    rating
    evidence        labels: spans of the answer, offsets in code points
    pointers        textarea: "comment:7", "answer:7", "revision:7"
    note            textarea

Label Studio has no own word for who may see what: an ordinary member reads the annotations of
others, so one project per annotator keeps them blind. Machines and adjudicators are not exported.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from corpus.errors import BadValue, SourceError, StoreError
from corpus.manifest import Flow
from labeling.annotations import AnnotationStore, Given
from labeling.exchange import (
    ImportReport,
    import_given,
    locate_quote,
    parse_json,
    read_text,
    write_lines,
)
from labeling.item_text import read_item_text
from labeling.judgements import CAUSES, LABELS, POINTER_KINDS, Json, Judgement, parse_draft

_HOTKEYS = "asdfghjk"
_POINTER = re.compile(rf"\s*({'|'.join(POINTER_KINDS)}):(-?[0-9]{{1,18}})\s*")
_NAMESPACE = uuid.UUID("6f626f73-7265-4c6b-8a62-656c696e6731")


def _choices(values: tuple[str, ...], keys: str) -> str:
    pairs = zip(values, keys, strict=True)
    return "".join(f'\n    <Choice value="{value}" hotkey="{key}"/>' for value, key in pairs)


LABELING_CONFIG = f"""\
<View>
  <Header value="$title"/>
  <Text name="question" value="$question"/>
  <Labels name="evidence" toName="answer">
    <Label value="evidence" hotkey="e"/>
  </Labels>
  <Text name="answer" value="$answer"/>
  <Paragraphs name="comments" value="$comments" nameKey="day" textKey="text" layout="dialogue"/>
  <Header value="Judge as of $judged"/>
  <Choices name="label" toName="answer" choice="single" required="true" showInLine="true">\
{_choices(LABELS, "123")}
  </Choices>
  <Choices name="cause" toName="answer" choice="single" showInLine="true"
      visibleWhen="choice-selected" whenTagName="label" whenChoiceValue="obsolete">\
{_choices(CAUSES, _HOTKEYS)}
  </Choices>
  <Rating name="confidence" toName="answer" maxRating="3"/>
  <TextArea name="pointers" toName="answer" editable="true" maxSubmissions="100"
      placeholder="comment:7, answer:7 or revision:7, one each"/>
  <TextArea name="note" toName="answer" editable="true" maxSubmissions="1"/>
</View>
"""


class _Read(NamedTuple):
    where: str
    given: Given
    newest: str
    num_lost: int


def export_label_studio(
    store: AnnotationStore, path: Path, *, users: Mapping[str, int] | None = None
) -> int:
    """Write all items as tasks, with the judgements of people that stand; return how many.

    Args:
        store: the items.
        path: of the file.
        users: the id in Label Studio of each annotator that has one; the importer gives the
            annotations of others to whoever imports, and their names are in the file alone.

    Raises:
        StoreError: the file cannot be written.
    """
    item_ids = store.item_ids()

    def iter_lines() -> Iterator[str]:
        yield "["
        for number, item_id in enumerate(item_ids, 1):
            yield json.dumps(_make_task(store, item_id, users or {})) + "," * (
                number < len(item_ids)
            )
        yield "]"

    write_lines(path, iter_lines())
    store.record_export(path.name)
    return len(item_ids)


def import_label_studio(
    store: AnnotationStore, path: Path, *, annotators: Mapping[int, str] | None = None
) -> ImportReport:
    """Save the annotations of Label Studio's JSON export, all or none.

    Of several that one user made of a task the newest counts. Those that were skipped
    (was_cancelled) or are empty are refused; so is evidence that is not in the answer.

    Args:
        store: that has the items.
        path: the export, format "JSON".
        annotators: names by the user's id; others are called "label-studio-<id>".

    Raises:
        SourceError: the file is none, an item is not in the store, or an annotation says what is
            not to be said; names line and column, or task and annotation. Nothing is saved.
    """
    tasks = parse_json(read_text(path), str(path))
    if not isinstance(tasks, list):
        raise SourceError(f'{path} is no list of tasks; export it from Label Studio as "JSON"')
    refused = Counter[str]()
    newest: dict[tuple[str, str], _Read] = {}
    ids = set[str]()
    num_found = 0
    for number, task in enumerate(tasks, 1):
        for where, annotation, item_id, answer in _iter_annotations(
            store, task, f"{path}, task {number}"
        ):
            num_found += 1
            _check_unique(annotation, ids, where)
            if annotation.get("was_cancelled") or not annotation.get("result"):
                refused["cancelled" if annotation.get("was_cancelled") else "empty"] += 1
                continue
            one = _read_annotation(annotation, item_id, answer, annotators or {}, where)
            key = (item_id, one.given.annotator)
            refused["superseded"] += key in newest
            if key not in newest or one.newest >= newest[key].newest:
                newest[key] = one
    taken = list(newest.values())
    num_new = import_given(store, [(one.where, one.given) for one in taken], path)
    num_lost = sum(one.num_lost for one in taken)
    num_kept = sum(len(one.given.draft.evidence) for one in taken)
    return ImportReport(
        Flow(num_found, len(taken), dict(sorted((+refused).items()))),
        Flow(num_kept + num_lost, num_kept, {"not_in_answer": num_lost} if num_lost else {}),
        num_new,
    )


def _make_task(store: AnnotationStore, item_id: str, users: Mapping[str, int]) -> Json:
    item = read_item_text(store.read_item(item_id))
    data = {
        "item_id": item_id,
        "title": item.title,
        "question": item.question,
        "answer": item.answer,
        "comments": [{"day": one.day, "text": one.text} for one in item.comments],
        "judged": item.judged,
    }
    people = [one for one in store.judgements(item_id) if one.role == "annotator"]
    annotations = [_make_annotation(one, users) for one in people]
    return {"data": data, "annotations": annotations, "predictions": []}


def _make_annotation(judgement: Judgement, users: Mapping[str, int]) -> Json:
    assert judgement.draft is not None
    draft, name = judgement.draft, judgement.annotator
    values: list[tuple[str, str, Json]] = [("label", "choices", {"choices": [draft.label]})]
    values += [("cause", "choices", {"choices": [draft.cause]})] if draft.cause else []
    values.append(("confidence", "rating", {"rating": draft.confidence}))
    for one in draft.evidence:
        if one["kind"] == "span":
            span = {"start": one["start"], "end": one["end"], "text": one["quote"]}
            values.append(("evidence", "labels", {**span, "labels": ["evidence"]}))
    pointers = [f"{one['kind']}:{one['id']}" for one in draft.evidence if one["kind"] != "span"]
    values += [("pointers", "textarea", {"text": pointers})] if pointers else []
    values += [("note", "textarea", {"text": [draft.note]})] if draft.note else []
    key = f"{judgement.item_id} {name} {judgement.revision}"
    result = [
        {
            "id": uuid.uuid5(_NAMESPACE, f"{key} {number}").hex[:10],
            "from_name": from_name,
            "to_name": "answer",
            "type": kind,
            "value": value,
        }
        for number, (from_name, kind, value) in enumerate(values)
    ]
    user = {"completed_by": users[name]} if name in users else {}
    return {
        "unique_id": str(uuid.uuid5(_NAMESPACE, key)),
        "annotator": name,
        **user,
        "result": result,
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": draft.seconds_spent,
    }


def _iter_annotations(
    store: AnnotationStore, task: Any, where: str
) -> Iterator[tuple[str, Json, str, str]]:
    data = task.get("data") if isinstance(task, dict) else None
    item_id = data.get("item_id") if isinstance(data, dict) else None
    annotations = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(item_id, str) or not isinstance(annotations, list):
        raise SourceError(
            f'{where}: no task with data.item_id and annotations; export it as "JSON", not JSON_MIN'
        )
    try:
        answer = read_item_text(store.read_item(item_id)).answer
    except StoreError as error:
        raise SourceError(f"{where}: {error}") from error
    if data is None or data.get("answer") != answer:
        raise SourceError(f"{where}: {item_id} has another answer in this store; check both")
    for number, annotation in enumerate(annotations, 1):
        if not isinstance(annotation, dict):
            raise SourceError(f"{where}, annotation {number}: not an object; export it again")
        yield f"{where}, annotation {number}", annotation, item_id, answer


def _check_unique(annotation: Json, ids: set[str], where: str) -> None:
    unique = annotation.get("unique_id") or annotation.get("id")
    if unique is not None and str(unique) in ids:
        raise SourceError(f"{where}: annotation {unique} is there twice; export it again")
    ids.add(str(unique))


def _read_annotation(
    annotation: Json, item_id: str, answer: str, annotators: Mapping[int, str], where: str
) -> _Read:
    found: dict[str, list[Json]] = {}
    for region in annotation["result"]:
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict):
            raise SourceError(f"{where}: a region without a value; export it again")
        found.setdefault(str(region.get("from_name")), []).append(value)
    spans = [
        locate_quote(answer, value.get("start"), value.get("end"), value.get("text"))
        for value in found.get("evidence", [])
    ]
    kept = [span for span in spans if span is not None]
    try:
        texts = [text for value in found.get("pointers", []) for text in value.get("text", [])]
        content = {
            "label": _read_one(found, "label", "choices"),
            "cause": _read_one(found, "cause", "choices") if "cause" in found else None,
            "evidence": [*kept, *map(_read_pointer, texts)],
            "confidence": _read_one(found, "confidence", "rating") if "confidence" in found else 2,
            "note": "\n".join(t for value in found.get("note", []) for t in value.get("text", [])),
            "seconds_spent": annotation.get("lead_time") or 0.0,
        }
        draft = parse_draft(content)
    except (BadValue, TypeError) as error:
        raise SourceError(f"{where}: {error}; correct it in Label Studio") from error
    name = _name_annotator(annotation, annotators, where)
    newest = str(annotation.get("updated_at") or annotation.get("created_at") or "")
    return _Read(where, Given(item_id, name, draft), newest, len(spans) - len(kept))


def _read_one(found: Mapping[str, list[Json]], name: str, key: str) -> Any:
    """Return the one value of a control."""
    values = [value.get(key) for value in found.get(name, [])]
    chosen = values[0] if len(values) == 1 else values
    if isinstance(chosen, list) and len(chosen) == 1:
        chosen = chosen[0]
    if isinstance(chosen, list):
        raise BadValue(f"{name} has {len(chosen)} values; it must have one")
    return chosen


def _read_pointer(text: object) -> Json:
    match = _POINTER.fullmatch(str(text))
    if not match:
        raise BadValue(f"pointer {text!r} is none of comment:7, answer:7, revision:7")
    return {"kind": match[1], "id": int(match[2])}


def _name_annotator(annotation: Json, annotators: Mapping[int, str], where: str) -> str:
    user = annotation.get("completed_by")
    user = user.get("id") if isinstance(user, dict) else user
    if isinstance(user, int):
        return annotators.get(user, f"label-studio-{user}")
    if user is None and isinstance(annotation.get("annotator"), str):
        return str(annotation["annotator"])
    raise SourceError(f"{where}: completed_by is {user!r}; it must be a user's id")
