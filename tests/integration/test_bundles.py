"""Every encoder with every actor-critic pair: shapes, gradients, independence, order of frames, learning, runs."""

from __future__ import annotations

import functools
import io
import re
import signal
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.bench_bundles import PIXELS, sizes
from benchmarks.soak import differences, state_of
from glideslope.agent import DrQV2Agent
from glideslope.build import make_agent, uses_pixels
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.envs.layout import ACTION_DIM, PRIVILEGED_DIM
from glideslope.replay.buffer import Batch
from glideslope.settings import Settings
from tests.support.bundles import equal, flat
from tests.support.interruptions import stop_at
from tests.support.paths import ROOT
from tests.support.tasks import STATE_DIM
from tests.support.training import train

ENCODERS = sorted(path.stem for path in (ROOT / "cfgs" / "encoder_bundle").glob("*.yaml"))
PAIRS = sorted(path.stem for path in (ROOT / "cfgs" / "actor_critic_bundle").glob("*.yaml"))
BUNDLES = list(product(ENCODERS, PAIRS))
SIZE, FRAMES, BATCH = 24, 3, 8
NARROW = {
    "enc_A": ("agent.encoder.d_model=16", "agent.encoder.channels=4"),
    "enc_B": ("agent.encoder.d_model=16",),
    "original": ("agent.encoder.channels=8",),
    "original_small": ("agent.encoder.channels=8",),
    "original_tiny": ("agent.encoder.channels=8",),
    "state": ("agent.encoder.hidden_dim=32",),
}
LEARNING_BY_HEART = ("augmentation_pad=0", "stddev_clip=0.0")

every_bundle = pytest.mark.parametrize(("encoder", "pair"), BUNDLES)
# Each encoder with two pairs, each pair with two encoders.
each_twice = pytest.mark.parametrize(
    ("encoder", "pair"),
    [(encoder, PAIRS[(i + shift) % len(PAIRS)]) for shift in (0, 2) for i, encoder in enumerate(ENCODERS)],
)


@functools.cache
def settings_of(encoder: str, pair: str, *words: str) -> Settings:
    bundles = (f"encoder_bundle@agent={encoder}", f"actor_critic_bundle@agent={pair}")
    sizes = (f"task.image_size={SIZE}", f"frame_stack={FRAMES}", "hidden_dim=32", "feature_dim=16")
    return compose(TRAIN_CONFIG, [*bundles, *sizes, *NARROW[encoder], *words], Settings).settings


def build(encoder: str, pair: str, *words: str, seed: int = 1) -> DrQV2Agent:
    """An agent of this bundle with narrow layers."""
    return make_agent(settings_of(encoder, pair, *words, f"seed={seed}"), "cpu")


def sample(encoder: str, batch: int = BATCH, seed: int = 0) -> Batch:
    """Random transitions that end at once, so that a target is the reward."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal((batch, *shape), dtype=np.float32))

    def images() -> Tensor:
        return torch.from_numpy(rng.integers(0, 256, (batch, FRAMES, SIZE, SIZE), dtype=np.uint8))

    pixels = encoder != "state"
    return Batch(
        pixels=images() if pixels else None,
        state=normal(FRAMES * STATE_DIM),
        privileged=None if pixels else normal(PRIVILEGED_DIM),
        action=normal(ACTION_DIM).clamp(-1.0, 1.0),
        reward=normal(1),
        discount=torch.zeros(batch, 1),
        next_pixels=images() if pixels else None,
        next_state=normal(FRAMES * STATE_DIM),
        next_privileged=None if pixels else normal(PRIVILEGED_DIM),
    )


def each(function: Callable[..., Tensor], *batches: Batch) -> Batch:
    """The batch of this function of the batches' own parts, one after the other."""
    parts = {field.name: [getattr(batch, field.name) for batch in batches] for field in fields(Batch)}
    return Batch(**{name: None if part[0] is None else function(*part) for name, part in parts.items()})


@torch.no_grad()
def outputs(agent: DrQV2Agent, batch: Batch) -> dict[str, Tensor]:
    """The policy's mean actions (B, A), and both values (B, 2) of the batch's actions, as an update computes them."""
    observation = agent._observation(batch.pixels, batch.state, batch.privileged)
    code = agent.critic.code(agent.encoder(observation), observation.state)
    seen = {name: getattr(batch, name) for name in ("pixels", "state", "privileged")}
    return {
        "action": agent.act({name: value for name, value in seen.items() if value is not None}, None),
        "q": agent.critic(code, batch.action).squeeze(2).T,
    }


