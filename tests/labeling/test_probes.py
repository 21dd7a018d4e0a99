"""The leak probes find what gives a label away, and do not guess where nothing does."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from corpus.layout import lay_out
from labeling.examples import EXAMPLE_SCHEMA
from labeling.probes import (
    deal_folds,
    render_probes,
    render_probes_markdown,
    roc_area,
    run_probes,
)
from labeling.recipe import ProbesSection

TABLE = pa.schema([*EXAMPLE_SCHEMA, pa.field("group", pa.string()), pa.field("split", pa.string())])
RECIPE = ProbesSection(resamples=100)
NUM = 300
WORDS = ["- x", "`y`", "EDIT", *(f"word{number}" for number in range(60))]
NAMES = ("metadata", "markup/raw", "markup/text", "order", "give_away/raw", "give_away/text")
Change = Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]


def make_examples(seed: int, change: Change = lambda row, rng: {}) -> pa.Table:
    """Questions whose labels nothing tells; `change` plants what does."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(NUM):
        words = " ".join(rng.choice(WORDS, 12))
        post_id = int(rng.integers(1_000_000, 90_000_000))
        row: dict[str, Any] = {
            "example_id": f"x.org/{post_id}",
            "site": "x.org",
            "post_id": post_id,
            "thread_id": post_id,
            "label": str(rng.choice(["bad", "good"])),
            "text": words,
            "raw_text": f"<p>{words}</p>\n",
            "metadata": [{"name": name, "value": float(rng.normal())} for name in "abc"],
            "group": f"g{number // 2}",
            "split": str(rng.choice(["train", "validation", "test"], p=[0.8, 0.1, 0.1])),
        }
        rows.append(row | change(row, rng))
    return pa.Table.from_pylist(rows, TABLE)


