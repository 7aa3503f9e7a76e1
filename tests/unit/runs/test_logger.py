"""What a run logs: tables that survive new columns, kills and resumes, and TensorBoard tags."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2

from glideslope.errors import UserError
from glideslope.runs.logger import RATE_TAGS, Logger
from glideslope.storage.csv_table import read_csv_table
from tests.support.faults import in_its_place, room_for

NETWORKS = ("encoder", "actor", "critic")


def events(run_dir: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run_dir))
    accumulator.Reload()
    return accumulator


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
        logger.log_train(10, {"lr_actor": 1e-4})
        logger.log_eval(10, {"lr_critic": 1e-4})
        with pytest.raises(ValueError, match="lr_actor: frame 10 comes after frame 10"):
            logger.log_train(10, {"lr_actor": 1e-4})


def frames(run_dir: Path, tag: str = "train/fps") -> list[int]:
    """The frames of a tag's points, as TensorBoard reads them; the value of each is its frame."""
    found = events(run_dir)
    points = [(event.step, event.value) for event in found.Scalars(tag)] if tag in found.Tags()["scalars"] else []
    assert all(value == step for step, value in points)
    return [step for step, _ in points]


def log(logger: Logger, *at: int) -> None:
    for frame in at:
        logger.log_train(frame, {"train/fps": frame})


def stored_frames(run_dir: Path) -> list[int]:
    """The frames of all points in a run's event files, whether or not a reader is told to hide them."""
    return [
        event.step
        for file in sorted(run_dir.glob("events.*"))
        for event in EventFileLoader(str(file)).Load()
        if any(value.tag == "train/fps" for value in event.summary.value)
    ]


def test_a_resumed_run_replaces_what_came_after_its_snapshot(tmp_path: Path) -> None:
    with Logger(tmp_path) as logger:
        log(logger, 10, 20, 30)
        logger.log_eval(30, {"eval/success_rate": 30})
    with Logger(tmp_path, resume_frame=20) as logger:
        assert stored_frames(tmp_path) == [10, 20]
        assert frames(tmp_path, "eval/success_rate") == []
        with pytest.raises(ValueError, match="frame 20 comes after frame 20"):
            logger.log_train(20, {"train/fps": 0})
        log(logger, 25)
    assert read_csv_table(tmp_path / "train.csv")["train/fps"].tolist() == [10, 20, 25]
    assert frames(tmp_path) == [10, 20, 25]


def test_a_chain_of_resumes_to_later_and_earlier_frames(tmp_path: Path) -> None:
    with Logger(tmp_path) as logger:
        log(logger, 10, 20, 30)
    for resume_frame, left in ((25, [10, 20]), (40, [10, 20, 26, 40]), (26, [10, 20, 26]), (15, [10])):
        with Logger(tmp_path, resume_frame=resume_frame) as logger:
            assert frames(tmp_path) == stored_frames(tmp_path) == left
            log(logger, resume_frame + 1, resume_frame + 15)
        assert frames(tmp_path) == [*left, resume_frame + 1, resume_frame + 15]
    assert read_csv_table(tmp_path / "train.csv")["frame"].tolist() == [10, 16, 30]


def test_the_rows_of_an_update_that_is_due_still_are_replaced(tmp_path: Path) -> None:
    """Those of the evaluation at the same frame stay."""
    with Logger(tmp_path) as logger:
        logger.log_train(10, {"curriculum/stage": 0})
        logger.log_eval(20, {"eval/success_rate": 0.5})
        logger.log_train(20, {"curriculum/stage": 0})
    with Logger(tmp_path, resume_frame=20, update_due=True) as logger:
        assert logger.last_train_frame == 10
        logger.log_train(20, {"curriculum/stage": 1})
    assert read_csv_table(tmp_path / "train.csv")["curriculum/stage"].tolist() == [0.0, 1.0]
    assert read_csv_table(tmp_path / "eval.csv")["frame"].tolist() == [20.0]
    found = events(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("curriculum/stage")] == [(10, 0.0), (20, 1.0)]
    assert [event.step for event in found.Scalars("eval/success_rate")] == [20]


@pytest.mark.parametrize("resume_frame", [20, -1])
def test_a_tensorboard_that_is_open_meanwhile_drops_what_it_has_read(tmp_path: Path, resume_frame: int) -> None:
    with Logger(tmp_path) as logger:
        log(logger, 10, 20, 30)
    reader = events(tmp_path)
    with Logger(tmp_path, resume_frame=resume_frame) as logger:
        log(logger, 25)
    reader.Reload()
    assert [event.step for event in reader.Scalars("train/fps")] == [
        *([10, 20] if resume_frame == 20 else []),
        25,
    ]


