"""What the replay buffer is handed: scaled rewards, the newest frames, and the true end of each episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glideslope.training.experience import Experience

ENVS, STACK = 3, 2


class Recorder:
    """Takes the place of a replay buffer and keeps what it is given."""

    def __init__(self) -> None:
        self.first: list[tuple[list[int], dict[str, Any]]] = []
        self.steps: list[tuple[Any, ...]] = []

    def add_first(self, ids: Any, **rows: Any) -> None:
        self.first.append((ids.tolist(), rows))

    def add(self, *step: Any) -> None:
        self.steps.append(step)


def observation(start: int, *, pixels: bool) -> dict[str, Any]:
    """Every value differs, between environments, frames of a stack, and observations of another start."""
    rows = start + np.arange(ENVS * STACK, dtype=np.float32).reshape(ENVS, STACK, 1)
    if pixels:
        return {"state": rows, "pixels": rows.astype(np.uint8)[..., None]}
    return {"state": rows, "privileged": rows[:, -1] + 100}


@pytest.mark.parametrize("pixels", [True, False])
def test_an_ended_episode_keeps_its_own_last_observation_and_the_next_one_begins(pixels: bool) -> None:
    recorder = Recorder()
    experience = Experience(recorder, reward_scale=0.5)  # type: ignore[arg-type]
    experience.begin(observation(0, pixels=pixels))
    following, final = observation(20, pixels=pixels), observation(40, pixels=pixels)
    ended, never = np.array([False, True, False]), np.zeros(ENVS, bool)
    final_obs = np.array([None, {key: value[1] for key, value in final.items()}, None])
    actions, reward = np.zeros((ENVS, 5), np.float32), np.array([1.0, 2.0, 3.0])
    experience.add(actions, following, reward, ended, never, {"final_obs": final_obs})

    ((given, scaled, terminated, truncated, frame, state, privileged),) = recorder.steps
    assert given is actions
    assert scaled.tolist() == [0.5, 1.0, 1.5]
    assert (terminated.tolist(), truncated.tolist()) == (ended.tolist(), never.tolist())
    assert state.tolist() == [[21.0], [43.0], [25.0]]
    first_ids, first = recorder.first[0]
    next_ids, begun = recorder.first[1]
    assert (first_ids, next_ids) == ([0, 1, 2], [1])
    assert first["state"].tolist() == [[1.0], [3.0], [5.0]]
    assert begun["state"].tolist() == [[23.0]]
    if pixels:
        assert frame.tolist() == [[[21]], [[43]], [[25]]]
        assert begun["frame"].tolist() == [[[23]]]
        assert privileged is None
        assert begun["privileged"] is None
    else:
        assert frame is None
        assert privileged.tolist() == [[121.0], [143.0], [125.0]]
        assert begun["privileged"].tolist() == [[123.0]]
    assert following["state"][1, -1] == 23.0  # the next action's observation is left alone


def test_a_step_without_an_end_begins_no_episode() -> None:
    recorder = Recorder()
    experience = Experience(recorder, reward_scale=1.0)  # type: ignore[arg-type]
    none = np.zeros(ENVS, bool)
    experience.add(np.zeros((ENVS, 5)), observation(20, pixels=False), np.ones(ENVS), none, none, {})
    assert recorder.first == []
    assert recorder.steps[0][5].tolist() == [[21.0], [23.0], [25.0]]
