"""Every example command of the learning-rate guide trains, and logs the rates that the guide promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.settings import Settings
from glideslope.settings.schedules import learning_rates
from tests.support.guide import YOUR_PRESET
from tests.support.training import approx, read_tags, train

TOTAL = 600  # profile=smoke: 600 frames, of which 100 are seed frames
FIRST_UPDATE = 102  # updates fall on even steps after the seed frames

Rate = Callable[[int], float]


def constant(rate: float) -> Rate:
    return lambda step: rate


def stairs(*stairs: tuple[int, float]) -> Rate:
    """(first step, rate) pairs."""
    return lambda step: [rate for start, rate in stairs if start <= step][-1]


def gentle(lr: float, total: int = TOTAL) -> Rate:
    return stairs((0, lr), (total // 3, lr / 2), (2 * total // 3, lr / 4))


def aggressive(lr: float, total: int) -> Rate:
    starts = (0, total // 6, total // 3, total // 2, 2 * total // 3)
    return stairs(*zip(starts, (lr, 0.5 * lr, 0.25 * lr, 0.1 * lr, 0.05 * lr), strict=True))


def exponential(init: float, decay_rate: float) -> Rate:
    """A decay every 1/6000 of 600 steps: ten each step."""
    return lambda step: init * decay_rate ** (10 * step)


def geometric(step: int) -> float:
    """gentle_decay's rates joined by straight lines on a log axis, held in the last third."""
    return 1e-4 * 0.5 ** min(step / 200, 2.0)


# The guide's per-network example, its times divided by ten thousand so that a short run passes through them.
GUIDE_NETWORKS = """# @package _global_
lr_schedule:
  # Encoder: Conservative (stable features)
  encoder:
    type: step_decay
    intervals:
      - {start: 0, end: 300, lr: 8.0e-5}

  # Actor: Moderate (exploration to exploitation)
  actor:
    type: exponential_decay
    intervals:
      - {start: 0, end: 200, init_lr: 1.2e-4, decay_rate: 0.999, decay_interval: 5}

  # Critic: Aggressive (fast convergence)
  critic:
    type: step_decay
    intervals:
      - {start: 0, end: 100, lr: 1.5e-4}
      - {start: 100, end: 300, lr: 5.0e-5}
"""

EXAMPLES: dict[str, tuple[list[str], tuple[Rate, Rate, Rate]]] = {
    "no schedule": ([], (constant(1e-4),) * 3),
    "constant": (["lr_schedule=constant"], (constant(1e-4),) * 3),
    "gentle_decay": (["lr_schedule=gentle_decay"], (gentle(1e-4),) * 3),
    "aggressive_decay": (["lr_schedule=aggressive_decay"], (aggressive(1e-4, TOTAL),) * 3),
    # So short a training stays in stage 0.
    "stage_based": (["lr_schedule=stage_based"], (constant(1.2e-4),) * 3),
    "example 4": (["lr_schedule=stage_based", "curriculum_preset=conservative"], (constant(1.2e-4),) * 3),
    "one interval's rate": (
        ["lr_schedule=gentle_decay", "lr_schedule.encoder.intervals.0.lr=2.0e-4"],
        (stairs((0, 2e-4), (200, 5e-5), (400, 2.5e-5)), gentle(1e-4), gentle(1e-4)),
    ),
    "one network's type": (
        ["lr_schedule=gentle_decay", "lr_schedule.actor.type=exponential_decay"],
        (gentle(1e-4), geometric, gentle(1e-4)),
    ),
    "lower base rate": (["lr_schedule=gentle_decay", "lr=5.0e-5"], (gentle(5e-5),) * 3),
    "exponential_smooth": (["lr_schedule=exponential_smooth"], (exponential(1e-4, 0.9995),) * 3),
    "slower decay": (
        ["lr_schedule=exponential_smooth", "decay_rate=0.9998"],
        (exponential(1e-4, 0.9998),) * 3,
    ),
    "example 1": (
        ["lr_schedule=gentle_decay", "curriculum_preset=balanced", "encoder_bundle@agent=enc_B"],
        (gentle(1e-4),) * 3,
    ),
    "example 2": (
        ["lr_schedule=aggressive_decay", "lr=2.0e-4", "num_train_frames=480"],
        (aggressive(2e-4, 480),) * 3,
    ),
    "example 3": (
        [
            "lr_schedule=differential",
            "lr_schedule.encoder.intervals.0.lr=1.0e-4",
            "lr_schedule.actor.intervals.0.init_lr=1.5e-4",
            "lr_schedule.critic.intervals.0.lr=2.0e-4",
        ],
        (
            stairs((0, 1e-4), (300, 4e-5)),
            exponential(1.5e-4, 0.9995),
            stairs((0, 2e-4), (100, 7e-5), (250, 3e-5)),
        ),
    ),
    "your_preset": (["lr_schedule=your_preset"], (constant(1e-4),) * 3),
    "your_networks": (
        ["lr_schedule=your_networks"],
        (
            constant(8e-5),
            lambda step: 1.2e-4 * 0.999 ** (min(step, 200) // 5),
            stairs((0, 1.5e-4), (100, 5e-5)),
        ),
    ),
}


# The files that the guide tells users to put into cfgs/lr_schedule/.
FILES = {"your_preset": YOUR_PRESET, "your_networks": GUIDE_NETWORKS}


def jumps_at(rates: tuple[Rate, Rate, Rate], frame: int) -> bool:
    """Whether one of the rates has changed by more than 1% since the update before, two frames ago."""
    return any(abs(rate(frame) - rate(frame - 2)) > 0.01 * rate(frame - 2) for rate in rates)


# These go through a training, each kind of schedule in one; the others are composed, with the rates of each update.
TRAINED = ("example 1", "example 3", "your_networks")


def given(cfgs: Path) -> list[str]:
    """The guide's files in a folder of their own, and the flag that finds them."""
    for preset, text in FILES.items():
        (cfgs / "lr_schedule" / f"{preset}.yaml").write_text(text, encoding="utf-8")
    return [f"--config-path={cfgs}", "profile=smoke", "save_video=false"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_has_the_rates_promised(name: str, cfgs: Path) -> None:
    overrides, rates = EXAMPLES[name]
    settings = compose(TRAIN_CONFIG, [*given(cfgs), *overrides], Settings).settings
    schedules = learning_rates(settings)
    for network, rate in zip(("encoder", "actor", "critic"), rates, strict=True):
        steps = range(FIRST_UPDATE, settings.total_steps + 1, 2)
        assert [schedules[network](step, [(0, 0)]) for step in steps] == pytest.approx(
            [rate(step) for step in steps], rel=1e-12
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_example_trains_and_logs_its_rates(name: str, cfgs: Path, tmp_path: Path) -> None:
    overrides, rates = EXAMPLES[name]
    run = tmp_path / "run"
    assert train(run, *given(cfgs), *overrides) == 0
    frames = [FIRST_UPDATE, *range(150, TOTAL + 1, 50)]
    tags = read_tags(run)
    for network, rate in zip(("encoder", "actor", "critic"), rates, strict=True):
        logged = tags[f"lr_{network}"]
        # At the log interval, and at the updates on both sides of a jump.
        jumps = [frame for frame in range(FIRST_UPDATE + 2, TOTAL + 1, 2) if jumps_at(rates, frame)]
        assert list(logged) == sorted({*frames, *jumps, *(frame - 2 for frame in jumps)})
        assert logged == {frame: approx(rate(frame)) for frame in logged}
    assert tags["curriculum/stage"] == dict.fromkeys(frames, 0.0)
    assert (run / "finished.json").exists()
