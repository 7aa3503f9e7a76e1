"""``export.py``: a policy as ONNX with a file that says what goes in and comes out, checked before it is written."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from glideslope.build import make_env, use_threads, uses_pixels
from glideslope.display.commands import near
from glideslope.display.console import say, screen
from glideslope.envs import ENV_ID
from glideslope.envs.gimbal import ANGLE_LIMITS
from glideslope.envs.layout import VELOCITY_BOUND, velocity_limits
from glideslope.errors import UserError, failure
from glideslope.evaluation.inspection import locate
from glideslope.evaluation.policy import Trained, newest_frame, open_trained
from glideslope.evaluation.scoring import TEST_SEED
from glideslope.runs.run_folder import VERSIONS
from glideslope.settings import ExportSettings, Settings
from glideslope.storage.atomic_files import read_json_object, replacing
from glideslope.storage.caches import use_writable_caches

if TYPE_CHECKING:
    import onnxruntime

FORMAT = 1
LARGEST_DIFFERENCE = 1e-5
_OBSERVATIONS = 1000
_ENVS = 20
_AXES = ("velocity_forward", "velocity_left", "velocity_up", "gimbal_pitch", "gimbal_yaw")


def export(settings: ExportSettings, console: Console | None = None) -> int:
    """Write the policy of a snapshot as ONNX with its description; return the exit status.

    Both files appear once onnxruntime has answered recorded observations as the snapshot does.

    Raises:
        UserError: the snapshot or the file can't be used, a package is missing, or the answers differ. Nothing is left
            behind.
    """
    console = console or screen()
    out = Path(settings.out).expanduser()
    _require_packages()
    trained = open_trained(locate("run", str(settings.run)), "cpu", lambda note: say(console, note))
    _require_writable(out)
    use_threads(settings.num_threads)
    use_writable_caches(lambda note: say(console, f"Note: {note}"))
    say(console, f"Exporting {trained.path.resolve().parent.name}/{trained.path.name} ...")
    try:
        with replacing(out.with_suffix(".json")) as description, replacing(out) as model:
            write_onnx(trained, model)
            say(console, f"Checking it on {_OBSERVATIONS:,} observations ...")
            observations = record_observations(trained, _OBSERVATIONS, settings.num_threads)
            difference = largest_difference(trained, model, observations)
            if not difference <= LARGEST_DIFFERENCE:
                rule = f"{difference:.2g} apart from those of the snapshot; at most {LARGEST_DIFFERENCE:g} is allowed"
                raise UserError(f"{out}: is not written: onnxruntime's actions are up to {rule}")
            text = json.dumps(describe(trained, out.name, difference), indent=2)
            description.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"out={settings.out}: can't write {failure(error)}") from error
    say(console, f"Its actions, from -1 to 1, differ from the snapshot's by {difference:.1g} at most.")
    say(console, "Written: ", f"{near(out)} and {near(out.with_suffix('.json'))}")
    return 0


def _require_writable(out: Path) -> None:
    for path in (out, out.with_suffix(".json")):
        if path.is_dir():
            raise UserError(f"out={out}: {path} is a folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out.parent / f"{out.name}.check") as probe:
            probe.touch()
        (out.parent / f"{out.name}.check").unlink()
    except OSError as error:
        raise UserError(f"out={out}: can't write {failure(error)}") from error


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f'an export needs the package {error.name}: pip install "glideslope[onnx]"') from error


def write_onnx(trained: Trained, path: Path) -> None:
    """Write the policy, for any number of drones at once, as one ONNX file."""
    example = {name: torch.zeros((2, *shape), dtype=kind) for name, (shape, kind) in _inputs(trained.settings).items()}
    arguments = tuple(example.get(name) for name in ("pixels", "state", "privileged"))
    # A name, not a Dim: given that, PyTorch 2.13 exports some networks for the example's batch alone.
    dynamic = tuple(None if argument is None else {0: "batch"} for argument in arguments)
    policy = trained.agent.policy.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own exporter warns of itself
        logging.disable(logging.WARNING)
        try:
            program = torch.onnx.export(
                policy,
                arguments,
                dynamo=True,
                input_names=list(example),
                output_names=["action"],
                dynamic_shapes=dynamic,
                verbose=False,
            )
            assert program is not None
            program.save(str(path), external_data=False)
        finally:
            logging.disable(logging.NOTSET)


def _inputs(settings: Settings) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Return the shape of one drone's inputs and their type, by name."""
    depth = settings.frame_stack
    return {
        name: (shape if name == "privileged" else (depth, *shape), torch.uint8 if name == "pixels" else torch.float32)
        for name, shape in newest_frame(settings).items()
    }


