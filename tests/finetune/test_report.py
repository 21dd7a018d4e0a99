"""The report: what it says of recorded predictions, and that it says it safely and always alike."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import confusion_matrix, f1_score

from corpus.errors import BadValue, StoreError
from corpus.manifest import Json
from corpus.progress import Reporter
from finetune.charts import Point, Row, draw_curves, draw_intervals
from finetune.fitting import Fitted, Predicted
from finetune.predictions import write_unit
from finetune.report import FIGURES, PAGES, plain_markdown, write_report
from finetune.tasks import TaskData
from tests.conftest import CHECKOUT
from tests.finetune.conftest import make_sequence_task, make_token_task

LABELS = ("bad", "good")
NUM = 60
GOLD = [LABELS[number % 2] for number in range(NUM)]
HOSTILE = (
    "<script>alert(1)</script> | ![x](http://evil.example/a.png) www.evil.example\n"
    "# heading\n<img src=x onerror=alert(2)> `code` </td></table> \\| a@evil.example"
)
FEW = 30


def sequence_task() -> TaskData:
    """Sixty examples of test, the first of them hostile, and thirty of another benchmark."""
    rows = [(f"text {number}", label) for number, label in enumerate(GOLD)]
    rows[0] = (HOSTILE, GOLD[0])
    other = [(f"other {number}", LABELS[number % 2]) for number in range(30)]
    return make_sequence_task({"train": rows[1:3], "test": rows, "elsewhere": other})


def wrong(*places: int, gold: Sequence[str] = GOLD) -> list[str | None]:
    """The gold labels, but other ones at these places."""
    return [
        LABELS[1 - LABELS.index(label)] if place in places else label
        for place, label in enumerate(gold)
    ]


def put(
    run: Path,
    task: TaskData,
    name: str,
    labels: Sequence[Any],
    *,
    seed: int = 1,
    kind: str = "encoder",
    share: float = 1.0,
    tokens: int = 512,
    probabilities: Sequence[float] | None = None,
    num_cut: Sequence[int] | None = None,
    elsewhere: Sequence[str] | None = None,
    figures: Json | None = None,
    **changed: Any,
) -> None:
    """Write a unit as `finetune.run` does; `changed`: of what was asked, or of the task."""
    asked = {
        "version": 1,
        "benchmark": changed.get("benchmark_id", "0" * 64),
        "others": {"elsewhere": "1" * 64} if elsewhere else {},
        "task": {"form": "text", "target": "label", "types": "loader"},
        "kind": kind,
        "train_share": share,
        "seed": seed,
    }
    asked["task"] |= {key: changed[key] for key in ("form", "types") if key in changed}
    if kind == "encoder":
        asked["model"] = changed.get("model", "ab" * 32)
        asked["weights"] = changed.get("weights", "pretrained")
        asked["input"] = {"max_tokens": tokens, "keep": "start", "train_share": share}
        asked["training"] = changed.get("training", {"epochs": 3})
    result = {
        "model": {"name": name, "kind": kind, "path": None, "weights": "pretrained"},
        "seed": seed,
        "asked": asked,
        "task": {
            "name": task.task,
            "kind": task.kind,
            "benchmark": "toy",
            "title": "Toy & <b>",
            "labels": list(changed.get("classes", task.labels)),
            "evaluated": changed.get("evaluated", "test"),
            "num_examples": {"train": round(1_000 * share), "test": len(task.splits["test"])},
            "probes": changed.get("probes", []),
        },
        "versions": {"numpy": "2.0", "torch": None},
    }
    tops = None if probabilities is None else np.array(probabilities, "f4")
    if tops is not None:
        is_good = np.array([label == "good" for label in labels])
        tops = np.column_stack(
            [np.where(is_good, 1 - tops, tops), np.where(is_good, tops, 1 - tops)]
        )
    cut = None if num_cut is None else np.array(num_cut, "i4")
    predicted = {"test": Predicted(labels, tops, cut, cut)}
    if elsewhere:
        predicted["elsewhere"] = Predicted(elsewhere)
    digest = f"{share}-{tokens}-{len(list(run.glob('results/*')))}"
    folder = run / "results" / f"{name}-{seed}-{digest}"
    write_unit(folder, task, Fitted(predicted, figures or {"seconds": 2.5}), result)


def report(*runs: Path, out: Path | None = None) -> Json:
    return write_report(
        runs, out or runs[0] / "report", resamples=FEW, reporter=Reporter(quiet=True)
    )


def read_pages(run: Path) -> list[str]:
    return [(run / "report" / name).read_text("utf-8") for name in PAGES]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three models on one task; `strong` by two seeds."""
    task = sequence_task()
    put(tmp_path, task, "strong", wrong(0), seed=1, probabilities=[0.9] * NUM)
    put(tmp_path, task, "strong", wrong(0, 1, 2), seed=2, probabilities=[0.9] * NUM)
    put(tmp_path, task, "close", wrong(0, 3, 4, 5), probabilities=[0.9] * NUM)
    put(tmp_path, task, "weak", wrong(*range(28)), kind="tfidf")
    return tmp_path


