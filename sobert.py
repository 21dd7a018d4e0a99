"""The command line: one group a package, each command a thin twin of one public function.

The groups are in `commands.py` of each package. Results go to stdout (`--json`: one object),
progress and messages to stderr. Exit: 0 done, 1 data or recipe error, 2 usage, 3 a proof failed.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from corpus.commands import corpus
from corpus.errors import SobertError
from finetune.commands import finetune
from labeling.commands import labeling
from pretrain.commands import pretrain


class Group(click.Group):
    """A group that prints a SobertError on one line and ends with its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except SobertError as error:
            click.echo(f"sobert: {error}", err=True)
            sys.exit(error.exit_code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sobert")
def main() -> None:
    """Turn a Stack Exchange dump into a licensed, deduplicated, leakage-safe corpus.

    \b
    Start here:
      sobert corpus demo-dump demo/dump
      sobert corpus build datacards/demo/recipe.toml --dump demo/dump --store demo/store
      sobert corpus sample demo --store demo/store
    """


for group in (corpus, labeling, pretrain, finetune):
    main.add_command(group)


if __name__ == "__main__":
    main()
