"""``evaluate.py inspect=...``: what a snapshot holds, or which snapshots and evaluations a run folder has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from glideslope.display.console import say
from glideslope.display.results import results_table
from glideslope.errors import UserError, data_size, reason
from glideslope.evaluation.results_folder import EVALUATIONS, Evaluation, evaluations
from glideslope.runs.run_folder import runs_below
from glideslope.runs.snapshots import SnapshotPart, contents, load, newest_snapshot
from glideslope.settings import Settings

_LONGEST_VALUE = 30
_RUNS_NAMED = 3
# How deep the parts of a snapshot are listed; the settings are told in words.
_DEPTH = 4
_DEPTHS = {"settings.": 1, "agent.optimizers.": 3, "run.": 3}
_RATE = ".param_groups.0.lr"


def inspect(path: Path, console: Console | None = None) -> int:
    """List a snapshot's contents, or a run folder's snapshots and evaluations; returns the exit status.

    Raises:
        UserError: it can't be read, or is no snapshot; a folder without any, and without evaluations.
    """
    console = console or Console()
    if path.name == EVALUATIONS and path.is_dir():
        path = path.absolute().parent
    if path.is_dir():
        _list_folder(path, console)
    else:
        _list_snapshot(path, console)
    return 0


def locate(key: str, value: str) -> Path:
    """Return the run folder or snapshot that the setting ``key`` names.

    Raises:
        UserError: there is none, with what is there instead, or it can't be looked at.
    """
    path = Path(value).expanduser()
    try:
        path.stat()
    except FileNotFoundError as error:
        raise UserError(f"{key}={value}: no such run folder or snapshot{_neighbours(path)}") from error
    except OSError as error:
        raise UserError(f"{key}={value}: can't be read: {reason(error)}") from error
    if path.is_dir() and not any(path.glob("*.pt")) and (runs := runs_below(path)):
        named = ", ".join(f"{key}={run}" for run in runs[:_RUNS_NAMED])
        more = f" and {len(runs) - _RUNS_NAMED} more" if len(runs) > _RUNS_NAMED else ""
        raise UserError(f"{key}={value}: is a folder of runs; give one of them, newest first: {named}{more}")
    return path


def _neighbours(path: Path) -> str:
    """Return what is there instead, nearest first."""
    if not path.parent.is_dir():
        return ""
    names = [entry.name for entry in path.parent.iterdir()]
    close = get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""


# --- a snapshot ---


def _list_snapshot(path: Path, console: Console) -> None:
    content = load(path)
    lines = [f"{path}: snapshot of format {content['format']}, {data_size(path.stat().st_size)}"]
    lines.append(", ".join(_state(content)))
    whole = "all that a run needs to resume" if "run" in content else "a policy: no run can resume from it"
    lines.append(f"holds {whole}")
    lines += _settings(content)
    for line in lines:
        say(console, line)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("part", overflow="fold")
    table.add_column("what", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for name, entry in _outline(contents(content)):
        table.add_row(name, _what(entry), data_size(entry.bytes) if entry.bytes else "")
    console.print(table, markup=False)


def _state(content: Mapping[str, Any]) -> Iterator[str]:
    for key in ("frame", "step", "stage"):
        if isinstance(content.get(key), int):
            yield f"{key} {content[key]:,}"
    rate = _success_rate(content)
    if rate:
        yield f"{rate} landed"


def _settings(content: Mapping[str, Any]) -> Iterator[str]:
    """Return the settings in a few lines, or why they can't be read."""
    try:
        settings = Settings.from_config(content.get("settings", {}))
    except UserError as error:
        yield f"settings: don't fit this version: {str(error).splitlines()[0]}"
        return
    agent, task = settings.agent, settings.task
    schedule = "constant" if settings.lr_schedule is None else f"of {', '.join(settings.lr_schedule)}"
    yield (
        f"settings: profile {settings.profile}, seed {settings.seed},"
        f" {settings.num_train_frames:,} frames, {settings.num_envs} environments"
    )
    yield (
        f"  encoder {agent.encoder.name}, actor-critic {agent.actor_critic.name},"
        f" images {task.image_size} x {task.image_size}"
    )
    yield f"  lr {settings.lr:g}, lr_schedule {schedule}"
    yield f"  stages {', '.join(settings.curriculum.stage_names)}"


