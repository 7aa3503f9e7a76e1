"""The replay buffer and its files."""
