from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

from winnow.platforms.docker import traefik
from winnow.platforms.docker.traefik import Backend, mark, record_in, route_file, serial_in, with_record
from winnow.routing import Record, Release, ReplicaSettings, Revision, Rollout, Route, Scale
from winnow.serving.draining import KEEP_ALIVE_S

FIRST = Revision(1, Release("cells", "1", "aa" * 32, Path("/models/{{aa}}")), ReplicaSettings(), Scale(2))
RECORD = Record("cells", 7, (FIRST,), Route(4, 1), rollout=Rollout(2, 1, "canary", reason="{{ .Env }}"))
STRAIGHT = (Backend("revision-1", ("replica-1-0", "replica-1-1")),)
SPLIT = (Backend("revision-1", ("replica-1-0",), 0.99), Backend("revision-2", ("replica-2-0",), 0.01))


def test_a_route_file_says_where_requests_go_and_holds_the_record() -> None:
    text = route_file(RECORD, STRAIGHT)
    assert yaml.safe_load(text) == {
        "http": {
            "routers": {
                "model": {
                    "entryPoints": ["web"],
                    "rule": "PathPrefix(`/`)",
                    "middlewares": ["serial", "retry"],
                    "service": "revision-1",
                }
            },
            "middlewares": {
                "serial": {"headers": {"customResponseHeaders": {"x-winnow-serial": mark(4, STRAIGHT)}}},
                "retry": {"retry": {"attempts": 100, "initialInterval": "20ms"}},
            },
            "services": {
                "revision-1": {
                    "loadBalancer": {
                        "servers": [{"url": "http://replica-1-0:8080"}, {"url": "http://replica-1-1:8080"}],
                        "healthCheck": {
                            "path": "/readyz",
                            "interval": "3s",
                            "unhealthyInterval": "1s",
                            "timeout": "2s",
                        },
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
    assert record_in(text) == RECORD


def test_traefik_sees_no_template_in_the_record() -> None:
    assert "{{" not in route_file(RECORD, STRAIGHT)


def test_a_gateway_splits_by_weight_and_passes_over_a_revision_without_ready_servers() -> None:
    http = yaml.safe_load(route_file(RECORD, SPLIT))["http"]
    assert http["routers"]["model"]["service"] == "split"
    assert http["services"]["split"] == {
        "weighted": {
            "services": [{"name": "revision-1", "weight": 9900}, {"name": "revision-2", "weight": 100}],
            "healthCheck": {},
        }
    }


def test_while_no_router_is_ready_the_stable_revision_is_asked() -> None:
    http = yaml.safe_load(route_file(RECORD, (Backend("routers-4", ("router-4-0",), spare=("replica-1-0",)),)))["http"]
    assert http["routers"]["model"]["service"] == "spared"
    assert http["services"]["spared"] == {"failover": {"service": "routers-4", "fallback": "spare"}}
    asked = {name: http["services"][name]["loadBalancer"] for name in ("routers-4", "spare")}
    assert {name: each["servers"] for name, each in asked.items()} == {
        "routers-4": [{"url": "http://router-4-0:8080"}],
        "spare": [{"url": "http://replica-1-0:8080"}],
    }
    assert [each["healthCheck"]["interval"] for each in asked.values()] == ["1s", "3s"]


def test_another_record_leaves_the_routes_as_they_are() -> None:
    text, later = route_file(RECORD, STRAIGHT), replace(RECORD, serial=8)
    changed = with_record(text, later)
    assert (record_in(changed), changed.partition("\n")[2]) == (later, text.partition("\n")[2])
    assert record_in(with_record("", later)) == later
    assert yaml.safe_load(with_record("", later)) is None


def test_a_mark_names_the_serial_and_changes_with_the_servers() -> None:
    assert [serial_in(mark(4, each)) for each in (STRAIGHT, SPLIT)] == [4, 4]
    assert mark(4, STRAIGHT) != mark(4, (Backend("revision-1", ("replica-1-0",)),))
    assert serial_in("") is serial_in("other") is None


@pytest.mark.parametrize("text", ["", "http: {}\n", '# winnow: {"serial": 1}\n', "# winnow record: no JSON\n"])
def test_another_file_holds_no_record(text: str) -> None:
    with pytest.raises(ValueError):
        record_in(text)


def test_the_entry_opens_one_port_and_calls_no_other_service() -> None:
    arguments = traefik.arguments()
    assert [each for each in arguments if ".address=" in each] == ["--entryPoints.web.address=:8080"]
    assert not any(word in each.lower() for each in arguments for word in ("docker", "api", "dashboard", "accesslog"))
    assert "--providers.file.directory=/routes" in arguments
    assert "--global.checkNewVersion=false" in arguments


def test_the_entry_point_closes_idle_connections_long_before_a_server_does() -> None:
    assert traefik.IDLE_CONNECTION_S < KEEP_ALIVE_S / 2


def test_the_entry_point_opens_one_port_and_calls_no_other_service() -> None:
    arguments = traefik.arguments()
    assert [each for each in arguments if ".address=" in each] == ["--entryPoints.web.address=:8080"]
    assert not any(word in each.lower() for each in arguments for word in ("docker", "api", "dashboard", "accesslog"))
    assert "--providers.file.directory=/routes" in arguments
    assert "--global.checkNewVersion=false" in arguments
