"""How the benchmarks take time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def rate(action: Callable[[], Any], seconds: float, blocks: int = 5) -> float:
    """Calls per second: the median over blocks that together last about ``seconds``, after a warm-up."""
    action()
    start = time.perf_counter()
    action()
    once = time.perf_counter() - start
    repeats = max(1, round(seconds / blocks / max(once, 1e-9)))
    rates = []
    for _ in range(blocks):
        start = time.perf_counter()
        for _ in range(repeats):
            action()
        rates.append(repeats / (time.perf_counter() - start))
    return sorted(rates)[blocks // 2]
