"""Addresses of Ray clusters are checked before Ray tries them for minutes."""

from __future__ import annotations

import socket

import pytest

from glideslope.errors import SettingsError
from glideslope.training.search.cluster import require_cluster


def test_something_must_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        require_cluster("address", f"127.0.0.1:{port}")
        require_cluster("address", f"ray://127.0.0.1:{port}")
    with pytest.raises(SettingsError, match=rf"address=127\.0\.0\.1:{port}: no Ray cluster answers there: .*refused"):
        require_cluster("address", f"127.0.0.1:{port}")
    require_cluster("address", "auto")


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:port", "ray://", ""])
def test_other_words_are_no_addresses(address: str) -> None:
    with pytest.raises(SettingsError, match="must be auto, or the address of a running cluster such as host:6379"):
        require_cluster("address", address)
