"""The encoder's auxiliary task: its target in the environment, its way to the agent, and that none acts on it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glideslope.agent.auxiliary import POSITION_UNIT, VELOCITY_UNIT, Instruments, PadPrediction, rotation_matrices
from glideslope.build import make_agent as assemble_agent
from glideslope.build import make_env, make_replay, replay_bytes
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.envs.gimbal import ANGLE_LIMITS
from glideslope.envs.gym import LandingEnv, LandingVectorEnv
from glideslope.envs.landing import LandingTask
from glideslope.envs.rotation import quat_about, quat_multiply, quat_to_matrix, rotate_about_z
from glideslope.settings import FULL_TASK, Settings
from glideslope.storage.csv_table import read_csv_table
from glideslope.training.experience import newest
from tests.support.agents import BATCH, make_agent, make_batch, observation, same
from tests.support.tasks import pinned_task
from tests.support.training import train

LIMITS_DEG = (47.0, 90.0)
ON: dict[str, Any] = {"auxiliary_weight": 0.5, "gimbal_limits_deg": LIMITS_DEG}


def angles(seed: int = 5) -> torch.Tensor:
    return torch.rand(BATCH, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def told(seed: int = 0) -> Any:
    """A batch that holds the angles."""
    return replace(make_batch(seed=seed), privileged=angles(), next_privileged=angles(6))


# --- the target ---


@pytest.mark.parametrize("stabilized", [True, False])
def test_the_oracle_looks_straight_at_the_pad(stabilized: bool) -> None:
    task = LandingTask(8, pinned_task(gimbal_stabilized=stabilized), FULL_TASK, pixels=False, num_threads=1)
    task.reset(np.arange(8), [np.random.default_rng(seed) for seed in range(8)])
    rng = np.random.default_rng(0)
    within = 0
    for _ in range(6):
        task.step(rng.uniform(-1.0, 1.0, (8, 5)))
        target = task.oracle_gimbal()
        assert target.dtype == np.float32
        assert target.shape == (8, 2)
        turned = task.gimbal.angles.copy()
        task.gimbal.angles[:] = target * ANGLE_LIMITS
        inside = (np.abs(target) < 1.0).all(axis=1)
        within += int(inside.sum())
        ahead = np.tile([0.0, 0.0, -1.0], (8, 1))
        np.testing.assert_allclose(task.pad_direction()[inside], ahead[inside], atol=1e-5)
        np.testing.assert_allclose(task.oracle_gimbal(), target, atol=1e-6)  # whatever the gimbal's own angles
        task.gimbal.angles[:] = turned
    assert within > 24


def test_angles_beyond_the_range_are_clipped_to_its_end() -> None:
    task = LandingTask(1, pinned_task(pad_paths=("static",)), FULL_TASK, pixels=False, num_threads=1)
    task.reset(np.arange(1), [np.random.default_rng(0)])
    task.scenarios.heading[0] = 0.0
    pad = task.scenarios.pad_motion(task.time)[0][0]
    task.physics.position[0] = [*(pad - [7.0, 0.0]), 1.0]  # 7 m ahead and little below: beyond 47°
    pitch, yaw = task.oracle_gimbal()[0]
    assert pitch == 1.0
    assert yaw == pytest.approx(0.0, abs=1e-6)


def test_the_units_of_the_pads_motion_are_those_of_the_privileged_values() -> None:
    task = LandingTask(4, pinned_task(), FULL_TASK, pixels=False, num_threads=1)
    task.reset(np.arange(4), [np.random.default_rng(seed) for seed in range(4)])
    task.step(np.random.default_rng(0).uniform(-1.0, 1.0, (4, 5)))
    position, velocity = task.pad_relative()
    told = task.privileged()
    np.testing.assert_allclose(told[:, :3] * POSITION_UNIT, position, rtol=1e-5)
    np.testing.assert_allclose(told[:, 3:6] * VELOCITY_UNIT, velocity, rtol=1e-5)


def test_rotation_matrices_are_those_of_the_environment() -> None:
    quaternions = np.random.default_rng(0).normal(size=(6, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    found = rotation_matrices(torch.from_numpy(quaternions))
    np.testing.assert_allclose(found, quat_to_matrix(quaternions), atol=1e-12)


@pytest.mark.parametrize("stabilized", [True, False])
def test_the_pads_motion_is_told_from_the_cameras_frame(stabilized: bool) -> None:
    """What is right in the camera's frame is right in the heading frame, whatever the view and the speed."""
    settings = pinned_task(gimbal_stabilized=stabilized, max_horizontal_speed=3.0)
    task = LandingTask(6, settings, FULL_TASK, pixels=False, num_threads=1)
    task.reset(np.arange(6), [np.random.default_rng(seed) for seed in range(6)])
    rng = np.random.default_rng(1)
    for _ in range(4):
        task.step(rng.uniform(-1.0, 1.0, (6, 5)))
    state = torch.from_numpy(np.hstack([rng.normal(size=(6, 2 * 12)).astype(np.float32), task.state()]))
    _, velocity, _ = task.scenarios.pad_motion(task.time)
    ground = rotate_about_z(np.hstack([velocity, np.zeros((6, 1))]), -task.scenarios.heading)
    position, _ = task.pad_relative()
    base = quat_about(2, task.scenarios.heading)
    inverse = base * [1.0, -1.0, -1.0, -1.0]
    view = quat_to_matrix(quat_multiply(inverse, task.camera_orientation()))  # of the camera in the heading frame
    in_camera = [np.einsum("nji,nj->ni", view, each) for each in (position / POSITION_UNIT, ground / VELOCITY_UNIT)]
    told = torch.from_numpy(np.hstack(in_camera).astype(np.float32))

    instruments = Instruments(12, (3.0, 3.0, settings.max_vertical_speed), stabilized)
    prediction = PadPrediction(4, 36, 5, 8, 1.0, instruments)
    prediction.output = torch.nn.Identity()
    prediction.hidden = torch.nn.Identity()
    prediction.trunk = Told(told)
    found = prediction(torch.zeros(6, 4), state).numpy()
    np.testing.assert_allclose(found, task.privileged()[:, :6], atol=1e-5)
    # Without them it is told as it comes.
    prediction._instruments = None
    assert torch.equal(prediction(torch.zeros(6, 4), state), told)


