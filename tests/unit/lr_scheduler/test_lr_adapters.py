"""Schedules as PyTorch's own schedulers: rates, groups, tensors, saved states, other schedulers around them."""

import copy
import doctest
import io
import warnings

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, SequentialLR

from glideslope.lr_scheduler import LiveSchedules, build_schedules, torch_scheduler, write_lr
from glideslope.lr_scheduler.torch_scheduler import ScheduledLR

LINEAR = {"net": {"type": "linear_decay", "intervals": [{"init_lr": 1e-2, "final_lr": 0.0, "end": 10}]}}
STAGED = {"net": {"type": "step_decay", "intervals": [{"stage": 0, "lr": 1e-3}, {"stage": 1, "lr": 1e-4}]}}
PLATEAU = {"net": {"type": "reduce_on_plateau", "intervals": [{"init_lr": 1e-3, "patience": 1}]}}


def schedule(config=LINEAR, base=5e-3):
    return build_schedules(config, base={"net": base}, total_steps=100, stage_names=["first", "second"])["net"]


def linear(step):
    """What LINEAR says: 0.01 (1 - step / 10), down to 0."""
    return 1e-2 * (1 - min(step, 10) / 10)


def adam(lr=1e-3, scales=(None,)):
    groups = [
        {"params": [torch.zeros(2, requires_grad=True)], **({} if scale is None else {"lr_scale": scale})}
        for scale in scales
    ]
    return torch.optim.Adam(groups, lr=lr)


def held(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def advance(optimizer, scheduler, count=1):
    """The first group's rate at each of the next updates."""
    rates = []
    for _ in range(count):
        rates.append(held(optimizer)[0])
        optimizer.step()
        scheduler.step()
    return rates


def approx(rates):
    return pytest.approx(rates, rel=1e-12, abs=1e-18)


@pytest.mark.slow
def test_the_rate_of_step_n_is_in_force_after_n_calls():
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, schedule())
    assert held(optimizer) == [1e-2]
    assert advance(optimizer, scheduler, 14) == approx([linear(n) for n in range(14)])
    assert scheduler.last_epoch == 14


def test_steps_per_call_are_global_steps():
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, schedule(), steps_per_call=4)
    assert advance(optimizer, scheduler, 4) == approx([linear(n) for n in (0, 4, 8, 12)])
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="steps_per_call"):
            ScheduledLR(adam(), schedule(), steps_per_call=wrong)
    with pytest.raises(TypeError):
        ScheduledLR(adam(), schedule(), steps_per_call=1.5)


def test_any_function_of_the_step_will_do():
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, lambda step: 0.5**step)
    assert advance(optimizer, scheduler, 3) == [1.0, 0.5, 0.25]
    with pytest.raises(ValueError, match="finite"):
        ScheduledLR(adam(), lambda step: float("nan"))
    with pytest.raises(ValueError, match="negative"):
        ScheduledLR(adam(), lambda step: -1e-3)


def test_groups_keep_their_ratio():
    optimizer = adam(scales=(None, 0.1, 0.0))
    scheduler = ScheduledLR(optimizer, schedule())
    for step in range(3):
        assert held(optimizer) == approx([linear(step), 0.1 * linear(step), 0.0])
        assert scheduler.get_last_lr() == held(optimizer)
        advance(optimizer, scheduler)


def test_a_group_added_later_is_driven_too():
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, schedule())
    optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr_scale": 0.5})
    advance(optimizer, scheduler)
    assert held(optimizer) == approx([linear(1), 0.5 * linear(1)])


def test_a_change_from_outside_lasts_until_the_next_step():
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, schedule())
    optimizer.param_groups[0]["lr"] = 0.5
    assert advance(optimizer, scheduler, 2) == approx([0.5, linear(1)])


def test_tensor_rates_stay_the_same_objects():
    tensor = torch.tensor(1.0, dtype=torch.float64)
    optimizer = adam(tensor, scales=(None, 0.1))
    saved = copy.deepcopy(optimizer.state_dict())
    scheduler = ScheduledLR(optimizer, schedule())
    tensors = [group["lr"] for group in optimizer.param_groups]
    assert tensors[0] is tensor
    advance(optimizer, scheduler)
    optimizer.load_state_dict(saved)  # PyTorch puts other tensors into the groups
    assert optimizer.param_groups[0]["lr"] is not tensor
    advance(optimizer, scheduler)
    assert all(group["lr"] is rate for group, rate in zip(optimizer.param_groups, tensors, strict=True))
    assert [float(rate) for rate in tensors] == approx([linear(2), 0.1 * linear(2)])


def test_last_rates_do_not_alias_tensors():
    optimizer = adam(torch.tensor(1.0, dtype=torch.float64))
    scheduler = ScheduledLR(optimizer, schedule())
    last = scheduler.get_last_lr()
    advance(optimizer, scheduler)
    assert float(last[0]) == approx(linear(0))


# --- saved states ---


