"""Actor-critic pairs: shapes, gradients, the order of conditioning, attention and sums by hand, learning."""

import io
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from glideslope.agent.dormancy import DormantUnits, dormant
from glideslope.agent.networks.actor_critic import (
    ActionParts,
    Actor,
    AutoregressiveActor,
    Critic,
    InAxisOrder,
    Sizes,
    TwinLinear,
    initialize,
)
from glideslope.agent.networks.attention import Attention
from glideslope.agent.networks.attention_actor_critic import (
    ActionValues,
    AttentionActor,
    FactoredAttentionCritic,
    TwinBlock,
    TwinSequenceLinear,
)
from glideslope.agent.networks.factory import build_actor_critic
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.errors import SettingsError
from glideslope.settings import (
    ActorCriticSettings,
    AnyActorCriticSettings,
    AttentionActorCriticSettings,
    AutoregressiveActorSettings,
    CrossAttentionEncoderSettings,
    PatchEncoderSettings,
    Settings,
)
from tests.support.agents import (
    ACTIONS,
    BATCH,
    RATES,
    STATE,
    make_agent,
    make_batch,
    observation,
    same,
    weights,
)
from tests.support.paths import ROOT

DRONE, GIMBAL = (0, 1, 2), (3, 4)
PARTS = ActionParts(DRONE, GIMBAL)
FEATURES, WIDTH, TOKENS, HEADS = 10, 16, 3, 4
SIZES = Sizes(FEATURES, STATE, ACTIONS, feature_dim=6, hidden_dim=24)
SMALL = AttentionActorCriticSettings(tokens=TOKENS, d_model=WIDTH, nhead=HEADS, depth=2)
PAIRS: dict[str, AnyActorCriticSettings] = {
    "original": ActorCriticSettings(),
    "autoregressive_gimbal_first": AutoregressiveActorSettings(depth=1),
    "autoregressive_drone_first": AutoregressiveActorSettings(name="autoregressive_drone_first"),
    "multihead_attention": SMALL,
    "multihead_attention_factored": SMALL.model_copy(update={"name": "multihead_attention_factored"}),
}
ENCODERS = {
    "enc_A": CrossAttentionEncoderSettings(channels=4, strides=(2, 2), d_model=8, nhead=2),
    "enc_B": PatchEncoderSettings(patch=5, d_model=8, nhead=2),
}


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build(pair: str, sizes: Sizes = SIZES, parts: ActionParts = PARTS) -> tuple[Actor, Critic]:
    torch.manual_seed(0)
    actor, critic = build_actor_critic(PAIRS[pair], sizes, parts, 0)
    initialize(actor)
    initialize(critic)
    return actor, critic


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(batch: int = BATCH, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Features, state and actions."""
    action = torch.tanh(normal(batch, ACTIONS, seed=seed + 2))
    return normal(batch, FEATURES, seed=seed), normal(batch, STATE, seed=seed + 1), action


def gradients(module: nn.Module, value: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(names, found, strict=True))


# --- what all pairs have in common ---


def test_there_is_a_file_for_each_pair() -> None:
    assert {path.stem for path in (ROOT / "cfgs" / "actor_critic_bundle").glob("*.yaml")} == set(PAIRS)


@pytest.mark.parametrize("batch", [1, 7])
def test_shapes(pair: str, batch: int) -> None:
    actor, critic = build(pair)
    features, state, action = inputs(batch)
    assert actor(features, state).shape == (batch, ACTIONS)
    assert critic(critic.code(features, state), action).shape == (2, batch, 1)
    actor, critic = build(pair, SIZES._replace(state_dim=0))
    assert actor(features, None).shape == (batch, ACTIONS)
    assert critic(critic.code(features, None), action).shape == (2, batch, 1)


def test_every_parameter_gets_a_gradient(pair: str) -> None:
    actor, critic = build(pair)
    features, state, action = inputs()
    found = gradients(actor, actor(features, state).square().sum())
    assert [name for name, g in found.items() if not g.any()] == []
    values = critic(critic.code(features, state), action)
    found = gradients(critic, values.square().sum())
    assert [name for name, g in found.items() if not g.any()] == []


def test_the_two_q_functions_share_what_they_read_and_nothing_else(pair: str) -> None:
    _, critic = build(pair)
    features, state, action = inputs()
    values = critic(critic.code(features, state), action)
    assert not torch.equal(values[0], values[1])
    for name, gradient in gradients(critic, values[0].sum()).items():
        if "trunk" not in name and "project" not in name:
            assert gradient[0].any(), name
            assert not gradient[1].any(), name


def test_a_sample_never_depends_on_the_rest_of_its_batch(pair: str) -> None:
    actor, critic = build(pair)
    here, other = inputs(seed=1), inputs(seed=50)
    alone = [value[:1] for value in here]
    mixed = [torch.cat((a[:1], b[1:])) for a, b in zip(here, other, strict=True)]
    for features, state, action in (alone, mixed):
        expected = actor(*here[:2])[:1]
        torch.testing.assert_close(actor(features, state)[:1], expected, rtol=1e-5, atol=1e-6)
        expected = critic(critic.code(*here[:2]), here[2])[:, :1]
        values = critic(critic.code(features, state), action)[:, :1]
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


def test_the_output_layers_give_each_axis_once_in_its_place(pair: str) -> None:
    """Also where the gimbal's axes are not the last ones."""
    actor, _ = build(pair, parts=ActionParts((0, 2, 4), (3, 1)))
    features, state, _ = inputs()
    layers = actor.output_layers()
    assert sorted(axis for _, axes in layers for axis in axes) == list(range(ACTIONS))
    with torch.no_grad():
        for layer, axes in layers:
            assert layer.out_features == len(axes)
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor(axes))
    assert torch.equal(actor(features, state), torch.arange(5.0).expand(BATCH, -1))