# Numbers -------------------------------------------------------------------------------------


def test_seeds_of_a_model_are_one_model_with_their_spread(run: Path) -> None:
    models = report(run)["tasks"][0]["models"]
    assert [model["label"] for model in models] == ["strong", "close", "weak"]
    assert models[0]["seeds"] == [1, 2]
    oracle = [f1_score(GOLD, wrong(*some), average="macro") for some in ((0,), (0, 1, 2))]
    assert models[0]["by_seed"] == pytest.approx(oracle, abs=1e-6)
    assert models[0]["metrics"]["macro_f1"]["value"] == pytest.approx(np.mean(oracle), abs=1e-6)


def test_only_the_clearly_worse_is_marked_as_worse(run: Path) -> None:
    best, close, weak = report(run)["tasks"][0]["models"]
    assert best["versus_best"] is None
    assert not close["versus_best"]["is_worse"]
    assert weak["versus_best"]["p_holm"] > weak["versus_best"]["p_value"]
    page, markdown = read_pages(run)
    assert "close †" not in markdown
    assert weak["versus_best"]["is_worse"] == ("weak †" in markdown) == ("weak †" in page)


def test_a_model_far_behind_is_marked(tmp_path: Path) -> None:
    task = sequence_task()
    put(tmp_path, task, "strong", wrong(0))
    put(tmp_path, task, "weak", wrong(*range(40)))
    findings = write_report(
        [tmp_path], tmp_path / "report", resamples=200, reporter=Reporter(quiet=True)
    )
    assert findings["tasks"][0]["models"][1]["versus_best"]["is_worse"]
    assert all("weak †" in page for page in read_pages(tmp_path))


def test_an_undefined_metric_is_a_dash_with_its_reason(run: Path) -> None:
    weak = report(run)["tasks"][0]["models"][2]
    assert weak["metrics"]["ece"]["value"] is None
    page, markdown = read_pages(run)
    reason = weak["metrics"]["ece"]["reason"]
    for text in (BeautifulSoup(page, "html.parser").get_text(), markdown):
        assert reason in text
        assert "calibration error of weak" in text
    rows = [line for line in markdown.splitlines() if line.startswith("| weak | 0")]
    assert any(row.endswith("| – | – |") for row in rows)


