"""Which workspace, by the variables that Azure's own tools read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from winnow.config.errors import InputError, UnavailableError

SUBSCRIPTION, GROUP, WORKSPACE = "AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZURE_WORKSPACE"
TENANT, CLIENT, SECRET = "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"
ENDPOINT, DEPLOYMENT = "ENDPOINT_NAME", "DEPLOYMENT_NAME"


@dataclass(frozen=True)
class Workspace:
    """An Azure ML workspace, and the names that users have chosen.

    Attributes:
        has_principal: a service principal's id, tenant and secret are set. Else Azure's default credential is asked:
            a managed identity, or the login of `az`.
        endpoint: the endpoint's name; empty for one made from the deployment's.
        deployment: what names of Azure's deployments begin with; empty for blue and green.
    """

    subscription: str
    group: str
    name: str
    has_principal: bool = False
    endpoint: str = ""
    deployment: str = ""

    @property
    def place(self) -> str:
        return f"on Azure ML, in workspace {self.name} of {self.group}"


def is_named(environment: Mapping[str, str]) -> bool:
    return bool(environment.get(WORKSPACE))


def workspace_of(environment: Mapping[str, str]) -> Workspace:
    """The workspace that the environment names. Raises UnavailableError where a variable is missing."""
    missing = [each for each in (SUBSCRIPTION, GROUP, WORKSPACE) if not environment.get(each)]
    if missing:
        raise UnavailableError(
            "Azure ML",
            expected=f"the workspace, by {SUBSCRIPTION}, {GROUP} and {WORKSPACE}",
            found=f"no {' and no '.join(missing)}",
            remedy="Set them, for example in `.env`; docs/azure.md says where to find the values.",
        )
    given = [each for each in (TENANT, CLIENT, SECRET) if environment.get(each)]
    if SECRET in given and len(given) < 3:
        absent = next(each for each in (TENANT, CLIENT) if each not in given)
        raise InputError(
            "Azure ML",
            expected=f"a whole service principal: {TENANT}, {CLIENT} and {SECRET}",
            found=f"no {absent}",
            remedy="Set it, or remove the secret to use a managed identity or the login of `az`.",
        )
    return Workspace(
        environment[SUBSCRIPTION],
        environment[GROUP],
        environment[WORKSPACE],
        len(given) == 3,
        environment.get(ENDPOINT, ""),
        environment.get(DEPLOYMENT, ""),
    )
