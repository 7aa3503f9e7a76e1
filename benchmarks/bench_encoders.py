"""Size and cost of every encoder bundle. ``python -m benchmarks.bench_encoders``.

An update is the whole agent's, sampling included. The bundles take turns, and the fastest update of each counts, so
that what else the machine does weighs on all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.bench_update import fill
from glideslope.agent import DrQV2Agent, keep_freed_memory
from glideslope.assembly import make_agent, make_replay, use_threads, uses_pixels
from glideslope.cli import TRAIN_CONFIG, compose
from glideslope.settings import Settings

BUNDLES = ("original", "original_small", "state", "enc_A", "enc_B")
SIZES = {
    "48×48, profile=cpu": ("profile=cpu",),
    "84×84, profile=full, batch 64": ("profile=full", "batch_size=64"),
}
REFERENCE = "original_small"


def build(bundle: str, words: tuple[str, ...]) -> tuple[DrQV2Agent, Callable[[], object]]:
    """An agent with this bundle, and its update."""
    chosen = [f"encoder_bundle@agent={bundle}", *words, "replay_buffer_size=4000"]
    settings = compose(TRAIN_CONFIG, chosen, Settings).settings
    agent, replay = make_agent(settings, "cpu"), make_replay(settings, "cpu")
    fill(replay, settings.num_envs, settings.task.image_size, uses_pixels(settings))
    return agent, lambda: agent.update(replay.sample(settings.batch_size), 0.2)


def fastest(updates: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Seconds of the fastest call of each, taking turns for about ``seconds`` altogether."""
    best = dict.fromkeys(updates, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, update in updates.items():
            start = time.perf_counter()
            update()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def measure(seconds: float = 25.0) -> Iterator[tuple[str, float, str]]:
    """Name, figure and unit of each case."""
    use_threads(1)
    keep_freed_memory()
    for label, words in SIZES.items():
        built = {bundle: build(bundle, words) for bundle in BUNDLES}
        best = fastest({bundle: update for bundle, (_, update) in built.items()}, seconds)
        for bundle, (agent, _) in built.items():
            yield f"{bundle}, {label}", sum(p.numel() for p in agent.encoder.parameters()), "parameters"
            yield f"{bundle}, {label}", agent.encoder.feature_size, "features"
            yield f"{bundle}, {label}", 1.0 / best[bundle], "updates/s"
            yield f"{bundle}, {label}", best[bundle] / best[REFERENCE], f"times the time of {REFERENCE}"


if __name__ == "__main__":
    for name, figure, unit in measure():
        print(f"{name:50} {figure:12,.2f} {unit}")
