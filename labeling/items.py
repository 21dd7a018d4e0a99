"""Items of the obsoletion benchmark: what is drawn of the candidates, for people to judge. Writes:

    items.jsonl       one JSON object (ASCII) a line, by item_id: item_id "<site>/<post_id>",
                      content and hidden, as `labeling.contents` makes them
    lf_report.json    coverage, overlap and conflict of the labelling functions, over all answers
    population.json   how many answers each stratum has, how many were drawn, and what is left out

The draw is over all sites; an item's probability is that of its stratum.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.attribution import UserNames
from corpus.durable import write_json
from corpus.engine import Engine
from corpus.manifest import FileEntry, Flow, Json, Outcome, merge_outcomes
from corpus.posts import load_user_names
from corpus.progress import Reporter
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, read_table
from labeling.contents import make_items, read_threads
from labeling.mining import SITES, build_candidates, obsoletion_section
from labeling.partitions import Partition
from labeling.recipe import BenchmarkRecipe, ObsoletionSection
from labeling.sampling import draw
from labeling.weak import NAMES, analyse_patterns, count_patterns

# The two stages before people are asked.
__all__ = ["build_candidates", "build_items"]

VERSION = 1
ITEMS, LF_REPORT, POPULATION = "items.jsonl", "lf_report.json", "population.json"

Array = np.ndarray[Any, Any]


class Drawing(NamedTuple):
    """The work of one task that draws from a partition."""

    candidates: Path
    site: str
    name: str
    section: ObsoletionSection


class Showing(NamedTuple):
    """The work of one task of items: the post ids that were drawn, and how probable each was."""

    partition: Partition
    candidates: Path
    dump_at: datetime
    post_ids: list[int]
    probabilities: list[float]


def build_items(
    candidates: Artifact,
    posts: Artifact,
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Draw the answers that are judged, by stratum over all sites, and write what is shown."""
    section = obsoletion_section(recipe)

    def make(work: Work) -> Outcome:
        names = [
            entry.name.removeprefix("candidates/") for entry in candidates.files("candidates/")
        ]
        drawings = [
            Drawing(candidates.folder, site, name, section)
            for site, name in (one.split("/") for one in names)
        ]
        tasks = [Task(f"draw/{one.site}/{one.name}", one) for one in drawings]
        outcomes = work.map(_draw_partition, tasks)
        parts = [_read_json(work.folder / outcome.files[0].name) for outcome in outcomes]
        chosen, population = _draw_from_parts(parts, section)
        showings = _plan_showings(candidates, posts, parts, chosen)
        tasks = [Task(f"show/{one.partition.path}", one) for one in showings]
        shown = work.map(_show_partition, tasks)
        files = [_write_items(work.folder, shown)]
        num_in, num_items = sum(population["sizes"].values()), files[0].num_rows
        rejected = {"not_drawn": num_in - len(chosen), "empty": len(chosen) - num_items}
        flow = Flow(num_in, num_items, rejected)
        summary = _summarise(population, candidates, section, num_items)
        for name, content in ((LF_REPORT, _report(parts)), (POPULATION, summary)):
            write_json(work.folder / name, content)
            files.append(describe_file(work.folder / name, name))
        return Outcome(tuple(files), {"answers": flow}, merge_outcomes(shown).figures)

    inputs = {"candidates": candidates, "posts": posts}
    asked = section.model_dump(mode="json", include={"per_stratum", "seed"})
    return store.build("items", VERSION, asked, inputs, make, engine, reporter)


def _draw_partition(folder: Path, drawing: Drawing) -> Outcome:
    """Write what a partition can contribute: its least digests, its sizes, its votes."""
    path = drawing.candidates / "candidates" / drawing.site / drawing.name
    table = read_table(path, ["post_id", "stratum", "votes"])
    ids = [f"{drawing.site}/{post_id}" for post_id in table["post_id"].to_pylist()]
    strata = table["stratum"].to_pylist()
    drawn = draw(strata, drawing.section.seed, drawing.section.per_stratum, ids)
    votes = np.array(table["votes"].to_pylist(), "i1").reshape(len(table), len(NAMES))
    patterns = count_patterns(votes)
    name = f"draws/{drawing.site}/{drawing.name}.json"
    content = {
        "site": drawing.site,
        "name": drawing.name,
        "ids": [ids[place] for place in drawn.places],
        "strata": [strata[place] for place in drawn.places],
        "sizes": drawn.population_sizes,
        "votes": patterns.votes.tolist(),
        "counts": patterns.counts.tolist(),
    }
    write_json(folder / name, content)
    return Outcome((describe_file(folder / name, name),))