def test_a_run_that_died_before_its_first_snapshot_starts_over(tmp_path: Path) -> None:
    with Logger(tmp_path) as logger:
        log(logger, 0, 10)
        logger.log_eval(10, {"eval/success_rate": 10})
    with Logger(tmp_path, resume_frame=-1) as logger:
        assert frames(tmp_path) == frames(tmp_path, "eval/success_rate") == stored_frames(tmp_path) == []
        assert not list(tmp_path.glob("*.csv"))
        log(logger, 0, 5)
    assert frames(tmp_path) == [0, 5]
    assert (tmp_path / "train.csv").read_text() == "frame,train/fps\n0,0\n5,5\n"


@pytest.mark.parametrize("hours", [0, -1, -24 * 365 * 30])
def test_a_later_event_file_is_read_later_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    for resume in range(12):  # a count would sort 10 before 9
        with Logger(tmp_path, resume_frame=10 * resume if resume else None) as logger:
            log(logger, *range(10 * resume + 1, 10 * resume + 13))
        now[0] += 3600 * hours
    assert frames(tmp_path) == list(range(1, 123))


def test_a_crash_may_tear_the_last_records_anywhere(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    logger = Logger(run)
    log(logger, 10, 20)
    logger.flush()
    (file,) = run.glob("events.*")
    kept_events, kept_rows = file.stat().st_size, (run / "train.csv").stat().st_size
    log(logger, 30, 40)
    logger.close()
    all_events, all_rows = file.read_bytes(), (run / "train.csv").read_bytes()
    for size in range(kept_events, len(all_events) + 1):
        torn = tmp_path / str(size)
        torn.mkdir()
        (torn / file.name).write_bytes(all_events[:size])
        (torn / "train.csv").write_bytes(all_rows[: kept_rows + size % (len(all_rows) - kept_rows + 1)])
        with Logger(torn, resume_frame=20) as resumed:
            log(resumed, 30)
        assert frames(torn) == stored_frames(torn) == [10, 20, 30]
        assert (torn / "train.csv").read_text() == "frame,train/fps\n10,10\n20,20\n30,30\n"


@pytest.mark.parametrize("size", [0, 1, 20, 60, 200])
def test_a_crash_at_the_very_beginning_of_an_event_file(tmp_path: Path, size: int) -> None:
    Logger(tmp_path).close()
    (file,) = tmp_path.glob("events.*")
    os.truncate(file, size)
    with Logger(tmp_path, resume_frame=-1) as logger:
        log(logger, 10)
    assert frames(tmp_path) == [10]


@pytest.mark.parametrize("bit", [0, 5, 7])
@pytest.mark.parametrize("at", [0, 7, 8, 12, 20, 40])
def test_a_flipped_bit_in_an_event_file_costs_no_later_number(tmp_path: Path, at: int, bit: int) -> None:
    with Logger(tmp_path) as logger:
        log(logger, 10)
        (file,) = tmp_path.glob("events.*")
        start = file.stat().st_size
        log(logger, 15, 20, 30)
    damaged = bytearray(file.read_bytes())
    damaged[start + at] ^= 1 << bit
    file.write_bytes(damaged)
    with Logger(tmp_path, resume_frame=20) as logger:
        log(logger, 25)
    assert frames(tmp_path)[0] == 10
    assert frames(tmp_path)[-1] == 25
    assert file.read_bytes() == damaged[: file.stat().st_size]


@pytest.mark.parametrize("name", ["train.csv", "eval.csv"])
def test_a_damaged_table_is_told_before_anything_is_changed(tmp_path: Path, name: str) -> None:
    with Logger(tmp_path) as logger:
        for frame in (10, 20, 30):
            logger.log_train(frame, {"train/fps": frame})
            logger.log_eval(frame, {"eval/success_rate": frame})
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text.replace("\n20,", "\n2?,"))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(UserError, match=rf"{name}, line 3: not a row of this table: '2\?,20'"):
        Logger(tmp_path, resume_frame=20)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("spare", [0, 1, 11, 13, 30, 90])
