"""Evaluation: how well masked tokens are guessed, by kind of text, on the validation split.

Masking is fixed, whatever a run trains with: 15 %, whole words, its own seed, the first pass over
the rows in their order for that seed. So two runs on the same shards are asked the same questions.

    loss            mean cross-entropy of the masked tokens, in nats
    accuracy        share of them whose most likely token is the right one
    bits_per_byte   sum of their cross-entropy in bits / sum of the UTF-8 bytes of their pieces

Bits per byte compares vocabularies, which loss does not: a longer piece is harder to guess, and
holds more text. It is a pseudo-likelihood: each token is guessed from both sides, masked words
together, so it is no bound on compression, and comparable only at this rate of masking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from corpus.manifest import Json
from corpus.shards import MODE_BY_KIND
from corpus.vocabulary import FIRST_BYTE_ID, FIRST_LEARNED_ID, Tokenizer
from pretrain.batches import Batch
from pretrain.devices import autocast, move_batch
from pretrain.model import Encoder
from pretrain.parallel import Parallel
from pretrain.recipe import MaskingSection

# Shapes: M masked tokens; K kinds of text; V vocabulary; F figures: loss, correct, bytes, tokens.

SEED = 20_230_605
MASKING = MaskingSection(rate=0.15, whole_words=True, seed=SEED)
KINDS = sorted(MODE_BY_KIND, key=MODE_BY_KIND.__getitem__)


def count_piece_bytes(tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """Return the UTF-8 bytes that each piece stands for, int64, shape (V,); special ones have 0."""
    sizes = np.zeros(tokenizer.vocabulary_size, np.int64)
    sizes[FIRST_BYTE_ID:FIRST_LEARNED_ID] = 1
    for piece in range(FIRST_LEARNED_ID, len(sizes)):
        sizes[piece] = len(tokenizer.decode([piece]).encode())
    return sizes


@torch.no_grad()
def evaluate(
    encoder: Encoder,
    batches: Iterable[Batch],
    piece_bytes_V: npt.NDArray[np.int64],
    parallel: Parallel,
    *,
    precision: str = "float32",
) -> Json:
    """Evaluate a model on this rank's batches, and add up over all ranks.

    Args:
        encoder: left in the mode it was in.
        batches: masked by `MASKING`; as many on every rank, and never none.
        piece_bytes_V: of the tokenizer (`count_piece_bytes`).
        parallel: this rank.
        precision: bfloat16 computes under autocast.

    Returns:
        By kind (prose, code, title, comment), and for "all": loss, accuracy, bits_per_byte (null
        where nothing was masked), num_tokens and num_bytes of what was masked.
    """
    bytes_V = torch.from_numpy(piece_bytes_V).to(parallel.device)
    sums_KF = torch.zeros(len(KINDS), 4, dtype=torch.float64, device=parallel.device)
    was_training = encoder.training
    encoder.eval()
    try:
        for batch in batches:
            sums_KF += _add_up(encoder, move_batch(batch, parallel.device), bytes_V, precision)
    finally:
        encoder.train(was_training)
    # Ranks of one model have the same sums; halves of whole numbers are exact.
    dist.all_reduce(sums_KF)
    sums_KF /= parallel.tensor_size
    of_all = sums_KF.sum(0)
    rows = dict(zip(["all", *KINDS], torch.cat([of_all[None], sums_KF]).tolist(), strict=True))
    return {name: describe_sums(*figures) for name, figures in rows.items()}


def describe_sums(loss: float, correct: float, num_bytes: float, num_tokens: float) -> Json:
    """Return the figures of one kind from its sums.

    >>> describe_sums(loss=6.931471805599453, correct=1, num_bytes=20, num_tokens=4)
    ... # doctest: +NORMALIZE_WHITESPACE
    {'loss': 1.7328679513998633, 'accuracy': 0.25, 'bits_per_byte': 0.5, 'num_tokens': 4,
     'num_bytes': 20}
    """
    return {
        "loss": loss / num_tokens if num_tokens else None,
        "accuracy": correct / num_tokens if num_tokens else None,
        "bits_per_byte": loss / math.log(2) / num_bytes if num_bytes else None,
        "num_tokens": int(num_tokens),
        "num_bytes": int(num_bytes),
    }


def format_evaluation(evaluation: Json) -> str:
    """Write an evaluation as a table for the terminal."""
    lines = [f"{'':<9}{'loss':>9}{'accuracy':>10}{'bits/byte':>11}{'masked tokens':>15}"]
    for kind, row in evaluation.items():
        if row["num_tokens"]:
            lines.append(
                f"{kind:<9}{row['loss']:>9.4f}{row['accuracy']:>10.2%}"
                f"{row['bits_per_byte'] or math.nan:>11.4f}{row['num_tokens']:>15,}"
            )
    return "\n".join(lines)


def _add_up(encoder: Encoder, batch: Batch, bytes_V: torch.Tensor, precision: str) -> torch.Tensor:
    """Return the sums of one batch, by kind."""
    with autocast(batch.tokens_T.device, precision):
        losses_M, correct_M = encoder.scores_M(batch)
    columns = (losses_M, correct_M, bytes_V[batch.targets_M], torch.ones_like(losses_M))
    figures_MF = torch.stack([column.double() for column in columns], 1)
    kinds_M = batch.kinds_T[batch.masked_M].long()
    sums_KF = figures_MF.new_zeros(len(KINDS), figures_MF.shape[1])
    return sums_KF.index_add_(0, kinds_M, figures_MF)
