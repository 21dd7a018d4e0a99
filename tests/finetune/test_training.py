"""Training: what is easy is learnt, twice the same, and a killed unit goes on as if nothing was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from transformers import TrainerState

from corpus.errors import BadValue, RecipeError, StoreError
from corpus.progress import Reporter
from finetune import training
from finetune.fitting import Ask, Fitted
from finetune.objective import is_over, make_loss, weigh_classes
from finetune.recipe import TrainingSection
from finetune.tasks import TaskData
from finetune.training import FINISHED, fit_pretrained
from tests.finetune.conftest import make_sequence_task, make_token_task
from tests.finetune.tiny_models import write_bert, write_export, write_llama

TEXTS = [
    (f"{word} question {number}", label)
    for number in range(6)
    for word, label in (("good", "hq"), ("bad", "lq"))
]
SENTENCES = 2 * [
    (["use", "the", word, "."], ["O", "O", tag, "O"])
    for word, tag in (
        ("map", "B-Class"),
        ("list", "B-Class"),
        ("java", "B-Language"),
        ("python", "B-Language"),
        ("bad", "O"),
        ("closed", "O"),
    )
]
EASY = {"epochs": 12, "batch_size": 4, "learning_rates": [5e-3], "patience": 12}
SHORT = {**EASY, "epochs": 3}
MakeAsk = Callable[..., Ask]


class Killed(Exception):
    """Not one of ours: the process is gone."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    # Threads that wait for each other take seconds a step where cores are shared.
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    writers = {"bert": write_bert, "export": write_export, "llama": write_llama}
    return {name: str(write(folder / name)) for name, write in writers.items()}


def sequence_task(num: int = 12) -> TaskData:
    return make_sequence_task(dict.fromkeys(("train", "validation", "test"), TEXTS[:num]))


def token_task() -> TaskData:
    return make_token_task(dict.fromkeys(("train", "validation", "test"), SENTENCES))


def encoder(models: dict[str, str], name: str = "bert", **more: str) -> dict[str, str]:
    return {"kind": "encoder", "path": models[name], **more}


def probabilities(fitted: Fitted, split: str = "test") -> bytes:
    found = fitted.predicted[split].probabilities
    assert found is not None
    return found.tobytes()


def timeless(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name != "training_seconds"}


# Learning ------------------------------------------------------------------------------------


def test_easy_texts_are_learnt(models: dict[str, str], make_ask: MakeAsk) -> None:
    task = sequence_task()
    ask = make_ask(encoder(models), training=EASY)
    fitted = fit_pretrained(task, ask)
    predicted = fitted.predicted["test"]
    assert list(predicted.labels) == task.splits["test"]["label"].to_pylist()
    assert predicted.probabilities is not None
    assert (predicted.probabilities.dtype, predicted.probabilities.shape) == (np.float32, (12, 2))
    assert np.allclose(predicted.probabilities.sum(1), 1, atol=1e-6)
    assert set(fitted.predicted) == {"validation", "test"}
    json.dumps(fitted.figures)


def test_easy_tags_are_learnt_by_an_exported_model(
    models: dict[str, str], make_ask: MakeAsk
) -> None:
    task = token_task()
    training = {**EASY, "epochs": 25}
    fitted = fit_pretrained(task, make_ask(encoder(models, "export"), training=training))
    assert list(fitted.predicted["test"].labels) == task.splits["test"]["label"].to_pylist()
    assert fitted.predicted["test"].probabilities is None


def test_easy_texts_are_learnt_by_adapters(models: dict[str, str], make_ask: MakeAsk) -> None:
    task = sequence_task()
    entry = {"kind": "decoder", "path": models["llama"]}
    training = {**EASY, "learning_rates": [2e-2], "epochs": 20}
    fitted = fit_pretrained(task, make_ask(entry, training=training))
    assert list(fitted.predicted["test"].labels) == task.splits["test"]["label"].to_pylist()
    figures = fitted.figures
    assert 0 < figures["num_trained_parameters"] < figures["num_parameters"] / 2


# Random states -------------------------------------------------------------------------------


