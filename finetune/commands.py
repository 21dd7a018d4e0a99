"""`sobert finetune ...`: each command a thin twin of one public function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from corpus.options import JSON, QUIET, STORE, missing_extra

if TYPE_CHECKING:
    from finetune.recipe import FinetuneRecipe

STUDY = (
    click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False)),
    STORE,
    click.option(
        "--out",
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="The folder of the run: predictions, and what an unfinished model needs.",
    ),
    click.option(
        "--model",
        "paths",
        multiple=True,
        metavar="NAME=PATH",
        help="Another folder or Hub name for the model NAME of the recipe; repeatable.",
    ),
    QUIET,
    JSON,
)


def study(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what every run of a recipe takes, as `STUDY` lists it."""
    for option in reversed(STUDY):
        command = option(command)
    return command


@click.group()
def finetune() -> None:
    """Model + benchmark -> predictions -> report."""


@finetune.command()
@study
def run(recipe: Path, paths: tuple[str, ...], **rest: Any) -> None:
    """Train, or ask, every model of RECIPE on its benchmark; run again, it goes on."""
    _study([_load(recipe, paths)], **rest)


@finetune.command()
@study
@click.option(
    "--max-tokens",
    "sizes",
    multiple=True,
    type=click.IntRange(8),
    help="A length of input; repeatable. Else 512, 1,024 and 2,048.",
)
def context(recipe: Path, paths: tuple[str, ...], sizes: tuple[int, ...], **rest: Any) -> None:
    """Run RECIPE with inputs of several lengths: what does seeing more of a text give?"""
    from finetune.studies import CONTEXTS, vary_context

    _study(vary_context(_load(recipe, paths), sizes or CONTEXTS), **rest)


@finetune.command()
@study
@click.option(
    "--share",
    "shares",
    multiple=True,
    type=float,
    help="A share of train; repeatable. Else 0.1, 0.25, 0.5 and 1.",
)
def scale(recipe: Path, paths: tuple[str, ...], shares: tuple[float, ...], **rest: Any) -> None:
    """Run RECIPE on several shares of train: what do more examples give?"""
    from finetune.studies import SHARES, vary_share

    _study(vary_share(_load(recipe, paths), shares or SHARES), **rest)


@finetune.command()
@study
@click.option(
    "--to",
    "others",
    multiple=True,
    required=True,
    metavar="BENCHMARK",
    help="Another benchmark of the same task in the store; repeatable.",
)
def transfer(recipe: Path, paths: tuple[str, ...], others: tuple[str, ...], **rest: Any) -> None:
    """Run RECIPE, and ask its models of another benchmark's test too: what is kept elsewhere?"""
    _study([_load(recipe, paths)], transfer=others, **rest)


@finetune.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Its folder."
)
@click.option(
    "--resamples", default=1_000, show_default=True, type=click.IntRange(100), help="Of intervals."
)
@QUIET
@JSON
def report(runs: tuple[Path, ...], out: Path, resamples: int, quiet: bool, as_json: bool) -> None:
    """Write the report of one or more RUNS: report.html, report.md and figures.json."""
    from corpus.progress import Reporter
    from finetune.report import write_report

    figures = write_report(runs, out, resamples=resamples, reporter=Reporter(quiet=quiet))
    click.echo(json.dumps(figures, indent=2) if as_json else out / "report.html")


@finetune.command()
@click.option("--corpus", required=True, help="A build of the store, whose posts are counted.")
@STORE
@click.option(
    "--tokenizer",
    "given",
    multiple=True,
    metavar="NAME=PATH",
    help="A folder or Hub name of a tokenizer; repeatable. The build's own is always there.",
)
@click.option(
    "--posts", default=2_000, show_default=True, type=click.IntRange(1), help="How many at most."
)
@JSON
def tokens(corpus: str, store: Path, given: tuple[str, ...], posts: int, as_json: bool) -> None:
    """Compare tokenizers on posts of code and posts of prose."""
    from corpus.store import Store

    try:
        from finetune.tokenisation import compare_on_corpus, format_comparison
    except ImportError as error:
        raise missing_extra("train", error) from error
    found = compare_on_corpus(Store(store), corpus, given, num_posts=posts)
    click.echo(json.dumps(found, indent=2) if as_json else format_comparison(found))


def _load(recipe: Path, paths: tuple[str, ...]) -> FinetuneRecipe:
    from finetune.recipe import load_finetune_recipe
    from finetune.studies import replace_paths

    return replace_paths(load_finetune_recipe(recipe), paths)


def _study(
    recipes: list[FinetuneRecipe],
    store: Path,
    out: Path,
    quiet: bool,
    as_json: bool,
    transfer: tuple[str, ...] = (),
) -> None:
    from corpus.progress import Reporter
    from corpus.store import Store
    from finetune.studies import run_study

    reporter = Reporter(quiet=quiet)
    try:
        folders = run_study(recipes, Store(store), out, transfer=transfer, reporter=reporter)
    except ImportError as error:
        raise missing_extra("train", error) from error
    if as_json:
        click.echo(json.dumps([str(folder) for folder in folders]))
        return
    click.echo(f"{len(folders)} results in {out}")
    click.echo(f"next     sobert finetune report {out} --out REPORT")
