"""What is published of a benchmark: how its labels came about, and what was proved of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from corpus.croissant_check import check_croissant
from corpus.engine import LocalEngine
from corpus.errors import BadValue
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.store import Artifact, Store, verify_artifact
from labeling.build import build_benchmark
from labeling.contamination import read_checks
from labeling.probing import PROBES
from labeling.publication import build_benchmark_publication
from labeling.recipe import BenchmarkRecipe, Task, load_benchmark_recipe
from tests.conftest import CHECKOUT

# What mlcroissant does with the newest rdflib and pandas is not ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:DeprecationWarning"),
]
AT: Json = {"engine": LocalEngine(), "reporter": Reporter(quiet=True)}
TOLD = {"creators": ["Ada Lovelace"], "published": date(2026, 1, 31)}
GUIDELINE = "ab" * 32

Run = dict[str, Artifact]


@pytest.fixture(scope="module")
def store(demo_build: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A copy of the demo build's store."""
    folder = tmp_path_factory.mktemp("copy") / "store"
    shutil.copytree(demo_build.store.folder, folder, copy_function=os.link)
    return Store(folder)


def read_recipe(task: Task) -> BenchmarkRecipe:
    recipe = load_benchmark_recipe(CHECKOUT / "datacards" / f"demo-{task}" / "recipe.toml")
    return recipe.model_copy(update={"card": recipe.card.model_copy(update=TOLD)})


def say(item: Json, annotator: str, label: str) -> Json:
    role = "machine" if annotator == "model" else "annotator"
    at = f"2026-01-0{len(annotator)}T00:00:00+00:00"
    return {
        **{"annotator": annotator, "role": role, "revision": 1, "at": at, "label": label},
        **{"cause": None, "evidence": [], "confidence": 2, "note": ""},
        "guideline_sha256": GUIDELINE,
    }


def judge(number: int, item: Json) -> Json:
    """Two people and a model judge; people disagree on two items and one person was away once."""
    label = "obsolete" if number % 3 == 0 else "current"
    said = [say(item, "ada", label), say(item, "model", "current")]
    if number != 5:
        said.append(say(item, "bobby", "current" if number in (0, 3) else label))
    settled = number not in (0, 3)
    reason = "agreed" if settled else "disagreed"
    row = {"item_id": item["item_id"], "label": label if settled else None, "reason": reason}
    return {**row, "judgements": said}


@pytest.fixture(scope="module")
def closed(store: Store) -> Run:
    return build_benchmark("closed", read_recipe("closed"), store=store, **AT)


