"""Sets the process up for a training: threads, denormal numbers, and what becomes of freed memory."""

from __future__ import annotations

import ctypes

import torch

from glideslope.build import use_threads

# malloc.h of the GNU C library.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = 2**31 - 1


def prepare_process(num_threads: int) -> None:
    """Set the process up; first of all, as even the initial weights' last bits depend on the number of threads."""
    use_threads(num_threads)
    # Dead units leave denormal Adam moments, which processors multiply many times slower.
    torch.set_flush_denormal(True)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next allocation instead of handing it back to the system.

    An update on the CPU allocates and frees the same large tensors every time; handed back, each comes again
    as fresh pages that the kernel must clear first: that was 25-35% of an update with images (48 x 48 and
    84 x 84). The process stays at its peak size. Call it once, before training. Returns whether it took
    effect; other C libraries than GNU's have no such setting.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not the GNU C library; on Windows CDLL takes no None
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _NEVER))
