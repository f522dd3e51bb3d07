"""Serves revisions on a Kubernetes cluster: a Deployment of pods for each, behind one Service.

All requests move by one patch of that Service, which changes its selector and the record in its annotation.
`revision_plan` makes the objects, `cluster_deployment` reads what a cluster has.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import functools
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.config.next_command import next_flag
from winnow.platforms import labels
from winnow.platforms.api_key import API_KEY
from winnow.platforms.deployer import Endpoint, ManualAccess, OvertakenError, UnknownDeploymentError
from winnow.platforms.kubernetes import cluster_deployment as on_cluster
from winnow.platforms.kubernetes import driver_job, forward, kinds, lease, revision_plan
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.cluster_deployment import ClusterDeployment
from winnow.platforms.kubernetes.connection import connect
from winnow.platforms.kubernetes.difference import difference
from winnow.platforms.kubernetes.forward import Forward, is_ready
from winnow.platforms.kubernetes.kinds import Manifest, annotations_on, has_labels, kind_of, labels_on, name_of
from winnow.platforms.kubernetes.manifests import load, merged
from winnow.platforms.kubernetes.permissions import applying, check, verbs
from winnow.platforms.kubernetes.pod_request import ask
from winnow.platforms.kubernetes.prune import apply_all, orphans
from winnow.platforms.kubernetes.refusals import NOT_NOW, SILENT_S, ConflictError
from winnow.platforms.kubernetes.revision_plan import (
    KINDS,
    MANAGED_BY,
    RECORD,
    labels_of,
    labels_of_routers,
    object_name,
    revision_in,
)
from winnow.platforms.readiness import is_answering, is_known
from winnow.routing import Observation, Record, Revision, RouterReport, to_json

READ_PERMISSIONS = (
    *verbs("get list", *KINDS),
    *verbs("list", kinds.POD, kinds.EVENT),
    *verbs("get", kinds.POD, subresource="log"),
)
PERMISSIONS = (
    *READ_PERMISSIONS,
    *applying(*KINDS),
    *verbs("delete", kinds.POD, *KINDS),
    *verbs("patch", kinds.DEPLOYMENT, subresource="scale"),
    *verbs("list", kinds.ENDPOINT_SLICE),
    *lease.PERMISSIONS,
)
CANARY_PERMISSIONS = forward.PERMISSIONS
"""What reports of routers take besides."""
GATEWAY_PERMISSIONS = (*applying(kinds.HTTP_ROUTE), *verbs("get delete", kinds.HTTP_ROUTE))
"""What a Gateway takes besides."""

INGRESS_URL = "WINNOW_INGRESS_URL"
ROUTERS_S, MOVED_S, GONE_S = 120.0, 30.0, 10.0
"""How long routers may take to become ready, the entry's endpoints to follow, and pods to be told to end."""
POLL_S = 0.3
ANSWERS_S = 15.0
FORWARDED_PORT = 8080
SHOWN_LINES, KEPT_LINES, KEPT_LOGS = 20, 1000, 40
NO_ADDRESS = (
    "The Ingress has no address that answers from here: no controller has taken it yet, or it names none. "
    f"Set {INGRESS_URL} to where its controller is reached from here."
)
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _insisting(method: _Method) -> _Method:
    """Repeat an idempotent method while an API that has answered before does not, as when its server restarts."""

    @functools.wraps(method)
    def insist(self: KubernetesDeployer, *arguments: Any, **named: Any) -> Any:
        return self.insist(lambda: method(self, *arguments, **named))

    return cast(_Method, insist)


@dataclasses.dataclass(frozen=True)
class _Held:
    """Implements `Held`."""

    held: lease.HeldLease
    deployer: KubernetesDeployer

    def renew(self) -> None:
        self.deployer.insist(self.held.renew)

    def keep(self, is_over: threading.Event) -> None:
        """Renew the lease until it is over, since a step may last longer than the lease."""
        while not is_over.wait(lease.RENEWED_EVERY_S):
            # The next step finds out what is wrong.
            with contextlib.suppress(OvertakenError, *NOT_NOW):
                self.held.confirm()


