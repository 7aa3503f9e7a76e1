"""The curriculum's files: every preset with every profile and schedule by stage, and stages of the user's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from glideslope.cli.main import (
    CONFIG_DIR,
    EVALUATE_CONFIG,
    PREVIEW_CONFIG,
    TRAIN_CONFIG,
    Composed,
    compose,
    run_cli,
)
from glideslope.cli.preview import main as preview
from glideslope.curriculum.stages import Curriculum
from glideslope.errors import SettingsError
from glideslope.settings import (
    FULL_TASK,
    CurriculumSettings,
    EvaluateSettings,
    PreviewSettings,
    Settings,
    StageSettings,
)
from glideslope.settings.schedules import exploration_noise, learning_rates

# Preset: window, min_episodes, success_rate, and the stages that are played.
FIVE = ("S0_lock", "S1_yaw_small", "S2_yaw_pitch_small", "S3_mid", "S4_full")
PRESETS: dict[str, tuple[int, int, float, tuple[str, ...]]] = {
    "balanced": (100, 80, 0.85, FIVE),
    "conservative": (60, 59, 0.85, FIVE[:4]),
    "aggressive": (40, 39, 0.82, FIVE[:4]),
    "full_gimbal_only": (100, 80, 0.85, ("G0_near_and_still", "G1_moving", "G2_full")),
    "quick": (40, 30, 0.85, ("G0_near_and_still", "G1_moving", "G2_full")),
    "moving_pad": (40, 30, 0.85, (*FIVE, "S5_pad_1", "S6_pad_2")),
    "none": (100, 80, 0.85, ("full_task",)),
}
PROFILES = ("full", "cpu", "state", "smoke")


def train(*argv: str) -> Composed[Settings]:
    return compose(TRAIN_CONFIG, argv, Settings)


def curriculum_of(*argv: str) -> CurriculumSettings:
    return train(*argv).settings.curriculum


def task_of(stage: StageSettings) -> dict[str, Any]:
    return {key: value for key, value in stage.to_plain().items() if key != "name"}


def test_these_are_all_presets() -> None:
    assert {file.stem for file in (CONFIG_DIR / "curriculum_preset").glob("*.yaml")} == PRESETS.keys()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_their_numbers_and_write_down_every_key(preset: str) -> None:
    composed = train(f"curriculum_preset={preset}")
    curriculum = composed.settings.curriculum
    numbers = (curriculum.window, curriculum.min_episodes, curriculum.success_rate, curriculum.stage_names)
    assert numbers == PRESETS[preset]
    assert (curriculum.criterion, curriculum.demotion_rate, curriculum.replay_earlier_stages) == (
        "success_rate",
        None,
        0.0,
    )
    assert composed.mapping["curriculum"].keys() == CurriculumSettings.model_fields.keys()
    for stage in composed.mapping["curriculum"]["stages"]:
        assert stage.keys() == StageSettings.model_fields.keys()


def test_without_a_curriculum_the_whole_task_is_the_only_stage() -> None:
    curriculum = Curriculum(curriculum_of("curriculum_preset=none"))
    assert [task_of(stage) for stage in curriculum.stages] == [task_of(FULL_TASK)]
    assert not any(curriculum.record(0, True, step) for step in range(500))
    assert (curriculum.window_rate, len(curriculum.state_dict()["outcomes"])) == (1.0, 100)


def test_the_gimbal_is_free_throughout_while_the_episodes_get_harder() -> None:
    stages = Curriculum(curriculum_of("curriculum_preset=full_gimbal_only")).stages
    hardness = ("pad_speed", "start_offset", "wind")
    free = {key: value for key, value in task_of(FULL_TASK).items() if key not in hardness}
    for stage in stages:
        assert free == {key: value for key, value in task_of(stage).items() if key not in hardness}
    assert task_of(stages[-1]) == task_of(FULL_TASK)
    for key in hardness:
        values = [task_of(stage)[key] for stage in stages]
        assert sorted(values) == values
        assert values[0] < values[1] < values[2]


def test_the_moving_pads_stages_go_on_from_balanceds() -> None:
    stages = curriculum_of("curriculum_preset=moving_pad").stages
    assert stages[:5] == curriculum_of("curriculum_preset=balanced").stages
    assert task_of(stages[5]) == task_of(FULL_TASK) | {"pad_speed": [0.0, 1.0]}
    assert task_of(stages[6]) == task_of(FULL_TASK) | {"pad_speed": [0.0, 2.0], "wind": 3.0, "start_offset": 4.0}


def test_a_preset_of_the_curriculum_may_set_the_task_and_the_command_line_has_the_last_word() -> None:
    moving = train("curriculum_preset=moving_pad", "profile=cpu").settings.task
    assert (moving.max_horizontal_speed, moving.image_size) == (3.0, 48)
    assert train("profile=cpu").settings.task.max_horizontal_speed == 2.0
    faster = train("task.max_horizontal_speed=5", "curriculum_preset=moving_pad").settings.task
    assert faster.max_horizontal_speed == 5.0
    scripted = compose(EVALUATE_CONFIG, ["policy=expert", "curriculum_preset=moving_pad"], EvaluateSettings)
    assert scripted.settings.task.max_horizontal_speed == 3.0


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_goes_with_every_preset(profile: str, preset: str) -> None:
    argv = (f"profile={profile}", f"curriculum_preset={preset}", "lr_schedule=stage_based")
    settings = train(*argv).settings
    last = len(PRESETS[preset][3]) - 1
    assert exploration_noise(settings).notes == ()
    rates = learning_rates(settings)
    assert len(rates.notes) == max(4 - last, 0)
    assert all("never reached" in note for note in rates.notes)
    # Stages beyond the fifth go on as it does.
    expected = [share * settings.lr for share in (1.2, 1.0, 0.7, 0.5, 0.3, 0.3, 0.3)][: last + 1]
    history = [(100 * stage, stage) for stage in range(last + 1)]
    found = [rates["actor"](step, history) for step, _ in history]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("preset", ["none", "full_gimbal_only"])
def test_rates_are_shown_with_the_new_presets(preset: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = PRESETS[preset][3]
    steps = ",".join(str(12_000 * stage) for stage in range(len(stages)))
    argv = [f"curriculum_preset={preset}", "profile=cpu", "lr_schedule=stage_based"]
    argv += [f"stage_steps=[{steps}]", "steps=[0,12000,24000]"]
    assert run_cli(preview, PREVIEW_CONFIG, PreviewSettings, argv) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in stages)
    assert f"the last stage is {len(stages) - 1}" in shown
    rows = (workplace / "lr_schedule.csv").read_text(encoding="utf-8").splitlines()
    assert [float(row.split(",")[1]) for row in rows[1:]] == pytest.approx(
        [1.2e-3, 1.2e-3, 1.2e-3] if preset == "none" else [1.2e-3, 1.0e-3, 0.7e-3]  # of the encoder
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_scripted_policy_plays_every_preset(preset: str) -> None:
    composed = compose(EVALUATE_CONFIG, ["policy=expert", f"curriculum_preset={preset}"], EvaluateSettings)
    assert composed.settings.curriculum == curriculum_of(f"curriculum_preset={preset}")


def test_every_rule_is_set_from_the_command_line() -> None:
    curriculum = curriculum_of(
        "curriculum_preset=conservative",
        "curriculum.criterion=wilson_lower_bound",
        "curriculum.demotion_rate=0.4",
        "curriculum.replay_earlier_stages=0.2",
        "curriculum.last_stage=4",
    )
    assert (curriculum.criterion, curriculum.demotion_rate) == ("wilson_lower_bound", 0.4)
    assert (curriculum.replay_earlier_stages, curriculum.last_stage, curriculum.window) == (0.2, 4, 60)


# --- stages of the user's own ---

STAGES = """# @package _global_
curriculum:
  stages:
    - name: calm
      pad_speed: [0.0, 0.0]
      wind: 0.0
    - name: windy
      wind: 2.0
