"""The DrQ-v2 agent: shapes, gradient routing, targets, augmentation, snapshots and a golden update."""

import io
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from glideslope.agent.augmentation import brighten, random_brightness, random_shift, shift
from glideslope.settings import ConvEncoderSettings, StateEncoderSettings
from tests.support.agents import (
    ACTIONS,
    BATCH,
    PRIVILEGED,
    RATES,
    STACK,
    STATE,
    make_agent,
    make_batch,
    observation,
    same,
    weights,
)


@pytest.fixture(params=["pixels", "state"])
def profile(request):
    return request.param


# --- acting ---


def test_actions_are_float32_in_range_and_take_arrays_and_stacked_states(profile):
    agent, batch = make_agent(profile), make_batch(profile)
    obs = observation(batch)
    mean = agent.act(obs, None)
    assert mean.shape == (BATCH, ACTIONS)
    assert mean.dtype == torch.float32
    assert not mean.requires_grad
    noisy = agent.act(obs, 5.0)
    assert noisy.abs().max() == 1.0
    arrays = {name: value.numpy() for name, value in obs.items()}
    arrays["state"] = arrays["state"].reshape(BATCH, STACK, -1)
    assert torch.equal(agent.act(arrays, None), mean)


def test_exploration_noise_has_the_given_spread_on_each_axis():
    agent = make_agent("state", noise_scale=(1.0, 0.5, 0.0, 1.0, 2.0))
    agent.zero_action_outputs(range(ACTIONS))
    many = {"privileged": torch.zeros(20000, PRIVILEGED)}
    actions = agent.act(many, 0.1)
    expected = torch.tensor([0.1, 0.05, 0.0, 0.1, 0.2])
    torch.testing.assert_close(actions.std(dim=0), expected, rtol=0.03, atol=1e-7)
    torch.testing.assert_close(actions.mean(dim=0), torch.zeros(ACTIONS), rtol=0, atol=0.005)


