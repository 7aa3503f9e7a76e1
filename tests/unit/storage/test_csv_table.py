"""Tables of numbers: what comes back from them, and that neither a full disk nor a crash loses or doubles a row."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glideslope.errors import UserError
from glideslope.storage.csv_table import CsvTable, TableError, check_csv_table, read_csv_table
from tests.support.faults import elsewhere, in_its_place, no_access, room_for


def test_rows_are_on_disk_at_once_and_keep_full_precision(tmp_path: Path) -> None:
    table = CsvTable(tmp_path / "train.csv")
    third = 1e-4 / 3
    table.append(0, {"lr_actor": third, "curriculum/stage": 2, "train/loss": math.nan, "train/fps": None})
    assert (tmp_path / "train.csv").read_text().splitlines() == [
        "frame,lr_actor,curriculum/stage,train/loss,train/fps",
        "0,3.3333333333333335e-05,2,nan,",
    ]
    assert read_csv_table(tmp_path / "train.csv")["lr_actor"][0] == third
    table.close()


@settings(max_examples=40)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b/c", 'say "d", e']), st.floats()), max_size=8))
def test_every_number_comes_back_whatever_columns_a_row_has(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    table = CsvTable(path)
    for index, row in enumerate(rows):
        table.append(10 * index, row)
    table.close()
    if not rows:
        assert not path.exists()
        return
    read = read_csv_table(path)
    assert read.pop("frame").tolist() == [10.0 * index for index in range(len(rows))]
    assert set(read) == {name for row in rows for name in row}
    for name, column in read.items():
        np.testing.assert_array_equal(column, [row.get(name, math.nan) for row in rows])


def test_values_of_other_number_types(tmp_path: Path) -> None:
    table = CsvTable(tmp_path / "t.csv")
    values = {"i": np.int64(3), "f": np.float32(0.5), "t": torch.tensor(0.25), "b": True, "inf": -math.inf}
    table.append(np.int64(7), values)  # type: ignore[arg-type]
    table.close()
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == "7,3,0.5,0.25,1,-inf"


def test_a_new_column_is_added_without_harm_to_earlier_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = CsvTable(path)
    table.append(1, {"a": 1})
    table.append(2, {"b": 2})
    table.append(3, {"b": 4, "a": 3})
    table.close()
    assert path.read_text() == "frame,a,b\n1,1,\n2,,2\n3,3,4\n"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("frame", [10, 9, 0])
def test_a_frame_that_does_not_come_later_is_refused(tmp_path: Path, frame: int) -> None:
    table = CsvTable(tmp_path / "t.csv")
    table.append(10, {"a": 1})
    with pytest.raises(ValueError, match=f"frame {frame} comes after frame 10"):
        table.append(frame, {"a": 2})
    assert (tmp_path / "t.csv").read_text() == "frame,a\n10,1\n"
    assert table.last_frame == 10


@pytest.mark.parametrize("name", ["", "frame", "two\nlines"])
def test_column_names_that_would_break_the_table_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="can't be a column's name"):
        CsvTable(tmp_path / "t.csv").append(1, {name: 1})
    assert not (tmp_path / "t.csv").exists()


def test_a_new_table_does_not_touch_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("frame,a\n1,2\n")
    with pytest.raises(FileExistsError, match=r"t\.csv exists already"):
        CsvTable(path)
    assert path.read_text() == "frame,a\n1,2\n"


@pytest.mark.parametrize("tail", ["", "40,4", "40,4\n5", "40,4\n50,"])
def test_a_resumed_table_continues_from_the_snapshot(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("frame,a\n10,1\n20,2\n30,3\n" + tail)
    table = CsvTable(path, resume_frame=20)
    assert path.read_text() == "frame,a\n10,1\n20,2\n"
    table.append(30, {"a": 3.5})
    table.close()
    assert path.read_text() == "frame,a\n10,1\n20,2\n30,3.5\n"


@pytest.mark.parametrize("text", ["", "frame,", "frame,a\n"])
def test_a_table_cut_off_at_its_very_beginning_starts_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    table = CsvTable(path, resume_frame=100)
    table.append(101, {"a": 1})
    table.close()
    assert path.read_text() == "frame,a\n101,1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,a\n1,2\n", "the first line should name the columns"),
        ("frame,a,a\n", "the first line should name the columns"),
        ("frame,a\n1,2,3\n4,5\n", "line 2: not a row"),
        ("frame,a\n4,5\n4,6\n", "line 3: not a row"),
        ("frame,a\nx,5\n", "line 2: not a row"),
        ("frame,a\n1,2\n\n3,4\n", "line 3: not a row"),
        ("frame,a\n1,2\n2,3.x\n3,4\n", "line 3: not a row of this table: '2,3.x'"),
        ("frame,a\n1,2\n2,\udcff\n3,4\n", "line 3: not a row"),
        ('frame,a\n1,"2\n2,3\n', "line 2: not a row"),
    ],
)
def test_a_damaged_table_is_named_not_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for read in (read_csv_table, lambda path: CsvTable(path, resume_frame=100)):
        with pytest.raises(TableError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, UserError)
    assert path.read_bytes() == text.encode(errors="surrogateescape")


def test_a_table_saved_by_a_spreadsheet_is_read_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(b"\xef\xbb\xbfframe,reward\r\n1,0.5\r\n2,0.25\r\n")
    table = CsvTable(path, resume_frame=1)
    table.append(3, {"reward": 4.0})
    table.close()
    read = read_csv_table(path)
    assert {name: list(column) for name, column in read.items()} == {"frame": [1, 3], "reward": [0.5, 4.0]}


def test_a_table_can_be_read_while_a_row_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("frame,a\n1,2\n3,")
    assert {name: column.tolist() for name, column in read_csv_table(path).items()} == {
        "frame": [1],
        "a": [2],
    }


def written(path: Path, frames: int) -> CsvTable:
    table = CsvTable(path)
    for frame in range(1, frames + 1):
        table.append(frame, {"a": frame / 2})
    return table


def lines(frames: int) -> str:
    return "frame,a\n" + "".join(f"{frame},{frame / 2}\n" for frame in range(1, frames + 1))


@pytest.mark.parametrize("spare", range(0, 7))
def test_rows_that_a_full_disk_refuses_arrive_later_in_order_and_once(tmp_path: Path, spare: int) -> None:
    path = tmp_path / "t.csv"
    table = written(path, 2)
    with room_for(path.stat().st_size + spare):  # a row takes six bytes
        for frame in (3, 4) if spare < 6 else (4,):
            if spare == 6:
                table.append(3, {"a": 1.5})
            with pytest.raises(OSError, match="File too large"):
                table.append(frame, {"a": frame / 2})
            assert path.read_text() == lines(2 if spare < 6 else 3), "a torn row is cut off"
        assert table.last_frame == 4
        with pytest.raises(OSError, match="File too large"):
            table.flush()
        with pytest.raises(ValueError, match="frame 4 comes after frame 4"):
            table.append(4, {"a": 0})
    table.append(5, {"a": 2.5})
    assert path.read_text() == lines(5)
    table.flush()
    table.close()
    assert path.read_text() == lines(5)


@pytest.mark.parametrize("way", ["append", "flush", "close"])
def test_the_device_itself_says_no_space(tmp_path: Path, way: str) -> None:
    path = tmp_path / "t.csv"
    table = written(path, 2)
    with (
        in_its_place(path, "/dev/full"),
        pytest.raises(OSError, match=r"No space left on device: '.*/t\.csv'"),
    ):
        table.append(3, {"a": 1.5})
    if way == "append":
        table.append(4, {"a": 2.0})
    else:
        getattr(table, way)()
    assert path.read_text() == lines(4 if way == "append" else 3)
    table.close()


def test_rows_whose_way_to_the_disk_failed_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = written(path, 2)
    table.flush()
    with in_its_place(path, "/dev/null"):  # takes every write, and refuses fsync
        table.append(3, {"a": 1.5})
        table.append(4, {"a": 2.0})
        with pytest.raises(OSError, match="Invalid argument"):
            table.flush()
    table.flush()
    assert path.read_text() == lines(4)
    table.close()


def test_a_failed_fsync_takes_back_what_it_did_not_secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    table = written(path, 2)
    table.flush()
    table.append(3, {"a": 1.5})
    monkeypatch.setattr(os, "fsync", refused)  # no device here fails so
    with pytest.raises(OSError, match="refused"):
        table.flush()
    assert path.read_text() == lines(2)
    table.append(4, {"a": 2.0})
    with pytest.raises(OSError, match="refused"):
        table.close()
    monkeypatch.undo()
    table.close()
    assert path.read_text() == lines(4)


def refused(descriptor: int) -> None:
    raise OSError(errno.EIO, "refused")


@pytest.mark.parametrize("fault", [no_access, elsewhere])
def test_a_folder_that_is_away_for_a_while(
    tmp_path: Path, fault: Callable[[Path], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "run" / "t.csv"
    path.parent.mkdir()
    table = written(path, 2)
    with fault(path.parent):
        for frame in (3, 4):
            with pytest.raises((PermissionError, FileNotFoundError)):
                table.append(frame, {"a": frame / 2})
        with pytest.raises((PermissionError, FileNotFoundError)):
            table.append(5, {"a": 2.5, "b": 1})
        with pytest.raises((PermissionError, FileNotFoundError)):
            table.close()
    table.append(6, {"b": 2})
    table.close()
    assert path.read_text() == "frame,a,b\n1,0.5,\n2,1.0,\n3,1.5,\n4,2.0,\n5,2.5,1\n6,,2\n"


def test_new_columns_wait_for_room_with_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = written(path, 2)
    before = path.read_text()
    with room_for(path.stat().st_size + 3):
        with pytest.raises(OSError, match="File too large"):
            table.append(3, {"a": 1.5})
        with pytest.raises(OSError, match="File too large"):
            table.append(4, {"b": 1})
        with pytest.raises(OSError, match="File too large"):
            table.append(5, {"c": 2, "a": 2.5})
        assert path.read_text() == before
        assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]
    table.flush()
    assert path.read_text() == "frame,a,b,c\n1,0.5,,\n2,1.0,,\n3,1.5,,\n4,,1,\n5,2.5,,2\n"
    table.close()


def test_a_rewritten_table_whose_folder_could_not_be_synced_has_each_row_once() -> None:
    # A folder that can be written and entered, but not read. Not below tmp_path, which only its owner can enter.
    folder = Path(tempfile.mkdtemp())
    try:
        root = os.geteuid() == 0
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        try:
            folder.chmod(0o300)
            table = CsvTable(folder / "t.csv")
            table.append(1, {"a": 0.5})
            table.append(2, {"a": 1.0})
            with pytest.raises(PermissionError):
                table.flush()
            folder.chmod(0o700)
            table.append(3, {"a": 1.5})
            table.close()
        finally:
            if root:
                os.seteuid(0)
        assert (folder / "t.csv").read_text() == lines(3)
    finally:
        shutil.rmtree(folder)


ROWS = st.tuples(st.sets(st.sampled_from("abc")), st.none() | st.integers(0, 60))


@settings(max_examples=60)
@given(st.lists(ROWS | st.sampled_from(["flush", "close"]), max_size=12))
def test_whatever_fails_in_between_every_row_arrives_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[set[str], int | None] | str]
) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    table, expected = CsvTable(path), {}
    for frame, step in enumerate(steps):
        if isinstance(step, str):
            getattr(table, step)()
            continue
        names, spare = step
        expected[frame] = {name: frame + 0.25 for name in sorted(names)}
        size = path.stat().st_size if path.exists() else 0
        with room_for(None if spare is None else size + spare), suppress(OSError):
            table.append(frame, expected[frame])
        assert not path.exists() or path.read_bytes()[-1:] in (b"", b"\n"), "no row is torn"
        assert table.last_frame == frame
    table.close()
    if not expected:
        return
    read = read_csv_table(path)
    assert read.pop("frame").tolist() == list(expected)
    for name, column in read.items():
        np.testing.assert_array_equal(column, [row.get(name, math.nan) for row in expected.values()])
    assert set(read) == {name for row in expected.values() for name in row}


@pytest.mark.parametrize("text", [None, "", "frame,a\n9,9\n"])
def test_a_table_that_somebody_takes_away_or_empties_goes_on_with_a_header(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "t.csv"
    table = written(path, 2)
    path.unlink()
    if text is not None:
        path.write_text(text)
    table.append(10, {"a": 1})
    table.append(11, {"a": 2})
    table.close()
    assert path.read_text() == (text or "frame,a\n") + "10,1\n11,2\n"


def test_a_table_that_somebody_spoils_meanwhile_does_not_stop_the_run(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = written(path, 2)
    good = path.read_text()
    path.write_text("frame,a\n1,0.5\noops\n")
    for frame in (3, 4):
        with pytest.raises(OSError, match="line 3: not a row of this table: 'oops'"):
            table.append(frame, {"b": frame})
    path.write_text(good)
    table.close()
    assert path.read_text() == "frame,a,b\n1,0.5,\n2,1.0,\n3,,3\n4,,4\n"


@pytest.mark.parametrize("garbage", [b"\0" * 40, b"\0" * 40 + b"\n\xff\xfe,2\n", b"1,1\n", b'"\n\n'])
def test_what_a_power_failure_left_after_the_snapshot_is_not_looked_at(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "t.csv"
    for tail in (b"", b"30,3\n"):
        path.write_bytes(b"frame,a\n10,1\n20,2\n" + tail + garbage)
        CsvTable(path, resume_frame=20).close()
        assert path.read_text() == "frame,a\n10,1\n20,2\n"


def test_a_table_without_a_row_to_keep_begins_anew_with_its_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"frame,a,b\n10,1,2\n20,\xff")
    table = CsvTable(path, resume_frame=-1)
    assert not path.exists()
    assert table.last_frame == -1
    table.append(10, {"c": 1})
    table.close()
    assert path.read_text() == "frame,c\n10,1\n"


def test_going_on_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    written(path, 9).close()
    with room_for(0):
        table = CsvTable(path, resume_frame=4)
        with pytest.raises(OSError, match="File too large"):
            table.append(5, {"a": 2.5})
        assert path.read_text() == lines(4)
    table.append(6, {"a": 3.0})
    table.close()
    assert path.read_text() == lines(6)


def test_a_table_can_be_checked_before_it_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    check_csv_table(path, 10)
    path.write_text("frame,a\n1,1\nx,2\n5,1\n")
    before = path.read_bytes()
    check_csv_table(path, 1)
    with pytest.raises(TableError, match=r"t\.csv, line 3"):
        check_csv_table(path, 2)
    assert path.read_bytes() == before
