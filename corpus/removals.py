"""The record of a store: which posts, comments and people were taken down, when and why.

    store/removals.json            {"removals": [{kind, site, id, reason, date, with}], "windows"}
                                   by kind, site, id; and the SHA-256 that the file beside has
    store/removals-<16 hex>.npy    uint64, ascending: digests of 50-character windows of the texts
                                   that went (`corpus.quotes`); no text

`with` is null for what was asked for; else the name of what it goes with: a question's answers, a
person's posts and comments. These are recorded too, as a later dump may no longer say whose they
were. Every build reads the record (`corpus.ingest`), which only ever grows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corpus.durable import sync, write_json
from corpus.errors import BadValue, IntegrityError
from corpus.manifest import Json, digest_json
from corpus.recipe import Recipe

RECORD, WINDOWS = "removals.json", "removals-*.npy"
KINDS = ("post", "comment", "user")
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)/([1-9][0-9]{0,17})")

Array = np.ndarray[Any, Any]


class Name(NamedTuple):
    """What can be taken down: a post, a comment or a user of a site."""

    kind: str
    site: str
    id: int

    def __str__(self) -> str:
        return f"{self.kind} {self.site}/{self.id}"


@dataclass(frozen=True, slots=True)
class Removal:
    """One entry of the record; `goes_with` names what it was taken along with, as `Name` writes."""

    name: Name
    reason: str
    date: str
    goes_with: str | None = None


class Record(NamedTuple):
    """What was taken down in a store, by name; and the windows of its texts, uint64, ascending."""

    removals: tuple[Removal, ...] = ()
    windows: Array = np.empty(0, np.uint64)

    def names(self) -> set[Name]:
        """Return everything that is taken down."""
        return {removal.name for removal in self.removals}

    def ids(self, kind: str, site: str) -> Array:
        """Return the ids of a kind that are taken down on a site: int64, ascending."""
        ids = [one.name.id for one in self.removals if one.name[:2] == (kind, site)]
        return np.array(sorted(ids), np.int64)

    def sites(self) -> list[str]:
        """List the sites that something was taken down on, sorted."""
        return sorted({removal.name.site for removal in self.removals})

    def section(self) -> Json:
        """Return what is part of the identity of a build: {} where nothing was taken down.

        Digests, as a manifest is searched for the ids like any other file. Removals of other sites
        count: their texts may be quoted, and linked to, on any site.
        """
        if not self.removals:
            return {}
        names = digest_json({"names": sorted(self.names())})
        return {"removals": names, "windows": _digest_windows(self.windows)}


def parse_name(kind: str, text: str) -> Name:
    """Parse `site/id`.

    Raises:
        BadValue: it is not of that form.

    >>> parse_name("post", "x.org/12")
    Name(kind='post', site='x.org', id=12)
    """
    match = _NAME.fullmatch(text)
    if not match:
        raise BadValue(f"--{kind} is {text!r}; it must be written <site>/<id>, as x.org/12")
    return Name(kind, match[1], int(match[2]))


def read_list(path: Path) -> list[Name]:
    """Read a list of names: `post site/id`, `comment site/id` or `user site/id` a line.

    Empty lines, and what follows `#`, are remarks.

    Raises:
        BadValue: the file cannot be read, or a line is none; names the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(f"--file {path} cannot be read: {error}") from error
    names = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in KINDS or not _NAME.fullmatch(words[1]):
            raise BadValue(
                f"{path}, line {number}: {line.strip()[:80]!r} must be written "
                "`post <site>/<id>`, or with comment or user"
            )
        names.append(parse_name(words[0], words[1]))
    return names


def read_record(store: Path) -> Record:
    """Read the record of a store; an empty one where there is none.

    Raises:
        IntegrityError: a file of it is missing or was changed: nothing may be built then.
    """
    path = store / RECORD
    if not path.exists():
        return Record()
    try:
        content = json.loads(path.read_bytes())
        removals = tuple(_from_json(entry) for entry in content["removals"])
        windows = np.load(_windows_path(store, content["windows"]))
        is_whole = content["windows"] == _digest_windows(windows)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(store, repr(error)) from error
    if not is_whole:
        raise _damaged(store, "its windows were changed")
    return Record(removals, windows)


def write_record(store: Path, record: Record) -> None:
    """Write the record so that it is there whole, or as it was before."""
    digest = _digest_windows(record.windows)
    path = _windows_path(store, digest)
    with path.open("wb") as file:
        np.save(file, record.windows)
    sync(path)
    removals = [_to_json(removal) for removal in record.removals]
    write_json(store / RECORD, {"removals": removals, "windows": digest})
    for other in sorted(store.glob(WINDOWS)):
        if other != path:
            other.unlink()


def add_removals(record: Record, removals: Iterable[Removal], windows: Array) -> Record:
    """Return the record with more in it; what is there already stays as it was recorded.

    >>> one = Removal(Name("post", "x.org", 1), "asked", "2026-01-02")
    >>> record = add_removals(Record(), [one, one], np.array([7], np.uint64))
    >>> add_removals(record, [one], record.windows).removals == (one,)
    True
    """
    by_name = {removal.name: removal for removal in [*removals][::-1]}
    by_name |= {removal.name: removal for removal in record.removals}
    together = np.unique(np.concatenate([record.windows, windows.astype(np.uint64)]))
    return Record(tuple(by_name[name] for name in sorted(by_name)), together)


def check_request(reason: str, day: str) -> None:
    """Raise BadValue unless there is a reason, and a date as 2026-01-31."""
    if not reason.strip():
        raise BadValue("--reason is empty; say why it is taken down")
    try:
        is_date = date.fromisoformat(day).isoformat() == day
    except ValueError:
        is_date = False
    if not is_date:
        raise BadValue(f"--date is {day!r}; it must be written as 2026-01-31")


def drop_held_out(recipe: Recipe, record: Record) -> Recipe:
    """Return a recipe whose `splits.hold_out` names no thread that was taken down."""
    gone = {f"{name.site}/{name.id}" for name in record.names() if name.kind == "post"}
    if gone.isdisjoint(recipe.splits.hold_out):
        return recipe
    kept = [thread for thread in recipe.splits.hold_out if thread not in gone]
    splits = recipe.splits.model_copy(update={"hold_out": kept})
    return recipe.model_copy(update={"splits": splits})


def _digest_windows(windows: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(windows, "<u8").tobytes()).hexdigest()


def _windows_path(store: Path, digest: str) -> Path:
    return store / WINDOWS.replace("*", digest[:16])


def _to_json(removal: Removal) -> Json:
    said = {"reason": removal.reason, "date": removal.date, "with": removal.goes_with}
    return {**removal.name._asdict(), **said}


def _from_json(entry: Json) -> Removal:
    name = Name(str(entry["kind"]), str(entry["site"]), int(entry["id"]))
    return Removal(name, entry["reason"], entry["date"], entry["with"])


def _damaged(store: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"the record {store / RECORD} is damaged ({what}); bring it, and the file of "
        "windows beside it, back from a backup: without it what was taken down would come back"
    )
