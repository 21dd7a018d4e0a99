"""The card of a benchmark, README.md as the Hub reads it; its numbers are manifests and probes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import yaml

from corpus.datacard import (
    format_sections,
    format_toml,
    list_features,
    name_type,
    size_category,
)
from corpus.location import Location
from corpus.manifest import Json
from corpus.recipe import SPLITS
from corpus.rendering import make_environment
from corpus.store import Artifact
from corpus.tables import read_table
from labeling.contamination import read_checks
from labeling.probing import PROBES, render_markdown
from labeling.recipe import RULE_KEYS, BenchmarkRecipe, Task
from labeling.sources import SOURCE

TAGS = ("stack-exchange", "benchmark")
MEANING_BY_COLUMN = {
    "example_id": "the key: `<site>/<post_id>`; of a sentence `<site>/<thread_id>/<post>/<number>`",
    "site": "where it was posted",
    "post_id": "its number on the site",
    "thread_id": "the number of the question that it is, answers, or is taken from",
    "label": "what is to be found",
    "text": "the input: one canonical form for all classes, code as it was typed",
    "body_end": "the length of the text",
    "segments": "spans that tile the text: title, prose or code; a language hint of code",
    "inline_code": "spans of code within prose",
    "tags": "of the question, as far as the source tells when the text was written",
    "raw_text": "the input as the published set has it, or would: for the probes, and to compare",
    "input_at": "when the text was written, as far as the source tells",
    "label_at": "when that happened which the label says; null: known on the day of the dump",
    "author_id": "number of the author's account",
    "author_name": "whom to name",
    "author_link": "the author's profile",
    "link": "the page it comes from",
    "licence": "the licence of the text",
    "licence_source": "how that is known: row or dates",
    "metadata": "numbers beside the text, for the probes alone",
    "raw_title": "the title in the form of the published set",
    "raw_body": "the body in the form of the published set",
    "reason": "why it was closed, by the names of today; null where it was not or nobody says",
    "reason_then": "what that reason was called then",
    "reason_id": "its number in the dump",
    "tokens": "the words as they were annotated",
    "ner_tags": "BIO tags of the tokens, of the recipe's list of types",
    "markup": "BIO tags of the code markup that the authors gave",
    "entities": "spans in the text with the type of the recipe's list and the raw type; "
    "`doc_start` and `doc_end` as in `doc_tokens`, null where it was not found whole",
    "split_published": "the split that the published file is",
    "is_repeated": "whether the very sentence is in train, too",
    "doc_id": "the document of the corpus that the post is; null: none was found, or no corpus "
    "was named",
    "doc_tokens": "where each token is in that document's text; null: not found, as after an edit",
    "cause": "what made the answer obsolete, as most people said",
    "stratum": "the signals by which it was drawn",
    "inclusion_probability": "with which it was drawn of its stratum",
    "judgements": "what each annotator said, under names that stand for nobody",
    "evidence": "what annotators pointed at",
    "group": "the leakage group: what must stay in one split",
    "canary": "in the test split a string by which its readers can be told",
}
PROMISE_BY_CHECK = {
    "thread": "No thread of validation or test has a document in the corpus's train split.",
    "duplicate_link": "Nor is one linked to it as a duplicate, over any others.",
    "near_duplicate": "No evaluation example is nearly the same as a document of train "
    "(Jaccard {limit} or more, all pairs).",
    "ngram": "Of no evaluation example does train hold more than {share} of the n-grams.",
    "canary": "No document of train quotes the canary of a test file.",
    "own_thread": "No thread of validation or test is in the benchmark's own train.",
    "own_near_duplicate": "No evaluation example is nearly the same as one of its own train.",
    "own_ngram": "Of no evaluation example does its own train hold more than {share} of the "
    "n-grams.",
}
LIMITS_BY_TASK: dict[Task, tuple[str, ...]] = {
    "quality": (
        "Deleted questions are in no dump: the worst ones are missing.",
        "A score is also a matter of age and of how many people meet the topic.",
        "Some questions of LQ_CLOSE are good ones that were asked before: see `reason`.",
    ),
    "closed": (
        "Deleted questions are in no dump, and closed ones are deleted more often than others.",
        "What counted as a reason changed in 2013; the mapping of old reasons is ours.",
    ),
    "ner": (
        "The files name no authors: credit goes to the threads that `link` leads to.",
        "Rare types have few mentions; compare by micro F1, with intervals over threads.",
        "Posts are found in the corpus as they are now, edited since they were annotated.",
    ),
    "obsoletion": (
        "Obsolete means: as of the day of the dump, by what the thread itself can tell.",
        "Items were drawn by stratum; a rate over all answers needs `inclusion_probability`.",
    ),
}
PUBLISHED_LIMITS: dict[Task, tuple[str, ...]] = {
    "quality": (
        "The published bodies of HQ and LQ_CLOSE are as they were on the day of the export, edits "
        "and all; only those of LQ_EDIT are the first revision. `input_at` is when the question "
        "was asked, and `tags` may be later ones.",
        "`LQ` is what derived files call both low classes, where they do not tell them apart.",
    ),
    "closed": ("Duplicates were left out by those who made the set.",),
    "ner": (),
    "obsoletion": (),
}


def render_benchmark_card(
    recipe: BenchmarkRecipe, made: Mapping[str, Artifact], location: Location | None = None
) -> str:
    """Render the card of a benchmark.

    Args:
        recipe: what was asked for.
        made: the artifacts of its stages, without the release.
        location: where it is published, once that is known.

    Returns:
        README.md.
    """
    page: str = _template().render(**describe_benchmark(recipe, made), location=location)
    return page


def describe_benchmark(recipe: BenchmarkRecipe, made: Mapping[str, Artifact]) -> Json:
    """Return what the card says of a benchmark; see `render_benchmark_card`."""
    benchmark, examples = made["benchmark"], made["examples"]
    counts = count_examples(benchmark)
    probes = json.loads(made["probes"].path(PROBES).read_bytes())
    source = examples.path(SOURCE).read_text("utf-8") if examples.files(SOURCE) else ""
    schema = schema_of(benchmark)
    return {
        "card": recipe.card,
        "task": recipe.task,
        "about": _about(recipe, is_published=bool(source)),
        "front_matter": _front_matter(recipe, benchmark, counts, schema),
        "num_rows": {split: row["examples"] for split, row in counts.items()},
        "labels": sorted({label for row in counts.values() for label in row} - {"examples"}),
        "counts": counts,
        "reasons": _count_reasons(benchmark, schema),
        "source": source.rstrip("\n"),
        "columns": list(_iter_columns(schema)),
        "probes": render_markdown(probes),
        "checks": list(_iter_checks(made)),
        "canary": _read_canary(benchmark),
        "recipe_toml": _format_recipe(recipe, is_published=bool(source)),
        "rejects": list(_iter_rejects(made)),
        "limits": [
            *LIMITS_BY_TASK[recipe.task],
            *(PUBLISHED_LIMITS[recipe.task] if source else ()),
        ],
        "manifests": {stage: artifact.manifest.id for stage, artifact in made.items()},
        "inputs": {
            f"{stage}: {name}": digest
            for stage, artifact in made.items()
            for name, digest in artifact.manifest.inputs.items()
            if name not in made
        },
    }


def _about(recipe: BenchmarkRecipe, *, is_published: bool) -> str:
    """Say in a sentence what is asked."""
    if recipe.quality and is_published:
        return (
            "Questions and what became of them, as published: HQ, LQ_EDIT (edited by others), "
            "LQ_CLOSE (closed), or LQ where a file does not tell the last two apart."
        )
    if recipe.quality:
        score, edits = recipe.quality.high_score, recipe.quality.min_edits
        return (
            f"Questions as they were first asked, and what became of them: HQ (a score of {score} "
            "or more, never edited, never closed), LQ_EDIT (a negative score, edited by others "
            f"{edits} times or more, still open) or LQ_CLOSE (closed without an edit)."
        )
    if recipe.closed:
        rate = "as many open ones as closed ones in each split"
        if recipe.closed.rate == "natural":
            rate = "at the rate at which questions were closed"
        return f"Questions as they were first asked, whether they were closed, and why; {rate}."
    if recipe.ner:
        return (
            "Sentences of questions and answers with the named entities of software in them, as "
            "annotated for StackOverflowNER."
        )
    return (
        "Answers as they were before anybody said so, and whether they are obsolete, as people "
        "judged who saw all that was said later."
    )


def _format_recipe(recipe: BenchmarkRecipe, *, is_published: bool) -> str:
    """Write the recipe as TOML, without rules that published labels do not come from."""
    section = getattr(recipe, recipe.task)
    if is_published and recipe.task in ("quality", "closed"):
        kept = section.model_dump(exclude=RULE_KEYS)
        shown = recipe.model_dump(exclude_none=True) | {recipe.task: kept}
        return format_sections(shown)
    return format_toml(recipe)


def _count_reasons(benchmark: Artifact, schema: pa.Schema) -> list[Json]:
    """Count the reasons of closed questions by split."""
    if "reason" not in schema.names:
        return []
    found = Counter[tuple[str, str]]()
    for split in SPLITS:
        for entry in benchmark.files(f"data/{split}-"):
            reasons = read_table(benchmark.path(entry.name), ["reason"])["reason"].drop_null()
            found.update((reason, split) for reason in reasons.to_pylist())
    return [
        {"reason": reason, "splits": [found[reason, split] for split in SPLITS]}
        for reason in sorted({reason for reason, _ in found})
    ]


def _read_canary(benchmark: Artifact) -> str | None:
    entries = benchmark.files("data/test-")
    if not entries:
        return None
    canary: str = read_table(benchmark.path(entries[0].name), ["canary"])["canary"][0].as_py()
    return canary


def count_examples(benchmark: Artifact) -> Json:
    """Return by split, where there is one, `examples` and the number of each label."""
    figures = benchmark.manifest.outcome.figures
    names = {name.partition("_")[2] for name in figures}
    return {
        split: {name: figures.get(f"{split}_{name}", 0) for name in sorted(names)}
        for split in SPLITS
        if figures.get(f"{split}_examples")
    }


def name_category(recipe: BenchmarkRecipe) -> str:
    """Return the Hub's name of the task."""
    return "token-classification" if recipe.ner else "text-classification"


