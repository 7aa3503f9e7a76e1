"""The diagnostics: what they measure, that they change nothing, and that a training logs them all."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from glideslope.agent import DrQV2Agent, dormancy, drqv2
from glideslope.agent.dormancy import DormantUnits
from glideslope.agent.networks.actor_critic import TwinReLU
from tests.support.bundles import equal, flat, make_with_batches
from tests.support.paths import ROOT
from tests.support.training import approx, read_tags, train

NETWORKS = ("encoder", "actor", "critic")
KINDS = ("grad_norm", "update_to_weight", "param_norm", "dormant_ratio")
ENCODERS = sorted(path.stem for path in (ROOT / "cfgs" / "encoder_bundle").glob("*.yaml"))
ACTOR_CRITICS = sorted(path.stem for path in (ROOT / "cfgs" / "actor_critic_bundle").glob("*.yaml"))
ACTIVATION_OPS = {"relu", "leaky_relu", "elu", "gelu", "silu", "mish", "tanh"}


def ratio(network: nn.Module, *inputs: Tensor) -> float:
    """The dormant ratio of one network after one pass for each of the inputs."""
    units = DormantUnits({"it": network})
    with units.watch("it"):
        for value in inputs:
            network(value.clone())
    return float(units.ratios()["it"])


# --- dormant units, by hand ---


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (1.0, 3 / 4),  # activities 159, 1, 0, 0: mean 40, and 0.025 of it is 1: the second is just dormant
        (1.1, 2 / 4),  # mean 40.025, limit 1.000625
    ],
)
def test_a_unit_is_dormant_up_to_a_fortieth_of_its_layers_mean_activity(second: float, expected: float) -> None:
    # Two samples: each unit's activity is the mean of its column, a negative number is none after the ReLU.
    layer = torch.tensor([[318.0, 0.0, -5.0, 0.0], [0.0, 2 * second, -7.0, 0.0]])
    assert ratio(nn.ReLU(), layer) == expected


def test_activity_is_of_absolute_values_so_a_unit_that_averages_zero_lives() -> None:
    assert ratio(nn.Tanh(), torch.tensor([[1.0, 1.0], [-1.0, 1.0]])) == 0.0


def test_a_channel_is_one_unit_over_batch_and_positions() -> None:
    images = torch.zeros(2, 4, 3, 3)
    images[1, 0, 2, 2] = 18.0  # channels' activities: 1, 0, 1, 0
    images[:, 2] = 1.0
    assert ratio(nn.ReLU(), images) == 2 / 4


def test_tokens_are_averaged_like_samples() -> None:
    tokens = torch.zeros(2, 5, 3)
    tokens[1, 4, 0] = 10.0  # units' activities: 1, 1, 0
    tokens[..., 1] = 1.0
    assert ratio(nn.GELU(), tokens) == pytest.approx(1 / 3)


def test_a_silent_layer_is_dormant_as_a_whole_and_layers_are_pooled_by_their_units() -> None:
    assert ratio(nn.ReLU(), torch.zeros(2, 3)) == 1.0
    # One activation module may serve many layers: 3 units silent, 5 alive.
    assert ratio(nn.ReLU(), torch.zeros(2, 3), torch.ones(2, 5)) == 3 / 8


def test_both_of_twin_networks_count_each_against_its_own_mean() -> None:
    twins = torch.ones(2, 6, 4)
    twins[1] = 1e-3  # quiet beside the first network, but all units alike
    assert ratio(TwinReLU(), twins) == 0.0
    twins[1, :, 0] = 0.0
    assert ratio(TwinReLU(), twins) == 1 / 8


def test_a_watch_leaves_no_hook_behind_whatever_happens() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    units = DormantUnits({"it": network})
    with units.watch("it"):
        assert network[1]._forward_hooks

    def run(value: Tensor) -> None:
        with units.watch("it"):
            network(value)

    with pytest.raises(RuntimeError):
        run(torch.zeros(1, 5))
    assert not any(part._forward_hooks for part in network.modules())
    network(torch.zeros(1, 2))
    assert units.ratios() == {}


# --- within an update ---


@pytest.mark.parametrize(("encoder", "actor_critic"), list(zip(ENCODERS, cycle(ACTOR_CRITICS), strict=False)))
def test_an_update_is_bit_for_bit_the_same_with_diagnostics(encoder: str, actor_critic: str) -> None:
    (plain, batches), (measured, _) = (
        make_with_batches(encoder, actor_critic),
        make_with_batches(encoder, actor_critic),
    )
    draws = torch.get_rng_state()
    for _ in range(3):
        batch = batches()
        without, with_them = plain.update(batch, 0.2), measured.update(batch, 0.2, diagnostics=True)
        assert set(with_them) - set(without) == {f"diagnostics/{n}_{kind}" for n in NETWORKS for kind in KINDS}
        assert all(torch.equal(with_them[name], value) for name, value in without.items())
        for name in NETWORKS:
            assert 0.0 <= with_them[f"diagnostics/{name}_dormant_ratio"] <= 1.0
    pairs = list(zip(flat(plain.state_dict()), flat(measured.state_dict()), strict=True))
    assert len(pairs) > 100
    assert all(equal(*pair) for pair in pairs)
    assert torch.equal(torch.get_rng_state(), draws)
    modules = [part for network in measured.networks.values() for part in network.modules()]
    assert not any(part._forward_hooks for part in modules)


class Activations(TorchDispatchMode):
    """Counts the activations computed, by modules or functions."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__.rstrip("_") in ACTIVATION_OPS
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
@pytest.mark.parametrize("actor_critic", ACTOR_CRITICS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_activation_of_every_bundle_is_seen(encoder: str, actor_critic: str) -> None:
    """An activation written as a function instead of a module would not be."""

    agent, batches = make_with_batches(encoder, actor_critic)
    batch = batches()
    seen = agent._observation(batch.pixels, batch.state, batch.privileged)
    features = agent.encoder(seen)
    passes: dict[str, Callable[[], Any]] = {
        "encoder": lambda: agent.encoder(seen),
        "actor": lambda: agent.actor(features, seen.state),
        "critic": lambda: agent.critic(agent.critic.code(features, seen.state), batch.action),
    }
    units = DormantUnits(agent.networks)
    for name, run in passes.items():
        with units.watch(name), Activations() as computed:
            run()
        assert len(units._activities[name]) == computed.count > 0, name


def test_nothing_is_measured_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, batches = make_with_batches("original_small")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("measured")

    for place, name in [
        (nn.Module, "register_forward_hook"),
        (dormancy, "unit_activity"),
        (drqv2, "_norm"),
        (agent, "_copy_parameters"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, refuse)
            agent.update(batches(), 0.2)
            with pytest.raises(AssertionError, match="measured"):
                agent.update(batches(), 0.2, diagnostics=True)


def test_the_ratios_match_layers_written_out() -> None:
    """The passes of the losses as plain functions, units counted one by one; the target critic doesn't count."""
    agent, batches = make_with_batches("original_small")
    agent._pad = 0
    with torch.no_grad():
        agent.encoder.convs[3].weight[:5].zero_()  # type: ignore[index,union-attr]
        agent.actor.hidden[2].weight.zero_()  # a silent layer
        agent.critic.second.weight[1] *= 1e-4  # quiet, not dormant
        agent.critic_target.second.weight.zero_()
    batch = batches()

    def trunk(network: Any, features: Tensor) -> Tensor:
        return torch.tanh(network.trunk.norm(network.trunk.linear(features)))

    def counted(layers: list[Tensor]) -> float:
        found = units = 0
        for layer in layers:  # (samples, units)
            activity = [sum(abs(x) for x in column) / len(column) for column in layer.double().T.tolist()]
            limit = 0.025 * sum(activity) / len(activity)
            found += sum(value <= limit for value in activity)
            units += len(activity)
        return found / units

    assert batch.pixels is not None
    assert batch.state is not None
    with torch.no_grad():
        image, maps = batch.pixels / 255 - 0.5, []
        for conv in agent.encoder.convs:  # type: ignore[union-attr]
            image = torch.relu(conv(image))
            maps.append(image.permute(0, 2, 3, 1).flatten(0, 2))
        features = image.permute(0, 2, 3, 1).flatten(1)
        code = trunk(agent.actor, features)
        first = torch.relu(agent.actor.hidden[0](torch.cat((code, batch.state), dim=1)))
        actor = [code, first, torch.relu(agent.actor.hidden[2](first))]
        critic = [trunk(agent.critic, features)]
        read = torch.cat((critic[0], batch.state, batch.action), dim=1)
        for one in range(2):
            x = read
            for layer in (agent.critic.first, agent.critic.second):
                x = torch.relu(x @ layer.weight[one] + layer.bias[one])
                critic.append(x)
    expected = {"encoder": counted(maps), "actor": counted(actor), "critic": counted(critic)}
    # 5 of 4 x 16 channels and 24 of 50 + 2 x 24 units are silenced above; few others sleep at first.
    assert 5 / 64 <= expected["encoder"] < 0.2
    assert 24 / 98 <= expected["actor"] < 0.4
    assert 0 < expected["critic"] < 0.2
    measures = agent.update(batch, 0.2, diagnostics=True)
    for name, value in expected.items():
        assert float(measures[f"diagnostics/{name}_dormant_ratio"]) == pytest.approx(value), name


@pytest.mark.parametrize("encoder", ["original_small", "state"])
def test_the_first_step_of_adam_moves_each_weight_by_the_rate(encoder: str) -> None:
    """Adam's first step is rate · g / (|g| + 1e-8): the norm of the whole follows from counting."""
    agent, batches = make_with_batches(encoder)
    norms = {
        name: math.sqrt(sum(float(p.detach().double().square().sum()) for p in network.parameters()))
        for name, network in agent.networks.items()
    }
    rates = dict(zip(NETWORKS, (1e-3, 2e-3, 3e-3), strict=True))
    for name, optimizer in agent.optimizers.items():
        optimizer.param_groups[0]["lr"] = rates[name]
    measures = agent.update(batches(), 0.2, diagnostics=True)
    for name, network in agent.networks.items():
        gradients = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).double()
        moved = rates[name] * float((gradients / (gradients.abs() + 1e-8)).norm())
        value = float(measures[f"diagnostics/{name}_update_to_weight"])
        assert value == pytest.approx(moved / norms[name], rel=1e-3), name
        assert float(measures[f"diagnostics/{name}_grad_norm"]) == pytest.approx(float(gradients.norm()))


# --- in a training ---


@pytest.mark.slow
def test_a_training_logs_every_diagnostic_at_every_logged_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, measured = DrQV2Agent.update, 0

    def counted(self: DrQV2Agent, *arguments: Any, **named: Any) -> Any:
        nonlocal measured
        measured += named.get("diagnostics", False)
        return update(self, *arguments, **named)

    monkeypatch.setattr(DrQV2Agent, "update", counted)
    run = tmp_path / "run"
    quick = [
        "encoder_bundle@agent=state",
        "save_video=false",
        "eval_every_frames=1000",
        "final_eval_episodes=1",
    ]
    assert train(run, "profile=smoke", "lr_schedule=gentle_decay", *quick) == 0

    tags = read_tags(run)
    frames = set(tags["diagnostics/actor_grad_norm"])
    assert len(frames) == measured == 11  # first at frame 102, then from 150 to 600 every 50
    ranges = {
        "grad_norm": (1e-6, 1e3),
        "update_to_weight": (1e-7, 0.05),
        "param_norm": (1.0, 1e3),
        "dormant_ratio": (0.0, 0.9),
        "effective_lr": (1e-8, 1e-3),
    }
    expected = {f"diagnostics/{name}_{kind}" for name in NETWORKS for kind in ranges}
    assert {tag for tag in tags if tag.startswith("diagnostics/")} == expected
    for tag in expected:
        low, high = next(limits for kind, limits in ranges.items() if tag.endswith(kind))
        assert set(tags[tag]) == frames
        assert all(low <= value <= high for value in tags[tag].values()), (tag, tags[tag])
    for name in NETWORKS:
        for frame, value in tags[f"diagnostics/{name}_effective_lr"].items():
            # By hand: the rate over the norm.
            norm = tags[f"diagnostics/{name}_param_norm"][frame]
            assert value == pytest.approx(tags[f"lr_{name}"][frame] / norm, rel=1e-6)

    with open(run / "train.csv", newline="", encoding="utf-8") as file:
        # At a jump of the rates there are rows of these alone.
        rows = [row for row in csv.DictReader(file) if row["diagnostics/actor_grad_norm"]]
    assert {int(row["frame"]) for row in rows} == frames
    for row in rows:
        for tag in expected:
            assert tags[tag][int(row["frame"])] == approx(float(row[tag]))