# --- one pass ---


@every_bundle
@pytest.mark.parametrize("batch", [1, 5])
def test_shapes(encoder: str, pair: str, batch: int) -> None:
    found = outputs(build(encoder, pair), sample(encoder, batch))
    assert found["action"].shape == (batch, ACTION_DIM)
    assert found["q"].shape == (batch, 2)
    for value in found.values():
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    assert found["action"].abs().max() < 1.0


@every_bundle
def test_a_sample_gives_the_same_alone_and_among_any_others(encoder: str, pair: str) -> None:
    agent, batch = build(encoder, pair), sample(encoder)
    together = outputs(agent, batch)
    assert all(value.std(dim=0).min() > 1e-4 for value in together.values())  # samples do differ
    neighbours = sample(encoder, seed=1)
    for row in range(BATCH):
        own = each(lambda value, row=row: value[row : row + 1], batch)
        among = each(
            lambda value, others, row=row: torch.cat((others[:row], value, others[row + 1 :])),
            own,
            neighbours,
        )
        alone, mixed = outputs(agent, own), outputs(agent, among)
        for name, value in together.items():
            torch.testing.assert_close(alone[name][0], value[row], rtol=1e-5, atol=2e-6)
            torch.testing.assert_close(mixed[name][row], value[row], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("encoder", "pair"), [bundle for bundle in BUNDLES if bundle[0] != "state"])
def test_the_order_of_the_images_matters(encoder: str, pair: str) -> None:
    """The state is the same in all frames, so that the images' order alone is what changes."""
    agent, batch = build(encoder, pair), sample(encoder)
    assert batch.pixels is not None
    batch = replace(batch, state=batch.state[:, :STATE_DIM].repeat(1, FRAMES))
    there = outputs(agent, batch)
    for order in ([1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0]):
        turned = outputs(agent, replace(batch, pixels=batch.pixels[:, order]))
        for name, value in there.items():
            assert (turned[name] - value).abs().amax(dim=1).min() > 1e-5, (name, order)


# --- learning ---


@every_bundle
def test_an_update_gives_every_parameter_a_gradient_and_a_step(encoder: str, pair: str) -> None:
    agent = build(encoder, pair)
    before = {name: [p.detach().clone() for p in network.parameters()] for name, network in agent.networks.items()}
    agent.update(sample(encoder, 16), 0.2)
    for network, old in before.items():
        for (name, parameter), start in zip(agent.networks[network].named_parameters(), old, strict=True):
            assert parameter.grad is not None, (network, name)
            assert parameter.grad.any(), (network, name)
            assert not torch.equal(parameter, start), (network, name)


@every_bundle
def test_each_parameter_is_in_its_networks_optimizer_and_in_no_other(encoder: str, pair: str) -> None:
    auxiliary = ("auxiliary_weight=0.5",) if encoder != "state" else ()
    agent = build(encoder, pair, *auxiliary, "lr_encoder=1.0e-4", "lr_actor=2.0e-4", "lr_critic=3.0e-4")
    groups = [(name, group) for name, o in agent.optimizers.items() for group in o.param_groups]
    owner = {id(p): (name, group["lr"]) for name, group in groups for p in group["params"]}
    assert len(owner) == sum(len(group["params"]) for _, group in groups)
    rates = {"encoder": 1e-4, "actor": 2e-4, "critic": 3e-4}
    expected = {id(p): (name, rates[name]) for name, network in agent.networks.items() for p in network.parameters()}
    if agent.auxiliary is not None:
        expected |= {id(p): ("encoder", 1e-4) for p in agent.auxiliary.parameters()}
    assert owner == expected


@each_twice
def test_a_tiny_batch_is_learnt_by_heart(encoder: str, pair: str) -> None:
    """First the values become the rewards; then, as the values are held, the policy climbs them."""
    agent, batch = build(encoder, pair, *LEARNING_BY_HEART, "lr=2.0e-3"), sample(encoder, seed=1)
    first = agent.update(batch, 0.0)
    for _ in range(250):
        fitted = agent.update(batch, 0.0)
        if fitted["critic_loss"] < 0.01 * first["critic_loss"]:
            break
    else:
        pytest.fail(f"the critic's loss is still {float(fitted['critic_loss'])}")
    for name in ("encoder", "critic"):
        agent.optimizers[name].param_groups[0]["lr"] = 0.0
    held = agent.update(batch, 0.0)
    for _ in range(150):
        climbed = agent.update(batch, 0.0)
    assert torch.equal(climbed["critic_loss"], held["critic_loss"])
    assert climbed["actor_loss"] < held["actor_loss"] - 0.01


