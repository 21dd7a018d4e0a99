"""The questions that the paper left open, each a recipe run several times with one key changed.

    context    how much a model gains from seeing more of a text: `input.max_tokens`
    scale      how much it gains from more examples: `input.train_share`
    transfer   what it keeps on another benchmark of the task, without learning from it

Units are shared: what the plain recipe has trained is not trained again, and what a key does not
change (a baseline that reads whole texts) is there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corpus.errors import BadValue
from corpus.progress import Reporter
from corpus.store import Store
from finetune.recipe import FinetuneRecipe, InputSection
from finetune.run import run_finetuning

CONTEXTS = (512, 1_024, 2_048)
SHARES = (0.1, 0.25, 0.5, 1.0)


def vary_context(recipe: FinetuneRecipe, sizes: Sequence[int]) -> list[FinetuneRecipe]:
    """Return the recipe with each of these lengths of input.

    Raises:
        BadValue: a length that no recipe may have.
    """
    return [_with_input(recipe, max_tokens=size) for size in sizes]


def vary_share(recipe: FinetuneRecipe, shares: Sequence[float]) -> list[FinetuneRecipe]:
    """Return the recipe with each of these shares of train; a smaller one is part of a larger.

    Raises:
        BadValue: a share that is not above 0 and at most 1.
    """
    return [_with_input(recipe, train_share=share) for share in shares]


def run_study(
    recipes: Sequence[FinetuneRecipe],
    store: Store,
    out: Path,
    *,
    transfer: Sequence[str] = (),
    reporter: Reporter,
) -> list[Path]:
    """Run each recipe into the same folder; return the folders of all units, each once.

    `transfer` names benchmarks that are predicted as well, as of `run.run_finetuning`.

    Raises:
        SobertError: as `run.run_finetuning`.
    """
    folders: dict[Path, None] = {}
    for recipe in recipes:
        asked = recipe.input
        reporter.say(f"at most {asked.max_tokens:,} tokens, {asked.train_share:.0%} of train")
        made = run_finetuning(recipe, store, out, transfer=transfer, reporter=reporter)
        folders |= dict.fromkeys(made)
    return list(folders)


def replace_paths(recipe: FinetuneRecipe, paths: Sequence[str]) -> FinetuneRecipe:
    """Return the recipe with other models at the names that it has.

    Args:
        recipe: whose models have names.
        paths: `NAME=PATH` each.

    Raises:
        BadValue: not written so, or the recipe has no such encoder or decoder.
    """
    path_by_name = {}
    names = {entry.name for entry in recipe.models if entry.path is not None}
    for given in paths:
        name, _, path = given.partition("=")
        if name not in names or not path:
            raise BadValue(
                f"--model {given!r} must be NAME=PATH with one of: {', '.join(sorted(names))}"
            )
        path_by_name[name] = path
    models = [
        entry.model_copy(update={"path": path_by_name.get(entry.name, entry.path)})
        for entry in recipe.models
    ]
    return recipe.model_copy(update={"models": models})


def _with_input(recipe: FinetuneRecipe, **changed: object) -> FinetuneRecipe:
    try:
        section = InputSection(**{**recipe.input.model_dump(), **changed})
    except ValueError as error:
        ((key, value),) = changed.items()
        raise BadValue(f"input.{key} cannot be {value}; see the recipe's own limits") from error
    return recipe.model_copy(update={"input": section})
