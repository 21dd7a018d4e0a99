"""Publishing: a finished folder becomes one version of a repository on the Hugging Face Hub.

    tag v1.2.0             the version; never moved, and made after every file was read back
    branch main            equal to the highest version; moved by one commit
    branch staging-v1.2.0  a version on its way; gone when it is there

Each step looks at the hub and does what is left to do, so a run that was stopped anywhere is
simply run again, and of two at once one finds the other's work. Readers of a tag or of main never
see a mix: a tag names a commit that was verified, and main goes from one version to another in one
commit. `upload_folder` of huggingface_hub is not used: it cuts a folder into several commits, and
would publish `provenance.json`, which names machine and command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

from corpus.errors import BadValue, HubError, IntegrityError
from corpus.hub_calls import check_token, relayed_messages
from corpus.hub_client import (
    Operation,
    Overtaken,
    References,
    RemoteFile,
    RemoteRepository,
)
from corpus.hub_folder import (
    LocalFile,
    Publication,
    check_publication,
    describe_folder,
    parse_version,
)
from corpus.location import check_repository
from corpus.manifest import Json, Manifest, digest_file
from corpus.progress import Reporter, advance

__all__ = ["Publication", "describe_folder", "plan_publication", "publish"]

MAIN = "main"
# The hub's own: which files it keeps as large ones.
ATTRIBUTES = ".gitattributes"
# So often it looks at a repository that changes under it.
NUM_LOOKS = 5
# Below every version.
NONE = (-1,)
# What `plan_publication` says of a version.
PUBLISHED, OTHER, ABSENT = "published", "other content", "no such version"

Listing = Mapping[str, RemoteFile]


def plan_publication(publication: Publication, repo: str, *, reporter: Reporter) -> Json:
    """Return what `publish` would do; the hub is asked, each question once, and not changed.

    Returns:
        `url`, `tag`, `id`; `hub`: "published" (this version is there), "other content" (another
        is, so `publish` would refuse), "no such version", "no such repository", or why the hub
        could not be asked; `files`: name, num_bytes and is_there (the hub has this content) of
        each; and num_files, num_bytes, num_new_files, num_new_bytes.
    """
    check_repository(repo)
    check_publication(publication)
    remote = RemoteRepository(repo, publication.repo_type, reporter, num_tries=1)
    files, listings = publication.files(), list[Listing]()
    with relayed_messages(reporter):
        try:
            references = remote.references()
            hub = "no such repository"
            if references:
                hub = _find_version(publication, remote, references)
                listings = _list_known(publication, remote, references)
        except HubError as error:
            hub = str(error)
    new = _find_new(files, listings)
    return {
        "url": remote.url,
        "tag": publication.tag,
        "id": publication.manifest.id,
        "hub": hub,
        "files": [
            {"name": name, "num_bytes": file.num_bytes, "is_there": name not in new}
            for name, file in sorted(files.items())
        ],
        "num_files": len(files),
        "num_bytes": sum(file.num_bytes for file in files.values()),
        "num_new_files": len(new),
        "num_new_bytes": sum(file.num_bytes for file in new.values()),
    }


def publish(
    publication: Publication, repo: str, *, private: bool = False, reporter: Reporter
) -> Json:
    """Publish a folder as one version of a repository; of a version that is there, do nothing.

    Args:
        publication: the folder, its manifest and the version.
        repo: USER/NAME; created where it is not there, as `private` says.
        private: whether a repository that is created is seen by its owner only.
        reporter: what the person at the terminal sees.

    Returns:
        `url`, `tag`, its `commit`, the manifest's `id`, `status` ("published" or "as before"), and
        `num_new_files`, `num_new_bytes`: what the hub did not list when this run began.

    Raises:
        BadValue: the version is published with other content, the repository holds other files or
            is public and should not be, or a name or version is not one.
        IntegrityError: a file is not what the manifest says, here or as the hub gives it back.
        HubError: no token, no right, no connection.
    """
    check_repository(repo)
    check_publication(publication)
    check_token()
    remote = RemoteRepository(repo, publication.repo_type, reporter)
    work = _Work(publication, remote, reporter)
    with relayed_messages(reporter):
        commit = work.run_until_done(private=private)
    return {
        "url": remote.url,
        "tag": publication.tag,
        "commit": commit,
        "id": publication.manifest.id,
        "status": "published" if remote.num_writes else "as before",
        "num_new_files": len(work.new or {}),
        "num_new_bytes": sum(file.num_bytes for file in (work.new or {}).values()),
    }


class _Work:
    """One run of `publish`: looks at the hub and does what is left, until nothing is."""

    def __init__(
        self, publication: Publication, remote: RemoteRepository, reporter: Reporter
    ) -> None:
        self.publication, self.remote, self.reporter = publication, remote, reporter
        self.files, self.staging = publication.files(), f"staging-{publication.tag}"
        self.new: dict[str, LocalFile] | None = None

    def run_until_done(self, *, private: bool) -> str:
        """Return the commit of the tag, when everything is as it should be."""
        for _ in range(NUM_LOOKS):
            try:
                return self._run(private=private)
            except Overtaken as overtaken:
                self.reporter.say(f"hub: {self.remote.name}: {overtaken}; looking again")
        raise HubError(
            f"{self.remote.name} goes on changing while {self.publication.tag} is published; let "
            "the other publish end, and run the same command again"
        )

    def _run(self, *, private: bool) -> str:
        remote, tag = self.remote, self.publication.tag
        references = remote.references() or remote.create(private=private)
        found = _find_version(self.publication, remote, references)
        if found == OTHER:
            number = "--version" if self.publication.repo_type == "model" else "card.version"
            raise BadValue(
                f"{tag} of {remote.name} is published with other content; a published version "
                f"never changes: give {number} another number"
            )
        if found == PUBLISHED:
            commit = references.tags[tag]
        else:
            self._check_is_ours(references.branches[MAIN], private=private)
            commit = self._stage(references)
            remote.create_tag(tag, commit)
        self._move_main(references.branches[MAIN], commit)
        if found != PUBLISHED or self.staging in references.branches:
            remote.delete_branch(self.staging)
        return commit

    def _check_is_ours(self, head: str, *, private: bool) -> None:
        """Raise BadValue where others keep files, or everybody sees what is to be private."""
        others = sorted(set(self.remote.files(head)) - {ATTRIBUTES, "README.md"})
        if others and self.remote.manifest(head) is None:
            raise BadValue(
                f"{self.remote.name} holds files that were not published like this ({others[0]}, "
                f"{len(others):,} in all), and a version would replace them; give another --repo"
            )
        if private and not self.remote.is_private():
            raise BadValue(
                f"{self.remote.name} is there and public; make it private on its page, or publish "
                "without --private"
            )

    def _stage(self, references: References) -> str:
        """Bring the files to the staging branch and return its commit, verified."""
        remote, staging = self.remote, self.staging
        listings = _list_known(self.publication, remote, references)
        if self.new is None:
            self.new = _find_new(self.files, listings)
        if staging not in references.branches:
            remote.create_branch(staging, references.branches[MAIN])
        head = remote.head(staging)
        listing = remote.files(head)
        changed = [one for one in self.files.values() if not one.is_same(listing.get(one.name))]
        gone = sorted(set(listing) - set(self.files) - {ATTRIBUTES})
        if changed or gone:
            head = self._upload(changed, gone, head)
            listing = remote.files(head)
        self._verify(head, listing, _find_verified(remote, references))
        return head

    def _upload(self, changed: Sequence[LocalFile], gone: Sequence[str], head: str) -> str:
        additions = [CommitOperationAdd(one.name, one.source) for one in changed]
        deletions = [CommitOperationDelete(name, is_folder=False) for name in gone]
        with self.reporter.bar("upload", sum(one.num_bytes for one in changed), "bytes"):
            self.remote.send(additions, self.staging)
            return self.remote.commit(
                [*deletions, *additions],
                branch=self.staging,
                parent=head,
                title=f"Stage {self.publication.tag}",
            )

    def _verify(self, commit: str, listing: Listing, verified: Set[_Stored | None]) -> None:
        """Read back every file that no earlier version has, and compare.

        What the hub lists is not enough: of a large file sent by Xet, the SHA-256 in the listing is
        what the client claimed.
        """
        if odd := sorted((set(listing) ^ set(self.files)) - {ATTRIBUTES}):
            raise IntegrityError(self._complain(odd[0], "is there and should not be, or is not"))
        with self.reporter.bar(
            "verify", sum(one.num_bytes for one in self.files.values()), "bytes"
        ):
            for name, file in self.files.items():
                if not file.is_same(listing[name]):
                    raise IntegrityError(self._complain(name, "is not what was sent"))
                if _Stored.of(listing[name]) not in verified:
                    with self.remote.fetched(commit, name) as path:
                        if path is None or digest_file(path) != file.sha256:
                            raise IntegrityError(self._complain(name, "came back changed"))
                advance(file.num_bytes)

    def _complain(self, name: str, what: str) -> str:
        return (
            f"{name} on branch {self.staging} of {self.remote.name} {what}; nothing was tagged: "
            "delete this branch and run the same command again"
        )

    def _move_main(self, head: str, commit: str) -> None:
        """Make main equal to the tag in one commit, unless it is so, or at a higher version.

        Large files are named, not sent: the hub has them.
        """
        manifest, version = self.remote.manifest(head), parse_version(self.publication.version)
        is_this = manifest is not None and manifest.id == self.publication.manifest.id
        if is_this or _version_of(manifest) > version:
            return
        old, new = self.remote.files(head), self.remote.files(commit)
        operations: list[Operation] = [
            CommitOperationDelete(name, is_folder=False) for name in sorted(set(old) - set(new))
        ]
        operations += [
            CommitOperationCopy(name, name, src_revision=commit)
            for name, file in sorted(new.items())
            if _Stored.of(file) != _Stored.of(old.get(name))
        ]
        title = f"Version {self.publication.version}"
        self.remote.commit(operations, branch=MAIN, parent=head, title=title)


class _Stored(NamedTuple):
    """What stands for the bytes that the hub gives back, in any commit."""

    blob_id: str
    xet_hash: str | None

    @classmethod
    def of(cls, file: RemoteFile | None) -> _Stored | None:
        return cls(file.blob_id, file.xet_hash) if file else None


def _find_version(
    publication: Publication, remote: RemoteRepository, references: References
) -> str:
    """Say whether the version is on the hub: PUBLISHED, OTHER (content), or ABSENT."""
    if publication.tag not in references.tags:
        return ABSENT
    manifest = remote.manifest(references.tags[publication.tag])
    return PUBLISHED if manifest and manifest.id == publication.manifest.id else OTHER


def _list_known(
    publication: Publication, remote: RemoteRepository, references: References
) -> list[Listing]:
    """List the commits whose files need not be sent again, as far as they are worth a request."""
    heads = [references.branches.get(MAIN), references.branches.get(f"staging-{publication.tag}")]
    heads.append(references.tags.get(_newest(references) or ""))
    return [remote.files(head) for head in sorted({head for head in heads if head})]


def _find_new(files: Mapping[str, LocalFile], listings: Sequence[Listing]) -> dict[str, LocalFile]:
    """Return the files whose content no listing has: large ones under any name."""
    large = {file.sha256 for listing in listings for file in listing.values()}
    return {
        name: file
        for name, file in files.items()
        if file.sha256 not in large
        and not any(file.is_same(listing.get(name)) for listing in listings)
    }


def _find_verified(remote: RemoteRepository, references: References) -> Set[_Stored | None]:
    """Return the large files of the newest version: they were read back when it was published."""
    newest = _newest(references)
    manifest = remote.manifest(references.tags[newest]) if newest else None
    if not newest or not manifest:
        return set()
    listing = remote.files(references.tags[newest])
    named = {entry.name: entry.sha256 for entry in manifest.outcome.files}
    return {
        _Stored.of(file)
        for name, file in listing.items()
        if file.sha256 and named.get(name) == file.sha256
    }


def _newest(references: References) -> str | None:
    """Return the tag of the highest version."""
    versions = {}
    for tag in references.tags:
        with suppress(BadValue):
            versions[parse_version(tag.removeprefix("v"))] = tag
    return versions[max(versions)] if versions else None


def _version_of(manifest: Manifest | None) -> tuple[int, ...]:
    """Return the version a manifest is of; below all where it is of none."""
    try:
        return parse_version(str(manifest.recipe.get("version"))) if manifest else NONE
    except BadValue:
        return NONE
