"""Films episodes: one after the other, or the best and the worst side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from glideslope.display.films import Colour, Picture, grid, side_by_side, tile, write_video
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import Outcome
from glideslope.evaluation.scoring import Act, Episode
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


def record_episodes(
    env: LandingVectorEnv,
    act: Act,
    stage: StageSettings,
    index: int,
    seeds: Sequence[int],
    path: Path,
) -> None:
    """Film one episode per scenario seed, one after the other, into an .mp4 or .gif: onboard view beside chase view.

    The environment has ``num_envs=1``; without pixels only the chase view is filmed.
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


def best_and_worst(episodes: Sequence[Episode], columns: int = GRID_COLUMNS) -> tuple[list[Episode], list[Episode]]:
    """Return the landings nearest to the pad's centre and the worst episodes, at most ``columns`` of each.

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

    The ``rows`` of the grid are (heading, scenarios). The environment has one episode per scenario of all rows; with
    pixels, the onboard view is inset.
    """
    env.set_stage(stage, index)
    seeds = [seed for _, scenarios in rows for seed in scenarios]

    def frames() -> Iterator[Picture]:
        for tiles in _tiles(env, act, seeds, device):
            left = iter(tiles)
            yield grid([(heading, list(islice(left, len(scenarios)))) for heading, scenarios in rows])

    write_video(path, frames(), env.metadata["render_fps"], _GRID_QUALITY)


def _tiles(env: LandingVectorEnv, act: Act, seeds: Sequence[int], device: str) -> Iterator[list[Picture]]:
    """Return the episodes' pictures at every step, and for two seconds after the last one's end."""
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
