"""Write the paper dump: one invented site of 600 questions, so large that models can be compared.

`make paper` builds its corpus and its benchmarks from this dump. All of it is made by code from
sentences with slots (`corpus.demo_paper_texts`). A question is of a kind, which decides its fate:

    good        says what was tried and measured            score of 30 or more, never edited
    plain       a question like most                        a few votes
    vague       says that something is wrong, not what      voted down, edited twice by others; one
                                                            of five is closed as unclear
    opinion, broad, off_topic, repeat                       closed, each for its reason

One question of ten has the fate of another kind. Kinds differ in what is said alone: paragraphs,
code and length are drawn alike. An answer is out of date where it relies on a call that its library
has dropped; others name such a call to warn of it, and comments that say so are on some of both.

Each draw is a digest of a name, so that bytes depend neither on an order nor on a version of a
generator of random numbers. The form of the tables is that of `corpus.demo`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from corpus.demo import write_site
from corpus.demo_paper_texts import (
    ANSWER_COMMENTS,
    ANSWER_ENDINGS,
    CLOSINGS_BY_KIND,
    DATED,
    FALSE_ALARMS,
    LIBRARIES,
    OPENINGS,
    QUESTION_COMMENTS,
    SENTENCES_BY_KIND,
    SOUND,
    TITLES_BY_KIND,
    WARNINGS,
    WORDS,
)
from corpus.demo_posts import (
    Comment,
    Event,
    Link,
    Post,
    Site,
    User,
    answer,
    closed,
    comment,
    edited,
    question,
    user,
)

PAPER_SITE = "workshop.example.org"
NUM_QUESTIONS = 600
NUM_USERS = 60
# By how often they are drawn.
KINDS = (
    *(("good",) * 5 + ("plain",) * 4 + ("vague",) * 5),
    *(("opinion", "broad", "off_topic") * 2 + ("repeat",)),
)
REASON_BY_FATE = {"repeat": 101, "off_topic": 102, "unclear": 103, "broad": 104, "opinion": 105}
SCORES_BY_FATE = {"good": range(30, 90), "plain": range(1, 12), "vague": range(-6, 0)}
# The id of a post is the hour in which it was written, so that ids rise with dates. A question
# comes with the first hour of a window of its own, its answer after ANSWER_HOUR of it; a late
# answer, LATE_WINDOWS on (400 days), has the LATE_HOUR of another's window.
START, DUMPED_AT = datetime(2012, 1, 2, 7), datetime(2024, 3, 31)
WINDOW_HOURS, LATE_HOUR, ANSWER_HOUR, LATE_WINDOWS = 160, 3, 8, 60

Option = TypeVar("Option")
Slots = Mapping[str, str]


def write_paper_dump(folder: Path) -> None:
    """Write the paper dump, one folder for its site, into `folder`.

    Args:
        folder: made if it is not there; files of the same names are overwritten.
    """
    write_site(folder / PAPER_SITE, make_paper_site())


def make_paper_site() -> Site:
    """Make the site: posts thread by thread, links of one question in seven, and users."""
    numbers = range(1, NUM_QUESTIONS + 1)
    return Site(
        name=PAPER_SITE,
        dumped_at=_format_time(DUMPED_AT),
        is_recent=True,
        posts=tuple(post for number in numbers for post in _make_thread(number)),
        links=tuple(link for number in numbers for link in _make_links(number)),
        users=tuple(_make_user(number) for number in range(1, NUM_USERS + 1)),
    )


def label_answers() -> dict[str, bool]:
    """Return by item id, `<site>/<post_id>`, whether the answer was made to be out of date.

    >>> labels = label_answers()
    >>> len(labels) > sum(labels.values()) > 100
    True
    """
    answers = (post for post in make_paper_site().posts if post.kind == 2)
    return {f"{PAPER_SITE}/{post.post_id}": is_out_of_date(post.post_id) for post in answers}


def is_out_of_date(post_id: int) -> bool:
    """Tell whether the answer of this id relies on a dropped call, as every other one does.

    >>> is_out_of_date(1_150), is_out_of_date(1_151)
    (False, True)
    """
    return pick(f"{post_id} is out of date", (True, False))


def pick(name: str, options: Sequence[Option]) -> Option:
    """Return the option that the digest of a name points at.

    >>> pick("a", "xyz") == pick("a", "xyz"), {pick(str(n), "xyz") for n in range(20)} == {*"xyz"}
    (True, True)
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return options[int.from_bytes(digest, "big") % len(options)]


