"""The simulated world: model building and batched access to its state by name.

``Physics`` wraps :class:`mujoco.batch.Batch`: N independent simulations of one model, float64, whose results do
not depend on the number of threads. It knows bodies and sensors, not the task.
"""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import mujoco
import mujoco.batch
import numpy as np
from numpy.typing import NDArray

from glideslope.envs.controller import Airframe
from glideslope.envs.rotation import quat_to_matrix
from glideslope.envs.state import State

Array = NDArray[np.float64]
Ids = NDArray[np.intp]

PAD_TOP_HEIGHT = 0.27  # m, as modelled in landing.xml
HULL_BOTTOM = 0.05  # m, from the drone's centre down to its lowest point, as modelled
GIMBAL_DROP = 0.05  # m, from the drone's centre down to the camera
# Linear rotor drag, N s/m (Faessler, Franchi & Scaramuzza 2018, eq. 4, for a 0.5 kg airframe).
ROTOR_DRAG = 0.12


def build_model(*, physics_hz: float, pad_size: float, camera_fov_deg: float) -> mujoco.MjModel:
    """Compile landing.xml with the task's time step (s), pad edge (m) and vertical field of view (degrees)."""
    with resources.as_file(resources.files("glideslope.envs") / "assets") as assets:
        spec = mujoco.MjSpec.from_file(str(Path(assets) / "landing.xml"))
        spec.option.timestep = 1.0 / physics_hz
        spec.geom("pad_top").size[:2] = pad_size / 2
        spec.camera("onboard").fovy = camera_fov_deg
        return spec.compile()


def read_airframe(model: mujoco.MjModel) -> Airframe:
    """Return the mass, inertia, rotor geometry and thrust limit, from the compiled model."""
    body = model.body("drone").id
    mixing = np.zeros((4, model.nu))
    for rotor in range(model.nu):
        site = model.actuator_trnid[rotor, 0]
        force, reaction = model.actuator_gear[rotor, :3], model.actuator_gear[rotor, 3:]
        mixing[0, rotor] = force[2]
        mixing[1:, rotor] = np.cross(model.site_pos[site], force) + reaction
    return Airframe(
        mass=float(model.body_mass[body]),
        inertia=model.body_inertia[body].copy(),
        mixing=mixing,
        max_thrust=float(model.actuator_ctrlrange[0, 1]),
        gravity=float(-model.opt.gravity[2]),
    )


class Physics:
    """``num_envs`` simulations of the landing scene, stepped on ``num_threads`` threads (0: all processors)."""

    def __init__(self, model: mujoco.MjModel, num_envs: int, num_threads: int = 0) -> None:
        self.model = model
        self.num_envs = num_envs
        self.num_threads = max(1, min(num_threads or usable_processors(), num_envs))
        self._batch = mujoco.batch.Batch(model, nsim=num_envs, nthread=self.num_threads)
        bind = self._batch.bind
        self._qpos, self._qvel, self._ctrl = bind("qpos"), bind("qvel"), bind("ctrl")
        self._wrench = bind("xfrc_applied")
        self._mocap_pos, self._mocap_quat = bind("mocap_pos"), bind("mocap_quat")
        self._sensors = bind("sensordata")
        self.geom_xpos, self.geom_xmat = bind("geom_xpos"), bind("geom_xmat")
        self.cam_xpos, self.cam_xmat = bind("cam_xpos"), bind("cam_xmat")
        self._drone = model.body("drone").id
        self._pad = int(model.body("pad").mocapid[0])
        self._gimbal = int(model.body("gimbal").mocapid[0])
        self._touch_pad = model.sensor("touch_pad").adr[0]
        self._touch_any = model.sensor("touch_any").adr[0]

    @property
    def position(self) -> Array:
        """(N, 3) m, the drone's centre; a live view."""
        return self._qpos[:, :3]

    @property
    def attitude(self) -> Array:
        """(N, 4) quaternion, body to world; a live view."""
        return self._qpos[:, 3:7]

    @property
    def rotation(self) -> Array:
        """(N, 3, 3) body to world."""
        return quat_to_matrix(self.attitude)

    @property
    def velocity(self) -> Array:
        """(N, 3) m/s, world; a live view."""
        return self._qvel[:, :3]

    @property
    def body_rate(self) -> Array:
        """(N, 3) rad/s, body; a live view."""
        return self._qvel[:, 3:6]

    @property
    def touches_pad(self) -> NDArray[np.bool_]:
        """(N,) whether the hull touched the pad's top at the last substep."""
        return self._sensors[:, self._touch_pad] > 0

    @property
    def touches_anything(self) -> NDArray[np.bool_]:
        """(N,) whether the hull touched anything at the last substep."""
        return self._sensors[:, self._touch_any] > 0

    def reset(self, ids: Ids, position: Array, attitude: Array, velocity: Array) -> None:
        """Start the simulations ``ids`` anew with the drone at this pose and velocity, without rotation."""
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self._qpos[ids, :3] = position
        self._qpos[ids, 3:7] = attitude
        self._qvel[ids, :3] = velocity

    def place_pad(self, position: Array, heading: Array, ids: Ids | slice = slice(None)) -> None:
        """Put the ground vehicle at ``position`` (n, 2) m with ``heading`` (n,) rad."""
        self._mocap_pos[ids, self._pad, :2] = position
        self._mocap_quat[ids, self._pad, 0] = np.cos(0.5 * heading)
        self._mocap_quat[ids, self._pad, 3] = np.sin(0.5 * heading)

    def place_gimbal(self, orientation: Array, ids: Ids | slice = slice(None)) -> None:
        """Hang the cameras of ``ids`` under their drones; ``orientation`` (N, 4) has a row for every simulation."""
        camera = self.position - GIMBAL_DROP * self.rotation[:, :, 2]
        self._mocap_pos[ids, self._gimbal] = camera[ids]
        self._mocap_quat[ids, self._gimbal] = orientation[ids]

    def step(self, thrusts: Array, wind: Array, nstep: int, ids: Ids | None = None, mass: Array | float = 1.0) -> None:
        """Advance the simulations ``ids`` (all if None) by ``nstep`` substeps under rotor thrusts and wind drag.

        Args:
            thrusts: (N, 4) newtons.
            wind: (N, 3) m/s, the air's velocity.
            nstep: substeps of the model's time step.
            ids: the simulations to move; the others stand still in time.
            mass: (N,) share of the model's mass and inertia that the drone has. Under gravity and contact with what
                it can't move, all others being forces, it flies exactly as the model under forces divided by it.
        """
        share = np.reshape(mass, (-1, 1))
        self._ctrl[:] = thrusts / share
        self._wrench[:, self._drone, :3] = ROTOR_DRAG * (wind - self.velocity) / share
        self._batch.step(ids, nstep=nstep)

    def refresh(self, ids: Ids | None = None) -> None:
        """Bring poses of geoms and cameras, and the touch sensors, up to date with the state."""
        self._batch.forward(ids)

    def state_dict(self) -> State:
        """Return MuJoCo's integration state: all that the next step depends on, warm start and forces included."""
        return {"integration": self._batch.state.copy()}

    def load_state_dict(self, state: State) -> None:
        """Restore ``state``, of as many simulations of the same model, and what is derived from it."""
        self._batch.state[...] = state["integration"]
        self.refresh()


def usable_processors() -> int:
    """Return the number of processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
