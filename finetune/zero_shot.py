"""A chat model that is shown one example at a time and asked for its label, and learns from none.

    answers.jsonl    in the working folder: a line a request, on the disk before the next is sent:
                     split, example_id, answer, problem, model, tokens_in, tokens_out, dollars,
                     is_refused, prompt

A run that was killed goes on behind the last line, and neither asks nor pays again; lost is at
most the answer that was on its way. What the server refused to answer is asked again by the next
run. Where a server does not say how many tokens it counted, the most that it can be is taken as
paid.

Validation is not asked: nothing is chosen on it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from corpus.durable import sync
from corpus.errors import RecipeError, StoreError
from corpus.manifest import Json
from corpus.progress import advance
from finetune.fitting import Ask, Fitted, Predicted
from finetune.recipe import ZeroShotSection
from finetune.tasks import TaskData
from labeling.chat import ChatModel, Reply, request_chat

ANSWERS = "answers.jsonl"
NOT_ASKED = ("train", "validation")
# About 2,000 tokens of English, 2,700 of code: fits the context of 4,096 of small local servers.
MAX_CHARACTERS = 8_000
# The server may write so many at most, and that is what an answer is reckoned to cost before it is
# asked for: models that think aloud write thousands.
MAX_TOKENS_OUT = 4_096
# Of as many examples in a row that the server refused, it is the request that is wrong.
MAX_REFUSED = 3
THOUGHT_END = "</think>"


class Question(NamedTuple):
    """What is asked about one example; of its text so many characters are left out."""

    split: str
    example_id: str
    prompt: str
    num_cut: int


class Answer(NamedTuple):
    """What came of a question; `problem` says why there is no text, if there is none.

    `dollars` is what it counts for in the budget; the tokens are those that the server counted.
    """

    split: str
    example_id: str
    answer: str | None
    problem: str | None
    model: str | None
    tokens_in: int
    tokens_out: int
    dollars: float
    is_refused: bool


def fit_zero_shot(
    task: TaskData, ask: Ask, *, sleep: Callable[[float], None] = time.sleep
) -> Fitted:
    """Ask the recipe's chat model for the label of every example of test and other benchmarks.

    Args:
        task: of sequences.
        ask: its recipe's `zero_shot` says whom, how, and for how much; its seed is sent along.
        sleep: waits that many seconds, where the server asks for it.

    Returns:
        None for an example whose answer says no label. `figures`: num_unparsable (those without a
        label), num_refused (of these, by the server), num_texts_cut (over max_characters),
        num_characters_cut, max_characters, num_unreported (answers without a number of tokens),
        dollars, price_in, price_out, tokens_in, tokens_out, served_models, prompt. The file of all
        prompts and answers is attached.

    Raises:
        RecipeError: no model or no endpoint is named, the prompt has no place for the text or the
            labels, or the task is one of tokens.
        BadValue: the endpoint is no URL.
        StoreError: the budget does not allow another question; or the server cannot be reached,
            denies access, stays busy or refuses everything. What was answered is kept.
    """
    section = ask.recipe.zero_shot
    _check(task, section)
    questions = list(_iter_questions(task, section.prompt))
    with ask.reporter.bar(ask.entry.name, len(questions), "examples"):
        answers = _ask_all(questions, ask, sleep)
    labels: dict[str, list[str | None]] = {name: [] for name in task.splits}
    for one in answers:
        labels[one.split].append(parse_label(one.answer, task.labels))
    predicted = {name: Predicted(labels[name]) for name in task.splits if name not in NOT_ASKED}
    figures = {
        "num_unparsable": sum(one.labels.count(None) for one in predicted.values()),
        "num_texts_cut": sum(one.num_cut > 0 for one in questions),
        "num_characters_cut": sum(one.num_cut for one in questions),
        "max_characters": MAX_CHARACTERS,
        "prompt": section.prompt,
        "price_in": section.price_in,
        "price_out": section.price_out,
        **_sum_up(answers),
    }
    return Fitted(predicted, figures, (ask.working / ANSWERS,))


def make_prompt(template: str, labels: Sequence[str], text: str) -> str:
    """Put the labels and the beginning of a text into a prompt, whatever braces they hold.

    >>> make_prompt("{labels}? {text}", ["HQ", "LQ"], "if (x) {labels}")
    'HQ, LQ? if (x) {labels}'
    """
    put = {"{labels}": ", ".join(labels), "{text}": text[:MAX_CHARACTERS]}
    return re.sub("|".join(map(re.escape, put)), lambda found: put[found[0]], template)


def parse_label(answer: str | None, labels: Sequence[str]) -> str | None:
    """Return the one label that an answer names, as a word of its own; None: it names none, or two.

    Case is of no account, nor whether "_" is a space or "-". What a model thinks aloud before its
    answer is not read. After "not" a label is not named, unless it begins so itself.

    >>> labels = ["off_topic", "open"]
    >>> parse_label('Label: "Off-topic".', labels), parse_label("**open**, as it is open", labels)
    ('off_topic', 'open')
    >>> [parse_label(answer, labels) for answer in ("open or off topic", "not open", "reopened")]
    [None, None, None]
    """
    label_by_key = {_fold(label): label for label in labels}
    longest_first = sorted(labels, key=len, reverse=True)
    either = "|".join(re.escape(label).replace("_", "[ _-]") for label in longest_first)
    mention = rf"(?<!\w)(?<!\w-)(?<!\bnot )(?:{either})(?!-?\w)"
    said = (answer or "").rpartition(THOUGHT_END)[2]
    named = {label_by_key[_fold(one)] for one in re.findall(mention, said, re.IGNORECASE)}
    return named.pop() if len(named) == 1 else None


def bound_cost(prompt: str, section: ZeroShotSection) -> float:
    """Return the most dollars that a question is reckoned to cost.

    Of tokens in there are at most as many as bytes, with any tokenizer in use.

    >>> bound_cost("a" * 5_904, ZeroShotSection(price_in=1, price_out=1))
    0.01
    """
    return _count_cost(len(prompt.encode()), MAX_TOKENS_OUT, section)


def read_answers(path: Path) -> list[Answer]:
    """Read the answers of the runs before; a last line that was cut off is removed.

    Raises:
        StoreError: a line is not one that was written here.
    """
    if not path.is_file():
        return []
    answers, end = [], 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            answers.append(_parse_line(line, f"{path}, line {number}"))
    os.truncate(path, end)
    return answers


def _check(task: TaskData, section: ZeroShotSection) -> None:
    if task.kind != "sequence":
        raise RecipeError(
            f"{task.benchmark!r} has a label a token; zero_shot asks for one of a whole text"
        )
    for key in ("endpoint", "model"):
        if not getattr(section, key):
            raise RecipeError(f"zero_shot.{key} is empty; say whom to ask")
    for place in ("{labels}", "{text}"):
        if place not in section.prompt:
            raise RecipeError(f"zero_shot.prompt has no {place}; write it where it belongs")


def _iter_questions(task: TaskData, template: str) -> Iterator[Question]:
    for split, table in task.splits.items():
        if split in NOT_ASKED:
            continue
        for row in table.select(["example_id", "text"]).to_pylist():
            prompt = make_prompt(template, task.labels, row["text"])
            num_cut = max(0, len(row["text"]) - MAX_CHARACTERS)
            yield Question(split, row["example_id"], prompt, num_cut)


def _ask_all(
    questions: Sequence[Question], ask: Ask, sleep: Callable[[float], None]
) -> list[Answer]:
    """Return the answers in the order of the questions; asks those that have none yet."""
    section, log = ask.recipe.zero_shot, ask.working / ANSWERS
    model = ChatModel(section.endpoint, section.model, seed=ask.seed, max_tokens=MAX_TOKENS_OUT)
    before = read_answers(log)
    spent = sum(one.dollars for one in before)
    answers = {(one.split, one.example_id): one for one in before if not one.is_refused}
    num_refused = 0
    for question in questions:
        key = question.split, question.example_id
        if key not in answers:
            _check_budget(spent, question, section, f"{len(answers)} of {len(questions)}")
            messages = [{"role": "user", "content": question.prompt}]
            answer = _make_answer(question, request_chat(model, messages, sleep), section)
            _write_line(log, {**answer._asdict(), "prompt": question.prompt})
            answers[key] = answer
            spent += answer.dollars
            num_refused = num_refused + 1 if answer.is_refused else 0
            if num_refused == MAX_REFUSED:
                raise StoreError(
                    f"the server at {section.endpoint} refused {MAX_REFUSED} examples in a row: "
                    f"{answer.problem}; check zero_shot.model and the server's limits"
                )
        advance(1)
    return [answers[one.split, one.example_id] for one in questions]


def _check_budget(spent: float, question: Question, section: ZeroShotSection, done: str) -> None:
    bound = bound_cost(question.prompt, section)
    if spent + bound > section.budget_dollars:
        raise StoreError(
            f"zero_shot.budget_dollars is {section.budget_dollars:g}: {spent:.4f} is spent on "
            f"{done} examples, and the next may cost {bound:.4f}; raise it and run again, what "
            "was answered is kept"
        )


def _make_answer(question: Question, reply: Reply, section: ZeroShotSection) -> Answer:
    dollars = _count_cost(reply.tokens_in, reply.tokens_out, section)
    if not reply.tokens_in and not reply.is_refused:
        dollars = bound_cost(question.prompt, section)
    return Answer(
        question.split,
        question.example_id,
        _make_whole(reply.text),
        reply.problem,
        _make_whole(reply.model),
        reply.tokens_in,
        reply.tokens_out,
        dollars,
        reply.is_refused,
    )


def _make_whole(text: str | None) -> str | None:
    """Replace halves of surrogate pairs, which JSON can name and no UTF-8 file can hold."""
    return None if text is None else text.encode("utf-8", "replace").decode()


def _count_cost(tokens_in: int, tokens_out: int, section: ZeroShotSection) -> float:
    return (tokens_in * section.price_in + tokens_out * section.price_out) / 1e6


def _sum_up(answers: Sequence[Answer]) -> Json:
    return {
        "num_refused": sum(one.is_refused for one in answers),
        "num_unreported": sum(not one.tokens_in and not one.is_refused for one in answers),
        "dollars": sum(one.dollars for one in answers),
        "tokens_in": sum(one.tokens_in for one in answers),
        "tokens_out": sum(one.tokens_out for one in answers),
        "served_models": sorted({one.model for one in answers if one.model is not None}),
    }


def _fold(label: str) -> str:
    return re.sub("[ -]", "_", label.casefold())


def _parse_line(line: bytes, where: str) -> Answer:
    try:
        content = json.loads(line)
        return Answer(**{key: content[key] for key in Answer._fields})
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{where} is no answer ({error}); remove the line, its example is asked again"
        ) from error


def _write_line(log: Path, content: Json) -> None:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="ascii") as lines:
            lines.write(json.dumps(content) + "\n")
            lines.flush()
            sync(log)
        sync(log.parent)
    except OSError as error:
        raise StoreError(f"{log} cannot be written: {error}; make room, and run again") from error
