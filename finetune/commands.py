"""`sobert finetune ...`: each command a thin twin of one public function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from corpus.options import JSON, QUIET, STORE, missing_extra

if TYPE_CHECKING:
    from finetune.recipe import FinetuneRecipe

RECIPE = click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
OUT = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the run: predictions, and what an unfinished model needs.",
)
MODELS = click.option(
    "--model",
    "paths",
    multiple=True,
    metavar="NAME=PATH",
    help="Another folder or Hub name for the model NAME of the recipe; repeatable.",
)


@click.group()
def finetune() -> None:
    """Model + benchmark -> predictions -> report."""


@finetune.command()
@RECIPE
@STORE
@OUT
@MODELS
@QUIET
@JSON
def run(
    recipe: Path, store: Path, out: Path, paths: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    """Train, or ask, every model of RECIPE on its benchmark; run again, it goes on."""
    _study([_load(recipe, paths)], store, out, quiet, as_json)


@finetune.command()
@RECIPE
@STORE
@OUT
@MODELS
@click.option(
    "--max-tokens",
    "sizes",
    multiple=True,
    type=click.IntRange(8),
    help="A length of input; repeatable. Else 512, 1,024 and 2,048.",
)
@QUIET
@JSON
def context(
    recipe: Path,
    store: Path,
    out: Path,
    paths: tuple[str, ...],
    sizes: tuple[int, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Run RECIPE with inputs of several lengths: what does seeing more of a text give?"""
    from finetune.studies import CONTEXTS, vary_context

    _study(vary_context(_load(recipe, paths), sizes or CONTEXTS), store, out, quiet, as_json)


@finetune.command()
@RECIPE
@STORE
@OUT
@MODELS
@click.option(
    "--share",
    "shares",
    multiple=True,
    type=float,
    help="A share of train; repeatable. Else 0.1, 0.25, 0.5 and 1.",
)
@QUIET
@JSON
def scale(
    recipe: Path,
    store: Path,
    out: Path,
    paths: tuple[str, ...],
    shares: tuple[float, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Run RECIPE on several shares of train: what do more examples give?"""
    from finetune.studies import SHARES, vary_share

    _study(vary_share(_load(recipe, paths), shares or SHARES), store, out, quiet, as_json)


@finetune.command()
@RECIPE
@STORE
@OUT
@MODELS
@click.option(
    "--to",
    "others",
    multiple=True,
    required=True,
    metavar="BENCHMARK",
    help="Another benchmark of the same task in the store; repeatable.",
)
@QUIET
@JSON
def transfer(
    recipe: Path,
    store: Path,
    out: Path,
    paths: tuple[str, ...],
    others: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Run RECIPE, and ask its models of another benchmark's test too: what is kept elsewhere?"""
    from corpus.progress import Reporter
    from corpus.store import Store
    from finetune.run import run_finetuning

    loaded, reporter = _load(recipe, paths), Reporter(quiet=quiet)
    try:
        folders = run_finetuning(loaded, Store(store), out, transfer=others, reporter=reporter)
    except ImportError as error:
        raise missing_extra("train", error) from error
    _show(folders, out, as_json)


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
    recipes: list[FinetuneRecipe], store: Path, out: Path, quiet: bool, as_json: bool
) -> None:
    from corpus.progress import Reporter
    from corpus.store import Store
    from finetune.studies import run_study

    try:
        folders = run_study(recipes, Store(store), out, reporter=Reporter(quiet=quiet))
    except ImportError as error:
        raise missing_extra("train", error) from error
    _show(folders, out, as_json)


def _show(folders: list[Path], out: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([str(folder) for folder in folders]))
        return
    click.echo(f"{len(folders)} results in {out}")
    click.echo(f"next     sobert finetune report {out} --out REPORT")
