"""Documents: every post and comment in one or among the rejects, laid out, credited, licensed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus import documents as documents_module
from corpus.demo import demo_counts
from corpus.demo_gardens import GARDENS
from corpus.demo_homelab import HOMELAB
from corpus.demo_posts import Post, has_date
from corpus.documents import DOCUMENT_SCHEMA, REJECT_SCHEMA, body_texts
from corpus.licences import LICENCE_SOURCES, URL_BY_LICENCE
from corpus.recipe import DocumentsSection, PostsSection
from corpus.selection import REJECT_REASONS
from corpus.store import Artifact
from corpus.tables import read_table

HOME = "homelab.example.org"
GARDEN = "gardens.example.org"
ALL_KINDS: list[Any] = [
    *("question", "answer", "tag_wiki_excerpt", "tag_wiki", "moderator_nomination"),
]
Rows = list[dict[str, Any]]
Run = Callable[..., dict[str, Artifact]]


def read(documents: Artifact, folder: str = "documents") -> Rows:
    rows: Rows = []
    for entry in documents.files(f"{folder}/"):
        rows += read_table(documents.path(entry.name)).to_pylist()
    return rows


def by_id(documents: Artifact) -> dict[str, dict[str, Any]]:
    return {row["doc_id"]: row for row in read(documents)}


def segments(document: dict[str, Any], kind: str) -> list[str]:
    return [
        document["text"][one["start"] : one["end"]]
        for one in document["segments"]
        if one["kind"] == kind
    ]


def flow(documents: Artifact, kind: str) -> tuple[int, int, dict[str, int]]:
    found = documents.manifest.outcome.flows[kind]
    return found.num_in, found.num_out, dict(found.rejected)


@pytest.fixture
def build(
    write_dump: Callable[..., str], run_stages: Run, tmp_path: Path
) -> Callable[..., Artifact]:
    """Build documents from tables of rows; keywords that are no table are the recipe's."""

    def build(**given: Any) -> Artifact:
        tables = {name: rows for name, rows in given.items() if name[0].isupper()}
        recipe = {name: value for name, value in given.items() if name not in tables}
        dump = write_dump(**tables)
        section = DocumentsSection(**recipe)
        return run_stages(tmp_path / "store", dump, documents=section)["documents"]

    return build


# Nothing is lost -----------------------------------------------------------------------------


def test_every_post_and_comment_of_the_sample_dump_is_accounted_for(
    demo_stages: dict[str, Artifact],
) -> None:
    total = sum((Counter(counts) for counts in demo_counts().values()), Counter())
    other_kinds = {
        f"kind:{kind}": total[kind]
        for kind in (
            *("orphaned_tag_wiki", "tag_wiki_excerpt", "tag_wiki"),
            *("moderator_nomination", "wiki_placeholder"),
        )
    }
    rejected = {"bot": total["bots"], "fabricated": total["fabricated"], **other_kinds}
    documents = demo_stages["documents"]
    num_out = total["question"] + total["answer"] - total["bots"] - total["fabricated"]
    assert flow(documents, "posts") == (total["posts"], num_out, rejected)
    sites = (GARDENS, HOMELAB)
    of_rejected = sum(
        has_date(comment.at)
        for site in sites
        for post in site.posts
        for comment in post.comments
        if _is_rejected(post) and comment.text
    )
    of_missing = sum(
        has_date(c.at) for s in sites for p in s.posts for c in p.comments if not has_date(p.at)
    )
    expected = {
        "empty": total["empty_comments"],
        "post_rejected": of_rejected,
        "post_missing": of_missing,
    }
    num_rejected = sum(expected.values())
    assert flow(documents, "comments") == (
        total["comments"],
        total["comments"] - num_rejected,
        {reason: num for reason, num in expected.items() if num},
    )


def _is_rejected(post: Post) -> bool:
    return post.kind > 2 or post.by == -2 or post.post_id > 10**9


def test_counts_are_those_of_the_files(demo_stages: dict[str, Artifact]) -> None:
    documents = demo_stages["documents"]
    rows, rejects = read(documents), read(documents, "rejects")
    assert len(rows) == flow(documents, "posts")[1]
    assert sum(len(row["comments"]) for row in rows) == flow(documents, "comments")[1]
    for kind, table in (("posts", "Posts"), ("comments", "Comments")):
        found = Counter(row["reason"] for row in rejects if row["table"] == table)
        assert found == flow(documents, kind)[2]
    assert {row["reason"].split(":")[0] for row in rejects} <= set(REJECT_REASONS)
    for entry in documents.files("rejects/"):
        assert read_table(documents.path(entry.name)).schema.equals(REJECT_SCHEMA)


