"""Nine traps of learning-rate schedules, each met in a widely used library.

Each has a check that this project passes and that fails for the trap itself, put back in a few lines.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from glideslope.lr_scheduler import (
    SHAPES,
    LiveSchedules,
    ScheduleError,
    build_schedules,
    optimizers,
    parse_schedule,
    read_lr,
    write_lr,
)
from glideslope.training.run import update_steps

TOTAL = 1000
STAGES = [(0, 0), (205, 1), (611, 2)]
REDUCTIONS = [150, 333, 640]
Rate = Callable[[int], float]
Write = Callable[[torch.optim.Optimizer, float], None]


def of_shape(shape: str, *, staged: bool = False, other: bool = False) -> Rate:
    """Three intervals of a shape between 1e-3 and 1e-4, as a function of the step alone.

    Of a learning rate, or of any `other` number, such as a weight decay or the target critic's tau.
    """
    extents: list[dict[str, Any]] = [{"end": 200}, {"end": "60%"}, {"end": 900}]
    if staged:
        extents = [{"stage": index, "duration": 150} for index in range(3)]
    rates = [{"lr": "1x", "final_lr": 4e-4}, {"lr": "0.4x", "warmup": 20}, {"lr": 2e-4, "final_lr": 1e-4}]
    if shape == "exponential_decay":
        rates[0] = {"lr": "1x", "decay_rate": 0.9, "decay_interval": 10}
    if shape == "piecewise_linear":
        ends = (("1x", 4e-4), ("0.4x", 2e-4), (2e-4, 1e-4))
        more = [{"repeat": 3}, {"warmup": 20}, {}]
        rates = [{"points": [[0, a], [40, b]], **rest} for (a, b), rest in zip(ends, more, strict=True)]
    intervals = [extent | rate for extent, rate in zip(extents, rates, strict=True)]
    config = {"actor": {"type": shape, "intervals": intervals}}
    names = ("first", "second", "third")
    if other:
        number = parse_schedule(config["actor"], base=1e-3, total_steps=TOTAL, stage_names=names, max_value=1.0)
        return lambda step: number(step, STAGES, REDUCTIONS)
    schedule = build_schedules(config, base={"actor": 1e-3}, total_steps=TOTAL, stage_names=names)["actor"]
    return lambda step: schedule(step, STAGES, REDUCTIONS)


def caught(check: Callable[..., None], *arguments: Any) -> None:
    """The check fails."""
    with pytest.raises(AssertionError):
        check(*arguments)


def adam(lr: float | torch.Tensor, groups: int = 1, **more: Any) -> torch.optim.Adam:
    weights = [{"params": [torch.zeros(2, requires_grad=True)]} for _ in range(groups)]
    return torch.optim.Adam(weights, lr=lr, **more)


# --- 1. No rate ever leaves [0, the largest rate configured] ---


def check_bounds(rate: Rate) -> None:
    steps = [*range(-5, 3 * TOTAL), 10 * TOTAL, 10**9, 10**15]
    assert all(0.0 <= rate(step) <= 1e-3 for step in steps)


@pytest.mark.parametrize("other", [False, True], ids=["rate", "other"])
@pytest.mark.parametrize("staged", [False, True], ids=["times", "stages"])
@pytest.mark.parametrize("shape", SHAPES)
def test_rates_stay_between_zero_and_the_largest_one(shape: str, staged: bool, other: bool) -> None:
    check_bounds(of_shape(shape, staged=staged, other=other))


def test_a_line_that_goes_on_past_its_end_is_seen() -> None:
    caught(check_bounds, lambda step: 1e-3 * (1 - step / TOTAL))
    caught(check_bounds, lambda step: 1e-3 * max(0.0, 1 - step / TOTAL) + (1e-9 if step < 0 else 0))


def check_holds_past_the_end(rate: Rate) -> None:
    assert len({rate(step) for step in (TOTAL, TOTAL + 1, 3 * TOTAL // 2, 2 * TOTAL, 10**12)}) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_last_rate_holds_past_the_end(shape: str) -> None:
    check_holds_past_the_end(of_shape(shape))


def test_a_cosine_that_rises_again_is_seen() -> None:
    caught(check_holds_past_the_end, lambda step: 5e-4 * (1 + math.cos(math.pi * step / TOTAL)))


# --- 2. An answer depends only on step, history, base rate and total steps ---


def check_order(make: Callable[[], Rate]) -> None:
    steps = list(range(0, TOTAL + 200, 7))
    in_order = dict(zip(steps, map(make(), steps), strict=True))
    shuffled = random.Random(0).sample(steps, len(steps))
    rate = make()
    assert {step: rate(step) for step in shuffled} == in_order
    assert all(make()(step) == in_order[step] for step in steps[::10])  # fresh, as after a resume


@pytest.mark.parametrize("other", [False, True], ids=["rate", "other"])
@pytest.mark.parametrize("staged", [False, True], ids=["times", "stages"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_of_asking_changes_nothing(shape: str, staged: bool, other: bool) -> None:
    check_order(lambda: of_shape(shape, staged=staged, other=other))


def test_a_scheduler_that_counts_its_calls_is_seen() -> None:
    def counting() -> Rate:
        held = [1e-3]

        def rate(step: int) -> float:
            held[0] *= 0.99
            return held[0]

        return rate

    caught(check_order, counting)


def test_the_curriculums_history_after_a_step_changes_nothing() -> None:
    schedule = build_schedules(
        {"actor": {"type": "step_decay", "intervals": [{"stage": 0, "lr": 1e-3}, {"stage": 1, "lr": 1e-4}]}},
        base={"actor": 1e-3},
        total_steps=TOTAL,
        stage_names=("a", "b"),
    )["actor"]
    assert schedule(499, [(0, 0), (500, 1)]) == schedule(499, [(0, 0)]) == 1e-3
    assert schedule(500, [(0, 0), (500, 1)]) == 1e-4


# --- 3. Rates come from the closed form in float64 ---


def check_precision(rate: Rate) -> None:
    # (1 - 1e-6)^1e6 by its logarithm: 1e6 ln(1 - 1e-6) = -1 - 5e-7 - 1/3e-12 ...
    assert rate(10**6) == pytest.approx(1e-4 * math.exp(-1.0000005000003333), rel=1e-9)


def test_a_million_decays_do_not_drift() -> None:
    decay = {"lr": 1e-4, "decay_rate": 0.999999, "decay_interval": 1}
    config = {"actor": {"type": "exponential_decay", "intervals": [decay]}}
    check_precision(build_schedules(config, base={"actor": 1e-4}, total_steps=10**6)["actor"])
    check_precision(parse_schedule(config["actor"], base=1e-4, total_steps=10**6))


def test_a_chained_product_in_float32_is_seen() -> None:
    def chained(steps: int) -> float:
        factors = np.full(steps, 0.999999, dtype=np.float32)
        return float(np.float32(1e-4) * np.multiply.accumulate(factors)[-1])

    caught(check_precision, chained)


# --- 4. A tensor rate keeps its identity ---


def check_identity(write: Write, key: str = "lr") -> None:
    for saved in (0.5, torch.tensor(0.5)):
        number = torch.tensor(1e-3)
        optimizer = adam(**{"lr": 1e-3, key: number}, capturable=True)
        write(optimizer, 2e-3)
        assert optimizer.param_groups[0][key] is number
        optimizer.load_state_dict(adam(**{"lr": 1e-3, key: saved}, capturable=True).state_dict())
        write(optimizer, 3e-3)
        assert optimizer.param_groups[0][key] is number
        assert float(number) == pytest.approx(3e-3, rel=1e-6)


def weight_decay(optimizer: torch.optim.Optimizer, value: float) -> None:
    optimizers.write(optimizer, {"weight_decay": value})


def test_a_tensor_rate_is_filled_in_place_after_loading_too() -> None:
    check_identity(write_lr)
    check_identity(weight_decay, "weight_decay")


def replace(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(lr) if isinstance(group["lr"], torch.Tensor) else lr


def fill(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"].fill_(lr)


def test_a_tensor_replaced_or_not_put_back_is_seen() -> None:
    caught(check_identity, replace)
    with pytest.raises((AssertionError, AttributeError)):
        check_identity(fill)


# --- 5. What the optimizer holds is logged, and an outside change corrected ---


def check_outside_change(write: Write, read: Callable[[torch.optim.Optimizer], float], key: str = "lr") -> None:
    for number in (1e-3, torch.tensor(1e-3, dtype=torch.float64)):
        optimizer, other = (adam(**{"lr": 1e-3, key: copy.copy(number)}) for _ in range(2))
        write(optimizer, 5e-4)
        write(other, 0.7)
        optimizer.load_state_dict(other.state_dict())
        assert read(optimizer) == 0.7
        write(optimizer, 5e-4)
        assert float(optimizer.param_groups[0][key]) == 5e-4
        assert read(optimizer) == 5e-4


def test_an_outside_change_is_seen_and_corrected() -> None:
    check_outside_change(write_lr, read_lr)
    check_outside_change(weight_decay, lambda optimizer: optimizers.read(optimizer, "weight_decay"), "weight_decay")


def test_a_cache_that_hides_an_outside_change_is_seen() -> None:
    last: dict[int, float] = {}

    def cached(optimizer: torch.optim.Optimizer, lr: float) -> None:
        if last.get(id(optimizer)) != lr:
            last[id(optimizer)] = lr
            write_lr(optimizer, lr)

    caught(check_outside_change, cached, read_lr)
    caught(check_outside_change, cached, lambda optimizer: last[id(optimizer)])


# --- 6. Environments, update ratio and seed frames never change the rate at a number of frames ---


def rates_at_updates(
    rate: Rate, steps_of: Callable[[Any, int], list[tuple[int, int]]], **sizes: int
) -> dict[int, float]:
    """Frame → rate of every update of a training, as the training loop asks for them."""
    defaults = {"seed_steps": 0, "update_every_steps": 2, "total_steps": TOTAL, "parallel": False}
    settings = SimpleNamespace(**defaults | sizes)
    ends = range(settings.num_envs, TOTAL + settings.num_envs, settings.num_envs)
    return {at: rate(asked) for end in ends for at, asked in steps_of(settings, end)}


def updates_in(settings: Any, end: int) -> list[int]:
    """The updates of the vector step that ends at ``end``."""
    begin = end - settings.num_envs
    return [*update_steps(settings, begin, begin).behind]


def own_steps(settings: Any, end: int) -> list[tuple[int, int]]:
    return [(at, at) for at in updates_in(settings, end)]


def steps_of_the_vector_step(settings: Any, end: int) -> list[tuple[int, int]]:
    return [(at, end) for at in updates_in(settings, end)]


def steps_of_the_counter(settings: Any, end: int) -> list[tuple[int, int]]:
    """Time counted in calls of the environments, as where each knows only of its own steps."""
    return [(at, end // settings.num_envs) for at in updates_in(settings, end)]


def check_environments(rate: Rate, steps_of: Any, num_envs: int, every: int, seed_frames: int) -> None:
    one = rates_at_updates(rate, steps_of, num_envs=1, update_every_steps=every)
    many = rates_at_updates(rate, steps_of, num_envs=num_envs, update_every_steps=every, seed_steps=seed_frames)
    assert list(one) == list(range(every, TOTAL + 1, every))
    assert many == {step: rate for step, rate in one.items() if step > seed_frames}


@examples(max_examples=60)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.booleans(),
    st.sampled_from([1, 2, 7, 16, 64]),
    st.integers(1, 9),
    st.integers(0, 300),
)
def test_one_environment_and_many_have_the_same_rates_at_the_same_frames(
    shape: str, staged: bool, num_envs: int, every: int, seed_frames: int
) -> None:
    check_environments(of_shape(shape, staged=staged), own_steps, num_envs, every, seed_frames)


def test_rates_of_the_vector_step_or_of_a_counter_of_calls_are_seen() -> None:
    for trap in (steps_of_the_vector_step, steps_of_the_counter):
        caught(check_environments, of_shape("linear_decay"), trap, 64, 2, 0)


# --- 7. Scales and floors act on the right group ---


def check_scales(write: Write, key: str = "lr") -> None:
    optimizer = adam(1e-3, groups=3)
    for index, scale in ((0, 0.1), (2, 2.0)):
        optimizer.param_groups[index][f"{key}_scale"] = scale
    for rate in (1e-3, 4e-4):
        write(optimizer, rate)
        held = [group[key] for group in optimizer.param_groups]
        assert held == pytest.approx([0.1 * rate, rate, 2 * rate], rel=1e-12)


def test_scales_act_on_their_own_groups() -> None:
    check_scales(write_lr)
    check_scales(weight_decay, "weight_decay")


def test_one_rate_for_all_groups_or_scales_that_pile_up_are_seen() -> None:
    def same(optimizer: torch.optim.Optimizer, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr

    def piling(optimizer: torch.optim.Optimizer, lr: float) -> None:
        first = optimizer.param_groups[0]["lr"]
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_scale", 1.0) * lr / first

    caught(check_scales, same)
    caught(check_scales, piling)


def check_floors(write: Callable[[LiveSchedules, dict[str, Any]], None]) -> None:
    intervals = {"actor": {"lr": 1e-3, "min_lr": 5e-4}, "critic": {"lr": 1e-3, "min_lr": 1e-4}}
    config = {
        name: {"type": "reduce_on_plateau", "intervals": [{**interval, "patience": 0}]}
        for name, interval in intervals.items()
    }
    live = LiveSchedules(build_schedules(config, base=dict.fromkeys(intervals, 1e-3), total_steps=TOTAL))
    optimizers = {"actor": adam(1e-3, groups=2), "critic": adam(1e-3)}
    optimizers["actor"].param_groups[0]["lr_scale"] = 0.1
    for step in range(10, 60, 10):  # four reductions
        live.evaluated(step, {"success_rate": 0.5})
    write(live, optimizers)
    # 1e-3 / 16 is below both floors; the actor's first group has a tenth of the actor's rate, floor and all.
    held = [group["lr"] for optimizer in optimizers.values() for group in optimizer.param_groups]
    assert held == pytest.approx([5e-5, 5e-4, 1e-4], rel=1e-12)


def test_floors_act_on_their_own_network() -> None:
    check_floors(lambda live, optimizers: live.write(optimizers, 100))


def test_a_floor_below_a_scaled_group_or_of_another_network_is_seen() -> None:
    def after_the_scale(live: LiveSchedules, optimizers: dict[str, Any]) -> None:
        live.write(optimizers, 100)
        for group in optimizers["actor"].param_groups:
            group["lr"] = max(group["lr"], 5e-4)

    def of_another(live: LiveSchedules, optimizers: dict[str, Any]) -> None:
        for optimizer in optimizers.values():
            write_lr(optimizer, live.rate("actor", 100))

    caught(check_floors, after_the_scale)
    caught(check_floors, of_another)


# --- 8. One compiled update serves the whole schedule ---


def graphs_of_twenty_rates(lr: float | torch.Tensor) -> int:
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    rate = of_shape("cosine_decay")
    optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=lr)
    (weights,) = optimizer.param_groups[0]["params"]
    weights.grad = torch.ones_like(weights)
    update = torch.compile(lambda: optimizer.step(), backend=backend)
    steps = list(range(0, 900, 45))
    assert len({rate(step) for step in steps}) == 20
    for step in steps:
        write_lr(optimizer, rate(step))
        update()
    torch._dynamo.reset()
    assert weights[0].item() == pytest.approx(-sum(map(rate, steps)), rel=1e-5)
    return len(graphs)


def test_one_graph_serves_twenty_rates() -> None:
    assert graphs_of_twenty_rates(torch.tensor(1e-3, dtype=torch.float64)) == 1


@pytest.mark.filterwarnings("ignore:torch._dynamo hit config.recompile_limit")
def test_a_graph_for_each_rate_is_seen() -> None:
    assert graphs_of_twenty_rates(1e-3) > 1


# --- 9. A schedule changed between a snapshot and its resume is never silent ---


def refusal(load: Callable[[LiveSchedules, dict[str, Any]], None], live: LiveSchedules, state: dict[str, Any]) -> str:
    try:
        load(live, state)
    except ScheduleError as error:
        return str(error)
    return ""


def check_change(load: Callable[[LiveSchedules, dict[str, Any]], None], *, other: bool = False) -> None:
    def live(lr: str) -> LiveSchedules:
        config = {"actor": {"type": "step_decay", "intervals": [{"end": "50%", "lr": lr}, {"lr": "0.1x"}]}}
        if other:
            return LiveSchedules({"critic_target_tau": parse_schedule(config["actor"], base=1e-3, total_steps=TOTAL)})
        return LiveSchedules(build_schedules(config, base={"actor": 1e-3}, total_steps=TOTAL))

    state = live("1x").state_dict()
    load(live("0.001"), state)  # the same in other words
    assert "0.0009" in refusal(load, live("0.9x"), state)


def test_a_changed_schedule_is_refused() -> None:
    check_change(lambda live, state: live.load_state_dict(state))
    check_change(lambda live, state: live.load_state_dict(state), other=True)


def test_a_resume_that_takes_what_the_command_line_says_is_seen() -> None:
    caught(check_change, lambda live, state: live.load_state_dict(state, accept_changes=True))
    caught(check_change, lambda live, state: None)
