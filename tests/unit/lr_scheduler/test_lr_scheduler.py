"""Learning-rate schedules against rates worked out by hand, closed forms, and torch's own schedulers."""

import doctest
import math
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from glideslope import lr_scheduler
from glideslope.lr_scheduler import SHAPES, ScheduleError, build_schedules, parse_schedule
from glideslope.lr_scheduler.faults import typed
from tests.support.guide import EXPONENTIAL_DECAY, PER_NETWORK, STEP_DECAY
from tests.support.paths import ROOT

PRESETS = ROOT / "cfgs" / "lr_schedule"
NETWORKS = ("encoder", "actor", "critic")
STAGES = ("S0_lock", "S1_yaw_small", "S2_yaw_pitch_small", "S3_mid", "S4_full")
TOTAL = 6_000_000
TYPES = tuple(SHAPES)


def build(config, *, lr=1e-4, total=TOTAL, **more):
    return build_schedules(config, base=dict.fromkeys(NETWORKS, lr), total_steps=total, **more)


def actor(type_, *intervals, lr=1e-4, total=TOTAL, **more):
    return build({"actor": {"type": type_, "intervals": list(intervals)}}, lr=lr, total=total, **more)["actor"]


def preset(name, **top):
    """The preset as Hydra composes it, with top-level keys overridden."""
    config = OmegaConf.merge(OmegaConf.load(PRESETS / f"{name}.yaml"), top)
    return OmegaConf.to_container(config, resolve=True)["lr_schedule"]


def faults(config, **more):
    with pytest.raises(ScheduleError) as caught:
        build(config, preset_key="lr_schedule", **more)
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return tuple(map(str, caught.value.faults))


def the_fault(*intervals, type_="step_decay", **more):
    found = faults({"actor": {"type": type_, "intervals": list(intervals)}}, **more)
    assert len(found) == 1, found
    return found[0]


def notes(*intervals, type_="step_decay", **more):
    return build({"actor": {"type": type_, "intervals": list(intervals)}}, **more).notes


def rates(schedule, *steps, **more):
    return [schedule(step, **more) for step in steps]


# --- Golden values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "network", "expected"),
    [
        (
            "gentle_decay",
            "actor",
            {
                0: 1e-4,
                1: 1e-4,
                1_999_999: 1e-4,
                2_000_000: 5e-5,
                2_000_001: 5e-5,
                3_999_999: 5e-5,
                4_000_000: 2.5e-5,
                5_999_999: 2.5e-5,
                6_000_000: 2.5e-5,
                10**12: 2.5e-5,
            },
        ),
        (
            "aggressive_decay",
            "critic",
            {
                0: 1e-4,
                999_999: 1e-4,
                1_000_000: 5e-5,
                1_999_999: 5e-5,
                2_000_000: 2.5e-5,
                2_999_999: 2.5e-5,
                3_000_000: 1e-5,
                3_999_999: 1e-5,
                4_000_000: 5e-6,
                10**12: 5e-6,
            },
        ),
        (
            "exponential_smooth",
            "encoder",
            {
                0: 1e-4,
                999: 1e-4,
                1000: 9.995e-5,
                1999: 9.995e-5,
                2000: 9.990_002_5e-5,
                3_000_000: 1e-4 * 0.9995**3000,
                5_999_999: 1e-4 * 0.9995**5999,
                6_000_000: 1e-4 * 0.9995**6000,
                10**12: 1e-4 * 0.9995**6000,
            },
        ),
        ("differential", "encoder", {0: 8e-5, 2_999_999: 8e-5, 3_000_000: 4e-5, 10**12: 4e-5}),
        ("differential", "actor", {0: 1.2e-4, 999: 1.2e-4, 1000: 1.1994e-4, 10**12: 1.2e-4 * 0.9995**6000}),
        (
            "differential",
            "critic",
            {0: 1.5e-4, 999_999: 1.5e-4, 1_000_000: 7e-5, 2_499_999: 7e-5, 2_500_000: 3e-5, 10**12: 3e-5},
        ),
        (
            "warmup_cosine",
            "actor",
            {
                0: 0.0,
                60_000: 4.998_828e-5,  # half of 1e-4 (0.05 + 0.95 * (1 + cos 1.8°) / 2)
                120_000: 9.990_627e-5,
                3_000_000: 5.25e-5,
                6_000_000: 5e-6,
                10**12: 5e-6,
            },
        ),
    ],
)
def test_presets_have_the_rates_worked_out_by_hand(name, network, expected):
    schedule = build(preset(name))[network]
    tolerance = 1e-6 if name == "warmup_cosine" else 1e-12
    assert rates(schedule, *expected) == pytest.approx(list(expected.values()), rel=tolerance, abs=0)


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
@pytest.mark.parametrize("network", NETWORKS)
def test_every_preset_rescales_with_lr_and_retimes_with_the_length_of_training(name, network):
    settings_ = preset(name)
    full, small = build(settings_)[network], build(settings_, lr=2e-4, total=TOTAL // 2)[network]
    if full.follows_stages:
        pytest.skip("timed by the curriculum")
    steps = np.arange(0, 7_000_000, 9998)
    np.testing.assert_allclose(small(steps // 2), 2 * full(steps), rtol=1e-12, atol=0)


def test_every_preset_is_a_global_package_without_notes():
    for path in PRESETS.glob("*.yaml"):
        assert path.read_text().splitlines()[0] == "# @package _global_", path
        assert build(preset(path.stem), stage_names=STAGES).notes == (), path


def test_constant_is_null_and_decay_rate_reaches_exponential_smooth():
    assert preset("constant") is None
    schedule = build(preset("exponential_smooth", decay_rate=0.9998))["critic"]
    assert schedule(6_000_000) == pytest.approx(1e-4 * 0.9998**6000, rel=1e-12)


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem != "constant"))
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_preset_can_be_switched_to_every_type(name, type_, network):
    config = preset(name)
    config[network]["type"] = type_
    schedule = build(config, stage_names=STAGES)[network]
    history = [(i * 1_000_000, i) for i in range(5)]
    curve = schedule(np.arange(-1, 7_000_000, 9973), history)
    assert curve.min() >= 0
    assert curve.max() <= 1.5e-4
    other = next(n for n in NETWORKS if n != network)
    assert build(preset(name), stage_names=STAGES)[other](5, history) == build(config, stage_names=STAGES)[other](
        5, history
    )


def test_gentle_decay_switched_to_exponential_is_continuous():
    config = preset("gentle_decay")
    config["actor"]["type"] = "exponential_decay"
    schedule = build(config)["actor"]
    assert rates(schedule, 0, 2_000_000, 4_000_000, 6_000_000) == [1e-4, 5e-5, 2.5e-5, 2.5e-5]
    assert schedule(1_000_000) == pytest.approx(1e-4 / math.sqrt(2), rel=1e-12)
    assert schedule(1_999_999) == pytest.approx(5e-5, rel=1e-6)
    curve = schedule(np.arange(0, TOTAL, 997))
    assert np.all(np.diff(curve) <= 0)


@pytest.mark.parametrize(
    ("type_", "interval", "expected"),
    [
        ("constant", {"lr": 0.3}, [0.3, 0.3, 0.3, 0.3]),
        ("step_decay", {"init_lr": "0.5x"}, [0.2, 0.2, 0.2, 0.2]),
        ("linear_decay", {"lr": 0.4, "final_lr": 0.2}, [0.4, 0.35, 0.3, 0.2]),
        ("linear_decay", {"lr": 0, "final_lr": "1x"}, [0.0, 0.1, 0.2, 0.4]),
        ("cosine_decay", {"lr": 0.4, "final_lr": 0}, [0.4, 0.2 * (1 + math.sqrt(0.5)), 0.2, 0.0]),
        ("polynomial_decay", {"lr": 0.4, "final_lr": 0.2, "power": 2}, [0.4, 0.3125, 0.25, 0.2]),
        ("polynomial_decay", {"lr": 0.4, "final_lr": 0.2}, [0.4, 0.35, 0.3, 0.2]),
        ("exponential_decay", {"lr": 0.4, "final_lr": 0.1}, [0.4, 0.4 / math.sqrt(2), 0.2, 0.1]),
        ("exponential_decay", {"lr": 0.4, "decay_rate": 0.5, "decay_interval": 40}, [0.4, 0.4, 0.2, 0.1]),
        (
            "exponential_decay",
            {"lr": 0.4, "decay_rate": 0.25, "decay_interval": "50%", "staircase": False},
            [0.4, 0.2, 0.1, 0.025],
        ),
        (
            "inverse_sqrt_decay",
            {"lr": 0.4},
            [0.4, 0.4 / math.sqrt(3.5), 0.4 / math.sqrt(6), 0.4 / math.sqrt(11)],
        ),
        (
            "inverse_sqrt_decay",
            {"lr": 0.4, "decay_interval": "25%"},
            [0.4, 0.4 / math.sqrt(2), 0.4 / math.sqrt(3), 0.4 / math.sqrt(5)],
        ),
    ],
)
def test_each_type_follows_its_formula(type_, interval, expected):
    schedule = actor(type_, {"start": 200, "end": 300, **interval}, lr=0.4, total=100)
    schedule_from_0 = actor(type_, interval, lr=0.4, total=100)
    assert rates(schedule_from_0, 0, 25, 50, 100) == pytest.approx(expected, rel=1e-12, abs=1e-17)
    assert rates(schedule_from_0, 101, 10**14) == [schedule_from_0(100)] * 2
    if "50%" not in interval.values() and "25%" not in interval.values():
        assert rates(schedule, 200, 225, 250, 300) == pytest.approx(expected, rel=1e-12, abs=1e-17)


def test_boundaries_are_met_to_the_step():
    schedule = actor("linear_decay", {"start": 10, "end": 20, "lr": 0.5, "final_lr": 0.1}, lr=0.9, total=100)
    assert rates(schedule, -5, 0, 9) == [0.9] * 3
    assert rates(schedule, 10, 11, 19) == pytest.approx([0.5, 0.46, 0.14], rel=1e-12)
    assert rates(schedule, 20, 21, 99, 100, 101, 10**9) == [0.1] * 6


def test_a_gap_holds_what_the_formula_reaches_at_the_end():
    stairs = {"end": 30, "lr": 0.8, "decay_rate": 0.5, "decay_interval": 10}
    schedule = actor("exponential_decay", stairs, {"start": 50, "lr": 0.3, "type": "constant"}, total=100)
    assert rates(schedule, 9, 10, 29, 30, 49, 50, 1000) == [0.8, 0.4, 0.2, 0.1, 0.1, 0.3, 0.3]


def test_missing_end_point_arrives_at_the_next_start_even_before_a_gap():
    schedule = actor(
        "linear_decay",
        {"end": 40, "lr": 0.8},
        {"start": 60, "end": 80, "lr": 0.4, "warmup": 10},
        {"start": 80, "lr": 0.2, "type": "constant"},
        total=100,
    )
    assert rates(schedule, 0, 20, 39, 40, 59) == pytest.approx([0.8, 0.6, 0.41, 0.4, 0.4], rel=1e-12)
    # The warm-up of the second interval starts and ends on its curve, from 0.4 at 60 to 0.2 at 80.
    assert rates(schedule, 60, 65, 70, 79, 80) == pytest.approx([0.4, 0.375, 0.3, 0.21, 0.2], rel=1e-12)


def test_intervals_may_leave_out_starts_and_ends_and_name_their_own_types():
    schedule = actor(
        "step_decay",
        {"end": "10%", "lr": 0.1, "type": "linear_decay"},
        {"end": "1/5", "lr": 0.3},
        {"lr": 0.4, "type": "cosine_decay", "final_lr": 0.2},
        total=100,
    )
    assert rates(schedule, 0, 5, 10, 19, 20, 60, 100) == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.4, 0.3, 0.2])


