"""A run's folder: claimed by one process at a time, with the record of what ran in it.

.lock           held by the process that trains here; its number and host are written in it
config.yaml     the resolved configuration; there from the first moment of a run
versions.json   versions of everything that computed the run, and the code's git commit
finished.json   there once the run is complete
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import yaml  # type: ignore[import-untyped]

from glideslope import __version__
from glideslope.files import remove_temporaries, write_text
from glideslope.settings import UserError

LOCK = ".lock"
CONFIG = "config.yaml"
VERSIONS = "versions.json"
FINISHED = "finished.json"
# Any of these shows that a run began here.
_TRACES = (CONFIG, "train.csv", "eval.csv", "snapshot.pt")

_PACKAGES = (
    *("torch", "mujoco", "mujoco-warp", "warp-lang", "gymnasium", "numpy", "hydra-core", "omegaconf"),
    *("pydantic", "tensorboard", "matplotlib", "rich", "imageio", "imageio-ffmpeg"),
)
_GIT_SECONDS = 10


class RunFolder:
    """A folder that this process holds until `release`, or until the process ends in any way.

    Made by `claim`; a context manager.

    Attributes:
        path: the folder, absolute.
        contents: what was in it when it was claimed: `empty` (no run), `unfinished` or `finished`.
    """

    def __init__(self, path: Path, contents: Literal["empty", "unfinished", "finished"], lock: int) -> None:
        self.path = path
        self.contents = contents
        self._lock: int | None = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Lets other processes claim the folder. May be called twice."""
        if self._lock is not None:
            # Unlocked, not only closed: a forked child may still have it open.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = None

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the resolved configuration, plain data, to config.yaml."""
        write_text(self.path / CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def write_versions(self) -> None:
        """Writes `versions` to versions.json."""
        write_text(self.path / VERSIONS, json.dumps(versions(), indent=2) + "\n")

    def mark_finished(self, summary: Mapping[str, Any]) -> None:
        """Writes finished.json with a summary of the run, plain data: the run's last act."""
        write_text(self.path / FINISHED, json.dumps(dict(summary), indent=2) + "\n")


def claim(run_dir: Path, *, resume: bool = False) -> RunFolder:
    """Takes a folder for this process alone, making it and its parents if need be.

    Args:
        run_dir: the folder.
        resume: whether an unfinished run in it is welcome.

    Raises:
        UserError: another process holds the folder; it can't be made or written to; or it holds an
            unfinished run and `resume` is false. A run that is in the folder is left untouched then.
    """
    path = Path(os.path.abspath(run_dir))
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"can't write to the run folder {path}: {error.strerror}") from error
    try:
        if not os.access(path, os.W_OK | os.X_OK):
            raise UserError(f"can't write to the run folder {path}: no permission")
        _take(lock, path)
        contents = _contents(path)
        if contents == "unfinished" and not resume:
            raise UserError(
                f"{path} holds an unfinished run: choose another folder, or move that one out of the way"
            )
        remove_temporaries(path)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return RunFolder(path, contents, lock)


def _take(lock: int, path: Path) -> None:
    # The kernel lets go of the lock when the process ends, even killed: no lock can go stale.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid, _, host = os.pread(lock, 1000, 0).decode(errors="replace").strip().partition(" ")
        holder = f"process {pid} on {host}" if pid and host else "another process"
        raise UserError(f"the run folder {path} is in use by {holder}") from error
    except OSError as error:
        raise UserError(f"can't lock the run folder {path}: {error.strerror}") from error


def _contents(path: Path) -> Literal["empty", "unfinished", "finished"]:
    if (path / FINISHED).exists():
        return "finished"
    return "unfinished" if any((path / name).exists() for name in _TRACES) else "empty"


def read_config(run_dir: Path) -> dict[str, Any]:
    """The configuration that a run was started with, as plain data.

    Raises:
        UserError: the folder is not a run's, or its config.yaml is damaged.
    """
    path = run_dir / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{run_dir} is not a run folder: can't read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is damaged: it should be a mapping")
    return config


def require_free_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Refuses to begin what would fill the disk.

    Raises:
        UserError: fewer than `needed_bytes` are free where `folder` lies.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise UserError(
            f"{purpose} needs {needed_bytes / 2**30:.1f} GiB of disk space,"
            f" but only {free / 2**30:.1f} GiB are free in {folder}"
        )


def versions() -> dict[str, Any]:
    """What computes a run: versions of this program, Python and packages, the platform and the git commit.

    Plain data. A package that isn't installed is null; so is `git` where the code isn't in a git checkout.
    """
    return {
        "glideslope": __version__,
        "git": _git_state(Path(__file__).resolve().with_name("__init__.py")),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state(file: Path) -> dict[str, Any] | None:
    """Commit of the checkout that tracks `file`, and whether tracked files differ from it."""
    # A package installed inside somebody else's checkout is not tracked there: that commit says nothing.
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _git(file.parent, "rev-parse", "HEAD")
    changes = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    # A hook's GIT_DIR would point elsewhere; without optional locks nobody at work there is disturbed.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            env={**inherited, "GIT_OPTIONAL_LOCKS": "0"},
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
