"""Checkpoints: exact, atomic, kept by count, and refused where they do not fit."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pretrain.checkpoint
from corpus.errors import IntegrityError, RecipeError, StoreError
from pretrain.checkpoint import (
    Identity,
    Ledger,
    check_identity,
    gather_moments,
    gather_weights,
    identify,
    list_checkpoints,
    load_tensors,
    load_weights,
    newest_checkpoint,
    read_marker,
    restore,
    save_checkpoint,
)
from pretrain.model import Encoder, build_encoder
from pretrain.optimiser import build_optimiser
from pretrain.parallel import Parallel
from pretrain.recipe import OptimiserSection, parse_pretrain_recipe
from tests.pretrain.conftest import make_batch, random_documents, small_shape

RECIPE = parse_pretrain_recipe({"card": {"name": "x", "title": "X", "summary": ""}})
IDENTITY = Identity(identify(RECIPE), "a" * 64, "b" * 64, rows_per_step=4, num_steps=100)


class Killed(BaseException):
    """The end of the process, as far as the code that is killed can tell."""


class Trained:
    """A small encoder, its optimiser, and one batch to take steps on."""

    def __init__(self, parallel: Parallel, seed: int = 1) -> None:
        self.parallel = parallel
        self.encoder: Encoder = build_encoder(
            small_shape("classic"), dtype=torch.float32, device="cpu", seed=seed
        )
        self.optimiser = build_optimiser(self.encoder.parameters(), OptimiserSection())
        self.batch = make_batch(random_documents([40, 20]))

    def step(self) -> float:
        loss = self.encoder.losses_M(self.batch).mean()
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(loss.detach())

    def save(self, folder: Path, step: int, **keywords: Any) -> Path:
        at = {"keep": 2, **keywords}
        ledger = Ledger(step=step, rows=4 * step)
        return save_checkpoint(
            folder, self.encoder, self.optimiser, IDENTITY, ledger, self.parallel, **at
        )


@pytest.fixture
def trained(parallel: Parallel) -> Trained:
    return Trained(parallel)


def test_what_was_saved_goes_on_as_if_nothing_was(
    trained: Trained, parallel: Parallel, tmp_path: Path
) -> None:
    for _ in range(3):
        trained.step()
    trained.save(tmp_path, 3)
    expected = [trained.step() for _ in range(3)]
    fresh = Trained(parallel, seed=2)
    newest = newest_checkpoint(tmp_path)
    assert newest
    assert newest.ledger == Ledger(step=3, rows=12)
    restore(newest, fresh.encoder, fresh.optimiser, parallel)
    assert [fresh.step() for _ in range(3)] == expected
    for ours, theirs in (
        (gather_weights(fresh.encoder), gather_weights(trained.encoder)),
        (
            gather_moments(fresh.encoder, fresh.optimiser),
            gather_moments(trained.encoder, trained.optimiser),
        ),
    ):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_restoring_does_not_tie_the_model_to_the_file(
    trained: Trained, parallel: Parallel, tmp_path: Path
) -> None:
    trained.step()
    trained.save(tmp_path, 1)
    newest = read_marker(tmp_path / "step-00000001")
    restore(newest, trained.encoder, trained.optimiser, parallel)
    before = (tmp_path / "step-00000001" / "weights.pt").read_bytes()
    trained.step()
    assert (tmp_path / "step-00000001" / "weights.pt").read_bytes() == before


def test_a_checkpoint_holds_tensors_and_no_code(trained: Trained, tmp_path: Path) -> None:
    folder = trained.save(tmp_path, 1)
    content = torch.load(folder / "weights.pt", weights_only=True)
    assert all(type(tensor) is torch.Tensor for tensor in content.values())
    assert sum(tensor.numel() for tensor in content.values()) == sum(
        weight.numel() for weight in trained.encoder.parameters()
    )


def test_the_newest_are_kept_and_those_marked(trained: Trained, tmp_path: Path) -> None:
    for step in range(1, 6):
        trained.save(tmp_path, step, is_kept=step == 2)
    assert [one.ledger.step for one in list_checkpoints(tmp_path)] == [2, 4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000002",
        "step-00000004",
        "step-00000005",
    ]


def test_saving_a_step_again_changes_nothing(trained: Trained, tmp_path: Path) -> None:
    folder = trained.save(tmp_path, 1)
    before = (folder / "weights.pt").stat().st_mtime_ns
    trained.step()
    assert trained.save(tmp_path, 1) == folder
    assert (folder / "weights.pt").stat().st_mtime_ns == before


def die_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> Callable[[], int]:
    """Die before the given call that touches the disk; return how many calls there were."""
    calls = [0]

    def dying(function: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            calls[0] += 1
            if calls[0] == moment:
                raise Killed
            return function(*arguments, **keywords)

        return call

    for name in ("sync", "write_json", "digest_file"):
        monkeypatch.setattr(pretrain.checkpoint, name, dying(getattr(pretrain.checkpoint, name)))
    monkeypatch.setattr(torch, "save", dying(torch.save))
    for name in ("rename", "mkdir", "unlink"):
        monkeypatch.setattr(Path, name, dying(getattr(Path, name)))
    monkeypatch.setattr(
        pretrain.checkpoint.shutil, "rmtree", dying(pretrain.checkpoint.shutil.rmtree)
    )
    return lambda: calls[0]


def test_a_save_killed_anywhere_leaves_the_last_good_one(
    trained: Trained, parallel: Parallel, tmp_path: Path
) -> None:
    trained.step()
    good = gather_weights(trained.encoder)
    good = {name: tensor.clone() for name, tensor in good.items()}
    states = {}
    for moment in range(1, 100):
        folder = tmp_path / str(moment)
        load_weights(trained.encoder, good, parallel)
        trained.save(folder, 1, keep=1)
        trained.step()
        with pytest.MonkeyPatch.context() as patch:
            num_calls = die_at(patch, moment)
            try:
                trained.save(folder, 2, keep=1)
            except Killed:
                pass
            else:
                assert num_calls() == moment - 1
                break
        newest = newest_checkpoint(folder)
        assert newest
        states[moment] = newest.ledger.step
        saved = good if newest.ledger.step == 1 else gather_weights(trained.encoder)
        found = load_tensors(newest)
        assert all(torch.equal(found[name], saved[name]) for name in saved)
        # The next save works, and leaves nothing behind.
        trained.save(folder, 3, keep=1)
        assert [path.name for path in folder.iterdir()] == ["step-00000003"]
    assert len(states) >= 10
    assert set(states.values()) == {1, 2}


@pytest.mark.parametrize("file", ["weights.pt", "optimiser.pt"])
def test_a_changed_file_is_refused(
    file: str, trained: Trained, parallel: Parallel, tmp_path: Path
) -> None:
    trained.step()
    path = trained.save(tmp_path, 1) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{file} was changed since it was saved; delete"):
        restore(read_marker(path.parent), trained.encoder, trained.optimiser, parallel)
    path.unlink()
    with pytest.raises(IntegrityError, match=f"{file} cannot be read"):
        restore(read_marker(path.parent), trained.encoder, trained.optimiser, parallel)


def test_a_file_that_would_run_code_is_not_read(trained: Trained, tmp_path: Path) -> None:
    folder = trained.save(tmp_path, 1)
    torch.save({"x": Killed()}, folder / "weights.pt")
    marker = read_marker(folder).marker
    marker["files"]["weights.pt"] = pretrain.checkpoint._describe(folder / "weights.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_tensors(replace(read_marker(folder), marker=marker))


def test_what_is_no_checkpoint_is_said_to_be_none(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no checkpoint"):
        read_marker(tmp_path)
    folder = trained.save(tmp_path, 1)
    (folder / "checkpoint.json").write_text("{}")
    with pytest.raises(IntegrityError, match="is not a checkpoint's marker"):
        read_marker(folder)


def test_another_model_does_not_fit(parallel: Parallel, trained: Trained, tmp_path: Path) -> None:
    trained.step()
    folder = trained.save(tmp_path, 1)
    shape = replace(small_shape("classic"), hidden_size=32)
    other = build_encoder(shape, dtype=torch.float32, device="cpu", seed=1)
    with pytest.raises(IntegrityError, match="was saved with shape"):
        load_weights(other, load_tensors(read_marker(folder)), parallel)
    deeper = replace(small_shape("classic"), num_layers=3)
    other = build_encoder(deeper, dtype=torch.float32, device="cpu", seed=1)
    with pytest.raises(IntegrityError, match=r"there is no encoder\.layers\.2"):
        load_weights(other, load_tensors(read_marker(folder)), parallel)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("model", "num_layers", 3),
        ("data", "row_tokens", 1_024),
        ("masking", "rate", 0.3),
        ("optimiser", "learning_rate", 1e-3),
        ("run", "seed", 7),
        ("run", "batch_tokens", 1_000),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(
    section: str, key: str, value: Any, trained: Trained, tmp_path: Path
) -> None:
    checkpoint = read_marker(trained.save(tmp_path, 1))
    recipe = {**IDENTITY.recipe, section: {**IDENTITY.recipe[section], key: value}}
    message = rf"was trained with {section}\.{key} = .*, the recipe says {value}; give the one"
    with pytest.raises(RecipeError, match=message):
        check_identity(checkpoint, replace(IDENTITY, recipe=recipe))


def test_a_checkpoint_of_other_data_or_ranks_is_refused(trained: Trained, tmp_path: Path) -> None:
    checkpoint = read_marker(trained.save(tmp_path, 1))
    check_identity(checkpoint, IDENTITY)
    check_identity(checkpoint, replace(IDENTITY, num_steps=50))
    with pytest.raises(RecipeError, match="with tokenizer aaaaaaaaaaaaaaaa, not cccc"):
        check_identity(checkpoint, replace(IDENTITY, tokenizer="c" * 64))
    with pytest.raises(RecipeError, match="with shards bbbbbbbbbbbbbbbb, not cccc"):
        check_identity(checkpoint, replace(IDENTITY, shards="c" * 64))
    with pytest.raises(RecipeError, match="with 4 rows a step, this run would take 8"):
        check_identity(checkpoint, replace(IDENTITY, rows_per_step=8))


def test_a_run_may_be_saved_more_often_or_in_other_micro_batches() -> None:
    card = {"name": "x", "title": "X", "summary": ""}
    run = {"micro_batch_rows": 2, "save_every_steps": 7, "keep_checkpoints": 5, "num_tokens": 5}
    assert identify(parse_pretrain_recipe({"card": card, "run": run})) == IDENTITY.recipe
