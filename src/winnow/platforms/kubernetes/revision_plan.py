"""The objects of a deployment on Kubernetes: values and pure functions only.

Deployment, Service, PodDisruptionBudget, HorizontalPodAutoscaler   `winnow-prod-NAME-N`: revision N
Service                        `winnow-prod-NAME`: the entry, whose selector moves; its annotation holds the record
Ingress or HTTPRoute, NetworkPolicy   `winnow-prod-NAME`
Secret                         `winnow-prod-NAME-key-FINGERPRINT`: an API key, while a revision asks for it
Deployment, Secret, NetworkPolicy   `winnow-prod-NAME-router-SERIAL`: the routers of one route
Lease                          `winnow-prod-NAME`, while a process changes it

They are the manifests in `k8s/prod`, with names, image and settings set by field path. Everything is found by label, so
a deployment is the same one from every terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from winnow.config.errors import InputError
from winnow.config.quantities import cpu_text, memory_text
from winnow.platforms import labels
from winnow.platforms.api_key import API_KEY
from winnow.platforms.kubernetes import kinds
from winnow.platforms.kubernetes.kinds import Kind, Manifest, kind_of, labels_on, name_of, shortened
from winnow.platforms.kubernetes.manifests import FieldPath, Named, changed, merged, secret, to_yaml
from winnow.routing import Entry, Record, ReplicaSettings, Revision, RouterSettings, server_settings, to_json
from winnow.serving.settings import SERVING

FOLDER = Path("k8s") / "prod"
BASE, CONTAINER, MODEL = "winnow-prod", "server", "winnow.model"
SERVER_PORT, CONTROL_PORT = 8080, 8081
"""The control port listens inside a router's pod alone; a forwarded port reaches it."""
ROUTER_SETTINGS, ROUTER_TOKEN = "WINNOW_ROUTER", "WINNOW_ROUTER_TOKEN"
ROUTER_COMMAND = ["/opt/venv/bin/python", "-P", "-m", "winnow.serving.router", "--host", "0.0.0.0"]  # nosec B104
RECORD, WISH, KEY = "winnow.record", "winnow.wish", "winnow.key"
"""Annotations of the entry, and the label of a Secret with the fingerprint of its key."""
REPLICA, ROUTER = "replica", "router"
MANAGED_BY = {"app.kubernetes.io/managed-by": "winnow"}
SHARED_KINDS: tuple[Kind, ...] = (kinds.INGRESS, kinds.NETWORK_POLICY, kinds.CONFIG_MAP, kinds.SECRET)
REVISION_KINDS: tuple[Kind, ...] = (kinds.SERVICE, kinds.DISRUPTION_BUDGET, kinds.DEPLOYMENT, kinds.AUTOSCALER)
KINDS: tuple[Kind, ...] = (
    *(kinds.INGRESS, kinds.AUTOSCALER, kinds.DEPLOYMENT, kinds.DISRUPTION_BUDGET, kinds.SERVICE, kinds.NETWORK_POLICY),
    *(kinds.CONFIG_MAP, kinds.SECRET),
)
"""The kinds of a deployment's objects, in the order of their removal: first the Ingress, so that requests stop."""
SETTLE_S, KEPT_CONNECTIONS_S, SPARE_S = 5.0, 1.0, 6.0
"""How long a replica still answers by default, time to close kept connections, and further time for ending."""
_LONGEST_NAME, _LONGEST_BASE = 63, 45
"""A Service's name is a DNS label; a base leaves room for what follows it."""
_NO_IMAGE = "IMAGE-TO-BE-BUILT"


def object_name(name: str, what: str = "") -> str:
    """The name of a deployment's entry, or of another of its objects."""
    if not what:
        return shortened(f"{BASE}-{name}", _LONGEST_NAME)
    return f"{shortened(f'{BASE}-{name}', _LONGEST_BASE)}-{what}"


def labels_of(name: str) -> dict[str, str]:
    """Labels that all objects of a deployment have, and no others."""
    return {**MANAGED_BY, labels.DEPLOYMENT: name}


def labels_of_revision(name: str, number: int) -> dict[str, str]:
    """Labels of a revision's objects and pods."""
    return {**labels_of(name), labels.REVISION: str(number)}