def test_two_runs_say_the_same_to_the_bit(
    models: dict[str, str], make_ask: MakeAsk, tmp_path: Path
) -> None:
    def fit(seed: int, name: str) -> Fitted:
        given = make_ask(encoder(models), seed, training=SHORT)
        working = tmp_path / name
        return fit_pretrained(
            sequence_task(), Ask(given.recipe, given.entry, seed, working, given.reporter)
        )

    first = fit(1, "first")
    torch.manual_seed(99)
    again, other = fit(1, "again"), fit(2, "other")
    assert probabilities(first) == probabilities(again)
    assert timeless(first.figures) == timeless(again.figures)
    assert probabilities(first) != probabilities(other)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("bert", "on_step_end"),
        pytest.param("bert", "on_evaluate", marks=pytest.mark.slow),
        pytest.param("bert", "on_save", marks=pytest.mark.slow),
        pytest.param("llama", "on_step_end", marks=pytest.mark.slow),
    ],
)
def test_a_killed_unit_says_what_it_would_have_said(
    models: dict[str, str],
    make_ask: MakeAsk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    place: str,
) -> None:
    entry = encoder(models, name) if name == "bert" else {"kind": "decoder", "path": models[name]}
    ask = make_ask(entry, training=SHORT)
    whole = Ask(ask.recipe, ask.entry, ask.seed, tmp_path / "whole", ask.reporter)
    expected = fit_pretrained(sequence_task(), whole)
    with monkeypatch.context() as patched:
        kill_after(5 if place == "on_step_end" else 2, place, patched)
        with pytest.raises(Killed):
            fit_pretrained(sequence_task(), ask)
    steps = count_steps(monkeypatch)
    found = fit_pretrained(sequence_task(), ask)
    assert probabilities(found) == probabilities(expected)
    assert timeless(found.figures) == timeless(expected.figures)
    assert len(steps) == {"on_step_end": 6, "on_evaluate": 6, "on_save": 3}[place]


