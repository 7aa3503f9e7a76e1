"""The one place that knows which encoder its settings mean."""

from glideslope.agent.networks.attention_encoders import CrossAttentionEncoder, PatchEncoder
from glideslope.agent.networks.encoders import ConvEncoder, Encoder, StateEncoder
from glideslope.settings import (
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
    """The encoder that `settings.name` names. Raises ValueError when the observation lacks what it reads."""
    if isinstance(settings, StateEncoderSettings):
        return StateEncoder(privileged_dim, settings.hidden_dim)
    if pixels_shape is None:
        raise ValueError(f"the encoder '{settings.name}' needs pixels; without them use the encoder 'state'")
    if isinstance(settings, CrossAttentionEncoderSettings):
        return CrossAttentionEncoder(pixels_shape, state_dim, settings)
    if isinstance(settings, PatchEncoderSettings):
        return PatchEncoder(pixels_shape, state_dim, settings)
    return ConvEncoder(pixels_shape, settings.channels, settings.strides)