def fill(name: str, templates: Sequence[str], slots: Slots) -> str:
    """Draw a template and fill its slots: with what is given, or with words drawn for each place.

    >>> fill("x", ["a {machine}, {number} mm"], {"machine": "lathe", "number": "7"})
    'a lathe, 7 mm'
    """
    template = pick(name, templates)

    def fill_slot(match: re.Match[str]) -> str:
        return slots.get(match[1]) or pick(f"{name} {match.start()}", WORDS[match[1]])

    return re.sub(r"\{(\w+)\}", fill_slot, template)


# Questions -----------------------------------------------------------------------------------


def kind_of(number: int) -> str:
    """Return the kind of a question, which its text is of; questions are numbered from 1."""
    return pick(f"{number} kind", KINDS)


def fate_of(number: int) -> str:
    """Return what became of a question: a key of SCORES_BY_FATE or of REASON_BY_FATE."""
    has_chance = pick(f"{number} has chance", range(10)) == 0
    fate = pick(f"{number} chance", KINDS) if has_chance else kind_of(number)
    is_closed = pick(f"{number} is unclear", range(5)) == 0
    return "unclear" if fate == "vague" and is_closed else fate


def _make_thread(number: int) -> Iterator[Post]:
    """Make a question, and its answers: for one of three that have any a second, late one."""
    question_id, fate = number * WINDOW_HOURS, fate_of(number)
    slots = _slots(number)
    hour = pick(f"{number} hour", range(ANSWER_HOUR, WINDOW_HOURS))
    # Five of six open questions are answered, and two of six closed ones.
    is_answered = pick(f"{number} answered", range(6)) < (2 if fate in REASON_BY_FATE else 5)
    answer_ids = [question_id + hour] if is_answered else []
    if is_answered and pick(f"{number} late", range(3)) == 0:
        answer_ids.append(question_id + LATE_WINDOWS * WINDOW_HOURS + LATE_HOUR)
    yield _make_question(number, fate, slots, answer_ids[-1] if answer_ids else None)
    yield from (_make_answer(post_id, question_id, slots) for post_id in answer_ids)


def _slots(number: int) -> Slots:
    names = sorted(LIBRARIES)
    library = pick(f"{number} library", names)
    old, new = (pick(f"{number} call", calls) for calls in LIBRARIES[library])
    other = pick(f"{number} other", [name for name in names if name != library])
    machine = pick(f"{number} machine", WORDS["machine"])
    return {"library": library, "other": other, "machine": machine, "old": old, "new": new}


def _make_question(number: int, fate: str, slots: Slots, accepted: int | None) -> Post:
    name, hour, kind = f"question {number}", number * WINDOW_HOURS, kind_of(number)
    blocks = [*_blocks(name, kind, slots), fill(f"{name} end", CLOSINGS_BY_KIND[kind], slots)]
    today, events = blocks, [_closing(number, fate)] if fate in REASON_BY_FATE else []
    if fate == "vague":
        between = [*blocks, fill(f"{name} second", SENTENCES_BY_KIND["good"], slots)]
        today = [*between, fill(f"{name} third", SENTENCES_BY_KIND["good"], slots)]
        others = [user_id for user_id in range(1, NUM_USERS + 1) if user_id != _user(name)]
        first, second = pick(f"{name} editor", others), pick(f"{name} helper", others)
        events = [
            edited(_at(hour + 5), first, "added from the comments", _markdown(between)),
            edited(_at(hour + 30), second, "added from the comments"),
        ]
    return question(
        hour,
        _at(hour),
        _user(name),
        fill(f"{name} title", TITLES_BY_KIND[kind], slots).replace("`", ""),
        f"{slots['library']} {pick(f'{name} tag', WORDS['tag'])}",
        _html(today),
        score=pick(f"{name} score", SCORES_BY_FATE.get(fate, range(-4, 3))),
        views=pick(f"{name} views", range(40, 9_000)),
        accepted=accepted,
        first_body=_markdown(blocks),
        comments=[_comment(f"{name} comment", hour + 2, QUESTION_COMMENTS, slots)],
        events=events,
    )


