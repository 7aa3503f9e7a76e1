"""The process that trains: what becomes of freed memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEMORY_PROBE = """
import resource
import torch
from glideslope.training.process import keep_freed_memory

def fresh_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.empty(16_000_000).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, kept, _ = fresh_pages(), keep_freed_memory(), fresh_pages()  # the first round still grows
print(before, kept, fresh_pages())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
def test_kept_memory_is_used_again_without_fresh_pages() -> None:
    command = [sys.executable, "-c", MEMORY_PROBE]
    before, kept, after = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert kept == "True"
    assert int(before) > 100_000
    assert int(after) < int(before) / 5
