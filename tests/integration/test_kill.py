"""A training that is killed again and again ends like one that is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.soak import soak


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_no_bit(tmp_path: Path) -> None:
    overrides = ["num_train_frames=1000", "snapshot_every_frames=50"]
    report = soak(tmp_path, 2, seed=1, overrides=overrides, longest=0.15)
    assert report.kills == 2
    assert report.ends >= 1
    assert report.damaged == []
    assert report.differences == []
    assert any("at frame" in life for life in report.lives)