def labels_of_routers(name: str, serial: int) -> dict[str, str]:
    """Labels of the objects and pods of a route's routers."""
    return {**labels_of(name), labels.ROLE: ROUTER, labels.SERIAL: str(serial)}


def revision_in(record: Record, number: int | None) -> Revision:
    """A revision of a record. Raises ValueError where it is not kept."""
    found = record.revision(number)
    if found is None:
        raise ValueError(f"deployment '{record.name}' has no revision {number}")
    return found


def settle_s(settings: ReplicaSettings) -> float:
    """How long a terminating replica still answers."""
    return SETTLE_S if settings.settle_s is None else settings.settle_s


def grace_s(settings: ReplicaSettings) -> int:
    """How long a replica may take to end."""
    return math.ceil(_sleep_s(settings) + KEPT_CONNECTIONS_S + settings.drain_s + SPARE_S)


def selector(record: Record) -> dict[str, str]:
    """The pods that the entry sends requests to: none before the first route."""
    route = record.route
    if route.needs_routers:
        return {labels.DEPLOYMENT: record.name, labels.ROLE: ROUTER, labels.SERIAL: str(route.serial)}
    return {labels.DEPLOYMENT: record.name, labels.REVISION: str(route.stable)}


def is_kept(live: Manifest, record: Record) -> bool:
    """Whether a record still needs an object of its deployment. Objects that all revisions share are needed."""
    marks = labels_on(live)
    if labels.REVISION in marks:
        return any(str(each.number) == marks[labels.REVISION] for each in record.revisions)
    if marks.get(labels.ROLE) == ROUTER:
        return record.route.needs_routers and marks.get(labels.SERIAL) == str(record.route.serial)
    if KEY in marks:
        return any(each.settings.key == marks[KEY] for each in record.revisions)
    return True


def key_name(name: str, fingerprint: str) -> str:
    """The name of an API key's Secret."""
    return object_name(name, f"key-{fingerprint}")


def key_secret(name: str, fingerprint: str, key: str) -> Manifest:
    """An API key."""
    return secret(key_name(name, fingerprint), {**labels_of(name), KEY: fingerprint}, {API_KEY: key})


def shared(files: Sequence[Manifest], record: Record) -> tuple[Manifest, ...]:
    """What all revisions share but the entry: what pods need, and last what leads requests to the entry.

    Raises:
        InputError: the files lack a field that is set, or have a kind that a deployment cannot have.
    """
    made = [_shared(each, record) for each in files if kind_of(each) not in REVISION_KINDS]
    if record.entry.gateway:
        made = [each for each in made if kind_of(each) != kinds.INGRESS]
        made.append(http_route(record))
    return tuple(sorted(made, key=lambda each: kind_of(each) in (kinds.INGRESS, kinds.HTTP_ROUTE)))


def entry_service(files: Sequence[Manifest], record: Record) -> Manifest:
    """The entry, without the record."""
    file = _file(files, kinds.SERVICE)
    made = merged(file, {"metadata": {"name": object_name(record.name), "labels": labels_of(record.name)}})
    return changed(made, {("spec", "selector"): selector(record)})


def revision_objects(files: Sequence[Manifest], name: str, revision: Revision) -> tuple[Manifest, ...]:
    """A revision's own objects."""
    own, marks = object_name(name, str(revision.number)), labels_of_revision(name, revision.number)
    selected = {labels.DEPLOYMENT: name, labels.REVISION: str(revision.number)}
    made: list[Manifest] = []
    own_files = (each for each in files if kind_of(each) in REVISION_KINDS)
    for file in sorted(own_files, key=lambda each: REVISION_KINDS.index(kind_of(each))):
        kind = kind_of(file)
        if kind == kinds.AUTOSCALER and revision.scale.most is None:
            continue
        one = merged(file, {"metadata": {"name": name_of(file).replace(BASE, own, 1), "labels": marks}})
        if kind == kinds.DEPLOYMENT:
            made.append(_replicas(one, name, revision, selected))
        elif kind == kinds.SERVICE:
            made.append(changed(one, {("spec", "selector"): selected}))
        elif kind == kinds.DISRUPTION_BUDGET:
            most = revision.scale.max_unavailable
            spec: dict[FieldPath, Any] = {("selector", "matchLabels"): selected, ("maxUnavailable",): most}
            made.append(changed(one, {("spec", *field): value for field, value in spec.items()}))
        else:
            made.append(changed(one, _autoscaler(one, own, revision)))
    return tuple(made)


