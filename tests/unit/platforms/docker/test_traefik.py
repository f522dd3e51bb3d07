from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from winnow.platforms.docker import traefik
from winnow.platforms.docker.traefik import Route
from winnow.routing import Release
from winnow.serving.draining import KEEP_ALIVE_S

FIRST = Release("cells", "1", "aa" * 32, Path("/models/aa"), "sha256:1111")
SECOND = Release("cells", "2", "bb" * 32, Path("/models/bb"), "sha256:2222")
ROUTE = Route(4, SECOND, FIRST, ("replica-3-0", "replica-4-0"))


def test_a_route_file_says_where_requests_go_and_what_answers_them() -> None:
    text = traefik.render(ROUTE)
    assert yaml.safe_load(text) == {
        "http": {
            "routers": {
                "model": {
                    "entryPoints": ["web"],
                    "rule": "PathPrefix(`/`)",
                    "middlewares": ["serial", "retry"],
                    "service": "model",
                }
            },
            "middlewares": {
                "serial": {"headers": {"customResponseHeaders": {"x-winnow-serial": "4"}}},
                "retry": {"retry": {"attempts": 20, "initialInterval": "20ms"}},
            },
            "services": {
                "model": {
                    "loadBalancer": {
                        "servers": [{"url": "http://replica-3-0:8080"}, {"url": "http://replica-4-0:8080"}],
                        "healthCheck": {"path": "/readyz", "interval": "3s", "timeout": "2s"},
                        "serversTransport": "replicas",
                    }
                }
            },
            "serversTransports": {
                "replicas": {
                    "maxIdleConnsPerHost": 200,
                    "forwardingTimeouts": {
                        "dialTimeout": "250ms",
                        "responseHeaderTimeout": "60s",
                        "idleConnTimeout": "30s",
                    },
                }
            },
        }
    }
    assert traefik.parse(text) == ROUTE


def test_a_first_route_has_nothing_to_go_back_to() -> None:
    first = Route(1, FIRST, None, ("replica-1-0",))
    assert traefik.parse(traefik.render(first)) == first


@pytest.mark.parametrize("text", ["", "http: {}\n", "# winnow: {}\n", "# winnow: no JSON\n"])
def test_another_file_is_no_route(text: str) -> None:
    with pytest.raises(ValueError):
        traefik.parse(text)


def test_the_entry_point_closes_idle_connections_long_before_a_server_does() -> None:
    assert traefik.IDLE_CONNECTION_S < KEEP_ALIVE_S / 2


def test_the_entry_point_opens_one_port_and_calls_no_other_service() -> None:
    arguments = traefik.arguments()
    assert [each for each in arguments if ".address=" in each] == ["--entryPoints.web.address=:8080"]
    assert not any(word in each.lower() for each in arguments for word in ("docker", "api", "dashboard", "accesslog"))
    assert "--providers.file.directory=/routes" in arguments
    assert "--global.checkNewVersion=false" in arguments
