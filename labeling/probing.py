"""The leak probes of a finished benchmark, run once and kept: `probes.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from corpus.durable import write_json
from corpus.engine import Engine
from corpus.errors import StoreError
from corpus.manifest import Json, Outcome
from corpus.progress import Reporter
from corpus.recipe import SPLITS
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file, read_table
from labeling.ner import Examples
from labeling.ner_probes import probe_ner
from labeling.probes import describe_probes, render_probes, render_probes_markdown, run_probes
from labeling.ranks import rank_by_digest
from labeling.recipe import BenchmarkRecipe

VERSION = 1
PROBES = "probes.json"
# Of `ner`: types are the list under which mentions count.
HEADER = ("probe", "types", "metric", "value, 95 %", "sentences")


def build_probes(
    benchmark: Artifact,
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Train the models that see no meaning on a benchmark, and keep what they score."""

    def make(work: Work) -> Outcome:
        examples = read_examples(benchmark, max_examples=recipe.probes.max_examples)
        with reporter.note_if_slow("probes: training small models on the finished files"):
            found = (
                _run_ner(examples, recipe) if recipe.ner else run_probes(examples, recipe.probes)
            )
        write_json(work.folder / PROBES, found)
        return Outcome((describe_file(work.folder / PROBES, PROBES),))

    section = {"task": recipe.task, **recipe.probes.model_dump(mode="json")}
    inputs = {"benchmark": benchmark}
    return store.build("probes", VERSION, section, inputs, make, engine, reporter)


def read_probes(store: Store, name: str) -> Json:
    """Return what the probes of a built benchmark scored.

    Raises:
        StoreError: no build of this name, or it has no probes.
    """
    artifacts = store.read_run(name)
    if "probes" not in artifacts:
        raise StoreError(f"{name!r} has no probes; build it with `sobert labeling build`")
    probes: Json = json.loads(artifacts["probes"].path(PROBES).read_bytes())
    return probes


def render(probes: Json) -> str:
    """Render what was found as a table for the terminal."""
    if probes.get("task") == "ner":
        widths = (28, 8, 15, 24, 10)
        rows = [HEADER, *_iter_cells(probes)]
        lines = ["".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(lines) + "\n"
    return render_probes(probes)


def render_markdown(probes: Json) -> str:
    """Render what was found as a table in Markdown, with a line of what was done."""
    if probes.get("task") == "ner":
        rows = [HEADER, ("---",) * len(HEADER), *_iter_cells(probes)]
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"{describe_probes(probes)}.\n\n{render_probes_markdown(probes)}"


def _iter_cells(probes: Json) -> Iterator[tuple[str, ...]]:
    for row in probes["rows"]:
        if row["value"] is None:
            shown = row.get("reason") or "undefined"
        else:
            shown = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
        yield row["probe"], row["form"], row["metric"], shown, f"{row['num_examples']:,}"


def _run_ner(examples: pa.Table, recipe: BenchmarkRecipe) -> Json:
    table = examples.drop_columns(["group", "canary", "split"])
    splits, groups = (examples[name].combine_chunks() for name in ("split", "group"))
    rows = probe_ner(Examples(table, splits, groups, len(table), {}), recipe.probes)
    return {"task": "ner", "rows": rows}


def read_examples(benchmark: Artifact, *, max_examples: int) -> pa.Table:
    """Read the published examples of all splits, in the order of the files, with `split`.

    Of more than `max_examples` those with the least digests are taken.
    """
    files = [
        (split, benchmark.path(entry.name))
        for split in SPLITS
        for entry in benchmark.files(f"data/{split}-")
    ]
    ids = [read_table(path, ["example_id"])["example_id"].to_pylist() for _, path in files]
    ranks = [rank_by_digest(some, "probes") for some in ids]
    total = sum(map(len, ranks))
    limit = np.sort(np.concatenate(ranks))[max_examples - 1] if total > max_examples else None
    tables = []
    for (split, path), rank in zip(files, ranks, strict=True):
        rows = read_table(path)
        if limit is not None:
            rows = rows.filter(pa.array(rank <= limit))
        tables.append(rows.append_column("split", pa.array([split] * len(rows), pa.string())))
    return pa.concat_tables(tables)
