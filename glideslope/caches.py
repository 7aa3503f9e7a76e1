"""Gives libraries that keep caches a folder they can write to, where their own can't be written to."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# More than a full disk takes; the renderer's compiled kernels are about as large.
_PROBE_BYTES = 1 << 20


def use_writable_caches() -> list[str]:
    """Point libraries whose cache can't be written to, by their environment variables, to the temporary folder.

    To be called before the libraries are used.

    Returns:
        A note for each cache that was moved, which names its variable.

    Raises:
        OSError: the temporary folder can't be written to either.
    """
    if not sys.platform.startswith("linux"):
        return []
    return [
        *_use_writable("WARP_CACHE_PATH", "the renderer's compiled kernels", [_cache_home() / "warp"]),
        *_use_writable(
            "MPLCONFIGDIR",
            "Matplotlib's cache",
            [_config_home() / "matplotlib", _cache_home() / "matplotlib"],
        ),
    ]


def _use_writable(variable: str, what: str, usual: list[Path]) -> Iterator[str]:
    """Set the variable if need be; yields a note if the cache is another one than the user may expect."""
    given = os.environ.get(variable)
    folders = [Path(given).absolute()] if given else usual
    fault = next(filter(None, map(_fault, folders)), None)
    if fault is None:
        # Libraries take an empty variable for the current folder.
        if not given and (given is not None or _misleading()):
            os.environ[variable] = str(usual[0])
        return
    try:
        folder = _fallback() / usual[0].name
        replaced = _fault(folder)
    except OSError as error:
        replaced = str(error)
    if replaced is not None:
        raise OSError(f"{fault}, {replaced}; set {variable} or TMPDIR to a folder that can be written to")
    os.environ[variable] = str(folder)
    yield f"{what} can't be kept: {fault}. They are in {folder} for now; {variable} names a better place."


def _cache_home() -> Path:
    return _home("XDG_CACHE_HOME", ".cache")


def _config_home() -> Path:
    return _home("XDG_CONFIG_HOME", ".config")


def _home(variable: str, usual: str) -> Path:
    # The standard has relative paths, and so the empty one, ignored.
    given = os.environ.get(variable, "")
    return Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~"), usual)


def _misleading() -> bool:
    """Whether a library that takes the standard less literally would write to the current folder."""
    given = os.environ.get("XDG_CACHE_HOME")
    return given is not None and not os.path.isabs(given)


def _fault(folder: Path) -> str | None:
    """Why no file can be written to the folder, which is made if need be; None if one can."""
    if not folder.is_absolute():
        return f"{folder}: there is no home folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            block = memoryview(bytes(_PROBE_BYTES))
            while block:
                block = block[probe.write(block) :]
    except OSError as error:
        return f"{folder}: {error.strerror or error}"
    return None


def _fallback() -> Path:
    """A folder for caches in the temporary folder, the same one each time, that nobody else can write to.

    What is in it is run: another user's folder of that name is not touched.
    """
    folder = Path(tempfile.gettempdir(), f"glideslope-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="glideslope-"))
