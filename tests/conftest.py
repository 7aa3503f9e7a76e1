"""Fixtures that several test files share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from absl import logging as absl_logging
from hypothesis import settings
from matplotlib.figure import Figure

from glideslope.display import figures, preview
from glideslope.settings.catalogue import CONFIG_DIR

# One for each worker: two workers with two threads each keep two processors waiting.
torch.set_num_threads(1)

# A busy machine makes any example slow.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# TensorBoard loads absl, which closes the stream that it was loaded with when logging is configured anew, as a sweep
# does. Here that would be the one that pytest captures with.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with whole trainings first: begun last, one of them would keep a single worker busy at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """A training sets this for its whole process, which here runs other tests too."""
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def cfgs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of cfgs/ to put presets into, for --config-path."""
    return shutil.copytree(CONFIG_DIR, tmp_path_factory.mktemp("copy") / "cfgs")


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the drawing of a preview's PNG, most of its time."""
    monkeypatch.setattr(preview, "plot_learning_rates", lambda *arguments, **named: None)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is written, for a look at what it holds."""
    written: list[Figure] = []
    original = figures.drawing

    @contextmanager
    def keep(path: Path, **options: Any) -> Iterator[Figure]:
        with original(path, **options) as figure:
            written.append(figure)
            yield figure

    monkeypatch.setattr(figures, "drawing", keep)
    return written