class KubernetesDeployer:
    """`Deployer` with pods.

    Args:
        home: folder for the logs of removed replicas.
        cluster: or what finds it when it is first needed; None: kubeconfig's.
        environment: names the cluster, and the address of its Ingress controller.
        folder: of the manifests.

    Every method raises InputError where the cluster refuses or none is configured, UnreachableError where it does not
    answer, and ClusterError where it fails.
    """

    def __init__(
        self,
        home: Path,
        *,
        cluster: Cluster | Callable[[], Cluster] | None = None,
        environment: Mapping[str, str] = os.environ,
        folder: Path = revision_plan.FOLDER,
        clock: Clock | None = None,
    ) -> None:
        self._home = home.absolute()
        self._given = cluster
        self._environment = environment
        self._folder = folder
        self._clock = clock if clock is not None else Clock()
        self._is_checked = self._is_heard = False

    @cached_property
    def cluster(self) -> Cluster:
        given = self._given if self._given is not None else connect(self._environment)
        return given() if callable(given) else given

    @cached_property
    def _files(self) -> tuple[Manifest, ...]:
        return load(self._folder)

    @property
    def place(self) -> str:
        return self.cluster.place

    @property
    def files(self) -> str:
        """See `Deployer.files`: the manifests, so that an edited one is rolled out."""
        return hashlib.sha256(msgspec.json.encode(self._files, order="sorted")).hexdigest()[:16]

    def insist(self, step: Callable[[], Any]) -> Any:
        """The result of an idempotent step; repeated for `SILENT_S` where the API has answered before."""
        deadline = self._clock.now() + (SILENT_S if self._is_heard else 0.0)
        while True:
            try:
                made = step()
            except UnreachableError:
                if self._clock.now() >= deadline:
                    raise
                self._clock.sleep(1.0)
            else:
                self._is_heard = True
                return made

    def check(self, *, is_read_only: bool = False) -> None:
        """See `Deployer.check`. Asks once; the error names every missing permission."""
        if is_read_only:
            check(self.cluster, READ_PERMISSIONS, "reading what is served on the cluster")
        elif not self._is_checked:
            check(self.cluster, PERMISSIONS, "serving on the cluster")
            self._is_checked = True

    def check_change(self, record: Record, number: int) -> None:
        """See `Deployer.check_change`. The cluster itself checks every object, by a dry run."""
        if record.entry.port is not None:
            raise InputError(
                "PORT",
                expected="none: requests arrive at the port of the Ingress controller",
                found=str(record.entry.port),
                remedy=f"Leave it out; {next_flag('host')} names the host that the Ingress listens to.",
            )
        self.check()
        wanted = revision_plan.all_objects(self._files, record, number)
        self._check_are_of(record.name, wanted)
        for other in self.cluster.find(kinds.INGRESS, MANAGED_BY).items:
            owner = on_cluster.mark(other, labels.DEPLOYMENT)
            if owner != record.name and any(_collide(each, other) for each in wanted if kind_of(each) == kinds.INGRESS):
                host = _host(other)
                raise InputError(
                    "serving.host",
                    expected=f"another host: requests to {host or 'any host'} go to the deployment '{owner}'",
                    found=f"'{host}'" if host else "none",
                    remedy=f"Name one in the experiment file, or with {next_flag('host')}.",
                )
        if record.route.needs_routers or (record.rollout is not None and record.rollout.strategy != "rolling"):
            check(self.cluster, CANARY_PERMISSIONS, "reading the reports of routers through the API server")
        if record.entry.gateway:
            check(self.cluster, GATEWAY_PERMISSIONS, "serving through a Gateway")
        if record.route.is_gateway and not record.entry.gateway:
            raise InputError(
                "rollout.traffic",
                expected="`router`, since no Gateway is named that could split by weight",
                found="`gateway`",
                remedy="Name a Gateway with `serving.gateway`, or leave `rollout.traffic` out.",
            )
        for each in wanted:
            self.cluster.apply(each, is_dry_run=True)

    def names(self) -> tuple[str, ...]:
        return on_cluster.names(self.cluster)

    @_insisting
    def observe(self, name: str) -> Observation:
        found = on_cluster.found(self.cluster, name)
        record = found.record
        replicas = [each for each in found.pods if on_cluster.revision_of(each)]
        deployments = self.cluster.find(kinds.DEPLOYMENT, labels_of(name)).items
        return Observation(
            record=record,
            replicas=(*on_cluster.observed(self.cluster, replicas), *on_cluster.uncreated(deployments, replicas)),
            routers=on_cluster.observed(self.cluster, found.routers) if record.route.needs_routers else (),
            entry_serial=found.entry_serial,
            wish=found.wish,
            url=self._url(record) if record.serving is not None else "",
        )

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[_Held]:
        """See `Deployer.held`. A dead process's lease expires."""
        what = f"deployment '{name}'"
        with lease.held(self.cluster, object_name(name), labels_of(name), what, self._clock) as held:
            kept, is_over = _Held(held, self), threading.Event()
            threading.Thread(target=kept.keep, args=(is_over,), name="winnow-lease", daemon=True).start()
            try:
                yield kept
            finally:
                is_over.set()

    @_insisting
    def driver(self, name: str) -> str:
        holder = lease.holder(self.cluster, object_name(name))
        if holder is None:
            return ""
        host, process = holder
        if not host.startswith(object_name(name, driver_job.DRIVER)):
            return f"process {process} on {host}"
        return f"pod {host}, whose log `{driver_job.log_command(self.cluster, name)}` shows"

    @_insisting
    def write(self, record: Record) -> None:
        found = on_cluster.find(self.cluster, record.name, has_pods=False)
        if found is None:
            self.cluster.apply(self._entry(record))
        else:
            self._store(found, record, moves=False)

    @_insisting
    def wish(self, name: str, wish: str) -> None:
        on_cluster.found(self.cluster, name, has_pods=False)
        self.cluster.merge(
            kinds.SERVICE, object_name(name), {"metadata": {"annotations": {revision_plan.WISH: wish or None}}}
        )

    @_insisting
    def key(self, record: Record) -> str | None:
        serving = record.serving
        return self._key(record.name, serving) if serving is not None and serving.settings.key else None

    @_insisting
    def start(self, record: Record, number: int, key: str | None) -> None:
        """See `Deployer.start`. What exists keeps its pod template: a revision never changes."""
        revision, found = revision_in(record, number), on_cluster.found(self.cluster, record.name)
        for pod in found.of(number):
            if on_cluster.failure(pod):
                self.keep_log(record.name, pod)
                self.cluster.delete(kinds.POD, name_of(pod), uid=pod["metadata"]["uid"])
        if revision.settings.key:
            value = key if key is not None else self._key(record.name, revision)
            self.cluster.apply(revision_plan.key_secret(record.name, revision.settings.key, value))
        for each in revision_plan.shared(self._files, record):
            if kind_of(each) not in (kinds.INGRESS, kinds.HTTP_ROUTE):
                self.cluster.apply(each)
        self._bring(record, revision, revision.scale.replicas)

    @_insisting
    def scale(self, record: Record, number: int, replicas: int) -> None:
        revision, name = revision_in(record, number), record.name
        live = self.cluster.get(kinds.DEPLOYMENT, object_name(name, str(number)))
        if live is None and not replicas:
            return
        if live is None or int(live["spec"].get("replicas", 1)) < replicas:
            self._bring(record, revision, replicas)
            return
        if not replicas:
            for pod in on_cluster.found(self.cluster, name).of(number):
                self.keep_log(name, pod)
        self._set_replicas(name, number, replicas)
        self._await(lambda: self._has_fewer(name, number, replicas), revision_plan.grace_s(revision.settings))
        self._tidy(record)

    @_insisting
    def route(self, record: Record) -> None:
        found = on_cluster.found(self.cluster, record.name)
        check_next(found.record, record)
        stable = revision_in(record, record.route.stable)
        if not any(map(is_ready, found.of(stable.number))):
            raise WinnowError(f"deployment '{record.name}': no replica of revision {stable.number} is ready.")
        self._start_routers(record)
        wanted = revision_plan.shared(self._files, record)
        is_moved = found.entry_serial != record.route.serial
        self._store(found, record, moves=True)
        # The Ingress comes last: it leads to an entry that answers.
        for each in wanted:
            self.cluster.apply(each)
        if not self._await(lambda: self._has_moved(record), MOVED_S):
            raise WinnowError(
                f"deployment '{record.name}': the endpoints of the Service '{object_name(record.name)}' did not "
                f"follow its selector within {MOVED_S:g} s."
            )
        if is_moved:
            self._clock.sleep(revision_plan.settle_s(stable.settings))
        if found.entry_serial is None or found.record.entry != record.entry:
            url = self._url(record)  # it may not be reached from here, which is no error
            self._await(lambda: not is_known(url) or is_answering(url), ANSWERS_S)
        self._tidy(record, wanted)

    @_insisting
    def renew(self, record: Record, *, is_read_only: bool = False) -> tuple[RouterReport, ...]:
        if not record.route.needs_routers:
            return ()
        token = self._secret(object_name(record.name, f"router-{record.route.serial}"), revision_plan.ROUTER_TOKEN)
        pods = forward.ready_pods(self.cluster, _routers(record))
        if token is None or not pods:
            return ()

        path = "/report" if is_read_only else "/renew"

        def reported(pod: Manifest) -> RouterReport | None:
            answer = ask(self.cluster, name_of(pod), revision_plan.CONTROL_PORT, "POST", path, token)
            try:
                return None if answer is None else msgspec.json.decode(answer, type=RouterReport)
            except ValueError:
                return None

        with ThreadPoolExecutor(max_workers=8) as pool:
            return tuple(each for each in pool.map(reported, pods) if each is not None)

    def metrics(self, observed: Observation) -> dict[str, str]:
        pods = [each.identifier for each in observed.replicas if each.is_ready]
        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = pool.map(lambda pod: ask(self.cluster, pod, revision_plan.SERVER_PORT, "GET", "/metrics"), pods)
            return {pod: answer.decode() for pod, answer in zip(pods, answers, strict=True) if answer is not None}

    @_insisting
    def retire(self, record: Record, number: int) -> None:
        name = record.name
        self._keep_logs(name, number)
        self._tidy(record)
        self._await_gone(name, number)

    @_insisting
    def remove(self, name: str) -> bool:
        """See `Deployer.remove`. Images and the ends of logs stay. Removes deployments of earlier versions too."""
        if not orphans(self.cluster, (), labels_of(name), KINDS):
            return False
        pods = self.cluster.find(kinds.POD, labels_of(name)).items
        for pod in pods:
            self.keep_log(name, pod)
        if self._gateway(name):
            self.cluster.delete(kinds.HTTP_ROUTE, object_name(name))
        apply_all(self.cluster, (), labels_of(name), KINDS)
        given = [float(each["spec"].get("terminationGracePeriodSeconds", 30)) for each in pods]
        self._await(lambda: not self.cluster.find(kinds.POD, labels_of(name)).items, max(given, default=0.0) + GONE_S)
        return True

    def render(self, record: Record, number: int) -> str:
        return revision_plan.render(self._files, record, number)

    def difference(self, record: Record, number: int) -> str:
        """See `Deployer.difference`: by a dry run. A revision that exists changes in its scale alone."""
        revision, name = revision_in(record, number), record.name
        key = self._secret(revision_plan.key_name(name, revision.settings.key), API_KEY) or ""
        entry = self.cluster.get(kinds.SERVICE, object_name(name))
        stored = annotations_on(entry)
        # Every step changes the record, so it is not compared.
        kept = {"metadata": {"annotations": {RECORD: stored[RECORD]}}} if RECORD in stored else {}
        wanted = []
        for each in revision_plan.all_objects(self._files, record, number, key):
            own = kind_of(each), name_of(each)
            if own == (kinds.SERVICE, object_name(name)):
                wanted.append(merged(each, kept))
            elif own[0] != kinds.DEPLOYMENT or self.cluster.get(*own) is None:
                wanted.append(each)
        return difference(self.cluster, wanted, labels_of(name), ())

    @contextlib.contextmanager
    def endpoint(self, observed: Observation) -> Iterator[Endpoint]:
        """See `Deployer.endpoint`: where the Ingress has no address, a forwarded port."""
        manual = self.manual_access(observed)
        if manual is None:
            yield Endpoint(observed.url)
            return
        check(self.cluster, forward.PERMISSIONS, "asking replicas through the API server")
        record = observed.record
        chosen = {**MANAGED_BY, **revision_plan.selector(record)}
        with contextlib.closing(Forward(self.cluster, chosen, revision_plan.SERVER_PORT)) as way:
            told = dataclasses.replace(manual, reason=f"{manual.reason} This goes through the cluster's API server.")
            yield Endpoint(f"http://127.0.0.1:{way.port}", told, lambda: way.diagnosis)

    def manual_access(self, observed: Observation) -> ManualAccess | None:
        """See `Deployer.manual_access`: where neither the Ingress has an address nor the Service answers."""
        name = object_name(observed.record.name)
        if self._environment.get(INGRESS_URL) or observed.record.entry.gateway:
            return None
        if revision_plan.address_of(self.cluster.get(kinds.INGRESS, name)) or is_answering(observed.url):
            return None
        command = f"kubectl port-forward --namespace {self.cluster.namespace} service/{name} {FORWARDED_PORT}:80"
        return ManualAccess(NO_ADDRESS, command, f"http://127.0.0.1:{FORWARDED_PORT}")

    def logs_hint(self, observed: Observation) -> str:
        chosen = f"{labels.DEPLOYMENT}={observed.record.name}"
        return f"kubectl logs --namespace {self.cluster.namespace} --selector {chosen} --prefix"

    def address_hint(self, observed: Observation) -> str:
        where = f"--namespace {self.cluster.namespace} {object_name(observed.record.name)}"
        return (
            f"Check the Ingress's class (`serving.ingress_class`) and host ({next_flag('host')}, `serving.host`): "
            f"`kubectl describe ingress {where}`. {INGRESS_URL} names the address of its controller from here."
        )

    def images_hint(self, name: str) -> str:
        return "Its images stay where they were pushed or loaded."

    @_insisting
    def logs(self, name: str, number: int | None = None, lines: int = SHOWN_LINES) -> list[str]:
        pods = self._replicas(name, number)
        for pod in reversed(pods):
            if said := on_cluster.log(self.cluster, pod, lines):
                return said
        kept = self._kept_logs(name, number)
        if not kept and not pods and not self.cluster.get(kinds.SERVICE, object_name(name)):
            raise UnknownDeploymentError(name, self.names())
        return kept[-1].read_text(encoding="utf-8").splitlines()[-lines:] if kept else []

    @_insisting
    def log_place(self, name: str, number: int) -> str:
        if pods := self._replicas(name, number):
            return f"kubectl logs --namespace {self.cluster.namespace} {name_of(pods[-1])}"
        kept = self._kept_logs(name, number)
        return str(kept[-1] if kept else self._logs(name))

    def _replicas(self, name: str, number: int | None) -> list[Manifest]:
        """Pods of a revision or of all, also those that have ended, the oldest first."""
        found = self.cluster.find(kinds.POD, on_cluster.selected(name, number)).items
        replicas = [each for each in found if on_cluster.mark(each, labels.ROLE) != revision_plan.ROUTER]
        return sorted(replicas, key=lambda each: str(each["metadata"]["creationTimestamp"]))

    def _url(self, record: Record) -> str:
        address = self._environment.get(INGRESS_URL, "")
        ingress = None
        if not address and not record.entry.gateway:
            ingress = self.cluster.get(kinds.INGRESS, object_name(record.name))
        return revision_plan.url_of(record.name, self.cluster.namespace, record.entry, ingress, address)

    def _gateway(self, name: str) -> str:
        with contextlib.suppress(InputError):
            found = on_cluster.find(self.cluster, name, has_pods=False)
            return "" if found is None else found.record.entry.gateway
        return ""

    def _secret(self, own: str, field: str) -> str | None:
        """A value in a Secret; None where it is missing."""
        live = self.cluster.get(kinds.SECRET, own)
        try:
            return base64.b64decode(((live or {}).get("data") or {})[field]).decode()
        except (KeyError, binascii.Error, UnicodeDecodeError):
            return None

    def _key(self, name: str, revision: Revision) -> str:
        own = revision_plan.key_name(name, revision.settings.key)
        key = self._secret(own, API_KEY)
        if not key:
            raise InputError(
                f"API key of deployment '{name}'",
                expected=f"the key that its replicas ask for, in the Secret '{own}'",
                found="none",
                remedy="Set WINNOW_API_KEY to a key, or to the empty string to serve without one.",
            )
        return key

    def _store(self, found: ClusterDeployment, record: Record, *, moves: bool) -> None:
        """Store a record, unless another process has since it was read; a wish is no reason.

        Args:
            moves: move the entry in the same step.

        Raises:
            OvertakenError: another process has.
        """
        while True:
            check_next(found.record, record)
            metadata = {"resourceVersion": found.entry["metadata"]["resourceVersion"]}
            try:
                if moves:
                    self.cluster.apply(merged(self._entry(record), {"metadata": metadata}))
                elif (
                    self.cluster.merge(
                        kinds.SERVICE, object_name(record.name), {"metadata": {**metadata, **_note(record)}}
                    )
                    is None
                ):
                    raise OvertakenError(record.name)
                return
            except ConflictError:
                found = on_cluster.found(self.cluster, record.name, has_pods=False)

    def _entry(self, record: Record) -> Manifest:
        return merged(revision_plan.entry_service(self._files, record), {"metadata": _note(record)})

    def _bring(self, record: Record, revision: Revision, count: int) -> None:
        """Give a revision at least so many replicas, and its autoscaler the bounds of the record."""
        name, number = record.name, revision.number
        live = self.cluster.get(kinds.DEPLOYMENT, object_name(name, str(number)))
        for each in revision_plan.revision_objects(self._files, name, revision):
            if kind_of(each) != kinds.DEPLOYMENT:
                self.cluster.apply(each)
            elif live is None:
                live = self.cluster.apply(each)
        if live is not None and int(live["spec"].get("replicas", 1)) < count:
            self._set_replicas(name, number, count)

    def _set_replicas(self, name: str, number: int, count: int) -> None:
        own = object_name(name, str(number))
        self.cluster.merge(kinds.DEPLOYMENT, own, {"spec": {"replicas": count}}, subresource="scale")

    def _await(self, is_reached: Callable[[], bool], within_s: float) -> bool:
        """Whether something is reached in time."""
        deadline = self._clock.now() + within_s
        while not is_reached():
            if self._clock.now() >= deadline:
                return False
            self._clock.sleep(POLL_S)
        return True

    def _has_fewer(self, name: str, number: int, count: int) -> bool:
        """Whether superfluous pods have ended; the logs of those that end are kept."""
        pods = self._replicas(name, number)
        if len(pods) <= count:
            return True
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"]:
                self.keep_log(name, pod)
        return False

    def _has_moved(self, record: Record) -> bool:
        """Whether the entry's endpoints are pods of the route alone."""
        chosen = {**MANAGED_BY, **revision_plan.selector(record)}
        wanted = {name_of(each) for each in self.cluster.find(kinds.POD, chosen).items}
        given = on_cluster.endpoints(self.cluster, record.name)
        return bool(given) and given <= wanted

    def _start_routers(self, record: Record) -> None:
        """Start the routers of a route, and wait until they are ready. Raises WinnowError, and leaves none."""
        if not record.route.needs_routers:
            return
        own, marks = object_name(record.name, f"router-{record.route.serial}"), _routers(record)
        token = self._secret(own, revision_plan.ROUTER_TOKEN) or secrets.token_urlsafe(32)
        live = self.cluster.get(kinds.DEPLOYMENT, own)
        is_new = live is None or not has_labels(live, marks)
        if is_new:
            made = revision_plan.router_objects(self._files, record, token)
            self._check_are_of(record.name, made)
            for each in made:
                self.cluster.apply(each)
        try:
            self._await_routers(record)
        except BaseException:
            if is_new:
                with contextlib.suppress(*NOT_NOW):
                    apply_all(self.cluster, (), marks, KINDS)
            raise

    def _check_are_of(self, name: str, wanted: Sequence[Manifest]) -> None:
        """Raises InputError where an object to be applied is there and of another owner, such as of `NAME-2`."""
        for each in wanted:
            if kind_of(each) in KINDS and (live := self.cluster.get(kind_of(each), name_of(each))) is not None:
                on_cluster.check_is_of(live, name)

    def _await_routers(self, record: Record) -> None:
        deadline = self._clock.now() + ROUTERS_S
        while True:
            living = on_cluster.living(self.cluster, record.name)
            pods = [each for each in living if has_labels(each, _routers(record))]
            late = [each for each in pods if not is_ready(each)]
            if len(pods) - len(late) >= record.router_replicas:
                return
            failed = [each for each in pods if on_cluster.failure(each)]
            if failed or self._clock.now() > deadline:
                break
            self._clock.sleep(POLL_S)
        if not (failed or late):
            created = f"{len(pods)} of {record.router_replicas} routers within {ROUTERS_S:g} s"
            raise WinnowError(f"deployment '{record.name}': the cluster has created {created}.")
        pod = (failed or late)[0]
        (seen,) = on_cluster.observed(self.cluster, [pod])
        why = seen.failure or seen.waiting or f"was not ready within {ROUTERS_S:g} s"
        lines = "\n".join(f"    {line}" for line in on_cluster.log(self.cluster, pod, SHOWN_LINES))
        raise WinnowError(f"router {name_of(pod)} did not become ready ({why}). The end of its log:\n{lines}")

    def _tidy(self, record: Record, wanted: Sequence[Manifest] | None = None) -> None:
        """Remove what the record does not need: revisions, keys, routers; with `wanted`, what files no longer list."""
        entry = kinds.SERVICE.manifest(object_name(record.name), {})
        for each in orphans(self.cluster, (entry, *(wanted or ())), labels_of(record.name), KINDS):
            is_shared = not {labels.REVISION, labels.ROLE, revision_plan.KEY} & labels_on(each).keys()
            is_listed = wanted is None or not is_shared
            if not (revision_plan.is_kept(each, record) and is_listed):
                with contextlib.suppress(ConflictError):  # a newer object of the same name
                    self.cluster.delete(kind_of(each), name_of(each), uid=each["metadata"]["uid"])

    def _logs(self, name: str) -> Path:
        """The folder with the logs of replicas that were removed from this home."""
        return self._home / "deployments" / "kubernetes" / self.cluster.namespace / name / "logs"

    def _kept_logs(self, name: str, number: int | None) -> list[Path]:
        """The logs of replicas that are gone, oldest first."""
        wanted = "*" if number is None else f"{object_name(name, str(number))}-*"
        return sorted(self._logs(name).glob(f"{wanted}.log"), key=lambda path: path.stat().st_mtime_ns)

    def _await_gone(self, name: str, number: int | None) -> None:
        """Return when pods of a revision, or all, were told to end, or the cluster had time for it."""
        self._await(lambda: not self._living(name, number), GONE_S)

    def _living(self, name: str, number: int | None) -> list[Manifest]:
        pods = on_cluster.living(self.cluster, name)
        return [each for each in pods if number in (None, on_cluster.revision_of(each))]

    def _keep_logs(self, name: str, number: int | None) -> None:
        for pod in self._living(name, number):
            self.keep_log(name, pod)

    def keep_log(self, name: str, pod: Manifest) -> None:
        """Keep the end of a pod's log as far as it can be read; a full disk must not stop a change."""
        folder = self._logs(name)
        with contextlib.suppress(OSError, *NOT_NOW):
            if said := on_cluster.log(self.cluster, pod, KEPT_LINES):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{name_of(pod)}.log").write_text("\n".join([*said, ""]), encoding="utf-8")
            for path in self._kept_logs(name, None)[:-KEPT_LOGS]:
                path.unlink(missing_ok=True)


def _note(record: Record) -> Manifest:
    return {"annotations": {RECORD: to_json(record)}}


def _routers(record: Record) -> dict[str, str]:
    return labels_of_routers(record.name, record.route.serial)


def check_next(stored: Record | None, record: Record) -> None:
    """Raises OvertakenError where a record does not follow the stored one."""
    if stored is not None and record != stored and record.serial != stored.serial + 1:
        raise OvertakenError(record.name)


def _host(ingress: Manifest) -> str:
    return next((str(rule.get("host", "")) for rule in ingress["spec"].get("rules") or ()), "")


def _collide(one: Manifest, other: Manifest) -> bool:
    """Whether two Ingresses would take the same requests. One without a class may have the class of the other."""
    classes = {each["spec"]["ingressClassName"] for each in (one, other) if each["spec"].get("ingressClassName")}
    return _host(one) == _host(other) and len(classes) < 2