def kill_after(num: int, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = getattr(training._Watch, place), []

    def killing(self: Any, *given: Any, **more: Any) -> None:
        original(self, *given, **more)
        calls.append(1)
        if len(calls) == num:
            raise Killed

    monkeypatch.setattr(training._Watch, place, killing)


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    original, steps = training._Watch.on_step_end, []

    def counting(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        steps.append(state.global_step)
        original(self, args, state, control, **more)

    monkeypatch.setattr(training._Watch, "on_step_end", counting)
    return steps


def test_a_checkpoint_that_broke_off_is_passed_over(
    models: dict[str, str], make_ask: MakeAsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = make_ask(encoder(models), training=SHORT)
    with monkeypatch.context() as patched:
        kill_after(2, "on_save", patched)
        with pytest.raises(Killed):
            fit_pretrained(sequence_task(), ask)
    newest = ask.working / "rate-0" / "checkpoint-6"
    (newest / "trainer_state.json").write_text("{")
    steps = count_steps(monkeypatch)
    found = fit_pretrained(sequence_task(), ask)
    assert steps[0] in (1, 4)
    assert len(found.figures["curve"]) == 3


# Learning rates ------------------------------------------------------------------------------


def test_the_best_learning_rate_is_taken_and_none_is_trained_twice(
    models: dict[str, str], make_ask: MakeAsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {**EASY, "epochs": 8, "learning_rates": [1e-9, 5e-3]}
    ask = make_ask(encoder(models), training=rates)
    first = fit_pretrained(sequence_task(), ask)
    assert first.figures["learning_rate"] == 5e-3
    curve = first.figures["curve"]
    assert [(one["learning_rate"], one["epoch"]) for one in curve] == [
        (rate, epoch) for rate in (1e-9, 5e-3) for epoch in range(1, 9)
    ]
    assert max(one["score"] for one in curve[:8]) < max(one["score"] for one in curve[8:])
    steps = count_steps(monkeypatch)
    again = fit_pretrained(sequence_task(), ask)
    assert steps == []
    assert probabilities(first) == probabilities(again)
    assert first.figures == again.figures


def test_a_finished_rate_keeps_its_best_epoch_alone(
    models: dict[str, str], make_ask: MakeAsk, tmp_path: Path
) -> None:
    ask = make_ask(encoder(models), training=SHORT)
    before = set(tmp_path.rglob("*"))
    fit_pretrained(sequence_task(), ask)
    folder = ask.working / "rate-0"
    best = json.loads((folder / FINISHED).read_bytes())["best_step"]
    assert {path.name for path in folder.iterdir()} == {FINISHED, f"checkpoint-{best}"}
    assert not (folder / f"checkpoint-{best}" / "optimizer.pt").exists()
    written = set(tmp_path.rglob("*")) - before
    assert all(path.is_relative_to(ask.working) for path in written)


def test_the_best_epoch_predicts_and_training_stops_after_it(
    models: dict[str, str], make_ask: MakeAsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.7, 0.2, 0.7, 0.9])
    monkeypatch.setattr(training, "score_answers", lambda job, answers: next(scores))
    ask = make_ask(encoder(models), training={**EASY, "patience": 2})
    fitted = fit_pretrained(sequence_task(), ask)
    assert [one["score"] for one in fitted.figures["curve"]] == [0.1, 0.7, 0.2, 0.7]
    folder = ask.working / "rate-0"
    assert json.loads((folder / FINISHED).read_bytes())["best_step"] == 6
    state = TrainerState.load_from_json(str(folder / "checkpoint-6" / "trainer_state.json"))
    assert state.global_step == 6


def test_patience_counts_from_the_first_best() -> None:
    section = TrainingSection(epochs=5, patience=2)
    ended = [[0.2, 0.1, 0.1], [0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]]
    going = [[], [0.2], [0.2, 0.1], [0.1, 0.3, 0.2], [0.2, 0.1, 0.3]]
    assert all(is_over(scores, section) for scores in ended)
    assert not any(is_over(scores, section) for scores in going)


# Figures -------------------------------------------------------------------------------------


def test_what_was_cut_is_counted_and_said_once(
    models: dict[str, str], make_ask: MakeAsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(Reporter, "say", lambda self, line: said.append(line))
    rows = [("good " * 70, "hq"), ("bad", "lq")] * 2
    task = make_sequence_task({"train": rows, "validation": rows, "test": rows[:3]})
    ask = make_ask(encoder(models), training={**EASY, "epochs": 1}, input={"keep": "both"})
    fitted = fit_pretrained(task, ask)
    assert fitted.figures["max_tokens"] == 64
    assert fitted.figures["keep"] == "both"
    assert fitted.figures["num_cut"] == {"train": 16, "validation": 16, "test": 16}
    assert fitted.predicted["test"].num_tokens is not None
    assert fitted.predicted["test"].num_tokens.tolist() == [72, 3, 72]
    assert fitted.predicted["test"].num_cut is not None
    assert fitted.predicted["test"].num_cut.tolist() == [8, 0, 8]
    assert fitted.figures["num_tokens_seen"] == 64 + 64 + 3 + 3
    assert said == ["one has 64 positions: no input is longer"]


def test_predictions_stay_in_the_order_of_the_examples(
    models: dict[str, str], make_ask: MakeAsk
) -> None:
    rows = [
        (f"{'a ' * (number * 5 % 12)}{text}", label) for number, (text, label) in enumerate(TEXTS)
    ]
    task = make_sequence_task({"train": TEXTS, "validation": rows, "test": rows[::-1]})
    fitted = fit_pretrained(task, make_ask(encoder(models), training=SHORT))
    there = fitted.predicted["validation"].probabilities
    back = fitted.predicted["test"].probabilities
    assert there is not None and back is not None
    assert np.allclose(there, back[::-1], atol=1e-6)
    assert len({one.tobytes() for one in there}) > 6


def test_random_weights_are_another_model(models: dict[str, str], make_ask: MakeAsk) -> None:
    training = {**SHORT, "epochs": 1}
    pretrained = make_ask(encoder(models), training=training)
    random = make_ask(encoder(models, weights="random"), training=training)
    random = Ask(random.recipe, random.entry, 1, random.working / "random", random.reporter)
    first, second = (fit_pretrained(sequence_task(), ask) for ask in (pretrained, random))
    assert probabilities(first) != probabilities(second)
    assert first.figures["num_parameters"] == second.figures["num_parameters"]


def test_nothing_is_drawn_or_said(
    models: dict[str, str], make_ask: MakeAsk, capfd: pytest.CaptureFixture[str]
) -> None:
    ask = make_ask(encoder(models), training={**SHORT, "epochs": 1})
    fit_pretrained(sequence_task(), ask)
    assert capfd.readouterr() == ("", "")


# The objective -------------------------------------------------------------------------------


def test_class_weights_are_those_of_scikit_learn() -> None:
    codes = np.array([0, 1, 1, 1, 3, 3])
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=codes)
    weights = weigh_classes(codes, 5).numpy()
    assert np.allclose(weights[[0, 1, 3]], expected)
    assert weights[[2, 4]].tolist() == [0, 0]


def test_class_weights_change_the_loss() -> None:
    class Outputs:
        logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 0.5]])

    labels = torch.tensor([0, 1, 1])
    losses = -Outputs.logits.log_softmax(-1)[torch.arange(3), labels]
    weights = torch.tensor([3.0, 0.5])
    by_hand = (losses * weights[labels]).sum() / weights[labels].sum()
    assert torch.allclose(make_loss(weights)(Outputs, labels), by_hand)
    assert torch.allclose(make_loss(None)(Outputs, labels), losses.mean())


