"""Flights to look at: a window under a virtual screen, whose keys do what they say, and films where there is none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glideslope.cli.arguments import PLAY_CONFIG
from glideslope.cli.main import compose, run_cli
from glideslope.cli.play import main
from glideslope.display import window as windows
from glideslope.envs.landing import Outcome
from glideslope.evaluation import play
from glideslope.settings import PlaySettings
from tests.support.policies import save_policy, small_settings

SHORT = ("task.episode_seconds=1.0", "task.start_height=[0.8,1.2]", "seed=1")


def run(*arguments: str) -> int:
    """What ``python play.py`` does with these arguments; the exit status."""
    return run_cli(main, PLAY_CONFIG, PlaySettings, list(arguments))


@pytest.fixture
def _no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.slow
def test_a_window_shows_the_policy_and_its_keys_change_the_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # a virtual screen
    import pygame

    snapshot = save_policy(tmp_path, small_settings("original_tiny", "original", *SHORT[:2]))
    keys = {2: "n", 3: "]", 4: "=", 5: "space", 8: "r", 10: "p", 12: "q"}
    pictures, captions = [], []

    class Watched(windows.Window):
        def show(self, picture: Any, fps: float) -> None:
            super().show(picture, 1000.0)
            pictures.append(pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1))
            assert np.array_equal(pictures[-1], picture)
            if key := keys.get(len(pictures)):
                event = pygame.event.Event(pygame.KEYDOWN, key=pygame.key.key_code(key), mod=0, unicode="")
                pygame.event.post(event)

        def held(self) -> set[str]:
            assert super().held() == set()
            return {"up", "s", "i"}

    changes = []
    change = play.Flight.change

    def changed(flight: play.Flight, key: str) -> None:
        change(flight, key)
        captions.append(flight._condition.label)
        changes.append(key)

    monkeypatch.setattr(play, "Window", Watched)
    monkeypatch.setattr(play.Flight, "change", changed)
    assert run(f"run={snapshot}", "stage=3") == 0
    assert changes == ["n", "]", "=", "space", "r", "p"]
    assert captions == [
        "4 S4_full",
        "4 S4_full, pad 1 m/s",
        "4 S4_full, pad 1 m/s, wind 1.5 m/s",
        "4 S4_full, pad 1 m/s, wind 1.5 m/s",
        "4 S4_full, pad 1 m/s, wind 1.5 m/s",
        "3 S3_mid, pad 1 m/s, wind 1.5 m/s",
    ]
    assert len(pictures) == 12
    heights = [len(picture) for picture in pictures]
    assert heights == [heights[0]] * 5 + [2 * heights[0]] * 7  # the person's drone below the policy's
    assert not any(np.array_equal(one, other) for one, other in pairwise(pictures))
    assert "fly a drone beside the policy's" in capsys.readouterr().out


def test_a_person_flies_by_the_keys_held() -> None:
    flight = play.Flight.__new__(play.Flight)
    flight._gimbal = np.zeros(2)
    assert flight._person({"up", "left", "s"}).tolist() == [1.0, 1.0, -1.0, 0.0, 0.0]
    assert flight._person({"down", "up", "i", "l"}).tolist() == pytest.approx([0.0, 0.0, 0.0, 0.1, -0.1])
    for _ in range(20):
        action = flight._person({"i"})
    assert action.tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0, -0.1])


def test_drones_begin_alike_and_landings_are_counted() -> None:
    settings = compose(PLAY_CONFIG, ["policy=expert", "task.pad_size=8", *SHORT[1:]], PlaySettings).settings
    from rich.console import Console

    plan = play._plan(settings, "cpu", Console(quiet=True))
    with play.Flight(plan, settings) as flight:
        flight._with_person = True
        flight.begin(again=True)
        env = flight._of()
        assert np.array_equal(env.task.physics.position[0], env.task.physics.position[1])
        while not flight.step({"s"}):
            pass
        assert flight._outcomes.tolist() == [Outcome.LANDED, Outcome.CRASHED]  # straight down is too fast
        assert flight.score == ["you: 0 of 1 landed", "policy: 1 of 1 landed"]


@pytest.mark.slow
@pytest.mark.usefixtures("_no_screen")
def test_without_a_screen_there_is_a_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("policy=expert", *SHORT, "episodes=1", f"out={tmp_path}/films/flight.gif", "pad_speed=0.5") == 0
    out = capsys.readouterr().out
    assert "Filming 1 episodes of the scripted policy expert: 4 S4_full, pad 0.5 m/s" in out
    assert (tmp_path / "films" / "flight.gif").stat().st_size > 10_000


@pytest.mark.usefixtures("_no_screen")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "run=null: give run=<run folder or snapshot>, or policy=expert"),
        (["run=a", "policy=expert"], "run=a: run and policy can't be combined"),
        (["policy=expert", "out=film.avi"], "out=film.avi: must end with .mp4 or .gif"),
        (["policy=expert", "stage=all"], "stage=all: must be one stage"),
        (["policy=expert", "stage=S9"], "stage=S9: unknown stage"),
        (["policy=exprt"], "policy=exprt: must be expert, random or fixed_camera; did you mean expert?"),
        (["run=nowhere"], "run=nowhere: no such run folder or snapshot"),
        (["policy=expert", "pad_speed=1", "task.pad_paths=[static]"], "pad_speed=1.0: the task's pad_paths are static"),
        (["policy=expert", "show=window"], "no window can be opened: there is no screen; show=film makes a film"),
        (["policy=expert", "pad_speed=-1"], "pad_speed=-1: must be at least 0"),
        (["policy=expert", "show=screen"], "show=screen: must be auto, window or film"),
    ],
)
def test_what_cant_be_shown_is_told(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    assert capsys.readouterr().err.startswith(f"Error: {told}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_no_screen")
def test_a_screen_is_where_a_window_can_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows.sys, "platform", "linux")
    assert not windows.has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert windows.has_screen()
