"""Checkpoints: one folder each, there whole or not at all.

    checkpoints/step-00000100/
        weights.pt          name -> tensor
        optimiser.pt        name of the weight, "/", exp_avg | exp_avg_sq | step -> tensor
        checkpoint.json     the marker, written last: what it is of (recipe, tokenizer, shards), how
                            far (steps, rows consumed, tokens, seconds), and bytes and SHA-256 of
                            each file

A folder is written under a temporary name, every file is synced, and it gets its name by a rename.
Tensors are whole: what FSDP or tensor parallelism has cut is gathered first, one tensor at a time,
so that any number of ranks can go on from any other. Files are read with `weights_only`.
There is no state of a random generator: masks are drawn by (seed, epoch, row), dropout by (seed,
rows consumed, rank), and the learning rate follows from the step.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch.distributed.tensor import DTensor, distribute_tensor

from corpus.durable import TEMPORARY, sync, write_json
from corpus.errors import IntegrityError, RecipeError, StoreError
from corpus.manifest import Json, digest_file, digest_json
from pretrain.model import Encoder
from pretrain.parallel import Parallel, join_tensor, split_tensor
from pretrain.recipe import PretrainRecipe

VERSION = 1
MARKER = "checkpoint.json"
PREFIX = "step-"
# What the steps depend on, of `run`; the rest may differ when a run goes on.
RUN_IDENTITY = ("batch_tokens", "precision", "seed")
SECTIONS = ("model", "data", "masking", "optimiser")

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Ledger:
    """How far a run is, and what that took."""

    step: int = 0
    rows: int = 0
    tokens: int = 0
    masked_tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    num_skipped: int = 0
    skipped_in_a_row: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """What a checkpoint is of; a run goes on only from one that is of the same.

    Args:
        recipe: the sections of the recipe that decide a step (`identify`).
        tokenizer: id of the tokenizer's manifest.
        shards: id of the shards' manifest.
        rows_per_step: of all ranks.
        num_steps: of the whole run, the only one that may change (`schedule.check_length`).
    """

    recipe: Json
    tokenizer: str
    shards: str
    rows_per_step: int
    num_steps: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint on disk, its marker read."""

    folder: Path
    marker: Json

    @property
    def ledger(self) -> Ledger:
        """How far the run was."""
        return Ledger(**self.marker["ledger"])

    @property
    def identity(self) -> Identity:
        """What it is of."""
        return Identity(**self.marker["identity"])

    @property
    def is_kept(self) -> bool:
        """Whether it stays whatever comes after it: the last before a decay."""
        return bool(self.marker["is_kept"])


def identify(recipe: PretrainRecipe) -> Json:
    """Return what of a recipe decides the result of a step, as JSON."""
    content = recipe.model_dump(mode="json")
    run = {key: content["run"][key] for key in RUN_IDENTITY}
    return {**{name: content[name] for name in SECTIONS}, "run": run}


