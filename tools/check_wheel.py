"""Build the wheel and the sdist, install each into an environment of its own, and use them there as a user would.

``make check-wheel`` runs this. The core is installed from wheel and sdist with NumPy alone; the trainer with the
versions of ``requirements.lock``, once, as it brings PyTorch. Nothing of the checkout is on the path: every command
runs in an empty folder.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

COMMANDS = ["train", "evaluate", "preview", "compare", "tune", "export", "play"]

LIGHT = """
import sys
import numpy
from glideslope.lr_scheduler import build_schedules, write_lr

schedules = build_schedules(
    {"actor": {"type": "cosine_decay", "intervals": [{"init_lr": "1x", "final_lr": "0.1x"}]}},
    base={"actor": 3e-4, "critic": 1e-3},
    total_steps=100_000,
)
assert schedules["actor"](0) == 3e-4
assert abs(schedules["actor"](50_000) - 1.65e-4) < 1e-12
assert (schedules["critic"](numpy.arange(3)) == 1e-3).all()
assert not {"torch", "rich", "hydra", "pydantic", "gymnasium"} & set(sys.modules)

class Optimizer:
    defaults = {"lr": 1.0}
    param_groups = [{"lr": 1.0}]

def from_torch():
    import glideslope.lr_scheduler.torch_scheduler

for touch in (lambda: write_lr(Optimizer(), 1e-3), from_torch):
    try:
        touch()
    except ImportError as error:
        assert "pip install torch" in str(error), error
    else:
        raise AssertionError("no PyTorch, and nothing said")
"""

OWN_PRESET = """# @package _global_
# A schedule of my own.
lr_schedule:
  actor: {type: linear_decay, intervals: [{lr: 1x, final_lr: 0.5x}]}
"""


def main() -> None:
    """Check wheel and sdist; raise where something is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="check_wheel_") as folder:
        place = Path(folder)
        build = [sys.executable, "-m", "hatchling", "build", "--directory", str(place / "dist")]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = (place / "dist").glob("*.whl")
        (sdist,) = (place / "dist").glob("*.tar.gz")
        print(f"built {wheel.name} ({size(wheel):.1f} MB) and {sdist.name} ({size(sdist):.1f} MB)")
        for package in (wheel, sdist):
            check_core(install(package, place / package.suffix.lstrip(".")))
        check_train(install(wheel, place / "train", extra="[train]"))


def check_core(place: Path) -> None:
    """Use the schedules where nothing but NumPy is installed, and be told what a training needs."""
    installed = run(place, "python -m pip list --format=freeze")
    assert {line.split("==")[0] for line in installed.split()} <= {"glideslope", "numpy", "pip", "setuptools"}
    run(place, f"python -c {shlex.quote(LIGHT)}")
    assert re.findall(r"^  (\w+) ", run(place, "glideslope"), re.MULTILINE) == COMMANDS
    for command in COMMANDS:
        told = run(place, f"glideslope {command}", status=2)
        assert re.fullmatch(rf'Error: {command} needs .*: pip install "glideslope\[train\]"\n', told), told


def check_train(place: Path) -> None:
    """Use every command, with a preset of one's own, and those that a training prints at its end."""
    own = place / "work" / "cfgs" / "lr_schedule"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(OWN_PRESET, encoding="utf-8")
    timed(place, "glideslope preview lr_schedule=gentle_decay", "Written: lr_schedule.png")
    assert "A schedule of my own." in run(place, "glideslope preview --help")
    told = timed(place, "glideslope train profile=smoke lr_schedule=mine hydra.run.dir=first", "Finished")
    printed = re.findall(r"^  (glideslope .*)$", told, re.MULTILINE)
    assert [line.split()[1] for line in printed] == ["evaluate", "train"], told
    evaluate, resume = printed
    timed(place, f"{evaluate} episodes=2", "Written")
    timed(place, resume, "Changed: num_train_frames")
    timed(place, "glideslope compare first", "Written")
    timed(place, "glideslope train lr_schedule=mien", "did you mean mine?", status=2)


def install(package: Path, place: Path, extra: str = "") -> Path:
    """Install a file into a new environment, and say how long that took and how large it is; return its folder."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    (place / "work").mkdir()
    began, before = time.monotonic(), size(place)
    lock = f"-c {shlex.quote(str(ROOT / 'requirements.lock'))}" if extra else ""
    run(place, f"python -m pip install --quiet --no-compile {lock} {shlex.quote(f'{package}{extra}')}")
    seconds, megabytes = time.monotonic() - began, size(place) - before
    print(f"{package.name}{extra}: installed in {seconds:.0f} s, {megabytes:.0f} MB")
    return place


def timed(place: Path, line: str, expected: str, status: int = 0) -> str:
    """Run a line as :func:`run` does, and say how long it took; require that it tells what is expected."""
    began = time.monotonic()
    told = run(place, line, status)
    assert expected in told, f"{line}: no {expected!r} in:\n{told}"
    print(f"  {line}: {time.monotonic() - began:.0f} s")
    return told


def run(place: Path, line: str, status: int = 0) -> str:
    """Run a line of shell in the working folder of an environment that is active; return all that it told.

    Raises:
        AssertionError: its exit status is another one.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    path = os.pathsep.join([str(place / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=place / "work",
        env={**inherited, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == status, f"{line}: ended with status {done.returncode}:\n{done.stdout}"
    return done.stdout


def size(path: Path) -> float:
    """Return the size of a file, or of all files in a folder, in megabytes."""
    files = [path] if path.is_file() else (file for file in path.rglob("*") if not file.is_symlink())
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
