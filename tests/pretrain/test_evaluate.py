"""Evaluation, against sums made by hand from the model's own logits."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer as Vocabulary
from corpus.vocabulary import load_tokenizer, train_vocabulary
from pretrain.batches import Batch
from pretrain.evaluate import KINDS, count_piece_bytes, evaluate, format_evaluation
from pretrain.model import Encoder, build_encoder
from pretrain.parallel import Parallel
from pretrain.recipe import RunSection
from pretrain.rows import open_rows
from pretrain.run import iter_validation
from tests.conftest import Build
from tests.pretrain.conftest import VOCABULARY, make_batch, random_documents, small_shape

BYTES_V = np.arange(VOCABULARY) % 5


def make_batches() -> list[Batch]:
    """Three batches; the masked tokens of the second are of all kinds but comments."""
    batches = [make_batch(random_documents([50, 40], seed=seed)) for seed in (1, 2, 3)]
    kinds_T = torch.arange(90, dtype=torch.int8) % 3
    return [batches[0], replace(batches[1], kinds_T=kinds_T), batches[2]]


def build(dropout: float = 0.1) -> Encoder:
    shape = small_shape("classic", dropout)
    return build_encoder(shape, dtype=torch.float64, device="cpu", seed=1)


def test_figures_are_those_counted_by_hand(parallel: Parallel) -> None:
    encoder = build()
    found = evaluate(encoder, make_batches(), BYTES_V, parallel)
    encoder.eval()
    rows = []
    for batch in make_batches():
        logits_MV = encoder(batch).detach()
        for logits, target, masked in zip(
            logits_MV, batch.targets_M.tolist(), batch.masked_M.tolist(), strict=True
        ):
            loss = float(F.cross_entropy(logits, torch.tensor(target)))
            is_right = int(logits.argmax()) == target
            rows.append((KINDS[batch.kinds_T[masked]], loss, is_right, target % 5))
    for kind in ("all", *KINDS):
        own = [row[1:] for row in rows if kind in ("all", row[0])]
        if not own:
            assert found[kind] == {
                "loss": None,
                "accuracy": None,
                "bits_per_byte": None,
                "num_tokens": 0,
                "num_bytes": 0,
            }
            continue
        loss, right, num_bytes = map(sum, zip(*own, strict=True))
        assert found[kind] == {
            "loss": pytest.approx(loss / len(own)),
            "accuracy": pytest.approx(right / len(own)),
            "bits_per_byte": pytest.approx(loss / math.log(2) / num_bytes),
            "num_tokens": len(own),
            "num_bytes": num_bytes,
        }
    assert found["comment"]["num_tokens"] == 0 < found["code"]["num_tokens"]


def test_dropout_is_off_and_the_model_left_as_it_was(parallel: Parallel) -> None:
    encoder = build(dropout=0.5)
    first, second = (evaluate(encoder, make_batches(), BYTES_V, parallel) for _ in range(2))
    assert first == second
    assert encoder.training
    assert all(weight.grad is None for weight in encoder.parameters())


def test_bytes_of_pieces_add_up_to_those_of_the_text() -> None:
    text = "to be, or not to be: naïve \u2581 \U0001f600\n\t  the end"
    vocabulary = Vocabulary(train_vocabulary(["to be or not to be é"], vocabulary_size=300)[0])
    sizes = count_piece_bytes(vocabulary)
    assert sizes[vocabulary.encode(text)].sum() == len(text.encode())
    assert sizes[:5].tolist() == [0] * 5


def test_every_run_is_asked_the_same_questions(demo_build: Build, parallel: Parallel) -> None:
    shards = demo_build.artifacts["shards"]
    tokenizer = load_tokenizer(demo_build.artifacts["tokenizer"].path(MODEL))
    folder = demo_build.store.folder.parent / "plans"
    source = open_rows(shards, "validation", folder, row_tokens=64, seed=1)
    num_rows = min(source.num_rows, 8) // 2 * 2

    def ask(rows: int, rank: int = 0, size: int = 1) -> list[int]:
        at = replace(parallel, data_rank=rank, data_size=size)
        run = RunSection(micro_batch_rows=rows)
        batches = iter_validation(source, tokenizer, run, at, num_rows)
        return [target for batch in batches for target in batch.targets_M.tolist()]

    once = ask(1)
    assert ask(3) == once
    assert sorted(ask(2, 0, 2) + ask(2, 1, 2)) == sorted(once)
    tokens = sum(
        stop - start for r in range(source.num_rows) for _, start, stop in source.plan.windows(r)
    )
    assert len(once) / tokens == pytest.approx(0.15 * num_rows / source.num_rows, rel=0.2)


def test_an_evaluation_reads_as_a_table(parallel: Parallel) -> None:
    table = format_evaluation(evaluate(build(), make_batches(), BYTES_V, parallel)).splitlines()
    assert [line.split()[0] for line in table] == ["loss", "all", "prose", "code", "title"]
    assert len({len(line) for line in table}) == 1
