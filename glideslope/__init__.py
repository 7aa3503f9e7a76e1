"""Glideslope: teach a quadrotor to land from its own camera, with a learning-rate schedule per network."""

__version__ = "0.1.0"
