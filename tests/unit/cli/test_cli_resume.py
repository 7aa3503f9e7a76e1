"""Command lines that resume a run: what they take from its folder, what they may change, and what is refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from glideslope.cli.main import (
    CONFIG_DIR,
    EVALUATE_CONFIG,
    PREVIEW_CONFIG,
    TRAIN_CONFIG,
    Composed,
    compose,
    run_cli,
)
from glideslope.cli.resume_merge import differing, merged
from glideslope.cli.resume_rules import MAY_CHANGE, SCHEDULES
from glideslope.errors import UserError
from glideslope.runs.run_folder import claim
from glideslope.settings import EvaluateSettings, PreviewSettings, Settings
from glideslope.settings.schedules import learning_rates

pytestmark = pytest.mark.usefixtures("workplace")


def train(*argv: str) -> Composed[Settings]:
    return compose(TRAIN_CONFIG, argv, Settings)


def start(folder: str | Path, *argv: str) -> Settings:
    """A run in `folder` as a training of these overrides would have begun it."""
    composed = train(*argv)
    assert not composed.resume
    return store(folder, composed.settings, composed.overrides)


def store(folder: str | Path, settings: Settings, overrides: Sequence[str] = ()) -> Settings:
    with claim(Path(folder), resume=True) as run:
        run.write_config(settings.to_plain())
        run.write_overrides(overrides)
    return settings


def edit(folder: str | Path, **values: Any) -> None:
    """Changes the stored configuration by hand."""
    path = Path(folder) / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def contents(folder: str | Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """The faults of a command line, having checked that it came to nothing and touched nothing."""

    def main(composed: Composed[Any]) -> int:
        raise AssertionError("the command line was accepted")

    before = contents(".")
    assert run_cli(main, TRAIN_CONFIG, Settings, argv) == 2
    out, err = capsys.readouterr()
    assert contents(".") == before
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 24, "more than a screen"
    lines = err.removeprefix("Error: ").splitlines()
    return lines if len(lines) == 1 else [line.removeprefix("  ") for line in lines[1:]]


def preset(name: str, text: str) -> list[str]:
    """A preset of the user's, and the flag that finds it."""
    path = Path("files") / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# @package _global_\n{text}")
    return ["--config-dir", "files"]


SCHEDULE = "lr_schedule:\n  actor: {type: constant, intervals: [{lr: %s}]}\n"

# --- Which run ------------------------------------------------------------------------------------


def test_a_run_resumes_with_what_is_stored_and_nothing_else() -> None:
    settings = start("run", "profile=cpu", "lr_schedule=gentle_decay", "seed=7")
    composed = train("resume=run")
    assert composed.settings == settings
    assert (composed.resume, composed.accept_schedule, composed.changes) == (True, False, ())
    assert composed.run_dir == Path("run")
    assert composed.overrides == ("profile=cpu", "lr_schedule=gentle_decay", "seed=7")
    assert composed.given == {"seed"}
    assert Settings.from_config(composed.mapping) == settings


def test_hold_keeps_the_length_that_schedules_have_had_for_good() -> None:
    """gentle_decay over 30,000 frames halves at 10,000 and 20,000; at 60,000 it would do so at 20,000 and 40,000."""
    start("run", "lr_schedule=gentle_decay", "num_train_frames=30000", "lr=1.0e-4")
    held = train("resume=run", "num_train_frames=60000", "resume_lr_schedule=hold")
    assert held.changes == ("schedule_frames: null -> 30000", "num_train_frames: 30000 -> 60000")
    assert not held.accept_schedule
    store("run", held.settings, held.overrides)
    longer = train("resume=run", "num_train_frames=90000")
    stretched = train("resume=run", "num_train_frames=90000", "schedule_frames=null", "resume_lr_schedule=config")
    steps = (9_999, 10_000, 20_000, 59_999, 89_999)
    for composed in (held, longer, train("resume=run", "resume_lr_schedule=hold")):
        actor = learning_rates(composed.settings)["actor"]
        assert [actor(step) for step in steps] == [1e-4, 5e-5, 2.5e-5, 2.5e-5, 2.5e-5]
    actor = learning_rates(stretched.settings)["actor"]
    assert [actor(step) for step in steps] == [1e-4, 1e-4, 1e-4, 5e-5, 2.5e-5]


def test_a_new_run_does_not_resume() -> None:
    composed = train("hydra.run.dir=run", "seed=2")
    assert (composed.resume, composed.accept_schedule, composed.changes) == (False, False, ())
    assert composed.overrides == ("seed=2",)


def test_an_empty_folder_and_one_with_other_files_are_new_runs() -> None:
    Path("run").mkdir()
    assert not train("hydra.run.dir=run").resume
    Path("run/notes.txt").touch()
    assert not train("hydra.run.dir=run").resume


