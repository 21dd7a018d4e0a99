"""The model card: README.md as the Hub reads it, every number of it from the run's own record.

    front matter    YAML between two lines of `---`: language, library, task
    text            Markdown

What a run's record (`run.json`) may hold, each of it or nothing; what is not there the card calls
unknown:

    recipe          the recipe, as JSON
    inputs          name: of the build; dataset, shards, tokenizer: ids of their manifests
    progress        step, tokens, masked_tokens, flops, seconds, num_skipped
                    (`pretrain.checkpoint.Ledger`)
    cost            device: what it ran on; num_devices: how many of these
    evaluation      by kind of text and for "all", as `pretrain.evaluate` returns it
    init_from       the model that it went on from; null where it began anew

No date of today and no path of a machine: the same record gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pydantic
import yaml

from corpus.datacard import format_toml
from corpus.errors import RecipeError
from corpus.manifest import Json
from corpus.recipe import describe_problems
from corpus.rendering import format_count, make_environment
from pretrain.mapping import MODEL_BY_FAMILY
from pretrain.presets import ModelShape, count_parameters
from pretrain.recipe import PretrainRecipe

UNKNOWN = "unknown"


def render_model_card(shape: ModelShape, vocabulary_size: int, run: Json) -> str:
    """Render the card of a model.

    Args:
        shape: of the encoder.
        vocabulary_size: of the tokenizer.
        run: its record, as the module describes it.

    Returns:
        README.md.

    Raises:
        RecipeError: the record's recipe is none.
    """
    recipe = _read_recipe(run)
    exported = replace(shape, vocabulary_size=vocabulary_size)
    return (
        make_environment("pretrain")
        .get_template("model_card.md.jinja")
        .render(
            front_matter=_front_matter(recipe),
            card=recipe.card if recipe else None,
            shape=shape,
            vocabulary_size=vocabulary_size,
            num_parameters=count_parameters(exported),
            class_name=MODEL_BY_FAMILY[shape.family].__name__,
            data=list(iter_data(run)),
            costs=list(iter_costs(run)),
            evaluation=run.get("evaluation") or {},
            init_from=run.get("init_from") if "init_from" in run else UNKNOWN,
            recipe_toml=format_toml(recipe) if recipe else None,
        )
    )


def iter_data(run: Json) -> Iterator[tuple[str, str]]:
    """Iterate over what is known of the data: what it is, and which.

    >>> list(iter_data({"inputs": {"name": "beer", "shards": "5f1c"}}))[:2]
    [('build', 'beer'), ('dataset', 'unknown')]
    """
    data = run.get("inputs") or {}
    yield "build", str(data.get("name") or UNKNOWN)
    for stage in ("dataset", "shards", "tokenizer"):
        yield stage, str(data.get(stage) or UNKNOWN)


def iter_costs(run: Json) -> Iterator[tuple[str, str]]:
    """Iterate over the cost ledger: what was spent, and how much of it.

    >>> for row in iter_costs(
    ...     {"progress": {"seconds": 5400, "flops": 2.5e15}, "cost": {"num_devices": 2}}
    ... ):
    ...     print(*row, sep=": ")
    device: unknown
    devices: 2
    hours: 1.50
    device-hours: 3.00
    tokens: unknown
    of these masked: unknown
    steps: unknown
    steps not taken (not finite): unknown
    FLOPs: 2.50e+15
    """
    ledger, cost = run.get("progress") or {}, run.get("cost") or {}
    num_devices, seconds, flops = (
        cost.get("num_devices"),
        ledger.get("seconds"),
        ledger.get("flops"),
    )
    hours = None if seconds is None else seconds / 3600
    in_all = None if hours is None or num_devices is None else hours * num_devices
    yield "device", str(cost.get("device") or UNKNOWN)
    yield "devices", _count(num_devices)
    yield "hours", UNKNOWN if hours is None else f"{hours:,.2f}"
    yield "device-hours", UNKNOWN if in_all is None else f"{in_all:,.2f}"
    yield "tokens", _count(ledger.get("tokens"))
    yield "of these masked", _count(ledger.get("masked_tokens"))
    yield "steps", _count(ledger.get("step"))
    yield "steps not taken (not finite)", _count(ledger.get("num_skipped"))
    yield "FLOPs", UNKNOWN if flops is None else f"{flops:.2e}"


def _read_recipe(run: Json) -> PretrainRecipe | None:
    if not run.get("recipe"):
        return None
    try:
        # As JSON, which has no tuples.
        return PretrainRecipe.model_validate_json(json.dumps(run["recipe"]))
    except pydantic.ValidationError as error:
        raise RecipeError(describe_problems(error, "the recipe of the run")) from error


def _count(num: int | None) -> str:
    return UNKNOWN if num is None else format_count(num)


def _front_matter(recipe: PretrainRecipe | None) -> str:
    content: Json = {
        "library_name": "transformers",
        "pipeline_tag": "fill-mask",
        "mask_token": "[MASK]",
        "tags": ["stack-exchange", "code", "masked-lm"],
    }
    if recipe:
        content |= {"language": recipe.card.languages, "model_name": recipe.card.title}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
