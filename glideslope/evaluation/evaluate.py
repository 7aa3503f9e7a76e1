"""``evaluate.py``: how well a trained or a scripted policy lands, on scenarios that no training saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from glideslope.agent import DrQV2Agent
from glideslope.build import make_agent, make_env, resolve_device, use_threads, uses_pixels
from glideslope.display.commands import near
from glideslope.display.console import say, screen
from glideslope.display.progress import Progress
from glideslope.display.results import unfinished_curriculum
from glideslope.display.time_left import Kind, Work
from glideslope.display.workload import scoring_steps
from glideslope.envs.baselines import make_policy
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import ACTION_DIM
from glideslope.errors import SettingsError, UserError, failure
from glideslope.evaluation.folder import film_name, make_folder, take_folder
from glideslope.evaluation.inspection import locate
from glideslope.evaluation.report import Condition, EvaluationReport, conditions
from glideslope.evaluation.scoring import (
    TEST_SEED,
    Act,
    Episode,
    best_and_worst,
    play,
    record_episodes,
    record_grid,
)
from glideslope.runs.folder import FINISHED
from glideslope.runs.snapshots import load, newest_snapshot
from glideslope.settings import (
    NO_MOVING_PATHS,
    CurriculumSettings,
    EvaluateSettings,
    Settings,
    SweepSettings,
    TaskSettings,
    select_stages,
)
from glideslope.storage.caches import use_writable_caches

TRAINED = "trained"
SCRIPTED = ("expert", "fixed_camera", "random")
SCENARIOS_PER_SEED = 100_000
VIDEO_EPISODES = 3
LINE_SECONDS = 10.0
BATCH = 16


@dataclass(frozen=True)
class Player:
    """A policy, and the task as it sees it."""

    name: str
    act: Act
    make_env: Callable[[int, bool], LandingVectorEnv]  # (number of environments, whether for a film)

    @contextmanager
    def environment(self, num_envs: int, *, film: bool = False) -> Iterator[LandingVectorEnv]:
        """The task; for a film those who don't need them are given eyes as well."""
        env = self.make_env(num_envs, film)
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
    seeds: Sequence[int]
    home: Path  # where the evaluation's folder goes, unless there is out=
    what: str  # the snapshot or the policy, in the folder's name
    longest: float  # environment steps of an episode that times out
    num_envs: int
    film: bool
    notes: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)  # plain data, of the snapshot

    @property
    def episodes(self) -> int:
        """How many episodes that are."""
        return len(self.players) * len(self.conditions) * len(self.seeds)

    @property
    def steps(self) -> float:
        """Vector steps that one policy takes under one condition, about."""
        return scoring_steps(len(self.seeds), self.num_envs, 0.5 * self.longest, self.longest)

    @property
    def work(self) -> Work:
        """All that is to be done."""
        films = len(self.conditions) * self.film
        return {
            "evaluate": len(self.players) * len(self.conditions) * self.steps,
            "film": films * VIDEO_EPISODES * self.longest,
            "grid": films * self.longest,
        }


def evaluate(settings: EvaluateSettings, console: Console | None = None) -> int:
    """Score the policy, and those it is compared with, under each condition; returns the exit status.

    Prints a table and leaves the files of :mod:`glideslope.evaluation.folder`.

    Raises:
        UserError: the snapshot, the device, the stage, the sweep or the output folder can't be used: before any
            episode is played.
    """
    console = console or screen()
    device = resolve_device(settings.device)
    run = settings.run is not None
    plan = _of_run(settings, device, console) if run else _of_policy(settings, device)
    if settings.out is not None:
        out = take_folder(Path(settings.out).expanduser())
    else:
        out = make_folder(plan.home, _name(settings, plan))
    try:
        _evaluate(settings, plan, out, device, console)
    except KeyboardInterrupt:
        if any(out.iterdir()):
            _tell(console, "What has been played is in ", str(near(out)))
        raise
    finally:
        if settings.out is None:
            with suppress(OSError):  # it holds something, as it should
                out.rmdir()
                out.parent.rmdir()
    return 0


def _evaluate(
    settings: EvaluateSettings, plan: EvaluationPlan, out: Path, device: str, console: Console
) -> None:
    use_threads(settings.num_threads)
    use_writable_caches(lambda note: _tell(console, f"Note: {note}"))
    _tell(console, f"Evaluating {plan.title}")
    _tell(console, f"{plan.episodes:,} episodes: {_product(plan)}")
    for note in plan.notes:
        _tell(console, f"Note: {note}")
    asked = settings.to_plain()
    info = {key: asked[key] for key in ("stage", "episodes", "seed", "sweep")}
    report = EvaluationReport(
        out, plan.players[0].name, plan.title, info={**plan.info, **info}, notes=plan.notes
    )
    progress = Progress(
        plan.episodes,
        unit="episodes",
        whole=plan.work,
        transient=True,
        console=console,
        line_seconds=LINE_SECONDS,
    )
    with progress:
        own = _play(plan, report, progress)
        console.print(report.table())
        _tell(console, "Written: ", str(near(out)))
        for path in report.finish():
            _tell(console, f"  {path.name}")
        for path in _film(plan, own, out, device, progress):
            _tell(console, f"  {path.name}")


