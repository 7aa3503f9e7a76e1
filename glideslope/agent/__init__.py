"""The DrQ-v2 agent: networks, augmentation and update."""

from glideslope.agent.drqv2 import DivergedError, DrQV2Agent

__all__ = ["DivergedError", "DrQV2Agent"]
