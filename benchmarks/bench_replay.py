"""Times replay on this machine: `python benchmarks/bench_replay.py [--device cuda] [--threads 1]`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from glideslope.replay.buffer import ReplayBuffer

# (frame edge or None, batch size, frames stored, environments)
CASES = ((None, 128, 100_000, 16), (48, 64, 100_000, 16), (84, 256, 100_000, 16), (84, 512, 400_000, 16))


def median_ms(call: Callable[[], object], device: torch.device, repeats: int = 100) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times[repeats // 10 :])) * 1e3


def bench(edge: int | None, batch_size: int, capacity: int, num_envs: int, device: torch.device) -> str:
    frame_shape = None if edge is None else (edge, edge)
    dims = {"state_dim": 11, "privileged_dim": 16, "action_dim": 5}
    sizes = {"capacity": capacity, "num_envs": num_envs} | dims
    buffer = ReplayBuffer(
        **sizes, frame_shape=frame_shape, frame_stack=3, nstep=3, discount=0.99, device=device, seed=0
    )
    rng = np.random.default_rng(0)
    frame = None if edge is None else rng.integers(0, 256, (num_envs, edge, edge), np.uint8)
    state, privileged = rng.normal(size=(num_envs, 11)), rng.normal(size=(num_envs, 16))
    action, reward = rng.normal(size=(num_envs, 5)), rng.normal(size=num_envs)
    nowhere = np.zeros(num_envs, bool)
    buffer.add_first(np.arange(num_envs), frame, state, privileged)

    def step() -> None:
        ended = rng.random(num_envs) < 0.01
        buffer.add(action, reward, nowhere, ended, frame, state, privileged)
        done = np.flatnonzero(ended)
        if len(done):
            rows = None if frame is None else frame[done]
            buffer.add_first(done, rows, state[done], privileged[done])

    while buffer.num_frames < capacity * 0.999:
        step()
    name = "no frames" if edge is None else f"{edge} x {edge} x 3"
    gigabytes = ReplayBuffer.estimate_bytes(**sizes, frame_shape=frame_shape) / 1e9
    sample, add = median_ms(lambda: buffer.sample(batch_size), device), median_ms(step, device)
    return f"{name:>12}  {batch_size:5d}  {capacity:8d}  {gigabytes:5.2f}  {sample:9.3f}  {add:7.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", type=torch.device)
    parser.add_argument("--threads", default=1, type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'pixels':>12}  batch    frames     GB  sample ms   add ms")
    for case in CASES:
        print(bench(*case, arguments.device), flush=True)


if __name__ == "__main__":
    main()
