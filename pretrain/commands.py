"""`sobert pretrain ...`: each command a thin twin of one public function."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import click

from corpus.options import (
    JSON,
    PLAN_PUBLICATION,
    PRIVATE,
    QUIET,
    REPO,
    STORE,
    missing_extra,
)


@click.group()
def pretrain() -> None:
    """Shards -> checkpoints -> a model of transformers."""
    # megatron-core says so on import, a line a module; nothing here needs either.
    warnings.filterwarnings("ignore", message=".*Apex (is|are) not installed")


SHARDS = click.option("--shards", required=True, help="A corpus build of the store.")


@pretrain.command("run")
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@SHARDS
@STORE
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the run: checkpoints, logs, report.",
)
@click.option(
    "--workers", type=click.IntRange(0), default=0, show_default=True, help="That read ahead."
)
@click.option(
    "--init-from",
    type=click.Path(path_type=Path, file_okay=False),
    help="A model of transformers to begin with.",
)
@QUIET
@JSON
def run_pretrain(
    recipe: Path,
    shards: str,
    store: Path,
    out: Path,
    workers: int,
    init_from: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train the model of RECIPE on the shards of a build; run again, it goes on where it stopped.

    The same command under torchrun uses several processes or machines.
    """
    from corpus.progress import Reporter
    from corpus.store import Store

    try:
        from pretrain.finished import read_build, read_initial
        from pretrain.run import run_pretraining
    except ImportError as error:
        raise missing_extra("train", error) from error
    from pretrain.recipe import load_pretrain_recipe

    loaded, reporter = load_pretrain_recipe(recipe), Reporter(quiet=quiet)
    of_shards, tokenizer = read_build(Store(store), shards)
    initial = read_initial(init_from, loaded.model, tokenizer) if init_from else None
    summary = run_pretraining(
        loaded,
        of_shards,
        tokenizer,
        out,
        reporter=reporter,
        workers=workers,
        initial=initial,
        init_from=init_from.name if init_from else None,
        name=shards,
    )
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    click.echo(f"report   {out / 'report.html'}")
    click.echo(f"next     sobert pretrain export {out} --shards {shards} --out MODEL")


@pretrain.command("evaluate")
@click.argument("checkpoint", type=click.Path(path_type=Path, file_okay=False))
@SHARDS
@STORE
@click.option("--rows", type=click.IntRange(1), help="How many rows at most; all else.")
@QUIET
@JSON
def evaluate_pretrain(
    checkpoint: Path, shards: str, store: Path, rows: int | None, quiet: bool, as_json: bool
) -> None:
    """Print loss, accuracy and bits per byte of CHECKPOINT (or a run's newest), by kind of text."""
    from corpus.progress import Reporter
    from corpus.store import Store

    try:
        from pretrain.evaluate import format_evaluation
        from pretrain.finished import evaluate_checkpoint, read_build
    except ImportError as error:
        raise missing_extra("train", error) from error
    found = evaluate_checkpoint(
        checkpoint,
        *read_build(Store(store), shards),
        num_rows=rows,
        reporter=Reporter(quiet=quiet),
    )
    click.echo(json.dumps(found, indent=2) if as_json else format_evaluation(found))


@pretrain.command("export")
@click.argument("checkpoint", type=click.Path(path_type=Path, file_okay=False))
@SHARDS
@STORE
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new folder."
)
def export_pretrain(checkpoint: Path, shards: str, store: Path, out: Path) -> None:
    """Write CHECKPOINT (or a run's newest) as a model of transformers that computes the same."""
    from corpus.store import Store

    try:
        from pretrain.finished import export_checkpoint, read_build
    except ImportError as error:
        raise missing_extra("train", error) from error
    _, tokenizer = read_build(Store(store), shards)
    export_checkpoint(checkpoint, tokenizer, out)
    click.echo(out)


@pretrain.command("publish")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@REPO
@click.option("--version", required=True, help="Three numbers; the tag is v and they.")
@PRIVATE
@PLAN_PUBLICATION
@QUIET
@JSON
def publish_pretrain(
    folder: Path, repo: str, version: str, private: bool, dry_run: bool, quiet: bool, as_json: bool
) -> None:
    """Publish the exported model in FOLDER on the Hugging Face Hub; see `sobert corpus publish`."""
    from corpus.progress import Reporter
    from corpus.publishing import publish_model, render_published

    found = publish_model(
        folder,
        repo,
        version=version,
        private=private,
        dry_run=dry_run,
        reporter=Reporter(quiet=quiet),
    )
    click.echo(json.dumps(found, indent=2) if as_json else render_published(found, repo, "model"))


@pretrain.command("plan")
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--tokens", default=27_000_000_000, show_default=True, help="For how many it is worked out."
)
@click.option("--mfu", default=0.25, show_default=True, help="The share of the peak that is used.")
@click.option("--price", default=3.0, show_default=True, help="Of a device for an hour.")
@JSON
def plan_pretrain(recipe: Path, tokens: int, mfu: float, price: float, as_json: bool) -> None:
    """Print what the model of RECIPE, and every preset, needs: memory, time, cost."""
    try:
        from pretrain.cost import format_plan, plan_cost
    except ImportError as error:
        raise missing_extra("train", error) from error
    from pretrain.recipe import load_pretrain_recipe

    loaded = load_pretrain_recipe(recipe)
    plan = plan_cost(loaded, num_tokens=tokens, mfu=mfu, dollars_per_hour=price)
    click.echo(json.dumps(plan, indent=2) if as_json else format_plan(plan))
