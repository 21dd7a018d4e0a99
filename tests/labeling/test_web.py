"""The annotation page over HTTP: who may see what, what is saved, what is refused."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import strategies
from starlette.testclient import TestClient

from corpus.errors import BadValue
from corpus.segments import split_body
from labeling import web
from labeling.annotations import (
    CAUSES,
    AnnotationStore,
    Annotator,
    Draft,
    Judgement,
    Label,
)
from labeling.blocks import split_answer
from labeling.difference import compare_revisions
from labeling.forms import MAX_FIELDS, Form, make_draft, make_form, read_form
from labeling.gate import MAX_BODY_BYTES, is_foreign, is_served
from labeling.judgements import CONFIDENCES
from labeling.sessions import MAX_SESSIONS, FailureLimit, Sessions
from labeling.views import list_opinions, make_view
from labeling.web import make_app

BASE = "http://localhost:8000"
ODD_ID = "s/ä b?#&<'"
GUIDELINE = "# How to label\n\nJudge *as of* the day shown. <script>x</script>"
ANSWER_HTML = (
    "<p>Call <code>old()</code>.</p><pre class='lang-py'>old(1)\n</pre><p>See 😀 there.</p>"
)


def make_content(number: int = 0) -> dict[str, Any]:
    body = split_body(ANSWER_HTML)
    return {
        "site": "s",
        "text_at": "2020-01-01T00:00:00Z",
        "judged_at": "2024-03-01",
        "question": {"title": f"Question {number}", "html": "<p>How?</p>", "tags": ["py"]},
        "answer": {"post_id": 1, "html": ANSWER_HTML, "text": body.text, "score": 3},
        "comments": [
            {"comment_id": 7, "created_at": "2019-01-01", "author": "zoe", "text": "Fine."},
            {"comment_id": 8, "created_at": "2023-01-01", "author": "yan", "text": "Gone now."},
        ],
        "history": [
            {"revision_id": 5, "at": "2018-01-01", "kind": "created", "markdown": "Call old."},
            {"revision_id": 6, "at": "2019-01-01", "kind": "edited", "markdown": "Call old()."},
        ],
        "answers": [{"post_id": 2, "excerpt": "Call new()."}],
    }


class World(NamedTuple):
    """A store with its app, and how to look at it."""

    store: AnnotationStore
    open: Callable[[str], TestClient]
    tokens: dict[str, str]
    clock: list[float]  # what the app's clock says


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    items = [
        {"item_id": f"s/{number}", "content": make_content(number), "hidden": {"weak": "HIDDEN-7"}}
        for number in range(4)
    ]
    items.append({"item_id": ODD_ID, "content": make_content(), "hidden": {}})
    ticks = itertools.count()
    start = datetime(2024, 3, 1, tzinfo=UTC)
    store = AnnotationStore.create(
        tmp_path / "items.sqlite",
        items,
        guideline=GUIDELINE,
        clock=lambda: start + timedelta(seconds=next(ticks)),
    )
    roles: dict[str, Any] = {"ada": "annotator", "ben": "annotator"}
    roles |= {"eve": "adjudicator", "robot": "machine"}
    tokens = {name: store.add_annotator(name, role) for name, role in roles.items()}
    clock = [0.0]
    app = make_app(store, hosts=["localhost"], clock=lambda: clock[0])

    def open_as(name: str) -> TestClient:
        client = TestClient(app, base_url=BASE, follow_redirects=False)
        if name:
            assert client.post("/login", data={"token": tokens[name]}).status_code == 303
        return client

    yield World(store, open_as, tokens, clock)
    store.close()


def save(client: TestClient, item_id: str, **fields: Any) -> Any:
    given = {"label": "current", "confidence": "2", "expected": "0", **fields}
    return client.post(f"/item/{item_id}", data=given)


def disagree(world: World, item_id: str = "s/0", **labels: Label) -> None:
    for name, label in (labels or {"ada": "obsolete", "ben": "current"}).items():
        draft = Draft(label, None, ({"kind": "comment", "id": 8},), 3, f"because-{name}")
        world.store.save(item_id, name, draft, expected_revision=0)


def standing(world: World, item_id: str, name: str) -> Judgement:
    judgement = world.store.current(item_id, name)
    assert judgement is not None
    return judgement


# Requests from other sites ---------------------------------------------------------------------

HOST = "localhost:8000"
SAME = f"http://{HOST}"
CROSS_ORIGIN_CASES = [
    # method, Sec-Fetch-Site, Origin, foreign
    ("GET", "cross-site", "https://evil.example", False),
    ("GET", None, None, False),
    ("HEAD", "cross-site", None, False),
    ("OPTIONS", "cross-site", "https://evil.example", False),
    ("POST", "same-origin", SAME, False),
    ("POST", "same-origin", "null", False),  # what browsers send under no-referrer
    ("POST", "same-origin", None, False),
    ("POST", "same-origin", "https://evil.example", True),
    ("POST", "none", None, False),
    ("POST", "none", SAME, False),
    ("POST", "none", "https://evil.example", True),
    ("POST", "same-site", SAME, True),
    ("POST", "same-site", None, True),
    ("POST", "same-site", "http://localhost:9000", True),
    ("POST", "cross-site", None, True),
    ("POST", "cross-site", SAME, True),
    ("POST", "cross-site", "null", True),
    ("POST", "cross-site", "https://evil.example", True),
    ("POST", "", None, True),
    ("POST", "Same-Origin", None, True),
    ("POST", "same-origin, cross-site", None, True),
    ("POST", None, None, False),  # a program; a browser sends one of the two
    ("POST", None, SAME, False),
    ("POST", None, "HTTP://LocalHost:8000", False),
    ("POST", None, "https://localhost:8000", False),  # a proxy ends TLS
    ("POST", None, "null", True),
    ("POST", None, "", True),
    ("POST", None, "http://localhost", True),
    ("POST", None, "http://localhost:8001", True),
    ("POST", None, "http://localhost:8000.evil.example", True),
    ("POST", None, "http://localhost:8000@evil.example", True),
    ("POST", None, "http://evil.example/localhost:8000", True),
    ("POST", None, "http://localhost:8000/path", True),
    ("POST", None, "http://a@localhost:8000", True),
    ("POST", None, "http://localhost:99999", True),
    ("POST", None, "http://[localhost:8000", True),
    ("POST", None, "file://localhost:8000", True),
    ("POST", None, "localhost:8000", True),
    ("PUT", "cross-site", None, True),
    ("DELETE", None, "https://evil.example", True),
    ("PATCH", "cross-site", SAME, True),
    ("post", "cross-site", None, True),
    ("FROB", "cross-site", None, True),
]


@pytest.mark.parametrize(("method", "fetch_site", "origin", "foreign"), CROSS_ORIGIN_CASES)
def test_only_own_pages_change_anything(
    method: str, fetch_site: str | None, origin: str | None, foreign: bool
) -> None:
    assert is_foreign(method, fetch_site, origin, HOST) is foreign


@pytest.mark.parametrize("has_cookie", [False, True])
def test_the_app_refuses_what_is_foreign_with_and_without_a_session(
    world: World, has_cookie: bool
) -> None:
    client = world.open("ada" if has_cookie else "")
    for path, (method, site, origin, foreign) in itertools.product(
        ("/item/s/0", "/login", "/undo", "/logout"), CROSS_ORIGIN_CASES
    ):
        if method != "POST" or (path == "/logout" and not foreign):
            continue
        headers = {"Sec-Fetch-Site": site, "Origin": origin}
        given = {name: value for name, value in headers.items() if value is not None}
        status = client.post(path, data={"label": "current"}, headers=given).status_code
        assert (status == 403) is foreign, (path, site, origin, status)
    saved = world.store.current("s/0", "ada")
    assert (saved is not None) is has_cookie


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://lab.example", "lab.example:80"),
        ("https://lab.example", "lab.example"),
        ("https://lab.example:443", "lab.example"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_default_ports_are_the_same_origin(origin: str, host: str) -> None:
    assert not is_foreign("POST", None, origin, host)


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True),
        ("localhost:1", True),
        ("LocalHost:8000", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("127.0.0.1:8000", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("localhost:8000.evil.example", False),
        ("localhost:", False),
        ("localhost:x", False),
        ("localhost:٣", False),
        ("user@localhost", False),
        ("127.0.0.2", False),
        ("::1", False),
        ("", False),
        (None, False),
    ],
)
def test_only_names_of_the_list_are_served(host: str | None, served: bool) -> None:
    assert is_served(host, ["localhost", "127.0.0.1", "[::1]"]) is served


def test_a_foreign_host_gets_nothing(world: World) -> None:
    client = world.open("ada")
    answer = client.get("/", headers={"Host": "rebound.example:8000"})
    assert answer.status_code == 400
    assert "Question" not in answer.text


# What every answer has -------------------------------------------------------------------------


EXPECTED_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def test_every_answer_has_the_headers(world: World) -> None:
    client = world.open("ada")
    paths = ("/", "/item/s/0", "/login", "/nowhere", "/static/annotate.css", "/healthz", "/mine")
    answers = [client.get(path) for path in paths]
    answers.append(client.get("/", headers={"Host": "no"}))
    answers.append(client.post("/undo", headers={"Sec-Fetch-Site": "cross-site"}))
    for answer in answers:
        found = {name: answer.headers.get(name) for name in EXPECTED_HEADERS}
        policy = "same-origin" if answer is answers[-2] else "no-referrer"  # it is not the loopback
        assert found == {**EXPECTED_HEADERS, "Referrer-Policy": policy}


def test_pages_have_no_script_or_style_of_their_own(world: World) -> None:
    disagree(world)
    annotator, adjudicator = world.open("ada"), world.open("eve")
    pages = [annotator.get(path).text for path in ("/item/s/1", "/mine", "/guideline", "/login")]
    pages += [adjudicator.get(path).text for path in ("/adjudicate", "/adjudicate/s/0")]
    for page in pages:
        assert re.findall(r"<script\b[^>]*>", page) == ['<script src="/static/annotate.js" defer>']
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://(?!localhost)", page)


def test_a_long_body_is_refused_with_and_without_its_length(world: World) -> None:
    client = world.open("ada")
    body = b"note=" + b"x" * MAX_BODY_BYTES
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/item/s/0", content=body, headers=kind).status_code == 413
    pieces = (body[at : at + 4096] for at in range(0, len(body), 4096))
    assert client.post("/item/s/0", content=pieces, headers=kind).status_code == 413
    assert world.store.current("s/0", "ada") is None


@pytest.mark.parametrize("body", [b"note=%ff", b"\xff\xfe", b"a&" * (MAX_FIELDS + 1)])
def test_a_body_that_is_no_form_is_refused(world: World, body: bytes) -> None:
    answer = world.open("ada").post("/item/s/0", content=body)
    assert answer.status_code == 400
    assert "cannot be read" in answer.text


def test_health_needs_no_session(world: World) -> None:
    answer = world.open("").get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


# Logging in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/item/s/0", "/mine", "/guideline", "/adjudicate"])
def test_without_a_session_every_page_leads_to_the_login(world: World, path: str) -> None:
    answer = world.open("").get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


def test_a_link_with_a_token_logs_in(world: World) -> None:
    client = world.open("")
    answer = client.get("/login", params={"token": world.tokens["ada"]})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
    assert world.tokens["ada"] not in cookie
    assert client.get("/").headers["Location"].startswith("/item/s/")


def test_a_link_on_a_foreign_page_logs_in_by_a_button(world: World) -> None:
    client = world.open("")
    query = {"token": world.tokens["ada"]}
    answer = client.get("/login", params=query, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert f'value="{world.tokens["ada"]}"' in answer.text


@pytest.mark.parametrize("token", ["", "wrong", "\0", "x" * 10_000, "' OR 1=1 --", "é"])
def test_a_wrong_token_opens_nothing(world: World, token: str) -> None:
    client = world.open("")
    answer = client.post("/login", data={"token": token})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert client.get("/").headers["Location"] == "/login"


def test_a_machine_has_no_page(world: World) -> None:
    answer = world.open("").post("/login", data={"token": world.tokens["robot"]})
    assert answer.status_code == 401


def test_the_login_leads_nowhere_else(world: World) -> None:
    client = world.open("")
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "/%5cevil.example"):
        query = {"next": target, "return": target, "url": target, "token": world.tokens["ada"]}
        assert client.get("/login", params=query).headers["Location"] == "/"
        assert client.post("/login", data=query).headers["Location"] == "/"


def test_a_login_makes_a_new_session_and_ends_the_old_one(world: World) -> None:
    client = world.open("ada")
    old = client.cookies[web.COOKIE]
    client.post("/login", data={"token": world.tokens["ben"]})
    assert client.cookies[web.COOKIE] != old
    thief = world.open("")
    thief.cookies.set(web.COOKIE, old)
    assert thief.get("/").headers["Location"] == "/login"


def test_a_session_id_that_a_stranger_chose_is_not_taken_over(world: World) -> None:
    client = world.open("")
    client.cookies.set(web.COOKIE, "chosen")
    client.post("/login", data={"token": world.tokens["ada"]})
    other = world.open("")
    other.cookies.set(web.COOKIE, "chosen")
    assert other.get("/").headers["Location"] == "/login"


def test_a_session_ends_after_a_working_day(world: World) -> None:
    client = world.open("ada")
    world.clock[0] = 12 * 3600 - 1
    assert client.get("/").headers["Location"] != "/login"
    world.clock[0] = 12 * 3600
    assert client.get("/").headers["Location"] == "/login"


def test_logging_out_ends_the_session_at_the_server(world: World) -> None:
    client = world.open("ada")
    session = client.cookies[web.COOKIE]
    assert client.get("/logout").status_code == 405
    client.post("/logout")
    client.cookies.set(web.COOKIE, session)
    assert client.get("/").headers["Location"] == "/login"


def test_wrong_tokens_are_limited_and_the_right_one_too_meanwhile(world: World) -> None:
    client = world.open("")
    for _ in range(10):
        assert client.post("/login", data={"token": "wrong"}).status_code == 401
    refused = client.post("/login", data={"token": world.tokens["ada"]})
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) <= 301
    assert client.get("/login", params={"token": world.tokens["ada"]}).status_code == 429
    world.clock[0] = 301.0
    assert client.post("/login", data={"token": world.tokens["ada"]}).status_code == 303


def test_nobody_can_register(world: World) -> None:
    client = world.open("")
    for path in ("/register", "/signup", "/annotators", "/users", "/admin"):
        assert client.post(path).status_code == 404


def test_an_annotator_has_a_bounded_number_of_sessions() -> None:
    sessions = Sessions(lambda: 0.0)
    ada = Annotator("ada", "annotator")
    ids = [sessions.open(ada) for _ in range(MAX_SESSIONS + 3)]
    assert [sessions.find(one) for one in ids] == [None] * 3 + [ada] * MAX_SESSIONS
    assert len(set(ids)) == len(ids) and min(map(len, ids)) >= 43


def test_failures_are_forgotten_one_by_one() -> None:
    now = [0.0]
    limit = FailureLimit(lambda: now[0], max_failures=2, within_seconds=10)
    limit.record("a")
    now[0] = 4
    limit.record("a")
    assert limit.seconds_to_wait("a") == 6
    now[0] = 10
    assert limit.seconds_to_wait("a") == 0
    limit.record("a")
    assert limit.seconds_to_wait("a") == 4


# Saving ----------------------------------------------------------------------------------------


def test_an_item_shows_all_its_parts(world: World) -> None:
    page = world.open("ada").get("/item/s/2").text
    for words in ("Question 2", "How?", "Fine.", "Gone now.", "Call new().", "1 Mar 2024", "zoe"):
        assert words in page
    assert "after the answer took this form" in page
    assert page.count('name="evidence"') == 3 + 2 + 1 + 2
    assert world.store.guideline_sha256[:12] in page
    assert "&lt;script&gt;x" in page  # the guideline's


def test_saving_goes_on_to_the_next_item(world: World) -> None:
    client = world.open("ada")
    first = client.get("/").headers["Location"]
    answer = save(client, first.removeprefix("/item/"), label="obsolete", cause="library")
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/item/s/") and answer.headers["Location"] != first
    saved = standing(world, first.removeprefix("/item/"), "ada")
    assert saved.draft == Draft("obsolete", "library")
    assert saved.guideline_sha256 == world.store.guideline_sha256


def test_when_all_is_done_it_says_so(world: World) -> None:
    client = world.open("ada")
    path = client.get("/").headers["Location"]
    for _ in range(5):
        path = client.post(path, data={"label": "current"}).headers["Location"]
    assert path == "/"
    page = client.get("/").text
    assert "You judged 5 answers" in page


def test_everything_that_is_filled_in_is_saved(world: World) -> None:
    text = split_body(ANSWER_HTML).text
    start = text.index("😀")
    evidence = ["revision:6", "comment:8", f"span:{start}:{start + 1}", "answer:2", "comment:8"]
    fields = {"confidence": "3", "note": "  two\r\nlines ", "evidence": evidence, "seconds": "12.5"}
    save(world.open("ada"), "s/1", label="obsolete", cause="link", **fields)
    assert standing(world, "s/1", "ada").draft == Draft(
        "obsolete",
        "link",
        (
            {"kind": "span", "start": start, "end": start + 1, "quote": "😀"},
            {"kind": "comment", "id": 8},
            {"kind": "answer", "id": 2},
            {"kind": "revision", "id": 6},
        ),
        3,
        "two\nlines",
        12.5,
    )


def test_a_saved_item_is_shown_as_it_was_saved(world: World) -> None:
    client = world.open("ada")
    save(client, "s/1", label="cannot_tell", note="</textarea>\n& more", evidence="span:1:3")
    page = client.get("/item/s/1").text
    assert re.search(r'value="cannot_tell" required data-key="t" checked', page)
    assert "\n&lt;/textarea&gt;\n&amp; more</textarea>" in page
    assert 'value="span:1:3" checked' in page and "<q>al</q>" in page
    assert 'name="expected" value="1"' in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label": ""}, "Choose a label first"),
        ({"label": "perhaps"}, "Choose a label first"),
        ({"label": "obsolete", "cause": "weather"}, "This cause is not one of the list"),
        ({"evidence": "comment:9"}, "Evidence was marked"),
        ({"evidence": "comment:٧"}, "Evidence was marked"),
        ({"evidence": "span:3:3"}, "Evidence was marked"),
        ({"evidence": "span:0:99999"}, "Evidence was marked"),
        ({"evidence": "file:1"}, "Evidence was marked"),
        ({"note": "x" * 10_001}, "The note is too long"),
        ({"expected": "4"}, "expected_revision is 4"),
    ],
)
def test_what_cannot_be_saved_is_shown_again_with_the_reason(
    world: World, fields: dict[str, str], words: str
) -> None:
    answer = save(world.open("ada"), "s/1", **{"note": "keep me", **fields})
    assert answer.status_code == 422
    assert words in answer.text
    assert fields.get("note", "keep me") in answer.text
    assert world.store.current("s/1", "ada") is None


def test_a_cause_counts_only_of_an_obsolete_answer(world: World) -> None:
    save(world.open("ada"), "s/1", label="current", cause="library")
    assert standing(world, "s/1", "ada").draft == Draft("current")


def test_sending_a_form_twice_saves_once(world: World) -> None:
    client = world.open("ada")
    for seconds in ("3", "4"):
        assert save(client, "s/1", note="once", seconds=seconds).status_code == 303
    assert standing(world, "s/1", "ada").revision == 1


def test_a_stale_save_shows_both_versions_and_saves_neither_until_one_is_chosen(
    world: World,
) -> None:
    client = world.open("ada")
    save(client, "s/1", label="obsolete", note="first window", evidence="comment:7")
    answer = save(client, "s/1", label="current", note="second <window>", evidence="comment:8")
    assert answer.status_code == 409
    for words in ("first window", "second &lt;window&gt;", "comment: Fine.", "comment: Gone now."):
        assert words in answer.text
    assert standing(world, "s/1", "ada").revision == 1
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', answer.text)
    assert client.post("/item/s/1", data={**dict(fields), "note": "second"}).status_code == 303
    saved = standing(world, "s/1", "ada")
    assert saved.revision == 2
    assert saved.draft == Draft("current", None, ({"kind": "comment", "id": 8},), 2, "second")


def test_undo_takes_back_the_newest_and_shows_it_to_be_changed(world: World) -> None:
    client = world.open("ada")
    save(client, "s/1", label="obsolete", note="a slip")
    answer = client.post("/undo")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/item/s/1")
    assert standing(world, "s/1", "ada").draft is None
    page = client.get("/item/s/1").text
    assert "a slip</textarea>" in page and 'name="expected" value="2"' in page
    assert save(client, "s/1", label="current", expected="2").status_code == 303
    assert standing(world, "s/1", "ada").draft == Draft("current")


def test_undo_of_nothing_goes_on(world: World) -> None:
    assert world.open("ada").post("/undo").headers["Location"] == "/"


def test_an_item_may_have_any_id(world: World) -> None:
    disagree(world, ODD_ID)
    client = world.open("ada")
    path = re.search(r'href="(/item/[^"]*)"', client.get("/mine").text)
    assert path
    page = client.get(path[1]).text
    assert f'action="{path[1]}"' in page
    assert client.post(path[1], data={"label": "current", "expected": "1"}).status_code == 303
    assert standing(world, ODD_ID, "ada").draft == Draft("current")


def test_an_unknown_item_is_not_found(world: World) -> None:
    client = world.open("ada")
    assert client.get("/item/s/99").status_code == 404
    assert save(client, "s/99").status_code == 404
    assert client.get("/item/<b>x").text.count("<b>x") == 0


def test_what_was_typed_outlives_the_session(world: World) -> None:
    client = world.open("ada")
    world.clock[0] = 13 * 3600.0
    answer = save(
        client, "s/1", label="obsolete", note="long work\nin two lines", evidence="comment:8"
    )
    assert answer.status_code == 401
    kept = dict(re.findall(r'<input type="hidden" name="(kept_\w+)" value="([^"]*)">', answer.text))
    assert "\nlong work\nin two lines</textarea>" in answer.text
    kept |= {"token": world.tokens["ada"], "kept_note": "long work\r\nin two lines"}
    page = client.post("/login", data=kept)
    assert page.status_code == 200
    assert "This is not saved yet" in page.text
    assert "long work\nin two lines</textarea>" in page.text
    assert 'value="comment:8" form="judge" checked' in page.text
    assert world.store.current("s/1", "ada") is None
    assert save(client, "s/1", label="obsolete").status_code == 303


# Blindness -------------------------------------------------------------------------------------


def test_an_annotator_gets_nothing_of_what_others_said_before_or_after(world: World) -> None:
    world.store.save("s/0", "robot", Draft("obsolete", note="ROBOT-1"), expected_revision=0)
    disagree(world, "s/0", ben="obsolete")
    disagree(world, "s/1", ben="obsolete", ada="current")
    draft = Draft("obsolete", note="SETTLED-1")
    world.store.save("s/1", "eve", draft, expected_revision=0)
    client = world.open("ada")
    paths = ("/", "/mine", "/guideline", "/healthz", *(f"/item/s/{n}" for n in range(4)))
    save(client, "s/0")
    for path in (*paths, *paths):
        page = client.get(path, follow_redirects=True).text
        for secret in ("because-ben", "ROBOT-1", "SETTLED-1", "HIDDEN-7", "robot", "eve"):
            assert not re.search(rf"\b{secret}\b", page), (path, secret)
        assert not re.search(r"<bdi>ben</bdi>", page)


def test_adjudication_is_not_for_annotators(world: World) -> None:
    disagree(world)
    client = world.open("ada")
    assert client.get("/adjudicate").status_code == 403
    for path in ("/adjudicate/s/0", "/adjudicate/s/99"):
        answer = client.get(path)
        assert answer.status_code == 403
        assert "because" not in answer.text
    for path in ("/adjudicate/s/0", "//adjudicate/s/0", "/adjudicate/s/1"):
        assert client.post(path, data={"label": "current"}).status_code in (403, 404)
    assert world.store.current("s/0", "eve") is None
    assert standing(world, "s/0", "ada").draft == Draft(
        "obsolete", None, ({"kind": "comment", "id": 8},), 3, "because-ada"
    )


def test_an_adjudicator_does_not_annotate(world: World) -> None:
    disagree(world)
    client = world.open("eve")
    assert client.get("/item/s/0").status_code == 403
    assert save(client, "s/0").status_code == 403
    assert client.get("/").headers["Location"] == "/adjudicate"


# Adjudicating ----------------------------------------------------------------------------------


def test_what_people_disagree_on_is_listed_without_names(world: World) -> None:
    disagree(world, "s/0")
    disagree(world, "s/1", ada="current", ben="current")
    page = world.open("eve").get("/adjudicate").text
    assert 'href="/adjudicate/s/0"' in page and "s/1" not in page
    assert not re.search(r"\b(ada|ben)\b", page)


def test_the_judgements_stand_side_by_side_without_names_or_machines(world: World) -> None:
    disagree(world)
    world.store.save("s/0", "robot", Draft("obsolete", note="ROBOT-1"), expected_revision=0)
    page = world.open("eve").get("/adjudicate/s/0").text
    said = re.findall(r'aria-label="What (\w) said"', page)
    assert said == ["A", "B"]
    assert "because-ada" in page and "because-ben" in page  # notes are as they were written
    assert "ROBOT-1" not in page and "HIDDEN-7" not in page
    assert not re.search(r"\b(ada|ben|robot)\b", page.replace("because-", "because"))
    assert page.count("marked this") == 2  # both, at comment 8


def test_letters_do_not_follow_from_names(world: World) -> None:
    first = set()
    for number in range(4):
        disagree(world, f"s/{number}")
        view = make_view(f"s/{number}", make_content(number))
        opinions = list_opinions(world.store.judgements(f"s/{number}"), view)
        first.add(opinions[0].draft.note)
    assert first == {"because-ada", "because-ben"}


def test_one_can_be_taken_over_but_not_its_note(world: World) -> None:
    disagree(world)
    client = world.open("eve")
    labels = set()
    for letter in "AB":
        page = client.get("/adjudicate/s/0", params={"adopt": letter}).text
        labels |= set(re.findall(r'value="(\w+)" required data-key="\w" checked', page))
        assert re.search(r'value="3" checked', page)
        assert 'value="comment:8" form="judge" checked' in page
        assert re.search(r"<textarea[^>]*>\n</textarea>", page)
    assert labels == {"obsolete", "current"}


def test_settling_goes_on_to_the_next_disagreement(world: World) -> None:
    disagree(world, "s/0")
    disagree(world, "s/1")
    client = world.open("eve")
    given = {"label": "obsolete", "expected": "0"}
    assert client.post("/adjudicate/s/0", data=given).headers["Location"] == "/adjudicate/s/1"
    assert client.post("/adjudicate/s/1", data=given).headers["Location"] == "/adjudicate"
    assert "Everything that people disagreed on is settled" in client.get("/adjudicate").text
    assert world.store.adjudicated_label("s/0").label == "obsolete"
    assert standing(world, "s/0", "eve").role == "adjudicator"
    assert client.post("/undo").headers["Location"] == "/adjudicate/s/1"


def test_an_item_without_two_opinions_is_not_to_be_adjudicated(world: World) -> None:
    disagree(world, "s/0", ada="current")
    assert world.open("eve").get("/adjudicate/s/0").status_code == 404


# Own history, guideline ------------------------------------------------------------------------


def test_own_judgements_are_listed_newest_first_with_links(world: World) -> None:
    client = world.open("ada")
    save(client, "s/1", note="one")
    save(client, "s/2", label="obsolete", cause="operating_system")
    page = client.get("/mine").text
    assert page.index("Question 2") < page.index("Question 1")
    assert 'href="/item/s/2"' in page and "operating system" in page and "one" in page


def test_the_guideline_is_shown_with_its_digest(world: World) -> None:
    page = world.open("ada").get("/guideline").text
    assert "<em>as of</em>" in page and world.store.guideline_sha256 in page


def test_the_guideline_that_is_shipped_explains_every_label_and_cause() -> None:
    text = (Path(web.__file__).parent / "guideline.md").read_text(encoding="utf-8")
    for words in ("Obsolete", "Current", "Cannot tell", *CONFIDENCES.values()):
        assert f"**{words}**" in text
    for cause in CAUSES:
        assert f"| {cause.replace('_', ' ')} |" in text
    assert max(map(len, text.splitlines())) <= 120


# Forms, blocks, differences: pure parts --------------------------------------------------------

FORM_FIELDS = strategies.lists(
    strategies.tuples(
        strategies.sampled_from(
            ["label", "cause", "evidence", "note", "confidence", "expected", "x"]
        ),
        strategies.text(max_size=30)
        | strategies.sampled_from(["current", "comment:8", "span:0:4"]),
    ),
    max_size=8,
)


@hypothesis.given(FORM_FIELDS)
def test_any_fields_make_a_form_and_any_valid_draft_survives_the_way(
    fields: list[tuple[str, str]],
) -> None:
    form = read_form(fields)
    content = make_content()
    try:
        draft = make_draft(form, content)
    except BadValue:
        return
    assert make_draft(make_form(draft, form.expected), content) == draft


def test_no_form_is_empty() -> None:
    assert read_form([]) == Form()


HTML_PIECES = strategies.sampled_from(
    [
        "<p>One <b>two</b> three</p>",
        "<pre><code>a\n  b\n\n\nc</code></pre>",
        "<ul><li>x<li>y <p>z</p></ul>",
        "<blockquote><p>q</p><pre>c</pre></blockquote>",
        "loose text ",
        "<i>inline</i>",
        "<hr>",
        "<img src=x alt='a picture'>",
        "<table><tr><td>1<td>2</table>",
        "<h2>Head</h2>",
        "<!-- c -->",
        "2<sup>10</sup>",
        "😀\u00a0é",
    ]
)


@hypothesis.given(strategies.lists(HTML_PIECES, max_size=6).map("".join))
def test_blocks_tile_the_text_of_any_answer(body_html: str) -> None:
    text = split_body(body_html).text
    blocks = list(split_answer(body_html, text, {}))
    at = 0
    for block in blocks:
        assert text[block.start : block.start + len(block.text)] == block.text
        assert text[at : block.start].strip() == ""
        at = block.start + len(block.text)
    assert text[at:].strip() == ""


def test_blocks_keep_the_markup_where_the_text_is_that_of_the_html() -> None:
    text = split_body(ANSWER_HTML).text
    blocks = list(split_answer(ANSWER_HTML, text, {}))
    assert [block.kind for block in blocks] == ["prose", "code", "prose"]
    assert blocks[0].html == "<p>Call <code>old()</code>.</p>"


def test_where_text_and_html_differ_the_text_is_shown() -> None:
    segments = [{"kind": "prose", "start": 0, "end": 8}, {"kind": "code", "start": 10, "end": 13}]
    text = "a <b>\n\nx\n\ni<j"
    blocks = list(split_answer("<p>other</p>", text, {"segments": segments}))
    assert [(block.start, block.text, block.kind) for block in blocks] == [
        (0, "a <b>", "prose"),
        (7, "x", "prose"),
        (10, "i<j", "code"),
    ]
    assert blocks[0].html == '<p class="plain">a &lt;b&gt;</p>'
    assert [block.text for block in split_answer("", text, {"segments": [{"start": "x"}]})] == [
        "a <b>",
        "x",
        "i<j",
    ]


@pytest.mark.parametrize("broken", [None, 7, "x", [], {}, [None, 3, "x"], {"a": 1}, True, 1.5])
def test_an_item_of_any_shape_can_be_shown(broken: Any) -> None:
    content = make_content()
    for key in content:
        make_view("s/1", {**content, key: broken})
    for part in ("question", "answer"):
        for key in content[part]:
            make_view("s/1", {**content, part: {**content[part], key: broken}})
    for part in ("comments", "history", "answers"):
        for key in content[part][0]:
            make_view("s/1", {**content, part: [{**content[part][0], key: broken}]})
    make_view("s/1", {})


LINES = strategies.lists(strategies.text("ab \t<", max_size=6), min_size=1, max_size=12)


@hypothesis.given(LINES, LINES)
def test_a_difference_holds_both_texts(old: list[str], new: list[str]) -> None:
    lines = compare_revisions("\n".join(old), "\n".join(new), context=100)
    text = ["".join(part.text for part in line.parts) for line in lines]
    kinds = [line.kind for line in lines]
    if "\n".join(old) == "\n".join(new):
        assert kinds == ["skipped"]
        return
    assert [one for one, kind in zip(text, kinds, strict=True) if kind != "new"] == old
    assert [one for one, kind in zip(text, kinds, strict=True) if kind != "gone"] == new


def test_unchanged_lines_far_away_are_counted() -> None:
    old = "\n".join(str(number) for number in range(40))
    lines = compare_revisions(old, old.replace("20", "x"))
    shown = [(line.kind, line.parts[0].text) for line in lines]
    assert shown[0] == ("skipped", "18") and shown[-1] == ("skipped", "17")
    assert [kind for kind, _ in shown[1:-1]] == ["same"] * 2 + ["gone", "new"] + ["same"] * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\n" * 15_000, "b\n" * 15_000),
        ("a\nb\n" * 7_500, "b\na\nc\n" * 5_000),
        ("ab " * 10_000, "ba " * 10_000),
        ("ab ba " * 5_000, "ba ab c " * 3_750),
        ("\n".join(f"a b {n}" for n in range(3_000)), "\n".join(f"b a {n}" for n in range(3_000))),
        ("\n".join(f"{n}" for n in range(1_700)), "\n".join(f"{n}" for n in range(1_700, -1, -1))),
        (
            "\n".join("ab " * 90 + f"{n}" for n in range(99)),
            "\n".join("ba " * 99 for _ in range(99)),
        ),
        ("a\nb\n" * 240, "b\nc\na\n" * 160),
        ("\n\nx = 1" * 4_000, "\n\ny = 1" * 4_000),
    ],
)
def test_no_pair_of_texts_takes_long_to_compare(old: str, new: str) -> None:
    """30,000 characters are the most that a post has; the slowest of these took 0.6 s."""
    began = time.monotonic()
    compare_revisions(old, new)
    assert time.monotonic() - began < 3


# Serving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "warns"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)]
)
def test_serving_beyond_the_loopback_warns(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str,
    warns: bool,
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(web.uvicorn, "run", lambda app, **options: given.update(options))
    web.serve(world.store, host=host)
    assert given["host"] == host
    assert (given["workers"], given["access_log"]) == (1, False)
    assert ("other machines" in capsys.readouterr().err) is warns
