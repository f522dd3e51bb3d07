"""Reads what a Docker engine has of a deployment, and which of it is ready. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.platforms.api_key import API_KEY
from winnow.platforms.docker import revision_plan, traefik
from winnow.platforms.docker.revision_plan import PROXY, REPLICA, ROUTER
from winnow.platforms.held_file import text_of
from winnow.platforms.labels import DEPLOYMENT, FOLDER, REVISION, REVISION_JSON, ROLE, SERIAL
from winnow.platforms.readiness import READY_PATH
from winnow.platforms.sweep import CONTAINER_PYTHON
from winnow.routing import Record, ReplicaObserved, Revision, revision_of

if TYPE_CHECKING:
    from docker.models.containers import Container
    from docker.models.networks import Network

    from winnow.platforms.docker.client import Engine

PROBE_S = 1.0
PROBE = f"""
import socket, sys, threading
def ask(address):
    try:
        with socket.create_connection((address, {traefik.SERVER_PORT}), {PROBE_S}) as connection:
            connection.sendall(b"GET {READY_PATH} HTTP/1.0\\r\\n\\r\\n")
            if b" 200 " in connection.recv(32):
                print(address, flush=True)
    except OSError:
        pass
asked = [threading.Thread(target=ask, args=[each], daemon=True) for each in sys.argv[1:]]
[each.start() for each in asked]
[each.join({PROBE_S}) for each in asked]
"""
"""A program that runs in a container of the deployment, whose replicas publish no port: print those that are ready."""

FEWEST_RESTARTS = 3
"""A replica that the engine has restarted so often, and that is not ready, will not become ready."""


@dataclass(frozen=True)
class EngineDeployment:
    """What an engine has of a deployment, and the text of its route file, which is empty where that is lost."""

    name: str
    folder: Path
    network: Network | None
    containers: tuple[Container, ...]
    text: str = ""

    @cached_property
    def record(self) -> Record:
        """The record; where the route file is lost, the revisions that replicas name, and a route to none.

        Raises ValueError where the route file is not one of this version's.
        """
        if self.text:
            return traefik.record_in(self.text)
        found = {each.number: each for each in map(_revision, self.replicas)}
        return Record(self.name, revisions=tuple(found[number] for number in sorted(found)))

    @property
    def routes(self) -> Path:
        return self.folder / "routes"

    @property
    def logs(self) -> Path:
        """The folder with the ends of logs of containers that are gone."""
        return self.folder / "logs"

    @property
    def is_previous(self) -> bool:
        """Whether an earlier version of winnow made it."""
        is_labelled = self.network is None or FOLDER in labels_of(self.network)
        return not is_labelled or any(REVISION not in each.labels for each in self.of_role(REPLICA))

    @property
    def proxies(self) -> tuple[Container, ...]:
        """Its entry. After an interrupted change there are two; one that runs is the first."""
        return tuple(sorted(self.of_role(PROXY), key=lambda each: (not is_running(each), str(each.name))))

    @property
    def replicas(self) -> tuple[Container, ...]:
        """Those of all revisions, in the order of their numbers, whether they run or not."""
        found = (each for each in self.of_role(REPLICA) if REVISION in each.labels)
        return tuple(sorted(found, key=lambda each: (number_of(each), _index(each))))

    @property
    def routers(self) -> tuple[Container, ...]:
        return tuple(sorted(self.of_role(ROUTER), key=lambda each: (serial_of(each), _index(each))))

    @property
    def current_routers(self) -> tuple[Container, ...]:
        route = self.record.route
        return tuple(each for each in self.routers if route.needs_routers and serial_of(each) == route.serial)

    def of_role(self, role: str) -> tuple[Container, ...]:
        return tuple(each for each in self.containers if each.labels.get(ROLE) == role)

    def of(self, number: int) -> tuple[Container, ...]:
        return tuple(each for each in self.replicas if number_of(each) == number)

    def hosts(self) -> dict[int, tuple[str, ...]]:
        """Host names of the replicas that are not over, by the number of their revision."""
        numbers = {number_of(each) for each in self.replicas}
        return {
            number: tuple(host_of(each) for each in self.of(number) if is_alive(each)) for number in sorted(numbers)
        }

    def key_of(self, revision: Revision) -> str | None:
        """The API key that a revision's replicas ask for, as a container or a file has it; None where it is lost."""
        for each in self.replicas:
            if _revision(each).settings.key == revision.settings.key and (key := variable(each, API_KEY)):
                return key
        try:
            return (self.folder / "keys" / revision.settings.key).read_text(encoding="utf-8")
        except OSError:
            return None

    def ready(self, containers: Sequence[Container]) -> frozenset[str]:
        """Names of the containers that take requests. One that runs asks all, each at its address."""
        import docker

        running, network = [each for each in containers if is_running(each)], revision_plan.network_name(self.name)
        addresses = {_address(each, network): str(each.name) for each in running}
        for each in running:
            try:
                printed = run_in(each, PROBE, *sorted(addresses))
            except docker.errors.APIError:  # it has ended since
                continue
            if printed is not None:
                return frozenset(addresses[line] for line in printed.split() if line in addresses)
        return frozenset()


