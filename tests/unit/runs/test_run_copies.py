"""Copies of run folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from glideslope.runs.run_copies import copy_run
from glideslope.storage.atomic_files import write_text


def made(folder: Path) -> Path:
    (folder / "replay").mkdir(parents=True)
    for name in ("snapshot.pt", "replay/segment_000001.pt", "train.csv", ".lock", ".tmp-1-left"):
        (folder / name).write_text(f"{name} of {folder.name}")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_has_all_but_lock_and_leftovers_and_does_not_change_with_the_original(tmp_path: Path) -> None:
    source, target = made(tmp_path / "a"), made(tmp_path / "b")
    copy_run(source, target)
    expected = {name: f"{name} of a" for name in ("snapshot.pt", "replay/segment_000001.pt", "train.csv")}
    assert contents(target) == expected
    with open(source / "train.csv", "a") as file:
        file.write("more")
    write_text(source / "snapshot.pt", "new")
    assert contents(target) == expected


def test_without_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    copy_run(made(tmp_path / "a"), tmp_path / "c")
    assert contents(tmp_path / "c")["snapshot.pt"] == "snapshot.pt of a"


def test_a_copy_cut_off_by_a_kill_is_made_anew(tmp_path: Path) -> None:
    source = made(tmp_path / "a")
    (tmp_path / ".tmp-b").mkdir()
    (tmp_path / ".tmp-b" / "half").write_text("")
    copy_run(source, tmp_path / "b")
    assert "half" not in contents(tmp_path / "b")
    assert not (tmp_path / ".tmp-b").exists()