def test_a_full_disk_costs_no_number_and_doubles_none(tmp_path: Path, spare: int) -> None:
    logger = Logger(tmp_path)
    log(logger, 1, 2)
    (file,) = tmp_path.glob("events.*")
    reader = events(tmp_path)  # goes on reading where it was, as TensorBoard does
    with room_for(file.stat().st_size + spare):
        refused = 0
        for frame in range(3, 8):
            try:
                log(logger, frame)
            except OSError:
                refused += 1
            reader.Reload()
        assert refused >= 3
        with pytest.raises(OSError, match="File too large"):
            logger.flush()
        with pytest.raises(ValueError, match="frame 7 comes after frame 7"):
            log(logger, 7)
    log(logger, 8)
    logger.close()
    reader.Reload()
    assert [event.step for event in reader.Scalars("train/fps")] == list(range(1, 9))
    assert frames(tmp_path) == stored_frames(tmp_path) == list(range(1, 9))
    assert read_csv_table(tmp_path / "train.csv")["frame"].tolist() == list(range(1, 9))


@pytest.mark.parametrize("device", ["/dev/full", "/dev/null"])
@pytest.mark.parametrize("pattern", ["events.*", "train.csv"])
def test_one_file_that_fails_does_not_keep_the_others_from_the_disk(tmp_path: Path, device: str, pattern: str) -> None:
    logger = Logger(tmp_path)
    log(logger, 1)
    logger.flush()
    (file,) = tmp_path.glob(pattern)
    with in_its_place(file, device):
        with pytest.raises(OSError, match=r"No space left|Invalid argument"):
            log_and_flush(logger, 2)
        with pytest.raises(OSError, match=r"No space left|Invalid argument"):
            log_and_flush(logger, 3)
        if pattern == "events.*":
            assert (tmp_path / "train.csv").read_text() == "frame,train/fps\n1,1\n2,2\n3,3\n"
        else:
            assert frames(tmp_path) == [1, 2, 3]
    logger.flush()
    assert frames(tmp_path) == [1, 2, 3]
    assert (tmp_path / "train.csv").read_text() == "frame,train/fps\n1,1\n2,2\n3,3\n"
    logger.close()


def log_and_flush(logger: Logger, frame: int) -> None:
    try:
        log(logger, frame)
    finally:
        logger.flush()


def test_an_event_file_that_somebody_removes_begins_anew(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    log(logger, 1)
    (file,) = tmp_path.glob("events.*")
    file.unlink()
    log(logger, 2)
    logger.close()
    assert frames(tmp_path) == [2]


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    with Logger(tmp_path) as logger:
        logger.log_train(10, {"train/fps": None})
        with pytest.raises(ValueError, match=r"train\.csv: frame 10 comes after frame 10"):
            logger.log_train(10, {"train/fps": 10})
        with pytest.raises(ValueError, match="could not convert"):
            logger.log_train(11, {"train/fps": 11, "train/loss": "much"})  # type: ignore[dict-item]
        log(logger, 11)
    assert frames(tmp_path) == [11]
    assert read_csv_table(tmp_path / "train.csv")["frame"].tolist() == [10, 11]


def test_closing_says_what_could_not_be_written(tmp_path: Path) -> None:
    logger = Logger(tmp_path)
    with room_for(10):
        with pytest.raises(OSError, match="File too large"):
            log(logger, 1)
        with pytest.raises(OSError, match="File too large"):
            logger.close()
    logger.close()
    assert frames(tmp_path) == [1]
    assert (tmp_path / "train.csv").read_text() == "frame,train/fps\n1,1\n"


def test_a_full_disk_does_not_hide_the_error_that_ends_a_run(tmp_path: Path) -> None:
    with room_for(10_000), pytest.raises(RuntimeError, match="diverged"):
        diverge(Logger(tmp_path))


def diverge(logger: Logger) -> None:
    with room_for(10), logger:
        with pytest.raises(OSError, match="File too large"):
            log(logger, 1)
        raise RuntimeError("diverged")


def test_logging_starts_no_thread_that_a_full_disk_could_end(tmp_path: Path) -> None:
    before = threading.active_count()
    with Logger(tmp_path) as logger:
        log(logger, 1)
        assert threading.active_count() == before


def test_a_new_run_refuses_a_folder_with_tables_and_leaves_no_event_file(tmp_path: Path) -> None:
    (tmp_path / "eval.csv").write_text("frame,a\n1,2\n")
    with pytest.raises(FileExistsError):
        Logger(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["eval.csv"]
