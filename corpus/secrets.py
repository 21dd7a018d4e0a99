"""Personal data and secrets in a text: where they are, and what stands in their place.

A finding is replaced by its kind and a number, `[email-1]`: the same secret has the same number in
all of a document, two secrets have two, so who wrote to whom can still be read. Numbers go by first
occurrence, from 1, and leave out those that the text already has as its author's own words. Nothing
in a replacement follows from the secret, so none can be had back from it, and none can be compared
across documents.

`corpus.addresses` and `corpus.credentials` hold the rules, `corpus.placeholders` what is no secret.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.addresses import ADDRESS_RULES
from corpus.credentials import CREDENTIAL_RULES
from corpus.recipe import SECRET_KINDS, SecretKind
from corpus.rules import Rule

# Of two findings that overlap, that of the rule that comes first is kept.
RULES: tuple[Rule, ...] = (*CREDENTIAL_RULES, *ADDRESS_RULES)


class Finding(NamedTuple):
    """A stretch of a text that holds a secret; bounds in code points."""

    start: int
    end: int
    kind: SecretKind


class Replaced(NamedTuple):
    """A secret's bounds in the text as it was, its kind, and the bounds of what stands there."""

    start: int
    end: int
    kind: SecretKind
    new_start: int
    new_end: int


def rules_of(kinds: Collection[SecretKind]) -> tuple[Rule, ...]:
    """Return the rules that find secrets of these kinds, in order."""
    return tuple(rule for rule in RULES if rule.kind in kinds)


def find_secrets(text: str, rules: Iterable[Rule] = RULES) -> list[Finding]:
    """Find personal data and secrets in one text.

    Args:
        text: of any length; time is linear in it.
        rules: those to go by, the ones to prefer first.

    Returns:
        Findings that do not overlap, by start.

    >>> text = "Mail jo@mozilla.org, not me@example.com; v1.2.3.4 runs on 93.184.215.14"
    >>> [(one.kind, text[one.start : one.end]) for one in find_secrets(text)]
    [('email', 'jo@mozilla.org'), ('ipv4', '93.184.215.14')]
    """
    kept: list[Finding] = []
    for rule in rules:
        for found in rule.pattern.finditer(text):
            start = found.start("secret")
            end = start + len(found["secret"].rstrip())
            place = bisect_left(kept, (start,))
            is_free = (place == 0 or kept[place - 1].end <= start) and (
                place == len(kept) or end <= kept[place].start
            )
            if is_free and rule.accepts(found):
                kept.insert(place, Finding(start, end, rule.kind))
    return kept


class Numbering:
    """The replacements of one document, in order of first occurrence.

    >>> numbering = Numbering(["write to [email-1]"])
    >>> [numbering.replacement("email", one) for one in ("a@b.org", "c@d.org", "a@b.org")]
    ['[email-2]', '[email-3]', '[email-2]']
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Begin a document; no replacement is one that its texts already hold."""
        self._texts = texts
        self._replacements: dict[tuple[SecretKind, str], str] = {}
        self._numbers = dict.fromkeys(SECRET_KINDS, 0)

    def replacement(self, kind: SecretKind, secret: str) -> str:
        """Return what stands for a secret."""
        if (kind, secret) not in self._replacements:
            self._replacements[kind, secret] = next(self._iter_unused(kind))
        return self._replacements[kind, secret]

    def _iter_unused(self, kind: SecretKind) -> Iterator[str]:
        while True:
            self._numbers[kind] += 1
            name = f"[{kind}-{self._numbers[kind]}]"
            if not any(name in text for text in self._texts):
                yield name


def match_hints(texts: pa.Array | pa.ChunkedArray, rules: Sequence[Rule]) -> dict[int, list[Rule]]:
    """Say which rules may find something in which text, at 60 MB a second for all.

    Returns:
        By place of a text, ascending, the rules whose hint it has; texts without any are left out.
    """
    if not rules:
        return {}
    hints = dict.fromkeys(rule.hint for rule in rules)
    every = "|".join(f"(?:{hint})" for hint in hints)
    places = np.flatnonzero(pc.match_substring_regex(texts, every))
    some = texts.take(pa.array(places))
    by_place: dict[int, list[Rule]] = {place: [] for place in places.tolist()}
    for rule in rules:
        for place in places[np.flatnonzero(pc.match_substring_regex(some, rule.hint))].tolist():
            by_place[place].append(rule)
    return by_place


def replace_findings(
    text: str, findings: Iterable[Finding], numbering: Numbering
) -> tuple[str, list[Replaced]]:
    """Return a text with its findings replaced, and where that was done."""
    parts: list[str] = []
    replaced: list[Replaced] = []
    at = length = 0
    for start, end, kind in findings:
        new = numbering.replacement(kind, text[start:end])
        new_start = length + start - at
        parts += (text[at:start], new)
        at, length = end, new_start + len(new)
        replaced.append(Replaced(start, end, kind, new_start, length))
    return "".join([*parts, text[at:]]), replaced


def scrub_texts(texts: Sequence[str], kinds: Collection[SecretKind] = SECRET_KINDS) -> list[str]:
    """Return texts with personal data and secrets replaced, each by itself.

    >>> scrub_texts(["amqp://app:S3creepy@mq.acme.io", "ask jo@mozilla.org or al@mozilla.org"])
    ['amqp://app:[url_password-1]@mq.acme.io', 'ask [email-1] or [email-2]']
    """
    scrubbed = list(texts)
    for place, rules in match_hints(pa.array(texts, pa.large_string()), rules_of(kinds)).items():
        text = texts[place]
        findings = find_secrets(text, rules)
        scrubbed[place], _ = replace_findings(text, findings, Numbering([text]))
    return scrubbed


def scrub_text(text: str) -> str:
    """Return one text with personal data and secrets replaced.

    >>> scrub_text("-----BEGIN PRIVATE KEY----- is how it begins; mine is on 93.184.215.14")
    '-----BEGIN PRIVATE KEY----- is how it begins; mine is on [ipv4-1]'
    """
    return scrub_texts([text])[0]
