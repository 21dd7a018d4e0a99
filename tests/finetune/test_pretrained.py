"""Models are found, digested and opened without the network, and refused where they do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from corpus.errors import RecipeError, StoreError
from finetune.pretrained import (
    add_adapters,
    digest_model,
    find_model,
    open_model,
    open_tokenizer,
    quiet_transformers,
    read_limits,
)
from finetune.recipe import LoraSection
from tests.finetune.tiny_models import (
    write_bert,
    write_export,
    write_llama,
    write_modernbert,
    write_roberta,
)

WRITERS = {
    "bert": write_bert,
    "roberta": write_roberta,
    "modernbert": write_modernbert,
    "export": write_export,
    "llama": write_llama,
}
LABELS = ["bad", "good", "so"]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: write(folder / name) for name, write in WRITERS.items()}


@pytest.fixture
def bert(models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(models["bert"], tmp_path / "bert"))


def open_bert(path: Path | str, **given: Any) -> Any:
    options = {"kind": "sequence", "labels": LABELS, "seed": 1, "pad_id": 0} | given
    with quiet_transformers():
        return open_model(str(path), **options)


def edit_config(folder: Path, **changed: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **changed}))


def is_equal(first: Any, second: Any, part: str = "") -> bool:
    others = second.state_dict()
    return all(
        torch.equal(one, others[name])
        for name, one in first.state_dict().items()
        if name.startswith(part)
    )


# Finding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["someone/no-such-model", "no-such-model", "no/such/folder", "."])
def test_what_is_nowhere_is_said_to_be_so(name: str) -> None:
    with pytest.raises(StoreError, match=r"no config\.json|hf download " + name):
        find_model(name)


def test_a_name_is_found_in_the_local_cache(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "models--someone--tiny"
    revision = "0" * 40
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(revision)
    shutil.copytree(bert, cached / "snapshots" / revision)
    monkeypatch.setattr(
        "finetune.pretrained.snapshot_download",
        lambda name, **options: download(name, cache_dir=tmp_path, **options),
    )
    assert find_model("someone/tiny") == cached / "snapshots" / revision
    assert digest_model("someone/tiny") == digest_model(str(bert))


def download(name: str, **options: Any) -> str:
    from huggingface_hub import snapshot_download

    found: str = snapshot_download(name, **options)
    return found


# Digests -------------------------------------------------------------------------------------


def test_a_digest_is_of_the_files_and_not_of_their_place(bert: Path, tmp_path: Path) -> None:
    digest = digest_model(str(bert))
    assert len(digest) == 64
    (bert / "README.md").write_text("A card.")
    (bert / "optimizer.pt").write_bytes(b"much")
    assert digest_model(str(bert.rename(tmp_path / "other"))) == digest


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", WEIGHTS])
def test_a_digest_changes_with_every_file_that_is_read(bert: Path, name: str) -> None:
    before = digest_model(str(bert))
    (bert / name).write_bytes((bert / name).read_bytes() + b" ")
    assert digest_model(str(bert)) != before


def test_of_two_forms_of_the_weights_the_one_that_is_read_counts(bert: Path) -> None:
    before = digest_model(str(bert))
    (bert / "pytorch_model.bin").write_bytes(b"older")
    assert digest_model(str(bert)) == before
    (bert / WEIGHTS).unlink()
    assert digest_model(str(bert)) != before


# Opening -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert", "export"])
@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_encoders_open_for_both_kinds_of_task(
    models: dict[str, Path], name: str, kind: str, recwarn: Any
) -> None:
    model = open_bert(models[name], kind=kind)
    found = model(input_ids=torch.tensor([[2, 10, 11, 3]])).logits
    assert found.shape == ((1, 3) if kind == "sequence" else (1, 4, 3))
    assert model.config.id2label == dict(enumerate(LABELS))
    assert not recwarn.list


def test_opening_says_nothing(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    open_bert(models["export"])
    assert capfd.readouterr() == ("", "")


def test_the_weights_are_those_of_the_folder(models: dict[str, Path]) -> None:
    model, saved = open_bert(models["export"]), load_file(models["export"] / WEIGHTS)
    name = "bert.encoder.layer.1.attention.self.query.weight"
    assert torch.equal(model.state_dict()[name], saved[name])
    assert {one.dtype for one in model.parameters()} == {torch.float32}


def test_the_head_is_drawn_from_the_seed(models: dict[str, Path]) -> None:
    first, again, other = (open_bert(models["bert"], seed=seed) for seed in (1, 1, 2))
    assert is_equal(first, again)
    assert is_equal(first, other, "bert.encoder")
    assert not is_equal(first, other, "classifier")


@pytest.mark.parametrize("name", ["bert", "modernbert", "export", "llama"])
def test_random_weights_are_others_and_equal_for_equal_seeds(
    models: dict[str, Path], name: str
) -> None:
    pretrained = open_bert(models[name])
    first, again, other = (
        open_bert(models[name], weights="random", seed=seed) for seed in (1, 1, 2)
    )
    body = pretrained.base_model_prefix
    assert first.config.to_dict() == again.config.to_dict()
    assert is_equal(first, again)
    assert not is_equal(first, other, body)
    assert not is_equal(first, pretrained, body)
    assert [one.shape for one in first.parameters()] == [o.shape for o in pretrained.parameters()]


def test_random_weights_need_no_file_of_weights(bert: Path) -> None:
    (bert / WEIGHTS).unlink()
    assert open_bert(bert, weights="random").config.num_labels == 3
    with pytest.raises(StoreError, match=r'has no weights in .*weights = "random"'):
        open_bert(bert)


def test_weights_that_are_not_there_are_not_drawn_at_random(bert: Path) -> None:
    weights = load_file(bert / WEIGHTS)
    gone = [name for name in weights if ".layer.1." in name]
    kept = {name: one for name, one in weights.items() if name not in gone}
    save_file(kept, bert / WEIGHTS, {"format": "pt"})
    with pytest.raises(StoreError, match=rf"lacks {len(gone)} weights of BertForSequence"):
        open_bert(bert)


def test_broken_weights_are_refused(bert: Path) -> None:
    (bert / WEIGHTS).write_bytes(b"no weights at all")
    with pytest.raises(StoreError, match="cannot be opened: "):
        open_bert(bert)


def test_a_model_without_such_a_head_is_refused(bert: Path) -> None:
    edit_config(bert, model_type="clip_text_model")
    with pytest.raises(StoreError, match="cannot be opened: "):
        open_bert(bert, kind="token")


def test_a_type_that_is_not_known_is_refused(bert: Path) -> None:
    edit_config(bert, model_type="newbert")
    with pytest.raises(StoreError, match="is of type 'newbert', which transformers has not"):
        open_bert(bert)


def test_code_that_comes_with_a_model_is_never_run(bert: Path) -> None:
    edit_config(bert, model_type="newbert", auto_map={"AutoConfig": "config.NewConfig"})
    (bert / "config.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(StoreError, match="wants to run code of its own"):
        open_bert(bert)


def test_code_of_a_tokenizer_is_never_run(bert: Path) -> None:
    path = bert / "tokenizer_config.json"
    content = json.loads(path.read_text())
    content |= {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["code.Mine", None]}}
    path.write_text(json.dumps(content))
    (bert / "code.py").write_text("raise SystemExit('it was run')")
    assert open_tokenizer(str(bert))("use a map")["input_ids"][0] == 2


def test_a_tokenizer_without_padding_pads_with_its_end(models: dict[str, Path]) -> None:
    assert open_tokenizer(str(models["llama"])).pad_token == "</s>"
    assert open_tokenizer(str(models["bert"])).pad_token == "[PAD]"


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(
    models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models["llama"], tmp_path / "llama"))
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in content.items() if k != "eos_token"}))
    with pytest.raises(StoreError, match="has no padding, end or unknown token"):
        open_tokenizer(str(folder))


@pytest.mark.parametrize(
    ("name", "longest"),
    [("bert", 64), ("roberta", 63), ("modernbert", 64), ("export", 64), ("llama", 64)],
)
def test_the_longest_input_is_what_positions_allow(
    models: dict[str, Path], name: str, longest: int
) -> None:
    limits = read_limits(str(models[name]))
    tokenizer = open_tokenizer(str(models[name]))
    assert limits == (longest, len(tokenizer))
    ids = torch.full((1, longest), 5)
    assert open_bert(models[name], kind="sequence")(input_ids=ids).logits.isfinite().all()


def test_one_more_than_positions_allow_fails(models: dict[str, Path]) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        open_bert(models["roberta"])(input_ids=torch.full((1, 64), 5))


# Adapters ------------------------------------------------------------------------------------


def adapt(models: dict[str, Path], lora: LoraSection) -> Any:
    with quiet_transformers():
        return add_adapters(open_bert(models["llama"], pad_id=1), lora)


def test_adapters_and_the_whole_head_are_trained_alone(models: dict[str, Path]) -> None:
    model = adapt(models, LoraSection(rank=2))
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert all(".lora_" in name or "score" in name for name in trained)
    assert {name for name in trained if "score" in name}
    assert any("down_proj" in name for name in trained)


def test_adapters_are_put_on_the_layers_that_are_named(models: dict[str, Path]) -> None:
    model = adapt(models, LoraSection(targets=["q_proj"]))
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert all("q_proj" in name or "score" in name for name in trained)


def test_a_layer_that_is_not_there_is_named(models: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match=r"names query; .* has down_proj, gate_proj, k_proj"):
        adapt(models, LoraSection(targets=["query"]))
