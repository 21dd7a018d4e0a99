"""What the sample dump is made of: its values, the functions that make them, the repeated texts.

A post is given as it stands in `Posts.xml`, after all edits; `first_body` and `first_title` are
what its author wrote first, where that differs. Paragraphs are wrapped to be read here, and stand
on one line in the dump, as real ones do; code (`<pre>`) is left as it is.

The posts themselves are in `corpus.demo_gardens` and `corpus.demo_homelab`; `corpus.demo` writes
them as XML. All people, places and texts are made up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

# Who did something: the id of a user, the name that a deleted user leaves behind, or nobody.
Author = int | str | None


@dataclass(frozen=True, slots=True)
class Comment:
    """One row of `Comments.xml`; its id and post follow from where it stands."""

    at: str
    by: Author
    text: str
    score: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One row of `PostHistory.xml` that is not part of the first revision.

    `text` of an edit is None where the edit made the post what it is today.
    """

    kind: int
    at: str
    by: Author = None
    note: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """One row of `Posts.xml` with its comments and its history."""

    post_id: int
    kind: int
    at: str
    by: Author
    body: str
    score: int = 0
    title: str | None = None
    tags: tuple[str, ...] = ()
    parent: int | None = None
    accepted: int | None = None
    views: int | None = None
    first_body: str | None = None
    first_title: str | None = None
    comments: tuple[Comment, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """One row of `PostLinks.xml`: kind 1 is a plain link, 3 says that `post` is a duplicate."""

    at: str
    post: int
    related: int
    kind: int = 1


@dataclass(frozen=True, slots=True)
class User:
    """One row of `Users.xml`; `private` are attributes that a corpus must not carry on."""

    user_id: int
    at: str
    name: str
    private: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Site:
    """One community and the form in which its dump is written.

    `is_recent`: tags as `|a|b|`, a licence on each row, a licence comment at the head of each
    file, rows not in the order of their ids.
    """

    name: str
    dumped_at: str
    is_recent: bool
    posts: tuple[Post, ...]
    links: tuple[Link, ...]
    users: tuple[User, ...]


def unwrapped(html: str) -> str:
    """Join the lines of each paragraph outside `<pre>`; a line that begins with a tag stays.

    >>> unwrapped("<p>one\\ntwo<br>\\nthree</p>\\n\\n<pre>a\\nb</pre>")
    '<p>one two<br>\\nthree</p>\\n\\n<pre>a\\nb</pre>'
    """
    parts = re.split(r"(<pre.*?</pre>)", html, flags=re.DOTALL)
    prose = [re.sub(r"(?<=[^\n>])\n(?=[^\n<])", " ", part) for part in parts[::2]]
    parts[::2] = prose
    return "".join(parts)


def reworded(text: str, changes: Mapping[str, str]) -> str:
    """Replace each key of `changes`, which stands in `text` exactly once, by its value.

    >>> reworded("a red bed", {"red": "raised"})
    'a raised bed'
    """
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def has_date(at: str) -> bool:
    """Tell whether `at` is a date at all; a row without one can only be rejected.

    >>> has_date("2021-02-28T10:00:00.000"), has_date("2021-02-31T10:00:00.000")
    (True, False)
    """
    try:
        datetime.fromisoformat(at)
    except ValueError:
        return False
    return True


def is_fabricated(post: Post) -> bool:
    """Tell whether a post is one of the made-up ones, as the dump of 2025-06-30 had them."""
    return post.post_id > 1_000_000_000


def closed_at(post: Post) -> str | None:
    """Return when a post was closed, or None if it is open, or open again."""
    changes = [event for event in post.events if event.kind in (10, 11)]
    return changes[-1].at if changes and changes[-1].kind == 10 else None


def question(
    post_id: int,
    at: str,
    by: Author,
    title: str,
    tags: str,
    body: str,
    *,
    score: int,
    views: int,
    accepted: int | None = None,
    first_body: str | None = None,
    first_title: str | None = None,
    comments: Sequence[Comment] = (),
    events: Sequence[Event] = (),
) -> Post:
    """Make a question; `tags` are separated by spaces, `first_body` is Markdown."""
    return Post(
        post_id=post_id,
        kind=1,
        at=at,
        by=by,
        body=unwrapped(body),
        score=score,
        title=title,
        tags=tuple(tags.split()),
        accepted=accepted,
        views=views,
        first_body=first_body,
        first_title=first_title,
        comments=tuple(comments),
        events=tuple(events),
    )


def answer(
    post_id: int,
    at: str,
    by: Author,
    to: int,
    body: str,
    *,
    score: int,
    comments: Sequence[Comment] = (),
    events: Sequence[Event] = (),
) -> Post:
    """Make an answer to the question `to`."""
    return Post(
        post_id=post_id,
        kind=2,
        at=at,
        by=by,
        body=unwrapped(body),
        score=score,
        parent=to,
        comments=tuple(comments),
        events=tuple(events),
    )


def other(post_id: int, kind: int, at: str, by: Author, body: str) -> Post:
    """Make a post that is neither question nor answer: a tag wiki, a nomination, a placeholder."""
    return Post(post_id=post_id, kind=kind, at=at, by=by, body=unwrapped(body))


def comment(at: str, by: Author, text: str, score: int = 0) -> Comment:
    """Make a comment; a line break in `text` is only for the reader of this file."""
    return Comment(at, by, text.replace("\n", " "), score)


def edited(at: str, by: Author, note: str, text: str | None = None) -> Event:
    """Make an edit of the body, to the Markdown `text` or to what the body is today."""
    return Event(5, at, by, note, text)


def retitled(at: str, by: Author, note: str) -> Event:
    """Make an edit of the title, to what it is today."""
    return Event(4, at, by, note)


def suggested(at: str, by: int, approved_by: int) -> Event:
    """Make the row that marks the edit of the same moment as suggested and approved."""
    return Event(24, at, note=f"Proposed by {by} approved by {approved_by} edit id of 1")


def closed(at: str, reason: int, voters: Mapping[int, str], original: int | None = None) -> Event:
    """Make a close event for a reason id (101 and on; before mid-2013: 1 to 20)."""
    originals: dict[str, object] = {} if original is None else {"OriginalQuestionIds": [original]}
    return Event(10, at, -1, str(reason), _json(originals | _voters(voters)))


def reopened(at: str, voters: Mapping[int, str]) -> Event:
    """Make a reopen event."""
    return Event(11, at, -1, text=_json(_voters(voters)))


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _voters(voters: Mapping[int, str]) -> dict[str, object]:
    return {"Voters": [{"Id": user, "DisplayName": name} for user, name in voters.items()]}


def user(user_id: int, at: str, name: str, **private: str) -> User:
    """Make a user; `private` attributes are given under their names in `Users.xml`."""
    return User(user_id, at, name, private)


# A chain of near-duplicates: one answer, given in three threads and touched up each time, so that
# each is close to the one before it (Jaccard about 0.8), but the third not to the first (0.6).
VALVE_TEST = """\
<p>Before you suspect the controller, test each valve by hand. Turn the supply off, open the manual
bleed screw a quarter turn, and let the pressure out of the line. Then unplug the coil and measure
it: a healthy one shows between twenty and sixty ohms, a broken winding shows nothing at all. Put
nine volts across it and listen for the click of the plunger.</p>

<p>If it clicks but water still creeps through, the rubber diaphragm holds a grain of sand. Unscrew
the bonnet, rinse the seat under the tap, and look for scratches while you are there. Close
everything again, pressurise slowly, and wait five minutes with a dry tissue under the outlet. Only
when the tissue stays dry is it time to blame the wiring.</p>
"""
VALVE_TEST_2 = reworded(
    VALVE_TEST, {"quarter turn": "full turn", "nine volts": "twelve volts", "slowly": "gently"}
)
VALVE_TEST_3 = reworded(
    VALVE_TEST_2, {"broken": "burnt", "grain of sand": "grain of rust", "scratches": "cracks"}
)

# A near-duplicate across the two sites: one question, asked here and, a day later, over there.
PUMP_RESET = """\
<p>An ESP32 on my balcony reads a capacitive soil probe every ten minutes and switches a small
12&nbsp;V pump through a relay board. It runs for days, but about one time in five the board drops
off the wireless network at the very moment when the pump starts, and comes back a minute later with
its counters at zero.</p>

<p>The pump, the relay and the board share one supply, rated for three amperes. I have already tried
a thicker cable, another board, and moving the access point next to the plants. The log ends in the
middle of a line, so I believe that the board resets rather than hangs. Do I need a second supply,
or is there something simple to put across the pump?</p>
"""
PUMP_RESET_2 = reworded(PUMP_RESET, {"on my balcony": "in my basement", "for days": "for weeks"})

# A near-duplicate within one site: the same advice by the same author in two threads.
HYSTERESIS = """\
<p>What you see is a controller with a single threshold. As soon as the reading crosses it the
output flips, the reading moves back by a hair, and the output flips again. Give it two thresholds
instead of one: switch on above the upper, switch off below the lower, and in between leave things
as they are. The distance between them should be larger than the noise of the sensor and smaller
than the error you can live with; two degrees is a fair first guess.</p>

<p>In addition, refuse to change state more often than once a minute. Motors wear out by starting,
not by running, and whatever you measure has some mass that takes its time to follow. Write both
numbers into the configuration file, with a comment that says where they came from.</p>
"""
HYSTERESIS_2 = reworded(
    HYSTERESIS, {"Motors wear": "Compressors wear", "two degrees": "one degree"}
)

# An exact duplicate: the same answer, word for word, under two questions.
KEEP_UTC = """\
<p>Keep the clock of every machine, and every timestamp that you store, in UTC, and convert to local
time only where a person reads it. A local clock shows one hour of the autumn night twice and leaves
out one hour in spring, so a daily job between two and three o'clock runs twice or never, and a sum
by local day has 25 or 23 hours in it. No amount of cleverness in the query brings back which of the
two hours a stored row belongs to.</p>

<p>If the schedule has to follow the clock on the wall, choose a time outside the small hours.</p>
"""
