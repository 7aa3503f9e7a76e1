"""Whether a Ray cluster answers, found out in seconds: Ray itself tries for minutes."""

from __future__ import annotations

import socket

from glideslope.errors import Fault, SettingsError

_SECONDS = 5.0


def require_cluster(key: str, address: str) -> None:
    """Refuse the address of a Ray cluster, ``host:port`` or ``ray://host:port``, at which nothing answers.

    Raises:
        SettingsError: with the key, the address and what is wrong.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host and address in ("auto", "local"):
        return  # looked for on this machine, which is quick
    if not host or not port.isdecimal():
        rule = "must be auto, or the address of a running cluster such as host:6379 or ray://host:10001"
        raise SettingsError([Fault(key, address, rule)])
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise SettingsError([Fault(key, address, f"no Ray cluster answers there: {error}")]) from error