def test_class_weights_change_what_is_learnt(
    models: dict[str, str], make_ask: MakeAsk, tmp_path: Path
) -> None:
    rows = TEXTS[:4] + [one for one in TEXTS if one[1] == "hq"]
    task = make_sequence_task(dict.fromkeys(("train", "validation", "test"), rows))
    found = []
    for weights in ("none", "balanced"):
        ask = make_ask(encoder(models), training={**SHORT, "class_weights": weights})
        ask = Ask(ask.recipe, ask.entry, 1, tmp_path / weights, ask.reporter)
        fitted = fit_pretrained(task, ask)
        predicted = fitted.predicted["test"].probabilities
        assert predicted is not None
        found.append(predicted[:, task.labels.index("lq")].mean())
    assert found[1] > found[0]


def test_without_an_entity_nothing_can_be_chosen(make_ask: MakeAsk) -> None:
    whole = token_task().splits
    none = [["O"] * len(tokens) for tokens in whole["validation"]["tokens"].to_pylist()]
    column = whole["validation"].schema.get_field_index("label")
    field = whole["validation"].schema.field("label")
    bare = whole["validation"].set_column(column, field, [none])
    task = replace(token_task(), splits={**whole, "validation": bare})
    with pytest.raises(BadValue, match="validation of 'toy' has no entity"):
        fit_pretrained(task, make_ask({"kind": "encoder", "path": "nowhere"}))


# Refusals ------------------------------------------------------------------------------------


def test_a_model_that_is_nowhere_is_said_to_be_so(make_ask: MakeAsk) -> None:
    ask = make_ask({"kind": "encoder", "path": "someone/no-such-model"})
    with pytest.raises(StoreError, match="neither a folder nor in the local cache"):
        fit_pretrained(sequence_task(), ask)


def test_training_that_came_to_no_numbers_is_refused(
    models: dict[str, str], make_ask: MakeAsk
) -> None:
    rates = {**SHORT, "epochs": 1, "learning_rates": [1e30], "warmup_share": 0.0}
    with pytest.raises(RecipeError, match="came to no numbers at all"):
        fit_pretrained(sequence_task(), make_ask(encoder(models), training=rates))


def test_a_tokenizer_of_another_model_is_refused(
    models: dict[str, str], make_ask: MakeAsk, tmp_path: Path
) -> None:
    folder = write_bert(tmp_path / "mixed")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((Path(models["export"]) / name).read_bytes())
    ask = make_ask({"kind": "encoder", "path": str(folder)}, training=SHORT)
    with pytest.raises(StoreError, match=r"gives id \d+, the model knows 203 ids"):
        fit_pretrained(sequence_task(), ask)