@pytest.mark.parametrize("tensor", [False, True], ids=["float", "tensor"])
def test_a_resumed_run_goes_on_exactly(tensor):
    def make():
        optimizer = adam(torch.tensor(1e-3, dtype=torch.float64) if tensor else 1e-3)
        return optimizer, ScheduledLR(optimizer, schedule(), steps_per_call=2)

    optimizer, scheduler = make()
    advance(optimizer, scheduler, 3)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert state["scheduler"] == {"last_epoch": 3, "_step_count": 4, "_last_lr": [approx(linear(6))]}
    assert type(state["scheduler"]["_last_lr"][0]) is float  # not a tensor, whatever the optimizer holds
    fresh_optimizer, fresh = make()
    fresh_optimizer.load_state_dict(state["optimizer"])
    fresh.load_state_dict(state["scheduler"])
    assert [float(lr) for lr in fresh.get_last_lr()] == approx([linear(6)])
    rates = advance(fresh_optimizer, fresh, 5)
    assert rates == advance(optimizer, scheduler, 5) == approx([linear(n) for n in (6, 8, 10, 12, 14)])


def test_an_optimizer_that_was_not_loaded_is_right_from_the_next_step_on():
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, schedule())
    advance(optimizer, scheduler, 3)
    other = adam()
    resumed = ScheduledLR(other, schedule())
    resumed.load_state_dict(scheduler.state_dict())
    advance(other, resumed)
    assert held(other) == approx([linear(4)])


# --- torch's rules ---


def test_the_count_can_be_set():
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, schedule())
    optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(7)
    assert (scheduler.last_epoch, held(optimizer)) == (7, approx([linear(7)]))
    scheduler.step()
    assert held(optimizer) == approx([linear(8)])


def test_last_epoch_continues_a_count_as_in_torch():
    optimizer = adam()
    ScheduledLR(optimizer, schedule())
    scheduler = ScheduledLR(optimizer, schedule(), last_epoch=4)
    assert (scheduler.last_epoch, held(optimizer)) == (5, approx([linear(5)]))
    with pytest.raises(KeyError, match="initial_lr"):
        ScheduledLR(adam(), schedule(), last_epoch=4)


def test_warnings_are_torch_s_own():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = adam()
        scheduler = ScheduledLR(optimizer, schedule())
        advance(optimizer, scheduler, 3)
        scheduler.get_last_lr()
    too_early = ScheduledLR(adam(), schedule())
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        too_early.step()
    with pytest.raises(TypeError, match="Optimizer"):
        ScheduledLR(torch.zeros(2), schedule())


@pytest.mark.parametrize("tensor", [False, True], ids=["float", "tensor"])
def test_in_a_sequence_each_schedule_begins_at_its_own_step_0(tensor):
    rate = torch.tensor(1.0, dtype=torch.float64) if tensor else 1.0
    optimizer = adam(rate)
    parts = [ScheduledLR(optimizer, schedule()), ScheduledLR(optimizer, lambda step: 0.5**step)]
    sequence = SequentialLR(optimizer, parts, milestones=[3])
    rates = advance(optimizer, sequence, 6)
    assert rates == approx([linear(0), linear(1), linear(2), 1.0, 0.5, 0.25])
    state = copy.deepcopy((optimizer.state_dict(), sequence.state_dict()))

    other = adam(1.0)
    parts = [ScheduledLR(other, schedule()), ScheduledLR(other, lambda step: 0.5**step)]
    resumed = SequentialLR(other, parts, milestones=[3])
    other.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    assert advance(other, resumed, 2) == approx([0.125, 0.0625])


def test_a_loaded_sequence_leaves_the_rate_to_the_part_whose_turn_it_is():
    def make():
        optimizer = adam(1.0)
        parts = [ScheduledLR(optimizer, schedule()), ExponentialLR(optimizer, 0.5)]
        return optimizer, SequentialLR(optimizer, parts, milestones=[2])

    optimizer, sequence = make()
    advance(optimizer, sequence, 4)
    other, resumed = make()
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(sequence.state_dict())
    assert advance(other, resumed, 3) == advance(optimizer, sequence, 3)


# --- histories ---


def test_a_curriculum_s_history_is_followed():
    stages = [(0, 0)]
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, schedule(STAGED), history=lambda: stages)
    assert advance(optimizer, scheduler, 3) == [1e-3] * 3
    stages.append((4, 1))
    assert advance(optimizer, scheduler, 3) == [1e-3, 1e-4, 1e-4]


def test_a_schedule_that_would_miss_its_history_is_refused():
    with pytest.raises(ValueError, match="history"):
        ScheduledLR(adam(), schedule(STAGED))
    with pytest.raises(ValueError, match="LiveSchedules"):
        ScheduledLR(adam(), schedule(PLATEAU))
    with pytest.raises(TypeError, match="history"):
        ScheduledLR(adam(), linear, history=lambda: [])


def test_reductions_arrive_by_a_function():
    live = LiveSchedules({"net": schedule(PLATEAU)})
    optimizer = adam()
    scheduler = ScheduledLR(optimizer, lambda step: live.rate("net", step))
    for step in (0, 1, 2):  # the best so far, and two without improvement, of which one is borne: patience 1
        live.evaluated(step, {"success_rate": 0.0, "episode_reward": 0.0})
    assert advance(optimizer, scheduler, 4) == [1e-3, 1e-3, 1e-3, 5e-4]


# --- writing into some groups alone ---


def test_other_groups_are_left_alone():
    optimizer = adam(1e-3, scales=(None, 0.5, None))
    write_lr(optimizer, 1e-2, groups=[1])
    assert held(optimizer) == [1e-3, 5e-3, 1e-3]


def test_the_example_runs():
    result = doctest.testmod(torch_scheduler)
    assert result.attempted
    assert not result.failed
