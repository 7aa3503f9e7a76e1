"""What `--help` shows: each key with its meaning and default, each option of a group with what it is for.

Meanings are the descriptions of the settings, defaults those of the composed configuration, headings and what
an option is for the comments in `cfgs/`: nothing of them is written here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from glideslope.cli.arguments import PROGRAMS, TRAIN_CONFIG
from glideslope.cli.entry import COMMANDS
from glideslope.display.commands import program, started
from glideslope.errors import typed
from glideslope.settings import (
    CommandSettings,
    CompareSettings,
    EvaluateSettings,
    ExportSettings,
    PlaySettings,
    PreviewSettings,
    SearchSettings,
    Settings,
)
from glideslope.settings.catalogue import groups_of, headings_of, options_of
from glideslope.settings.checks import CheckedSettings, choices

WIDTH = 80
_COLUMN = 31  # where meanings begin


@dataclass(frozen=True)
class _Page:
    """What the help of a program says that no file says."""

    command: str  # its name in `COMMANDS`
    examples: tuple[str, ...]  # command lines, without the program's name
    groups: tuple[str, ...]  # those used most first
    keys: tuple[str, ...]  # those used most, most of all first; `--help all` shows every key
    groups_go_with: str = ""  # what the groups are for, where not for all that the program does
    usage: str = "[group=option] [key=value]"


_GROUPS = (
    *("lr_schedule", "profile", "curriculum_preset"),
    *("encoder_bundle@agent", "actor_critic_bundle@agent", "task"),
)
_PAGES: Mapping[type[CheckedSettings], _Page] = {
    Settings: _Page(
        command="train",
        examples=(
            "profile=cpu",
            "lr_schedule=gentle_decay lr=2.0e-4",
            "-m lr_schedule=constant,gentle_decay seed=1,2",
        ),
        groups=_GROUPS,
        keys=(
            *("lr", "lr_encoder", "lr_actor", "lr_critic"),
            *("seed", "device", "num_threads", "resume", "objective"),
            *("num_train_frames", "num_seed_frames", "num_envs", "batch_size", "replay_buffer_size"),
            *("eval_every_frames", "num_eval_episodes", "final_eval_episodes", "save_video"),
        ),
    ),
    EvaluateSettings: _Page(
        command="evaluate",
        examples=(
            "run=exp_local/2026.01.31/101500_defaults",
            "run=exp_local/2026.01.31/101500_defaults stage=all video=true",
            "policy=expert stage=all",
            "inspect=exp_local/2026.01.31/101500_defaults",
        ),
        groups=("curriculum_preset", "task"),
        keys=(
            *("run", "policy", "inspect", "stage", "episodes", "video", "out", "compare", "sweep", "benchmark"),
            *("seed", "num_envs", "num_threads", "device"),
        ),
        groups_go_with=", with policy=...; a run plays its own",
    ),
    PlaySettings: _Page(
        command="play",
        examples=(
            "run=exp_local/2026.01.31/101500_defaults",
            "run=exp_local/2026.01.31/101500_defaults pad_speed=1 show=film",
            "policy=expert stage=4",
        ),
        groups=("curriculum_preset", "task"),
        keys=("run", "policy", "stage", "pad_speed", "wind", "seed", "show", "episodes", "out", "device"),
        groups_go_with=", with policy=...; a run plays its own",
    ),
    PreviewSettings: _Page(
        command="preview",
        examples=(
            "lr_schedule=gentle_decay",
            "lr_schedule=exponential_smooth decay_rate=0.9998 steps=[0,1M,40%]",
            "lr_schedule=stage_based stage_steps=[0,400k]",
        ),
        groups=_GROUPS,
        keys=(
            *("steps", "stage_steps", "scale", "out"),
            *("lr", "lr_encoder", "lr_actor", "lr_critic", "num_train_frames"),
        ),
    ),
    CompareSettings: _Page(
        command="compare",
        examples=(
            "exp_local/2026.01.31/101500_sweep",
            "exp_local/2026.01.31 by=lr_schedule",
            "exp_local/2026.01.31/101500_lr-1e-4 exp_local/2026.01.31/101700_lr-2e-4",
        ),
        groups=(),
        keys=("runs", "by", "out"),
        usage="FOLDER... [key=value]",
    ),
    ExportSettings: _Page(
        command="export",
        examples=(
            "run=exp_local/2026.01.31/101500_defaults",
            "run=exp_local/2026.01.31/101500_defaults out=policies/landing.onnx",
            "run=exp_local/2026.01.31/101500_defaults/snapshot.pt num_threads=1",
        ),
        groups=(),
        keys=("run", "out", "num_threads"),
        usage="run=FOLDER [key=value]",
    ),
    SearchSettings: _Page(
        command="tune",
        examples=(
            "profile=state",
            "profile=state population=8 spread=5",
            "profile=state lr_schedule=gentle_decay method=asha population=16",
        ),
        groups=_GROUPS,
        keys=(
            *("method", "population", "exchange_every_frames", "spread"),
            *("processors_per_training", "gpus_per_training", "address"),
            *("lr", "lr_encoder", "lr_actor", "lr_critic", "num_train_frames", "seed"),
        ),
    ),
}
_FLAGS = (
    ("--help all", "Show every key"),
    ("--version", "Show the version"),
    ("--cfg job", "Show the composed configuration, run nothing"),
    ("-m, --multirun", "Run a job for each value: key=a,b"),
    ("--config-dir FOLDER", "Look for options in FOLDER/GROUP too"),
)


def script_of(settings: type[CheckedSettings]) -> str:
    """Return the name of the program that these settings are of."""
    return program(_PAGES[settings].command)


def help_text(
    settings: type[CheckedSettings],
    mapping: Mapping[str, Any],
    choices: Mapping[str, str],
    folders: Sequence[Path],
    *,
    everything: bool,
) -> str:
    """Return the help of a program, no line longer than 80 characters, with every key or those used most.

    The values of the composed `mapping` are the defaults shown; `folders` have the files of groups.
    """
    page = _PAGES[settings]
    lines = [*textwrap.wrap(COMMANDS[page.command], WIDTH), "", f"Usage: {started(page.command)} {page.usage}"]
    lines += ["", "Examples:", *(_example(started(page.command), example) for example in page.examples)]
    known = groups_of(PROGRAMS[page.command][0])
    if known:
        lines += ["", f"Groups, group=option (* is the default){page.groups_go_with}:"]
    for group in (*page.groups, *(group for group in known if group not in page.groups)):
        lines.append(f" {group}=")
        for option, purpose in options_of(group, folders).items():
            mark = "*" if choices.get(group) == option else " "
            lines += _entry(f"{mark} {option}", purpose)
    if settings is not Settings:  # a preview or a search takes the keys of a training, but for these
        mapping = {key: value for key, value in mapping.items() if key not in CommandSettings.model_fields}
    lines += ["", "Keys, key=default:"]
    for heading, keys in _headed(page, mapping, everything).items():
        if heading:
            lines.append(f" {heading}")
        for key in keys:
            lines += _lines_of(key, mapping[key], _field(settings, key))
    if not everything and known:
        lines.append("  ...  --help all shows every key")
    lines += ["", "Flags:"]
    for flag, purpose in _FLAGS:
        lines += _entry(f"  {flag}", purpose)
    return "\n".join(lines) + "\n"


def meaning(field: FieldInfo) -> str:
    """Return what a setting means, without a full stop, its choices behind it."""
    text = " ".join((field.description or "").split()).rstrip(".")
    options = choices(field.annotation)
    return f"{text}: {' | '.join(options)}" if len(options) > 1 else text


def _example(start: str, example: str) -> str:
    line = f"  {start} {example}"
    return line if len(line) <= WIDTH else f"  {start} \\\n    {example}"


def _entry(name: str, text: str) -> list[str]:
    """`name` and `text` in two columns."""
    wrapped = textwrap.wrap(text, WIDTH - _COLUMN, break_long_words=False) or [""]
    indent = " " * _COLUMN
    if len(name) + 1 > _COLUMN:
        return [name, *(indent + line for line in wrapped)]
    return [f"{name:{_COLUMN}}{wrapped[0]}".rstrip(), *(indent + line for line in wrapped[1:])]


def _headed(page: _Page, mapping: Mapping[str, Any], everything: bool) -> dict[str, list[str]]:
    """The keys to be shown below their headings."""
    headings = headings_of(PROGRAMS[page.command][0])
    if issubclass(PROGRAMS[page.command][1], Settings):
        headings |= headings_of(TRAIN_CONFIG)
    headed = {key for keys in headings.values() for key in keys}
    files = [key for key in mapping if key not in headed]  # what the files of groups hold
    headings = {**headings, "Of the options chosen": files}
    shown = {
        heading: [key for key in keys if key in mapping and (everything or key in page.keys)]
        for heading, keys in headings.items()
    }
    if not everything:
        rank = page.keys.index
        shown = {
            heading: sorted(keys, key=rank)
            for heading, keys in sorted(shown.items(), key=lambda item: min(map(rank, item[1]), default=0))
        }
    return {heading: keys for heading, keys in shown.items() if keys}


def _field(settings: type[CheckedSettings], key: str) -> FieldInfo:
    return (CommandSettings if key in CommandSettings.model_fields else settings).model_fields[key]


def _lines_of(key: str, value: Any, field: FieldInfo) -> list[str]:
    """A key, and what is below it."""
    model = _model(field.annotation, value)
    if model is None and isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [
            line
            for name, item in value[0].items()
            if name != "name"
            for line in _lines_of(f"{key}.0.{name}", item, next(_models(field.annotation)).model_fields[name])
        ]
    if model is not None and isinstance(value, Mapping):
        below = [name for name in value if name in model.model_fields and name != "name"]
        return [line for name in below for line in _lines_of(f"{key}.{name}", value[name], model.model_fields[name])]
    shown = "{...}" if isinstance(value, Mapping) else typed(value)
    return _entry(f"  {key}={shown}", meaning(field))


def _models(annotation: Any) -> Iterator[type[CheckedSettings]]:
    if isinstance(annotation, type) and issubclass(annotation, CheckedSettings):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _model(annotation: Any, value: Any) -> type[CheckedSettings] | None:
    """The settings that a mapping is of: of several, those whose name it has."""
    if not isinstance(value, Mapping):
        return None
    models = list(_models(annotation))
    named = [m for m in models if value.get("name") in choices(m)] if len(models) > 1 else models
    return next(iter(named), None)