@each_twice
def test_a_loaded_state_goes_on_bit_for_bit(encoder: str, pair: str) -> None:
    agent, other = build(encoder, pair), build(encoder, pair, seed=2)
    for seed in range(2):
        agent.update(sample(encoder, seed=seed), 0.2)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(2, 4):
        first, second = (one.update(sample(encoder, seed=seed), 0.2) for one in (agent, other))
        assert first.keys() == second.keys()
        assert all(torch.equal(second[name], value) for name, value in first.items())
    assert all(equal(*leaves) for leaves in zip(flat(agent.state_dict()), flat(other.state_dict()), strict=True))


def test_the_parameters_told_of_every_bundle_are_right() -> None:
    """In the benchmarks' table, and for the pairs in the page about architectures too."""
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").split("| 84×84, profile=full")[0]
    told = re.findall(r"^\| (encoder|pair) `(\w+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", table, re.MULTILINE)
    assert sorted((kind, name) for kind, name, *_ in told) == sorted(
        [("encoder", name) for name in ENCODERS] + [("pair", name) for name in PAIRS]
    )
    page = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8")
    groups = {"encoder": "encoder_bundle", "pair": "actor_critic_bundle"}
    for kind, name, *numbers in told:
        words = ["profile=cpu", *PIXELS, f"{groups[kind]}@agent={name}"]
        agent = make_agent(compose(TRAIN_CONFIG, words, Settings).settings, "cpu")
        _, actor, critic = counts = sizes(agent)
        assert numbers == [f"{count:,}" for count in counts]
        if kind == "pair":
            assert f"| `{name}` | {actor:,} | {critic:,} |" in page


# --- whole runs ---

# Each encoder once, each pair at least once, with what else there is to draw or to remember.
RUNS = {
    "plain": ("original_small", "autoregressive_gimbal_first", ()),
    "tiny": (
        *("original_tiny", "original"),
        (
            *("critic_observation=privileged", "actor_every_updates=2", "critic_layer_norm=true", "value_bins=21"),
            *("auxiliary_weight=1", "auxiliary_target=pad_motion", "auxiliary_input=true", "parallel=true"),
        ),
    ),
    "wide": ("original", "original", ("augmentation_brightness=0.2",)),
    "state": ("state", "multihead_attention", ("task=gimbal_landing_acceleration",)),
    "frames": (
        *("enc_A", "autoregressive_drone_first"),
        ("task=gimbal_landing_velocity", "agent.encoder.dropout=0.1"),
    ),
    "patches": (
        *("enc_B", "multihead_attention_factored"),
        ("auxiliary_weight=0.5", "agent.encoder.dropout=0.1", "augmentation_brightness=0.2"),
    ),
}
SHORT = (
    *("profile=smoke", "save_video=false", "num_train_frames=260", "lr_schedule=gentle_decay"),
    *(
        "snapshot_every_frames=100",
        "eval_every_frames=160",
        "curriculum.last_stage=0",
        "num_eval_episodes=2",
        "final_eval_episodes=2",
    ),
)


def test_the_runs_cover_every_encoder_and_every_pair() -> None:
    assert sorted(encoder for encoder, _, _ in RUNS.values()) == ENCODERS
    assert sorted({pair for _, pair, _ in RUNS.values()}) == PAIRS


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_stops_and_goes_on_changes_no_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, pair, more = RUNS[name]
    words = (*SHORT, f"encoder_bundle@agent={encoder}", f"actor_critic_bundle@agent={pair}", *more)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert train(straight, *words) == 0  # the estimate of its time included, which makes an update of its own
    with monkeypatch.context() as patch:
        stop_at(patch, 190, "_learn")
        assert train(stopped, *words) == 128 + signal.SIGTERM
    assert train(stopped, *words) == 0
    state = state_of(straight)
    assert state["snapshot"]["agent"]["optimizers"]["actor"]["state"]
    assert uses_pixels(settings_of(encoder, pair)) == (encoder != "state")
    assert differences(state, state_of(stopped)) == []
