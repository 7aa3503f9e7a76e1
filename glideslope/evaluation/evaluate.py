"""``evaluate.py``: how well a trained or a scripted policy lands, on scenarios that no training saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console

from glideslope.build import resolve_device, use_threads
from glideslope.display.commands import near
from glideslope.display.console import say, screen
from glideslope.display.progress import Progress
from glideslope.display.time_left import Kind
from glideslope.display.workload import FILM_EPISODES
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.errors import UserError, failure
from glideslope.evaluation.benchmark import fixed
from glideslope.evaluation.filming import best_and_worst, record_episodes, record_grid
from glideslope.evaluation.plan import EvaluationPlan, plan_for_policy, plan_for_run
from glideslope.evaluation.report import Condition, EvaluationReport
from glideslope.evaluation.results_folder import film_name, make_folder, take_folder
from glideslope.evaluation.scoring import Act, Episode, play
from glideslope.settings import EvaluateSettings
from glideslope.storage.caches import use_writable_caches

_LINE_SECONDS = 10.0


def evaluate(settings: EvaluateSettings, console: Console | None = None) -> int:
    """Score the policy, and those it is compared with, under each condition; return the exit status.

    Prints a table and leaves the files of :mod:`glideslope.evaluation.results_folder`.

    Raises:
        UserError: the snapshot, the device, the stage, the sweep or the output folder can't be used: before any
            episode is played.
    """
    console = console or screen()
    if settings.benchmark:
        settings = fixed(settings)
    device = resolve_device(settings.device)
    plan = (
        plan_for_run(settings, device, lambda note: say(console, note))
        if settings.run is not None
        else plan_for_policy(settings, device)
    )
    if settings.out is not None:
        out = take_folder(Path(settings.out).expanduser())
    else:
        out = make_folder(plan.home, _name(settings, plan))
    try:
        _evaluate(settings, plan, out, device, console)
    except KeyboardInterrupt:
        if any(out.iterdir()):
            say(console, "What has been played is in ", str(near(out)))
        raise
    finally:
        if settings.out is None:
            with suppress(OSError):  # it holds something, as it should
                out.rmdir()
                out.parent.rmdir()
    return 0


def _evaluate(settings: EvaluateSettings, plan: EvaluationPlan, out: Path, device: str, console: Console) -> None:
    use_threads(settings.num_threads)
    use_writable_caches(lambda note: say(console, f"Note: {note}"))
    say(console, f"Evaluating {plan.title}")
    say(console, f"{plan.episodes:,} episodes: {_product(plan)}")
    for note in plan.notes:
        say(console, f"Note: {note}")
    asked = settings.to_plain()
    info = {key: asked[key] for key in ("stage", "episodes", "seed", "sweep", "benchmark")}
    report = EvaluationReport(
        out,
        plan.players[0].name,
        plan.title,
        swept={key for condition in plan.conditions for key, _ in condition.point},
        info={**plan.info, **info},
        notes=plan.notes,
        benchmark=plan.benchmark,
    )
    with Progress(
        plan.episodes, unit="episodes", whole=plan.work, transient=True, console=console, line_seconds=_LINE_SECONDS
    ) as progress:
        own = _play(plan, report, progress)
        console.print(report.table())
        say(console, "Written: ", str(near(out)))
        for path in report.finish():
            say(console, f"  {path.name}")
        for path in _film(plan, own, out, device, progress):
            say(console, f"  {path.name}")


def _ticking(act: Act, progress: Progress) -> Act:
    """Return the policy, which tells the progress display of each step."""

    def acting(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        progress.tick()
        return act(env, observation)

    return acting


def _play(plan: EvaluationPlan, report: EvaluationReport, progress: Progress) -> dict[Condition, list[Episode]]:
    """Play everything into the report; return the evaluated policy's episodes."""
    kept = {}
    for player in plan.players:
        act = _ticking(player.act, progress)
        for task, conditions in groupby(plan.conditions, lambda condition: condition.task):
            with player.environment(task, plan.num_envs) as env:
                for condition in conditions:
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
        pictures = FILM_EPISODES * plan.longest
        with _naming_failures(path), filming("film", pictures), player.environment(condition.task, 1, film=True) as env:
            record_episodes(env, act, stage, index, plan.seeds[:FILM_EPISODES], path)
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
            player.environment(condition.task, count, film=True) as env,
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


def _product(plan: EvaluationPlan) -> str:
    """Return the number of episodes as a product, such as `4 policies, 5 stages, 100 scenarios each`."""
    stages = len({condition.index for condition in plan.conditions})
    played = ((stages, "stages", "stage"), (len(plan.conditions) // stages, "points of the sweep", ""))
    counts = (
        (len(plan.players), "policies", "policy"),
        *(((len(plan.conditions), "conditions", ""),) if plan.benchmark else played),
        (len(plan.seeds), "scenarios each", "scenario each"),
    )
    return ", ".join(f"{count} {one if count == 1 else many}" for count, many, one in counts if count > 1 or one)


def _name(settings: EvaluateSettings, plan: EvaluationPlan) -> list[str]:
    """Return the words of the folder's name that tell this evaluation from others of the run."""
    if settings.benchmark:
        return ["benchmark", plan.what]
    stages = dict.fromkeys(condition.stage.name for condition in plan.conditions)
    where = "all" if settings.stage == "all" else "_".join(stages)
    return [where, *settings.sweep.values, str(settings.episodes), plan.what]
