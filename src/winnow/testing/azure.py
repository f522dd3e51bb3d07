"""An Azure ML workspace in memory, for tests and for trying a deployment out: `AzureOnline` without Azure.

Deployments become ready while they are listed. Requests follow the endpoint's traffic (`ask`) and are counted, as Azure
Monitor does. The service's own refusals, which the SDK does not foresee, are here: percents that do not sum to 100,
mirrored traffic above 50, deletion of a deployment with traffic, a name that another workspace has, a quota.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from winnow.config.errors import InputError, UnreachableError
from winnow.platforms.azure.online import FAILED, SUCCEEDED, OnlineDeployment, OnlineEndpoint, RequestCounts
from winnow.platforms.azure.revision_plan import DIGEST, MODEL_VERSION, PORT, ROUTES

__all__ = ["MemoryWorkspace"]


@dataclass
class MemoryWorkspace:
    """A workspace.

    Attributes:
        unready: digests of models whose containers do not become ready.
        erring: digests of models that answer with status 500.
        ready_after: how many listings find a new deployment being created.
        quota: how many machines the subscription may have.
        elsewhere: names of endpoints that other workspaces of the region have.
        is_away: nothing answers.
    """

    unready: set[str] = field(default_factory=set)
    erring: set[str] = field(default_factory=set)
    ready_after: int = 0
    quota: int = 1000
    elsewhere: set[str] = field(default_factory=set)
    is_away: bool = False
    kept: dict[str, OnlineEndpoint] = field(default_factory=dict)
    below: dict[str, dict[str, OnlineDeployment]] = field(default_factory=dict)
    waiting: dict[tuple[str, str], int] = field(default_factory=dict)
    lines: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    counted: dict[tuple[str, str], RequestCounts] = field(default_factory=dict)
    credit: dict[tuple[str, str], float] = field(default_factory=dict)

    def endpoints(self) -> tuple[OnlineEndpoint, ...]:
        self._answer()
        return tuple(self.kept.values())

    def deployments(self, endpoint: str) -> tuple[OnlineDeployment, ...]:
        """See `AzureOnline.deployments`. Time passes by it."""
        self._answer()
        for name, each in self.below.get(endpoint, {}).items():
            if self.waiting.get((endpoint, name), 0) > 0:
                self.waiting[endpoint, name] -= 1
                self._settle(each)
        return tuple(self.below.get(endpoint, {}).values())

    def put_endpoint(self, endpoint: OnlineEndpoint) -> None:
        self._answer()
        if endpoint.name in self.elsewhere:
            raise _refused(endpoint.name, "the name is in use in this region", "Name another by ENDPOINT_NAME.")
        if endpoint.traffic and sum(endpoint.traffic.values()) != 100:
            raise _refused(endpoint.name, f"traffic of {sum(endpoint.traffic.values())} percent", "Correct it.")
        if not all(0 <= each <= 100 for each in endpoint.traffic.values()) or sum(endpoint.mirror.values()) > 50:
            raise _refused(endpoint.name, "percents out of bounds", "Correct them.")
        unknown = {*endpoint.traffic, *endpoint.mirror} - self.below.get(endpoint.name, {}).keys()
        if unknown:
            raise _refused(
                endpoint.name, f"traffic to deployments that are not there: {sorted(unknown)}", "Create them."
            )
        before = self.kept.get(endpoint.name)
        if before is not None and (before.traffic, before.mirror) != (endpoint.traffic, endpoint.mirror):
            for key in [each for each in self.counted if each[0] == endpoint.name]:
                del self.counted[key]
        url = f"https://{endpoint.name}.memory.inference.ml.azure.com{ROUTES['scoring_route']}"
        self.kept[endpoint.name] = replace(endpoint, url=url, state=SUCCEEDED)

    def delete_endpoint(self, name: str) -> None:
        self._answer()
        self.kept.pop(name, None)
        self.below.pop(name, None)

    def put_deployment(self, deployment: OnlineDeployment) -> None:
        self._answer()
        if deployment.endpoint not in self.kept:
            raise _refused(deployment.endpoint, "no such endpoint", "Create it.")
        below = self.below.setdefault(deployment.endpoint, {})
        used = sum(each.instances for all_below in self.below.values() for each in all_below.values())
        before = below.get(deployment.name)
        if used - (before.instances if before else 0) + deployment.instances > self.quota:
            remedy = "Ask for a larger quota, or for fewer replicas."
            raise _refused(deployment.name, f"not enough quota of {deployment.machine}", remedy)
        is_kept = before is not None and before.state == SUCCEEDED
        below[deployment.name] = replace(deployment, state="Updating" if is_kept else "Creating")
        key = (deployment.endpoint, deployment.name)
        self.waiting[key] = 1 if is_kept else self.ready_after
        self.lines.setdefault(key, []).append(f"server listens on port {PORT}")
        if not self.waiting[key]:
            self._settle(below[deployment.name])

    def delete_deployment(self, endpoint: str, name: str) -> None:
        self._answer()
        if self.kept[endpoint].traffic.get(name, 0) or self.kept[endpoint].mirror.get(name, 0):
            raise _refused(name, "a deployment with traffic", "Send its traffic elsewhere first.")
        self.below.get(endpoint, {}).pop(name, None)

    def logs(self, endpoint: str, deployment: str, lines: int) -> list[str]:
        self._answer()
        return self.lines.get((endpoint, deployment), [])[-lines:]

    def key(self, endpoint: str) -> str:
        return f"key of {endpoint}"

    def counts(self, endpoint: str, since: float) -> Mapping[str, RequestCounts]:
        """See `AzureOnline.counts`: without its delay."""
        return {name: counts for (of, name), counts in self.counted.items() if of == endpoint}

    def ask(self, endpoint: str) -> tuple[str, int]:
        """Answer one request: the model's `NAME/VERSION`, and the status; no model where nothing answers."""
        found = self.kept.get(endpoint)
        if found is None or not found.traffic:
            return "", 404
        for name, share in found.mirror.items():
            if self._takes(endpoint, f"mirror of {name}", share):
                self._count(endpoint, name)
        last = list(found.traffic)[-1]
        rare = [name for name in found.traffic if name != last and self._takes(endpoint, name, found.traffic[name])]
        name = rare[0] if rare else last
        return self.below[endpoint][name].tags[MODEL_VERSION], self._count(endpoint, name)

    def _takes(self, endpoint: str, name: str, share: int) -> bool:
        """Whether it is this deployment's turn; exactly its share in the long run."""
        credit = self.credit.get((endpoint, name), 0.0) + share / 100
        is_turn = credit >= 1 - 1e-9
        self.credit[endpoint, name] = credit - is_turn
        return is_turn

    def _count(self, endpoint: str, name: str) -> int:
        status = 500 if self.below[endpoint][name].tags[DIGEST] in self.erring else 200
        before = self.counted.get((endpoint, name), RequestCounts())
        self.counted[endpoint, name] = RequestCounts(before.requests + 1, before.errors + (status == 500))
        return status

    def _settle(self, deployment: OnlineDeployment) -> None:
        key = (deployment.endpoint, deployment.name)
        if self.waiting[key]:
            return
        is_failing = deployment.tags[DIGEST] in self.unready
        error = "the container did not become ready" if is_failing else ""
        settled = replace(deployment, state=FAILED if is_failing else SUCCEEDED, error=error)
        self.below[deployment.endpoint][deployment.name] = settled
        self.lines[key].append(error or "server is ready")

    def _answer(self) -> None:
        if self.is_away:
            raise UnreachableError("Azure ML does not answer")


def _refused(name: str, found: str, remedy: str) -> InputError:
    return InputError(f"Azure ML: '{name}'", expected="what Azure takes", found=found, remedy=remedy)
