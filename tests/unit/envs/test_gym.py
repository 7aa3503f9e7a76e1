"""Gymnasium's APIs: conformance, automatic resets, scenario queues, and observations that stay what they were."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from glideslope.envs import ENV_ID, register
from glideslope.envs.baselines import expert
from glideslope.envs.gym import LandingEnv, LandingVectorEnv, Observation
from glideslope.envs.landing import Outcome
from glideslope.errors import SettingsError
from glideslope.settings import StageSettings
from tests.support.tasks import pinned_task

# Low starts and three seconds: episodes end often, in every way.
SHORT = pinned_task(image_size=20, episode_seconds=3.0, start_height=(0.6, 1.4))
STAGE = StageSettings(name="S", start_offset=0.8, pad_speed=(0.1, 0.5))
SHAPE = (3, 20, 20)


def options(**changes: Any) -> dict[str, Any]:
    return {"task": SHORT, "stage": STAGE, "num_threads": 1} | changes


def same(a: Observation, b: Observation) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def row(observation: Observation, env: int) -> Observation:
    return {key: value[env] for key, value in observation.items()}


def random_actions(rng: np.random.Generator, num: int) -> NDArray[np.float32]:
    """Mostly downwards, so that episodes end by contact too."""
    actions = rng.uniform(-1, 1, (num, 5)).astype(np.float32)
    actions[:, 2] -= 0.4
    return np.clip(actions, -1, 1)


# --- conformance ---


@pytest.mark.parametrize("privileged", [False, True])
def test_the_environment_checker_finds_nothing(privileged: bool) -> None:
    env = gym.make(ENV_ID, render_mode="rgb_array", privileged=privileged, **options())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        if privileged:  # relative positions and velocities have no natural bound
            warnings.filterwarnings("ignore", ".*infinity.*")
        check_env(env.unwrapped)
    env.close()


def test_make_gives_the_task_behind_gymnasiums_usual_wrappers() -> None:
    env = gym.make(ENV_ID, **options())
    assert isinstance(env.unwrapped, LandingEnv)
    assert env.observation_space == gym.spaces.Dict(
        {
            "pixels": gym.spaces.Box(0, 255, SHAPE, np.uint8),
            "state": gym.spaces.Box(-5.0, 5.0, (3, 12), np.float32),
        }
    )
    assert env.action_space == gym.spaces.Box(-1.0, 1.0, (5,), np.float32)
    observation, info = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    assert info["outcome"] == Outcome.RUNNING
    rng = np.random.default_rng(0)
    done = False
    while not done:
        observation, reward, terminated, truncated, info = env.step(random_actions(rng, 1)[0])
        assert env.observation_space.contains(observation)
        assert type(reward) is float
        assert type(terminated) is bool
        assert type(truncated) is bool
        terms = sum(value for key, value in info.items() if key.startswith("reward/"))
        assert reward == pytest.approx(terms)
        done = terminated or truncated
        assert ("success" in info) == done
    assert info["episode_length"] > 0
    env.close()


def test_make_vec_gives_the_batched_environment() -> None:
    envs = gym.make_vec(ENV_ID, num_envs=3, **options())
    assert isinstance(envs, LandingVectorEnv)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    observations, _ = envs.reset(seed=1)
    assert envs.observation_space.contains(observations)
    assert observations["pixels"].shape == (3, *SHAPE)
    assert envs.action_space.contains(envs.action_space.sample())
    observations, rewards, terminated, truncated, _ = envs.step(envs.action_space.sample())
    assert envs.observation_space.contains(observations)
    assert rewards.dtype == np.float64
    assert terminated.dtype == truncated.dtype == np.bool_
    assert rewards.shape == terminated.shape == truncated.shape == (3,)
    envs.close()


def test_registering_twice_is_harmless() -> None:
    before = gym.spec(ENV_ID)
    register()
    assert gym.spec(ENV_ID) is before


def test_settings_may_be_plain_and_are_checked() -> None:
    env = LandingEnv(task={"image_size": 20}, stage={"name": "mine"}, pixels=False)
    assert set(env.observation_space.spaces) == {"state"}
    with pytest.raises(SettingsError, match="image_sise=20: unknown key"):
        LandingEnv(task={"image_sise": 20})
    with pytest.raises(SettingsError, match="wind"):
        LandingEnv(stage={"name": "mine", "wind": -1})


def test_privileged_state_is_there_only_on_request() -> None:
    plain, told = LandingEnv(pixels=False), LandingEnv(pixels=False, privileged=True)
    assert set(plain.reset(seed=0)[0]) == {"state"}
    observation, _ = told.reset(seed=0)
    assert set(observation) == {"state", "privileged"}
    np.testing.assert_array_equal(observation["privileged"], told.task.privileged()[0])


def test_rendering_draws_the_drone_and_the_pad_from_outside() -> None:
    envs = LandingVectorEnv(2, render_mode="rgb_array", **options())
    envs.reset(seed=0)
    pictures = envs.render()
    assert pictures is not None
    assert len(pictures) == 2
    for picture in pictures:
        assert picture.shape == (360, 480, 3)
        assert picture.dtype == np.uint8
        red, green, blue = np.moveaxis(picture.astype(int), 2, 0)
        orange = (red > green + 40) & (green > blue + 10)  # the drone's frame
        assert 5 < orange.sum() < 5000
    assert not np.array_equal(*pictures)
    assert LandingVectorEnv(1, pixels=False).render() is None
    assert envs.metadata["render_fps"] == 6
    assert LandingEnv(pixels=False, action_repeat=2).metadata["render_fps"] == 3
    envs.close()


# --- actions ---


def test_bad_actions_and_missing_resets_are_refused() -> None:
    envs, env = LandingVectorEnv(2, pixels=False), LandingEnv(pixels=False)
    for act in (lambda: envs.step(np.zeros((2, 5))), lambda: env.step(np.zeros(5))):
        with pytest.raises(gym.error.ResetNeeded):
            act()
    envs.reset(seed=0)
    env.reset(seed=0)
    for wrong in (np.zeros(5), np.zeros((2, 4)), np.zeros((3, 5))):
        with pytest.raises(ValueError, match="must have shape"):
            envs.step(wrong)
    for wrong in (np.zeros(4), np.zeros((1, 5))):
        with pytest.raises(ValueError, match="must have shape"):
            env.step(wrong)
    broken = np.zeros((2, 5))
    broken[1, 2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        envs.step(broken)
    with pytest.raises(ValueError, match="one entry per environment"):
        envs.reset(seed=[1, 2, 3])


def test_actions_are_not_written_to() -> None:
    envs = LandingVectorEnv(2, pixels=False)
    envs.reset(seed=0)
    actions = np.full((2, 5), 3.0, np.float32)
    envs.step(actions)
    np.testing.assert_array_equal(actions, 3.0)


# --- one and many ---


@pytest.mark.parametrize(("num", "repeat", "threads"), [(3, 1, 1), (3, 2, 1), (8, 1, 2)])
def test_the_vector_environment_equals_single_ones_step_for_step(num: int, repeat: int, threads: int) -> None:
    """Bit for bit, pixels included, over whole episodes; the single ones are reset by hand."""
    seed, steps = 11, 45 // repeat
    envs = LandingVectorEnv(num, **options(action_repeat=repeat, num_threads=threads))
    together, _ = envs.reset(seed=seed)
    rng = np.random.default_rng(0)
    script = np.array([random_actions(rng, num) for _ in range(steps)])
    results = [envs.step(actions) for actions in script]
    ends: list[Outcome] = []
    # One single environment plays every part in turn: nothing may stay behind from its earlier episodes.
    single = LandingEnv(**options(action_repeat=repeat))
    for i in range(num):
        observation, _ = single.reset(seed=seed + i)
        assert same(observation, row(together, i))
        for t in range(steps):
            observations, rewards, terminations, truncations, infos = results[t]
            observation, reward, terminated, truncated, info = single.step(script[t, i])
            assert (reward, terminated, truncated) == (rewards[i], terminations[i], truncations[i])
            for key, value in info.items():
                if key.startswith("reward/"):
                    assert value == infos[key][i]
            if terminated or truncated:
                ends.append(Outcome(int(info["outcome"])))
                assert same(observation, infos["final_obs"][i])
                for key, value in info.items():
                    np.testing.assert_equal(infos["final_info"][key][i], value)
                observation, _ = single.reset()
            assert same(observation, row(observations, i)), (i, t)
    assert {Outcome.CRASHED, Outcome.TIMED_OUT} <= set(ends)
    envs.close()
    single.close()


def test_automatic_resets_are_laid_out_as_gymnasiums_own() -> None:
    """Against Gymnasium's SyncVectorEnv in the same autoreset mode."""
    ours = LandingVectorEnv(3, **options(pixels=False))
    theirs = SyncVectorEnv([lambda: LandingEnv(**options(pixels=False))] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert same(ours.reset(seed=5)[0], theirs.reset(seed=5)[0])
    rng = np.random.default_rng(1)
    endings = 0
    for _ in range(60):
        actions = random_actions(rng, 3)
        mine, reference = ours.step(actions), theirs.step(actions)
        assert same(mine[0], reference[0])
        for part, expected in zip(mine[1:4], reference[1:4], strict=True):
            np.testing.assert_array_equal(part, expected)
        infos, expected_infos = mine[4], reference[4]
        ended = mine[2] | mine[3]
        assert ("final_obs" in infos) == ("final_obs" in expected_infos) == ended.any()
        if not ended.any():
            continue
        endings += 1
        np.testing.assert_array_equal(infos["_final_obs"], expected_infos["_final_obs"])
        np.testing.assert_array_equal(infos["_final_info"], expected_infos["_final_info"])
        np.testing.assert_array_equal(infos["outcome"], expected_infos["outcome"])
        final, expected_final = infos["final_info"], expected_infos["final_info"]
        assert set(final) == set(expected_final)
        for env in range(3):
            if not ended[env]:
                assert infos["final_obs"][env] is None
                continue
            assert same(infos["final_obs"][env], expected_infos["final_obs"][env])
            for key in final:
                np.testing.assert_equal(final[key][env], expected_final[key][env])
    assert endings > 5


def test_gymnasiums_statistics_wrapper_agrees() -> None:
    envs = gym.wrappers.vector.RecordEpisodeStatistics(LandingVectorEnv(3, **options(pixels=False)))
    envs.reset(seed=2)
    rng = np.random.default_rng(2)
    compared = 0
    for _ in range(50):
        _, _, terminated, truncated, infos = envs.step(random_actions(rng, 3))
        ended = terminated | truncated
        if ended.any():
            final = infos["final_info"]
            np.testing.assert_allclose(infos["episode"]["r"][ended], final["episode_return"][ended])
            np.testing.assert_array_equal(infos["episode"]["l"][ended], final["episode_length"][ended])
            compared += int(ended.sum())
    assert compared > 3


def fly_until_the_end(env: LandingEnv, action: NDArray[Any], limit: int = 200) -> tuple[bool, bool, dict[str, Any]]:
    for _ in range(limit):
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            return terminated, truncated, info
    raise AssertionError("the episode doesn't end")


def test_landings_and_crashes_terminate_and_time_outs_truncate() -> None:
    calm = StageSettings(name="calm", wind=0.0, start_offset=0.0, pad_speed=(0.0, 0.0))
    task = pinned_task(pad_paths=("static",), start_height=(0.8, 0.8))
    env = LandingEnv(task=task, stage=calm, pixels=False)
    for sink, expected in ((0.5, Outcome.LANDED), (1.0, Outcome.CRASHED), (0.0, Outcome.TIMED_OUT)):
        env.reset(seed=1)
        env.task.physics.velocity[:] = 0.0
        terminated, truncated, info = fly_until_the_end(env, np.array([0, 0, -sink, 0, 0], np.float32))
        assert info["outcome"] == expected
        assert (terminated, truncated) == (expected != Outcome.TIMED_OUT, expected == Outcome.TIMED_OUT)
        assert info["success"] == (expected == Outcome.LANDED)
        assert np.isnan(info["touchdown_speed"]) == (expected != Outcome.LANDED)
    assert info["episode_length"] == 108


# --- seeds ---


def play(env: LandingVectorEnv, steps: int, seed: int | list[int] | None, **changes: Any) -> list[NDArray[Any]]:
    observations, _ = env.reset(seed=seed, **changes)
    rng = np.random.default_rng(0)
    states = [observations["state"]]
    for _ in range(steps):
        states.append(env.step(random_actions(rng, env.num_envs))[0]["state"])
    return states


def test_seeds_decide_everything() -> None:
    env = LandingVectorEnv(3, **options(pixels=False))
    first, again, other = play(env, 40, 4), play(env, 40, 4), play(env, 40, 400)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(play(env, 40, [4, 5, 6]), first)
    # Environment 1 of seed 4 is environment 0 of seed 5.
    np.testing.assert_array_equal(np.array(play(env, 0, 5))[:, :2], np.array(first[:1])[:, 1:])


def test_a_reset_without_seed_goes_on_to_new_episodes() -> None:
    env = LandingEnv(**options(pixels=False))
    starts = [env.reset(seed=8)[0]["state"]] + [env.reset()[0]["state"] for _ in range(4)]
    assert len({start.tobytes() for start in starts}) == 5
    again = [env.reset(seed=8)[0]["state"]] + [env.reset()[0]["state"] for _ in range(4)]
    np.testing.assert_array_equal(starts, again)


def test_without_any_seed_episodes_are_random() -> None:
    starts = [LandingEnv(pixels=False).reset()[0]["state"] for _ in range(3)]
    assert len({start.tobytes() for start in starts}) == 3


def test_episodes_look_and_go_differently() -> None:
    env = LandingEnv(**options())
    observations = [env.reset(seed=seed)[0] for seed in range(6)]
    assert len({observation["pixels"].tobytes() for observation in observations}) == 6
    assert np.ptp([observation["pixels"].mean() for observation in observations]) > 10
    plain = LandingEnv(**options(task=SHORT.model_copy(update={"randomize_visuals": False, "pad_paths": ("static",)})))
    grounds = []
    for seed in range(6):
        plain.reset(seed=seed)
        grounds.append(int(plain.task.scenarios.ground_texture[0]))
    assert grounds == [0] * 6
    env.close()
    plain.close()


# --- observations ---


def test_the_first_frame_fills_the_stack_and_then_moves_through_it() -> None:
    envs = LandingVectorEnv(2, **options(frame_stack=4))
    first, _ = envs.reset(seed=0)
    for part in ("pixels", "state"):
        assert first[part].shape[:2] == (2, 4)
        np.testing.assert_array_equal(first[part], np.repeat(first[part][:, :1], 4, axis=1))
    newest = [first]
    climb = np.zeros((2, 5), np.float32)
    climb[:, :3] = [0.5, -0.5, 1.0]
    for _ in range(6):
        newest.append(envs.step(climb)[0])
    for t in range(1, 7):
        for part in ("pixels", "state"):
            for age in range(4):
                np.testing.assert_array_equal(newest[t][part][:, 3 - age], newest[max(t - age, 0)][part][:, 3])
            assert not np.array_equal(newest[t][part][:, 3], newest[t - 1][part][:, 3])
    envs.close()


def test_nothing_returned_changes_later_nor_reaches_back_into_the_environment() -> None:
    envs, reference = (LandingVectorEnv(3, **options(privileged=True)) for _ in range(2))
    rng = np.random.default_rng(3)
    kept, copies = [envs.reset(seed=3)], [copy.deepcopy(reference.reset(seed=3))]
    assert_equal_trees(kept[0], copies[0])
    script = [random_actions(rng, 3) for _ in range(25)]
    for actions in script:
        kept.append(envs.step(actions))
        copies.append(copy.deepcopy(kept[-1]))
        reference.step(actions)
    assert any("final_obs" in result[-1] for result in kept)
    for result, before in zip(kept, copies, strict=True):
        assert_equal_trees(result, before)
    # Writing into what was returned changes nothing either.
    for array in arrays_in(kept[-1]):
        array[...] = 1
    actions = random_actions(rng, 3)
    assert_equal_trees(envs.step(actions), reference.step(actions))
    envs.close()
    reference.close()


def assert_equal_trees(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal_trees(a[key], b[key])
    elif isinstance(a, tuple) or (isinstance(a, np.ndarray) and a.dtype == object):
        for x, y in zip(a, b, strict=True):
            assert_equal_trees(x, y)
    else:
        np.testing.assert_equal(a, b)


def arrays_in(tree: Any) -> list[NDArray[Any]]:
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, tuple):
        return [array for branch in tree for array in arrays_in(branch)]
    return [tree] if isinstance(tree, np.ndarray) and tree.dtype != object else []


def test_single_observations_stay_too() -> None:
    env = LandingEnv(**options())
    kept = [env.reset(seed=0)[0]]
    before = [copy.deepcopy(kept[0])]
    for _ in range(5):
        kept.append(env.step(np.array([0.3, 0.2, 0.5, 1, -1], np.float32))[0])
        before.append(copy.deepcopy(kept[-1]))
    assert all(map(same, kept, before))
    for part in ("pixels", "state"):
        assert len({observation[part].tobytes() for observation in kept}) == 6  # never constant
    env.close()


# --- queues of scenarios ---


def outcomes_by_scenario(num_envs: int, seeds: list[int]) -> tuple[dict[int, tuple[Any, ...]], LandingVectorEnv]:
    """What the expert makes of each scenario, keyed by its place in ``seeds``."""
    envs = LandingVectorEnv(num_envs, **options(pixels=False))
    envs.reset(seed=999)
    for _ in range(3):  # running episodes must not disturb the queue
        envs.step(np.zeros((num_envs, 5)))
    _, infos = envs.reset(seed=0, options={"scenario_seeds": seeds})
    begun = [int(scenario) for scenario in infos["scenario"] if scenario >= 0]
    results: dict[int, tuple[Any, ...]] = {}
    for _ in range(40 * len(seeds)):
        idle = infos["scenario"] < 0
        _, rewards, terminated, truncated, infos = envs.step(expert(envs.task))
        assert not rewards[idle].any()
        assert not (terminated | truncated)[idle].any()
        for env in np.flatnonzero(terminated | truncated):
            final = {key: value[env] for key, value in infos["final_info"].items() if not key.startswith("_")}
            scenario = int(final["scenario"])
            assert scenario not in results
            results[scenario] = tuple(final[key] for key in sorted(final))
            if infos["scenario"][env] >= 0:
                begun.append(int(infos["scenario"][env]))
        if len(results) == len(seeds):
            break
    assert begun == list(range(len(seeds)))
    np.testing.assert_array_equal(infos["scenario"], -1)
    return results, envs


def test_every_scenario_is_played_once_whatever_the_number_of_environments() -> None:
    seeds = [70, 3, 55, 3, 12]
    reference, _ = outcomes_by_scenario(1, seeds)
    assert set(reference) == set(range(5))
    for num_envs in (2, 3, 8):
        results, _ = outcomes_by_scenario(num_envs, seeds)
        for scenario, figures in reference.items():
            np.testing.assert_equal(results[scenario], figures)
    # The same seed is the same scenario, whoever plays it.
    names = ("episode_length", "episode_return", "outcome")
    assert len(reference[1]) > len(names)
    one, other = list(reference[1]), list(reference[3])
    differing = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if not np.array_equal(a, b, equal_nan=True)]
    assert len(differing) == 1  # the scenario's own number


