"""What the wheel holds, and that the pages for contributors name files that exist."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from email import message_from_string

import pytest

from tests.support.paths import CFGS, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
    return wheel.read(path).decode()


def test_the_wheel_holds_the_package_and_every_preset(wheel: zipfile.ZipFile) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in files} == {"glideslope"}
    presets = {f"glideslope/{file.relative_to(ROOT)}" for file in CFGS.rglob("*.yaml")}
    assert {name for name in files if name.startswith("glideslope/cfgs/")} == presets
    tracked = {
        str(file.relative_to(ROOT))
        for pattern in ("*.py", "*.xml", "*.png", "py.typed")
        for file in (ROOT / "glideslope").rglob(pattern)
    }
    assert files - presets == tracked
    assert "glideslope/py.typed" in files


def test_the_core_needs_numpy_alone_and_the_commands_are_declared(wheel: zipfile.ZipFile) -> None:
    about = message_from_string(metadata(wheel, "METADATA"))
    needed = about.get_all("Requires-Dist", [])
    assert [line for line in needed if "extra" not in line] == ["numpy>=2.0"]
    assert set(about.get_all("Provides-Extra", [])) == {"train", "plot", "onnx", "play", "sb3", "track", "sweep", "dev"}
    assert "hydra-core<1.4,>=1.3.2; extra == 'train'" in needed
    points = ConfigParser()
    points.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {"glideslope": "glideslope.cli.entry:main"}
    assert dict(points["gymnasium.envs"]) == {"glideslope": "glideslope.envs:register"}


def test_the_page_for_contributors_names_what_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./-]+(?:\.\w+|/))`", text))
    assert len(named) > 20
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]
    targets = set(re.findall(r"`make ([\w-]+)`", text))
    assert targets
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert not [target for target in targets if f"\n{target}:" not in makefile]
