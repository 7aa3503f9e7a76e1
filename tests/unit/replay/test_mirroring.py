"""Mirrored batches: every combination of mirrors in turn, each applied to all that a transition holds."""

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch

from glideslope.replay.buffer import Batch
from glideslope.replay.mirroring import Mirror, mirror_in_turn
from tests.support.replays import FRAME, Writer, assert_same_batch, make_buffer

ACROSS = Mirror(-2, *(np.array(signs, np.float32) for signs in ([-1, 1], [1, -1, 1], [-1, 1])))
ALONG = Mirror(-1, *(np.array(signs, np.float32) for signs in ([1, -1], [1, 1, -1], [1, -1])))


def batch(size: int, *, pixels: bool = True, privileged: bool = True) -> Batch:
    rng = torch.Generator().manual_seed(4)

    def values(width: int) -> torch.Tensor:
        return torch.rand(size, width, generator=rng) + 0.5

    def images() -> torch.Tensor | None:
        return torch.randint(0, 256, (size, 2, 3, 4), dtype=torch.uint8, generator=rng) if pixels else None

    return Batch(
        pixels=images(),
        state=values(2),
        privileged=values(3) if privileged else None,
        action=values(2),
        reward=values(1),
        discount=values(1),
        next_pixels=images(),
        next_state=values(2),
        next_privileged=values(3) if privileged else None,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 12])
def test_combinations_come_in_turn(size: int) -> None:
    before = batch(size)
    after = copy.deepcopy(before)
    mirror_in_turn(after, [ACROSS, ALONG])
    for row in range(size):
        across, along = row % 2 == 1, row % 4 >= 2  # none, across, along, both
        dims = [dim for dim, chosen in ((-2, across), (-1, along)) if chosen]
        for name in ("pixels", "next_pixels"):
            expected = getattr(before, name)[row].flip(dims) if dims else getattr(before, name)[row]
            assert torch.equal(getattr(after, name)[row], expected)
        for names, kind in (
            (("state", "next_state"), "state"),
            (("privileged", "next_privileged"), "privileged"),
            (("action",), "action"),
        ):
            signs = np.ones(1, np.float32)
            signs = signs * getattr(ACROSS, kind) if across else signs
            signs = signs * getattr(ALONG, kind) if along else signs
            for name in names:
                assert torch.equal(getattr(after, name)[row], getattr(before, name)[row] * torch.from_numpy(signs))
    assert torch.equal(after.reward, before.reward)
    assert torch.equal(after.discount, before.discount)


def test_twice_is_nothing() -> None:
    before = batch(8)
    after = copy.deepcopy(before)
    for _ in range(2):
        mirror_in_turn(after, [ACROSS, ALONG])
    assert_same_batch(after, before)


def test_what_is_missing_stays_missing() -> None:
    after = batch(4, pixels=False, privileged=False)
    mirror_in_turn(after, [ACROSS])
    assert [field.name for field in fields(after) if getattr(after, field.name) is None] == [
        "pixels",
        "privileged",
        "next_pixels",
        "next_privileged",
    ]


def test_a_buffer_mirrors_what_it_samples_not_what_it_stores() -> None:
    whole = {"num_envs": 2, "capacity": 60, "seed": 1}
    turned = Mirror(-1, -np.ones(6, np.float32), -np.ones(3, np.float32), -np.ones(2, np.float32))
    plain, mirrored = make_buffer(**whole), make_buffer(**whole, mirrors=[turned])
    for buffer in (plain, mirrored):
        writer = Writer(buffer, seed=2, num_envs=2, end_chance=0.2)
        for _ in range(12):
            writer.step()
    for _ in range(3):  # the same draws, however often
        expected, found = plain.sample(10), mirrored.sample(10)
        assert expected.pixels is not None
        assert expected.pixels.shape[2:] == FRAME
        mirror_in_turn(expected, [turned])
        assert_same_batch(found, expected)
