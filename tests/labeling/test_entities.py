"""BIO tags, spans and the two lists of types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.errors import BadValue
from labeling.entities import (
    KNOWN_TYPES,
    RAW_TYPES,
    TYPES_LOADER,
    TYPES_PAPER,
    Entity,
    bio_to_spans,
    merge_type,
    repair_bio,
    select_types,
    spans_to_bio,
    to_character_spans,
    token_offsets,
)

TAGS = st.lists(st.sampled_from(["O", "B-Class", "I-Class", "B-Version", "I-Version"]), max_size=12)


def oracle(tags: list[str]) -> list[Entity]:
    """Entities token by token, as conlleval has them."""
    found: list[Entity] = []
    for place, tag in enumerate(tags):
        before = tags[place - 1] if place else "O"
        if tag == "O":
            continue
        if tag.startswith("B-") or before[2:] != tag[2:]:
            found.append(Entity(place, place + 1, tag[2:]))
        else:
            found[-1] = found[-1]._replace(end=place + 1)
    return found


@given(TAGS)
def test_spans_are_those_of_an_oracle(tags: list[str]) -> None:
    assert bio_to_spans(tags) == oracle(tags)


@given(TAGS)
def test_repaired_tags_come_back_from_their_spans(tags: list[str]) -> None:
    repaired, places = repair_bio(tags)
    assert spans_to_bio(bio_to_spans(tags), len(tags)) == repaired
    assert places == [place for place in range(len(tags)) if tags[place] != repaired[place]]
    assert repair_bio(repaired) == (repaired, [])


@pytest.mark.parametrize(
    "entities",
    [
        [Entity(0, 0, "Class")],
        [Entity(-1, 1, "Class")],
        [Entity(2, 4, "Class")],
        [Entity(0, 2, "Class"), Entity(1, 3, "Version")],
    ],
)
def test_spans_that_are_no_entities_are_refused(entities: list[Entity]) -> None:
    with pytest.raises(BadValue, match="does not fit 3 tokens, or overlaps"):
        spans_to_bio(entities, 3)


def test_the_lists_have_twenty_types_and_differ_in_one() -> None:
    assert len(RAW_TYPES) == 28
    assert len(TYPES_LOADER) == len(TYPES_PAPER) == 20
    assert set(TYPES_LOADER) ^ set(TYPES_PAPER) == {"Output_Block", "Value"}
    assert "Output_Block" in TYPES_LOADER


def test_every_known_type_is_listed_merged_or_dropped() -> None:
    dropped = {merge_type(name) for name in KNOWN_TYPES} - {*TYPES_LOADER, *TYPES_PAPER}
    assert dropped == {"Error_Name", "Keyboard_IP", "Licence"}


def test_types_are_merged_before_they_are_selected() -> None:
    raw = [Entity(0, 1, "Organization"), Entity(1, 2, "Value"), Entity(2, 3, "Output_Block")]
    assert [entity.type for entity in select_types(raw, TYPES_LOADER)] == [
        "Website",
        "Output_Block",
    ]
    assert [entity.type for entity in select_types(raw, TYPES_PAPER)] == ["Website", "Value"]


@given(st.lists(st.text(st.characters(exclude_categories=["Zs", "Cs"]), min_size=1), max_size=8))
def test_tokens_are_where_their_offsets_say(tokens: list[str]) -> None:
    text = " ".join(tokens)
    assert [text[start:end] for start, end in token_offsets(tokens)] == tokens


def test_character_spans_go_from_the_first_token_to_the_last() -> None:
    tokens = ["an", "array", "list", "é"]
    spans = to_character_spans([Entity(1, 3, "Class")], token_offsets(tokens))
    assert [" ".join(tokens)[start:end] for start, end, _ in spans] == ["array list"]
