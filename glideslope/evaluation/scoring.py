"""Plays fixed scenarios with a policy and says how it did: rates with intervals, returns, touchdown figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.curriculum.wilson import wilson_interval
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import Outcome
from glideslope.settings import StageSettings

Act = Callable[[LandingVectorEnv, Observation], NDArray[Any]]

# Scenarios come from streams of their own, so no training meets them; these two sets never overlap.
VALIDATION_SEED = 10_000_000  # chooses snapshots during training
TEST_SEED = 20_000_000  # final figures, never used to choose


@dataclass(frozen=True)
class Episode:
    """How one episode went."""

    scenario: int  # the seed that its scenario was drawn from
    outcome: Outcome
    touchdown_error_m: float | None  # distance from the pad's centre at landing; None without one
    touchdown_speed: float | None  # vertical speed at landing, m/s
    episode_reward: float  # undiscounted return
    episode_length: int  # environment steps

    def to_plain(self) -> dict[str, Any]:
        """Return plain data, the outcome as ``landed``, ``crashed`` or ``timed_out``."""
        return asdict(self) | {"outcome": self.outcome.name.lower()}


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
    touchdown_error_median_m: float | None
    touchdown_speed_median: float | None
    episode_reward: float  # mean undiscounted return
    episode_length: float  # mean environment steps

    def to_plain(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return asdict(self)


def play(
    env: LandingVectorEnv,
    act: Act,
    stage: StageSettings,
    index: int,
    seeds: Sequence[int],
    ended: Callable[[int], None] | None = None,
) -> list[Episode]:
    """Play one episode of every scenario in ``seeds``; the episodes in the order of the seeds.

    The scenarios are handed out to environments as they become free, so the result doesn't favour short episodes,
    nor does it depend on how many environments there are if an action depends on its own observation alone.
    ``ended`` is told, at every end of episodes, how many ended.
    """
    env.set_stage(stage, index)
    observation, _ = env.reset(seed=0, options={"scenario_seeds": seeds})
    episodes: dict[int, Episode] = {}
    while len(episodes) < len(seeds):
        observation, _, terminated, truncated, infos = env.step(act(env, observation))
        done = np.flatnonzero(terminated | truncated).tolist()
        for at in done:
            episodes[int(infos["final_info"]["scenario"][at])] = _episode(infos["final_info"], at, seeds)
        if done and ended is not None:
            ended(len(done))
    # In the order of the scenarios, not of their ends: a mean's last bit depends on it.
    return [episodes[place] for place in range(len(seeds))]


def _episode(final: dict[str, NDArray[Any]], at: int, seeds: Sequence[int]) -> Episode:
    outcome = Outcome(int(final["outcome"][at]))
    landed = outcome == Outcome.LANDED
    return Episode(
        scenario=seeds[int(final["scenario"][at])],
        outcome=outcome,
        touchdown_error_m=float(final["touchdown_error_m"][at]) if landed else None,
        touchdown_speed=float(final["touchdown_speed"][at]) if landed else None,
        episode_reward=float(final["episode_return"][at]),
        episode_length=int(final["episode_length"][at]),
    )


def summarise(episodes: Sequence[Episode], stage: StageSettings, index: int) -> Score:
    """Return the score of episodes of a stage, of which there is at least one."""
    landings = sum(episode.outcome == Outcome.LANDED for episode in episodes)
    low, high = wilson_interval(landings, len(episodes))
    errors = [e.touchdown_error_m for e in episodes if e.touchdown_error_m is not None]
    speeds = [e.touchdown_speed for e in episodes if e.touchdown_speed is not None]
    return Score(
        stage=index,
        name=stage.name,
        episodes=len(episodes),
        success_rate=landings / len(episodes),
        low=low,
        high=high,
        crash_rate=sum(e.outcome == Outcome.CRASHED for e in episodes) / len(episodes),
        timeout_rate=sum(e.outcome == Outcome.TIMED_OUT for e in episodes) / len(episodes),
        touchdown_error_m=float(np.mean(errors)) if errors else None,
        touchdown_speed=float(np.mean(speeds)) if speeds else None,
        touchdown_error_median_m=float(np.median(errors)) if errors else None,
        touchdown_speed_median=float(np.median(speeds)) if speeds else None,
        episode_reward=float(np.mean([e.episode_reward for e in episodes])),
        episode_length=float(np.mean([e.episode_length for e in episodes])),
    )
