"""The Croissant file: read by its reference implementation, and checked beyond it."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import hf_hub_url

from corpus.croissant import CONTEXT, Described, cite, make_croissant
from corpus.croissant_check import REQUIRED, REQUIRED_RAI, check_croissant
from corpus.engine import LocalEngine
from corpus.errors import BadValue
from corpus.location import Location
from corpus.manifest import FileEntry, Json
from corpus.progress import Reporter
from corpus.publication import build_publication
from corpus.recipe import CardSection
from corpus.release import build_release
from corpus.store import Artifact, Store

# What mlcroissant does with the newest rdflib and pandas is not ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning"),
]

HOSTILE = 'A "quoted" <b>title</b> {\\input{x}} ünï\n@id: 王 "}]'
CARD = CardSection(
    name="x", title="X", summary="", creators=["Ada Lovelace"], published=date(2026, 1, 31)
)


@pytest.fixture(scope="module")
def publication(demo_build: Any, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The demo corpus as `ada/demo`, version 1.2.3."""
    told = {"creators": CARD.creators, "published": CARD.published, "version": "1.2.3"}
    recipe = demo_build.recipe
    recipe = recipe.model_copy(update={"card": recipe.card.model_copy(update=told)})
    store = Store(tmp_path_factory.mktemp("store"))
    inputs = [demo_build.artifacts[stage] for stage in ("dataset", "leakage", "statistics")]
    at = {"engine": LocalEngine(), "reporter": Reporter(quiet=True)}
    release = build_release(*inputs, recipe, store, *at.values())
    run = demo_build.artifacts | {"release": release}
    return build_publication(run, "ada/demo", store=store, **at)


@pytest.fixture
def content(publication: Artifact) -> Json:
    content: Json = json.loads(publication.path("croissant.json").read_bytes())
    return content


