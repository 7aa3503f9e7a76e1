"""Settings: what is accepted, what is refused, and that every fault is told, with its key, value and rule."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from glideslope.errors import SettingsError, UserError
from glideslope.settings import (
    FULL_TASK,
    ConvEncoderSettings,
    CurriculumSettings,
    EvaluateSettings,
    RewardSettings,
    Settings,
    StageSettings,
    StateEncoderSettings,
    TaskSettings,
    least_image_size,
    select_stages,
)

ALL_MODELS = (
    *(Settings, TaskSettings, RewardSettings, StageSettings, CurriculumSettings, EvaluateSettings),
    *(ConvEncoderSettings, StateEncoderSettings),
)


def config(**changes: Any) -> dict[str, Any]:
    """A sound configuration with `changes`; a dotted key is written with __."""
    sound: dict[str, Any] = {
        "curriculum": {
            "stages": [{"name": "S0_lock"}, {"name": "S1_yaw"}, {"name": "S2_full"}],
            "last_stage": 2,
        },
        "task": {},
        "agent": {"encoder": {"name": "original"}},
    }
    for key, value in changes.items():
        *path, last = [int(part) if part.isdecimal() else part for part in key.split("__")]
        node: Any = sound
        for part in path:
            node = node[part]
        node[last] = value
    return sound


def faults(settings: type = Settings, **changes: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        settings.from_config(config(**changes))
    return tuple(map(str, caught.value.faults))


# --- Values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1e-4, "1e-4", "1.0e-4", "0.000_1", " 1E-4 "])
def test_float_fields_accept_numbers_and_the_text_that_yaml_makes_of_them(value: object) -> None:
    assert Settings.from_config(config(lr=value)).lr == 1e-4


@pytest.mark.parametrize("value", [3_000_000, 3.0e6, "3e6", "3M", "3.0M", "3000k", "3_000_000"])
def test_frame_counts_accept_whole_floats_and_units(value: object) -> None:
    frames = Settings.from_config(config(num_train_frames=value)).num_train_frames
    assert (frames, type(frames)) == (3_000_000, int)


@given(st.integers(1, 10**12), st.sampled_from([("", 1), ("k", 1_000), ("M", 1_000_000)]))
def test_units_are_exact(count: int, unit: tuple[str, int]) -> None:
    text = f"{count // 1000}.{count % 1000:03d}{unit[0]}"
    whole, rest = divmod(count * unit[1], 1000)
    if rest or whole <= 4_000 or whole > 10**15:  # 4000 seed frames come before the training
        with pytest.raises(SettingsError):
            Settings.from_config(config(num_train_frames=text))
    else:
        assert Settings.from_config(config(num_train_frames=text)).num_train_frames == whole


@given(st.floats(0, 1))
def test_rates_survive_being_written_as_text(rate: float) -> None:
    assert Settings.from_config(config(lr=repr(rate))).lr == rate


NAN = float("nan")
INF = float("inf")
BAD_VALUES = [
    ("lr", NAN, "must be a finite number"),
    ("lr", "nan", "must be a finite number"),
    ("lr", INF, "must be a finite number"),
    ("lr", "-inf", "must be a finite number"),
    ("lr", "1e999", "must be a finite number"),
    ("lr", 10**400, "must be a finite number"),
    ("lr", True, "must be a number"),
    ("lr", None, "must be a number"),
    ("lr", "fast", "must be a number"),
    ("lr", "1e-4x", "must be a number"),
    ("lr", "3M", "must be a number"),
    ("lr", [1e-4], "must be a number"),
    ("lr", -1e-4, "must be at least 0"),
    ("lr", 1.5, "must be at most 1"),
    ("lr_actor", "x", "must be a number"),
    ("seed", -1, "must be at least 0"),
    ("seed", 2**32, "must be at most"),
    ("seed", False, "must be a whole number"),
    ("batch_size", 0, "must be at least 1"),
    ("batch_size", 12.5, "must be a whole number"),
    ("batch_size", NAN, "must be a whole number"),
    ("batch_size", INF, "must be a whole number"),
    ("batch_size", "5k", "must be a whole number"),
    ("num_envs", -16, "must be at least 1"),
    ("num_train_frames", "3G", "such as 3000000, 3.0e6, 500k or 3M"),
    ("num_train_frames", "0.0001k", "must be a whole number"),
    ("num_train_frames", 10**16, "must be at most 1e+15"),
    ("num_train_frames", "1e999", "must be at most 1e+15"),
    ("discount", 1.01, "must be at most 1"),
    ("critic_target_tau", 0, "must be greater than 0"),
    ("reward_scale", 0.0, "must be greater than 0"),
    ("stddev", -0.1, "must be at least 0"),
    ("critic_observation", "privilegd", "must be pixels or privileged; did you mean privileged?"),
    ("auxiliary_target", "pad", "must be gimbal_angles or pad_motion"),
    ("value_bins", 0, "must be at least 1"),
    ("actor_every_updates", 0, "must be at least 1"),
    ("save_video", "yes", "must be true or false"),
    ("save_video", 1, "must be true or false"),
    ("device", "tpu", "must be auto, cpu, cuda or cuda:N"),
    ("device", "gpu", "did you mean cuda?"),
    ("device", "cuda:x", "must be auto, cpu, cuda or cuda:N"),
    ("device", 0, "must be text"),
    ("profile", None, "must be text"),
    ("lr_schedule", "gentle_decay", "must be a mapping"),
    ("task", 3, "must be a mapping"),
    ("curriculum", None, "must be a mapping"),
    ("task__image_size", 10**9, "must be at most 1024"),
    ("task__camera_fov_deg", 180, "must be less than 180"),
    ("task__start_height", [3.0, "x"], "must be a number"),
    ("task__start_height", 3.0, "must be a list"),
    ("task__start_height", [1, 2, 3], "must have at most 2 of them, not 3"),
    ("task__pad_paths", [], "must have at least 1 of them, not 0"),
    ("task__pad_paths", ["statc"], "must be static, straight, sinusoidal or circular; did you mean static?"),
    ("task__gimbal_control", "velocty", "must be position, velocity or acceleration; did you mean velocity?"),
    ("task__rewards", {"crash": -1}, "must be at least 0"),
    ("agent__encoder__name", "orginal", "must be original, state, enc_A or enc_B; did you mean original?"),
    ("agent__encoder__strides", [2, 0], "must be at least 1"),
    ("agent__encoder__strides", [], "must have at least 1 of them, not 0"),
    ("curriculum__success_rate", 0, "must be greater than 0"),
    ("curriculum__success_rate", 1.2, "must be at most 1"),
    ("curriculum__stages", [], "must have at least 1 of them, not 0"),
    ("curriculum__stages__1__scale", [0, 1.5, 0], "must be at most 1"),
    ("curriculum__stages__1__name", "2", "not a number and not 'all'"),
    ("curriculum__stages__1__name", "all", "not a number and not 'all'"),
    ("curriculum__stages__1__name", "a/b", "must be 1 to 40 letters"),
]


@pytest.mark.parametrize(("key", "value", "rule"), BAD_VALUES)
def test_bad_values_are_refused_with_key_value_and_rule(key: str, value: Any, rule: str) -> None:
    found = faults(**{key: value})
    assert len(found) == 1
    assert found[0].startswith(key.replace("__", "."))
    assert "=" in found[0].split(":")[0]
    assert rule in found[0]


def test_a_missing_item_is_told_without_a_value() -> None:
    assert faults(task__start_height=3.0) == ("task.start_height=3.0: must be a list",)  # [3.0] is none either
    assert faults(task__start_height=[3.0]) == ("task.start_height.1: is missing",)
    assert faults(agent__encoder={"channels": 8}) == ("agent.encoder.name: is missing",)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("num_train_frame", "num_train_frames"),
        ("Batch_Size", "batch_size"),
        ("task__imagesize", "image_size"),
        ("task__rewards", None),
        ("curriculum__stages__1__pad_sped", "pad_speed"),
        ("agent__encoder__chanels", "channels"),
    ],
)
def test_unknown_keys_name_the_nearest(key: str, meant: str | None) -> None:
    if meant is None:
        assert faults(**{key: {"aproach": 1}}) == ("task.rewards.aproach=1: unknown key; did you mean approach?",)
    else:
        assert faults(**{key: 1}) == (f"{key.replace('__', '.')}=1: unknown key; did you mean {meant}?",)


def test_an_unknown_key_near_none_lists_all() -> None:
    assert faults(agent__encoder={"name": "state", "zzz": 1}) == (
        "agent.encoder.zzz=1: unknown key; there are name and hidden_dim",
    )


# --- Rules between fields -------------------------------------------------------------------------

RULES = [
    (
        {"batch_size": 5000, "replay_buffer_size": 2000, "num_envs": 4},
        "batch_size=5000",
        "replay_buffer_size (2000)",
    ),
    ({"replay_buffer_size": 1823}, "replay_buffer_size=1823", "at least 1824"),
    ({"num_seed_frames": 600, "num_train_frames": 600}, "num_train_frames=600", "num_seed_frames (600)"),
    ({"num_seed_frames": 63}, "num_seed_frames=63", "at least 64"),
    ({"task__image_size": 14}, "task.image_size=14", "at least 15 for the encoder's strides [2, 1, 1, 1]"),
    ({"augmentation_pad": 84}, "augmentation_pad=84", "less than task.image_size (84)"),
    ({"auxiliary_input": True}, "auxiliary_input=true", "auxiliary_weight is 0"),
    ({"value_range": [1, 1]}, "value_range=[1.0, 1.0]", "below the highest"),
    ({"actor_every_updates": 10**7}, "actor_every_updates=10000000", "no update of the actor would fall"),
    ({"update_every_steps": 10**7}, "update_every_steps=10000000", "no update would fall"),
    ({"task__decision_hz": 7}, "task.controller_hz=60", "the nearest are controller_hz=63 and decision_hz=6"),
    ({"task__physics_hz": 250}, "task.physics_hz=250", "the nearest are physics_hz=240 and controller_hz=50"),
    ({"task__controller_hz": 3}, "task.controller_hz=3", "the nearest are controller_hz=6 and decision_hz=3"),
    ({"task__episode_seconds": 0.01}, "task.episode_seconds=0.01", "at least 0.1667"),
    ({"task__start_height": [5, 3]}, "task.start_height=[5.0, 3.0]", "lowest start"),
    ({"task__start_height": [3, 8]}, "task.start_height=[3.0, 8.0]", "below arena_height (8)"),
    ({"task__pad_paths": ["static", "static"]}, "task.pad_paths=[static, static]", "each path once"),
    ({"curriculum__min_episodes": 101}, "curriculum.min_episodes=101", "window (100)"),
    ({"curriculum__last_stage": 3}, "curriculum.last_stage=3", "at most 2"),
    (
        {"curriculum__stages__2__name": "S0_lock"},
        "curriculum.stages.2.name=S0_lock",
        "stage 0 has this name already",
    ),
    (
        {"curriculum__stages__1__pad_speed": [1, 0.5]},
        "curriculum.stages.1.pad_speed=[1.0, 0.5]",
        "lowest speed",
    ),
    (
        {"curriculum__stages__1__start_offset": 8},
        "curriculum.stages.1.start_offset=8",
        "task.arena_radius (8)",
    ),
    (
        {"curriculum__stages__1": {"name": "x", "yaw_only": True, "pitch_only": True}},
        "curriculum.stages.1.pitch_only=true",
        "can't be combined",
    ),
]


@pytest.mark.parametrize(("changes", "start", "rule"), RULES)
def test_broken_rules_between_fields_are_told(changes: dict[str, Any], start: str, rule: str) -> None:
    found = faults(**changes)
    assert len(found) == 1
    assert found[0].startswith(start)
    assert rule in found[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2000, "replay_buffer_size": 2000, "num_envs": 4},
        {"replay_buffer_size": 1824},
        {"num_seed_frames": 599, "num_train_frames": 600},
        {"num_seed_frames": 64},
        {"task__image_size": 15},
        {"task__image_size": 4, "agent__encoder": {"name": "state"}, "augmentation_pad": 84},
        {"augmentation_pad": 83},
        {"task__controller_hz": 63, "task__decision_hz": 7, "task__physics_hz": 252},
        {"curriculum__min_episodes": 100},
        {"curriculum__last_stage": 0},
        {"curriculum__success_rate": 1},
        {"lr": 0, "lr_critic": 1},
    ],
)
def test_values_at_the_limit_are_accepted(changes: dict[str, Any]) -> None:
    assert isinstance(Settings.from_config(config(**changes)), Settings)


def test_the_least_image_size_is_the_least_that_the_convolutions_leave_something_of() -> None:
    def output(size: int, strides: tuple[int, ...]) -> int:
        for stride in strides:
            size = (size - 3) // stride + 1 if size >= 3 else 0
        return size

    for strides in product((1, 2, 3), repeat=4):
        least = least_image_size(strides)
        assert output(least, strides) == 1
        assert output(least - 1, strides) == 0


@given(st.integers(1, 60), st.integers(1, 240))
def test_the_rates_proposed_are_whole_multiples(decision_hz: int, controller_hz: int) -> None:
    try:
        TaskSettings(decision_hz=decision_hz, controller_hz=controller_hz, physics_hz=controller_hz)
    except ValidationError as error:
        words = str(error).replace(";", " ").split()
        proposed = dict(word.split("=") for word in words if word.startswith(("controller_hz=", "decision_hz=")))
        assert int(proposed["controller_hz"]) % decision_hz == 0
        assert controller_hz % int(proposed["decision_hz"]) == 0
    else:
        assert controller_hz % decision_hz == 0


# --- Reports --------------------------------------------------------------------------------------


def test_every_fault_is_in_one_report() -> None:
    found = faults(
        lr="x",
        num_train_frame=5,
        batch_size=5000,
        replay_buffer_size=2000,
        num_envs=4,
        task__image_size=14,
        curriculum__stages__1__scale=[0, 2, 0],
        curriculum__stages__1__yaw_only=True,
        curriculum__stages__1__pitch_only=True,
        curriculum__last_stage=9,
    )
    assert sorted(line.split("=")[0] for line in found) == [
        "batch_size",
        "curriculum.last_stage",
        "curriculum.stages.1.pitch_only",
        "curriculum.stages.1.scale.1",
        "lr",
        "num_train_frame",
        "task.image_size",
    ]


def test_no_fault_is_blamed_on_a_value_that_another_fault_makes_unknown() -> None:
    # With the default batch size of 512 in place of `many`, the buffer would be too small.
    assert faults(batch_size="many", replay_buffer_size=456, num_envs=4) == ("batch_size=many: must be a whole number",)
    assert faults(task__physics_hz="x", task__controller_hz=70, task__decision_hz=7) == (
        "task.physics_hz=x: must be a whole number",
    )


def test_long_values_are_shortened() -> None:
    assert len(faults(lr="x" * 1000)[0]) < 120


def test_an_error_is_a_value_error_and_a_user_error_with_one_line_per_fault() -> None:
    with pytest.raises(SettingsError) as caught:
        TaskSettings.from_config({"image_size": "x", "pad_size": -1}, key="task")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, UserError)
    assert str(caught.value).splitlines() == [
        "task.image_size=x: must be a whole number",
        "task.pad_size=-1: must be greater than 0",
    ]


def test_a_faulty_configuration_is_left_as_it_was() -> None:
    broken = config(lr="x", curriculum__stages__1__wind=-1)
    before = copy.deepcopy(broken)
    with pytest.raises(SettingsError):
        Settings.from_config(broken)
    assert broken == before


@pytest.mark.parametrize("broken", [None, [1], "x", 3])
def test_what_is_not_a_mapping_is_refused(broken: Any) -> None:
    with pytest.raises(SettingsError, match="must be a mapping"):
        Settings.from_config(broken)


def test_direct_construction_checks_the_same_rules() -> None:
    with pytest.raises(ValueError, match="whole multiple"):
        TaskSettings(physics_hz=250)
    with pytest.raises(ValueError, match="can't be combined"):
        StageSettings(name="x", yaw_only=True, pitch_only=True)


# --- Sound settings -------------------------------------------------------------------------------


def test_settings_survive_a_round_trip_through_yaml() -> None:
    settings = Settings.from_config(
        config(
            lr="3e-5",
            lr_schedule={"actor": {"type": "constant", "intervals": [{"lr": "0.5x", "start": 0}]}},
            stddev_schedule={"type": "constant", "intervals": [{"lr": 0.2}]},
            agent__encoder={"name": "state", "hidden_dim": 64},
            task__pad_paths=["circular"],
        )
    )
    assert Settings.from_config(yaml.safe_load(yaml.safe_dump(settings.to_plain()))) == settings


def test_settings_are_frozen_at_every_level() -> None:
    settings = Settings.from_config(config())
    holders = (
        settings,
        settings.task,
        settings.task.rewards,
        settings.curriculum,
        settings.curriculum.stages[0],
    )
    for holder in (*holders, settings.agent, settings.agent.encoder):
        name = next(iter(type(holder).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(holder, name, getattr(holder, name))


def test_every_field_is_described_in_a_sentence() -> None:
    def fields() -> Iterator[tuple[str, str | None]]:
        for model in ALL_MODELS:
            for name, field in model.model_fields.items():
                yield f"{model.__name__}.{name}", field.description

    undescribed = [name for name, text in fields() if not text or not text.endswith(".")]
    assert undescribed == []


def test_base_rates_and_total_steps() -> None:
    settings = Settings.from_config(
        config(lr=1e-4, lr_actor=3e-4, num_train_frames=1001, num_seed_frames=500, action_repeat=2)
    )
    assert settings.base_rates == {"encoder": 1e-4, "actor": 3e-4, "critic": 1e-4}
    assert settings.total_steps == 500
    assert Settings.from_config(config(lr_critic=0)).base_rates["critic"] == 0


def test_the_defaults_of_a_stage_are_the_whole_task() -> None:
    assert StageSettings(name="S4_full") == FULL_TASK
    assert (FULL_TASK.gimbal_enabled, FULL_TASK.lock_down, FULL_TASK.scale) == (True, False, (1.0, 0.0, 1.0))


def test_settings_load_fast() -> None:
    heavy = {"torch", "scipy", "mujoco", "hydra", "gymnasium", "warp"}  # NumPy comes with the schedules
    code = f"import sys, glideslope.settings; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# --- Evaluation -----------------------------------------------------------------------------------


def evaluation(**changes: Any) -> dict[str, Any]:
    return {"curriculum": config()["curriculum"], **changes}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {},
            "run=null: give run=<run folder or snapshot>, or policy=expert, random or fixed_camera;"
            " inspect=<run folder or snapshot> lists what is in it",
        ),
        ({"run": "x", "policy": "expert"}, "policy=expert: run and policy can't be combined"),
        ({"policy": "exprt"}, "policy=exprt: must be expert, random or fixed_camera; did you mean expert?"),
        ({"policy": "expert", "episodes": 0}, "episodes=0: must be at least 1"),
        (
            {"policy": "expert", "stage": "S1_yw"},
            "stage=S1_yw: unknown stage; there are 0 S0_lock, 1 S1_yaw and 2 S2_full, or all; did you mean S1_yaw?",
        ),
        (
            {"policy": "expert", "stage": 3},
            "stage=3: unknown stage; there are 0 S0_lock, 1 S1_yaw and 2 S2_full, or all",
        ),
        ({"policy": "expert", "stage": -1}, "stage=-1: must be the index or the name of a stage, or all"),
        ({"run": "x", "stage": True}, "stage=true: must be the index or the name of a stage, or all"),
        ({"run": "x", "stage": 1.5}, "stage=1.5: must be the index or the name of a stage, or all"),
    ],
)
def test_faulty_evaluations_are_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        EvaluateSettings.from_config(evaluation(**changes))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("stage", "indices"), [(None, (2,)), ("all", (0, 1, 2)), (1, (1,)), ("1", (1,)), ("S0_lock", (0,))]
)
def test_stages_are_chosen_by_index_name_or_all(stage: Any, indices: tuple[int, ...]) -> None:
    settings = EvaluateSettings.from_config(evaluation(policy="expert", stage=stage))
    assert select_stages(settings.stage, settings.curriculum) == indices


def test_a_stage_beyond_the_last_one_played_is_unknown() -> None:
    curriculum = CurriculumSettings.from_config(config(curriculum__last_stage=1)["curriculum"])
    assert curriculum.stage_names == ("S0_lock", "S1_yaw")
    with pytest.raises(SettingsError, match="unknown stage"):
        select_stages("S2_full", curriculum)


def test_a_run_may_have_stages_that_are_unknown_here() -> None:
    assert EvaluateSettings.from_config(evaluation(run="x", stage="my_stage")).stage == "my_stage"
