"""How long a policy takes to answer one drone, on one core: ``python -m benchmarks.bench_policy``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glideslope.build import make_agent
from glideslope.cli.main import TRAIN_CONFIG, compose
from glideslope.evaluation.export import open_session, write_onnx
from glideslope.evaluation.policy import LoadedPolicy, Trained
from glideslope.settings import Settings

_CALLS = 2000


def measure() -> Iterator[tuple[str, float, float]]:
    """Yield what answers, and milliseconds: the median, and what one call in a hundred exceeds."""
    torch.set_num_threads(1)
    for name, words in (("profile=cpu", ["profile=cpu"]), ("profile=full", ["profile=full"])):
        settings = compose(TRAIN_CONFIG, words, Settings).settings
        trained = Trained(Path("snapshot.pt"), settings, make_agent(settings, "cpu"), 0, 0, 0, None)
        policy = LoadedPolicy(trained)
        depth, rng = settings.frame_stack, np.random.default_rng(0)
        stacks: dict[str, Any] = {
            part: rng.integers(0, 256, (1, depth, *shape), dtype=np.uint8)
            if part == "pixels"
            else rng.normal(size=(1, depth, *shape)).astype(np.float32)
            for part, shape in policy.reads.items()
        }
        yield f"{name}, snapshot in PyTorch", *_percentiles(lambda p=policy, s=stacks: p.act(s))
        with tempfile.TemporaryDirectory() as folder:
            write_onnx(trained, Path(folder) / "policy.onnx")
            session = open_session(Path(folder) / "policy.onnx")
            yield f"{name}, ONNX in onnxruntime", *_percentiles(lambda o=session, s=stacks: o.run(["action"], s))


def _percentiles(call: Callable[[], object]) -> tuple[float, float]:
    for _ in range(50):
        call()
    seconds = []
    for _ in range(_CALLS):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    p50, p99 = np.percentile(seconds, [50, 99])
    return 1e3 * float(p50), 1e3 * float(p99)


def main() -> None:
    """Print the table."""
    print("| what answers, one drone, one core | p50 | p99 |\n| --- | ---: | ---: |")
    for name, p50, p99 in measure():
        print(f"| {name} | {p50:.2f} ms | {p99:.2f} ms |", flush=True)


if __name__ == "__main__":
    main()
