"""The Croissant file of a published dataset: `croissant.json`, JSON-LD that machines read.

Croissant 1.1 with the terms of its extension for responsible AI (RAI 1.0), and of PROV for where
the data comes from.

    distribution    the repository at its tag, the set of its Parquet files, and every one of them
                    with its address, bytes and SHA-256
    recordSet       `splits`, their names; the rows, a field a column, spans and comments with a
                    sub-field a part; of a benchmark also `labels`, the names of its classes

Owns the format alone; what is said of a dataset comes from `corpus.publication` and
`labeling.publication`. Readers clone the repository, for they cannot combine single files. The
validator of the format lets a file without a name pass: `corpus.croissant_check` does not.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and -rai-spec.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from corpus.licences import CC_BY_SA_4_0, URL_BY_LICENCE
from corpus.location import Location
from corpus.manifest import FileEntry, Json
from corpus.recipe import SPLITS, CardSection

CROISSANT = "croissant.json"
CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
# Terms of the format that are written without a prefix.
_TERMS = (
    *("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty"),
    *("excludes", "extract", "field", "fileObject", "fileProperty", "fileSet", "format"),
    *("includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path"),
    *("readLines", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
    *("sdVersion", "separator", "source", "subField", "transform", "unArchive", "value"),
)
CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS},
}
PARQUET, GIT = "application/x-parquet", "git+https"
# A repository has no digest of its own; this is what stands in by the format's convention.
NO_DIGEST = "https://github.com/mlcommons/croissant/issues/80"
SPLIT_CLASS = {"train": "TrainingSplit", "validation": "ValidationSplit", "test": "TestSplit"}
# Types of columns; all that is not here has the name of its Arrow type, as in cr:Int32.
_TYPES = {"string": "sc:Text", "bool": "sc:Boolean", "double": "cr:Float64"}


class Described(NamedTuple):
    """A dataset as its Croissant file describes it.

    `files` are the shards, `data/<split>-….parquet`, of one schema; `meanings` says what each
    column is, `key` names the one that tells rows apart, and `record` what a row is called.
    `statements` are further properties, with their prefixes; `labels` the classes, if any.
    """

    card: CardSection
    location: Location
    description: str
    keywords: Sequence[str]
    files: Sequence[FileEntry]
    schema: pa.Schema
    meanings: Mapping[str, str]
    record: str
    key: str
    statements: Json
    labels: Sequence[str] = ()


def make_croissant(dataset: Described) -> Json:
    """Return the content of the Croissant file of a dataset."""
    card, location = dataset.card, dataset.location
    record_sets = [_list_splits(dataset.files), _describe_rows(dataset)]
    if dataset.labels:
        record_sets.insert(1, _list_labels(dataset.labels))
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS_TO),
        "name": card.title,
        "alternateName": location.repo,
        "description": dataset.description,
        "url": location.url,
        "version": card.version,
        "license": URL_BY_LICENCE[CC_BY_SA_4_0],
        "creator": [{"@type": "sc:Person", "name": name} for name in card.creators],
        "datePublished": card.published and card.published.isoformat(),
        "inLanguage": card.languages,
        "isLiveDataset": False,
        "keywords": list(dataset.keywords),
        "citeAs": cite(card, location),
        **dataset.statements,
        "distribution": list(_iter_distribution(location, dataset.files)),
        "recordSet": record_sets,
    }


def cite(card: CardSection, location: Location) -> str:
    r"""Return the BibTeX entry of a version.

    >>> card = CardSection(name="x", title="50 % {TeX}", summary="", creators=["Ada", "Bob"])
    >>> print(cite(card, Location("ada/x", "1.2.0")))
    @misc{x,
      title = {50 \% TeX},
      author = {Ada and Bob},
      version = {1.2.0},
      url = {https://huggingface.co/datasets/ada/x}
    }
    """
    fields = {
        "title": _escape_tex(card.title),
        "author": " and ".join(map(_name_creator, card.creators)),
        "year": str(card.published.year) if card.published else "",
        "version": location.version,
        "url": location.url,
    }
    lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
    return ",\n".join([f"@misc{{{card.name}", *lines]) + "\n}"


def _name_creator(name: str) -> str:
    """Write a creator so that BibTeX sees one, as of `Research and Development`."""
    return f"{{{_escape_tex(name)}}}" if " and " in name else _escape_tex(name)


def _escape_tex(text: str) -> str:
    """Take from a text its power over TeX; braces cannot be escaped in BibTeX."""
    return re.sub(r"([%&#$_])", r"\\\1", " ".join(re.sub(r"[\\{}~^]", "", text).split()))


def _iter_distribution(location: Location, files: Sequence[FileEntry]) -> Iterator[Json]:
    yield {
        "@type": "cr:FileObject",
        "@id": "repo",
        "name": "repo",
        "description": "The Hugging Face git repository, at the tag of this version.",
        "contentUrl": location.git_url,
        "encodingFormat": GIT,
        "sha256": NO_DIGEST,
    }
    yield {
        "@type": "cr:FileSet",
        "@id": "parquet-files",
        "name": "parquet-files",
        "description": "The Parquet files of all splits; each is a FileObject, too.",
        "containedIn": {"@id": "repo"},
        "encodingFormat": PARQUET,
        "includes": "data/*.parquet",
    }
    for entry in files:
        yield {
            "@type": "cr:FileObject",
            "@id": entry.name,
            "name": entry.name,
            "contentUrl": location.file_url(entry.name),
            "contentSize": f"{entry.num_bytes} B",
            "encodingFormat": PARQUET,
            "sha256": entry.sha256,
        }


def _list_splits(files: Sequence[FileEntry]) -> Json:
    num_rows = {
        split: sum(one.num_rows for one in files if one.name.startswith(f"data/{split}-"))
        for split in SPLITS
    }
    rows = [
        {
            "splits/name": split,
            "splits/url": f"{CONTEXT['cr']}{SPLIT_CLASS[split]}",
            "splits/num_rows": num,
        }
        for split, num in num_rows.items()
        if num
    ]
    types = {"name": "sc:Text", "url": "sc:URL", "num_rows": "sc:Integer"}
    return _enumerate("splits", "The splits and how many rows each has.", "cr:Split", types, rows)


def _list_labels(labels: Sequence[str]) -> Json:
    rows = [{"labels/name": label} for label in labels]
    types = {"name": "sc:Text"}
    return _enumerate("labels", "The classes of `label`.", "sc:Enumeration", types, rows)


def _enumerate(name: str, meaning: str, kind: str, types: Json, rows: list[Json]) -> Json:
    """Describe rows that are in the Croissant file itself."""
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": meaning,
        "dataType": kind,
        "key": {"@id": f"{name}/name"},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/{field}", "name": field, "dataType": data_type}
            for field, data_type in types.items()
        ],
        "data": rows,
    }


def _describe_rows(dataset: Described) -> Json:
    """Describe the rows of the Parquet files: the split, told by the file's name, and columns."""
    record = dataset.record
    split = {
        "@type": "cr:Field",
        "@id": f"{record}/split",
        "name": "split",
        "description": "the split that the row is in",
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": "parquet-files"},
            "extract": {"fileProperty": "fullpath"},
            # Readers apply it to what it has found, too.
            "transform": {"regex": rf"(?:data/)?({'|'.join(SPLITS)})(?:-.+\.parquet)?$"},
        },
        "references": {"field": {"@id": "splits/name"}},
    }
    columns = {
        field.name: {
            **_describe_field(f"{record}/{field.name}", field.type, field.name, ()),
            "description": dataset.meanings[field.name],
        }
        for field in dataset.schema
    }
    if dataset.labels:
        columns["label"] |= {
            "dataType": ["sc:Text", "cr:Label"],
            "references": {"field": {"@id": "labels/name"}},
        }
    return {
        "@type": "cr:RecordSet",
        "@id": record,
        "name": record,
        "description": f"The {record} of all splits.",
        "key": {"@id": f"{record}/{dataset.key}"},
        "field": [split, *columns.values()],
    }