def test_warmup_rises_from_the_rate_just_before():
    first = {"end": 50, "lr": 0.4, "warmup": 10}
    schedule = actor("step_decay", first, {"start": 50, "lr": 0.1, "warmup": "20%"}, total=100)
    assert rates(schedule, 0, 1, 5, 9, 10, 49) == pytest.approx([0.0, 0.04, 0.2, 0.36, 0.4, 0.4], rel=1e-12)
    assert rates(schedule, 50, 60, 69, 70, 71) == pytest.approx([0.4, 0.25, 0.115, 0.1, 0.1], rel=1e-12)
    late = actor("constant", {"start": 10, "lr": 0.5, "warmup": 10}, lr=0.1, total=100)
    assert rates(late, 9, 10, 15, 20) == pytest.approx([0.1, 0.1, 0.3, 0.5], rel=1e-12)


def test_warmup_starts_from_the_last_rate_of_stairs_and_ramps():
    stairs = {"end": 30, "lr": 0.8, "decay_rate": 0.5, "decay_interval": 10}
    schedule = actor("exponential_decay", stairs, {"lr": 0.8, "type": "constant", "warmup": 10}, total=100)
    assert rates(schedule, 29, 30, 35, 40) == pytest.approx([0.2, 0.2, 0.5, 0.8], rel=1e-12)
    whole = {"end": 10, "lr": 0.8, "warmup": 10}
    schedule = actor("step_decay", whole, {"lr": 0.2, "warmup": 10}, total=100)
    assert rates(schedule, 9, 10, 15, 20) == pytest.approx([0.72, 0.72, 0.46, 0.2], rel=1e-12)


def test_warmup_follows_the_curve_below_it():
    schedule = actor("linear_decay", {"lr": 0.8, "final_lr": 0, "warmup": "50%"}, total=100)
    assert schedule(25) == pytest.approx(0.6 * 0.5, rel=1e-12)
    assert schedule(50) == pytest.approx(0.4, rel=1e-12)


def test_shares_are_exact():
    """A third of 100 steps ends between two of them; decay intervals of 10/3 steps never lose one."""
    schedule = actor("step_decay", {"end": "1/3", "lr": 0.2}, {"end": "2/3", "lr": 0.3}, {"lr": 0.4}, total=100)
    assert rates(schedule, 33, 34, 66, 67) == [0.2, 0.3, 0.3, 0.4]
    stairs = actor("exponential_decay", {"lr": 1, "decay_rate": 0.5, "decay_interval": "1/30"}, total=100)
    assert [stairs(step) for step in range(101)] == [0.5 ** (step * 30 // 100) for step in range(101)]
    billions = actor("step_decay", {"end": "1/3", "lr": 0.2}, {"lr": 0.3}, total=999_999_999_999_999)
    assert rates(billions, 333_333_333_333_332, 333_333_333_333_333) == [0.2, 0.3]


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        (40, 40),
        (40.0, 40),
        ("40", 40),
        ("4e1", 40),
        ("4.0e1", 40),
        ("0.04k", 40),
        ("40%", 400),
        ("2/5", 400),
        ("1k", 1000),
        ("0.001M", 1000),
        (" 12.5% ", 125),
        ("1_0", 10),
        (np.int64(40), 40),
        ("1 / 8", 125),
        (Fraction(40), 40),
        ("0.0004M", 400),
    ],
)
def test_times_may_be_written_as(written, steps):
    schedule = actor("step_decay", {"end": written, "lr": 0.2}, {"lr": 0.3}, total=1000)
    assert rates(schedule, steps - 1, steps) == [0.2, 0.3]


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("7e-5", 7e-5),
        (7e-5, 7e-5),
        ("0.7x", 7e-5),
        ("0.7 x", 7e-5),
        ("1x", 1e-4),
        (0, 0.0),
        ("0x", 0.0),
        (1, 1.0),
        ("1.0e-4", 1e-4),
        (".5x", 5e-5),
        ("1e1x", 1e-3),
        (np.float64(7e-5), 7e-5),
    ],
)
def test_rates_may_be_written_as(written, rate):
    assert actor("constant", {"lr": written})(5) == rate


