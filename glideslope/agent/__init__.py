"""The DrQ-v2 agent: networks, augmentation and update."""

from glideslope.agent.drqv2 import DrQV2Agent
from glideslope.agent.encoders import ConvEncoderSettings, StateEncoderSettings

__all__ = ["ConvEncoderSettings", "DrQV2Agent", "StateEncoderSettings"]
