"""Where a training's time goes, as shares of wall time. ``python -m benchmarks.bench_shares [FRAMES [OVERRIDES]]``.

Real trainings in this process, stopped early; their parts are wrapped here to take the time. Of nested calls each has
what its inner ones leave. What environments do on a thread of their own is no share of the loop's time and told apart.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console

from glideslope.agent import DrQV2Agent, drqv2
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.curriculum.stages import Curriculum
from glideslope.envs.camera import OnboardCamera
from glideslope.envs.gym import LandingVectorEnv
from glideslope.envs.physics import Physics
from glideslope.replay.buffer import ReplayBuffer
from glideslope.settings import Settings
from glideslope.training import launch, trainer, updates
from glideslope.training.actions import Actions
from glideslope.training.evaluations import Validation
from glideslope.training.run import Clock, TrainingDisplay
from glideslope.training.snapshot_state import RunSnapshots
from glideslope.training.stage_changes import StageChanges
from glideslope.training.trainer import Trainer
from glideslope.training.training_log import Records

Call = tuple[Any, str]  # owner and name

# What is called what; a call inside one of `WHOLE` counts as that.
PARTS: dict[str, tuple[Call, ...]] = {
    "acting": ((Actions, "explore"),),
    "physics": ((Physics, "step"), (Physics, "refresh")),
    "rendering": ((OnboardCamera, "render"),),
    "controller, rewards, resets": ((LandingVectorEnv, "step"),),
    "waiting for the other thread": ((trainer, "wait"), (updates, "wait")),
    "replay buffer, adding": ((ReplayBuffer, "add"), (ReplayBuffer, "add_first")),
    "replay buffer, sampling": ((ReplayBuffer, "sample"),),
    "update, augmentation": ((drqv2, "random_shift"), (drqv2, "random_brightness")),
    "update, forward passes and losses": tuple((DrQV2Agent, name) for name in ("update", "update_frozen", "freeze")),
    "update, backward passes": ((torch.autograd, "backward"),),
    "update, Adam": ((torch.optim.Adam, "step"),),
    "logs, display, curriculum": (
        *(
            (Records, name)
            for name in ("wants", "before_update", "after_update", "step_taken", "episode_ended", "is_due")
        ),
        *((Curriculum, "record"), (StageChanges, "episode_ended"), (TrainingDisplay, "show")),
    ),
    "evaluations": ((Validation, "run"),),
    "snapshots": ((RunSnapshots, "save"), (RunSnapshots, "save_stage"), (RunSnapshots, "keep_best")),
    "remainder": ((Trainer, "train"),),
}
WHOLE = {"evaluations", "snapshots"}
CASES = {
    "profile=cpu, parallel=false": ("profile=cpu", "parallel=false"),
    "profile=cpu, parallel=true": ("profile=cpu", "parallel=true"),
    "profile=state": ("profile=state",),
}


class Stopwatch:
    """Seconds by thread and part, those of the parts inside each left out."""

    def __init__(self) -> None:
        self.loop: dict[str, float] = defaultdict(float)
        self.beside: dict[str, float] = defaultdict(float)
        self._local = threading.local()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, timed."""

        @wraps(call)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            # The calls under way on this thread: each one's part, and the seconds inside it that are another's.
            under_way = self._local.__dict__.setdefault("under_way", [])
            own = under_way[-1][0] if under_way and under_way[-1][0] in WHOLE else part
            under_way.append([own, 0.0])
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                seconds = time.perf_counter() - began
                _, inside = under_way.pop()
                on_main = threading.current_thread() is threading.main_thread()
                (self.loop if on_main else self.beside)[own] += seconds - inside
                if under_way:
                    under_way[-1][1] += seconds

        return wrapper

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the calls of `PARTS` within a ``with`` block."""
        with ExitStack() as stack:
            for part, calls in PARTS.items():
                for owner, name in calls:
                    stack.enter_context(patch.object(owner, name, self.timed(part, getattr(owner, name))))
            yield


def shares(overrides: Iterable[str], frames: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the parts' shares of the time of a training of so many frames: in the loop, and on a thread beside it."""
    composed = compose(TRAIN_CONFIG, [*overrides, "save_video=false"], Settings)
    stopwatch, advance = Stopwatch(), Clock.advance

    def advance_or_stop(clock: Clock) -> None:
        advance(clock)
        if clock.frame > frames + composed.settings.num_envs:  # behind the evaluation that is due there
            signal.raise_signal(signal.SIGINT)

    with tempfile.TemporaryDirectory() as folder, stopwatch.running(), patch.object(Clock, "advance", advance_or_stop):
        launch.train(composed.settings, Path(folder) / "run", console=Console(quiet=True))
    wall = sum(stopwatch.loop.values())
    loop, beside = ({part: took / wall for part, took in each.items()} for each in (stopwatch.loop, stopwatch.beside))
    return loop, beside


def main(frames: int = 10000, *more: str) -> None:
    """Print the table."""
    found = [shares([*overrides, *more], frames) for overrides in CASES.values()]
    print(f"| {frames:,} frames | {' | '.join(CASES)} |\n| --- |{' ---: |' * len(CASES)}")
    for name, places in (("", 0), ("beside the loop: ", 1)):
        for part in PARTS:
            row = [each[places].get(part) for each in found]
            if any(share is not None for share in row):
                cells = ("" if share is None else f"{share:.1%}" for share in row)
                print(f"| {name}{part} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
