"""A step of pretraining, packed, against `transformers` on padded rows: one command, any device.

    python tests/bench/gpu_pretrain.py --store STORE --shards NAME --preset base

The same documents, hidden tokens and weights' shapes for both: ours as `sobert pretrain run` takes
them (packed rows, sparse head), theirs as `MegatronBertForMaskedLM` (which computes attention in
full) fed a row a document, padded to the row's width, and padded to the longest of the batch. On
CUDA both run under bfloat16 autocast. A step is forward, backward and AdamW; useful tokens are
those that are no padding. Rounds alternate between the engines; the best of each counts.

Prints one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore", message=".*Apex (is|are) not installed")

import torch  # noqa: E402

from corpus.store import Store  # noqa: E402
from corpus.tokenizer import MODEL  # noqa: E402
from corpus.vocabulary import load_tokenizer  # noqa: E402
from pretrain.batches import Batch  # noqa: E402
from pretrain.cost import count_flops, measure_work  # noqa: E402
from pretrain.devices import autocast, describe_device, move_batch, peak_flops  # noqa: E402
from pretrain.finished import read_build  # noqa: E402
from pretrain.loader import iter_batches  # noqa: E402
from pretrain.mapping import make_config  # noqa: E402
from pretrain.masking import make_masking  # noqa: E402
from pretrain.model import build_encoder  # noqa: E402
from pretrain.parallel import start_parallel  # noqa: E402
from pretrain.presets import make_shape  # noqa: E402
from pretrain.recipe import MaskingSection, ModelSection, RunSection  # noqa: E402
from pretrain.rows import open_rows  # noqa: E402

ROW_TOKENS = 2_048
PACKAGES = ("torch", "megatron-core", "transformers")


def pad(batch: Batch, width: int) -> dict[str, torch.Tensor]:
    """Return a batch as rows of one document each, as transformers takes them."""
    bounds = batch.bounds_D1.tolist()
    shape = (len(bounds) - 1, width)
    tokens, labels = torch.zeros(shape, dtype=torch.int64), torch.full(shape, -100)
    mask = torch.zeros(shape, dtype=torch.int64)
    targets = torch.full_like(batch.tokens_T, -100)
    targets[batch.masked_M] = batch.targets_M
    for row, (start, stop) in enumerate(itertools.pairwise(bounds)):
        tokens[row, : stop - start] = batch.tokens_T[start:stop]
        labels[row, : stop - start] = targets[start:stop]
        mask[row, : stop - start] = 1
    return {"input_ids": tokens, "labels": labels, "attention_mask": mask}


def make_step(
    model: torch.nn.Module, loss_of: Callable[[], torch.Tensor], context: Callable[[], Any]
) -> Callable[[], None]:
    """Return a function that does one step."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=False)

    def step() -> None:
        entered: AbstractContextManager[Any] = context()
        with entered:
            loss_of().backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def measure(step: Callable[[], None], device: torch.device) -> tuple[float, int]:
    """Return the seconds of a step, and the most bytes that it had on the device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    begun = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter() - begun, torch.cuda.max_memory_allocated()
    return time.perf_counter() - begun, 0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--shards", required=True, help="a corpus build")
    parser.add_argument("--preset", default="tiny", choices=("tiny", "small", "base", "large"))
    parser.add_argument("--rows", type=int, default=1, help="packed rows a step")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    section = ModelSection(preset=options.preset, dropout=0.0)
    with start_parallel(RunSection()) as parallel:
        device = parallel.device
        shards, tokenizer = read_build(Store(options.store), options.shards)
        vocabulary = load_tokenizer(tokenizer.path(MODEL))
        shape = make_shape(section, vocabulary.vocabulary_size)
        with tempfile.TemporaryDirectory() as plans:
            source = open_rows(shards, "train", Path(plans), row_tokens=ROW_TOKENS, seed=1)
        batch = next(
            iter_batches(
                source,
                make_masking(MaskingSection(), vocabulary),
                seed=1,
                start_row=0,
                num_rows_total=options.rows,
                micro_batch_rows=options.rows,
            )
        )
        on_device = move_batch(batch, device)
        precision = "bfloat16" if device.type == "cuda" else "float32"
        ours = build_encoder(shape, dtype=torch.float32, device=device, seed=1)
        from transformers import MegatronBertForMaskedLM

        config = make_config(shape, vocabulary.vocabulary_size)
        theirs = MegatronBertForMaskedLM(config).to(device)
        padded = {
            "padded": {k: v.to(device) for k, v in pad(batch, ROW_TOKENS).items()},
            "padded_to_longest": {
                k: v.to(device) for k, v in pad(batch, batch.max_document_tokens).items()
            },
        }
        context = lambda: autocast(device, precision)  # noqa: E731
        steps = {"packed": make_step(ours, lambda: ours.losses_M(on_device).mean(), context)}
        for name, inputs in padded.items():
            steps[name] = make_step(theirs, lambda i=inputs: theirs(**i).loss, context)  # type: ignore[misc]
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        peaks = dict.fromkeys(steps, 0)
        for _ in range(options.rounds + 1):
            for name, step in steps.items():
                spent, peak = measure(step, device)
                seconds[name].append(spent)
                peaks[name] = max(peaks[name], peak)
        useful = len(batch.tokens_T)
        # The first round warms up.
        rates = {name: useful / min(some[1:]) for name, some in seconds.items()}
        flops = count_flops(shape, measure_work(batch))
        peak = peak_flops(device, precision)[0]
        result = {
            "name": "pretrain_step",
            "preset": options.preset,
            "device": describe_device(device),
            "useful_tokens": useful,
            "documents": len(batch.bounds_D1) - 1,
            "useful_tokens_per_second": {name: round(rate, 1) for name, rate in rates.items()},
            "ratio_to_padded": round(rates["packed"] / rates["padded"], 2),
            "ratio_to_padded_to_longest": round(rates["packed"] / rates["padded_to_longest"], 2),
            "mfu": round(flops / min(seconds["packed"][1:]) / peak, 4),
            "peak_bytes": peaks,
            "versions": {package: version(package) for package in PACKAGES},
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
