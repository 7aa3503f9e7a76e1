"""Stable-Baselines3's SAC on the landing task, for scale: its defaults, our frames, tasks and scenarios.

It updates once per step of all environments; with four of them that is one update per four frames, ours per three.

    python -m benchmarks.study.peer --jobs 2

Trains what ``results/peer.csv`` lacks; a run that was interrupted starts again.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from benchmarks.study.records import RESULTS
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.envs.gym import LandingEnv, LandingVectorEnv, Observation
from glideslope.evaluation.scoring import TEST_SEED, VALIDATION_SEED, Score, play, summarise
from glideslope.settings import Settings

FRAMES = 30_000
ENVS = 4
SEEDS = (1, 2, 3)
EPISODES = 30
HELD_OUT = 100
STAGES = {"S0_lock": "balanced", "S4_full": "none"}  # stage -> the curriculum preset whose first or only stage it is
_COLUMNS = ("stage", "seed", "frame", "landed", "crashed", "timed_out", "off_centre", "minutes")


def settings_of(stage: str) -> Settings:
    """Return the settings of the same training with our own agent."""
    words = ["profile=cpu", f"curriculum_preset={STAGES[stage]}"]
    return compose(TRAIN_CONFIG, words, Settings).settings


def train(stage: str, seed: int, frames: int = FRAMES) -> list[dict[str, object]]:
    """Train once; return a row for each evaluation, the last on held-out scenarios."""
    torch.set_num_threads(1)
    settings = settings_of(stage)
    place = 0 if stage == "S0_lock" else settings.curriculum.last_stage
    task: dict[str, Any] = {"task": settings.task, "stage": settings.curriculum.stages[place]}
    common: dict[str, Any] = {"frame_stack": settings.frame_stack, "num_threads": 1}
    scoring = LandingVectorEnv(16, **task, **common)
    rows: list[dict[str, object]] = []
    began = time.perf_counter()

    def evaluate(model: SAC, frame: int, first: int, episodes: int) -> None:
        def act(env: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
            return model.predict(observation, deterministic=True)[0]

        found = play(scoring, act, settings.curriculum.stages[place], place, range(first, first + episodes))
        score = summarise(found, settings.curriculum.stages[place], place)
        rows.append(_row(stage, seed, frame, score, (time.perf_counter() - began) / 60))
        print(rows[-1], flush=True)

    class Evaluations(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps % settings.eval_every_frames == 0:
                evaluate(self.model, self.num_timesteps, VALIDATION_SEED, EPISODES)  # type: ignore[arg-type]
            return True

    envs = make_vec_env(LandingEnv, ENVS, seed=seed, env_kwargs=task | common)
    model = SAC("MultiInputPolicy", envs, buffer_size=frames, seed=seed, device="cpu")
    model.learn(frames, callback=Evaluations())
    evaluate(model, frames, TEST_SEED, HELD_OUT)
    scoring.close()
    return rows


def _row(stage: str, seed: int, frame: int, score: Score, minutes: float) -> dict[str, object]:
    error = np.nan if score.touchdown_error_m is None else score.touchdown_error_m
    figures = (score.success_rate, score.crash_rate, score.timeout_rate, error, minutes)
    return dict(zip(_COLUMNS, (stage, seed, frame, *(f"{figure:.3g}" for figure in figures)), strict=True))


def main(argv: Sequence[str]) -> int:
    """Train what is missing; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    jobs = parser.parse_args(argv).jobs
    path = RESULTS / "peer.csv"
    known: list[Mapping[str, Any]] = []
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            known = list(csv.DictReader(file))
    done = {(row["stage"], int(row["seed"])) for row in known}
    missing = [(stage, seed) for seed in SEEDS for stage in STAGES if (stage, seed) not in done]
    for rows in joblib.Parallel(jobs, return_as="generator_unordered")(joblib.delayed(train)(*run) for run in missing):
        known = [*known, *rows]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(known)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
