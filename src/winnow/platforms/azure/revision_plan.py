"""What is sent to Azure ML for a deployment of winnow: pure functions.

A deployment of winnow is a managed online endpoint, and each of its revisions an Azure deployment below it:
`blue-1`, `green-2`, … (`DEPLOYMENT_NAME-1`, …). The route is the endpoint's `traffic` and `mirror_traffic`. The record
is kept in the endpoint's tags: an Azure tag takes 256 characters, so that it is compressed and split.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import yaml

from winnow.config.errors import InputError
from winnow.config.quantities import whole_percent
from winnow.platforms.azure.online import OnlineDeployment, OnlineEndpoint
from winnow.platforms.azure.workspace import DEPLOYMENT, ENDPOINT
from winnow.routing import Record, ReplicaSettings, Revision, Route, record_of, server_settings, to_json

NAME, RECORD, ROUTED = "winnow.deployment", "winnow.record", "winnow.routed"
REVISION, MODEL_VERSION, DIGEST = "winnow.revision", "winnow.version", "winnow.digest"
TAG_LENGTH, MOST_PARTS, MOST_TAGS = 256, 40, 50
"""Azure's limits of a tag's value and of an object's tags; tags beside the record's parts are for users."""
NameOf: TypeAlias = Callable[[int], str]
COLORS = ("blue", "green")
PORT = 8080
ROUTES = {"liveness_route": "/livez", "readiness_route": "/readyz", "scoring_route": "/predict"}
MOST_MIRRORED = 50
"""Percent of the requests that Azure copies at most."""
SETTLE_S = 5.0
LONGEST_TIMEOUT_MS = 180_000
"""Azure's limit of a request to a managed online endpoint."""

MACHINES: Mapping[str, tuple[float, float]] = {
    "Standard_DS1_v2": (1, 3.5),
    "Standard_F2s_v2": (2, 4),
    "Standard_DS2_v2": (2, 7),
    "Standard_F4s_v2": (4, 8),
    "Standard_DS3_v2": (4, 14),
    "Standard_F8s_v2": (8, 16),
    "Standard_DS4_v2": (8, 28),
    "Standard_F16s_v2": (16, 32),
    "Standard_DS5_v2": (16, 56),
    "Standard_F32s_v2": (32, 64),
}
"""CPUs and GiB of machine types for managed online endpoints, the smallest first (learn.microsoft.com, "Managed online
endpoints SKU list")."""

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]")


def endpoint_name(name: str, chosen: str = "") -> str:
    """The endpoint of a deployment; `chosen`: ENDPOINT_NAME. Raises InputError where Azure does not take the name."""
    found = chosen or name.replace("_", "-").replace(".", "-")
    if _NAME.fullmatch(found) is None:
        raise InputError(
            ENDPOINT if chosen else f"deployment '{name}'",
            expected="a name of 3 to 32 letters, digits and '-', which begins with a letter",
            found=f"'{found}'",
            remedy="Correct it." if chosen else f"Name the endpoint by {ENDPOINT}, in `.env` for example.",
        )
    return found


def deployment_name(number: int, chosen: str = "") -> str:
    """The Azure deployment of a revision; `chosen`: DEPLOYMENT_NAME. Raises InputError as `endpoint_name` does."""
    found = f"{chosen or COLORS[(number - 1) % len(COLORS)]}-{number}"
    if _NAME.fullmatch(found) is None:
        raise InputError(
            DEPLOYMENT,
            expected=f"a name that makes one of 3 to 32 letters, digits and '-' with '-{number}' behind it",
            found=f"'{chosen}'",
            remedy="Correct it, or leave it out.",
        )
    return found


def machine_of(settings: ReplicaSettings) -> str:
    """The smallest machine type that has a replica's CPUs and memory. Raises InputError where none has."""
    gib = settings.memory_bytes / 2**30
    for name, (cpus, memory) in MACHINES.items():
        if cpus >= settings.cpus and memory >= gib:
            return name
    largest = tuple(MACHINES.items())[-1]
    raise InputError(
        "serving.resources",
        expected=f"at most {largest[1][0]:g} CPUs and {largest[1][1]:g} GiB, the machine type {largest[0]}",
        found=f"{settings.cpus:g} CPUs and {gib:.3g} GiB",
        remedy="Ask for less: on Azure every replica has a machine of its own.",
    )


def deployment_of(record: Record, revision: Revision, endpoint: str, name: str) -> OnlineDeployment:
    """What runs a revision. `name`: of the Azure deployment."""
    settings, release = revision.settings, revision.release
    variables = {
        "WINNOW_MODEL_VERSION": release.version,
        "WINNOW_SERVING": server_settings(
            settings, settle_s=SETTLE_S, deployment=record.name, revision=revision.number
        ),
    }
    return OnlineDeployment(
        endpoint,
        name,
        release.image,
        machine_of(settings),
        revision.scale.replicas,
        variables,
        {
            REVISION: str(revision.number),
            MODEL_VERSION: f"{release.model}/{release.version}",
            DIGEST: release.digest[:TAG_LENGTH],
        },
        min(LONGEST_TIMEOUT_MS, round(settings.drain_s * 1000)),
    )


def endpoint_of(record: Record, name: str, routed: str, name_of: NameOf = deployment_name) -> OnlineEndpoint:
    """The endpoint with the record, and the traffic of its route. `routed`: `routed_tag` of that route."""
    tags = {NAME: record.name, ROUTED: routed, **record_tags(record)}
    return OnlineEndpoint(name, tags, traffic_of(record.route, name_of), mirror_of(record.route, name_of))