def _outline(entries: Sequence[SnapshotPart]) -> Iterator[tuple[str, SnapshotPart]]:
    """Return the entries worth a line, with their names below what holds them indented."""
    above: list[str] = []
    for entry in entries:
        depth = next((d for prefix, d in _DEPTHS.items() if entry.path.startswith(prefix)), _DEPTH)
        if entry.depth > depth and not entry.path.endswith(_RATE):
            continue
        while above and not entry.path.startswith(f"{above[-1]}."):
            above.pop()
        name = entry.path.removeprefix(f"{above[-1]}.") if above else entry.path
        yield "  " * len(above) + name, entry
        above.append(entry.path)


def _what(entry: SnapshotPart) -> str:
    if entry.shape is not None:
        return f"{list(entry.shape)} {entry.dtype}"
    if entry.kind == "mapping" or (entry.kind == "list" and entry.value is None):
        return f"{entry.entries} {'part' if entry.entries == 1 else 'parts'}"
    shown = str(list(entry.value) if entry.kind == "list" else entry.value)
    if len(shown) <= _LONGEST_VALUE:
        return shown
    return f"{entry.entries} values" if entry.kind == "list" else f"{shown[: _LONGEST_VALUE - 1]}…"


# --- a run folder ---


def _list_folder(folder: Path, console: Console) -> None:
    paths = sorted(folder.glob("*.pt"))
    scored, unreadable = evaluations(folder)
    if not paths and not scored and not unreadable:
        raise UserError(f"{folder}: holds no snapshot and no evaluations")
    if paths:
        _list_snapshots(folder, paths, console)
    if scored:
        _list_evaluations(folder, scored, console)
    for fault in unreadable:
        say(console, fault)


def _list_snapshots(folder: Path, paths: Sequence[Path], console: Console) -> None:
    read, faults = [], []
    for path in paths:
        try:
            read.append((load(path), path))
        except UserError as error:
            faults.append(str(error))
            read.append(({}, path))
    table = _table("snapshot", "stage", "frame", "landed", "size", "state")
    for content, path in sorted(read, key=lambda row: (row[0].get("frame", -1), row[1])):
        table.add_row(
            path.name,
            str(content.get("stage", "–")),
            f"{content['frame']:,}" if "frame" in content else "–",
            _success_rate(content) or "–",
            data_size(path.stat().st_size),
            "good" if content else "faulty",
        )
    say(console, f"{folder}: {len(paths)} {'snapshot' if len(paths) == 1 else 'snapshots'}")
    console.print(table, markup=False)
    for fault in faults:
        say(console, fault)
    if len(faults) < len(paths):
        say(console, f"run={folder} plays {newest_snapshot(folder).name}")


def _list_evaluations(folder: Path, scored: Sequence[Evaluation], console: Console) -> None:
    """List a folder's evaluations, the newest last, and show the results of that one."""
    table = _table("evaluation", "stage", "landed", "state")
    for evaluation in scored:
        stages = _range([row["stage"] for row in evaluation.rows], "d")
        rates = _range([row["success_rate"] for row in evaluation.rows], ".1%")
        table.add_row(evaluation.folder.name, stages, rates, "complete" if evaluation.complete else "unfinished")
    count = f"{len(scored)} {'evaluation' if len(scored) == 1 else 'evaluations'}"
    say(console, f"\n{folder / EVALUATIONS}: {count}, the newest last")
    console.print(table, markup=False)
    newest = scored[-1]
    say(console, f"The newest: {newest.info.get('title')}")
    for note in newest.info.get("notes", ()):
        say(console, f"Note: {note}")
    if newest.rows:
        console.print(results_table([*newest.rows, *newest.compared]), markup=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _range(values: Sequence[float], form: str) -> str:
    """Return the least and the greatest of some numbers, once where they are the same."""
    if not values:
        return "–"
    return " to ".join(dict.fromkeys(format(value, form) for value in (min(values), max(values))))


def _success_rate(content: Mapping[str, Any]) -> str:
    rate = content.get("success_rate")
    return f"{rate:.0%}" if isinstance(rate, int | float) else ""
