"""Glideslope: teach a quadrotor to land from its own camera, with a learning-rate schedule per network."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return `load_policy`, which needs more than NumPy."""
    if name == "load_policy":
        from glideslope.evaluation.policy import load_policy

        return load_policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
