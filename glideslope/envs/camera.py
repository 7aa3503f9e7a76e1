"""Batched cameras: every environment's view, ray-cast by mujoco_warp on the CPU or a CUDA device.

The renderer draws poses that the physics hands over; it simulates nothing. On the CPU a render context runs on
one thread, so the worlds are split over several contexts that render side by side.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp
from numpy.typing import NDArray

from glideslope.envs.native_output import without_native_lines
from glideslope.envs.physics import Physics
from glideslope.envs.scenario import GROUND_TEXTURES, PAD_TEXTURES, Scenarios
from glideslope.storage.caches import use_writable_caches

Ids = NDArray[np.intp]
Image = NDArray[np.uint8]

ONBOARD_GROUPS = (0,)
_ALL_GROUPS = (0, 1, 2)
_FEWEST_WORLDS = 4  # for fewer a thread of their own doesn't pay
TEXTURE_ROLE_RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)


_warp_is_ready = False


def initialise_warp() -> None:
    """Start warp once, with a kernel cache that can be written to; only its errors reach the screen."""
    global _warp_is_ready
    if _warp_is_ready:
        return
    use_writable_caches(lambda note: warnings.warn(note, stacklevel=4))
    wp.config.log_level = wp.LOG_ERROR
    # Its native part tells of a missing driver whatever the log level is.
    with without_native_lines("Warp CUDA warning: Could not find or load the NVIDIA CUDA driver"):
        wp.init()
    _warp_is_ready = True


def warp_device(device: str) -> str:
    """Return the warp name of a torch device string: ``cuda`` means ``cuda:0``."""
    return "cuda:0" if device == "cuda" else device


class Camera:
    """Renders one camera of the landing scene for a fixed number of worlds per call."""

    def __init__(
        self,
        model: mujoco.MjModel,
        name: str,
        *,
        num_worlds: int,
        resolution: tuple[int, int],
        device: str = "cpu",
        groups: Sequence[int] = ONBOARD_GROUPS,
        shadows: bool = False,
        sky: bool = False,
        samples_per_pixel: int = 1,
    ) -> None:
        """Compile the scene for the renderer.

        Args:
            num_worlds: worlds drawn per call.
            resolution: (width, height) in pixels.
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            groups: geom groups that the camera sees.
            shadows: cast shadows; costs one more ray per pixel and light.
            sky: draw the sky box instead of a flat colour.
            samples_per_pixel: per axis; n costs n² renders.
        """
        initialise_warp()
        self._device = warp_device(device)
        self._resolution = resolution
        self.num_worlds = num_worlds
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        with wp.ScopedDevice(self._device):
            self._model = mjw.put_model(model)
            self._data = mjw.put_data(model, data, nworld=num_worlds)
            self._look = _Look(model, self._model, num_worlds, self._device)
            self._context: Any = mjw.create_render_context(
                model,
                nworld=num_worlds,
                cam_res=resolution,
                cam_active=[name],
                render_rgb=True,
                render_depth=False,
                use_shadows=shadows,
                enabled_geom_groups=list(groups),
                enable_specular=False,
                enable_emission=False,
                enable_backface_culling=False,
                render_skybox=sky,
                background_color=(0.74, 0.82, 0.92, 1.0),
                samples_per_pixel=samples_per_pixel,
            )

    def render(self, physics: Physics, scenarios: Scenarios, ids: Ids) -> Image:
        """Return images (n, height, width, 3) in RGB of the environments ``ids``, at most ``num_worlds`` of them.

        The physics' derived poses must be up to date (:meth:`Physics.refresh`). Any thread may call it, one at a time:
        it sets warp's current device, which is process-wide.
        """
        with wp.ScopedDevice(self._device):
            return self.draw(physics, scenarios, ids)

    def draw(self, physics: Physics, scenarios: Scenarios, ids: Ids) -> Image:
        """As :meth:`render`, on warp's current device, which is process-wide: safe to call from several threads."""
        rows = np.resize(ids, self.num_worlds)
        data = self._data
        data.nworld = len(ids)  # no rays are cast for the others
        _write(data.geom_xpos, physics.geom_xpos[rows])
        _write(data.geom_xmat, physics.geom_xmat[rows].reshape(self.num_worlds, -1, 3, 3))
        _write(data.cam_xpos, physics.cam_xpos[rows])
        _write(data.cam_xmat, physics.cam_xmat[rows].reshape(self.num_worlds, -1, 3, 3))
        _write(data.light_xdir, scenarios.sun_direction[rows][:, None, :])
        self._look.write(scenarios, rows)
        mjw.refit_bvh(self._model, data, self._context)
        mjw.render(self._model, data, self._context)
        packed = self._context.rgb_data.numpy()
        width, height = self._resolution
        channels = packed.view(np.uint8).reshape(self.num_worlds, height, width, 4)
        return np.ascontiguousarray(channels[: len(ids), ..., 2::-1])


