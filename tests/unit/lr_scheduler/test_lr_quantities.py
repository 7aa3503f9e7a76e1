"""Numbers of parameter groups besides the rate, by module too: weight decay, betas, scales."""

from __future__ import annotations

import copy
import doctest

import pytest
import torch

from glideslope.lr_scheduler import (
    LiveSchedules,
    ScheduleError,
    build_schedules,
    layers,
    layerwise_decay,
    load_preset,
    parameter_groups,
    parse_schedule,
    read,
    write,
)
from glideslope.lr_scheduler.torch_scheduler import ScheduledLR


def adamw(**more: object) -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.ones(2, requires_grad=True)], **more)  # type: ignore[arg-type]


def network() -> torch.nn.Module:
    blocks = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(2))
    return torch.nn.ModuleDict({"blocks": blocks, "head": torch.nn.Linear(3, 1)})


def test_numbers_are_written_together_and_read_back() -> None:
    optimizer = adamw()
    write(optimizer, {"lr": 2e-3, "weight_decay": 0.1, "beta1": 0.8, "eps": 1e-6})
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group["betas"], group["eps"]) == (2e-3, 0.1, (0.8, 0.999), 1e-6)
    write(optimizer, {"beta2": 0.99})
    assert group["betas"] == (0.8, 0.99)
    assert [read(optimizer, key) for key in ("lr", "weight_decay", "beta1", "beta2")] == [2e-3, 0.1, 0.8, 0.99]


def test_a_scale_keeps_weight_decay_from_a_group_and_betas_have_scales_too() -> None:
    weights, biases = (torch.ones(2, requires_grad=True) for _ in range(2))
    groups = [{"params": [biases], "weight_decay_scale": 0.0}, {"params": [weights], "beta1_scale": 0.5}]
    optimizer = torch.optim.AdamW(groups)
    write(optimizer, {"weight_decay": 0.3, "beta1": 0.8})
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.3]
    assert [group["betas"][0] for group in optimizer.param_groups] == [0.8, 0.4]
    assert (read(optimizer, "weight_decay"), read(optimizer, "beta1")) == (0.3, 0.8)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"wieght_decay": 0.1}, "AdamW has no wieght_decay; did you mean weight_decay? the numbers of its parameter"),
        ({"momentum": 0.1}, "AdamW has no momentum; "),
        ({"betas": 0.1}, "AdamW has no betas; did you mean beta"),
        ({"lr": 1e-3, "weight_decay": -0.1}, "weight_decay must be finite and not negative, not -0.1"),
        ({"weight_decay": float("nan")}, "weight_decay must be finite and not negative, not nan"),
    ],
)
def test_what_cant_be_written_changes_nothing(values: dict[str, float], told: str) -> None:
    optimizer = adamw(lr=0.5)
    with pytest.raises(ValueError, match="^" + told.replace("?", r"\?")):
        write(optimizer, values)
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_betas_of_an_optimizer_without_them_are_refused() -> None:
    optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=0.1, momentum=0.9)
    write(optimizer, {"momentum": 0.5})
    assert optimizer.param_groups[0]["momentum"] == 0.5
    with pytest.raises(ValueError, match="SGD has no beta1; "):
        write(optimizer, {"beta1": 0.9})


def test_scheduled_weight_decay_is_that_of_the_formula() -> None:
    """Without a gradient AdamW multiplies a weight by 1 - lr * weight_decay at each step."""
    config = {"type": "linear_decay", "intervals": [{"init_lr": 0.4, "final_lr": 0.0}]}
    schedules = {
        **build_schedules(None, base={"critic": 0.1}, total_steps=4),
        "critic.weight_decay": parse_schedule(config, base=0.0, total_steps=4),
    }
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer, live = torch.optim.AdamW([weight], lr=1.0, weight_decay=0.7), LiveSchedules(schedules)
    expected = 1.0
    for step in range(6):
        weight.grad = torch.zeros_like(weight)
        live.write({"critic": optimizer}, step)
        optimizer.step()
        expected *= 1 - 0.1 * max(0.4 - 0.1 * step, 0.0)
        assert weight.item() == pytest.approx(expected, rel=1e-12)