def test_rows_are_of_the_schema_and_sorted(demo_stages: dict[str, Artifact]) -> None:
    documents = demo_stages["documents"]
    for entry in documents.files("documents/"):
        table = read_table(documents.path(entry.name))
        assert table.schema.equals(DOCUMENT_SCHEMA)
        keys = [(row["thread_id"], row["post_id"]) for row in table.to_pylist()]
        assert keys == sorted(keys)


@pytest.mark.parametrize("batch_documents", [1, 3])
def test_batches_of_any_size_give_the_same_rows(
    demo_dump: Path,
    demo_stages: dict[str, Artifact],
    run_stages: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch_documents: int,
) -> None:
    monkeypatch.setattr(documents_module, "BATCH_DOCUMENTS", batch_documents)
    wide = PostsSection(partition_threads=64)
    again = run_stages(tmp_path, demo_dump, posts=wide)["documents"]
    assert again.manifest.id == demo_stages["documents"].manifest.id


def test_partitions_of_any_width_give_the_same_documents(
    demo_dump: Path, demo_stages: dict[str, Artifact], run_stages: Run, tmp_path: Path
) -> None:
    again = run_stages(tmp_path, demo_dump)["documents"]
    for kind in ("posts", "comments"):
        assert flow(again, kind) == flow(demo_stages["documents"], kind)
    assert by_id(again) == by_id(demo_stages["documents"])


# Text ----------------------------------------------------------------------------------------


def check_document(row: dict[str, Any]) -> None:
    """Segments tile the text; spans lie in it; comments are its last segments, in order."""
    text, found = row["text"], row["segments"]
    assert "\n\n".join(text[one["start"] : one["end"]] for one in found) == text
    assert [one["start"] for one in found[1:]] == [one["end"] + 2 for one in found[:-1]]
    assert {one["kind"] for one in found} <= {"title", "prose", "code", "comment"}
    for span in [*row["inline_code"], *row["links"]]:
        assert 0 <= span["start"] < span["end"] <= len(text)
    comments = [one for one in found if one["kind"] == "comment"]
    assert found[len(found) - len(comments) :] == comments
    assert row["body_end"] == found[-1 - len(comments)]["end"]
    assert [one["comment_id"] for one in comments] == [one["comment_id"] for one in row["comments"]]
    keys = [(one["created_at"], one["comment_id"]) for one in row["comments"]]
    assert keys == sorted(keys)


def check_credit(row: dict[str, Any], site: str) -> None:
    """The document and each comment have an author, a licence that is known, and links."""
    for one in (row, *row["comments"]):
        assert one["author_name"]
        link = f"https://{site}/users/{one['author_id']}"
        assert one["author_link"] == (None if one["author_id"] is None else link)
        assert one["licence"] in URL_BY_LICENCE
        assert one["licence_source"] in LICENCE_SOURCES
    page = {"question": "q", "answer": "a"}[row["kind"]]
    assert row["link"] == f"https://{site}/{page}/{row['post_id']}"


def test_documents_are_whole_and_credited(demo_stages: dict[str, Artifact]) -> None:
    for row in read(demo_stages["documents"]):
        check_document(row)
        check_credit(row, row["site"])


def test_titles_are_plain_text(demo_stages: dict[str, Artifact]) -> None:
    found = by_id(demo_stages["documents"])
    for site in (GARDENS, HOMELAB):
        for post in site.posts:
            row = found.get(f"{site.name}/{post.post_id}")
            if row is not None:
                assert segments(row, "title") == ([post.title] if post.title else [])


def test_comments_are_verbatim(demo_stages: dict[str, Artifact]) -> None:
    found = by_id(demo_stages["documents"])
    for site in (GARDENS, HOMELAB):
        for post in site.posts:
            row = found.get(f"{site.name}/{post.post_id}")
            if row is not None:
                usable = [one for one in post.comments if one.text and has_date(one.at)]
                expected = [one.text for one in sorted(usable, key=lambda one: one.at)]
                assert segments(row, "comment") == expected


