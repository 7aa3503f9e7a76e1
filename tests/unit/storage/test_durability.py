"""What is on the disk when: every file, copy and cut is flushed before anything builds on it, and each new name too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glideslope.storage import archive
from glideslope.storage.append_file import AppendFile, cut
from glideslope.storage.atomic_files import replacing, write_text
from glideslope.storage.csv_table import CsvTable
from tests.support.disk import disk_calls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def refuse(*arguments: object) -> None:
    raise OSError(1, "Operation not permitted")


def test_a_file_is_flushed_before_it_takes_its_name_and_the_name_after(folder: Path) -> None:
    with disk_calls() as calls:
        write_text(folder / "a.json", "12345")
    assert calls == [
        ("fsync", ".tmp-a.json", 5),
        ("replace", ".tmp-a.json", "a.json"),
        ("fsync", "run/"),
    ]


@pytest.mark.parametrize("links", [True, False])
def test_the_file_before_is_on_the_disk_before_it_loses_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    write_text(folder / "new.txt", "old")
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with disk_calls() as calls, replacing(folder / "new.txt", folder / "before.txt") as temporary:
        temporary.write_text("newer")
    second_name = ("link", "new.txt", ".tmp-before.txt") if links else ("fsync", ".tmp-before.txt", 3)
    assert calls == [
        ("fsync", ".tmp-new.txt", 5),
        second_name,
        ("replace", ".tmp-new.txt", "new.txt"),
        ("replace", ".tmp-before.txt", "before.txt"),
        ("fsync", "run/"),
    ]
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "new.txt": "newer",
        "before.txt": "old",
    }


def test_an_archive_is_flushed_whole(folder: Path) -> None:
    with disk_calls() as calls:
        archive.write(folder / "a.pt", {"numbers": list(range(1000))})
    size = (folder / "a.pt").stat().st_size
    assert [call for call in calls if call[0] == "fsync"] == [("fsync", ".tmp-a.pt", size), ("fsync", "run/")]


def test_a_growing_file_is_flushed_and_its_name_once(folder: Path) -> None:
    file = AppendFile(folder / "log", b"head\n", b"".join)
    with disk_calls() as calls:
        file.append(b"one\n")
        assert calls == []
        file.flush()
        assert calls == [("fsync", "log", 9), ("fsync", "run/")]
        file.flush()
        assert len(calls) == 2
        file.append(b"two\n")
        file.close()
    assert calls[2:] == [("fsync", "log", 13)]


def test_a_file_that_is_put_in_its_place_is_flushed_with_its_name(folder: Path) -> None:
    file = AppendFile(folder / "log", b"head\n", b"".join)
    file.append(b"one\n")
    with disk_calls() as calls:
        file.replace(b"another\n", b"")
        file.append(b"two\n")
        file.flush()
    assert [call for call in calls if call[0] == "fsync"] == [
        ("fsync", ".tmp-log", 8),
        ("fsync", "run/"),
        ("fsync", "log", 12),
        ("fsync", "run/"),  # it can't know that this was done
    ]


def test_what_a_cut_leaves_is_flushed(folder: Path) -> None:
    (folder / "log").write_bytes(b"0123456789")
    with disk_calls() as calls:
        cut(folder / "log", 10)
        assert calls == []
        cut(folder / "log", 4)
    assert calls == [("fsync", "log", 4)]
    assert (folder / "log").read_bytes() == b"0123"


def test_a_resumed_table_is_cut_on_the_disk(folder: Path) -> None:
    path = folder / "train.csv"
    table = CsvTable(path)
    for frame in range(3):
        table.append(frame, {"a": frame})
    table.close()
    with disk_calls() as calls:
        CsvTable(path, resume_frame=1).close()
    assert ("fsync", "train.csv", len("frame,a\n0,0\n1,1\n")) in calls
    assert path.read_text() == "frame,a\n0,0\n1,1\n"
