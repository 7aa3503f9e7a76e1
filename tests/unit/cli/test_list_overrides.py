"""Items of lists on the command line: removed, appended and changed, alone and together, in resumes and in sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glideslope.cli.main import TRAIN_CONFIG, Composed, compose, run_cli
from glideslope.errors import SettingsError
from glideslope.runs.run_folder import claim
from glideslope.settings import Settings
from glideslope.settings.yaml_files import parse_yaml

CRITIC = "lr_schedule.critic.intervals"
PRESET = "lr_schedule=gentle_decay"
# The intervals of gentle_decay.
FIRST = {"start": 0, "end": "1/3", "lr": "1x"}
SECOND = {"start": "1/3", "end": "2/3", "lr": "0.5x"}
THIRD = {"start": "2/3", "lr": "0.25x"}
LATE = {"start": "5M", "lr": "0.1x"}
APPEND = f"+{CRITIC}.3={{start: 5M, lr: 0.1x}}"

pytestmark = pytest.mark.usefixtures("workplace")


def train(*argv: str) -> Composed[Settings]:
    return compose(TRAIN_CONFIG, argv, Settings)


def critic(settings: Settings) -> list[dict[str, Any]]:
    assert settings.lr_schedule is not None
    assert settings.lr_schedule["actor"]["intervals"] == [FIRST, SECOND, THIRD]
    return list(settings.lr_schedule["critic"]["intervals"])


@pytest.mark.parametrize(
    ("words", "intervals"),
    [
        ([f"~{CRITIC}.2"], [FIRST, SECOND]),
        ([f"~{CRITIC}[0]"], [SECOND, THIRD]),
        ([APPEND], [FIRST, SECOND, THIRD, LATE]),
        ([f"~{CRITIC}.2", f"~{CRITIC}.1"], [FIRST]),
        # Each override means the list as those to its left have left it.
        ([f"~{CRITIC}.0", f"~{CRITIC}.0"], [THIRD]),
        ([f"~{CRITIC}.0", f"{CRITIC}.0.lr=2x"], [{**SECOND, "lr": "2x"}, THIRD]),
        ([f"{CRITIC}.0.lr=2x", f"~{CRITIC}.0"], [SECOND, THIRD]),
        ([APPEND, f"{CRITIC}.3.lr=0", f"~{CRITIC}.1"], [FIRST, THIRD, {**LATE, "lr": 0}]),
        ([f"~{CRITIC}.2", f"+{CRITIC}.2={{start: 5M, lr: 0.1x}}"], [FIRST, SECOND, LATE]),
        # At an index that is there, `+` changes the item as it does without.
        ([f"+{CRITIC}.2={{lr: 0.1x}}"], [FIRST, SECOND, {**THIRD, "lr": "0.1x"}]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) else "",
)
def test_intervals_are_removed_and_appended(words: list[str], intervals: list[dict[str, Any]]) -> None:
    assert critic(train(PRESET, *words).settings) == intervals


def test_lists_elsewhere_are_edited_too() -> None:
    settings = train(
        *(
            "profile=state",
            "~curriculum.stages.1",
            "curriculum.stages.1.wind=0.25",
            "curriculum.last_stage=3",
        ),
        *("~stddev_schedule.intervals.1", "+stddev_schedule.intervals.1={start: 9k, lr: 0.2}"),
        "stddev_schedule.intervals.0.final_lr=0.3",
    ).settings
    assert [stage.name for stage in settings.curriculum.stages] == [
        *("S0_lock", "S2_yaw_pitch_small", "S3_mid", "S4_full")
    ]
    assert settings.curriculum.stages[1].wind == 0.25
    noise = settings.to_plain()["stddev_schedule"]["intervals"]
    assert [interval["start"] for interval in noise] == ["1.6k", "9k"]
    assert (noise[0]["final_lr"], noise[1]) == (0.3, {"start": "9k", "lr": 0.2})
    strides = train("+agent.encoder.strides.4=1", "~agent.encoder.strides.0").settings.to_plain()["agent"]
    assert strides["encoder"]["strides"] == [1, 1, 1, 1]


def test_an_index_beyond_the_list_is_refused_with_the_next_one() -> None:
    numbered = f"the items of {CRITIC} are numbered from 0 to 2"
    appends = f"{numbered}; +{CRITIC}.3=... appends one"
    with pytest.raises(SettingsError) as error:
        train(
            PRESET,
            f"~{CRITIC}.3",
            f"+{CRITIC}.4={{lr: 0}}",
            f"{CRITIC}.3={{lr: 0}}",
            f"{CRITIC}.3.lr=0",
            "~nothing",
        )
    assert tuple(map(str, error.value.faults)) == (
        f"{CRITIC}.3: {numbered}",
        f"{CRITIC}.4={{lr: 0}}: {appends}",
        f"{CRITIC}.3={{lr: 0}}: {appends}",
        f"{CRITIC}.3.lr=0: {appends}",
        "nothing: does not exist, so it can't be removed",
    )


def test_the_last_interval_can_not_be_removed() -> None:
    with pytest.raises(SettingsError, match=f"{CRITIC}"):
        train(PRESET, *[f"~{CRITIC}.0"] * 3)


def run_in(folder: str, *argv: str) -> None:
    composed = train(*argv)
    with claim(Path(folder)) as claimed:
        claimed.write_config(composed.settings.to_plain())
        claimed.write_overrides(composed.overrides)


def test_a_resume_keeps_what_was_removed_and_appended() -> None:
    words = [PRESET, f"~{CRITIC}.0", f"+{CRITIC}.2={{start: 5M, lr: 0.1x}}", f"{CRITIC}.0.lr=2x"]
    began = [{**SECOND, "lr": "2x"}, THIRD, LATE]
    run_in("run", *words)
    for again in ([], words, [f"~{CRITIC}.0"], ["num_train_frames=7M"]):
        resumed = train("resume=run", *again)
        assert critic(resumed.settings) == began
        assert resumed.overrides == (*words, *again[:1]) if again[:1] == ["num_train_frames=7M"] else tuple(words)
    changed = train(
        *("resume=run", "resume_lr_schedule=config", f"~{CRITIC}.1", f"{CRITIC}.1.lr=0", f"{CRITIC}.0.lr=3x")
    )
    assert critic(changed.settings) == [{**SECOND, "lr": "3x"}, {**LATE, "lr": 0}]
    # And what it keeps means the same once more.
    run_in("again", *changed.overrides)
    assert critic(train("resume=again").settings) == critic(changed.settings)
    with pytest.raises(SettingsError, match="resume_lr_schedule=config"):
        train("resume=run", f"~{CRITIC}.1")


def test_a_sweep_removes_and_appends_in_each_job() -> None:
    jobs: list[tuple[list[dict[str, Any]], tuple[str, ...], str]] = []

    def main(composed: Composed[Settings]) -> int:
        jobs.append((critic(composed.settings), composed.overrides, composed.run_dir.name))
        return 0

    words = [
        PRESET,
        f"~{CRITIC}.0",
        f"~{CRITIC}.0",
        f"+{CRITIC}.1={{start: 5M, lr: 0.1x}}",
        f"{CRITIC}.0.lr=2x,3x",
    ]
    assert run_cli(main, TRAIN_CONFIG, Settings, ["-m", *words]) == 0
    for (intervals, overrides, name), rate in zip(jobs, ("2x", "3x"), strict=True):
        assert intervals == [{**THIRD, "lr": rate}, LATE]
        typed = [word.replace(": ", ":").replace(", ", ",") for word in words[:-1]]
        assert overrides == (*typed, f"{CRITIC}.0.lr={rate}")
        assert f"lr-{rate}" in name
        assert "remove" not in name


def test_the_configuration_shown_has_the_edited_lists(capsys: pytest.CaptureFixture[str]) -> None:
    def main(composed: Composed[Settings]) -> int:
        raise AssertionError("nothing is run")

    words = [PRESET, f"~{CRITIC}.0", f"+{CRITIC}.2={{start: 5M, lr: 0.1x}}"]
    assert run_cli(main, TRAIN_CONFIG, Settings, ["--cfg", "job", *words]) == 0
    shown = parse_yaml(capsys.readouterr().out)
    assert shown["lr_schedule"]["critic"]["intervals"] == [SECOND, THIRD, LATE]
