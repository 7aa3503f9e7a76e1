"""Encoders that attend: shapes, independence of samples, order of frames, gradients, dropout, refusals, training."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glideslope.agent import DrQV2Agent
from glideslope.agent.networks.actor_critic import initialize
from glideslope.agent.networks.attention import Attention, Block, Dropout
from glideslope.agent.networks.attention_encoders import INSTRUMENTS, FrameTokens, PatchEncoder
from glideslope.agent.networks.encoders import EncoderInput
from glideslope.agent.networks.factory import build_encoder
from glideslope.build import make_agent, make_replay
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.envs.layout import state_dim
from glideslope.errors import SettingsError
from glideslope.settings import (
    AttentionSettings,
    ConvEncoderSettings,
    CrossAttentionEncoderSettings,
    PatchEncoderSettings,
    Settings,
    TaskSettings,
)
from tests.support.bundles import equal, flat, make_with_batches
from tests.support.paths import ROOT
from tests.support.tasks import STATE_DIM

KINDS: dict[str, Callable[..., Any]] = {"enc_A": CrossAttentionEncoderSettings, "enc_B": PatchEncoderSettings}
PROFILES = ("full", "cpu", "smoke", "state")


@pytest.fixture(params=sorted(KINDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, shape: tuple[int, int, int] = (3, 24, 24), seed: int = 0, **sizes: Any) -> FrameTokens:
    """An encoder with the initial weights that an agent gives it."""
    torch.manual_seed(seed)
    encoder = build_encoder(KINDS[name](**{"d_model": 16, **sizes}), shape, shape[0] * STATE_DIM, 0)
    initialize(encoder)
    assert isinstance(encoder, FrameTokens)
    return encoder


def observe(batch: int, shape: tuple[int, int, int] = (3, 24, 24), seed: int = 0) -> EncoderInput:
    """Random images and states."""
    torch.manual_seed(seed)
    pixels = torch.randint(0, 256, (batch, *shape), dtype=torch.uint8)
    return EncoderInput(pixels, torch.randn(batch, shape[0] * STATE_DIM), None)


def pick(observation: EncoderInput, samples: Sequence[int]) -> EncoderInput:
    rows = list(samples)
    assert observation.pixels is not None
    assert observation.state is not None
    return EncoderInput(observation.pixels[rows], observation.state[rows], None)


def reordered(observation: EncoderInput, frames: list[int]) -> EncoderInput:
    """The same frames, each with its state, in another order."""
    assert observation.pixels is not None
    assert observation.state is not None
    states = observation.state.unflatten(1, (len(frames), -1))
    return EncoderInput(observation.pixels[:, frames], states[:, frames].flatten(1), None)


def tokens_of(encoder: FrameTokens, observation: EncoderInput) -> Tensor:
    """Each frame's token before it meets the others, (B, K, D)."""
    assert observation.pixels is not None
    assert observation.state is not None
    tokens = encoder.frame_tokens(observation.pixels.flatten(0, 1), observation.state.reshape(-1, STATE_DIM))
    return tokens.unflatten(0, (len(observation.state), -1))


# --- Shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("size", [32, 36, 48, 84])
@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_features_are_one_token_for_each_frame(name: str, frames: int, size: int, batch: int) -> None:
    shape = (frames, size, size)
    encoder = make(name, shape)
    features = encoder(observe(batch, shape))
    assert features.shape == (batch, encoder.feature_size) == (batch, frames * 16)
    assert features.dtype == torch.float32
    assert features.isfinite().all()


@pytest.mark.parametrize("sizes", [{"d_model": 8, "nhead": 1}, {"d_model": 24, "nhead": 8, "mlp_ratio": 1}])
@pytest.mark.parametrize("depths", [(1, 3), (3, 2)])
def test_widths_and_depths_are_those_asked_for(name: str, sizes: dict[str, int], depths: tuple[int, int]) -> None:
    encoder = make(name, spatial_depth=depths[0], temporal_depth=depths[1], **sizes)
    assert encoder.feature_size == 3 * sizes["d_model"]
    assert sum(isinstance(part, Block) for part in encoder.modules()) == sum(depths)
    hidden = sizes.get("mlp_ratio", 2) * sizes["d_model"]
    assert all(part.mlp.branch[0].out_features == hidden for part in encoder.modules() if isinstance(part, Block))
    assert encoder(observe(2)).shape == (2, encoder.feature_size)