def test_a_network_left_out_keeps_its_base_rate():
    base = {"encoder": 1e-4, "actor": 2e-4, "critic": 3e-4}
    config = {"actor": {"type": "step_decay", "intervals": [{"lr": "0.5x"}]}, "critic": None}
    schedules = build_schedules(config, base=base, total_steps=10)
    assert {name: schedules[name](7) for name in schedules} == {
        "encoder": 1e-4,
        "actor": 1e-4,
        "critic": 3e-4,
    }
    for config in (None, {}):
        constant = build_schedules(config, base=base, total_steps=10)
        assert {name: constant[name](7) for name in constant} == base
        assert len(constant) == 3


def test_the_guides_examples():
    step, exponential, mixed = (
        build(yaml.safe_load(text)["lr_schedule"]) for text in (STEP_DECAY, EXPONENTIAL_DECAY, PER_NETWORK)
    )
    steps = (0, 999_999, 1_000_000, 2_999_999, 3_000_000, 10**8)
    assert rates(step["encoder"], *steps) == [1e-4, 1e-4, 5e-5, 5e-5, 1e-5, 1e-5]
    assert step["actor"](10**6) == 1e-4
    assert rates(exponential["encoder"], 999, 1000, 10**8) == pytest.approx([1e-4, 9.99e-5, 1e-4 * 0.999**1000])
    assert rates(mixed["encoder"], 0, 10**8) == [8e-5, 8e-5]
    assert rates(mixed["actor"], 4999, 5000, 10**8) == pytest.approx([1.2e-4, 1.1988e-4, 1.2e-4 * 0.999**400])
    assert rates(mixed["critic"], 999_999, 1_000_000, 3_000_000) == [1.5e-4, 5e-5, 5e-5]


# --- Stages ---------------------------------------------------------------------------------------


def by_stage(*intervals, type_="step_decay", **more):
    return actor(type_, *intervals, lr=0.1, total=1000, stage_names=STAGES, **more)


def test_stages_switch_at_their_entries():
    schedule = by_stage(
        {"stage": 0, "lr": "2x"}, {"stage": "S2_yaw_pitch_small", "lr": "1x"}, {"stage": "3", "lr": "0.5x"}
    )
    history = [(0, 0), (100, 1), (200, 2), (300, 3), (400, 4)]
    steps, expected = (0, 99, 100, 199, 200, 299, 300, 400, 10**9), [0.2] * 4 + [0.1] * 2 + [0.05] * 3
    assert rates(schedule, *steps, stages=history) == expected
    assert rates(schedule, *reversed(steps), stages=history) == expected[::-1]
    assert rates(schedule, 250, 99, stages=history[:2]) == [0.2, 0.2]  # before stage 2 has been reached
    assert rates(schedule, 250, stages=history) == [0.1]


def test_a_stage_without_an_interval_continues_the_one_before():
    fade = {"stage": 1, "type": "linear_decay", "lr": 0.9, "final_lr": 0.1, "duration": 100}
    schedule = by_stage(fade, {"stage": 3, "lr": 0.5})
    history = [(0, 0), (100, 1), (150, 2), (180, 3)]
    assert rates(schedule, 0, 99, stages=history) == [0.1, 0.1]
    assert rates(schedule, 100, 150, 175, 180, stages=history) == pytest.approx([0.9, 0.5, 0.3, 0.5], rel=1e-12)
    assert rates(schedule, 200, 10**9, stages=history[:3]) == pytest.approx([0.1, 0.1], rel=1e-12)


def test_time_in_a_stage_counts_from_its_last_entry():
    fade = {"stage": 1, "lr": 0.8, "decay_rate": 0.5, "decay_interval": 10}
    schedule = by_stage({"stage": 0, "lr": 0.2, "type": "constant"}, fade, type_="exponential_decay")
    history = [(0, 0), (100, 1), (120, 0), (130, 1)]
    assert rates(schedule, 110, 119, 120, 130, 139, 140, stages=history) == [0.4, 0.4, 0.2, 0.8, 0.8, 0.4]


def test_a_stages_warmup_starts_from_the_rate_before_it():
    schedule = by_stage({"stage": 0, "lr": 0.2, "warmup": 100}, {"stage": 1, "lr": 0.9, "warmup": 10})
    assert rates(schedule, 0, 50, stages=[(0, 0)]) == pytest.approx([0.0, 0.1], rel=1e-12)
    early = [(0, 0), (51, 1)]  # in the middle of the first warm-up
    assert rates(schedule, 50, 51, 56, 61, stages=early) == pytest.approx([0.1, 0.1, 0.5, 0.9], rel=1e-12)
    jump = [(0, 0), (200, 1), (200, 2)]
    assert rates(schedule, 199, 200, 205, stages=jump) == pytest.approx([0.2, 0.2, 0.55], rel=1e-12)


def test_unknown_length_holds_and_known_duration_arrives():
    schedule = by_stage(
        {"stage": 0, "lr": 0.4},
        {"stage": 1, "lr": 0.2, "duration": 10},
        {"stage": 2, "lr": 0.1},
        type_="linear_decay",
    )
    history = [(0, 0), (100, 1)]
    assert rates(schedule, 0, 99, 100, 105, 110, 500, stages=history) == pytest.approx(
        [0.4, 0.4, 0.2, 0.15, 0.1, 0.1], rel=1e-12
    )


def test_histories_must_be_in_order_and_empty_ones_are_base():
    schedule = by_stage({"stage": 0, "lr": 0.4})
    assert schedule(7) == 0.1
    with pytest.raises(ValueError, match="in order"):
        schedule(7, [(5, 0), (4, 1)])


# --- Any order, any shape of question -------------------------------------------------------------


def rate_texts(upper=1.0):
    return st.floats(0, upper) | st.floats(0, 10).map(lambda f: f"{f:.4f}x")


@st.composite
def schedules(draw):
    """A valid list of timed intervals, with its largest configured rate."""
    total = draw(st.integers(1, 5000) | st.integers(10**6, 10**12))
    cuts = sorted(draw(st.sets(st.integers(0, 2 * total), min_size=2, max_size=6)))
    intervals = []
    for start, end in pairwise(cuts):
        interval = {"start": start, "type": draw(st.sampled_from(TYPES)), "lr": draw(rate_texts())}
        if draw(st.booleans()):
            interval["end"] = draw(st.integers(start + 1, end))
        if draw(st.booleans()):
            interval["final_lr"] = draw(rate_texts())
        elif draw(st.booleans()):
            interval["decay_rate"] = draw(st.floats(1e-6, 1.0))
            interval["decay_interval"] = draw(st.sampled_from(["1/7", "0.1%", 3]))
            interval["staircase"] = draw(st.booleans())
        if draw(st.booleans()):
            interval["power"] = draw(st.floats(0.1, 5))
        if draw(st.booleans()):
            interval["warmup"] = draw(st.integers(0, interval.get("end", start + 1) - start))
        intervals.append(interval)
    base = draw(st.floats(1e-6, 0.1))
    value = {None: 0.0}
    for interval in intervals:
        for name in ("lr", "final_lr"):
            text = interval.get(name)
            value[text] = float(text[:-1]) * base if isinstance(text, str) else text or 0.0
    config = {"actor": {"intervals": intervals}}
    try:
        schedule = build_schedules(config, base={"actor": base}, total_steps=total)["actor"]
    except ScheduleError as refusal:
        unexpected = [fault for fault in refusal.faults if "no exponential path" not in fault.rule]
        assume(bool(unexpected))  # an exponential from or to 0 is rightly refused; nothing else may be
        raise
    return schedule, max(base, *value.values()), total