def test_body_texts_are_texts_without_comments(demo_stages: dict[str, Artifact]) -> None:
    documents = demo_stages["documents"]
    for entry in documents.files("documents/"):
        table = read_table(documents.path(entry.name))
        for text, row in zip(body_texts(table), table.to_pylist(), strict=True):
            parts = [*segments(row, "title"), *_body_parts(row)]
            assert text == "\n\n".join(parts)


def _body_parts(row: dict[str, Any]) -> list[str]:
    kinds = ("prose", "code")
    return [row["text"][s["start"] : s["end"]] for s in row["segments"] if s["kind"] in kinds]


def test_comments_go_by_time_and_then_by_id(build: Callable[..., Artifact]) -> None:
    times = {4: "2016-03-01", 9: "2016-02-01", 3: "2016-02-01", 1: "2016-04-01"}
    comments = [
        {"Id": n, "PostId": 1, "CreationDate": at, "Text": f"c{n}"} for n, at in times.items()
    ]
    (row,) = read(build(Posts=[{"Id": 1}], Comments=comments))
    assert segments(row, "comment") == ["c3", "c9", "c4", "c1"]
    check_document(row)


@pytest.mark.parametrize("body", [None, "", " \n ", "<p></p>", "<p> </p>\n"])
def test_a_post_without_text_is_rejected_with_its_comments(
    build: Callable[..., Artifact], body: str | None
) -> None:
    comments = [{"Id": 1, "PostId": 1}, {"Id": 2, "PostId": 1, "Text": ""}, {"Id": 3, "PostId": 2}]
    documents = build(Posts=[{"Id": 1, "Body": body}, {"Id": 2}], Comments=comments)
    assert flow(documents, "posts") == (2, 1, {"empty": 1})
    assert flow(documents, "comments") == (3, 1, {"post_rejected": 2})
    assert [row["post_id"] for row in read(documents)] == [2]


def test_a_question_without_a_body_is_its_title(build: Callable[..., Artifact]) -> None:
    (row,) = read(build(Posts=[{"Id": 1, "Body": "", "Title": "Why <b>?"}]))
    assert row["text"] == "Why <b>?"


# What is kept out ----------------------------------------------------------------------------


def test_comments_have_one_reason_each(build: Callable[..., Artifact]) -> None:
    documents = build(
        Posts=[{"Id": 1}, {"Id": 2, "OwnerUserId": -2}],
        Comments=[
            {"Id": 1, "PostId": 1},
            {"Id": 2, "PostId": 1, "Text": "  "},
            {"Id": 3, "PostId": 1, "UserId": -2},
            {"Id": 4, "PostId": 2},
            {"Id": 5, "PostId": 2, "Text": ""},
            {"Id": 6, "PostId": 99},
            {"Id": 7, "PostId": 99, "UserId": -2, "Text": ""},
        ],
    )
    assert flow(documents, "comments") == (
        7,
        1,
        {"bot": 1, "empty": 1, "post_rejected": 2, "post_missing": 2},
    )
    rejects = [row for row in read(documents, "rejects") if row["table"] == "Comments"]
    assert {row["id"]: (row["post_id"], row["reason"]) for row in rejects} == {
        2: (1, "empty"),
        3: (1, "bot"),
        4: (2, "post_rejected"),
        5: (2, "post_rejected"),
        6: (99, "post_missing"),
        7: (99, "post_missing"),
    }


def test_comments_of_nothing_but_missing_posts_are_counted(build: Callable[..., Artifact]) -> None:
    far = 5 * 65_536
    documents = build(Posts=[{"Id": 1}], Comments=[{"Id": 1, "PostId": far}])
    assert flow(documents, "comments") == (1, 0, {"post_missing": 1})
    assert flow(documents, "posts") == (1, 1, {})


def test_a_recipe_may_keep_bots_and_planted_posts(
    demo_dump: Path, run_stages: Run, tmp_path: Path
) -> None:
    section = DocumentsSection(keep_out=[])
    documents = run_stages(tmp_path, demo_dump, documents=section)["documents"]
    assert not {"bot", "fabricated"} & flow(documents, "posts")[2].keys()
    found = by_id(documents)
    assert found[f"{HOME}/405"]["author_id"] == -2
    assert found[f"{HOME}/1000000010"]["thread_id"] == 1_000_000_001