def test_a_name_with_a_dot_may_be_that_of_an_optimizer() -> None:
    schedules = build_schedules(None, base={"policy": 0.1, "policy.encoder": 0.2}, total_steps=4)
    optimizers = {"policy": adamw(), "policy.encoder": adamw()}
    LiveSchedules(schedules).write(optimizers, 0)
    assert [read(optimizer, "lr") for optimizer in optimizers.values()] == [0.1, 0.2]


def test_copies_keep_their_schedules_and_leave_the_originals_alone() -> None:
    schedules = build_schedules(load_preset("gentle_decay", ["policy"]), base=1e-3, total_steps=30)
    optimizer = adamw()
    scheduler, live = ScheduledLR(optimizer, schedules["policy"]), LiveSchedules(schedules)
    copied, its = copy.deepcopy((optimizer, scheduler))
    for _ in range(12):
        copied.step()
        its.step()
    assert (read(copied, "lr"), its.get_last_lr(), read(optimizer, "lr")) == (5e-4, [5e-4], 1e-3)
    live.write({"policy": copied}, 25)
    assert (read(copied, "lr"), read(optimizer, "lr")) == (2.5e-4, 1e-3)


def test_modules_get_groups_of_their_own() -> None:
    names = [name for name, _ in network().named_parameters()]
    module = network()
    groups = parameter_groups(module.named_parameters(), {"blocks.0": 0.1, "*.1.weight": 0.0})
    by_id = {id(parameter): name for name, parameter in module.named_parameters()}
    assert [(group["lr_scale"], [by_id[id(p)] for p in group["params"]]) for group in groups] == [
        (1.0, ["blocks.1.bias", "head.weight", "head.bias"]),
        (0.1, ["blocks.0.weight", "blocks.0.bias"]),
        (0.0, ["blocks.1.weight"]),
    ]
    assert sum(len(group["params"]) for group in groups) == len(names)
    optimizer = torch.optim.AdamW(groups)
    write(optimizer, {"lr": 1e-2})
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-2, 1e-3, 0.0], rel=1e-12)


def test_layers_decay_to_the_first() -> None:
    scales = layerwise_decay(["blocks.0", "blocks.1", "head"], 0.5)
    assert scales == {"blocks.0": 0.25, "blocks.1": 0.5, "head": 1.0}
    assert [g["lr_scale"] for g in parameter_groups(network().named_parameters(), scales)] == [0.25, 0.5, 1.0]
    with pytest.raises(ValueError, match="decay must be finite"):
        layerwise_decay(["a"], float("nan"))


@pytest.mark.parametrize(
    ("scales", "faults"),
    [
        ({"heda": 1.0}, ["lr_scale.heda=1.0: no parameter is of that name; did you mean head?"]),
        ({"xyz": 1.0}, ["lr_scale.xyz=1.0: no parameter is of that name; the names begin with blocks and head"]),
        ({"block": 1.0}, ["lr_scale.block=1.0: no parameter is of that name; did you mean blocks?"]),
        ({"head": 1.0, "*.bias": 0.5}, ["lr_scale.*.bias=0.5: head.bias is claimed by head, too; name it once"]),
        ({"head": -1.0}, ["lr_scale.head=-1.0: must be a number that is finite and not negative"]),
        ({"head": "fast", "tail": 2}, ["lr_scale.head=fast: must be a number", "lr_scale.tail=2: no parameter"]),
        ({"head": float("inf")}, ["lr_scale.head=inf: must be a number that is finite and not negative"]),
    ],
)
def test_unknown_or_doubly_claimed_parameters_are_refused_by_name(scales: dict[str, float], faults: list[str]) -> None:
    with pytest.raises(ScheduleError) as caught:
        parameter_groups(network().named_parameters(), scales)
    assert len(caught.value.faults) == len(faults)
    for found, expected in zip(caught.value.faults, faults, strict=True):
        assert str(found).startswith(expected)


def test_the_examples_run() -> None:
    assert doctest.testmod(layers).attempted
    assert doctest.testmod(layers).failed == 0
