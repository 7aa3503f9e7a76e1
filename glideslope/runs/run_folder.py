"""A run's folder: claimed by one process at a time, with the record of what ran in it.

.lock           held by the process that trains here; its number and host are written in it
config.yaml     the resolved configuration; there from the first moment of a run
overrides.yaml  the command line's overrides that led to it, as typed, those of resumes included
versions.json   versions of everything that computed the run, and the code's git commit; a resume adds its own
finished.json   there once the run is complete
output.log      what a run prints that a sweep or a search trains in a process of its own
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from glideslope import __version__
from glideslope.errors import UserError, data_size, reason
from glideslope.settings.yaml_files import YamlError, dump_yaml, read_yaml
from glideslope.storage.atomic_files import read_json_object, remove_temporaries, write_text

LOCK = ".lock"
CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
VERSIONS = "versions.json"
FINISHED = "finished.json"
TRAIN_CSV = "train.csv"
EVAL_CSV = "eval.csv"
OUTPUT = "output.log"
ROLLING = "snapshot.pt"
_LONGEST_ROW = 4096  # bytes; of train.csv
LONGEST_NAME = 80  # characters in the name of a run's folder
# Any of these shows that a run began here.
_TRACES = (CONFIG, TRAIN_CSV, EVAL_CSV, ROLLING)

_PACKAGES = (
    *("torch", "mujoco", "mujoco-warp", "warp-lang", "gymnasium", "numpy", "hydra-core", "omegaconf"),
    *("pydantic", "tensorboard", "matplotlib", "rich", "imageio", "imageio-ffmpeg"),
)
# Those whose versions the numbers of a run depend on.
_COMPUTING = ("torch", "mujoco", "mujoco-warp", "warp-lang", "gymnasium", "numpy")
_GIT_SECONDS = 10


class RunFolder:
    """A folder that this process holds until `release`, or until the process ends in any way.

    Made by `claim`; a context manager.

    Attributes:
        path: the folder, absolute.
        contents: what was in it when it was claimed: `empty` (no run), `unfinished` or `finished`.
    """

    def __init__(
        self, path: Path, contents: Literal["empty", "unfinished", "finished"], lock: int | None, *, made: bool = False
    ) -> None:
        self.path = path
        self.contents = contents
        self._lock: int | None = lock
        self._made = made  # by the claim

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process know the folder, which it doesn't hold."""
        return RunFolder, (self.path, self.contents, None)

    def release(self) -> None:
        """Let other processes claim the folder; remove one that was made and not used. May be called twice."""
        if self._lock is not None:
            with suppress(OSError):
                if self._made and os.listdir(self.path) == [LOCK]:
                    (self.path / LOCK).unlink()
                    self.path.rmdir()
            # Unlocked, not only closed: a forked child may still have it open.
            fcntl = _file_locks()
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = None

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved configuration, plain data, to config.yaml."""
        write_text(self.path / CONFIG, dump_yaml(dict(config)))

    def write_overrides(self, overrides: Sequence[str]) -> None:
        """Write the overrides that the user typed to overrides.yaml; after config.yaml, which they explain.

        Should the process end between the two, the configuration is the newer one: nothing typed is lost.
        """
        write_text(self.path / OVERRIDES, dump_yaml(list(overrides), width=10_000))

    def write_versions(self) -> None:
        """Write `versions` to versions.json; where a run's are there already, add them under "resumed"."""
        record = read_json_object(self.path / VERSIONS) if self.contents != "empty" else {}
        now = versions()
        if record:
            before = record.get("resumed")
            now = {**record, "resumed": [*(before if isinstance(before, list) else []), now]}
        write_text(self.path / VERSIONS, json.dumps(now, indent=2) + "\n")

    def mark_finished(self, summary: Mapping[str, Any]) -> None:
        """Write finished.json with a summary of the run, plain data: the run's last act."""
        write_text(self.path / FINISHED, json.dumps(dict(summary), indent=2) + "\n")

    def reopen(self) -> None:
        """Remove finished.json, if it is there: the run resumes with more frames."""
        (self.path / FINISHED).unlink(missing_ok=True)
        if self.contents == "finished":
            self.contents = "unfinished"


