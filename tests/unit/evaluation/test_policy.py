"""A policy loaded by itself answers as the agent does that it is of."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import glideslope
from glideslope.build import make_agent, make_env
from glideslope.envs.gimbal import ANGLE_LIMITS
from glideslope.errors import UserError
from glideslope.evaluation.policy import LoadedPolicy, load_policy
from glideslope.runs import snapshots
from glideslope.settings import Settings
from tests.support.policies import save_policy, small_settings

COUNT = 3


@pytest.fixture(scope="module")
def settings() -> Settings:
    return small_settings("original_tiny", "original", "frame_stack=2")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Path:
    return save_policy(tmp_path_factory.mktemp("run"), settings)


def frames(policy: LoadedPolicy, count: int = COUNT, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        if name == "pixels"
        else rng.normal(size=(count, *shape)).astype(np.float32)
        for name, shape in policy.reads.items()
    }


def test_it_flies_the_task_as_its_agent_does_from_frames_or_stacks(snapshot: Path, settings: Settings) -> None:
    agent = make_agent(settings, "cpu")
    agent.load_state_dict(snapshots.load(snapshot)["agent"])
    by_frames, by_stacks = load_policy(snapshot), glideslope.load_policy(str(snapshot.parent))
    by_frames.reset(COUNT)
    with closing(make_env(settings, COUNT, settings.curriculum.stages[4], "cpu")) as env:
        observation, _ = env.reset(seed=5)
        for _ in range(4):  # no episode ends so early
            expected = agent.act(observation, None).numpy()
            assert np.array_equal(by_stacks.act(observation), expected)
            newest = {name: observation[name][:, -1] for name in ("pixels", "state")}
            actions = by_frames.act(newest)
            assert np.array_equal(actions, expected)
            assert (actions.shape, actions.dtype) == ((COUNT, 5), np.float32)
            assert np.ptp(actions) > 0.01
            observation, *_ = env.step(actions)
        by_frames.reset(1)  # a new flight: the stack is filled with its first frame
        first = {name: values[:1] for name, values in newest.items()}
        stack = {name: np.repeat(values[:, None], 2, axis=1) for name, values in first.items()}
        assert np.array_equal(by_frames.act(first), by_stacks.act(stack))


def test_instruments_are_those_of_the_task(snapshot: Path, settings: Settings) -> None:
    """What the task tells of a flight follows from its velocities, attitudes, angles and heights in SI units."""
    policy = load_policy(snapshot)
    with closing(make_env(settings, COUNT, settings.curriculum.stages[4], "cpu")) as env:
        env.reset(seed=1)
        rng = np.random.default_rng(0)
        for _ in range(5):
            observation, *_ = env.step(rng.uniform(-1, 1, (COUNT, 5)).astype(np.float32))
        told = observation["state"][:, -1]
        limits = np.array([2.0, 2.0, 1.0])
        attitude = -told[:, 3:7]  # the same rotation
        state = policy.instruments(told[:, :3] * limits, attitude, env.task.gimbal.angles, told[:, 11] * 8.0)
        np.testing.assert_allclose(state, told, atol=2e-6)
        assert (np.abs(env.task.gimbal.angles) <= ANGLE_LIMITS + 1e-9).all()


def test_heights_out_of_reach_and_speeds_beyond_the_bound() -> None:
    policy = LoadedPolicy.__new__(LoadedPolicy)
    policy.trained = type("T", (), {"settings": small_settings()})()  # type: ignore[assignment]
    level, still = [[1.0, 0, 0, 0]] * 3, [[0.0, 0.0]] * 3
    state = policy.instruments([[0, 0, 9.0], [99.0, 0, 0], [0, -1.0, 0]], level, still, [np.inf, 0.0, 4.0])
    assert state[:, 11].tolist() == pytest.approx([1.0, 0.1 / 8, 0.5])
    assert state[:, :3].tolist() == [[0, 0, 5.0], [5.0, 0, 0], [0, -0.5, 0]]
    with pytest.raises(ValueError, match=r"^height is missing: the policy reads a range finder"):
        policy.instruments([[0, 0, 0]], level[:1], still[:1])


def test_wrong_observations_are_refused_with_what_is_read(snapshot: Path) -> None:
    policy = load_policy(snapshot)
    good = frames(policy)
    for changes, told in (
        ({"pixels": None}, "the observation has no pixels; the policy reads pixels, state"),
        ({"pixels": good["pixels"].astype(float)}, "pixels must be uint8, not float64"),
        ({"state": good["state"].astype(int)}, "state must be float32, not int64"),
        (
            {"pixels": good["pixels"][:, :-1]},
            r"pixels must have the shape \(N, 36, 36\), or \(N, 2, 36, 36\) for whole",
        ),
        ({"state": good["state"][:, None]}, r"state must have the shape \(N, 12\), or \(N, 2, 12\) for whole stacks"),
    ):
        observation = {name: values for name, values in (good | changes).items() if values is not None}
        policy.reset(COUNT)
        with pytest.raises(ValueError, match=f"^{told}"):
            policy.act(observation)
    fresh = load_policy(snapshot)
    with pytest.raises(ValueError, match=r"^pixels is of 3 drones; call reset first"):
        fresh.act(good)
    fresh.reset(2)
    with pytest.raises(ValueError, match=r"^pixels is of 3 drones; reset was called for 2"):
        fresh.act(good)
    with pytest.raises(ValueError, match=r"^count must be at least 1, not 0"):
        fresh.reset(0)


def test_a_policy_of_the_state_reads_privileged_values(tmp_path: Path) -> None:
    policy = load_policy(save_policy(tmp_path, small_settings("state")))
    assert policy.reads == {"privileged": (20,)}
    policy.reset()
    assert policy.act(frames(policy, 1)).shape == (1, 5)
    with pytest.raises(ValueError, match=r"^privileged must have the shape \(N, 20\), not \(3, 19\)"):
        policy.act({"privileged": np.zeros((3, 19), np.float32)})


def test_a_snapshot_of_the_networks_that_act_alone_will_do(snapshot: Path, tmp_path: Path) -> None:
    content = snapshots.load(snapshot)
    networks = {name: content["agent"]["networks"][name] for name in ("encoder", "actor")}
    small = snapshots.save(tmp_path / "snapshot.pt", content | {"agent": {"networks": networks}})
    whole, part = load_policy(snapshot), load_policy(small)
    observation = frames(whole)
    whole.reset(COUNT)
    part.reset(COUNT)
    assert np.array_equal(whole.act(observation), part.act(observation))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"agent": {"networks": {}}}, "its networks don't fit its settings"),
        ({"settings": {"task": {}}}, "its settings don't fit this version"),
        ({"frame": None}, "its networks don't fit its settings"),
    ],
)
def test_unusable_snapshots_are_named(snapshot: Path, tmp_path: Path, content: dict[str, Any], told: str) -> None:
    path = snapshots.save(tmp_path / "snapshot.pt", snapshots.load(snapshot) | content)
    with pytest.raises(UserError, match=f"snapshot.pt: {told}"):
        load_policy(path)
    path.write_bytes(b"not a snapshot")
    with pytest.raises(UserError, match=r"snapshot\.pt"):
        load_policy(path)
    with pytest.raises(UserError, match="no such run folder or snapshot"):
        load_policy(tmp_path / "nowhere")
    with pytest.raises(UserError, match="device=cuda:70: this machine has no such device"):
        load_policy(snapshot, "cuda:70")


@pytest.mark.slow
def test_neither_simulator_nor_configuration_is_needed(snapshot: Path) -> None:
    code = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"mujoco", "mujoco_warp", "warp", "hydra", "omegaconf"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
import glideslope, numpy
policy = glideslope.load_policy(sys.argv[1])
policy.reset()
observation = {"pixels": numpy.zeros((1, 36, 36), numpy.uint8), "state": numpy.zeros((1, 12), numpy.float32)}
print(policy.act(observation).shape)
"""
    result = subprocess.run([sys.executable, "-c", code, str(snapshot)], capture_output=True, text=True, check=False)
    assert result.stdout == "(1, 5)\n", result.stderr


def test_the_policy_module_is_what_the_agent_acts_by(settings: Settings) -> None:
    agent = make_agent(settings, "cpu")
    pixels, state = torch.randint(0, 256, (4, 2, 36, 36), dtype=torch.uint8), torch.randn(4, 2, 12)
    with torch.no_grad():
        assert torch.equal(agent.policy(pixels, state), agent.act({"pixels": pixels, "state": state}, None))
