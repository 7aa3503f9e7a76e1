"""Configuration files: the decimals that are written in them are meant, and what can't be meant is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from glideslope.cli.main import TRAIN_CONFIG, Composed, compose
from glideslope.errors import SettingsError, UserError
from glideslope.runs.run_folder import CONFIG, OVERRIDES, claim, read_config, typed_overrides
from glideslope.settings import Settings
from glideslope.settings.schedules import learning_rates
from glideslope.settings.yaml_files import YamlError, decode_text, dump_yaml, parse_yaml, read_yaml
from tests.support.paths import ROOT

HEADER = "# @package _global_\n"
DROPS = HEADER + (
    "lr_schedule:\n"
    "  critic:\n"
    "    type: step_decay\n"
    "    intervals:\n"
    "      - {start: 0000000, end: 0500000, lr: 1x}\n"
    "      - {start: 0500000, end: 0800000, lr: 0.5x}\n"
    "      - {start: 0800000, lr: 0.25x}\n"
)

pytestmark = pytest.mark.usefixtures("workplace")


def train(*argv: str) -> Composed[Settings]:
    return compose(TRAIN_CONFIG, argv, Settings)


def faults(*argv: str) -> str:
    with pytest.raises(SettingsError) as error:
        train(*argv)
    return str(error.value)


def write(group: str, content: str | bytes, name: str = "mine") -> list[str]:
    """The command line that chooses a file of the user's own with this content."""
    path = Path("files", group, f"{name}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ["--config-dir", "files", f"{group}={name}"]


def rates(settings: Settings, *steps: int) -> list[float]:
    return [learning_rates(settings)["critic"](step) for step in steps]


# --- Numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_path", [False, True])
def test_steps_with_leading_zeros_are_decimal(by_path: bool) -> None:
    chosen = write("lr_schedule", DROPS)
    # Octal, 0500000 would be 163,840; 0800000, which is no octal number, was text and 800,000 before.
    settings = train(*(["lr_schedule=./files/lr_schedule/mine.yaml"] if by_path else chosen)).settings
    expected = [1e-4, 1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5]
    assert rates(settings, 0, 163_840, 499_999, 500_000, 799_999, 800_000) == expected


# Settings, how each is written, and the decimal that is meant.
DECIMALS = {
    "seed": ("010", 10),  # octal 8
    "num_train_frames": ("0500000", 500_000),  # octal 163840
    "num_seed_frames": ("1_000", 1000),
    "log_every_frames": ("+0777", 777),  # octal 511
    "eval_every_frames": ("1e6", 1_000_000),
    "snapshot_every_frames": ("1_0.0e3", 10_000),
    "discount": ("00.5", 0.5),
    "stddev_clip": (".5", 0.5),
    "nstep": ("3.", 3),
    "lr": ("1e-4", 1e-4),
}


def test_a_number_means_the_decimal_in_a_profile_and_on_the_command_line() -> None:
    lines = [f"{key}: {written}" for key, (written, _) in DECIMALS.items()]
    chosen = write("profile", HEADER + "\n".join(lines))
    for argv in (chosen, [line.replace(": ", "=") for line in lines]):
        settings = train(*argv).settings
        assert {key: getattr(settings, key) for key in DECIMALS} == {key: meant for key, (_, meant) in DECIMALS.items()}


def test_what_yaml_takes_for_another_number_is_refused_by_name() -> None:
    others = ["1:30", "190:20:30", "0b11", "0x10", "0o17", "2026-01-01", "yes", "on", "n", ".inf", ".NaN"]
    keys = [
        "seed",
        "num_train_frames",
        "lr",
        "lr_actor",
        "nstep",
        "discount",
        "batch_size",
        "save_video",
        "keep_replay",
    ]
    profile = HEADER + "".join(f"{key}: {written}\n" for key, written in zip(keys, others, strict=False))
    lines = faults(*write("profile", profile)).splitlines()
    assert len(lines) == len(keys)
    for key, written in zip(keys, others, strict=False):
        rule = "must be true or false" if written in ("on", "n") else "must be a "
        assert any(line.startswith(f"{key}={written}: {rule}") for line in lines), (key, lines)
    intervals = ", ".join(f"{{start: {written}, lr: 1x}}" for written in others)
    schedule = HEADER + f"lr_schedule: {{critic: {{type: constant, intervals: [{intervals}]}}}}\n"
    report = faults(*write("lr_schedule", schedule))
    for number, written in enumerate(others):
        assert f"lr_schedule.critic.intervals.{number}.start={written}: " in report


def test_lists_and_stages_have_decimals_too() -> None:
    text = HEADER + "defaults: [balanced, _self_]\ncurriculum: {window: 0100, cooldown_episodes: 010}\n"
    curriculum = train(*write("curriculum_preset", text)).settings.curriculum
    assert (curriculum.window, curriculum.cooldown_episodes) == (100, 10)  # octal 64 and 8
    text = "encoder: {name: original, channels: 016, strides: [02, 01, 1, 1]}\n"
    chosen = write("encoder_bundle", text)
    encoder = train(*chosen[:2], "encoder_bundle@agent=mine").settings.to_plain()["agent"]["encoder"]
    assert (encoder["channels"], encoder["strides"]) == (16, [2, 1, 1, 1])


def test_text_stays_text() -> None:
    assert parse_yaml("{no: off, y: yes, 1: 'a'}") == {"no": "off", "y": "yes", "1": "a"}
    assert parse_yaml("[true, False, null, ~, '5', -3, 2/5, 1x]") == [
        True,
        False,
        None,
        None,
        "5",
        -3,
        "2/5",
        "1x",
    ]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert parse_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["0500000", "1:30", "0x10", "1e-4", "yes", "2026-01-01", "1_000", "1e5", "=", "<<", ""]
)
def test_written_text_is_text_to_other_readers_too(text: str) -> None:
    assert yaml.safe_load(dump_yaml({"key": text})) == {"key": text} == parse_yaml(dump_yaml({"key": text}))