def test_settings_set_models_of_one_name_apart(tmp_path: Path) -> None:
    task = sequence_task()
    for tokens, places in ((128, range(9)), (512, range(5)), (2048, range(2))):
        put(tmp_path, task, "sobert", wrong(*places), tokens=tokens)
    put(tmp_path, task, "sobert", wrong(*range(12)), tokens=512, share=0.25)
    put(tmp_path, task, "tfidf", wrong(*range(20)), kind="tfidf")
    put(tmp_path, task, "tfidf", wrong(*range(25)), kind="tfidf", share=0.5)
    found = report(tmp_path)["tasks"][0]
    assert [model["label"] for model in found["models"]] == [
        "sobert, 2,048 tokens, all of train",
        "sobert, 512 tokens, all of train",
        "sobert, 128 tokens, all of train",
        "sobert, 512 tokens, 25 % of train",
        "tfidf, all of train",
        "tfidf, 50 % of train",
    ]
    shares, tokens = found["curves"]
    assert {name: [point["x"] for point in line] for name, line in shares["lines"].items()} == {
        "sobert, 512 tokens": [250, 1_000],
        "tfidf": [500, 1_000],
    }
    assert {name: [point["x"] for point in line] for name, line in tokens["lines"].items()} == {
        "sobert, all of train": [128, 512, 2_048]
    }
    assert read_pages(tmp_path)[0].count("<polyline") == 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weights": "random"}, ["sobert, pretrained weights", "sobert, random weights"]),
        ({"model": "cd" * 32}, ["sobert, files ababab", "sobert, files cdcdcd"]),
    ],
)
def test_other_weights_are_another_model(
    tmp_path: Path, changed: dict[str, Any], words: list[str]
) -> None:
    task = sequence_task()
    put(tmp_path, task, "sobert", wrong(0))
    put(tmp_path, task, "sobert", wrong(0, 1, 2), **changed)
    assert [model["name"] for model in report(tmp_path)["tasks"][0]["models"]] == words


def test_models_that_differ_in_their_training_alone_are_kept_apart(tmp_path: Path) -> None:
    task = sequence_task()
    put(tmp_path, task, "sobert", wrong(0))
    put(tmp_path, task, "sobert", wrong(0, 1, 2), training={"epochs": 9})
    models = report(tmp_path)["tasks"][0]["models"]
    assert len({model["label"] for model in models}) == 2
    assert all(model["setting"].startswith("recipe ") for model in models)


def test_a_unit_of_two_runs_counts_once(tmp_path: Path) -> None:
    task = sequence_task()
    put(tmp_path / "a", task, "sobert", wrong(0))
    put(tmp_path / "b", task, "sobert", wrong(0), elsewhere=["bad"] * 30)
    (model,) = report(tmp_path / "a", tmp_path / "b")["tasks"][0]["models"]
    assert model["seeds"] == [1]
    assert list(model["transfer"]) == ["elsewhere"]


def test_slices_count_their_examples_and_small_ones_have_no_figure(tmp_path: Path) -> None:
    num_cut = [3] * 25 + [0] * 35
    put(tmp_path, sequence_task(), "one", wrong(0, 1), num_cut=num_cut)
    put(tmp_path, sequence_task(), "two", wrong(0), kind="tfidf")
    slices = {one["way"]: one["rows"] for one in report(tmp_path)["tasks"][0]["slices"]}
    assert [row["name"] for row in slices["year"]] == ["2015", "2016", "2017", "2018"]
    for row in slices["year"]:
        assert [cell["num_examples"] for cell in row["cells"]] == [15, 15]
        assert row["cells"][0]["estimate"]["value"] is None
    whole, cut = slices["how much the model saw"]
    assert [cell["num_examples"] for cell in whole["cells"]] == [0, 35]
    assert [cell["num_examples"] for cell in cut["cells"]] == [0, 25]
    oracle = f1_score(GOLD[:25], wrong(0, 1)[:25], average="macro")
    assert cut["cells"][1]["estimate"]["value"] == pytest.approx(oracle, abs=1e-6)
    (python,) = slices["tag"]
    assert python["cells"][0]["num_examples"] == NUM
    assert sum(row["cells"][0]["num_examples"] for row in slices["length in characters"]) == NUM
    page, markdown = read_pages(tmp_path)
    assert "too small, n = 15" in markdown
    assert "too small" in page
    assert "one 25 of 60" in markdown


def test_confusion_is_that_of_scikit_learn_over_all_seeds(run: Path) -> None:
    found = report(run)["tasks"][0]["confusions"][0]
    oracle = sum(confusion_matrix(GOLD, wrong(*some), labels=LABELS) for some in ((0,), (0, 1, 2)))
    assert [row[:2] for row in found["counts"]] == np.asarray(oracle).tolist()
    assert [row[2] for row in found["counts"]] == [0, 0]


