"""Whole runs on small benchmarks of a store: what is read, kept, finished before, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import finetune.run
from corpus.engine import LocalEngine
from corpus.errors import BadValue, RecipeError, StoreError
from corpus.manifest import Flow, Outcome
from corpus.progress import Reporter
from corpus.store import Store, Work
from corpus.tables import write_table
from finetune.fitting import Ask, Fitted, Predicted
from finetune.predictions import RESULTS, read_units
from finetune.recipe import FinetuneRecipe, TaskSection, parse_finetune_recipe
from finetune.run import run_finetuning
from finetune.studies import replace_paths, run_study, vary_context, vary_share
from finetune.tasks import TaskData, add_benchmark, list_tags, read_task
from labeling.examples import EXAMPLE_SCHEMA
from labeling.ner import NER_SCHEMA

GROUP = pa.field("group", pa.string())
QUESTIONS = pa.schema([*EXAMPLE_SCHEMA, pa.field("reason", pa.string()), GROUP])
SENTENCES = pa.schema([*NER_SCHEMA, GROUP])


def make_question(number: int, label: str | None = "open", **more: Any) -> dict[str, Any]:
    return {
        "example_id": f"x.org/{number}",
        "site": "x.org",
        "post_id": number,
        "thread_id": number,
        "label": label,
        "text": f"canonical {number}",
        "raw_text": f"<p>raw {number}</p>",
        "group": f"x.org/{number}",
        **more,
    }


def make_sentence(number: int, raw_type: str) -> dict[str, Any]:
    entity = {"start": 4, "end": 7, "type": None, "raw_type": raw_type, "is_ill_formed": False}
    text = {"text": "use map now", "tokens": ["use", "map", "now"], "markup": ["O"] * 3}
    return make_question(number, None, **text, entities=[entity])


def keep(store: Store, name: str, task: str, splits: dict[str, list[dict[str, Any]]]) -> None:
    """Keep a benchmark in a store, as `labeling` leaves it."""
    schema = SENTENCES if task == "ner" else QUESTIONS

    def make(work: Work) -> Outcome:
        files = [
            write_table(
                work.folder,
                f"data/{split}-00000-of-00001.parquet",
                pa.Table.from_pylist(rows, schema),
                schema,
            )
            for split, rows in splits.items()
            if rows
        ]
        num = sum(map(len, splits.values()))
        return Outcome(tuple(files), {"examples": Flow(num, num)})

    asked = {"task": task, "name": name}
    with store.lock():
        made = store.build("benchmark", 1, asked, {}, make, LocalEngine(), Reporter(quiet=True))
        store.write_run(name, {"benchmark": made})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    splits = {
        "train": [make_question(n, "open" if n % 2 else "closed") for n in range(1, 41)],
        "validation": [make_question(n, "open" if n % 3 else "closed") for n in range(50, 60)],
        "test": [make_question(n, "open" if n % 3 else "closed") for n in range(60, 72)],
    }
    keep(store, "questions", "closed", splits)
    return store


def make_recipe(*models: dict[str, Any], **sections: Any) -> FinetuneRecipe:
    return parse_finetune_recipe(
        {
            "card": {"name": "x", "title": "X", "summary": ""},
            "task": {"benchmark": "questions"},
            "models": list(models) or [{"name": "most", "kind": "majority"}],
            **sections,
        }
    )


def run(recipe: FinetuneRecipe, store: Store, out: Path, **more: Any) -> list[Path]:
    return run_finetuning(recipe, store, out, reporter=Reporter(quiet=True), **more)


# Tasks ---------------------------------------------------------------------------------------


def test_a_task_has_the_benchmarks_splits_and_classes(store: Store) -> None:
    task = read_task(store, TaskSection(benchmark="questions"))
    assert (task.task, task.kind, task.labels) == ("closed", "sequence", ("closed", "open"))
    assert {split: len(table) for split, table in task.splits.items()} == {
        "train": 40,
        "validation": 10,
        "test": 12,
    }
    assert task.evaluated == "test"
    assert task.splits["test"]["text"][0].as_py() == "canonical 60"


def test_the_leaking_form_is_read_where_it_is_asked_for(store: Store) -> None:
    task = read_task(store, TaskSection(benchmark="questions", form="raw_text"))
    assert task.splits["test"]["text"][0].as_py() == "<p>raw 60</p>"


def test_why_a_question_was_closed_can_be_the_target(store: Store) -> None:
    closed = {"label": "closed", "reason": "unclear"}
    rows = {"train": [make_question(1, **closed), make_question(2)]}
    rows |= {"validation": [make_question(3)], "test": [make_question(4, **closed)]}
    keep(store, "reasons", "closed", rows)
    task = read_task(store, TaskSection(benchmark="reasons", target="reason"))
    assert task.labels == ("open", "unclear")
    assert task.splits["train"]["label"].to_pylist() == ["unclear", "open"]


def test_rows_without_a_label_are_left_out_and_counted(store: Store) -> None:
    rows = {split: [make_question(n), make_question(n + 10, None)] for n, split in _numbered()}
    keep(store, "some", "obsoletion", rows)
    task = read_task(store, TaskSection(benchmark="some"))
    assert task.num_unlabelled == 3
    assert [len(table) for table in task.splits.values()] == [1, 1, 1]


def _numbered() -> list[tuple[int, str]]:
    return list(enumerate(("train", "validation", "test"), 1))


def test_without_a_test_validation_is_reported_and_chosen_on_a_part_of_train(store: Store) -> None:
    rows = {
        "train": [make_question(n, group=f"g{n // 2}") for n in range(60)],
        "validation": [make_question(n) for n in range(100, 105)],
    }
    keep(store, "no-test", "closed", rows)
    task = read_task(store, TaskSection(benchmark="no-test"))
    assert task.evaluated == "validation"
    assert task.splits["test"]["post_id"].to_pylist() == [100, 101, 102, 103, 104]
    groups = {split: set(task.splits[split]["group"].to_pylist()) for split in task.splits}
    assert len(groups["validation"]) == 3
    assert not groups["train"] & groups["validation"]
    assert len(task.splits["train"]) + len(task.splits["validation"]) == 60


def test_a_smaller_share_of_train_is_a_part_of_a_larger(store: Store) -> None:
    def posts(share: float) -> set[int]:
        task = read_task(store, TaskSection(benchmark="questions"), train_share=share)
        return set(task.splits["train"]["post_id"].to_pylist())

    assert [len(posts(share)) for share in (0.1, 0.25, 0.5, 1.0)] == [4, 10, 20, 40]
    assert posts(0.1) < posts(0.25) < posts(0.5) < posts(1.0)


@pytest.mark.parametrize(("types", "tag"), [("loader", "O"), ("paper", "B-Value")])
def test_tags_are_those_of_the_list_that_is_asked_for(types: Any, tag: str, store: Store) -> None:
    rows = {split: [make_sentence(n, "Value")] for n, split in _numbered()}
    keep(store, "sentences", "ner", rows)
    task = read_task(store, TaskSection(benchmark="sentences", types=types))
    assert (task.kind, task.labels) == ("token", list_tags(types))
    assert task.splits["test"]["label"].to_pylist() == [["O", tag, "O"]]


def test_a_benchmark_that_nobody_labelled_is_refused(store: Store) -> None:
    rows = {split: [make_question(n, None)] for n, split in _numbered()}
    keep(store, "bare", "obsoletion", rows)
    with pytest.raises(StoreError, match="no labelled example for"):
        read_task(store, TaskSection(benchmark="bare"))


def test_a_run_that_is_no_benchmark_is_refused(store: Store) -> None:
    with store.lock():
        store.write_run("corpus", {"dataset": store.read_run("questions")["benchmark"]})
    with pytest.raises(StoreError, match="takes the name of a `sobert labeling build`"):
        read_task(store, TaskSection(benchmark="corpus"))


# Units ---------------------------------------------------------------------------------------


def test_every_example_is_predicted_and_described(store: Store, tmp_path: Path) -> None:
    run(make_recipe(), store, tmp_path / "out")
    (unit,) = read_units([tmp_path / "out"])
    test = unit.read()
    assert test["example_id"].to_pylist() == [f"x.org/{n}" for n in range(60, 72)]
    assert test["gold"].to_pylist()[0] == ["closed"]
    assert test["excerpt"].to_pylist()[0] == "canonical 60"
    assert len(unit.read("validation")) == 10
    assert unit.result["task"]["num_examples"] == {"train": 40, "validation": 10, "test": 12}
    assert not list((tmp_path / "out").glob("working/*"))


def test_what_is_finished_is_not_trained_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(make_recipe(), store, tmp_path / "out")
    monkeypatch.setattr(finetune.run, "find_fit", lambda kind: pytest.fail("trained again"))
    assert run(make_recipe(), store, tmp_path / "out") == first


def test_a_unit_that_was_killed_is_trained_again_and_the_others_are_kept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [{"name": "most", "kind": "majority"}, {"name": "words", "kind": "tfidf"}]
    real = finetune.run.find_fit

    def dying(kind: str) -> Any:
        if kind == "tfidf":
            raise KeyboardInterrupt
        return real(kind)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetune.run, "find_fit", dying)
        run(make_recipe(*models), store, tmp_path / "out")
    assert len(read_units([tmp_path / "out"])) == 1
    assert len(run(make_recipe(*models), store, tmp_path / "out")) == 2
    assert len(read_units([tmp_path / "out"])) == 2


@pytest.mark.parametrize(
    "sections",
    [
        {"task": {"benchmark": "questions", "form": "raw_text"}},
        {"input": {"train_share": 0.5}},
    ],
)
def test_what_decides_the_answer_makes_another_unit(
    sections: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    (first,) = run(make_recipe(), store, tmp_path / "out")
    (second,) = run(make_recipe(**sections), store, tmp_path / "out")
    assert first != second


def test_what_decides_nothing_makes_no_other_unit(store: Store, tmp_path: Path) -> None:
    (first,) = run(make_recipe(), store, tmp_path / "out")
    card = {"name": "y", "title": "Y", "summary": "another"}
    other = make_recipe(card=card, input={"max_tokens": 64}, training={"epochs": 9})
    assert run(other, store, tmp_path / "out") == [first]


def test_seeds_are_units_of_models_that_are_trained(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def fit(task: TaskData, ask: Ask) -> Fitted:
        asked.append((ask.entry.name, ask.seed))
        rest = {split: rows for split, rows in task.splits.items() if split != "train"}
        return Fitted({split: Predicted(["open"] * len(rows)) for split, rows in rest.items()})

    monkeypatch.setattr(finetune.run, "find_fit", lambda kind: fit)
    monkeypatch.setattr("finetune.pretrained.digest_model", lambda path: path)
    models = [
        {"name": "most", "kind": "majority"},
        {"name": "ours", "kind": "encoder", "path": "somewhere"},
    ]
    run(make_recipe(*models, training={"seeds": [1, 2]}), store, tmp_path / "out")
    assert asked == [("most", 1), ("ours", 1), ("ours", 2)]


def test_a_model_that_the_task_has_not_is_refused(store: Store, tmp_path: Path) -> None:
    recipe = make_recipe({"name": "list", "kind": "gazetteer"})
    with pytest.raises(RecipeError, match="model 'list' is of kind 'gazetteer'; closed has"):
        run(recipe, store, tmp_path / "out")


def test_an_empty_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no finished result"):
        read_units([tmp_path])


def test_another_benchmark_is_predicted_without_being_learnt(store: Store, tmp_path: Path) -> None:
    rows = {split: [make_question(n + 500)] for n, split in _numbered()}
    keep(store, "elsewhere", "closed", rows)
    run(make_recipe(), store, tmp_path / "out", transfer=["elsewhere"])
    (unit,) = read_units([tmp_path / "out"])
    assert unit.read("elsewhere")["example_id"].to_pylist() == ["x.org/503"]
    assert unit.result["asked"]["others"].keys() == {"elsewhere"}


def test_what_was_learnt_from_is_not_asked_elsewhere(store: Store) -> None:
    section = TaskSection(benchmark="questions")
    rows = {split: [make_question(n + 500)] for n, split in _numbered()}
    keep(store, "other", "closed", {**rows, "test": [make_question(n) for n in (1, 50, 60, 99)]})
    task = add_benchmark(read_task(store, section), store, section, "other")
    assert task.splits["other"]["post_id"].to_pylist() == [60, 99]
    assert task.num_shared == 2
    keep(store, "same", "closed", {**rows, "test": [make_question(1)]})
    with pytest.raises(StoreError, match="all threads of 'same' are in train or validation"):
        add_benchmark(task, store, section, "same")


def test_another_task_cannot_be_transferred_to(store: Store, tmp_path: Path) -> None:
    rows = {split: [make_sentence(n, "Class")] for n, split in _numbered()}
    keep(store, "sentences", "ner", rows)
    with pytest.raises(StoreError, match="cannot be asked of it"):
        run(make_recipe(), store, tmp_path / "out", transfer=["sentences"])


# Studies -------------------------------------------------------------------------------------


def test_a_study_runs_each_share_once(store: Store, tmp_path: Path) -> None:
    recipes = vary_share(make_recipe(), [0.1, 1.0])
    at: dict[str, Any] = {"reporter": Reporter(quiet=True)}
    folders = run_study(recipes, store, tmp_path / "out", **at)
    shares = [
        json.loads((folder / "result.json").read_bytes())["asked"]["train_share"]
        for folder in folders
    ]
    assert shares == [0.1, 1.0]
    # What reads whole texts is not changed by how much others see.
    assert len(run_study(vary_context(make_recipe(), [64, 128]), store, tmp_path, **at)) == 1
    assert len(list((tmp_path / RESULTS).iterdir())) == 1


@pytest.mark.parametrize(
    "vary", [lambda one: vary_share(one, [0.0]), lambda one: vary_context(one, [3])]
)
def test_a_value_that_no_recipe_may_have_is_refused(
    vary: Callable[[FinetuneRecipe], Any],
) -> None:
    with pytest.raises(BadValue, match=r"input\.\w+ cannot be"):
        vary(make_recipe())


def test_a_model_is_replaced_by_its_name() -> None:
    recipe = make_recipe({"name": "ours", "kind": "encoder", "path": "here"})
    assert replace_paths(recipe, ["ours=there"]).models[0].path == "there"
    with pytest.raises(BadValue, match="must be NAME=PATH with one of: ours"):
        replace_paths(recipe, ["other=there"])


# Recipes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ([{"name": "a", "kind": "majority"}] * 2, "have the same name: a"),
        ([{"name": "a", "kind": "encoder"}], "path is missing"),
        ([{"name": "a", "kind": "tfidf", "path": "x"}], "path is given"),
        ([], "models"),
    ],
)
def test_models_that_make_no_sense_are_refused(models: list[Any], said: str) -> None:
    content = {"card": {"name": "x", "title": "X", "summary": ""}, "task": {"benchmark": "b"}}
    with pytest.raises(RecipeError, match=said):
        parse_finetune_recipe({**content, "models": models})
