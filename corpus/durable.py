"""Writing so that it lasts: what was synced is still there after the power was cut."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"


def sync(path: Path) -> None:
    """Bring a file's bytes, or a folder's list of names, to the disk.

    Raises:
        OSError: they could not be written; the file must not be used.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file (indented, UTF-8) so that it is there whole, or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    temporary.write_bytes(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def link(source: Path, path: Path) -> bool:
    """Give a file a second name, and return True; or copy it, and return False.

    What is at `path` is replaced.

    Raises:
        OSError: the file is not there, or there is no room for a copy.
    """
    path.unlink(missing_ok=True)
    try:
        os.link(source, path)
    except OSError:  # not every file system has hard links
        shutil.copyfile(source, path)
        sync(path)
        return False
    return True