class Told(torch.nn.Module):
    """Layers that answer with a given tensor."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, features: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return self.answer


def test_the_environment_tells_the_target_on_request_alone() -> None:
    plain, asked = LandingEnv(pixels=False), LandingEnv(pixels=False, oracle_gimbal=True)
    assert set(plain.reset(seed=1)[0]) == {"state"}
    seen, _ = asked.reset(seed=1)
    assert set(seen) == {"state", "oracle_gimbal"}
    assert asked.observation_space.contains(seen)
    np.testing.assert_array_equal(seen["oracle_gimbal"], asked.task.oracle_gimbal()[0])


def test_an_ended_episodes_last_observation_has_its_own_target() -> None:
    task = pinned_task(episode_seconds=0.5, start_height=(3.0, 3.1))
    env = LandingVectorEnv(2, task=task, pixels=False, oracle_gimbal=True, num_threads=1)
    env.reset(seed=0)
    for _ in range(3):
        seen, _, _, truncated, infos = env.step(np.full((2, 5), 0.5, np.float32))
    assert truncated.all()
    for row in range(2):
        last = infos["final_obs"][row]["oracle_gimbal"]
        assert not np.array_equal(last, seen["oracle_gimbal"][row])


# --- its way to the agent ---

SMOKE = ["profile=smoke", "task.image_size=24"]


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_target_is_stored_where_the_task_is_on_and_nowhere_else(weight: float) -> None:
    settings = compose(TRAIN_CONFIG, [*SMOKE, f"auxiliary_weight={weight}"], Settings).settings
    off = compose(TRAIN_CONFIG, SMOKE, Settings).settings
    env = make_env(settings, settings.num_envs, settings.curriculum.stages[0], "cpu")
    seen, _ = env.reset(seed=0)
    stored = newest(seen)["privileged"]
    agent, replay = assemble_agent(settings, "cpu"), make_replay(settings, "cpu")
    entries = replay.settings()["entries"]
    if weight:
        np.testing.assert_array_equal(stored, env.task.oracle_gimbal())
        assert entries["privileged"] == [2]
        assert replay_bytes(settings) == replay_bytes(off) + 2 * 4 * settings.replay_buffer_size
        assert agent.auxiliary is not None
        assert agent.auxiliary.limits.tolist() == pytest.approx([900 / 19, 90.0])
    else:
        assert stored is None
        assert "privileged" not in entries
        assert "oracle_gimbal" not in seen
        assert agent.auxiliary is None
    env.close()


def test_actions_and_values_do_not_depend_on_the_target() -> None:
    agent, batch = make_agent(**ON), told()
    seen = observation(batch)
    expected = agent.act(seen, None)
    assert torch.equal(agent.act(seen | {"privileged": torch.full((BATCH, 2), torch.nan)}, None), expected)
    assert torch.equal(agent.act(seen | {"oracle_gimbal": angles(9)}, None), expected)
    without = {name: value for name, value in seen.items() if name != "privileged"}
    assert torch.equal(agent.act(without, None), expected)
    assert agent._observation(batch.pixels, batch.state, batch.privileged).privileged is None
    # The target of the next observation is stored, and nothing is learnt from it.
    first, second = make_agent(**ON), make_agent(**ON)
    first.update(batch, 0.2)
    second.update(replace(batch, next_privileged=angles(11)), 0.2)
    assert same(first.encoder.parameters(), second.encoder.parameters())


# --- learning ---


def test_a_weight_of_zero_changes_no_bit() -> None:
    plain, off = make_agent(), make_agent(auxiliary_weight=0.0, gimbal_limits_deg=LIMITS_DEG)
    assert off.auxiliary is None
    for step in range(2):
        first, second = plain.update(make_batch(seed=step), 0.2), off.update(make_batch(seed=step), 0.2)
        assert set(first) == set(second)
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert plain.state_dict()["networks"].keys() == off.state_dict()["networks"].keys()
    for name, network in plain.networks.items():
        assert same(network.parameters(), off.networks[name].parameters())


def test_the_task_leaves_the_first_weights_and_draws_of_the_others_alone() -> None:
    plain, on = make_agent(), make_agent(**ON)
    for name, network in plain.networks.items():
        assert same(network.parameters(), on.networks[name].parameters())
    first, second = plain.update(told(), 0.2), on.update(told(), 0.2)
    assert set(second) - set(first) == {"auxiliary_loss", "auxiliary_error_deg"}
    assert torch.equal(first["critic_loss"], second["critic_loss"])
    assert torch.equal(first["target_q"], second["target_q"])
    assert torch.equal(plain.state_dict()["generator"], on.state_dict()["generator"])


def test_measures_and_gradients_by_hand() -> None:
    agent, batch = make_agent(**ON, augmentation_pad=0), told()
    plain = make_agent(augmentation_pad=0)
    for optimizer in (*agent.optimizers.values(), *plain.optimizers.values()):
        optimizer.param_groups[0]["lr"] = 0.0
    assert agent.auxiliary is not None
    assert batch.privileged is not None
    measures = agent.update(batch, 0.0)
    plain.update(batch, 0.0)
    features = agent.encoder(agent._observation(batch.pixels, batch.state, None))
    difference = agent.auxiliary(features, None) - batch.privileged
    loss = difference.square().mean()
    torch.testing.assert_close(measures["auxiliary_loss"], loss.detach())
    degrees = (difference.detach().abs() * torch.tensor(LIMITS_DEG)).mean()
    torch.testing.assert_close(measures["auxiliary_error_deg"], degrees)
    own = torch.autograd.grad(0.5 * loss, list(agent.encoder.parameters()), retain_graph=True)
    for parameter, before, gradient in zip(agent.encoder.parameters(), plain.encoder.parameters(), own, strict=True):
        assert before.grad is not None
        torch.testing.assert_close(parameter.grad, before.grad + gradient, rtol=1e-4, atol=1e-6)
    for name in ("actor", "critic"):
        pairs = zip(agent.networks[name].parameters(), plain.networks[name].parameters(), strict=True)
        assert all(torch.equal(a.grad, b.grad) for a, b in pairs)  # type: ignore[arg-type]
    assert all(p.grad is not None and p.grad.any() for p in agent.auxiliary.parameters())


@pytest.mark.slow
def test_the_angles_are_learnt_by_heart() -> None:
    agent, batch = make_agent(**ON | {"auxiliary_weight": 10.0}, augmentation_pad=0), told()
    first = agent.update(batch, 0.1)
    for _ in range(200):
        last = agent.update(batch, 0.1)
    assert last["auxiliary_loss"] < first["auxiliary_loss"] / 100
    assert last["auxiliary_error_deg"] < 5.0


def test_a_loaded_snapshot_continues_bit_for_bit() -> None:
    agent, batch = make_agent(**ON), told()
    agent.update(batch, 0.2)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    expected = agent.update(batch, 0.2)
    file.seek(0)
    loaded = make_agent(**ON, seed=99)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    again = loaded.update(batch, 0.2)
    assert all(torch.equal(again[name], value) for name, value in expected.items())
    for name, module in agent._modules().items():
        assert same(module.parameters(), loaded._modules()[name].parameters())


def test_a_weight_that_overflows_is_told_before_it_reaches_the_encoder() -> None:
    agent = make_agent(**ON | {"auxiliary_weight": 1e39})
    with pytest.raises(ArithmeticError, match="the encoder's loss is inf"):
        agent.update(told(), 0.2)
    assert agent.not_finite() == []


def test_diagnostics_are_of_the_encoder_alone() -> None:
    off, on = make_agent(), make_agent(**ON | {"auxiliary_weight": 1e-9})
    plain, beside = (agent.update(told(), 0.2, diagnostics=True) for agent in (off, on))
    for name in ("grad_norm", "update_to_weight", "param_norm"):
        key = f"diagnostics/encoder_{name}"
        torch.testing.assert_close(beside[key], plain[key], rtol=1e-4, atol=0.0)


def test_a_diverged_prediction_is_told_with_its_network() -> None:
    agent = make_agent(**ON)
    assert agent.auxiliary is not None
    with torch.no_grad():
        agent.auxiliary.output.bias.fill_(torch.nan)
    assert agent.not_finite() == ["encoder"]
    with pytest.raises(ArithmeticError, match="diverged: encoder"):
        agent.update(told(), 0.2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="an encoder of pixels, and gimbal_limits_deg"):
        make_agent("state", **ON)
    with pytest.raises(ValueError, match="an encoder of pixels, and gimbal_limits_deg"):
        make_agent(auxiliary_weight=1.0)
    with pytest.raises(ValueError, match="its targets"):
        make_agent(**ON).update(make_batch(), 0.2)


def test_the_encoder_of_the_state_has_no_task() -> None:
    """It is given the answer: a profile with a task goes with it all the same."""
    words = ["encoder_bundle@agent=state", "auxiliary_weight=0.1", "auxiliary_input=true"]
    settings = compose(TRAIN_CONFIG, words, Settings).settings
    agent = assemble_agent(settings, "cpu")
    assert settings.auxiliary_task is None
    assert agent.auxiliary is None


@pytest.mark.slow
def test_a_run_logs_the_loss_and_the_error(tmp_path: Path) -> None:
    short = ["num_train_frames=200", "eval_every_frames=200", "num_eval_episodes=1", "final_eval_episodes=1"]
    pair = "actor_critic_bundle@agent=multihead_attention_factored"
    augmented = ["auxiliary_weight=0.5", "augmentation_brightness=0.2", "save_video=false"]
    assert train(tmp_path / "run", *SMOKE, *short, *augmented, pair) == 0
    table = read_csv_table(tmp_path / "run" / "train.csv")
    assert (table["train/auxiliary_loss"] > 0.0).all()
    assert (table["train/auxiliary_error_deg"] > 0.0).all()
    assert (table["train/auxiliary_error_deg"] < 180.0).all()
