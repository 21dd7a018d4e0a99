"""AdamW as the recipe says it."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from pretrain.recipe import OptimiserSection


def build_optimiser(
    parameters: Iterable[torch.nn.Parameter], section: OptimiserSection
) -> torch.optim.AdamW:
    """Build AdamW; weights decay, biases and the scales of norms do not.

    Args:
        parameters: after FSDP has cut them, in the order of the model.
        section: the recipe's; the rate is set step by step (`set_learning_rate`).
    """
    weights = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [one for one in weights if one.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [one for one in weights if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=section.learning_rate,
        betas=(section.betas[0], section.betas[1]),
        eps=section.epsilon,
        fused=all(one.is_cuda for one in weights),
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give all groups of an optimiser this rate."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate
