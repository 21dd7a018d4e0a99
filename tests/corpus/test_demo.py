from __future__ import annotations

import hashlib
import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from lxml import etree

from corpus.demo import CHAIN, EXACT_PAIR, NEAR_PAIRS, SITES, demo_counts, write_demo_dump
from corpus.demo_posts import Post, Site, has_date, is_fabricated

CHECKOUT = Path(__file__).resolve().parents[2]
TABLES = ("Posts", "Comments", "PostHistory", "PostLinks", "Users")
SITE_NAMES = [site.name for site in SITES]
Rows = list[dict[str, str]]

TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "words": lambda text: re.findall(r"\w+", text.lower()),
    "words and signs": lambda text: re.findall(r"\w+|[^\w\s]", text),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo")
    write_demo_dump(path)
    return path


def table_bytes(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.glob("*/*.xml")):
        yield path, path.read_bytes()


def read_rows(path: Path) -> Rows:
    """Read a table with lxml, an oracle that knows nothing of how it was written."""
    data = path.read_bytes().replace(b"&#x0E;", b"").replace(b"\t", b"&#9;")
    return [{str(k): str(v) for k, v in row.items()} for row in etree.fromstring(data)]


def all_posts() -> Iterator[tuple[Site, Post]]:
    return ((site, post) for site in SITES for post in site.posts)


def documents() -> dict[str, str]:
    """Give the readable text of each usable post, as BeautifulSoup sees it, with its comments."""
    texts = {}
    for site, post in all_posts():
        if has_date(post.at):
            body = BeautifulSoup(post.body, "html.parser").get_text()
            comments = "\n".join(comment.text for comment in post.comments)
            texts[f"{site.name}/{post.post_id}"] = f"{post.title or ''}\n{body}\n{comments}"
    return texts


def grams(tokens: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def leakage_groups() -> dict[str, str]:
    """Join thread, duplicate links and planted copies: doc_id -> one doc_id of its group."""
    group = {name: name for name in documents()}

    def join(a: str, b: str) -> None:
        if a in group and b in group:
            old, new = group[a], group[b]
            group.update({name: new for name, root in group.items() if root == old})

    for site, post in all_posts():
        join(f"{site.name}/{post.post_id}", f"{site.name}/{post.parent}")
    for site in SITES:
        for link in site.links:
            if link.kind == 3:
                join(f"{site.name}/{link.post}", f"{site.name}/{link.related}")
    for a, b in (EXACT_PAIR, *NEAR_PAIRS, *itertools.pairwise(CHAIN)):
        join(a, b)
    return group


# Form ---------------------------------------------------------------------------------------


def test_every_table_begins_with_a_mark_and_breaks_lines_as_dumps_do(folder: Path) -> None:
    tables = list(table_bytes(folder))
    assert len(tables) == len(SITES) * len(TABLES)
    for path, data in tables:
        assert data.startswith(b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\r\n'), path
        assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r"), path
        assert data.endswith(f"</{path.stem.lower()}>".encode()), path


def test_tables_are_well_formed_but_for_one_forbidden_reference(folder: Path) -> None:
    broken = [path.name for path, data in table_bytes(folder) if not is_well_formed(data)]
    repaired = [data.replace(b"&#x0E;", b"") for _, data in table_bytes(folder)]
    assert sorted(broken) == ["PostHistory.xml", "Posts.xml"]
    assert all(is_well_formed(data) for data in repaired)


def is_well_formed(data: bytes) -> bool:
    try:
        etree.fromstring(data)
    except etree.XMLSyntaxError:
        return False
    return True


def test_only_the_recent_dump_has_licences_a_licence_comment_and_unsorted_rows(
    folder: Path,
) -> None:
    for site in SITES:
        for table in TABLES:
            path = folder / site.name / f"{table}.xml"
            text = path.read_text("utf-8-sig")
            ids = [int(row["Id"]) for row in read_rows(path)]
            is_licensed = table in ("Posts", "Comments", "PostHistory")
            assert ("ContentLicense=" in text) == (site.is_recent and is_licensed)
            assert ("\n<!--\n" in text) == site.is_recent
            if table in ("Posts", "Comments", "PostHistory"):
                assert (ids != sorted(ids)) == site.is_recent


def test_tabs_stand_in_the_attributes_as_they_are(folder: Path) -> None:
    data = (folder / "gardens.example.org" / "Posts.xml").read_bytes()
    assert b"&#xA;\tticks++;\t\t/*" in data
    assert re.search(rb"&#x?9;", data) is None


def test_tags_are_written_as_in_the_time_of_each_dump(folder: Path) -> None:
    old, recent = (read_rows(folder / name / "Posts.xml") for name in SITE_NAMES)
    assert old[0]["Tags"] == "<irrigation><valves><planning>"
    assert recent[0]["Tags"] == "|bash|rsync|backup|"


@pytest.mark.parametrize("table", TABLES)
def test_rows_have_the_attributes_and_the_order_of_real_dumps(
    folder: Path, shared_data: Path, table: str
) -> None:
    name = re.compile(r' (\w+)="')
    pattern = re.compile(r'  <row( \w+="[^"<>\n]*")+ />\r?\n?')
    in_order = {
        pair for path in shared_data.glob(f"dumps/*/*/{table}.xml") for pair in _pairs(path)
    }
    for path in folder.glob(f"*/{table}.xml"):
        with path.open(encoding="utf-8-sig", newline="\n") as lines:
            rows = [line for line in lines if "<row " in line]
        for row in rows:
            assert pattern.fullmatch(row), row
            for pair in itertools.pairwise(name.findall(row)):
                assert pair in in_order, (table, pair)


def _pairs(path: Path) -> set[tuple[str, str]]:
    name = re.compile(r' (\w+)="[^"]*"')
    with path.open(encoding="utf-8-sig", newline="\n") as lines:
        return {
            pair
            for line in lines
            if line.startswith("  <row ")
            for pair in itertools.combinations(name.findall(line), 2)
        }


def test_bodies_survive_the_way_through_xml(folder: Path) -> None:
    for site in SITES:
        bodies = {row["Id"]: row["Body"] for row in read_rows(folder / site.name / "Posts.xml")}
        assert bodies == {str(post.post_id): post.body.replace("\x0e", "") for post in site.posts}


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_bytes_are_written_on_every_run(
    folder: Path, tmp_path: Path, hash_seed: str
) -> None:
    code = "import sys, pathlib, corpus.demo as d; d.write_demo_dump(pathlib.Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, cwd=CHECKOUT, env=environment
    )
    assert digests(tmp_path) == digests(folder)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(data).hexdigest()
        for path, data in table_bytes(folder)
    }


