"""Names of run folders: they tell runs apart, and no two runs get one folder."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glideslope.cli.main import TRAIN_CONFIG, Composed, compose, run_cli
from glideslope.cli.run_names import run_name
from glideslope.runs.run_folder import claim, claim_new, first_free, make_new
from glideslope.settings import Settings

LONG = [
    *("lr_schedule=gentle_decay", "curriculum_preset=aggressive", "encoder_bundle@agent=original_small"),
    *("actor_critic_bundle@agent=autoregressive_gimbal_first", "num_train_frames=3000000", "batch_size=128"),
]

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the clock that folders are named by."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Stopped:
            return cls(2026, 7, 1, 10, 15, 0)

    monkeypatch.setattr("hydra.core.utils.datetime", Stopped)


def train(*argv: str) -> Composed[Settings]:
    return compose(TRAIN_CONFIG, argv, Settings)


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 3, len(LONG)])
def test_long_names_that_differ_in_the_seed_alone_are_different(place: int) -> None:
    names = {run_name("", [*LONG[:place], f"seed={seed}", *LONG[place:]]) for seed in range(20)}
    assert len(names) == 20


def test_what_was_typed_last_stays_in_a_long_name() -> None:
    name = run_name("101500", [*LONG, "seed=7"])
    assert re.fullmatch(r"101500_[A-Za-z0-9._-]+_num_train_frames-3000000_batch_size-128_seed-7_[0-9a-f]{6}", name)
    assert len(name) <= 80


@given(st.sets(st.lists(st.sampled_from(LONG), min_size=5, max_size=9).map(tuple), min_size=2, max_size=5))
def test_names_that_lost_text_are_different(command_lines: set[tuple[str, ...]]) -> None:
    assert len({run_name("", words) for words in command_lines}) == len(command_lines)


def test_a_sweep_names_its_jobs_by_what_was_swept() -> None:
    names: list[str] = []

    def main(composed: Composed[Settings]) -> int:
        names.append(composed.run_dir.name)
        return 0

    assert run_cli(main, TRAIN_CONFIG, Settings, ["-m", "seed=1,2", "lr=1e-4,2e-4", *LONG]) == 0
    for name, swept in zip(names, ("1_lr-0.0001", "1_lr-0.0002", "2_lr-0.0001", "2_lr-0.0002"), strict=True):
        assert re.fullmatch(rf"[\w.-]+_seed-{swept}_[0-9a-f]{{6}}", name)
        assert len(name) <= 80


# --- Folders --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_second")
def test_a_command_line_typed_twice_in_a_second_makes_two_runs() -> None:
    first = train("seed=1")
    assert first.run_dir == Path("exp_local/2026.07.01/101500_seed-1")
    with claim_new(first.run_dir) as folder:
        folder.write_config(first.settings.to_plain())
        folder.write_overrides(first.overrides)
    second = train("seed=1")
    assert (second.run_dir.name, second.resume, second.new_folder) == ("101500_seed-1-2", False, True)
    # Whoever gives the folder, or names the run, means that one.
    for word in (f"hydra.run.dir={first.run_dir}", f"resume={first.run_dir}"):
        third = train("seed=1", word)
        assert (third.run_dir, third.resume, third.new_folder) == (first.run_dir, True, False)


def test_folders_are_claimed_by_one_process_each() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_new(Path("runs/101500_seed-1")), range(8)))
    assert sorted(path.name for path in made) == [
        "101500_seed-1",
        *(f"101500_seed-1-{number}" for number in range(2, 9)),
    ]


def test_a_numbered_name_is_no_longer_than_others() -> None:
    long = Path("a" * 79 + "b")
    long.mkdir()
    assert first_free(long).name == "a" * 78 + "-2"


def test_a_new_run_leaves_no_folder_when_it_is_refused() -> None:
    with claim_new(Path("run")) as folder, claim_new(Path("run")) as other:
        assert (folder.path.name, other.path.name) == ("run", "run-2")
    assert not Path("run").exists()
    with claim(Path("kept")) as folder:
        folder.write_config({"seed": 1})
    with claim_new(Path("kept")) as folder:
        assert folder.contents == "empty"
        assert folder.path.name == "kept-2"


def test_the_same_sweep_has_the_same_folders_and_another_has_others() -> None:
    def folders(*words: str) -> list[Path]:
        found: list[Path] = []

        def main(composed: Composed[Settings]) -> int:
            found.append(composed.run_dir)
            return 0

        assert run_cli(main, TRAIN_CONFIG, Settings, ["-m", *words]) == 0
        return found

    first = folders("seed=1,2")
    assert folders("seed=1,2") == first
    assert [folder.name for folder in folders("seed=2,3", "hydra.sweep.dir=mine")] == ["seed-2", "seed-3"]
    assert {folder.parent for folder in folders("seed=2,1")}.isdisjoint(folder.parent for folder in first)


LIKE = [
    "lr=1e-4",
    "lr=1e+4",
    "lr=1e4",
    "seed=1",
    "a=b_c",
    "a_b=c",
    "a.b=c",
    "x@y=1",
    "x=1",
    "l=[1,2]",
    "l=[1-2]",
    "l=1-2",
]


@given(st.sets(st.lists(st.sampled_from(LIKE), min_size=1, max_size=3).map(tuple), min_size=2, max_size=5))
def test_names_without_a_time_tell_overrides_apart(command_lines: set[tuple[str, ...]]) -> None:
    assert len({run_name("", words) for words in command_lines}) == len(command_lines)