def _blocks(name: str, kind: str, slots: Slots) -> list[str]:
    """Draw two paragraphs, and for half of the questions code between them, as Markdown."""
    texts = SENTENCES_BY_KIND[kind]
    start = pick(f"{name} start", range(len(texts)))
    drawn = [
        fill(f"{name} {place}", [texts[(start + place) % len(texts)]], slots) for place in range(4)
    ]
    first = [fill(f"{name} opening", OPENINGS, slots), *drawn[:2]]
    lines = f"    job = {slots['library']}.connect()\n    job.limit = {{number}}"
    code = [fill(f"{name} code", [lines], slots)] if pick(f"{name} has code", range(2)) else []
    return [" ".join(first), *code, " ".join(drawn[2:])]


def _closing(number: int, fate: str) -> Event:
    first = pick(f"{number} voter", range(1, NUM_USERS - 1))
    voters = {voter: f"maker{voter}" for voter in range(first, first + 3)}
    original = _original(number) if fate == "repeat" else None
    at = number * WINDOW_HOURS + pick(f"{number} closed", range(1, 100))
    return closed(_at(at), REASON_BY_FATE[fate], voters, original)


def _make_links(number: int) -> Iterator[Link]:
    """Link one that repeats another to it as a duplicate, and one of seven to another plainly."""
    hour = number * WINDOW_HOURS
    if fate_of(number) == "repeat":
        yield Link(_at(hour + 100), hour, _original(number), 3)
    elif number > 7 and number % 7 == 0:
        yield Link(_at(hour + 4), hour, hour - 7 * WINDOW_HOURS)


def _original(number: int) -> int:
    """Return the id of the question that another one repeats: an older one, if there is any."""
    return pick(f"{number} original", range(1, number) or [2]) * WINDOW_HOURS


# Answers, people, form -----------------------------------------------------------------------


def _make_answer(post_id: int, question_id: int, slots: Slots) -> Post:
    name, is_dated = f"answer {post_id}", is_out_of_date(post_id)
    texts = [fill(f"{name} way", DATED if is_dated else SOUND, slots)]
    texts += [fill(f"{name} end {n}", ANSWER_ENDINGS[n::2], slots) for n in range(2)]
    comments = [_comment(f"{name} thanks", post_id + 20, ANSWER_COMMENTS, slots)]
    # Of those out of date two of three are called so; of the others one of six is, by mistake.
    if pick(f"{name} alarm", range(6)) < (4 if is_dated else 1):
        alarms, day = WARNINGS if is_dated else FALSE_ALARMS, pick(f"{name} day", range(30, 65))
        comments.append(_comment(f"{name} says", post_id + 24 * day, alarms, slots))
    return answer(
        post_id,
        _at(post_id),
        _user(name),
        question_id,
        _html([" ".join(texts)]),
        score=pick(f"{name} score", range(9)),
        comments=comments,
    )


def _comment(name: str, hour: int, templates: Sequence[str], slots: Slots) -> Comment:
    return comment(_at(hour), _user(name), fill(name, templates, slots))


def _user(name: str) -> int:
    return pick(f"{name} user", range(1, NUM_USERS + 1))


def _make_user(number: int) -> User:
    return user(number, _at(-number), f"maker{number}")


def _at(hour: int) -> str:
    return _format_time(START + timedelta(hours=hour, minutes=hour * 7 % 60, seconds=hour % 60))


def _format_time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _markdown(blocks: Sequence[str]) -> str:
    return "\n\n".join(blocks)


def _html(blocks: Sequence[str]) -> str:
    """Render blocks as the site does: code that is indented, paragraphs with code in backticks."""
    return "".join(f"{_block_html(block)}\n" for block in blocks)


def _block_html(block: str) -> str:
    if block.startswith("    "):
        lines = "\n".join(line[4:] for line in block.split("\n"))
        return f"<pre><code>{lines}\n</code></pre>"
    return "<p>" + re.sub(r"`([^`]*)`", r"<code>\1</code>", block) + "</p>"
