from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.build import run_line
from corpus.documents import DOCUMENT_SCHEMA
from corpus.dump import find_tables
from corpus.engine import LocalEngine
from corpus.indexed import IndexedReader
from corpus.manifest import Flow
from corpus.progress import Reporter
from corpus.recipe import ScrubSection, parse_recipe
from corpus.scrub import LEDGER_SCHEMA, build_scrub, scrub_document
from corpus.secrets import RULES
from corpus.store import Artifact, Store, verify_artifact
from tests.corpus.planting import SECRETS, email, ipv4, jwt, plant

Row = dict[str, Any]
QUIET = Reporter(quiet=True)


def scrub(
    documents: Artifact, store: Path, *, workers: int = 1, keep: tuple[str, ...] = ()
) -> Artifact:
    recipe = ScrubSection.model_validate({"keep": list(keep)})
    return build_scrub(documents, recipe, Store(store), LocalEngine(workers), QUIET)


def rows_of(artifact: Artifact, prefix: str = "documents/") -> list[Row]:
    return [
        row
        for entry in artifact.files(prefix)
        for row in pq.read_table(artifact.path(entry.name)).to_pylist()
    ]


@pytest.fixture
def post(tmp_path: Path, write_dump: Callable[..., str], run_stages: Any) -> Callable[..., Row]:
    """The document of one question and its comments, before and after the stage."""

    def make(body: str, title: str = "A title", comments: tuple[str, ...] = ()) -> Row:
        rows = [{"Id": n + 1, "PostId": 1, "Text": text} for n, text in enumerate(comments)]
        dump = write_dump(Posts=[{"Id": 1, "Title": title, "Body": body}], Comments=rows)
        made = run_stages(tmp_path / "store", dump)["documents"]
        scrubbed = scrub(made, tmp_path / "store")
        (before,), (after,) = rows_of(made), rows_of(scrubbed)
        return {"before": before, "after": after, "ledger": rows_of(scrubbed, "ledger/")}

    return make


def words(row: Row, spans: str) -> list[str]:
    return [row["text"][span["start"] : span["end"]] for span in row[spans]]


def test_every_segment_is_scrubbed_and_its_spans_move_along(post: Callable[..., Row]) -> None:
    body = (
        "<p>Mail <code>jo@mozilla.org</code> or <a href='mailto:jo@mozilla.org'>me</a>.</p>"
        "<pre><code>ping 93.184.215.14\nls</code></pre><p>See <code>ls</code>.</p>"
    )
    row = post(body, "Who is jo@mozilla.org", ("ask al@mozilla.org or `ls`",))["after"]
    assert words(row, "segments") == [
        "Who is [email-1]",
        "Mail [email-1] or me.",
        "ping [ipv4-1]\nls",
        "See ls.",
        "ask [email-2] or `ls`",
    ]
    assert words(row, "inline_code") == ["[email-1]", "ls", "ls"]
    assert words(row, "links") == ["me"]
    assert row["links"][0]["target"] == "mailto:[email-1]"
    assert row["text"][: row["body_end"]].endswith("See ls.")


def test_the_ledger_says_where_and_of_which_kind_and_never_what(
    post: Callable[..., Row],
) -> None:
    made = post("<p>I am jo@mozilla.org, <a href='http://93.184.215.14/'>here</a></p>", "Hi all")
    text, target = made["ledger"]
    assert (text["kind"], text["link"], target["kind"], target["link"]) == (
        "email",
        None,
        "ipv4",
        0,
    )
    before, after = made["before"], made["after"]
    assert before["text"][text["start"] : text["end"]] == "jo@mozilla.org"
    assert after["text"][text["new_start"] : text["new_end"]] == "[email-1]"
    assert after["links"][0]["target"] == "http://[ipv4-1]/"
    assert set(text) == {"doc_id", "link", "kind", "start", "end", "new_start", "new_end"}
    assert text["doc_id"] == after["doc_id"]


def test_a_span_that_ends_within_a_secret_takes_in_all_that_stands_there() -> None:
    row = document("mail jo@mozilla.org now", inline_code=[(0, 7), (8, 19), (20, 23)])
    changed, _ = scrub_document(row, RULES)
    assert words(changed, "inline_code") == ["mail [email-1]", "now"]