NAMES = [
    "run",
    "a b",
    "Läufe/größe=1",
    "ラン",
    "it's (one), [two] & {three}",
    "2024",
    "1e3",
    "true",
    "a'b",
    "50%",
    "x;y!",
    "-m",
]


# Each name with one of the keys, in turn.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "key"), [(name, ("resume", "hydra.run.dir")[i % 2]) for i, name in enumerate(NAMES)])
def test_folders_of_any_name(name: str, key: str) -> None:
    settings = start(name, "seed=5")
    composed = train(f"{key}={name}", "num_train_frames=7M")
    assert composed.resume
    assert composed.run_dir == Path(name)
    assert composed.settings == settings.model_copy(update={"num_train_frames": 7_000_000})


def test_all_ways_to_name_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start("run", "seed=5")
    Path("link").symlink_to("run")
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ("run", "run/", "./run", "../here/run", "link", "link/", str(Path("run").resolve()))
    keys = ("resume", "hydra.run.dir", "+resume", "++hydra.run.dir")
    for key, name in [*(("resume", name) for name in names), *((key, "link/") for key in keys)]:
        composed = train(f"{key}={name}")
        assert composed.resume, name
        assert composed.settings.seed == 5
        assert composed.run_dir.samefile("run")
    assert train("resume=~/here/run").run_dir == tmp_path / "here" / "run"
    assert train("resume='~/here/run'").run_dir == tmp_path / "here" / "run"
    assert train("hydra.run.dir=run", "resume=link/").resume
    assert train("hydra.run.dir=link", "resume=run").run_dir == Path("run")


def test_a_folder_that_is_named_by_settings() -> None:
    start("runs/seed_3", "seed=3")
    assert train("hydra.run.dir=runs/seed_${seed}", "seed=3").resume
    assert not train("hydra.run.dir=runs/seed_${seed}", "seed=4").resume


def test_two_folders_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    start("run")
    start("other")
    (found,) = refused(capsys, "resume=run", "hydra.run.dir=other")
    assert found.startswith("hydra.run.dir=other: is another folder than resume=run")


NO_RUN = [
    ("resume=", "resume='': must be a run folder"),
    ("resume=exp/rum_7", "resume=exp/rum_7: no such run folder; did you mean exp/run_7?"),
    ("resume=exq/run_7", "resume=exq/run_7: no such run folder; did you mean exp?"),
    ("resume=/opft", "resume=/opft: no such run folder"),
    ("resume=nothing/like/it", "resume=nothing/like/it: no such run folder"),
    ("resume=exp/run_7/snapshot.pt", "is a file, not a run folder; give the run folder, resume=exp/run_7"),
    ("resume=exp/run_7/snapshot.pt/x", "resume=exp/run_7/snapshot.pt/x: no such run folder"),
    ("resume=exp/notes.txt", "resume=exp/notes.txt: is a file, not a run folder"),
    ("resume=exp", "resume=exp: is not a run folder: it has no config.yaml; there are runs in it: run_7"),
    ("resume=exp/empty", "resume=exp/empty: is not a run folder: it has no config.yaml"),
    ("resume=[exp]", "resume=[exp]: no such run folder"),
    (f"resume={'x' * 300}", "can't be read: File name too long"),
    ("resume_lr_schedule=config", "there is no run to resume; it goes with resume=<run folder>"),
    ("hydra.run.dir=new resume_lr_schedule=config", "there is no run to resume"),
    ("resume=exp/run_7 resume_lr_schedule=confg", "must be null, config or hold; did you mean config?"),
    (
        "resume_lr_schedule=confg",
        "resume_lr_schedule=confg: must be null, config or hold; did you mean config?",
    ),
    ("resume=exp/run_7 resume_lr_schedule=true", "resume_lr_schedule=true: must be null, config or hold"),
    ("resme=exp/run_7", "resme=exp/run_7: unknown key"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "words"), NO_RUN, ids=[line[:40] for line, _ in NO_RUN])
