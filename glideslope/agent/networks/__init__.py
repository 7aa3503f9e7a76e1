"""Encoders, actors, critics and their blocks."""
