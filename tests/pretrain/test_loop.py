"""Whole runs on the demo's shards: resumed, stopped, skipped, accumulated, by one rank and two."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import pretrain.loop
from corpus.errors import BadValue, RecipeError, SobertError, StoreError
from corpus.manifest import Json
from corpus.progress import Reporter
from pretrain.checkpoint import list_checkpoints, load_tensors, newest_checkpoint
from pretrain.logs import read_log
from pretrain.model import Encoder
from pretrain.optimiser import build_optimiser
from pretrain.recipe import OptimiserSection, PretrainRecipe, parse_pretrain_recipe
from pretrain.run import run_pretraining
from tests.conftest import Build

# torch's writer of events, and Megatron on import, speak of what is deprecated elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NUM_STEPS = 12
CHECKOUT = Path(__file__).resolve().parents[2]
MODEL = {"num_layers": 1, "hidden_size": 32, "num_heads": 2, "ffn_size": 64, "max_positions": 64}
RUN = {
    "num_tokens": 2_900,
    "batch_tokens": 256,
    "micro_batch_rows": 2,
    "save_every_steps": 3,
    "evaluate_every_steps": 6,
    "evaluate_rows": 4,
}
SCRIPT = """
import json, sys, time, torch
from pathlib import Path
from corpus.progress import Reporter
from corpus.store import Store
from pretrain.recipe import parse_pretrain_recipe
from pretrain.run import run_pretraining
if __name__ == "__main__":
    torch.set_num_threads(1)
    recipe, store, out, pause, workers = sys.argv[1:]
    step = torch.optim.AdamW.step
    def slow(self, *arguments, **keywords):
        time.sleep(float(pause))
        return step(self, *arguments, **keywords)
    torch.optim.AdamW.step = slow
    inputs = Store(Path(store)).read_run("demo")
    run_pretraining(
        parse_pretrain_recipe(json.loads(recipe)),
        inputs["shards"], inputs["tokenizer"], Path(out), reporter=Reporter(quiet=True),
        workers=int(workers),
    )
"""


def describe_recipe(**sections: Json) -> Json:
    content: Json = {
        "card": {"name": "x", "title": "X", "summary": ""},
        "model": MODEL,
        "data": {"row_tokens": 64},
        "optimiser": {"learning_rate": 3e-3},
        "run": RUN,
    }
    return {**content, **{name: {**content.get(name, {}), **s} for name, s in sections.items()}}


def make_recipe(**sections: Json) -> PretrainRecipe:
    return parse_pretrain_recipe(describe_recipe(**sections))


class Driver:
    """Runs recipes on the demo's shards."""

    def __init__(self, build: Build) -> None:
        self.shards, self.tokenizer = build.artifacts["shards"], build.artifacts["tokenizer"]
        self.store = build.store.folder

    def run(self, out: Path, recipe: PretrainRecipe | None = None, **keywords: Any) -> Json:
        torch.set_num_threads(1)
        at = {"reporter": Reporter(quiet=True), **keywords}
        return run_pretraining(recipe or make_recipe(), self.shards, self.tokenizer, out, **at)


class Killed(BaseException):
    """What a kill in this process is made of: nothing catches it."""


@pytest.fixture(scope="module")
def driver(demo_build: Build) -> Driver:
    return Driver(demo_build)