def save_checkpoint(
    folder: Path,
    encoder: Encoder,
    optimiser: torch.optim.Optimizer,
    identity: Identity,
    ledger: Ledger,
    parallel: Parallel,
    *,
    keep: int,
    is_kept: bool = False,
) -> Path:
    """Save a checkpoint and remove all but the newest; every rank calls it.

    Args:
        folder: that holds the run's checkpoints.
        encoder: the model as it was built, not what wraps it.
        optimiser: of its parameters.
        identity: of the run.
        ledger: how far it is.
        parallel: this rank.
        keep: how many of the newest stay, beside those that are `is_kept`.
        is_kept: never remove this one.

    Returns:
        The checkpoint's folder.
    """
    final = folder / f"{PREFIX}{ledger.step:08d}"
    if (final / MARKER).is_file():
        return final
    temporary = final.with_suffix(TEMPORARY)
    if parallel.rank == 0:
        sweep(folder)
        temporary.mkdir(parents=True)
    _barrier()
    # Gathering is for all ranks, writing for the first.
    for name, tensors in (
        ("weights.pt", gather_weights(encoder)),
        ("optimiser.pt", gather_moments(encoder, optimiser)),
    ):
        if parallel.rank == 0:
            torch.save(tensors, temporary / name)
            sync(temporary / name)
    if parallel.rank == 0:
        marker = {
            "version": VERSION,
            "identity": asdict(identity),
            "ledger": asdict(ledger),
            "shape": asdict(encoder.shape),
            "is_kept": is_kept,
            "files": {path.name: _describe(path) for path in sorted(temporary.iterdir())},
        }
        write_json(temporary / MARKER, marker)
        temporary.rename(final)
        sync(folder)
        prune(folder, keep)
    _barrier()
    return final


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """List the whole checkpoints of a run, oldest first."""
    return [read_marker(path.parent) for path in sorted(folder.glob(f"{PREFIX}*[0-9]/{MARKER}"))]


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint of a run, None where there is none."""
    there = list_checkpoints(folder)
    return there[-1] if there else None


def read_marker(folder: Path) -> Checkpoint:
    """Read the marker of a checkpoint.

    Raises:
        StoreError: the folder is no checkpoint.
        IntegrityError: the marker is not what this program writes.
    """
    path = folder / MARKER
    try:
        checkpoint = Checkpoint(folder, json.loads(path.read_bytes()))
        if checkpoint.marker["version"] != VERSION:
            raise ValueError(f"version {checkpoint.marker['version']}")
        assert checkpoint.identity
        assert checkpoint.ledger
    except OSError as error:
        raise StoreError(
            f"{folder} is no checkpoint ({error.strerror}: {MARKER}); give a folder "
            f"checkpoints/{PREFIX}... of a run"
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise IntegrityError(
            f"{path} is not a checkpoint's marker ({error!r}); delete the folder to go on from the "
            "checkpoint before it"
        ) from error
    return checkpoint


def check_identity(checkpoint: Checkpoint, identity: Identity) -> None:
    """Check that a checkpoint is of this run.

    Raises:
        RecipeError: it is of another recipe, tokenizer or corpus; names the first difference.
    """
    where = f"checkpoint {checkpoint.folder}"
    todo = "give the one it was begun with, or another --out"
    saved = checkpoint.identity
    for section, values in identity.recipe.items():
        for key, value in values.items():
            was = saved.recipe.get(section, {}).get(key)
            if was != value:
                raise RecipeError(
                    f"{where} was trained with {section}.{key} = {was}, the recipe says {value}; "
                    f"{todo}"
                )
    if digest_json(saved.recipe) != digest_json(identity.recipe):
        raise RecipeError(f"{where} was trained with a recipe that has other keys; {todo}")
    for name in ("tokenizer", "shards"):
        was, now = getattr(saved, name), getattr(identity, name)
        if was != now:
            raise RecipeError(f"{where} was trained with {name} {was[:16]}, not {now[:16]}; {todo}")
    if saved.rows_per_step != identity.rows_per_step:
        raise RecipeError(
            f"{where} was trained with {saved.rows_per_step} rows a step, this run would take "
            f"{identity.rows_per_step}: it depends on run.micro_batch_rows and the number of data "
            "ranks; choose both so that the rows divide"
        )


def restore(
    checkpoint: Checkpoint,
    encoder: Encoder,
    optimiser: torch.optim.Optimizer,
    parallel: Parallel,
) -> None:
    """Put a checkpoint's weights, and the optimiser's moments, into a model; every rank calls it.

    Raises:
        IntegrityError: a file is missing or was changed, or does not fit the model.
    """
    load_weights(encoder, load_tensors(checkpoint, "weights.pt"), parallel)
    moments = load_tensors(checkpoint, "optimiser.pt")
    fused = bool(optimiser.defaults["fused"])
    for name, weight in encoder.named_parameters():
        # AdamW has no state of a weight before its first step.
        if f"{name}/step" in moments:
            step = moments[f"{name}/step"].clone()
            optimiser.state[weight] = {
                "step": step.to(weight.device) if fused else step,
                **{
                    key: _fit(moments, f"{name}/{key}", name, weight, encoder, parallel)
                    for key in ("exp_avg", "exp_avg_sq")
                },
            }


def load_weights(encoder: Encoder, weights: Mapping[str, torch.Tensor], parallel: Parallel) -> None:
    """Put whole weights into a model, cut as it is; every rank calls it.

    Raises:
        IntegrityError: one is missing, or has another shape.
    """
    with torch.no_grad():
        for name, target in encoder.state_dict().items():
            target.copy_(_fit(weights, name, name, target, encoder, parallel))


def load_tensors(checkpoint: Checkpoint, name: str = "weights.pt") -> Tensors:
    """Read the tensors of a checkpoint, whole, on the CPU.

    Raises:
        IntegrityError: the file is missing or was changed.
    """
    path = checkpoint.folder / name
    todo = f"delete {checkpoint.folder} to go on from the checkpoint before it"
    try:
        is_whole = _describe(path) == checkpoint.marker["files"].get(name)
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read ({error.strerror}); {todo}") from error
    if not is_whole:
        raise IntegrityError(f"{path} was changed since it was saved; {todo}")
    loaded: Tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return loaded


def sweep(folder: Path) -> None:
    """Remove what was killed while it was saved or removed."""
    for path in sorted(folder.glob(f"{PREFIX}*")):
        if path.suffix == TEMPORARY or not (path / MARKER).is_file():
            shutil.rmtree(path)


def prune(folder: Path, keep: int) -> None:
    """Remove all checkpoints but the newest `keep` and those marked to stay."""
    passing = [one for one in list_checkpoints(folder) if not one.is_kept]
    for old in passing[:-keep]:
        # Without its marker it is no checkpoint, however far the deleting gets.
        (old.folder / MARKER).unlink()
        shutil.rmtree(old.folder)


def gather_weights(encoder: Encoder) -> Tensors:
    """Return the weights of a model, whole, on the CPU; every rank calls it."""
    state = encoder.state_dict()
    return {name: _gather(value, name, encoder) for name, value in state.items()}


def gather_moments(encoder: Encoder, optimiser: torch.optim.Optimizer) -> Tensors:
    """Return AdamW's state by name of the weight, `/`, and its own; every rank calls it."""
    return {
        f"{name}/{key}": _gather(value, name, encoder)
        for name, parameter in encoder.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def _gather(tensor: torch.Tensor, name: str, encoder: Encoder) -> torch.Tensor:
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    # A count of steps is a scalar, and the same on every rank.
    if whole.ndim and name in encoder.splits and _tensor_size() > 1:
        whole = join_tensor(whole, encoder.splits[name])
    return whole.detach().cpu()


def _fit(
    tensors: Mapping[str, torch.Tensor],
    key: str,
    name: str,
    target: torch.Tensor,
    encoder: Encoder,
    parallel: Parallel,
) -> torch.Tensor:
    """Return what this rank holds of a saved tensor, in the form of `target`."""
    if key not in tensors:
        raise IntegrityError(
            f"there is no {key} among the saved tensors; they are of another model"
        )
    whole = tensors[key]
    if parallel.tensor_size > 1 and name in encoder.splits:
        split = encoder.splits[name]
        whole = split_tensor(whole, split, parallel.tensor_rank, parallel.tensor_size)
    if whole.shape != target.shape:
        raise IntegrityError(
            f"{key} was saved with shape {tuple(whole.shape)}, the model's is "
            f"{tuple(target.shape)}; it is of another model"
        )
    moved = whole.to(target.device, target.dtype, copy=True)
    if isinstance(target, DTensor):
        return distribute_tensor(moved, target.device_mesh, target.placements)
    return moved


def _tensor_size() -> int:
    size: int = parallel_state.get_tensor_model_parallel_world_size()
    return size


def _describe(path: Path) -> Json:
    return {"num_bytes": path.stat().st_size, "sha256": digest_file(path)}


def _barrier() -> None:
    if dist.is_initialized():
        dist.barrier()
