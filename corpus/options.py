"""What the commands of all packages share: options that mean the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

from corpus.errors import MissingPackage

STORE = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("store"),
    show_default=True,
    help="Folder of everything that is built.",
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Worker processes."
)
QUIET = click.option("--quiet", is_flag=True, help="No progress and no notes on stderr.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
NAME = click.argument("name")


def missing_extra(extra: str, error: ImportError) -> MissingPackage:
    """Return the error to raise where a command needs an extra that is not installed.

    >>> missing_extra("train", ModuleNotFoundError("no", name="torch"))
    MissingPackage("torch is not installed; run: pip install 'sobert[train]'")
    """
    return MissingPackage(f"{error.name} is not installed; run: pip install 'sobert[{extra}]'")
