"""What the commands of all packages share: options that mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from corpus.errors import MissingPackage

EngineKind = Literal["local", "ray", "dask"]

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
ENGINE = click.option(
    "--engine",
    "engine_kind",
    type=click.Choice(["local", "ray", "dask"]),
    default="local",
    show_default=True,
    help="Where tasks run: here, or on a cluster (docs/cluster.md).",
)
ADDRESS = click.option(
    "--address",
    help="Of a running cluster, whose workers count then: HOST:PORT or auto; Dask tcp://HOST:PORT.",
)
REPO = click.option("--repo", required=True, metavar="USER/NAME", help="The repository on the Hub.")
PRIVATE = click.option(
    "--private", is_flag=True, help="Where the repository is created, show it to nobody else."
)
PLAN_PUBLICATION = click.option(
    "--dry-run", is_flag=True, help="List the files and bytes; change nothing on the Hub."
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
