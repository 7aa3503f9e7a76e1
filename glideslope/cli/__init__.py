"""The command line: one module for each command; only this room knows Hydra."""
