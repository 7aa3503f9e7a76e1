"""Searches for learning rates: many trainings on Ray Tune."""