def test_a_recipe_of_answers_has_answers_alone(
    demo_dump: Path, run_stages: Run, tmp_path: Path
) -> None:
    total = sum((Counter(counts) for counts in demo_counts().values()), Counter())
    section = DocumentsSection(kinds=["answer"], min_score=5)
    documents = run_stages(tmp_path, demo_dump, documents=section)["documents"]
    rows = read(documents)
    assert {row["kind"] for row in rows} == {"answer"}
    assert sorted(row["score"] for row in rows) == sorted(
        post.score
        for site in (GARDENS, HOMELAB)
        for post in site.posts
        if post.kind == 2 and post.score >= 5 and has_date(post.at)
    )
    # One of the two planted posts is a question.
    assert flow(documents, "posts")[2]["kind:question"] == total["question"] - 1


def test_comments_that_do_not_count_do_not_help_to_reach_the_least(
    build: Callable[..., Artifact],
) -> None:
    documents = build(
        Posts=[{"Id": 1}, {"Id": 2}, {"Id": 3}],
        Comments=[
            {"Id": 1, "PostId": 1},
            {"Id": 2, "PostId": 2, "Text": ""},
            {"Id": 3, "PostId": 2, "UserId": -2},
        ],
        min_comments=1,
    )
    assert [row["post_id"] for row in read(documents)] == [1]
    assert flow(documents, "posts")[2] == {"few_comments": 2}


def test_every_kind_a_recipe_can_name_becomes_documents(
    demo_dump: Path, run_stages: Run, tmp_path: Path
) -> None:
    section = DocumentsSection(kinds=ALL_KINDS)
    documents = run_stages(tmp_path, demo_dump, documents=section)["documents"]
    rows = read(documents)
    assert {row["kind"] for row in rows} == set(ALL_KINDS)
    assert flow(documents, "posts")[2]["empty"] >= 1  # most tag wikis are
    nomination = next(row for row in rows if row["kind"] == "moderator_nomination")
    assert (
        nomination["link"]
        == f"https://{nomination['site']}/posts/{nomination['post_id']}/revisions"
    )


def test_kinds_of_the_future_are_rejected_by_number(build: Callable[..., Artifact]) -> None:
    documents = build(Posts=[{"Id": n, "PostTypeId": n} for n in (1, 9, 17)], kinds=ALL_KINDS)
    assert flow(documents, "posts") == (3, 1, {"kind:post_type_9": 1, "kind:post_type_17": 1})


def test_what_the_community_owns_is_planted_only_where_history_would_know_it(
    build: Callable[..., Artifact],
) -> None:
    posts = [{"Id": 1, "OwnerUserId": -1}, {"Id": 2, "OwnerUserId": -1}]
    documents = build(Posts=posts, PostHistory=[{"Id": 1, "PostId": 1}])
    assert flow(documents, "posts") == (2, 1, {"fabricated": 1})
    assert [row["post_id"] for row in read(documents)] == [1]


def test_without_a_history_table_the_community_may_own_posts(
    build: Callable[..., Artifact],
) -> None:
    documents = build(Posts=[{"Id": 1, "OwnerUserId": -1}])
    assert flow(documents, "posts") == (1, 1, {})
    (row,) = read(documents)
    assert (row["author_name"], row["licence_source"]) == ("Community", "dates")


# What is said of a post ----------------------------------------------------------------------


def test_authors_of_the_sample_dump_are_credited_as_far_as_known(
    demo_stages: dict[str, Artifact],
) -> None:
    found = by_id(demo_stages["documents"])

    def author(doc_id: str) -> tuple[Any, ...]:
        row = found[doc_id]
        return row["author_id"], row["author_name"], row["author_source"]

    assert author(f"{GARDEN}/3") == (None, "user40", "row")  # deleted
    assert author(f"{GARDEN}/67") == (31, "user31", "id")  # not in Users
    assert author(f"{GARDEN}/103") == (None, "deleted user", "deleted")  # no trace
    assert found[f"{GARDEN}/96"]["comments"][0]["author_name"] == "user77"


