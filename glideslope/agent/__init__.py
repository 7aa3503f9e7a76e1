"""The DrQ-v2 agent: networks, augmentation and update."""

from glideslope.agent.drqv2 import DrQV2Agent
from glideslope.agent.memory import keep_freed_memory

__all__ = ["DrQV2Agent", "keep_freed_memory"]