def by_name(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {"/".join(filter(None, (row["probe"], row["form"]))): row for row in result["rows"]}


def find_leaks(examples: pa.Table) -> dict[str, list[str]]:
    """The probes that find a leak, and the columns that they saw it in."""
    rows = by_name(run_probes(examples, RECIPE))
    assert {rows[name]["verdict"] for name in NAMES} <= {"leak", "none found"}
    return {name: rows[name]["seen"] for name in NAMES if rows[name]["verdict"] == "leak"}


# What is planted is found --------------------------------------------------------------------


def plant_metadata(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    value = float(row["label"] == "good")
    return {"metadata": [*row["metadata"], {"name": "score", "value": value}]}


def plant_absence(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {} if row["label"] == "good" else {"metadata": row["metadata"][1:]}


def plant_nofollow(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    has_link = rng.random() < 0.6
    rel = "nofollow" if row["label"] == "bad" else "x"
    return {"raw_text": row["raw_text"] + f'<a rel="{rel}">a</a>'} if has_link else {}


def plant_carriage_return(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"text": row["text"] + "\r\nyes"} if row["label"] == "bad" else {}


def plant_parity(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    post_id = row["post_id"] // 2 * 2 + (row["label"] == "bad")
    return {"post_id": post_id, "thread_id": post_id}


def plant_time(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    post_id = row["post_id"] // 2 + (row["label"] == "bad") * 50_000_000
    return {"post_id": post_id, "thread_id": post_id}


def plant_notice(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    is_told = row["label"] == "bad" and rng.random() < 0.7
    return {"text": row["text"] + " [closed]"} if is_told else {}


@pytest.mark.parametrize(
    ("plant", "probe", "columns"),
    [
        (plant_metadata, "metadata", {"score"}),
        (plant_absence, "metadata", {"a"}),
        (plant_nofollow, "markup/raw", {"nofollow"}),
        (plant_carriage_return, "markup/text", {"carriage_return", "crlf"}),
        (plant_parity, "order", {"post_id_mod_2", "thread_id_mod_2"}),
        (plant_time, "order", {"post_id", "thread_id"}),
        (plant_notice, "give_away/text", {"closed"}),
    ],
)
def test_a_planted_leak_is_found_by_its_probe_alone(
    plant: Change, probe: str, columns: set[str]
) -> None:
    leaks = find_leaks(make_examples(1, plant))
    assert list(leaks) == [probe]
    assert columns & set(leaks[probe])


@pytest.mark.parametrize("seed", range(4))
def test_labels_that_nothing_tells_give_none_found(seed: int) -> None:
    assert find_leaks(make_examples(seed)) == {}


def test_a_file_sorted_by_label_gives_it_away() -> None:
    examples = make_examples(1)
    assert "place" in find_leaks(examples.sort_by("label"))["order"]
    assert find_leaks(examples.sort_by("example_id")) == {}


# Nothing is believed twice -------------------------------------------------------------------


def test_copies_in_one_group_teach_nothing() -> None:
    # 19 groups, each with a value and a label of its own: only who saw a group knows its label.
    def plant(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        group = f"g{int(row['group'][1:]) // 8}"
        value = hashlib.blake2b(group.encode(), digest_size=4).digest()
        label = "good" if int(group[1:]) % 2 else "bad"
        metadata = [{"name": "copy", "value": float(int.from_bytes(value, "big"))}]
        return {"group": group, "label": label, "metadata": metadata}

    assert find_leaks(make_examples(1, plant)) == {}


def test_places_within_splits_are_all_that_the_order_of_rows_changes() -> None:
    examples = make_examples(1, plant_nofollow)
    shuffled = examples.take(pa.array(np.random.default_rng(0).permutation(NUM)))
    first, second = (run_probes(one, RECIPE) for one in (examples, shuffled))
    without_order = [
        [row for row in result["rows"] if row["probe"] != "order"] for result in (first, second)
    ]
    assert without_order[0] == without_order[1]
    by_split = pa.concat_tables(
        [examples.filter(pa.compute.equal(examples["split"], split)) for split in ("test", "train")]
        + [examples.filter(pa.compute.equal(examples["split"], "validation"))]
    )
    assert json.dumps(run_probes(by_split, RECIPE)) == json.dumps(first)


def test_another_process_with_another_hash_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    examples = make_examples(3, plant_nofollow)
    path = tmp_path / "examples.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TABLE) as writer:
        writer.write_table(examples)
    program = (
        "import json, sys, pyarrow as pa; from labeling.probes import run_probes;"
        "from labeling.recipe import ProbesSection as P;"
        "table = pa.ipc.open_file(pa.memory_map(sys.argv[1])).read_all();"
        "print(json.dumps(run_probes(table, P(resamples=100))))"
    )
    command = [sys.executable, "-c", program, str(path)]
    environment = {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    checkout = Path(__file__).resolve().parents[2]
    found = subprocess.run(command, capture_output=True, check=True, env=environment, cwd=checkout)
    assert json.loads(found.stdout) == run_probes(examples, RECIPE)


# What cannot be measured ---------------------------------------------------------------------


def reasons(result: dict[str, Any]) -> set[str | None]:
    for row in result["rows"]:
        figures = [row[name] for name in ("accuracy", "macro_f1", "auc", "verdict")]
        assert figures == [None] * 4 if row["reason"] else figures[2] is not None
    return {row["reason"] for row in result["rows"]}


def test_one_class_has_no_figures() -> None:
    examples = make_examples(1, lambda row, rng: {"label": "good"})
    result = run_probes(examples, RECIPE)
    assert reasons(result) == {"the labelled examples are of 1 classes; a probe needs two"}
    assert by_name(result)["majority"]["majority"] == 1


def test_a_class_of_fewer_groups_than_folds_has_no_figures() -> None:
    def plant(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {"label": "rare" if row["group"] in ("g0", "g1", "g2", "g3") else "good"}

    result = run_probes(make_examples(1, plant), RECIPE)
    assert reasons(result) == {"rare has 4 leakage groups, fewer than the 5 folds"}


@pytest.mark.parametrize("num", [0, 1, 3])
def test_few_rows_have_no_figures(num: int) -> None:
    result = run_probes(make_examples(1)[:num], RECIPE)
    assert None not in reasons(result)
    assert len(result["rows"]) == 9
    assert render_probes(result).count("\n") == 9 + 3


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    def plant(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {"label": None} if int(row["group"][1:]) % 3 == 0 else {}

    result = run_probes(make_examples(1, plant), RECIPE)
    assert (result["num_examples"], result["num_unlabelled"]) == (200, 100)
    assert {row["num_examples"] for row in result["rows"]} == {200}
    assert sum(result["classes"].values()) == 200


def test_rows_without_a_raw_text_are_left_out_of_the_raw_form_alone() -> None:
    def plant(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {"raw_text": None} if int(row["group"][1:]) % 3 == 0 else {}

    rows = by_name(run_probes(make_examples(1, plant), RECIPE))
    assert [rows[f"words/{form}"]["num_examples"] for form in ("raw", "text")] == [200, 300]
    none = run_probes(make_examples(1, lambda row, rng: {"raw_text": None}), RECIPE)
    assert by_name(none)["markup/raw"]["reason"] is not None
    assert by_name(none)["markup/raw"]["majority"] is None


def test_a_leak_of_a_rare_class_is_found_though_accuracy_says_nothing() -> None:
    def plant(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        label = "bad" if rng.random() < 0.08 else "good"
        is_told = label == "bad" or rng.random() < 0.1
        return {"label": label, "text": row["text"] + " [closed]" * is_told}

    row = by_name(run_probes(make_examples(1, plant), RECIPE))["give_away/text"]
    assert row["accuracy"]["low"] <= row["majority"]
    assert row["verdict"] == "leak"


def test_metadata_that_nobody_has_or_that_are_no_numbers_break_nothing() -> None:
    def plant(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        odd = [("none", None), ("nan", float("nan")), ("much", float("inf")), ("same", 1.0)]
        return {"metadata": [{"name": name, "value": value} for name, value in odd]}

    rows = by_name(run_probes(make_examples(1, plant), RECIPE))
    # Not 0.5: what a fold has more of, the others, and so its model, have less of.
    assert 0.48 < rows["metadata"]["auc"]["value"] <= 0.5
    assert rows["metadata"]["verdict"] == "none found"
    none = run_probes(make_examples(1, lambda row, rng: {"metadata": None}), RECIPE)
    assert by_name(none)["metadata"]["reason"] == "the examples have no such columns"


# Folds and figures ---------------------------------------------------------------------------


def test_folds_keep_groups_whole_and_classes_even() -> None:
    rng = np.random.default_rng(1)
    labels, groups = (
        rng.choice(3, 3_000, p=[0.7, 0.25, 0.05]),
        np.sort(rng.integers(0, 1_500, 3_000)),
    )
    groups = np.unique(groups, return_inverse=True)[1]
    digests = [hashlib.blake2b(bytes([one % 256, one // 256])).digest() for one in range(1_500)]
    folds = deal_folds(labels, groups, digests[: groups.max() + 1], 5)
    for group in range(groups.max() + 1):
        assert len(set(folds[groups == group])) == 1
    for label in range(3):
        shares = np.bincount(folds[labels == label], minlength=5) / (labels == label).sum()
        assert np.all(np.abs(shares - 0.2) < 0.05)


def test_the_area_under_the_curve_is_that_of_scikit_learn_on_repeated_rows() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        ranks, is_class = rng.integers(0, 9, 60), rng.random(60) < 0.3
        weights = rng.integers(0, 4, 60)
        expected = roc_auc_score(np.repeat(is_class, weights), np.repeat(ranks, weights))
        assert roc_area(ranks, is_class, weights.astype(float)) == pytest.approx(
            expected, abs=1e-12
        )


def test_three_classes_are_told_by_three_marks() -> None:
    def plant(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        label = str(rng.choice(["HQ", "LQ_CLOSE", "LQ_EDIT"], p=[0.5, 0.3, 0.2]))
        mark = {"HQ": "<a rel='noreferrer'>", "LQ_CLOSE": "<a rel='nofollow'>", "LQ_EDIT": "\r\n"}
        return {"label": label, "raw_text": row["text"] + mark[label]}

    row = by_name(run_probes(make_examples(1, plant), RECIPE))["markup/raw"]
    everything = {"value": 1.0, "low": 1.0, "high": 1.0}
    assert [row[name] for name in ("accuracy", "macro_f1", "auc")] == [everything] * 3


def test_the_majority_has_its_share_and_no_verdict() -> None:
    row = by_name(run_probes(make_examples(1), RECIPE))["majority"]
    assert row["accuracy"]["value"] == row["majority"] > 0.5
    assert row["auc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert row["verdict"] is None


def test_both_tables_have_a_line_for_every_row() -> None:
    result = run_probes(make_examples(1, plant_nofollow), RECIPE)
    plain, markdown = render_probes(result), render_probes_markdown(result)
    assert plain.startswith("300 labelled examples (bad ")
    leak = next(line for line in markdown.splitlines() if "| markup | raw |" in line)
    assert " leak (nofollow" in leak and f"{result['rows'][2]['auc']['value']:.4f} [" in leak
    assert len({line.count("|") for line in markdown.splitlines()}) == 1
    assert len(markdown.splitlines()) == len(result["rows"]) + 2


# A published sample --------------------------------------------------------------------------


def read_sample(path: Path) -> pa.Table:
    with path.open(encoding="cp1252", newline="") as lines:
        rows = [
            {
                "example_id": f"stackoverflow.com/{row['Id']}",
                "site": "stackoverflow.com",
                "post_id": int(row["Id"]),
                "thread_id": int(row["Id"]),
                "label": row["Y"],
                "text": lay_out(row["Title"], row["Body"], []).text,
                "raw_text": f"{row['Title']}\n\n{row['Body']}",
                "group": row["Id"],
                "split": "train",
            }
            for row in csv.DictReader(lines)
        ]
    return pa.Table.from_pylist(rows, TABLE)


def test_the_published_sample_leaks_by_its_links_and_its_order_and_canonical_text_does_not(
    shared_data: Path,
) -> None:
    sample = read_sample(shared_data / "bench" / "quality" / "ramananthan_sample_cp1252.csv")
    result = run_probes(sample, ProbesSection())
    assert result["classes"] == {"HQ": 849, "LQ": 806}
    rows = by_name(result)
    assert rows["markup/raw"]["verdict"] == "leak"
    assert {"nofollow", "noreferrer"} <= set(rows["markup/raw"]["seen"])
    # Somebody's sample of 1,655: in two weeks of April 2016 nearly all are of the worse class.
    assert rows["order"]["verdict"] == "leak"
    assert rows["markup/text"]["verdict"] == "none found"
    # What is left there is lists and quotes, which better questions have more of.
    assert rows["markup/text"]["auc"]["value"] < 0.56 < rows["markup/raw"]["auc"]["low"]
