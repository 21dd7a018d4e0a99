"""A chat model asked for labels, against a real server on the loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from corpus.errors import BadValue, RecipeError, StoreError
from finetune.fitting import Ask, Fitted
from finetune.recipe import ZeroShotSection
from finetune.tasks import TaskData
from finetune.zero_shot import (
    ANSWERS,
    MAX_CHARACTERS,
    MAX_TOKENS_OUT,
    fit_zero_shot,
    make_prompt,
    parse_label,
)
from tests.chat_server import KEY, Server, chat, serve_chat
from tests.finetune.conftest import make_sequence_task, make_token_task

PRICES = {"price_in": 2.0, "price_out": 8.0}
LABELS = ("HQ", "LQ_CLOSE", "LQ_EDIT")
SPLITS = {
    "train": [("learnt HQ", "HQ"), ("learnt LQ_EDIT", "LQ_EDIT")],
    "validation": [("chosen LQ_CLOSE", "LQ_CLOSE")],
    "test": [("one", "HQ"), ("two", "LQ_EDIT"), ("three", "LQ_CLOSE")],
    "other": [("four", "HQ")],
}

Zero = Callable[..., Any]


COST = (100 * 2 + 10 * 8) / 1e6


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serve_chat(monkeypatch, chat("HQ")) as server:
        yield server


@pytest.fixture
def zero(server: Server, make_ask: Callable[..., Ask]) -> Zero:
    """Ask about a task; returns what was found and the seconds that were waited."""

    def run(
        task: TaskData | None = None, waits: list[float] | None = None, **changes: Any
    ) -> Fitted:
        section = {"endpoint": server.endpoint, "model": "frob-1", **PRICES, **changes}
        ask = make_ask({"kind": "zero_shot"}, seed=7, zero_shot=section)
        waited: list[float] = [] if waits is None else waits
        return fit_zero_shot(task or make_sequence_task(SPLITS), ask, sleep=waited.append)

    return run


def read_lines(tmp_path: Path) -> list[dict[str, Any]]:
    content = (tmp_path / "working" / ANSWERS).read_text("ascii")
    return [json.loads(line) for line in content.splitlines()]


def test_every_example_of_test_and_other_benchmarks_is_asked_and_no_other(
    server: Server, zero: Zero
) -> None:
    server.replies = [chat("hq"), chat("LQ_EDIT."), chat("no idea"), chat("Label: LQ close")]
    fitted = zero()
    assert {split: one.labels for split, one in fitted.predicted.items()} == {
        "test": ["HQ", "LQ_EDIT", None],
        "other": ["LQ_CLOSE"],
    }
    assert [prompt.rpartition("\n")[2] for prompt in server.prompts()] == [
        "one",
        "two",
        "three",
        "four",
    ]
    assert all("HQ, LQ_CLOSE, LQ_EDIT?" in prompt for prompt in server.prompts())
    body = server.requests[0].body
    assert (body["model"], body["temperature"], body["seed"]) == ("frob-1", 0, 7)
    assert all(one.probabilities is None for one in fitted.predicted.values())


def test_the_figures_say_what_was_asked_of_whom_and_what_it_cost(
    server: Server, zero: Zero
) -> None:
    server.replies = [chat("HQ"), chat("both HQ and LQ_EDIT", 50, 5)]
    figures = zero(prompt="{labels}: {text}").figures
    # The first one once, the second three times.
    assert (figures["tokens_in"], figures["tokens_out"]) == (250, 25)
    assert figures["dollars"] == pytest.approx((250 * 2 + 25 * 8) / 1e6)
    assert (figures["num_unparsable"], figures["num_refused"], figures["num_unreported"]) == (
        3,
        0,
        0,
    )
    assert figures["served_models"] == ["frob-1-2024"]
    assert figures["prompt"] == "{labels}: {text}"
    assert (figures["price_in"], figures["price_out"]) == (2, 8)


def test_all_answers_are_kept_beside_the_predictions(
    server: Server, zero: Zero, tmp_path: Path
) -> None:
    server.replies = [chat("HQ"), chat("both HQ and LQ_EDIT", 50, 5)]
    (answers,) = zero().attachments
    lines = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [one["example_id"] for one in lines] == [f"x.org/{n}" for n in (4, 5, 6, 7)]
    assert lines[1]["answer"] == "both HQ and LQ_EDIT" and lines[1]["prompt"]


def test_the_server_is_told_how_long_an_answer_may_be(server: Server, zero: Zero) -> None:
    server.replies = [chat("HQ")]
    zero()
    assert {one.body["max_tokens"] for one in server.requests} == {MAX_TOKENS_OUT}


def test_every_request_and_its_answer_is_a_line(server: Server, zero: Zero, tmp_path: Path) -> None:
    server.replies = [chat("HQ"), (200, {}, b"<html>")]
    zero()
    lines = read_lines(tmp_path)
    assert [line["prompt"] for line in lines] == server.prompts()
    assert lines[0] == {
        "split": "test",
        "example_id": "x.org/4",
        "answer": "HQ",
        "problem": None,
        "model": "frob-1-2024",
        "tokens_in": 100,
        "tokens_out": 10,
        "dollars": pytest.approx(COST),
        "is_refused": False,
        "prompt": server.prompts()[0],
    }
    assert (lines[1]["answer"], lines[1]["problem"]) == (None, "the answer is not JSON")


def test_an_answer_is_on_the_disk_before_the_next_question_is_sent(
    server: Server, zero: Zero, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "working" / ANSWERS
    num_lines: list[int] = []
    synced: list[Path] = []
    monkeypatch.setattr("finetune.zero_shot.sync", synced.append)
    server.watch = lambda: num_lines.append(path.read_bytes().count(b"\n") if num_lines else 0)
    zero()
    assert num_lines == [0, 1, 2, 3] and synced == [path, path.parent] * 4


def test_a_text_over_the_limit_is_cut_and_counted(server: Server, zero: Zero) -> None:
    exact, longer = "y" * MAX_CHARACTERS, "z" * (MAX_CHARACTERS + 12)
    task = make_sequence_task({**SPLITS, "test": [(exact, "HQ"), (longer, "HQ")]})
    figures = zero(task).figures
    sent = [prompt.rpartition("\n")[2] for prompt in server.prompts()]
    assert sent[:2] == [exact, "z" * MAX_CHARACTERS]
    assert (figures["num_texts_cut"], figures["num_characters_cut"]) == (1, 12)
    assert figures["max_characters"] == MAX_CHARACTERS


@pytest.mark.parametrize("text", ["{", "}{0}{x}", "{labels} {text}", r"\1 \g<0> %s"])
def test_what_a_text_holds_does_not_change_the_prompt_around_it(text: str) -> None:
    made = make_prompt('{"labels": "{labels}"} {text}!', ["{text}", "b"], text)
    assert made == '{"labels": "{text}, b"} ' + text + "!"


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("LQ_EDIT", "LQ_EDIT"),
        (" lq_edit\n", "LQ_EDIT"),
        ('"HQ"', "HQ"),
        ("**HQ**.", "HQ"),
        ("Label: `LQ_CLOSE`", "LQ_CLOSE"),
        ("LQ-CLOSE", "LQ_CLOSE"),
        ("lq close", "LQ_CLOSE"),
        ("- HQ", "HQ"),
        ("-HQ-", "HQ"),
        ("The post is HQ, clearly HQ.", "HQ"),
        ("<think>LQ_EDIT or HQ?</think>\n\nHQ", "HQ"),
        ("", None),
        (None, None),
        ("neither", None),
        ("HQ or LQ_EDIT", None),
        ("HQ/LQ_EDIT", None),
        ("UHQ", None),
        ("HQs", None),
        ("HQ_2", None),
        ("HQ-like", None),
        ("semi-HQ", None),
        ("not HQ", None),
        ("not HQ but LQ_EDIT", "LQ_EDIT"),
        ("<think>HQ", "HQ"),
    ],
)
def test_the_one_label_that_an_answer_names_is_read(answer: str | None, label: str | None) -> None:
    assert parse_label(answer, LABELS) == label


def test_a_label_within_a_longer_one_is_not_named_by_it() -> None:
    labels = ("open", "open_again", "constructive", "not_constructive", "c++ (old)")
    assert parse_label("open again", labels) == "open_again"
    assert parse_label("Open.", labels) == "open"
    assert parse_label("Not constructive.", labels) == "not_constructive"
    assert parse_label("constructive", labels) == "constructive"
    assert parse_label("C++ (old)", labels) == "c++ (old)"


def test_a_killed_run_goes_on_behind_its_last_whole_line(
    server: Server, zero: Zero, tmp_path: Path
) -> None:
    server.replies = [chat("HQ"), chat("LQ_EDIT"), (401, {}, b"")]
    with pytest.raises(StoreError, match="answered 401"):
        zero()
    path = tmp_path / "working" / ANSWERS
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(first + b"\n" + second[:-9])
    server.replies, server.requests = [chat("LQ_CLOSE", 7, 1)], []
    fitted = zero()
    assert fitted.predicted["test"].labels == ["HQ", "LQ_CLOSE", "LQ_CLOSE"]
    assert [prompt.rpartition("\n")[2] for prompt in server.prompts()] == ["two", "three", "four"]
    # What the first run paid for counts; the line that was cut off is gone.
    assert fitted.figures["tokens_in"] == 100 + 3 * 7 and len(read_lines(tmp_path)) == 4
    server.requests = []
    assert zero().figures == fitted.figures and server.requests == []


def test_an_answer_without_a_label_is_not_asked_for_again(server: Server, zero: Zero) -> None:
    server.replies = [chat("who knows"), (200, {}, b"garbage"), chat("HQ")]
    assert zero().predicted["test"].labels == [None, None, "HQ"]
    assert zero().figures["num_unparsable"] == 2 and len(server.requests) == 4


def test_a_broken_line_stops_with_its_place(zero: Zero, tmp_path: Path) -> None:
    zero()
    path = tmp_path / "working" / ANSWERS
    for broken in (b"{}", b"[1]", b"\xff", b"7"):
        path.write_bytes(b"\n".join([path.read_bytes().split(b"\n")[0], broken, b""]))
        with pytest.raises(StoreError, match=r"answers.jsonl, line 2 is no answer"):
            zero()


def make_equal_questions(zero_shot: ZeroShotSection) -> tuple[TaskData, float]:
    """Four examples of the same length, in two bytes a character, and the bound of each."""
    texts = [letter * 400 for letter in "éàöü"]
    task = make_sequence_task({"train": SPLITS["train"], "test": [(text, "HQ") for text in texts]})
    sent = make_prompt(zero_shot.prompt, task.labels, texts[0])
    assert len(sent.encode()) == len(sent) + 400
    return task, (len(sent.encode()) * 2 + MAX_TOKENS_OUT * 8) / 1e6


@pytest.mark.parametrize(("allowance", "num_asked"), [(-1e-9, 2), (1e-9, 3)])
def test_no_question_is_sent_that_might_pass_the_budget(
    server: Server, zero: Zero, allowance: float, num_asked: int
) -> None:
    task, bound = make_equal_questions(ZeroShotSection())
    with pytest.raises(StoreError, match=f"is spent on {num_asked} of 4 examples"):
        zero(task, budget_dollars=2 * COST + bound + allowance)
    assert len(server.requests) == num_asked


def test_what_was_spent_before_counts_and_a_larger_budget_goes_on(
    server: Server, zero: Zero
) -> None:
    task, bound = make_equal_questions(ZeroShotSection())
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            zero(task, budget_dollars=COST + bound)
        assert len(server.requests) == 2
    assert str(caught.value) == (
        f"zero_shot.budget_dollars is {COST + bound:g}: {2 * COST:.4f} is spent on 2 of 4 "
        f"examples, and the next may cost {bound:.4f}; raise it and run again, what was answered "
        "is kept"
    )
    assert zero(task, budget_dollars=1).figures["dollars"] == pytest.approx(4 * COST)
    assert len(server.requests) == 4


def test_a_model_that_costs_nothing_needs_no_budget(zero: Zero) -> None:
    assert zero(price_in=0, price_out=0, budget_dollars=0).figures["dollars"] == 0


def test_where_no_tokens_are_reported_the_most_that_it_can_be_is_paid(
    server: Server, zero: Zero
) -> None:
    server.replies = [chat("HQ", 0, 0)]
    task, bound = make_equal_questions(ZeroShotSection())
    figures = zero(task).figures
    assert figures["dollars"] == pytest.approx(4 * bound)
    assert (figures["num_unreported"], figures["tokens_in"]) == (4, 0)


def test_a_busy_server_is_waited_for(server: Server, zero: Zero) -> None:
    server.replies = [(429, {"Retry-After": "7"}, b"slow"), (500, {}, b""), chat("HQ")]
    waits: list[float] = []
    assert zero(waits=waits).predicted["test"].labels == ["HQ"] * 3
    assert waits == [7.0, 14.0]


def test_what_is_refused_costs_nothing_has_no_label_and_is_asked_again(
    server: Server, zero: Zero, tmp_path: Path
) -> None:
    refused = (400, {}, b"too long")
    server.replies = [refused, refused, chat("HQ"), refused, chat("LQ_EDIT")]
    fitted = zero()
    assert [one.labels for one in fitted.predicted.values()] == [[None, None, "HQ"], [None]]
    assert (fitted.figures["num_refused"], fitted.figures["num_unparsable"]) == (3, 3)
    assert fitted.figures["dollars"] == pytest.approx(COST)
    assert read_lines(tmp_path)[0]["problem"] == "refused with 400: too long"
    again = zero()
    assert [one.labels for one in again.predicted.values()] == [
        ["LQ_EDIT", "LQ_EDIT", "HQ"],
        ["LQ_EDIT"],
    ]
    assert again.figures["num_refused"] == 0 and len(read_lines(tmp_path)) == 7


def test_three_refusals_in_a_row_stop_the_run(server: Server, zero: Zero) -> None:
    server.replies = [chat("HQ"), (400, {}, b"no such model")]
    with pytest.raises(StoreError, match="refused 3 examples in a row: refused with 400: no such"):
        zero()
    assert len(server.requests) == 4


def test_the_key_is_in_the_header_and_in_no_file(
    server: Server, zero: Zero, tmp_path: Path
) -> None:
    echo = f"bad key {KEY}".encode()
    server.replies = [(422, {}, echo), chat("HQ"), (429, {}, echo), chat("HQ")]
    fitted = zero()
    assert {one.headers["Authorization"] for one in server.requests} == {f"Bearer {KEY}"}
    assert KEY not in json.dumps(fitted.figures)
    assert "bad key [key]" in read_lines(tmp_path)[0]["problem"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(KEY.encode() in path.read_bytes() for path in files)


def test_any_answer_can_be_written_and_a_long_one_is_kept_at_its_end(
    server: Server, zero: Zero, tmp_path: Path
) -> None:
    server.replies = [chat("x" * 1_000 + "\ud800 \u2028 HQ")]
    zero()
    assert len(read_lines(tmp_path)[0]["answer"]) == 1_006
    assert zero().predicted["test"].labels == ["HQ"] * 3 and len(server.requests) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "zero_shot.model is empty"),
        ({"endpoint": ""}, "zero_shot.endpoint is empty"),
        ({"prompt": "{text}"}, "no {labels}"),
        ({"prompt": "{labels}"}, "no {text}"),
    ],
)
def test_a_recipe_that_cannot_ask_is_refused_before_anything_is_sent(
    server: Server, zero: Zero, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        zero(**changes)
    assert server.requests == []


def test_a_task_of_tokens_is_refused(zero: Zero) -> None:
    with pytest.raises(RecipeError, match="'toy' has a label a token"):
        zero(make_token_task({"train": [(["a"], ["O"])], "test": [(["b"], ["O"])]}))


def test_an_endpoint_that_is_no_url_is_refused(zero: Zero) -> None:
    with pytest.raises(BadValue, match="localhost:8000"):
        zero(endpoint="localhost:8000/v1")
