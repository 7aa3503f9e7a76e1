"""What schedules cost an update, beside torch's own. ``python -m benchmarks.bench_lr_scheduler``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

import torch
from torch.optim import lr_scheduler as torch_schedulers

from benchmarks.bench_update import fill
from glideslope.build import make_agent, make_replay, use_threads
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.lr_scheduler import SHAPES, LiveSchedules, build_schedules
from glideslope.settings import Settings

TOTAL = 100_000
RATE = 5e-4
NETWORKS = ("encoder", "actor", "critic")
STAGES = [(0, 0), (11_003, 1), (20_011, 2), (30_007, 3), (41_003, 4)]
WARMUP = TOTAL // 50
Optimizers = Mapping[str, torch.optim.Optimizer]
Make = Callable[[torch.optim.Optimizer], torch_schedulers.LRScheduler]

THREE_STEPS = {
    "type": "step_decay",
    "intervals": [{"end": "1/3", "lr": "1x"}, {"end": "2/3", "lr": "0.5x"}, {"lr": "0.25x"}],
}
WARMUP_COSINE = {
    "type": "cosine_decay",
    "intervals": [{"lr": "1x", "final_lr": "0.05x", "warmup": WARMUP}],
}
BY_STAGE = {"type": "step_decay", "intervals": [{"stage": i, "lr": f"{1 - i / 5}x"} for i in range(5)]}


def step_factor(step: int) -> float:
    return 1.0 if 3 * step < TOTAL else 0.5 if 3 * step < 2 * TOTAL else 0.25


def cosine_factor(step: int) -> float:
    rise = min(1.0, step / WARMUP)
    return rise * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(step, TOTAL) / TOTAL)))


def with_lambda(factor: Callable[[int], float]) -> Make:
    return lambda optimizer: torch_schedulers.LambdaLR(optimizer, factor)


def step_sequence(optimizer: torch.optim.Optimizer) -> torch_schedulers.LRScheduler:
    parts = [torch_schedulers.ConstantLR(optimizer, factor, TOTAL) for factor in (1.0, 0.5, 0.25)]
    return torch_schedulers.SequentialLR(optimizer, parts, [TOTAL // 3, 2 * TOTAL // 3])


def cosine_sequence(optimizer: torch.optim.Optimizer) -> torch_schedulers.LRScheduler:
    rise = torch_schedulers.LinearLR(optimizer, 1e-8, 1.0, WARMUP)
    fall = torch_schedulers.CosineAnnealingLR(optimizer, TOTAL - WARMUP, 0.05 * RATE)
    return torch_schedulers.SequentialLR(optimizer, [rise, fall], [WARMUP])


# The schedule, as ours and as torch's; torch has none that follows a curriculum, so the steps stand in for it.
CASES: list[tuple[str, dict[str, Any], Callable[[int], float], Make]] = [
    ("three steps", THREE_STEPS, step_factor, step_sequence),
    ("warm-up and cosine", WARMUP_COSINE, cosine_factor, cosine_sequence),
    ("five stages", BY_STAGE, step_factor, step_sequence),
]


def optimizers(*, tensor: bool) -> Optimizers:
    """Three Adam optimizers with as many parameter tensors as the networks of profile=cpu; sizes don't matter."""
    made = {}
    for network, count in zip(NETWORKS, (8, 10, 16), strict=True):
        weights = [torch.zeros(4, requires_grad=True) for _ in range(count)]
        rate = torch.tensor(RATE, dtype=torch.float64) if tensor else RATE
        made[network] = torch.optim.Adam(weights, lr=rate)
    return made


def ours(config: dict[str, Any], *, tensor: bool) -> Callable[[int], None]:
    base = dict.fromkeys(NETWORKS, RATE)
    names = [f"S{i}" for i in range(5)]
    schedules = build_schedules(dict.fromkeys(NETWORKS, config), base=base, total_steps=TOTAL, stage_names=names)
    live, written = LiveSchedules(schedules), optimizers(tensor=tensor)
    return lambda step: live.write(written, step, STAGES)


def theirs(make: Make, *, tensor: bool) -> Callable[[int], None]:
    written = optimizers(tensor=tensor)
    schedulers = [make(optimizer) for optimizer in written.values()]
    for optimizer in written.values():
        optimizer.step()  # torch's schedulers warn where none has been made

    def update(_: int) -> None:
        for scheduler in schedulers:
            scheduler.step()

    return update


def microseconds(calls: list[Callable[[int], Any]], rounds: int = 15, repeats: int = 1000) -> list[float]:
    """The median time of a call of each, over rounds in which they take turns: a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in calls]
    for i in range(rounds):
        steps = range(2 * i * repeats, 2 * (i + 1) * repeats, 2)
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            for step in steps:
                call(step)
            taken.append((time.perf_counter() - start) / repeats * 1e6)
    return [median(taken) for taken in times]


def update_microseconds(count: int = 60) -> float:
    """The median time of an update of profile=cpu, with its batch."""
    settings = compose(TRAIN_CONFIG, ["profile=cpu", "replay_buffer_size=4000"], Settings).settings
    use_threads(settings.num_threads)
    agent, replay = make_agent(settings, "cpu"), make_replay(settings, "cpu")
    fill(replay, settings.num_envs, settings.task.image_size)
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        agent.update(replay.sample(settings.batch_size), 0.2)
        taken.append((time.perf_counter() - start) * 1e6)
    return median(taken[5:])  # the first updates warm up


def scalar_calls() -> dict[str, Callable[[int], Any]]:
    """One rate of one network, asked as the trainer asks: with the curriculum's history."""
    calls = {}
    for shape in SHAPES:
        for extent in ({"start": 0}, {"stage": 0, "duration": TOTAL}):
            interval = {**extent, "lr": "1x", "final_lr": "0.05x", "warmup": 10}
            config = {"actor": {"type": shape, "intervals": [interval]}}
            schedules = build_schedules(config, base={"actor": RATE}, total_steps=TOTAL, stage_names=["S0"] * 5)
            live = LiveSchedules(schedules)
            kind = "by stage" if "stage" in extent else "by time"
            calls[f"rate of {shape}, {kind}"] = lambda step, live=live: live.rate("actor", step, STAGES[:1])
    return calls


def measure() -> Iterator[tuple[str, float, str]]:
    """Name, figure and unit of each case."""
    update = update_microseconds()
    for name, config, factor, sequence in CASES:
        for tensor in (False, True):
            calls = [
                ours(config, tensor=tensor),
                theirs(with_lambda(factor), tensor=tensor),
                theirs(sequence, tensor=tensor),
            ]
            cost, by_lambda, by_sequence = microseconds(calls)
            label = f"{name}, {'tensor' if tensor else 'float'} rates of three networks"
            yield f"{label}: per update", cost, "µs"
            yield f"{label}: torch's LambdaLR", by_lambda / cost, "times as long"
            yield f"{label}: torch's SequentialLR", by_sequence / cost, "times as long"
            yield f"{label}: share of an update of profile=cpu", 100 * cost / update, "%"
    calls = scalar_calls()
    for name, cost in zip(calls, microseconds([*calls.values()], rounds=9), strict=True):
        yield name, cost, "µs"


if __name__ == "__main__":
    for name, figure, unit in measure():
        print(f"{name:90} {figure:9.3f} {unit}", flush=True)
