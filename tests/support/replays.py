"""Buffers of a small size, and random episodes for them whose every observation can be told."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from glideslope.replay.buffer import Batch, ReplayBuffer

FRAME, STATE, PRIVILEGED, ACTION = (3, 5), 2, 3, 2


def make_buffer(**changes: Any) -> ReplayBuffer:
    arguments: dict[str, Any] = {
        "capacity": 60,
        "num_envs": 2,
        "frame_shape": FRAME,
        "state_dim": STATE,
        "privileged_dim": PRIVILEGED,
        "action_dim": ACTION,
        "frame_stack": 3,
        "nstep": 3,
        "discount": 0.9,
        "seed": 0,
    }
    return ReplayBuffer(**(arguments | changes))


class Writer:
    """Feeds random episodes to a buffer and keeps all of them as plain lists.

    Every observation has a number of its own, written into its frame, state and privileged state.
    """

    def __init__(self, buffer: ReplayBuffer, seed: int, num_envs: int = 2, end_chance: float = 0.2) -> None:
        self.buffer, self.num_envs, self.end_chance = buffer, num_envs, end_chance
        self.rng = np.random.default_rng(seed)
        self.count = 0
        # Per environment a list of episodes; a step is (action, reward, terminated).
        self.episodes: list[list[dict[str, Any]]] = [[] for _ in range(num_envs)]
        self.begin(np.arange(num_envs))

    def observe(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        numbers = np.arange(self.count, self.count + count)
        self.count += count
        return numbers, *observations(numbers)

    def begin(self, envs: np.ndarray) -> None:
        numbers, frame, state, privileged = self.observe(len(envs))
        for env, number in zip(envs, numbers, strict=True):
            if self.episodes[env]:
                self.episodes[env][-1]["ended"] = True
            self.episodes[env].append({"obs": [number], "steps": [], "ended": False})
        self.buffer.add_first(envs, frame, state, privileged)

    def step(self) -> None:
        terminated = self.rng.random(self.num_envs) < self.end_chance / 2
        truncated = self.rng.random(self.num_envs) < self.end_chance / 2
        action = self.rng.uniform(-1, 1, (self.num_envs, ACTION)).astype(np.float32)
        reward = self.rng.normal(size=self.num_envs).astype(np.float32)
        numbers, frame, state, privileged = self.observe(self.num_envs)
        self.buffer.add(action, reward, terminated, truncated, frame, state, privileged)
        for env in range(self.num_envs):
            episode = self.episodes[env][-1]
            episode["steps"].append((action[env], reward[env], terminated[env]))
            episode["obs"].append(numbers[env])
        done = np.flatnonzero(terminated | truncated)
        if len(done):
            self.begin(self.rng.permutation(done))

    def samplable(self, slots: int, stack: int, nstep: int, discount: float) -> dict[int, dict[str, Any]]:
        """All transitions that may be sampled, by the number of their observation, from the definitions."""
        found = {}
        for episodes in self.episodes:
            stored = set([number for episode in episodes for number in episode["obs"]][-slots:])
            for episode in episodes:
                numbers, steps = episode["obs"], episode["steps"]
                for t in range(len(steps)):
                    m = min(nstep, len(steps) - t)
                    frames = [numbers[max(i, 0)] for i in range(t - stack + 1, t + 1)]
                    if (m < nstep and not episode["ended"]) or not stored.issuperset(frames):
                        continue
                    window = steps[t : t + m]
                    found[numbers[t]] = {
                        "stack": frames,
                        "next": [numbers[max(i, 0)] for i in range(t + m - stack + 1, t + m + 1)],
                        "action": steps[t][0],
                        "reward": sum(discount**k * float(step[1]) for k, step in enumerate(window)),
                        "discount": 0.0 if any(step[2] for step in window) else discount**m,
                    }
        return found


def observations(numbers: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame, state and privileged state of observations with these numbers (any leading shape)."""
    numbers = np.asarray(numbers, np.int64)[..., None]
    pixels = np.arange(FRAME[0] * FRAME[1])
    frame = ((numbers * 31 + pixels * 7 + numbers // 256) % 256).astype(np.uint8)
    state = np.concatenate([numbers, -numbers], -1).astype(np.float32)
    privileged = np.concatenate([numbers, 2 * numbers, numbers % 7], -1).astype(np.float32)
    return frame.reshape(*numbers.shape[:-1], *FRAME), state, privileged


def assert_same_batch(one: Batch, other: Batch) -> None:
    for field in dataclasses.fields(Batch):
        torch.testing.assert_close(getattr(one, field.name), getattr(other, field.name), rtol=0, atol=0)