def chase_camera(model: mujoco.MjModel, resolution: tuple[int, int], device: str) -> Camera:
    """Return the camera behind and above the drone, for one world; resolution: (width, height)."""
    return Camera(
        model, "chase", num_worlds=1, resolution=resolution, device=device, groups=_ALL_GROUPS, shadows=True, sky=True
    )


class _Look:
    """Per-world materials and light of the renderer's model."""

    def __init__(self, model: mujoco.MjModel, warp_model: Any, num_worlds: int, device: str) -> None:
        self._ground = model.material("ground").id
        self._pad = model.material("pad_top").id
        self._vehicle = model.material("vehicle").id
        self._ground_textures = np.array([model.texture(name).id for name in GROUND_TEXTURES])
        self._pad_textures = np.array([model.texture(name).id for name in PAD_TEXTURES])
        self._host: dict[str, NDArray[Any]] = {}
        self._targets: dict[str, Any] = {}
        for name in ("mat_texid", "mat_rgba", "mat_texrepeat", "light_diffuse", "light_ambient"):
            shared = getattr(warp_model, name)
            values = np.repeat(shared.numpy()[:1], num_worlds, axis=0)
            self._host[name] = values
            self._targets[name] = wp.array(values, dtype=shared.dtype, device=device)
            setattr(warp_model, name, self._targets[name])

    def write(self, scenarios: Scenarios, rows: Ids) -> None:
        host = self._host
        host["mat_texid"][:, self._ground, TEXTURE_ROLE_RGB] = self._ground_textures[scenarios.ground_texture[rows]]
        host["mat_texid"][:, self._pad, TEXTURE_ROLE_RGB] = self._pad_textures[scenarios.pad_texture[rows]]
        host["mat_rgba"][:, self._ground, :3] = scenarios.ground_tint[rows]
        host["mat_rgba"][:, self._pad, :3] = scenarios.pad_tint[rows]
        host["mat_rgba"][:, self._vehicle, :3] = scenarios.vehicle_tint[rows]
        host["mat_texrepeat"][:, self._ground] = 2.0 * scenarios.texture_scale[rows][:, None]
        host["light_diffuse"][:, 0] = scenarios.sun_diffuse[rows][:, None]
        host["light_ambient"][:, 0] = scenarios.sun_ambient[rows][:, None]
        for name, target in self._targets.items():
            _write(target, host[name])


class OnboardCamera:
    """The gimbal cameras' grayscale views, of all environments at once or of a few."""

    def __init__(self, model: mujoco.MjModel, *, num_envs: int, image_size: int, device: str, num_threads: int) -> None:
        """Prepare contexts for ``num_envs`` square views of ``image_size`` pixels on ``device``.

        On the CPU the views are shared among ``num_threads`` contexts, each drawn by a thread of its own.
        """
        on_cpu = device == "cpu"
        parts = max(1, min(num_threads, num_envs // _FEWEST_WORLDS)) if on_cpu else 1

        def make(worlds: int) -> Camera:
            return Camera(model, "onboard", num_worlds=worlds, resolution=(image_size, image_size), device=device)

        self._device = warp_device(device)
        self._everyone = np.arange(num_envs)
        self._cameras = [make(len(ids)) for ids in np.array_split(self._everyone, parts)]
        self._pool = ThreadPoolExecutor(parts, thread_name_prefix="camera") if parts > 1 else None

    def render(self, physics: Physics, scenarios: Scenarios, ids: Ids | None = None) -> Image:
        """Return grayscale views (n, size, size) of the environments ``ids``, of which there is one; of all if None."""
        if ids is None:
            ids = self._everyone
        parts = np.array_split(ids, min(len(self._cameras), -(-len(ids) // _FEWEST_WORLDS)))
        if self._pool is None or len(parts) == 1:
            return _grayscale(self._cameras[0].render(physics, scenarios, parts[0]))

        def draw(camera: Camera, part: Ids) -> Image:
            return _grayscale(camera.draw(physics, scenarios, part))

        with wp.ScopedDevice(self._device):
            return np.concatenate(list(self._pool.map(draw, self._cameras, parts)))

    def close(self) -> None:
        """Stop the drawing threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _write(target: Any, values: NDArray[Any]) -> None:
    """Copy ``values`` into a warp array: in place on the CPU, by one transfer on a GPU."""
    if target.device.is_cpu:
        target.numpy()[...] = values
    else:
        target.assign(np.ascontiguousarray(values, dtype=np.int32 if values.dtype.kind == "i" else np.float32))


def _grayscale(rgb: Image) -> Image:
    """Return the ITU-R BT.601 luma of (..., 3) images, in integer arithmetic."""
    weighted = rgb[..., 0] * np.uint16(77) + rgb[..., 1] * np.uint16(150) + rgb[..., 2] * np.uint16(29)
    return (weighted >> 8).astype(np.uint8)