@settings(max_examples=150)
@given(
    schedules(),
    st.lists(st.integers(-10, 10**13), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
def test_bounded_order_free_and_the_same_for_arrays(drawn, steps, random):
    schedule, largest, total = drawn
    steps = [*steps, 0, total - 1, total, *(step % (2 * total) for step in steps)]
    answers = rates(schedule, *steps)
    assert all(0.0 <= answer <= largest * (1 + 1e-15) for answer in answers)
    shuffled = list(range(len(steps)))
    random.shuffle(shuffled)
    assert [schedule(steps[i]) for i in shuffled] == [answers[i] for i in shuffled]
    assert schedule(np.array(steps)).tolist() == answers


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 4)), max_size=6).map(
        lambda h: sorted(h, key=lambda e: e[0])
    ),
    st.lists(st.integers(0, 400), min_size=1, max_size=20),
)
def test_a_stage_schedule_knows_only_the_history_up_to_the_step(history, steps):
    intervals = [
        {"stage": 0, "lr": 0.2, "warmup": 20},
        {"stage": 2, "lr": 0.5, "final_lr": 0.1, "duration": 50},
        {"stage": 3, "lr": 0.3, "warmup": 7},
    ]
    schedule, fresh = (by_stage(*intervals, type_="cosine_decay") for _ in range(2))
    for step in steps:
        known = [entry for entry in history if entry[0] <= step]
        assert schedule(step, history) == fresh(step, known)
        assert 0 <= schedule(step, history) <= 0.5
    assert schedule(np.array(steps), history).tolist() == rates(schedule, *steps, stages=history)


@st.composite
def runs(draw):
    """A schedule of any shapes by time or by stage, the largest rate configured, and a run's history."""
    extents = [{"stage": stage} for stage in draw(st.sets(st.integers(0, 4), min_size=1, max_size=4))]
    by_time = draw(st.booleans())
    rate = st.sampled_from([1e-9, 0.003, 0.1, 0.37, 1.0])
    intervals = []
    for extent in sorted(extents, key=lambda extent: extent["stage"]):
        if by_time:
            twice = 2 * extent["stage"]
            extent = {"start": f"{twice}/14", "end": f"{twice + draw(st.sampled_from([1, 2]))}/14"}
        else:
            extent["duration"] = draw(st.sampled_from([20, "1/7", 300]))
        interval = {**extent, "type": draw(st.sampled_from(TYPES)), "lr": draw(rate)}
        if interval["type"] == "reduce_on_plateau":
            interval |= {
                "factor": draw(st.sampled_from([0.1, 0.9])),
                "min_lr": draw(st.sampled_from([0, 1e-9])),
            }
        elif draw(st.booleans()):
            interval["final_lr"] = draw(rate)
        if draw(st.booleans()):
            interval["warmup"] = draw(st.integers(0, 20))
        intervals.append(interval)
    schedule = actor("constant", *intervals, lr=0.1, total=1000, stage_names=STAGES)
    largest = max(0.1, *(interval[name] for interval in intervals for name in ("lr", "final_lr") if name in interval))
    entries = sorted(draw(st.lists(st.integers(0, 1000), max_size=4)))
    stages = [(0, 0), *zip(entries, range(1, 5), strict=False)]
    return schedule, largest, stages, sorted(draw(st.sets(st.integers(0, 1200), max_size=8)))