def test_a_run_folder_edited_by_hand_is_read_as_decimals() -> None:
    with claim(Path("run")) as folder:
        folder.write_config(train("num_train_frames=600k").settings.to_plain())
        folder.write_overrides(["num_train_frames=600k"])
    config = Path("run", CONFIG)
    text = config.read_text().replace("num_train_frames: 600000", "num_train_frames: 0500000")
    config.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert Settings.from_config(read_config(Path("run"))).num_train_frames == 500_000
    Path("run", OVERRIDES).write_bytes("- seed=1\n".encode("utf-16"))
    assert typed_overrides(Path("run")) == ("seed=1",)
    config.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(UserError, match=r"config\.yaml is damaged: line 2, column 1: seed is there twice"):
        read_config(Path("run"))


# --- Encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-32"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        lambda text: b"# My preset.\n\n" + text.encode(),
        lambda text: b"---\n" + text.encode(),
        lambda text: text.replace("# @package _global_", "#@package: _global_  # at the top").encode(),
    ],
    ids=["mark", "utf-16", "utf-32", "crlf", "mark and crlf", "comment first", "document", "header"],
)
def test_a_preset_is_read_however_an_editor_saved_it(encode: Callable[[str], bytes]) -> None:
    assert rates(train(*write("lr_schedule", encode(DROPS))).settings, 500_000) == [5e-5]


def test_a_file_that_is_not_text_says_where() -> None:
    report = faults(*write("lr_schedule", HEADER.encode() + b"# caf\xe9\nlr_schedule: null\n"))
    assert report.endswith("files/lr_schedule/mine.yaml: line 2: is not UTF-8 text; save the file as UTF-8")
    assert decode_text("é".encode("utf-16")) == "é"


