"""The device a run computes on: its peak, its name, and batches brought to it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import replace

import torch

from pretrain.batches import Batch

# Dense peaks of data sheets, in FLOP/s; the first name that a device's name holds is taken.
# Matrix products in float32 are counted without TF32, which the driver does not switch on.
PEAKS: dict[str, dict[torch.dtype, float]] = {
    "H100 PCIe": {torch.bfloat16: 756e12, torch.float32: 51e12, torch.float64: 51e12},
    "H100 NVL": {torch.bfloat16: 835e12, torch.float32: 60e12, torch.float64: 60e12},
    "H100": {torch.bfloat16: 989e12, torch.float32: 67e12, torch.float64: 67e12},
    "H200": {torch.bfloat16: 989e12, torch.float32: 67e12, torch.float64: 67e12},
    "A100": {torch.bfloat16: 312e12, torch.float32: 19.5e12, torch.float64: 19.5e12},
    "L40S": {torch.bfloat16: 362e12, torch.float32: 91.6e12},
    "A10": {torch.bfloat16: 125e12, torch.float32: 31.2e12},
    "RTX 4090": {torch.bfloat16: 165e12, torch.float32: 82.6e12},
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
# A device of which nothing is known is measured: the best of a few square products.
MEASURED_SIZE, MEASURED_TIMES = 1_024, 5


TENSORS = ("tokens_T", "positions_T", "bounds_D1", "masked_M", "targets_M", "kinds_T")


def move_batch(batch: Batch, device: torch.device) -> Batch:
    """Return the batch on a device; the copies do not wait."""
    if device.type == "cpu":
        return batch
    moved = {name: getattr(batch, name).to(device, non_blocking=True) for name in TENSORS}
    return replace(batch, **moved)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute matrix products in bfloat16 where that is the precision; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def peak_flops(device: torch.device, precision: str) -> tuple[float, str]:
    """Return the FLOP/s that a device reaches at best, and how that is known."""
    dtype = DTYPES[precision]
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for key, peaks in PEAKS.items():
            if key in name and dtype in peaks:
                return peaks[dtype], f"data sheet of {key}"
    # Of a CPU without bfloat16 units the autocast products are slower still; float32 is its peak.
    measured = torch.float32 if device.type == "cpu" and dtype == torch.bfloat16 else dtype
    return _measure_product(device, measured), f"best of {MEASURED_TIMES} matrix products"


def describe_device(device: torch.device) -> str:
    """Name a device for the cost ledger."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _measure_product(device: torch.device, dtype: torch.dtype) -> float:
    left = torch.ones(MEASURED_SIZE, MEASURED_SIZE, device=device, dtype=dtype)
    seconds = []
    for _ in range(MEASURED_TIMES):
        started = time.perf_counter()
        # Fetching one number waits for the whole product on any device.
        (left @ left)[0, 0].item()
        seconds.append(time.perf_counter() - started)
    return 2.0 * MEASURED_SIZE**3 / min(seconds)
