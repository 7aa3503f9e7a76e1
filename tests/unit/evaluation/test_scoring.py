"""Measuring policies: intervals by hand, figures by hand, and independence of how many fly at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
from numpy.typing import NDArray

from glideslope.curriculum.wilson import wilson_interval
from glideslope.envs.baselines import expert
from glideslope.envs.gym import LandingVectorEnv, Observation
from glideslope.envs.landing import Outcome
from glideslope.evaluation import filming
from glideslope.evaluation.filming import best_and_worst, record_episodes, record_grid
from glideslope.evaluation.scoring import (
    TEST_SEED,
    VALIDATION_SEED,
    Episode,
    Score,
    play,
    summarise,
)
from glideslope.settings import StageSettings
from tests.support.tasks import pinned_task

STAGE = StageSettings(name="S3_mid", start_offset=1.0)
SHORT = pinned_task(image_size=20, episode_seconds=4.0, start_height=(0.8, 1.6))
Z = 1.959963984540054


def score(env: Any, act: Any, stage: StageSettings, index: int, seeds: Sequence[int]) -> Score:
    """Play the scenarios and sum up."""
    return summarise(play(env, act, stage, index, seeds), stage, index)


class ScriptedEnv:
    """Ends episodes as told: (step, environment, scenario, outcome, error, speed, return, length)."""

    SCRIPT = (
        (1, 0, 0, Outcome.LANDED, 0.3, 0.9, 10.0, 20),
        (2, 1, 1, Outcome.CRASHED, np.nan, np.nan, -12.0, 30),
        (3, 0, 2, Outcome.LANDED, 0.1, 0.4, 12.0, 40),
        (3, 1, 3, Outcome.TIMED_OUT, np.nan, np.nan, -4.0, 108),
        (5, 1, 4, Outcome.LANDED, 0.35, 0.5, 9.0, 22),
    )

    def __init__(self) -> None:
        self.stage: tuple[StageSettings, int] | None = None
        self.queue: Sequence[int] = ()
        self.time = 0

    def set_stage(self, stage: StageSettings, index: int) -> None:
        self.stage = (stage, index)

    def reset(self, *, seed: int, options: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        self.queue = options["scenario_seeds"]
        return {"state": np.zeros((2, 1))}, {}

    def step(self, actions: NDArray[Any]) -> tuple[Any, ...]:
        assert actions.shape == (2, 5)
        self.time += 1
        names = (
            "scenario",
            "outcome",
            "touchdown_error_m",
            "touchdown_speed",
            "episode_return",
            "episode_length",
        )
        final = {name: np.full(2, -99.0) for name in names}  # rows of no ended episode must not be read
        terminated, truncated = np.zeros(2, bool), np.zeros(2, bool)
        for time, env, *figures in self.SCRIPT:
            if time == self.time:
                for name, figure in zip(names, figures, strict=True):
                    final[name][env] = figure
                truncated[env] = figures[1] == Outcome.TIMED_OUT
                terminated[env] = not truncated[env]
        infos = {"final_info": final} if (terminated | truncated).any() else {}
        return {"state": np.full((2, 1), self.time)}, np.zeros(2), terminated, truncated, infos


def test_score_by_hand() -> None:
    env: Any = ScriptedEnv()
    seen: list[int] = []

    def act(_: LandingVectorEnv, observation: Observation) -> NDArray[Any]:
        seen.append(int(observation["state"][0, 0]))
        return np.zeros((2, 5))

    result = score(env, act, STAGE, 3, range(40, 45))
    assert env.stage == (STAGE, 3)
    assert list(env.queue) == [40, 41, 42, 43, 44]
    assert seen == [0, 1, 2, 3, 4]  # the policy sees each step's observation, and the last episode ends it
    low, high = wilson_interval(3, 5)
    assert result == Score(
        stage=3,
        name="S3_mid",
        episodes=5,
        success_rate=0.6,
        low=low,
        high=high,
        crash_rate=0.2,
        timeout_rate=0.2,
        touchdown_error_m=pytest.approx(0.25),
        touchdown_speed=pytest.approx(0.6),
        touchdown_error_median_m=0.3,
        touchdown_speed_median=0.5,
        episode_reward=pytest.approx(3.0),
        episode_length=pytest.approx(44.0),
    )


def test_every_episode_is_told_in_the_order_of_the_scenarios() -> None:
    env: Any = ScriptedEnv()
    ended: list[int] = []
    episodes = play(env, lambda *_: np.zeros((2, 5)), STAGE, 3, range(40, 45), ended.append)
    assert episodes == [
        Episode(40, Outcome.LANDED, 0.3, 0.9, 10.0, 20),
        Episode(41, Outcome.CRASHED, None, None, -12.0, 30),
        Episode(42, Outcome.LANDED, 0.1, 0.4, 12.0, 40),
        Episode(43, Outcome.TIMED_OUT, None, None, -4.0, 108),
        Episode(44, Outcome.LANDED, 0.35, 0.5, 9.0, 22),
    ]
    assert ended == [1, 1, 2, 1]
    assert summarise(episodes, STAGE, 3) == score(
        ScriptedEnv(),  # type: ignore[arg-type]
        lambda *_: np.zeros((2, 5)),
        STAGE,
        3,
        range(40, 45),
    )
    assert json.loads(json.dumps(episodes[3].to_plain(), allow_nan=False))["outcome"] == "timed_out"


def test_without_landings_there_is_no_touchdown() -> None:
    env = LandingVectorEnv(2, task=SHORT, pixels=False, num_threads=1)
    result = score(env, lambda env, _: np.zeros((2, 5)), STAGE, 0, [1, 2, 3])
    assert result.success_rate == 0.0
    assert result.touchdown_error_m is None
    assert result.touchdown_speed is None
    assert result.touchdown_error_median_m is None
    assert result.touchdown_speed_median is None
    assert result.timeout_rate == 1.0
    assert result.episode_length == 24.0
    plain = json.loads(json.dumps(result.to_plain(), allow_nan=False))
    assert plain["touchdown_error_m"] is None
    assert plain["name"] == "S3_mid"
    assert set(plain) == set(Score.__dataclass_fields__)


def careless(env: LandingVectorEnv, _: Observation) -> NDArray[Any]:
    """The expert with a heavy hand: some land, some crash, some run out of time."""
    action = expert(env.task)
    action[:, 2] *= 1.0 + 1.2 * (np.abs(env.task.scenarios.heading) > 1.5)
    action[:, :3] *= (env.task.scenarios.pad_heading > -2.0)[:, None]
    return np.clip(action, -1.0, 1.0)


def test_the_number_of_environments_changes_nothing() -> None:
    """Not the last bit, and not in favour of short episodes."""
    seeds = range(VALIDATION_SEED, VALIDATION_SEED + 24)

    def result(num_envs: int) -> Score:
        env = LandingVectorEnv(num_envs, task=SHORT, pixels=False, num_threads=1)
        return score(env, careless, STAGE, 1, seeds)

    reference = result(1)
    assert reference.success_rate > 0
    assert reference.crash_rate > 0
    assert reference.timeout_rate > 0
    assert reference.success_rate + reference.crash_rate + reference.timeout_rate == pytest.approx(1.0)
    for num_envs in (2, 7, 24, 30):
        assert result(num_envs) == reference


def test_an_environment_can_be_scored_on_again_and_on_another_stage() -> None:
    env = LandingVectorEnv(4, task=SHORT, pixels=False, num_threads=1)
    locked = StageSettings(name="S0_lock", lock_down=True, include_viz_reward=False, start_offset=1.0)
    first = score(env, careless, STAGE, 1, range(8))
    other = score(env, careless, locked, 0, range(8))
    assert (other.stage, other.name) == (0, "S0_lock")
    assert other.episode_reward != first.episode_reward
    assert score(env, careless, STAGE, 1, range(8)) == first
    assert score(env, careless, STAGE, 1, range(8, 16)) != first


def test_scenarios_to_choose_by_and_to_report_are_apart() -> None:
    assert VALIDATION_SEED + 1_000_000 < TEST_SEED


# --- films ---


@pytest.mark.slow
@pytest.mark.parametrize("pixels", [True, False])
def test_films_show_each_episode_whole_and_its_end_for_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: bool
) -> None:
    films: list[tuple[Path, list[NDArray[np.uint8]], float]] = []

    def keep(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
        films.append((path, list(frames), fps))

    monkeypatch.setattr(filming, "write_video", keep)
    task = SHORT.model_copy(update={"episode_seconds": 0.5})
    env = LandingVectorEnv(1, task=task, pixels=pixels, num_threads=1)
    record_episodes(env, lambda *_: np.zeros((1, 5)), STAGE, 2, [5, 6], tmp_path / "film.mp4")
    ((path, frames, fps),) = films
    assert path == tmp_path / "film.mp4"
    assert fps == 6
    assert len(frames) == 2 * (1 + 3 + 6)
    assert len({frame.shape for frame in frames}) == 1
    height, width, _ = frames[0].shape
    assert (height > 360, width > 480 + 360) == (pixels, pixels)  # own view and caption, where there are any
    for start in (0, 10):
        moving, still = frames[start : start + 4], frames[start + 3 : start + 10]
        assert len({frame.tobytes() for frame in moving}) == 4
        assert len({frame.tobytes() for frame in still}) == 1
    assert not np.array_equal(frames[0], frames[10])
    env.close()


@pytest.mark.slow
def test_films_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[NDArray[np.uint8]] = []
    write_video = filming.write_video

    def keep(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
        drawn.extend(frames)
        write_video(path, drawn, fps)

    monkeypatch.setattr(filming, "write_video", keep)
    task = SHORT.model_copy(update={"episode_seconds": 0.5})
    env = LandingVectorEnv(1, task=task, num_threads=1)
    up = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])
    record_episodes(env, lambda *_: up, STAGE, 2, [5], tmp_path / "film.mp4")
    with imageio.get_reader(tmp_path / "film.mp4") as reader:
        assert reader.get_meta_data()["fps"] == 6.0
        frames = [frame for frame in reader]  # noqa: C416, RUF100 (its length is not known in advance)
    assert len(frames) == len(drawn) == 1 + 3 + 6
    for frame, picture in zip(frames, drawn, strict=True):
        height, width, _ = picture.shape
        assert np.abs(frame[:height, :width].astype(int) - picture).mean() < 6
    # As it climbs, what is seen moves by far more than the encoder's error.
    assert np.abs(frames[0].astype(int) - frames[3]).mean() > 6
    env.close()


def landing(scenario: int, error: float) -> Episode:
    return Episode(scenario, Outcome.LANDED, error, 0.5, 10.0, 20)


def failure(scenario: int, outcome: Outcome, reward: float) -> Episode:
    return Episode(scenario, outcome, None, None, reward, 20)


def test_the_best_and_the_worst_by_hand() -> None:
    episodes = [
        failure(0, Outcome.TIMED_OUT, -30.0),
        landing(1, 0.3),
        failure(2, Outcome.CRASHED, -5.0),
        landing(3, 0.1),
        failure(4, Outcome.TIMED_OUT, -3.0),
        landing(5, 0.2),
        failure(6, Outcome.CRASHED, -9.0),
        landing(7, 0.6),
    ]

    def chosen(count: int) -> tuple[list[int], list[int]]:
        best, worst = best_and_worst(episodes[:count])
        return [episode.scenario for episode in best], [episode.scenario for episode in worst]

    assert chosen(8) == ([3, 5, 1, 7], [6, 2, 0, 4])
    # Few episodes are shared out, none is shown twice.
    assert chosen(5) == ([3, 1], [2, 0, 4])
    assert chosen(1) == ([], [0])
    assert best_and_worst([landing(1, 0.3)]) == ([landing(1, 0.3)], [])
    best, worst = best_and_worst([landing(i, 0.01 * i) for i in range(100)])
    assert [episode.scenario for episode in best] == [0, 1, 2, 3]
    assert [episode.scenario for episode in worst] == [99, 98, 97, 96]


@pytest.mark.slow
def test_a_grid_shows_episodes_at_once_and_freezes_those_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films: list[tuple[Path, list[NDArray[np.uint8]], float]] = []

    def keep(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float, quality: float) -> None:
        films.append((path, list(frames), fps))

    monkeypatch.setattr(filming, "write_video", keep)
    task = SHORT.model_copy(update={"episode_seconds": 3.0, "start_height": (0.8, 1.0)})
    near = STAGE.model_copy(update={"start_offset": 0.2})
    env = LandingVectorEnv(3, task=task, pixels=False, num_threads=1)
    seeds = [5, 6, 7]
    lengths = [episode.episode_length for episode in play(env, hover_or_land, near, 2, seeds)]
    assert lengths[2] == 18 > max(lengths[:2])

    rows = [("those that land", seeds[:2]), ("the one that hovers", seeds[2:])]
    record_grid(env, hover_or_land, near, 2, rows, tmp_path / "grid.mp4")
    ((path, frames, fps),) = films
    assert (path, fps) == (tmp_path / "grid.mp4", 6)
    assert len(frames) == 1 + 18 + 12
    heading, tile_height, width = 25, 240 + 23, 320
    assert all(frame.shape == (2 * (heading + tile_height), 2 * width + 4, 3) for frame in frames)
    for at, length in enumerate(lengths):
        top = heading + (heading + tile_height) * (at // 2)
        left = (width + 4) * (at % 2)
        tiles = [frame[top : top + tile_height, left : left + width].tobytes() for frame in frames]
        assert len(set(tiles[: length + 1])) == length + 1
        assert len(set(tiles[length:])) == 1
    env.close()


def hover_or_land(env: LandingVectorEnv, _: Observation) -> NDArray[Any]:
    """The expert, but for the third environment, which stays where it is."""
    action = expert(env.task)
    action[2, :3] = 0.0
    return action
