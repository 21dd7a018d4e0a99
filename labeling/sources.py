"""The examples of published files: read, checked, and in the form that the others have.

    examples/all.parquet    columns: the task's schema, `group` and `split` (null, but for `ner`)
    source.json             what the files are and what was counted in them; of `ner` also what
                            the corpus has of them

The name and the place of a file are not part of what is built; its bytes and, for `ner`, its split
are, and the documents of a corpus that has the site.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from corpus.durable import write_json
from corpus.engine import Engine
from corpus.errors import BadValue, SourceError
from corpus.manifest import Flow, Json, Outcome, digest_file
from corpus.progress import Reporter
from corpus.recipe import SPLITS, Split
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, write_table
from labeling.closed_csv import read_closed_csv
from labeling.conll import read_ner_file
from labeling.examples import DEALT_FIELDS, TEXT_COLUMNS
from labeling.grounding import describe_grounding, ground_examples, has_site
from labeling.ner import describe_ner, make_ner_examples
from labeling.obsoletion_examples import read_obsoletion_examples
from labeling.quality_csv import read_quality_csv
from labeling.recipe import BenchmarkRecipe

VERSION = 1
SOURCE = "source.json"
SPLIT_BY_STEM: dict[str, Split] = {"train": "train", "dev": "validation", "test": "test"}


class Source(NamedTuple):
    """One published file; `split` is that of a file of `ner`."""

    path: Path
    split: Split | None


class Payload(NamedTuple):
    """The work of the one task: what is read, and what beside it."""

    sources: list[Source]
    recipe: BenchmarkRecipe
    items: Artifact | None
    documents: Artifact | None


class Read(NamedTuple):
    """What the files hold: examples with group and split, how many were read, why not all."""

    table: pa.Table
    num_read: int
    rejected: Counter[str]
    notes: Json


def build_published_examples(
    sources: Sequence[str],
    recipe: BenchmarkRecipe,
    items: Artifact | None,
    store: Store,
    engine: Engine,
    reporter: Reporter,
    *,
    documents: Artifact | None = None,
) -> Artifact:
    """Read published files into examples.

    Args:
        sources: paths; of `ner` as `SPLIT=PATH`, or called train, dev or test.
        recipe: of quality, closed or ner; of obsoletion the sources are exported judgements.
        items: of obsoletion, what was judged.
        store: where artifacts lie.
        engine: where tasks run.
        reporter: what the person sees.
        documents: of a corpus in which the posts of `ner` are looked for, if it has their site.

    Raises:
        SourceError: a file is not what it should be; nothing is written then.
    """
    files = [parse_source(source, recipe) for source in sources]
    digests = sorted((file.split or "", _digest(file.path)) for file in files)
    searched = documents if documents and recipe.ner and has_site(documents) else None
    payload = Payload(files, recipe, items, searched)

    def make(work: Work) -> Outcome:
        with reporter.note_if_slow("examples: reading the published files"):
            (outcome,) = work.map(_write_examples, [Task("examples", payload)])
        return outcome

    section = {
        "task": recipe.task,
        "files": [list(digest) for digest in digests],
        "section": getattr(recipe, recipe.task).model_dump(mode="json"),
        "benchmark": recipe.benchmark.model_dump(mode="json", include={"salt", "fractions"}),
    }
    named = {"items": items, "documents": searched}
    inputs = {name: artifact for name, artifact in named.items() if artifact}
    return store.build("examples", VERSION, section, inputs, make, engine, reporter)


def parse_source(source: str, recipe: BenchmarkRecipe) -> Source:
    """Read one --source argument.

    Raises:
        BadValue: a file of `ner` whose split is not known.
        SourceError: there is no such file.
    """
    named, _, path = source.rpartition("=")
    if named and (named not in SPLITS or not recipe.ner):
        named, path = "", source
    split = next((one for one in SPLITS if one == named), None)
    file = Source(Path(path), split)
    if not file.path.is_file():
        raise SourceError(f"{path} is not a file; give --source the path of a published file")
    if not recipe.ner or split:
        return file
    known = SPLIT_BY_STEM.get(file.path.stem)
    if known is None:
        raise BadValue(
            f"the split of {path} is not known by its name (train, dev, test); give it as "
            f"--source train={path}"
        )
    return Source(file.path, known)


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def _write_examples(folder: Path, payload: Payload) -> Outcome:
    read = _read_sources(*payload)
    entry = write_table(
        folder, "examples/all.parquet", read.table, read.table.schema, text_columns=TEXT_COLUMNS
    )
    write_json(folder / SOURCE, read.notes)
    flow = Flow(read.num_read, len(read.table), read.rejected)
    return Outcome((entry, describe_file(folder / SOURCE, SOURCE)), {"rows": flow})


def _read_sources(
    sources: Sequence[Source],
    recipe: BenchmarkRecipe,
    items: Artifact | None,
    documents: Artifact | None,
) -> Read:
    if recipe.ner:
        return _read_ner(sources, recipe, documents)
    if items:
        return Read(*read_obsoletion_examples(items, [source.path for source in sources]))
    if len(sources) != 1:
        raise BadValue(f"{recipe.task} has one published file; {len(sources)} were given")
    reader = read_quality_csv if recipe.quality else read_closed_csv
    published = reader(sources[0].path)
    table, rejected = published.table, published.rejected
    for field in DEALT_FIELDS:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    notes = {"encoding": published.encoding, "labels": dict(sorted(published.labels.items()))}
    return Read(table, len(table) + rejected.total(), rejected, notes)


def _read_ner(
    sources: Sequence[Source], recipe: BenchmarkRecipe, documents: Artifact | None
) -> Read:
    assert recipe.ner
    files = [read_ner_file(source.path, source.split or "train") for source in sources]
    examples = make_ner_examples(files, recipe.ner, recipe.benchmark)
    notes = describe_ner(examples)
    if documents:
        examples = ground_examples(examples, documents)
        notes["grounding"] = describe_grounding(examples)
    table = examples.table
    for field, values in zip(DEALT_FIELDS, (examples.groups, examples.splits), strict=True):
        table = table.append_column(field, values)
    return Read(table, examples.num_read, Counter(examples.rejected), notes)