def _draw_from_parts(
    parts: Sequence[Json], section: ObsoletionSection
) -> tuple[dict[str, float], Json]:
    """Return the ids that are drawn and how probable each was; and the population by stratum."""
    ids = [one for part in parts for one in part["ids"]]
    strata = [one for part in parts for one in part["strata"]]
    sizes, by_site = Counter[str](), dict[str, Counter[str]]()
    for part in parts:
        sizes.update(part["sizes"])
        by_site.setdefault(part["site"], Counter()).update(part["sizes"])
    drawn = draw(strata, section.seed, section.per_stratum, ids, sizes)
    chosen = {
        ids[place]: float(probability)
        for place, probability in zip(drawn.places, drawn.probabilities, strict=True)
    }
    taken = Counter(strata[place] for place in drawn.places)
    return chosen, {"sizes": drawn.population_sizes, "drawn": taken, "sites": by_site}


def _plan_showings(
    candidates: Artifact, posts: Artifact, parts: Sequence[Json], chosen: dict[str, float]
) -> list[Showing]:
    """Return a task for each partition that something was drawn from."""
    times = _read_json(candidates.path(SITES))
    showings = []
    for part in parts:
        # In the order of the candidates, as they were drawn.
        if ids := [one for one in part["ids"] if one in chosen]:
            partition = Partition(posts.folder, part["site"], part["name"])
            path = candidates.path(f"candidates/{partition.path}")
            dump_at = datetime.fromisoformat(times[partition.site])
            post_ids = [int(one.rpartition("/")[2]) for one in ids]
            probabilities = [chosen[one] for one in ids]
            showings.append(Showing(partition, path, dump_at, post_ids, probabilities))
    return showings


def _show_partition(folder: Path, showing: Showing) -> Outcome:
    """Write the items of one partition, by post id."""
    partition = showing.partition
    table = read_table(showing.candidates)
    table = table.filter(pc.is_in(table["post_id"], pa.array(showing.post_ids, pa.int64())))
    votes = [dict(zip(NAMES, row, strict=True)) for row in table["votes"].to_pylist()]
    table = table.drop_columns("votes").append_column("votes", pa.array(votes))
    probabilities = pa.array(showing.probabilities, pa.float64())
    table = table.append_column("inclusion_probability", probabilities)
    tables = {name: partition.read(name) for name in ("Posts", "Comments", "PostHistory")}
    users = UserNames(*load_user_names(partition.posts, partition.site))
    thread_ids = pc.unique(table["thread_id"])
    thread = read_threads(partition.site, showing.dump_at, tables, thread_ids, users)
    items = list(make_items(table, tables["PostHistory"], thread))
    name = f"parts/{partition.path}.jsonl"
    entry = _write_lines(folder, name, [json.dumps(item, allow_nan=False) for item in items])
    strata = Counter(item["hidden"]["stratum"] for item in items)
    return Outcome((entry,), {}, {f"items_{stratum}": num for stratum, num in strata.items()})


def _write_items(folder: Path, shown: Sequence[Outcome]) -> FileEntry:
    paths = [folder / outcome.files[0].name for outcome in shown]
    lines = [line for path in paths for line in path.read_text("ascii").splitlines()]
    return _write_lines(folder, ITEMS, sorted(lines, key=lambda line: json.loads(line)["item_id"]))


def _write_lines(folder: Path, name: str, lines: Sequence[str]) -> FileEntry:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{line}\n" for line in lines), "ascii")
    return describe_file(folder / name, name, num_rows=len(lines))


def _report(parts: Sequence[Json]) -> Json:
    """Return the report of the labelling functions over all answers."""
    votes = [np.array(part["votes"], "i1").reshape(-1, len(NAMES)) for part in parts]
    counts = [np.array(part["counts"], "i8") for part in parts]
    nothing = np.zeros((0, len(NAMES)), "i1")
    together = np.concatenate([nothing, *votes])
    patterns = count_patterns(together, np.concatenate([np.zeros(0, "i8"), *counts]))
    return analyse_patterns(patterns, NAMES)


def _summarise(
    population: Json, candidates: Artifact, section: ObsoletionSection, num_items: int
) -> Json:
    flow = candidates.manifest.outcome.flows["answers"]
    strata = {
        stratum: {"size": size, "drawn": population["drawn"][stratum]}
        for stratum, size in population["sizes"].items()
    }
    sites = {site: dict(sorted(sizes.items())) for site, sizes in population["sites"].items()}
    return {
        "num_answers": flow.num_in,
        "rejected": dict(sorted(flow.rejected.items())),
        "num_candidates": flow.num_out,
        "num_items": num_items,
        "per_stratum": section.per_stratum,
        "seed": section.seed,
        "strata": strata,
        "sites": dict(sorted(sites.items())),
    }


def _read_json(path: Path) -> Json:
    content: Json = json.loads(path.read_bytes())
    return content