@settings(max_examples=150)
@given(runs(), st.lists(st.integers(-5, 1300), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_runs_are_bounded_order_free_and_the_same_for_arrays(run, steps, random):
    """Every shape by stage too, and with reductions; each answer knows only the history before its step."""
    schedule, largest, stages, reductions = run
    steps += [at + d for at in (*reductions, *(at for at, _ in stages)) for d in (0, 1)]
    answers = {step: schedule(step, stages, reductions) for step in steps}
    assert all(0.0 <= answer <= largest for answer in answers.values())
    for step in random.sample(steps, len(steps)):
        known = [entry for entry in stages if entry[0] <= step], [at for at in reductions if at < step]
        assert schedule(step, *known) == schedule(step, stages, reductions) == answers[step]
    assert schedule(np.array(steps), stages, reductions).tolist() == [answers[step] for step in steps]


def test_arrays_keep_their_shape_and_steps_must_be_integers():
    schedule = build(preset("warmup_cosine"))["actor"]
    grid = np.arange(12, dtype=np.int32).reshape(3, 4) * 600_000
    assert schedule(grid).shape == (3, 4)
    assert schedule(grid)[2, 3] == schedule(6_600_000)
    assert schedule(np.array(3_000_000)) == schedule(3_000_000)
    assert schedule(np.array([], dtype=np.int64)).shape == (0,)
    assert schedule(np.int64(5)) == schedule(5)
    assert type(schedule(np.int64(5))) is float
    for bad in (1.0, "1", np.array([1.0])):
        with pytest.raises(TypeError):
            schedule(bad)


def test_a_million_steps_do_not_drift():
    """float32 products would be off by percents here; the closed form is exact to the last digits."""
    schedule = actor("exponential_decay", {"lr": 1e-4, "decay_rate": 0.999999, "decay_interval": 1}, total=10**6)
    assert schedule(10**6) == pytest.approx(1e-4 * math.exp(1e6 * math.log1p(-1e-6)), rel=1e-9)


# --- torch's own schedulers -----------------------------------------------------------------------


def torch_curve(scheduler, lr, steps, **arguments):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    theirs = scheduler(optimizer, **arguments)
    curve = []
    for _ in range(steps):
        curve.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    return curve


@pytest.mark.parametrize(
    ("type_", "intervals", "scheduler", "arguments"),
    [
        (
            "step_decay",
            [{"end": 30, "lr": "1x"}, {"end": 80, "lr": "0.1x"}, {"lr": "0.01x"}],
            torch.optim.lr_scheduler.MultiStepLR,
            {"milestones": [30, 80], "gamma": 0.1},
        ),
        (
            "exponential_decay",
            [{"lr": "1x", "decay_rate": 0.5, "decay_interval": 30}],
            torch.optim.lr_scheduler.StepLR,
            {"step_size": 30, "gamma": 0.5},
        ),
        (
            "exponential_decay",
            [{"lr": "1x", "decay_rate": 0.97, "decay_interval": 1}],
            torch.optim.lr_scheduler.ExponentialLR,
            {"gamma": 0.97},
        ),
        (
            "linear_decay",
            [{"end": 60, "lr": "1x", "final_lr": "0.2x"}],
            torch.optim.lr_scheduler.LinearLR,
            {"start_factor": 1.0, "end_factor": 0.2, "total_iters": 60},
        ),
        (
            "cosine_decay",
            [{"lr": "1x", "final_lr": 1e-5}],
            torch.optim.lr_scheduler.CosineAnnealingLR,
            {"T_max": 100, "eta_min": 1e-5},
        ),
        (
            "polynomial_decay",
            [{"lr": "1x", "final_lr": 0, "power": 3}],
            torch.optim.lr_scheduler.PolynomialLR,
            {"total_iters": 100, "power": 3},
        ),
    ],
)
def test_agrees_with_torch(type_, intervals, scheduler, arguments):
    ours = actor(type_, *intervals, lr=0.02, total=100)(np.arange(101))
    np.testing.assert_allclose(ours, torch_curve(scheduler, 0.02, 101, **arguments), rtol=1e-9, atol=1e-15)


# --- Refusals -------------------------------------------------------------------------------------

KEY = "lr_schedule.actor.intervals"


@pytest.mark.parametrize(
    ("interval", "fault"),
    [
        ({"lr": -1e-4}, "0.lr=-0.0001: must not be negative"),
        ({"lr": "-1x"}, "0.lr=-1x: must not be negative"),
        ({"lr": "nan"}, "0.lr=nan: must be a finite number"),
        ({"lr": ".nan"}, "0.lr=.nan: must be a finite number"),
        ({"lr": math.nan}, "0.lr=nan: must be a finite number"),
        ({"lr": "-.inf"}, "0.lr=-.inf: must be a finite number"),
        ({"lr": math.inf}, "0.lr=inf: must be a finite number"),
        ({"lr": "1e999"}, "0.lr=1e999: must be a finite number"),
        ({"lr": 10**400}, None),
        ({"lr": 1.5}, "0.lr=1.5: a rate must not be greater than 1"),
        ({"lr": "20000x"}, "0.lr=20000x: a rate, here 2, must not be greater than 1"),
        ({"lr": "50%"}, "0.lr=50%: a rate is a number (1.0e-4) or a multiple of the base rate (0.5x)"),
        ({"lr": True}, "0.lr=true: a rate is"),
        ({"lr": [1]}, "0.lr=[1]: a rate is"),
        ({"lr": "fast"}, "0.lr=fast: a rate is"),
        ({"lr": "1e9999999999"}, "0.lr=1e9999999999: a rate is"),
        ({"lr": 1e-4, "init_lr": 1e-4}, "0.init_lr=0.0001: lr and init_lr mean the same; give only one"),
        ({"final_lr": 1e-4}, "0.lr: is missing; an interval starts from lr (or init_lr)"),
        ({"lr": None}, "0.lr: is missing"),
        ({"lr": 1e-4, "final_lr": "bad"}, "0.final_lr=bad: a rate is"),
        (
            {"lr": 1e-4, "start": "x"},
            "0.start=x: a time is a number of steps (1000000, 1.0e6, 250k, 1M) or a share",
        ),
        ({"lr": 1e-4, "start": True}, "0.start=true: a time is"),
        ({"lr": 1e-4, "start": -1}, "0.start=-1: must not be negative"),
        ({"lr": 1e-4, "start": "-1/3"}, "0.start=-1/3: must not be negative"),
        ({"lr": 1e-4, "end": "-10%"}, "0.end=-10%: must not be negative"),
        ({"lr": 1e-4, "end": "nan"}, "0.end=nan: must be a finite number"),
        ({"lr": 1e-4, "end": math.inf}, "0.end=inf: must be a finite number"),
        ({"lr": 1e-4, "end": "1/0"}, "0.end=1/0: the denominator of a share must not be 0"),
        (
            {"lr": 1e-4, "end": 0.5},
            "0.end=0.5: steps are whole numbers; a share of training is written 50% or 1/2",
        ),
        ({"lr": 1e-4, "end": "2e15"}, "0.end=2e15: must not be more than 1e15 steps"),
        ({"lr": 1e-4, "end": 0}, "0.end=0: must be greater than the start, 0"),
        ({"lr": 1e-4, "start": "1M", "end": "10%"}, "0.end=10%: must be greater than the start, 1M"),
        ({"lr": 1e-4, "warmup": -5}, "0.warmup=-5: must not be negative"),
        (
            {"lr": 1e-4, "end": 100, "warmup": 101},
            "0.warmup=101: longer than its interval, which has 100 steps",
        ),
        ({"lr": 1e-4, "warmup": "101%"}, "0.warmup=101%: longer than its interval"),
        ({"lr": 1e-4, "decay_rate": 0}, "0.decay_rate=0: must be greater than 0"),
        ({"lr": 1e-4, "decay_rate": -0.5}, "0.decay_rate=-0.5: must not be negative"),
        ({"lr": 1e-4, "decay_rate": "50%"}, "0.decay_rate=50%: must be a number"),
        ({"lr": 1e-4, "decay_interval": 0}, "0.decay_interval=0: must be greater than 0"),
        ({"lr": 1e-4, "staircase": "no"}, "0.staircase=no: must be true or false"),
        ({"lr": 1e-4, "power": 0}, "0.power=0: must be greater than 0"),
        ({"lr": 1e-4, "duration": 5}, "0.duration=5: belongs to an interval with a stage; give its end"),
        (
            {"lr": 1e-4, "strat": 0},
            "0.strat=0: an unknown key; did you mean start? the keys are type, start,",
        ),
        ({"lr": 1e-4, 7: 0}, "0.7=0: an unknown key; the keys are"),
        (
            {"lr": 1e-4, "type": "linear"},
            "0.type=linear: an unknown type; did you mean linear_decay? the types are",
        ),
        ({"lr": 1e-4, "type": 3}, "0.type=3: an unknown type; the types are constant, step_decay"),
        (
            {"lr": 1e-4, "type": "reduce_on_platau"},
            "0.type=reduce_on_platau: an unknown type; did you mean reduce_on_plateau?",
        ),
        ({"lr": 1e-4, "metric": 3}, "0.metric=3: must be the name of a metric"),
        (
            {"type": "reduce_on_plateau", "lr": 1e-4, "metric": "loss"},
            "0.mode: is missing; say whether loss is to rise or to fall: max or min",
        ),
        ({"lr": 1e-4, "mode": "mix"}, "0.mode=mix: an unknown mode; "),
        ({"lr": 1e-4, "start_after": "2%x"}, "0.start_after=2%x: a time is a number of steps"),
        ({"lr": 1e-4, "min_value": "high"}, "0.min_value=high: must be a number"),
        ({"type": "piecewise_linear"}, "0.points: is missing: each a time and a rate"),
        (
            {"type": "piecewise_linear", "points": [[0, "1x"], [5]]},
            "0.points=[[0, 1x], [5]]: must be a list of points [time, rate],",
        ),
        (
            {"type": "piecewise_linear", "points": [[0, "1x"], [0, "2x"]]},
            "0.points=[[0, 1x], [0, 2x]]: point 1, [0, 2x]: must be later",
        ),
        (
            {"type": "piecewise_linear", "points": [[0, "1x"], [9, -1]]},
            "0.points=[[0, 1x], [9, -1]]: point 1, [9, -1]: must not be negative",
        ),
        (
            {"type": "piecewise_linear", "points": [[0, "1x"], ["half", 0]]},
            "0.points=[[0, 1x], [half, 0]]: point 1, [half, 0]: a time is",
        ),
        ({"lr": 1e-4, "repeat": 0}, "0.repeat=0: must be a whole number from 1 to 1000"),
        ({"lr": 1e-4, "repeat": 2.5}, "0.repeat=2.5: must be a whole number from 1 to 1000"),
        ({"lr": 1e-4, "restart_factor": 0}, "0.restart_factor=0: must be greater than 0"),
        (
            {"type": "cosine_decay", "lr": 1e-4, "final_lr": 0, "repeat": 9, "restart_factor": 10},
            "0.restart_factor=10: the rate grows to 10000; it must not be greater than 1",
        ),
        (
            {"type": "cosine_decay", "lr": 1e-4, "final_lr": 0, "repeat": 900, "restart_factor": 1e9},
            "0.restart_factor=1000000000.0: the rate grows to inf",
        ),
        (
            {"type": "cosine_decay", "lr": 1e-4, "final_lr": 0, "end": 100, "repeat": 4, "warmup": 26},
            "0.warmup=26: longer than a cycle of its interval, which has 25 steps",
        ),
        (
            {"type": "exponential_decay", "stage": 0, "lr": 1e-4, "decay_rate": 0.5, "decay_interval": 9, "repeat": 2},
            "0.duration: is missing; repeat divides it into cycles",
        ),
        ({"lr": 1e-4, "factor": 1}, "0.factor=1: must be less than 1"),
        ({"lr": 1e-4, "factor": 0}, "0.factor=0: must be greater than 0"),
        ({"lr": 1e-4, "patience": 2.5}, "0.patience=2.5: must be a whole number of evaluations"),
        ({"lr": 1e-4, "patience": -1}, "0.patience=-1: must not be negative"),
        ({"lr": 1e-4, "cooldown": "10%"}, "0.cooldown=10%: must be a whole number of evaluations"),
        ({"lr": 1e-4, "min_delta": "nan"}, "0.min_delta=nan: must be a finite number"),
        (
            {"lr": 1e-4, "type": "reduce_on_plateau", "min_lr": "2x"},
            "0.min_lr=2x: must not be greater than the initial rate, 0.0001",
        ),
        ("1e-4", "0=1e-4: an interval is a mapping, such as {start: 0"),
        (None, "0=null: an interval is a mapping"),
    ],
)
def test_a_faulty_interval_is_refused_by_name(interval, fault):
    found = the_fault(interval)
    assert found.startswith(f"{KEY}.{fault}" if fault else f"{KEY}.0.lr=1000")


@pytest.mark.parametrize(
    ("points", "rule"),
    [
        ([], "must be a list of points [time, rate], such as [[0, 1x], [40%, 0.5x]]"),
        ("0:1x", "must be a list of points [time, rate], such as [[0, 1x], [40%, 0.5x]]"),
        ([[0, "1x"], [5]], "must be a list of points [time, rate], such as [[0, 1x], [40%, 0.5x]], not [5]"),
        ([[1, "1x"]], "the first point must be at 0, the start of the interval"),
        ([[0, "1x"], [0, "2x"]], "point 1, [0, 2x]: must be later than the point before it"),
        ([[0, "1x"], [9, -1]], "point 1, [9, -1]: must not be negative"),
        ([[0, "1x"], [9, 1.5]], "point 1, [9, 1.5]: a rate must not be greater than 1"),
        ([[0, "1x"], ["half", 0]], "point 1, [half, 0]: a time is a number of steps (1000000, 1.0e6, 250k, 1M) or a "),
    ],
)
def test_faulty_points_are_named(points, rule):
    found = the_fault({"type": "piecewise_linear", "points": points})
    assert found.startswith(f"{KEY}.0.points={typed(points)}: {rule}")


def test_overlaps_show_both_intervals_and_the_override_that_mends_them():
    first, second = {"start": 0, "end": "1.5M", "lr": 1e-4}, {"start": "1/6", "end": "5M", "lr": 5e-5}
    assert the_fault(first, second) == (
        f"{KEY}.1.start=1/6: steps 1000000 to 5000000 overlap interval 0, 0 to 1500000; to fix it, set {KEY}.0.end=1/6"
    )
    first["end"] = "1/6"
    assert actor("step_decay", first, second)(1_000_000) == 5e-5


def test_overlaps_with_an_earlier_interval_and_equal_starts():
    long, inside, later = (
        {"end": 90, "lr": 0.1},
        {"start": 10, "end": 20, "lr": 0.2},
        {"start": 30, "lr": 0.3},
    )
    found = faults({"actor": {"type": "step_decay", "intervals": [long, inside, later]}}, total=100)
    assert [fault.split(":")[0] for fault in found] == [f"{KEY}.1.start=10", f"{KEY}.2.start=30"]
    assert the_fault({"end": 50, "lr": 0.1}, {"start": 0, "end": 60, "lr": 0.2}).endswith(
        f"interval 0 starts there too; to fix it, set {KEY}.1.start=50"
    )
    assert "interval 0 starts there too" in the_fault({"start": 5, "lr": 0.1}, {"start": 5, "end": 60, "lr": 0.2})


def test_shares_are_compared_exactly_with_steps():
    assert "overlap" in the_fault({"end": 34, "lr": 0.1}, {"start": "1/3", "lr": 0.2}, total=100)
    actor("step_decay", {"end": 33, "lr": 0.1}, {"start": "33%", "lr": 0.2}, total=100)
    actor("step_decay", {"end": "1/3", "lr": 0.1}, {"start": "2/6", "lr": 0.2}, total=100)


def test_unsorted_lists_and_undetermined_starts_are_refused():
    found = the_fault({"start": 50, "lr": 0.1}, {"start": 20, "end": 40, "lr": 0.2})
    assert found == (f"{KEY}.1.start=20: intervals are listed in order, but interval 0 starts later, at step 50")
    assert the_fault({"lr": 0.1}, {"lr": 0.2}) == (
        f"{KEY}.1.start: is missing, and so is {KEY}.0.end; give one of them"
    )


@pytest.mark.parametrize(
    ("interval", "fault"),
    [
        ({"decay_rate": 0.9}, "0.decay_interval: is missing; it goes with decay_rate"),
        ({"decay_interval": 10}, "0.decay_rate: is missing; it goes with decay_interval"),
        (
            {"decay_rate": 0.9, "decay_interval": 10, "final_lr": 0},
            "0.final_lr=0: give either final_lr, or decay_rate",
        ),
        ({"final_lr": 0}, "0.lr=0.1: no exponential path leads from 0.1 to 0; use linear_decay"),
        ({"lr": 0, "final_lr": "1x"}, "0.lr=0: no exponential path leads from 0 to 0.0001; use linear_decay"),
        (
            {"decay_rate": 1.1, "decay_interval": "1%"},
            "0.decay_rate=1.1: the rate grows to 1378.06; it must not be",
        ),
        (
            {"decay_rate": 1e9, "decay_interval": 1},
            "0.decay_rate=1000000000.0: the rate grows to inf; it must not be",
        ),
    ],
)
def test_faulty_exponentials_are_refused(interval, fault):
    assert the_fault({"lr": 0.1, **interval}, type_="exponential_decay").startswith(f"{KEY}.{fault}")


def test_an_exponential_path_to_a_next_interval_at_0_is_refused():
    found = the_fault({"lr": 0.1, "end": 10}, {"lr": 0, "type": "constant"}, type_="exponential_decay")
    assert found.startswith(f"{KEY}.0.lr=0.1: no exponential path leads from 0.1 to 0")


@pytest.mark.parametrize(
    ("intervals", "fault"),
    [
        ([{"stage": 0}, {"start": 5}], "1.start=5: times and stages do not mix in one list of intervals"),
        ([{"stage": 0, "end": 5}], "0.end=5: times and stages do not mix"),
        ([{"stage": 0}, {}], "1.stage: is missing; the other intervals of this list have one"),
        ([{"stage": 2}, {"stage": 1}], "1.stage=1: listed after stage 2; stages are in order, once each"),
        ([{"stage": 1}, {"stage": "S1_yaw_small"}], "1.stage=S1_yaw_small: listed after stage 1"),
        (
            [{"stage": "S3_mif"}],
            "0.stage=S3_mif: an unknown stage; did you mean S3_mid? the stages are S0_lock,",
        ),
        ([{"stage": -1}], "0.stage=-1: must not be negative"),
        ([{"stage": 1.5}], "0.stage=1.5: a stage is named, or numbered from 0"),
        ([{"stage": True}], "0.stage=true: a stage is named, or numbered from 0"),
        ([{"stage": 0, "duration": 0}], "0.duration=0: must be greater than 0"),
        ([{"stage": 0, "duration": 5, "warmup": 6}], "0.warmup=6: longer than the duration, 5"),
        ([{"stage": 0, "final_lr": 0.1}], "0.duration: is missing; final_lr is reached at its end"),
    ],
)
def test_faulty_stages_are_refused(intervals, fault):
    intervals = [{"lr": 0.1, **interval} for interval in intervals]
    assert the_fault(*intervals, type_="linear_decay", stage_names=STAGES).startswith(f"{KEY}.{fault}")


def test_a_stage_name_without_a_curriculum_is_refused():
    assert the_fault({"stage": "S3_mid", "lr": 0.1}).endswith("an unknown stage; there are no stages")


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (
            "gentle_decay",
            "lr_schedule=gentle_decay: must be null or a mapping of encoder, actor, critic; a preset is",
        ),
        ([1], "lr_schedule=[1]: must be null or a mapping"),
        (False, "lr_schedule=false: must be null or a mapping"),
        (
            {"encodr": None},
            "lr_schedule.encodr=null: an unknown network; did you mean encoder? the networks are encoder,",
        ),
        ({3: 4}, "lr_schedule.3=4: an unknown network; the networks are"),
        (
            {"lr_schedule": {"actor": None}, "decay_rate": 1},
            "lr_schedule.lr_schedule: add `# @package _global_`",
        ),
        ({"actor": "step_decay"}, "lr_schedule.actor=step_decay: must be a mapping with type and intervals"),
        (
            {"actor": {"type": "exponential_decay"}},
            f"{KEY}: is missing; choose a preset first (lr_schedule=gentle_decay, say), or list the",
        ),
        (
            {"actor": {"type": "step_decay", "intervals": []}},
            "lr_schedule.actor.intervals=[]: must be a list of one",
        ),
        (
            {"actor": {"type": "step_decay", "intervals": "0x"}},
            "lr_schedule.actor.intervals=0x: must be a list of",
        ),
        (
            {"actor": {"type": "step_decay", "intervals": {"0": {}}}},
            "lr_schedule.actor.intervals={0: {}}: must be",
        ),
        (
            {"actor": {"intervals": [{"lr": 0.1}]}},
            "lr_schedule.actor.type: is missing; the types are constant, step",
        ),
        (
            {"actor": {"type": "step", "intervals": [{"lr": 0.1}]}},
            "lr_schedule.actor.type=step: an unknown type; did you mean step_decay?",
        ),
        (
            {"actor": {"type": "step_decay", "interval": 3, "intervals": [{"lr": 0.1}]}},
            "lr_schedule.actor.interval=3: an unknown key; did you mean intervals?",
        ),
        (
            {"actor": {"type": "step_decay", "decay_rate": 0.9, "intervals": [{"lr": 0.1}]}},
            f"lr_schedule.actor.decay_rate=0.9: belongs to an interval, as {KEY}.0.decay_rate",
        ),
    ],
)
def test_malformed_settings_are_refused(config, fault):
    (found,) = faults(config)
    assert str(found).startswith(fault)


