"""What a person, or a machine, says of an item, and what is a valid thing to say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from corpus.errors import BadValue, SobertError

Json = dict[str, Any]
Role = Literal["annotator", "adjudicator", "machine"]
Label = Literal["obsolete", "current", "cannot_tell"]
# Why an item has the adjudicated label that it has, or none.
Reason = Literal["agreed", "adjudicated", "single", "disagreed", "none"]
ROLES: tuple[Role, ...] = ("annotator", "adjudicator", "machine")
LABELS: tuple[Label, ...] = ("obsolete", "current", "cannot_tell")
CAUSES = (
    "library",
    "language",
    "link",
    "tool",
    "operating_system",
    "protocol",
    "hardware",
    "other",
)
POINTER_KINDS = ("comment", "answer", "revision")
CONFIDENCES = {1: "guess", 2: "fairly sure", 3: "certain"}
# Both far above what anybody writes or marks; they bound what one save can cost.
MAX_NOTE_CHARS = 10_000
MAX_EVIDENCE = 100


@dataclass(frozen=True, slots=True)
class Draft:
    """What a person, or a machine, says of an item; not yet saved."""

    label: Label
    cause: str | None = None  # one of CAUSES, of an obsolete one
    evidence: tuple[Json, ...] = ()  # {"kind": "span", "start", "end", "quote"} of answer text, or
    # {"kind": "comment" | "answer" | "revision", "id": int}
    confidence: int = 2  # 1 guess, 2 fairly sure, 3 certain
    note: str = ""
    seconds_spent: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """One saved revision of what an annotator said of an item; `draft` None: withdrawn (undo)."""

    item_id: str
    annotator: str
    role: Role
    revision: int  # 1, 2, ... for this annotator and item
    draft: Draft | None
    guideline_sha256: str
    at: datetime


class AdjudicatedLabel(NamedTuple):
    """The label of an item after resolving; None where people have not settled it."""

    label: Label | None
    reason: Reason


class StaleJudgement(SobertError):
    """Someone saved this item in the meantime: carries both versions."""

    def __init__(self, current: Judgement, given: Draft) -> None:
        super().__init__(f"{current.item_id} was saved in another window; compare both versions")
        self.current, self.given = current, given


def check_draft(draft: Draft) -> None:
    """Raise BadValue, with one clear line, unless a draft is one that can be saved.

    >>> check_draft(Draft("obsolete", "library", ({"kind": "comment", "id": 7},)))
    >>> check_draft(Draft("current", "library"))
    Traceback (most recent call last):
    corpus.errors.BadValue: cause is 'library' of a current answer; only an obsolete one has a cause
    """
    if draft.label not in LABELS:
        raise BadValue(f"label is {draft.label!r}; it must be one of {', '.join(LABELS)}")
    if draft.cause is not None and draft.cause not in CAUSES:
        raise BadValue(f"cause is {draft.cause!r}; it must be one of {', '.join(CAUSES)}")
    if draft.cause is not None and draft.label != "obsolete":
        raise BadValue(
            f"cause is {draft.cause!r} of a {draft.label} answer; only an obsolete one has a cause"
        )
    if not is_whole(draft.confidence) or draft.confidence not in CONFIDENCES:
        raise BadValue(f"confidence is {draft.confidence!r}; it must be 1, 2 or 3")
    if not is_text(draft.note) or len(draft.note) > MAX_NOTE_CHARS:
        raise BadValue(f"the note must be text of at most {MAX_NOTE_CHARS:,} characters")
    seconds = draft.seconds_spent
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise BadValue(f"seconds_spent is {seconds!r}; it must be a number")
    if not (math.isfinite(seconds) and seconds >= 0):
        raise BadValue(f"seconds_spent is {seconds!r}; it must be 0 or more, and finite")
    if not isinstance(draft.evidence, tuple) or len(draft.evidence) > MAX_EVIDENCE:
        raise BadValue(f"evidence must be a tuple of at most {MAX_EVIDENCE} pieces")
    for number, piece in enumerate(draft.evidence, 1):
        _check_evidence(piece, f"evidence {number}")


def is_same(draft: Draft, other: Draft) -> bool:
    """Tell whether two drafts say the same; the time spent is not part of what is said.

    >>> is_same(Draft("current", seconds_spent=4), Draft("current", seconds_spent=5))
    True
    """
    return replace(draft, seconds_spent=0.0) == replace(other, seconds_spent=0.0)


def draft_to_json(draft: Draft) -> Json:
    """Return a draft as JSON has it."""
    return {**asdict(draft), "evidence": list(draft.evidence)}


def parse_draft(content: Json) -> Draft:
    """Return the draft that `draft_to_json` wrote.

    Raises:
        BadValue: other fields than a draft's, or values that no draft may have.

    >>> parse_draft({"label": "current", "evidence": []})
    Draft(label='current', cause=None, evidence=(), confidence=2, note='', seconds_spent=0.0)
    """
    unknown = [key for key in content if key not in Draft.__dataclass_fields__]
    if unknown or "label" not in content:
        what = f"has the unknown field {unknown[0]!r}" if unknown else "has no label"
        raise BadValue(f"a draft {what}; its fields are {', '.join(Draft.__dataclass_fields__)}")
    evidence = content.get("evidence", [])
    if not isinstance(evidence, list):
        raise BadValue("evidence must be a list")
    draft = Draft(**{**content, "evidence": tuple(evidence)})
    check_draft(draft)
    return draft


def canonical_json(content: object) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, ASCII."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number of 64 bits; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_text(value: object) -> bool:
    """Tell whether a value is text that UTF-8 can hold; half a surrogate pair is not."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_evidence(piece: object, where: str) -> None:
    if not isinstance(piece, Mapping):
        raise BadValue(f"{where} is {type(piece).__name__}; it must be an object")
    kind = piece.get("kind")
    if kind == "span":
        wanted = {"kind", "start", "end", "quote"}
        start, end, quote = piece.get("start"), piece.get("end"), piece.get("quote")
        is_valid = is_whole(start) and is_whole(end) and 0 <= start < end  # type: ignore[operator]
        is_valid = is_valid and is_text(quote) and 0 < len(str(quote)) <= MAX_NOTE_CHARS
    elif kind in POINTER_KINDS:
        wanted, is_valid = {"kind", "id"}, is_whole(piece.get("id"))
    else:
        kinds = ", ".join(("span", *POINTER_KINDS))
        raise BadValue(f"{where} has kind {kind!r}; it must be one of {kinds}")
    if set(piece) != wanted or not is_valid:
        needs = (
            "start < end and a quote"
            if kind == "span"
            else "an id, a whole number, and nothing else"
        )
        raise BadValue(f"{where} is no {kind}: it needs {needs}")