def test_outputs_are_arranged_by_axis() -> None:
    arrange = InAxisOrder((3, 0), (2,), (1, 4))
    parts = (torch.tensor([[30.0, 0.0]]), torch.tensor([[20.0]]), torch.tensor([[10.0, 40.0]]))
    assert arrange(*parts).tolist() == [[0.0, 10.0, 20.0, 30.0, 40.0]]
    assert not arrange.state_dict()


@pytest.mark.slow
def test_an_actor_learns_sixteen_targets_by_heart(pair: str) -> None:
    actor, _ = build(pair)
    features, state, target = inputs(16)
    optimizer = torch.optim.Adam(actor.parameters(), lr=3e-3)
    for _ in range(400):
        loss = (torch.tanh(actor(features, state)) - target).square().mean()
        if loss < 1e-3:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {float(loss)}")


@pytest.mark.slow
def test_a_critic_learns_values_by_heart_that_turn_on_state_and_action(pair: str) -> None:
    """Four states times four actions: each is met with each, so neither alone tells the value."""
    _, critic = build(pair)
    features, state, action = (value.repeat_interleave(4, dim=0) for value in inputs(4))
    action = inputs(4)[2].repeat(4, 1)
    target = normal(16, 1, seed=9)
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for _ in range(500):
        loss = (critic(critic.code(features, state), action) - target).square().mean()
        if loss < 1e-3:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {float(loss)}")


def test_pairs_that_tell_drone_and_gimbal_apart_need_both(pair: str) -> None:
    if pair == "original":
        build(pair, parts=ActionParts((), ()))
        return
    for parts in (ActionParts((0, 1, 2, 3, 4), ()), ActionParts((), (0, 1, 2, 3, 4))):
        with pytest.raises(ValueError, match=f"{pair}.*axes of drone and gimbal"):
            build(pair, parts=parts)


# --- one part in the light of the other ---