def test_errors_are_the_most_confident_of_the_best_model(tmp_path: Path) -> None:
    certain = [0.6] * NUM
    certain[7], certain[3] = 0.95, 0.8
    put(tmp_path, sequence_task(), "best", wrong(*range(12)), probabilities=certain)
    put(tmp_path, sequence_task(), "other", wrong(*range(30)), probabilities=certain)
    errors = report(tmp_path)["tasks"][0]["errors"]
    assert len(errors) == 10
    first_id = 3  # of test: train has two
    assert errors[0] == {
        "example_id": f"x.org/{7 + first_id}",
        "gold": "good",
        "predicted": "bad",
        "probability": 0.95,
        "excerpt": "text 7",
    }
    assert errors[1]["example_id"] == f"x.org/{3 + first_id}"
    ties = [error["example_id"] for error in errors[2:]]
    assert ties == sorted(ties)


def test_answers_that_could_not_be_read_are_counted_with_their_cost(tmp_path: Path) -> None:
    labels = [None, None, None, *GOLD[3:]]
    figures = {"dollars": 0.25, "tokens_in": 1234, "num_refused": 2, "served_models": ["x-1"]}
    put(tmp_path, sequence_task(), "chat", labels, kind="zero_shot", figures=figures)
    found = report(tmp_path)["tasks"][0]
    (chat,) = found["models"]
    assert (chat["num_unanswered"], chat["num_answers"]) == (3, NUM)
    assert chat["cost"]["dollars"] == 0.25
    assert chat["saw"]["num_train"] is None
    assert found["confusions"][0]["counts"] == [[28, 0, 2], [0, 29, 1]]
    for page in read_pages(tmp_path):
        assert "3 (5.0 %)" in page
        assert "0.2500" in page
        assert "no answer" in page


def test_other_benchmarks_stand_beside_home(tmp_path: Path) -> None:
    gold = [LABELS[number % 2] for number in range(30)]
    elsewhere = [str(label) for label in wrong(1, 2, 3, gold=gold)]
    put(tmp_path, sequence_task(), "one", wrong(0), elsewhere=elsewhere)
    found = report(tmp_path)["tasks"][0]["models"][0]["transfer"]["elsewhere"]
    oracle = f1_score(gold, elsewhere, average="macro")
    assert found["num_examples"] == 30
    assert found["estimate"]["value"] == pytest.approx(oracle, abs=1e-6)
    assert all("elsewhere" in page for page in read_pages(tmp_path))


def test_costs_are_added_over_seeds(tmp_path: Path) -> None:
    for seed, rate in ((1, 5e-5), (2, 1e-5)):
        figures = {"seconds": 10.5, "device": "GPU <1>", "learning_rate": rate, "num_parameters": 7}
        put(tmp_path, sequence_task(), "one", wrong(0), seed=seed, figures=figures)
    cost = report(tmp_path)["tasks"][0]["models"][0]["cost"]
    assert cost["seconds"] == 21.0
    assert cost["learning_rate"] == [1e-5, 5e-5]
    assert (cost["num_parameters"], cost["device"], cost["dollars"]) == ([7], ["GPU <1>"], None)


def test_a_class_that_a_share_of_train_lacks_keeps_models_comparable(tmp_path: Path) -> None:
    task = sequence_task()
    put(tmp_path, task, "one", wrong(0), probabilities=[0.9] * NUM)
    put(tmp_path, task, "two", wrong(0, 1), classes=("bad", "good", "rare"))
    found = report(tmp_path)["tasks"][0]
    assert found["labels"] == ["bad", "good", "rare"]
    assert found["models"][0]["metrics"]["ece"]["value"] is not None
    assert found["models"][1]["versus_best"]["num_only_best"] == 1


