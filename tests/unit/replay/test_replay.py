"""Replay against a naive list of episodes, and its uniformity, memory and seeds."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glideslope.replay.buffer import Batch, ReplayBuffer
from tests.support.replays import ACTION, FRAME, STATE, Writer, assert_same_batch, make_buffer, observations


def sampled_numbers(batch: Batch) -> list[int]:
    return batch.state.numpy()[:, -2].astype(int).tolist()


def assert_batch_is(batch: Batch, expected: dict[int, dict[str, Any]]) -> None:
    numbers = sampled_numbers(batch)
    assert set(numbers) <= set(expected)
    rows = [expected[number] for number in numbers]
    for part, pixels, state, privileged in (
        ("stack", batch.pixels, batch.state, batch.privileged),
        ("next", batch.next_pixels, batch.next_state, batch.next_privileged),
    ):
        stacks = np.array([row[part] for row in rows])
        wanted_frames, wanted_states, _ = observations(stacks)
        np.testing.assert_array_equal(pixels, wanted_frames)
        np.testing.assert_array_equal(state, wanted_states.reshape(len(rows), -1))
        np.testing.assert_array_equal(privileged, observations(stacks[:, -1])[2])
    np.testing.assert_array_equal(batch.action, np.array([row["action"] for row in rows]))
    for part, column in (("reward", batch.reward), ("discount", batch.discount)):
        assert column.shape == (len(rows), 1)
        np.testing.assert_allclose(column[:, 0], [row[part] for row in rows], rtol=1e-6, atol=1e-6)


@settings(max_examples=60)
@given(
    stack=st.integers(1, 4),
    nstep=st.integers(1, 5),
    num_envs=st.integers(1, 4),
    spare=st.integers(0, 12),
    end_chance=st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0]),
    forced=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_samples_are_exactly_the_naive_transitions(
    stack: int, nstep: int, num_envs: int, spare: int, end_chance: float, forced: bool, seed: int
) -> None:
    slots = nstep + stack + 1 + spare
    buffer = make_buffer(
        capacity=slots * num_envs + num_envs - 1, num_envs=num_envs, frame_stack=stack, nstep=nstep, seed=seed
    )
    writer = Writer(buffer, seed, num_envs, end_chance)
    for step in range(3 * slots):
        writer.step()
        if forced and writer.rng.random() < 0.1:
            writer.begin(writer.rng.permutation(num_envs)[:1])
        expected = writer.samplable(slots, stack, nstep, 0.9)
        assert len(buffer) == len(expected)
        stored = sum(min(slots, sum(len(e["obs"]) for e in episodes)) for episodes in writer.episodes)
        assert buffer.num_frames == stored
        if expected and step % 7 == 0:
            # Missing one of c transitions in 30 c + 60 draws has a chance below 1e-12.
            batch = buffer.sample(30 * len(expected) + 60)
            assert_batch_is(batch, expected)
            assert set(sampled_numbers(batch)) == set(expected)


def test_shapes_types_and_contents_at_an_episodes_start_and_end() -> None:
    """One episode of two steps by hand: rewards 1 and 10, then truncated; discount 0.5, n = 3."""
    buffer = make_buffer(num_envs=1, capacity=20, discount=0.5)
    frame, state, privileged = observations([0, 1, 2])
    buffer.add_first(np.array([0]), frame[:1], state[:1], privileged[:1])
    flags = np.array([False])
    buffer.add(np.zeros((1, 2)), np.array([1.0]), flags, flags, frame[1:2], state[1:2], privileged[1:2])
    assert len(buffer) == 0
    buffer.add(np.ones((1, 2)), np.array([10.0]), flags, ~flags, frame[2:], state[2:], privileged[2:])
    assert len(buffer) == 2
    batch = buffer.sample(50)
    assert batch.pixels is not None
    assert batch.pixels.shape == (50, 3, *FRAME)
    assert batch.pixels.dtype == torch.uint8
    assert batch.state.shape == (50, 3 * STATE)
    by_start = {number: row for row, number in enumerate(sampled_numbers(batch))}
    assert batch.reward[by_start[0]].item() == 1.0 + 0.5 * 10.0
    assert batch.discount[by_start[0]].item() == 0.25
    assert batch.state[by_start[1]].tolist() == [0, 0, 0, 0, 1, -1]
    assert batch.next_state[by_start[1]].tolist() == [0, 0, 1, -1, 2, -2]
    assert batch.discount[by_start[1]].item() == 0.5


def test_termination_wins_over_truncation() -> None:
    buffer = make_buffer(num_envs=1, capacity=20)
    frame, state, privileged = observations([0, 1])
    buffer.add_first(np.array([0]), frame[:1], state[:1], privileged[:1])
    both = np.array([True])
    buffer.add(np.zeros((1, 2)), np.array([1.0]), both, both, frame[1:], state[1:], privileged[1:])
    assert buffer.sample(1).discount.item() == 0.0


def test_samples_are_uniform() -> None:
    """Chi-square over all transitions of environments with unequal numbers of them, rings wrapped."""
    buffer = make_buffer(num_envs=3, capacity=120, seed=5)
    writer = Writer(buffer, seed=3, num_envs=3, end_chance=0.4)
    for _ in range(100):
        writer.step()
    cells = len(buffer)
    draws = 1000 * cells
    counts = Counter(sampled_numbers(buffer.sample(draws)))
    assert len(counts) == cells
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    # Mean cells - 1, variance 2 (cells - 1): five standard deviations either way.
    assert abs(chi_square - (cells - 1)) < 5 * np.sqrt(2 * (cells - 1))


def test_stored_rows_are_copies() -> None:
    buffer = make_buffer(num_envs=1, capacity=20, nstep=1)
    frame, state, privileged = observations([0])
    ids = np.array([0])
    buffer.add_first(ids, frame, state, privileged)
    flags, action = np.array([False]), np.full((1, 2), 0.5, np.float32)
    reward = np.array([1.0], np.float32)
    buffer.add(action, reward, flags, flags, frame, state, privileged)
    before = buffer.sample(4)
    for array in (frame, state, privileged, action, reward):
        array += 1
    buffer._generator.manual_seed(0)
    assert_same_batch(buffer.sample(4), before)
    assert before.pixels is not None
    before.pixels.zero_()
    sampled = buffer.sample(4).pixels
    assert sampled is not None
    assert sampled.any()


def test_tensors_and_arrays_are_stored_alike() -> None:
    arrays, tensors = make_buffer(num_envs=1, capacity=20), make_buffer(num_envs=1, capacity=20)
    observation = observations([4])
    ids, rest = np.array([0]), (np.ones((1, 2)), np.ones(1), np.array([True]), np.array([False]))
    arrays.add_first(ids, *observation)
    arrays.add(*rest, *observation)
    tensors.add_first(torch.from_numpy(ids), *map(torch.from_numpy, observation))
    tensors.add(*map(torch.from_numpy, rest), *map(torch.from_numpy, observation))
    assert_same_batch(arrays.sample(3), tensors.sample(3))


def test_without_frames_or_privileged_state() -> None:
    buffer = make_buffer(frame_shape=None, privileged_dim=0, num_envs=1, capacity=20)
    buffer.add_first(np.array([0]), None, np.ones((1, STATE)))
    buffer.add(np.ones((1, 2)), np.ones(1), np.array([True]), np.array([False]), None, np.ones((1, STATE)))
    batch = buffer.sample(4)
    assert batch.pixels is batch.next_pixels is batch.privileged is batch.next_privileged is None
    assert batch.next_state.shape == (4, 3 * STATE)


def test_without_state() -> None:
    buffer = make_buffer(state_dim=0, num_envs=1, capacity=20)
    frame, _, privileged = observations([0])
    nothing = np.zeros((1, 0), np.float32)
    buffer.add_first(np.array([0]), frame, nothing, privileged)
    buffer.add(np.ones((1, 2)), np.ones(1), np.array([True]), np.array([False]), frame, nothing, privileged)
    assert buffer.sample(4).state.shape == (4, 0)


SIZES: dict[str, Any] = {
    "capacity": 404_000,
    "num_envs": 16,
    "frame_shape": (84, 84),
    "state_dim": 11,
    "privileged_dim": 16,
    "action_dim": 5,
}


def test_400k_transitions_of_84_by_84_take_under_3_2_gb() -> None:
    """404k frames hold 400k transitions of episodes of 100 steps and more."""
    per_frame = 84 * 84 + 4 * (11 + 16 + 5) + 4 + 1 + 1 + 1 + 4 + 8
    assert ReplayBuffer.estimate_bytes(**SIZES) == 404_000 * per_frame < 3.2e9


@pytest.mark.parametrize("frame_shape", [(84, 84), None])
def test_estimate_is_what_is_allocated(frame_shape: tuple[int, int] | None) -> None:
    sizes = SIZES | {"frame_shape": frame_shape, "capacity": 40_009}
    tracemalloc.start()
    buffer = ReplayBuffer(**sizes, frame_stack=3, nstep=3, discount=0.99, seed=0)
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert buffer.num_frames == 0
    assert 0 <= allocated - ReplayBuffer.estimate_bytes(**sizes) < 100_000


def test_samples_are_a_function_of_the_seed() -> None:
    one, same, other = (make_buffer(seed=seed) for seed in (1, 1, 2))
    for buffer in (one, same, other):
        writer = Writer(buffer, seed=0)
        for _ in range(40):
            writer.step()
    torch.manual_seed(7)  # the global generator plays no part
    first = one.sample(16)
    torch.manual_seed(8)
    assert_same_batch(first, same.sample(16))
    assert not torch.equal(first.state, other.sample(16).state)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 0}, "num_envs"),
        ({"frame_stack": 0}, "frame_stack"),
        ({"frame_stack": 257}, "frame_stack"),
        ({"nstep": 0}, "nstep"),
        ({"discount": 1.01}, "discount"),
        ({"discount": float("nan")}, "discount"),
        ({"capacity": 13}, "= 14, got 13"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_buffer(**changes)


def test_misuse_is_refused_and_stores_nothing() -> None:
    buffer = make_buffer()
    frame, state, privileged = observations([0, 1])
    with pytest.raises(RuntimeError, match="no transition"):
        buffer.sample(1)
    for ids in ([0, 0], [0, 2], [-1, 0], [True, False], [[0, 1]], [0.0, 1.0]):
        with pytest.raises(ValueError, match="env_ids"):
            buffer.add_first(np.array(ids), frame, state, privileged)
    both = np.array([0, 1])
    for bad in (
        (frame.astype(np.float32), state, privileged),
        (frame[:1], state, privileged),
        (frame, state[:, :1], privileged),
        (frame, state, None),
        (None, state, privileged),
    ):
        with pytest.raises(ValueError, match=r"frame|state|privileged"):
            buffer.add_first(both, *bad)
    assert buffer.num_frames == 0

    action, reward, flags = np.zeros((2, ACTION)), np.zeros(2), np.zeros(2, bool)
    buffer.add_first(both[:1], frame[:1], state[:1], privileged[:1])
    with pytest.raises(ValueError, match=r"\[1\] have no running episode"):
        buffer.add(action, reward, flags, flags, frame, state, privileged)
    buffer.add_first(both[1:], frame[1:], state[1:], privileged[1:])
    for bad_step in (
        (action[:, :1], reward, flags, flags),
        (action, reward[:, None], flags, flags),
        (action, reward, flags[:1], flags),
    ):
        with pytest.raises(ValueError, match="must have shape"):
            buffer.add(*bad_step, frame, state, privileged)
    assert buffer.num_frames == 2
    buffer.add(action, reward, ~flags, flags, frame, state, privileged)
    with pytest.raises(ValueError, match=r"\[0, 1\] have no running episode"):
        buffer.add(action, reward, flags, flags, frame, state, privileged)
    with pytest.raises(ValueError, match="batch_size"):
        buffer.sample(0)