@pytest.fixture(scope="module")
def whole(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole")
    assert driver.run(out)["progress"]["step"] == NUM_STEPS
    return out


def read_metric(out: Path, metric: str) -> list[tuple[int, Any]]:
    lines = read_log(out / "log.jsonl")
    return [(line["step"], line["value"]) for line in lines if line["metric"] == metric]


def read_rows(out: Path, rank: int = 0) -> list[Json]:
    lines = (out / "rows" / f"consumed-{rank}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def digest_weights(out: Path) -> str:
    newest = newest_checkpoint(out / "checkpoints")
    assert newest
    assert newest.ledger.step == NUM_STEPS
    digest = hashlib.sha256()
    for file in ("weights.pt", "optimiser.pt"):
        for name, tensor in sorted(load_tensors(newest, file).items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def assert_same(out: Path, whole: Path) -> None:
    for metric in ("loss", "grad_norm", "learning_rate", "validation/loss/all"):
        assert read_metric(out, metric) == read_metric(whole, metric)
    assert [step for step, _ in read_metric(out, "loss")] == list(range(1, NUM_STEPS + 1))
    assert read_rows(out) == read_rows(whole)
    assert digest_weights(out) == digest_weights(whole)


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Die in the middle of a step, its gradients computed and nothing else done."""
    clip, calls = pretrain.loop.clip_gradients, iter(range(1, 1_000))

    def dying(encoder: Encoder, max_norm: float) -> torch.Tensor:
        if next(calls) == step:
            raise Killed
        return clip(encoder, max_norm)

    monkeypatch.setattr(pretrain.loop, "clip_gradients", dying)


@pytest.mark.parametrize(
    "step", [2, 8, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 3, 4, 5, 6, 7, 9, 12))]
)
def test_a_run_killed_in_a_step_and_resumed_is_bit_equal(
    step: int, driver: Driver, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, step)
        driver.run(tmp_path)
    assert len(read_rows(tmp_path)) == step - 1
    summary = driver.run(tmp_path)
    assert summary["state"] == "finished"
    assert_same(tmp_path, whole)


def test_all_rows_are_taken_once_an_epoch(whole: Path) -> None:
    lines = read_rows(whole)
    assert [line["step"] for line in lines] == list(range(1, NUM_STEPS + 1))
    rows = [row for line in lines for row in line["rows"]]
    num_rows = json.loads((whole / "run.json").read_text())["packing"]["num_rows"]
    assert len(rows) == NUM_STEPS * 4
    first = rows[:num_rows]
    assert len(set(first)) == len(first)


def test_a_finished_run_is_run_again_without_a_step(driver: Driver, whole: Path) -> None:
    before = (whole / "log.jsonl").read_bytes()
    summary = driver.run(whole)
    assert summary["state"] == "finished"
    assert summary["evaluation"]["all"]["num_tokens"] > 0
    assert (whole / "log.jsonl").read_bytes() == before


def test_the_run_file_holds_what_it_cost(whole: Path) -> None:
    run = json.loads((whole / "run.json").read_text())
    assert run["cost"]["tokens"] == run["progress"]["tokens"] >= RUN["num_tokens"]
    assert run["cost"]["flops"] > 6 * run["num_parameters"] * 0.2 * run["cost"]["tokens"]
    assert 0 < run["cost"]["mfu"] < 1
    assert run["checkpoint"] == f"checkpoints/step-{NUM_STEPS:08d}"
    assert (whole / "report.html").read_text().count("<polyline") >= 4
    assert len(list((whole / "events").iterdir())) >= 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_step_it_came_in(
    number: signal.Signals,
    driver: Driver,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip, calls = pretrain.loop.clip_gradients, iter(range(1, 1_000))

    def signalled(encoder: Encoder, max_norm: float) -> torch.Tensor:
        if next(calls) == 4:
            os.kill(os.getpid(), number)
        return clip(encoder, max_norm)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(pretrain.loop, "clip_gradients", signalled)
        summary = driver.run(tmp_path)
    assert (summary["state"], summary["progress"]["step"]) == ("stopped", 4)
    assert summary["checkpoint"] == "checkpoints/step-00000004"
    assert signal.getsignal(number) == before
    driver.run(tmp_path)
    assert_same(tmp_path, whole)


def spoil(
    monkeypatch: pytest.MonkeyPatch,
    steps: set[int],
    how: Callable[[torch.Tensor], torch.Tensor],
) -> dict[int, str]:
    """Spoil the losses of these steps; return the digest of the weights before each step."""
    take_step, losses = pretrain.loop.take_step, Encoder.losses_M
    digests: dict[int, str] = {}
    at = [0]

    def noting(job: Any, batches: Any, ledger: Any, stop: Any) -> Any:
        at[0] = ledger.step + 1
        weights = b"".join(w.detach().numpy().tobytes() for w in job.encoder.parameters())
        digests[at[0]] = hashlib.sha256(weights).hexdigest()
        return take_step(job, batches, ledger, stop)

    def spoilt(self: Encoder, batch: Any) -> torch.Tensor:
        losses_M = losses(self, batch)
        return how(losses_M) if at[0] in steps else losses_M

    monkeypatch.setattr(pretrain.loop, "take_step", noting)
    monkeypatch.setattr(Encoder, "losses_M", spoilt)
    return digests


def spoil_gradient(losses_M: torch.Tensor) -> torch.Tensor:
    losses_M.register_hook(lambda gradient: gradient * torch.inf)
    return losses_M


@pytest.mark.parametrize(
    ("how", "reason"),
    [(lambda x: x * torch.nan, "loss is nan"), (spoil_gradient, "norm of the gradient is")],
)
def test_a_step_that_is_not_finite_changes_nothing(
    how: Callable[[torch.Tensor], torch.Tensor],
    reason: str,
    driver: Driver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digests = spoil(monkeypatch, {3, 4, 6}, how)
    summary = driver.run(tmp_path)
    assert summary["progress"]["num_skipped"] == 3
    assert digests[3] == digests[4] == digests[5] != digests[6] == digests[7] != digests[8]
    lines = [one for one in read_log(tmp_path / "log.jsonl") if one["metric"] == "skipped"]
    assert [(one["step"], one["first_row"], one["num_rows"]) for one in lines] == [
        (3, 8, 4),
        (4, 12, 4),
        (6, 20, 4),
    ]
    assert all(one["value"].startswith(reason) for one in lines)
    assert "Steps not taken" in (tmp_path / "report.html").read_text()


def test_three_steps_in_a_row_that_are_not_finite_end_the_run(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, {5, 6, 7, 8}, lambda x: x * torch.nan)
    with pytest.raises(SobertError, match="3 steps in a row were not finite, the last at step 7"):
        driver.run(tmp_path)
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest
    # The second of them was saved: the count goes on where the run does.
    assert (newest.ledger.step, newest.ledger.skipped_in_a_row) == (6, 2)


def test_micro_batches_change_nothing_but_rounding(driver: Driver, tmp_path: Path) -> None:
    losses = []
    for rows in (1, 2, 4):
        exact = {"micro_batch_rows": rows, "precision": "float64"}
        recipe = make_recipe(model={"dropout": 0.0}, run=exact)
        driver.run(tmp_path / str(rows), recipe)
        losses.append([value for _, value in read_metric(tmp_path / str(rows), "loss")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)
    assert losses[2] == pytest.approx(losses[0], rel=1e-12)
    assert losses[0][-1] < losses[0][0] - 0.2


def test_workers_change_nothing(driver: Driver, whole: Path, tmp_path: Path) -> None:
    driver.run(tmp_path, workers=2)
    assert_same(tmp_path, whole)


def test_bfloat16_trains(driver: Driver, tmp_path: Path) -> None:
    recipe = make_recipe(run={"precision": "bfloat16", "num_tokens": 500})
    driver.run(tmp_path, recipe)
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest
    assert {tensor.dtype for tensor in load_tensors(newest).values()} == {torch.float32}


def test_a_wsd_run_keeps_the_checkpoint_before_its_decay_and_grows_from_it(
    driver: Driver, tmp_path: Path
) -> None:
    optimiser = {"schedule": "wsd", "decay_fraction": 0.5, "warmup_fraction": 0.1}
    driver.run(tmp_path, make_recipe(optimiser=optimiser, run={"keep_checkpoints": 1}))
    kept = list_checkpoints(tmp_path / "checkpoints")
    assert [(one.ledger.step, one.is_kept) for one in kept] == [(6, True), (12, False)]
    longer = make_recipe(optimiser=optimiser, run={"num_tokens": 4_000})
    with pytest.raises(RecipeError, match="step 12 is in its warm-up or its decay"):
        driver.run(tmp_path, longer)
    (kept[1].folder / "checkpoint.json").unlink()
    assert driver.run(tmp_path, longer)["progress"]["step"] > NUM_STEPS


def test_a_run_goes_on_only_as_what_it_was(driver: Driver, whole: Path) -> None:
    with pytest.raises(RecipeError, match=r"optimiser\.learning_rate = 0\.003, the recipe says"):
        driver.run(whole, make_recipe(optimiser={"learning_rate": 1e-4}))
    with pytest.raises(RecipeError, match=r"run\.num_tokens makes 23 steps"):
        driver.run(whole, make_recipe(run={"num_tokens": 5_800}))
    with pytest.raises(BadValue, match="has checkpoints"):
        driver.run(whole, resume=False)


def test_shards_of_another_tokenizer_are_refused(
    driver: Driver, demo_build: Build, tmp_path: Path
) -> None:
    shards, wrong = demo_build.artifacts["shards"], demo_build.artifacts["dataset"]
    with pytest.raises(StoreError, match="was made with tokenizer"):
        run_pretraining(make_recipe(), shards, wrong, tmp_path, reporter=Reporter(quiet=True))


def test_rows_longer_than_the_positions_are_refused(driver: Driver, tmp_path: Path) -> None:
    recipe = make_recipe(model={"max_positions": None}, data={"row_tokens": 4_096})
    with pytest.raises(RecipeError, match=r"row_tokens is 4096.*at most.*2048"):
        driver.run(tmp_path, recipe)


def test_biases_and_norms_do_not_decay() -> None:
    parts = [torch.nn.Embedding(5, 4), torch.nn.Linear(4, 3), torch.nn.LayerNorm(3)]
    model = torch.nn.Sequential(*parts)
    decay, plain = build_optimiser(model.parameters(), OptimiserSection()).param_groups
    assert (decay["weight_decay"], plain["weight_decay"]) == (0.01, 0.0)
    assert [tuple(one.shape) for one in decay["params"]] == [(5, 4), (3, 4)]
    assert [tuple(one.shape) for one in plain["params"]] == [(3,), (3,), (3,)]


def start(
    driver: Driver,
    folder: Path,
    out: Path,
    *,
    pause: float = 0.0,
    processes: int = 1,
    workers: int = 0,
    **recipe: Json,
) -> subprocess.Popen[bytes]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    content = json.dumps(describe_recipe(**recipe))
    command = [sys.executable, *(launch if processes > 1 else []), str(script), content]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    arguments = [str(driver.store), str(out), str(pause), str(workers)]
    return subprocess.Popen([*command, *arguments], env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_ten_times_from_outside_is_bit_equal(
    driver: Driver, whole: Path, tmp_path: Path
) -> None:
    rng = random.Random(1)
    out = tmp_path / "out"
    log = out / "log.jsonl"
    num_killed = 0
    for _ in range(10):
        process = start(driver, tmp_path, out, pause=0.15)
        size = log.stat().st_size if log.exists() else 0
        # Until it has taken a step of its own, then somewhere in the next two or in a save.
        while process.poll() is None and (not log.exists() or log.stat().st_size <= size):
            size = min(size, log.stat().st_size) if log.exists() else 0
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        num_killed += process.wait() == -signal.SIGKILL
    assert num_killed >= 5
    assert start(driver, tmp_path, out).wait() == 0
    assert_same(out, whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["ddp", "fsdp"])
def test_two_ranks_are_one_and_either_goes_on_from_the_other(
    how: str, driver: Driver, tmp_path: Path
) -> None:
    exact: Json = {"precision": "float64", "data_parallel": how}
    recipe = {"model": {"dropout": 0.0}, "run": exact}
    driver.run(tmp_path / "one", make_recipe(**recipe))
    two = tmp_path / "two"
    stop_after_a_save(start(driver, tmp_path, two, processes=2, pause=0.2, **recipe), two)
    newest = newest_checkpoint(two / "checkpoints")
    assert newest
    assert newest.ledger.step < NUM_STEPS
    driver.run(two, make_recipe(**recipe))
    for metric in ("loss", "grad_norm", "validation/loss/all"):
        ours, theirs = read_metric(tmp_path / "one", metric), read_metric(two, metric)
        assert [step for step, _ in ours] == [step for step, _ in theirs]
        assert [v for _, v in ours] == pytest.approx([v for _, v in theirs], rel=1e-9)
    taken: dict[int, list[int]] = {}
    for rank in (0, 1):
        for line in read_rows(two, rank):
            taken.setdefault(line["step"], []).extend(line["rows"])
    for line in read_rows(tmp_path / "one"):
        assert sorted(taken[line["step"]]) == sorted(line["rows"])


def stop_after_a_save(process: subprocess.Popen[bytes], out: Path) -> None:
    """End a run by SIGTERM once it has saved twice."""
    while process.poll() is None and len(list_checkpoints(out / "checkpoints")) < 2:
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("processes", "workers"), [(1, 2), (2, 0), (4, 2)])
def test_ranks_and_workers_take_each_row_once_stopped_or_not(
    processes: int, workers: int, driver: Driver, whole: Path, tmp_path: Path
) -> None:
    one_row = {"run": {"micro_batch_rows": 1}}
    out = tmp_path / "out"
    at: Json = {"processes": processes, "workers": workers, **one_row}
    stop_after_a_save(start(driver, tmp_path, out, pause=0.2, **at), out)
    assert start(driver, tmp_path, out, **at).wait() == 0
    taken: dict[int, list[int]] = {}
    for rank in range(processes):
        lines = read_rows(out, rank)
        assert [line["step"] for line in lines] == list(range(1, NUM_STEPS + 1))
        for line in lines:
            taken.setdefault(line["step"], []).extend(line["rows"])
    for line in read_rows(whole):
        assert sorted(taken[line["step"]]) == sorted(line["rows"])


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("processes", "how"), [(2, "ddp"), (4, "fsdp")])
def test_ranks_that_share_a_model_train_as_one_and_one_goes_on_from_them(
    processes: int, how: str, driver: Driver, tmp_path: Path
) -> None:
    exact: Json = {"precision": "float64", "micro_batch_rows": 1, "data_parallel": how}
    alone: Json = {"model": {"dropout": 0.0}, "run": exact}
    shared: Json = {**alone, "run": {**exact, "tensor_parallel": 2}}
    driver.run(tmp_path / "one", make_recipe(**alone))
    out = tmp_path / "shared"
    stop_after_a_save(start(driver, tmp_path, out, pause=0.2, processes=processes, **shared), out)
    driver.run(out, make_recipe(**alone))
    for metric in ("loss", "grad_norm", "validation/loss/all"):
        ours, theirs = read_metric(tmp_path / "one", metric), read_metric(out, metric)
        assert [step for step, _ in ours] == [step for step, _ in theirs]
        # Megatron's loss over a shared vocabulary is computed in float32.
        assert [v for _, v in ours] == pytest.approx([v for _, v in theirs], rel=1e-5)
