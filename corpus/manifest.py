"""Manifests: what an artifact is, what went in, what came out, and what was rejected and why.

Two digests a file. `sha256` is of its bytes: the file is intact. `rows_sha256` is of its rows,
whatever wrote them: the file is reproduced (two versions of a Parquet writer give other bytes for
the same rows). An artifact's id is a digest of rows and counts, never of a path, a clock or a
machine, so it is the same wherever it is built.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from corpus.errors import ConservationError, IntegrityError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an artifact; `name` is its path inside, with forward slashes."""

    name: str
    num_bytes: int
    num_rows: int
    sha256: str
    rows_sha256: str


@dataclass(frozen=True, slots=True)
class Flow:
    """Rows of one kind through a stage: `num_in == num_out + sum(rejected)`, always."""

    num_in: int = 0
    num_out: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Flow) -> Flow:
        rejected = Counter(self.rejected)
        rejected.update(other.rejected)
        return Flow(self.num_in + other.num_in, self.num_out + other.num_out, dict(rejected))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one task, or a whole stage, made: files, flows by kind of row, and other counts."""

    files: tuple[FileEntry, ...] = ()
    flows: Mapping[str, Flow] = field(default_factory=dict)
    figures: Mapping[str, int] = field(default_factory=dict)


def merge_outcomes(outcomes: Iterable[Outcome]) -> Outcome:
    """Join task outcomes: files in order, flows and figures added up. No two may name one file.

    >>> merged = merge_outcomes([Outcome(figures={"a": 1}), Outcome(figures={"a": 2, "b": 0})])
    >>> dict(merged.figures)
    {'a': 3, 'b': 0}
    """
    files: list[FileEntry] = []
    flows: dict[str, Flow] = {}
    figures: dict[str, int] = {}
    for outcome in outcomes:
        files.extend(outcome.files)
        for kind, flow in outcome.flows.items():
            flows[kind] = flows.get(kind, Flow()) + flow
        for name, figure in outcome.figures.items():
            figures[name] = figures.get(name, 0) + figure
    assert len({entry.name for entry in files}) == len(files), "two tasks wrote one file"
    return Outcome(tuple(files), flows, figures)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record that makes a folder an artifact."""

    stage: str
    version: int
    recipe: Json
    inputs: Mapping[str, str]
    outcome: Outcome

    @property
    def recipe_digest(self) -> str:
        """Digest of what was asked: stage, its version, its recipe section, its inputs' ids."""
        return digest_json(
            {
                "stage": self.stage,
                "version": self.version,
                "recipe": self.recipe,
                "inputs": dict(self.inputs),
            }
        )

    @property
    def id(self) -> str:
        """Digest of what came out: rows and counts of every file, 64 hex digits."""
        content = outcome_to_json(sort_outcome(self.outcome))
        files = [{k: f[k] for k in ("name", "num_rows", "rows_sha256")} for f in content["files"]]
        return digest_json({"stage": self.stage, **content, "files": files})

    def to_json(self) -> Json:
        """Return the manifest and its id as a JSON object, all that is named by name."""
        return {
            "stage": self.stage,
            "version": self.version,
            "recipe": self.recipe,
            "inputs": dict(sorted(self.inputs.items())),
            **outcome_to_json(sort_outcome(self.outcome)),
            "id": self.id,
        }

    def check_conserved(self) -> None:
        """Raise ConservationError where rows in != rows out + rejected."""
        for kind, flow in self.outcome.flows.items():
            num_rejected = sum(flow.rejected.values())
            lowest = min([flow.num_out, *flow.rejected.values()])
            if flow.num_in != flow.num_out + num_rejected or lowest < 0:
                raise ConservationError(
                    f"stage {self.stage}: {flow.num_in} {kind} in, {flow.num_out} out and "
                    f"{num_rejected} rejected do not add up; this is a fault in sobert, report it"
                )


def sort_outcome(outcome: Outcome) -> Outcome:
    """Put everything in the order of its name; drop reasons for which nothing was rejected.

    >>> sort_outcome(Outcome(figures={"b": 0, "a": 1})).figures
    {'a': 1, 'b': 0}
    """
    files = sorted(outcome.files, key=lambda entry: entry.name)
    flows = {
        kind: Flow(flow.num_in, flow.num_out, dict(sorted((+Counter(flow.rejected)).items())))
        for kind, flow in sorted(outcome.flows.items())
    }
    return Outcome(tuple(files), flows, dict(sorted(outcome.figures.items())))


def outcome_to_json(outcome: Outcome) -> Json:
    """Return an outcome as a JSON object, in its own order."""
    return {
        "files": [asdict(entry) for entry in outcome.files],
        "flows": {
            kind: {"in": flow.num_in, "out": flow.num_out, "rejected": dict(flow.rejected)}
            for kind, flow in outcome.flows.items()
        },
        "figures": dict(outcome.figures),
    }


def outcome_from_json(content: Json) -> Outcome:
    """Read what `outcome_to_json` made.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is not of that form.
    """
    return Outcome(
        tuple(FileEntry(**entry) for entry in content["files"]),
        {
            kind: Flow(flow["in"], flow["out"], flow["rejected"])
            for kind, flow in content["flows"].items()
        },
        content["figures"],
    )


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        IntegrityError: the file cannot be read, is not a manifest, or does not have its own id.
    """
    try:
        content = json.loads(path.read_bytes())
        manifest = Manifest(
            content["stage"],
            content["version"],
            content["recipe"],
            content["inputs"],
            outcome_from_json(content),
        )
        is_whole = content["id"] == manifest.id
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{path} is not a manifest ({error!r}); delete its folder and build again"
        ) from error
    if not is_whole:
        raise IntegrityError(f"{path} was changed; delete its folder and build again")
    return manifest


def digest_json(content: Json) -> str:
    """Return the SHA-256 of canonical JSON: sorted keys, no spaces, UTF-8.

    >>> digest_json({"b": 1, "a": [2]}) == digest_json({"a": [2], "b": 1})
    True
    """
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
