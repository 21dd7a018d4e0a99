"""Invented judgements of the paper dump's answers, for runs in which nobody is there to judge.

Two annotators who do not exist say of every item what `corpus.demo_paper` made of it. Now and then
one of them takes an obsolete answer for a current one, or the other way round, or cannot tell; what
they disagree on stays unsettled, as with people. The file is an export like any other, and says
nothing of any world but that of the dump.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from corpus.demo_paper import PAPER_SITE, label_answers, pick
from corpus.errors import BadValue
from corpus.store import Artifact
from labeling.annotations import AnnotationStore, Draft, Given, Json, Label
from labeling.exchange import export_annotations
from labeling.items import ITEMS

ANNOTATORS = ("invented-ada", "invented-ben")
# Out of this many judgements one is wrong, and one is that it cannot be told.
ONE_OF = 40
JUDGED_AT = datetime(2024, 4, 1, tzinfo=UTC)  # the day after the dump
NOTE = "invented, as all of this dump is"


def write_demo_judgements(items: Artifact, path: Path) -> int:
    """Write judgements of two invented annotators on every item of the paper dump.

    Args:
        items: the artifact of `labeling.items.build_items`, of a corpus of the paper dump alone.
        path: of the JSON lines that `labeling.exchange.export_annotations` writes.

    Returns:
        How many items there are.

    Raises:
        BadValue: an item is no answer of the paper dump: nobody knows its label by construction.
        StoreError: the file cannot be written.
    """
    rows = [json.loads(line) for line in items.path(ITEMS).read_text("ascii").splitlines()]
    given = list(judge_items([row["item_id"] for row in rows]))
    guideline = files("labeling").joinpath("guideline.md").read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        judged = _store_judgements(Path(name, "judgements.sqlite"), rows, given, guideline)
        try:
            return export_annotations(judged, path)
        finally:
            judged.close()


def judge_items(item_ids: Sequence[str]) -> Iterator[Given]:
    """Yield what each annotator says of each item.

    Raises:
        BadValue: an item is no answer of the paper dump.
    """
    is_obsolete = label_answers()
    for item_id in item_ids:
        if item_id not in is_obsolete:
            raise BadValue(
                f"item {item_id} is no answer of {PAPER_SITE}; invented judgements are of the "
                "paper dump alone: let people judge it"
            )
        for annotator in ANNOTATORS:
            yield Given(item_id, annotator, _draft(item_id, annotator, is_obsolete[item_id]))


def _draft(item_id: str, annotator: str, is_obsolete: bool) -> Draft:
    slip = pick(f"{annotator} {item_id}", range(ONE_OF))
    if slip == 0:
        return Draft("cannot_tell", confidence=1, note=NOTE)
    says_obsolete = is_obsolete != (slip == 1)
    label: Label = "obsolete" if says_obsolete else "current"
    return Draft(label, cause="library" if says_obsolete else None, note=NOTE)


def _store_judgements(
    path: Path, rows: Sequence[Json], given: Sequence[Given], guideline: str
) -> AnnotationStore:
    """Put judgements where those of people would lie, so that the export is made as theirs is."""
    store = AnnotationStore.create(path, rows, guideline=guideline, clock=lambda: JUDGED_AT)
    store.import_judgements(given, NOTE)
    return store