@pytest.fixture(scope="module")
def obsoletion(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demo corpus's items with crafted judgements."""
    recipe = read_recipe("obsoletion")
    items = build_benchmark("obsoletion", recipe, store=store, **AT)["items"]
    lines = items.path("items.jsonl").read_text("ascii").splitlines()
    rows = [json.dumps(judge(number, json.loads(line))) for number, line in enumerate(lines)]
    path = tmp_path_factory.mktemp("judgements") / "judgements.jsonl"
    path.write_text("\n".join(rows) + "\n", "ascii")
    return build_benchmark("obsoletion", recipe, [str(path)], store=store, **AT)


@pytest.fixture(scope="module")
def publication(closed: Run, store: Store) -> Artifact:
    return build_benchmark_publication(closed, "ada/demo-closed", store=store, **AT)


@pytest.fixture
def said(publication: Artifact) -> Json:
    content: Json = json.loads(publication.path("croissant.json").read_bytes())
    return content


@pytest.fixture(scope="module")
def judged(obsoletion: Run, store: Store) -> Json:
    made = build_benchmark_publication(obsoletion, "ada/demo-obsoletion", store=store, **AT)
    content: Json = json.loads(made.path("croissant.json").read_bytes())
    return content


def read_rows(artifact: Artifact) -> list[Json]:
    files = artifact.files("data/")
    return [row for one in files for row in pq.read_table(artifact.path(one.name)).to_pylist()]


# The folder ---------------------------------------------------------------------------------


def test_the_folder_is_the_release_with_its_pages_anew(publication: Artifact, closed: Run) -> None:
    verify_artifact(publication)
    names = {entry.name for entry in publication.files()}
    assert names == {entry.name for entry in closed["release"].files()} | {"croissant.json"}
    card = publication.path("README.md").read_text("utf-8")
    assert 'load_dataset("ada/demo-closed", revision="v0.1.0")' in card
    assert 'load_published("ada/demo-closed", version="0.1.0")' in card
    assert "<owner>" not in card and "<version>" not in card
    released = closed["release"].path("README.md").read_text("utf-8")
    gone = set(released.splitlines()) - set(card.splitlines())
    assert gone == {'benchmark = load_dataset("<owner>/demo-closed", revision="<version>")'}


def test_the_folder_loads_as_a_dataset(publication: Artifact, tmp_path: Path) -> None:
    import datasets  # a second that only this test needs

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(str(publication.folder), cache_dir=str(tmp_path))
    assert sum(loaded.num_rows.values()) == len(read_rows(publication))


def test_the_validator_has_neither_errors_nor_warnings(publication: Artifact) -> None:
    program = Path(sys.executable).with_name("mlcroissant")
    command = [str(program), "validate", "--jsonld", str(publication.path("croissant.json"))]
    ran = subprocess.run(command, capture_output=True, text=True)
    lines = ran.stderr.splitlines()
    assert (ran.returncode, ran.stdout, len(lines)) == (0, "", 1)
    assert lines[0].startswith("I") and lines[0].endswith("Done.")


def test_the_records_read_through_it_are_the_examples(
    publication: Artifact, said: Json, caplog: pytest.LogCaptureFixture
) -> None:
    import mlcroissant  # a second that only this test needs

    dataset = mlcroissant.Dataset(said, mapping={"repo": str(publication.folder)})
    records = list(dataset.records("examples"))
    rows = read_rows(publication)
    assert [record["examples/text"].decode() for record in records] == [r["text"] for r in rows]
    assert [record["examples/label"] for record in records] == [r["label"].encode() for r in rows]
    numbers = [
        [one["examples/metadata/value"] for one in record["examples/metadata"]]
        for record in records
    ]
    assert numbers == [[one["value"] for one in row["metadata"]] for row in rows]
    classes = [one["labels/name"] for one in dataset.records("labels")]
    assert classes == ["closed", "open"]
    assert [one for one in caplog.records if one.levelname != "INFO"] == []


def test_the_same_run_gives_the_same_bytes(
    publication: Artifact, closed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    again = build_benchmark_publication(closed, "ada/demo-closed", store=Store(tmp_path), **AT)
    assert again.manifest == publication.manifest


# What croissant.json says -------------------------------------------------------------------


def test_labels_from_a_dump_are_said_to_come_from_its_history(
    said: Json, publication: Artifact
) -> None:
    protocol = said["rai:dataAnnotationProtocol"]
    assert protocol.startswith("Nobody was asked to label")
    for entries in ("train", "validation", "test"):
        rows = publication.files(f"data/{entries}-")
        labels = Counter[str]()
        for one in rows:
            labels.update(pq.read_table(publication.path(one.name))["label"].to_pylist())
        assert f"{entries}: closed {labels['closed']}, open {labels['open']}" in protocol
    assert not {"rai:annotationsPerItem", "rai:dataAnnotationPlatform"} & said.keys()


def test_the_proof_is_told_with_what_it_compared(said: Json, closed: Run) -> None:
    proof = said["rai:dataPreprocessingProtocol"][-1]
    checks = read_checks(closed["contamination"])
    assert len(checks) == 8
    assert proof.count(" were compared, and 0 found against it.") == len(checks)
    for check in checks:
        assert f"{check['num_compared']:,} were compared" in proof


def test_the_probes_are_told_in_words(said: Json, closed: Run) -> None:
    rows = json.loads(closed["probes"].path(PROBES).read_bytes())["rows"]
    told = said["rai:dataBiases"][1:]
    assert len(told) == len(rows)
    for row, words in zip(rows, told, strict=True):
        assert words.startswith(f"Probe {row['probe']}")
        assert f"AUC {row['auc']['value']:.3f}, 95 % interval" in words


def test_it_is_derived_from_the_corpus(said: Json, demo_build: Any) -> None:
    (corpus,) = said["prov:wasDerivedFrom"]
    assert corpus["prov:label"] == "corpus demo"
    stages = ("posts", "splits", "dataset")
    ids = {f"sha256:{demo_build.artifacts[stage].manifest.id}" for stage in stages}
    assert set(corpus["identifier"]) == ids


def test_authors_are_counted(said: Json, publication: Artifact) -> None:
    accounts = {row["author_id"] for row in read_rows(publication)} - {None}
    assert f" {len(accounts)} accounts" in said["rai:personalSensitiveInformation"]


def test_peoples_judgements_are_counted_with_their_agreement(judged: Json, obsoletion: Run) -> None:
    check_croissant(judged)
    rows = read_rows(obsoletion["benchmark"])
    people = [[one for one in row["judgements"] if one["role"] != "machine"] for row in rows]
    num = sum(map(len, people))
    per_item = judged["rai:annotationsPerItem"]
    assert per_item == f"1 to 2 people; {num} judgements of {len(rows)} examples."
    # Whom the benchmark kept agreed; the two items they did not are counted as left out.
    assert (
        "with a frequency of 1.000 (Krippendorff's alpha 1.000)"
        in (judged["rai:dataAnnotationAnalysis"])
    )
    assert "disagreed: 2" in judged["rai:dataCollectionMissingData"]
    assert GUIDELINE in judged["rai:dataAnnotationProtocol"]
    assert "stand for nobody" in judged["rai:personalSensitiveInformation"]
    assert judged["rai:machineAnnotationTools"] == [
        "machine-1: a language model, marked as a machine in `judgements`; it settles no label."
    ]
    assert "ada" not in json.dumps(judged["rai:machineAnnotationTools"])


def test_judgements_are_named_by_the_digest_of_their_file(judged: Json) -> None:
    labels = [one["prov:label"] for one in judged["prov:wasDerivedFrom"]]
    assert labels == ["exported judgements", "corpus demo"]


# What is refused ----------------------------------------------------------------------------


def test_items_without_judgements_are_no_benchmark_to_publish(
    obsoletion: Run, store: Store
) -> None:
    unfinished = {stage: obsoletion[stage] for stage in ("candidates", "items")}
    with pytest.raises(BadValue, match="is no finished benchmark; build it whole"):
        build_benchmark_publication(unfinished, "ada/demo", store=store, **AT)


def test_nor_is_a_corpus(demo_build: Any, store: Store) -> None:
    with pytest.raises(BadValue, match="sobert corpus publish"):
        build_benchmark_publication(demo_build.artifacts, "ada/demo", store=store, **AT)