class FolderInUseError(UserError):
    """Another process holds the folder."""


def claim(run_dir: Path, *, resume: bool = False) -> RunFolder:
    """Take a folder for this process alone, making it and its parents if need be; to `resume` an unfinished run too.

    Raises:
        UserError: another process holds the folder; it can't be made or written to; or it holds an
            unfinished run and `resume` is false. A run in the folder is left untouched.
    """
    _file_locks()
    path = Path(os.path.abspath(run_dir))
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"can't write to the run folder {path}: {reason(error)}") from error
    try:
        if not os.access(path, os.W_OK | os.X_OK):
            raise UserError(f"can't write to the run folder {path}: no permission")
        _take(lock, path)
        if os.fstat(lock).st_nlink == 0:
            raise UserError(f"the run folder {path} was removed by another process just now: try again")
        contents = _contents(path)
        if contents == "unfinished" and not resume:
            raise UserError(f"{path} holds an unfinished run: choose another folder, or move that one out of the way")
        remove_temporaries(path)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, OSError):
            raise UserError(f"can't write to the run folder {path}: {reason(error)}") from error
        raise
    return RunFolder(path, contents, lock, made=made)


def claim_new(run_dir: Path) -> RunFolder:
    """Make a folder for a new run and take it for this process alone.

    Where it is there already, the name gets a number: that run began in the same second.

    Raises:
        UserError: it can't be made or written to.
    """
    _file_locks()
    folder = claim(make_new(run_dir))
    folder._made = True
    return folder


def make_new(path: Path) -> Path:
    """Make a folder that no other process has, `path` or the first of its numbered names that is free.

    Raises:
        UserError: it can't be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            free = first_free(path)
            with suppress(FileExistsError):  # another process was faster
                free.mkdir()
                return free
    except OSError as error:
        raise UserError(f"can't make the run folder {path}: {reason(error)}") from error


def first_free(path: Path) -> Path:
    """Return `path`, or where it exists the first of path-2, path-3, ... that doesn't; nothing is made."""
    for number in count(1):
        end = f"-{number}" if number > 1 else ""
        free = path.with_name(path.name[: LONGEST_NAME - len(end)].rstrip("-._") + end) if end else path
        if not os.path.lexists(free):
            break
    return free


def _file_locks() -> Any:
    """Return the module `fcntl`, which Windows lacks.

    Raises:
        UserError: there is none.
    """
    try:
        import fcntl
    except ImportError as error:
        raise UserError(
            "a training needs file locks, which this system doesn't have: train on Linux, macOS or WSL"
        ) from error
    return fcntl


def _take(lock: int, path: Path) -> None:
    fcntl = _file_locks()
    # The kernel lets go of the lock when the process ends, even killed: no lock can go stale.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid, host = _holder(lock)
        holder = f"process {pid} on {host}" if pid and host else "another process"
        raise FolderInUseError(f"the run folder {path} is in use by {holder}") from error
    except OSError as error:
        raise UserError(f"can't lock the run folder {path}: {reason(error)}") from error


def _holder(lock: int) -> tuple[str, str]:
    """Return process number and host of who locked a file last."""
    pid, _, host = os.pread(lock, 1000, 0).decode(errors="replace").strip().partition(" ")
    return pid, host


