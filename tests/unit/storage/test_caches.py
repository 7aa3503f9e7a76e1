"""Caches of libraries where they can't be written to, and what native libraries print."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from glideslope.envs.native_output import without_native_lines
from glideslope.errors import UserError
from glideslope.storage.caches import use_writable_caches
from tests.support.paths import ROOT

VARIABLES = ("WARP_CACHE_PATH", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
DRIVER = "Warp CUDA warning: Could not find or load the NVIDIA CUDA driver"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of nobody's, with a temporary folder beside it."""
    for variable in VARIABLES:
        # A value first, so that what the code sets is taken back as well.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / "home"


def used() -> tuple[list[str], dict[str, str]]:
    """The notes, and the variables that are set then."""
    notes: list[str] = []
    use_writable_caches(notes.append)
    return notes, {name: os.environ[name] for name in VARIABLES if name in os.environ}


def test_a_home_that_can_be_written_to_is_used_without_a_word(home: Path) -> None:
    assert used() == ([], {})


def test_an_unwritable_home_is_replaced_and_the_variables_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    notes, variables = used()
    there = home.parent / "tmp" / f"glideslope-{os.getuid()}"
    assert variables == {
        "WARP_CACHE_PATH": str(there / "warp"),
        "MPLCONFIGDIR": str(there / "matplotlib"),
    }
    assert notes == [
        "The renderer's compiled kernels can't be kept in /proc/none/.cache/warp (No such file or directory); "
        f"used instead: WARP_CACHE_PATH={there}/warp",
        "Matplotlib's files can't be kept in /proc/none/.config/matplotlib (No such file or directory); "
        f"used instead: MPLCONFIGDIR={there}/matplotlib",
    ]
    assert there.stat().st_mode & 0o777 == 0o700
    assert used() == ([], variables)  # the second time they are as they should be


@pytest.mark.parametrize("variable", ["WARP_CACHE_PATH", "MPLCONFIGDIR"])
def test_an_unwritable_folder_of_the_users_own_is_named(
    home: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/proc/none/mine")
    (note,), variables = used()
    assert "/proc/none/mine" in note
    assert f"{variable}={variables[variable]}" in note


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_unwritable_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tempfile.TemporaryFile

    def full(*arguments: object, **named: object) -> object:
        if str(named["dir"]).startswith(str(home)):
            return open("/dev/full", "wb", buffering=0)
        return real(*arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    notes, variables = used()
    assert "No space left on device" in notes[0]
    assert set(variables) == {"WARP_CACHE_PATH", "MPLCONFIGDIR"}


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "WARP_CACHE_PATH"])
def test_an_empty_variable_is_none(home: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The renderer took the current folder and left its kernels there."""
    monkeypatch.setenv(variable, "")
    notes, variables = used()
    assert notes == []
    assert variables["WARP_CACHE_PATH"] == str(home / ".cache" / "warp")


def test_a_folder_in_the_temporary_one_that_others_can_write_to_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    planted = home.parent / "tmp" / f"glideslope-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    _, variables = used()
    assert Path(variables["WARP_CACHE_PATH"]).parent != planted
    assert list(planted.iterdir()) == []


def test_no_place_at_all_is_a_fault_of_the_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")

    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(UserError, match=r"/proc/none/.cache/warp.*set WARP_CACHE_PATH or TMPDIR"):
        use_writable_caches(lambda note: None)


@pytest.mark.slow
def test_the_renderer_starts_without_a_home_and_without_a_word(tmp_path: Path) -> None:
    """It ended in a traceback, and said on its own that there is no driver."""
    script = "from glideslope.envs.camera import initialise_warp; initialise_warp(); import warp; print(warp.__name__)"
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", script],
        env={**environment, "HOME": "/proc/none", "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "warp\n"
    assert "CUDA" not in done.stderr
    assert f"WARP_CACHE_PATH={tmp_path}" in done.stderr  # where no program tells it, Python's warnings do


# --- native output ---


def native(number: int, text: str) -> None:
    """What a C library does: past sys.stdout and sys.stderr."""
    os.write(number, text.encode())


def test_expected_native_lines_are_kept_off_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    with without_native_lines("Warp CUDA warning"):
        native(1, "Warp CUDA warning: no driver\n")
        native(2, "Warp CUDA warning: no driver\nanother line\n")
        sys.stdout.write("by Python\n")
    sys.stdout.write("behind\n")
    out, err = capfd.readouterr()
    assert out.splitlines() == ["by Python", "behind"]
    assert err.splitlines() == ["another line"]


def test_after_an_exception_everything_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        native(2, "Warp CUDA warning: no driver\n")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), without_native_lines("Warp CUDA warning"):
        fail()
    assert capfd.readouterr().err == "Warp CUDA warning: no driver\n"


def test_no_descriptor_is_lost() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with without_native_lines("Warp"):
            native(2, "Warp\n")
    assert len(os.listdir("/proc/self/fd")) == before
