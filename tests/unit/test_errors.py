"""Sizes, durations and failed writes as people read them."""

from __future__ import annotations

import doctest
import io
import os
from pathlib import Path

import numpy as np
import pytest

from glideslope import errors as wording
from glideslope.display.figures import plot_evaluation
from glideslope.display.films import write_video
from glideslope.errors import data_size, duration, failure
from glideslope.storage import archive
from glideslope.storage.atomic_files import replacing, write_text
from glideslope.storage.csv_table import CsvTable
from tests.support.faults import room_for


def test_examples() -> None:
    result = doctest.testmod(wording)
    assert result.attempted
    assert result.failed == 0


@pytest.mark.parametrize("count", [1, 999, 1000, 340_000, 4_999_999, 10**9, 2**40])
def test_no_size_is_told_as_nothing(count: int) -> None:
    number, unit = data_size(count).split()
    assert float(number.replace(",", "")) >= 1
    factors = {"byte": 1, "bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
    assert float(number.replace(",", "")) * factors[unit] == pytest.approx(count, rel=0.05)


@pytest.mark.parametrize("seconds", [0.11, 0.96, 9.94, 9.96, 89.4, 89.6, 5399, 5401, 172_799, 172_801, 8.64e6])
def test_no_duration_is_told_as_nothing(seconds: float) -> None:
    number, unit = duration(seconds).split()
    length = {"s": 1, "minutes": 60, "hours": 3600, "days": 86400}[unit]
    # Two significant digits: at most 5% off; ten tenths are never told, nor 90 of what has a larger unit.
    assert float(number) * length == pytest.approx(seconds, rel=0.05, abs=0.05)
    assert 0 < float(number) <= 100
    assert number != "10.0"


# --- a full disk is named with the file ---


def test_every_way_to_write_a_file_names_it(tmp_path: Path) -> None:
    """What the system says of a failed write lacks the file, or has a temporary one."""
    pictures = [np.random.default_rng(i).integers(0, 255, (240, 320, 3), np.uint8) for i in range(20)]
    row = {"policy": "a", "name": "b", "stage": 0, "pad_speed": None, "wind": None}
    result = row | {"success_rate": 0.5, "low": 0.4, "high": 0.6}
    table = CsvTable(tmp_path / "train.csv")
    ways = {
        "config.yaml": lambda path: write_text(path, "x" * 10_000),
        "snapshot.pt": lambda path: archive.write(path, {"weights": np.zeros(10_000)}),
        "train.csv": lambda path: table.append(1, {f"train/{i}": 0.1 for i in range(1000)}),
        "landing.mp4": lambda path: write_video(path, pictures, 10),
        "evaluation.png": lambda path: plot_evaluation(path, [result]),
    }
    for name, write in ways.items():
        with room_for(1000), pytest.raises(OSError) as caught:  # noqa: PT011 (failure() is what is compared)
            write(tmp_path / name)
        assert failure(caught.value) == f"{tmp_path / name}: File too large"
    assert list(tmp_path.iterdir()) == []  # nor a part of a file


def test_a_failure_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "mine"):
        (tmp_path / "other").read_text(encoding="utf-8")
    assert failure(caught.value) == f"{tmp_path / 'other'}: No such file or directory"


def test_a_flush_that_fails_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(tmp_path / "finished.json", "{}")
    assert failure(caught.value) == f"{tmp_path / 'finished.json'}: No space left on device"


def test_an_error_without_a_number_is_told_in_its_words() -> None:
    assert failure(io.UnsupportedOperation("not writable")) == "not writable"
    error = OSError("not whole")
    error.filename = "landing.mp4"
    assert failure(error) == "landing.mp4: not whole"
