"""Everything public of the schedule package is pickled and copied, and answers the same to the last bit."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import glideslope.lr_scheduler as public
from glideslope.errors import UNSET, Fault, SettingsError
from glideslope.lr_scheduler import (
    SHAPES,
    LiveSchedules,
    Schedule,
    ScheduleChangedError,
    ScheduleError,
    build_schedules,
    parse_schedule,
    read_lr,
    write_lr,
)
from glideslope.lr_scheduler.torch_scheduler import ScheduledLR

TOTAL = 1000
STEPS = np.arange(-3, TOTAL + 50)
STAGES = [(0, 0), (300, 1), (480, 0), (700, 1)]
REDUCTIONS = [130, 350, 720]
KEYS: dict[str, dict[str, Any]] = {
    "constant": {},
    "step_decay": {},
    "exponential_decay": {"decay_rate": 0.9, "decay_interval": 70},
    "linear_decay": {"final_lr": "0.1x"},
    "cosine_decay": {"final_lr": "0.1x"},
    "polynomial_decay": {"final_lr": "0.1x", "power": 2},
    "one_minus_sqrt": {"final_lr": "0.1x", "repeat": 2, "restart_factor": 0.5},
    "inverse_sqrt_decay": {"decay_interval": 30},
    "piecewise_linear": {"points": [[0, "1x"], ["5%", "0.2x"], [100, "0.3x"]]},
    "reduce_on_plateau": {"patience": 1},
}


def torch_saved(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    "torch.save": torch_saved,
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def settings(shape: str, extent: str, warmup: int) -> dict[str, Any]:
    more = {**KEYS[shape], "type": shape, "warmup": warmup}
    if extent == "time":
        return {"intervals": [{"end": "1/3", "lr": "1x", **more}, {"end": "80%", "lr": "0.5x", **more}]}
    return {"intervals": [{"stage": i, "lr": f"{1 - i / 2}x", "duration": 150, **more} for i in range(2)]}


def build(shape: str = "cosine_decay", extent: str = "time", warmup: int = 20) -> Any:
    config = {"p": settings(shape, extent, warmup), "q": settings("exponential_decay", "stage", 0)}
    return build_schedules(config, base={"p": 1e-3, "q": 1e-4}, total_steps=TOTAL, stage_names=["a", "b"])


def answers(schedule: Schedule) -> list[float]:
    """The rates of every step, for arrays and one by one, with a history and without."""
    with_history = schedule(STEPS, STAGES, REDUCTIONS).tolist()
    return [*with_history, *(schedule(int(step)) for step in STEPS[::7]), *schedule(STEPS).tolist()]


def test_the_shapes_are_all_here() -> None:
    assert list(KEYS) == list(SHAPES)


@ways
@pytest.mark.parametrize("warmup", [0, 20])
@pytest.mark.parametrize("extent", ["time", "stage"])
@pytest.mark.parametrize("shape", SHAPES)
def test_schedules_of_every_shape(shape: str, extent: str, warmup: int, way: Callable[[Any], Any]) -> None:
    fresh, used = build(shape, extent, warmup), build(shape, extent, warmup)
    right = answers(used["p"])  # from now on it keeps what it made of the history
    for schedules in (fresh, used):
        copied = way(schedules)
        assert list(copied) == ["p", "q"]
        assert copied.notes == schedules.notes
        assert answers(copied["p"]) == right
        assert copied["p"].describe() == schedules["p"].describe()
        alone = way(schedules["p"])
        assert answers(alone) == right
        assert alone.next_bound(333) == schedules["p"].next_bound(333)
    assert answers(used["p"]) == right


@ways
@pytest.mark.parametrize(
    "value",
    [0.3, "linear(1.0,0.1,50%)", "step_linear(1,0.5,100,0.1,300)", settings("linear_decay", "stage", 9)],
)
def test_exploration_noise(value: Any, way: Callable[[Any], Any]) -> None:
    schedule = parse_schedule(value, total_steps=TOTAL, stage_names=["a", "b"])
    right = answers(schedule)
    assert answers(way(schedule)) == right


def optimizer(*, tensor: bool = False, groups: Sequence[dict[str, Any]] = ({}, {"lr_scale": 0.5})) -> Any:
    weights = [{"params": [torch.ones(2, requires_grad=True)], **group} for group in groups]
    return torch.optim.Adam(weights, lr=torch.tensor(1.0, dtype=torch.float64) if tensor else 1.0)


@ways
def test_live_schedules_after_writes_and_evaluations(way: Callable[[Any], Any]) -> None:
    schedules = build_schedules(
        {"p": settings("reduce_on_plateau", "stage", 0), "q": settings("cosine_decay", "time", 5)},
        base={"p": 1e-3, "q": 1e-4},
        total_steps=TOTAL,
        stage_names=["a", "b"],
    )
    live = LiveSchedules(schedules)
    stages = [(0, 0)]
    optimizers = {"p": optimizer(), "q": optimizer(tensor=True)}
    for step in range(10, 100, 10):
        live.write(optimizers, step, stages)
        live.evaluated(step, {"success_rate": 0.5, "episode_reward": 1.0}, stages)
    assert live.reductions["p"]
    copied, others = way((live, optimizers))
    assert copied.state_dict() == live.state_dict()
    for step in range(100, 300, 10):
        for one, its in ((live, optimizers), (copied, others)):
            one.write(its, step, stages)
            one.evaluated(step, {"success_rate": 0.5, "episode_reward": 1.0}, stages)
        for name in optimizers:
            assert read_lr(others[name]) == read_lr(optimizers[name]) == live.rate(name, step, stages)
    assert copied.state_dict() == live.state_dict()
    assert copied.reductions == live.reductions


def history() -> list[tuple[int, int]]:
    return STAGES


@ways
@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("name", ["p", "q"])
def test_a_scheduler_of_torch_with_its_optimizer(name: str, tensor: bool, way: Callable[[Any], Any]) -> None:
    schedule = build()[name]
    follows = history if schedule.follows_stages else None
    scheduler = ScheduledLR(optimizer(tensor=tensor), schedule, steps_per_call=30, history=follows)
    for _ in range(5):
        scheduler.optimizer.step()
        scheduler.step()
    held = [float(group["lr"]) for group in scheduler.optimizer.param_groups]
    copied = way(scheduler)
    for _ in range(7):
        copied.optimizer.step()
        copied.step()
    right = schedule(12 * 30, STAGES)
    assert [float(lr) for lr in copied.get_last_lr()] == [right, right / 2]
    assert [float(group["lr"]) for group in copied.optimizer.param_groups] == [right, right / 2]
    assert [float(group["lr"]) for group in scheduler.optimizer.param_groups] == held


def test_the_state_of_a_scheduler_of_torch_is_plain_data() -> None:
    file = io.BytesIO()
    scheduler = ScheduledLR(optimizer(tensor=True), build()["p"])
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == scheduler.state_dict()


@ways
@pytest.mark.parametrize("own", [False, True], ids=["one tensor", "a tensor for each group"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_copied_optimizer_is_written_in_its_own_tensors(own: bool, loaded: bool, way: Callable[[Any], Any]) -> None:
    groups: list[dict[str, Any]] = [{"lr": torch.tensor(0.5)}, {"lr": torch.tensor(0.5), "lr_scale": 0.5}]
    original = optimizer(tensor=True, groups=groups) if own else optimizer(tensor=True)
    write_lr(original, 0.25)
    if loaded:
        original.load_state_dict(copy.deepcopy(original.state_dict()))
    copied = way(original)
    write_lr(copied, 0.75)
    theirs = [group["lr"] for group in copied.param_groups]
    assert [float(tensor) for tensor in theirs] == [0.75, 0.375]
    assert [float(group["lr"]) for group in original.param_groups] == [0.25, 0.125]
    write_lr(copied, 0.5)
    assert all(group["lr"] is tensor for group, tensor in zip(copied.param_groups, theirs, strict=True))
    assert [float(tensor) for tensor in theirs] == [0.5, 0.25]


@ways
@pytest.mark.parametrize("kind", [ScheduleError, ScheduleChangedError, SettingsError])
def test_errors_keep_their_faults(kind: type[Any], way: Callable[[Any], Any]) -> None:
    faults = (Fault("a", 1, "too small"), Fault("b", UNSET, "too large"))
    copied = way(kind(faults))
    assert type(copied) is kind
    assert copied.faults == faults
    assert copied.faults[1].value is UNSET
    assert str(copied) == "a=1: too small\nb: too large"


def test_every_public_name_is_pickled() -> None:
    for name in public.__all__:
        assert len(pickle.dumps(getattr(public, name)))
    assert list(pickle.loads(pickle.dumps(dict(SHAPES)))) == list(SHAPES)


@pytest.mark.slow
def test_another_process_gets_the_same_to_the_last_bit() -> None:
    live = LiveSchedules(build())
    schedules = [build(shape, extent)["p"] for shape in SHAPES for extent in ("time", "stage")]
    right = [answers(schedule) for schedule in schedules]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(answers, schedules) == right
        assert pool.apply(partial(live.rate, "q", 321, STAGES)) == live.rate("q", 321, STAGES)
        with pytest.raises(ScheduleError, match="an unknown network") as caught:
            pool.apply(build_schedules, ({"x": {}},), {"base": {"p": 1.0}, "total_steps": 10})
    assert caught.value.faults == (Fault("lr_schedule.x", {}, "an unknown network; the networks are p"),)
