"""Items and annotations as Potato (2.x) has them.

Out goes one JSON object a line (id, text, title, question, comments; `text` is the answer), with
the part of a configuration that shows it. In comes JSON lines, one annotation each, of either kind:

    annotations.jsonl            instance_id, user_id, labels {scheme: {name: value}}, spans
                                 {scheme: [{start, end, text}]}; of its exporter `jsonl`
    annotated_instances.jsonl    id, label_annotations, span_annotations; one a user, older versions
                                 write it into a folder that has the user's name

A name counts as chosen unless its value is empty, false, 0 or "false". This shape is that of its
documentation and of files that people published; no file of version 2.12 was at hand.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corpus.errors import BadValue, SourceError
from corpus.manifest import Flow
from labeling.annotations import AnnotationStore, Given
from labeling.exchange import (
    ImportReport,
    import_given,
    locate_quote,
    read_json_lines,
    write_lines,
)
from labeling.item_text import format_comments, read_item_text
from labeling.judgements import CAUSES, CONFIDENCES, LABELS, Draft, Json, parse_draft

_NOT_CHOSEN = ("", "0", "false", "none", "null")


def _list(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(names) + "]"


CONFIG = f"""\
data_files: [items.jsonl]
item_properties: {{id_key: id, text_key: text}}
instance_display:
  fields:
    - {{key: title, type: text, label: Question}}
    - {{key: question, type: text, display_options: {{preserve_whitespace: true}}}}
    - {{key: text, type: text, label: Answer, span_target: true,
       display_options: {{preserve_whitespace: true}}}}
    - {{key: comments, type: text, label: Comments, display_options: {{preserve_whitespace: true}}}}
annotation_schemes:
  - {{annotation_type: radio, name: label, description: 'Is the answer obsolete?',
     labels: {_list(LABELS)}, sequential_key_binding: true,
     label_requirement: {{required: true}}}}
  - {{annotation_type: radio, name: cause, description: 'Why, if it is?', labels: {_list(CAUSES)}}}
  - {{annotation_type: radio, name: confidence, description: 'How sure are you?',
     labels: {_list(tuple(CONFIDENCES.values()))}}}
  - {{annotation_type: span, name: evidence, description: 'What says so?', labels: [evidence]}}
  - {{annotation_type: text, name: note, description: 'Anything else?'}}