def test_the_rest_of_a_post_is_told_as_in_the_dump(demo_stages: dict[str, Artifact]) -> None:
    found = by_id(demo_stages["documents"])
    posts = {
        f"{site.name}/{post.post_id}": post for site in (GARDENS, HOMELAB) for post in site.posts
    }
    accepted = {
        f"{site.name}/{post.accepted}" for site in (GARDENS, HOMELAB) for post in site.posts
    }
    for doc_id, row in found.items():
        post = posts[doc_id]
        assert row["score"] == post.score
        assert row["created_at"].isoformat(timespec="milliseconds") == f"{post.at}+00:00"
        thread = posts.get(f"{row['site']}/{row['thread_id']}")
        assert row["tags"] == ([] if thread is None else list(thread.tags))
        if post.kind == 2 and thread is not None:
            assert row["is_accepted"] == (doc_id in accepted)
        else:
            assert row["is_accepted"] is None
    assert found[f"{HOME}/180"]["duplicate_of"] == [4]
    assert found[f"{HOME}/240"]["duplicate_of"] == []
    assert found[f"{GARDEN}/150"]["closed_at"] is not None
    assert found[f"{GARDEN}/21"]["closed_at"] is None
    assert found[f"{GARDEN}/15"]["community_owned_at"] is not None
    assert found[f"{GARDEN}/1"]["editor_name"] == "Community"
    assert found[f"{GARDEN}/96"]["thread_id"] == 95


@pytest.mark.parametrize(
    ("doc_id", "licence", "source"),
    [
        (f"{GARDEN}/1", "CC BY-SA 2.5", "history"),  # edited in bulk in 2020
        (f"{GARDEN}/21", "CC BY-SA 2.5", "history"),  # minutes before 3.0
        (f"{GARDEN}/22", "CC BY-SA 3.0", "history"),  # minutes after
        (f"{GARDEN}/225", "CC BY-SA 4.0", "history"),  # asked under 3.0, edited under 4.0
        (f"{HOME}/133", "CC BY-SA 4.0", "row"),
    ],
)
def test_licences_of_the_sample_dump(
    demo_stages: dict[str, Artifact], doc_id: str, licence: str, source: str
) -> None:
    row = by_id(demo_stages["documents"])[doc_id]
    assert (row["licence"], row["licence_source"]) == (licence, source)


# Real dumps ----------------------------------------------------------------------------------


def test_an_archive_and_its_folder_give_the_same_bytes(
    shared_data: Path, run_stages: Run, tmp_path: Path
) -> None:
    sources = (
        shared_data / "archives" / "iot.stackexchange.com_2017-03.7z",
        shared_data / "dumps" / "iot.stackexchange.com" / "2017-03",
    )
    made = [run_stages(tmp_path / str(n), one)["documents"] for n, one in enumerate(sources)]
    assert made[0].files() == made[1].files()
    assert flow(made[0], "posts")[:2] == (1140, 828)
    assert flow(made[0], "comments") == (1607, 1607, {})
    for row in read(made[0]):
        check_document(row)
        check_credit(row, "iot.stackexchange.com")


@pytest.mark.parametrize(
    ("site", "month", "num_documents"),
    [
        ("datascience.meta.stackexchange.com", "2024-01", 598),
        ("coffee.meta.stackexchange.com", "2020-08", 228),
        pytest.param("bioinformatics.stackexchange.com", "2017-08", 1220, marks=pytest.mark.slow),
        pytest.param("beer.stackexchange.com", "2016-09", 1891, marks=pytest.mark.slow),
        pytest.param("beer.stackexchange.com", "2014-05", 692, marks=pytest.mark.slow),
        pytest.param("ai.stackexchange.com", "2016-12", 1170, marks=pytest.mark.slow),
        pytest.param("avp.meta.stackexchange.com", "2014-09", 379, marks=pytest.mark.slow),
    ],
)
def test_questions_and_answers_of_real_dumps_become_documents(
    shared_data: Path, run_stages: Run, tmp_path: Path, site: str, month: str, num_documents: int
) -> None:
    documents = run_stages(tmp_path, shared_data / "dumps" / site / month)["documents"]
    num_in, num_out, rejected = flow(documents, "posts")
    assert num_out == num_documents
    # No genuine post of these dumps is taken for a bot's or a planted one, or has no text.
    assert {reason.split(":")[0] for reason in rejected} <= {"kind"}
    assert num_in == num_out + sum(rejected.values())
    num_comments = flow(documents, "comments")
    assert num_comments[0] == num_comments[1]
    for row in read(documents):
        check_document(row)
        check_credit(row, site)
