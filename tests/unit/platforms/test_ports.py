"""Addresses and ports of this machine."""

from __future__ import annotations

import socket

import pytest

from winnow.config.errors import InputError
from winnow.platforms.ports import bound, is_free, url_for_clients


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


def test_a_number_that_is_no_port_is_refused() -> None:
    with pytest.raises(InputError, match=r"address 127\.0\.0\.1:99999: expected a port of this machine"):
        bound("127.0.0.1", 99999)


def test_a_port_on_which_something_listens_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)
