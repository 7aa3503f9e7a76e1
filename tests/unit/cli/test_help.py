"""What `--help` says is true: whatever it offers is accepted, and what it tells comes from one source."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from glideslope.cli.compare import with_runs
from glideslope.cli.help_text import meaning
from glideslope.cli.main import PROGRAMS, compose, run_cli
from glideslope.settings import (
    AnyActorCriticSettings,
    CommandSettings,
    CompareSettings,
    CurriculumSettings,
    EncoderSettings,
    EvaluateSettings,
    ExportSettings,
    OnStageSettings,
    PlaySettings,
    PreviewSettings,
    RewardSettings,
    Settings,
    StageSettings,
    SweepSettings,
    TaskSettings,
)
from glideslope.settings.catalogue import CONFIG_DIR, groups_of, options_of
from glideslope.settings.checks import CheckedSettings, choices
from glideslope.settings.yaml_files import parse_yaml

pytestmark = pytest.mark.usefixtures("workplace")

# What makes a program's empty command line a complete one.
NEEDED = {
    **{"train": [], "preview": [], "evaluate": ["policy=expert"], "compare": ["runs=[a]"]},
    **{"export": ["run=a"], "play": ["policy=expert"]},
    "tune": ["method=asha"],  # which goes with any schedule
}


def shown(program: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    def main(composed: object) -> int:
        raise AssertionError("help runs nothing")

    assert run_cli(main, *PROGRAMS[program], ["--help", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert list(Path.cwd().iterdir()) == []
    return out


def accept(program: str, words: list[str]) -> Any:
    config, settings = PROGRAMS[program]
    return compose(config, words, settings).settings


def options_in(text: str) -> list[str]:
    """group=option, of every option offered."""
    found, group = [], ""
    if "Groups," not in text:
        return []
    for line in text.split("Groups,")[1].split("\n\n")[0].splitlines()[1:]:
        if match := re.fullmatch(r" ([\w@]+)=", line):
            group = match[1]
        elif match := re.match(r"[* ] (\w+)( |$)", line):
            found.append(f"{group}={match[1]}")
    return found


def keys_in(text: str) -> list[str]:
    """key=default, of every key offered."""
    return re.findall(r"^  ([\w.]+=(?:\[.*?\]|\S+))", text.split("\nKeys,")[1].split("\n\n")[0], re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("everything", [[], ["all"]], ids=["short", "all"])
def test_what_help_offers_is_accepted(program: str, everything: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(program, capsys, *everything)
    plain = accept(program, NEEDED[program])
    options, keys = options_in(text), keys_in(text)
    groups = {option.partition("=")[0] for option in options}
    assert groups == set(groups_of(PROGRAMS[program][0]))
    for group in groups:
        assert [f"{group}={option}" for option in options_of(group)] == [
            option for option in options if option.startswith(f"{group}=")
        ]
    if not everything:
        by_group = [[option for option in options if option.startswith(f"{group}=")] for group in groups]
        for one_of_each in zip_longest(*by_group):
            accept(program, [*NEEDED[program], *filter(None, one_of_each)])
    # Typing what is the default changes nothing; policy=null would say that nothing is to be evaluated.
    assert accept(program, [word for word in keys if word != "policy=null"] + NEEDED[program]) == plain


@pytest.mark.parametrize("program", PROGRAMS)
def test_examples_of_help_are_accepted(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(program, capsys).split("Examples:\n")[1].split("\n\n")[0].replace("\\\n", "")
    lines = [shlex.split(line) for line in text.splitlines()]
    assert len(lines) >= 3
    for words in lines:
        assert words[0] == "python"
        assert (CONFIG_DIR.parent / words[1]).is_file()
        if "-m" in words:
            jobs: list[object] = []
            assert run_cli(lambda composed, jobs=jobs: jobs.append(composed) or 1, *PROGRAMS[program], words[2:])
            assert len(jobs) == 4
        else:
            accept(program, with_runs(words[2:]) if program == "compare" else words[2:])


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_fits_on_two_screens_and_all_of_it_names_every_key(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    short, full = shown(program, capsys), shown(program, capsys, "all")
    assert len(short.splitlines()) <= 90
    assert all(len(line) <= 80 for line in [*short.splitlines(), *full.splitlines()])
    assert "\x1b" not in short
    plain = accept(program, NEEDED[program]).to_plain()
    words = {word.partition("=")[0] for word in keys_in(full)}
    expected = set(_leaves(plain)) - {
        "profile",
        "decay_rate",
        "agent.encoder.name",
        "agent.actor_critic.name",
    }
    assert words - set(CommandSettings.model_fields) == {
        key for key in expected if not re.match(r"curriculum\.stages\.([1-9]|0\.name)", key)
    }
    # Each key has something said of it.
    assert not re.findall(r"^  [\w.]+=\S+$(?!\n {31})", full.split("\nKeys,")[1].split("\n\n")[0], re.MULTILINE)


def _leaves(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{key}.{i}")
    else:
        yield key


def test_help_shows_the_defaults_of_what_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("all", "profile=cpu", "lr_schedule=exponential_smooth", "encoder_bundle@agent=enc_A")
    text = shown("train", capsys, *words)
    assert "* cpu " in text
    keys = keys_in(text)
    # The profile's rate, the preset's own key, and the bundle's.
    assert {"lr=0.0005", "decay_rate=0.9995", "agent.encoder.d_model=64", "task.image_size=48"} <= set(keys)


# --- One source -----------------------------------------------------------------------------------


def models_of(path: Path) -> dict[tuple[str, ...], type[CheckedSettings]]:
    """Path of a mapping in a file of cfgs/ → the settings that it is of."""
    group = path.parent.name
    encoder, actor_critic = (
        {name: model for model in get_args(union) for name in choices(model)}
        for union in (EncoderSettings, AnyActorCriticSettings)
    )
    return {
        "config_gimbal_curriculum": {(): Settings, ("on_stage",): OnStageSettings},
        "config_evaluate": {(): EvaluateSettings, ("sweep",): SweepSettings},
        "config_preview": {(): PreviewSettings},
        "config_compare": {(): CompareSettings},
        "config_export": {(): ExportSettings},
        "config_play": {(): PlaySettings},
        "task": {(): TaskSettings, ("rewards",): RewardSettings},
        "curriculum_preset": {("curriculum",): CurriculumSettings},
        "curriculum_stages": {("curriculum", "stages"): StageSettings},
        "encoder_bundle": {("encoder",): encoder.get(path.stem, encoder["original"])},
        "actor_critic_bundle": {("actor_critic",): actor_critic.get(path.stem, actor_critic["original"])},
    }.get(path.stem if group == "cfgs" else group, {})


def fields_of(model: type[CheckedSettings]) -> dict[str, FieldInfo]:
    return {**model.model_fields, **(CommandSettings.model_fields if model is Settings else {})}


def spelt(path: Path) -> Iterator[tuple[tuple[str, ...], str, str, Any]]:
    """Mapping, key, comment behind it and value, of each key of a file; a merged mapping is a part of its place."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()

    def walk(node: yaml.Node, value: Any, above: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        if isinstance(node, yaml.SequenceNode):
            for item, its in zip(node.value, value, strict=True):
                yield from walk(item, its, above)
        elif isinstance(node, yaml.MappingNode):
            for key, below in node.value:
                if key.value == "<<":
                    whole = parse_yaml(yaml.serialize(below))
                    yield from walk(below, whole, above)
                    continue
                yield (
                    above,
                    key.value,
                    lines[key.start_mark.line].partition(" # ")[2].strip(),
                    value[key.value],
                )
                yield from walk(below, value[key.value], (*above, key.value))

    return walk(yaml.compose(text, yaml.SafeLoader), parse_yaml(text), ())


def said_in_files() -> Iterator[tuple[Path, str, str, str]]:
    """File, key, comment and the meaning of the key, wherever a setting has a comment."""
    for path in sorted(CONFIG_DIR.rglob("*.yaml")):
        models = models_of(path)
        for above, key, comment, _ in spelt(path):
            model = models.get(above)
            if not comment or model is None or key == "name" or above[:1] in (("defaults",), ("hydra",)):
                continue
            if key in fields_of(model):
                yield path, key, comment, meaning(fields_of(model)[key])


def test_comments_in_the_files_say_what_the_settings_say() -> None:
    said = list(said_in_files())
    assert len(said) > 120
    wrong = [
        f"{path.name}: {key}: {comment!r}, not {text!r}"
        for path, key, comment, text in said
        if comment.lower() != text.lower()
    ]
    assert not wrong


# The files that spell out every key of some settings; all others change what one of these says.
COMPLETE = [
    *(
        "config_gimbal_curriculum",
        "config_evaluate",
        "config_preview",
        "config_compare",
        "config_export",
        "config_play",
    ),
    *("task/gimbal_landing", "curriculum_preset/balanced"),
    *(f"curriculum_stages/{name}" for name in ("five_stages", "full_gimbal", "full_task", "moving_pad")),
    *(f"encoder_bundle/{name}" for name in ("original", "state", "enc_A", "enc_B")),
    *(f"actor_critic_bundle/{name}" for name in ("original", "multihead_attention")),
    "actor_critic_bundle/autoregressive_gimbal_first",
]
# Keys that a primary config leaves to files of groups, or to the files that it builds on.
ELSEWHERE: dict[type[CheckedSettings], Collection[str]] = {
    Settings: {"profile", "decay_rate", "agent", "task", "curriculum"},
    **{EvaluateSettings: {"task", "curriculum"}, PlaySettings: {"task", "curriculum"}},
    PreviewSettings: Settings.model_fields,
    CurriculumSettings: {"stages"},
}
# What the default curriculum chooses otherwise than a curriculum that says nothing.
CHOSEN = {"cooldown_episodes": 20, "last_stage": 4}


@pytest.mark.parametrize("file", COMPLETE)
def test_the_files_spell_out_every_setting_with_its_meaning_and_default(file: str) -> None:
    path = CONFIG_DIR / f"{file}.yaml"
    for place, model in models_of(path).items():
        found = {
            key: (comment, value)
            for above, key, comment, value in reversed(list(spelt(path)))  # the first one counts
            if above == place and key not in ("defaults", "hydra")
        }
        fields = fields_of(model)
        assert found.keys() == fields.keys() - set(ELSEWHERE.get(model, ()))
        for key in found.keys() - {"name"}:
            comment, value = found[key]
            assert comment.lower() == meaning(fields[key]).lower(), key
            if (*place, key) not in models_of(path):
                assert value == CHOSEN.get(key, to_jsonable_python(fields[key].default)), key


def test_no_file_of_settings_is_left_out() -> None:
    """A file is complete or builds on another, and so has no key of its own."""
    for path in sorted(CONFIG_DIR.rglob("*.yaml")):
        if models_of(path) and str(path.relative_to(CONFIG_DIR).with_suffix("")) not in COMPLETE:
            assert parse_yaml(path.read_text(encoding="utf-8"))["defaults"], path


def test_what_is_no_file_is_no_option(tmp_path: Path) -> None:
    """Such as the link that an editor makes beside a file with changes, which leads nowhere."""
    folder = tmp_path / "lr_schedule"
    (folder / "odd.yaml").mkdir(parents=True)
    (folder / ".#mine.yaml").symlink_to("user@host.1234")
    (folder / "latin.yaml").write_bytes(b"# caf\xe9\nlr_schedule: null\n")
    (folder / "mine.yaml").write_text("# Mine.\n", encoding="utf-8")
    assert options_of("lr_schedule", [tmp_path]) == {"latin": "", "mine": "Mine."}


def test_every_option_says_in_one_line_what_it_is_for() -> None:
    groups = {group for config, _ in PROGRAMS.values() for group in groups_of(config)}
    for group in groups:
        for option, purpose in options_of(group).items():
            assert 10 < len(purpose) <= 49, (group, option)