# --- What is no configuration ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "content", "problem"),
    [
        ("lr_schedule", "", "is empty: it sets nothing"),
        ("lr_schedule", HEADER, "is empty: it sets nothing"),
        ("profile", "\n# later\n", "is empty: it sets nothing"),
        ("task", "~\n", "is empty: it sets nothing"),
        ("lr_schedule", HEADER + "{}\n", "sets nothing below lr_schedule"),
        ("lr_schedule", HEADER + "lr_schedule: {}\n", "sets nothing below lr_schedule"),
        ("curriculum_preset", HEADER + "curriculum: {}\n", "sets nothing below curriculum"),
        (
            "lr_schedule",
            HEADER + "lr_schedule:\n",
            "line 2, column 1: lr_schedule has no value; write lr_schedule: null if none is meant",
        ),
        ("lr_schedule", HEADER + "- 1\n", "must be a mapping of settings, key: value"),
        ("lr_schedule", HEADER + "lr_schedule\n", "must be a mapping of settings, key: value"),
        ("lr_schedule", "# @package\nlr: 1\n", "line 1: must be `# @package _global_`, without anything else"),
        ("profile", HEADER + "seed: 1\nseed: 2\n", "line 3, column 1: seed is there twice"),
        ("profile", HEADER + "task:\n\timage_size: 3\n", "line 3, column 1: has a tab; indent with spaces"),
        ("profile", HEADER + "seed: !!int 0x10\n", "line 2, column 7: 0x10 is not a decimal number"),
        ("profile", HEADER + "seed: !!timestamp 2026-01-01\n", "line 2, column 7: unknown tag !!timestamp"),
        ("profile", HEADER + "seed: !!python/name\n", "line 2, column 7: unknown tag !!python/name"),
        ("profile", HEADER + "task: &t {a: *t}\n", "line 2, column 7: found unconstructable recursive node"),
    ],
)  # fmt: skip
def test_a_file_that_means_nothing_is_named(group: str, content: str, problem: str) -> None:
    report = faults(*write(group, content))
    assert report == f"{Path('files').resolve()}/{group}/mine.yaml: {problem}"


def test_deep_nesting_is_no_traceback() -> None:
    with pytest.raises(YamlError, match="nested too deeply"):
        parse_yaml("[" * 5000)


def test_every_file_of_ours_is_read_alike_by_yaml_1_1() -> None:
    files = sorted(ROOT.glob("cfgs/**/*.yaml"))
    assert len(files) > 25
    for file in files:
        # Of what the two read otherwise, 1e-4 and the like, our files have none.
        assert read_yaml(file) == yaml.safe_load(file.read_text()), file


# --- Files chosen by their path -------------------------------------------------------------------


def test_a_preset_is_chosen_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    write("lr_schedule", DROPS, "my decay")
    path = Path("files/lr_schedule/my decay.yaml").resolve()
    monkeypatch.setenv("HOME", str(path.parents[1]))
    for word in (
        str(path),
        "files/lr_schedule/my decay.yaml",
        "./files/lr_schedule/my decay",
        "~/lr_schedule/my decay.yaml",
    ):
        composed = train(f"lr_schedule={word}")
        assert rates(composed.settings, 500_000) == [5e-5]
        # It means the same from any other folder.
        assert composed.overrides[0].startswith(f"lr_schedule={path.parent}/my decay")


def test_files_of_every_group_are_chosen_by_their_path() -> None:
    write("profile", HEADER + "seed: 5\n")
    write("task", "defaults: [gimbal_landing, _self_]\nimage_size: 64\n")
    write("encoder_bundle", "defaults: [original, _self_]\nencoder: {channels: 8}\n")
    settings = train(
        "profile=files/profile/mine.yaml",
        "task=files/task/mine.yaml",
        "encoder_bundle@agent=files/encoder_bundle/mine.yaml",
    ).settings
    assert (settings.seed, settings.task.image_size, settings.to_plain()["agent"]["encoder"]["channels"]) == (
        5,
        64,
        8,
    )


def test_a_path_without_a_file_says_where_to_put_it() -> None:
    report = faults("lr_schedule=/tmp/no/such/gentle_decy.yaml")
    assert report.startswith("lr_schedule=/tmp/no/such/gentle_decy.yaml: there is no such file; cfgs/lr_schedule/ has ")
    assert report.endswith("; did you mean gentle_decay?")


def test_a_run_is_resumed_without_the_file_that_it_began_with() -> None:
    path = Path("mine.yaml")
    path.write_text(DROPS)
    began = train("lr_schedule=mine.yaml")
    with claim(Path("run")) as folder:
        folder.write_config(began.settings.to_plain())
        folder.write_overrides(began.overrides)
    path.unlink()
    resumed = train("resume=run", "num_train_frames=7M")
    assert resumed.settings.num_train_frames == 7_000_000
    assert rates(resumed.settings, 499_999, 500_000) == [1e-4, 5e-5]
    # The same command line means the run's own file, not one that is missing.
    assert train("resume=run", "lr_schedule=./mine.yaml").changes == ()
