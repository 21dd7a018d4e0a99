"""A language model as an annotator, against a real server on the loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import BadValue, StoreError
from corpus.manifest import Flow
from labeling.annotations import AnnotationStore, Draft
from labeling.chat import MAX_TRIES, ChatModel
from labeling.item_text import read_item_text
from labeling.judge import judge_items, make_messages, name_judge, parse_judgement
from tests.chat_server import KEY, Reply, Server, chat, serve_chat

CONTENT = {
    "judged_at": "2024-03-01T00:00:00Z",
    "question": {"title": "How do I \N{CROSS MARK}?", "html": "<p>With <code>x = 1</code></p>"},
    "answer": {"text": "Call frob(), as of 1.2.", "created_at": "2012-05-06T07:08:09Z"},
    "comments": [
        {"comment_id": 77, "created_at": "2019-01-02T03:04:05Z", "text": "frob is\ngone since 2.0"}
    ],
}
GOOD = {
    "label": "obsolete",
    "cause": "library",
    "evidence_quote": "frob()",
    "confidence": 3,
    "reason": "It is gone.",
}
ITEM = read_item_text(CONTENT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve_chat(monkeypatch, chat(json.dumps(GOOD))) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnnotationStore]:
    items = [
        {"item_id": f"site/{number}", "content": CONTENT, "hidden": {"signal": "secret"}}
        for number in range(4)
    ]
    store = AnnotationStore.create(
        tmp_path / "annotations.sqlite",
        items,
        guideline="Judge well.",
        clock=lambda: datetime(2024, 3, 1, tzinfo=UTC),
    )
    yield store
    store.close()


Judge = Callable[..., Any]


@pytest.fixture
def judge(store: AnnotationStore, server: Server, tmp_path: Path) -> Judge:
    def run(limit: int | None = None, **changes: Any) -> Any:
        model = ChatModel(
            **{"endpoint": server.endpoint, "model": "frob-1", "price_in": 2.0, "price_out": 8.0}
            | changes
        )
        waits: list[float] = []
        try:
            report = judge_items(
                store, model, tmp_path / "log.jsonl", sleep=waits.append, limit=limit
            )
        except (StoreError, BadValue) as error:
            return error, waits
        return report, waits

    return run


def read_log(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]


def test_every_item_is_judged_saved_and_logged(
    store: AnnotationStore, server: Server, judge: Judge, tmp_path: Path
) -> None:
    report, waits = judge()
    assert report.annotator == "judge-frob-1" and report.items == Flow(4, 4, {})
    assert waits == [] and report.num_judged_before == 0
    assert report.spent == (400, 40, pytest.approx((400 * 2 + 40 * 8) / 1e6))
    evidence = ({"kind": "span", "start": 5, "end": 11, "quote": "frob()"},)
    expected = Draft("obsolete", "library", evidence, 3, "It is gone.")
    for item_id in store.item_ids():
        (judgement,) = store.judgements(item_id)
        assert (judgement.role, judgement.draft) == ("machine", expected)
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["seed"]) == ("frob-1", 0, 1)
    log = read_log(tmp_path)
    assert [line["item_id"] for line in log] == store.item_ids()
    assert log[0]["model"] == "frob-1-2024" and log[0]["messages"] == body["messages"]
    assert (log[0]["tokens_in"], log[0]["tokens_out"]) == (100, 10)
    assert json.loads(log[0]["reply"]) == GOOD and log[0]["problem"] is None
    assert store.check_log() > 4


def test_the_prompt_has_what_people_see_and_nothing_that_is_hidden(
    server: Server, judge: Judge
) -> None:
    judge(limit=1)
    system, user = (message["content"] for message in server.requests[0].body["messages"])
    assert system.endswith("Judge well.")
    for words in (
        "Judge as of 2024-03-01.",
        "How do I \N{CROSS MARK}?",
        "With x = 1",
        '<answer date="2012-05-06">\nCall frob(), as of 1.2.\n',
        "2019-01-02: frob is gone since 2.0",
    ):
        assert words in user
    assert "secret" not in system + user


def test_a_machine_settles_nothing(store: AnnotationStore, judge: Judge) -> None:
    judge()
    store.add_annotator("ann")
    store.save("site/0", "ann", Draft("current"), expected_revision=0)
    assert store.adjudicated_label("site/0") == (None, "single") and not store.disagreements()


def test_a_second_run_goes_on_where_the_first_ended(
    store: AnnotationStore, server: Server, judge: Judge
) -> None:
    assert judge(limit=3)[0].items == Flow(3, 3, {})
    report, _ = judge()
    assert report.items == Flow(1, 1, {}) and report.num_judged_before == 3
    assert judge()[0].items == Flow(0, 0, {})
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"label": "outdated"}, "label is 'outdated'"),
        ({"label": ["obsolete"]}, "label must be text"),
        ({"cause": "magic"}, "cause is 'magic'"),
        ({"cause": ["link"]}, "cause must be text or null"),
        ({"label": "current"}, "only an obsolete one has a cause"),
        ({"confidence": 5}, "confidence is 5"),
        ({"confidence": "3"}, "confidence is '3'"),
        ({"confidence": True}, "confidence is True"),
        ({"reason": None}, "reason must be text"),
        ({"reason": "\ud800"}, "note must be text"),
        ({"reason": "x" * 10_001}, "at most 10,000"),
        ({"evidence_quote": "never said"}, "neither in the answer nor in a comment"),
        ({"evidence_quote": 7}, "evidence_quote must be text or null"),
        ({"extra": 1}, "keys must be exactly"),
    ],
)
def test_a_reply_that_is_not_what_was_asked_for_is_refused(
    change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BadValue, match=problem):
        parse_judgement(json.dumps(GOOD | change), ITEM)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "obsolete",
        "null",
        "[]",
        json.dumps([GOOD]),
        f"Sure! {json.dumps(GOOD)}",
        json.dumps(GOOD) * 2,
        json.dumps(GOOD)[:-1],
        json.dumps(GOOD).replace('"cause"', '"label"'),
        json.dumps({key: GOOD[key] for key in GOOD if key != "cause"}),
        "[" * 100_000,
        '{"confidence": ' + "9" * 5_000 + "}",
    ],
)
def test_what_is_not_one_object_of_the_five_keys_is_refused(text: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_judgement(text, ITEM)
    assert "\n" not in str(caught.value)


def test_a_quote_of_a_comment_points_to_it_and_a_fence_is_taken_off() -> None:
    reply = json.dumps(GOOD | {"evidence_quote": "is gone since"})
    for text in (reply, f"```json\n{reply}\n```", f"\n```\n{reply}\n```\n"):
        assert parse_judgement(text, ITEM).evidence == ({"kind": "comment", "id": 77},)
    for nothing in (None, ""):
        assert parse_judgement(json.dumps(GOOD | {"evidence_quote": nothing}), ITEM).evidence == ()


def test_a_wrong_reply_is_asked_for_once_more(
    store: AnnotationStore, server: Server, judge: Judge, tmp_path: Path
) -> None:
    server.replies = [chat("I think it is obsolete."), chat(json.dumps(GOOD))]
    report, _ = judge(limit=1)
    assert report.items == Flow(1, 1, {}) and report.spent.tokens_in == 200
    messages = server.requests[1].body["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == "I think it is obsolete."
    assert "not one JSON object" in messages[3]["content"]
    assert [(line["attempt"], line["problem"] is None) for line in read_log(tmp_path)] == [
        (1, False),
        (2, True),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        chat("no"),
        chat(json.dumps(GOOD | {"label": "maybe"})),
        chat("\ud800"),
        (200, {}, b"<html>garbage"),
        (200, {}, b"\xff\xfe"),
        (200, {}, b"[]"),
        (200, {}, b'{"choices": []}'),
        (200, {}, b'{"choices": [{"message": {"content": null}}], "usage": {"prompt_tokens": -1}}'),
        (200, {}, b'{"choices": [{"message": {"content": [1]}}], "usage": 7, "model": 8}'),
    ],
)
def test_after_two_wrong_replies_an_item_has_failed_and_no_label(
    store: AnnotationStore, server: Server, judge: Judge, tmp_path: Path, answer: Reply
) -> None:
    server.replies = [answer, answer, chat(json.dumps(GOOD))]
    report, _ = judge(limit=2)
    assert report.items == Flow(2, 1, {"wrong_reply": 1})
    assert store.judgements("site/0") == [] and len(store.judgements("site/1")) == 1
    assert [line["problem"] is None for line in read_log(tmp_path)] == [False, False, True]
    # The next run tries it again.
    assert judge(limit=1)[0].items == Flow(1, 1, {})
    assert len(store.judgements("site/0")) == 1


def test_a_busy_server_is_waited_for(server: Server, judge: Judge) -> None:
    server.replies = [
        (429, {"Retry-After": "7"}, b"slow down"),
        (429, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, b""),
        (500, {}, b"oops"),
        (503, {"Retry-After": "9999"}, b""),
        chat(json.dumps(GOOD)),
    ]
    report, waits = judge(limit=1)
    assert report.items == Flow(1, 1, {})
    assert waits == [7.0, 14.0, 28.0, 120.0]


@pytest.mark.parametrize(
    ("answer", "num_requests", "message"),
    [
        ((500, {}, b"oops\nagain"), MAX_TRIES, "answered 500: oops again; tried 6 times"),
        ((429, {}, b""), MAX_TRIES, "answered 429"),
        ((401, {}, f"bad key {KEY}".encode()), 1, r"answered 401: bad key \[key\]; check"),
        ((404, {}, b"no such model"), 1, "answered 404: no such model"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), 1, "answered 302"),
    ],
)
def test_a_server_that_will_not_stops_the_run_with_one_line(
    server: Server, judge: Judge, tmp_path: Path, answer: Reply, num_requests: int, message: str
) -> None:
    server.replies = [chat(json.dumps(GOOD)), answer]
    error, _ = judge()
    assert isinstance(error, StoreError)
    with pytest.raises(StoreError, match=message):
        raise error
    assert "\n" not in str(error) and KEY not in str(error)
    assert len(server.requests) == 1 + num_requests
    # What was judged before is kept, and is not asked for again.
    server.replies = [chat(json.dumps(GOOD))]
    report, _ = judge()
    assert (report.num_judged_before, report.items) == (1, Flow(3, 3, {}))


def test_an_item_that_the_server_refuses_has_failed_and_three_stop_the_run(
    server: Server, judge: Judge
) -> None:
    good, refused = chat(json.dumps(GOOD)), (400, {}, b"too long")
    server.replies = [refused, refused, good, refused]
    report, _ = judge()
    assert report.items == Flow(4, 1, {"refused": 3}) and len(server.requests) == 4
    server.replies, server.requests = [refused], []
    error, _ = judge()
    assert "refused 3 items in a row: refused with 400: too long" in str(error)
    assert len(server.requests) == 3


def test_a_server_that_is_not_there_is_named(judge: Judge) -> None:
    error, _ = judge(endpoint="http://127.0.0.1:9/v1")
    assert isinstance(error, StoreError)
    assert "http://127.0.0.1:9/v1 cannot be reached" in str(error) and "refused" in str(error)


def test_a_server_that_hangs_is_left(judge: Judge, store: AnnotationStore) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        # It takes the connection and never answers: nobody serves.
        endpoint = f"http://127.0.0.1:{silent.server_port}/v1"
        error, _ = judge(endpoint=endpoint, timeout_seconds=0.2)
    assert isinstance(error, StoreError) and "timed out" in str(error)


@pytest.mark.parametrize("endpoint", ["localhost:8000/v1", "file:///etc/passwd", "http://[::1/v1"])
def test_an_endpoint_that_is_no_url_is_refused(judge: Judge, endpoint: str) -> None:
    error, _ = judge(endpoint=endpoint)
    assert isinstance(error, BadValue) and repr(endpoint) in str(error)


def test_the_key_is_nowhere_but_in_the_header(
    server: Server, judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(limit=1)
    for path in tmp_path.iterdir():
        assert KEY.encode() not in path.read_bytes()
    monkeypatch.setenv("MY_KEY", "another")
    judge(limit=1, key_variable="MY_KEY")
    monkeypatch.delenv("MY_KEY")
    judge(limit=1, key_variable="MY_KEY")
    headers = [one.headers.get("Authorization") for one in server.requests]
    assert headers == [f"Bearer {KEY}", "Bearer another", None]
    monkeypatch.setenv("MY_KEY", "a\nb")
    error, _ = judge(key_variable="MY_KEY")
    assert "MY_KEY" in str(error) and "a\nb" not in str(error)


def test_a_person_of_the_machines_name_is_not_overwritten(
    store: AnnotationStore, judge: Judge
) -> None:
    store.add_annotator(name_judge("frob-1"))
    error, _ = judge()
    assert "judge-frob-1 is a person's name" in str(error)


def test_names_of_long_models_differ_where_the_models_do() -> None:
    names = [name_judge("m" * 40 + end) for end in "ab"]
    assert names[0] != names[1] and max(map(len, names)) <= 32


def test_an_item_without_most_of_its_content_is_still_asked_about() -> None:
    messages = make_messages(read_item_text({"answer": {"text": "So."}}), "g")
    assert "So." in messages[1]["content"] and "<comments>" not in messages[1]["content"]