def holder_here(run_dir: Path) -> int | None:
    """Return the number of the process on this host that holds a folder; None where none does."""
    fcntl = _file_locks()
    try:
        lock = os.open(run_dir / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, host = _holder(lock)
        return int(pid) if pid.isdecimal() and host == socket.gethostname() else None
    except OSError:
        return None
    finally:
        os.close(lock)  # which unlocks it
    return None


def finished_frames(run_dir: Path) -> int:
    """Return the length in frames of the run that finished in a folder; 0 where there is none, or it isn't known."""
    frames = read_json_object(run_dir / FINISHED).get("frames")
    return frames if type(frames) is int else 0


def frames_done(run_dir: Path) -> int:
    """Return how many frames of a run are logged; all where it is finished."""
    if frames := finished_frames(run_dir):
        return frames
    try:
        with open(run_dir / TRAIN_CSV, "rb") as table:
            table.seek(max(0, table.seek(0, os.SEEK_END) - _LONGEST_ROW))
            rows = table.read().splitlines()
    except OSError:
        return 0
    first = rows[-1].partition(b",")[0] if rows else b""
    return int(first) if first.isdigit() else 0


def _contents(path: Path) -> Literal["empty", "unfinished", "finished"]:
    if (path / FINISHED).exists():
        return "finished"
    return "unfinished" if has_run(path) else "empty"


def has_run(path: Path) -> bool:
    """Return whether a run began in this folder."""
    return any((path / name).exists() for name in _TRACES)


def read_config(run_dir: Path) -> dict[str, Any]:
    """Return the configuration that a run was started with, as plain data.

    Raises:
        UserError: the folder is not a run's, or its config.yaml is damaged.
    """
    path = run_dir / CONFIG
    try:
        config = read_yaml(path)
    except OSError as error:
        raise UserError(f"{run_dir} is not a run folder: can't read {path}: {reason(error)}") from error
    except YamlError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} is damaged: it should be a mapping")
    return config


def runs_below(folder: Path) -> list[Path]:
    """Return the run folders in a folder and in the folders there, the newest first."""
    configs = [*folder.glob(f"*/{CONFIG}"), *folder.glob(f"*/*/{CONFIG}")]
    return [path.parent for path in sorted(configs, key=lambda path: (-path.stat().st_mtime, path))]


def typed_overrides(run_dir: Path) -> tuple[str, ...]:
    """Return the overrides that a run's configuration was composed with, as typed; none where there is no record.

    Raises:
        UserError: the folder's overrides.yaml can't be read or is damaged.
    """
    path = run_dir / OVERRIDES
    try:
        overrides = read_yaml(path)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UserError(f"can't read {path}: {reason(error)}") from error
    except YamlError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(overrides, list) or not all(isinstance(text, str) for text in overrides):
        raise UserError(f"{path} is damaged: it should be a list of key=value")
    return tuple(overrides)


def version_changes(run_dir: Path) -> list[str]:
    """Return which versions have changed since the start of the run, a line each; none where that is unknown."""
    began = read_json_object(run_dir / VERSIONS)
    if not began:
        return []
    old, new = dict(_computing(began)), dict(_computing(versions()))
    return [
        f"{name} {old[name] or 'not installed'} -> {new[name] or 'not installed'}:"
        " from here on the run may differ in the last bits"
        for name in new
        if name in old and old[name] != new[name]
    ]


def _computing(record: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield name and version of each thing in a record of `versions` that a run's numbers depend on."""
    for name in ("glideslope", "python", "platform"):
        if isinstance(record.get(name), str):
            yield name, record[name]
    packages, git = record.get("packages"), record.get("git")
    if isinstance(packages, dict):
        yield from ((name, packages[name]) for name in _COMPUTING if name in packages)
    if isinstance(git, dict):
        yield "git commit", f"{str(git.get('commit'))[:10]}{' with changes' if git.get('dirty') else ''}"


def require_free_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Check that there is enough free space on the disk.

    Raises:
        UserError: fewer than `needed_bytes` are free where `folder` lies.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise UserError(
            f"{purpose} needs {data_size(needed_bytes)} of disk space, but only {data_size(free)} are free in {folder}"
        )


def versions() -> dict[str, Any]:
    """Return what computes a run: versions of this program, Python and packages, the platform and the git commit.

    Plain data. A package that isn't installed is null; so is `git` where the code isn't in a git checkout.
    """
    return {
        "glideslope": __version__,
        "git": _git_state(Path(__file__).resolve().parents[1] / "__init__.py"),
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
    """Return the commit of the checkout that tracks `file`, and whether tracked files differ from it."""
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
