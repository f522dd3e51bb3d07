"""Addresses and ports of this machine."""

from __future__ import annotations

import pytest

from winnow.platforms.ports import url_for_clients


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
    ],
)
def test_a_client_is_sent_to_an_address_of_this_machine(host: str, url: str) -> None:
    assert url_for_clients(host, 80) == url
