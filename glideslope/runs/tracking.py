"""Send a run's numbers, settings and film to an experiment tracker too: Weights & Biases or MLflow.

A tracker gets the rows of train.csv and eval.csv under the same names, over frames. Where and as whom follows the
service's own environment variables (WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, ...).
A resumed run continues the entry that its folder's tracking.json names. A tracker that fails is reported once
and left alone from then on: it never ends a training.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

from glideslope.errors import UserError, typed
from glideslope.settings.checks import flat_settings
from glideslope.storage.atomic_files import read_json_object, write_text

TRACKING = "tracking.json"
PROJECT = "glideslope"
PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}
Service: TypeAlias = Literal["wandb", "mlflow"]
End: TypeAlias = Literal["finished", "stopped", "failed"]

_LONGEST_PARAMETER = 6_000  # characters that MLflow takes
_PARAMETERS_PER_CALL = 100


class Tracker:
    """The tracker of a run that has none: it does nothing. Others implement the same calls."""

    def log(self, frame: int, values: Mapping[str, float]) -> None:
        """Send one row."""

    def finish(self, film: Path | None, end: End) -> None:
        """Send the film, if there is one, and close the entry."""


def require_service(service: Service | None) -> None:
    """Check what can be checked before any work.

    Raises:
        UserError: the service's package isn't installed, or nobody is logged in to it.
    """
    if service is None:
        return
    if find_spec(PACKAGES[service]) is None:
        raise UserError(
            f"track={service}: the package {PACKAGES[service]} is not installed; "
            "install it with: pip install 'glideslope[track]'"
        )
    if service == "wandb":
        import wandb

        offline = os.environ.get("WANDB_MODE", "online") in ("offline", "disabled", "dryrun")
        if not offline and not wandb.login(prompt=False, verify=False):
            raise UserError("track=wandb: not logged in; run `wandb login`, or set WANDB_MODE=offline")


def open_tracker(
    service: Service | None, run_dir: Path, settings: Mapping[str, Any], command: str, note: Callable[[str], None]
) -> Tracker:
    """Open the run's entry at a service, the one from before a resume where there is one; None: one that does nothing.

    The folder exists, the settings are plain data, `command` starts the run, and `note` is told of a failure, once.

    Raises:
        UserError: the service can't be reached, or the folder can't be written to.
    """
    if service is None:
        return Tracker()
    known = {n: entry for n, entry in read_json_object(run_dir / TRACKING).items() if isinstance(entry, str)}
    try:
        kind = WandbTracker if service == "wandb" else MlflowTracker
        tracker = kind(run_dir, settings, command, known.get(service))
        write_text(run_dir / TRACKING, json.dumps({**known, service: tracker.id}, indent=2) + "\n")
    except Exception as error:  # each service has its own kinds, and network libraries below it theirs
        raise UserError(f"track={service}: can't be started: {_first_line(error)}") from error
    return _Guarded(tracker, service, note)


class _Guarded(Tracker):
    """Keeps a service's failures from the training."""

    def __init__(self, tracker: Tracker, service: str, note: Callable[[str], None]) -> None:
        self._tracker, self._service, self._note = tracker, service, note
        self._failed = False

    def log(self, frame: int, values: Mapping[str, float]) -> None:
        self._try(lambda: self._tracker.log(frame, values))

    def finish(self, film: Path | None, end: End) -> None:
        self._try(lambda: self._tracker.finish(film, end))

    def _try(self, call: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            call()
        except Exception as error:  # as above
            self._failed = True
            self._note(f"track={self._service} has failed and gets nothing more: {_first_line(error)}")


class WandbTracker(Tracker):
    """A run of Weights & Biases."""

    def __init__(self, run_dir: Path, settings: Mapping[str, Any], command: str, known: str | None) -> None:
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=known,
            name=run_dir.name,
            resume="allow",
            config={**settings, "command": command},
            dir=run_dir,
            # The progress display is ours, and so are the signals.
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.id = str(self._run.id)

    def log(self, frame: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=frame)

    def finish(self, film: Path | None, end: End) -> None:
        if film is not None:
            self._run.log({film.stem: self._wandb.Video(str(film), format="mp4")})
        self._run.finish(exit_code=0 if end == "finished" else 1)


class MlflowTracker(Tracker):
    """A run of MLflow."""

    def __init__(self, run_dir: Path, settings: Mapping[str, Any], command: str, known: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        self._client, self._metric = MlflowClient(), Metric
        if known is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = self._client.get_experiment_by_name(name)
            place = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
            self.id = str(self._client.create_run(place, run_name=run_dir.name).info.run_id)
            # A resume can't change parameters: its settings are in the artifact config.yaml.
            items = [Param(key, typed(value)[:_LONGEST_PARAMETER]) for key, value in flat_settings(settings)]
            for first in range(0, len(items), _PARAMETERS_PER_CALL):
                self._client.log_batch(self.id, params=items[first : first + _PARAMETERS_PER_CALL])
        else:
            self.id = known
            self._client.update_run(known, status="RUNNING")
        self._client.log_batch(self.id, tags=[RunTag("command", command)])
        self._client.log_dict(self.id, dict(settings), "config.yaml")

    def log(self, frame: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[self._metric(key, value, now, frame) for key, value in values.items()])

    def finish(self, film: Path | None, end: End) -> None:
        if film is not None:
            self._client.log_artifact(self.id, str(film))
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[end]
        self._client.set_terminated(self.id, status)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
