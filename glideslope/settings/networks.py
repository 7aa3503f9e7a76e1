"""The networks: encoders, actor-critic pairs, and the sizes that fit each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from glideslope.errors import listed
from glideslope.settings.checks import Broken, CheckedSettings, Count, NonNegative
from glideslope.settings.task import LARGEST_IMAGE

_WIDTH, _LARGEST_WIDTH = 64, 4096  # of tokens
KERNEL = 3
"""Edge of the encoder's convolutions, which pad nothing."""


def least_image_size(strides: Sequence[int]) -> int:
    """Return the smallest image edge in pixels that unpadded 3 x 3 convolutions of these strides can read."""
    size = 1
    for stride in reversed(strides):
        size = (size - 1) * stride + KERNEL
    return size


def _too_small(image_size: int, strides: Sequence[int]) -> str | None:
    """Return the rule that an image breaks which is too small for these convolutions, or None."""
    least = least_image_size(strides)
    rule = f"must be at least {least} for the encoder's strides {list(strides)}"
    return rule if image_size < least else None


def _neighbours(fits: Callable[[int], object], number: int, largest: int) -> list[str]:
    """Return the nearest numbers that fit, one below `number` and one above, within 1 to `largest`."""
    below = next((str(n) for n in range(number, 0, -1) if fits(n)), "")
    above = next((str(n) for n in range(number, largest + 1) if fits(n)), "")
    return [n for n in (below, above) if n]


def _nearest(fits: Callable[[int], object], number: int, largest: int) -> str:
    """Return `the nearest are X and Y`."""
    near = _neighbours(fits, number, largest)
    return f"the nearest {'are' if len(near) > 1 else 'is'} {listed(near, 'and')}"


def _broken_heads(d_model: int, nhead: int) -> Iterator[Broken]:
    """Yield the rule that heads break which can't share the width evenly; the value to blame is not the default."""
    if d_model % nhead == 0:
        return
    if d_model == _WIDTH:
        rule = f"must divide d_model ({d_model}); {_nearest(lambda heads: d_model % heads == 0, nhead, d_model)}"
        yield Broken("nhead", rule, nhead, ("d_model",))
    else:
        nearest = _nearest(lambda width: width % nhead == 0, d_model, _LARGEST_WIDTH)
        yield Broken("d_model", f"must be a whole multiple of nhead ({nhead}); {nearest}", d_model, ("nhead",))


# A norm over a single unit is 0 whatever comes in.
Width: TypeAlias = Annotated[Count, Field(ge=2, le=_LARGEST_WIDTH)]
Strides: TypeAlias = Annotated[tuple[Annotated[Count, Field(le=8)], ...], Field(min_length=1, max_length=12)]


class ConvEncoderSettings(CheckedSettings):
    """The encoder of DrQ-v2: 3 x 3 convolutions on the pixels, one for each stride."""

    name: Literal["original"] = "original"
    """Name of the encoder."""
    channels: Annotated[Count, Field(le=4096)] = 32
    """Channels of each convolution."""
    strides: Strides = (2, 1, 1, 1)
    """Stride of each convolution."""

    def misfit(self, image_size: int) -> str | None:
        """Return the rule that an image of this edge breaks, or None where it is large enough."""
        return _too_small(image_size, self.strides)


class StateEncoderSettings(CheckedSettings):
    """Two hidden layers on the simulator's own state: no pixels, nothing is rendered."""

    name: Literal["state"] = "state"
    """Name of the encoder."""
    hidden_dim: Annotated[Count, Field(le=65536)] = 256
    """Width of both layers."""


class AttentionSettings(CheckedSettings):
    """What both attention encoders have: attention within each frame, then over the frames of the stack."""

    d_model: Width = _WIDTH
    """Width of the tokens; a whole multiple of nhead."""
    nhead: Annotated[Count, Field(le=256)] = 4
    """Heads of each attention."""
    spatial_depth: Annotated[Count, Field(le=64)] = 1
    """Attention blocks within a frame."""
    temporal_depth: Annotated[Count, Field(le=64)] = 1
    """Attention blocks over the frames."""
    mlp_ratio: Annotated[Count, Field(le=16)] = 2
    """Width of a block's hidden layer as a multiple of d_model."""
    dropout: Annotated[NonNegative, Field(lt=1)] = 0.0
    """Share of each block's outputs that is dropped while learning."""

    def broken_rules(self) -> Iterator[Broken]:
        return _broken_heads(self.d_model, self.nhead)


