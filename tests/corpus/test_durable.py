"""What is written is there whole, or as it was before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corpus.durable import link, sync, write_json


def test_json_is_written_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "er.json", {"b": ["é", 1], "a": None})
    text = '{\n  "b": [\n    "é",\n    1\n  ],\n  "a": null\n}\n'
    assert (tmp_path / "deep" / "er.json").read_bytes() == text.encode()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_was_there_before_stays_where_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_json(tmp_path / "x.json", 1)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(os, call, fail)
        write_json(tmp_path / "x.json", 2)
    assert (tmp_path / "x.json").read_text() == "1\n"
    write_json(tmp_path / "x.json", 2)
    assert (tmp_path / "x.json").read_text() == "2\n"


def test_bytes_are_on_disk_before_they_get_their_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    synced: list[tuple[str, bool]] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, path.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_json(path, 1)
    assert synced == [("x.json.tmp", False), (tmp_path.name, True)]


def test_what_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "none")


def test_a_link_is_a_second_name_of_the_file_and_replaces_what_was_there(tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "path"
    source.write_text("new")
    path.write_text("old")
    assert link(source, path)
    assert path.samefile(source)


def test_without_hard_links_a_file_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("this file system has no hard links")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "source").write_text("new")
    assert not link(tmp_path / "source", tmp_path / "path")
    assert (tmp_path / "path").read_text() == "new"
    assert not (tmp_path / "path").samefile(tmp_path / "source")
