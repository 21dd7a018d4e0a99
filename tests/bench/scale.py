"""How the whole line grows: time, memory and disk a stage, from 1x to 16x, and what follows.

    python tests/bench/scale.py        # 3.6 GB of XML at 16x: 20 minutes on two cores, 9 GB of disk
    python tests/bench/scale.py --dump FOLDER --target-bytes 60_000_000 --factors 1 4

Real dumps are tiled (`scale_tiling`) to a dump of one site for each factor, and built by a process
of its own into a store of its own (`scale_build`), watched from here (`scale_watch`). What is
measured goes to `--out` after each factor, which is not run again; growth, projection and limits
(`scale_fit`) are worked out of that and printed as Markdown. Linux only.

Partitions hold as many posts as those of Stack Overflow, so that what a worker needs is what it
would need there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scale_fit import find_limits, fit_stages, project, render
from scale_tiling import SITE, Source, read_source, write_tiles
from scale_watch import Sample, Watch, peak

from corpus.build import STAGES
from corpus.demo import write_demo_dump
from corpus.dump import TABLES, find_tables
from corpus.errors import SobertError
from corpus.progress import Reporter
from corpus.recipe import PostsSection
from corpus.warmup import compile_dedup, compile_rows

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
DATA = CHECKOUT.parent / "shared" / "data" / "dumps"
PACKAGES = ("numba", "numpy", "pyarrow", "scipy", "selectolax", "sentencepiece")
# By mid 2023 Stack Overflow had given 76.5 M ids, and 60 M posts were there.
STACK_OVERFLOW_DENSITY = 60 / 76.5
MEMORY_LIMIT_BYTES = 24 * 2**30

Json = dict[str, Any]


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    options = _parse_arguments()
    # Compiled loops are kept on disk: the first build would take a minute for them.
    compile_rows(Reporter())
    compile_dedup(Reporter())
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        source = read_source(find_tables(options.dump or find_dumps(options.data, Path(folder))))
    settings = _settings(options, source)
    results = load_results(options.out, settings, again=options.again)
    for factor in sorted(options.factors):
        if str(factor) not in results["runs"]:
            results["runs"][str(factor)] = _run(source, factor, settings, options)
            _write(options.out, results)
    runs = [results["runs"][str(factor)] for factor in sorted(options.factors)]
    projection = project(runs)
    limits = find_limits(runs, memory_bytes=MEMORY_LIMIT_BYTES, disk_bytes=options.disk_bytes)
    results |= {"growth": fit_stages(runs), "projection": projection, "limits": limits}
    _write(options.out, results)
    print(render(runs, limits, projection, characters_per_post=settings["characters_per_post"]))


def find_dumps(data: Path, folder: Path) -> list[str]:
    """List the latest whole dump of each site below `data`; the sample dump where there is none."""
    latest = {}
    for posts in sorted(data.glob("*/*/Posts.xml")):
        if all((posts.parent / f"{table}.xml").is_file() for table in TABLES):
            latest[posts.parents[1]] = posts.parent
    if not latest:
        print(f"no whole dump in {data}: the sample dump is tiled instead", file=sys.stderr)
        write_demo_dump(folder)
        return [str(folder)]
    return [str(path) for path in latest.values()]


def load_results(path: Path, settings: Json, *, again: bool) -> Json:
    """Return what was measured before with these settings, or a result without runs."""
    if path.is_file() and not again:
        results: Json = json.loads(path.read_bytes())
        if results["settings"] != settings:
            sys.exit(f"{path} is of other settings; give --again, or another --out")
        return results
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()}cores-{platform.machine()}",
        "name": "scale",
        "settings": settings,
        "memory_total_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "versions": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            **{package: version(package) for package in PACKAGES},
        },
        "runs": {},
    }


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dump", action="append", help="a folder of XML tables; may be repeated")
    parser.add_argument("--data", type=Path, default=DATA, help="where dumps are if none is given")
    parser.add_argument("--target-bytes", type=int, default=3_200_000_000)
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--recipe", type=Path, default=CHECKOUT / "datacards" / "stack-corpus" / "recipe.toml"
    )
    parser.add_argument("--partition-threads", type=int, help="default: as on Stack Overflow")
    parser.add_argument("--disk-bytes", type=int, default=10**12, help="the disk to ask about")
    parser.add_argument("--work", type=Path, help="where dumps and stores lie while they are used")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scale.json")
    parser.add_argument("--again", action="store_true", help="measure all factors anew")
    return parser.parse_args()


def _settings(options: argparse.Namespace, source: Source) -> Json:
    """Return what runs must agree in to be compared; a factor is so many times `unit_tiles`."""
    density = source.num_posts / source.step["post"]
    width = round(PostsSection().partition_threads * STACK_OVERFLOW_DENSITY / density)
    unit_bytes = options.target_bytes / max(options.factors)
    return {
        "source_bytes": source.num_bytes,
        "source_posts": source.num_posts,
        "characters_per_post": round(source.post_characters / source.num_posts),
        "unit_tiles": int(-(-unit_bytes // source.num_bytes)),
        "partition_threads": options.partition_threads or width,
        "recipe": options.recipe.parent.name,
        "workers": options.workers,
        "stages": list(STAGES),
    }


def _run(source: Source, factor: int, settings: Json, options: argparse.Namespace) -> Json:
    """Tile, build and measure one factor; nothing of it stays on disk."""
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        dump, store = Path(folder) / "dump", Path(folder) / "store"
        began = time.monotonic()
        xml_bytes = write_tiles(source, dump, factor * settings["unit_tiles"])
        seconds = time.monotonic() - began
        print(f"{factor}x: {xml_bytes / 1e6:,.0f} MB of XML in {seconds:.0f} s", file=sys.stderr)
        began = time.monotonic()
        lines, samples = _build(dump / SITE, store, settings, options.recipe)
        wall_seconds = time.monotonic() - began
    by_stage = {line["stage"]: line for line in lines}
    return {
        "factor": factor,
        "xml_bytes": xml_bytes,
        "posts": by_stage["rows"]["rows"]["Posts"][0],
        "documents": by_stage["dedup"]["rows"]["documents"][0],
        "duplicates": _count_removed(by_stage["dedup"]),
        "overlapping": _count_removed(by_stage["splits"]) - _count_removed(by_stage["dedup"]),
        "wall_seconds": round(wall_seconds, 1),
        "memory_bytes": max(sample.memory for sample in samples),
        "disk_bytes": max(sample.disk for sample in samples),
        "stages": _measure_stages(lines, samples),
    }


def _count_removed(line: Json) -> int:
    num_in, num_out = line["rows"]["documents"]
    return int(num_in - num_out)


def _build(
    dump: Path, store: Path, settings: Json, recipe: Path
) -> tuple[list[Json], list[Sample]]:
    arguments = [recipe, dump, store, settings["workers"], settings["partition_threads"]]
    command = [sys.executable, HERE / "scale_build.py", *arguments]
    with (
        subprocess.Popen([str(one) for one in command], stdout=subprocess.PIPE, text=True) as child,
        Watch(child.pid, store) as watch,
    ):
        assert child.stdout is not None
        lines = [json.loads(line) for line in child.stdout]
    if child.returncode:
        sys.exit(f"the build ended with {child.returncode}; its messages are above")
    # Of a process that has ended, and waits for this one to see it, there is nothing to read.
    return lines, [sample for sample in watch.samples if sample.main]


def _measure_stages(lines: Sequence[Json], samples: Sequence[Sample]) -> dict[str, Json]:
    """Return by stage what is measured: see `scale_fit`."""
    stages = {}
    disk_before = 0
    for line in lines:
        began, ended = line["began"], line["ended"]
        at_peak = peak(samples, began, ended)
        at_begin = peak(samples, began, began)
        written = max(line["written_bytes"], line["kept_bytes"])
        stages[line["stage"]] = {
            "wall_seconds": round(ended - began, 2),
            "cpu_seconds": line["cpu_seconds"],
            "memory_bytes": at_peak.memory,
            "main_bytes": at_peak.main,
            "workers_bytes": at_peak.workers,
            "anonymous_bytes": at_peak.anonymous,
            "began_with_bytes": at_begin.memory,
            "kept_bytes": line["kept_bytes"],
            "spill_bytes": max(at_peak.disk - disk_before, written) - line["kept_bytes"],
            "disk_bytes": max(at_peak.disk, disk_before + written),
            "rows": line["rows"],
            "figures": line["figures"],
        }
        disk_before += line["kept_bytes"]
    return stages


def _write(path: Path, results: Json) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except SobertError as error:
        sys.exit(str(error))
