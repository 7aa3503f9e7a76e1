"""An exported policy acts as its snapshot does, and what can't be exported leaves nothing behind."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from glideslope.cli.arguments import EVALUATE_CONFIG, EXPORT_CONFIG
from glideslope.cli.evaluate import main as evaluate
from glideslope.cli.export import main
from glideslope.cli.main import run_cli
from glideslope.evaluation import export
from glideslope.evaluation.policy import Trained, open_trained
from glideslope.settings import EvaluateSettings, ExportSettings
from glideslope.settings.catalogue import CONFIG_DIR
from tests.support.paths import ROOT
from tests.support.policies import save_policy, small_settings

PRETRAINED = ROOT / "pretrained" / "cpu"
ENCODERS = sorted(path.stem for path in (CONFIG_DIR / "encoder_bundle").glob("*.yaml"))
PAIRS = sorted(path.stem for path in (CONFIG_DIR / "actor_critic_bundle").glob("*.yaml"))
# Every encoder and every pair once; each with each where EVERY_BUNDLE is set.
BUNDLES = [(encoder, pair) for encoder in ENCODERS for pair in PAIRS if "original" in (pair, encoder)]
if os.environ.get("EVERY_BUNDLE"):
    BUNDLES = [(encoder, pair) for encoder in ENCODERS for pair in PAIRS]


def run(*arguments: str) -> int:
    """What ``python export.py`` does with these arguments; the exit status."""
    return run_cli(main, EXPORT_CONFIG, ExportSettings, [*arguments, "num_threads=1"])


def random_observations(trained: Trained, count: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        name: rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        if name == "pixels"
        else rng.normal(size=(count, *shape)).astype(np.float32)
        for name, (shape, _) in export._inputs(trained.settings).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "pair"), BUNDLES)
def test_every_bundle_acts_alike(encoder: str, pair: str, tmp_path: Path) -> None:
    trained = open_trained(save_policy(tmp_path, small_settings(encoder, pair)), "cpu")
    export.write_onnx(trained, tmp_path / "policy.onnx")
    for count in (1, 50):
        observations = random_observations(trained, count)
        assert export.largest_difference(trained, tmp_path / "policy.onnx", observations) <= export.LARGEST_DIFFERENCE
    assert np.ptp(trained.agent.act(observations, None).numpy()) > 0.05


@pytest.mark.slow
def test_an_export_is_checked_on_flights_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = (
        "auxiliary_weight=1",
        "auxiliary_target=pad_motion",
        "auxiliary_input=true",
        "critic_observation=privileged",
    )
    snapshot = save_policy(tmp_path, small_settings("original_tiny", "original", *overrides), success_rate=0.9)
    assert run(f"run={snapshot}", f"out={tmp_path}/out/landing.onnx") == 0
    assert "differ from the snapshot's by" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["landing.json", "landing.onnx"]
    about = json.loads((tmp_path / "out" / "landing.json").read_text(encoding="utf-8"))
    assert about["policy"] == "landing.onnx"
    assert about["check"]["observations"] == 1000
    assert 0 <= about["check"]["largest_difference"] <= 1e-5
    assert about["training"]["success_rate"] == 0.9
    assert about["decision_rate_hz"] == 6
    assert [entry["shape"] for entry in about["inputs"]] == [["batch", 3, 36, 36], ["batch", 3, 12]]
    columns = about["inputs"][1]["columns"]
    assert len(columns) == 12
    assert columns[2] == {"name": "velocity_up", "unit": "m/s", "divided_by": 1.0, "range": [-5.0, 5.0]}
    assert columns[11]["range"] == [0.1 / 8, 1.0]
    scales = [entry["scale"] for entry in about["output"]["columns"]]
    assert scales == pytest.approx([2.0, 2.0, 1.0, 5 * np.pi / 19, np.pi / 2])
    environment = about["environment"]
    with closing(gymnasium.make_vec(environment.pop("id"), 2, "vector_entry_point", **environment)) as env:
        assert env.single_observation_space["pixels"].shape == (3, 36, 36)
    session = export.open_session(tmp_path / "out" / "landing.onnx")
    assert [given.name for given in session.get_inputs()] == [entry["name"] for entry in about["inputs"]]


@pytest.mark.slow
def test_a_damaged_snapshot_is_passed_over_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "_OBSERVATIONS", 40)
    save_policy(tmp_path, small_settings("state")).rename(tmp_path / "snapshot_previous.pt")
    (tmp_path / "snapshot.pt").write_bytes(b"PK")
    assert run(f"run={tmp_path}", f"out={tmp_path}/policy.onnx") == 0
    assert capsys.readouterr().out.count("Passed over: ") == 1
    assert (tmp_path / "policy.onnx").exists()


def test_answers_that_differ_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = save_policy(tmp_path, small_settings("state"))

    def differ(trained: Trained, path: Path, observations: object) -> float:
        assert path.exists()
        return 2e-5

    monkeypatch.setattr(export, "_OBSERVATIONS", 40)
    for wrong in (differ, lambda *arguments: float("nan")):
        monkeypatch.setattr(export, "largest_difference", wrong)
        assert run(f"run={snapshot}", f"out={tmp_path}/policy.onnx") == 2
        assert "policy.onnx: is not written: onnxruntime's actions are up to " in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["snapshot.pt"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "run=null: name a run folder or a snapshot: run=exp_local/..."),
        (["run=nowhere"], "run=nowhere: no such run folder or snapshot"),
        (["run={here}", "out=policy.pt"], "out=policy.pt: must end with .onnx"),
        (["run={here}", "out={here}/folder.onnx"], "out={here}/folder.onnx: {here}/folder.onnx is a folder"),
        (["run={here}", "out={here}/snapshot.pt/policy.onnx"], "out={here}/snapshot.pt/policy.onnx: can't write "),
        (["run={here}/damaged.pt"], "{here}/damaged.pt: "),
        (["run={here}/damaged.pt", "out={here}/new/policy.onnx"], "{here}/damaged.pt: "),
        (["run={here}", "episodes=3"], "episodes=3: is a setting of evaluate.py; export.py has none"),
    ],
)
def test_what_cant_be_exported_is_told(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_policy(tmp_path, small_settings("state"))
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "damaged.pt").write_bytes(b"PK")
    before = sorted(tmp_path.rglob("*"))
    assert run(*(word.format(here=tmp_path) for word in words)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"Error: {told.format(here=tmp_path)}")
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_packages_name_the_extra(tmp_path: Path) -> None:
    snapshot = save_policy(tmp_path, small_settings("state"))
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from glideslope.cli.arguments import EXPORT_CONFIG\n"
        "from glideslope.cli.export import main\n"
        "from glideslope.cli.main import run_cli\n"
        "from glideslope.settings import ExportSettings\n"
        "sys.exit(run_cli(main, EXPORT_CONFIG, ExportSettings, sys.argv[1:]))\n"
    )
    words = [sys.executable, "-c", code, f"run={snapshot}", f"out={tmp_path}/policy.onnx"]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (
        2,
        'Error: an export needs the package onnxruntime: pip install "glideslope[onnx]"\n',
    )


def outcomes(snapshot: Path, model: Path, episodes: int, folder: Path) -> tuple[list[bool], list[bool]]:
    """Return whether each scenario ended in a landing, flown by the snapshot in evaluate.py and by fly_onnx.py."""
    spec = importlib.util.spec_from_file_location("fly_onnx", ROOT / "examples" / "fly_onnx.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    landed = example.fly(model, episodes)
    words = [f"run={snapshot}", f"episodes={episodes}", "compare=[]", f"out={folder}/evaluation", "num_threads=1"]
    assert run_cli(evaluate, EVALUATE_CONFIG, EvaluateSettings, words) == 0
    with (folder / "evaluation" / "evaluation_episodes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(landed) == episodes
    return [row["outcome"] == "landed" for row in rows], [landed[place] for place in range(episodes)]


@pytest.mark.slow
def test_an_exported_policy_lands_where_its_snapshot_does(tmp_path: Path) -> None:
    """Over a pad so large, and from so low, that a policy lands now and then which only sinks and strays."""
    easy = ("task.pad_size=3", "task.max_touchdown_speed=10", "task.start_height=[0.5,1.2]", "task.episode_seconds=3")
    snapshot = save_policy(tmp_path, small_settings("original_tiny", "original", *easy), sinks=True)
    assert run(f"run={snapshot}", f"out={tmp_path}/policy.onnx") == 0
    expected, landed = outcomes(snapshot, tmp_path / "policy.onnx", 30, tmp_path)
    # A rounding difference can flip a pixel of a later view, and an outcome with it, on a processor of another kind.
    assert sum(a != b for a, b in zip(expected, landed, strict=True)) <= 2
    assert 2 < sum(landed) < 28


@pytest.mark.slow
def test_the_pretrained_policy_lands_from_either_file(tmp_path: Path) -> None:
    """Its model card says how often. At 95%, five failures in 20 have a probability of 0.3%."""
    files = [PRETRAINED / "snapshot.pt", PRETRAINED / "policy.onnx"]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    trained = open_trained(PRETRAINED, "cpu")
    assert export.largest_difference(trained, files[1], random_observations(trained, 50)) <= export.LARGEST_DIFFERENCE
    for landed in outcomes(PRETRAINED, files[1], 20, tmp_path):
        assert sum(landed) >= 16
