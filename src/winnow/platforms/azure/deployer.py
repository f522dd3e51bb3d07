"""`Deployer` on managed online endpoints of Azure ML; see `revision_plan` for what they hold."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.platforms.azure import revision_plan
from winnow.platforms.azure.online import (
    DELETING,
    ENDED_BADLY,
    SUCCEEDED,
    AzureOnline,
    OnlineDeployment,
    OnlineEndpoint,
)
from winnow.platforms.azure.revision_plan import revision_number
from winnow.platforms.azure.workspace import ENDPOINT, Workspace
from winnow.platforms.deployer import Deployer, Endpoint, ManualAccess, UnknownDeploymentError, check_next, revision_in
from winnow.platforms.held_file import HeldFile, held_file, holder_of, text_of
from winnow.routing import Counts, Observation, Record, ReplicaObserved, Revision, RouterReport

OTHER_TAGS = 5
"""How many tags winnow has beside the parts of a record, which a rollout may make three more."""
KEPT_LINES = 2000
"""How much of a log is kept when its deployment is deleted."""


class AzureDeployer(Deployer):
    """`Deployer` on Azure ML.

    Args:
        home: winnow's folder; it keeps locks, wishes and the logs of deleted deployments.
        workspace: finds out which workspace; called when it is first needed.
        online: makes the calls on it; likewise.
    """

    def __init__(
        self,
        home: Path,
        *,
        workspace: Callable[[], Workspace],
        online: Callable[[], AzureOnline],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._root = home.absolute() / "deployments" / "azure"
        self._workspace_of, self._online_of, self._wall = workspace, online, wall

    @cached_property
    def _workspace(self) -> Workspace:
        return self._workspace_of()

    @cached_property
    def _online(self) -> AzureOnline:
        return self._online_of()

    @property
    def place(self) -> str:
        return self._workspace.place

    def check(self, *, is_read_only: bool = False) -> None:
        """See `Deployer.check`: the workspace answers. Azure has no dry run that would show missing permissions."""
        self._online.endpoints()

    def check_change(self, record: Record, number: int) -> None:
        revision_plan.check(record, revision_in(record, number))
        revision_plan.deployment_name(number, self._workspace.deployment)
        name = revision_plan.endpoint_name(record.name, self._workspace.endpoint)
        own = self._find(record.name)
        if own is None and (other := next((each for each in self._online.endpoints() if each.name == name), None)):
            served = other.tags.get(revision_plan.NAME)
            raise InputError(
                f"endpoint '{name}'",
                expected="one that this deployment can have",
                found=f"that of the deployment '{served}'" if served else "one that winnow has not made",
                remedy=f"Name another by {ENDPOINT}, or delete it.",
            )
        users = {} if own is None else _users_tags(own)
        count = len(users) + len(revision_plan.record_tags(record)) + OTHER_TAGS
        if count > revision_plan.MOST_TAGS:
            raise InputError(
                f"endpoint '{name}'",
                expected=f"at most {revision_plan.MOST_TAGS} tags with winnow's, which is Azure's limit",
                found=str(count),
                remedy="Remove some of your own, or keep fewer revisions: lower `serving.history`.",
            )

    def names(self) -> tuple[str, ...]:
        found = (each.tags.get(revision_plan.NAME) for each in self._online.endpoints())
        return tuple(sorted(name for name in found if name))

    def observe(self, name: str) -> Observation:
        endpoint = self._endpoint(name)
        record = _record(endpoint)
        is_followed = revision_plan.routed_since(endpoint.tags, record.route) is not None
        return Observation(
            record=record,
            replicas=tuple(replica for each in self._online.deployments(endpoint.name) for replica in _replicas(each)),
            entry_serial=record.route.serial if record.route.stable and is_followed else None,
            wish=text_of(self._folder(name) / "wish"),
            url=endpoint.url.removesuffix(revision_plan.ROUTES["scoring_route"]) if record.route.stable else "",
        )

    def held(self, name: str) -> contextlib.AbstractContextManager[HeldFile]:
        """See `Deployer.held`. Processes of one home exclude each other; others are found out when they write."""
        return held_file(self._folder(name) / "driver", name)

    def driver(self, name: str) -> str:
        return holder_of(self._folder(name) / "driver")

    def write(self, record: Record) -> None:
        endpoint = self._find(record.name)
        if endpoint is None:
            name = revision_plan.endpoint_name(record.name, self._workspace.endpoint)
            tags = {revision_plan.NAME: record.name, **revision_plan.record_tags(record)}
            self._online.put_endpoint(OnlineEndpoint(name, tags))
        elif _replaced(endpoint, record) != record:
            others = {n: text for n, text in endpoint.tags.items() if not n.startswith(f"{revision_plan.RECORD}.")}
            tags = {**others, **revision_plan.record_tags(record)}
            self._online.put_endpoint(replace(endpoint, tags=tags))

    def wish(self, name: str, wish: str) -> None:
        """See `Deployer.wish`. It is kept in the home, where the driver runs."""
        self._endpoint(name)
        self._keep(name, "wish", wish)

    def key(self, record: Record) -> None:
        """See `Deployer.key`: replicas ask for none, since the endpoint does."""

    def start(self, record: Record, number: int, key: str | None) -> None:
        revision = revision_in(record, number)
        self._have(record, revision, revision.scale.replicas)

    def scale(self, record: Record, number: int, replicas: int) -> None:
        """See `Deployer.scale`. With 0 the deployment is deleted: Azure has none without instances."""
        if replicas:
            self._have(record, revision_in(record, number), replicas)
        else:
            self._delete(record.name, number)

    def route(self, record: Record) -> None:
        """See `Deployer.route`: the endpoint's traffic and the record change in one request."""
        endpoint = self._endpoint(record.name)
        _replaced(endpoint, record)
        live = self._live(endpoint.name)
        for number in filter(None, (record.route.stable, record.route.candidate)):
            found = live.get(number)
            if found is None or found.state != SUCCEEDED:
                state = "gone" if found is None else f"'{found.state}'"
                raise WinnowError(f"deployment '{record.name}': revision {number} is {state} on Azure")
        since = revision_plan.routed_since(endpoint.tags, record.route)
        routed = revision_plan.routed_tag(record.route, self._wall() if since is None else since)
        wanted = revision_plan.endpoint_of(record, endpoint.name, routed, self._names(live))
        wanted = replace(wanted, tags={**_users_tags(endpoint), **wanted.tags}, url=endpoint.url, state=endpoint.state)
        if wanted != endpoint:
            self._online.put_endpoint(wanted)

    def renew(self, record: Record, *, is_read_only: bool = False) -> tuple[RouterReport, ...]:
        """See `Deployer.renew`: Azure has no lease. Its monitor counts requests by the minute, some minutes late."""
        route = record.route
        endpoint = self._endpoint(record.name)
        since = revision_plan.routed_since(endpoint.tags, route)
        if route.candidate is None or since is None:
            return ()
        counts = self._online.counts(endpoint.name, since)
        name_of = self._names(self._live(endpoint.name))
        stable, candidate = (
            Counts(requests=found.requests, errors=found.errors) if (found := counts.get(name_of(number))) else Counts()
            for number in (route.stable, route.candidate)
        )
        if route.mirror:
            return (RouterReport("azure", route.serial, stable=stable, mirrored=candidate),)
        return (RouterReport("azure", route.serial, stable=stable, candidate=candidate),)

    def metrics(self, observed: Observation) -> dict[str, str]:
        """See `Deployer.metrics`: none, since Azure passes on requests for predictions alone."""
        return {}

    def retire(self, record: Record, number: int) -> None:
        self._delete(record.name, number)

    def remove(self, name: str) -> bool:
        endpoint = self._find(name)
        if endpoint is None:
            return False
        for each in self._online.deployments(endpoint.name):
            self._keep_log(name, each)
        self._online.delete_endpoint(endpoint.name)
        self._keep(name, "wish", "")
        return True

    def render(self, record: Record, number: int) -> str:
        """See `Deployer.render`: YAML for `az ml`. Without a workspace, the names are those of no variable."""
        chosen = self._chosen
        name = revision_plan.endpoint_name(record.name, chosen.endpoint)

        def name_of(number: int) -> str:
            return revision_plan.deployment_name(number, chosen.deployment)

        endpoint = revision_plan.endpoint_of(record, name, f"{record.route.serial}@0", name_of)
        deployment = revision_plan.deployment_of(record, revision_in(record, number), name, name_of(number))
        return revision_plan.render(endpoint, (deployment,))

    @contextlib.contextmanager
    def endpoint(self, observed: Observation) -> Iterator[Endpoint]:
        """Azure passes on requests for predictions alone, with the endpoint's key."""
        key = self._online.key(self._endpoint(observed.record.name).name)
        yield Endpoint(observed.url, self.manual_access(observed), key=key)

    def manual_access(self, observed: Observation) -> ManualAccess:
        name, where = self._endpoint(observed.record.name).name, self._workspace
        return ManualAccess(
            "Azure asks for the endpoint's own key, which `az ml online-endpoint get-credentials` prints.",
            f"az ml online-endpoint get-credentials --name {name} --resource-group {where.group} "
            f"--workspace-name {where.name}",
            observed.url,
            asks_for_key=True,
        )

    def logs_hint(self, observed: Observation) -> str:
        serving = observed.record.serving
        return self.log_place(observed.record.name, 1 if serving is None else serving.number)

    def address_hint(self, observed: Observation) -> str:
        return f"Look at the endpoint's traffic in Azure ML studio, and at {self.logs_hint(observed)}."

    def images_hint(self, name: str) -> str:
        return "Its images stay in the registry."

    def logs(self, name: str, number: int | None = None, lines: int = 20) -> list[str]:
        endpoint = self._find(name)
        found = [] if endpoint is None else self._online.deployments(endpoint.name)
        for each in sorted(found, key=lambda each: revision_number(each.tags) or 0, reverse=True):
            if number in (None, revision_number(each.tags)):
                return self._online.logs(each.endpoint, each.name, lines)
        kept = sorted(self._folder(name).glob("*.log"), key=lambda path: int(path.stem))
        if not kept and endpoint is None:
            raise UnknownDeploymentError(name, self.names())
        chosen = [path for path in kept if number is None or path.stem == str(number)]
        return chosen[-1].read_text(encoding="utf-8").splitlines()[-lines:] if chosen else []

    def log_place(self, name: str, number: int) -> str:
        where, found = self._workspace, self._find(name)
        endpoint = revision_plan.endpoint_name(name, where.endpoint) if found is None else found.name
        deployment = self._names(self._live(endpoint))(number)
        return (
            f"`az ml online-deployment get-logs --endpoint-name {endpoint} --name {deployment} --resource-group "
            f"{where.group} --workspace-name {where.name}`"
        )

    @property
    def _chosen(self) -> Workspace:
        """The workspace; one without names where none is configured, for plans that are only shown."""
        try:
            return self._workspace
        except InputError:
            return Workspace("", "", "")

    def _have(self, record: Record, revision: Revision, instances: int) -> None:
        endpoint = self._endpoint(record.name).name
        live = self._live(endpoint)
        found = live.get(revision.number)
        if found is not None and found.state == DELETING:
            raise UnreachableError(f"Azure ML: deployment '{found.name}' of '{endpoint}' is still being deleted")
        wanted = revision_plan.deployment_of(record, revision, endpoint, self._names(live)(revision.number))
        if found is not None and found.state not in ENDED_BADLY and found.instances == instances:
            return
        self._online.put_deployment(replace(wanted, instances=instances))

    def _delete(self, name: str, number: int) -> None:
        endpoint = self._find(name)
        found = None if endpoint is None else self._live(endpoint.name).get(number)
        if found is not None:
            self._keep_log(name, found)
            self._online.delete_deployment(found.endpoint, found.name)

    def _keep_log(self, name: str, deployment: OnlineDeployment) -> None:
        """Keep the end of a deployment's log. One that never had a container has none, which ends nothing."""
        number = revision_number(deployment.tags)
        with contextlib.suppress(InputError, UnreachableError):
            lines = self._online.logs(deployment.endpoint, deployment.name, KEPT_LINES)
            if lines and number is not None:
                self._keep(name, f"{number}.log", "".join(f"{line}\n" for line in lines))

    def _live(self, endpoint: str) -> dict[int, OnlineDeployment]:
        """The Azure deployments of an endpoint, by the revision that each runs."""
        found = ((revision_number(each.tags), each) for each in self._online.deployments(endpoint))
        return {number: each for number, each in found if number is not None}

    def _names(self, live: Mapping[int, OnlineDeployment]) -> Callable[[int], str]:
        """The name of each revision's deployment, which may be `live` under an earlier DEPLOYMENT_NAME."""
        chosen = self._workspace.deployment
        return lambda number: live[number].name if number in live else revision_plan.deployment_name(number, chosen)

    def _find(self, name: str) -> OnlineEndpoint | None:
        found = self._online.endpoints()
        return next((each for each in found if each.tags.get(revision_plan.NAME) == name), None)

    def _endpoint(self, name: str) -> OnlineEndpoint:
        found = self._find(name)
        if found is None:
            raise UnknownDeploymentError(name, self.names())
        return found

    def _folder(self, name: str) -> Path:
        if Path(name).name != name:
            raise UnknownDeploymentError(name, self.names())
        return self._root / name

    def _keep(self, name: str, file: str, text: str) -> None:
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / file, text)


