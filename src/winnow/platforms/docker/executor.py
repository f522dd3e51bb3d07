"""Worker groups as containers of a Docker engine, this machine's or another's (`DOCKER_HOST`).

`group_plan` decides what is sent and `group_state` what an answer means; this module only acts. Groups are found by
label, so any process finds and ends them. The engine allows one container per name: two processes that start the same
group at once make one. Nothing of this machine is mounted unless asked for, so the engine may be another machine's.
Logs of removed containers are kept here (`log_archive`).
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.platforms.container import ContainerSpec
from winnow.platforms.docker.client import EngineError, asking, connect, ignoring
from winnow.platforms.docker.group_log import lines
from winnow.platforms.docker.group_plan import (
    NODES,
    DockerWorkers,
    GroupRequest,
    container_body,
    container_labels,
    container_name,
    hostname,
    is_folder,
    plan_group,
    render,
)
from winnow.platforms.docker.group_state import Node, group_status
from winnow.platforms.executor import Executor, GroupSpec, GroupStatus
from winnow.platforms.labels import GROUP, NODE, STUDY
from winnow.platforms.log_archive import Archive
from winnow.platforms.log_streams import merged

if TYPE_CHECKING:
    import docker

_TRIES, _PAUSE_S = 50, 0.2
_FOLLOW_S = 0.5


class _AnotherStartsItError(Exception):
    """Another process is starting this group."""


class DockerExecutor(Executor):
    """Implements `Executor` on a Docker engine. Making it raises InputError where no engine answers.

    Args:
        home: winnow's folder, for logs that outlive their containers.
        engine: None for the one that the `docker` command would talk to.
        start_within_s: how long another process may take to start the nodes of a group that it has begun.
    """

    def __init__(
        self,
        workers: DockerWorkers,
        home: Path,
        *,
        engine: docker.DockerClient | None = None,
        start_within_s: float = 30.0,
    ) -> None:
        self._workers = workers
        self._start_within_s = start_within_s
        self._archive = Archive(home, "container")
        # Declared as Any: half of the calls are not typed in the stubs.
        self._api: Any = (engine or connect()).api

    @property
    def place(self) -> str:
        return "on the Docker engine"

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        """The `docker` commands that would do the same, without passwords and secrets."""
        return [line for group in groups for line in render(plan_group(group, self._workers))]

    def start(self, group: GroupSpec) -> None:
        request = plan_group(group, self._workers)
        deadline = time.monotonic() + self._start_within_s
        with asking(f"worker {group.name} of study {group.study!r}"):
            while not _is_up(self._nodes(group.study, group.name)):
                self._check(group)
                with self._archive.locked(group.study, group.name), contextlib.suppress(_AnotherStartsItError):
                    self._bring_up(request, takes_over=time.monotonic() > deadline)
                    return
                time.sleep(_PAUSE_S)

    def groups(self, study: str | None = None) -> tuple[GroupStatus, ...]:
        """Groups that have containers, and groups of which only the logs are kept here."""
        with asking("the list of workers"):
            found: defaultdict[tuple[str, str], dict[int, Node]] = defaultdict(dict)
            for node in self._list(STUDY if study is None else f"{STUDY}={study}"):
                found[node.study, node.group][node.index] = node
        statuses = {key: group_status(nodes) for key, nodes in found.items()}
        for status in self._archive.statuses(study):
            statuses.setdefault((status.study, status.name), status)
        return tuple(statuses[key] for key in sorted(statuses))

    def status(self, study: str, name: str) -> GroupStatus:
        """What the engine says of the first node, or what is kept of a node that was removed."""
        with asking(f"worker {name} of study {study!r}"):
            nodes = self._nodes(study, name)
        return group_status(nodes) if nodes else self._archive.status(study, name)

    def log(self, study: str, name: str, *, follow: bool = False) -> Iterator[str]:
        """The kept logs of removed containers, then those of the present ones. Several nodes have a prefix each."""
        with asking(f"the log of worker {name} of study {study!r}"):
            nodes = self._nodes(study, name)
            if not nodes:
                self._archive.status(study, name)
            yield from self._archive.lines(study, name)
            seen: dict[str, str] = {}
            while nodes:
                is_last = not follow or group_status(nodes).state.is_over
                yield from merged([lines(self._api, nodes[index], seen, follow=not is_last) for index in sorted(nodes)])
                if is_last:
                    return
                # A stream ends with its process, which the engine or a supervisor may start again.
                time.sleep(_FOLLOW_S)
                nodes = self._nodes(study, name)

    def cancel(self, study: str, name: str, grace_s: float) -> None:
        """SIGTERM to all nodes at once, and SIGKILL to those that are still there after `grace_s`."""
        with asking(f"worker {name} of study {study!r}"):
            nodes = self._nodes(study, name)
            if not nodes:
                self._archive.status(study, name)
            alive = [node for node in nodes.values() if not node.is_over]
            with ThreadPoolExecutor(max_workers=max(1, len(alive))) as pool:
                list(pool.map(lambda node: self._stop(node, grace_s), alive))

    def clear(self, study: str) -> None:
        """Save the logs of groups that are over here, and remove their containers and networks."""
        with asking(f"what is left of study {study!r}"):
            for group in self.groups(study):
                if not group.state.is_over:
                    continue
                with self._archive.locked(study, group.name):
                    nodes = self._nodes(study, group.name)
                    if nodes and not group_status(nodes).state.is_over:
                        continue
                    for node in nodes.values():
                        self._retire(node)
                    for network in self._networks(study, group.name):
                        self._remove_network(network)

    # Reading

    def _list(self, *labels: str) -> list[Node]:
        listed = self._api.containers(all=True, filters={"label": list(labels)})
        return [node for node in map(self._node, listed) if node is not None]

    def _nodes(self, study: str, name: str) -> dict[int, Node]:
        return {node.index: node for node in self._list(f"{STUDY}={study}", f"{GROUP}={name}")}

    def _node(self, listed: Mapping[str, Any]) -> Node | None:
        """A container of the list; None where it was removed meanwhile, or is not a node."""
        labels, state, exit_code = listed["Labels"], listed["State"], None
        if not {STUDY, GROUP, NODE} <= labels.keys():
            return None
        if state in ("exited", "dead"):
            # The list has the exit code only inside a sentence.
            found = self._inspect(listed["Id"])
            if found is None:
                return None
            state, exit_code = found["State"]["Status"], found["State"]["ExitCode"]
        return Node(
            id=listed["Id"],
            name=listed["Names"][0].removeprefix("/") if listed["Names"] else listed["Id"],
            study=labels[STUDY],
            group=labels[GROUP],
            index=int(labels[NODE]),
            count=int(labels.get(NODES, "1")),
            state=state,
            exit_code=exit_code,
            created_at_ms=1000 * int(listed["Created"]),
        )

    def _inspect(self, name: str) -> Mapping[str, Any] | None:
        import docker.errors

        try:
            found: Mapping[str, Any] = self._api.inspect_container(name)
        except docker.errors.NotFound:
            return None
        return found

    # Starting

    def _check(self, group: GroupSpec) -> None:
        """Refuse what cannot work, before anything is made."""
        import docker.errors

        image, network = self._workers.image, self._workers.network
        needed = [("image", image, self._api.inspect_image, f"Make it: `{next_command('build-train')}`.")]
        if network is not None:
            remedy = f"Start what workers talk to: `{next_command('mlflow-init')}`."
            needed.append(("network", network, self._api.inspect_network, remedy))
        for name in (each.source for each in group.volumes if not is_folder(each)):  # Docker would make it, empty
            remedy = f"Make it and fill it: `docker volume create {name}`; or name a folder."
            needed.append(("volume", name, self._api.inspect_volume, remedy))
        for kind, name, inspect, remedy in needed:
            try:
                inspect(name)
            except docker.errors.NotFound as error:
                place, expected = f"the {kind} of the workers", f"the {kind} {name!r}"
                raise InputError(place, expected=expected, found="none", remedy=remedy) from error

    def _bring_up(self, request: GroupRequest, *, takes_over: bool) -> None:
        """Make and start what is not there.

        The process that makes the first node makes the rest: its name is then taken for every other process. If this
        one takes over, the process that made containers which never started is taken for dead.
        """
        first = request.nodes[0]
        nodes = self._nodes(first.study, first.group)
        self._remove_blocking(nodes, is_whole=request.network is None, takes_over=takes_over)
        with contextlib.ExitStack() as undo_network, contextlib.ExitStack() as undo_containers:
            ready = [self._create(first, nodes.get(0), undo_containers)]
            network = self._network(first, request.network, undo_network) if request.network is not None else None
            ready += [self._create(node, nodes.get(node.index), undo_containers) for node in request.nodes[1:]]
            for node, container_id in zip(request.nodes, ready, strict=True):
                if container_id is not None and network is not None:
                    self._join(node, container_id, network)
            for container_id in ready:
                if container_id is not None:
                    self._api.start(container_id)
            undo_containers.pop_all()
            undo_network.pop_all()

    def _remove_blocking(self, nodes: dict[int, Node], *, is_whole: bool, takes_over: bool) -> None:
        """Remove the containers that block new ones, also from `nodes`."""
        begun = [] if is_whole else [node for node in nodes.values() if node.state == "created"]
        if begun and not takes_over:
            raise _AnotherStartsItError
        # A world starts on all its nodes or on none: a lost node is replaced only while the first one runs.
        is_alive = 0 in nodes and not nodes[0].is_over and nodes[0] not in begun
        for index, node in list(nodes.items()):
            if not is_alive or node in begun or node.has_failed:
                self._retire(node)
                del nodes[index]

    def _create(self, node: ContainerSpec, known: Node | None, undo: contextlib.ExitStack) -> str | None:
        """The id of a container that still has to be started; None where it has been."""
        import docker.errors

        name, body = container_name(node), container_body(node, self._workers)
        if known is not None:
            return known.id if known.state == "created" else None
        for _ in range(_TRIES):
            try:
                container_id: str = self._api.create_container_from_config(body, name)["Id"]
            except docker.errors.APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
            else:
                undo.callback(self._remove, container_id)
                return container_id
            found = self._inspect(name)
            if found is not None:
                labels, wanted = found["Config"]["Labels"] or {}, container_labels(node)
                if any(labels.get(each) != wanted[each] for each in (STUDY, GROUP, NODE)):
                    raise _taken("container", name, "rm")
                if found["State"]["Status"] != "removing":
                    return _of_another(found["Id"], found["State"]["Status"], node)
            time.sleep(_PAUSE_S)
        raise EngineError(f"container {name}: expected the engine to remove it, found that it does not end.")

    def _network(self, first: ContainerSpec, name: str, undo: contextlib.ExitStack) -> str:
        """The id of a group's network, made where there is none."""
        import docker.errors

        found = self._networks(first.study, first.group)
        if found:
            return found[0]
        try:
            made: str = self._api.create_network(
                name, driver="bridge", internal=True, check_duplicate=True, labels=dict(first.labels)
            )["Id"]
        except docker.errors.APIError as error:
            if error.status_code == HTTPStatus.CONFLICT:
                raise _taken("network", name, "network rm") from error
            raise
        undo.callback(self._remove_network, made)
        return made

    def _networks(self, study: str, group: str) -> list[str]:
        found = self._api.networks(filters={"label": [f"{STUDY}={study}", f"{GROUP}={group}"]})
        return [network["Id"] for network in found]

    def _join(self, node: ContainerSpec, container_id: str, network: str) -> None:
        import docker.errors

        try:
            self._api.connect_container_to_network(container_id, network, aliases=[hostname(container_name(node))])
        except docker.errors.APIError:
            found = self._inspect(container_id)
            joined = found["NetworkSettings"]["Networks"].values() if found is not None else ()
            if network not in [each["NetworkID"] for each in joined]:
                raise

    # Ending

    def _stop(self, node: Node, grace_s: float) -> None:
        if node.state == "created":
            # It has no process to stop.
            self._retire(node)
            return
        with ignoring(HTTPStatus.NOT_FOUND):
            self._api.stop(node.id, timeout=math.ceil(grace_s))

    def _retire(self, node: Node) -> None:
        how = node.state if node.exit_code is None else f"{node.state} with {node.exit_code}"
        log = lines(self._api, node, {}, follow=False)
        self._archive.save(node.study, node.group, log, f"{node.name} {node.id[:12]} {how}")
        if node.index == 0:
            self._archive.end(group_status({0: node}))
        self._remove(node.id)

    def _remove(self, container_id: str) -> None:
        # By its id: a later container of this name is another one.
        with ignoring(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            self._api.remove_container(container_id, v=True, force=True)

    def _remove_network(self, network: str) -> None:
        with ignoring(HTTPStatus.NOT_FOUND):
            self._api.remove_network(network)


def _is_up(nodes: Mapping[int, Node]) -> bool:
    """Whether every node runs: none is missing, and none was made by another process and not started yet."""
    if not nodes or any(node.state == "created" for node in nodes.values()):
        return False
    status = group_status(nodes)
    return not status.state.is_over and not status.lacks_nodes


def _of_another(container_id: str, state: str, node: ContainerSpec) -> str | None:
    """The id of a container that another process has just made, to start it; None where that process has."""
    if state != "created":
        return None
    if node.nodes > 1:
        # It must be connected first, to a network that only one process may make: network names are not unique.
        raise _AnotherStartsItError
    return container_id


def _taken(kind: str, name: str, verb: str) -> InputError:
    return InputError(
        f"the {kind} {name!r}",
        expected="none, or one that belongs to this study",
        found="one of another owner",
        remedy=f"Remove it (`docker {verb} {name}`), or give the study another name.",
    )
