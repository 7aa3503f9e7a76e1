"""The manual of schedules and the page on the curriculum are true.

Their commands, files and programs run, and their messages and numbers are ours.
"""

from __future__ import annotations

import importlib.util
import io
import re
import shlex
from contextlib import redirect_stderr
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from glideslope.cli.main import EVALUATE_CONFIG, PREVIEW_CONFIG, TRAIN_CONFIG, compose, run_cli
from glideslope.cli.preview import main as preview
from glideslope.curriculum.wilson import wilson_interval
from glideslope.lr_scheduler import SHAPES, Schedules, build_schedules
from glideslope.lr_scheduler.plateau import Plateau
from glideslope.lr_scheduler.shapes import KEYS
from glideslope.runs.logger import RATE_TAGS, STAGE_TAG, SUCCESS_TAG
from glideslope.settings import EvaluateSettings, PreviewSettings, Settings, StageSettings
from glideslope.settings.schedules import exploration_noise, learning_rates
from glideslope.storage.csv_table import read_csv_table
from tests.support.paths import ROOT
from tests.support.training import train

MANUAL = ROOT / "docs" / "learning_rate_schedules.md"
TEXT = MANUAL.read_text(encoding="utf-8")
SCRIPTS = {
    "preview_lr_schedule.py": (PREVIEW_CONFIG, PreviewSettings),
    "train_gimbal_curriculum.py": (TRAIN_CONFIG, Settings),
}


FENCES = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [block for name, block in FENCES if name == language]


