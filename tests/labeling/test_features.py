"""What the leak probes see: marks, ids, places and strings, and nothing that has a meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labeling.examples import EXAMPLE_SCHEMA
from labeling.features import (
    Features,
    give_away_features,
    markup_features,
    metadata_features,
    order_features,
)

TABLE = pa.schema([*EXAMPLE_SCHEMA, pa.field("split", pa.string())])


def examples(*rows: dict[str, Any]) -> pa.Table:
    given = {"site": "x.org", "split": "train", "text": "", "raw_text": ""}
    return pa.Table.from_pylist([{**given, **row} for row in rows], TABLE)


def found(features: Features, row: int = 0) -> set[str]:
    """The names of the columns that are not 0 in a row."""
    return {name for name, value in zip(features.names, features.values[row], strict=True) if value}


def column(features: Features, name: str) -> list[float]:
    return [float(value) for value in features.values[:, features.names.index(name)]]


# Markup --------------------------------------------------------------------------------------


def marks_of(text: str) -> set[str]:
    return found(markup_features(pa.chunked_array([[text]])))


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("", set()),
        ("Plain words, as (people) write them: 1 < 2 & 3 > 2; a*b*c; why?\n\nYes.", set()),
        ("a\rb", {"carriage_return"}),
        ("a\r\nb", {"carriage_return", "crlf"}),
        ("a\tb", {"tab"}),
        ("a\nb\n", {"newline_last"}),
        ("a ", {"space_last"}),
        ("\na", {"space_first"}),
        ("a  \nb", {"space_before_newline"}),
        ("a\n\n\nb", {"two_blank_lines"}),
        ("a\u00a0b", {"no_break_space"}),
        ("a\u200bb", {"zero_width"}),
        ("<p>a</p>", {"<p>"}),
        ("<pre class='x'><code>a</code></pre>", {"<pre>", "class=", "<code>"}),
        ("<P>a<BR/>b", {"<p>", "<br>"}),
        ("<private>", set()),
        (
            '<a href="u" rel="nofollow noreferrer">a</a>',
            {"<a>", "href=", "rel=", "nofollow", "noreferrer"},
        ),
        # A published set that lost its punctuation kept the words of attributes.
        ("a href rel noreferrer", {"noreferrer"}),
        ("class=x outside of a tag", set()),
        ("a &lt; b &amp; c &#39;", {"&lt;", "&amp;", "entity_number"}),
        ("a `b`", {"backtick"}),
        ("```\na\n```", {"backtick", "fence"}),
        ("a\n\n    b", {"indented_code"}),
        ("a **b** c", {"bold"}),
        ("[a](http://b)", {"link"}),
        ("![a](http://b)", {"link", "image"}),
        ("[a][1]\n\n  [1]: http://b", {"link_number", "link_target"}),
        ("a\n> b", {"quote"}),
        ("# a", {"heading"}),
        ("a\n---\nb", {"underline"}),
        ("- a", {"bullet"}),
        ("1. a", {"number"}),
        ("<!-- language: lang-py -->", {"html_comment"}),
    ],
)
def test_each_mark_is_found_and_no_other(text: str, marks: set[str]) -> None:
    assert marks_of(text) == marks


def test_a_text_twice_as_long_looks_the_same() -> None:
    text = "<p>a &lt; b</p>\n\n<p>c</p>\n"
    values = markup_features(pa.chunked_array([[text, text * 50]])).values
    assert np.array_equal(values[0], values[1])


# Strings that state a label ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "strings"),
    [
        ("I closed the file as an admin, then edit it and update it; solved?", set()),
        ("Why? [duplicate]", {"duplicate"}),
        ("Possible Duplicate: Why?", {"possible_duplicate"}),
        ("Why? [closed]", {"closed"}),
        ("Why? [on hold]", {"on_hold"}),
        ("Why? [migrated]", {"migrated"}),
        ("This question already has an answer here", {"has_an_answer"}),
        ("This question already has answers here", {"has_an_answer"}),
        ("closed as off topic", {"closed_as"}),
        ("marked as duplicate by", {"marked_as_duplicate"}),
        ("EDIT it was a typo", {"edit"}),
        ("Edit 2: it was a typo", {"edit"}),
        ("CREDIT", set()),
        ("UPDATE: it works", {"update"}),
        ("update: it works", {"update"}),
        ("[SOLVED] Why?", {"solved"}),
        ("This is Deprecated.", {"deprecated"}),
        (
            "outdated, obsolete, no longer so as of v2",
            {"outdated", "obsolete", "no_longer", "as_of_version"},
        ),
        ("as of version two", {"as_of_version"}),
        ("see https://x.org/questions/12/why", {"link_to_site"}),
        ("see https://x.org/q/12", {"link_to_site"}),
        ("see https://y.org/q/12, https://x.org/tags, https://xxorg/q/1", set()),
    ],
)
def test_each_give_away_is_found_and_everyday_words_are_not(text: str, strings: set[str]) -> None:
    table = examples({"text": "-", "raw_text": text})
    assert found(give_away_features(table, "raw_text")) == strings
    assert found(give_away_features(table, "text")) == set()


def test_links_are_those_to_the_site_of_the_row() -> None:
    text = "https://x.org/q/12"
    table = examples({"text": text}, {"text": text, "site": "y.org"}, {"text": text, "site": None})
    assert column(give_away_features(table, "text"), "link_to_site") == [1, 0, 0]


# Ids and order -------------------------------------------------------------------------------


def test_places_and_steps_are_counted_within_splits() -> None:
    ids = [("train", 10), ("test", 7), ("train", 13), ("test", 3), ("train", 11)]
    rows = [{"post_id": one, "thread_id": 1, "split": split} for split, one in ids]
    seen = order_features(examples(*rows))
    assert column(seen, "place") == [0, 0, 1, 1, 2]
    nan = float("nan")
    np.testing.assert_equal(column(seen, "step_before"), [nan, nan, 3, -4, -2])
    np.testing.assert_equal(column(seen, "step_after"), [3, -4, -2, nan, nan])
    np.testing.assert_equal(column(seen, "post_id_gap_below"), [3, 4, 2, nan, 1])
    np.testing.assert_equal(column(seen, "post_id_gap_above"), [1, 3, nan, 4, 2])
    assert column(seen, "post_id_mod_10") == [0, 7, 3, 3, 1]
    assert column(seen, "post_minus_thread") == [9, 6, 12, 2, 10]


def test_digits_are_counted() -> None:
    seen = order_features(examples({"post_id": 1_020, "thread_id": 7}))
    digits = [column(seen, f"post_id_{name}") for name in ("num_digits", "digit_sum", "num_zeros")]
    assert digits == [[4], [3], [2]]


def test_an_absent_id_is_absent_in_every_column_of_it() -> None:
    seen = order_features(examples({"post_id": None, "thread_id": 2}, {"post_id": 5}))
    for name in seen.names:
        if name.startswith("post_id"):
            assert np.isnan(column(seen, name)[0]), name


# Metadata ------------------------------------------------------------------------------------


def test_no_metadata_gives_no_columns() -> None:
    seen = metadata_features(examples({"metadata": []}, {"metadata": None}))
    assert seen.names == () and seen.values.shape == (2, 0)


def test_metadata_of_a_cut_table_are_those_of_its_rows() -> None:
    rows = [{"metadata": [{"name": "score", "value": float(one)}]} for one in range(5)]
    table = pa.concat_tables([examples(*rows), examples(*rows)])[3:7]
    assert column(metadata_features(table), "score") == [3, 4, 0, 1]
