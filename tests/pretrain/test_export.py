"""The exported model: the same logits as ours, or nothing is written."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from corpus.errors import IntegrityError, RecipeError, StoreError
from corpus.manifest import digest_file
from corpus.tokenizer import MODEL
from corpus.vocabulary import load_tokenizer
from pretrain import export, mapping
from pretrain.checkpoint import Identity, Ledger, save_checkpoint
from pretrain.export import Weights, export_model, prove_parity
from pretrain.mapping import (
    POSITIONS,
    WORDS,
    from_transformers,
    iter_renamings,
    make_config,
    to_transformers,
)
from pretrain.model import Encoder, build_encoder
from pretrain.parallel import Parallel
from pretrain.presets import ModelShape, count_parameters
from pretrain.recipe import Family, PretrainRecipe
from tests.conftest import Build
from tests.pretrain.conftest import make_batch, random_documents, small_shape

FAMILIES = pytest.mark.parametrize("family", ["classic", "modern"])
NUM_PIECES, NUM_ROWS = 1_024, 1_152
RECIPE = {"card": {"name": "posts", "title": "Posts & more", "summary": "What <they> said."}}
RUN = {
    "recipe": RECIPE,
    "inputs": {"name": "demo", "dataset": "d" * 64, "shards": "5" * 64, "tokenizer": "7" * 64},
    "progress": asdict(
        Ledger(step=12, tokens=3_456_789, masked_tokens=500_000, flops=1.5e15, seconds=5_400)
    ),
    "cost": {"device": "NVIDIA H100", "num_devices": 4},
    "evaluation": {
        "all": {"loss": 2.5, "accuracy": 0.5125, "bits_per_byte": 0.75, "num_tokens": 1_000},
        "title": {"loss": None, "accuracy": None, "bits_per_byte": None, "num_tokens": 0},
    },
    "init_from": None,
}


def make_shape(family: Family) -> ModelShape:
    """Small, with padding in its vocabulary."""
    return replace(small_shape(family), vocabulary_size=NUM_ROWS)


def make_encoder(shape: ModelShape) -> Encoder:
    """An encoder whose weights are all drawn, norms and biases too."""
    encoder = build_encoder(shape, dtype=torch.float32, device="cpu", seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    return encoder.eval()


def make_weights(family: Family) -> Weights:
    encoder = make_encoder(make_shape(family))
    return Weights(encoder.shape, {k: v.clone() for k, v in encoder.state_dict().items()})


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


pytestmark = pytest.mark.usefixtures("parallel")


@FAMILIES
def test_the_exported_model_gives_our_logits(
    family: Family, demo_build: Build, tmp_path: Path
) -> None:
    encoder = make_encoder(make_shape(family))
    weights = Weights(encoder.shape, dict(encoder.state_dict()))
    export_model(weights, demo_build.artifacts["tokenizer"], tmp_path / "out", RUN)
    model, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    assert (
        type(model).__name__
        == {
            "classic": "MegatronBertForMaskedLM",
            "modern": "EuroBertForMaskedLM",
        }[family]
    )
    documents = random_documents([128, 3, 40])
    batch = make_batch(documents, [range(1, len(one) - 1) for one in documents])
    with torch.no_grad():
        ours_MV = encoder(batch)
        theirs_MV = torch.cat(
            [
                model(tokens[None]).logits[0, 1:-1]
                for tokens in torch.split(batch.tokens_T, [128, 3, 40])
            ]
        )
    assert theirs_MV.shape[1] == NUM_PIECES
    assert ours_MV.abs().max() > 1
    assert (ours_MV[:, :NUM_PIECES] - theirs_MV).abs().max() < 1e-5
    assert names_in(tmp_path / "out") == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
    ]


@FAMILIES
def test_each_weight_is_saved_once(family: Family, demo_build: Build, tmp_path: Path) -> None:
    weights = make_weights(family)
    export_model(weights, demo_build.artifacts["tokenizer"], tmp_path / "out", {})
    saved = load_file(tmp_path / "out" / "model.safetensors")
    exported = replace(weights.shape, vocabulary_size=NUM_PIECES)
    num_types = 2 * weights.shape.hidden_size if family == "classic" else 0
    assert sum(one.numel() for one in saved.values()) == count_parameters(exported) + num_types
    assert {one.dtype for one in saved.values()} == {torch.float32}


@FAMILIES
def test_the_tokenizer_and_the_mask_work_beside_the_model(
    family: Family, demo_build: Build, tmp_path: Path
) -> None:
    tokenizer = demo_build.artifacts["tokenizer"]
    export_model(make_weights(family), tokenizer, tmp_path / "out", {})
    fast = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "a\tb \u2581 [SEP]\n"
    ours = load_tokenizer(tokenizer.path(MODEL))
    assert fast(text, add_special_tokens=False)["input_ids"] == ours.encode(text).tolist()
    assert fast.model_max_length == 128
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    guess = pipeline("fill-mask", model=model, tokenizer=fast, device="cpu")
    found = guess("to [MASK] it", tokenizer_kwargs={"split_special_tokens": False})
    assert len(found) == 5


@FAMILIES
def test_exporting_twice_gives_the_same_bytes(
    family: Family, demo_build: Build, tmp_path: Path
) -> None:
    weights = make_weights(family)
    for name in ("one", "two"):
        export_model(weights, demo_build.artifacts["tokenizer"], tmp_path / name, RUN)
    for path in (tmp_path / "one").iterdir():
        assert digest_file(path) == digest_file(tmp_path / "two" / path.name), path.name


WRONG: list[tuple[Family, dict[str, Any]]] = [
    ("classic", {"layer_norm_eps": 1e-12}),
    ("classic", {"layer_norm_eps": 1.001e-5}),
    ("classic", {"hidden_act": "gelu_pytorch_tanh"}),
    ("classic", {"num_attention_heads": 2}),
    ("modern", {"rms_norm_eps": 1e-6}),
    ("modern", {"hidden_act": "gelu"}),
    ("modern", {"rope_parameters": {"rope_type": "default", "rope_theta": 10_001.0}}),
]


@pytest.mark.parametrize(("family", "change"), WRONG)
def test_a_wrong_configuration_fails_the_gate_and_nothing_is_written(
    family: Family,
    change: dict[str, Any],
    demo_build: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make_wrong(shape: ModelShape, vocabulary_size: int) -> Any:
        content = {**make_config(shape, vocabulary_size).to_dict(), **change}
        return type(make_config(shape, vocabulary_size)).from_dict(content)

    monkeypatch.setattr(export, "make_config", make_wrong)
    with pytest.raises(IntegrityError, match="off those of the checkpoint in float64"):
        export_model(make_weights(family), demo_build.artifacts["tokenizer"], tmp_path / "out", {})
    assert names_in(tmp_path) == []


@FAMILIES
@pytest.mark.parametrize("damage", ["swap", "last position", "not a number"])
def test_wrong_weights_fail_the_gate(
    family: Family, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = make_weights(family)

    def damaged(tensors: mapping.Tensors, shape: ModelShape, size: int) -> mapping.Tensors:
        theirs = to_transformers(tensors, shape, size)
        key = next(name for name in theirs if ("key" in name or "k_proj" in name))
        if damage == "swap":
            value = key.replace("key", "value").replace("k_proj", "v_proj")
            return {**theirs, key: theirs[value], value: theirs[key]}
        if damage == "not a number":
            return {**theirs, key: theirs[key] * float("nan")}
        name = "bert.embeddings.position_embeddings.weight"
        theirs[name] = theirs[name].clone()
        theirs[name][-1, 0] += 1e-9
        return theirs

    if (family, damage) == ("modern", "last position"):
        pytest.skip("no weight of a position")
    monkeypatch.setattr(export, "to_transformers", damaged)
    with pytest.raises(IntegrityError, match="in float64"):
        prove_parity(weights, make_config(weights.shape, NUM_PIECES))


@FAMILIES
def test_weights_that_hold_no_number_are_not_exported(family: Family) -> None:
    weights = make_weights(family)
    weights.tensors[WORDS][7] = float("nan")
    with pytest.raises(IntegrityError, match="gives logits nan off"):
        prove_parity(weights, make_config(weights.shape, NUM_PIECES))


@FAMILIES
def test_names_cover_every_weight_and_lead_back(family: Family) -> None:
    shape, tensors = make_weights(family)
    assert {one.ours for one in iter_renamings(shape)} == set(tensors)
    theirs = to_transformers(tensors, shape, NUM_PIECES)
    again = from_transformers(theirs, shape)
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        if name in (WORDS, mapping.OUTPUT_BIAS):
            assert torch.equal(again[name][:NUM_PIECES], tensor[:NUM_PIECES]), name
            assert (again[name][NUM_PIECES:] == tensor[1]).all(), name
        else:
            assert torch.equal(again[name], tensor), name


def test_the_vector_of_token_type_0_moves_to_the_positions() -> None:
    shape, tensors = make_weights("classic")
    theirs = to_transformers(tensors, shape, NUM_PIECES)
    assert not theirs[mapping.TOKEN_TYPES].any()
    types = torch.randn(2, shape.hidden_size)
    again = from_transformers({**theirs, mapping.TOKEN_TYPES: types}, shape)
    assert torch.equal(again[POSITIONS], tensors[POSITIONS] + types[0])


def test_the_random_state_of_a_run_is_left_alone() -> None:
    weights = make_weights("classic")
    before = torch.get_rng_state()
    prove_parity(weights, make_config(weights.shape, NUM_PIECES))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_checkpoint_is_exported_with_the_tokenizer_it_was_trained_with(
    demo_build: Build, tmp_path: Path, parallel: Parallel
) -> None:
    tokenizer = demo_build.artifacts["tokenizer"]
    encoder = make_encoder(make_shape("modern"))
    optimiser = torch.optim.AdamW(encoder.parameters())
    for name, id in (("ours", tokenizer.manifest.id), ("other", "f" * 64)):
        identity = Identity({}, id, "", 1, 1)
        folder = tmp_path / name
        folder.mkdir()
        save_checkpoint(folder, encoder, optimiser, identity, Ledger(1), parallel, keep=1)
    export_model(tmp_path / "ours" / "step-00000001", tokenizer, tmp_path / "out", RUN)
    # The record is of step 12: what it says of tokens and accuracy is not of this checkpoint.
    text = read_card(tmp_path / "out")[1]
    assert "| steps | 1 |" in text
    assert "3,456,789" not in text
    assert "holds no evaluation" in text
    saved = load_file(tmp_path / "out" / "model.safetensors")
    final = encoder.state_dict()["encoder.final_layernorm.weight"]
    assert torch.equal(saved["model.norm.weight"], final)
    with pytest.raises(RecipeError, match="was trained with tokenizer ffffffffffffffff, not"):
        export_model(tmp_path / "other" / "step-00000001", tokenizer, tmp_path / "no", {})
    with pytest.raises(StoreError, match="is no checkpoint"):
        export_model(tmp_path, tokenizer, tmp_path / "no", {})
    assert not (tmp_path / "no").exists()


def test_a_tokenizer_of_more_pieces_than_the_encoder_has_is_refused(
    demo_build: Build, tmp_path: Path
) -> None:
    encoder = make_encoder(small_shape("modern"))
    weights = Weights(encoder.shape, dict(encoder.state_dict()))
    with pytest.raises(RecipeError, match="the tokenizer has 1,024 pieces, the encoder 256"):
        export_model(weights, demo_build.artifacts["tokenizer"], tmp_path / "out", {})


def test_what_is_there_is_not_overwritten(demo_build: Build, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is there already"):
        export_model(make_weights("modern"), demo_build.artifacts["tokenizer"], tmp_path, {})


def test_an_export_that_broke_off_leaves_no_model_and_can_be_repeated(
    demo_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, tokenizer = make_weights("modern"), demo_build.artifacts["tokenizer"]

    def full(fast: Any, folder: Path) -> None:
        assert (folder / "model.safetensors").is_file()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(export, "save_fast_tokenizer", full)
        with pytest.raises(StoreError, match=r"cannot be written: .*No space left"):
            export_model(weights, tokenizer, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()
    export_model(weights, tokenizer, tmp_path / "out", {})
    assert names_in(tmp_path)[:2] == ["README.md", "config.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def read_card(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, text = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_says_what_the_run_recorded(demo_build: Build, tmp_path: Path) -> None:
    weights = make_weights("classic")
    export_model(weights, demo_build.artifacts["tokenizer"], tmp_path / "out", RUN)
    front, text = read_card(tmp_path / "out")
    assert front["library_name"] == "transformers"
    assert front["language"] == ["en"]
    assert "# Posts & more\n" in text
    assert "What <they> said." in text
    for row in (
        f"| shards | `{'5' * 64}` |",
        "| device | NVIDIA H100 |",
        "| hours | 1.50 |",
        "| device-hours | 6.00 |",
        "| tokens | 3,456,789 |",
        "| FLOPs | 1.50e+15 |",
        "| all | 1,000 | 2.5000 | 51.25 % | 0.7500 |",
    ):
        assert row in text, row
    assert "| title |" not in text
    assert "It began with random weights." in text
    assert "unknown" not in text.lower()
    assert 'preset = "tiny"' in text
    parameters = count_parameters(replace(weights.shape, vocabulary_size=NUM_PIECES))
    assert f"{parameters:,} parameters" in text
    assert str(tmp_path) not in text


def test_the_card_says_what_is_not_known(demo_build: Build, tmp_path: Path) -> None:
    export_model(make_weights("modern"), demo_build.artifacts["tokenizer"], tmp_path / "out", {})
    front, text = read_card(tmp_path / "out")
    assert "language" not in front
    for line in (
        "| shards | unknown |",
        "| FLOPs | unknown |",
        "| device-hours | unknown |",
        "Whether it began with random weights or went on from another model is unknown.",
        "Unknown: the record of the run holds no evaluation.",
        "Unknown: the record of the run holds no recipe.",
    ):
        assert line in text, line


def test_the_recipe_of_the_card_is_one(demo_build: Build, tmp_path: Path) -> None:
    recipe = PretrainRecipe.model_validate(RECIPE).model_dump(mode="json")
    content = json.loads(json.dumps({**RUN, "recipe": recipe}))
    tokenizer = demo_build.artifacts["tokenizer"]
    export_model(make_weights("modern"), tokenizer, tmp_path / "out", content)
    toml = read_card(tmp_path / "out")[1].split("```toml\n")[1].split("```")[0]
    given = {
        section: {key: value for key, value in keys.items() if value is not None}
        for section, keys in recipe.items()
    }
    assert tomllib.loads(toml) == given