def _ticking(act: Act, progress: Progress) -> Act:
    """The policy, which tells at each step that it goes on."""

    def acting(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        progress.tick()
        return act(env, observation)

    return acting


def _play(
    plan: EvaluationPlan, report: EvaluationReport, progress: Progress
) -> dict[Condition, list[Episode]]:
    """Play everything into the report; return the evaluated policy's episodes."""
    kept = {}
    for player in plan.players:
        act = _ticking(player.act, progress)
        with player.environment(plan.num_envs) as env:
            for condition in plan.conditions:
                name = f"{player.name}, {condition.label}"
                total = len(plan.seeds)
                with progress.activity("evaluate", name, units=plan.steps, total=total, unit="episodes"):
                    episodes = play(env, act, condition.stage, condition.index, plan.seeds, progress.advance)
                report.add(player.name, condition, episodes)
                if player is plan.players[0]:
                    kept[condition] = episodes
    return kept


def _film(
    plan: EvaluationPlan, own: dict[Condition, list[Episode]], out: Path, device: str, progress: Progress
) -> Iterator[Path]:
    """Film the evaluated policy under each condition: some episodes, then the best and the worst at once.

    Raises:
        UserError: a film can't be written.
    """
    player = plan.players[0]
    act = _ticking(player.act, progress)

    def filming(kind: Kind, pictures: float) -> AbstractContextManager[None]:
        return progress.activity(kind, f"filming {condition.label}", units=pictures)

    for condition, episodes in own.items() if plan.film else ():
        path = out / film_name(condition.file_name)
        stage, index = condition.stage, condition.index
        with (
            _naming_failures(path),
            filming("film", VIDEO_EPISODES * plan.longest),
            player.environment(1, film=True) as env,
        ):
            record_episodes(env, act, stage, index, plan.seeds[:VIDEO_EPISODES], path)
        yield path
        best, worst = best_and_worst(episodes)
        rows = [
            (f"{condition.label}: {heading}", [episode.scenario for episode in chosen])
            for heading, chosen in (("best landings", best), ("worst episodes", worst))
            if chosen
        ]
        path = path.with_stem(f"{path.stem}_grid")
        count = len(best) + len(worst)
        with (
            _naming_failures(path),
            filming("grid", plan.longest),
            player.environment(count, film=True) as env,
        ):
            record_grid(env, act, stage, index, rows, path, device)
        yield path


@contextmanager
def _naming_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"can't write {failure(error)}") from error
    except RuntimeError as error:  # of the encoder
        raise UserError(f"can't write {path}: {error}") from error


# --- what is to be played ---


def _of_run(settings: EvaluateSettings, device: str, console: Console) -> EvaluationPlan:
    """The policy of a snapshot, or of a run folder's best one, and scripted ones on its task."""
    path = locate("run", str(settings.run))
    snapshot = (
        newest_snapshot(path, lambda fault: _tell(console, f"Passed over: {fault}"))
        if path.is_dir()
        else path
    )
    content = load(snapshot, device)
    try:
        trained = Settings.from_config(content["settings"])
        agent = make_agent(trained, device)
        agent.load_state_dict(content["agent"])
        frame, stage = int(content["frame"]), int(content["stage"])
        history = content.get("curriculum", {}).get("history", ())
        reached = max([stage, *(int(entered) for _, entered in history)])
    except SettingsError as error:
        raise UserError(f"{snapshot}: its settings don't fit this version: {error}") from error
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{snapshot}: its networks don't fit its settings: {error}") from error
    trained = trained.model_copy(
        update={"task": _with_moving_pad(trained.task, settings.sweep), "num_threads": settings.num_threads}
    )

    def environment(num_envs: int, film: bool) -> LandingVectorEnv:
        return make_env(trained, num_envs, trained.curriculum.stages[0], device, film=film)

    compared = SCRIPTED if settings.compare is None else settings.compare
    others = (
        _scripted(name, settings, trained.task, trained.curriculum, device, trained.action_repeat)
        for name in compared
    )
    eyes = "pixels" if uses_pixels(trained) else "state"
    names = trained.curriculum.stage_names
    notes = _notes(settings, path, reached, names, frame, trained.num_train_frames)
    info = {"snapshot": snapshot.name, "frame": frame, "snapshot_stage": stage, "last_stage": len(names) - 1}
    return EvaluationPlan(
        title=(
            f"{snapshot.resolve().parent.name}/{snapshot.name}"
            f" ({eyes}, frame {frame:,}, stage {stage} of 0-{len(names) - 1})"
        ),
        players=(Player(TRAINED, _act_greedily(agent), environment), *others),
        conditions=_conditions(settings, trained.curriculum, stage),
        seeds=_seeds(settings),
        home=path if path.is_dir() else path.parent,
        what=snapshot.stem,
        longest=trained.task.episode_decisions / trained.action_repeat,
        num_envs=min(settings.num_envs, settings.episodes),
        film=settings.video,
        notes=tuple(notes),
        info=info,
    )


