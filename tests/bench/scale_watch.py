"""What a process and all its descendants take: CPU, memory and disk, read from /proc (Linux)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

PROC = Path("/proc")
INTERVAL_SECONDS = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")


class Sample(NamedTuple):
    """One look at a tree of processes; bytes.

    `memory`, `main` and `workers` are proportional set sizes, of the tree, its root and the rest: a
    page that several processes share counts once, and pages of mapped files count while they are
    resident. `anonymous` is what of the tree the kernel cannot drop.
    """

    at: float
    memory: int
    main: int
    workers: int
    anonymous: int
    disk: int


class Watch:
    """Look at a tree of processes and a folder every quarter of a second, while the block runs."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.samples: list[Sample] = []
        self._pid, self._folder = pid, folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(INTERVAL_SECONDS):
            self.samples.append(take_sample(self._pid, self._folder))


def take_sample(pid: int, folder: Path) -> Sample:
    """Look once; a process that ends meanwhile counts for nothing."""
    sizes = [_read_memory(one) for one in iter_tree(pid)]
    memory, anonymous = (sum(column) for column in zip(*sizes, strict=True))
    main = sizes[0][0]
    disk = folder_bytes(folder)
    return Sample(time.monotonic(), memory, main, memory - main, anonymous, disk)


def iter_tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants, itself first."""
    yield pid
    with suppress(OSError):
        for task in sorted((PROC / str(pid) / "task").iterdir()):
            for child in (task / "children").read_text().split():
                yield from iter_tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants, those that have ended included."""
    return sum(_read_ticks(one) for one in iter_tree(pid)) / _TICKS


def folder_bytes(folder: Path, *, only_own: bool = False) -> int:
    """Return the bytes of the files below a folder, a file of several names once.

    Args:
        folder: may change while it is read.
        only_own: leave out files that have another name, as those that a release links to.
    """
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found = (Path(parent) / name).stat()
                if found.st_nlink == 1 or not only_own:
                    sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


def peak(samples: Sequence[Sample], began: float, ended: float) -> Sample:
    """Return the largest of each column between two times; of a shorter stage, the nearest.

    >>> peak([Sample(1, 7, 5, 2, 6, 9), Sample(2, 4, 4, 0, 4, 10), Sample(9, 8, 8, 0, 8, 8)], 0, 3)
    Sample(at=2, memory=7, main=5, workers=2, anonymous=6, disk=10)
    """
    inside = [sample for sample in samples if began <= sample.at <= ended]
    inside = inside or [min(samples, key=lambda sample: abs(sample.at - ended))]
    return Sample(*map(max, zip(*inside, strict=True)))


def _read_memory(pid: int) -> tuple[int, int]:
    """Return the proportional set size of a process, and what of it is anonymous, in bytes."""
    with suppress(OSError):
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
        kilobytes = {name: int(rest.split()[0]) for name, rest in (one.split(":") for one in lines)}
        return kilobytes["Pss"] * 1024, kilobytes["Pss_Anon"] * 1024
    return 0, 0


def _read_ticks(pid: int) -> int:
    with suppress(OSError):
        # The second field, the name, may hold spaces: what follows is counted from its end.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15]))
    return 0