@pytest.mark.parametrize(
    ("pair", "first", "second"),
    [("autoregressive_gimbal_first", GIMBAL, DRONE), ("autoregressive_drone_first", DRONE, GIMBAL)],
)
def test_the_second_part_answers_to_the_first_and_not_the_other_way_round(
    pair: str, first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    actor, _ = build(pair)
    features, state, _ = inputs()
    pretanh = actor(features, state)
    early = gradients(actor, pretanh[:, list(first)].square().sum())
    late = gradients(actor, actor(features, state)[:, list(second)].square().sum())
    for name in early:
        assert bool(early[name].any()) != name.startswith("second"), name
        assert late[name].any(), name


def test_the_second_head_reads_the_tanh_of_the_first() -> None:
    actor, _ = build("autoregressive_gimbal_first")
    assert isinstance(actor, AutoregressiveActor)
    features, state, _ = inputs()
    code = torch.cat((actor.trunk(features, None), state), dim=1)
    gimbal = actor.first.output(torch.relu(actor.first.hidden[0](code)))
    seen = torch.cat((code, torch.tanh(gimbal)), dim=1)
    drone = actor.second.output(torch.relu(actor.second.hidden[0](seen)))
    torch.testing.assert_close(actor(features, state), torch.cat((drone, gimbal), dim=1))


def test_depth_is_the_number_of_hidden_layers_of_each_head() -> None:
    for depth in (1, 2, 4):
        actor = AutoregressiveActor(SIZES, GIMBAL, DRONE, depth)
        for head in (actor.first, actor.second):
            assert sum(isinstance(layer, nn.Linear) for layer in head.hidden) == depth


# --- attention ---


@pytest.mark.parametrize("twin", [0, 1])
def test_twin_attention_is_torchs_for_each_of_both(twin: int) -> None:
    """Against nn.MultiheadAttention with the weights copied over."""
    torch.manual_seed(0)
    attention = Attention(WIDTH, HEADS, TwinSequenceLinear)
    layers = (attention.query, attention.key, attention.value, attention.output)
    for layer in layers:
        assert isinstance(layer, TwinSequenceLinear)
        nn.init.normal_(layer.weight)
        if layer.bias is not None:
            nn.init.normal_(layer.bias)
    reference = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    with torch.no_grad():
        rows = [layer.weight[twin].T for layer in layers]
        biases = [torch.zeros(WIDTH) if layer.bias is None else layer.bias[twin].flatten() for layer in layers]
        reference.in_proj_weight.copy_(torch.cat(rows[:3]))
        reference.in_proj_bias.copy_(torch.cat(biases[:3]))
        reference.out_proj.weight.copy_(rows[3])
        reference.out_proj.bias.copy_(biases[3])
    queries, tokens = normal(2 * BATCH, 2, WIDTH), normal(2 * BATCH, TOKENS, WIDTH, seed=2)
    own = slice(twin * BATCH, (twin + 1) * BATCH)
    expected = reference(queries[own], tokens[own], tokens[own], need_weights=False)[0]
    torch.testing.assert_close(attention(queries, tokens)[own], expected, rtol=1e-4, atol=1e-5)


def test_a_twin_block_by_hand() -> None:
    torch.manual_seed(0)
    block = TwinBlock(WIDTH, HEADS)
    initialize(block)
    query, tokens = normal(2, BATCH, WIDTH), normal(2 * BATCH, TOKENS, WIDTH, seed=2)

    def norm(x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()

    def apply(layer: nn.Module, twin: int, x: Tensor) -> Tensor:
        assert isinstance(layer, TwinLinear)
        return x @ layer.weight[twin] + (0.0 if layer.bias is None else layer.bias[twin])

    attention, mixed = block.attention, block(query, tokens)
    for twin in (0, 1):
        context = tokens[twin * BATCH : (twin + 1) * BATCH]
        asked = apply(attention.query, twin, norm(query[twin]))
        key, value = (apply(part, twin, context) for part in (attention.key, attention.value))
        answers = []
        for head in range(HEADS):
            own = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            scores = torch.einsum("bd,btd->bt", asked[:, own], key[..., own]) / (WIDTH // HEADS) ** 0.5
            answers.append(torch.einsum("bt,btd->bd", scores.softmax(-1), value[..., own]))
        x = query[twin] + apply(attention.output, twin, torch.cat(answers, dim=1))
        x = x + apply(block.mlp[2], twin, torch.relu(apply(block.mlp[0], twin, norm(x))))
        torch.testing.assert_close(mixed[twin], x, rtol=1e-4, atol=1e-5)


def test_each_learned_query_feeds_its_own_head() -> None:
    actor, _ = build("multihead_attention")
    assert isinstance(actor, AttentionActor)
    features, state, _ = inputs()
    for axes, query in ((DRONE, 0), (GIMBAL, 1)):
        found = gradients(actor, actor(features, state)[:, list(axes)].square().sum())
        assert found["queries"][query].any()
        assert not found["queries"][1 - query].any()
        other = "gimbal" if query == 0 else "drone"
        assert {name for name, gradient in found.items() if not gradient.any()} == {
            name for name in found if name.startswith(other)
        }


def test_the_action_is_a_token_beside_those_of_the_code() -> None:
    values = ActionValues(SIZES, range(ACTIONS), SMALL)
    initialize(values)
    seen: list[tuple[Tensor, Tensor]] = []
    values.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(given))
    tokens, action = normal(BATCH, TOKENS, WIDTH), inputs()[2]
    values(tokens, action)
    query, context = seen[0]
    assert query.shape == (2, BATCH, WIDTH)
    assert context.shape == (2 * BATCH, TOKENS + 1, WIDTH)
    for twin in (0, 1):
        own = context[twin * BATCH : (twin + 1) * BATCH]
        assert torch.equal(own[:, :TOKENS], tokens)
        expected = values.query[twin] + action @ values.embed.weight[twin]
        torch.testing.assert_close(query[twin], expected)
        torch.testing.assert_close(own[:, TOKENS], nn.functional.layer_norm(expected, (WIDTH,)))


def test_the_factored_value_is_the_sum_of_the_drones_and_the_joint_one() -> None:
    _, critic = build("multihead_attention_factored")
    assert isinstance(critic, FactoredAttentionCritic)
    features, state, action = inputs()
    code = critic.code(features, state)
    drone, joint = critic.drone(code, action), critic.joint(code, action)
    assert drone.any()
    assert joint.any()
    assert torch.equal(critic(code, action), drone + joint)
    turned = action.clone()
    turned[:, list(GIMBAL)] *= -1.0
    assert torch.equal(critic.drone(code, turned), drone)
    assert not torch.isclose(critic.joint(code, turned), joint).any()
    flown = action.clone()
    flown[:, list(DRONE)] *= -1.0
    assert not torch.isclose(critic.drone(code, flown), drone).any()


def test_a_value_is_smooth_where_the_action_is_small(pair: str) -> None:
    """A norm of the action alone would jump there."""
    _, critic = build(pair)
    features, state, action = inputs()
    code = critic.code(features, state)
    left, right = critic(code, -1e-3 * action), critic(code, 1e-3 * action)
    assert (left - right).abs().max() < 0.02


# --- in the agent ---


@pytest.mark.parametrize(("profile", "encoder"), [("state", None), *product(["pixels"], [None, *ENCODERS])])
def test_each_parameter_belongs_to_exactly_one_optimizer(pair: str, profile: str, encoder: str | None) -> None:
    changes = {} if encoder is None else {"encoder": ENCODERS[encoder], "state_dim": 3 * 11}
    if profile == "pixels":
        changes |= {"auxiliary_weight": 1.0, "gimbal_limits_deg": (47.0, 90.0)}
    agent = make_agent(profile, actor_critic=PAIRS[pair], gimbal_axes=GIMBAL, **changes)
    modules = {name: [network] for name, network in agent.networks.items()}
    modules["encoder"] += [agent.auxiliary] if agent.auxiliary is not None else []
    owned: list[int] = []
    for name, optimizer in agent.optimizers.items():
        (group,) = optimizer.param_groups
        ids = [id(parameter) for parameter in group["params"]]
        assert sorted(ids) == sorted(id(p) for module in modules[name] for p in module.parameters())
        assert group["lr"] == RATES[name]
        owned += ids
    assert len(set(owned)) == len(owned)


@pytest.mark.parametrize("network", ["encoder", "actor", "critic"])
def test_a_rate_of_zero_holds_its_network_and_no_other(pair: str, network: str) -> None:
    rates = RATES | {network: 0.0}
    agent, batch = make_agent(actor_critic=PAIRS[pair], gimbal_axes=GIMBAL, rates=rates), make_batch()
    before = {name: weights(module) for name, module in agent.networks.items()}
    agent.update(batch, 0.2)
    for name, module in agent.networks.items():
        unchanged = [torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True)]
        assert all(unchanged) if name == network else not any(unchanged), name


def test_actions_stay_within_their_range(pair: str) -> None:
    agent, batch = make_agent(actor_critic=PAIRS[pair], gimbal_axes=GIMBAL), make_batch()
    with torch.no_grad():
        for layer, _ in agent.actor.output_layers():
            layer.weight.mul_(100.0)
    for stddev in (None, 0.2, 5.0):
        actions = agent.act(observation(batch), stddev)
        assert actions.shape == (BATCH, ACTIONS)
        assert actions.abs().max() <= 1.0
    mean = torch.tanh(agent.actor(agent.encoder(agent._observation(batch.pixels, None, None)), batch.state))
    assert torch.equal(agent.act(observation(batch), None), mean)


def test_zeroed_axes_act_neutral_and_learn_again(pair: str) -> None:
    agent, batch = make_agent(actor_critic=PAIRS[pair], gimbal_axes=GIMBAL), make_batch()
    for _ in range(3):
        agent.update(batch, 0.2)
    kept = {name: value.clone() for name, value in agent.actor.state_dict().items()}
    before = agent.act(observation(batch), None)
    agent.zero_action_outputs([4])
    after = agent.act(observation(batch), None)
    assert before[:, 4].all()
    assert not after[:, 4].any()
    if pair != "autoregressive_gimbal_first":  # whose drone answers to the gimbal
        assert torch.equal(after[:, :4], before[:, :4])
    changed = {name for name, value in agent.actor.state_dict().items() if not torch.equal(value, kept[name])}
    assert len(changed) == 2
    assert all(".output." in f".{name}" for name in changed)
    for layer, axes in agent.actor.output_layers():
        for name, parameter in layer.named_parameters():
            moments = agent.optimizers["actor"].state[parameter]
            for row, axis in enumerate(axes):
                rows = (parameter[row], moments["exp_avg"][row], moments["exp_avg_sq"][row])
                assert all(bool(part.any()) == (axis != 4) for part in rows), (name, axis)
    agent.update(batch, 0.2)
    assert agent.act(observation(batch), None)[:, 4].all()


def test_a_loaded_snapshot_continues_bit_for_bit(pair: str) -> None:
    changes = dict(actor_critic=PAIRS[pair], gimbal_axes=GIMBAL)
    agent, batch = make_agent(**changes), make_batch()
    for _ in range(2):
        agent.update(batch, 0.2)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    expected = [agent.update(batch, 0.2) for _ in range(2)]
    file.seek(0)
    loaded = make_agent(**changes, seed=99)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for measures in expected:
        again = loaded.update(batch, 0.2)
        assert all(torch.equal(again[name], value) for name, value in measures.items())
    assert torch.equal(loaded.act(observation(batch), 0.5), agent.act(observation(batch), 0.5))
    for name, network in agent._modules().items():
        assert same(loaded._modules()[name].parameters(), network.parameters())


def test_diagnostics_tell_every_network_and_change_nothing(pair: str) -> None:
    agents = [make_agent(actor_critic=PAIRS[pair], gimbal_axes=GIMBAL) for _ in range(2)]
    measured = agents[0].update(make_batch(), 0.2, diagnostics=True)
    agents[1].update(make_batch(), 0.2)
    for name in agents[0].networks:
        assert same(agents[0].networks[name].parameters(), agents[1].networks[name].parameters())
        assert measured[f"diagnostics/{name}_grad_norm"] > 0.0
        assert 0.0 <= measured[f"diagnostics/{name}_dormant_ratio"] <= 1.0


@pytest.mark.parametrize("twin", [0, 1])
def test_silent_units_of_one_q_function_are_dormant(twin: int) -> None:
    _, critic = build("multihead_attention")
    features, state, action = inputs()
    units = DormantUnits({"critic": critic})
    with torch.no_grad():
        head = critic.joint.head
        head.first.weight[twin], head.first.bias[twin] = 0.0, -1.0
        head.second.weight[twin], head.second.bias[twin] = 0.0, -1.0
    with units.watch("critic"):
        critic(critic.code(features, state), action)
    silent = units._activities["critic"][-2:]
    for layer in silent:
        both = dormant(layer)
        assert both.shape == (2, SIZES.hidden_dim)
        assert both[twin].all()
        assert not both[1 - twin].all()


# --- settings ---


@pytest.mark.parametrize("name", PAIRS)
def test_the_files_hold_the_settings_defaults(name: str) -> None:
    settings = compose(TRAIN_CONFIG, [f"actor_critic_bundle@agent={name}"], Settings).settings
    chosen = settings.agent.actor_critic
    assert chosen == type(chosen)(name=name)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("multihead_attention", {"nhead": 7}, "nhead=7: must divide d_model (64); the nearest are 4 and 8"),
        (
            "multihead_attention",
            {"nhead": 7, "d_model": 48},
            "d_model=48: must be a whole multiple of nhead (7)",
        ),
        ("multihead_attention_factored", {"tokens": 0}, "tokens=0: must be at least 1"),
        ("multihead_attention", {"depth": 0}, "depth=0: must be at least 1"),
        ("autoregressive_drone_first", {"depth": 9}, "depth=9: must be at most 8"),
        ("autoregressive_gimbal_first", {"nhead": 4}, "nhead=4: unknown key"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name: str, changes: dict[str, int], message: str) -> None:
    overrides = [f"+agent.actor_critic.{key}={value}" for key, value in changes.items()]
    if "unknown" not in message:
        overrides = [override.removeprefix("+") for override in overrides]
    with pytest.raises(SettingsError) as caught:
        compose(TRAIN_CONFIG, [f"actor_critic_bundle@agent={name}", *overrides], Settings)
    assert f"agent.actor_critic.{message}" in str(caught.value)