def _notes(
    settings: EvaluateSettings, path: Path, reached: int, names: Sequence[str], frame: int, frames: int
) -> Iterator[str]:
    """What is to be known about a run's results: whether its curriculum, and the run itself, came to an end."""
    unfinished = unfinished_curriculum(reached, names, "this snapshot")
    if unfinished is not None:
        yield unfinished + (" stage=all plays all of them." if settings.stage is None else "")
    if path.is_dir() and not (path / FINISHED).exists():
        yield f"The run is not finished: this snapshot is of frame {frame:,} of {frames:,}."


def _of_policy(settings: EvaluateSettings, device: str) -> EvaluationPlan:
    """A scripted policy on the task and curriculum of the command line."""
    name = str(settings.policy)
    task = _with_moving_pad(settings.task, settings.sweep)
    return EvaluationPlan(
        title=f"the scripted policy {name}",
        players=(_scripted(name, settings, task, settings.curriculum, device, action_repeat=1),),
        conditions=_conditions(settings, settings.curriculum, None),
        seeds=_seeds(settings),
        home=Path.cwd(),
        what=name,
        longest=task.episode_decisions,
        num_envs=min(settings.num_envs, settings.episodes),
        film=settings.video,
    )


def _scripted(
    name: str,
    settings: EvaluateSettings,
    task: TaskSettings,
    curriculum: CurriculumSettings,
    device: str,
    action_repeat: int,
) -> Player:
    policy = make_policy(name, settings.seed)

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        return policy(env.task)

    def environment(num_envs: int, film: bool) -> LandingVectorEnv:
        return LandingVectorEnv(
            num_envs,
            task=task,
            stage=curriculum.stages[0],
            pixels=film,
            action_repeat=action_repeat,
            device=device,
            num_threads=settings.num_threads,
        )

    return Player(name, _act_at_random(settings.seed) if name == "random" else act, environment)


def _act_greedily(agent: DrQV2Agent) -> Act:
    """The agent without noise, asked in batches of one size.

    Batches of other sizes are rounded otherwise: an action, and so a landing, would depend on how many fly.
    """

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        parts = []
        for start in range(0, env.num_envs, BATCH):
            rows = np.minimum(np.arange(start, start + BATCH), env.num_envs - 1)
            actions = agent.act({name: values[rows] for name, values in observation.items()}, None)
            parts.append(actions.cpu().numpy()[: env.num_envs - start])
        return np.concatenate(parts)

    return act


def _act_at_random(seed: int) -> Act:
    """Uniform actions that depend on the episode and its decision alone, not on who else flies."""

    def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        task = env.task
        starts = np.ascontiguousarray(task.scenarios.start_position).view(np.uint64)
        return np.stack(
            [
                np.random.default_rng([seed, decision, *start]).uniform(-1.0, 1.0, ACTION_DIM)
                for decision, start in zip(task.decisions.tolist(), starts.tolist(), strict=True)
            ]
        )

    return act


def _with_moving_pad(task: TaskSettings, sweep: SweepSettings) -> TaskSettings:
    """The task, for a sweep of the pad's speed without the path on which it stands."""
    if sweep.pad_speed is None:
        return task
    if not task.moving_paths:
        raise UserError(f"sweep.pad_speed={list(sweep.pad_speed)}: {NO_MOVING_PATHS}")
    return task.model_copy(update={"pad_paths": task.moving_paths})


def _conditions(
    settings: EvaluateSettings, curriculum: CurriculumSettings, default: int | None
) -> tuple[Condition, ...]:
    chosen = select_stages(default if settings.stage is None else settings.stage, curriculum)
    return tuple(conditions(curriculum.stages, chosen, settings.sweep))


def _seeds(settings: EvaluateSettings) -> range:
    first = TEST_SEED + SCENARIOS_PER_SEED * settings.seed
    return range(first, first + settings.episodes)


def _product(plan: EvaluationPlan) -> str:
    """The number of episodes as a product, such as `4 policies, 5 stages, 100 scenarios each`."""
    stages = len({condition.index for condition in plan.conditions})
    counts = (
        (len(plan.players), "policies", "policy"),
        (stages, "stages", "stage"),
        (len(plan.conditions) // stages, "points of the sweep", ""),
        (len(plan.seeds), "scenarios each", "scenario each"),
    )
    return ", ".join(
        f"{count} {one if count == 1 else many}" for count, many, one in counts if count > 1 or one
    )


def _name(settings: EvaluateSettings, plan: EvaluationPlan) -> list[str]:
    """What tells an evaluation from others of the run, as words of its folder's name."""
    stages = dict.fromkeys(condition.stage.name for condition in plan.conditions)
    swept = [key for key, values in settings.sweep.to_plain().items() if values is not None]
    return ["all" if settings.stage == "all" else "_".join(stages), *swept, str(settings.episodes), plan.what]


def _tell(console: Console, line: str, verbatim: str = "") -> None:
    say(console, line, verbatim)
