"""Named entities over tokens: the types of StackOverflowNER, BIO tags and spans.

The files know 28 raw types, six pairs of which the authors merge. Two lists of twenty are in use
and F1 under one cannot be compared with F1 under the other: the loader of the published repository
keeps Output_Block and drops Value, the paper the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

from corpus.errors import BadValue

TypeList = Literal["loader", "paper"]

RAW_TYPES = (
    "Algorithm",
    "Application",
    "Class_Name",
    "Code_Block",
    "Data_Structure",
    "Data_Type",
    "Device",
    "Error_Name",
    "File_Name",
    "File_Type",
    "Function_Name",
    "HTML_XML_Tag",
    "Keyboard_IP",
    "Language",
    "Library",
    "Library_Class",
    "Library_Function",
    "Library_Variable",
    "Licence",
    "Operating_System",
    "Organization",
    "Output_Block",
    "User_Interface_Element",
    "User_Name",
    "Value",
    "Variable_Name",
    "Version",
    "Website",
)
MERGED_TYPES = {
    "Class_Name": "Class",
    "Library_Class": "Class",
    "Function_Name": "Function",
    "Library_Function": "Function",
    "Variable_Name": "Variable",
    "Library_Variable": "Variable",
    "Organization": "Website",
}
# The files whose labels are merged already have these in place of the raw ones.
KNOWN_TYPES = (*RAW_TYPES, "Class", "Function", "Variable")
_DROPPED = ("Error_Name", "Keyboard_IP", "Licence")
_ALL_MERGED = tuple(
    sorted({MERGED_TYPES.get(raw_type, raw_type) for raw_type in RAW_TYPES}.difference(_DROPPED))
)
TYPES_LOADER = tuple(name for name in _ALL_MERGED if name != "Value")
TYPES_PAPER = tuple(name for name in _ALL_MERGED if name != "Output_Block")
TYPES_BY_LIST: dict[TypeList, tuple[str, ...]] = {"loader": TYPES_LOADER, "paper": TYPES_PAPER}


class Entity(NamedTuple):
    """A typed span, `end` exclusive: over the tokens of a sentence, or the characters of a text."""

    start: int
    end: int
    type: str


def merge_type(raw_type: str) -> str:
    """Return the type that a raw type is merged into; itself for most.

    >>> merge_type("Library_Class"), merge_type("Version")
    ('Class', 'Version')
    """
    return MERGED_TYPES.get(raw_type, raw_type)


def select_types(entities: Sequence[Entity], types: Sequence[str]) -> list[Entity]:
    """Merge the types of entities and keep those whose type is of the list.

    >>> select_types([Entity(0, 1, "Library_Class"), Entity(1, 2, "Value")], TYPES_LOADER)
    [Entity(start=0, end=1, type='Class')]
    """
    merged = [entity._replace(type=merge_type(entity.type)) for entity in entities]
    return [entity for entity in merged if entity.type in types]


def repair_bio(tags: Sequence[str]) -> tuple[list[str], list[int]]:
    """Make every I- that continues nothing of its type a B-; also return where that was done.

    >>> repair_bio(["O", "I-Class_Name", "I-Class_Name", "I-Version"])
    (['O', 'B-Class_Name', 'I-Class_Name', 'B-Version'], [1, 3])
    """
    repaired, places = list(tags), []
    before = "O"
    for place, tag in enumerate(tags):
        if tag.startswith("I-") and before[2:] != tag[2:]:
            repaired[place] = f"B-{tag[2:]}"
            places.append(place)
        before = tag
    return repaired, places


def bio_to_spans(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a sentence in order; an I- that continues nothing begins one.

    >>> bio_to_spans(["B-Class", "I-Class", "B-Class", "O"])
    [Entity(start=0, end=2, type='Class'), Entity(start=2, end=3, type='Class')]
    """
    entities: list[Entity] = []
    start, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        if kind and tag != f"I-{kind}":
            entities.append(Entity(start, place, kind))
            kind = ""
        if tag != "O" and not kind:
            start, kind = place, tag[2:]
    return entities


def spans_to_bio(entities: Sequence[Entity], num_tokens: int) -> list[str]:
    """Return the BIO tags of entities over tokens; the inverse of `bio_to_spans`.

    Raises:
        BadValue: an entity is empty, outside the sentence, or overlaps another.

    >>> spans_to_bio([Entity(1, 3, "Version")], 4)
    ['O', 'B-Version', 'I-Version', 'O']
    """
    tags = ["O"] * num_tokens
    for start, end, kind in entities:
        if not 0 <= start < end <= num_tokens or any(tag != "O" for tag in tags[start:end]):
            raise BadValue(
                f"entity {kind} at {start}:{end} does not fit {num_tokens} tokens, or overlaps "
                "another; give spans that are not empty and do not overlap"
            )
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags


def token_offsets(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return where each token is in the tokens joined by one space each.

    >>> token_offsets(["use", "a", "map"])
    [(0, 3), (4, 5), (6, 9)]
    """
    ends = accumulate(tokens, lambda end, token: end + 1 + len(token), initial=-1)
    return [(end + 1, end + 1 + len(token)) for end, token in zip(ends, tokens, strict=False)]


def to_character_spans(
    entities: Sequence[Entity], offsets: Sequence[tuple[int, int]]
) -> list[Entity]:
    """Turn entities over tokens into entities over characters, given where each token is.

    >>> to_character_spans([Entity(1, 3, "Class")], [(0, 3), (4, 5), (6, 9)])
    [Entity(start=4, end=9, type='Class')]
    """
    return [Entity(offsets[start][0], offsets[end - 1][1], kind) for start, end, kind in entities]