# Counts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", SITE_NAMES)
def test_counts_agree_with_the_xml(folder: Path, site: str) -> None:
    counts = demo_counts()[site]
    rows = {table: read_rows(folder / site / f"{table}.xml") for table in TABLES}
    usable = [row for row in rows["Posts"] if row["CreationDate"] != "not a date"]
    kinds = Counter(row["PostTypeId"] for row in usable)
    ids = {row["Id"] for row in usable}
    kind_names = ("question", "answer", "orphaned_tag_wiki", "tag_wiki_excerpt", "tag_wiki")
    assert [counts[name] for name in kind_names] == [kinds[f"{kind}"] for kind in range(1, 6)]
    assert counts["moderator_nomination"] == kinds["6"]
    assert counts["wiki_placeholder"] == kinds["7"]
    assert counts["posts"] == len(usable)
    assert counts["posts"] + counts["posts_quarantined"] == len(rows["Posts"])
    assert counts["comments"] + counts["comments_quarantined"] == len(rows["Comments"])
    assert counts["history"] == len(rows["PostHistory"])
    assert counts["links"] == len(rows["PostLinks"])
    assert counts["users"] == len(rows["Users"])
    assert counts["accepted"] == sum("AcceptedAnswerId" in row for row in usable)
    assert counts["closed"] == sum("ClosedDate" in row for row in usable)
    assert counts["bots"] == sum(row.get("OwnerUserId") == "-2" for row in usable)
    assert counts["fabricated"] == sum(len(row["Id"]) == 10 for row in usable)
    assert counts["orphans"] == sum(row.get("ParentId", row["Id"]) not in ids for row in usable)
    assert counts["empty_comments"] == sum(row["Text"] == "" for row in rows["Comments"])
    assert counts["duplicate_links"] == sum(row["LinkTypeId"] == "3" for row in rows["PostLinks"])
    assert counts["dangling_links"] == sum(
        row["PostId"] not in ids or row["RelatedPostId"] not in ids for row in rows["PostLinks"]
    )


def test_references_to_be_repaired_are_counted(folder: Path) -> None:
    found = {
        (path.parent.name, path.stem): data.count(b"&#x0E;") for path, data in table_bytes(folder)
    }
    for site, counts in demo_counts().items():
        assert found[site, "Posts"] == counts["posts_repaired"]
        assert found[site, "PostHistory"] == counts["history_repaired"]
    assert sum(found.values()) == 2


