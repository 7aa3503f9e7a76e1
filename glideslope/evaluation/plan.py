"""Plans an evaluation from its settings: the policies that play, in which stages, on which scenarios."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.agent import DrQV2Agent
from glideslope.build import make_env, uses_pixels
from glideslope.display.results import unfinished_curriculum
from glideslope.display.time_left import Work
from glideslope.display.workload import FILM_EPISODES, scoring_steps
from glideslope.envs.baselines import make_policy
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import Outcome
from glideslope.envs.layout import ACTION_DIM
from glideslope.errors import UserError
from glideslope.evaluation import benchmark
from glideslope.evaluation.inspection import locate
from glideslope.evaluation.policy import open_trained
from glideslope.evaluation.report import Condition, points_in_stages
from glideslope.evaluation.scoring import TEST_SEED, Act
from glideslope.runs.run_folder import FINISHED
from glideslope.settings import (
    NO_MOVING_PATHS,
    CurriculumSettings,
    EvaluateSettings,
    StageSettings,
    TaskSettings,
    select_stages,
)

TRAINED = "trained"
SCRIPTED = ("expert", "fixed_camera", "random")
_BATCH = 32
_SCENARIOS_PER_SEED = 100_000


@dataclass(frozen=True)
class Player:
    """A policy, and the task as it sees it."""

    name: str
    act: Act
    make_env: Callable[[TaskSettings, int, bool], LandingVectorEnv]  # (…, number of environments, whether for a film)

    @contextmanager
    def environment(self, task: TaskSettings, num_envs: int, *, film: bool = False) -> Iterator[LandingVectorEnv]:
        """Return the task; for a film with images, even where the policy doesn't need them."""
        env = self.make_env(task, num_envs, film)
        try:
            yield env
        finally:
            env.close()


@dataclass(frozen=True)
class EvaluationPlan:
    """What is to be played."""

    title: str  # of what is evaluated
    players: tuple[Player, ...]  # the evaluated one, then those that it is compared with
    conditions: tuple[Condition, ...]
    stages: tuple[StageSettings, ...]  # of the curriculum, and
    task: TaskSettings  # the task, of which the conditions are made
    seeds: Sequence[int]
    home: Path  # where the evaluation's folder goes, unless there is out=
    what: str  # the snapshot or the policy, in the folder's name
    longest: float  # environment steps of an episode that times out
    num_envs: int
    film: bool
    benchmark: bool
    notes: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)  # plain data, of the snapshot

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.players) * len(self.conditions) * len(self.seeds)

    @property
    def steps(self) -> float:
        """Vector steps that one policy takes under one condition, about."""
        return scoring_steps(len(self.seeds), self.num_envs, 0.5 * self.longest, self.longest)

    @property
    def work(self) -> Work:
        """The work of the whole evaluation."""
        films = len(self.conditions) * self.film
        return {
            "evaluate": len(self.players) * len(self.conditions) * self.steps,
            "film": films * FILM_EPISODES * self.longest,
            "grid": films * self.longest,
        }


def plan_for_run(settings: EvaluateSettings, device: str, tell: Callable[[str], None]) -> EvaluationPlan:
    """Plan to play the policy of a snapshot, or of a run folder's best one, and scripted ones on its task.

    `settings.run` is given; `tell` is told of each damaged snapshot that is passed over.

    Raises:
        UserError: the snapshot, a stage or the sweep can't be used.
    """
    path = locate("run", str(settings.run))
    found = open_trained(path, device, tell)
    snapshot, frame, stage = found.path, found.frame, found.stage
    trained = found.settings.model_copy(update={"num_threads": settings.num_threads})

    compared = SCRIPTED if settings.compare is None else settings.compare
    others = (_scripted_player(name, settings, device, trained.action_repeat) for name in compared)
    conditions = _conditions(settings, trained.curriculum, trained.task, stage)
    eyes = "pixels" if uses_pixels(trained) else "state"
    names = trained.curriculum.stage_names
    notes = [
        *_notes(settings, path, found.reached, names, frame, trained.num_train_frames),
        *(benchmark.notes(trained.task) if settings.benchmark else ()),
    ]
    info = {"snapshot": snapshot.name, "frame": frame, "snapshot_stage": stage, "last_stage": len(names) - 1}

    def environment(task: TaskSettings, num_envs: int, film: bool) -> LandingVectorEnv:
        played = trained.model_copy(update={"task": task})
        return make_env(played, num_envs, trained.curriculum.stages[0], device, film=film)

    return EvaluationPlan(
        title=(
            f"{snapshot.resolve().parent.name}/{snapshot.name}"
            f" ({eyes}, frame {frame:,}, stage {stage} of 0-{len(names) - 1})"
        ),
        players=(Player(TRAINED, _act_greedily(found.agent), environment), *others),
        conditions=conditions,
        stages=trained.curriculum.stages,
        task=trained.task,
        seeds=_seeds(settings),
        home=path if path.is_dir() else path.parent,
        what=snapshot.stem,
        longest=conditions[0].task.episode_decisions / trained.action_repeat,
        num_envs=min(settings.num_envs, settings.episodes),
        film=settings.video,
        benchmark=settings.benchmark,
        notes=tuple(notes),
        info=info,
    )


