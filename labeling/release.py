"""The folder of a benchmark that is published, complete in itself.

    README.md                  the dataset card, with the table of the leak probes
    recipe.json                the recipe
    probes.json  proof.json    what the probes scored; what the proof compared and found
    hold_out.txt               the threads of validation and test: what a corpus must hold out
    data/<split>-….parquet     the benchmark's own files, by hard link

`datasets.load_dataset` loads the folder as it is, and compares the card's numbers with the files.
"""

from __future__ import annotations

from collections.abc import Mapping

from corpus.durable import write_json
from corpus.engine import Engine
from corpus.manifest import Outcome
from corpus.progress import Reporter
from corpus.release import HOLD_OUT, link_file, list_threads_of
from corpus.store import Artifact, Store, Work
from corpus.tables import describe_file
from labeling.card import render_benchmark_card
from labeling.contamination import EVALUATION_SPLITS
from labeling.recipe import BenchmarkRecipe

VERSION = 1


def build_benchmark_release(
    made: Mapping[str, Artifact],
    recipe: BenchmarkRecipe,
    store: Store,
    engine: Engine,
    reporter: Reporter,
) -> Artifact:
    """Put together what is published of the artifacts that were made."""

    def make(work: Work) -> Outcome:
        folder = work.folder
        (folder / "README.md").write_text(render_benchmark_card(recipe, made), "utf-8")
        write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
        lines = "".join(
            f"{thread}\n" for thread in list_threads_of(made["benchmark"], EVALUATION_SPLITS)
        )
        (folder / HOLD_OUT).write_text(lines, "utf-8")
        pages = [
            describe_file(folder / name, name) for name in ("README.md", "recipe.json", HOLD_OUT)
        ]
        kept = [made[stage] for stage in ("benchmark", "contamination", "probes") if stage in made]
        linked = [
            link_file(folder, artifact, entry) for artifact in kept for entry in artifact.files()
        ]
        return Outcome((*pages, *linked))

    asked = recipe.model_dump(mode="json")
    return store.build("release", VERSION, asked, dict(made), make, engine, reporter)
