"""What is done with the checkpoints of a run: evaluated anew, exported to `transformers`."""

from __future__ import annotations

import json
from pathlib import Path

from corpus.errors import IntegrityError, StoreError
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.store import Artifact, Store
from corpus.tokenizer import MODEL
from corpus.vocabulary import load_tokenizer
from pretrain.checkpoint import MARKER, load_tensors, load_weights, newest_checkpoint, read_marker
from pretrain.devices import DTYPES
from pretrain.evaluate import count_piece_bytes, evaluate
from pretrain.export import export_model
from pretrain.mapping import Tensors
from pretrain.model import build_encoder
from pretrain.parallel import start_parallel
from pretrain.presets import ModelShape, make_shape
from pretrain.recipe import ModelSection, PretrainRecipe
from pretrain.restore import read_pretrained
from pretrain.run import CHECKPOINTS, RUN, iter_validation, open_inputs


def read_build(store: Store, name: str) -> tuple[Artifact, Artifact]:
    """Return the shards and the tokenizer of a corpus build.

    Raises:
        StoreError: no build of this name, or it has no shards.
    """
    run = store.read_run(name)
    if "shards" not in run:
        raise StoreError(f"{name!r} has no shards; --shards takes a `sobert corpus build`")
    return run["shards"], run["tokenizer"]


def read_initial(folder: Path, section: ModelSection, tokenizer: Artifact) -> Tensors:
    """Return the weights of a model of `transformers` for a run to begin with.

    Raises:
        StoreError, RecipeError, IntegrityError: as `pretrain.restore.read_pretrained`.
    """
    vocabulary = load_tokenizer(tokenizer.path(MODEL))
    shape = make_shape(section, vocabulary.vocabulary_size)
    return read_pretrained(folder, shape, vocabulary)


def find_checkpoint(folder: Path) -> Path:
    """Return a checkpoint: the folder itself, or the newest of the run that it is.

    Raises:
        StoreError: it is neither.
    """
    if (folder / MARKER).is_file():
        return folder
    newest = newest_checkpoint(folder / CHECKPOINTS)
    if newest is None:
        raise StoreError(
            f"{folder} is no checkpoint and no run that has one; give the --out of a run"
        )
    return newest.folder


def evaluate_checkpoint(
    folder: Path,
    shards: Artifact,
    tokenizer: Artifact,
    *,
    num_rows: int | None = None,
    reporter: Reporter,
) -> Json:
    """Evaluate a checkpoint on the validation split of shards, masked as every run's is.

    Args:
        folder: of the checkpoint, or of its run.
        shards: of any corpus that was made with this tokenizer.
        tokenizer: the run's.
        num_rows: how many rows at most; None: all.
        reporter: what the person sees.

    Returns:
        What `pretrain.evaluate.evaluate` does.

    Raises:
        StoreError: no checkpoint, or the shards have no validation split.
    """
    checkpoint = read_marker(find_checkpoint(folder))
    recipe = read_recipe(checkpoint.folder)
    with start_parallel(recipe.run) as parallel:
        out = checkpoint.folder.parent.parent
        inputs = open_inputs(recipe, shards, tokenizer, out, reporter)
        if inputs.validation is None:
            raise StoreError(f"{shards.folder} has no validation split; build with one")
        shape = ModelShape(**checkpoint.marker["shape"])
        dtype = DTYPES["float64" if recipe.run.precision == "float64" else "float32"]
        encoder = build_encoder(shape, dtype=dtype, device=parallel.device, seed=0)
        load_weights(encoder, load_tensors(checkpoint), parallel)
        rows = num_rows or inputs.validation.num_rows
        batches = iter_validation(inputs.validation, inputs.vocabulary, recipe.run, parallel, rows)
        bytes_V = count_piece_bytes(load_tokenizer(tokenizer.path(MODEL)))
        precision = recipe.run.precision
        return evaluate(encoder, batches, bytes_V, parallel, precision=precision)


def export_checkpoint(folder: Path, tokenizer: Artifact, out: Path) -> None:
    """Write a checkpoint, or the newest of a run, as a model of `transformers`.

    Raises:
        StoreError: no checkpoint, or `out` is there.
        IntegrityError: the exported model would not compute what ours does; nothing is written.
    """
    checkpoint = find_checkpoint(folder)
    export_model(checkpoint, tokenizer, out, _read_run(checkpoint.parent.parent))


def read_recipe(checkpoint: Path) -> PretrainRecipe:
    """Return the recipe that the run of a checkpoint keeps."""
    content = _read_run(checkpoint.parent.parent)["recipe"]
    return PretrainRecipe.model_validate_json(json.dumps(content))


def _read_run(folder: Path) -> Json:
    try:
        run: Json = json.loads((folder / RUN).read_bytes())
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{folder / RUN} cannot be read ({error}); a checkpoint stays in its run's folder"
        ) from error
    return run
