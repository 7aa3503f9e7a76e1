"""Size and cost of every encoder and every actor-critic pair. ``python -m benchmarks.bench_bundles``.

Encoders are measured with the pair `original`, pairs with the profile's own encoder. An update is the whole agent's,
sampling and augmentation included; acting is for 16 environments. The bundles take turns, and the fastest call of each
counts, so that what else the machine does weighs on all alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from benchmarks.bench_update import fill
from glideslope.agent import DrQV2Agent
from glideslope.build import make_agent, make_replay, resolve_device, use_threads, uses_pixels
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.envs.layout import PRIVILEGED_DIM, state_dim
from glideslope.settings import Settings
from glideslope.training.process import keep_freed_memory

ENCODERS = ("original_small", "original_tiny", "original", "state", "enc_A", "enc_B")
PAIRS = (
    *("original", "autoregressive_gimbal_first", "autoregressive_drone_first"),
    *("multihead_attention", "multihead_attention_factored"),
)
# DrQ-v2's update, that the encoder `state` knows too.
PIXELS = ("critic_observation=pixels", "auxiliary_weight=0", "auxiliary_input=false", "frame_stack=3")
CASES = {
    "48×48, profile=cpu, critic on pixels": ("profile=cpu", *PIXELS),
    "84×84, profile=full, batch 64": ("profile=full", "batch_size=64"),
}
ENVS = 16
SECONDS = 60.0  # for each case


@dataclass(frozen=True)
class Built:
    """An agent of one bundle, and what is timed of it."""

    agent: DrQV2Agent
    update: Callable[[], object]
    act: Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A line of the table. Times in seconds."""

    bundle: str
    parameters: list[int]  # of encoder, actor, critic
    update: float
    act: float


def build(words: tuple[str, ...]) -> Built:
    settings = compose(TRAIN_CONFIG, [*words, "replay_buffer_size=4000"], Settings).settings
    device, pixels = resolve_device("auto"), uses_pixels(settings)
    agent, replay = make_agent(settings, device), make_replay(settings, device)
    size, frames = settings.task.image_size, settings.frame_stack
    fill(replay, settings.num_envs, size, pixels)
    seen = {"state": torch.zeros(ENVS, frames * state_dim(settings.task))}
    if pixels:
        seen["pixels"] = torch.zeros(ENVS, frames, size, size, dtype=torch.uint8)
    else:
        seen["privileged"] = torch.zeros(ENVS, PRIVILEGED_DIM)
    return Built(
        agent,
        lambda: agent.update(replay.sample(settings.batch_size), 0.2),
        lambda: agent.act(seen, None),
    )


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def fastest(built: Mapping[str, Built], duration: float) -> dict[str, tuple[float, float]]:
    """The fastest update and choice of actions of each, which take turns for about ``duration`` seconds."""
    for one in built.values():
        one.update()  # what is made at the first call is not counted
        one.act()
    best = dict.fromkeys(built, (float("inf"), float("inf")))
    end = time.perf_counter() + duration
    while time.perf_counter() < end:
        for bundle, one in built.items():
            update, act = best[bundle]
            best[bundle] = (min(update, seconds(one.update)), min(act, seconds(one.act)))
    return best


def rows(words: tuple[str, ...], duration: float) -> list[Row]:
    """Every encoder with the pair `original`, then every pair with the profile's encoder."""
    names = {f"encoder `{name}`": (*words, f"encoder_bundle@agent={name}") for name in ENCODERS}
    names |= {f"pair `{name}`": (*words, f"actor_critic_bundle@agent={name}") for name in PAIRS}
    built = {bundle: build(chosen) for bundle, chosen in names.items()}
    best = fastest(built, duration)
    return [Row(bundle, sizes(one.agent), *best[bundle]) for bundle, one in built.items()]


def sizes(agent: DrQV2Agent) -> list[int]:
    """Parameters of encoder, actor and critic."""
    return [sum(p.numel() for p in network.parameters()) for network in agent.networks.values()]


def main(duration: float) -> None:
    """Print the table of each case."""
    use_threads(1)
    keep_freed_memory()
    for label, words in CASES.items():
        found = rows(words, duration)
        first = {kind: next(row for row in found if row.bundle.startswith(kind)) for kind in ("encoder", "pair")}
        print(f"| {label} | parameters: encoder | actor | critic | updates/s | update | acting |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for row in found:
            base = first[row.bundle.split()[0]]
            parameters = " | ".join(f"{number:,}" for number in row.parameters)
            ratios = f"{row.update / base.update:.2f} | {row.act / base.act:.2f}"
            print(f"| {row.bundle} | {parameters} | {1.0 / row.update:.1f} | {ratios} |", flush=True)
        print()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
