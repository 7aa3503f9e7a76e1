"""Builds the networks that settings name: encoders, and pairs of actor and critic."""

from collections.abc import Callable
from functools import partial

from glideslope.agent.networks.actor_critic import (
    ActionParts,
    Actor,
    AutoregressiveActor,
    Critic,
    OriginalActor,
    PrivilegedCritic,
    Sizes,
    TwinCritic,
)
from glideslope.agent.networks.attention_actor_critic import (
    AttentionActor,
    AttentionCritic,
    FactoredAttentionCritic,
)
from glideslope.agent.networks.attention_encoders import CrossAttentionEncoder, PatchEncoder
from glideslope.agent.networks.encoders import ConvEncoder, Encoder, StateEncoder
from glideslope.settings import (
    ActorCriticSettings,
    AnyActorCriticSettings,
    AutoregressiveActorSettings,
    CrossAttentionEncoderSettings,
    EncoderSettings,
    PatchEncoderSettings,
    StateEncoderSettings,
)


def build_encoder(
    settings: EncoderSettings,
    pixels_shape: tuple[int, int, int] | None,
    state_dim: int,
    privileged_dim: int,
) -> Encoder:
    """Return the encoder that `settings.name` names.

    Raises:
        ValueError: it reads pixels and there are none.
    """
    if isinstance(settings, StateEncoderSettings):
        return StateEncoder(privileged_dim, settings.hidden_dim)
    if pixels_shape is None:
        raise ValueError(f"the encoder '{settings.name}' needs pixels; without them use the encoder 'state'")
    if isinstance(settings, CrossAttentionEncoderSettings):
        return CrossAttentionEncoder(pixels_shape, state_dim, settings)
    if isinstance(settings, PatchEncoderSettings):
        return PatchEncoder(pixels_shape, state_dim, settings)
    return ConvEncoder(pixels_shape, settings.channels, settings.strides)


def build_actor_critic(
    settings: AnyActorCriticSettings, sizes: Sizes, parts: ActionParts, privileged_dim: int, predicted_dim: int = 0
) -> tuple[Actor, Critic]:
    """Return the actor and the critic that `settings.name` names; the critic of `privileged_dim` values, if not 0.

    The actor's state is longer by `predicted_dim`.

    Raises:
        ValueError: they treat drone and gimbal apart, and one of them has no axis.
    """
    actor, build_critic = _pair(settings, sizes._replace(state_dim=sizes.state_dim + predicted_dim), parts)
    if privileged_dim:
        return actor, PrivilegedCritic(privileged_dim, sizes, build_critic)
    return actor, build_critic(sizes)


def _pair(
    settings: AnyActorCriticSettings, sizes: Sizes, parts: ActionParts
) -> tuple[Actor, Callable[[Sizes], Critic]]:
    if isinstance(settings, ActorCriticSettings):
        return OriginalActor(sizes), TwinCritic
    if not parts.drone or not parts.gimbal:
        raise ValueError(f"the actor-critic pair {settings.name!r} needs axes of drone and gimbal, got {parts}")
    if isinstance(settings, AutoregressiveActorSettings):
        gimbal_first = settings.name == "autoregressive_gimbal_first"
        first, second = (parts.gimbal, parts.drone) if gimbal_first else (parts.drone, parts.gimbal)
        return AutoregressiveActor(sizes, first, second, settings.depth), TwinCritic
    actor = AttentionActor(sizes, parts, settings)
    if settings.name == "multihead_attention":
        return actor, partial(AttentionCritic, settings=settings)
    return actor, partial(FactoredAttentionCritic, parts=parts, settings=settings)
