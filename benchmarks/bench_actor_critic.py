"""What each actor-critic pair costs beside DrQ-v2's: parameters, an update, acting.

``python -m benchmarks.bench_actor_critic`` (one thread; the pairs take turns, so that a busy machine is fair).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from benchmarks.bench_update import fill
from glideslope.agent import DrQV2Agent
from glideslope.assembly import make_agent, make_replay, resolve_device
from glideslope.cli import TRAIN_CONFIG, compose
from glideslope.envs.landing import STATE_DIM
from glideslope.settings import Settings

PAIRS = (
    *("original", "autoregressive_gimbal_first", "autoregressive_drone_first"),
    *("multihead_attention", "multihead_attention_factored"),
)
CASES = {"cpu": ("profile=cpu",), "full, batch 64": ("profile=full", "batch_size=64")}


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def prepare(
    overrides: tuple[str, ...], pair: str
) -> tuple[DrQV2Agent, Callable[[], object], Callable[[], object]]:
    """An agent of this pair, one update of it, and one choice of actions for 16 environments."""
    chosen = [*overrides, f"actor_critic_bundle@agent={pair}", "replay_buffer_size=4000"]
    settings, device = compose(TRAIN_CONFIG, chosen, Settings).settings, resolve_device("auto")
    agent, replay = make_agent(settings, device), make_replay(settings, device)
    size = settings.task.image_size
    fill(replay, settings.num_envs, size)
    seen = {
        "pixels": torch.zeros(16, settings.frame_stack, size, size, dtype=torch.uint8),
        "state": torch.zeros(16, settings.frame_stack * STATE_DIM),
    }
    return agent, lambda: agent.update(replay.sample(settings.batch_size), 0.2), lambda: agent.act(seen, None)


def seconds(action: Callable[[], object]) -> float:
    """Time that one call takes."""
    begin = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    for case, overrides in CASES.items():
        prepared = {pair: prepare(overrides, pair) for pair in PAIRS}
        times: dict[str, tuple[list[float], list[float]]] = {pair: ([], []) for pair in PAIRS}
        for _ in range(rounds + 2):
            for pair, (_, update, act) in prepared.items():
                times[pair][0].append(seconds(update))
                times[pair][1].append(seconds(act))
        base = [min(column[2:]) for column in times["original"]]
        print(f"| profile {case} | parameters: actor | critic | update | acting |\n|---|---|---|---|---|")
        for pair, (agent, _, _) in prepared.items():
            update, act = (min(column[2:]) / one for column, one in zip(times[pair], base, strict=True))
            sizes = f"{count(agent.actor):,} | {count(agent.critic):,}"
            print(f"| `{pair}` | {sizes} | {update:.2f}x | {act:.2f}x |")
        print(f"One update of original: {1e3 * base[0]:.1f} ms; acting: {1e3 * base[1]:.1f} ms.\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
