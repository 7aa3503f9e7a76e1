"""A search by a population that is killed and started again; what it finds is an ordinary preset."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from benchmarks.soak import COMMAND
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

SHORT = (
    *COMMAND,
    "num_train_frames=2000",
    "eval_every_frames=400",
    "snapshot_every_frames=200",
    "lr_schedule=constant",
)


RATES = ("lr_encoder", "lr_actor", "lr_critic")


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "tune_lr_schedule.py"), *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def rates(run: Path) -> dict[int, list[str]]:
    """The logged rates by frame, as written."""
    with open(run / "train.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row["frame"]): [row[f"lr_{network}"] for network in ("encoder", "actor", "critic")] for row in rows}


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.tune", reason="needs the extra [sweep]")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token into the home


@pytest.mark.parametrize("parallel", ["false", "true"])
def test_a_killed_search_resumes_and_its_preset_replays_the_best_rates(tmp_path: Path, parallel: str) -> None:
    words = (*SHORT, f"parallel={parallel}")
    search = start(tmp_path, *words)
    while len(list(tmp_path.rglob("copies/*/*"))) < 6:  # two of four have come to the second comparison
        assert search.poll() is None, search.communicate()[0]
        time.sleep(0.1)
    search.kill()
    search.wait()
    again = start(tmp_path, *words)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    runs = sorted(path.parent for path in tmp_path.rglob("trials/*/finished.json"))
    assert [run.name for run in runs] == ["00000", "00001", "00002", "00003"]
    assert any("Changed: lr_schedule" in (run / "output.log").read_text() for run in runs)

    found = re.search(r"lr_schedule=(found_\w+)", output)
    assert found is not None, output
    (best,) = (run for run in runs if f"trials/{run.name}" in output)
    successes = [json.loads((run / "finished.json").read_text())["stages"][-1]["success_rate"] for run in runs]
    assert successes[runs.index(best)] == max(successes)
    preset = yaml.safe_load((tmp_path / "cfgs" / "lr_schedule" / f"{found[1]}.yaml").read_text())
    assert preset["lr_schedule"] == yaml.safe_load((best / "config.yaml").read_text())["lr_schedule"]
    replay = tmp_path / "replay"
    command = [sys.executable, str(ROOT / "train_gimbal_curriculum.py"), *words, f"lr_schedule={found[1]}"]
    subprocess.run([*command, f"hydra.run.dir={replay}"], cwd=tmp_path, check=True, capture_output=True)
    assert rates(replay) == rates(best)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_search_names_the_command_that_resumes_it(tmp_path: Path, number: signal.Signals) -> None:
    search = start(tmp_path, *SHORT)
    while not list(tmp_path.rglob("copies/*/*")):
        assert search.poll() is None, search.communicate()[0]
        time.sleep(0.1)
    search.send_signal(number)
    output, _ = search.communicate()
    assert search.returncode == 128 + signal.SIGINT, output  # Ray hands on that it was interrupted, not by which signal
    assert "Resume the search:" in output
    assert "tune_lr_schedule.py profile=smoke" in output
    assert "Traceback" not in output


def test_successive_halving_stops_the_worst_and_keeps_the_schedule(tmp_path: Path) -> None:
    words = [word for word in SHORT if not word.startswith("lr_schedule=")]
    search = start(tmp_path, *words, "lr_schedule=gentle_decay", "method=asha", "population=4")
    output, _ = search.communicate()
    assert search.returncode == 0, output
    finished = list(tmp_path.rglob("trials/*/finished.json"))
    assert 1 <= len(finished) < 4
    (preset,) = (tmp_path / "cfgs" / "lr_schedule").glob("found_*.yaml")
    content = yaml.safe_load(preset.read_text())
    assert [part["lr"] for part in content["lr_schedule"]["actor"]["intervals"]] == ["1x", "0.5x", "0.25x"]
    best = [run.parent for run in finished if f"The run: {run.parent.name}" in preset.read_text()]
    config = yaml.safe_load((best[0] / "config.yaml").read_text())
    assert {key: content[key] for key in RATES} == {key: config[key] for key in RATES}
    assert None not in content.values()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("address=127.0.0.1:1", "address=127.0.0.1:1: no Ray cluster answers there"),
        ("address=nowhere", "address=nowhere: must be auto, or the address of a running cluster"),
        ("processors_per_training=99", "processors_per_training=99: the cluster has"),
    ],
)
def test_a_cluster_that_does_not_answer_or_is_too_small_is_told(tmp_path: Path, word: str, told: str) -> None:
    search = start(tmp_path, *SHORT, word)
    output, _ = search.communicate()
    assert search.returncode == 2, output
    assert told in output
    assert "Traceback" not in output
