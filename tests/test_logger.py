"""What a run logs: tables that survive new columns, kills and resumes, and TensorBoard tags."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from glideslope.csv_table import CsvTable, read_csv_table
from glideslope.logger import RATE_TAGS, Logger

NETWORKS = ("encoder", "actor", "critic")


def events(run_dir: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run_dir))
    accumulator.Reload()
    return accumulator


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


@settings(deadline=None, max_examples=40)
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
    ],
)
def test_a_damaged_table_is_named_not_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv_table(path)
    with pytest.raises(ValueError, match=message):
        CsvTable(path, resume_frame=100)
    assert path.read_text() == text


def test_a_table_can_be_read_while_a_row_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("frame,a\n1,2\n3,")
    assert {name: column.tolist() for name, column in read_csv_table(path).items()} == {
        "frame": [1],
        "a": [2],
    }


def test_scalars_reach_tensorboard_under_their_exact_tags(tmp_path: Path) -> None:
    with Logger(tmp_path) as logger:
        logger.log_train(1000, {**dict.fromkeys(RATE_TAGS, 1e-4), "curriculum/stage": 1, "train/fps": None})
        logger.log_train(2000, {**dict.fromkeys(RATE_TAGS, 5e-5), "curriculum/stage": 2})
        logger.log_eval(2000, {"eval/success_rate": 0.5})
    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == {*RATE_TAGS, "curriculum/stage", "eval/success_rate"}
    assert [(event.step, event.value) for event in found.Scalars("curriculum/stage")] == [
        (1000, 1.0),
        (2000, 2.0),
    ]
    assert [event.value for event in found.Scalars("lr_actor")] == pytest.approx([1e-4, 5e-5])
    assert read_csv_table(tmp_path / "train.csv")["lr_encoder"].tolist() == [1e-4, 5e-5]
    assert read_csv_table(tmp_path / "eval.csv")["eval/success_rate"].tolist() == [0.5]


def layout(run_dir: Path) -> dict[str, dict[str, list[str]]]:
    """The custom-scalars layout in a run's event file: category → chart → regular expressions."""
    Logger(run_dir).close()
    stored = events(run_dir).Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    categories = layout_pb2.Layout.FromString(stored).category
    assert not any(category.closed for category in categories)
    return {c.title: {chart.title: list(chart.multiline.tag) for chart in c.chart} for c in categories}


def test_the_three_rates_share_one_chart_with_the_stage_directly_below(tmp_path: Path) -> None:
    # Charts of one category stand side by side; the next category begins below.
    assert list(layout(tmp_path).items())[:2] == [
        ("Learning rates", {"learning rates": ["lr_encoder$", "lr_actor$", "lr_critic$"]}),
        ("Curriculum", {"curriculum stage": ["curriculum/stage$"]}),
    ]


def test_each_diagnostic_has_one_chart_of_the_three_networks(tmp_path: Path) -> None:
    diagnostics = {
        "gradient norm": "grad_norm",
        "update-to-weight ratio": "update_to_weight",
        "parameter norm": "param_norm",
        "effective learning rate": "effective_lr",
        "dormant units": "dormant_ratio",
    }
    names = [f"diagnostics/{network}_{end}" for end in diagnostics.values() for network in NETWORKS]
    # TensorBoard's own rule: re.match of each expression against every tag of the run.
    shown = {
        title: [name for expression in expressions for name in names if re.match(expression, name)]
        for title, expressions in layout(tmp_path)["Diagnostics"].items()
    }
    assert shown == {
        title: [f"diagnostics/{network}_{end}" for network in NETWORKS] for title, end in diagnostics.items()
    }


@pytest.mark.parametrize("tag", ["lr_encodr", "learning_rate", "curriculum/stages", "loss", "training/loss"])
def test_a_tag_nobody_knows_is_refused(tmp_path: Path, tag: str) -> None:
    with Logger(tmp_path) as logger, pytest.raises(ValueError, match="unknown tag"):
        logger.log_train(1, {"lr_actor": 1e-4, tag: 1.0})
    assert events(tmp_path).Tags()["scalars"] == []
    assert not (tmp_path / "train.csv").exists()


def test_a_scalar_is_not_written_twice_for_one_frame(tmp_path: Path) -> None:
    with Logger(tmp_path) as logger:
        logger.scalars(10, {"lr_actor": 1e-4})
        logger.scalars(10, {"lr_critic": 1e-4})
        with pytest.raises(ValueError, match="lr_actor: frame 10 comes after frame 10"):
            logger.scalars(10, {"lr_actor": 1e-4})


def test_a_resumed_run_replaces_what_came_after_its_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Logger(tmp_path) as logger:
        for frame in (10, 20, 30):
            logger.log_train(frame, {"train/fps": frame})
    # Event files are read in the order of their names: the second, then a count that sorts 10 before 9.
    later = time.time() + 1.0
    monkeypatch.setattr(time, "time", lambda: later)
    with Logger(tmp_path, resume_frame=20) as logger:
        with pytest.raises(ValueError, match="frame 20 comes after frame 20"):
            logger.scalars(20, {"train/fps": 0})
        logger.log_train(25, {"train/fps": 25.5})
    assert read_csv_table(tmp_path / "train.csv")["train/fps"].tolist() == [10, 20, 25.5]
    assert [event.step for event in events(tmp_path).Scalars("train/fps")] == [10, 20, 25]


def test_a_new_run_refuses_a_folder_with_tables_and_leaves_no_event_file(tmp_path: Path) -> None:
    (tmp_path / "eval.csv").write_text("frame,a\n1,2\n")
    with pytest.raises(FileExistsError):
        Logger(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["eval.csv"]
