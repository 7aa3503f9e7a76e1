"""``evaluate.py``: how well a trained or a scripted policy lands, on scenarios that no training saw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from glideslope.assembly import make_agent, make_env, resolve_device, use_threads, uses_pixels
from glideslope.checkpoint import load, newest_snapshot
from glideslope.envs.baselines import make_policy
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.files import write_text
from glideslope.scoring import TEST_SEED, Act, Score, record_episodes, score
from glideslope.settings import (
    CurriculumSettings,
    EvaluateSettings,
    Settings,
    SettingsError,
    TaskSettings,
    UserError,
    select_stages,
)

RESULTS = "evaluation.json"
SCENARIOS_PER_SEED = 100_000
VIDEO_EPISODES = 3


@dataclass(frozen=True)
class Subject:
    """A policy and the task that it is to play."""

    title: str
    act: Act
    curriculum: CurriculumSettings
    default_stage: int | str | None
    out: Path
    settings: Settings | None  # those of the training; None for a scripted policy
    task: TaskSettings
    device: str

    def environment(self, num_envs: int, num_threads: int, *, film: bool = False) -> LandingVectorEnv:
        """The task as the policy sees it; for a film the scripted ones are given eyes as well."""
        stage = self.curriculum.stages[0]
        if self.settings is not None:
            return make_env(self.settings, num_envs, stage, self.device, film=film)
        return LandingVectorEnv(
            num_envs, task=self.task, stage=stage, pixels=film, device=self.device, num_threads=num_threads
        )


def evaluate(settings: EvaluateSettings, console: Console | None = None) -> int:
    """Score the policy on each chosen stage; print a table, write ``evaluation.json``; returns the exit status.

    Raises:
        UserError: the snapshot, the device or the output folder can't be used, before any episode is played.
    """
    console = console or Console()
    device = resolve_device(settings.device)
    subject = _trained(settings, device) if settings.run is not None else _scripted(settings, device)
    stages = select_stages(
        subject.default_stage if settings.stage is None else settings.stage, subject.curriculum
    )
    _require_folder(subject.out)
    use_threads(settings.num_threads)
    console.print(f"Evaluating {subject.title}", highlight=False, markup=False, soft_wrap=True)
    first = TEST_SEED + SCENARIOS_PER_SEED * settings.seed
    seeds = range(first, first + settings.episodes)
    env = subject.environment(min(settings.num_envs, settings.episodes), settings.num_threads)
    results = []
    for index in stages:
        results.append(score(env, subject.act, subject.curriculum.stages[index], index, seeds))
        _write(subject.out / RESULTS, results)
    env.close()
    console.print(_table(results))
    if settings.video:
        _film(subject, settings, stages, seeds, console)
    console.print(f"Written: {subject.out / RESULTS}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _trained(settings: EvaluateSettings, device: str) -> Subject:
    """The policy of a snapshot, or of a run folder's best one."""
    path = Path(str(settings.run)).expanduser()
    try:
        path.stat()
    except FileNotFoundError as error:
        raise UserError(f"run={settings.run}: no such run folder or snapshot{_neighbours(path)}") from error
    except OSError as error:
        raise UserError(f"run={settings.run}: can't be read: {error.strerror}") from error
    snapshot = newest_snapshot(path) if path.is_dir() else path
    content = load(snapshot, device)
    try:
        trained = Settings.from_config(content["settings"])
        agent = make_agent(trained, device)
        agent.load_state_dict(content["agent"])
        frame, stage = int(content["frame"]), int(content["stage"])
    except SettingsError as error:
        raise UserError(f"{snapshot}: its settings don't fit this version: {error}") from error
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{snapshot}: its networks don't fit its settings: {error}") from error

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        return agent.act(observation, None).cpu().numpy()

    home = path if path.is_dir() else path.parent
    return Subject(
        title=f"{snapshot} ({'pixels' if uses_pixels(trained) else 'state'}, frame {frame:,})",
        act=act,
        curriculum=trained.curriculum,
        default_stage=stage,
        out=home if settings.out is None else Path(settings.out),
        settings=trained,
        task=trained.task,
        device=device,
    )


def _scripted(settings: EvaluateSettings, device: str) -> Subject:
    """A scripted policy on the task and curriculum of the command line."""
    policy = make_policy(str(settings.policy), settings.seed)

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        return policy(env.task)

    return Subject(
        title=f"the scripted policy {settings.policy}",
        act=act,
        curriculum=settings.curriculum,
        default_stage=None,
        out=Path.cwd() if settings.out is None else Path(settings.out),
        settings=None,
        task=settings.task,
        device=device,
    )


def _film(
    subject: Subject,
    settings: EvaluateSettings,
    stages: Sequence[int],
    seeds: Sequence[int],
    console: Console,
) -> None:
    env = subject.environment(1, settings.num_threads, film=True)
    for index in stages:
        stage = subject.curriculum.stages[index]
        path = subject.out / f"evaluation_{stage.name}.mp4"
        record_episodes(env, subject.act, stage, index, seeds[:VIDEO_EPISODES], path)
        console.print(f"Written: {path}", highlight=False, markup=False, soft_wrap=True)
    env.close()


def _table(results: Sequence[Score]) -> Table:
    table = Table(title=f"{results[0].episodes} held-out episodes per stage; 95% Wilson intervals")
    for heading in ("stage", "landed", "interval", "crashed", "timed out", "off centre", "sink rate"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for result in results:
        error, speed = result.touchdown_error_m, result.touchdown_speed
        table.add_row(
            f"{result.stage} {result.name}",
            f"{result.success_rate:.1%}",
            f"{result.low:.0%}–{result.high:.0%}",
            f"{result.crash_rate:.1%}",
            f"{result.timeout_rate:.1%}",
            "–" if error is None else f"{error:.2f} m",
            "–" if speed is None else f"{speed:.2f} m/s",
        )
    return table


def _write(path: Path, results: Sequence[Score]) -> None:
    write_text(path, json.dumps([result.to_plain() for result in results], indent=2) + "\n")


def _require_folder(out: Path) -> None:
    """Find out before the work whether its results can be kept."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".{RESULTS}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"out={out}: can't write there: {error.strerror}") from error


def _neighbours(path: Path) -> str:
    """What is there instead, nearest first."""
    folder = next((parent for parent in path.parents if parent.is_dir()), None)
    if folder is None or folder != path.parent:
        return ""
    names = [entry.name for entry in folder.iterdir()]
    close = get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""