def test_scenarios_are_no_ordinary_episodes() -> None:
    """A run that happens to use a scenario's seed doesn't train on it."""
    env = LandingVectorEnv(1, **options(pixels=False))
    scenario = env.reset(seed=0, options={"scenario_seeds": [7]})[0]["state"]
    np.testing.assert_array_equal(env.reset(seed=1, options={"scenario_seeds": [7]})[0]["state"], scenario)
    env.reset(seed=7)
    episodes = [env.reset(seed=7 if k == 0 else None)[0]["state"] for k in range(5)]
    assert not any(np.array_equal(episode, scenario) for episode in episodes)


def test_after_a_queue_ordinary_episodes_go_on() -> None:
    _, envs = outcomes_by_scenario(3, [1, 2])
    state = envs.task.state()
    for _ in range(3):  # everybody idles
        _, rewards, terminated, truncated, _ = envs.step(np.ones((3, 5)))
        assert not rewards.any()
        assert not (terminated | truncated).any()
    np.testing.assert_array_equal(envs.task.state(), state)
    after = play(envs, 20, 6)
    np.testing.assert_array_equal(after, play(LandingVectorEnv(3, **options(pixels=False)), 20, 6))
    _, infos = envs.reset()
    np.testing.assert_array_equal(infos["scenario"], -1)
    np.testing.assert_array_equal(infos["outcome"], Outcome.RUNNING)


def test_a_new_stage_begins_with_the_next_episode() -> None:
    envs = LandingVectorEnv(2, **options(pixels=False))
    _, infos = envs.reset(seed=0)
    np.testing.assert_array_equal(infos["stage"], 0)
    envs.set_stage(STAGE.model_copy(update={"name": "next"}), 2)
    rng = np.random.default_rng(0)
    seen = {0: [0], 1: [0]}
    for _ in range(40):
        _, _, terminated, truncated, infos = envs.step(random_actions(rng, 2))
        for env in range(2):
            ended = terminated[env] or truncated[env]
            if ended:
                assert infos["final_info"]["stage"][env] == seen[env][-1]
                seen[env].append(2)
            assert infos["stage"][env] == seen[env][-1]
    assert min(len(stages) for stages in seen.values()) > 2
