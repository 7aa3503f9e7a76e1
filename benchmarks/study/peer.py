"""Stable-Baselines3's SAC on the landing task, for scale: its defaults, our frames, tasks and scenarios.

It updates once per step of all environments; with four of them that is one update per four frames, ours per three.

    python -m benchmarks.study.peer --jobs 2

Trains what ``results/peer.csv`` lacks, or one run again with ``--stage`` and ``--seed``. A run that was interrupted
starts again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import joblib
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.study.parts import PEER, Run
from benchmarks.study.records import record, recorded, short
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.envs.gym import LandingEnv, LandingVectorEnv, Observation
from glideslope.evaluation.scoring import TEST_SEED, VALIDATION_SEED, Score, play, summarise
from glideslope.settings import Settings

ENVS = 4
Curve = list[tuple[float, float, float]]


def train(run: Run, frames: int | None = None) -> tuple[Run, Curve, dict[str, object]]:
    """Train once; return the run, its evaluations and its figures.

    Args:
        run: a run of `PEER`.
        frames: frames to train for; None for as many as our own agent has.
    """
    torch.set_num_threads(1)
    words = [word for word in run.overrides if not word.startswith("lr_schedule=")]
    settings = compose(TRAIN_CONFIG, words, Settings).settings
    stage = settings.curriculum.stages[settings.curriculum.last_stage]
    task: dict[str, Any] = {
        "task": settings.task,
        "stage": stage,
        "frame_stack": settings.frame_stack,
        "num_threads": 1,
    }
    frames = frames or settings.num_train_frames
    scoring = LandingVectorEnv(16, **task)

    def score(model: SAC, first: int, episodes: int) -> Score:
        def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
            return model.predict(observation, deterministic=True)[0]

        return summarise(play(scoring, act, stage, 0, range(first, first + episodes)), stage, 0)

    class Evaluations(BaseCallback):
        """Evaluates as our own training does, and keeps the best policy."""

        def __init__(self) -> None:
            super().__init__()
            self.curve: Curve = []
            self.best: dict[str, Any] = {}

        def _on_step(self) -> bool:
            if self.num_timesteps % settings.eval_every_frames == 0:
                rate = score(self.model, VALIDATION_SEED, settings.num_eval_episodes).success_rate  # type: ignore[arg-type]
                if rate >= max((old for _, _, old in self.curve), default=0.0):
                    self.best = deepcopy(self.model.policy.state_dict())
                self.curve.append((self.num_timesteps, 0, rate))
                print(f"{run.block} {run.seed}: {self.num_timesteps} frames, landed {rate:.0%}", flush=True)
            return True

    began = time.perf_counter()
    envs = make_vec_env(LandingEnv, ENVS, seed=run.seed, env_kwargs=task)
    model = SAC("MultiInputPolicy", envs, buffer_size=frames, seed=run.seed, device="cpu")
    evaluations = Evaluations()
    model.learn(frames, callback=evaluations)
    model.policy.load_state_dict(evaluations.best)
    found = score(model, TEST_SEED, settings.final_eval_episodes)
    scoring.close()
    curve = evaluations.curve
    figures = {
        "landed": short(found.success_rate),
        "final": short(curve[-1][2]),
        "off_centre": short(found.touchdown_error_m),
        "touchdown_speed": short(found.touchdown_speed),
        "frames_to_90": short(next((frame for frame, _, rate in curve if rate >= 0.9), None)),
        "frames": frames,
        "minutes": short((time.perf_counter() - began) / 60),
        "command": f"python -m benchmarks.study.peer --stage {run.block} --seed {run.seed}",
    }
    return run, curve, figures


def main(argv: Sequence[str]) -> int:
    """Train what is missing; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--stage", choices=[block.name for block in PEER], help="one stage alone")
    parser.add_argument("--seed", type=int, help="one seed alone, recorded or not")
    chosen = parser.parse_args(argv)
    known = recorded("peer")
    runs = [run for block in PEER if chosen.stage in (None, block.name) for run in block.runs()]
    due = [run for run in runs if (run.key not in known if chosen.seed is None else run.seed == chosen.seed)]
    trained = joblib.Parallel(chosen.jobs, return_as="generator_unordered")(map(joblib.delayed(train), due))
    for run, curve, figures in trained:
        record("peer", run.key, curve, figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
