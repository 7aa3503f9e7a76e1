"""A critic that reads the simulator's state: who learns from what, who never sees it, and updates side by side."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from glideslope.agent import DrQV2Agent
from glideslope.settings import AttentionActorCriticSettings, AutoregressiveActorSettings
from tests.support.agents import BATCH, PRIVILEGED, make_agent, make_batch, observation, same, weights

ON: dict[str, Any] = {"privileged_critic": True, "privileged_dim": PRIVILEGED}
PAIRS = {
    "autoregressive": AutoregressiveActorSettings(),
    "attention": AttentionActorCriticSettings(d_model=8, nhead=2, tokens=3),
    "factored": AttentionActorCriticSettings(name="multihead_attention_factored", d_model=8, nhead=2, tokens=3),
}
GIMBAL = {"gimbal_axes": (3, 4)}


def told(seed: int = 0) -> Any:
    """A batch that holds privileged values beside its images."""
    batch, state = make_batch(seed=seed), make_batch("state", seed=seed + 100)
    return replace(batch, privileged=state.privileged, next_privileged=state.next_privileged)


def all_weights(agent: DrQV2Agent) -> list[Tensor]:
    return [w for name in ("encoder", "actor", "critic") for w in weights(agent.networks[name])]


def test_acting_never_depends_on_privileged_values() -> None:
    agent, batch = make_agent(**ON), told()
    seen = observation(batch)
    expected = agent.act({key: seen[key] for key in ("pixels", "state")}, None)
    for value in (0.0, 1e6, torch.nan):
        seen["privileged"] = torch.full((BATCH, PRIVILEGED), value)
        assert torch.equal(agent.act(seen, None), expected)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("profile", ["pixels", "state"])
def test_every_pair_and_encoder_learns_with_it(pair: str, profile: str) -> None:
    agent = make_agent(profile, **ON, **GIMBAL, actor_critic=PAIRS[pair])
    batch = told() if profile == "pixels" else make_batch("state")
    before = all_weights(agent)
    measures = agent.update(batch, 0.1, diagnostics=True)
    assert all(bool(value.isfinite()) for value in measures.values())
    assert {f"diagnostics/{name}_grad_norm" for name in agent.networks} <= set(measures)
    changed = [not torch.equal(a, b) for a, b in zip(before, all_weights(agent), strict=True)]
    assert sum(changed) > 0.8 * len(changed)


def test_the_values_do_not_turn_on_what_the_policy_sees() -> None:
    agent, batch = make_agent(**ON, augmentation_pad=0), told()
    other = replace(batch, pixels=255 - batch.pixels, state=-batch.state)
    first = make_agent(**ON, augmentation_pad=0).update(batch, 0.0, actor=False)
    second = agent.update(other, 0.0, actor=False)
    assert torch.equal(first["critic_q1"], second["critic_q1"])
    blind = replace(batch, privileged=batch.privileged + 1.0)
    third = make_agent(**ON, augmentation_pad=0).update(blind, 0.0, actor=False)
    assert not torch.equal(first["critic_q1"], third["critic_q1"])


def test_the_encoder_learns_from_the_actor_alone() -> None:
    agent, batch = make_agent(**ON), told()
    encoder, actor = weights(agent.encoder), weights(agent.actor)
    agent.update(batch, 0.1, actor=False)
    assert same(encoder, weights(agent.encoder))
    assert same(actor, weights(agent.actor))
    agent.update(batch, 0.1)
    assert not same(encoder, weights(agent.encoder))
    assert not same(actor, weights(agent.actor))


def test_gradients_of_the_losses_match_plain_autograd() -> None:
    agent, batch = make_agent(**ON, augmentation_pad=0), told()
    for optimizer in agent.optimizers.values():
        optimizer.param_groups[0]["lr"] = 0.0
    agent.update(batch, 0.0)
    kept = {n: [p.grad.clone() for p in agent.networks[n].parameters() if p.grad is not None] for n in agent.networks}
    pixels = batch.pixels.float()
    pixels = agent._observation(batch.pixels, batch.state, None)
    with torch.no_grad():
        following = agent._observation(batch.next_pixels, batch.next_state, None)
        action = torch.tanh(agent.actor(agent.encoder(following), following.state)).clamp(-1 + 1e-6, 1 - 1e-6)
        next_q = agent.critic_target(agent.critic_target.code(batch.next_privileged, None), action).amin(0)
        target = batch.reward + batch.discount * next_q
    q = agent.critic(agent.critic.code(batch.privileged, None), batch.action)
    loss = sum(torch.nn.functional.mse_loss(one, target) for one in q)
    expected = torch.autograd.grad(loss, list(agent.critic.parameters()))
    for ours, theirs in zip(kept["critic"], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    mean = torch.tanh(agent.actor(agent.encoder(pixels), pixels.state))
    loss = -agent.critic(agent.critic.code(batch.privileged, None).detach(), mean).amin(0).mean()
    policy = [*agent.encoder.parameters(), *agent.actor.parameters()]
    for ours, theirs in zip([*kept["encoder"], *kept["actor"]], torch.autograd.grad(loss, policy), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_without_privileged_values_it_is_refused() -> None:
    with pytest.raises(ValueError, match="privileged_dim=0"):
        make_agent(privileged_critic=True)


def test_pixels_critic_delays_the_actor_but_not_the_encoder() -> None:
    agent, batch = make_agent(), make_batch()
    encoder, actor = weights(agent.encoder), weights(agent.actor)
    measures = agent.update(batch, 0.1, actor=False)
    assert "actor_loss" not in measures
    assert not same(encoder, weights(agent.encoder))
    assert same(actor, weights(agent.actor))


# --- the auxiliary task of the pad's motion ---


def test_the_pads_motion_is_predicted_from_the_first_six_values_by_hand() -> None:
    agent = make_agent(**ON, auxiliary_weight=0.5, auxiliary_target="pad_motion", gimbal_limits_deg=(47.0, 90.0))
    batch = told()
    assert agent.auxiliary is not None
    seen = agent._observation(batch.pixels, batch.state, None)
    motion = agent.auxiliary(agent.encoder(seen), seen.state)
    loss, measures = agent.auxiliary.loss(motion, batch.privileged)
    error = motion - batch.privileged[:, :6]
    torch.testing.assert_close(loss, error.square().mean())
    torch.testing.assert_close(measures["auxiliary_error_m"], 5.0 * error[:, :3].norm(dim=1).mean().detach())
    torch.testing.assert_close(measures["auxiliary_error_mps"], 2.0 * error[:, 3:].norm(dim=1).mean().detach())
    encoder = weights(agent.encoder)
    agent.update(batch, 0.1, actor=False)
    assert same(encoder, weights(agent.encoder))  # it is trained with the encoder, and that with the actor
    assert "auxiliary_loss" in agent.update(batch, 0.1)


# --- side by side ---


def steps(agent: DrQV2Agent, threads: int) -> list[dict[str, Tensor]]:
    """Three rounds of two updates of each part, one part after the other or at the same time."""
    found: list[dict[str, Tensor]] = []
    with ThreadPoolExecutor(1) as pool:
        for start in range(0, 6, 2):
            agent.freeze()
            batches = [told(start), told(start + 1)]
            if threads == 2:
                later = pool.submit(lambda b=batches: [agent.update_frozen("actor", one, 0.1) for one in b])
                found += [agent.update_frozen("critic", one, 0.1) for one in batches]
                found += later.result()
            else:
                found += [agent.update_frozen("critic", one, 0.1) for one in batches]
                found += [agent.update_frozen("actor", one, 0.1) for one in batches]
    return found


def test_side_by_side_gives_the_same_bits_as_one_after_the_other() -> None:
    one, two = make_agent(**ON), make_agent(**ON)
    first, second = steps(one, 1), steps(two, 2)
    assert same(all_weights(one), all_weights(two))
    for a, b in zip(first, second, strict=True):
        assert {key: float(value) for key, value in a.items()} == {key: float(value) for key, value in b.items()}


def test_one_frozen_update_of_the_critic_is_the_plain_one() -> None:
    plain, frozen, batch = make_agent(**ON), make_agent(**ON), told()
    plain.update(batch, 0.1, actor=False)
    frozen.freeze()
    frozen.update_frozen("critic", batch, 0.1)
    assert same(all_weights(plain), all_weights(frozen))


def test_parts_see_each_other_as_they_were_frozen() -> None:
    agent, batch = make_agent(**ON), told()
    agent.freeze()
    first = agent.update_frozen("actor", batch, 0.0)["actor_loss"]
    with torch.no_grad():
        for parameter in agent.critic.parameters():
            parameter.mul_(3.0)
    again = make_agent(**ON)
    again.freeze()
    assert torch.equal(again.update_frozen("actor", batch, 0.0)["actor_loss"], first)
    agent.freeze()
    assert not torch.equal(agent.update_frozen("actor", batch, 0.0)["actor_loss"], first)


def test_a_loaded_snapshot_continues_side_by_side_bit_for_bit() -> None:
    straight, before = make_agent(**ON), make_agent(**ON)
    steps(straight, 1)
    steps(before, 1)
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after = make_agent(**ON, seed=9)
    after.load_state_dict(torch.load(file, weights_only=True))
    steps(straight, 2)
    steps(after, 2)
    assert same(all_weights(straight), all_weights(after))


@pytest.mark.parametrize("changes", [{}, ON])
def test_frozen_updates_need_a_freeze_and_a_privileged_critic(changes: dict[str, Any]) -> None:
    agent = make_agent(**changes)
    if not changes:
        agent.freeze()
    with pytest.raises(ValueError, match=r"freeze\(\)"):
        agent.update_frozen("critic", told(), 0.1)