def _record(endpoint: OnlineEndpoint) -> Record:
    try:
        found = revision_plan.record_in(endpoint.tags)
    except ValueError as error:
        raise _damaged(endpoint, str(error)) from error
    if found is None:
        raise _damaged(endpoint, "none")
    return found


def _replaced(endpoint: OnlineEndpoint, record: Record) -> Record:
    """The record that is stored. Raises OvertakenError where another one was stored since."""
    stored = _record(endpoint)
    check_next(stored, record)
    return stored


def _users_tags(endpoint: OnlineEndpoint) -> Mapping[str, str]:
    return {name: value for name, value in endpoint.tags.items() if not name.startswith("winnow.")}


def _replicas(deployment: OnlineDeployment) -> tuple[ReplicaObserved, ...]:
    """A deployment's instances; none of one that is not winnow's. Azure tells the state of all of them together."""
    number = revision_number(deployment.tags)
    if number is None or deployment.state == DELETING:
        return ()
    is_ready = deployment.state == SUCCEEDED
    failure = (deployment.error or deployment.state) if deployment.state in ENDED_BADLY else ""
    waiting = "" if is_ready or failure else f"Azure's state is {deployment.state}"
    return tuple(
        ReplicaObserved(f"{deployment.name}/{index}", number, is_ready, failure, waiting)
        for index in range(deployment.instances)
    )


def _damaged(endpoint: OnlineEndpoint, found: str) -> InputError:
    return InputError(
        f"endpoint '{endpoint.name}'",
        expected=f"winnow's record in its tags `{revision_plan.RECORD}.*`",
        found=found,
        remedy="They were changed by hand: delete the endpoint, and deploy again.",
    )