def find(engine: Engine, name: str, folder: Path) -> EngineDeployment | None:
    """What the engine has of a deployment; None where it has nothing.

    Args:
        folder: where the deployment's files are where the engine does not say.

    Raises:
        InputError: the network's name is taken by another.
    """
    wanted = revision_plan.network_name(name)
    network = next((each for each in engine.networks.list(names=[wanted]) if each.name == wanted), None)
    if network is not None and labels_of(network).get(DEPLOYMENT) != name:
        raise taken("network", wanted)
    containers = tuple(_labelled(engine, f"{DEPLOYMENT}={name}"))
    if network is None and not containers:
        return None
    given = labels_of(network).get(FOLDER) if network is not None else None
    place = Path(given) if given is not None else folder
    return EngineDeployment(name, place, network, containers, text_of(place / "routes" / traefik.FILE))


def checked(found: EngineDeployment) -> EngineDeployment:
    """The same deployment. Raises InputError where an earlier version made it, or its route file cannot be read."""
    if found.is_previous:
        raise InputError(
            f"deployment '{found.name}'",
            expected="one that this version of winnow has made",
            found="one of an earlier version",
            remedy=f"Remove it with `{next_command('prod-remove', platform='docker', name=found.name)}`, and deploy "
            "again. It serves until then.",
        )
    try:
        found.record  # noqa: B018
    except ValueError as error:
        raise InputError(
            str(found.routes / traefik.FILE),
            expected="a route file as this version writes it",
            found=str(error),
            remedy="Remove it, and deploy again.",
        ) from error
    return found


def names(engine: Engine) -> set[str]:
    networks = engine.networks.list(filters={"label": DEPLOYMENT})
    return {labels_of(each)[DEPLOYMENT] for each in networks} | {
        each.labels[DEPLOYMENT] for each in _labelled(engine, DEPLOYMENT)
    }


def images_of(engine: Engine) -> set[str]:
    """The images of all deployments' revisions, also of those without replicas."""
    found: set[str] = set()
    for name in names(engine):
        deployment = find(engine, name, Path())
        if deployment is not None and not deployment.is_previous and deployment.text:
            found.update(each.release.image for each in checked(deployment).record.revisions)
    return found


def run_in(container: Container, program: str, *arguments: str) -> str | None:
    """What a Python program prints in a running container; None where it failed, or was ended with the container."""
    status, output = container.exec_run([CONTAINER_PYTHON, "-IS", "-c", program, *arguments])
    return output.decode() if status == 0 and isinstance(output, bytes) else None


def observed(container: Container, *, is_ready: bool) -> ReplicaObserved | None:
    """A replica or router as it is observed; None where it was never started, or is being removed."""
    state = container.attrs["State"]
    if state["Status"] in ("created", "removing"):
        return None
    failure, waiting = "", ""
    if state["Status"] in ("exited", "dead"):
        failure = end_of(container)
    elif state["Status"] == "restarting":
        waiting = f"it is started again after it ended (exit code {state['ExitCode']})"
        if container.attrs["RestartCount"] >= FEWEST_RESTARTS:
            failure = f"ended {container.attrs['RestartCount']} times (exit code {state['ExitCode']})"
    elif not is_ready:
        waiting = "it runs, and is not ready yet"
    number = number_of(container) if REVISION in container.labels else 0
    return ReplicaObserved(str(container.name), number, is_ready, failure, waiting)


def end_of(container: Container) -> str:
    """How a container ended, as a clause."""
    state = container.attrs["State"]
    was_ready = container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    why = "was stopped" if was_ready else "ended before it was ready"
    if state["OOMKilled"]:
        why = "was stopped for using more memory than its limit"
    return f"{why} (exit code {state['ExitCode']})"


def is_running(container: Container) -> bool:
    return bool(container.attrs["State"]["Running"]) and not container.attrs["State"]["Restarting"]


def is_alive(container: Container) -> bool:
    """Whether it was started and is not over: it runs, or the engine starts it again."""
    return container.attrs["State"]["Status"] in ("running", "restarting", "paused")


def number_of(container: Container) -> int:
    return int(container.labels[REVISION])


def serial_of(container: Container) -> int:
    return int(container.labels[SERIAL])


def host_of(container: Container) -> str:
    """Its host name on the deployment's network."""
    return str(container.attrs["Config"]["Hostname"])


def variable(container: Container, name: str) -> str:
    """The value of a variable of its environment; empty where it is not set."""
    variables = (each.partition("=") for each in container.attrs["Config"]["Env"] or ())
    return next((value for key, _, value in variables if key == name), "")


def labels_of(network: Network) -> dict[str, str]:
    return network.attrs.get("Labels") or {}


def log(container: Container, lines: int) -> list[str]:
    text: bytes = container.logs(tail=lines)
    return text.decode(errors="replace").splitlines()


def end_of_log(containers: Iterable[Container], lines: int) -> str:
    """The last lines of the log of a container, or of those of one service, for a message."""
    return "The end of its log:\n" + "\n".join(f"    {line}" for each in containers for line in log(each, lines))


def taken(kind: str, name: str) -> InputError:
    """The error for a name that something else has taken."""
    return InputError(
        f"{kind} '{name}'",
        expected="a name that is free, or a deployment of winnow's",
        found=f"a {kind} that was not made by winnow",
        remedy=f"Remove or rename it, or serve under another name with {next_flag('name')}.",
    )


def _labelled(engine: Engine, label: str) -> Iterable[Container]:
    return engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)


def _revision(container: Container) -> Revision:
    return revision_of(container.labels[REVISION_JSON])


def _index(container: Container) -> int:
    return int(str(container.name).rpartition("-")[2])


def _address(container: Container, network: str) -> str:
    return str(container.attrs["NetworkSettings"]["Networks"].get(network, {}).get("IPAddress", ""))
