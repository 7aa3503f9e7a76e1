"""What the diagnostics cost, with the sizes of profile=cpu. ``python -m benchmarks.bench_diagnostics``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from benchmarks.bench_update import fill
from glideslope.build import make_agent, make_replay, use_threads
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.settings import Settings


def measure(seconds: float = 10.0) -> Iterator[tuple[str, float, str]]:
    """An update with diagnostics relative to a plain one, and their share of the time that updates take."""
    settings = compose(TRAIN_CONFIG, ["profile=cpu", "replay_buffer_size=4000"], Settings).settings
    use_threads(settings.num_threads)
    agent, replay = make_agent(settings, "cpu"), make_replay(settings, "cpu")
    fill(replay, settings.num_envs, settings.task.image_size)

    # In turn on the same batch: a busy machine slows both alike.
    times: dict[bool, list[float]] = {False: [], True: []}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        batch = replay.sample(settings.batch_size)
        for diagnostics, taken in times.items():
            start = time.perf_counter()
            agent.update(batch, 0.2, diagnostics=diagnostics)
            taken.append(time.perf_counter() - start)
    # The first updates warm up.
    plain, measured = (median(taken[5:]) for taken in times.values())
    yield "update with diagnostics, profile=cpu, relative to a plain one", measured / plain, "times"

    per_log = settings.log_every_frames / settings.action_repeat / settings.update_every_steps
    share = 100 * (measured - plain) / (per_log * plain)
    yield f"diagnostics, one update in {per_log:.0f}, profile=cpu, share of the updates' time", share, "%"


if __name__ == "__main__":
    for name, figure, unit in measure():
        print(f"{name:75} {figure:8.2f} {unit}")
