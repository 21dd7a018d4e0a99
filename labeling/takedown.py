"""What a takedown does to the benchmarks of a store, and to what people said of them.

    from a corpus        built again from the corpus as it is now
    from published files, or from judgements   looked through; with a hit the build is taken away,
                         as what it was read from is not in the store; of obsoletion its items stay
    annotation stores    without the items, evidence and notes that are gone
                         (`labeling.annotation_removal`); so are the logs of judges beside them

A benchmark that cannot be built any more (too little is left, or its proof fails) is taken away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from corpus.errors import BadValue, LeakageFound
from corpus.manifest import Json
from corpus.searcher import Searcher
from corpus.store import Artifact
from corpus.takedown import Change, forget_run
from labeling.annotating import database_path
from labeling.annotation_removal import clean_annotations, clean_log, read_digests
from labeling.build import run_line
from labeling.items import ITEMS
from labeling.recipe import BenchmarkRecipe, read_stored_recipe

Run = dict[str, Artifact]


class Rebuilt(NamedTuple):
    """A benchmark as it is now; None: it is taken away. And what there is to say of it."""

    run: Run | None
    notes: list[str]


def rebuild_benchmarks(change: Change) -> list[str]:
    """Bring benchmarks and annotation stores up to date with a removal; return notes.

    Annotation stores come before the name of their benchmark, so that a removal that was killed
    finds them again.
    """
    notes = []
    names = [name for name in change.store.run_names() if name not in change.before]
    for name in names:
        before = change.store.read_run(name)
        rebuilt = _rebuild(name, before, change)
        notes += rebuilt.notes
        notes += _clean(name, before, rebuilt.run, change)
        if rebuilt.run is None:
            forget_run(change.store, name)
        else:
            change.store.write_run(name, rebuilt.run)
    folder = database_path(change.store, "x").parent
    for path in sorted(folder.glob("*.sqlite")):
        if path.stem not in names:
            notes += _clean(path.stem, {}, None, change)
    return notes


def _rebuild(name: str, run: Run, change: Change) -> Rebuilt:
    is_judged = "items" in run and "examples" in run
    if "labels" in run or ("items" in run and not is_judged):
        return _build_again(name, run, change)
    found = change.search([artifact.folder for artifact in run.values()])
    if not any(found["hits"].values()):
        return Rebuilt(run, [])
    if is_judged:
        again = _build_again(name, run, change)
        how = f"export its judgements and build it with them: sobert labeling export {name}"
        return Rebuilt(again.run, [*again.notes, f"{name} is without its judgements now; {how}"])
    return Rebuilt(None, [f"{name} is taken away; build it again from its published files"])


def _build_again(name: str, run: Run, change: Change) -> Rebuilt:
    """Build a benchmark from its corpus as it is now; of obsoletion as far as its items."""
    corpus = _corpus_of(run, change)
    if corpus is None:
        return Rebuilt(
            None, [f"{name} is taken away: its corpus is not in the store; build it anew"]
        )
    recipe = _recipe_of(name, run, corpus)
    at = (change.store, change.engine, change.reporter)
    try:
        return Rebuilt(run_line(recipe, dict(change.after[corpus]), (), *at), [])
    except (BadValue, LeakageFound) as error:
        return Rebuilt(None, [f"{name} is taken away, as it cannot be built again: {error}"])


def _recipe_of(name: str, run: Run, corpus: str) -> BenchmarkRecipe:
    if "release" in run:
        return read_stored_recipe(run["release"].manifest.recipe)
    # Nothing but the drawing is part of items, so the card need say nothing.
    drawn = {**run["candidates"].manifest.recipe, **run["items"].manifest.recipe}
    content = {
        "card": {"name": name, "title": name, "summary": ""},
        "benchmark": {"corpus": corpus},
        "obsoletion": {key: value for key, value in drawn.items() if key != "functions"},
    }
    return read_stored_recipe(content)


def _corpus_of(run: Run, change: Change) -> str | None:
    """Return the corpus that a benchmark is part of: by its recipe, or by what it was read from."""
    if "release" in run:
        name = run["release"].manifest.recipe["benchmark"]["corpus"]
        return name if name in change.after else None
    posts = run["candidates"].manifest.inputs["posts"]
    for name in sorted(change.after):
        if posts in (
            change.before[name]["posts"].manifest.id,
            change.after[name]["posts"].manifest.id,
        ):
            return name
    return None


def _clean(name: str, before: Run, after: Run | None, change: Change) -> list[str]:
    path = database_path(change.store, name)
    if not path.is_file():
        return []
    digests = read_digests(path)
    items = _items_of(after) if after and "items" in after else None
    known = {one["item_id"] for one in _items_of(before)} if "items" in before else set()
    now = {one["item_id"] for one in items or ()}
    # A store made of other items is nobody's: what is in it goes by what it says.
    if items is not None and set(digests) not in (known, now):
        items = None
    searcher = Searcher(change.sought)
    at = f"{change.date}T00:00:00.000000+00:00"
    removed = clean_annotations(path, items, lambda text: _is_hit(searcher, text), at)
    log = path.with_suffix(".judge.jsonl")
    num_lines = clean_log(log, items or [], digests) if log.is_file() else 0
    if not any(removed) and not num_lines:
        return []
    return [
        f"annotations of {name}: {removed.items} items and {removed.judgements} judgements are "
        f"gone, {removed.items_changed} items are shown otherwise, {removed.drafts_changed} "
        f"judgements lost evidence or a note, the judge's log {num_lines} lines"
    ]


def _is_hit(searcher: Searcher, text: str) -> bool:
    return bool(searcher.search(f" {text}", None))


def _items_of(run: Run) -> Sequence[Json]:
    lines = run["items"].path(ITEMS).read_text("ascii").splitlines()
    return [json.loads(line) for line in lines]
