"""The dataset card: README.md as the Hub reads it, every number of it from statistics or manifests.

    front matter    YAML between two lines of `---`: licence, size, splits, columns. `datasets`
                    compares the numbers of rows with the files when it loads them
    text            Markdown

No date of today and no path of a machine: the same statistics give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import yaml

from corpus.dataset import DATASET_SCHEMA
from corpus.location import Location
from corpus.manifest import Json
from corpus.recipe import Recipe, Section
from corpus.rendering import describe, load_template

MAX_SITES, MAX_LIST = 20, 12
EXAMPLE_CHARACTERS = 600
TAGS = ("stack-exchange", "code", "deduplicated")

# The bounds of the Hub's classes of size.
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")

MEANING_BY_COLUMN = {
    "doc_id": "`<site>/<post_id>`: the key",
    "site": "where it was posted",
    "post_id": "its number on the site",
    "thread_id": "the post_id of the question that it is, or answers",
    "kind": "question, answer, …",
    "text": "title, body and comments as plain text; code as it was typed",
    "body_end": "where the comments begin",
    "segments": "spans that tile the text: title, prose, code or comment; a language hint of code",
    "inline_code": "spans of code within prose",
    "links": "spans of linked words, and where they lead",
    "tags": "of the question, without brackets",
    "score": "up votes minus down votes",
    "is_accepted": "of an answer: whether the asker accepted it",
    "duplicate_of": "posts that people marked this question as a duplicate of",
    "created_at": "when it was posted",
    "edited_at": "when it was last edited",
    "closed_at": "when it was closed",
    "community_owned_at": "when it became a community wiki",
    "author_id": "number of the author's account",
    "author_name": "whom to name",
    "author_link": "the author's profile",
    "author_source": "where the name comes from: users (a table of the dump), row, id or deleted",
    "editor_id": "number of the last editor's account",
    "editor_name": "the last editor",
    "link": "the page it comes from",
    "licence": "the licence of the post",
    "licence_source": "how that is known: row, history or dates",
    "comments": "of each comment in the text, in its order: author, score, time and licence",
    "group": "the leakage group: what must stay in one split",
    "cluster": "the near-duplicate cluster of which this one was kept",
}


def render_card(
    recipe: Recipe, statistics: Json, parquet: Json, location: Location | None = None
) -> str:
    """Render the card of a dataset.

    Args:
        recipe: what was asked for.
        statistics: as `corpus.statistics` writes them.
        parquet: by split, `num_files` and `num_bytes` of the published files.
        location: where it is published, once that is known.

    Returns:
        README.md.
    """
    content = describe(recipe, statistics, parquet)
    return load_template("card.md.jinja").render(
        **content,
        location=location,
        front_matter=_front_matter(recipe, statistics, parquet),
        num_rows={split: one["documents"] for split, one in content["splits"].items()},
        sites_shown=list(content["sites"].items())[:MAX_SITES],
        columns=list(_iter_columns()),
        example_row=_format_example(statistics["example"]),
        recipe_toml=format_toml(recipe),
    )


def format_toml(recipe: Section) -> str:
    """Write a recipe as the TOML file that it could have been read from, long lists cut.

    >>> card = {"name": "x", "title": "X", "summary": ""}
    >>> print(format_toml(Recipe.model_validate({"card": card})).split("\\n[posts]")[0])
    [card]
    name = "x"
    title = "X"
    summary = ""
    languages = ["en"]
    version = "0.1.0"
    creators = []
    <BLANKLINE>
    """
    return format_sections(recipe.model_dump(exclude_none=True))


def format_sections(sections: Json) -> str:
    """Write tables of a recipe as TOML, long lists cut.

    >>> format_sections({"a": {"b": 1, "c": ["x"]}})
    '[a]\\nb = 1\\nc = ["x"]\\n'
    """
    written = []
    for name, section in sections.items():
        lines = [f"{key} = {_toml_entry(value)}" for key, value in section.items()]
        written.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(written) + "\n"


def list_features(schema: pa.Schema) -> list[Json]:
    """Describe columns as `datasets` writes them in a card; the types of `DATASET_SCHEMA` only.

    Its own function for this takes a second to import, which every build would wait for.

    >>> list_features(pa.schema({"tags": pa.list_(pa.string()), "score": pa.int32()}))
    [{'name': 'tags', 'list': 'string'}, {'name': 'score', 'dtype': 'int32'}]
    """
    return [{"name": field.name, **_feature(field.type)} for field in schema]


def _feature(kind: pa.DataType) -> Json:
    if pa.types.is_struct(kind):
        return {"struct": list_features(kind)}
    if pa.types.is_list(kind):
        inner = _feature(kind.value_type)
        return {"list": inner.get("dtype") or inner["struct"]}
    return {"dtype": "float64" if pa.types.is_float64(kind) else str(kind)}


def _front_matter(recipe: Recipe, statistics: Json, parquet: Json) -> str:
    languages = recipe.card.languages
    data_files = [
        {"split": split, "path": f"data/{split}-*.parquet"} for split in statistics["splits"]
    ]
    content = {
        "license": "cc-by-sa-4.0",
        "language": languages,
        "pretty_name": recipe.card.title,
        "size_categories": [size_category(statistics["totals"]["documents"])],
        "task_categories": ["fill-mask"],
        "annotations_creators": ["no-annotation"],
        "language_creators": ["found"],
        "multilinguality": ["monolingual" if len(languages) == 1 else "multilingual"],
        "source_datasets": ["original"],
        "tags": list(TAGS),
        "configs": [{"config_name": "default", "default": True, "data_files": data_files}],
        "dataset_info": _describe_dataset(statistics, parquet),
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _describe_dataset(statistics: Json, parquet: Json) -> Json:
    return {
        "config_name": "default",
        "features": list_features(DATASET_SCHEMA),
        "splits": [
            {"name": name, "num_bytes": one["arrow_bytes"], "num_examples": one["documents"]}
            for name, one in statistics["splits"].items()
        ],
        "download_size": sum(one["num_bytes"] for one in parquet.values()),
        "dataset_size": statistics["totals"]["arrow_bytes"],
    }


def size_category(num_documents: int) -> str:
    """Return the Hub's class of size.

    >>> size_category(999), size_category(60_000)
    ('n<1K', '10K<n<100K')
    """
    place = max(0, len(str(num_documents)) - 3)
    return f"{SIZES[place - 1]}<n<{SIZES[place]}" if place else f"n<{SIZES[0]}"


def _iter_columns() -> Iterator[Json]:
    for field in DATASET_SCHEMA:
        yield {
            "name": field.name,
            "type": name_type(field.type),
            "meaning": MEANING_BY_COLUMN[field.name],
        }


def name_type(kind: pa.DataType) -> str:
    """Name a type as a reader of the card would.

    >>> name_type(DATASET_SCHEMA.field("links").type)
    'list of (start int32, end int32, target string)'
    """
    if pa.types.is_list(kind):
        return f"list of {name_type(kind.value_type)}"
    if pa.types.is_struct(kind):
        return f"({', '.join(f'{field.name} {name_type(field.type)}' for field in kind)})"
    return "UTC time (ms)" if pa.types.is_timestamp(kind) else str(kind)


def _format_example(document: Json) -> str:
    """Write a document as JSON, a line a column, its text cut."""
    text = document["text"]
    if len(text) > EXAMPLE_CHARACTERS:
        text = text[:EXAMPLE_CHARACTERS] + "…"
    columns = {**document, "text": text}.items()
    lines = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in columns]
    return "{\n" + ",\n".join(lines) + "\n}"


def _toml_entry(value: Any) -> str:
    if isinstance(value, list) and len(value) > MAX_LIST:
        shown = _toml_value(value[:MAX_LIST])
        return f"{shown} # and {len(value) - MAX_LIST:,} more: recipe.json"
    return _toml_value(value)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml_value(one)}' for key, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, date):
        return value.isoformat()
    # Strings, numbers and booleans are written as in JSON, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
