"""What a Croissant file must say before it is published: our own check of required fields.

The format's validator (mlcroissant 1.1.1) lets a file pass that has no name, description, creator,
date or address, and that says nothing of what the data is fit for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from corpus.croissant import CONFORMS_TO, CROISSANT, GIT
from corpus.errors import BadValue
from corpus.manifest import Json

REQUIRED = (
    *("name", "description", "license", "version", "creator", "datePublished", "url"),
    *("conformsTo", "distribution", "recordSet"),
)
# What the Evaluations and Datasets track of NeurIPS 2026 asks for.
REQUIRED_RAI = (
    *("rai:dataLimitations", "rai:dataBiases", "rai:personalSensitiveInformation"),
    *("rai:dataUseCases", "rai:dataSocialImpact", "rai:hasSyntheticData"),
    *("prov:wasDerivedFrom", "prov:wasGeneratedBy"),
)
REQUIRED_OF_FILES = ("@id", "contentUrl", "contentSize", "encodingFormat", "sha256")


def check_croissant(content: Json) -> None:
    """Check that a Croissant file says what it has to.

    Raises:
        BadValue: names, by dotted path, all that is missing or empty.
    """
    missing = [
        *_list_missing(content, "", (*REQUIRED, *REQUIRED_RAI)),
        *(f"conformsTo {url}" for url in CONFORMS_TO if url not in _list(content, "conformsTo")),
    ]
    for place, creator in enumerate(_list(content, "creator")):
        missing += _list_missing(creator, f"creator[{place}].", ("name",))
    for place, file in enumerate(_list(content, "distribution")):
        missing += _list_missing_of_file(file, f"distribution[{place}].")
    if not any(map(_is_single_file, _list(content, "distribution"))):
        missing.append("distribution of single files")
    for place, record_set in enumerate(_list(content, "recordSet")):
        path = f"recordSet[{place}]."
        missing += _list_missing(record_set, path, ("@id", "name", "field"))
        missing += _list_missing_of_fields(record_set, path, is_inline="data" in record_set)
    if missing:
        raise BadValue(
            f"{CROISSANT} lacks {', '.join(missing)}; what [card] of the recipe does not give is a "
            "fault in sobert, report it"
        )


def _list_missing(content: Json, path: str, names: Iterable[str]) -> list[str]:
    return [f"{path}{name}" for name in names if _is_empty(content.get(name))]


def _is_single_file(file: Json) -> bool:
    return file.get("@type") == "cr:FileObject" and file.get("encodingFormat") != GIT


def _list_missing_of_file(file: Json, path: str) -> list[str]:
    if file.get("@type") == "cr:FileSet":
        return _list_missing(file, path, ("@id", "containedIn", "encodingFormat", "includes"))
    if not _is_single_file(file):
        return _list_missing(file, path, ("@id", "contentUrl", "sha256"))
    missing = _list_missing(file, path, REQUIRED_OF_FILES)
    if file.get("sha256") and not re.fullmatch("[0-9a-f]{64}", file["sha256"]):
        missing.append(f"{path}sha256 in 64 hex digits")
    return missing


def _list_missing_of_fields(parent: Json, path: str, *, is_inline: bool) -> list[str]:
    """List what fields lack: an id, and unless they have sub-fields a type and a source."""
    key = "field" if "field" in parent else "subField"
    missing = []
    for place, field in enumerate(_list(parent, key)):
        inner = f"{path}{key}[{place}]."
        names = ("@id",) if is_inline or "subField" in field else ("@id", "dataType", "source")
        missing += _list_missing(field, inner, names)
        missing += _list_missing_of_fields(field, inner, is_inline=is_inline)
    return missing


def _list(content: Json, name: str) -> list[Any]:
    value = content.get(name) or []
    return value if isinstance(value, list) else [value]


def _is_empty(value: Any) -> bool:
    """Whether a value says nothing; `False` does.

    >>> [_is_empty(value) for value in (None, " ", [], [""], {}, False, 0)]
    [True, True, True, True, True, False, False]
    """
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list):
        return all(map(_is_empty, value))
    return value is None or value == {}
