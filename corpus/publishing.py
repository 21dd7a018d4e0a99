"""Publishing what was made: a build of the store, or a model, as one version of a repository.

What is in the folder is said in `corpus.publication`, how it gets there in `corpus.hub`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from corpus.engine import LocalEngine
from corpus.hub import plan_publication, publish
from corpus.hub_client import RepoType
from corpus.hub_folder import Publication, describe_folder
from corpus.location import HUB
from corpus.manifest import Json
from corpus.progress import Reporter
from corpus.publication import build_publication
from corpus.store import Artifact, Store


def publish_build(
    store: Store,
    name: str,
    repo: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    reporter: Reporter,
    build: Callable[..., Artifact] = build_publication,
) -> Json:
    """Publish a build under the version of its recipe.

    Args:
        store: where it lies; locked while the folder is put together.
        name: of the build.
        repo: USER/NAME.
        private: whether a repository that is created is seen by its owner only.
        dry_run: change nothing on the hub, and say what would be done.
        reporter: what the person at the terminal sees.
        build: what puts the folder together; `build_benchmark_publication` for benchmarks.

    Returns:
        As `hub.publish`, or for a dry run as `hub.plan_publication`.

    Raises:
        SobertError: one clear line; what the hub has already is kept for the next run.
    """
    store.check_exists()
    with store.lock():
        run = store.read_run(name)
        made = build(run, repo, store=store, engine=LocalEngine(), reporter=reporter)
    version = str(made.manifest.recipe["version"])
    publication = Publication(made.folder, made.manifest, version)
    return _publish(publication, repo, private, dry_run, reporter)


def publish_model(
    folder: Path,
    repo: str,
    *,
    version: str,
    private: bool = False,
    dry_run: bool = False,
    reporter: Reporter,
) -> Json:
    """Publish the folder of an exported model; arguments and errors as of `publish_build`."""
    asked = {"version": version, "repo": repo, "revision": f"v{version}", "url": f"{HUB}/{repo}"}
    manifest = describe_folder(folder, "model", asked)
    publication = Publication(folder, manifest, version, "model")
    return _publish(publication, repo, private, dry_run, reporter)


def _publish(
    publication: Publication, repo: str, private: bool, dry_run: bool, reporter: Reporter
) -> Json:
    if dry_run:
        return plan_publication(publication, repo, reporter=reporter)
    return publish(publication, repo, private=private, reporter=reporter)


def render_published(found: Json, repo: str, repo_type: RepoType = "dataset") -> str:
    """Render what `publish_build` returns for a person."""
    if "files" in found:
        lines = [
            f"{one['num_bytes']:>14,} {'there' if one['is_there'] else 'new':<6} {one['name']}"
            for one in found["files"]
        ]
        lines.append(
            f"{found['tag']} of {found['url']}: {found['num_files']:,} files, "
            f"{found['num_bytes']:,} bytes, {found['num_new_bytes']:,} to send; hub: {found['hub']}"
        )
        return "\n".join(lines)
    lines = [
        f"{found['tag']} of {found['url']}: {found['status']}",
        f"commit   {found['commit']}",
        f"id       {found['id']}",
        f"sent     {found['num_new_files']:,} files, {found['num_new_bytes']:,} bytes",
    ]
    if repo_type == "dataset":
        lines.append(f'load     datasets.load_dataset("{repo}", revision="{found["tag"]}")')
    return "\n".join(lines)
