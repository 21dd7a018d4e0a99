"""How a build grows: exponents from runs of several sizes, and what follows for all of a site.

A run is what `scale.py` records of a build: its `posts`, `xml_bytes` and `disk_bytes`, and by stage
`wall_seconds`, `cpu_seconds`, `main_bytes`, `workers_bytes`, `spill_bytes` and `disk_bytes`.

    exponent    slope of log y over log bytes, of all runs and of the two largest
    line        through the two largest runs, level where it would fall: a fixed part, and so much
                a post
    time        CPU by the line, or by the exponent of the two largest runs where that is more: one
                is right for fixed costs, the other for what grows faster than the dump; and the
                clock's time by its ratio to CPU in the largest run, as a busy machine changes it
    disk        the line
    memory      the line of the building process (level where a stage holds nothing that grows, or
                no more than the recipe says), and the largest of the workers: these hold a
                partition each. Where theirs still grows it is said, and the sum is too small.
                An exponent would hide what is small now and grows behind what is large and does not
    noise       what the building process grows by a post in the stage that holds nothing, `dump`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Json = dict[str, Any]

STACK_OVERFLOW_POSTS = 60_000_000
STACK_OVERFLOW_CHARACTERS_PER_POST = 65_000_000_000 / STACK_OVERFLOW_POSTS
MEASURES = ("cpu_seconds", "wall_seconds", "main_bytes", "workers_bytes", "spill_bytes")
# Workers that grow by more than this exponent hold more than a partition, or no full one yet.
LEVEL_EXPONENT = 0.1
# Of runs shorter than this the exponent is noise, and at a hundred times the size a wild number.
MEASURABLE_SECONDS = 5
# What each stage holds that grows with the dump, whatever the partitions: read in the modules, the
# bytes at the peak measured on their functions with 1 to 10 M invented rows (2026-11-21).
UNBOUNDED = {
    "dump": "nothing",
    "rows": "nothing: a table is a stream, but only one process reads it",
    "posts": "ids and threads of all posts (75 bytes a post) and names of all users (100 a user)",
    "documents": "nothing: user names are mapped from a file",
    "scrub": "nothing",
    "dedup": "one band of all documents (55 bytes a document), all candidate pairs, and the "
    "shingles of every document in one",
    "splits": "all threads (51 bytes a thread), and of all evaluation documents the n-grams (57 "
    "bytes each) and, after them, the shingles (80 bytes each)",
    "dataset": "nothing: the ledger is read by row group",
    "leakage": "threads by split, and n-grams and shingles as in splits",
    "tokenizer": "no more than the sample, which is sample_bytes large",
    "shards": "nothing",
    "statistics": "joined groups, tags, lengths and account ids",
    "release": "nothing: files are linked",
}
BOUNDED = ("nothing", "no more")


class Line(NamedTuple):
    """A straight line: `fixed`, and `slope` a post."""

    fixed: float
    slope: float

    def at(self, posts: float) -> float:
        """Return the value at a number of posts."""
        return self.fixed + self.slope * posts

    def reach(self, value: float) -> float | None:
        """Return the number of posts at which the line reaches a value; None where it never does.

        >>> Line(10, 2).reach(16), Line(10, 0).reach(16)
        (3.0, None)
        """
        return max((value - self.fixed) / self.slope, 0) if self.slope > 0 else None


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of log value over log size; None where a value is 0, or there is only one.

    >>> round(exponent([1, 4, 16], [3, 24, 192]), 6)
    1.5
    """
    if len(sizes) < 2 or min(values) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def fit_line(posts: Sequence[float], values: Sequence[float]) -> Line:
    """Return the line through the last two values; level, at the larger, where they fall.

    >>> fit_line([0, 10, 20], [99, 5, 7])
    Line(fixed=3.0, slope=0.2)
    >>> fit_line([10, 20], [7, 5])
    Line(fixed=7.0, slope=0.0)
    """
    slope = (values[-1] - values[-2]) / (posts[-1] - posts[-2]) if len(posts) > 1 else 0.0
    if slope <= 0:
        return Line(float(max(values[-2:])), 0.0)
    return Line(values[-1] - slope * posts[-1], slope)


def fit_stages(runs: Sequence[Json]) -> dict[str, Json]:
    """Return by stage the exponents of each measure, over bytes, of all runs and of the last two.

    Args:
        runs: by size, ascending.
    """
    sizes = [run["xml_bytes"] for run in runs]
    return {
        stage: {
            measure: {
                "exponent": _rounded(exponent(sizes, values)),
                "last_exponent": _rounded(exponent(sizes[-2:], values[-2:])),
            }
            for measure in MEASURES
            for values in [_column(runs, stage, measure)]
        }
        for stage in runs[-1]["stages"]
    }


