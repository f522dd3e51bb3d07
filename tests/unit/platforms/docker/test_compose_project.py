"""What is read from a Compose project's containers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from winnow.platforms.docker.compose_project import published


def on(port: str) -> dict[str, Any]:
    return {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}], "9001/tcp": None}


@pytest.mark.parametrize(
    ("asked", "given", "expected"),
    [
        (on("5500"), on("5500"), {5500}),
        (on("5500"), {}, {5500}),  # while it restarts
        (on(""), on("49153"), {49153}),
        (on("5500-5510"), on("5503"), {5503}),
        (on(""), {}, set()),
        (None, None, set()),
    ],
)
def test_ports_are_known_also_where_the_engine_chooses_them(asked: Any, given: Any, expected: set[int]) -> None:
    attributes = {"HostConfig": {"PortBindings": asked}, "NetworkSettings": {"Ports": given}}
    assert published(cast("Any", SimpleNamespace(attrs=attributes))) == expected