def router_objects(files: Sequence[Manifest], record: Record, token: str) -> tuple[Manifest, ...]:
    """The routers of a record's route, made like replicas where both are alike; they may connect to replicas alone."""
    route, name = record.route, record.name
    stable, candidate = revision_in(record, route.stable), revision_in(record, route.candidate)
    own, marks = object_name(name, f"{ROUTER}-{route.serial}"), labels_of_routers(name, route.serial)
    selected = {labels.DEPLOYMENT: name, labels.ROLE: ROUTER, labels.SERIAL: str(route.serial)}
    addresses = [(f"{object_name(name, str(each.number))}:80",) for each in (stable, candidate)]
    settings = RouterSettings(name, route, addresses[0], addresses[1], stable.is_classifier)
    like = msgspec.structs.replace(stable.settings.of_routers, cpus=1.0, memory_bytes=256 * 2**20, cpu_request=0.05)
    like = msgspec.structs.replace(like, memory_request_bytes=128 * 2**20, key="")
    file = merged(_file(files, kinds.DEPLOYMENT), {"metadata": {"name": own, "labels": marks}})
    server = {
        "image": record.router_image or stable.release.image or _NO_IMAGE,
        "command": ROUTER_COMMAND,
        # A router passes every path but /readyz on: another's silence must not end it.
        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 10, "failureThreshold": 6},
        "args": ["--port", str(SERVER_PORT), "--control-host", "127.0.0.1", "--control-port", str(CONTROL_PORT)],
    }
    variables: list[Manifest] = [
        {"name": ROUTER_SETTINGS, "value": to_json(settings)},
        {"name": ROUTER_TOKEN, "valueFrom": {"secretKeyRef": {"name": own, "key": ROUTER_TOKEN}}},
    ]
    made = _pods(file, like, _serving(like), marks, selected, record.router_replicas, server, variables)
    return secret(own, marks, {ROUTER_TOKEN: token}), _router_policy(name, own, marks, selected), made


def http_route(record: Record) -> Manifest:
    """The route of a Gateway to the entry, or by weight to the Services of two revisions."""
    namespace, _, gateway = record.entry.gateway.rpartition("/")
    parent = {"name": gateway, **({"namespace": namespace} if namespace else {})}
    route, host = record.route, record.entry.host
    weights = {object_name(record.name): 1}
    if route.is_gateway and route.candidate is not None:
        # The smallest whole numbers: Traefik needs as many requests as a weight has units until a split is exact.
        part = Fraction(route.weight).limit_denominator(1000)
        numbers = {route.stable: part.denominator - part.numerator, route.candidate: part.numerator}
        weights = {object_name(record.name, str(number)): weight for number, weight in numbers.items()}
    backends = [{"name": name, "port": 80, "weight": weight} for name, weight in weights.items()]
    spec = {
        "parentRefs": [parent],
        **({"hostnames": [host]} if host else {}),
        "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": backends}],
    }
    return kinds.HTTP_ROUTE.manifest(object_name(record.name), labels_of(record.name), spec=spec)


def all_objects(files: Sequence[Manifest], record: Record, number: int, key: str = "") -> tuple[Manifest, ...]:
    """What `start` of a revision and `route` of the record send, but for the record in the entry's annotation."""
    revision = revision_in(record, number)
    secrets = [key_secret(record.name, revision.settings.key, key)] if revision.settings.key else []
    routers = router_objects(files, record, "") if record.route.needs_routers else ()
    made = revision_objects(files, record.name, revision)
    return (*secrets, *made, *routers, entry_service(files, record), *shared(files, record))


def render(files: Sequence[Manifest], record: Record, number: int) -> str:
    """All manifests of a revision and of what stands before it, without keys."""
    revision = revision_in(record, number)
    release, scale = revision.release, revision.scale
    count = f"{scale.replicas} to {scale.most} replicas" if scale.most is not None else f"replicas: {scale.replicas}"
    head = f"# {record.name}: {release.model} version {release.label} (sha256 {release.digest[:12]}), {count}"
    return f"{head}\n{to_yaml(all_objects(files, record, number))}"


