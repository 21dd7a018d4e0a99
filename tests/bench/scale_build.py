"""One build of the whole line in a process of its own, that says when each stage begins and ends.

    python scale_build.py RECIPE DUMP STORE WORKERS PARTITION_THREADS

Prints one JSON object a stage: times of the monotonic clock, which all processes share, CPU seconds
of this process and its workers, bytes written and kept, and the stage's counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scale_watch import cpu_seconds, folder_bytes

from corpus.build import build_corpus
from corpus.engine import Engine, LocalEngine
from corpus.manifest import Manifest, Outcome
from corpus.progress import Reporter
from corpus.recipe import PostsSection, load_recipe
from corpus.store import Artifact, Store, Work


class WatchedStore(Store):
    """A store that prints a line after each stage that it makes.

    A stage begins where the one before it ends: the first digests the dump before it is made.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store; the first stage begins now."""
        super().__init__(folder)
        self._began, self._cpu_seconds = time.monotonic(), cpu_seconds(os.getpid())

    def make(
        self,
        planned: Manifest,
        make: Callable[[Work], Outcome],
        engine: Engine,
        reporter: Reporter,
    ) -> Artifact:
        """Make and publish the artifact that answers a plan, and say what it took."""
        written_bytes = 0

        def counted(work: Work) -> Outcome:
            nonlocal written_bytes
            outcome = make(work)
            # What only tasks need is still there; the store removes it once all is published.
            written_bytes = folder_bytes(work.folder, only_own=True)
            return outcome

        began, cpu_before = self._began, self._cpu_seconds
        artifact = super().make(planned, counted, engine, reporter)
        self._began, self._cpu_seconds = time.monotonic(), cpu_seconds(os.getpid())
        outcome = artifact.manifest.outcome
        line = {
            "stage": planned.stage,
            "began": began,
            "ended": self._began,
            "cpu_seconds": round(self._cpu_seconds - cpu_before, 2),
            "written_bytes": written_bytes,
            "kept_bytes": folder_bytes(artifact.folder, only_own=True),
            "rows": {kind: [flow.num_in, flow.num_out] for kind, flow in outcome.flows.items()},
            "figures": dict(outcome.figures),
        }
        print(json.dumps(line), flush=True)
        return artifact


def main() -> None:
    """Build the corpus of a recipe from one dump."""
    recipe_path, dump, store, workers, partition_threads = sys.argv[1:]
    recipe = load_recipe(Path(recipe_path))
    posts = PostsSection(partition_threads=int(partition_threads))
    recipe = recipe.model_copy(update={"posts": posts})
    with LocalEngine(int(workers)) as engine:
        build_corpus(
            recipe,
            [dump],
            store=WatchedStore(Path(store)),
            engine=engine,
            reporter=Reporter(),
        )


if __name__ == "__main__":
    main()
