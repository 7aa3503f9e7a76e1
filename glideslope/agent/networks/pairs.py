"""The actor-critic pairs by name."""

from glideslope.agent.networks.actor_critic import (
    ActionParts,
    Actor,
    Critic,
    OriginalActor,
    Sizes,
    TwinCritic,
)
from glideslope.agent.networks.attention_actor_critic import (
    AttentionActor,
    AttentionCritic,
    FactoredAttentionCritic,
)
from glideslope.agent.networks.autoregressive import AutoregressiveActor
from glideslope.settings import ActorCriticSettings, AnyActorCriticSettings, AutoregressiveActorSettings


def build_actor_critic(
    settings: AnyActorCriticSettings, sizes: Sizes, parts: ActionParts
) -> tuple[Actor, Critic]:
    """The pair that `settings.name` names.

    Raises ValueError where it treats drone and gimbal apart and one of them has no axis.
    """
    if isinstance(settings, ActorCriticSettings):
        return OriginalActor(sizes), TwinCritic(sizes)
    if not parts.drone or not parts.gimbal:
        raise ValueError(
            f"the actor-critic pair {settings.name!r} needs axes of drone and gimbal, got {parts}"
        )
    if isinstance(settings, AutoregressiveActorSettings):
        gimbal_first = settings.name == "autoregressive_gimbal_first"
        first, second = (parts.gimbal, parts.drone) if gimbal_first else (parts.drone, parts.gimbal)
        return AutoregressiveActor(sizes, first, second, settings.depth), TwinCritic(sizes)
    actor = AttentionActor(sizes, parts, settings)
    if settings.name == "multihead_attention":
        return actor, AttentionCritic(sizes, settings)
    return actor, FactoredAttentionCritic(sizes, parts, settings)