def _notes(
    settings: EvaluateSettings, path: Path, reached: int, names: Sequence[str], frame: int, frames: int
) -> Iterator[str]:
    """Yield what the results need beside them: that the run, or its curriculum, is unfinished."""
    unfinished = unfinished_curriculum(reached, names, "this snapshot")
    if unfinished is not None:
        yield unfinished + (" stage=all plays all of them." if settings.stage is None else "")
    if path.is_dir() and not (path / FINISHED).exists():
        yield f"The run is not finished: this snapshot is of frame {frame:,} of {frames:,}."


def plan_for_policy(settings: EvaluateSettings, device: str) -> EvaluationPlan:
    """Plan to play a scripted policy on the task and the curriculum of the settings.

    Raises:
        UserError: a stage or the sweep can't be used.
    """
    name, task = str(settings.policy), settings.task
    conditions = _conditions(settings, settings.curriculum, task, None)
    return EvaluationPlan(
        title=f"the scripted policy {name}",
        players=(_scripted_player(name, settings, device, action_repeat=1),),
        conditions=conditions,
        stages=settings.curriculum.stages,
        task=task,
        seeds=_seeds(settings),
        home=Path.cwd(),
        what=name,
        longest=conditions[0].task.episode_decisions,
        num_envs=min(settings.num_envs, settings.episodes),
        film=settings.video,
        benchmark=settings.benchmark,
        notes=tuple(benchmark.notes(task) if settings.benchmark else ()),
    )


def _conditions(
    settings: EvaluateSettings, curriculum: CurriculumSettings, task: TaskSettings, default: int | None
) -> tuple[Condition, ...]:
    if settings.benchmark:
        return tuple(benchmark.benchmark_conditions(curriculum, benchmark.fixed_task(task)))
    sweep = settings.sweep
    if sweep.pad_speed is not None and not task.moving_paths:
        raise UserError(f"sweep.pad_speed={list(sweep.pad_speed)}: {NO_MOVING_PATHS}")
    chosen = select_stages(default if settings.stage is None else settings.stage, curriculum)
    return tuple(points_in_stages(curriculum.stages, chosen, task, sweep))


def _seeds(settings: EvaluateSettings) -> range:
    first = TEST_SEED + _SCENARIOS_PER_SEED * settings.seed
    return range(first, first + settings.episodes)


def _scripted_player(name: str, settings: EvaluateSettings, device: str, action_repeat: int) -> Player:
    """Return the scripted policy of this name, on a task without images."""
    policy = make_policy(name, settings.seed)

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        return policy(env.task)

    def environment(task: TaskSettings, num_envs: int, film: bool) -> LandingVectorEnv:
        return LandingVectorEnv(
            num_envs,
            task=task,
            pixels=film,
            action_repeat=action_repeat,
            device=device,
            num_threads=settings.num_threads,
        )

    return Player(name, act, environment)


def _act_greedily(agent: DrQV2Agent) -> Act:
    """Return the agent without noise, asked in batches of one size for those that fly.

    Batches of other sizes are rounded otherwise: an action, and so a landing, would depend on how many fly.
    """

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        actions = np.zeros((env.num_envs, ACTION_DIM), np.float32)
        flying = np.flatnonzero(env.task.outcome == Outcome.RUNNING)
        for start in range(0, len(flying), _BATCH):
            rows = flying[start : start + _BATCH]
            filled = np.resize(rows, _BATCH)
            answer = agent.act({name: values[filled] for name, values in observation.items()}, None)
            actions[rows] = answer.cpu().numpy()[: len(rows)]
        return actions

    return act
