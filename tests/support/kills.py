"""Kills for real: a copy of this process ends, cleaning up nothing, before one of its operations on files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

OPERATIONS = ("replace", "rename", "link", "unlink", "fsync", "open", "mkdir")
KILLED = 9


def killed_before(number: int, action: Callable[[], object]) -> bool:
    """Whether a forked process that runs `action` got to operation `number` on files, and ended before it.

    What it had flushed so far is on disk, as after kill -9.
    """
    child = os.fork()
    if child == 0:
        done = 0

        def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal done
                if done == number:
                    os._exit(KILLED)
                done += 1
                return operation(*arguments, **options)

            return call

        for name in OPERATIONS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED), f"the process failed by itself: {status}"
    return status == KILLED