def _template() -> Any:
    return make_environment("labeling").get_template("card.md.jinja")


def schema_of(benchmark: Artifact) -> pa.Schema:
    """Return the columns of a benchmark's files."""
    return read_table(benchmark.path(benchmark.files("data/")[0].name), None).schema


def _front_matter(
    recipe: BenchmarkRecipe, benchmark: Artifact, counts: Json, schema: pa.Schema
) -> str:
    splits = []
    for split, row in counts.items():
        entries = benchmark.files(f"data/{split}-")
        num_bytes = sum(read_table(benchmark.path(entry.name)).nbytes for entry in entries)
        splits.append({"name": split, "num_bytes": num_bytes, "num_examples": row["examples"]})
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in counts]
    content = {
        "license": "cc-by-sa-4.0",
        "language": recipe.card.languages,
        "pretty_name": recipe.card.title,
        "size_categories": [size_category(sum(row["examples"] for row in counts.values()))],
        "task_categories": [name_category(recipe)],
        "tags": [*TAGS, recipe.task],
        "configs": [{"config_name": "default", "default": True, "data_files": files}],
        "dataset_info": {
            "config_name": "default",
            "features": list_features(schema),
            "splits": splits,
            "download_size": sum(entry.num_bytes for entry in benchmark.files("data/")),
            "dataset_size": sum(split["num_bytes"] for split in splits),
        },
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _iter_columns(schema: pa.Schema) -> Iterator[Json]:
    for field in schema:
        yield {
            "name": field.name,
            "type": name_type(field.type),
            "meaning": MEANING_BY_COLUMN[field.name],
        }


def _iter_checks(made: Mapping[str, Artifact]) -> Iterator[Json]:
    for check in read_checks(made["contamination"]) if "contamination" in made else []:
        limit = check["limit"]
        promise = PROMISE_BY_CHECK[check["check"]].format(limit=limit, share=f"{100 * limit:g} %")
        yield {**check, "promise": promise}


def _iter_rejects(made: Mapping[str, Artifact]) -> Iterator[Json]:
    for stage, artifact in made.items():
        for kind, flow in artifact.manifest.outcome.flows.items():
            for reason, num in flow.rejected.items():
                yield {"stage": stage, "kind": kind, "reason": reason, "count": num}