def test_what_is_no_run(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    start("exp/run_7")
    for path in ("exp/run_7/snapshot.pt", "exp/notes.txt"):
        Path(path).touch()
    Path("exp/empty").mkdir()
    (found,) = refused(capsys, *line.split())
    assert words in found
    if line.startswith(("resume=nothing", "resume=/")):
        assert "mean" not in found


def test_every_fault_of_a_place_and_of_the_rest_is_in_one_report(capsys: pytest.CaptureFixture[str]) -> None:
    found = refused(capsys, "resume=nowhere", "resume_lr_schedule=confg", "lr")
    assert [line.split(":")[0] for line in found] == ["resume_lr_schedule=confg", "resume=nowhere", "lr"]


@pytest.mark.parametrize("value", ["resume=null", "resume_lr_schedule=null"])
def test_keys_of_resumes_without_a_value_say_nothing(value: str) -> None:
    composed = train(value, "seed=2")
    assert not composed.resume
    assert composed.overrides == ("seed=2",)
    assert composed.given == {"seed"}
    assert not {"resume", "resume_lr_schedule"} & composed.mapping.keys()


def test_other_programs_do_not_resume(capsys: pytest.CaptureFixture[str]) -> None:
    start("run")

    def main(composed: Composed[Any]) -> int:
        raise AssertionError

    assert run_cli(main, PREVIEW_CONFIG, PreviewSettings, ["resume=run", "resume_lr_schedule=config"]) == 2
    lines = capsys.readouterr().err.splitlines()[1:]
    assert [line.strip().split(":")[0] for line in lines] == ["resume=run", "resume_lr_schedule=config"]
    assert all("train_gimbal_curriculum.py" in line for line in lines)
    assert not compose(PREVIEW_CONFIG, ["hydra.run.dir=run"], PreviewSettings).resume
    assert run_cli(main, EVALUATE_CONFIG, EvaluateSettings, ["policy=expert", "resume=run"]) == 2
    assert "resume=run: is a setting of train_gimbal_curriculum.py" in capsys.readouterr().err


def test_a_folder_that_can_only_be_read_is_read() -> None:
    settings = start("run", "seed=4")
    Path("run").chmod(0o500)
    try:
        assert train("resume=run").settings == settings
    finally:
        Path("run").chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_can_not_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    start("runs/one")
    Path("runs").chmod(0)
    try:
        with pytest.raises(UserError, match="can't be read: Permission denied"):
            train("resume=runs/one")
    finally:
        Path("runs").chmod(0o700)


# --- The same again -------------------------------------------------------------------------------

COMMANDS = [
    "",
    "profile=cpu lr_schedule=gentle_decay seed=3",
    "profile=state encoder_bundle@agent=original curriculum_preset=aggressive",
    "lr=3e-4 lr_actor=null num_train_frames=3M",
    "lr_schedule=gentle_decay lr_schedule.encoder.intervals[0].lr=2.0e-4 lr_schedule.actor.type=exponential_decay",
    "lr_schedule=exponential_smooth decay_rate=0.9998",
    "lr_schedule=gentle_decay ~lr_schedule.actor ~seed",
    "lr_schedule=null stddev_schedule=linear(1,0.1,2k)",
    "~lr_schedule",
    "lr_schedule={actor:{type:constant,intervals:[{lr:1x}]}} lr_schedule.actor.type=step_decay",
    "curriculum.stages.1.wind=0.25 task.start_height=[2,3] task={image_size:64} +lr_critic=1e-5",
    "seed=1 seed=2",
    "lr_actor=${lr}",
]


PLACES = ("resume=run", "hydra.run.dir=run")


# Each command at one of the places, in turn: both lead to the same comparison.
@pytest.mark.slow
@pytest.mark.parametrize(("line", "place"), [(line, PLACES[i % 2]) for i, line in enumerate(COMMANDS)])
def test_the_same_command_again_changes_nothing(line: str, place: str) -> None:
    settings = start("run", *line.split())
    first = train(*line.split()).overrides
    for words in (line.split(), line.split()[-1:], []):
        composed = train(place, *words)
        assert composed.settings == settings
        assert composed.changes == ()
        assert composed.given == train(*line.split()).given
        if len(words) != 1:
            assert composed.overrides == first


def test_the_same_values_in_other_words() -> None:
    start("run", "lr=3e-4", "num_train_frames=3M", "lr_schedule=gentle_decay", "stddev_schedule=0.2")
    composed = train(
        *("resume=run", "lr=0.0003", "num_train_frames=3.0e6", "stddev_schedule='2e-1'"),
        *("lr_schedule.actor.intervals.0.lr=1x", "seed=1", "save_video=true", "task={image_size: 84}"),
    )
    assert composed.changes == ()
    assert composed.settings.lr == 3e-4


def test_the_same_command_again_though_the_defaults_are_others_by_now() -> None:
    """The run was begun with files that differed from those of today everywhere."""
    was = {"batch_size": 77, "lr": 7e-4, "profile": "cpu", "nstep": 5, "seed": 9}
    start("run", "profile=cpu", "lr_schedule=gentle_decay")
    edit("run", **was)
    for words in (["resume=run"], ["hydra.run.dir=run", "profile=cpu", "lr_schedule=gentle_decay"]):
        composed = train(*words, "num_train_frames=200k")
        assert composed.settings.to_plain().items() >= {**was, "num_train_frames": 200_000}.items()
        assert composed.changes == ("num_train_frames: 30000 -> 200000",)


def test_what_is_typed_counts_though_it_is_the_default_of_today(capsys: pytest.CaptureFixture[str]) -> None:
    start("run")
    edit("run", lr=5e-4, seed=3)
    found = refused(capsys, "resume=run", "lr=1e-4", "seed=1")
    assert found == [
        "seed=1: the run has 3; it can't change in a resume",
        "lr=0.0001: the run has 0.0005; resume_lr_schedule=config resumes with the new one",
    ]


def test_a_schedule_that_is_typed_counts_though_it_is_the_default_of_today(
    capsys: pytest.CaptureFixture[str],
) -> None:
    start("run", "lr_schedule=gentle_decay")
    store("run", train("resume=run").settings)  # as if gentle_decay had been the default
    assert train("resume=run").settings.lr_schedule is not None
    (found,) = refused(capsys, "resume=run", "lr_schedule=constant")
    assert found.startswith("lr_schedule=constant: the run has {encoder: ")


def test_a_run_whose_overrides_are_not_known() -> None:
    start("run", "profile=cpu", "seed=2")
    Path("run/overrides.yaml").unlink()
    assert train("resume=run").overrides == ()
    composed = train("resume=run", "profile=cpu", "seed=2", "num_train_frames=200k")
    assert composed.changes == ("num_train_frames: 30000 -> 200000",)
    assert composed.overrides == ("profile=cpu", "seed=2", "num_train_frames=200k")


# --- What may change ------------------------------------------------------------------------------

ALLOWED = {
    "num_train_frames": ("200k", "30000 -> 200000"),
    "device": ("cpu", "auto -> cpu"),
    "replay_device": ("cpu", "auto -> cpu"),
    "num_threads": ("2", "1 -> 2"),
    "parallel": ("false", "true -> false"),
    "log_every_frames": ("1k", "500 -> 1000"),
    "eval_every_frames": ("1e3", "7500 -> 1000"),
    "num_eval_episodes": ("7", "50 -> 7"),
    "final_eval_episodes": ("8", "100 -> 8"),
    "snapshot_every_frames": ("9", "10000 -> 9"),
    "save_video": ("false", "true -> false"),
    "track": ("mlflow", "null -> mlflow"),
    "on_write_error": ("stop", "continue -> stop"),
    "keep_replay": ("false", "true -> false"),
}


def test_the_keys_that_may_change_are_settings() -> None:
    assert set(ALLOWED) == MAY_CHANGE
    assert Settings.model_fields.keys() >= MAY_CHANGE | SCHEDULES
    assert not MAY_CHANGE & SCHEDULES


def test_what_may_change() -> None:
    settings = start("run", "profile=cpu")
    words = [f"{key}={value}" for key, (value, _) in ALLOWED.items()]
    composed = train("resume=run", *words)
    assert sorted(composed.changes) == sorted(f"{key}: {change}" for key, (_, change) in ALLOWED.items())
    assert composed.settings == train("profile=cpu", *words).settings
    assert all(getattr(composed.settings, key) != getattr(settings, key) for key in ALLOWED)
    assert composed.overrides == ("profile=cpu", *words)
    assert composed.given == ALLOWED.keys()


def test_changes_add_up_over_resumes() -> None:
    start("run", "profile=cpu", "num_train_frames=150k")
    for frames, line in (("200k", "150000 -> 200000"), ("300k", "200000 -> 300000")):
        composed = train("resume=run", f"num_train_frames={frames}")
        assert composed.changes == (f"num_train_frames: {line}",)
        assert composed.overrides == ("profile=cpu", f"num_train_frames={frames}")
        store("run", composed.settings, composed.overrides)
    assert train("resume=run", "device=cpu").settings.num_train_frames == 300_000


def test_nothing_typed_is_lost_when_the_process_ended_between_the_two_files() -> None:
    start("run", "profile=cpu")
    edit("run", num_train_frames=200_000)  # overrides.yaml would have been next
    composed = train("hydra.run.dir=run", "profile=cpu", "num_train_frames=200k")
    assert (composed.settings.num_train_frames, composed.changes) == (200_000, ())
    assert composed.overrides == ("profile=cpu", "num_train_frames=200k")


def test_a_deletion_means_the_default() -> None:
    start("run", "profile=cpu", "num_eval_episodes=9")
    assert train("resume=run", "~num_eval_episodes").changes == ("num_eval_episodes: 9 -> 20",)


# --- What may not ---------------------------------------------------------------------------------

REFUSED = [
    ("seed=2", "seed=2: the run has 1; it can't change in a resume"),
    ("batch_size=128", "batch_size=128: the run has 64; it can't change in a resume"),
    ("task.pad_size=1", "task.pad_size=1.0: the run has 1.4; it can't change in a resume"),
    ("task={pad_size: 1}", "task.pad_size=1.0: the run has 1.4; it can't change in a resume"),
    ("task.start_height=[1,2]", "task.start_height=[1.0, 2.0]: the run has [3.0, 5.0]; it can't"),
    ("task.start_height.0=1", "task.start_height=[1.0, 5.0]: the run has [3.0, 5.0]; it can't"),
    ("curriculum.window=90", "curriculum.window=90: the run has 100; it can't change in a resume"),
    ("curriculum.stages.2.wind=1", "curriculum.stages.2.wind=1.0: the run has 0.5; it can't"),
    ("curriculum.stages[2].wind=1", "curriculum.stages.2.wind=1.0: the run has 0.5; it can't"),
    ("curriculum.stages.0.scale.2=1", "curriculum.stages.0.scale=[0.0, 0.0, 1.0]: the run has [0.0, 0.0"),
    ("agent.encoder.channels=8", "agent.encoder.channels=8: the run has 16; it can't"),
    ("profile=state", "profile=state: means profile=state (the run has cpu), "),
    ("curriculum_preset=aggressive", "curriculum_preset=aggressive: means curriculum.window=40 (the run has"),
    ("encoder_bundle@agent=state", "encoder_bundle@agent=state: means agent.encoder.name=state (the run has"),
    ("~seed", None),
    ("~batch_size", "batch_size=512: the run has 64; it can't change in a resume"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("word", "line"), REFUSED, ids=[word for word, _ in REFUSED])
def test_what_may_not_change(word: str, line: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    # With schedules accepted, too, for every other one.
    accept = ["resume_lr_schedule=config"] if len(word) % 2 else []
    start("run", "profile=cpu")
    if line is None:
        assert train("resume=run", word, *accept).changes == ()
        return
    found = [text for text in refused(capsys, "resume=run", word, *accept) if "resume_lr" not in text]
    assert len(found) == 1
    assert found[0].startswith(line)
    assert found[0].endswith("can't change in a resume")


RATES = [
    ("lr=1e-4", "lr=0.0001: the run has 0.0005; "),
    ("lr_encoder=1e-4", "lr_encoder=0.0001: the run has 0.001; "),
    ("lr_schedule=null", "lr_schedule=null: the run has {encoder: "),
    ("~lr_schedule", "~lr_schedule: the run has {encoder: "),
    ("lr_schedule=aggressive_decay", "lr_schedule=aggressive_decay: means lr_schedule.encoder.intervals=["),
    (
        "lr_schedule.encoder.intervals.0.lr=2e-4",
        "lr_schedule.encoder.intervals.0.lr=0.0002: the run has 1x; ",
    ),
    ("lr_schedule.actor.type=linear_decay", "lr_schedule.actor.type=linear_decay: the run has step_decay; "),
    (
        "lr_schedule.actor.intervals.2.warmup=1%",
        "lr_schedule.actor.intervals.2.warmup=1%: the run has none; ",
    ),
    ("lr_schedule.actor.intervals=[{lr: 1x}]", "lr_schedule.actor.intervals=[{lr: 1x}]: the run has [{start"),
    ("~lr_schedule.actor", "~lr_schedule.actor: the run has {type: step_decay, "),
    ("stddev=2", "stddev=2.0: the run has 1.0; "),
    (
        "stddev_schedule=linear(1,0.1,3k)",
        "stddev_schedule=linear(1,0.1,3k): the run has {type: linear_decay, ",
    ),
    (
        "stddev_schedule.intervals.0.final_lr=0.2",
        "stddev_schedule.intervals.0.final_lr=0.2: the run has 0.1; ",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("word", "line"), RATES, ids=[word for word, _ in RATES])
def test_schedules_change_only_when_that_is_accepted(word: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["profile=cpu", "lr_schedule=gentle_decay"]
    start("run", *command)
    (found,) = refused(capsys, "resume=run", word)
    assert found.startswith(line)
    assert "; resume_lr_schedule=config resumes with " in found
    composed = train("resume=run", "resume_lr_schedule=config", word)
    same = [old for old in command if old.split("=")[0] != word.split("=")[0].lstrip("~")]
    assert composed.settings == train(*same, word).settings
    assert composed.accept_schedule
    assert composed.changes
    assert composed.overrides[-1] == word
    # Once taken over, it is the run's.
    store("run", composed.settings, composed.overrides)
    assert train("resume=run").settings == composed.settings
    assert train("resume=run", word).changes == ()


def test_decay_rate_reaches_the_schedule(capsys: pytest.CaptureFixture[str]) -> None:
    start("run", "lr_schedule=exponential_smooth", "decay_rate=0.9998")
    (found,) = refused(capsys, "resume=run", "decay_rate=0.9")
    assert found == "decay_rate=0.9: the run has 0.9998; resume_lr_schedule=config resumes with the new one"
    composed = train("resume=run", "decay_rate=0.9", "resume_lr_schedule=config")
    assert composed.settings == train("lr_schedule=exponential_smooth", "decay_rate=0.9").settings
    assert composed.overrides == ("lr_schedule=exponential_smooth", "decay_rate=0.9")


def test_another_preset_takes_the_place_of_what_was_set_inside_the_first() -> None:
    inside = ["lr_schedule=exponential_smooth", "decay_rate=0.9", "lr_schedule.actor.type=step_decay"]
    start("run", "seed=2", *inside)
    composed = train("resume=run", "lr_schedule=gentle_decay", "resume_lr_schedule=config")
    assert composed.settings == train("seed=2", "lr_schedule=gentle_decay").settings
    assert composed.overrides == ("seed=2", "lr_schedule=gentle_decay")
    again = ["lr_schedule=gentle_decay", "lr_schedule.actor.type=step_decay"]
    composed = train("resume=run", *again, "resume_lr_schedule=config")
    assert composed.settings == train("seed=2", *again).settings


def test_one_report_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    start("run", "profile=cpu", "lr_schedule=gentle_decay")
    found = refused(
        capsys,
        *(
            "resume=run",
            "seed=2",
            "profile=full",
            "lr_schedule=stage_based",
            "task.pad_size=2",
            "lr_actor=1e-3",
        ),
        *("num_eval_episodes=0", "num_train_frames=9M", "lrr=3", "curriculum.windw=3"),
    )
    starts = [
        *("num_eval_episodes=0: must be at least 1", "curriculum.windw=3: unknown key; did you mean window?"),
        *(
            "lrr=3: unknown key",
            "seed=2: the run has 1",
            "profile=full: means profile=full (the run has cpu)",
        ),
        *("task.pad_size=2.0: the run has 1.4", "lr_actor=0.001: the run has null"),
        *("lr_schedule=stage_based: means lr_schedule.encoder.intervals=", "profile=full: means lr=0.0001"),
    ]
    for beginning in starts:
        assert sum(line.startswith(beginning) for line in found) == 1, (beginning, found)
    assert len(found) == len(starts)
    assert all(len(line) < 450 for line in found)


def test_a_length_that_is_too_short_is_the_only_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """The seed frames that it does not fit were not typed, and stay what they are."""
    start("run", "profile=smoke")
    assert refused(capsys, "resume=run", "num_train_frames=50") == [
        "num_train_frames=50: must be greater than num_seed_frames (100)"
    ]


def test_a_list_of_another_length_is_one_difference(capsys: pytest.CaptureFixture[str]) -> None:
    start("run", "curriculum.last_stage=0")
    (found,) = refused(capsys, "resume=run", "curriculum.stages=[{name: all_of_it}]")
    assert found.startswith("curriculum.stages=[{name: all_of_it, ")
    assert ": the run has [{name: S0_lock" in found


def test_a_path_that_the_run_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    """The preset has three intervals today; the run began when it had two."""
    start("run", "lr_schedule=gentle_decay")
    schedule = train("resume=run").settings.to_plain()["lr_schedule"]
    schedule["actor"]["intervals"].pop()
    edit("run", lr_schedule=schedule)
    (found,) = refused(capsys, "resume=run", "lr_schedule.actor.intervals.2.lr=0.1x")
    assert found == (
        "lr_schedule.actor.intervals.2.lr=0.1x: the run's items of lr_schedule.actor.intervals are numbered from 0 to 1"
    )


def test_an_override_inside_of_what_the_run_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    start("run")
    found = refused(capsys, "resume=run", "lr_schedule.actor.type=linear_decay")
    assert "choose a preset first" in found[0]


# --- Files of the user's --------------------------------------------------------------------------


def test_a_preset_of_the_users_that_changed_or_went(capsys: pytest.CaptureFixture[str]) -> None:
    flag = preset("lr_schedule/mine", SCHEDULE % "0.5x")
    command = ["lr_schedule=mine", "seed=3"]
    settings = start("run", *flag, *command)
    preset("lr_schedule/mine", SCHEDULE % "0.25x")
    assert train(*flag, "resume=run", *command, "device=cpu").settings.lr_schedule == settings.lr_schedule

    shutil.rmtree("files")
    for words in ([], command, ["seed=3"], list(reversed(command))):
        composed = train("resume=run", *words)
        assert composed.settings == settings
        assert composed.overrides == tuple(command)
    for words in ([], command):
        composed = train("hydra.run.dir=run", *words, "num_train_frames=7M", "device=cpu")
        assert composed.changes == ("device: auto -> cpu", "num_train_frames: 6000000 -> 7000000")
        assert composed.settings.lr_schedule == settings.lr_schedule
        assert composed.overrides == (*command, "num_train_frames=7M", "device=cpu")
        assert composed.given == {"seed", "num_train_frames", "device"}
    assert refused(capsys, "resume=run", "seed=4", "lr_schedule.actor.type=step_decay", "task={pad_size: 2}") == [
        "seed=4: the run has 3; it can't change in a resume",
        "task.pad_size=2.0: the run has 1.4; it can't change in a resume",
        "lr_schedule.actor.type=step_decay: the run has constant; resume_lr_schedule=config resumes with the new one",
    ]
    accepted = train("resume=run", "lr_schedule.actor.intervals.0.lr=0.1x", "resume_lr_schedule=config")
    assert accepted.settings.lr_schedule == {"actor": {"type": "constant", "intervals": [{"lr": "0.1x"}]}}


@pytest.mark.parametrize("word", ["curriculum_preset=none", "decay_rate=0.9", "lr_actor=${lr}"])
def test_what_needs_a_file_that_went(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    start("run", *preset("lr_schedule/mine", SCHEDULE % "0.5x"), "lr_schedule=mine")
    shutil.rmtree("files")
    (found,) = refused(capsys, "resume=run", word)
    assert found.startswith(f"{word}: needs the files of the run's own overrides: lr_schedule=mine: must be ")


def test_another_file_in_place_of_one_that_went(capsys: pytest.CaptureFixture[str]) -> None:
    start("run", *preset("lr_schedule/mine", SCHEDULE % "0.5x"), "lr_schedule=mine", "seed=2")
    shutil.rmtree("files")
    words = ["resume=run", "lr_schedule=gentle_decay", "device=cpu"]
    assert refused(capsys, *words)[0].startswith("lr_schedule=gentle_decay: means lr_schedule.actor.type=")
    composed = train(*words, "resume_lr_schedule=config")
    assert composed.settings == train("lr_schedule=gentle_decay", "seed=2", "device=cpu").settings
    (found,) = refused(capsys, *words, "profile=cpu")
    assert found.startswith("lr_schedule=mine: must be ")


def test_a_choice_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    start("run")
    (found,) = refused(capsys, "resume=run", "lr_schedule=gentle_decy", "seed=2")
    assert found.startswith("lr_schedule=gentle_decy: must be ")


# --- Damaged folders ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.yaml", "a: [", "run/config.yaml is damaged"),
        ("config.yaml", "", "run/config.yaml is damaged: it should be a mapping"),
        ("config.yaml", "lr: 1\nlrr: 2\ncurriculum: {stages: [{name: a}]}", "lrr=2: unknown key"),
        ("config.yaml", "lr: 7\ncurriculum: {stages: [{name: a}]}", "lr=7: must be at most 1"),
        ("config.yaml", "{}", "run/config.yaml does not fit this version: curriculum: is missing"),
        (
            "config.yaml",
            "lr_schedule: {actor: 3}\ncurriculum: {stages: [{name: a}]}",
            "run/config.yaml does not fit this version: lr_schedule.actor",
        ),
        ("overrides.yaml", "a: [", "run/overrides.yaml is damaged"),
        ("overrides.yaml", "a: b", "run/overrides.yaml is damaged: it should be a list"),
        ("overrides.yaml", "[1]", "run/overrides.yaml is damaged: it should be a list"),
    ],
)
def test_damaged_files_are_named(name: str, text: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    start("run")
    Path("run", name).write_text(text)
    found = refused(capsys, "resume=run", "device=cpu")
    assert any(words in line for line in found), found
    assert all(f"run/{name}" in line for line in found if "damaged" not in line)


def test_settings_that_are_newer_than_the_run_take_their_defaults() -> None:
    settings = start("run", "seed=2")
    plain = settings.to_plain()
    del plain["on_write_error"], plain["keep_replay"]
    Path("run/config.yaml").write_text(yaml.safe_dump(plain))
    assert train("resume=run").settings == settings
    assert train("resume=run", "keep_replay=true").changes == ()


# --- Sweeps ---------------------------------------------------------------------------------------


def sweep(*argv: str) -> tuple[int, list[Composed[Settings]]]:
    jobs: list[Composed[Settings]] = []

    def main(composed: Composed[Settings]) -> int:
        jobs.append(composed)
        store(composed.run_dir, composed.settings, composed.overrides)
        return 0

    return run_cli(main, TRAIN_CONFIG, Settings, ["--multirun", "hydra.sweep.dir=sweep", *argv]), jobs


def test_a_sweep_started_again_resumes_each_of_its_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["lr=2e-4,3e-4", "profile=cpu", "seed=range(1,3)"]
    status, first = sweep(*command)
    assert (status, len(first)) == (0, 4)
    assert not any(job.resume for job in first)
    status, again = sweep(*command)
    assert status == 0
    assert all(job.resume and job.changes == () for job in again)
    assert [job.settings for job in again] == [job.settings for job in first]
    assert [job.run_dir for job in again] == [job.run_dir for job in first]
    # A job can be resumed by itself.
    alone = train(f"resume={first[1].run_dir}", "num_train_frames=200k", "lr=0.0002")
    assert alone.changes == ("num_train_frames: 30000 -> 200000",)


def test_all_jobs_of_a_sweep_are_checked_before_the_first_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    name = "hydra.sweep.subdir=job${hydra.job.num}"
    assert sweep(name, "seed=1,2")[0] == 0
    before = contents(".")
    status, jobs = sweep(name, "seed=1,3", "device=cpu")
    assert (status, jobs) == (2, [])
    assert "seed=3: the run has 2; it can't change in a resume" in capsys.readouterr().err
    assert contents(".") == before
    status, jobs = sweep(name, "seed=1,2", "device=cpu")
    assert status == 0
    assert [job.changes for job in jobs] == [("device: auto -> cpu",)] * 2


def test_a_sweep_over_runs_to_resume() -> None:
    start("one", "seed=1")
    start("two", "seed=2")
    status, jobs = sweep("resume=one,two", "num_train_frames=7M")
    assert status == 0
    assert [(job.run_dir, job.settings.seed, job.resume) for job in jobs] == [
        (Path("one"), 1, True),
        (Path("two"), 2, True),
    ]
    assert {job.settings.num_train_frames for job in jobs} == {7_000_000}


# --- Parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "words", "new", "both"),
    [
        ("a=1", "a=1", "", "a=1"),
        ("a=1", "a=2", "a=2", "a=2"),
        ("+a=1", "++a=1", "", "+a=1"),
        ("a[0].b=1", "a.0.b=1", "", "a[0].b=1"),
        ("a.b=1", "a={b:2}", "a={b:2}", "a.b=1 a={b:2}"),
        ("a={b:2}", "a=3", "a=3", "a=3"),
        ("a={b:2} a.b=1", "a={b:2} a.b=1", "", "a={b:2} a.b=1"),
        ("a={b:2} a.b=1", "a={b:2}", "a={b:2}", "a={b:2} a.b=1 a={b:2}"),
        ("~a", "~a", "", "~a"),
        ("~a a=2", "~a", "~a", "a=2 ~a"),
        ("~a", "a=2", "a=2", "a=2"),
        ("task=x task.y=1", "task=z", "task=z", "task.y=1 task=z"),
        ("task=x task.y=1", "task=x", "", "task=x task.y=1"),
        ("lr_schedule=x", "lr_schedule=null", "lr_schedule=null", "lr_schedule=null"),
        ("lr_schedule=x", "~lr_schedule", "~lr_schedule", "~lr_schedule"),
        ("lr_schedule=x decay_rate=1 lr_schedule.a=2 lr=3", "lr_schedule=y", "lr_schedule=y", "lr=3 lr_schedule=y"),
        ("lr_schedule=x lr_schedule.a=2", "lr_schedule=y lr_schedule.a=2", "lr_schedule=y lr_schedule.a=2",
         "lr_schedule=y lr_schedule.a=2"),
    ],
)  # fmt: skip
def test_merging_overrides(stored: str, words: str, new: str, both: str) -> None:
    assert merged(stored.split(), words.split()) == (new.split(), both.split())


@pytest.mark.parametrize(
    ("one", "other", "paths"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": "1e-4"}, {"a": 1e-4}, []),
        ({"a": True}, {"a": 1}, [("a",)]),
        ({"a": None}, {"a": {"b": 1}}, [("a",)]),
        ({"a": {"b": 1}}, {}, [("a",)]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [("a",)]),
        (
            {"a": [{"b": 1}, {"b": 2}]},
            {"a": [{"b": 1}, {"b": 3, "c": 4}]},
            [("a", "1", "b"), ("a", "1", "c")],
        ),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}, {"b": 2}]}, [("a",)]),
        ({"a": "0.5x"}, {"a": 0.5}, [("a",)]),
    ],
)
def test_where_values_differ(one: Any, other: Any, paths: list[tuple[str, ...]]) -> None:
    assert list(differing(one, other)) == paths


def test_the_files_of_today_are_not_touched() -> None:
    before = contents(CONFIG_DIR)
    start("run", "profile=cpu")
    train("resume=run", "num_train_frames=200k")
    assert contents(CONFIG_DIR) == before