"""


def export_potato(store: AnnotationStore, path: Path) -> int:
    """Write all items as data of Potato, and return how many.

    Raises:
        StoreError: the file cannot be written.
    """
    item_ids = store.item_ids()
    write_lines(path, (json.dumps(_make_row(store, item_id)) for item_id in item_ids))
    store.record_export(path.name)
    return len(item_ids)


def import_potato(
    store: AnnotationStore, path: Path, *, annotators: Mapping[str, str] | None = None
) -> ImportReport:
    """Save the annotations of a JSON lines file of Potato, all or none.

    Annotations without a label are refused; so is evidence that is not in the answer.

    Args:
        store: that has the items.
        path: the file; where its lines name no user, the name of its folder does.
        annotators: names by the user's; others are called "potato-<user>", and what no name can
            have becomes a hyphen.

    Raises:
        SourceError: the file is none, an item is not in the store, or an annotation says what is
            not to be said; names the line. Nothing is saved.
    """
    known = set(store.item_ids())
    users: dict[str, str] = {}
    given: list[tuple[str, Given]] = []
    num_found = num_lost = 0
    refused = Counter[str]()
    for where, row in read_json_lines(path):
        num_found += 1
        item_id = row.get("instance_id", row.get("id"))
        if item_id not in known:
            raise SourceError(f"{where}: {item_id!r} is no item of this store; check both files")
        chosen = _read_choices(row, where)
        if "label" not in chosen:
            refused["no_label"] += 1
            continue
        answer = read_item_text(store.read_item(item_id)).answer
        spans = [_find_span(answer, one) for one in _list_spans(row, where)]
        kept = [span for span in spans if span is not None]
        num_lost += len(spans) - len(kept)
        user = str(row.get("user_id", row.get("user", path.absolute().parent.name)))
        name = (annotators or {}).get(user) or _name_annotator(user)
        if users.setdefault(name, user) != user:
            raise SourceError(f"{where}: {user} and {users[name]} are both {name}; name them apart")
        given.append((where, Given(item_id, name, _make_draft(chosen, kept, where))))
    num_new = import_given(store, given, path)
    num_kept = sum(len(one.draft.evidence) for _, one in given)
    return ImportReport(
        Flow(num_found, len(given), dict(refused)),
        Flow(num_kept + num_lost, num_kept, {"not_in_answer": num_lost} if num_lost else {}),
        num_new,
    )


def _make_row(store: AnnotationStore, item_id: str) -> Json:
    item = read_item_text(store.read_item(item_id))
    return {
        "id": item_id,
        "text": item.answer,
        "title": item.title,
        "question": item.question,
        "comments": format_comments(item),
    }


def _read_choices(row: Json, where: str) -> dict[str, str]:
    """Return what was chosen of each scheme; of `note`, what was written."""
    schemes = row.get("labels", row.get("label_annotations"))
    if not isinstance(schemes, dict):
        raise SourceError(f"{where}: no labels and no label_annotations; export it as jsonl")
    chosen = {}
    for scheme, values in schemes.items():
        if isinstance(values, str):
            values = {values: True} if scheme != "note" else {"": values}
        if not isinstance(values, dict):
            raise SourceError(f"{where}: {scheme} is {type(values).__name__}; export it as jsonl")
        if scheme == "note":
            chosen[scheme] = "\n".join(str(value) for value in values.values() if value)
            continue
        names = [name for name, value in values.items() if _is_chosen(value)]
        if len(names) > 1:
            raise SourceError(f"{where}: {scheme} is {' and '.join(names)}; keep one of them")
        chosen |= {scheme: names[0]} if names else {}
    return chosen


def _is_chosen(value: object) -> bool:
    return value is not None and str(value).strip().lower() not in _NOT_CHOSEN


def _list_spans(row: Json, where: str) -> list[Any]:
    spans = row.get("spans", row.get("span_annotations")) or {}
    if isinstance(spans, dict):
        spans = spans.get("evidence", [])
    if isinstance(spans, dict):  # by the field that was marked
        spans = [one for marked in spans.values() for one in marked]
    if not isinstance(spans, list):
        raise SourceError(f"{where}: spans are {type(spans).__name__}; export it as jsonl")
    return spans


def _find_span(answer: str, span: Any) -> Json | None:
    if not isinstance(span, dict) or span.get("target_field") not in (None, "", "text"):
        return None
    return locate_quote(answer, span.get("start"), span.get("end"), span.get("text") or None)


def _make_draft(chosen: Mapping[str, str], evidence: list[Json], where: str) -> Draft:
    confidences = {word: number for number, word in CONFIDENCES.items()}
    confidence = chosen.get("confidence", CONFIDENCES[2])
    if confidence not in confidences:
        raise SourceError(
            f"{where}: confidence is {confidence!r}; it must be one of {', '.join(confidences)}"
        )
    content = {
        "label": chosen["label"],
        "cause": chosen.get("cause"),
        "evidence": evidence,
        "confidence": confidences[confidence],
        "note": chosen.get("note", ""),
    }
    try:
        return parse_draft(content)
    except BadValue as error:
        raise SourceError(f"{where}: {error}; correct it in Potato") from error


def _name_annotator(user: str) -> str:
    """Return a name for a user of Potato.

    >>> _name_annotator("Ann.B@example.org")
    'potato-ann-b-example-org'
    """
    return ("potato-" + re.sub(r"[^a-z0-9_]+", "-", user.lower()).strip("-"))[:32]
