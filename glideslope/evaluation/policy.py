"""A trained policy by itself: loaded from a snapshot and asked for actions, without the simulator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from glideslope.agent import DrQV2Agent
from glideslope.build import make_agent, resolve_device, uses_pixels
from glideslope.envs.instruments import motion, reading
from glideslope.envs.layout import privileged_dim, state_dim, velocity_limits
from glideslope.errors import SettingsError, UserError
from glideslope.evaluation.inspection import locate
from glideslope.runs.snapshots import load, newest_snapshot
from glideslope.settings import Settings


@dataclass(frozen=True)
class Trained:
    """What a snapshot holds of a policy."""

    path: Path  # the snapshot
    settings: Settings  # those of its training
    agent: DrQV2Agent
    frame: int
    stage: int  # that the training was in
    reached: int  # the highest stage that it had been in
    success_rate: float | None  # of the evaluation for which the snapshot was kept; None for others


def open_trained(path: Path, device: str, tell: Callable[[str], None] = lambda note: None) -> Trained:
    """Return the policy of a snapshot, or of a run folder's best one.

    Args:
        path: the snapshot or the run folder.
        device: where its networks go.
        tell: takes a note of each damaged snapshot that is passed over.

    Raises:
        UserError: the snapshot can't be used.
    """
    snapshot = newest_snapshot(path, lambda fault: tell(f"Passed over: {fault}")) if path.is_dir() else path
    content = load(snapshot, device)
    try:
        stored = content["settings"]
        # Runs of versions without a range finder don't name it: their networks read none.
        settings = Settings.from_config({**stored, "task": {"range_finder": False, **stored["task"]}})
        agent = make_agent(settings, device)
        agent.load_policy(content["agent"])
        frame, stage = int(content["frame"]), int(content["stage"])
        history = content.get("curriculum", {}).get("history", ())
        reached = max([stage, *(int(entered) for _, entered in history)])
    except SettingsError as error:
        raise UserError(f"{snapshot}: its settings don't fit this version: {error}") from error
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{snapshot}: its networks don't fit its settings: {error}") from error
    return Trained(snapshot, settings, agent, frame, stage, reached, content.get("success_rate"))


def newest_frame(settings: Settings) -> dict[str, tuple[int, ...]]:
    """Return the shape of one drone's newest frame by part of the observation: pixels and state, or privileged."""
    if not uses_pixels(settings):
        return {"privileged": (privileged_dim(settings.task),)}
    size = settings.task.image_size
    return {"pixels": (size, size), "state": (state_dim(settings.task),)}


class LoadedPolicy:
    """A trained policy that flies drones: it stacks their frames, scales what it reads, and answers with mean actions.

    Attributes:
        trained: the snapshot and the settings of its training.

    Shapes: N drones, K stacked frames, H x W images, S values of a frame of the state, P privileged values.
    """

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self._frames: dict[str, NDArray[Any]] = {}  # the latest K by part of the observation, newest last; empty: none
        self._count = 0

    @property
    def reads(self) -> dict[str, tuple[int, ...]]:
        """The shape of one drone's newest frame by part of the observation: pixels and state, or privileged."""
        return newest_frame(self.trained.settings)

    def reset(self, count: int = 1) -> None:
        """Begin an episode for each of `count` drones: their stacks are filled with the next observation.

        Raises:
            ValueError: `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        self._count, self._frames = count, {}

    def act(self, observation: Mapping[str, ArrayLike]) -> NDArray[np.float32]:
        """Return the actions (N, 5) in [-1, 1]: velocity command (vx, vy, vz), gimbal pitch and yaw.

        Args:
            observation: of each drone the newest frame, `pixels` (N, H, W) uint8 and `state` (N, S), as
                `instruments` makes it, or `privileged` (N, P) for a policy that reads that. Or whole stacks as the
                Gymnasium environment gives them, `pixels` (N, K, H, W) and `state` (N, K, S): then nothing is kept.

        Raises:
            ValueError: a part is missing or has another shape or type, or `reset` was not called.
        """
        wholes = {name: self._checked(name, frame, observation) for name, frame in self.reads.items()}
        tensors = {name: torch.as_tensor(values) for name, values in wholes.items()}
        actions = self.trained.agent.act(tensors, None)
        return np.asarray(actions.cpu().numpy(), dtype=np.float32)

    def _checked(self, name: str, frame: tuple[int, ...], observation: Mapping[str, ArrayLike]) -> NDArray[Any]:
        """Return a part of the observation as the networks read it."""
        kind: type = np.uint8 if name == "pixels" else np.float32
        if name not in observation:
            raise ValueError(f"the observation has no {name}; the policy reads {', '.join(self.reads)}")
        values = np.asarray(observation[name])
        if values.dtype != kind and (name == "pixels" or not np.issubdtype(values.dtype, np.floating)):
            raise ValueError(f"{name} must be {kind.__name__}, not {values.dtype}")
        values = values.astype(kind, copy=False)
        depth = self.trained.settings.frame_stack
        if name == "privileged":
            if values.shape[1:] != frame:
                raise ValueError(f"{name} must have the shape (N, {frame[0]}), not {values.shape}")
            return values
        if values.shape[1:] == (depth, *frame):
            return values
        if values.shape[1:] != frame:
            shapes = (("N", *frame), ("N", depth, *frame))
            newest, whole = (f"({', '.join(map(str, shape))})" for shape in shapes)
            raise ValueError(f"{name} must have the shape {newest}, or {whole} for whole stacks, not {values.shape}")
        if len(values) != self._count:
            began = f"reset was called for {self._count}" if self._count else "call reset first"
            raise ValueError(f"{name} is of {len(values)} drones; {began}")
        stack = self._frames.get(name)
        if stack is None:
            stack = np.repeat(values[:, None], depth, axis=1)
        else:
            stack = np.concatenate([stack[:, 1:], values[:, None]], axis=1)
        self._frames[name] = stack
        return stack

    def instruments(
        self, velocity: ArrayLike, attitude: ArrayLike, gimbal: ArrayLike, height: ArrayLike | None = None
    ) -> NDArray[np.float32]:
        """Return a frame of the state (N, S) from what instruments measure.

        Args:
            velocity: (N, 3) m/s in the heading frame: forward, left, up.
            attitude: (N, 4) unit quaternion, scalar first, of the body in the heading frame.
            gimbal: (N, 2) rad, pitch and yaw of the camera; (0, 0) looks straight down.
            height: (N,) m, along the body's axis down to what is below; inf where nothing is measured. For policies
                with a range finder.

        Raises:
            ValueError: `height` is missing, or given to a policy without a range finder.
        """
        task = self.trained.settings.task
        if (height is None) == task.range_finder:
            rule = "is missing: the policy reads a range finder" if task.range_finder else "is not read by this policy"
            raise ValueError(f"height {rule}")
        measured = (np.asarray(values, float) for values in (velocity, attitude, gimbal, velocity_limits(task)))
        moving = motion(*measured)
        if height is None:
            return moving
        below = reading(np.asarray(height, float), 0.0, task.range_finder_range)
        return np.column_stack([moving, below.astype(np.float32)])


def load_policy(path: str | Path, device: str = "cpu") -> LoadedPolicy:
    """Return the policy of a snapshot, or of a run folder's best snapshot, without simulator or configuration.

    The file is read as tensors and plain data: it can't run code.

    Raises:
        UserError: there is none, or it can't be used, or there is no such device.
    """
    return LoadedPolicy(open_trained(locate("path", str(path)), resolve_device(device)))
