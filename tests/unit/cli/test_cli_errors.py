"""Command lines: what they mean, and that each malformed one gives one clear message, status 2 and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from glideslope.cli.main import (
    CONFIG_DIR,
    EVALUATE_CONFIG,
    PREVIEW_CONFIG,
    TRAIN_CONFIG,
    Composed,
    compose,
    run_cli,
)
from glideslope.cli.run_names import run_name
from glideslope.errors import UNSET, Fault, UserError
from glideslope.lr_scheduler import ScheduleError
from glideslope.settings import ConvEncoderSettings, EvaluateSettings, PreviewSettings, Settings, TaskSettings

REPOSITORY = CONFIG_DIR.parent
PRESETS = sorted(path.stem for path in (CONFIG_DIR / "lr_schedule").glob("*.yaml"))


pytestmark = pytest.mark.usefixtures("workplace")


def refused(argv: list[str], capsys: pytest.CaptureFixture[str], evaluate: bool = False) -> list[str]:
    """The faults of a command line, having checked that nothing else came of it."""

    def main(composed: Composed[Any]) -> int:
        raise AssertionError("the command line was accepted")

    name, settings = (EVALUATE_CONFIG, EvaluateSettings) if evaluate else (TRAIN_CONFIG, Settings)
    assert run_cli(main, name, settings, argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert "Traceback" not in err
    assert "hydra.cc" not in err
    assert list(Path.cwd().iterdir()) == []
    lines = err.removeprefix("Error: ").splitlines()
    if len(lines) == 1:
        return lines
    assert lines[0] == f"{len(lines) - 1} faults in the configuration:"
    return [line.removeprefix("  ") for line in lines[1:]]


def train(*argv: str) -> Composed[Settings]:
    return compose(TRAIN_CONFIG, argv, Settings)


# --- Malformed command lines ----------------------------------------------------------------------

# Command line, how its one fault begins, and what else it says.
MALFORMED: list[tuple[str, str, str]] = [
    # Flags
    ("--lr=3", "--lr=3: settings are written key=value, without dashes", "did you mean lr=3?"),
    ("--lr 1e-4", "--lr 1e-4: settings", "did you mean lr=1e-4?"),
    ("-lr 1e-4", "-lr 1e-4: settings", "did you mean lr=1e-4?"),
    ("--lr-schedule gentle_decay", "--lr-schedule gentle_decay: ", "did you mean lr_schedule=gentle_decay?"),
    ("-profile=smoke", "-profile=smoke: ", "did you mean profile=smoke?"),  # not Hydra's -p
    ("--epochs 10", "--epochs 10: unknown flag", "did you mean num_train_frames=...?"),
    ("--nonsense", "--nonsense: unknown flag", "key=value, without dashes"),
    ("--package agent", "--package agent: goes with --cfg", ""),
    ("--shell-completion", "--shell-completion: goes with install=bash", ""),
    ("--cfg", "argument --cfg/-c", "expected one argument"),
    ("--cfg job --info", "--run, --multirun", "can't be combined"),
    ("--resolve", "--resolve goes with", "--cfg"),
    ("--experimental-rerun x", "--experimental-rerun is not supported", ""),
    ("--config-dir nowhere", "--config-dir nowhere: ", "no such folder"),
    ("--config-name nowhere", "Cannot find primary config 'nowhere'", ""),
    # Grammar
    ("lr=", "lr='': ", "must be a number"),
    ("lr", "lr: ", "not of the form key=value"),
    ("profile smoke", "profile smoke: is not of the form key=value", "did you mean profile=smoke?"),
    ("profil smoke", "profil smoke: ", "did you mean profile=smoke?"),
    ("smoke", "smoke: ", "did you mean profile=smoke?"),
    ("lr: 1e-4", "lr: 1e-4: ", "did you mean lr=1e-4?"),
    ("lr:1e-4", "lr:1e-4: ", "did you mean lr=1e-4?"),
    ("lr = 1e-4", "lr = 1e-4: ", "did you mean lr=1e-4?"),
    ("lr= 1e-4", "lr= 1e-4: ", "did you mean lr=1e-4?"),
    ("lr_schedule.actor.type cosine_decay", "lr_schedule.actor.type cosine_decay: ", "type=cosine_decay?"),
    ("resume /", "resume /: ", "did you mean resume=/?"),
    ("/", "/: is not of the form key=value", "did you mean resume=/?"),
    ("=3", "=3: ", "has no key"),
    ("lr_schedule=[", "lr_schedule=[: ", "not of the form key=value"),
    ("lr=${", "lr=${: ", "not of the form key=value"),
    ("lr=1e-4,2e-4", "lr=1e-4,2e-4: ", "--multirun"),
    # Files of groups
    ("lr_schedule=gentle_decy", "lr_schedule=gentle_decy: must be ", "did you mean gentle_decay?"),
    ("lr_schedule=", "lr_schedule='': must be ", "exponential_smooth"),
    ("lr_schedule=no/such", "lr_schedule=no/such: must be ", "constant"),
    ("profile=cpuu", "profile=cpuu: must be cpu, full, smoke or state", "did you mean cpu?"),
    ("profile=null", "profile=null: must be cpu, full", ""),
    ("encoder_bundle@agent=orginal", "encoder_bundle@agent=orginal: ", "did you mean original?"),
    ("encoder_bundle=state", "encoder_bundle=state: ", "is written encoder_bundle@agent=state"),
    (
        "encoder_bundel@agent=state",
        "encoder_bundel@agent=state: unknown group",
        "did you mean encoder_bundle@agent?",
    ),
    ("agent.encoder=enc_B", "agent.encoder=enc_B: is chosen with encoder_bundle@agent=...", ""),
    ("agent.encoder.name=enc_B", "agent.encoder.name=enc_B: ", "encoder_bundle@agent=..."),
    ("agent.actor_critic=original", "agent.actor_critic=original: ", "actor_critic_bundle@agent=..."),
    ("agent.encoder_bundle=enc_B", "agent.encoder_bundle=enc_B: ", "encoder_bundle@agent=..."),
    ("encoder_bundle@agent=enc_A,enc_B", "encoder_bundle@agent=enc_A,enc_B: ", "--multirun"),
    ("curriculum=balanced", "curriculum=balanced: ", "curriculum_preset=..."),
    ("curriculum_preset.window=3", "curriculum_preset.window: ", "is the name of a file"),
    # Composition
    ("curriculum.stages.9.wind=1", "curriculum.stages.9.wind=1: ", "numbered from 0 to 4"),
    ("lr=???", "lr=???: ", "Missing mandatory value"),
    ("lr=${nowhere}", "lr=${nowhere}: ", "Interpolation key 'nowhere' not found"),
    ("~lrr", "lrr: ", "does not exist"),
    ("hydra.foo=1", "hydra.foo: ", "not in"),
    ("hydra.run.dir=", "hydra.run.dir='': ", "must not be empty"),
    ("hydra/launcher=ray", "hydra/launcher=ray: needs the package", "pip install 'glideslope[sweep]'"),
    ("hydra/launcher=no", "In 'hydra/config': Could not find 'hydra/launcher/no'", "basic"),
    # Keys, values, rules
    ("num_train_frame=5", "num_train_frame=5: unknown key", "did you mean num_train_frames?"),
    ("epochs=5", "epochs=5: unknown key", "did you mean num_train_frames?"),
    ("learning_rate=1e-3", "learning_rate=0.001: unknown key", "did you mean lr?"),
    ("gamma=0.9", "gamma=0.9: unknown key", "did you mean discount?"),
    (
        "objective=succes_rate",
        "objective=succes_rate: must be success_rate, low",
        "did you mean success_rate?",
    ),
    ("objective=eval/reward", "objective=eval/reward: must be", "did you mean eval/episode_reward?"),
    ("task.image_size=6", "task.image_size=6: ", "must be at least 15"),
    ("feature_dim=1", "feature_dim=1: must be at least 2", ""),
    (
        "task.gimbal_max_acceleration=1e308",
        "task.gimbal_max_acceleration=1e+308: must be at most 1000000",
        "",
    ),
    ("steps=[0,5]", "steps=[0, 5]: ", "is a setting of preview_lr_schedule.py"),
    (
        "scale=log",
        "scale=log: ",
        "is a setting of preview_lr_schedule.py; train_gimbal_curriculum.py has none",
    ),
    ("stage=2", "stage=2: ", "is a setting of evaluate.py; train_gimbal_curriculum.py has none"),
    ("run=exp", "run=exp: is a setting of evaluate.py", "a training is resumed with resume=<run folder>"),
    ("on_write_error=stp", "on_write_error=stp: must be continue or stop", "did you mean stop?"),
    ("keep_replay=yes", "keep_replay=yes: ", "must be true or false"),
    # Resumes; tests/test_cli_resume.py has more
    ("resume=nowhere", "resume=nowhere: no such run folder", ""),
    ("resum=nowhere", "resum=nowhere: unknown key", ""),
    ("resume_lr_schedule=confg", "resume_lr_schedule=confg: ", "did you mean config?"),
    ("resume_lr_schedule=config", "resume_lr_schedule=config: ", "goes with resume=<run folder>"),
    # Schedules
    (
        "lr_schedule.actor.type=cosine_decay",
        "lr_schedule.actor.intervals: is missing",
        "choose a preset first",
    ),
    ("lr_schedule=gentle_decay decay_rate=0.9", "decay_rate=0.9: ", "does not use it"),
    ("stddev_schedule=linar(1,0.1,100)", "stddev_schedule=linar(1,0.1,100): ", "linear(init,final,duration)"),
    # Sweeps
    ("-m lr=1e-4,2", "lr=2: ", "must be at most 1"),
    ("-m profile=cpu,stat", "profile=stat: ", "did you mean state?"),
    ("-m lr=interval(0,1)", "BasicSweeper does not support", ""),
    ("-m hydra/sweeper=optuna lr=interval(0,1) objective=x", "objective=x: must be success_rate", ""),
    ("-m hydra/sweeper=optuna lr=interval(0,1) seed=x", "seed=x: must be a whole number", ""),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "start", "rest"), MALFORMED, ids=[line for line, _, _ in MALFORMED])
def test_malformed_command_lines(line: str, start: str, rest: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(line.split(), capsys)
    assert len(found) == 1, found
    assert found[0].startswith(start)
    assert rest in found[0]


# Overrides that are at fault independently of each other, each with what is said about it.
TOGETHER = {
    "lr=nan": "lr=nan: must be a finite number",
    "lr_actor=true": "lr_actor=true: must be a number",
    "lr_critic=1e999": "lr_critic=inf: must be a finite number",
    "lr_encoder.x=3": "lr_encoder={x: 3}: must be a number",
    "batch_size=500k": "batch_size=500k: must be a whole number",
    "hidden_dim=abc": "hidden_dim=abc: must be a whole number",
    "device=gpu": "device=gpu: must be auto, cpu, cuda or cuda:N; did you mean cuda?",
    "+num_train_frame=5": "num_train_frame=5: unknown key; did you mean num_train_frames?",
    "lr_scedule=gentle_decay": "lr_scedule=gentle_decay: unknown key; did you mean lr_schedule?",
    "task.imagesize=64": "task.imagesize=64: unknown key; did you mean image_size?",
    "task.physics_hz=250": (
        "task.physics_hz=250: must be a whole multiple of controller_hz (60); "
        "the nearest are physics_hz=240 and controller_hz=50"
    ),
    "curriculum.stages.2.scale.0=1.5": "curriculum.stages.2.scale.0=1.5: must be at most 1",
    "l r=3": "l r=3: is not of the form key=value (token recognition error at: ' ')",
    "agent=state": "agent=state: is chosen with encoder_bundle@agent=...",
    "seed=1,2": ("seed=1,2: several values need --multirun; a list is written [1,2], and text with commas in quotes"),
    "lr_schedule.actor.intervals.1.lr=-1": "lr_schedule.actor.intervals.1.lr=-1: must not be negative",
    "stddev_schedule.type=linear_decay": "stddev_schedule.intervals: is missing",
}


def test_every_fault_is_in_one_report(capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(["lr_schedule=gentle_decay", *TOGETHER], capsys)
    assert sorted(found) == sorted(TOGETHER.values())


EVALUATIONS = [
    ("", "run=null: give run=<run folder or snapshot>, or policy=expert"),
    ("run=x policy=expert", "policy=expert: run and policy can't be combined"),
    ("policy=exprt", "policy=exprt: must be expert, random or fixed_camera; did you mean expert?"),
    ("policy=expert stage=S3_md", "stage=S3_md: unknown stage; there are 0 S0_lock"),
    ("policy=expert curriculum_preset=aggressive stage=4", "stage=4: unknown stage; there are 0 S0_lock"),
    ("policy=expert episodes=0", "episodes=0: must be at least 1"),
    ("policy=expert episode=9", "episode=9: unknown key; did you mean episodes?"),
    ("policy=expert profile=cpu", "profile=cpu: unknown group"),
    ("run=x task.image_size=84", "task: goes with policy=..."),
    ("run=x curriculum_preset=aggressive", "curriculum_preset: goes with policy=..."),
    ("/", "/: is not of the form key=value; did you mean run=/?"),
    ("--run /", "--run /: settings are written key=value, without dashes; did you mean run=/?"),
    ("policy expert", "policy expert: is not of the form key=value; did you mean policy=expert?"),
    ("-m policy=expert hydra/sweeper=optuna", "hydra/sweeper: goes with train_gimbal_curriculum.py"),
]


@pytest.mark.parametrize(("line", "start"), EVALUATIONS, ids=[line or "nothing" for line, _ in EVALUATIONS])
def test_malformed_evaluations(line: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(line.split(), capsys, evaluate=True)
    assert len(found) == 1, found
    assert found[0].startswith(start)


def test_faults_of_the_composition_are_blamed_on_the_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(["lr=${nowhere}", "seed=3", "curriculum.stages.7.wind=1", "~nothing"], capsys)
    assert [re.split("[=:]", fault)[0] for fault in found] == ["lr", "curriculum.stages.7.wind", "nothing"]


@pytest.mark.parametrize("key", ["run", "inspect"])
def test_a_folder_of_runs_names_them_newest_first(key: str, tmp_path: Path) -> None:
    from glideslope.evaluation.inspection import locate

    for age, name in enumerate(("d2/b", "d1/c", "a", "d1/d")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").touch()
        os.utime(tmp_path / name / "config.yaml", (1000 - age, 1000 - age))
    with pytest.raises(UserError) as error:
        locate(key, str(tmp_path))
    newest = ", ".join(f"{key}={tmp_path}/{name}" for name in ("d2/b", "d1/c", "a"))
    assert str(error.value).endswith(f"is a folder of runs; give one of them, newest first: {newest} and 1 more")
    (tmp_path / "snapshot.pt").touch()  # a run folder, whatever else is in it
    assert locate(key, str(tmp_path)) == tmp_path


# --- Malformed files ------------------------------------------------------------------------------


def write(folder: Path, name: str, text: str) -> list[str]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return ["--config-dir", str(folder), f"{path.parent.name}={path.stem}"]


SCHEDULE = "lr_schedule:\n  actor: {type: constant, intervals: [{lr: 0.5x}]}\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("lr_schedule/mine.yaml", SCHEDULE, ("lr_schedule=mine: its file must begin", "# @package _global_")),
        (
            "curriculum_preset/mine.yaml",
            "curriculum: {window: 3}\n",
            ("curriculum_preset", "# @package _global_"),
        ),
        ("profile/mine.yaml", "lr: 3.0e-4\n", ("profile", "# @package _global_")),
        ("lr_schedule/mine.yaml", "# @package _global_\nlr_schedule: [\n", ("mine.yaml", "line")),
        ("lr_schedule/mine.yaml", "# @package _global_\nlr_schedul: {}\n", ("lr_schedul", "unknown key")),
        ("lr_schedule/mine.yaml", "# @package _global_\nlr_schedule: ${foo}\n", ("lr_schedule", "foo")),
        (
            "lr_schedule/mine.yaml",
            "# @package _global_\ndefaults: [nothing]\n",
            ("lr_schedule/mine", "lr_schedule/nothing"),
        ),
        (
            "profile/mine.yaml",
            "# @package _global_\nbatch_sice: 3\n",
            ("batch_sice=3", "did you mean batch_size?"),
        ),
    ],
)
def test_malformed_files(
    name: str, text: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = refused(write(tmp_path / "files", name, text), capsys)
    assert any(all(word in fault for word in words) for fault in found), found


def test_a_fault_of_a_file_is_not_blamed_on_overrides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "# @package _global_\nlr_schedule: {actor: {type: constant, intervals: [{lr: '${nothing}'}]}}\n"
    chosen = write(tmp_path / "files", "lr_schedule/mine.yaml", text)
    (found,) = refused([*chosen, "lr=2e-4", "seed=3"], capsys)
    assert found.startswith("lr_schedule.actor.intervals")
    assert "nothing" in found


def test_a_preset_of_the_user_is_found_in_an_added_folder_and_in_one_below(tmp_path: Path) -> None:
    text = f"# @package _global_\n{SCHEDULE}"
    composed = train(*write(tmp_path / "files", "lr_schedule/mine.yaml", text))
    assert composed.settings.lr_schedule == {"actor": {"type": "constant", "intervals": [{"lr": "0.5x"}]}}
    write(tmp_path / "files", "lr_schedule/deep/mine.yaml", text.replace("0.5x", "0.25x"))
    composed = train("--config-dir", str(tmp_path / "files"), "lr_schedule=deep/mine")
    assert composed.choices["lr_schedule"] == "deep/mine"


# --- Sound command lines --------------------------------------------------------------------------


def test_the_files_hold_the_defaults_of_the_settings() -> None:
    composed = train()
    defaults = Settings(curriculum=composed.settings.curriculum)
    assert composed.settings == defaults
    # Every setting is written down, none is only in the code; decay_rate belongs to the presets that read it.
    assert composed.mapping.keys() == defaults.to_plain().keys() - {"decay_rate"}
    assert composed.mapping["task"].keys() == TaskSettings.model_fields.keys()
    for stage in composed.mapping["curriculum"]["stages"]:
        assert stage.keys() == defaults.to_plain()["curriculum"]["stages"][0].keys()
    evaluation = compose(EVALUATE_CONFIG, ["policy=expert"], EvaluateSettings)
    plain = EvaluateSettings(policy="expert", curriculum=evaluation.settings.curriculum).to_plain()
    assert evaluation.settings.to_plain() == plain
    assert evaluation.mapping.keys() == plain.keys()
    preview = compose(PREVIEW_CONFIG, [], PreviewSettings)
    assert preview.settings == PreviewSettings(curriculum=preview.settings.curriculum)
    assert preview.mapping.keys() == preview.settings.to_plain().keys() - {"decay_rate"}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_composes(preset: str) -> None:
    composed = train(f"lr_schedule={preset}", "profile=cpu")
    assert composed.choices["lr_schedule"] == preset
    assert (composed.settings.lr_schedule is None) == (preset == "constant")


@pytest.mark.parametrize(
    ("preset", "numbers"),
    [
        ("balanced", (100, 80, 0.85, 4)),
        ("conservative", (60, 59, 0.85, 3)),
        ("aggressive", (40, 39, 0.82, 3)),
    ],
)
def test_curriculum_presets(preset: str, numbers: tuple[float, ...]) -> None:
    curriculum = train(f"curriculum_preset={preset}").settings.curriculum
    found = (curriculum.window, curriculum.min_episodes, curriculum.success_rate, curriculum.last_stage)
    assert found == numbers
    assert curriculum.require_consecutive_windows == 5
    names = ["S0_lock", "S1_yaw_small", "S2_yaw_pitch_small", "S3_mid", "S4_full"]
    assert [stage.name for stage in curriculum.stages] == names
    assert [stage.include_viz_reward for stage in curriculum.stages] == [False, True, True, True, True]
    assert [stage.scale[::2] for stage in curriculum.stages] == [
        (0, 0),
        (0, 0.15),
        (0.25, 0.35),
        (0.6, 0.6),
        (1, 1),
    ]


@pytest.mark.parametrize("profile", ["full", "cpu", "state", "smoke"])
def test_profiles_compose_and_say_their_name(profile: str) -> None:
    assert train(f"profile={profile}").settings.profile == profile


def test_the_smoke_profile_keeps_the_default_learning_rate() -> None:
    assert train("profile=smoke").settings.lr == 1e-4


def test_command_line_before_presets_before_profile_before_defaults(tmp_path: Path) -> None:
    files = tmp_path / "files"
    chosen = [
        *write(
            files,
            "profile/mine.yaml",
            "# @package _global_\nlr: 2.0e-4\nseed: 2\nnum_envs: 2\nfeature_dim: 2\n",
        ),
        write(files, "lr_schedule/mine.yaml", "# @package _global_\nlr: 3.0e-4\nseed: 3\n")[-1],
    ]
    settings = train(*chosen, "lr=4.0e-4").settings
    assert (settings.lr, settings.seed, settings.num_envs, settings.nstep) == (4e-4, 3, 2, 3)
    # The order on the command line does not matter.
    assert train(*chosen[:2], "lr=4.0e-4", *reversed(chosen[2:])).settings == settings


def test_a_profile_may_choose_a_bundle_and_the_command_line_another() -> None:
    assert train("profile=state").settings.agent.encoder.name == "state"
    encoder = train("profile=state", "encoder_bundle@agent=original").settings.agent.encoder
    assert encoder == ConvEncoderSettings()
    small = train("profile=cpu", "agent.encoder.channels=8").settings.agent.encoder
    assert small == ConvEncoderSettings(channels=8, strides=(2, 2))


@pytest.mark.parametrize(
    "word",
    [
        "lr_schedule.encoder.intervals.0.lr=2.0e-4",
        "+lr_schedule.encoder.intervals.0.lr=2.0e-4",
        "++lr_schedule.encoder.intervals.0.lr=2.0e-4",
        "lr_schedule.encoder.intervals[0].lr=2.0e-4",
    ],
)
def test_items_of_a_schedule_can_be_set(word: str) -> None:
    composed = train("lr_schedule=gentle_decay", word)
    assert composed.settings.lr_schedule is not None
    rates = {name: network["intervals"][0]["lr"] for name, network in composed.settings.lr_schedule.items()}
    assert rates == {"encoder": 2e-4, "actor": "1x", "critic": "1x"}
    assert composed.given == {"lr_schedule.encoder.intervals.0.lr"}


def test_keys_that_a_preset_lacks_need_no_plus() -> None:
    schedule = train("lr_schedule=gentle_decay", "lr_schedule.actor.intervals.2.warmup=1%").settings.lr_schedule
    assert schedule is not None
    assert schedule["actor"]["intervals"][2] == {"start": "2/3", "lr": "0.25x", "warmup": "1%"}


@pytest.mark.parametrize("word", ["lr_schedule=null", "lr_schedule=constant", "~lr_schedule"])
def test_null_is_the_constant_schedule(word: str) -> None:
    assert train(word).settings.lr_schedule is None


def test_decay_rate_reaches_the_preset_that_reads_it() -> None:
    composed = train("lr_schedule=exponential_smooth", "decay_rate=0.9998")
    assert composed.settings.lr_schedule is not None
    assert composed.settings.lr_schedule["critic"]["intervals"][0]["decay_rate"] == 0.9998
    assert composed.settings.decay_rate == 0.9998
    assert composed.given == {"decay_rate"}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("stddev_schedule=linear(1.0,0.1,40%)", "linear(1.0,0.1,40%)"),
        ("stddev_schedule='linear(1.0,0.1,2k)'", "linear(1.0,0.1,2k)"),
        ('stddev_schedule="linear(1,0.1,2k)"', "linear(1,0.1,2k)"),
        ("stddev_schedule=0.2", 0.2),
        (
            "stddev_schedule={type: constant, intervals: [{lr: 0.2}]}",
            {"type": "constant", "intervals": [{"lr": 0.2}]},
        ),
    ],
)
def test_exploration_noise_needs_no_extra_quotes(word: str, value: object) -> None:
    assert train(word).settings.stddev_schedule == value


def test_numbers_may_be_written_as_in_the_guide() -> None:
    settings = train("lr=1e-4", "num_train_frames=3.0e6", "num_seed_frames=5k", "lr_actor=3.0e-4").settings
    assert (settings.lr, settings.num_train_frames, settings.num_seed_frames) == (1e-4, 3_000_000, 5_000)
    assert settings.base_rates == {"encoder": 1e-4, "actor": 3e-4, "critic": 1e-4}


def test_composed_says_what_was_asked_for() -> None:
    composed = train("+lr=3e-4", "lr_schedule=gentle_decay", "hydra.run.dir=somewhere/else")
    assert composed.run_dir == Path("somewhere/else")
    assert composed.overrides == ("lr=3e-4", "lr_schedule=gentle_decay")
    assert composed.given == {"lr"}
    assert composed.choices["lr_schedule"] == "gentle_decay"
    assert composed.choices["encoder_bundle@agent"] == "original"
    assert Settings.from_config(composed.mapping) == composed.settings
    assert Settings.from_config(yaml.safe_load(yaml.safe_dump(composed.settings.to_plain()))) == composed.settings


# --- Run folders ----------------------------------------------------------------------------------


def test_run_folders_are_named_by_date_time_and_overrides(workplace: Path) -> None:
    run_dir = train("lr_schedule=gentle_decay", "lr=2.0e-4").run_dir
    assert re.fullmatch(r"exp_local/\d{4}\.\d\d\.\d\d/\d{6}_lr_schedule-gentle_decay_lr-2.0e-4", run_dir.as_posix())
    assert re.fullmatch(r"\d{6}_defaults", train().run_dir.name)
    assert list(workplace.iterdir()) == []


def test_long_names_of_run_folders_keep_what_was_chosen() -> None:
    guide = ("lr_schedule=gentle_decay", "curriculum_preset=balanced", "encoder_bundle@agent=enc_B")
    assert run_name("0", guide) == "0_lr_schedule-gentle_decay_curriculum_preset-balanced_encoder_bundle-enc_B"
    assert run_name("0", [*guide, "profile=cpu"]) == "0_gentle_decay_balanced_enc_B_cpu"
    keys = ["+agent.encoder.spatial_depth=2", "agent.encoder.d_model=96", "hydra.launcher=basic"]
    assert run_name("0", [*guide, *keys]) == "0_gentle_decay_balanced_enc_B_spatial_depth-2_d_model-96_launcher-basic"
    files = [
        "num_train_frames=1000000",
        "stddev_schedule=linear(1.0,0.1,500000)",
        "num_eval_episodes=100",
    ] * 2
    assert len(run_name("0", files)) in (79, 80)


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(st.text(max_size=60), max_size=5))
def test_names_of_run_folders_can_be_typed_back(overrides: list[str]) -> None:
    name = run_name("123456", overrides)
    assert re.fullmatch(r"123456(_[A-Za-z0-9._-]*[A-Za-z0-9])?", name)
    assert len(name) <= 80


# --- The wrapper ----------------------------------------------------------------------------------


def answer(main: Callable[[Composed[Settings]], int], *argv: str) -> int:
    return run_cli(main, TRAIN_CONFIG, Settings, argv)


def test_the_status_of_main_is_the_status() -> None:
    assert answer(lambda composed: 7) == 7


@pytest.mark.parametrize(
    "error", [UserError("the folder is in use"), ScheduleError([Fault("", UNSET, "the folder is in use")])]
)
def test_known_errors_of_main_become_a_message(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def main(composed: Composed[Settings]) -> int:
        raise error

    assert answer(main) == 2
    assert capsys.readouterr() == ("", "Error: the folder is in use\n")


@pytest.mark.parametrize("argv", [(), ("-m", "hydra.sweep.dir=sweep", "seed=1")])
def test_bugs_are_not_hidden(argv: tuple[str, ...]) -> None:
    def main(composed: Composed[Settings]) -> int:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        answer(main, *argv)


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def main(composed: Composed[Settings]) -> int:
        raise KeyboardInterrupt

    assert answer(main) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


def test_a_plain_run_writes_nothing_and_stays_in_its_folder(workplace: Path) -> None:
    def main(composed: Composed[Settings]) -> int:
        assert Path.cwd() == workplace
        return 0

    assert answer(main, "lr=2e-4") == 0
    assert list(workplace.iterdir()) == []


def test_a_sweep_runs_each_job_in_a_folder_of_its_own(workplace: Path) -> None:
    jobs: list[tuple[float, int, str]] = []

    def main(composed: Composed[Settings]) -> int:
        assert Path.cwd() == workplace
        assert composed.run_dir.is_absolute()
        jobs.append((composed.settings.lr, composed.settings.seed, composed.run_dir.name))
        return len(jobs)

    assert answer(main, "lr=2e-4", "--multirun", "seed=range(1,3)") == 2
    assert jobs == [(2e-4, 1, "lr-0.0002_seed-1"), (2e-4, 2, "lr-0.0002_seed-2")]
    (sweep,) = (workplace / "exp_local" / "sweeps").iterdir()
    assert re.fullmatch(r"lr-2e-4_seed-range-1-3_[0-9a-f]{6}", sweep.name)
    assert sorted(path.name for path in sweep.iterdir()) == [".lock", *(name for _, _, name in jobs), "multirun.yaml"]
    assert not any(path.name.startswith(".hydra") for path in workplace.rglob("*"))


@pytest.mark.slow
def test_an_interrupted_job_ends_the_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    """The command that is told resumes it, in its folder."""
    jobs: list[int] = []

    def main(composed: Composed[Settings]) -> int:
        jobs.append(composed.settings.seed)
        return 130

    assert answer(main, "-m", "seed=1,2") == 130
    assert jobs == [1]
    told = capsys.readouterr().out.splitlines()
    (folder,) = (path.parent for path in Path("exp_local").rglob("multirun.yaml"))
    assert told[-2] == "Resume the sweep:"
    words = shlex.split(told[-1])
    assert words[2:] == ["-m", "seed=1,2"]

    def resume(composed: Composed[Settings]) -> int:
        assert composed.run_dir.parent.resolve() == folder.resolve()
        jobs.append(composed.settings.seed)
        return 0

    assert answer(resume, *words[2:]) == 0
    assert jobs == [1, 1, 2]


def test_a_sweep_with_one_bad_job_runs_none(capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(["-m", "lr_schedule=gentle_decay,warmup_cosine", "lr_schedule.actor.type=no"], capsys)
    assert len(found) == 1
    assert found[0].startswith("lr_schedule.actor.type=no: ")


def test_hydra_answers_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        assert answer(lambda composed: 1, "--cfg", "job") == 0
    assert "lr: 0.0001" in capsys.readouterr().out
    assert list(Path.cwd().iterdir()) == []


# --- The scripts ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "argv", "start"),
    [
        (
            "train_gimbal_curriculum.py",
            ["lr_schedule=gentle_decy"],
            "Error: lr_schedule=gentle_decy: must be ",
        ),
        ("train_gimbal_curriculum.py", ["num_train_frame=5", "--lr"], "Error: --lr: settings are written "),
        ("evaluate.py", ["policy=exprt"], "Error: policy=exprt: must be expert, random or fixed_camera"),
    ],
)
def test_scripts_refuse_without_a_traceback(script: str, argv: list[str], start: str, workplace: Path) -> None:
    command = [sys.executable, str(REPOSITORY / script), *argv]
    result = subprocess.run(command, capture_output=True, text=True, cwd=workplace, timeout=60)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(start)
    assert result.stderr.count("\n") == 1
    assert list(workplace.iterdir()) == []


@pytest.mark.slow
def test_a_command_line_is_checked_without_loading_torch() -> None:
    code = (
        "import sys; from glideslope.cli.main import compose, TRAIN_CONFIG; from glideslope.settings import Settings; "
        "compose(TRAIN_CONFIG, ['lr_schedule=gentle_decay'], Settings); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert result.stdout.strip() == "False"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert compose(EVALUATE_CONFIG, ["run=~/a/run"], EvaluateSettings).settings.run == "/home/somebody/a/run"
    composed = compose(TRAIN_CONFIG, ["hydra.run.dir=~/runs/one"], Settings)
    assert composed.run_dir == Path("/home/somebody/runs/one")
