"""Managed online endpoints of an Azure ML workspace, as winnow uses them: frozen values, and the calls on them.

`winnow.platforms.azure.sdk` makes the calls by azure-ai-ml; `winnow.testing.azure` is a workspace in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

SUCCEEDED, FAILED, DELETING = "Succeeded", "Failed", "Deleting"
ENDED_BADLY = (FAILED, "Canceled")


@dataclass(frozen=True)
class OnlineDeployment:
    """A deployment below an endpoint: the instances that run one image.

    Attributes:
        endpoint: the endpoint's name.
        instances: how many machines of the type `machine` run it, each with one container.
        environment: variables of the container.
        state: `provisioning_state`; empty in a request.
        error: why the last operation failed; empty where it did not.
    """

    endpoint: str
    name: str
    image: str
    machine: str
    instances: int
    environment: Mapping[str, str]
    tags: Mapping[str, str]
    timeout_ms: int = 60_000
    state: str = ""
    error: str = ""


@dataclass(frozen=True)
class OnlineEndpoint:
    """An address, and how its requests are split among its deployments.

    Attributes:
        traffic: whole percents by deployment, which sum to 100 or, with no deployment, to 0.
        mirror: whole percents of the requests that are copied, by deployment; at most one deployment.
        url: where it is asked; empty until Azure has one, and in a request.
        state: `provisioning_state`; empty in a request.
    """

    name: str
    tags: Mapping[str, str]
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror: Mapping[str, int] = field(default_factory=dict)
    url: str = ""
    state: str = ""


@dataclass(frozen=True)
class RequestCounts:
    """Requests that a deployment has answered. `errors`: of these, with a status of 500 or more."""

    requests: int = 0
    errors: int = 0


class AzureOnline(Protocol):
    """The calls on a workspace's managed online endpoints.

    All raise InputError where Azure refuses, and UnreachableError where it does not answer, or another operation on the
    endpoint is not over yet.
    """

    def endpoints(self) -> tuple[OnlineEndpoint, ...]:
        """All endpoints of the workspace."""

    def deployments(self, endpoint: str) -> tuple[OnlineDeployment, ...]:
        """The deployments below an endpoint."""

    def put_endpoint(self, endpoint: OnlineEndpoint) -> None:
        """Create or replace an endpoint's tags, traffic and mirror; return once Azure has done so."""

    def delete_endpoint(self, name: str) -> None:
        """Delete an endpoint with its deployments; return once they are gone."""

    def put_deployment(self, deployment: OnlineDeployment) -> None:
        """Begin to create a deployment, or to change its number of instances."""

    def delete_deployment(self, endpoint: str, name: str) -> None:
        """Delete a deployment without traffic; return once it is gone."""

    def logs(self, endpoint: str, deployment: str, lines: int) -> list[str]:
        """The last lines of the newest instance's container."""

    def key(self, endpoint: str) -> str:
        """The endpoint's primary key."""

    def counts(self, endpoint: str, since: float) -> Mapping[str, RequestCounts]:
        """Requests by deployment, by Azure Monitor, from the first full minute after `since` (s since the epoch)."""
