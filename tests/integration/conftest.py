"""Trainings that several test files compare with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.interruptions import RUN
from tests.support.training import train


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing befell: the short eventful one."""
    run = tmp_path_factory.mktemp("straight") / "run"
    assert train(run, *RUN) == 0
    return run
