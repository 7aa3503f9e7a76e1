"""The DrQ-v2 agent: networks, augmentation and update."""

from glideslope.agent.drqv2 import DivergedError, DrQV2Agent
from glideslope.agent.memory import keep_freed_memory

__all__ = ["DivergedError", "DrQV2Agent", "keep_freed_memory"]
