"""What experiment trackers and TensorBoard's HParams page get of a run; against the real libraries, offline."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from glideslope.errors import UserError
from glideslope.runs.logger import Logger
from glideslope.runs.tracking import Tracker, _Guarded, open_tracker, require_service
from tests.support.training import read_tags

SETTINGS = {
    "lr": 1e-4,
    "seed": 1,
    "lr_schedule": {"actor": {"type": "constant", "intervals": [{"lr": "1x"}]}},
}
COMMAND = "python train_gimbal_curriculum.py lr_schedule=mine"


def unexpected(text: str) -> None:
    pytest.fail(f"a note: {text}")


def log_run(run_dir: Path, tracker: Tracker, *, resume_frame: int | None = None) -> None:
    """Log what a short run logs; a resumed one from `resume_frame` on."""
    with Logger(run_dir, resume_frame=resume_frame, tracker=tracker) as logger:
        logger.log_settings(SETTINGS, COMMAND)
        for frame in (100, 200):
            if resume_frame is None or frame > resume_frame:
                logger.log_train(frame, {"lr_actor": 1e-4 * frame, "train/fps": 50.0, "train/idle": None})
                logger.log_eval(frame, {"eval/success_rate": frame / 400})
        logger.log_held_out(200, {"held_out/success_rate": 0.75, "held_out/touchdown_error_m": None})


EXPECTED = {
    "lr_actor": {100: 0.01, 200: 0.02},
    "train/fps": {100: 50.0, 200: 50.0},
    "eval/success_rate": {100: 0.25, 200: 0.5},
    "held_out/success_rate": {200: 0.75},
}


# --- TensorBoard ---


def hparams_of(run_dir: Path, tag: str) -> HParamsPluginData:
    events = EventAccumulator(str(run_dir))
    events.Reload()
    return HParamsPluginData.FromString(events.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content)


def test_tensorboard_gets_settings_command_and_the_held_out_result(tmp_path: Path) -> None:
    log_run(tmp_path, Tracker())
    assert {tag: {f: pytest.approx(v) for f, v in values.items()} for tag, values in EXPECTED.items()} == (
        read_tags(tmp_path)
    )
    given = hparams_of(tmp_path, "session_start_info").session_start_info.hparams
    assert (given["lr"].number_value, given["seed"].number_value) == (1e-4, 1)
    assert given["lr_schedule.actor.type"].string_value == "constant"
    assert given["lr_schedule.actor.intervals"].string_value == "[{lr: 1x}]"
    shown = hparams_of(tmp_path, "experiment").experiment
    assert "held_out/success_rate" in [metric.name.tag for metric in shown.metric_infos]
    assert hparams_of(tmp_path, "session_end_info").session_end_info.status == 1  # STATUS_SUCCESS
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    texts = {
        tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode()
        for tag in ("run/command/text_summary", "run/settings/text_summary")
    }
    assert COMMAND in texts["run/command/text_summary"]
    assert "lr: 0.0001" in texts["run/settings/text_summary"]


def test_a_held_out_result_is_there_once_after_a_resume(tmp_path: Path) -> None:
    """The final evaluation follows the last snapshot, whose frame it has: a stop behind it repeats it."""
    log_run(tmp_path, Tracker())
    straight = read_tags(tmp_path)
    log_run(tmp_path, Tracker(), resume_frame=200)
    assert read_tags(tmp_path) == straight
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert len(events.Scalars("held_out/success_rate")) == 1
    log_run(tmp_path, Tracker(), resume_frame=100)
    assert read_tags(tmp_path) == straight


# --- trackers ---


def test_without_a_tracker_nothing_is_written(tmp_path: Path) -> None:
    tracker = open_tracker(None, tmp_path, SETTINGS, COMMAND, unexpected)
    tracker.log(1, {"a": 1.0})
    tracker.finish(None, "finished")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_mlflow_gets_the_same_rows_settings_and_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # artifacts go there
    run_dir = tmp_path / "a_run"
    run_dir.mkdir()
    film = run_dir / "landing.mp4"
    film.write_bytes(b"a film")
    tracker = open_tracker("mlflow", run_dir, SETTINGS, COMMAND, unexpected)
    log_run(run_dir, tracker)
    tracker.finish(film, "finished")

    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("glideslope").experiment_id])
    got = {tag: {m.step: m.value for m in client.get_metric_history(run.info.run_id, tag)} for tag in EXPECTED}
    assert got == EXPECTED
    assert (run.info.run_name, run.info.status) == ("a_run", "FINISHED")
    assert run.data.params["lr_schedule.actor.type"] == "constant"
    assert run.data.tags["command"] == COMMAND
    assert {artifact.path for artifact in client.list_artifacts(run.info.run_id)} == {
        "config.yaml",
        "landing.mp4",
    }

    # A resume, with other settings, continues the same entry.
    tracker = open_tracker("mlflow", run_dir, {**SETTINGS, "lr": 2e-4}, COMMAND, unexpected)
    log_run(run_dir, tracker, resume_frame=100)
    tracker.finish(None, "stopped")
    (run,) = client.search_runs([run.info.experiment_id])
    assert (run.info.status, run.data.params["lr"]) == ("KILLED", "0.0001")


def wandb_records(run_dir: Path) -> list[dict[str, str]]:
    """Every row in the offline files of a run folder, values as JSON."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for file in sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb")):
        for data in leveldb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("history"):
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): item.value_json for item in items})
    return rows