def record_observations(trained: Trained, count: int, num_threads: int = 0) -> dict[str, NDArray[Any]]:
    """Return `count` observations from flights of the policy in the stage of its training, by part."""
    settings = trained.settings.model_copy(update={"num_threads": num_threads})
    stage = settings.curriculum.stages[trained.stage]
    recorded: list[dict[str, NDArray[Any]]] = []
    with closing(make_env(settings, _ENVS, stage, "cpu")) as env:
        observation, _ = env.reset(seed=TEST_SEED)
        while len(recorded) * _ENVS < count:
            recorded.append({name: np.array(observation[name]) for name in _inputs(settings)})
            actions = trained.agent.act(observation, None).cpu().numpy()
            observation, *_ = env.step(actions)
    return {name: np.concatenate([each[name] for each in recorded])[:count] for name in recorded[0]}


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Return an onnxruntime session of one thread on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def largest_difference(trained: Trained, path: Path, observations: dict[str, NDArray[Any]]) -> float:
    """Return how far apart an action of the file and one of the snapshot are at most; NaN where one is none."""
    (actions,) = open_session(path).run(["action"], observations)
    expected = trained.agent.act(observations, None).cpu().numpy()
    return float(np.abs(actions - expected).max())


def describe(trained: Trained, name: str, difference: float) -> dict[str, Any]:
    """Return what another program must know of the policy, as plain data."""
    settings = trained.settings
    task = settings.task
    speeds = dict(zip(_AXES[:3], velocity_limits(task), strict=True))
    gimbal = {
        "position": ("rad", ANGLE_LIMITS.tolist()),
        "velocity": ("rad/s", [task.gimbal_max_rate] * 2),
        "acceleration": ("rad/s^2", [task.gimbal_max_acceleration] * 2),
    }
    unit, scales = gimbal[task.gimbal_control]
    actions = [{"name": axis, "unit": "m/s", "scale": speed} for axis, speed in speeds.items()]
    actions += [{"name": axis, "unit": unit, "scale": scale} for axis, scale in zip(_AXES[3:], scales, strict=True)]
    kinds = {torch.uint8: "uint8", torch.float32: "float32"}
    inputs = []
    for part, (shape, kind) in _inputs(settings).items():
        entry = {"name": part, "shape": ["batch", *shape], "type": kinds[kind]}
        inputs.append({**entry, **_meaning(part, settings, speeds)})
    git = read_json_object(trained.path.parent / VERSIONS).get("git") or {}
    return {
        "format": FORMAT,
        "policy": name,
        "inputs": inputs,
        "output": {
            "name": "action",
            "shape": ["batch", len(_AXES)],
            "type": "float32",
            "range": [-1.0, 1.0],
            "meaning": "times its scale: velocity in the heading frame, and the gimbal's command",
            "columns": actions,
        },
        "frame_stack": {
            "frames": settings.frame_stack,
            "order": "newest last",
            "start": "the first frame fills the stack",
        },
        "decision_rate_hz": task.decision_hz / settings.action_repeat,
        "gimbal": {
            "control": task.gimbal_control,
            "stabilized": task.gimbal_stabilized,
            "at_rest": "looks straight down",
            "limits_rad": ANGLE_LIMITS.tolist(),
        },
        "training": {
            "snapshot": trained.path.name,
            "frame": trained.frame,
            "stage": settings.curriculum.stages[trained.stage].name,
            "success_rate": trained.success_rate,
            "profile": settings.profile,
            "encoder": settings.agent.encoder.name,
            "actor_critic": settings.agent.actor_critic.name,
            "commit": git.get("commit"),
        },
        "environment": {
            "id": ENV_ID,
            "task": task.to_plain(),
            "stage": settings.curriculum.stages[trained.stage].to_plain(),
            "pixels": uses_pixels(settings),
            "privileged": not uses_pixels(settings),
            "frame_stack": settings.frame_stack,
            "action_repeat": settings.action_repeat,
        },
        "check": {"observations": _OBSERVATIONS, "largest_difference": difference, "allowed": LARGEST_DIFFERENCE},
    }


def _meaning(part: str, settings: Settings, speeds: dict[str, float]) -> dict[str, Any]:
    """Return what an input's numbers are."""
    task = settings.task
    if part == "pixels":
        return {
            "range": [0, 255],
            "meaning": "grayscale views of the gimbal camera",
            "field_of_view_deg": task.camera_fov_deg,
        }
    if part == "privileged":
        return {"meaning": "the simulator's state: see LandingTask.privileged; for flights in the simulator only"}
    fastest = [-VELOCITY_BOUND, VELOCITY_BOUND]
    columns: list[dict[str, Any]] = [
        {"name": axis, "unit": "m/s", "divided_by": speed, "range": fastest} for axis, speed in speeds.items()
    ]
    for body in ("attitude", "gimbal"):
        unit = "unit quaternion, scalar first and not negative"
        columns += [{"name": f"{body}_{axis}", "unit": unit, "range": [-1.0, 1.0]} for axis in "wxyz"]
    if task.range_finder:
        shortest, longest = task.range_finder_range
        height = {"name": "height_below", "unit": "m", "divided_by": longest, "nothing_measured": 1.0}
        columns.append({**height, "range": [shortest / longest, 1.0]})
    return {"meaning": "what instruments tell, in the heading frame", "columns": columns}