def test_the_two_sites_have_every_kind_of_post_and_every_oddity() -> None:
    total = sum((Counter(counts) for counts in demo_counts().values()), Counter())
    assert all(total[name] >= 1 for counts in demo_counts().values() for name in counts)
    assert total["fabricated"] == 2
    assert total["posts_quarantined"] == total["comments_quarantined"] == 1


# What tells one copy from another ------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_planted_pairs_and_no_others_are_alike(tokenizer: str) -> None:
    shingles = {name: grams(TOKENIZERS[tokenizer](text), 5) for name, text in documents().items()}
    likeness = {
        (a, b): jaccard(shingles[a], shingles[b]) for a, b in itertools.combinations(shingles, 2)
    }
    ends = (CHAIN[0], CHAIN[-1])
    near = {*NEAR_PAIRS, *itertools.pairwise(CHAIN)}
    in_order = {tuple(sorted(pair)) for pair in {EXACT_PAIR, ends, *near}}
    strangers = {p: j for p, j in likeness.items() if tuple(sorted(p)) not in in_order}
    assert likeness[EXACT_PAIR] == 1.0
    assert all(0.75 < likeness[pair] < 1.0 for pair in near)
    assert all(likeness[pair] > 0.8 for pair in NEAR_PAIRS)
    assert 0.5 < likeness[ends] < 0.69
    assert max(strangers.values()) < 0.1


def test_planted_copies_are_long_enough_to_be_compared() -> None:
    texts = documents()
    for name in {*EXACT_PAIR, *itertools.chain(*NEAR_PAIRS), *CHAIN}:
        assert len(texts[name].split()) >= 60, name


def test_no_run_of_13_words_is_shared_between_leakage_groups() -> None:
    group = leakage_groups()
    groups_by_gram: dict[tuple[str, ...], set[str]] = {}
    for name, text in documents().items():
        for gram in grams(TOKENIZERS["words"](text), 13):
            groups_by_gram.setdefault(gram, set()).add(group[name])
    assert [gram for gram, groups in groups_by_gram.items() if len(groups) > 1] == []
    assert len(set(group.values())) >= 20


# Order and people ---------------------------------------------------------------------------


def test_ids_of_posts_rise_with_their_dates() -> None:
    for site in SITES:
        posts = sorted(
            (post for post in site.posts if has_date(post.at)), key=lambda post: post.post_id
        )
        assert len({post.post_id for post in posts}) == len(posts)
        assert [post.at for post in posts] == sorted(post.at for post in posts), site.name


def test_nothing_happens_before_its_post_or_after_the_dump() -> None:
    for site, post in all_posts():
        later = [*(comment.at for comment in post.comments), *(event.at for event in post.events)]
        usable = [at for at in later if has_date(at)]
        assert all(post.at <= at < site.dumped_at for at in usable), post.post_id
        assert [event.at for event in post.events] == sorted(event.at for event in post.events)


def test_accepted_answers_belong_to_their_questions() -> None:
    for site, post in all_posts():
        if post.accepted is not None:
            parents = [other.parent for other in site.posts if other.post_id == post.accepted]
            assert parents == [post.post_id]


def test_two_authors_are_missing_from_the_users_on_purpose_and_the_bot() -> None:
    missing = {
        (site.name, post.by)
        for site, post in all_posts()
        if isinstance(post.by, int) and post.by not in [user.user_id for user in site.users]
    }
    assert missing == {(SITE_NAMES[0], 31), (SITE_NAMES[1], 55), (SITE_NAMES[1], -2)}


