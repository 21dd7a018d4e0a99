"""The examples of published files: read, checked, and in the form that the others have.

    examples/0000k.parquet  columns: the task's schema, `group` and `split` (null, but for `ner`)
    source.json             the digests of the files, and what was counted in them; of `ner` also
                            what the corpus has of them

The name and the place of a file are not part of what is built; its bytes and, for `ner`, its split
are, and the documents of a corpus that has the site, and what was taken down in the store
(`labeling.removed`).
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from corpus.durable import write_json
from corpus.engine import Engine
from corpus.errors import BadValue, SourceError
from corpus.manifest import Flow, Json, Outcome, digest_file
from corpus.progress import Reporter
from corpus.recipe import SPLITS, Split
from corpus.removals import Record, read_record
from corpus.store import Artifact, Store, Task, Work
from corpus.tables import describe_file, write_table
from labeling.closed_csv import iter_closed_csv
from labeling.conll import read_ner_file
from labeling.examples import DEALT_FIELDS, TEXT_COLUMNS
from labeling.grounding import describe_grounding, ground_examples, has_site
from labeling.ner import describe_ner, make_ner_examples
from labeling.obsoletion_examples import read_obsoletion_examples
from labeling.quality_csv import iter_quality_csv
from labeling.recipe import BenchmarkRecipe
from labeling.removed import REASON, drop_removed

VERSION = 1
FILE_ROWS = 100_000
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
    record: Record


class Read(NamedTuple):
    """What the files hold: examples with group and split, and why not all rows are.

    `rejected` and `notes` are whole once all tables have been taken.
    """

    tables: Iterable[pa.Table]
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
    parsed = [parse_source(source, recipe) for source in sources]
    by_digest = sorted((file.split or "", _digest(file.path), file) for file in parsed)
    digests = [[split, digest] for split, digest, _ in by_digest]
    files = [file for _, _, file in by_digest]
    searched = documents if documents and recipe.ner and has_site(documents) else None
    record = read_record(store.folder)
    payload = Payload(files, recipe, items, searched, record)

    def make(work: Work) -> Outcome:
        with reporter.note_if_slow("examples: reading the published files"):
            (outcome,) = work.map(_write_examples, [Task("examples", payload)])
        return outcome

    section = {"task": recipe.task, "files": digests, **_read_keys(recipe), **record.section()}
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
    try:
        is_file = stat.S_ISREG(file.path.stat().st_mode)
    except OSError as error:
        raise SourceError(f"{path[:200]} cannot be read: {error.strerror}") from error
    if not is_file:
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


def _read_keys(recipe: BenchmarkRecipe) -> Json:
    """Return the keys of the recipe that reading depends on."""
    if recipe.closed:
        return {"reasons": sorted(recipe.closed.reasons)}
    if not recipe.ner:
        return {}
    dealt = recipe.benchmark.model_dump(mode="json", include={"salt", "fractions"})
    return recipe.ner.model_dump(mode="json") | (dealt if recipe.ner.splits == "resampled" else {})


def _write_examples(folder: Path, payload: Payload) -> Outcome:
    read = _read_sources(*payload)
    entries, num_rows = [], 0
    for number, whole in enumerate(read.tables):
        table = drop_removed(whole, payload.record)
        read.rejected[REASON] += len(whole) - len(table)
        name = f"examples/{number:05d}.parquet"
        entries.append(write_table(folder, name, table, table.schema, text_columns=TEXT_COLUMNS))
        num_rows += len(table)
    digests = [{"split": file.split, "sha256": _digest(file.path)} for file in payload.sources]
    write_json(folder / SOURCE, {"files": digests, **read.notes})
    flow = Flow(num_rows + read.rejected.total(), num_rows, read.rejected)
    return Outcome((*entries, describe_file(folder / SOURCE, SOURCE)), {"rows": flow})


def _read_sources(
    sources: Sequence[Source],
    recipe: BenchmarkRecipe,
    items: Artifact | None,
    documents: Artifact | None,
    record: Record,
) -> Read:
    if recipe.ner:
        return _read_ner(sources, recipe, documents)
    if items:
        paths = [source.path for source in sources]
        # What was taken down, or quoted it, is no item any more, but was judged.
        left_out = REASON if record.removals else None
        examples = read_obsoletion_examples(items, paths, left_out=left_out)
        return Read([examples.table], examples.rejected, examples.notes)
    if len(sources) != 1:
        raise BadValue(f"{recipe.task} has one published file; {len(sources)} were given")
    rejected, labels, encodings = Counter[str](), Counter[str](), set[str]()
    notes: Json = {}
    read = iter_quality_csv if recipe.quality else iter_closed_csv

    def iter_tables() -> Iterator[pa.Table]:
        for part in read(sources[0].path):
            rejected.update(part.rejected)
            labels.update(part.labels)
            encodings.add(part.encoding)
            yield _keep_reasons(part.table, recipe, rejected)
        notes.update(encoding=min(encodings), labels=dict(sorted(labels.items())))

    return Read(_in_large_tables(iter_tables()), rejected, notes)


def _keep_reasons(table: pa.Table, recipe: BenchmarkRecipe, rejected: Counter[str]) -> pa.Table:
    """Leave out questions closed for a reason that the recipe does not count; add what is dealt."""
    if recipe.closed:
        names = table["reason"]
        is_counted = pc.is_in(names, pa.array(recipe.closed.reasons))
        is_other = pc.and_(pc.is_valid(names), pc.invert(is_counted))
        for name in names.filter(is_other).to_pylist():
            rejected[f"reason:{name}"] += 1
        table = table.filter(pc.invert(is_other))
    for field in DEALT_FIELDS:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table


def _in_large_tables(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join small tables into ones of some FILE_ROWS rows; there is always one."""
    waiting: list[pa.Table] = []
    num_rows, num_written = 0, 0
    for table in tables:
        waiting.append(table)
        num_rows += len(table)
        if num_rows >= FILE_ROWS:
            yield pa.concat_tables(waiting)
            waiting, num_rows, num_written = [], 0, num_written + 1
    if waiting and (num_rows or not num_written):
        yield pa.concat_tables(waiting)


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
    return Read([table], Counter(examples.rejected), notes)