"""
PRESET = """# @package _global_
defaults:
  - balanced
  - override /curriculum_stages: harbour
  - _self_

curriculum:
  last_stage: 1
  demotion_rate: 0.5
"""


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """A copy of cfgs/ with a file of stages and a preset that names it."""
    folder = tmp_path / "cfgs"
    shutil.copytree(CONFIG_DIR, folder)
    (folder / "curriculum_stages" / "harbour.yaml").write_text(STAGES, encoding="utf-8")
    (folder / "curriculum_preset" / "my_harbour.yaml").write_text(PRESET, encoding="utf-8")
    return folder


def test_files_beside_ours_are_found(configs: Path) -> None:
    composed = train("--config-path", str(configs), "curriculum_preset=my_harbour")
    assert composed.choices["curriculum_stages"] == "harbour"
    curriculum = composed.settings.curriculum
    assert (curriculum.window, curriculum.demotion_rate, curriculum.last_stage) == (100, 0.5, 1)
    calm, windy = curriculum.stages
    # What a stage leaves out is as in the whole task.
    assert task_of(calm) == task_of(FULL_TASK) | {"pad_speed": [0.0, 0.0], "wind": 0.0}
    assert task_of(windy) == task_of(FULL_TASK) | {"wind": 2.0}


def test_files_in_a_folder_of_its_own_are_found(configs: Path, tmp_path: Path) -> None:
    for group, name in (("curriculum_stages", "harbour"), ("curriculum_preset", "my_harbour")):
        (tmp_path / "mine" / group).mkdir(parents=True)
        shutil.copy(configs / group / f"{name}.yaml", tmp_path / "mine" / group)
    argv = ["--config-dir", str(tmp_path / "mine"), "curriculum_preset=my_harbour"]
    assert curriculum_of(*argv) == curriculum_of("--config-path", str(configs), "curriculum_preset=my_harbour")


def test_stages_are_chosen_on_the_command_line(configs: Path) -> None:
    argv = ["--config-path", str(configs), "curriculum_stages=harbour"]
    assert curriculum_of(*argv, "curriculum.last_stage=1").stage_names == ("calm", "windy")
    with pytest.raises(SettingsError, match=r"curriculum\.last_stage=4: must be at most 1"):
        train(*argv)


def test_one_value_of_one_stage_is_set_on_the_command_line() -> None:
    plain, changed = curriculum_of(), curriculum_of("curriculum.stages.1.pad_speed=[0,1]")
    assert changed.stages[1].pad_speed == (0.0, 1.0)
    assert changed.stages[1].model_copy(update={"pad_speed": plain.stages[1].pad_speed}) == plain.stages[1]
    assert [*changed.stages[:1], *changed.stages[2:]] == [*plain.stages[:1], *plain.stages[2:]]


def test_schedules_name_the_stages_of_the_file(configs: Path) -> None:
    settings = train(
        "--config-path",
        str(configs),
        "curriculum_preset=my_harbour",
        "++lr_schedule.actor={type: constant, intervals: [{stage: windy, lr: 0.5x}]}",
    ).settings
    rate = learning_rates(settings)["actor"]
    # Base rate, stage windy, and the base rate again once the curriculum has gone back.
    assert [rate(step, [(0, 0), (10, 1), (20, 0)]) for step in (9, 10, 20)] == [1e-4, 5e-5, 1e-4]


FAULTS = {
    "curriculum.stages.1.wnid=2.0: unknown key; did you mean wind?": STAGES.replace("wind: 2.0", "wnid: 2.0"),
    "curriculum.stages.1.name=calm: stage 0 has this name already": STAGES.replace("windy", "calm"),
    "curriculum.stages.0.name: is missing": STAGES.replace("- name: calm\n      pad", "- pad"),
    "curriculum.stages.1.wind=strong: must be a number": STAGES.replace("2.0", "strong"),
    "curriculum_stages=harbour: its file must begin with the line `# @package _global_`; add it there": (
        STAGES.partition("\n")[2]
    ),
}


@pytest.mark.parametrize("line", FAULTS)
def test_faulty_stages_are_refused(line: str, configs: Path) -> None:
    (configs / "curriculum_stages" / "harbour.yaml").write_text(FAULTS[line], encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        train("--config-path", str(configs), "curriculum_preset=my_harbour")
    assert line in str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("curriculum.stages.1.pad_speed=[1,0]", "the lowest speed must not be above the highest"),
        ("curriculum.stages.9.wind=1", "numbered from 0 to 4"),
        ("curriculum.demotion_rate=0.9", "must be less than success_rate (0.85)"),
        ("curriculum.demotion=0.5", "curriculum.demotion"),
        ("curriculum.criterion=wilson_lower_bnd", "did you mean wilson_lower_bound?"),
        ("curriculum.replay_earlier_stages=1.5", "must be less than 1"),
        ("curriculum_preset=full_gimbal", "did you mean full_gimbal_only?"),
        ("curriculum_stages=five_stage", "did you mean five_stages?"),
    ],
)
def test_faulty_overrides_are_refused(override: str, line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        train(override)
    assert any(line in fault for fault in str(caught.value).splitlines())