def test_one_sample_never_depends_on_the_rest_of_its_batch(profile):
    agent, batch, other = make_agent(profile), make_batch(profile), make_batch(profile, seed=9)
    mixed = {name: torch.cat((value[:1], observation(other)[name][1:])) for name, value in observation(batch).items()}
    alone = {name: value[:1] for name, value in observation(batch).items()}
    expected = agent.act(observation(batch), None)[:1]
    torch.testing.assert_close(agent.act(mixed, None)[:1], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(agent.act(alone, None), expected, rtol=1e-5, atol=1e-6)


def test_acting_without_noise_leaves_the_random_state_alone():
    agent, batch = make_agent(), make_batch()
    before = agent.state_dict()["generator"]
    agent.act(observation(batch), None)
    assert torch.equal(agent.state_dict()["generator"], before)


# --- building ---


def test_each_parameter_belongs_to_exactly_one_optimizer(profile):
    agent = make_agent(profile)
    assert list(agent.optimizers) == ["encoder", "actor", "critic"]
    owned = [p for o in agent.optimizers.values() for group in o.param_groups for p in group["params"]]
    parameters = [p for network in agent.networks.values() for p in network.parameters()]
    assert len({id(p) for p in owned}) == len(owned)
    assert {id(p) for p in owned} == {id(p) for p in parameters}
    for name, optimizer in agent.optimizers.items():
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.param_groups[0]["lr"] == RATES[name]
        assert {id(p) for p in optimizer.param_groups[0]["params"]} == {
            id(p) for p in agent.networks[name].parameters()
        }


def test_building_leaves_the_global_random_state_alone_and_follows_the_seed():
    state = torch.get_rng_state()
    first, second, other = make_agent(), make_agent(), make_agent(seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert same(first.networks["actor"].parameters(), second.networks["actor"].parameters())
    assert not same(first.networks["actor"].parameters(), other.networks["actor"].parameters())


def test_weights_start_orthogonal_with_the_relu_gain_for_convolutions():
    agent = make_agent()
    conv = next(p for p in agent.networks["encoder"].parameters() if p.dim() == 4).flatten(1)
    torch.testing.assert_close(conv @ conv.T, 2 * torch.eye(len(conv)), rtol=1e-5, atol=1e-5)
    output = agent.actor.output.weight
    torch.testing.assert_close(output @ output.T, torch.eye(ACTIONS), rtol=1e-5, atol=1e-5)
    assert not agent.actor.output.bias.any()


@pytest.mark.parametrize(("strides", "least"), [((2, 1, 1, 1), 15), ((2, 2, 1, 1), 23), ((1, 1, 1, 1), 9)])
def test_an_image_too_small_is_refused_with_the_least_size(strides, least):
    settings = ConvEncoderSettings(channels=2, strides=strides)
    with pytest.raises(ValueError, match=f"least size is {least} x {least}"):
        make_agent(encoder=settings, pixels_shape=(3, least + 5, least - 1))
    agent = make_agent(encoder=settings, pixels_shape=(3, least, least))
    assert agent.act(
        {"pixels": torch.zeros(1, 3, least, least, dtype=torch.uint8), "state": torch.zeros(1, STATE)}, None
    ).shape == (1, ACTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels_shape": None}, "needs pixels"),
        ({"encoder": StateEncoderSettings(hidden_dim=8)}, "privileged_dim=0"),
        ({"rates": {"encoder": 1e-3, "actor": 1e-3}}, "exactly encoder, actor, critic"),
        ({"noise_scale": (1.0, 1.0)}, "5 values"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_agent(**changes)


# --- augmentation ---


def naive_shift(pixels, offsets, pad):
    padded = np.pad(pixels.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="edge")
    height, width = pixels.shape[2:]
    crops = [
        image[:, row : row + height, column : column + width]
        for image, (row, column) in zip(padded, offsets.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(crops))


@pytest.mark.parametrize("pad", [1, 4])
@pytest.mark.parametrize("size", [(9, 9), (7, 12)])
def test_shift_equals_a_crop_of_each_padded_image(pad, size):
    generator = torch.Generator().manual_seed(0)
    steps = torch.arange(2 * pad + 1)
    offsets = torch.cartesian_prod(steps, steps)
    pixels = torch.randint(0, 256, (len(offsets), 3, *size), dtype=torch.uint8, generator=generator)
    shifted = shift(pixels, offsets, pad)
    assert shifted.dtype == torch.uint8
    assert torch.equal(shifted, naive_shift(pixels, offsets, pad))


def test_random_shift_draws_every_offset_evenly_and_one_for_all_frames():
    pad, size, batch = 1, 5, 9000
    image = torch.arange(size * size, dtype=torch.uint8).view(1, 1, size, size).expand(batch, 2, size, size)
    shifted = random_shift(image, pad, torch.Generator().manual_seed(1))
    centre = shifted[:, :, 2, 2]
    assert torch.equal(centre[:, 0], centre[:, 1])
    values, counts = centre[:, 0].unique(return_counts=True)
    assert values.tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert counts.min() > 800


def test_no_shift_without_padding():
    pixels = make_batch().pixels
    generator = torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert random_shift(pixels, 0, generator) is pixels
    assert torch.equal(generator.get_state(), before)


def test_brightness_rounds_and_stays_within_its_range():
    values = torch.tensor([0, 1, 3, 100, 200, 255], dtype=torch.uint8).view(1, 1, 2, 3).expand(3, 2, 2, 3)
    bright = brighten(values, torch.tensor([0.0, 1.0, 1.5]))
    assert bright.dtype == torch.uint8
    assert not bright[0].any()
    assert torch.equal(bright[1], values[1])
    assert bright[2, 0].flatten().tolist() == [0, 2, 4, 150, 255, 255]  # 1.5 and 4.5 to the even neighbour
    assert torch.equal(bright[:, 0], bright[:, 1])


def test_random_brightness_draws_evenly_one_factor_for_all_frames():
    change, batch = 0.3, 20000
    pixels = torch.full((batch, 2, 1, 1), 100, dtype=torch.uint8)
    bright = random_brightness(pixels, change, torch.Generator().manual_seed(1))
    assert torch.equal(bright[:, 0], bright[:, 1])
    factors = bright[:, 0].flatten() / 100
    assert (factors.min(), factors.max()) == (0.7, 1.3)
    torch.testing.assert_close(factors.mean(), torch.tensor(1.0), rtol=0, atol=0.005)
    torch.testing.assert_close(factors.std(), torch.tensor(change / 3**0.5), rtol=0.03, atol=0)


def test_no_brightness_without_a_change():
    pixels, generator = make_batch().pixels, torch.Generator().manual_seed(1)
    before = generator.get_state()
    assert random_brightness(pixels, 0.0, generator) is pixels
    assert torch.equal(generator.get_state(), before)


def test_each_augmentation_is_switched_by_itself_and_drawn_from_the_agents_generator():
    batch, draws = make_batch(), set()
    for pad, brightness in ((0, 0.0), (2, 0.0), (0, 0.3), (2, 0.3)):
        agent = make_agent(augmentation_pad=pad, augmentation_brightness=brightness)
        twin = make_agent(augmentation_pad=pad, augmentation_brightness=brightness)
        augmented = agent._augment(batch.pixels, agent._generator)
        assert torch.equal(augmented, twin._augment(batch.pixels, twin._generator))
        assert torch.equal(augmented, batch.pixels) == (pad == 0 and brightness == 0.0)
        generator = torch.Generator().manual_seed(3)
        expected = random_brightness(random_shift(batch.pixels, pad, generator), brightness, generator)
        assert torch.equal(augmented, expected)
        draws.add(agent.state_dict()["generator"].numpy().tobytes())
    assert len(draws) == 4


# --- the update ---

MEASURES = {
    "critic_loss", "actor_loss", "critic_q1", "critic_q2", "target_q", "batch_reward", "actor_pretanh",
}  # fmt: skip


def test_update_returns_detached_scalars(profile):
    agent, batch = make_agent(profile), make_batch(profile)
    measures = agent.update(batch, 0.2)
    assert set(measures) == MEASURES
    for value in measures.values():
        assert value.shape == ()
        assert not value.requires_grad
        assert torch.isfinite(value)
    assert measures["batch_reward"] == batch.reward.mean()


def test_update_changes_each_network_and_leaves_the_batch_alone(profile):
    agent, batch = make_agent(profile), make_batch(profile)
    copies = {name: value.clone() for name, value in vars(batch).items() if value is not None}
    before = {name: weights(network) for name, network in agent.networks.items()}
    agent.update(batch, 0.2)
    for name, network in agent.networks.items():
        assert not any(torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True)), name
    for name, value in copies.items():
        assert torch.equal(getattr(batch, name), value)


def test_the_encoder_learns_from_the_critic_alone(profile):
    """Another actor loss changes the actor, and not a bit of encoder and critic."""
    plain, penalised = make_agent(profile), make_agent(profile, pretanh_penalty=10.0)
    batch = make_batch(profile)
    plain.update(batch, 0.2)
    penalised.update(batch, 0.2)
    for name, equal in {"encoder": True, "critic": True, "actor": False}.items():
        assert same(plain.networks[name].parameters(), penalised.networks[name].parameters()) is equal


def test_the_critic_loss_trains_the_encoder(profile):
    agent, batch = make_agent(profile), make_batch(profile)
    before = weights(agent.networks["encoder"])
    for name in ("actor", "critic"):
        agent.optimizers[name].param_groups[0]["lr"] = 0.0
    agent.update(batch, 0.2)
    assert not same(agent.networks["encoder"].parameters(), before)
    assert all(p.grad is not None and p.grad.any() for p in agent.networks["encoder"].parameters())


def test_gradients_of_the_losses_match_plain_autograd(profile):
    """The gradients that the optimizers saw, against autograd on DrQ-v2's losses written out."""
    agent, batch = make_agent(profile, augmentation_pad=0, pretanh_penalty=0.1), make_batch(profile)
    for optimizer in agent.optimizers.values():
        optimizer.param_groups[0]["lr"] = 0.0
    agent.update(batch, 0.0)
    observe = agent._observation
    now = observe(batch.pixels, batch.state, batch.privileged)
    after = observe(batch.next_pixels, batch.next_state, batch.next_privileged)
    critic = agent.critic

    def q_values(features, state, action):
        return critic(critic.code(features, state), action)

    with torch.no_grad():
        features = agent.encoder(after)
        q = q_values(features, after.state, torch.tanh(agent.actor(features, after.state)))
        target = batch.reward + batch.discount * torch.minimum(q[0], q[1])
    features = agent.encoder(now)
    q = q_values(features, now.state, batch.action)
    loss = torch.nn.functional.mse_loss(q[0], target) + torch.nn.functional.mse_loss(q[1], target)
    owners = [p for name in ("encoder", "critic") for p in agent.networks[name].parameters()]
    for parameter, gradient in zip(owners, torch.autograd.grad(loss, owners), strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)

    features = agent.encoder(now).detach()
    pretanh = agent.actor(features, now.state)
    q = q_values(features, now.state, torch.tanh(pretanh))
    loss = -torch.minimum(q[0], q[1]).mean() + 0.1 * pretanh.square().mean()
    owners = list(agent.actor.parameters())
    for parameter, gradient in zip(owners, torch.autograd.grad(loss, owners), strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_the_target_takes_the_smaller_q_and_the_given_discount():
    """With critics that answer constants: target = reward + discount * min."""
    agent = make_agent("state")
    with torch.no_grad():
        for parameter in agent.critic_target.parameters():
            parameter.zero_()
        agent.critic_target.output.bias.copy_(torch.tensor([4.0, -2.0]).view(2, 1, 1))
        for parameter in agent.critic.parameters():
            parameter.zero_()
        agent.critic.output.bias[0] = 1.0
    batch = replace(
        make_batch("state", batch=2),
        reward=torch.tensor([[1.0], [3.0]]),
        discount=torch.tensor([[0.5], [0.0]]),
    )
    measures = agent.update(batch, 0.2)
    # Targets 1 + 0.5 * -2 = 0 and 3: mean 1.5; losses of the constants 1 and 0: (1 + 4) / 2 and (0 + 9) / 2.
    assert measures["target_q"] == 1.5
    assert measures["critic_loss"] == 7.0
    assert (measures["critic_q1"], measures["critic_q2"]) == (1.0, 0.0)


def test_the_target_critic_moves_by_tau_towards_the_critic():
    tau = 0.1
    agent, batch = make_agent(critic_target_tau=tau), make_batch()
    online, target = agent.networks["critic"], agent.critic_target
    assert same(online.parameters(), target.parameters())
    expected = weights(target)
    for _ in range(3):
        agent.update(batch, 0.2)
        expected = [(1 - tau) * t + tau * p.detach() for t, p in zip(expected, online.parameters(), strict=True)]
    for value, parameter in zip(expected, target.parameters(), strict=True):
        torch.testing.assert_close(parameter, value, rtol=1e-5, atol=1e-7)
    assert not any(p.requires_grad for p in target.parameters())


@pytest.mark.slow
def test_a_small_batch_is_learnt_by_heart(profile):
    agent = make_agent(profile, augmentation_pad=0, hidden_dim=32)
    batch = replace(make_batch(profile), discount=torch.zeros(BATCH, 1))
    first = agent.update(batch, 0.1)["critic_loss"]
    for _ in range(150):
        last = agent.update(batch, 0.1)["critic_loss"]
    assert last < first / 10


def test_the_actor_climbs_the_critic():
    agent = make_agent("state")
    batch = make_batch("state")
    for name in ("encoder", "critic"):
        agent.optimizers[name].param_groups[0]["lr"] = 0.0
    losses = [float(agent.update(batch, 0.0)["actor_loss"]) for _ in range(30)]
    assert losses[-1] < losses[0] - 0.1
    assert all(later < earlier for earlier, later in pairwise(losses[::5]))


def test_the_noise_in_an_update_is_clipped_and_straight_through():
    agent = make_agent(stddev_clip=0.3)
    mean = torch.full((4000, ACTIONS), 0.9, requires_grad=True)
    action = agent._sample(mean, 1.0, agent._generator)
    assert action.min() >= 0.6 - 1e-6
    assert action.max() < 1.0
    action.sum().backward()
    assert torch.equal(mean.grad, torch.ones_like(mean))


def test_the_pretanh_penalty_pulls_the_outputs_in():
    batch = make_batch()
    free, pulled = make_agent(), make_agent(pretanh_penalty=1.0)
    for _ in range(40):
        first, second = free.update(batch, 0.1), pulled.update(batch, 0.1)
    assert second["actor_pretanh"] < 0.5 * first["actor_pretanh"]


@pytest.mark.parametrize("tensor_rate", [False, True])
def test_a_rate_written_to_an_optimizer_holds_from_the_next_update(tensor_rate):
    agent, batch = make_agent(), make_batch()
    group = agent.optimizers["actor"].param_groups[0]
    group["lr"] = torch.tensor(RATES["actor"]) if tensor_rate else RATES["actor"]
    agent.update(batch, 0.2)
    before = weights(agent.actor)
    if tensor_rate:
        group["lr"].fill_(0.0)
    else:
        group["lr"] = 0.0
    agent.update(batch, 0.2)
    assert same(agent.actor.parameters(), before)


def test_diagnostics_match_norms_taken_by_hand(profile):
    agent, twin, batch = make_agent(profile), make_agent(profile), make_batch(profile)
    before = {name: weights(network) for name, network in agent.networks.items()}
    measures = agent.update(batch, 0.2, diagnostics=True)
    plain = twin.update(batch, 0.2)
    assert all(torch.equal(measures[name], value) for name, value in plain.items())
    kinds = ("grad_norm", "update_to_weight", "param_norm")
    assert set(measures) == MEASURES | {
        f"diagnostics/{n}_{k}" for n in agent.networks for k in (*kinds, "dormant_ratio")
    }

    def norm(tensors):
        return torch.cat([t.detach().flatten() for t in tensors]).norm()

    for name, network in agent.networks.items():
        now = list(network.parameters())
        step = [a - b for a, b in zip(now, before[name], strict=True)]
        expected = (norm([p.grad for p in now]), norm(step) / norm(before[name]), norm(now))
        for kind, value in zip(kinds, expected, strict=True):
            torch.testing.assert_close(measures[f"diagnostics/{name}_{kind}"], value, rtol=1e-5, atol=1e-8)


def test_zeroed_axes_act_neutral_and_learn_again():
    agent, batch = make_agent(), make_batch()
    agent.zero_action_outputs([3])
    for _ in range(3):
        agent.update(batch, 0.2)
    before = agent.act(observation(batch), None)
    assert before[:, 3:].abs().min() > 0
    agent.zero_action_outputs([3, 4])
    after = agent.act(observation(batch), None)
    assert torch.equal(after[:, :3], before[:, :3])
    assert not after[:, 3:].any()
    for parameter in (agent.actor.output.weight, agent.actor.output.bias):
        state = agent.optimizers["actor"].state[parameter]
        for moment in (state["exp_avg"], state["exp_avg_sq"]):
            assert not moment[3:].any()
            assert moment[:3].any()
    agent.update(batch, 0.2)
    assert agent.act(observation(batch), None)[:, 3:].abs().min() > 0


# --- snapshots and determinism ---


def test_same_seed_and_batches_give_the_same_bits(profile):
    agents = make_agent(profile), make_agent(profile)
    for step in range(3):
        first, second = (agent.update(make_batch(profile, seed=step), 0.2) for agent in agents)
        assert all(torch.equal(first[name], second[name]) for name in first)
    first, second = agents
    for name in first.networks:
        assert same(first.networks[name].parameters(), second.networks[name].parameters())


def test_a_loaded_snapshot_continues_bit_for_bit(profile):
    agent, batch = make_agent(profile), make_batch(profile)
    for _ in range(2):
        agent.update(batch, 0.2)
    agent.act(observation(batch), 0.5)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    expected = [agent.update(batch, 0.2) for _ in range(2)]
    action = agent.act(observation(batch), 0.5)

    file.seek(0)
    loaded = make_agent(profile, seed=99)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for measures in expected:
        again = loaded.update(batch, 0.2)
        assert all(torch.equal(again[name], value) for name, value in measures.items())
    assert torch.equal(loaded.act(observation(batch), 0.5), action)
    for name, network in agent.networks.items():
        assert same(loaded.networks[name].parameters(), network.parameters())
    assert same(loaded.critic_target.parameters(), agent.critic_target.parameters())


def test_a_snapshot_of_other_sizes_is_refused():
    state = make_agent().state_dict()
    with pytest.raises(RuntimeError, match="size mismatch"):
        make_agent(hidden_dim=8).load_state_dict(state)


GOLDEN = {
    "pixels": {
        "critic_loss": 5.1129522,
        "actor_loss": 0.025628075,
        "critic_q1": 0.42582715,
        "critic_q2": -0.20391744,
        "target_q": -0.76605052,
        "batch_reward": -0.68476421,
        "actor_pretanh": 0.27215001,
    },
    "state": {
        "critic_loss": 2.600081,
        "actor_loss": 0.14151148,
        "critic_q1": -0.1110205,
        "critic_q2": -0.13367841,
        "target_q": -0.057411399,
        "batch_reward": 0.029588405,
        "actor_pretanh": 0.10007651,
    },
}


def test_golden_update(profile):
    """Pins the numbers of two updates; a change of the update step must not move them."""
    agent = make_agent(profile, pretanh_penalty=0.01)
    for step in range(2):
        measures = agent.update(make_batch(profile, seed=step), 0.4)
    assert {name: float(value) for name, value in measures.items()} == pytest.approx(
        GOLDEN[profile], rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("place", ["weights", "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("name", ["encoder", "actor", "critic"])
def test_one_number_that_is_not_finite_names_its_network_alone(name, place, broken):
    agent = make_agent()
    agent.update(make_batch(), 0.2)
    parameter = list(agent.networks[name].parameters())[-1]
    tensor = parameter if place == "weights" else agent.optimizers[name].state[parameter][place]
    assert agent.not_finite() == []
    with torch.no_grad():
        tensor.view(-1)[-1] = broken
    assert agent.not_finite() == [name]


def test_a_target_that_is_not_finite_is_the_critics():
    agent = make_agent()
    with torch.no_grad():
        list(agent.critic_target.parameters())[-1].fill_(math.inf)
    assert agent.not_finite() == ["critic"]