def traffic_of(route: Route, name_of: NameOf = deployment_name) -> dict[str, int]:
    """Percents by deployment; none before the first route."""
    if not route.stable:
        return {}
    if route.candidate is None:
        return {name_of(route.stable): 100}
    share = whole_percent(route.weight, "a weight of the rollout", "Azure")
    shares = {name_of(route.stable): 100 - share, name_of(route.candidate): share}
    return {name: each for name, each in shares.items() if each}


def mirror_of(route: Route, name_of: NameOf = deployment_name) -> dict[str, int]:
    if route.candidate is None or not route.mirror:
        return {}
    return {name_of(route.candidate): whole_percent(route.mirror, "serving.rollout.mirror", "Azure")}


def record_tags(record: Record) -> dict[str, str]:
    """The tags that hold a record. Raises InputError where it is too long."""
    text = base64.b64encode(zlib.compress(to_json(record).encode(), 9)).decode()
    parts = [text[at : at + TAG_LENGTH] for at in range(0, len(text), TAG_LENGTH)]
    if len(parts) > MOST_PARTS:
        raise InputError(
            f"deployment '{record.name}'",
            expected=f"a record of at most {MOST_PARTS * TAG_LENGTH} characters, which an endpoint's tags hold",
            found=f"{len(text)}",
            remedy="Keep fewer revisions: lower `serving.history`.",
        )
    return {f"{RECORD}.{index:02}": part for index, part in enumerate(parts)}


def record_in(tags: Mapping[str, str]) -> Record | None:
    """The record in an endpoint's tags; None where winnow has not made the endpoint. Raises ValueError if damaged."""
    text = "".join(tags[name] for name in sorted(tags) if name.startswith(f"{RECORD}."))
    try:
        return record_of(zlib.decompress(base64.b64decode(text))) if text else None
    except zlib.error as error:
        raise ValueError(str(error)) from error


def revision_number(tags: Mapping[str, str]) -> int | None:
    """The revision that an Azure deployment runs; None where it is none of winnow's."""
    text = tags.get(REVISION, "")
    return int(text) if text.isdecimal() else None


def routed_tag(route: Route, at: float) -> str:
    """Since when requests follow a route: `SERIAL@EPOCH`."""
    return f"{route.serial}@{at:.0f}"


def routed_since(tags: Mapping[str, str], route: Route) -> float | None:
    """When requests began to follow the route, in seconds since the epoch; None where they do not yet."""
    serial, _, at = tags.get(ROUTED, "").partition("@")
    return float(at) if serial == str(route.serial) and at.isdecimal() else None


def check(record: Record, revision: Revision) -> None:
    """Raise InputError for a setting that Azure would refuse, or take and ignore."""
    machine_of(revision.settings)
    for place, expected, found, remedy in _faults(record, revision):
        raise InputError(place, expected=expected, found=found, remedy=remedy)


def _faults(record: Record, revision: Revision) -> Iterator[tuple[str, str, str, str]]:
    if record.entry.port is not None:
        remedy = "Leave it out: an endpoint has an address of its own."
        yield "serving.port", "none on Azure", str(record.entry.port), remedy
    if revision.settings.key:
        remedy = "Remove it: the endpoint has keys of its own, and `make inference-one` fetches one."
        yield "serving.api_key", "none on Azure", "one", remedy
    rollout = record.rollout
    if rollout is None or not rollout.is_open:
        return
    for step in rollout.steps:
        whole_percent(step["weight"], "serving.rollout: a weight", "Azure")
        if whole_percent(step["mirror"], "serving.rollout.mirror", "Azure") > MOST_MIRRORED:
            remedy = "Lower it: Azure copies at most half of the requests."
            yield "serving.rollout.mirror", f"at most {MOST_MIRRORED / 100:g} on Azure", f"{step['mirror']:g}", remedy
        for key in ("unit", "may_choose"):
            if step[key]:
                remedy = "Remove it: Azure splits requests by weight alone."
                yield f"serving.rollout.{key}", "nothing on Azure", f"'{step[key]}'", remedy
        if any(each["type"] == "outcomes" for each in step["conditions"]):
            remedy = "Remove it: Azure does not tell which revision it has chosen."
            yield "serving.rollout.metric", "nothing on Azure", "a metric", remedy


def render(endpoint: OnlineEndpoint, deployments: Iterable[OnlineDeployment]) -> str:
    """YAML as `az ml online-endpoint` and `az ml online-deployment` take it, one document each."""
    head = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json",
        "name": endpoint.name,
        "auth_mode": "key",
        "traffic": dict(endpoint.traffic),
        "mirror_traffic": dict(endpoint.mirror),
        "tags": dict(endpoint.tags),
    }
    documents = [head, *map(_deployment_yaml, deployments)]
    return "---\n".join(yaml.safe_dump(each, sort_keys=False, width=120) for each in documents)


def _deployment_yaml(deployment: OnlineDeployment) -> dict[str, Any]:
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json",
        "name": deployment.name,
        "endpoint_name": deployment.endpoint,
        "environment": {
            "image": deployment.image,
            "inference_config": {name: {"port": PORT, "path": path} for name, path in ROUTES.items()},
        },
        "environment_variables": dict(deployment.environment),
        "instance_type": deployment.machine,
        "instance_count": deployment.instances,
        "request_settings": {"request_timeout_ms": deployment.timeout_ms},
        "tags": dict(deployment.tags),
    }