def test_all_faults_come_in_one_report():
    config = {
        "actr": {},
        "encoder": {"type": "stairs", "intervals": [{"lr": "much"}, {"start": -1}]},
        "critic": {
            "type": "exponential_decay",
            "intervals": [{"lr": 0.1, "end": 50, "decay_rate": 0.5}, {"start": 20, "lr": 2, "sart": 1}],
        },
    }
    assert [fault.split(": ")[0].removeprefix("lr_schedule.") for fault in faults(config)] == [
        "actr={}",
        "encoder.type=stairs",
        "encoder.intervals.0.lr=much",
        "encoder.intervals.1.start=-1",
        "encoder.intervals.1.lr",
        "critic.intervals.1.lr=2",
        "critic.intervals.1.sart=1",
        "critic.intervals.1.start=20",
        "critic.intervals.0.decay_interval",
    ]


@pytest.mark.parametrize(("lr", "total"), [(-1e-4, 10), (math.nan, 10), (1.5, 10), (1e-4, 0), (1e-4, 10**16)])
def test_an_unusable_frame_is_refused(lr, total):
    with pytest.raises(ValueError, match="must be from"):
        build(None, lr=lr, total=total)


# --- Notes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "interval", "note"),
    [
        (
            "exponential_decay",
            {"lr": 1e-5, "decay_rate": 1.1, "decay_interval": "10%"},
            "0.decay_rate=1.1: greater than 1, so the rate grows",
        ),
        (
            "exponential_decay",
            {"lr": 1e-4, "staircase": False},
            "0.staircase=false: not used without decay_rate",
        ),
        ("step_decay", {"lr": "10x"}, "0.lr=10x: the rate reaches 0.001, 10 times the base rate"),
        (
            "linear_decay",
            {"init_lr": 0, "final_lr": 0.01},
            "0.init_lr=0: the rate reaches 0.01, 100 times the base",
        ),
        (
            "step_decay",
            {"start": "6M", "lr": "1x"},
            "0.start=6M: never reached: training ends at step 6000000",
        ),
        (
            "step_decay",
            {"lr": "1x", "decay_rate": 0.9},
            "0.decay_rate=0.9: not used by step_decay, only by exponential_decay",
        ),
        (
            "linear_decay",
            {"lr": "1x", "power": 2},
            "0.power=2: not used by linear_decay, only by polynomial_decay",
        ),
        ("step_decay", {"stage": 5, "lr": "1x"}, "0.stage=5: never reached: the last stage is 4"),
        (
            "inverse_sqrt_decay",
            {"stage": 0, "lr": "1x"},
            "0: holds its rate, since its length is unknown; give",
        ),
    ],
)
def test_notes(type_, interval, note):
    (found,) = notes(interval, type_=type_, stage_names=STAGES)
    assert found.startswith(f"{KEY}.{note}")