def post_row(post_id: int, text: str) -> Row:
    return {"post_id": post_id, "text": text, "inline_code": [], "links": []}


def document(text: str, *, inline_code: list[tuple[int, int]] | None = None) -> Row:
    spans = [{"start": start, "end": end} for start, end in inline_code or []]
    segment = {"kind": "prose", "start": 0, "end": len(text)}
    return {
        "doc_id": "x.org/1",
        "text": text,
        "body_end": len(text),
        "segments": [segment],
        "inline_code": spans,
        "links": [],
    }


@st.composite
def laid_out(draw: st.DrawFn) -> Row:
    """A document of segments, some with a secret, its spans anywhere in it."""
    generator = np.random.Generator(np.random.PCG64(draw(st.integers(0, 50))))
    planted = [plant(generator, kind)[1] for kind in SECRETS]
    piece = st.sampled_from(planted) | st.text(min_size=1, max_size=20)
    parts = draw(st.lists(piece, min_size=1, max_size=6))
    row = document("\n\n".join(parts))
    ends = np.cumsum([len(part) + 2 for part in parts]) - 2
    row["segments"] = [
        {"kind": f"kind-{place}", "start": int(end) - len(part), "end": int(end)}
        for place, (part, end) in enumerate(zip(parts, ends, strict=True))
    ]
    row["body_end"] = int(draw(st.sampled_from(ends)))
    places = sorted(draw(st.sets(st.integers(0, len(row["text"])), max_size=8)))
    row["inline_code"] = [
        {"start": a, "end": b} for a, b in zip(places[::2], places[1::2], strict=False)
    ]
    return row


@settings(max_examples=200, deadline=None)
@given(laid_out())
def test_nothing_outside_of_secrets_changes_and_segments_tile_the_text(row: Row) -> None:
    changed, ledger = scrub_document(row, RULES)
    text, rest = changed["text"], row["text"]
    for one in reversed(ledger):
        text = text[: one["new_start"]] + text[one["new_end"] :]
        rest = rest[: one["start"]] + rest[one["end"] :]
    assert text == rest
    assert "\n\n".join(words(changed, "segments")) == changed["text"]
    assert [one["kind"] for one in changed["segments"]] == [one["kind"] for one in row["segments"]]
    assert changed["body_end"] in [one["end"] for one in changed["segments"]]
    edges = [edge for one in changed["inline_code"] for edge in (one["start"], one["end"])]
    assert edges == sorted(edges)


def test_rows_keep_their_order_and_all_else_they_have(
    tmp_path: Path, make_documents: Callable[..., Mapping[str, Artifact]]
) -> None:
    texts = [f"mail jo{n}@mozilla.org" * (n % 3 == 0) for n in range(1, 99)]
    documents = make_documents([post_row(n, text) for n, text in enumerate(texts, 1)])["documents"]
    made = scrub(documents, tmp_path / "store")
    before, after = rows_of(documents), rows_of(made)
    assert [row["doc_id"] for row in after] == [row["doc_id"] for row in before]
    others = set(DOCUMENT_SCHEMA.names) - {"text", "body_end", "segments"}
    assert [{k: r[k] for k in others} for r in after] == [{k: r[k] for k in others} for r in before]
    assert made.manifest.outcome.flows == {"documents": Flow(98, 98)}
    figures = made.manifest.outcome.figures
    assert (figures["changed_documents"], figures["replaced_email"]) == (32, 32)
    verify_artifact(made)


def test_a_partition_without_secrets_is_the_same_file(
    tmp_path: Path, make_documents: Callable[..., Mapping[str, Artifact]]
) -> None:
    rows = [post_row(1, "nothing"), post_row(70, "al@mozilla.org")]
    documents = make_documents(rows)["documents"]
    made = scrub(documents, tmp_path / "store")
    (same, other) = made.files("documents/")
    assert made.path(same.name).samefile(documents.path(same.name))
    assert not made.path(other.name).samefile(documents.path(other.name))
    assert [entry.name for entry in made.files("ledger/")] == ["ledger/x.org/00000001.parquet"]
    assert pq.read_schema(made.path("ledger/x.org/00000001.parquet")).equals(LEDGER_SCHEMA)


