"""Gives libraries that keep caches a folder that can be written to, where their own can't."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from glideslope.errors import UserError, reason

# The renderer's compiled kernels are about as large; on a full disk there is no room for so much.
_PROBE_BYTES = 1 << 20


def use_writable_caches(note: Callable[[str], None]) -> None:
    """Point libraries whose cache can't be written to, by their environment variables, to the temporary folder.

    To be called before the libraries are used. `note` is told of each cache that was moved, with its variable.

    Raises:
        UserError: the temporary folder can't be written to either.
    """
    if not sys.platform.startswith("linux"):
        return
    caches, config = _home("XDG_CACHE_HOME", ".cache"), _home("XDG_CONFIG_HOME", ".config")
    for variable, what, usual in (
        ("WARP_CACHE_PATH", "The renderer's compiled kernels", [caches / "warp"]),
        ("MPLCONFIGDIR", "Matplotlib's files", [config / "matplotlib", caches / "matplotlib"]),
    ):
        fault = _use_writable(variable, usual)
        if fault is not None:
            note(f"{what} can't be kept in {fault}; used instead: {variable}={os.environ[variable]}")


def _use_writable(variable: str, usual: Sequence[Path]) -> str | None:
    """Set the variable if need be; return why, if its folder is another one than the user expects."""
    given = os.environ.get(variable)
    folders = [Path(given).absolute()] if given else usual
    fault = next(filter(None, map(_fault, folders)), None)
    if fault is None:
        # Libraries take an empty variable, theirs or the standard's, for the current folder.
        if not given and (given is not None or not os.path.isabs(os.environ.get("XDG_CACHE_HOME", os.sep))):
            os.environ[variable] = str(usual[0])
        return None
    try:
        folder = _fallback() / usual[0].name
        replaced = _fault(folder)
    except OSError as error:
        replaced = reason(error)
    if replaced is not None:
        raise UserError(f"{fault}; {replaced}: set {variable} or TMPDIR to a folder that can be written to")
    os.environ[variable] = str(folder)
    return fault


def _home(variable: str, usual: str) -> Path:
    # The standard has relative paths, and so the empty one, ignored.
    given = os.environ.get(variable, "")
    return Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~"), usual)


def _fault(folder: Path) -> str | None:
    """Return why no file can be written to the folder, which is made if need be; None if one can."""
    if not folder.is_absolute():
        return f"{folder} (there is no home folder)"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            block = memoryview(bytes(_PROBE_BYTES))
            while block:
                block = block[probe.write(block) :]
    except OSError as error:
        return f"{folder} ({reason(error)})"
    return None


def _fallback() -> Path:
    """Return a folder in the temporary folder, the same one each time, that nobody else can write to.

    What is in a cache is executed: another user's folder of that name is left alone.
    """
    folder = Path(tempfile.gettempdir(), f"glideslope-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="glideslope-"))
