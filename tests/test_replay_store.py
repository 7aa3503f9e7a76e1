"""Replay on disk: a restored buffer is the saved one for ever after, and no damage goes unnoticed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glideslope.replay import ReplayBuffer
from glideslope.replay_store import ReplayStore
from tests.replays import Writer, assert_same_batch, make_buffer

ROOT = Path(__file__).parents[1]


def filled(folder: Path, steps: int = 40, saves: int = 4) -> tuple[Writer, ReplayStore, list[dict[str, Any]]]:
    """A buffer of 2 rings of 30 slots and its store, with the manifests of saves `steps` apart."""
    writer = Writer(make_buffer(), seed=0)
    store = ReplayStore(folder, writer.buffer)
    manifests = []
    for _ in range(saves):
        for _ in range(steps):
            writer.step()
        manifests.append(store.save())
    return writer, store, manifests


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def listed(*manifests: dict[str, Any]) -> set[str]:
    return {segment["file"] for manifest in manifests for segment in manifest["segments"]}


def live_rows(buffer: ReplayBuffer) -> dict[str, torch.Tensor]:
    """Everything stored that a later call can read."""
    counters = buffer.counters()
    rows = buffer.rows_since({key: [0] * len(counter) for key, counter in counters.items()})
    # Nothing reads where the transitions started whose slots are gone.
    first = rows.pop("first_transition")
    orders = rows["order"].split((rows["end_transition"] - first).tolist())
    gone = np.maximum(np.array(counters["lost"]) - first.numpy(), 0)
    rows["order"] = torch.cat([order[skip:] for order, skip in zip(orders, gone, strict=True)])
    return rows


def assert_same_buffer(one: ReplayBuffer, other: ReplayBuffer) -> None:
    assert one.counters() == other.counters()
    assert torch.equal(one.generator_state(), other.generator_state())
    theirs = live_rows(other)
    for key, rows in live_rows(one).items():
        assert torch.equal(rows, theirs[key]), key


def with_buffer(writer: Writer, buffer: ReplayBuffer) -> Writer:
    """A writer that will do to `buffer` what this one does to its own."""
    twin = copy.deepcopy(writer)
    twin.buffer = buffer
    return twin


@settings(max_examples=50, deadline=None)
@given(
    stack=st.integers(1, 4),
    nstep=st.integers(1, 4),
    num_envs=st.integers(1, 4),
    spare=st.integers(0, 6),
    end_chance=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    events=st.lists(
        st.one_of(
            st.integers(1, 25),  # so many steps
            st.sampled_from(["save", "sample", "cut", "prune"]),
            st.tuples(
                st.integers(0, 5), st.booleans()
            ),  # load the last manifest but so many, into a new buffer
        ),
        min_size=4,
        max_size=20,
    ),
    seed=st.integers(0, 2**20),
)
def test_a_restored_buffer_is_the_saved_one_for_ever(
    tmp_path_factory: pytest.TempPathFactory,
    stack: int,
    nstep: int,
    num_envs: int,
    spare: int,
    end_chance: float,
    events: list[Any],
    seed: int,
) -> None:
    """Steps, cut episodes, saves, loads of any manifest and prunes in any order, against a buffer never saved.

    With a load both go back in time, so that segments of an abandoned future lie about.
    """
    sizes = {"num_envs": num_envs, "frame_stack": stack, "nstep": nstep}
    sizes["capacity"] = (stack + nstep + 1 + spare) * num_envs
    folder = tmp_path_factory.mktemp("run") / "replay"
    plain = Writer(make_buffer(**sizes, seed=seed), seed, num_envs, end_chance)
    stored = copy.deepcopy(plain)
    store = ReplayStore(folder, stored.buffer)
    saved: list[tuple[Writer, dict[str, Any]]] = []
    for event in [*events, "save", (0, True), 30]:
        if isinstance(event, int):
            for _ in range(event):
                plain.step()
                stored.step()
        elif event == "cut":
            plain.begin(np.array([num_envs - 1]))
            stored.begin(np.array([num_envs - 1]))
        elif event == "sample" and plain.buffer.can_sample():
            assert_same_batch(plain.buffer.sample(5), stored.buffer.sample(5))
        elif event == "save":
            saved.append((copy.deepcopy(plain), store.save()))
        elif event == "prune":
            saved = saved[-2:]
            store.prune([manifest for _, manifest in saved])
        elif isinstance(event, tuple) and saved:
            back, anew = event
            then, manifest = saved[max(0, len(saved) - 1 - back)]
            if anew:
                store = ReplayStore(folder, make_buffer(**sizes, seed=seed + 1))
            store.load(manifest)
            plain, stored = copy.deepcopy(then), with_buffer(then, store._buffer)
        assert_same_buffer(plain.buffer, stored.buffer)
    assert_same_batch(plain.buffer.sample(64), stored.buffer.sample(64))