def url_of(name: str, namespace: str, entry: Entry, ingress: Manifest | None, address: str) -> str:
    """The URL of a deployment.

    Args:
        ingress: as found in the cluster.
        address: URL of the Ingress controller from this terminal; empty: the Ingress's own address. The host replaces
            the host in it, since the controller routes by host.
    """
    if address:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{entry.host}{port}{parts.path}".rstrip("/") if entry.host else address.rstrip("/")
    host = entry.host or address_of(ingress)
    scheme = "https" if ((ingress or {}).get("spec") or {}).get("tls") else "http"
    return f"{scheme}://{host}" if host else f"http://{object_name(name)}.{namespace}.svc"


def address_of(ingress: Manifest | None) -> str:
    """The address in an Ingress's status; empty until its controller has set it, which some never do."""
    status = ((ingress or {}).get("status") or {}).get("loadBalancer") or {}
    addresses = (each.get("hostname") or each.get("ip") or "" for each in status.get("ingress") or ())
    return next((each for each in addresses if each), "")


def _sleep_s(settings: ReplicaSettings) -> int:
    return max(math.ceil(settle_s(settings)), 1)


def _file(files: Sequence[Manifest], kind: Kind) -> Manifest:
    """The one file of a kind."""
    found = [each for each in files if kind_of(each) == kind]
    if len(found) != 1:
        raise InputError(
            f"{FOLDER}: {kind.kind}",
            expected="one object of this kind, of which each revision gets its own",
            found=str(len(found)),
            remedy="Restore it, or apply others separately.",
        )
    return found[0]


def _shared(file: Manifest, record: Record) -> Manifest:
    name, kind = record.name, kind_of(file)
    own = object_name(name)
    if kind not in SHARED_KINDS:
        raise InputError(
            f"{FOLDER}: {file['kind']} '{name_of(file)}'",
            expected=f"an object that is made and removed with the deployment: {', '.join(k.kind for k in KINDS)}",
            found=f"a {file['kind']}",
            remedy="Remove it from kustomization.yaml, and apply it separately.",
        )
    made = merged(file, {"metadata": {"name": name_of(file).replace(BASE, own, 1), "labels": labels_of(name)}})
    if kind == kinds.INGRESS:
        return changed(made, _ingress(made, own, record.entry))
    if kind == kinds.NETWORK_POLICY:
        replicas = {labels.DEPLOYMENT: name, labels.ROLE: REPLICA}
        return changed(made, {("spec", "podSelector", "matchLabels"): replicas})
    return made


def _replicas(made: Manifest, name: str, revision: Revision, selected: Mapping[str, str]) -> Manifest:
    """A revision's Deployment."""
    release, settings = revision.release, revision.settings
    marks = {**labels_of_revision(name, revision.number), labels.ROLE: REPLICA}
    described = {
        **{MODEL: f"{release.model}/{release.version}", f"{MODEL}.sha256": release.digest},
        # A Prometheus that follows this convention scrapes replicas; routers have no metrics at this port.
        **{"prometheus.io/scrape": "true", "prometheus.io/port": str(SERVER_PORT), "prometheus.io/path": "/metrics"},
    }
    made = merged(made, {"spec": {"template": {"metadata": {"annotations": described}}}})
    serving = _serving(settings, deployment=name, revision=revision.number)
    server = {"image": release.image or _NO_IMAGE, "args": ["--model-version", release.version]}
    reference = {"secretKeyRef": {"name": key_name(name, settings.key), "key": API_KEY}}
    key = [{"name": API_KEY, "valueFrom": reference}] if settings.key else []
    return _pods(made, settings, serving, marks, selected, revision.scale.replicas, server, key)


def _serving(settings: ReplicaSettings, *, deployment: str = "", revision: int = 0) -> str:
    """The settings of a pod's server; it is told to end only when no more requests come."""
    settings = msgspec.structs.replace(settings, settle_s=KEPT_CONNECTIONS_S)
    return server_settings(settings, deployment=deployment, revision=revision)