def project(runs: Sequence[Json], posts: int = STACK_OVERFLOW_POSTS) -> Json:
    """Return what a dump of so many posts takes: hours, memory and disk, by stage and in all."""
    ratio = posts / runs[-1]["posts"]
    stages = {
        stage: {
            **_project_hours(runs, stage, posts),
            "memory_bytes": _memory_line(runs, stage).at(posts),
            "spill_bytes": _line(runs, stage, "spill_bytes").at(posts),
            "disk_bytes": _line(runs, stage, "disk_bytes").at(posts),
        }
        for stage in runs[-1]["stages"]
    }
    return {
        "posts": posts,
        "stages": stages,
        "cpu_hours": sum(one["cpu_hours"] for one in stages.values()),
        "wall_hours": sum(one["wall_hours"] for one in stages.values()),
        "wall_hours_at_the_largest_rate": runs[-1]["wall_seconds"] * ratio / 3600,
        "memory_bytes": max(one["memory_bytes"] for one in stages.values()),
        "disk_bytes": max(one["disk_bytes"] for one in stages.values()),
        "xml_bytes": runs[-1]["xml_bytes"] * ratio,
        "memory_noise_bytes": _line(runs, "dump", "main_bytes").slope * posts,
        "still_growing": _growing_workers(runs),
    }


def find_limits(runs: Sequence[Json], *, memory_bytes: int, disk_bytes: int) -> list[Json]:
    """Return which stage reaches each limit first, and at how many posts; None where none does."""
    stages = runs[-1]["stages"]
    memory = {stage: _memory_line(runs, stage) for stage in stages}
    disk = {stage: _line(runs, stage, "disk_bytes") for stage in stages}
    return [_find_first("memory", memory, memory_bytes), _find_first("disk", disk, disk_bytes)]


def render(
    runs: Sequence[Json], limits: Sequence[Json], projection: Json, *, characters_per_post: int
) -> str:
    """Return all of it as Markdown."""
    fits = fit_stages(runs)
    factors = ", ".join(f"{run['factor']}x" for run in runs)
    posts = projection["posts"]
    lines = [
        f"Each cell: {factors}; then the exponent over bytes, all runs / the two largest.",
        "",
        "| stage | CPU s | | building process, MB | | its workers, MB | | spill MB | | kept MB |"
        f" at {posts / 1e6:,.0f} M posts: hours | GiB | spill GB |",
        "|---|" + "---|" * 12,
        *(_render_stage(runs, stage, fits[stage], projection) for stage in runs[-1]["stages"]),
        "",
        *_render_runs(runs),
        "",
        *_render_projection(projection),
        f"* a post has {characters_per_post:,} characters here, and on Stack Overflow "
        f"{STACK_OVERFLOW_CHARACTERS_PER_POST:,.0f}: what follows from text is so much more there",
        *(_render_limit(limit, posts) for limit in limits),
        "",
        "What is held beside a partition a worker:",
        *(f"* {stage}: {UNBOUNDED.get(stage, 'not known')}" for stage in runs[-1]["stages"]),
    ]
    return "\n".join(lines)


