"""The scripted policies: what each achieves, what it knows, and how they rank."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from glideslope.envs.baselines import RandomPolicy, expert, fixed_camera, make_policy
from glideslope.envs.gym import LandingVectorEnv
from glideslope.envs.landing import LandingTask
from glideslope.envs.layout import ACTION_DIM
from glideslope.evaluation.scoring import Score, play, summarise
from glideslope.settings import FULL_TASK, StageSettings, TaskSettings
from tests.support.paths import ROOT

STAGES_FILE = ROOT / "cfgs" / "curriculum_stages" / "five_stages.yaml"
MOVING = TaskSettings(pad_paths=("straight", "sinusoidal", "circular"))
EPISODES = 100


def shipped_stages() -> list[StageSettings]:
    config = yaml.safe_load(STAGES_FILE.read_text(encoding="utf-8"))
    return [StageSettings.from_config(stage) for stage in config["curriculum"]["stages"]]


@cache
def achieved(name: str, index: int) -> Score:
    """What a baseline makes of a hundred scenarios of a shipped stage with a moving pad."""
    stage = shipped_stages()[index]
    env = LandingVectorEnv(EPISODES, task=MOVING, stage=stage, pixels=False, num_threads=1)
    policy = make_policy(name, seed=1)
    return summarise(play(env, lambda env, _: policy(env.task), stage, index, range(EPISODES)), stage, index)


@pytest.mark.slow
@pytest.mark.parametrize("index", range(5))
def test_the_expert_lands_at_every_stage(index: int) -> None:
    result = achieved("expert", index)
    assert result.success_rate >= 0.95
    assert result.touchdown_error_m is not None
    assert result.touchdown_error_m < 0.2
    assert result.touchdown_speed is not None
    assert result.touchdown_speed < MOVING.max_touchdown_speed
    assert result.episode_length < 60


@pytest.mark.slow
def test_random_actions_do_not_land() -> None:
    result = achieved("random", 4)
    assert result.success_rate <= 0.05
    assert result.episode_reward < 0


@pytest.mark.slow
def test_a_fixed_camera_lands_less_often_than_the_expert_and_far_more_often_than_chance() -> None:
    """It loses the pad from view; so the gimbal is worth something."""
    result = achieved("fixed_camera", 4)
    assert achieved("random", 4).success_rate + 0.3 < result.success_rate
    assert result.success_rate < achieved("expert", 4).success_rate
    assert result.episode_length > achieved("expert", 4).episode_length


def begin(num: int, task: TaskSettings = MOVING, stage: StageSettings = FULL_TASK) -> LandingTask:
    landing = LandingTask(num, task, stage, pixels=False, num_threads=1)
    landing.reset(np.arange(num), [np.random.default_rng(env) for env in range(num)])
    return landing


@pytest.mark.parametrize("stabilized", [True, False])
def test_the_expert_keeps_looking_at_the_pad(stabilized: bool) -> None:
    task = begin(20, MOVING.model_copy(update={"gimbal_stabilized": stabilized}))
    seen, cosines = [], []
    for decision in range(20):
        task.step(expert(task))
        cosine, visible = task.pad_in_view()
        if decision >= 3:  # the gimbal needs time to get there
            running = task.outcome == 0
            seen.append(visible[running])
            cosines.append(cosine[running])
    assert np.concatenate(seen).mean() > 0.97
    assert np.median(np.concatenate(cosines)) > np.cos(np.deg2rad(8))


def test_the_expert_leaves_locked_axes_alone() -> None:
    locked = StageSettings(name="S", yaw_only=True, scale=(1.0, 0.0, 0.5), start_offset=2.5)
    task = begin(10, stage=locked)
    action = expert(task)
    np.testing.assert_array_equal(action[:, 3], 0.0)
    assert np.abs(action[:, 4]).max() > 0.2


def test_the_fixed_camera_policy_knows_nothing_of_a_pad_out_of_view() -> None:
    task = begin(40, stage=StageSettings(name="S", start_offset=4.0))
    _, visible = task.pad_in_view()
    assert 5 < visible.sum() < 35
    action = fixed_camera(task)
    np.testing.assert_array_equal(action[:, 3:], 0.0)
    np.testing.assert_array_equal(action[~visible], np.tile([0, 0, 0.5, 0, 0], ((~visible).sum(), 1)))
    assert np.abs(action[visible, :2]).max(axis=1).min() > 0
    np.testing.assert_allclose(action[visible, :3], expert(task)[visible, :3])


def test_random_actions_are_even_and_follow_their_seed() -> None:
    task = begin(50)

    def draws(seed: int) -> NDArray[np.float64]:
        policy, actions = RandomPolicy(seed), []
        for decision in range(100):
            task.decisions[:] = decision
            actions.append(policy(task))
        return np.array(actions)

    actions = draws(1)
    assert actions.shape == (100, 50, ACTION_DIM)
    np.testing.assert_array_equal(actions, draws(1))
    assert not np.array_equal(actions, draws(2))
    assert np.abs(actions).max() <= 1.0
    np.testing.assert_allclose(actions.mean(axis=(0, 1)), 0.0, atol=0.05)
    np.testing.assert_allclose(actions.std(axis=(0, 1)), 1 / np.sqrt(3), atol=0.02)


@pytest.mark.parametrize("policy", ["expert", "fixed_camera", "random"])
def test_actions_are_within_their_range(policy: str) -> None:
    task = begin(30, stage=StageSettings(name="S", start_offset=4.0))
    act = make_policy(policy)
    for _ in range(10):
        action = act(task)
        assert action.shape == (30, ACTION_DIM)
        assert np.all(np.abs(action) <= 1.0)
        task.step(action)


def test_unknown_baselines_are_refused() -> None:
    with pytest.raises(KeyError):
        make_policy("hero")