def test_threads_are_spread_over_partitions_of_64_ids() -> None:
    for site in SITES:
        threads = [post.post_id for post in site.posts if post.kind == 1 and post.post_id < 1000]
        per_partition = Counter(thread // 64 for thread in threads)
        assert len(per_partition) >= 5
        assert sum(count > 1 for count in per_partition.values()) >= 5


# What the pipeline has to cope with ---------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        r"<pre><code>[^<]*\n\t\t\w",  # TABs
        r"<code>[^<]*\n\n[^<]*</code>",  # a blank line in code
        r"\n {24}\w",  # deep indentation
        r'<pre class="lang-\w+ prettyprint-override"><code>',
        r"<!-- language: lang-\w+ -->",
        r"<!-- begin snippet: js",
        r"<p>[^<]*<code>[^<]*</code>[^<]+",  # inline code in a sentence
        r"<table class=",
        r"<li>[^<]*<ul>",  # a list in a list
        r"<ol>",
        r"<blockquote>\n  <p>",  # as rendered before 2020, and since:
        r"<blockquote>\n<p>",
        r"<blockquote>\s*<p>[^<]*</p>\s*<blockquote>",
        r"<br>",
        r"<hr>",
        r"<sup>",
        r"<sub>",
        r'<img src="[^"]*" alt="[^"]+">',
        r"<kbd>",
        r"<h2>",
        r'<a href="[^"]*" rel="nofollow noreferrer">',
        r"&nbsp;",
        r"&hellip;",
        r"&#8203;",
        r"&amp;amp;",
        r"[\U00010000-\U0010ffff]",
        "\u2028",
        "\u2581",
        r"[\u4e00-\u9fff]",  # Chinese
        r"[\u0600-\u06ff]",  # Arabic
        "\x0e",
        r"[^\n>]\n[^\n<]*[^\n<>]",  # lines within a block
    ],
)
def test_some_body_shows(pattern: str) -> None:
    assert any(re.search(pattern, post.body) for _, post in all_posts())


@pytest.mark.parametrize("pattern", [r"`[^`]*<\w+>`", r"\[[^]]+\]\(https:", r"^$", r"^.{600}$"])
def test_some_comment_shows(pattern: str) -> None:
    texts = [comment.text for _, post in all_posts() for comment in post.comments]
    assert any(re.search(pattern, text) for text in texts)
    assert max(map(len, texts)) == 600


def test_histories_hold_every_close_reason_and_the_rarer_events(folder: Path) -> None:
    rows = [row for name in SITE_NAMES for row in read_rows(folder / name / "PostHistory.xml")]
    reasons = {row["Comment"] for row in rows if row["PostHistoryTypeId"] == "10"}
    kinds = {int(row["PostHistoryTypeId"]) for row in rows}
    assert reasons == {"4", "101", "102", "103", "104", "105"}
    assert {1, 2, 3, 4, 5, 8, 10, 11, 16, 24, 25, 36, 50, 52} == kinds
    assert not any(int(row["PostId"]) > 1_000_000_000 for row in rows)


def test_questions_of_each_class_of_quality_are_there() -> None:
    classes: Counter[str] = Counter()
    for _, post in all_posts():
        editors = [event.by for event in post.events if 4 <= event.kind <= 9 and event.by != -1]
        is_closed = any(event.kind == 10 for event in post.events)
        if post.kind != 1 or is_fabricated(post):
            continue
        classes["HQ"] += post.score >= 30 and not editors
        classes["LQ_EDIT"] += post.score < 0 and len(editors) > 1 and not is_closed
        classes["LQ_CLOSE"] += is_closed and not editors
    assert min(classes.values()) >= 2
    assert set(classes) == {"HQ", "LQ_EDIT", "LQ_CLOSE"}


@pytest.mark.parametrize(
    ("site", "post_id", "licence"),
    [
        ("homelab.example.org", 4, "CC BY-SA 2.5"),  # never edited
        ("homelab.example.org", 38, "CC BY-SA 3.0"),
        ("homelab.example.org", 133, "CC BY-SA 4.0"),  # of 2015, edited in September 2018
        ("homelab.example.org", 120, "CC BY-SA 3.0"),  # of 2014, edited in bulk in 2020
        ("homelab.example.org", 290, "CC BY-SA 4.0"),
    ],
)
def test_the_licence_of_a_post_is_that_of_its_last_edit_by_people(
    folder: Path, site: str, post_id: int, licence: str
) -> None:
    rows = {row["Id"]: row for row in read_rows(folder / site / "Posts.xml")}
    assert rows[str(post_id)]["ContentLicense"] == licence


def test_a_reopened_question_is_not_closed(folder: Path) -> None:
    rows = {row["Id"]: row for row in read_rows(folder / "gardens.example.org" / "Posts.xml")}
    assert "ClosedDate" not in rows["21"]
    assert rows["150"]["ClosedDate"] == "2014-10-13T07:45:19.800"


def test_an_edited_question_keeps_its_first_words_in_the_history(folder: Path) -> None:
    rows = read_rows(folder / "gardens.example.org" / "PostHistory.xml")
    first = {row["PostHistoryTypeId"]: row.get("Text") for row in rows if row["PostId"] == "66"}
    assert first["1"] == "timer not work!!"
    assert str(first["2"]).startswith("hi all,\r\ni buy timer")
    assert first["4"] == "Timer switches the pump off after one second"
