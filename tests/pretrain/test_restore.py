"""Starting from a model of `transformers`: the same weights, or a clear refusal."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    EuroBertConfig,
    EuroBertForMaskedLM,
    MegatronBertConfig,
    MegatronBertForMaskedLM,
    MegatronBertForPreTraining,
)

from corpus.errors import IntegrityError, RecipeError, StoreError
from corpus.store import Artifact
from corpus.tokenizer import MODEL
from corpus.vocabulary import Tokenizer, load_tokenizer, train_vocabulary
from pretrain.export import Weights, export_model
from pretrain.mapping import OUTPUT_BIAS, WORDS, make_config
from pretrain.model import Encoder, build_encoder
from pretrain.parallel import Parallel
from pretrain.presets import ModelShape
from pretrain.recipe import Family
from pretrain.restore import init_from, read_pretrained, read_tensors
from tests.conftest import Build
from tests.pretrain.conftest import make_batch, random_documents, small_shape

FAMILIES = pytest.mark.parametrize("family", ["classic", "modern"])
NUM_PIECES, NUM_ROWS = 1_024, 1_152

pytestmark = pytest.mark.usefixtures("parallel")


def make_shape(family: Family) -> ModelShape:
    """Small, with padding in its vocabulary."""
    return replace(small_shape(family), vocabulary_size=NUM_ROWS)


def make_encoder(shape: ModelShape, seed: int) -> Encoder:
    encoder = build_encoder(shape, dtype=torch.float32, device="cpu", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return encoder.eval()


@pytest.fixture(scope="module")
def artifact(demo_build: Build) -> Artifact:
    return demo_build.artifacts["tokenizer"]


@pytest.fixture(scope="module")
def tokenizer(artifact: Artifact) -> Tokenizer:
    return load_tokenizer(artifact.path(MODEL))


def export(family: Family, artifact: Artifact, out: Path) -> Encoder:
    encoder = make_encoder(make_shape(family), seed=1)
    export_model(Weights(encoder.shape, dict(encoder.state_dict())), artifact, out, {})
    return encoder


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))


@FAMILIES
def test_export_restore_export_changes_no_byte(
    family: Family, artifact: Artifact, tokenizer: Tokenizer, tmp_path: Path, parallel: Parallel
) -> None:
    first = export(family, artifact, tmp_path / "one")
    other = make_encoder(make_shape(family), seed=2)
    init_from(tmp_path / "one", other, tokenizer, parallel)
    export_model(Weights(other.shape, dict(other.state_dict())), artifact, tmp_path / "two", {})
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    for name, weight in first.state_dict().items():
        num_rows = NUM_PIECES if name in (WORDS, OUTPUT_BIAS) else len(weight)
        assert torch.equal(other.state_dict()[name][:num_rows], weight[:num_rows]), name


@FAMILIES
def test_padding_of_the_vocabulary_becomes_as_unlikely_as_unknown(
    family: Family, artifact: Artifact, tokenizer: Tokenizer, tmp_path: Path, parallel: Parallel
) -> None:
    export(family, artifact, tmp_path / "one")
    encoder = make_encoder(make_shape(family), seed=2)
    init_from(tmp_path / "one", encoder, tokenizer, parallel)
    with torch.no_grad():
        logits_MV = encoder(make_batch(random_documents([40])))
    assert torch.equal(
        logits_MV[:, NUM_PIECES:], logits_MV[:, 1:2].expand(-1, NUM_ROWS - NUM_PIECES)
    )


def make_released(family: Family, folder: Path, **changes: Any) -> torch.nn.Module:
    """Save a model as others do: made by transformers, all weights drawn, no tokenizer."""
    config = make_config(make_shape(family), NUM_PIECES).to_dict() | changes
    torch.manual_seed(3)
    model: torch.nn.Module
    if family == "classic":
        model = MegatronBertForMaskedLM(MegatronBertConfig.from_dict(config))
    else:
        model = EuroBertForMaskedLM(EuroBertConfig.from_dict(config))
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape)
    model.eval().save_pretrained(folder)
    return model


@FAMILIES
def test_a_model_that_others_made_computes_the_same_here(
    family: Family, tokenizer: Tokenizer, tmp_path: Path, parallel: Parallel
) -> None:
    model = make_released(family, tmp_path)
    encoder = make_encoder(make_shape(family), seed=2)
    init_from(tmp_path, encoder, tokenizer, parallel)
    document = random_documents([128])[0]
    batch = make_batch([document], [range(1, 127)])
    with torch.no_grad():
        ours_MV = encoder(batch)[:, :NUM_PIECES]
        theirs_MV = model(batch.tokens_T[None]).logits[0, 1:-1]
    assert (ours_MV - theirs_MV).abs().max() < 1e-5


def test_what_only_pretraining_needed_is_passed_over(tokenizer: Tokenizer, tmp_path: Path) -> None:
    config = make_config(make_shape("classic"), NUM_PIECES)
    MegatronBertForPreTraining(config).save_pretrained(tmp_path)
    assert "cls.seq_relationship.weight" in load_file(tmp_path / "model.safetensors")
    read_pretrained(tmp_path, make_shape("classic"), tokenizer)


def test_a_model_in_several_files_and_half_precision_is_read(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = make_released("modern", tmp_path / "one").to(torch.bfloat16)
    model.save_pretrained(tmp_path / "many", max_shard_size="100KB")  # type: ignore[operator]
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    weights = read_pretrained(tmp_path / "many", make_shape("modern"), tokenizer)
    whole = read_pretrained(tmp_path / "one", make_shape("modern"), tokenizer)
    for name, weight in weights.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, whole[name].bfloat16().float()), name


OTHERS: list[tuple[Family, dict[str, Any], str]] = [
    ("classic", {"num_hidden_layers": 3}, "num_hidden_layers 3, not 2"),
    ("classic", {"hidden_size": 32}, "hidden_size 32, not 64"),
    ("classic", {"max_position_embeddings": 64}, "max_position_embeddings 64, not 128"),
    ("classic", {"layer_norm_eps": 1e-12}, "layer_norm_eps 1e-12, not 1e-05"),
    ("classic", {"hidden_act": "gelu_new"}, "hidden_act gelu_new, not gelu"),
    ("modern", {"num_key_value_heads": 2}, "num_key_value_heads 2, not 4"),
    ("modern", {"rope_parameters": {"rope_type": "default", "rope_theta": 250_000.0}}, "250000"),
    ("modern", {"attention_bias": True}, "attention_bias True, not False"),
    ("modern", {"intermediate_size": 64}, "intermediate_size 64, not 128"),
]


@pytest.mark.parametrize(("family", "changes", "says"), OTHERS)
def test_a_model_of_another_shape_is_refused(
    family: Family, changes: dict[str, Any], says: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    make_released(family, tmp_path, **changes)
    with pytest.raises(RecipeError, match=says):
        read_pretrained(tmp_path, make_shape(family), tokenizer)


def test_a_model_of_another_family_or_type_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    make_released("classic", tmp_path)
    with pytest.raises(RecipeError, match=r"'megatron-bert', model.family is 'modern'"):
        read_pretrained(tmp_path, make_shape("modern"), tokenizer)
    change_config(tmp_path, model_type="bert")
    with pytest.raises(RecipeError, match=r"'bert', model.family is 'classic'"):
        read_pretrained(tmp_path, make_shape("classic"), tokenizer)


@pytest.mark.parametrize("size", [NUM_PIECES - 1, NUM_ROWS + 1])
def test_a_vocabulary_of_another_size_is_refused(
    size: int, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    make_released("modern", tmp_path, vocab_size=size)
    with pytest.raises(RecipeError, match=f"a vocabulary of {size:,}, .* 1,024 pieces"):
        read_pretrained(tmp_path, make_shape("modern"), tokenizer)


def test_a_vocabulary_of_other_pieces_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    export("modern", artifact, tmp_path / "out")
    words = " ".join(f"w{i * i} v{i}" for i in range(3_000))
    other = Tokenizer(train_vocabulary([words], vocabulary_size=NUM_PIECES)[0])
    assert other.vocabulary_size == NUM_PIECES
    shape = make_shape("modern")
    with pytest.raises(RecipeError, match=r"another vocabulary .* id 261 is"):
        read_pretrained(tmp_path / "out", shape, other)
    (tmp_path / "out" / "tokenizer.json").unlink()
    with pytest.raises(RecipeError, match=r"another vocabulary .* id 261 is"):
        read_pretrained(tmp_path / "out", shape, other)
    (tmp_path / "out" / MODEL).write_bytes(b"no model")
    with pytest.raises(RecipeError, match="not of the kind"):
        read_pretrained(tmp_path / "out", shape, other)
    # Where nothing says what the ids mean, the number of them must do.
    (tmp_path / "out" / MODEL).unlink()
    read_pretrained(tmp_path / "out", shape, other)


def test_an_output_that_is_not_tied_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    make_released("modern", tmp_path, tie_word_embeddings=False)
    with pytest.raises(IntegrityError, match=r"lm_head.weight is not model.embed_tokens.weight"):
        read_pretrained(tmp_path, make_shape("modern"), tokenizer)


DAMAGES = [
    ("drop", "lacks weights, 1 in all, model.layers.1.mlp.up_proj.weight the first"),
    ("add", "has unknown weights, 1 in all, model.more the first"),
    ("shape", r"model.norm.weight has shape \(65,\), its config.json says \(64,\)"),
    ("nan", "encoder.final_layernorm.weight holds what is no number"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES)
def test_damaged_weights_are_refused(
    damage: str, says: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    make_released("modern", tmp_path)
    tensors = read_tensors(tmp_path)
    if damage == "drop":
        del tensors["model.layers.1.mlp.up_proj.weight"]
    if damage == "add":
        tensors["model.more"] = torch.ones(1)
    if damage == "shape":
        tensors["model.norm.weight"] = torch.ones(65)
    if damage == "nan":
        tensors["model.norm.weight"][5] = float("inf")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(IntegrityError, match=says):
        read_pretrained(tmp_path, make_shape("modern"), tokenizer)


def test_files_that_are_not_what_they_should_be_are_refused(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    folder, shape = tmp_path / "model", make_shape("modern")
    with pytest.raises(StoreError, match=r"config.json cannot be read"):
        read_pretrained(folder, shape, tokenizer)
    make_released("modern", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="fetch the model again"):
        read_pretrained(folder, shape, tokenizer)
    # A pickle is never opened, whatever it is called.
    shutil.move(weights, folder / "pytorch_model.bin")
    with pytest.raises(StoreError, match="only models in safetensors"):
        read_pretrained(folder, shape, tokenizer)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(IntegrityError, match="is no index"):
        read_pretrained(folder, shape, tokenizer)
    (folder / "config.json").write_text("[")
    with pytest.raises(IntegrityError, match="is not JSON"):
        read_pretrained(folder, shape, tokenizer)


def test_an_index_does_not_lead_out_of_the_folder(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    make_released("modern", folder)
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(StoreError, match=r"has no outside.safetensors"):
        read_pretrained(folder, make_shape("modern"), tokenizer)
