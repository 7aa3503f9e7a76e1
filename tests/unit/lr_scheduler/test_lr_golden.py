"""Every shape against rates worked out by hand: at its start, each boundary -1 / 0 / +1, between, at its end and after.

The table below has one row per shape, with rates at shares of the interval's length T whose powers, roots and
cosines are known: at each of the six steps of an interval with T = 6, and at 0.2, 0.5 and 0.8 of one that begins and
ends between two steps. The base rate is 3e-4. In a row, `third` stands for T / 3, in the unit of its extents.

`SIXTHS`: the rates at t = 0, 1, ... 6 of T = 6, that is at x = t / T = 0, 1/6, 1/3, 1/2, 2/3, 5/6, 1.
`FIFTHS`: the rates at x = 0.2, 0.5, 0.8 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from glideslope.lr_scheduler import SHAPES, Schedule, build_schedules

FAR = 10**12


class Row(NamedTuple):
    shape: str
    keys: dict[str, Any]
    sixths: list[float]
    fifths: list[float]


TABLE = {
    "constant": Row(
        "constant", {"lr": 1e-4},
        [1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4],
        [1e-4, 1e-4, 1e-4, 1e-4],
    ),
    # Half of the base rate, 3e-4.
    "step": Row(
        "step_decay", {"lr": "0.5x"},
        [1.5e-4, 1.5e-4, 1.5e-4, 1.5e-4, 1.5e-4, 1.5e-4, 1.5e-4],
        [1.5e-4, 1.5e-4, 1.5e-4, 1.5e-4],
    ),
    # Halved at each third: the powers of 0.5 are 0, 0, 1, 1, 2, 2, 3; at 3x = 0.6, 1.5, 2.4, 3 they are 0, 1, 2, 3.
    "exponential, stairs": Row(
        "exponential_decay", {"init_lr": 1e-4, "decay_rate": 0.5, "decay_interval": "third"},
        [1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 2.5e-5, 1.25e-5],
        [1e-4, 5e-5, 2.5e-5, 1.25e-5],
    ),
    # 1e-4 * 2^(-t/2), with 2^(-1/2) = 0.70710678118654752; then 2^-0.6, 2^-1.5, 2^-2.4 and 2^-3.
    "exponential, smooth": Row(
        "exponential_decay",
        {"init_lr": 1e-4, "decay_rate": 0.5, "decay_interval": "third", "staircase": False},
        [1e-4, 7.0710678118654752e-5, 5e-5, 3.5355339059327376e-5, 2.5e-5, 1.7677669529663688e-5, 1.25e-5],
        [6.5975395538644713e-5, 3.5355339059327376e-5, 1.8946457081379978e-5, 1.25e-5],
    ),
    # From 1e-4 to a 64th of it: halved at each sixth; at fifths 2^-1.2, 2^-3, 2^-4.8 and 2^-6.
    "exponential, to a rate": Row(
        "exponential_decay", {"init_lr": 1e-4, "final_lr": 1.5625e-6},
        [1e-4, 5e-5, 2.5e-5, 1.25e-5, 6.25e-6, 3.125e-6, 1.5625e-6],
        [4.3527528164806207e-5, 1.25e-5, 3.5896823593657344e-6, 1.5625e-6],
    ),
    # Down by 1e-5 at each sixth: 1e-4 - 6e-5 x.
    "linear": Row(
        "linear_decay", {"init_lr": 1e-4, "final_lr": 4e-5},
        [1e-4, 9e-5, 8e-5, 7e-5, 6e-5, 5e-5, 4e-5],
        [8.8e-5, 7e-5, 5.2e-5, 4e-5],
    ),
    # Up by 1e-5 at each sixth, to a fifth of the base rate: 6e-5 x.
    "linear, rising from 0": Row(
        "linear_decay", {"init_lr": 0, "final_lr": "0.2x"},
        [0.0, 1e-5, 2e-5, 3e-5, 4e-5, 5e-5, 6e-5],
        [1.2e-5, 3e-5, 4.8e-5, 6e-5],
    ),
    # 6e-5 + 4e-5 cos(180° x): cosines of 0, 30, 60, ... 180 degrees, cos 30° = √3 / 2 = 0.86602540378443865; then
    # cos 36° = (1 + √5) / 4 = 0.80901699437494742, cos 90° and cos 144° = -cos 36°.
    "cosine": Row(
        "cosine_decay", {"init_lr": 1e-4, "final_lr": 2e-5},
        [1e-4, 9.4641016151377546e-5, 8e-5, 6e-5, 4e-5, 2.5358983848622454e-5, 2e-5],
        [9.2360679774997897e-5, 6e-5, 2.7639320225002103e-5, 2e-5],
    ),
    # The same to 0: 5e-5 + 5e-5 cos(180° x).
    "cosine, to 0": Row(
        "cosine_decay", {"init_lr": 1e-4, "final_lr": 0},
        [1e-4, 9.3301270189221932e-5, 7.5e-5, 5e-5, 2.5e-5, 6.6987298107780677e-6, 0.0],
        [9.0450849718747371e-5, 5e-5, 9.5491502812526288e-6, 0.0],
    ),
    # 2.8e-5 + 7.2e-5 (1 - x)^2, which is 2.8e-5 + 2e-6 times 36, 25, 16, 9, 4, 1, 0; (1 - x)^2 = 0.64, 0.25, 0.04.
    "polynomial, power 2": Row(
        "polynomial_decay", {"init_lr": 1e-4, "final_lr": 2.8e-5, "power": 2},
        [1e-4, 7.8e-5, 6e-5, 4.6e-5, 3.6e-5, 3e-5, 2.8e-5],
        [7.408e-5, 4.6e-5, 3.088e-5, 2.8e-5],
    ),
    # The power is 1 where none is given: linear.
    "polynomial": Row(
        "polynomial_decay", {"init_lr": 1e-4, "final_lr": 4e-5},
        [1e-4, 9e-5, 8e-5, 7e-5, 6e-5, 5e-5, 4e-5],
        [8.8e-5, 7e-5, 5.2e-5, 4e-5],
    ),
    # 2e-5 + 8e-5 (1 - √x): roots of sixths, 0.40824829046386302, 0.57735026918962576, 0.70710678118654752,
    # 0.81649658092772603, 0.91287092917527685; then of 0.2, 0.5, 0.8: 0.44721359549995794, 0.89442719099991588.
    "one minus the root": Row(
        "one_minus_sqrt", {"init_lr": 1e-4, "final_lr": 2e-5},
        [1e-4, 6.7340136762890958e-5, 5.3811978464829939e-5, 4.3431457505076198e-5, 3.4680273525781918e-5,
         2.6970325665977852e-5, 2e-5],
        [6.4222912360003365e-5, 4.3431457505076198e-5, 2.8445824720006730e-5, 2e-5],
    ),
    # From 9e-5 down by 3e-5 in a third, up by 6e-5 in the next, and there it stays; at x = 0.2, 0.5, 0.8 it is
    # 9e-5 - 0.6 * 3e-5, 6e-5 + 0.5 * 6e-5, 1.2e-4.
    "through points": Row(
        "piecewise_linear", {"points": [[0, "0.3x"], ["third", 6e-5], ["two thirds", "0.4x"]]},
        [9e-5, 7.5e-5, 6e-5, 9e-5, 1.2e-4, 1.2e-4, 1.2e-4],
        [7.2e-5, 9e-5, 1.2e-4, 1.2e-4],
    ),
    # Three times from 8e-5 to 0 along a cosine, whose middle is 4e-5; each start is half of the one before. At a fifth
    # and four fifths of the whole a cycle is at 0.6 and 0.4: (1 + cos 108°) / 2 = 0.34549150281252628 of 8e-5, and
    # (1 + cos 72°) / 2 = 0.65450849718747371 of 2e-5; at a half, in the middle of the second, 2e-5.
    "cosine, restarted": Row(
        "cosine_decay", {"init_lr": 8e-5, "final_lr": 0, "repeat": 3, "restart_factor": 0.5},
        [8e-5, 4e-5, 4e-5, 2e-5, 2e-5, 1e-5, 0.0],
        [2.7639320225002102e-5, 2e-5, 1.3090169943749474e-5, 0.0],
    ),
    # 1e-4 / √(1 + 3x): the roots of 1, 1.5, 2, 2.5, 3, 3.5, 4; then of 1.6, 2.5, 3.4, 4.
    "inverse square root": Row(
        "inverse_sqrt_decay", {"init_lr": 1e-4, "decay_interval": "third"},
        [1e-4, 8.1649658092772603e-5, 7.0710678118654752e-5, 6.3245553203367587e-5, 5.7735026918962576e-5,
         5.3452248382484877e-5, 5e-5],
        [7.9056941504209483e-5, 6.3245553203367587e-5, 5.4232614454664041e-5, 5e-5],
    ),
    # decay_interval is T / 10 where none is given, so 6e-5 / √(1 + 10x): the roots of 1, 8/3, 13/3, 6, 23/3, 28/3, 11;
    # then of 3, 6, 9 (a third of the start) and 11.
    "inverse square root, default": Row(
        "inverse_sqrt_decay", {"init_lr": "0.2x"},
        [6e-5, 3.6742346141747671e-5, 2.8823067684915684e-5, 2.4494897427831781e-5, 2.1669453555438456e-5,
         1.9639610121239315e-5, 1.8090680674665816e-5],
        [3.4641016151377546e-5, 2.4494897427831781e-5, 2e-5, 1.8090680674665816e-5],
    ),
    # Evaluations reduce it at t = 1, 3 and 4, from the step after each: 1e-4, 5e-5, 2.5e-5, and for 1.25e-5
    # min_lr. Among the fifths they do so at the first and the second. One at the end is too late.
    "on plateaus": Row(
        "reduce_on_plateau", {"init_lr": 1e-4, "factor": 0.5, "min_lr": 2e-5},
        [1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 2e-5, 2e-5],
        [1e-4, 5e-5, 2.5e-5, 2.5e-5],
    ),
}  # fmt: skip

BEFORE = 3e-4  # the base rate
AFTER = 7e-5  # of a second interval, behind a gap


def build(*intervals: dict[str, Any], total: int = 1000) -> Schedule:
    config = {"actor": {"type": "constant", "intervals": list(intervals)}}
    names = ["S0", "S1", "S2", "S3", "S4"]
    return build_schedules(config, base={"actor": BEFORE}, total_steps=total, stage_names=names)["actor"]


def doubled(time: int | str) -> int | str:
    """Twice a time: a number, a share such as 1/9, or one in percent."""
    if isinstance(time, int):
        return 2 * time
    return f"{2 * float(time[:-1])}%" if time.endswith("%") else f"{2 * int(time.split('/')[0])}/{time.split('/')[1]}"


def interval(row: Row, third: int | str, **extents: int | str) -> dict[str, Any]:
    words = {"third": third, "two thirds": doubled(third)}
    keys = {key: words.get(value, value) if isinstance(value, str) else value for key, value in row.keys.items()}
    if "points" in keys:
        keys["points"] = [[words.get(time, time), rate] for time, rate in keys["points"]]
    return {"type": row.shape, **keys, **extents}


def check(
    schedule: Schedule, expected: dict[int, float], stages: Sequence[tuple[int, int]], made: Sequence[int]
) -> None:
    """Each step asked alone, and all at once."""
    for step, rate in expected.items():
        assert schedule(step, stages, made) == pytest.approx(rate, rel=1e-12, abs=0), step
    at_once = schedule(np.array([*expected]), stages, made)
    np.testing.assert_allclose(at_once, [*expected.values()], rtol=1e-12, atol=0)


def test_the_table_has_every_shape() -> None:
    assert {row.shape for row in TABLE.values()} == set(SHAPES)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_absolute_steps(row: Row) -> None:
    """Steps 100 to 106; alone, and with a second interval from 110."""
    first = interval(row, 2, start=100, end=106)
    inside = dict(zip(range(100, 107), row.sixths, strict=True))
    end, made = row.sixths[-1], [101, 103, 104]
    expected = {-1: BEFORE, 0: BEFORE, 1: BEFORE, 99: BEFORE, **inside}
    check(build(first), {**expected, 107: end, 110: end, 999: end, 1000: end, FAR: end}, (), made)
    second = {"start": 110, "lr": AFTER}
    then = {107: end, 109: end, 110: AFTER, 111: AFTER, 1000: AFTER, FAR: AFTER}
    check(build(first, second), {**expected, **then}, (), made)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_shares_that_fall_between_two_steps(row: Row) -> None:
    """From 3 1/3 to 6 2/3 of 10 steps, so T = 10/3: step 4 is at x = (4 - 10/3) / (10/3) = 0.2, 5 at 0.5, 6 at 0.8."""
    first = interval(row, "1/9", start="1/3", end="2/3")
    inside = dict(zip((4, 5, 6, 7), row.fifths, strict=True))
    end, made = row.fifths[-1], [4, 5, 7]
    expected = {-1: BEFORE, 0: BEFORE, 2: BEFORE, 3: BEFORE, **inside}
    check(build(first, total=10), {**expected, 8: end, 9: end, 10: end, 11: end, FAR: end}, (), made)
    then = {8: end, 9: AFTER, 10: AFTER, 11: AFTER, FAR: AFTER}
    check(build(first, {"start": "90%", "lr": AFTER}, total=10), {**expected, **then}, (), made)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_stages_entered_at_odd_steps(row: Row) -> None:
    """Stage 1 from step 17, for 6 steps; stage 2 has no rate of its own, stage 3 has one."""
    schedule = build(interval(row, 2, stage=1, duration=6), {"stage": "S3", "lr": AFTER})
    inside = dict(zip(range(17, 24), row.sixths, strict=True))
    end, made = row.sixths[-1], [18, 20, 21]
    expected = {-1: BEFORE, 0: BEFORE, 1: BEFORE, 16: BEFORE, **inside, 24: end, 25: end, 30: end}
    check(schedule, {**expected, 31: end, 1000: end, FAR: end}, [(0, 0), (17, 1)], made)
    history = [(0, 0), (17, 1), (21, 2), (31, 3), (35, 4)]
    then = dict.fromkeys((31, 32, 34, 35, 36, 1000, FAR), AFTER)
    check(schedule, {**expected, **then}, history, made)
    # Stage 3 cuts the curve off where it is entered early.
    early = {t + 17: rate for t, rate in enumerate(row.sixths[:4])}
    check(schedule, {16: BEFORE, **early, 21: AFTER, 22: AFTER, FAR: AFTER}, [(0, 0), (17, 1), (21, 3)], made)


def test_thirds_of_a_thousand_steps() -> None:
    """Boundaries at 333 1/3 and 666 2/3, stairs of 33 1/3 steps."""
    schedule = build(
        {"end": "1/3", "type": "linear_decay", "lr": 1e-4, "final_lr": 1e-5},
        {"end": "2/3", "type": "linear_decay", "lr": 4e-5, "final_lr": 2e-5},
        {"type": "exponential_decay", "lr": 8e-5, "decay_rate": 0.5, "decay_interval": "1/30"},
    )
    # x = 3 step / 1000 is 0, 0.003, 0.3, 0.999: 1e-4 - 9e-5 x.
    expected = {0: 1e-4, 1: 9.973e-5, 100: 7.3e-5, 333: 1.009e-5}
    # x = (3 step - 1000) / 1000 is 0.002, 0.005, 0.5, 0.998: 4e-5 - 2e-5 x.
    expected |= {334: 3.996e-5, 335: 3.99e-5, 500: 3e-5, 666: 2.004e-5}
    # Stairs at 666 2/3, 700, 733 1/3, 766 2/3, 800, ...; the ninth is at 966 2/3, the tenth at 1000.
    expected |= {667: 8e-5, 699: 8e-5, 700: 4e-5, 701: 4e-5, 733: 4e-5, 734: 2e-5, 766: 2e-5, 767: 1e-5}
    expected |= {
        966: 3.125e-7,
        967: 1.5625e-7,
        999: 1.5625e-7,
        1000: 7.8125e-8,
        1001: 7.8125e-8,
        FAR: 7.8125e-8,
    }
    check(schedule, expected, (), ())


def test_a_stages_duration_may_end_between_two_steps() -> None:
    """Entered at step 17, for a third of 1000 steps: until 350 1/3. x = 3 (step - 17) / 1000, 1e-4 - 1e-4 x."""
    schedule = build({"stage": 1, "type": "linear_decay", "lr": 1e-4, "final_lr": 0, "duration": "1/3"})
    expected = {16: 3e-4, 17: 1e-4, 18: 9.97e-5, 117: 7e-5, 349: 4e-7, 350: 1e-7, 351: 0.0, FAR: 0.0}
    check(schedule, expected, [(0, 0), (17, 1), (217, 2)], ())


def test_warmups_of_a_share_between_two_steps() -> None:
    """Up to a third of ten steps, 3 1/3: the first three steps are at 0, 0.3, 0.6 and 0.9 of the way."""
    schedule = build({"lr": 1e-4, "warmup": "1/3"}, {"start": 7, "lr": 4e-5, "warmup": 2}, total=10)
    expected = {
        0: 0.0,
        1: 3e-5,
        2: 6e-5,
        3: 9e-5,
        4: 1e-4,
        6: 1e-4,
        7: 1e-4,
        8: 7e-5,
        9: 4e-5,
        10: 4e-5,
        FAR: 4e-5,
    }
    check(schedule, expected, (), ())


def test_an_end_in_the_middle_of_a_stair() -> None:
    """Stairs of 2 steps, an interval of 5: the third stair, a quarter of the start, is the last."""
    schedule = build({"type": "exponential_decay", "end": 5, "lr": 8e-5, "decay_rate": 0.5, "decay_interval": 2})
    expected = {0: 8e-5, 1: 8e-5, 2: 4e-5, 3: 4e-5, 4: 2e-5, 5: 2e-5, 6: 2e-5, 1000: 2e-5, FAR: 2e-5}
    check(schedule, expected, (), ())
