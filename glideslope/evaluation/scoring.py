"""Plays fixed scenarios with a policy and says how it did: rates with intervals, returns, touchdown figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glideslope.curriculum.intervals import wilson_interval
from glideslope.display.films import Colour, Picture, grid, side_by_side, tile, write_video
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import Outcome
from glideslope.settings import StageSettings

GRID_COLUMNS = 4
_TILE_SIZE = (320, 240)
_GRID_QUALITY = 5  # of 10: textured ground seen eight times over makes large files
_OUTCOME_COLOURS: dict[Outcome, Colour] = {
    Outcome.RUNNING: (0, 0, 0),
    Outcome.LANDED: (0, 102, 74),
    Outcome.CRASHED: (170, 60, 0),
    Outcome.TIMED_OUT: (89, 89, 89),
}

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
        """Plain data, the outcome as ``landed``, ``crashed`` or ``timed_out``."""
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
    episode_reward: float  # mean undiscounted return
    episode_length: float  # mean environment steps

    def to_plain(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def score(
    env: LandingVectorEnv,
    act: Act,
    stage: StageSettings,
    index: int,
    seeds: Sequence[int],
    ended: Callable[[int], None] | None = None,
) -> Score:
    """Play one episode of every scenario in ``seeds``, as :func:`play` does, and sum up."""
    return summarise(play(env, act, stage, index, seeds, ended), stage, index)


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

    Args:
        env: the environment.
        act: the policy.
        stage: the stage to play.
        index: its index.
        seeds: the scenarios.
        ended: is told, at every end of episodes, how many ended.
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
    """The score of episodes of a stage, of which there is at least one."""
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
        episode_reward=float(np.mean([e.episode_reward for e in episodes])),
        episode_length=float(np.mean([e.episode_length for e in episodes])),
    )


# --- films ---


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

    def frames() -> Iterator[Picture]:
        for seed in seeds:
            observation, _ = env.reset(seed=0, options={"scenario_seeds": [seed]})
            yield _picture(env, observation, f"{stage.name}  scenario {seed}")
            done, step = False, 0
            while not done:
                action = act(env, observation)
                _, terminated, truncated, infos = env.advance(action)
                observation = env.observations()
                done, step = bool(terminated[0] or truncated[0]), step + 1
                word = _word(Outcome(int(infos["outcome"][0])))
                picture = _picture(env, observation, f"{stage.name}  {step / fps:4.1f} s  {word}")
                yield picture
            # A still second at the end, so that the outcome can be read.
            yield from [picture] * round(fps)

    write_video(path, frames(), fps)


def _picture(env: LandingVectorEnv, observation: Observation, caption: str) -> Picture:
    chase = env.chase_view(0)
    if "pixels" not in observation:
        return chase
    return side_by_side(observation["pixels"][0, -1], chase, caption)


def best_and_worst(
    episodes: Sequence[Episode], columns: int = GRID_COLUMNS
) -> tuple[list[Episode], list[Episode]]:
    """The landings nearest to the pad's centre, and the worst episodes, at most ``columns`` of each, none in both.

    The worst are crashes, then time-outs, of each those of the least return first, then the landings farthest off.
    """

    def badness(episode: Episode) -> tuple[int, float]:
        if episode.touchdown_error_m is not None:
            return 2, -episode.touchdown_error_m
        return int(episode.outcome == Outcome.TIMED_OUT), episode.episode_reward

    columns = min(columns, (len(episodes) + 1) // 2)
    ranked = sorted(episodes, key=badness)
    best = [episode for episode in ranked[::-1] if episode.outcome == Outcome.LANDED][:columns]
    worst = [episode for episode in ranked if episode not in best][:columns]
    return best, worst


def record_grid(
    env: LandingVectorEnv,
    act: Act,
    stage: StageSettings,
    index: int,
    rows: Sequence[tuple[str, Sequence[int]]],
    path: Path,
    device: str = "cpu",
) -> None:
    """Film episodes side by side, all beginning at once; an ended one stands still on its last picture.

    Args:
        env: an environment with one episode per scenario of all rows; with pixels, the onboard view is inset.
        act: the policy.
        stage: the stage to play.
        index: its index.
        rows: (heading, scenarios) of each row of the grid.
        path: an .mp4 or .gif file.
        device: where to render.
    """
    env.set_stage(stage, index)
    seeds = [seed for _, scenarios in rows for seed in scenarios]

    def frames() -> Iterator[Picture]:
        for tiles in _tiles(env, act, seeds, device):
            left = iter(tiles)
            yield grid([(heading, list(islice(left, len(scenarios)))) for heading, scenarios in rows])

    write_video(path, frames(), env.metadata["render_fps"], _GRID_QUALITY)


def _tiles(env: LandingVectorEnv, act: Act, seeds: Sequence[int], device: str) -> Iterator[list[Picture]]:
    """The episodes' pictures at every step, and for two seconds after the last one's end."""
    from glideslope.envs.camera import chase_camera  # loads the renderer, which takes seconds

    camera = chase_camera(env.task.model, _TILE_SIZE, device)
    observation, infos = env.reset(seed=0, options={"scenario_seeds": seeds})
    fps, step = env.metadata["render_fps"], 0

    def draw(at: int) -> Picture:
        outcome = Outcome(int(infos["outcome"][at]))
        caption = f"scenario {seeds[at]}  {step / fps:.1f} s"
        if outcome != Outcome.RUNNING:
            caption += f"  {_word(outcome)}"
        if outcome == Outcome.LANDED:
            caption += f" {infos['final_info']['touchdown_error_m'][at]:.2f} m off"
        view = camera.render(env.task.physics, env.task.scenarios, np.array([at]))[0]
        inset = observation["pixels"][at, -1] if "pixels" in observation else None
        return tile(view, caption, _OUTCOME_COLOURS[outcome], inset)

    tiles = [draw(at) for at in range(len(seeds))]
    yield tiles
    running = np.ones(len(seeds), bool)
    while running.any():
        infos = env.advance(act(env, observation))[-1]
        observation, step = env.observations(), step + 1
        for at in np.flatnonzero(running).tolist():
            tiles[at] = draw(at)
        running &= infos["outcome"] == Outcome.RUNNING
        yield tiles
    yield from [tiles] * round(2 * fps)


def _word(outcome: Outcome) -> str:
    return outcome.name.lower().replace("_", " ")