def leveldb_records(data: bytes) -> Iterator[bytes]:
    """The records of a log of LevelDB's format (blocks of 32 KiB), which has a header of 7 bytes here."""
    at, record = 7, b""
    while at < len(data):
        if 32768 - at % 32768 < 7:  # too small for a record's own header: padding
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or a record's last part
            yield record
            record = b""


@pytest.mark.slow
def test_wandb_gets_the_same_rows_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    require_service("wandb")
    tracker = open_tracker("wandb", tmp_path, SETTINGS, COMMAND, unexpected)
    log_run(tmp_path, tracker)
    tracker.finish(None, "finished")
    wandb.teardown()  # waits for the process that writes the file
    first = (tmp_path / "tracking.json").read_text()

    got: dict[str, dict[int, float]] = defaultdict(dict)
    for row in wandb_records(tmp_path):
        for key, value in row.items():
            if not key.startswith("_"):
                got[key][int(str(row["_step"]))] = float(str(value))
    assert got == EXPECTED

    tracker = open_tracker("wandb", tmp_path, SETTINGS, COMMAND, unexpected)
    tracker.finish(None, "stopped")
    assert (tmp_path / "tracking.json").read_text() == first  # the same entry


@pytest.mark.slow
def test_wandb_without_a_key_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UserError, match="wandb login"):
        require_service("wandb")


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glideslope.runs.tracking.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"track=mlflow: .*pip install 'glideslope\[track\]'"):
        require_service("mlflow")


def test_a_tracker_that_fails_is_told_once_and_left_alone() -> None:
    class Broken(Tracker):
        calls = 0

        def log(self, frame: int, values: Mapping[str, float]) -> None:
            self.calls += 1
            raise ConnectionError("no route to host\nand more")

    broken, notes = Broken(), []
    guarded = _Guarded(broken, "mlflow", notes.append)
    guarded.log(1, {})
    guarded.log(2, {})
    guarded.finish(None, "finished")
    assert notes == ["track=mlflow has failed and gets nothing more: no route to host"]
    assert broken.calls == 1


def test_a_tracker_that_cannot_start_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://here")
    with pytest.raises(UserError, match="track=mlflow: can't be started"):
        open_tracker("mlflow", tmp_path, SETTINGS, COMMAND, unexpected)
    assert not list(tmp_path.iterdir())
