"""Publication of a benchmark: its card with its address, and what its Croissant file says.

The folder is that of `corpus.publication`. How labels came about, what the proof compared and what
the leak probes score is taken from the artifacts of the build.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.croissant import Described
from corpus.engine import Engine
from corpus.errors import BadValue
from corpus.location import Location
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.publication import (
    Page,
    is_invented,
    name_activity,
    name_origin,
    publish_release,
    render_statements,
    to_statement,
)
from corpus.rendering import render_blocks
from corpus.store import Artifact, Store
from corpus.tables import read_table
from labeling.agreement import NOT_JUDGED, krippendorff_alpha, observed_agreement
from labeling.card import (
    MEANING_BY_COLUMN,
    TAGS,
    describe_benchmark,
    name_category,
    render_benchmark_card,
    schema_of,
)
from labeling.judgements import LABELS
from labeling.probing import PROBES
from labeling.recipe import BenchmarkRecipe, read_stored_recipe

# What is counted; judgements are of obsoletion alone.
READ_COLUMNS = ("site", "author_id", "input_at", "judgements")


def build_benchmark_publication(
    run: Mapping[str, Artifact], repo: str, *, store: Store, engine: Engine, reporter: Reporter
) -> Artifact:
    """Put together what is published of a benchmark; see `corpus.publication.build_publication`.

    Raises:
        BadValue: `run` is no finished benchmark; the recipe lacks what only a publication needs;
            `repo` is no name of a repository.
    """
    if "benchmark" not in run or "release" not in run:
        raise BadValue(
            "this build is no finished benchmark; build it whole with `sobert labeling build`, or "
            "publish a corpus with `sobert corpus publish`"
        )
    release = run["release"]
    made = {stage: artifact for stage, artifact in run.items() if stage != "release"}
    recipe = read_stored_recipe(release.manifest.recipe)

    def make_page(location: Location) -> Page:
        readme = render_benchmark_card(recipe, made, location)
        return Page(readme, _describe(recipe, release, made, location))

    return publish_release(release, recipe.card, repo, make_page, store, engine, reporter)


def _describe(
    recipe: BenchmarkRecipe, release: Artifact, made: Mapping[str, Artifact], location: Location
) -> Described:
    content = _gather(recipe, release, made, location)
    told = render_statements("labeling", content)
    return Described(
        card=recipe.card,
        location=location,
        description=f"{recipe.card.summary} {told.pop('description')}".strip(),
        keywords=(*TAGS, recipe.task, name_category(recipe)),
        files=release.files("data/"),
        schema=schema_of(made["benchmark"]),
        meanings=MEANING_BY_COLUMN,
        record="examples",
        key="example_id",
        statements={**_make_rai(told, content), **_make_lineage(content, made)},
        labels=() if recipe.ner else content["labels"],
    )


def _gather(
    recipe: BenchmarkRecipe, release: Artifact, made: Mapping[str, Artifact], location: Location
) -> Json:
    """Return what the card says, and what follows from the rows that only croissant.json says."""
    card = {**describe_benchmark(recipe, made), "location": location}
    blocks = render_blocks("labeling", "card.md.jinja", card)
    source = json.loads(card["source"]) if card["source"] else {}
    rows = _read_rows(release)
    return {
        **card,
        "said": {name: to_statement(text) for name, text in blocks.items()},
        "category": name_category(recipe),
        "corpus": recipe.benchmark.corpus,
        "files": [file["sha256"] for file in source.get("files", [])],
        "is_published": bool(source) and not recipe.obsoletion,
        "judged": _describe_judgements(rows["judgements"]) if recipe.obsoletion else None,
        "num_accounts": pc.count_distinct(rows["author_id"]).as_py(),
        "probe_rows": list(_iter_probes(made["probes"])),
        "sites": sorted(pc.unique(rows["site"]).to_pylist()),
        "times": _list_times(rows["input_at"]),
        "types": recipe.ner.types if recipe.ner else None,
    }


def _make_rai(told: Json, content: Json) -> Json:
    """Join what only croissant.json says with what the card says, too."""
    said, probes = content["said"], told.pop("probes")
    proof = f"{said['proving']} {told.pop('proof', '')} {said['hold_out']}"
    statements = {
        **told,
        "dataPreprocessingProtocol": [*told["dataPreprocessingProtocol"], proof],
        "dataUseCases": [*told["dataUseCases"], said["inputs"]],
        "dataBiases": probes,
        "dataLimitations": content["limits"],
        "hasSyntheticData": any(map(is_invented, content["sites"])),
    }
    if content["times"]:
        statements["dataCollectionTimeframe"] = content["times"]
    return {f"rai:{name}": statement for name, statement in sorted(statements.items())}


def _make_lineage(content: Json, made: Mapping[str, Artifact]) -> Json:
    id = made["benchmark"].manifest.id
    label = "published file" if content["is_published"] else "exported judgements"
    origins = [name_origin(f"file-{one[:16]}", label, [one]) for one in content["files"]]
    if inputs := sorted(set(content["inputs"].values())):
        origins.append(name_origin("corpus", f"corpus {content['corpus']}", inputs))
    command = f"sobert labeling build {content['task']}"
    return {
        "identifier": id,
        "prov:wasDerivedFrom": origins,
        "prov:wasGeneratedBy": [name_activity(command, id)],
    }


def _read_rows(release: Artifact) -> pa.Table:
    """Read the columns that something is counted in, of all splits."""
    there = [name for name in READ_COLUMNS if name in schema_of(release).names]
    paths = [release.path(entry.name) for entry in release.files("data/")]
    return pa.concat_tables([read_table(path, there) for path in paths])


def _list_times(times: pa.ChunkedArray) -> list[str]:
    """Return the first and the last time, as text; nothing where none is known."""
    ends = pc.min_max(times).as_py()
    if ends["min"] is None:
        return []
    return [ends[name].isoformat(timespec="milliseconds") for name in ("min", "max")]


def _iter_probes(probes: Artifact) -> Iterator[Json]:
    """Yield what each probe scored, in words; of entities their F1."""
    for row in json.loads(probes.path(PROBES).read_bytes())["rows"]:
        if row.get("metric") == "token_accuracy":
            continue
        figure, metric = (row, "entity F1") if "metric" in row else (row["auc"], "AUC")
        shown = row.get("reason") or "undefined"
        if figure and figure["value"] is not None:
            value, low, high = (figure[name] for name in ("value", "low", "high"))
            shown = f"{metric} {value:.3f}, 95 % interval {low:.3f} to {high:.3f}"
            if verdict := row.get("verdict"):
                shown += ", a leak" if verdict == "leak" else ", no leak found"
        name = f"{row['probe']} of the form {row['form']}" if row["form"] else row["probe"]
        yield {"name": name, "shown": shown}


def _describe_judgements(judgements: pa.ChunkedArray) -> Json:
    """Count what people, and machines, judged of the examples, and how far people agree."""
    items = judgements.to_pylist()
    people = [[one for one in item if one["role"] != "machine"] for item in items]
    counts = [len({one["annotator"] for one in item}) for item in people]
    labels = _make_matrix([[one for one in item if one["role"] == "annotator"] for item in items])
    said = [one for item in items for one in item]
    return {
        "num_examples": len(items),
        "num_judgements": sum(map(len, people)),
        "least": min(counts, default=0),
        "most": max(counts, default=0),
        "agreement": _show(observed_agreement(labels)),
        "alpha": _show(krippendorff_alpha(labels)),
        "guidelines": sorted({one["guideline_sha256"] or "unknown" for one in said}),
        "machines": sorted({one["annotator"] for one in said if one["role"] == "machine"}),
    }


def _make_matrix(items: list[list[Json]]) -> np.ndarray[Any, Any]:
    """Return labels as `labeling.agreement` takes them: a row an item, a column an annotator."""
    names = sorted({one["annotator"] for item in items for one in item})
    labels = np.full((len(items), len(names)), NOT_JUDGED, np.int8)
    for row, item in enumerate(items):
        for one in item:
            labels[row, names.index(one["annotator"])] = LABELS.index(one["label"])
    return labels


def _show(measure: np.ndarray[Any, Any]) -> str:
    return "undefined" if np.isnan(measure) else f"{float(measure):.3f}"
