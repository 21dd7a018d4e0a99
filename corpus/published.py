"""Loading what was published: the files of a tag, and the proof that they are that version.

Offline, and where a tag was moved, the cache of the Hub's client may hold another version than the
one asked for (`datasets.load_dataset(repo, revision=...)` then gives its rows without a word). So
the manifest that came with the files says which version it is, and every file is compared with it.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from corpus.errors import HubError, IntegrityError
from corpus.hub_calls import call, relayed_messages
from corpus.hub_client import MANIFEST, RepoType
from corpus.hub_folder import check_file, parse_version
from corpus.location import check_repository
from corpus.manifest import Manifest, read_manifest
from corpus.progress import Reporter

AGAIN = "delete this folder and load again"


def load_published(
    repo: str,
    *,
    version: str,
    manifest_id: str | None = None,
    repo_type: RepoType = "dataset",
    reporter: Reporter | None = None,
) -> Path:
    """Return the folder of a published version, downloaded where the cache does not hold it.

    `datasets.load_dataset(str(folder))` loads it, and `from_pretrained(folder)` where it is a
    model. It lies in the cache of huggingface_hub (HF_HOME), and must not be changed. With
    HF_HUB_OFFLINE set, only the cache is looked at.

    Args:
        repo: USER/NAME.
        version: three numbers, such as "1.2.0".
        manifest_id: the id that the version must have, as `publish` returned it.
        repo_type: "dataset" or "model".
        reporter: who is told about retries; nobody where None.

    Raises:
        IntegrityError: it is another version, or a file is not the one that was published.
        HubError: there is no such version, or it is not in the cache and the hub is not reached.
    """
    check_repository(repo)
    parse_version(version)
    reporter = reporter or Reporter(quiet=True)
    at = {"repo_id": repo, "repo_type": repo_type, "revision": f"v{version}"}
    with relayed_messages(reporter):
        try:
            folder = Path(call(snapshot_download, at, name=repo, reporter=reporter))
        except (HfHubHTTPError, EntryNotFoundError) as error:
            raise HubError(
                f"{repo} has no version {version} that can be loaded; see the tags on its page, "
                "and the token if it is private"
            ) from error
    check_published(folder, version=version, manifest_id=manifest_id)
    return folder


def check_published(folder: Path, *, version: str, manifest_id: str | None = None) -> Manifest:
    """Check that a folder holds all files of a published version and no other; return its manifest.

    Raises:
        IntegrityError: it does not.
    """
    manifest = read_manifest(folder / MANIFEST)
    found = manifest.recipe.get("version")
    if found != version:
        raise IntegrityError(f"{folder} holds version {found}, not {version}; {AGAIN}")
    if manifest_id not in (None, manifest.id):
        raise IntegrityError(
            f"{folder} holds a version {version} of other content (id {manifest.id[:16]}, expected "
            f"{str(manifest_id)[:16]}); ask who published it"
        )
    for entry in manifest.outcome.files:
        check_file(folder, entry, AGAIN)
    known = {MANIFEST, *(entry.name for entry in manifest.outcome.files)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in known and not name.startswith("."):
            raise IntegrityError(f"{path} is not of version {version}; {AGAIN}")
    return manifest