class CrossAttentionEncoderSettings(AttentionSettings):
    """Convolutions make a token of each frame, which attends to the frame's instruments."""

    name: Literal["enc_A"] = "enc_A"
    """Name of the encoder."""
    channels: Annotated[Count, Field(le=4096)] = 16
    """Channels of each convolution."""
    strides: Strides = (2, 2, 2)
    """Stride of each convolution."""

    def misfit(self, image_size: int) -> str | None:
        """Return the rule that an image of this edge breaks, or None where it is large enough."""
        return _too_small(image_size, self.strides)


class PatchEncoderSettings(AttentionSettings):
    """Patches of each frame attend to each other, as in the vision transformer."""

    name: Literal["enc_B"] = "enc_B"
    """Name of the encoder."""
    patch: Annotated[Count, Field(le=LARGEST_IMAGE)] | None = None
    """Edge of a patch in pixels; null for the largest of 4 to 12 that divides the image's."""

    def patch_for(self, image_size: int) -> int | None:
        """Return the edge of the patches of an image of this edge, or None where none fit."""
        tried = range(12, 3, -1) if self.patch is None else (self.patch,)
        return next((patch for patch in tried if image_size % patch == 0), None)

    def misfit(self, image_size: int) -> str | None:
        """Return the rule that an image of this edge breaks, or None where patches fit."""
        if self.patch_for(image_size) is not None:
            return None
        if self.patch is None:
            nearest = _nearest(self.patch_for, image_size, LARGEST_IMAGE)
            return f"must be a whole multiple of a patch of 4 to 12; {nearest}"
        nearest = _nearest(lambda patch: image_size % patch == 0, self.patch, image_size)
        divided = listed(_neighbours(self.patch_for, image_size, LARGEST_IMAGE), "and")
        return f"must divide task.image_size ({image_size}); {nearest} (it divides {divided})"


EncoderSettings: TypeAlias = (
    ConvEncoderSettings | StateEncoderSettings | CrossAttentionEncoderSettings | PatchEncoderSettings
)
"""The settings of any encoder."""


class ActorCriticSettings(CheckedSettings):
    """Actor and twin critic of DrQ-v2."""

    name: Literal["original"] = "original"
    """Name of the actor-critic pair."""


class AutoregressiveActorSettings(CheckedSettings):
    """An actor that chooses one part of the action first and the other part given that one; DrQ-v2's critic."""

    name: Literal["autoregressive_gimbal_first", "autoregressive_drone_first"] = "autoregressive_gimbal_first"
    """Name of the actor-critic pair: which part comes first."""
    depth: Annotated[Count, Field(le=8)] = 2
    """Hidden layers of each of the actor's two heads."""


class AttentionActorCriticSettings(CheckedSettings):
    """Actor and twin critic that attend to tokens of the code."""

    name: Literal["multihead_attention", "multihead_attention_factored"] = "multihead_attention"
    """Name of the actor-critic pair; the factored one adds a value of the drone's action alone."""
    tokens: Annotated[Count, Field(le=1024)] = 8
    """Tokens that the code is projected to."""
    d_model: Width = _WIDTH
    """Width of a token; a whole multiple of nhead."""
    nhead: Annotated[Count, Field(le=256)] = 4
    """Heads of the attention."""
    depth: Annotated[Count, Field(le=12)] = 1
    """Blocks of attention and feed-forward layer."""

    def broken_rules(self) -> Iterator[Broken]:
        return _broken_heads(self.d_model, self.nhead)


AnyActorCriticSettings: TypeAlias = ActorCriticSettings | AutoregressiveActorSettings | AttentionActorCriticSettings
"""The settings of any actor-critic pair."""


class AgentSettings(CheckedSettings):
    """The networks."""

    encoder: Annotated[EncoderSettings, Field(discriminator="name")] = ConvEncoderSettings()
    """From observations to features."""
    actor_critic: Annotated[AnyActorCriticSettings, Field(discriminator="name")] = ActorCriticSettings()
    """From features to actions and values."""
