"""A manifest is a faithful record, and its ids see rows and counts and nothing else."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.durable import write_json
from corpus.errors import ConservationError, IntegrityError
from corpus.manifest import (
    FileEntry,
    Flow,
    Json,
    Manifest,
    Outcome,
    digest_file,
    digest_json,
    merge_outcomes,
    outcome_from_json,
    outcome_to_json,
    read_manifest,
    sort_outcome,
)

ENTRY = FileEntry("data/a.parquet", 10, 3, "5" * 64, "7" * 64)
OTHER = FileEntry("data/b.parquet", 20, 4, "6" * 64, "8" * 64)
FLOW = Flow(7, 5, {"orphan": 2})
MANIFEST = Manifest(
    "posts",
    1,
    {"width": 64},
    {"rows": "9" * 64},
    Outcome((ENTRY, OTHER), {"Posts": FLOW}, {"n": 1}),
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
COUNTS = st.integers(0, 2**60)
OUTCOMES = st.builds(
    Outcome,
    st.lists(
        st.builds(FileEntry, NAMES, COUNTS, COUNTS, NAMES, NAMES),
        max_size=3,
        unique_by=lambda entry: entry.name,
    ).map(tuple),
    st.dictionaries(NAMES, st.builds(Flow, COUNTS, COUNTS, st.dictionaries(NAMES, COUNTS))),
    st.dictionaries(NAMES, COUNTS),
)


def with_outcome(**changes: Any) -> Manifest:
    return replace(MANIFEST, outcome=replace(MANIFEST.outcome, **changes))


@settings(deadline=None)
@given(OUTCOMES)
def test_an_outcome_comes_back_from_json_in_its_own_order(outcome: Outcome) -> None:
    copy = outcome_from_json(json.loads(json.dumps(outcome_to_json(outcome))))
    assert copy == outcome
    assert list(copy.figures) == list(outcome.figures)
    assert list(copy.flows) == list(outcome.flows)


@settings(deadline=None)
@given(OUTCOMES, st.randoms())
def test_the_id_does_not_see_any_order(outcome: Outcome, order: random.Random) -> None:
    def shuffled(mapping: Any) -> Any:
        return dict(order.sample(list(mapping.items()), len(mapping)))

    other = Outcome(
        tuple(order.sample(outcome.files, len(outcome.files))),
        shuffled(outcome.flows),
        shuffled(outcome.figures),
    )
    one, another = (replace(MANIFEST, outcome=each) for each in (outcome, other))
    assert one.id == another.id
    assert json.dumps(one.to_json()) == json.dumps(another.to_json())


def test_a_written_manifest_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_json(path, MANIFEST.to_json())
    assert read_manifest(path) == MANIFEST
    assert json.loads(path.read_bytes())["id"] == MANIFEST.id


@pytest.mark.parametrize(
    "changed",
    [
        with_outcome(files=(replace(ENTRY, sha256="0" * 64, num_bytes=11), OTHER)),
        replace(MANIFEST, version=2),
        replace(MANIFEST, recipe={"width": 65}),
        replace(MANIFEST, inputs={"rows": "0" * 64}),
        with_outcome(flows={"Posts": Flow(7, 5, {"orphan": 2, "bot": 0})}),
    ],
    ids=["other bytes of the same rows", "version", "recipe", "inputs", "a reason of no row"],
)
def test_the_id_does_not_see(changed: Manifest) -> None:
    assert changed.id == MANIFEST.id


@pytest.mark.parametrize(
    "changed",
    [
        replace(MANIFEST, stage="rows"),
        with_outcome(files=(replace(ENTRY, rows_sha256="0" * 64), OTHER)),
        with_outcome(files=(replace(ENTRY, num_rows=4), OTHER)),
        with_outcome(files=(replace(ENTRY, name="data/c.parquet"), OTHER)),
        with_outcome(files=(ENTRY,)),
        with_outcome(flows={"Posts": Flow(7, 6, {"orphan": 1})}),
        with_outcome(flows={"Posts": Flow(7, 5, {"bot": 2})}),
        with_outcome(flows={"Comments": FLOW}),
        with_outcome(figures={"n": 2}),
    ],
    ids=["stage", "rows", "row count", "name", "files", "counts", "reason", "kind", "figures"],
)
def test_the_id_sees(changed: Manifest) -> None:
    assert changed.id != MANIFEST.id


@pytest.mark.parametrize(
    "changed",
    [
        replace(MANIFEST, stage="rows"),
        replace(MANIFEST, version=2),
        replace(MANIFEST, recipe={"width": 65}),
        replace(MANIFEST, inputs={"rows": "0" * 64}),
        replace(MANIFEST, inputs={"documents": "9" * 64}),
    ],
    ids=["stage", "version", "recipe", "input", "role of an input"],
)
def test_the_recipe_digest_sees_what_was_asked(changed: Manifest) -> None:
    assert changed.recipe_digest != MANIFEST.recipe_digest


def test_the_recipe_digest_does_not_see_what_came_out() -> None:
    assert replace(MANIFEST, outcome=Outcome()).recipe_digest == MANIFEST.recipe_digest


def test_digests_are_those_of_another_implementation(tmp_path: Path) -> None:
    canonical = b'{"a":[1,2.5,null,true,"\xc3\xa9"],"b":{"c":"\\n"}}'
    content: Json = {"b": {"c": "\n"}, "a": [1, 2.5, None, True, "é"]}
    assert digest_json(content) == hashlib.sha256(canonical).hexdigest()
    (tmp_path / "x").write_bytes(canonical)
    assert digest_file(tmp_path / "x") == hashlib.sha256(canonical).hexdigest()


def test_what_is_no_json_has_no_digest() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_json({"a": float("nan")})


@pytest.mark.parametrize(
    "flow",
    [
        Flow(3, 2),
        Flow(3, 2, {"bot": 2}),
        Flow(0, 1),
        Flow(3, 4, {"bot": -1}),
        Flow(-1, -1),
        Flow(3, 3, {"bot": 1, "orphan": -1}),
    ],
)
def test_rows_that_do_not_add_up_are_found(flow: Flow) -> None:
    with pytest.raises(ConservationError, match=r"stage posts: .* Posts in, .* do not add up"):
        with_outcome(flows={"Comments": FLOW, "Posts": flow}).check_conserved()


@pytest.mark.parametrize("flow", [Flow(), Flow(3, 3), Flow(3, 0, {"bot": 1, "orphan": 2}), FLOW])
def test_rows_that_add_up_pass(flow: Flow) -> None:
    with_outcome(flows={"Posts": flow}).check_conserved()


def test_outcomes_are_joined_in_order() -> None:
    one = Outcome((OTHER,), {"Posts": Flow(3, 2, {"bot": 1})}, {"n": 1})
    two = Outcome(
        (ENTRY,), {"Posts": Flow(4, 2, {"bot": 1, "x": 1}), "Users": Flow(1, 1)}, {"m": 5}
    )
    merged = merge_outcomes([one, two])
    assert merged.files == (OTHER, ENTRY)
    assert merged.flows == {"Posts": Flow(7, 4, {"bot": 2, "x": 1}), "Users": Flow(1, 1)}
    assert merged.figures == {"n": 1, "m": 5}
    assert merge_outcomes([]) == Outcome()


def test_joining_does_not_hide_rows_that_do_not_add_up() -> None:
    merged = merge_outcomes([Outcome(flows={"Posts": Flow(1, 2, {"bot": -1})})])
    with pytest.raises(ConservationError):
        replace(MANIFEST, outcome=merged).check_conserved()


def test_joining_changes_neither() -> None:
    one = Outcome(flows={"Posts": FLOW}, figures={"n": 1})
    merge_outcomes([one, one])
    assert one == Outcome(flows={"Posts": Flow(7, 5, {"orphan": 2})}, figures={"n": 1})


def test_two_tasks_cannot_name_one_file() -> None:
    with pytest.raises(AssertionError, match="two tasks wrote one file"):
        merge_outcomes([Outcome((ENTRY,)), Outcome((replace(ENTRY, num_rows=9),))])


def test_a_sorted_outcome_is_sorted_by_name() -> None:
    flows = {"b": Flow(3, 0, {"z": 1, "a": 2, "none": 0}), "a": Flow()}
    tidy = sort_outcome(Outcome((OTHER, ENTRY), flows, {"y": 0, "x": 1}))
    assert tidy.files == (ENTRY, OTHER)
    assert [*tidy.flows, *tidy.flows["b"].rejected] == ["a", "b", "a", "z"]
    assert list(tidy.figures.items()) == [("x", 1), ("y", 0)]


def test_every_changed_value_of_what_an_id_covers_is_found(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_json(path, MANIFEST.to_json())
    whole = path.read_text()
    for value in ('"posts"', "data/a", "7" * 64, '"num_rows": 3', '"in": 7', '"orphan"', '"n": 1'):
        assert value in whole
        path.write_text(whole.replace(value, value[:-1] + ('x"' if value[-1] == '"' else "0"), 1))
        with pytest.raises(IntegrityError, match=r"manifest\.json .*(was changed|not a manifest)"):
            read_manifest(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"stage": "posts"}',
        json.dumps({**MANIFEST.to_json(), "files": [1]}).encode(),
        json.dumps({**MANIFEST.to_json(), "files": [{"name": "x"}]}).encode(),
        json.dumps({**MANIFEST.to_json(), "flows": []}).encode(),
        json.dumps({**MANIFEST.to_json(), "flows": {"Posts": 1}}).encode(),
        json.dumps({k: v for k, v in MANIFEST.to_json().items() if k != "id"}).encode(),
        None,
    ],
)
def test_what_is_no_manifest_is_an_integrity_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"is not a manifest .*; delete its folder and build"):
        read_manifest(path)