def test_bytes_are_the_same_for_any_number_of_workers(
    tmp_path: Path, make_documents: Callable[..., Mapping[str, Artifact]]
) -> None:
    draw = np.random.Generator(np.random.PCG64(2))
    rows = [
        post_row(number, plant(draw, list(SECRETS)[number % len(SECRETS)])[1])
        for number in range(1, 200)
    ]
    documents = make_documents(rows)["documents"]
    made = [scrub(documents, tmp_path / str(num), workers=num) for num in (1, 2)]
    assert made[0].manifest == made[1].manifest
    assert len(made[0].files("ledger/")) > 1


def test_kinds_to_keep_are_kept(
    tmp_path: Path, make_documents: Callable[..., Mapping[str, Artifact]]
) -> None:
    rows = [post_row(1, "al@mozilla.org at 93.184.215.14")]
    made = scrub(make_documents(rows)["documents"], tmp_path / "store", keep=("email",))
    assert [row["text"] for row in rows_of(made)] == ["al@mozilla.org at [ipv4-1]"]


def test_no_published_byte_holds_what_was_planted(
    tmp_path: Path, write_dump: Callable[..., str]
) -> None:
    draw = np.random.Generator(np.random.PCG64(7))
    planted = [email(draw), ipv4(draw), jwt(draw), *(email(draw) for _ in range(2))]
    recipe = parse_recipe(
        {
            "card": {"name": "x", "title": "X", "summary": ""},
            "tokenizer": {"vocabulary_size": 500},
            "splits": {"fractions": {"train": 0.4, "validation": 0.3, "test": 0.3}},
        }
    )
    store = Store(tmp_path / "store")
    tables = find_tables([planted_dump(write_dump, planted)])
    made = run_line(recipe, tables, store, LocalEngine(), QUIET)
    texts = {
        "statistics": json.dumps(
            json.loads(made["statistics"].path("statistics.json").read_text())
        ),
        "card": made["release"].path("README.md").read_text(),
        "report": made["release"].path("report.html").read_text(),
        "dataset": json.dumps(rows_of(made["dataset"], "data/"), default=str),
        "scrub": json.dumps(rows_of(made["scrub"], ""), default=str),
        "shards": decoded(made),
    }
    assert {name for name, text in texts.items() for secret in planted if secret in text} == set()
    assert Counter(row["kind"] for row in rows_of(made["scrub"], "ledger/"))["email"] == 3 * 40
    assert "| email | 120 |" in texts["card"]
    assert "[email-1]" in texts["shards"]


def planted_dump(write_dump: Callable[..., str], planted: list[str]) -> str:
    """Forty threads that differ, each with a secret in its title, prose, code, comment and link."""
    title, prose, code, comment, target = map(escape, planted)
    vocabulary = ["apple", "river", "stone", "cloud", "paper", "light", "green", "house", "table"]
    posts, comments = [], []
    for number in range(1, 41):
        filler = " ".join(vocabulary[(number * k * k + k) % 9] + str(number * k) for k in range(30))
        body = (
            f"<p>{filler} {prose} <a href='mailto:{target}'>link</a></p>"
            f"<pre><code>x = '{code}'</code></pre>"
        )
        posts.append({"Id": number, "Title": f"Why {number} {title}", "Body": body})
        comments.append({"Id": number, "PostId": number, "Text": f"{number}: try {comment}"})
    return write_dump(Posts=posts, Comments=comments, Users=[{"Id": 11, "DisplayName": "Jo"}])


def decoded(made: Mapping[str, Artifact]) -> str:
    """All text of all shards, as the tokenizer gives it back."""
    (model,) = (e.name for e in made["tokenizer"].files() if e.name.endswith(".model"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(made["tokenizer"].path(model)))
    shards = made["shards"]
    prefixes = [e.name.removesuffix(".idx") for e in shards.files() if e.name.endswith(".idx")]
    parts = []
    for prefix in prefixes:
        reader = IndexedReader(shards.path(prefix))
        parts += [pieces.decode(reader.sequence(n).tolist()) for n in range(len(reader))]
    return "\n".join(parts)
