"""The DrQ-v2 agent: networks, augmentation and update."""

from glideslope.agent.drqv2 import Average, DivergedError, DrQV2Agent

__all__ = ["Average", "DivergedError", "DrQV2Agent"]