def _render_stage(runs: Sequence[Json], stage: str, fit: Json, projection: Json) -> str:
    cells = [stage]
    for measure, unit, digits in (
        ("cpu_seconds", 1, 1),
        ("main_bytes", 1e6, 0),
        ("workers_bytes", 1e6, 0),
        ("spill_bytes", 1e6, 0),
    ):
        values = _column(runs, stage, measure)
        cells.append(", ".join(f"{value / unit:.{digits}f}" for value in values))
        # What is less than one unit is noise, and so is its growth.
        cells.append(_render_exponent(fit[measure]) if values[-1] >= unit else "-")
    projected = projection["stages"][stage]
    cells += [
        ", ".join(f"{value / 1e6:.0f}" for value in _column(runs, stage, "kept_bytes")),
        f"{projected['wall_hours']:.2f}",
        f"{projected['memory_bytes'] / 2**30:.1f}",
        f"{projected['spill_bytes'] / 1e9:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _render_exponent(fit: Json) -> str:
    return " / ".join("-" if one is None else f"{one:.2f}" for one in fit.values())


def _render_runs(runs: Sequence[Json]) -> list[str]:
    return [
        f"* {run['factor']}x: {run['xml_bytes'] / 1e6:,.0f} MB of XML, {run['posts']:,} posts, "
        f"{run['wall_seconds']:,.0f} s, peak {run['memory_bytes'] / 2**20:,.0f} MiB, store at most "
        f"{run['disk_bytes'] / 1e6:,.0f} MB; of {run['documents']:,} documents "
        f"{run['duplicates'] / run['documents']:.2%} removed as duplicates, "
        f"{run['overlapping'] / run['documents']:.2%} for what they share"
        for run in runs
    ]


def _render_projection(projection: Json) -> list[str]:
    lines = [
        f"* {projection['posts'] / 1e6:,.0f} M posts: {projection['wall_hours']:.1f} h "
        f"({projection['wall_hours_at_the_largest_rate']:.1f} h at the rate of the largest run), "
        f"{projection['cpu_hours']:.1f} CPU h, {projection['memory_bytes'] / 2**30:.1f} GiB "
        f"({projection['memory_noise_bytes'] / 2**30:.1f} GiB of it may be noise), store "
        f"at most {projection['disk_bytes'] / 1e9:,.0f} GB beside "
        f"{projection['xml_bytes'] / 1e9:,.0f} GB of XML"
    ]
    if growing := projection["still_growing"]:
        lines.append(f"* workers still grow with the dump, so more memory than that: {growing}")
    return lines


def _render_limit(limit: Json, wanted: int) -> str:
    unit, name = (2**30, "GiB") if limit["of"] == "memory" else (10**9, "GB")
    size = f"{limit['bytes'] / unit:,.0f} {name} of {limit['of']}"
    if limit["stage"] is None:
        return f"* {size}: no stage grows towards it"
    enough = "beyond" if limit["posts"] > wanted else "before"
    return (
        f"* {size}: {limit['stage']} reaches it first, at {limit['posts'] / 1e6:,.1f} M posts, "
        f"{enough} {wanted / 1e6:,.0f} M"
    )


def _find_first(of: str, line_by_stage: Mapping[str, Line], limit: int) -> Json:
    reached = [
        (posts, stage)
        for stage, line in line_by_stage.items()
        if (posts := line.reach(limit)) is not None
    ]
    posts, stage = min(reached, default=(None, None))
    return {"of": of, "bytes": limit, "stage": stage, "posts": posts}


def _project_cpu(runs: Sequence[Json], stage: str, posts: int) -> float:
    """Return the CPU seconds of a stage at so many posts."""
    values = _column(runs, stage, "cpu_seconds")
    by_line = _line(runs, stage, "cpu_seconds").at(posts)
    power = exponent([run["posts"] for run in runs[-2:]], values[-2:])
    if power is None or min(values[-2:]) < MEASURABLE_SECONDS:
        return by_line
    by_power: float = values[-1] * (posts / runs[-1]["posts"]) ** power
    return max(by_line, by_power)


def _project_hours(runs: Sequence[Json], stage: str, posts: int) -> dict[str, float]:
    measured = runs[-1]["stages"][stage]
    cpu_seconds = _project_cpu(runs, stage, posts)
    wall_per_cpu = measured["wall_seconds"] / max(measured["cpu_seconds"], 0.01)
    return {"cpu_hours": cpu_seconds / 3600, "wall_hours": cpu_seconds * wall_per_cpu / 3600}


def _memory_line(runs: Sequence[Json], stage: str) -> Line:
    workers = max(_column(runs, stage, "workers_bytes"))
    if UNBOUNDED.get(stage, "").startswith(BOUNDED):
        return Line(max(_column(runs, stage, "main_bytes")) + workers, 0)
    main = _line(runs, stage, "main_bytes")
    return main._replace(fixed=main.fixed + workers)


def _growing_workers(runs: Sequence[Json]) -> str:
    """Name the stages whose workers took more in the largest run than in the one before it."""
    fits = fit_stages(runs)
    powers = {stage: fit["workers_bytes"]["last_exponent"] or 0.0 for stage, fit in fits.items()}
    return ", ".join(stage for stage, power in powers.items() if power > LEVEL_EXPONENT)


def _line(runs: Sequence[Json], stage: str, measure: str) -> Line:
    return fit_line([run["posts"] for run in runs], _column(runs, stage, measure))


def _column(runs: Sequence[Json], stage: str, measure: str) -> list[float]:
    return [run["stages"][stage][measure] for run in runs]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
