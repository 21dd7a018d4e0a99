"""One repository of the Hugging Face Hub.

What the client cannot know is left to the caller: `Overtaken` says that a branch or a tag is not
where it was, because another process writes, or because the answer to our own write was lost. Look
at the hub again and go on from what is there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from corpus.errors import HubError, IntegrityError
from corpus.hub_calls import NUM_TRIES, call, describe, status_of
from corpus.manifest import Manifest, read_manifest
from corpus.progress import Reporter, advance

T = TypeVar("T")
RepoType = Literal["dataset", "model"]
Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete

# How much is sent between two steps of the bar, and per request for upload modes.
GROUP_FILES = 64
GROUP_BYTES = 256_000_000
MANIFEST = "manifest.json"


class Overtaken(Exception):
    """A branch or a tag was changed since it was looked at."""


class RemoteFile(NamedTuple):
    """A file of a commit as the hub lists it; `sha256` of large files only, as the client said."""

    num_bytes: int
    blob_id: str
    sha256: str | None
    xet_hash: str | None


class References(NamedTuple):
    """The commit of each branch and tag."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]


class RemoteRepository:
    """A dataset or model repository."""

    def __init__(
        self, name: str, repo_type: RepoType, reporter: Reporter, *, num_tries: int = NUM_TRIES
    ) -> None:
        """Name the repository; nothing is asked of the hub yet."""
        self.name, self._type, self._reporter = name, repo_type, reporter
        self._num_tries, self.num_writes = num_tries, 0
        self._api = HfApi()
        self._at = {"repo_id": name, "repo_type": repo_type}

    @property
    def url(self) -> str:
        """Where people see it."""
        prefix = "datasets/" if self._type == "dataset" else ""
        return f"{self._api.endpoint}/{prefix}{self.name}"

    def references(self) -> References | None:
        """Return branches and tags; None where the repository is not there (or not to be seen)."""
        try:
            found = self._call(self._api.list_repo_refs, **self._at)
        except RepositoryNotFoundError:
            return None
        return References(
            {one.name: one.target_commit for one in found.branches},
            {one.name: one.target_commit for one in found.tags},
        )

    def files(self, commit: str) -> dict[str, RemoteFile]:
        """List the files of a commit by name."""

        def listed() -> dict[str, RemoteFile]:
            entries = self._api.list_repo_tree(
                self.name, recursive=True, revision=commit, repo_type=self._type
            )
            return {
                one.path: RemoteFile(
                    one.size, one.blob_id, one.lfs.sha256 if one.lfs else None, one.xet_hash
                )
                for one in entries
                if isinstance(one, RepoFile)
            }

        return self._call(listed)

    @contextmanager
    def fetched(self, commit: str, name: str) -> Iterator[Path | None]:
        """Download one file of a commit for the time of the block; None where it has no such."""
        with tempfile.TemporaryDirectory(prefix="sobert-") as folder:
            at = {**self._at, "revision": commit, "local_dir": folder}
            try:
                path: Path | None = Path(self._call(self._api.hf_hub_download, filename=name, **at))
            except EntryNotFoundError:
                path = None
            yield path

    def manifest(self, commit: str) -> Manifest | None:
        """Return the manifest of a commit; None where it has none that can be read."""
        with self.fetched(commit, MANIFEST) as path:
            try:
                return read_manifest(path) if path else None
            except IntegrityError:
                return None

    def create(self, *, private: bool) -> References:
        """Create the repository, where it is not there, and return what is in it.

        Raises:
            HubError: it cannot be seen even so.
        """
        self._write(self._api.create_repo, private=private, exist_ok=True, **self._at)
        if references := self.references():
            return references
        raise HubError(f"{self.name} is there but the token may not see it; use another token")

    def is_private(self) -> bool:
        """Tell whether only its owner sees the repository."""
        return bool(self._call(self._api.repo_info, **self._at).private)

    def head(self, branch: str) -> str:
        """Return the commit of a branch.

        Raises:
            Overtaken: it is gone.
        """
        references = self.references()
        if references is None or branch not in references.branches:
            raise Overtaken(f"branch {branch} is gone")
        return references.branches[branch]

    def create_branch(self, branch: str, commit: str) -> None:
        """Create a branch at a commit; one that is there is left as it is."""
        self._write(
            self._api.create_branch, branch=branch, revision=commit, exist_ok=True, **self._at
        )

    def delete_branch(self, branch: str) -> None:
        """Delete a branch; one that is gone is no error."""
        try:
            self._write(self._api.delete_branch, branch=branch, **self._at)
        except (RevisionNotFoundError, EntryNotFoundError):
            return

    def create_tag(self, tag: str, commit: str) -> None:
        """Create a tag; no tag is ever moved.

        Raises:
            Overtaken: the tag is there.
        """
        with _overtaken_on(409):
            self._write(self._api.create_tag, tag=tag, revision=commit, **self._at)

    def send(self, additions: Sequence[CommitOperationAdd], branch: str) -> None:
        """Send large files ahead of their commit, group by group; what the hub has is not sent."""
        for group in _groups(additions):
            with _overtaken_on(404):
                self._write(
                    self._api.preupload_lfs_files, additions=group, revision=branch, **self._at
                )
            advance(sum(one.upload_info.size for one in group))

    def commit(
        self, operations: Sequence[Operation], *, branch: str, parent: str, title: str
    ) -> str:
        """Make one commit on top of `parent` and return its id.

        Raises:
            Overtaken: the branch is not at `parent`, or is gone.
        """
        with _overtaken_on(404, 409, 412):
            info = self._write(
                self._api.create_commit,
                operations=list(operations),
                commit_message=title,
                revision=branch,
                parent_commit=parent,
                **self._at,
            )
        return str(info.oid)

    def _write(self, function: Callable[..., T], **arguments: object) -> T:
        self.num_writes += 1
        return self._call(function, **arguments)

    def _call(self, function: Callable[..., T], **arguments: object) -> T:
        return call(
            function,
            arguments,
            name=self.name,
            reporter=self._reporter,
            num_tries=self._num_tries,
        )


@contextmanager
def _overtaken_on(*statuses: int) -> Iterator[None]:
    try:
        yield
    except HfHubHTTPError as error:
        if status_of(error) in statuses:
            raise Overtaken(describe(error)) from error
        raise


def _groups(additions: Sequence[CommitOperationAdd]) -> Iterator[list[CommitOperationAdd]]:
    group: list[CommitOperationAdd] = []
    num_bytes = 0
    for addition in additions:
        group.append(addition)
        num_bytes += addition.upload_info.size
        if len(group) == GROUP_FILES or num_bytes >= GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group