@pytest.fixture(scope="module")
def mlcroissant() -> Any:
    import mlcroissant  # a second that only these tests need

    return mlcroissant


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the validator of the format as its users do."""
    program = Path(sys.executable).with_name("mlcroissant")
    command = [str(program), "validate", "--jsonld", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def plain(value: Any) -> Any:
    """Return what the reader gives as pyarrow would: names without their paths, text as str."""
    if isinstance(value, dict):
        return {name.rpartition("/")[2]: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    return value.item() if hasattr(value, "item") else value


# What readers make of it --------------------------------------------------------------------


def test_the_validator_has_neither_errors_nor_warnings(publication: Artifact) -> None:
    ran = validate(publication.path("croissant.json"))
    lines = ran.stderr.splitlines()
    assert (ran.returncode, ran.stdout, len(lines)) == (0, "", 1)
    assert lines[0].startswith("I") and lines[0].endswith("Done.")


def test_the_records_read_through_it_are_the_rows_of_the_files(
    mlcroissant: Any, content: Json, publication: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = mlcroissant.Dataset(content, mapping={"repo": str(publication.folder)})
    records = [plain(record) for record in dataset.records("documents")]
    rows = [
        {"split": entry.name[len("data/") :].split("-")[0], **row}
        for entry in publication.files("data/")
        for row in pq.read_table(publication.path(entry.name)).to_pylist()
    ]
    assert len(records) == len(rows) == 60
    assert any(row["comments"] for row in rows) and any(row["links"] for row in rows)
    assert records == rows
    assert [one for one in caplog.records if one.levelname != "INFO"] == []


def test_a_split_is_read_alone(mlcroissant: Any, content: Json, publication: Artifact) -> None:
    dataset = mlcroissant.Dataset(content, mapping={"repo": str(publication.folder)})
    records = dataset.records("documents", filters={"documents/split": "test"})
    ids = {plain(record)["doc_id"] for record in records}
    files = publication.files("data/test-")
    tables = [pq.read_table(publication.path(entry.name), columns=["doc_id"]) for entry in files]
    assert ids == set(pa.concat_tables(tables)["doc_id"].to_pylist())


def test_the_splits_are_listed_with_their_sizes(mlcroissant: Any, content: Json) -> None:
    rows = [plain(row) for row in mlcroissant.Dataset(content).records("splits")]
    assert {row["name"]: row["num_rows"] for row in rows} == {
        "train": 31,
        "validation": 15,
        "test": 14,
    }


def test_every_shard_is_named_with_its_digest_size_and_address(
    content: Json, publication: Artifact
) -> None:
    named = {one["@id"]: one for one in content["distribution"] if "contentSize" in one}
    on_disk = sorted((publication.folder / "data").iterdir())
    assert list(named) == [entry.name for entry in publication.files("data/")]
    assert sorted(named) == [f"data/{path.name}" for path in on_disk]
    for path in on_disk:
        one = named[f"data/{path.name}"]
        assert one["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert one["contentSize"] == f"{path.stat().st_size} B"
        at = {"repo_type": "dataset", "revision": "v1.2.3", "endpoint": "https://huggingface.co"}
        assert one["contentUrl"] == hf_hub_url("ada/demo", f"data/{path.name}", **at)


def test_readers_clone_the_repository_at_the_tag(mlcroissant: Any, content: Json) -> None:
    from mlcroissant._src.operation_graph.operations.download import extract_git_info

    url = content["distribution"][0]["contentUrl"]
    assert extract_git_info(url) == ("https://huggingface.co/datasets/ada/demo", "refs/tags/v1.2.3")


def test_the_context_is_that_of_the_format(mlcroissant: Any) -> None:
    from mlcroissant._src.core.context import Context, CroissantVersion
    from mlcroissant._src.core.rdf import make_context

    standard = make_context(Context(conforms_to=CroissantVersion.V_1_1))
    assert {term: CONTEXT.get(term) for term in standard} == standard


def test_every_column_is_described(content: Json, publication: Artifact) -> None:
    documents = content["recordSet"][1]
    schema = pq.read_schema(publication.path(publication.files("data/")[0].name))
    assert [field["name"] for field in documents["field"]] == ["split", *schema.names]
    assert all(field["description"] for field in documents["field"])
    assert documents["key"] == {"@id": "documents/doc_id"}


# What it says -------------------------------------------------------------------------------


def describe(**changes: Any) -> Described:
    file = FileEntry("data/train-00000-of-00001.parquet", 10, 2, "0f" * 32, "0f" * 32)
    said = {
        **{"card": CARD, "location": Location("ada/x", "1.0.0"), "description": "Texts."},
        **{"keywords": ["k"], "files": [file], "schema": pa.schema({"id": pa.string()})},
        **{"meanings": {"id": "the key"}, "record": "rows", "key": "id"},
        "statements": dict.fromkeys(REQUIRED_RAI, "said"),
    }
    return Described(**(said | changes))


def test_a_split_without_rows_is_not_listed() -> None:
    splits, rows = make_croissant(describe())["recordSet"]
    assert [row["splits/name"] for row in splits["data"]] == ["train"]
    assert rows["@id"] == "rows"


def test_lists_and_parts_of_parts_are_described() -> None:
    inner = pa.struct({"b": pa.struct({"c": pa.list_(pa.int16())})})
    schema = pa.schema({"a": pa.list_(inner), "m": pa.list_(pa.list_(pa.float64()))})
    made = make_croissant(
        describe(schema=schema, meanings={"a": "parts", "m": "a matrix"}, key="a")
    )
    _, a, m = made["recordSet"][1]["field"]
    assert (a["isArray"], a["arrayShape"]) == (True, "-1")
    leaf = a["subField"][0]["subField"][0]
    assert (leaf["@id"], leaf["dataType"], leaf["arrayShape"]) == ("rows/a/b/c", "cr:Int16", "-1")
    assert leaf["source"]["transform"] == {"jsonPath": "b.c"}
    assert (m["dataType"], m["arrayShape"]) == ("cr:Float64", "-1,-1")
    check_croissant(made)


def test_classes_are_listed_and_the_label_refers_to_them() -> None:
    schema = pa.schema({"id": pa.string(), "label": pa.string()})
    meanings = {"id": "the key", "label": "the class"}
    made = make_croissant(describe(schema=schema, meanings=meanings, labels=["no", "yes"]))
    _, labels, rows = made["recordSet"]
    assert [row["labels/name"] for row in labels["data"]] == ["no", "yes"]
    assert rows["field"][2]["references"] == {"field": {"@id": "labels/name"}}
    check_croissant(made)


def test_what_people_wrote_is_data_and_not_markup(mlcroissant: Any, tmp_path: Path) -> None:
    card = CARD.model_copy(update={"title": HOSTILE, "creators": [HOSTILE, "R and D"]})
    made = make_croissant(describe(card=card, description=HOSTILE))
    check_croissant(made)
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(made, ensure_ascii=False), "utf-8")
    read = mlcroissant.Dataset(str(path)).metadata
    assert (read.name, read.description) == (HOSTILE, HOSTILE)
    assert {one.name for one in read.creators} == {HOSTILE, "R and D"}
    assert read.license == ["https://creativecommons.org/licenses/by-sa/4.0/"]
    cited = read.cite_as
    assert cited.count("{") == cited.count("}")
    assert "\\input" not in cited and "{R and D}" in cited
    assert len(cited.splitlines()) == 7


def test_a_citation_names_version_year_and_address() -> None:
    assert cite(CARD, Location("ada/x", "1.0.0")).splitlines()[1:-1] == [
        "  title = {X},",
        "  author = {Ada Lovelace},",
        "  year = {2026},",
        "  version = {1.0.0},",
        "  url = {https://huggingface.co/datasets/ada/x}",
    ]


# Our own check ------------------------------------------------------------------------------

Where = tuple[str | int, ...]


def iter_required(content: Json) -> Iterator[tuple[Where, str]]:
    """Yield where each required field is in a file, and the dotted path that names it."""
    for name in (*REQUIRED, *REQUIRED_RAI):
        yield (name,), name
    yield ("creator", 0, "name"), "creator[0].name"
    for place, one in enumerate(content["distribution"]):
        for name in ("contentUrl", "contentSize", "encodingFormat", "sha256", "containedIn"):
            if name in one:
                yield ("distribution", place, name), f"distribution[{place}].{name}"
    for place in range(len(content["recordSet"])):
        yield ("recordSet", place, "field"), f"recordSet[{place}].field"
    rows = ("recordSet", 1, "field")
    for name in ("source", "dataType", "@id"):
        yield (*rows, 2, name), f"recordSet[1].field[2].{name}"
        yield (*rows, 8, "subField", 0, name), f"recordSet[1].field[8].subField[0].{name}"


def change(content: Json, path: Where, value: Any = None) -> Json:
    """Return a copy without the field, or with another value in its place."""
    changed = copy.deepcopy(content)
    parent: Any = changed
    for key in path[:-1]:
        parent = parent[key]
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return changed


def test_the_published_file_passes(content: Json) -> None:
    check_croissant(content)


def test_each_required_field_is_missed_by_its_path(content: Json) -> None:
    required = dict(iter_required(content))
    assert len(required) > 60
    for path, name in required.items():
        with pytest.raises(BadValue, match="lacks") as caught:
            check_croissant(change(content, path))
        lacking = str(caught.value).split(" lacks ")[1].split(";")[0].split(", ")
        # Without its format, nobody knows what else is asked of a file.
        assert name in lacking, path


@pytest.mark.parametrize("value", ["", " \n", [], [""], {}])
def test_an_empty_field_is_a_missing_one(content: Json, value: Any) -> None:
    with pytest.raises(BadValue, match=r"lacks description, rai:dataBiases;"):
        check_croissant(
            change(change(content, ("description",), value), ("rai:dataBiases",), value)
        )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("conformsTo",), "http://mlcommons.org/croissant/1.1", "conformsTo http.*/RAI/1.0"),
        (("distribution", 2, "sha256"), "0f", r"distribution\[2\].sha256 in 64 hex digits"),
        (("distribution", slice(2, None)), [], "distribution of single files"),
    ],
)
def test_a_wrong_value_is_found(content: Json, path: Any, value: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        check_croissant(change(content, path, value))


def test_that_there_is_no_synthetic_data_is_something_said(content: Json) -> None:
    check_croissant(change(content, ("rai:hasSyntheticData",), False))


def test_the_validator_of_the_format_misses_almost_none_of_this(
    mlcroissant: Any, content: Json
) -> None:
    refused = set()
    for name in (*REQUIRED, *REQUIRED_RAI):
        try:
            mlcroissant.Dataset(change(content, (name,)))
        except mlcroissant.ValidationError:
            refused.add(name)
    assert refused == {"conformsTo", "distribution"}
