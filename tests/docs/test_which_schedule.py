"""The page on which schedule helps shows what the recorded runs say, and these are what their commands train."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from benchmarks.study import campaign, records, report
from benchmarks.study.parts import PARTS, Block, blocks_of
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.evaluation.comparison.runs import RecordedRun, read_runs
from glideslope.runs.run_folder import VERSIONS
from glideslope.settings import Settings
from glideslope.storage.csv_table import CsvTable
from tests.support.synthetic_runs import write_run

RECORDED = [part for part in PARTS if records.runs_of(part)]
BLOCK = Block("1", "base rate", (), ("constant", "gentle_decay"), (1, 2, 3))


def test_the_page_is_what_the_report_makes_of_the_recorded_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(report, "DOCS", tmp_path)
    assert report.fill(page, dict(report.sections())) == page
    for picture in (tmp_path / "images").iterdir():
        assert f"images/{picture.name}" in page
        assert (report.PAGE.parent / "images" / picture.name).exists()


@pytest.mark.parametrize("part", RECORDED)
def test_every_recorded_run_has_a_curve_and_a_command_that_trains_it(part: str) -> None:
    rows = records.runs_of(part)
    curves = {(row["block"], row["schedule"], row["seed"]) for row in records.curves_of(part)}
    planned = {run.key: run for block in PARTS[part] for run in block.runs()}
    keys = [(row["block"], row["schedule"], int(row["seed"])) for row in rows]
    assert len(set(keys)) == len(keys)
    assert curves == {(block, schedule, str(seed)) for block, schedule, seed in keys}
    for row, key in zip(rows, keys, strict=True):
        python, script, *words = shlex.split(row["command"])
        assert (python, script) == ("python", "train_gimbal_curriculum.py")
        assert set(words) == set(planned[key].overrides)
    first = {row["block"]: row for row in rows}
    for row in first.values():
        settings = compose(TRAIN_CONFIG, shlex.split(row["command"])[2:], Settings).settings
        assert settings.num_train_frames == int(row["frames"])


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of its own, for a part `tried`."""
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(PARTS, "tried", (BLOCK,))
    return tmp_path / "results"


def recorded(folder: Path) -> RecordedRun:
    """A run of 12,000 frames whose networks changed as little as 1e-3 an update at their end."""
    write_run(folder, evaluations=((4000, 0, 0.5), (6000, 1, 0.4), (8000, 1, 0.9), (12000, 1, 0.8)))
    (folder / VERSIONS).write_text('{"git": {"commit": "0123456789", "dirty": false}}', encoding="utf-8")
    (folder / "train.csv").unlink()
    train = CsvTable(folder / "train.csv")
    for frame in range(2000, 12001, 500):
        figures = {
            f"diagnostics/{network}_{name}": 1e-3 if frame > 10_800 else 1.0
            for network in ("encoder", "actor", "critic")
            for name in records.DIAGNOSTICS
        }
        train.append(frame, figures | {"curriculum/stage": int(frame >= 6000)})
    train.close()
    (folder / "eval.csv").unlink()
    evaluation = CsvTable(folder / "eval.csv")
    for frame, stage, rate in ((4000, 0, 0.5), (6000, 1, 0.4), (8000, 1, 0.9), (12000, 1, 0.8)):
        row = {"eval/stage": stage, "eval/success_rate": rate}
        row |= {"eval/success_rate_stage1": 0.75, "eval/forgetting": 0.125}
        evaluation.append(frame, row)
    evaluation.close()
    (run,), _ = read_runs([folder])
    return run


def test_the_figures_of_a_run_by_hand(results: Path, tmp_path: Path) -> None:
    run = recorded(tmp_path / "run")
    (planned, *_) = BLOCK.runs()
    records.add("tried", planned, run)
    (row,) = records.runs_of("tried")
    assert (row["landed"], row["final"], row["forgetting"]) == ("0.97", "0.75", "0.125")
    assert (row["frames_to_last"], row["frames_to_90"]) == ("6000", "8000")
    # Zero at 4,000 frames, 0.4 at 6,000, 0.9 at 8,000, 0.8 at 12,000: 400 + 1,300 + 3,400 of 12,000.
    assert float(row["area"]) == pytest.approx(5100 / 12000, abs=1e-4)
    assert {row[f"{network}_dormant_ratio"] for network in ("encoder", "actor", "critic")} == {"0.001"}
    assert row["commit"] == "0123456"
    assert [point["success_rate"] for point in records.curves_of("tried")] == ["0.5", "0.4", "0.9", "0.8"]


def test_a_campaign_trains_what_is_not_recorded(results: Path, tmp_path: Path) -> None:
    runs = list(BLOCK.runs())
    (first,) = campaign._batches("tried", BLOCK)
    assert first == runs
    records.add("tried", runs[0], recorded(tmp_path / "run"))  # constant, seed 1
    alone, rest = campaign._batches("tried", BLOCK)
    assert [run.key for run in alone] == [("1", "gentle_decay", 1)]
    assert rest == runs[2:]
    assert report.missing("tried") == (
        "Not run yet: base rate, `constant`: seeds 2–3; base rate, `gentle_decay`: seeds 1–3."
    )


def test_the_table_of_the_other_agent_by_hand(results: Path) -> None:
    figures = {"frames_to_90": "24000", "final": "0.9", "landed": "0.96", "off_centre": "0.123", "minutes": "4.4"}
    never = {"frames_to_90": "", "final": "0", "landed": "0.02", "off_centre": "", "minutes": "40"}
    records.record("alone", ("S4_full", "constant", 1), [(24000, 0, 0.9)], figures)
    records.record("alone", ("S4_full", "constant", 2), [(24000, 0, 0.9)], figures)
    records.record("peer", ("S4_full", "sac", 1), [(24000, 0, 0.5)], figures)
    records.record("peer", ("S4_full", "sac", 1), [(24000, 0, 0.0)], never)  # trained again
    assert report.peer()["peer"].splitlines()[2:] == [
        "| `S4_full` alone, Glideslope | 24k, 24k | 90%, 90% | 96%, 96% | 0.12 m, 0.12 m | 4, 4 |",
        "| `S4_full` alone, SAC | – | 0% | 2% | – | 40 |",
    ]
    assert [point["success_rate"] for point in records.curves_of("peer")] == ["0"]
    assert report.missing("peer") == (
        "Not run yet: `S0_lock` alone, `sac`: seeds 1–3; `S4_full` alone, `sac`: seeds 2–3."
    )


@pytest.mark.parametrize("block", blocks_of("peer"), ids=lambda block: block.name)
def test_the_other_agent_has_the_task_of_ours(block: Block) -> None:
    (own,) = (alone for alone in blocks_of("alone") if alone.name == block.name)
    assert own.overrides == block.overrides
    settings = compose(TRAIN_CONFIG, block.overrides, Settings).settings
    assert settings.curriculum.last_stage == 0
    assert settings.curriculum.stages[0].gimbal_enabled == (block.name == "S4_full")