COSINE = {"end": "2M", "init_lr": 1.5e-4, "final_lr": 1.0e-5}


@pytest.mark.parametrize(
    ("type_", "interval", "more", "note"),
    [
        # The training ends at step 10,000.
        (
            "cosine_decay",
            {**COSINE, "warmup": "20k"},
            {},
            "0.warmup=20k: not over when training ends, at step 10000",
        ),
        (
            "constant",
            {"stage": 0, "lr": 1e-4, "warmup": "20k"},
            {},
            "0.warmup=20k: not over when training ends",
        ),
        # linear from 1e-4 to 0 over 20,000 steps: halfway
        (
            "linear_decay",
            {"end": "20k", "init_lr": 1e-4, "final_lr": 0},
            {},
            "0.final_lr=0: never reached: training ends with 5e-05, at step 10000",
        ),
        (
            "linear_decay",
            {"stage": 0, "duration": "40k", "init_lr": 1e-4, "final_lr": 0},
            {},
            "0.final_lr=0: never reached: training ends with 7.5e-05",
        ),
        (
            "exponential_decay",
            {"lr": 1e-4, "decay_rate": 0.5, "decay_interval": "10k"},
            {},
            "0.decay_interval=10k: never decays: training ends at step 10000",
        ),
        (
            "exponential_decay",
            {"lr": 1e-4, "end": 500, "decay_rate": 0.5, "decay_interval": 501},
            {},
            "0.decay_interval=501: never decays: longer than its interval",
        ),
        (
            "reduce_on_plateau",
            {"lr": 1e-4, "patience": 9},
            {"evaluations": 10},
            "0.patience=9: never reduces: that takes 11 evaluations, and about 10 are made",
        ),
        (
            "reduce_on_plateau",
            {"lr": 1e-4, "end": "50%", "patience": 4},
            {"evaluations": 10},
            "0.patience=4: never reduces: that takes 6 evaluations, and about 5 are made",
        ),
        # shares of 20,000 steps in a training of 10,000
        (
            "step_decay",
            {"start": "50%", "lr": "1x"},
            {"total": 20_000, "train_steps": 10_000},
            "0.start=50%: never reached: training ends at step 10000",
        ),
        (
            "constant",
            {"lr": 1e-4, "warmup": 1000},
            {"seed_steps": 400},
            "0.warmup=1000: 40% skipped: no update is made in the 400 steps of seed frames",
        ),
        ("constant", {"lr": 1e-4, "warmup": 400}, {"seed_steps": 400}, "0.warmup=400: skipped: no update"),
        (
            "linear_decay",
            {"init_lr": 1e-4, "final_lr": 1e-5, "end": 800},
            {"seed_steps": 400},
            "0: 50% skipped: no update is made in the 400 steps of seed frames",
        ),
        (
            "linear_decay",
            {"stage": 0, "init_lr": 1e-4, "final_lr": 1e-5, "duration": 300},
            {"seed_steps": 400},
            "0: 100% skipped",
        ),
    ],
)
def test_what_a_training_never_gets_to_is_noted(type_, interval, more, note):
    (found,) = notes(interval, type_=type_, stage_names=STAGES, **{"total": 10_000, **more})
    assert found.startswith(f"{KEY}.{note}")