def drawing() -> ModuleType:
    """The program that draws the pictures."""
    spec = importlib.util.spec_from_file_location("draw_schedules", ROOT / "docs" / "draw_schedules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(settings: Settings) -> Schedules:
    exploration_noise(settings)
    return learning_rates(settings)


def preset(name: str, *overrides: str) -> Schedules:
    return build(compose(TRAIN_CONFIG, [f"lr_schedule={name}", *overrides], Settings).settings)


def block_as_preset(text: str, folder: Path) -> Settings:
    (folder / "lr_schedule").mkdir()
    (folder / "lr_schedule" / "manual_block.yaml").write_text(text, encoding="utf-8")
    arguments = ["--config-dir", str(folder), "lr_schedule=manual_block"]
    return compose(TRAIN_CONFIG, arguments, Settings).settings


COMMANDS = [line for block in blocks("") for line in block.splitlines()]
YAML = blocks("yaml")
REFUSALS = blocks("console")


def test_everything_was_found() -> None:
    assert {language for language, _ in FENCES} == {"", "yaml", "console", "math"}
    assert TEXT.count("\n```") == 2 * len(FENCES)
    assert TEXT.count("\npython ") == sum(line.startswith("python ") for line in COMMANDS)
    assert TEXT.count("\n$ python ") == len(REFUSALS)
    assert all((COMMANDS, YAML, REFUSALS))


# --- commands and files ---


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "tensorboard":
        return
    assert words[0] == "python"
    config, settings = SCRIPTS[words[1]]
    build(compose(config, words[2:], settings).settings)


@pytest.mark.parametrize("text", YAML, ids=range(len(YAML)))
def test_files_are_valid(text: str, tmp_path: Path) -> None:
    settings = block_as_preset(text, tmp_path)
    assert not build(settings).notes
    if "\nlr_schedule:" in text:
        networks = re.findall(r"^  (\w+):", text, re.MULTILINE)
        assert list(settings.lr_schedule or {}) == networks
        assert set(networks) <= {"encoder", "actor", "critic"}


def test_the_old_file_does_what_is_said_of_it(tmp_path: Path) -> None:
    schedules = build(block_as_preset(YAML[-1], tmp_path))
    assert [schedules["encoder"](step) for step in (1_999_999, 2_000_000)] == [1e-4, 5e-5]
    assert schedules["actor"](10**7) == schedules["actor"](2_000_000) == pytest.approx(8.04e-5, rel=1e-3)
    assert schedules["critic"](10**7) == 1e-4


def test_the_warm_up_begins_with_the_first_update(tmp_path: Path) -> None:
    (text,) = [text for text in YAML if "warmup: 4k" in text]
    settings = block_as_preset(text, tmp_path)
    assert (settings.num_seed_frames, settings.update_every_steps) == (4000, 2)
    rates = [build(settings)["actor"](step) for step in (4000, 6000, 8000, 10**6)]
    assert rates == [0.0, pytest.approx(5e-5), 1e-4, 1e-4]


# --- programs ---


@pytest.mark.parametrize("shown", REFUSALS, ids=range(len(REFUSALS)))
def test_refusals_are_what_the_program_says(shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command, _, message = shown.partition("\n")
    words = shlex.split(command.removeprefix("$ "))
    assert words[:2] == ["python", "preview_lr_schedule.py"]
    said = io.StringIO()
    with redirect_stderr(said):
        status = run_cli(preview, PREVIEW_CONFIG, PreviewSettings, words[2:])
    assert (status, said.getvalue()) == (2, message)
    assert not list(tmp_path.iterdir())


def test_the_sentences_quoted_are_said(tmp_path: Path) -> None:
    flat = " ".join(TEXT.split())
    absolute = {"type": "constant", "intervals": [{"lr": 1e-4}]}
    networks = ("encoder", "actor", "critic")
    schedules = build_schedules(
        dict.fromkeys(networks, absolute),
        base=dict.fromkeys(networks, 1e-4),
        total_steps=100,
        given=dict.fromkeys(networks, "lr"),
    )
    (note,) = schedules.notes
    assert f"`{note}`" in flat
    headless = YAML[-1].split("\n", 1)[1]
    with pytest.raises(ValueError, match="must begin with") as error:
        block_as_preset(headless, tmp_path)
    assert f"``{str(error.value).partition(': ')[2]}``" in flat


# --- numbers ---

# Network, step and rate behind each number of a preset's paragraph, at lr=1.0e-4 and 6M steps, written as there.
NUMBERS = {
    "constant": [("actor", 5_999_999, "1e-4")],
    "gentle_decay": [("actor", 0, "1e-4"), ("actor", 2_000_000, "5e-5"), ("actor", 4_000_000, "2.5e-5")],
    "aggressive_decay": [
        ("actor", 999_999, "1e-4"),
        ("actor", 1_000_000, "5e-5"),
        ("actor", 2_000_000, "2.5e-5"),
        ("actor", 3_000_000, "1e-5"),
        ("actor", 4_000_000, "5e-6"),
    ],
    "exponential_smooth": [("actor", 0, "1e-4"), ("actor", 6_000_000, "4.98e-6")],
    "stage_based": [
        ("actor", 99, "1.2e-4"),
        ("actor", 100, "1e-4"),
        ("actor", 200, "7e-5"),
        ("actor", 300, "5e-5"),
        ("actor", 400, "3e-5"),
    ],
    "differential": [
        ("encoder", 2_999_999, "8e-5"),
        ("encoder", 3_000_000, "4e-5"),
        ("actor", 0, "1.2e-4"),
        ("actor", 6_000_000, "5.97e-6"),
        ("critic", 999_999, "1.5e-4"),
        ("critic", 1_000_000, "7e-5"),
        ("critic", 2_500_000, "3e-5"),
    ],
    "warmup_cosine": [
        ("actor", 3_000_000, "5.25e-5"),
        ("actor", 6_000_000, "5e-6"),
    ],
    "wsd": [("actor", 4_799_999, "1e-4"), ("actor", 5_100_000, "5.05e-5"), ("actor", 6_000_000, "1e-6")],
    "one_cycle": [("actor", 0, "4e-6"), ("actor", 1_800_000, "1e-4"), ("actor", 6_000_000, "4e-10")],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_presets_have_the_numbers_given(name: str) -> None:
    (paragraph,) = re.findall(rf"### Preset `{name}`\n\n(.*?)\n\n", TEXT, re.DOTALL)
    schedules, stages = preset(name), [(100 * stage, stage) for stage in range(5)]
    for network, step, rate in NUMBERS[name]:
        assert schedules[network](step, stages) == pytest.approx(float(rate), rel=2e-3), (network, step)
    assert set(re.findall(r"[\d.]+e-\d+", paragraph)) == {rate for _, _, rate in NUMBERS[name]}
    times = {round(float(time) * 1e6) for time in re.findall(r"from ([\d.]+)M", paragraph)}
    assert times <= {step for _, step, _ in NUMBERS[name]}


def test_the_smooth_preset_halves_when_it_is_said_to() -> None:
    assert "half of it after 1.39M" in TEXT
    schedule = preset("exponential_smooth")["actor"]
    assert schedule(1_385_000) > 5e-5 > schedule(1_395_000)


def test_the_table_of_decay_rates() -> None:
    rows = re.findall(r"^\| (0\.99\d+) \| (\S+) \|$", TEXT, re.MULTILINE)
    assert rows
    for decay_rate, end in rows:
        schedule = preset("exponential_smooth", f"decay_rate={decay_rate}")["actor"]
        assert schedule(6_000_000) == pytest.approx(float(end), rel=2e-3)


# --- completeness ---


def test_every_shape_key_and_preset_is_described() -> None:
    headings = re.findall(r"^### `(\w+)`$", TEXT, re.MULTILINE)
    assert headings == list(SHAPES)
    for heading, after in zip(headings, TEXT.split("\n### `")[1:], strict=True):
        section = after.split("\n## ")[0]
        assert "\n```math\n" in section, heading
        assert f"type: {heading}\n" in section
        assert f"(images/lr_shape_{heading}.png)" in section
        keys = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        assert set(keys) == set(SHAPES[heading].keys) - {"repeat", "restart_factor"}, heading  # of several shapes
    assert not [key for key in KEYS if f"`{key}`" not in TEXT and f"`{key}: " not in TEXT]
    presets = {file.stem for file in (ROOT / "cfgs" / "lr_schedule").glob("*.yaml")}
    assert presets == set(re.findall(r"^### Preset `(\w+)`$", TEXT, re.MULTILINE)) == set(NUMBERS)
    assert presets == set(drawing().PRESETS)


def test_the_defaults_of_a_plateau_are_those_given() -> None:
    section = TEXT.split("### `reduce_on_plateau`")[1].split("\n## ")[0]
    given = dict(re.findall(r"^\| `(\w+)` \| `?([\w.]+)`? \|", section, re.MULTILINE))
    defaults = {field.name: str(field.default).removesuffix(".0") for field in fields(Plateau)}
    assert defaults | {"min_value": "null"} == given


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The tags that a training logs."""
    run = tmp_path_factory.mktemp("logged") / "run"
    words = (
        *("profile=smoke", "encoder_bundle@agent=state", "save_video=false", "num_train_frames=160"),
        *("eval_every_frames=80", "num_eval_episodes=1", "final_eval_episodes=1", "task.episode_seconds=1.0"),
    )
    assert train(run, *words) == 0
    return {*read_csv_table(run / "train.csv"), *read_csv_table(run / "eval.csv")}


@pytest.mark.slow
def test_every_tag_is_described(logged: set[str]) -> None:
    diagnostics = [tag for tag in logged if tag.startswith("diagnostics/")]
    ends = {re.sub(r"^diagnostics/(encoder|actor|critic)_", "", tag) for tag in diagnostics}
    assert ends
    assert len(diagnostics) == 3 * len(ends)
    tags = [*RATE_TAGS, STAGE_TAG, SUCCESS_TAG]
    assert set(tags) <= logged
    tags += [f"diagnostics/<network>_{end}" for end in ends]
    assert not [tag for tag in tags if f"`{tag}`" not in TEXT]


@pytest.mark.slow
def test_the_tags_named_are_logged(logged: set[str]) -> None:
    tags = set(re.findall(r"`((?:train|eval)/\w+)`", TEXT)) - {"train/lr_actor"}  # Stable-Baselines3's
    assert tags
    assert not tags - logged


def test_links_lead_somewhere() -> None:
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    files = [target for target in targets if not target.startswith(("http", "#"))]
    assert files
    assert not [file for file in files if not (MANUAL.parent / file.partition("#")[0]).is_file()]
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    inside = [target[1:] for target in targets if target.startswith("#")]
    assert inside
    assert not set(inside) - anchors


# --- pictures ---


def test_pictures_are_drawn_and_small() -> None:
    module = drawing()
    drawn = {*module.examples(), *(f"lr_{name}.png" for name in module.PRESETS), module.OVERVIEW}
    files = set((ROOT / "docs" / "images").glob("lr_*.png"))
    assert {file.name for file in files} == drawn == set(re.findall(r"images/(lr_\w+\.png)", TEXT))
    assert max(file.stat().st_size for file in files) < 60_000


def test_a_picture_shows_the_block_above_it(tmp_path: Path) -> None:
    module = drawing()
    text = module.examples()["lr_edges.png"]
    steps, rates, bands = module.curves_of(module.settings_of(text))
    # Held at 0.8x in the gap between the lines, and at 0.2x after the last.
    at = dict(zip(steps.tolist(), rates["critic"].tolist(), strict=True))
    assert [at[step] for step in (999_999, 1_000_000, 2_499_000, 5_001_000)] == [1e-4, 1.5e-4, 8e-5, 2e-5]
    assert bands == []
    module.draw(tmp_path / "edges.png", (steps, rates, bands), "linear")
    kept = Image.open(ROOT / "docs" / "images" / "lr_edges.png")
    assert Image.open(tmp_path / "edges.png").size == pytest.approx(kept.size, rel=0.05)


def test_the_made_up_evaluations_reduce_the_rates_in_the_picture() -> None:
    module = drawing()
    settings = module.settings_of(module.examples()["lr_shape_reduce_on_plateau.png"])
    steps, rates, _ = module.curves_of(settings)
    # Halved three times, then held by min_lr; the first time long after the beginning, as the curve levels off.
    assert list(dict.fromkeys(rates["encoder"].tolist())) == [1e-4, 5e-5, 2.5e-5, 1.25e-5, 1e-5]
    assert 2_000_000 < steps[rates["encoder"] < 1e-4][0] < 3_000_000
    # Half-way the critic goes over to its line, from 0.4x to 0.1x.
    assert rates["critic"][steps == 3_000_000] == 4e-5


# --- the curriculum ---

CURRICULUM = (ROOT / "docs" / "curriculum.md").read_text(encoding="utf-8")
CURRICULUM_COMMANDS = re.findall(r"^python .*$", CURRICULUM, re.MULTILINE)


@pytest.fixture
def curriculum_files(tmp_path: Path) -> list[str]:
    """The files of the page, each written where the sentence before it says, and the flag that finds them."""
    named = re.findall(r"`cfgs/(\S+\.yaml)`:\n\n```yaml\n(.*?)^```", CURRICULUM, re.MULTILINE | re.DOTALL)
    assert len(named) == CURRICULUM.count("```yaml") == 2
    for path, text in named:
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text, encoding="utf-8")
    return ["--config-dir", str(tmp_path)]


@pytest.mark.parametrize("line", CURRICULUM_COMMANDS)
def test_commands_of_the_curriculum_are_understood(line: str, curriculum_files: list[str]) -> None:
    _, script, *words = shlex.split(line)
    if script == "evaluate.py":
        settings = compose(EVALUATE_CONFIG, [*words, *curriculum_files], EvaluateSettings).settings
        assert settings.policy == "expert"
    else:
        config, kind = SCRIPTS[script]
        build(compose(config, [*words, *curriculum_files], kind).settings)


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table below its first row."""
    (table,) = re.findall(rf"^\| {heading} \|.*\n\| ---.*\n((?:\|.*\n)+)", CURRICULUM, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def test_the_presets_of_the_curriculum_are_those_given() -> None:
    found = {}
    for file in (ROOT / "cfgs" / "curriculum_preset").glob("*.yaml"):
        rules = compose(TRAIN_CONFIG, [f"curriculum_preset={file.stem}"], Settings).settings.curriculum
        found[file.stem] = (rules.stage_names[-1], rules.window, rules.min_episodes, rules.success_rate)
    given = {
        row[0].split("`")[1]: (row[2].strip("`"), int(row[3]), int(row[4]), float(row[5])) for row in rows_of("preset")
    }
    assert given == found


def test_the_keys_of_the_curriculum_are_those_given() -> None:
    tables = re.findall(r"^\| key \|.*\n\| ---.*\n((?:\|.*\n)+)", CURRICULUM, re.MULTILINE)
    rules, stage = (dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", t, re.MULTILINE)) for t in tables)
    used = compose(TRAIN_CONFIG, [], Settings).settings.curriculum.to_plain() | {"stages": "five stages"}
    assert rules == {key: "null" if value is None else str(value) for key, value in used.items()}
    defaults = StageSettings(name="x").to_plain() | {"name": ""}
    assert stage == {key: str(value).lower() for key, value in defaults.items()}


def test_the_intervals_given_are_right() -> None:
    rows = rows_of("landed")
    assert rows
    for landed, rate, interval, reaches in rows:
        successes, trials = map(int, landed.split(" of "))
        low, high = wilson_interval(successes, trials)
        assert (rate, interval) == (f"{successes / trials:.0%}", f"{100 * low:.0f}–{100 * high:.0f}%")
        assert (reaches == "yes") == (low >= 0.85)


@pytest.mark.slow
def test_the_tags_of_the_curriculum_are_logged(logged: set[str]) -> None:
    tags = [row[0].strip("`") for row in rows_of("tag")]
    assert not [tag for tag in tags if tag.replace("{i}", "0") not in logged]


def test_links_of_the_curriculum_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", CURRICULUM)
    headings = re.findall(r"^#+ (.+)$", CURRICULUM, re.MULTILINE)
    anchors = {"#" + heading.lower().replace(" ", "-") for heading in headings}
    missing = [t for t in targets if t not in anchors and not (ROOT / "docs" / t).is_file()]
    assert targets
    assert not missing
