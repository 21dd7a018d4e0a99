"""The folder that goes to the Hub: whole, checked, and the same wherever it is made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from corpus.engine import LocalEngine
from corpus.errors import BadValue, SobertError
from corpus.hub_folder import Publication, check_publication
from corpus.location import locate
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.publication import build_publication
from corpus.release import build_release
from corpus.statistics import load_statistics
from corpus.store import Artifact, Store, verify_artifact

TOLD = {"creators": ["Ada Lovelace"], "published": date(2026, 1, 31), "version": "1.2.3"}
AT: Json = {"engine": LocalEngine(), "reporter": Reporter(quiet=True)}
PAGES = {"README.md", "croissant.json"}


@pytest.fixture(scope="module")
def make_run(demo_build: Any) -> Callable[..., dict[str, Artifact]]:
    """Release the demo corpus anew with other keys in `card`."""

    def make(store: Store, **told: Any) -> dict[str, Artifact]:
        recipe = demo_build.recipe
        recipe = recipe.model_copy(update={"card": recipe.card.model_copy(update=told)})
        inputs = [demo_build.artifacts[stage] for stage in ("dataset", "leakage", "statistics")]
        release = build_release(*inputs, recipe, store, *AT.values())
        return demo_build.artifacts | {"release": release}

    return make


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def run(make_run: Callable[..., dict[str, Artifact]], store: Store) -> dict[str, Artifact]:
    return make_run(store, **TOLD)


@pytest.fixture(scope="module")
def publication(run: dict[str, Artifact], store: Store) -> Artifact:
    return build_publication(run, "ada/demo", store=store, **AT)


@pytest.fixture(scope="module")
def said(publication: Artifact) -> Json:
    content: Json = json.loads(publication.path("croissant.json").read_bytes())
    return content


# The folder ---------------------------------------------------------------------------------


def test_the_folder_is_the_release_with_its_pages_anew(
    publication: Artifact, run: dict[str, Artifact]
) -> None:
    verify_artifact(publication)
    release = run["release"]
    released = {entry.name for entry in release.files()}
    assert {entry.name for entry in publication.files()} == released | PAGES
    for entry in release.files():
        is_same = publication.path(entry.name).samefile(release.path(entry.name))
        assert is_same == (entry.name != "README.md")


def test_the_manifest_is_one_that_can_be_published(publication: Artifact) -> None:
    check_publication(Publication(publication.folder, publication.manifest, "1.2.3"))
    assert publication.manifest.recipe == {
        "repo": "ada/demo",
        "revision": "v1.2.3",
        "url": "https://huggingface.co/datasets/ada/demo",
        "version": "1.2.3",
    }
    rows = {e.name: e.num_rows for e in publication.manifest.outcome.files if e.num_rows}
    assert sum(rows.values()) == 60


def test_the_folder_loads_as_a_dataset(publication: Artifact, tmp_path: Path) -> None:
    import datasets  # a second that only this test needs

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(str(publication.folder), cache_dir=str(tmp_path))
    assert loaded.num_rows == {"train": 31, "validation": 15, "test": 14}


def test_the_card_says_where_it_is_published(
    publication: Artifact, run: dict[str, Artifact]
) -> None:
    card = publication.path("README.md").read_text("utf-8")
    assert 'load_dataset("ada/demo", revision="v1.2.3")' in card
    assert 'load_published("ada/demo", version="1.2.3")' in card
    assert "<owner>" not in card and "<version>" not in card
    released = run["release"].path("README.md").read_text("utf-8")
    assert 'load_dataset("<owner>/demo", revision="<version>")' in released
    assert "load_published" not in released
    gone = set(released.splitlines()) - set(card.splitlines())
    assert gone == {'dataset = load_dataset("<owner>/demo", revision="<version>")'}


def test_the_same_run_gives_the_same_bytes_anywhere_and_at_any_time(
    publication: Artifact,
    make_run: Callable[..., dict[str, Artifact]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    time.tzset()
    try:
        store = Store(Path("store"))
        again = build_publication(make_run(store, **TOLD), "ada/demo", store=store, **AT)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert again.manifest == publication.manifest
    for entry in publication.files():
        there, here = again.path(entry.name), publication.path(entry.name)
        assert (tmp_path / there).read_bytes() == here.read_bytes()


def test_nothing_that_is_published_names_the_machine(
    publication: Artifact, demo_build: Any
) -> None:
    written = b"".join(publication.path(name).read_bytes() for name in sorted(PAGES))
    for path in (publication.folder.parents[1], demo_build.dump, Path.cwd(), Path.home()):
        assert str(path).encode() not in written


def test_what_was_put_together_before_is_used_again(
    publication: Artifact, run: dict[str, Artifact], store: Store
) -> None:
    written_at = publication.path("croissant.json").stat().st_mtime_ns
    again = build_publication(run, "ada/demo", store=store, **AT)
    assert again == publication
    assert again.path("croissant.json").stat().st_mtime_ns == written_at
    assert build_publication(run, "bob/demo", store=store, **AT).folder != publication.folder


# What croissant.json says -------------------------------------------------------------------


def test_its_numbers_are_those_of_the_statistics(said: Json, run: dict[str, Artifact]) -> None:
    numbers = load_statistics(run["statistics"])
    totals = numbers["totals"]
    assert f"{totals['documents']:,} documents" in said["description"]
    assert f"{totals['tokens']:,} tokens" in said["description"]
    ends = [totals["first_created_at"], totals["last_created_at"]]
    assert said["rai:dataCollectionTimeframe"] == ends
    assert f" {totals['authors']:,} accounts" in said["rai:personalSensitiveInformation"]
    removed = numbers["duplicates"]["removed"]
    assert f"{removed['exact']} documents were removed" in said["rai:dataPreprocessingProtocol"][0]
    left_out = sum(sum(flow["rejected"].values()) for flow in numbers["flows"])
    counts = said["rai:dataCollectionMissingData"].split(". ")[0].split("; ")
    assert sum(int(one.rpartition(" ")[2].rstrip(".")) for one in counts) == left_out
    inferred = sum(
        row["count"]
        for row in numbers["licences"]
        if row["source"] != "row" and row["texts"] == "documents"
    )
    assert f"licence of {inferred} documents" in said["rai:dataImputationProtocol"]
    assert said["identifier"] == run["dataset"].manifest.id
    for check in numbers["proof"]:
        assert f" {check['num_compared']:,} " in said["rai:dataPreprocessingProtocol"][1]


def test_it_names_every_file_that_the_data_was_derived_from(
    said: Json, run: dict[str, Artifact]
) -> None:
    sources = load_statistics(run["statistics"])["sources"]
    named = {
        (one["@id"], digest) for one in said["prov:wasDerivedFrom"] for digest in one["identifier"]
    }
    wanted = {(f"https://{one['site']}", f"sha256:{one['source_sha256']}") for one in sources}
    assert named == wanted


def test_what_the_card_says_too_is_said_in_the_same_words(
    said: Json, publication: Artifact
) -> None:
    card = publication.path("README.md").read_text("utf-8")
    limits = card.split("\n## Limits\n")[1].split("\n## ")[0].strip().split("\n")
    assert said["rai:dataLimitations"] == [line.removeprefix("- ") for line in limits]
    assert set(said["rai:dataBiases"]) < set(said["rai:dataLimitations"])
    texts = [said["rai:personalSensitiveInformation"], said["rai:dataPreprocessingProtocol"][0]]
    for text in texts:
        assert text in " ".join(card.split())


def test_who_and_when_is_as_the_recipe_says(said: Json) -> None:
    assert said["creator"] == [{"@type": "sc:Person", "name": "Ada Lovelace"}]
    assert (said["datePublished"], said["version"]) == ("2026-01-31", "1.2.3")
    assert said["license"] == "https://creativecommons.org/licenses/by-sa/4.0/"
    assert said["inLanguage"] == ["en"] and said["isLiveDataset"] is False


def test_invented_sites_are_said_to_be_synthetic(said: Json) -> None:
    assert said["rai:hasSyntheticData"] is True


def test_nobody_labelled_a_corpus(said: Json) -> None:
    assert [name for name in said if "nnotat" in name] == []


# What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        ({"creators": [], "published": None}, "card.creators, card.published"),
        ({"creators": []}, "card.creators"),
        ({"creators": ["Ada", " "]}, "card.creators"),
        ({"published": None}, "card.published"),
        ({"title": " "}, "card.title"),
    ],
)
def test_a_recipe_that_does_not_say_who_and_when_is_refused_in_one_line(
    run: dict[str, Artifact], tmp_path: Path, told: Json, missing: str
) -> None:
    manifest = run["release"].manifest
    recipe = manifest.recipe | {"card": manifest.recipe["card"] | told}
    release = Artifact(run["release"].folder, replace(manifest, recipe=recipe))
    with pytest.raises(SobertError) as caught:
        build_publication(run | {"release": release}, "ada/demo", store=Store(tmp_path), **AT)
    assert str(caught.value).startswith(f"the recipe lacks {missing}; give ")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "repo",
    ["demo", "a/b/c", "ada/", "ada/x y", "../x", "ada/x--y", "ada/é", f"ada/{'x' * 97}"],
)
def test_a_name_that_the_hub_would_refuse_is_refused(
    run: dict[str, Artifact], store: Store, repo: str
) -> None:
    with pytest.raises(BadValue, match="must be written USER/NAME"):
        build_publication(run, repo, store=store, **AT)


@pytest.mark.parametrize(
    "repo",
    [
        "a/b",
        "ada/_x",
        "ada/x_",
        "a.b/c_d.e",
        "-a/b",
        "a/b-",
        "a--b/c",
        "a/b..c",
        "a/b.git",
        "a/b\n",
    ],
)
def test_names_are_judged_as_the_client_of_the_hub_does(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    def accepts(check: Callable[..., Any], *arguments: str) -> bool:
        try:
            check(*arguments)
        except (HFValidationError, BadValue):
            return False
        return True

    assert accepts(locate, repo, "1.0.0") == accepts(validate_repo_id, repo)


def test_a_benchmark_is_not_published_as_a_corpus(run: dict[str, Artifact], store: Store) -> None:
    others = {stage: artifact for stage, artifact in run.items() if stage != "dataset"}
    with pytest.raises(BadValue, match="is a benchmark; publish it with"):
        build_publication(others, "ada/demo", store=store, **AT)