def _describe_field(id: str, kind: pa.DataType, column: str, path: tuple[str, ...]) -> Json:
    """Describe a column, or the part of one that `path` leads to."""
    shape: Json = {}
    num_lists = 0
    while pa.types.is_list(kind):
        kind, num_lists = kind.value_type, num_lists + 1
    if num_lists:
        shape = {"isArray": True, "arrayShape": ",".join(["-1"] * num_lists)}
    field = {"@type": "cr:Field", "@id": id, "name": id.rpartition("/")[2], **shape}
    if pa.types.is_struct(kind):
        parts = [
            _describe_field(f"{id}/{part.name}", part.type, column, (*path, part.name))
            for part in kind
        ]
        return {**field, "subField": parts}
    source: Json = {"fileSet": {"@id": "parquet-files"}, "extract": {"column": column}}
    if path:
        source["transform"] = {"jsonPath": ".".join(path)}
    return {**field, "dataType": _name_type(kind), "source": source}


def _name_type(kind: pa.DataType) -> str:
    """Name an atomic type.

    >>> [_name_type(kind) for kind in (pa.string(), pa.int32(), pa.timestamp("ms", "UTC"))]
    ['sc:Text', 'cr:Int32', 'sc:DateTime']
    """
    if pa.types.is_timestamp(kind):
        return "sc:DateTime"
    return _TYPES.get(str(kind)) or f"cr:{str(kind).capitalize()}"