def _pods(
    made: Manifest,
    settings: ReplicaSettings,
    serving: str,
    marks: Mapping[str, str],
    selected: Mapping[str, str],
    replicas: int,
    fields: Mapping[str, Any],
    variables: Sequence[Manifest],
) -> Manifest:
    """A Deployment whose pods run a server: with `settings`, `serving` of the server itself, and fields of its own."""
    pod: FieldPath = ("spec", "template", "spec")
    server: FieldPath = (*pod, "containers", Named(CONTAINER))
    spec = made["spec"]["template"]["spec"]
    own = (API_KEY, SERVING, "WINNOW_SETTLE_S")
    theirs = [each for one in spec["containers"] if one["name"] == CONTAINER for each in one.get("env") or ()]
    kept = [each for each in theirs if each["name"] not in own]
    return changed(
        merged(made, {"spec": {"template": {"metadata": {"labels": dict(marks)}}}}),
        {
            ("spec", "selector", "matchLabels"): dict(selected),
            ("spec", "replicas"): replicas,
            (*pod, "terminationGracePeriodSeconds"): grace_s(settings),
            (*server, "lifecycle", "preStop"): {"sleep": {"seconds": _sleep_s(settings)}},
            # The cluster refuses a request above the limit, so a lower limit lowers the request, too.
            (*server, "resources"): {
                "requests": {
                    "cpu": cpu_text(min(settings.cpu_request, settings.cpus)),
                    "memory": memory_text(min(settings.memory_request_bytes, settings.memory_bytes)),
                },
                "limits": {"cpu": cpu_text(settings.cpus), "memory": memory_text(settings.memory_bytes)},
            },
            (*server, "env"): [*kept, {"name": SERVING, "value": serving}, *variables],
            **{(*server, field): value for field, value in fields.items()},
            **{
                (*pod, "topologySpreadConstraints", index, "labelSelector", "matchLabels"): dict(selected)
                for index in range(len(spec.get("topologySpreadConstraints") or ()))
            },
        },
    )


def _autoscaler(made: Manifest, own: str, revision: Revision) -> dict[FieldPath, Any]:
    scale = revision.scale
    target = {"type": "Utilization", "averageUtilization": scale.cpu_target_percent}
    return {
        ("spec", "scaleTargetRef", "name"): own,
        ("spec", "minReplicas"): scale.replicas,
        ("spec", "maxReplicas"): max(scale.most or scale.replicas, scale.replicas),
        ("spec", "behavior", "scaleDown", "stabilizationWindowSeconds"): scale.scale_down_after_s,
        **{
            ("spec", "metrics", index, "resource", "target"): target
            for index, metric in enumerate(made["spec"].get("metrics") or ())
            if (metric.get("resource") or {}).get("name") == "cpu"
        },
    }


def _ingress(made: Manifest, own: str, entry: Entry) -> dict[FieldPath, Any]:
    changes: dict[FieldPath, Any] = {}
    for number, rule in enumerate(made["spec"]["rules"]):
        if entry.host:
            changes["spec", "rules", number, "host"] = entry.host
        for index, path in enumerate(rule["http"]["paths"]):
            service = (path.get("backend") or {}).get("service") or {}
            if service.get("name") == BASE:
                changes["spec", "rules", number, "http", "paths", index, "backend", "service", "name"] = own
    if entry.ingress_class:
        changes["spec", "ingressClassName"] = entry.ingress_class
    if entry.tls_secret:
        hosts = {"hosts": [entry.host]} if entry.host else {}
        changes["spec", "tls"] = [{**hosts, "secretName": entry.tls_secret}]
    return changes


def _router_policy(name: str, own: str, marks: Mapping[str, str], selected: Mapping[str, str]) -> Manifest:
    """Routers answer the whole cluster, and open connections to replicas and name servers alone."""
    replicas = {"matchLabels": {labels.DEPLOYMENT: name, labels.ROLE: REPLICA}}
    names = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    http = [{"port": "http", "protocol": "TCP"}]
    spec = {
        "podSelector": {"matchLabels": dict(selected)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": http}],
        "egress": [{"to": [{"podSelector": replicas}], "ports": http}, {"ports": names}],
    }
    return kinds.NETWORK_POLICY.manifest(own, marks, spec=spec)
