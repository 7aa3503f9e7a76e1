"""``play.py``: flights to look at, in a window whose keys change the conditions, or as a film."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from glideslope.build import resolve_device
from glideslope.display.commands import near
from glideslope.display.console import say, screen
from glideslope.display.films import Picture, side_by_side
from glideslope.display.window import Window, has_screen
from glideslope.envs.gym import LandingVectorEnv
from glideslope.envs.landing import Outcome
from glideslope.envs.layout import ACTION_DIM
from glideslope.errors import Fault, UserError, failure
from glideslope.evaluation.filming import record_episodes
from glideslope.evaluation.plan import EvaluationPlan, plan_for_policy, plan_for_run
from glideslope.evaluation.report import Condition
from glideslope.settings import NO_MOVING_PATHS, EvaluateSettings, PlaySettings
from glideslope.storage.caches import use_writable_caches

KEYS = """\
  n, p         next and previous stage       [, ]  slower and faster pad       -, =  less and more wind
  space        fly a drone beside the policy's: arrows, w and s fly, i, k, j and l turn the camera
  r            a new scenario                q, escape  quit"""
_PAD_STEP, _WIND_STEP = 0.5, 1.0  # m/s
_FASTEST, _STRONGEST = 4.0, 6.0
_STILL = 1.0  # seconds that the end of an episode is shown
_GIMBAL_STEP = 0.1  # of its range, per decision
# By key: the axis of the action that a person moves, and which way.
_STICKS = {"up": (0, 1.0), "down": (0, -1.0), "left": (1, 1.0), "right": (1, -1.0), "w": (2, 1.0), "s": (2, -1.0)}
_CAMERA = {"i": (3, 1.0), "k": (3, -1.0), "j": (4, 1.0), "l": (4, -1.0)}


def play(settings: PlaySettings, console: Console | None = None) -> int:
    """Show flights as the settings say; return the exit status.

    Raises:
        UserError: the policy, the stage or the file can't be used, or no window can be opened.
    """
    console = console or screen()
    device = resolve_device(settings.device)
    use_writable_caches(lambda note: say(console, f"Note: {note}"))
    plan = _plan(settings, device, console)
    if settings.show == "window" or (settings.show == "auto" and has_screen()):
        say(console, KEYS)
        with Window(f"Glideslope: {plan.title}") as window, Flight(plan, settings) as flight:
            run_window(window, flight)
        for line in flight.score:
            say(console, line)
        return 0
    out = Path(settings.out).expanduser()
    condition = plan.conditions[0]
    say(console, f"Filming {settings.episodes} episodes of {plan.title}: {condition.label}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with plan.players[0].environment(condition.task, 1, film=True) as env:
            seeds = plan.seeds[: settings.episodes]
            record_episodes(env, plan.players[0].act, condition.stage, condition.index, seeds, out)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"out={settings.out}: can't write {failure(error) if isinstance(error, OSError) else error}"
        ) from error
    say(console, "Written: ", str(near(out)))
    return 0


def _plan(settings: PlaySettings, device: str, console: Console) -> EvaluationPlan:
    asked = EvaluateSettings.from_config(
        {
            **{"run": settings.run, "policy": settings.policy, "stage": settings.stage, "seed": settings.seed},
            **{"episodes": settings.episodes, "num_envs": 2, "compare": [] if settings.run else None},
            **{"task": settings.task.to_plain(), "curriculum": settings.curriculum.to_plain()},
        }
    )
    if settings.run is not None:
        plan = plan_for_run(asked, device, lambda note: say(console, note))
    else:
        plan = plan_for_policy(asked, device)
    if settings.pad_speed is not None and not plan.task.moving_paths:
        raise UserError(Fault("pad_speed", settings.pad_speed, NO_MOVING_PATHS))
    given = {"pad_speed": settings.pad_speed, "wind": settings.wind}
    point = tuple((key, value) for key, value in given.items() if value is not None)
    (first,) = plan.conditions
    return replace(plan, conditions=(Condition.at(first.stage, first.index, plan.task, point),))


class Flight:
    """A policy's drone, and a person's beside it if asked for, under conditions that may change.

    Attributes:
        score: who landed how often, a line each.
    """

    def __init__(self, plan: EvaluationPlan, settings: PlaySettings) -> None:
        self._plan, self._act = plan, plan.players[0].act
        self._condition = plan.conditions[0]
        self._scenario, self._with_person = 0, False
        self._landed: dict[str, list[bool]] = {}
        self._stack = ExitStack()
        self._env: LandingVectorEnv | None = None
        self._task = self._condition.task  # of the environment
        self._gimbal = np.zeros(2)

    def __enter__(self) -> Flight:
        self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def score(self) -> list[str]:
        return [f"{name}: {sum(landed)} of {len(landed)} landed" for name, landed in self._landed.items()]

    @property
    def fps(self) -> float:
        """Decisions per second."""
        return float(self._of().metadata["render_fps"])

    def _of(self) -> LandingVectorEnv:
        assert self._env is not None
        return self._env

    def begin(self, *, again: bool = False) -> None:
        """Begin an episode of the next scenario, or of the same one `again`, for every drone alike."""
        count = 1 + self._with_person
        env, condition = self._env, self._condition
        if env is None or env.num_envs != count or self._task is not condition.task:
            self._stack.close()
            env = self._stack.enter_context(self._plan.players[0].environment(condition.task, count, film=True))
            self._env, self._task = env, condition.task
        self._scenario += not again
        env.set_stage(condition.stage, condition.index)
        seed = self._plan.seeds[0] + self._scenario - 1
        self._observation, _ = env.reset(seed=0, options={"scenario_seeds": [seed] * count})
        self._gimbal[:] = 0.0
        self._outcomes = np.full(count, Outcome.RUNNING)
        self._steps = 0

    def change(self, key: str) -> None:
        """Do what a key says: another stage, pad speed or wind, another pilot, a new scenario."""
        stages, point = self._plan.stages, dict(self._condition.point)
        index = self._condition.index
        if key in ("n", "p"):
            index = min(max(index + (1 if key == "n" else -1), 0), len(stages) - 1)
        elif key in ("[", "]") and self._plan.task.moving_paths:
            speed = point.get("pad_speed", stages[index].pad_speed[1]) + (_PAD_STEP if key == "]" else -_PAD_STEP)
            point["pad_speed"] = min(max(speed, 0.0), _FASTEST)
        elif key in ("-", "="):
            wind = point.get("wind", stages[index].wind) + (_WIND_STEP if key == "=" else -_WIND_STEP)
            point["wind"] = min(max(wind, 0.0), _STRONGEST)
        elif key == "space":
            self._with_person = not self._with_person
        elif key != "r":
            return
        self._condition = Condition.at(stages[index], index, self._plan.task, tuple(point.items()))
        self.begin()

    def step(self, held: Collection[str] = ()) -> bool:
        """Fly one decision, a person's drone by the keys `held`; return whether all drones have come to their end."""
        env = self._of()
        actions: NDArray[Any] = np.array(self._act(env, self._observation), dtype=np.float32)
        if self._with_person:
            actions[1] = self._person(held)
        _, _, _, infos = env.advance(actions)
        self._observation = env.observations()
        before, self._outcomes = self._outcomes, np.asarray(infos["outcome"]).copy()
        self._steps += 1
        for drone, name in enumerate(("policy", "you")[: len(self._outcomes)]):
            if before[drone] == Outcome.RUNNING != self._outcomes[drone]:
                self._landed.setdefault(name, []).append(bool(self._outcomes[drone] == Outcome.LANDED))
        return bool((self._outcomes != Outcome.RUNNING).all())

    def _person(self, held: Collection[str]) -> NDArray[Any]:
        action = np.zeros(ACTION_DIM, np.float32)
        for key in held:
            if key in _STICKS:
                axis, way = _STICKS[key]
                action[axis] += way
            elif key in _CAMERA:
                axis, way = _CAMERA[key]
                self._gimbal[axis - 3] = np.clip(self._gimbal[axis - 3] + _GIMBAL_STEP * way, -1.0, 1.0)
        action[3:] = self._gimbal
        return action

    def picture(self) -> Picture:
        """Return what the drones look like now: from behind, with their own views."""
        env, pictures = self._of(), []
        for drone, name in enumerate(("policy", "you")[: env.num_envs]):
            word = Outcome(int(self._outcomes[drone])).name.lower().replace("_", " ")
            caption = f"{name}  {self._condition.label}  {self._steps / self.fps:4.1f} s  {word}"
            chase = env.chase_view(drone)
            onboard = self._observation["pixels"][drone, -1] if "pixels" in self._observation else None
            pictures.append(chase if onboard is None else side_by_side(onboard, chase, caption))
        return np.concatenate(pictures)


def run_window(window: Window, flight: Flight) -> None:
    """Fly until the window is closed."""
    still = 0
    while window.is_open:
        window.show(flight.picture(), flight.fps)
        for key in window.pressed():
            if key in ("q", "escape"):
                window.is_open = False
            else:
                flight.change(key)
                still = 0
        if still:
            still -= 1
            if not still:
                flight.begin()
        elif flight.step(window.held()):
            still = max(round(_STILL * flight.fps), 1)
