"""The stages of a training, and when they change."""