@pytest.mark.parametrize(
    ("type_", "interval", "more"),
    [
        ("cosine_decay", {**COSINE, "end": "10k", "warmup": "10k"}, {}),
        ("step_decay", {"end": "6M", "lr": 1e-4}, {}),  # as in files for longer trainings
        ("exponential_decay", {"lr": 1e-4, "decay_rate": 0.5, "decay_interval": 9999}, {}),
        (
            "exponential_decay",
            {"lr": 1e-4, "decay_rate": 0.5, "decay_interval": "20k", "staircase": False},
            {},
        ),
        ("reduce_on_plateau", {"lr": 1e-4, "patience": 8}, {"evaluations": 10}),
        ("linear_decay", {"init_lr": 1e-4, "final_lr": 1e-5}, {"seed_steps": 400}),
        ("constant", {"lr": 1e-4, "start": 400, "warmup": 400}, {"seed_steps": 400}),
        ("constant", {"lr": 1e-4, "warmup": 1601}, {"seed_steps": 400}),  # less than a quarter of it
        ("constant", {"stage": 1, "lr": 1e-4, "warmup": 400}, {"seed_steps": 400}),
    ],
)
def test_what_a_training_gets_to_is_not_noted(type_, interval, more):
    assert notes(interval, type_=type_, stage_names=STAGES, total=10_000, **more) == ()


def test_seed_frames_that_swallow_an_interval_are_noted_and_the_next_one_is_not():
    """The first update is at step 401; the interval that ends at step 402 has it still."""
    intervals = [{"end": 401, "lr": "1x"}, {"end": 10_000, "lr": "0.5x"}]
    (found,) = notes(*intervals, total=10_000, seed_steps=400)
    assert found == f"{KEY}.0: never used: no update is made in the 400 steps of seed frames"
    intervals[0]["end"] = 402
    (found,) = notes(*intervals, total=10_000, seed_steps=400)
    assert found.startswith(f"{KEY}.0: 99% skipped")  # all but a step of 402


def test_the_noise_s_notes_are_those_of_a_rate():
    value = {
        "type": "linear_decay",
        "intervals": [{"init_lr": 1, "final_lr": 0.1, "end": 1000, "warmup": 50}],
    }
    assert parse_schedule(value, total_steps=500, seed_steps=25).notes == (
        "schedule.intervals.0.final_lr=0.1: never reached: training ends with 0.55, at step 500",
        "schedule.intervals.0.warmup=50: 50% skipped: no update is made in the 25 steps of seed frames",
    )


def test_ordinary_settings_have_no_notes():
    assert notes({"lr": "9.9x", "warmup": 3, "end": "7M"}) == ()
    assert notes({"lr": 1e-4}, lr=0.0) == ()


def test_an_lr_without_effect_is_noted():
    absolute = {name: {"type": "step_decay", "intervals": [{"lr": 1e-4}]} for name in NETWORKS}
    typed = dict.fromkeys(NETWORKS, "lr")
    (note,) = build(absolute, given=typed).notes
    assert note == "lr: has no effect: every rate of encoder, actor, critic in lr_schedule is absolute"
    (note,) = build(absolute, given={"actor": "lr_actor"}).notes
    assert note.startswith("lr_actor: has no effect: every rate of actor in")
    for change in (
        {"lr": "1x"},
        {"start": 5, "lr": 1e-4},
        {"type": "linear_decay", "lr": 1e-4, "final_lr": "0x"},
    ):
        config = {**absolute, "actor": {"type": "step_decay", "intervals": [change]}}
        assert build(config, given=typed).notes == ()
    assert build({**absolute, "actor": None}, given=typed).notes == ()
    assert build(absolute).notes == ()


# --- Exploration noise ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("linear(1.0,0.1,500000)", {0: 1.0, 250_000: 0.55, 500_000: 0.1, 10**9: 0.1}),
        ("linear( 2x , 0.1, 1/6 )", {0: 4.0, 250_000: 2.05, 10**9: 0.1}),
        ("step_linear(1,0.5,100,0.1,50)", {0: 1.0, 50: 0.75, 100: 0.5, 125: 0.3, 150: 0.1, 10**9: 0.1}),
        (0.2, {0: 0.2, 10**9: 0.2}),
        ("0.2", {0: 0.2}),
        ("0.5x", {0: 1.0}),
        (None, {0: 2.0, 10**9: 2.0}),
        (
            {"type": "linear_decay", "intervals": [{"end": "1M", "lr": "1x", "final_lr": 0.1}]},
            {0: 2.0, 10**6: 0.1},
        ),
    ],
)
def test_exploration_noise(value, expected):
    schedule = parse_schedule(value, base=2.0, total_steps=3_000_000)
    assert rates(schedule, *expected) == pytest.approx(list(expected.values()), rel=1e-12)
    assert schedule.notes == ()


def test_exploration_noise_may_follow_the_curriculum():
    config = {
        "type": "linear_decay",
        "intervals": [
            {"stage": 0, "type": "constant", "lr": "1x"},
            {"stage": "S1_yaw_small", "lr": 0.3, "final_lr": 0.1, "duration": "20k"},
        ],
    }
    schedule = parse_schedule(config, total_steps=10**6, stage_names=STAGES)
    history = [(0, 0), (1000, 1)]
    assert rates(schedule, 999, 1000, 11_000, 21_000, stages=history) == pytest.approx([1.0, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (
            "linear(1.0,0.1)",
            "schedule=linear(1.0,0.1): must be a number, a mapping with type and intervals, or",
        ),
        ("cosine(1,2,3)", "schedule=cosine(1,2,3): must be a number, a mapping"),
        ("linear(1,nan,3)", "schedule=linear(1,nan,3): final nan: must be a finite number"),
        ("linear(1,0,0)", "schedule=linear(1,0,0): duration 0: must be greater than 0"),
        ("fast", "schedule=fast: a rate is a number"),
        (-1, "schedule=-1: must not be negative"),
        ([1], "schedule=[1]: a rate is a number"),
        ({"type": "linear_decay"}, "schedule.intervals: is missing"),
        (
            {"type": "linear_decay", "intervals": [{"lr": "1e309"}]},
            "schedule.intervals.0.lr=1e309: must be a",
        ),
    ],
)
def test_faulty_noise_is_refused(value, fault):
    with pytest.raises(ScheduleError) as caught:
        parse_schedule(value, total_steps=100)
    (found,) = caught.value.faults
    assert str(found).startswith(fault)


# --- The module -----------------------------------------------------------------------------------


def test_the_docstrings_examples_run():
    assert doctest.testmod(lr_scheduler).attempted
    assert doctest.testmod(lr_scheduler).failed == 0


def test_schedules_are_built_and_asked_without_torch():
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from glideslope.lr_scheduler import parse_schedule\n"
        "print(parse_schedule('linear(1,0,10)', total_steps=10)(5))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.returncode) == ("0.5", 0), result.stderr


def test_steps_beyond_an_int64_are_past_the_end():
    schedule = build(preset("gentle_decay"))["actor"]
    assert schedule(np.array([0, 2**63 + 5], dtype=np.uint64)).tolist() == [1e-4, 2.5e-5]


def test_an_end_beyond_several_intervals_is_mended_once():
    intervals = [{"end": 900, "lr": 1e-4}, {"start": 300, "end": 600, "lr": 1e-4}, {"start": 600, "lr": 1e-4}]
    found = faults({"actor": {"type": "step_decay", "intervals": intervals}}, total=1000)
    assert [fault.rsplit(" ", 1)[1] for fault in found] == [f"{KEY}.0.end=300"] * 2