def test_images_need_not_be_square(name: str) -> None:
    shape = (2, 24, 40)
    assert make(name, shape)(observe(3, shape)).shape == (3, 32)


@pytest.mark.parametrize(("size", "patch"), [(84, 12), (48, 12), (36, 12), (32, 8), (50, 10), (44, 11), (52, 4)])
def test_patches_are_as_large_as_they_can_be(size: int, patch: int) -> None:
    assert PatchEncoderSettings().patch_for(size) == patch
    encoder = make("enc_B", (1, size, size))
    assert isinstance(encoder, PatchEncoder)
    assert encoder.size == patch
    assert len(encoder.places) == (size // patch) ** 2


def test_patches_through_a_linear_layer_are_a_strided_convolution() -> None:
    encoder = make("enc_B", (1, 24, 40), patch=8)
    assert isinstance(encoder, PatchEncoder)
    images = torch.randint(0, 256, (3, 24, 40), dtype=torch.uint8)
    weight = encoder.patches.weight.view(16, 1, 8, 8)
    expected = nn.functional.conv2d(images.unsqueeze(1).float(), weight, encoder.patches.bias, stride=8)
    found = encoder.patches(encoder.cut(images).float())
    torch.testing.assert_close(found, expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-3)


def test_the_instruments_are_all_of_a_frames_state() -> None:
    assert sum(INSTRUMENTS) == STATE_DIM
    assert sum(INSTRUMENTS[:3]) == state_dim(TaskSettings(range_finder=False))


def test_encoders_do_without_a_range_finder(name: str) -> None:
    encoder = build_encoder(KINDS[name](d_model=16), (3, 24, 24), 33, 0)
    pixels = torch.zeros(2, 3, 24, 24, dtype=torch.uint8)
    assert encoder(EncoderInput(pixels, torch.zeros(2, 33), None)).shape == (2, 48)


# --- What an output depends on --------------------------------------------------------------------


def test_one_sample_never_depends_on_the_rest_of_its_batch(name: str) -> None:
    encoder, observation = make(name), observe(6)
    together = encoder(observation)
    for sample in range(6):
        alone = encoder(pick(observation, [sample]))
        torch.testing.assert_close(alone, together[sample : sample + 1], rtol=1e-5, atol=2e-6)
    turned = encoder(pick(observation, [5, 4, 3, 2, 1, 0]))
    torch.testing.assert_close(turned.flip(0), together, rtol=1e-5, atol=2e-6)


def test_no_gradient_reaches_another_samples_state(name: str) -> None:
    encoder, observation = make(name), observe(4)
    assert observation.state is not None
    state = observation.state.clone().requires_grad_()
    encoder(EncoderInput(observation.pixels, state, None))[2].square().sum().backward()
    assert state.grad is not None
    reached = state.grad.abs().sum(dim=1) > 0
    assert reached.tolist() == [False, False, True, False]


def test_a_frames_token_depends_on_that_frame_alone(name: str) -> None:
    encoder, observation, other = make(name), observe(2), observe(2, seed=1)
    assert observation.pixels is not None
    assert observation.state is not None
    assert other.pixels is not None
    assert other.state is not None
    pixels, state = observation.pixels.clone(), observation.state.clone()
    pixels[1, 1] = other.pixels[1, 1]
    state[0, :STATE_DIM] = other.state[0, :STATE_DIM]
    changed = tokens_of(encoder, EncoderInput(pixels, state, None)) - tokens_of(encoder, observation)
    assert (changed.abs().amax(dim=2) > 1e-4).tolist() == [[True, False, False], [False, True, False]]


def test_the_order_of_the_frames_matters(name: str) -> None:
    encoder, observation = make(name), observe(4)
    there = encoder(observation).unflatten(1, (3, -1))
    for order in ([1, 0, 2], [2, 1, 0], [1, 2, 0]):
        other = encoder(reordered(observation, order)).unflatten(1, (3, -1))
        # More than the same tokens in another order: a frame's token tells when it was seen.
        assert (other - there[:, order]).abs().amax() > 1e-3


def test_without_time_embeddings_the_order_would_not_matter(name: str) -> None:
    encoder, observation = make(name), observe(4)
    nn.init.zeros_(encoder.times)
    there = encoder(observation).unflatten(1, (3, -1))
    other = encoder(reordered(observation, [2, 0, 1])).unflatten(1, (3, -1))
    torch.testing.assert_close(other, there[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", range(STATE_DIM))
def test_every_value_of_every_frames_state_matters(name: str, value: int) -> None:
    encoder, observation = make(name), observe(2)
    assert observation.state is not None
    for frame in range(3):
        state = observation.state.clone()
        state[:, frame * STATE_DIM + value] += 1.0
        change = encoder(EncoderInput(observation.pixels, state, None)) - encoder(observation)
        assert (change.abs().amax(dim=1) > 1e-4).all()


def test_where_something_is_in_the_image_matters(name: str) -> None:
    """A mean over places would lose it: the same square in two corners."""
    encoder = make(name, (1, 24, 24))
    pixels = torch.full((2, 1, 24, 24), 100, dtype=torch.uint8)
    pixels[0, 0, :12, :12] = pixels[1, 0, 12:, 12:] = 200
    first, second = encoder(EncoderInput(pixels, torch.zeros(2, STATE_DIM), None))
    assert (first - second).abs().amax() > 0.1


# --- Attention ------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2, 8])
@pytest.mark.parametrize("asked", ["itself", "a context"])
def test_attention_is_torchs_own(heads: int, asked: str) -> None:
    torch.manual_seed(heads)
    ours, theirs = Attention(16, heads), nn.MultiheadAttention(16, heads, batch_first=True)
    assert theirs.in_proj_weight is not None
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.zeros(16), ours.value.bias]))
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    tokens = torch.randn(5, 7, 16)
    context = torch.randn(5, 3, 16) if asked == "a context" else tokens
    expected, _ = theirs(tokens, context, context)
    found = ours(tokens, context) if asked == "a context" else ours(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_bias_of_the_keys_would_change_nothing() -> None:
    torch.manual_seed(0)
    theirs, tokens = nn.MultiheadAttention(16, 2, batch_first=True), torch.randn(2, 5, 16)
    before, _ = theirs(tokens, tokens, tokens)
    theirs.in_proj_bias.data[16:32] = torch.randn(16)
    torch.testing.assert_close(theirs(tokens, tokens, tokens)[0], before, rtol=1e-5, atol=1e-6)


def test_a_block_is_a_pre_norm_transformer_layer() -> None:
    torch.manual_seed(0)
    ours = Block(16, 2, 3, 0.0)
    theirs = nn.TransformerEncoderLayer(*(16, 2, 48), dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    attention = ours.attention.branch
    assert isinstance(attention, Attention)
    with torch.no_grad():
        for branch in (ours.attention, ours.mlp):
            branch.scale.fill_(1.0)
        theirs.self_attn.in_proj_weight.copy_(
            torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
        )
        theirs.self_attn.in_proj_bias.copy_(torch.cat([attention.query.bias, torch.zeros(16), attention.value.bias]))
    theirs.self_attn.out_proj.load_state_dict(attention.output.state_dict())
    first, _, second = ours.mlp.branch.children()
    theirs.linear1.load_state_dict(first.state_dict())
    theirs.linear2.load_state_dict(second.state_dict())
    tokens = torch.randn(4, 6, 16)
    torch.testing.assert_close(ours(tokens), theirs(tokens), rtol=1e-5, atol=1e-6)


def test_a_block_begins_near_the_identity_and_initial_weights_leave_that() -> None:
    torch.manual_seed(0)
    block, tokens = Block(16, 2, 2, 0.0), torch.randn(4, 6, 16)
    initialize(block)
    with torch.no_grad():
        assert 0.0 < float((block(tokens) - tokens).norm() / tokens.norm()) < 0.2


def test_heads_must_share_the_width_evenly() -> None:
    with pytest.raises(ValueError, match="3 heads can't share a width of 16 evenly"):
        Attention(16, 3)


# --- Learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("depths", [(1, 1), (2, 2)])
def test_gradients_reach_every_parameter(name: str, depths: tuple[int, int]) -> None:
    encoder = make(name, spatial_depth=depths[0], temporal_depth=depths[1])
    features = encoder(observe(8))
    (features * torch.randn_like(features)).sum().backward()
    without = [key for key, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not without


def test_the_encoders_parameters_are_in_its_optimizer_once(name: str) -> None:
    agent, _ = make_with_batches(name)
    (group,) = agent.optimizers["encoder"].param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in agent.encoder.parameters()]
    owned = [id(p) for o in agent.optimizers.values() for g in o.param_groups for p in g["params"]]
    assert len(owned) == len(set(owned))
    assert group["lr"] == 1e-4


@pytest.mark.slow
def test_a_tiny_batch_can_be_learnt_by_heart(name: str) -> None:
    encoder, observation = make(name), observe(16)
    head, targets = nn.Linear(encoder.feature_size, 1), torch.randn(16, 1)
    adam = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=2e-3)
    for _ in range(150):
        loss = (head(encoder(observation)) - targets).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_an_agent_learns_and_goes_on_bit_for_bit_from_its_state(name: str, dropout: float) -> None:
    words = [f"agent.encoder.dropout={dropout}", "lr=1.0e-3"]
    (agent, batches), (other, _) = agent_and_batches(name, words), agent_and_batches(name, words)
    start = [p.detach().clone() for p in agent.encoder.parameters()]
    for _ in range(3):
        losses = agent.update(batches(), 0.2)
    assert all(bool(value.isfinite()) for value in losses.values())
    moved = [not torch.equal(p, q) for p, q in zip(agent.encoder.parameters(), start, strict=True)]
    assert all(moved)

    buffer = io.BytesIO()
    torch.save(agent.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for _ in range(2):
        batch = batches()
        first, second = agent.update(batch, 0.2), other.update(batch, 0.2)
        assert all(torch.equal(first[key], second[key]) for key in first)
    pairs = zip(flat(agent.state_dict()), flat(other.state_dict()), strict=True)
    assert all(equal(*pair) for pair in pairs)


def agent_and_batches(name: str, words: Sequence[str]) -> tuple[DrQV2Agent, Callable[[], Any]]:
    """A small agent with this encoder, and where its batches come from."""
    _, batches = make_with_batches(name)
    sizes = ["hidden_dim=24", "batch_size=6", "task.image_size=36", "num_envs=2", "replay_buffer_size=1000"]
    chosen = compose(TRAIN_CONFIG, [f"encoder_bundle@agent={name}", *sizes, *words], Settings).settings
    return make_agent(chosen, "cpu"), batches


# --- Dropout --------------------------------------------------------------------------------------


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop, ones = Dropout(0.25), torch.ones(200, 200)
    dropped = drop(ones)
    assert dropped.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert not torch.equal(drop(ones), dropped)


def test_dropout_is_for_what_is_learnt_from(name: str) -> None:
    encoder, observation = make(name, dropout=0.5), observe(3)
    without = make(name)
    without.load_state_dict({k: v for k, v in encoder.state_dict().items() if "_extra_state" not in k})
    plain = without(observation).detach()
    assert (encoder(observation) - plain).abs().amax() > 1e-3
    with torch.no_grad():  # acting, and targets
        assert torch.equal(encoder(observation), plain)
    encoder.eval()
    assert torch.equal(encoder(observation), plain)


def test_dropout_has_a_stream_of_its_own(name: str) -> None:
    first, second = make(name, dropout=0.3), make(name, dropout=0.3)
    observation = observe(3)
    torch.manual_seed(5)
    draws = torch.get_rng_state()
    expected = [first(observation) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), draws)
    torch.manual_seed(6)
    assert all(torch.equal(second(observation), value) for value in expected)
    assert not torch.equal(*expected)
    # Another encoder that takes over the state goes on where this one is.
    third = make(name, seed=1, dropout=0.3)
    third.load_state_dict(first.state_dict())
    assert torch.equal(third(observation), first(observation))


def test_without_dropout_nothing_is_drawn_and_no_stream_is_kept(name: str) -> None:
    assert not any("_extra_state" in key for key in make(name).state_dict())


# --- Refusals -------------------------------------------------------------------------------------


def faults(*words: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        compose(TRAIN_CONFIG, list(words), Settings)
    return tuple(map(str, caught.value.faults))


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            "encoder_bundle@agent=enc_B task.image_size=50 agent.encoder.patch=8",
            "agent.encoder.patch=8: must divide task.image_size (50); the nearest are 5 and 10 (it divides 48 and 56)",
        ),
        (
            "encoder_bundle@agent=enc_B task.image_size=5 agent.encoder.patch=8",
            "agent.encoder.patch=8: must divide task.image_size (5); the nearest is 5 (it divides 8)",
        ),
        (
            "encoder_bundle@agent=enc_B task.image_size=1023 agent.encoder.patch=600",
            "agent.encoder.patch=600: must divide task.image_size (1023); the nearest are 341 and 1023"
            " (it divides 600)",
        ),
        (
            "encoder_bundle@agent=enc_B task.image_size=53",
            "task.image_size=53: must be a whole multiple of a patch of 4 to 12; the nearest are 52 and 54",
        ),
        (
            "encoder_bundle@agent=enc_A task.image_size=14",
            "task.image_size=14: must be at least 15 for the encoder's strides [2, 2, 2]",
        ),
        (
            "encoder_bundle@agent=enc_B agent.encoder.d_model=66",
            "agent.encoder.d_model=66: must be a whole multiple of nhead (4); the nearest are 64 and 68",
        ),
        (
            "encoder_bundle@agent=enc_A agent.encoder.d_model=3",
            "agent.encoder.d_model=3: must be a whole multiple of nhead (4); the nearest is 4",
        ),
        (
            "encoder_bundle@agent=enc_A agent.encoder.nhead=5",
            "agent.encoder.nhead=5: must divide d_model (64); the nearest are 4 and 8",
        ),
        (
            "encoder_bundle@agent=enc_A agent.encoder.d_model=1 agent.encoder.nhead=1",
            "agent.encoder.d_model=1: must be at least 2",
        ),
        (
            "encoder_bundle@agent=enc_A agent.encoder.dropout=1",
            "agent.encoder.dropout=1: must be less than 1",
        ),
        ("encoder_bundle@agent=enc_A agent.encoder.nhead=0", "agent.encoder.nhead=0: must be at least 1"),
        (
            "encoder_bundle@agent=enc_B agent.encoder.temporal_depth=0",
            "agent.encoder.temporal_depth=0: must be at least 1",
        ),
        (
            "encoder_bundle@agent=enc_B task.image_size=4 augmentation_pad=4",
            "augmentation_pad=4: must be less than task.image_size (4)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(words: str, fault: str) -> None:
    assert faults(*words.split()) == (fault,)


@pytest.mark.parametrize("size", range(4, 130))
def test_the_sizes_named_are_the_nearest_that_fit(size: int) -> None:
    for patch in (None, 5, 8):
        settings = PatchEncoderSettings(patch=patch)
        rule = settings.misfit(size)
        fitting = [n for n in range(1, 1025) if settings.patch_for(n)]
        near = [max((n for n in fitting if n < size), default=0), min(n for n in fitting if n > size)]
        near = [n for n in near if n]
        assert (rule is None) == (size in fitting)
        if patch is None:
            listed = f"are {near[0]} and {near[1]}" if len(near) > 1 else f"is {near[0]}"
            assert rule is None or rule.endswith(f"; the nearest {listed}")
        else:
            assert rule is None or rule.endswith(f" (it divides {' and '.join(map(str, near))})")


def test_the_patches_named_divide_the_image() -> None:
    assert faults("encoder_bundle@agent=enc_B", "task.image_size=32", "agent.encoder.patch=7") == (
        "agent.encoder.patch=7: must divide task.image_size (32); the nearest are 4 and 8 (it divides 28 and 35)",
    )


def test_constructors_refuse_what_settings_could_not_see() -> None:
    shape = (2, 24, 24)
    with pytest.raises(ValueError, match="needs pixels; without them use the encoder 'state'"):
        build_encoder(KINDS["enc_A"](), None, 22, 0)
    with pytest.raises(ValueError, match=r"12 values of state a frame, 11 without .*, got state_dim=6 for 2 frames"):
        build_encoder(KINDS["enc_B"](), shape, 6, 0)
    with pytest.raises(ValueError, match="images of 24 x 25 can't be cut into patches"):
        build_encoder(KINDS["enc_B"](), (2, 24, 25), 22, 0)
    with pytest.raises(ValueError, match="the least size is 15 x 15"):
        build_encoder(KINDS["enc_A"](), (2, 14, 24), 22, 0)


# --- Configuration --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_the_command_line_beats_every_profile(name: str, profile: str) -> None:
    for words in (
        [f"encoder_bundle@agent={name}", f"profile={profile}"],
        [f"profile={profile}", f"encoder_bundle@agent={name}"],
    ):
        settings = compose(TRAIN_CONFIG, words, Settings).settings
        assert settings.agent.encoder == KINDS[name]()
        agent = make_agent(settings, "cpu")
        assert agent.encoder.feature_size == settings.frame_stack * 64


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("bundle", ["original", "original_small", "state"])
def test_the_other_bundles_still_follow_the_command_line(bundle: str, profile: str) -> None:
    encoder = compose(
        TRAIN_CONFIG, [f"encoder_bundle@agent={bundle}", f"profile={profile}"], Settings
    ).settings.agent.encoder
    assert encoder.name == ("state" if bundle == "state" else "original")
    if isinstance(encoder, ConvEncoderSettings):
        assert encoder.channels == (16 if bundle == "original_small" else 32)


def test_sizes_can_be_set_on_the_command_line() -> None:
    words = "encoder_bundle@agent=enc_B profile=cpu agent.encoder.patch=8 agent.encoder.d_model=96 frame_stack=4"
    settings = compose(TRAIN_CONFIG, words.split(), Settings).settings
    assert settings.agent.encoder == PatchEncoderSettings(patch=8, d_model=96)
    agent, replay = make_agent(settings, "cpu"), make_replay(settings, "cpu")
    assert agent.encoder.feature_size == 4 * 96
    assert replay is not None


def test_settings_survive_being_written_down(name: str) -> None:
    settings = compose(TRAIN_CONFIG, [f"encoder_bundle@agent={name}"], Settings).settings
    assert isinstance(settings.agent.encoder, AttentionSettings)
    assert Settings.from_config(settings.to_plain()) == settings


# --- The page about them --------------------------------------------------------------------------

PAGES = (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8").split("\n## ")
PAGE = next(page for page in PAGES if page.startswith("Encoders\n"))
BUNDLES = sorted(file.stem for file in (ROOT / "cfgs" / "encoder_bundle").glob("*.yaml"))


def rows_of(heading: str) -> dict[str, list[str]]:
    """First cell -> the others, of the tables below this first row."""
    tables = re.findall(rf"^\| {heading} \|.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in "".join(tables).splitlines()]
    assert rows
    return {row[0]: row[1:] for row in rows}


def test_the_page_knows_every_bundle() -> None:
    assert sorted(rows_of("encoder [|] choose it")) == BUNDLES
    assert sorted(rows_of("encoder [|] 48 × 48")) == BUNDLES


@pytest.mark.slow
def test_the_sizes_on_the_page_are_right() -> None:
    table = rows_of("encoder [|] parameters, 48 × 48")
    assert sorted(table) == BUNDLES
    for bundle, cells in table.items():
        found = []
        for size in (48, 84):
            words = [f"encoder_bundle@agent={bundle}", f"task.image_size={size}"]
            encoder = make_agent(compose(TRAIN_CONFIG, words, Settings).settings, "cpu").encoder
            found += [sum(p.numel() for p in encoder.parameters()), encoder.feature_size]
        assert cells == [f"{number:,}" for number in found]


def test_the_keys_on_the_page_are_those_of_the_settings() -> None:
    given = rows_of("key")
    fields = {**PatchEncoderSettings.model_fields, **CrossAttentionEncoderSettings.model_fields}
    del fields["name"]
    assert given.keys() == fields.keys()
    for key, (default, meaning) in given.items():
        value = fields[key].default
        assert default == ("null" if value is None else str(list(value) if isinstance(value, tuple) else value))
        assert fields[key].description == f"{meaning[0].upper()}{meaning[1:]}."


@pytest.mark.parametrize("line", re.findall(r"^python .*$", "\n".join(PAGES), re.MULTILINE))
def test_commands_on_the_page_are_understood(line: str) -> None:
    _, script, *words = line.split()
    assert script == "train_gimbal_curriculum.py"
    make_agent(compose(TRAIN_CONFIG, words, Settings).settings, "cpu")


def test_links_on_the_page_lead_somewhere() -> None:
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", PAGE) if not t.startswith("https://")]
    assert targets
    headings = {f"#{page.splitlines()[0].lower().replace(' ', '-')}" for page in PAGES}
    assert all(target in headings or (ROOT / "docs" / target).is_file() for target in targets)
