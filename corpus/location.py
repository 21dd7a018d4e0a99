"""Where a version of a dataset lies on the Hub: its repository, its tag, its addresses.

All follow from the repository's name and the version, never from an endpoint in the environment:
what is published says the same wherever it was made.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from corpus.errors import BadValue

HUB = "https://huggingface.co"
# What the Hub takes, but for `--` and `..` inside and `.git` at the end; a name has 96 at most.
_REPO = re.compile(r"\w(?:[\w.-]*\w)?/\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_REFUSED = re.compile(r"--|\.\.|\.git$")


class Location(NamedTuple):
    """A published version: `repo` is `user/name`, `version` is `1.2.0`."""

    repo: str
    version: str

    @property
    def revision(self) -> str:
        """The tag of the version.

        >>> Location("ada/posts", "1.2.0").revision
        'v1.2.0'
        """
        return f"v{self.version}"

    @property
    def url(self) -> str:
        """The page of the dataset, whatever its version."""
        return f"{HUB}/datasets/{self.repo}"

    def file_url(self, name: str) -> str:
        """Return the address of a file of this version.

        >>> Location("ada/posts", "1.2.0").file_url("README.md")
        'https://huggingface.co/datasets/ada/posts/resolve/v1.2.0/README.md'
        """
        return f"{self.url}/resolve/{self.revision}/{name}"

    @property
    def git_url(self) -> str:
        """The address of the repository at this tag, as Croissant readers clone it."""
        return f"{self.url}/tree/refs%2Ftags%2F{self.revision}"


def locate(repo: str, version: str) -> Location:
    """Return where a version of a dataset is published.

    Raises:
        BadValue: `repo` is not a name that the Hub takes.
    """
    check_repository(repo)
    return Location(repo, version)


def check_repository(repo: str) -> None:
    """Raise BadValue where this is not a name that the Hub takes.

    >>> check_repository("ada")
    Traceback (most recent call last):
    corpus.errors.BadValue: repo is 'ada'; it must be written USER/NAME, as on the Hub
    """
    if not _REPO.fullmatch(repo) or _REFUSED.search(repo):
        raise BadValue(f"repo is {repo!r}; it must be written USER/NAME, as on the Hub")
