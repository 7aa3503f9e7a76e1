"""Replay memory, one class on one set of arrays: rings of frames; stacks and n-step returns are built when sampling.

Shape legend: N environments, L slots in a ring, B samples, K frames in a stack, n steps in a return, H x W a
frame, S state, P privileged state and A action entries.

A slot holds one observation and what followed it: the action taken there, the reward and the termination of
that step. An episode of T steps fills T + 1 slots; in the last, its final observation, no transition starts.
Each environment has a ring and counters of its own, since one whose episode ends advances by one slot more.
Counters and rewards live on the host, so `sample` computes its indices without waiting for an accelerator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from glideslope.replay.mirroring import Mirror, mirror_in_turn
from glideslope.settings import WHOLE, Share

Array: TypeAlias = torch.Tensor | NDArray[Any]
Ints: TypeAlias = NDArray[np.int64]
# name -> (shape of one slot's entry, dtype)
Layout: TypeAlias = dict[str, tuple[tuple[int, ...], torch.dtype]]

_HOST_LAYOUT: Layout = {
    "reward": ((), torch.float32),
    "terminated": ((), torch.bool),
    "final": ((), torch.bool),  # a final observation: no transition starts here
    "age": ((), torch.uint8),  # steps since the episode's start, at most K - 1
    "order": ((), torch.int32),  # slot in which transition number i started, at i % L
    "drop_to": ((), torch.int64),  # transitions below this number need this slot's frame or an older one
}
_COUNTERS = ("written", "started", "known", "lost")  # none is ever larger than the one before
# What rows taken out of a buffer cover, per environment: numbers of slots and of transitions.
EXTENTS = ("first_slot", "end_slot", "first_transition", "end_transition")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B transitions on the buffer's device; `next_*` is m = min(n, steps to the episode's end) steps later.

    pixels, next_pixels: (B, K, H, W) uint8, oldest frame first, or None without frames.
    state, next_state: (B, K * S) float32, stacked like the pixels.
    privileged, next_privileged: (B, P) float32, not stacked, or None where P = 0.
    action: (B, A) float32.
    reward: (B, 1) float32, sum of discount**k * reward[t + k] over k < m.
    discount: (B, 1) float32, discount**m, or 0 where the episode terminated within the m steps.
    """

    pixels: torch.Tensor | None
    state: torch.Tensor
    privileged: torch.Tensor | None
    action: torch.Tensor
    reward: torch.Tensor
    discount: torch.Tensor
    next_pixels: torch.Tensor | None
    next_state: torch.Tensor
    next_privileged: torch.Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Return this batch on ``device``; nothing is copied where it is there already."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            moved[field.name] = None if value is None else value.to(device, non_blocking=True)
        return replace(self, **moved)

    def split(self, size: int) -> list[Batch]:
        """Return batches of `size` transitions, of which there is a multiple: views of this one."""
        found = []
        for start in range(0, len(self.action), size):
            whole = ((field.name, getattr(self, field.name)) for field in fields(self))
            part: dict[str, Any] = {name: None if v is None else v[start : start + size] for name, v in whole}
            found.append(replace(self, **part))
        return found


