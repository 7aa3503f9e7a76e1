"""Plays fixed scenarios with a policy and says how it did: rates with intervals, returns, touchdown figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import Outcome
from glideslope.settings import StageSettings
from glideslope.video import Picture, side_by_side, write_video

Act = Callable[[LandingVectorEnv, Observation], NDArray[Any]]

# Scenarios come from streams of their own, so no training meets them; these two sets never overlap.
VALIDATION_SEED = 10_000_000  # chooses snapshots during training
TEST_SEED = 20_000_000  # final figures, never used to choose


@dataclass(frozen=True)
class Score:
    """How a policy did on a set of scenarios of one stage."""

    stage: int
    name: str
    episodes: int
    success_rate: float  # share of landings
    low: float  # 95% Wilson score interval of the success rate
    high: float
    crash_rate: float
    timeout_rate: float
    touchdown_error_m: float | None  # mean distance from the pad's centre over landings; None without any
    touchdown_speed: float | None  # mean vertical speed at landing, m/s
    episode_reward: float  # mean undiscounted return
    episode_length: float  # mean environment steps

    def to_plain(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def wilson_interval(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a success probability (Wilson 1927), 95% by default.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"need 0 <= successes <= trials and trials >= 1, got {successes} of {trials}")
    share = successes / trials
    shrink = 1.0 + z * z / trials
    centre = (share + z * z / (2 * trials)) / shrink
    half = z * sqrt(share * (1.0 - share) / trials + z * z / (4 * trials * trials)) / shrink
    # At 0 and n of n the bound is exactly 0 or 1; rounding must not pass it.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == trials else centre + half)


def score(env: LandingVectorEnv, act: Act, stage: StageSettings, index: int, seeds: Sequence[int]) -> Score:
    """Play one episode of every scenario in ``seeds`` and sum up.

    The scenarios are handed out to environments as they become free, so the result doesn't favour short episodes,
    nor does it depend on how many environments there are if an action depends on its own observation alone.
    """
    env.set_stage(stage, index)
    observation, _ = env.reset(seed=0, options={"scenario_seeds": seeds})
    keys = ("scenario", "outcome", "touchdown_error_m", "touchdown_speed", "episode_return", "episode_length")
    ended: dict[str, list[NDArray[Any]]] = {key: [] for key in keys}
    played = 0
    while played < len(seeds):
        observation, _, terminated, truncated, infos = env.step(act(env, observation))
        done = terminated | truncated
        if done.any():
            for key, rows in ended.items():
                rows.append(infos["final_info"][key][done])
            played += int(done.sum())
    joined = {key: np.concatenate(rows) for key, rows in ended.items()}
    # In the order of the scenarios, not of their ends: a mean's last bit depends on it.
    figures = {key: values[np.argsort(joined["scenario"])] for key, values in joined.items()}
    outcome = figures["outcome"]
    landed = outcome == Outcome.LANDED
    low, high = wilson_interval(int(landed.sum()), len(seeds))
    return Score(
        stage=index,
        name=stage.name,
        episodes=len(seeds),
        success_rate=float(landed.mean()),
        low=low,
        high=high,
        crash_rate=float((outcome == Outcome.CRASHED).mean()),
        timeout_rate=float((outcome == Outcome.TIMED_OUT).mean()),
        touchdown_error_m=float(figures["touchdown_error_m"][landed].mean()) if landed.any() else None,
        touchdown_speed=float(figures["touchdown_speed"][landed].mean()) if landed.any() else None,
        episode_reward=float(figures["episode_return"].mean()),
        episode_length=float(figures["episode_length"].mean()),
    )


def record_episodes(
    env: LandingVectorEnv,
    act: Act,
    stage: StageSettings,
    index: int,
    seeds: Sequence[int],
    path: Path,
) -> None:
    """Film one episode per seed, one after the other: the onboard view beside a chase view.

    Args:
        env: an environment with ``num_envs=1``; without pixels only the chase view is filmed.
        act: the policy.
        stage: the stage to play.
        index: its index.
        seeds: the scenarios.
        path: an .mp4 or .gif file.
    """
    env.set_stage(stage, index)
    fps = env.metadata["render_fps"]
    frames: list[Picture] = []
    for seed in seeds:
        observation, _ = env.reset(seed=0, options={"scenario_seeds": [seed]})
        frames.append(_picture(env, observation, f"{stage.name}  scenario {seed}"))
        done, step = False, 0
        while not done:
            action = act(env, observation)
            _, terminated, truncated, infos = env.advance(action)
            observation = env.observations()
            done, step = bool(terminated[0] or truncated[0]), step + 1
            word = Outcome(int(infos["outcome"][0])).name.lower().replace("_", " ")
            frames.append(_picture(env, observation, f"{stage.name}  {step / fps:4.1f} s  {word}"))
        # A still second at the end, so that the outcome can be read.
        frames.extend([frames[-1]] * round(fps))
    write_video(path, frames, fps)


def _picture(env: LandingVectorEnv, observation: Observation, caption: str) -> Picture:
    chase = env.chase_view(0)
    if "pixels" not in observation:
        return chase
    return side_by_side(observation["pixels"][0, -1], chase, caption)