def test_models_of_other_examples_are_refused(tmp_path: Path) -> None:
    put(tmp_path, sequence_task(), "one", wrong(0))
    shorter = make_sequence_task({"test": [("a", "bad"), ("b", "good")]})
    put(tmp_path, shorter, "two", ["bad", "good"])
    with pytest.raises(BadValue):
        report(tmp_path)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no finished result"):
        report(tmp_path)


# Tokens --------------------------------------------------------------------------------------

TAGS = [["B-Class", "I-Class", "O", "B-Library"], ["O", "O", "B-Library", "O"]] * 12
SAID = [["B-Class", "O", "O", "B-Library"], ["O", "B-Class", "B-Library", "I-Library"]] * 12


def token_run(folder: Path, **changed: Any) -> None:
    rows = [(["use", "the", "fine", "map"], tags) for tags in TAGS]
    task = make_token_task({"train": rows[:1], "test": rows})
    put(folder, task, "tagger", SAID, **changed)


def test_f1_by_entity_type_is_that_of_seqeval(tmp_path: Path) -> None:
    token_run(tmp_path)
    found = {one["type"]: one for one in report(tmp_path)["tasks"][0]["entities"]}
    for name, num in (("Class", 12), ("Library", 24)):
        kept = [
            [[tag if tag.endswith(name) else "O" for tag in row] for row in rows]
            for rows in (TAGS, SAID)
        ]
        assert found[name]["num_entities"] == num
        oracle = entity_f1(*kept)
        assert found[name]["cells"][0]["value"] == pytest.approx(oracle, abs=1e-6)
    assert found["Website"]["cells"][0]["value"] is None


def test_errors_in_tags_are_the_entities_that_only_one_side_has(tmp_path: Path) -> None:
    token_run(tmp_path)
    errors = report(tmp_path)["tasks"][0]["errors"]
    said = {(error["gold"], error["predicted"]) for error in errors}
    assert said == {
        ("Class at 1–2", "Class at 1"),
        ("Library at 3", "Class at 2, Library at 3–4"),
    }


def test_two_lists_of_types_are_two_tasks_that_are_not_compared(tmp_path: Path) -> None:
    token_run(tmp_path)
    report(tmp_path)
    assert all("cannot be compared" not in page for page in read_pages(tmp_path))
    token_run(tmp_path, types="paper")
    assert [task["types"] for task in report(tmp_path)["tasks"]] == ["loader", "paper"]
    assert all(page.count("cannot be compared") == 2 for page in read_pages(tmp_path))


# Pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"form": "raw_text"}, "(leaking form)"),
        ({"form": "raw_text"}, "whose format gives labels away"),
        ({"evaluated": "validation"}, "has no test"),
    ],
)
def test_what_has_to_be_minded_is_said(tmp_path: Path, changed: Json, words: str) -> None:
    put(tmp_path, sequence_task(), "one", wrong(0))
    report(tmp_path)
    assert all(words not in page for page in read_pages(tmp_path))
    put(tmp_path, sequence_task(), "one", wrong(0), benchmark_id="2" * 64, **changed)
    report(tmp_path)
    assert all(words in page for page in read_pages(tmp_path))


def test_hostile_text_does_nothing_on_the_page(run: Path) -> None:
    report(run)
    page = BeautifulSoup(read_pages(run)[0], "html.parser")
    assert not page.find_all(["script", "img", "iframe", "object", "link", "b"], src=True)
    assert not page.find_all(["script", "img"])
    assert all(link["href"].startswith("#") for link in page.find_all("a"))
    assert HOSTILE in [one.get_text() for one in page.find_all("bdi")]


def test_hostile_text_does_nothing_in_markdown(run: Path) -> None:
    report(run)
    markdown = read_pages(run)[1]
    html = MarkdownIt("commonmark").enable("table").render(markdown)
    page = BeautifulSoup(html, "html.parser")
    assert not page.find_all(["script", "img", "a", "code"])
    cells = [one.get_text() for one in page.find_all("td")]
    # As it was, its white space made single: no comment of ours is text.
    assert " ".join(HOSTILE.split()) in cells
    assert "http://" not in markdown
    assert "www." not in markdown