class ReplayBuffer:
    """Uniform n-step replay over parallel environments, each frame stored once (DrQ-v2, Yarats et al. 2021).

    capacity: frames stored over all environments; each gets capacity // num_envs slots.
    frame_shape: (H, W) of a uint8 frame, or None to keep no frames.
    state_dim, privileged_dim, action_dim: S, P and A; 0 for none.
    frame_stack: K, 1 to 256; before an episode's start its first observation is repeated.
    nstep: n, at least 1. discount: per step, in [0, 1].
    mirrors: of their combinations, none of them included, each has its share of a sampled batch.
    device: where frames, states and actions are kept and where batches are.
    seed: what is sampled is a function of the seed and the calls alone, the same on every device.
    share: with equal seeds the buffers of several shares draw independently, each for its rows of one batch.

    A transition can be sampled once its n steps are known or its episode has ended, for as long as its whole
    stack is stored; every such transition is equally likely.
    Raises ValueError for settings outside these ranges and for rings too short to always keep a transition
    (fewer than n + K + 1 slots).
    """

    def __init__(
        self,
        *,
        capacity: int,
        num_envs: int,
        frame_shape: tuple[int, int] | None,
        state_dim: int,
        privileged_dim: int,
        action_dim: int,
        frame_stack: int,
        nstep: int,
        discount: float,
        mirrors: Sequence[Mirror] = (),
        device: torch.device | str = "cpu",
        seed: int,
        share: Share = WHOLE,
    ) -> None:
        _check_settings(capacity, num_envs, frame_stack, nstep, discount)
        self.device = torch.device(device)
        self._num_envs, self._slots = num_envs, capacity // num_envs
        self._frame_stack, self._nstep, self._mirrors = frame_stack, nstep, tuple(mirrors)

        on_device = _device_layout(frame_shape, state_dim, privileged_dim, action_dim)
        # By row: slot s of environment e is row e * L + s.
        self._rows = _allocate(on_device, num_envs * self._slots, self.device)
        host = _allocate(_HOST_LAYOUT, num_envs * self._slots, torch.device("cpu"))
        self._host: dict[str, NDArray[Any]] = {key: rows.numpy() for key, rows in host.items()}
        self._reward, self._terminated = self._host["reward"], self._host["terminated"]
        self._final, self._age = self._host["final"], self._host["age"]
        self._order, self._drop_to = self._host["order"], self._host["drop_to"]

        # Per environment and ever increasing: observations written, transitions started, transitions whose n
        # steps are known, transitions that lost a frame. Both ends of a transition's life come in the order
        # of time, so those that can be sampled are always the numbers lost <= number < known.
        self._counters: dict[str, Ints] = {key: np.zeros(num_envs, np.int64) for key in _COUNTERS}
        self._written, self._started, self._known, self._lost = (self._counters[key] for key in _COUNTERS)

        self._powers = np.float64(discount) ** np.arange(nstep + 1)
        self._generator = torch.Generator().manual_seed(seed)
        self._share = share

    @staticmethod
    def estimate_bytes(
        *,
        capacity: int,
        num_envs: int,
        frame_shape: tuple[int, int] | None,
        state_dim: int,
        privileged_dim: int,
        action_dim: int,
    ) -> int:
        """Return the bytes that a full buffer of these settings holds, host (19 a slot) and device together."""
        layout = _HOST_LAYOUT | _device_layout(frame_shape, state_dim, privileged_dim, action_dim)
        per_slot = sum(math.prod(shape) * dtype.itemsize for shape, dtype in layout.values())
        return capacity // num_envs * num_envs * per_slot

    def __len__(self) -> int:
        """Return the number of transitions that can be sampled now."""
        return int((self._known - self._lost).sum())

    @property
    def num_frames(self) -> int:
        """Number of observations stored now."""
        return int(np.minimum(self._written, self._slots).sum())

    def add_first(self, env_ids: Array, frame: Array | None, state: Array, privileged: Array | None = None) -> None:
        """Store the first observations of new episodes in the M environments `env_ids` (distinct integers).

        frame (M, H, W) uint8, state (M, S), privileged (M, P): row i belongs to environment env_ids[i].
        An episode still running there is cut at its newest observation, as by a truncation.
        Raises ValueError, and stores nothing, for wrong ids, shapes or types.
        """
        envs = self._check_env_ids(env_ids)
        observation = self._check_observation(len(envs), frame, state, privileged)
        cut = envs[self._running()[envs]]
        self._final[self._newest_rows(cut)] = True
        self._known[cut] = self._started[cut]
        none = np.zeros(len(envs), np.bool_)
        self._write_observation(envs, observation, age=np.zeros_like(envs), final=none)

    def add(
        self,
        action: Array,
        reward: Array,
        terminated: Array,
        truncated: Array,
        next_frame: Array | None,
        next_state: Array,
        next_privileged: Array | None = None,
    ) -> None:
        """Store one step of all N environments, taken at each one's newest observation.

        action (N, A); reward, terminated, truncated (N,); next_frame (N, H, W) uint8, next_state (N, S) and
        next_privileged (N, P) are the observation that the step led to, for an ended episode its final one.
        Environments that ended need `add_first` before the next `add`.
        Rewards and flags are kept on the host: as NumPy arrays they cost no wait for the device.
        Raises ValueError, and stores nothing, for wrong shapes or types and where an `add_first` is missing.
        """
        if not self._running().all():
            waiting = np.flatnonzero(~self._running()).tolist()
            raise ValueError(f"environments {waiting} have no running episode; call add_first for them")
        envs = np.arange(self._num_envs)
        rewards = _host_rows("reward", reward, len(envs), np.float32)
        terminations = _host_rows("terminated", terminated, len(envs), np.bool_)
        done = terminations | _host_rows("truncated", truncated, len(envs), np.bool_)
        actions = self._check_rows("action", action, len(envs))
        observation = self._check_observation(len(envs), next_frame, next_state, next_privileged)

        rows = self._newest_rows(envs)
        self._rows["action"].index_copy_(0, self._send(rows), actions)
        self._reward[rows], self._terminated[rows] = rewards, terminations
        self._order[envs * self._slots + self._started % self._slots] = rows % self._slots
        self._started += 1
        age = self._age[rows].astype(np.int64)
        oldest_of_stack = (self._written - 1 - age) % self._slots
        self._drop_to[envs * self._slots + oldest_of_stack] = self._started

        self._write_observation(envs, observation, age=np.minimum(age + 1, self._frame_stack - 1), final=done)
        known = np.where(done, self._started, self._started - self._nstep + 1)
        np.maximum(self._known, known, out=self._known)

    def sample(self, batch_size: int, discount: NDArray[np.float64] | None = None) -> Batch:
        """Draw `batch_size` transitions uniformly and independently (with replacement).

        discount: of each transition (B,), in place of the buffer's own.

        Raises RuntimeError while no transition can be sampled, ValueError for a batch_size below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        base, slot = self._draw(batch_size)
        steps, reward, discount = self._returns(base, slot, discount)
        age = self._age[base + slot].astype(np.int64)
        # (2, B, K): now and m steps later, for one gather of both.
        ends = ((slot, age), (slot + steps, age + steps))
        index = self._send(np.stack([self._stack_rows(base, *end) for end in ends]))
        stacked, newest = index.flatten(), index[:, :, -1].flatten()

        pixels = next_pixels = privileged = next_privileged = None
        if "frame" in self._rows:
            frames = self._rows["frame"].index_select(0, stacked)
            pixels, next_pixels = frames.view(*index.shape, *frames.shape[1:]).unbind()
        if "privileged" in self._rows:
            privileged, next_privileged = self._rows["privileged"].index_select(0, newest).chunk(2)
        states = self._rows["state"].index_select(0, stacked)
        state, next_state = states.view(2, batch_size, self._frame_stack * states.shape[1]).unbind()
        returns = self._send(np.stack([reward, discount]).astype(np.float32)[:, :, None])
        batch = Batch(
            pixels=pixels,
            state=state,
            privileged=privileged,
            action=self._rows["action"].index_select(0, newest[:batch_size]),
            reward=returns[0],
            discount=returns[1],
            next_pixels=next_pixels,
            next_state=next_state,
            next_privileged=next_privileged,
        )
        mirror_in_turn(batch, self._mirrors)
        return batch

    def settings(self) -> dict[str, Any]:
        """Return what another buffer must have in common to take over this one's rows: plain numbers."""
        return {
            "num_envs": self._num_envs,
            "slots": self._slots,
            "frame_stack": self._frame_stack,
            "nstep": self._nstep,
            "entries": {key: list(rows.shape[1:]) for key, rows in sorted(self._rows.items())},
        }

    def counters(self) -> dict[str, list[int]]:
        """Return plain copies of the counters, per environment: they number slots and transitions for all time."""
        return {key: counter.tolist() for key, counter in self._counters.items()}

    def generator_state(self) -> torch.Tensor:
        """Return the state of the generator that `sample` draws from."""
        return self._generator.get_state()

    def rows_since(self, counters: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
        """Return copies, on the host, of everything that was stored or changed since `counters()` gave this.

        first_slot, end_slot, first_transition, end_transition: (N,) int64. Then, for every kind of entry, the
        slots numbered first_slot <= number < end_slot of environment 0, of environment 1 and so on, and
        `order` likewise for the transitions. What the ring has overwritten meanwhile is left out.
        """
        # A step completes the newest slot and marks the oldest of its stack.
        unchanged = np.asarray(counters["written"], np.int64) - self._frame_stack
        first_slot = np.maximum(unchanged, np.maximum(self._written - self._slots, 0))
        first_transition = np.maximum(np.asarray(counters["started"], np.int64), self._started - self._slots)
        slots = torch.from_numpy(self._ring_rows(first_slot, self._written))
        transitions = self._ring_rows(first_transition, self._started)
        on_device = slots.to(self.device)
        rows = {key: ring.index_select(0, on_device).cpu() for key, ring in self._rows.items()}
        for key, ring in self._host.items():
            rows[key] = torch.from_numpy(ring[transitions if key == "order" else slots.numpy()])
        ends = zip(EXTENTS, (first_slot, self._written, first_transition, self._started), strict=True)
        return {**{key: torch.from_numpy(end.copy()) for key, end in ends}, **rows}

    def clear(self) -> None:
        """Forget everything stored. The generator keeps its state."""
        for array in (*self._host.values(), *self._counters.values()):
            array[:] = 0
        # What was observed may stay: a slot written anew has its own at once, its action only with the next step.
        self._rows["action"].zero_()

    def put_rows(self, rows: Mapping[str, torch.Tensor]) -> None:
        """Write what `rows_since` gave, of a buffer with the same settings, where it lay there.

        They count as stored only once `restore` sets the counters. Raises ValueError, and changes nothing,
        for missing or other entries, shapes or types.
        """
        expected = {*EXTENTS, *self._rows, *self._host}
        if set(rows) != expected:
            raise ValueError(f"it has the entries {sorted(rows)}, expected {sorted(expected)}")
        for key in EXTENTS:
            _check_tensor(key, rows[key], (self._num_envs,), torch.int64)
        first_slot, end_slot, first_transition, end_transition = (rows[key].numpy() for key in EXTENTS)
        for first, end in ((first_slot, end_slot), (first_transition, end_transition)):
            if not ((first >= 0) & (first <= end) & (end - first <= self._slots)).all():
                raise ValueError(f"it holds the numbers {first.tolist()} to {end.tolist()} of rings of {self._slots}")
        counts = {"order": int((end_transition - first_transition).sum())}
        slot_count = int((end_slot - first_slot).sum())
        for key, ring in (self._rows | self._host_tensors()).items():
            _check_tensor(key, rows[key], (counts.get(key, slot_count), *ring.shape[1:]), ring.dtype)
        if not ((rows["order"] >= 0) & (rows["order"] < self._slots)).all():
            raise ValueError("its transitions start in slots that don't exist")

        slots = self._ring_rows(first_slot, end_slot)
        on_device = torch.from_numpy(slots).to(self.device)
        for key, ring in self._rows.items():
            ring.index_copy_(0, on_device, rows[key].to(self.device))
        for key, array in self._host.items():
            places = self._ring_rows(first_transition, end_transition) if key == "order" else slots
            array[places] = rows[key].numpy()

    def restore(self, counters: Mapping[str, Sequence[int]], generator: torch.Tensor) -> None:
        """Take over what `counters` and `generator_state` gave, after `put_rows` for all that was stored then.

        Raises ValueError, and changes nothing, where they can't be a buffer's.
        """
        new = {key: np.asarray(counters.get(key), np.int64) for key in _COUNTERS}
        if any(counter.shape != (self._num_envs,) for counter in new.values()):
            raise ValueError(f"the counters {dict(counters)} are not {len(_COUNTERS)} for each environment")
        in_order = [np.zeros(self._num_envs), *(new[key] for key in reversed(_COUNTERS))]
        if not all((low <= high).all() for low, high in pairwise(in_order)):
            raise ValueError(f"the counters {dict(counters)} are no buffer's")
        _check_tensor("generator", generator, tuple(self._generator.get_state().shape), torch.uint8)
        self._generator.set_state(generator)
        for key, counter in self._counters.items():
            counter[:] = new[key]

    def _draw(self, batch_size: int) -> tuple[Ints, Ints]:
        """Return the first row of a ring and slot in it, (B,) each, of transitions drawn uniformly."""
        ends = np.cumsum(self._known - self._lost)
        if ends[-1] == 0:
            raise RuntimeError("no transition can be sampled yet")
        # 63 random bits: the remainder's bias is below capacity / 2**63.
        whole = batch_size * self._share.count
        bits = torch.randint(2**63 - 1, (whole,), generator=self._generator).numpy()[self._share.rows(whole)]
        rank = bits % ends[-1]
        env = np.searchsorted(ends, rank, side="right")
        number = self._known[env] - (ends[env] - rank)
        base = env * self._slots
        return base, self._order[base + number % self._slots].astype(np.int64)

    def _returns(
        self, base: Ints, slot: Ints, discount: NDArray[np.float64] | None
    ) -> tuple[Ints, NDArray[np.float64], NDArray[np.float64]]:
        """Return steps m, n-step reward and discount of the transitions that start in `slot`, (B,) each."""
        window = base[:, None] + (slot[:, None] + np.arange(self._nstep + 1)) % self._slots
        # Step k belongs to the episode if none of the observations t + 1 .. t + k is a final one.
        ended = np.logical_or.accumulate(self._final[window[:, :-1]], axis=1)
        steps = self._nstep - ended.sum(axis=1)
        rewards = np.where(ended, 0.0, self._reward[window[:, :-1]])
        last = np.take_along_axis(window, steps[:, None] - 1, axis=1)[:, 0]
        if discount is None:
            reward, power = rewards @ self._powers[:-1], self._powers[steps]
        else:
            reward = (rewards * discount[:, None] ** np.arange(self._nstep)).sum(axis=1)
            power = discount**steps
        return steps, reward, np.where(self._terminated[last], 0.0, power)

    def _stack_rows(self, base: Ints, slot: Ints, age: Ints) -> Ints:
        """Return the rows (B, K) of the stacks that end in `slot`, the episode's first one repeated at its start."""
        back = np.minimum(np.arange(self._frame_stack)[::-1], age[:, None])
        return base[:, None] + (slot[:, None] - back) % self._slots

    def _write_observation(
        self, envs: Ints, observation: dict[str, torch.Tensor], *, age: Ints, final: NDArray[np.bool_]
    ) -> None:
        rows = envs * self._slots + self._written[envs] % self._slots
        # A slot never written, or left from an earlier lap, holds a number that was reached long ago.
        self._lost[envs] = np.maximum(self._lost[envs], self._drop_to[rows])
        self._age[rows], self._final[rows] = age, final
        index = self._send(rows)
        for key, value in observation.items():
            self._rows[key].index_copy_(0, index, value)
        self._written[envs] += 1

    def _newest_rows(self, envs: Ints) -> Ints:
        rows: Ints = envs * self._slots + (self._written[envs] - 1) % self._slots
        return rows

    def _running(self) -> NDArray[np.bool_]:
        """Return which environments have a running episode, (N,)."""
        ended: NDArray[np.bool_] = self._final[self._newest_rows(np.arange(self._num_envs))]
        running: NDArray[np.bool_] = (self._written > 0) & ~ended
        return running

    def _ring_rows(self, first: Ints, end: Ints) -> Ints:
        """Return the rows of the numbers first <= number < end of each environment, (N,) each, one after another."""
        counts = end - first
        before = np.cumsum(counts) - counts
        number = np.arange(counts.sum()) + np.repeat(first - before, counts)
        rows: Ints = np.repeat(np.arange(self._num_envs), counts) * self._slots + number % self._slots
        return rows

    def _host_tensors(self) -> dict[str, torch.Tensor]:
        return {key: torch.from_numpy(array) for key, array in self._host.items()}

    def _send(self, array: NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _check_env_ids(self, env_ids: Array) -> Ints:
        ids = _to_host(env_ids)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise ValueError(f"env_ids must be a 1-d array of integers, got {ids.dtype} of shape {ids.shape}")
        if len(np.unique(ids)) != len(ids) or not ((ids >= 0) & (ids < self._num_envs)).all():
            raise ValueError(f"env_ids must be distinct and in [0, {self._num_envs}), got {ids.tolist()}")
        return ids.astype(np.int64)

    def _check_observation(
        self, count: int, frame: Array | None, state: Array, privileged: Array | None
    ) -> dict[str, torch.Tensor]:
        given = {"frame": frame, "state": state, "privileged": privileged}
        for key, value in given.items():
            if (value is None) == (key in self._rows):
                fault = "missing" if value is None else "given to a buffer without it"
                raise ValueError(f"{key} is {fault}")
        return {key: self._check_rows(key, value, count) for key, value in given.items() if value is not None}

    def _check_rows(self, key: str, value: Array, count: int) -> torch.Tensor:
        rows, tensor = self._rows[key], torch.as_tensor(value)
        shape = (count, *rows.shape[1:])
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{key} must have shape {shape}, got {tuple(tensor.shape)}")
        if rows.dtype == torch.uint8 and tensor.dtype != torch.uint8:
            raise ValueError(f"{key} must be uint8, got {tensor.dtype}")
        return tensor.detach().to(self.device, rows.dtype)


def _device_layout(frame_shape: tuple[int, int] | None, state_dim: int, privileged_dim: int, action_dim: int) -> Layout:
    layout: Layout = {"state": ((state_dim,), torch.float32), "action": ((action_dim,), torch.float32)}
    if frame_shape is not None:
        layout["frame"] = (tuple(frame_shape), torch.uint8)
    if privileged_dim:
        layout["privileged"] = ((privileged_dim,), torch.float32)
    return layout


def _allocate(layout: Layout, rows: int, device: torch.device) -> dict[str, torch.Tensor]:
    def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if device.type == "cpu":
            # NumPy's zeros take host memory only as they are written, torch's at once.
            return torch.from_numpy(np.zeros(shape, torch.empty(0, dtype=dtype).numpy().dtype))
        return torch.zeros(shape, dtype=dtype, device=device)

    return {key: zeros((rows, *shape), dtype) for key, (shape, dtype) in layout.items()}


def _to_host(value: Array) -> NDArray[Any]:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _host_rows(key: str, value: Array, count: int, dtype: type[np.generic]) -> NDArray[Any]:
    array = _to_host(value)
    if array.shape != (count,):
        raise ValueError(f"{key} must have shape {(count,)}, got {array.shape}")
    return array.astype(dtype)


def _check_tensor(key: str, value: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"its {key} is no tensor")
    if tuple(value.shape) != shape or value.dtype != dtype:
        found = f"{value.dtype} {tuple(value.shape)}"
        raise ValueError(f"its {key} is {found}, expected {dtype} {shape}")


def _check_settings(capacity: int, num_envs: int, frame_stack: int, nstep: int, discount: float) -> None:
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    if not 1 <= frame_stack <= 256:
        raise ValueError(f"frame_stack must be in [1, 256], got {frame_stack}")
    if nstep < 1:
        raise ValueError(f"nstep must be at least 1, got {nstep}")
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount must be in [0, 1], got {discount}")
    if capacity < num_envs * (nstep + frame_stack + 1):
        raise ValueError(
            f"capacity must be at least num_envs * (nstep + frame_stack + 1) = "
            f"{num_envs * (nstep + frame_stack + 1)}, got {capacity}"
        )