def test_every_row_of_a_table_in_markdown_has_the_cells_of_its_head(run: Path) -> None:
    report(run)
    tables = re.findall(r"(?:^\|.*\n)+", read_pages(run)[1], re.MULTILINE)
    assert len(tables) >= 9
    for table in tables:
        head, rule, *rows = table.splitlines()
        assert re.fullmatch(r"\|( -+:? \|)+", rule)
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in (head, rule, *rows)} == {
            rule.count("|")
        }


def test_the_same_predictions_give_the_same_bytes(run: Path) -> None:
    report(run)
    report(run, out=run / "again")
    for name in (*PAGES, FIGURES):
        assert (run / "again" / name).read_bytes() == (run / "report" / name).read_bytes()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes_and_needs_no_torch(run: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from finetune.report import write_report;"
        "from corpus.progress import Reporter;"
        f"write_report([Path(sys.argv[1])], Path(sys.argv[2]), resamples={FEW}, "
        "reporter=Reporter(quiet=True)); sys.exit('torch' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", program, run, run / "again"],
        check=True,
        env={"PYTHONHASHSEED": "7", "PATH": ""},
        cwd=CHECKOUT,
    )
    report(run)
    for name in (*PAGES, FIGURES):
        assert (run / "again" / name).read_bytes() == (run / "report" / name).read_bytes()


def test_the_page_needs_nothing_beside_it(run: Path) -> None:
    report(run)
    page = read_pages(run)[0]
    assert "default-src 'none'" in page
    parsed = BeautifulSoup(page, "html.parser")
    assert not [tag for tag in parsed.find_all(True) if "src" in tag.attrs or "srcset" in tag.attrs]
    assert "url(" not in page
    assert "@import" not in page


def test_figures_are_what_is_returned(run: Path) -> None:
    assert report(run) == json.loads((run / "report" / FIGURES).read_bytes())


# Charts --------------------------------------------------------------------------------------


def test_a_curve_rises_to_the_right_where_its_values_do() -> None:
    points = [Point(10, 0.2, 0.1, 0.3), Point(100, 0.6), Point(1000, 0.9)]
    svg = BeautifulSoup(draw_curves({"a": points}, x_label="n", y_label="F1"), "html.parser")
    at = [tuple(map(float, one.split(","))) for one in svg.polyline["points"].split()]
    (x1, y1), (x2, y2), (x3, y3) = at
    assert y1 > y2 > y3
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert len(svg.find_all("circle")) == 3


def test_one_value_alone_can_be_drawn() -> None:
    assert "nan" not in draw_curves({"a": [Point(10, 0.5)]}, x_label="n", y_label="F1")
    assert "nan" not in draw_intervals([Row("a", 0.0)], x_label="F1")


def test_names_in_charts_are_escaped_and_shortened() -> None:
    svg = draw_intervals([Row("<script>" + "x" * 100, 0.5, 0.4, 0.6)], x_label="F1")
    assert "<script>" not in svg
    assert "…" in svg


def test_markdown_makes_no_link_of_what_it_shows() -> None:
    assert plain_markdown("https://a.b WWW.c.d e@f.g") == (
        "https:<!-- -->//a.b WWW<!-- -->.c.d e@<!-- -->f.g"
    )


def test_the_benchmarks_leak_probes_stand_beside(tmp_path: Path) -> None:
    auc = {"value": 0.731, "low": 0.7, "high": 0.76}
    row = {"probe": "markup", "form": "raw", "verdict": "leak", "auc": auc, "macro_f1": None}
    put(tmp_path, sequence_task(), "one", wrong(0, 1), probes=[row])
    write_report([tmp_path], tmp_path / "report", resamples=100, reporter=Reporter(quiet=True))
    page = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "| markup | raw | AUC | 0.731 [0.700, 0.760] | leak |" in page
    assert "What gives the labels away" in (tmp_path / "report" / "report.html").read_text("utf-8")
