"""The verbs of a cluster's API on objects as JSON, in one namespace. `transport` sends the requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winnow.platforms.kubernetes import refusals
from winnow.platforms.kubernetes.kinds import EVENT, POD, Kind, Manifest, kind_of, name_of
from winnow.platforms.kubernetes.port_stream import PortStream
from winnow.platforms.kubernetes.refusals import NotFoundError, NotStartedError, RefusedObjectError
from winnow.platforms.kubernetes.transport import TIMEOUT_S, Request, Source, Stream, Transport

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

FIELD_MANAGER = "winnow"
"""Winnow's name for server-side apply, which leaves the fields of other managers alone."""

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Listing:
    """Objects at one moment. A watch continues from `resource_version`."""

    items: tuple[Manifest, ...]
    resource_version: str


@dataclass(frozen=True)
class Change:
    """One event of a watch: `kind` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    kind: str
    object: Manifest


class Cluster:
    """One namespace of one cluster. Safe to use from several threads.

    Every method raises InputError where the API refuses (a permission, a wrong field), UnreachableError where it does
    not answer, and ClusterError where it fails.

    Args:
        context: the cluster's name in kubeconfig.
        identity: tells it from other clusters, even from an earlier one of the same name.
        renew: see `Transport`.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        context: str,
        *,
        identity: str = "",
        renew: Callable[[], ApiClient] | None = None,
    ) -> None:
        self._transport = Transport(client, renew, context=context)
        self.namespace = namespace
        self.context = context
        self.identity = identity

    @property
    def place(self) -> str:
        """Where its objects are, for messages."""
        return f"in namespace {self.namespace} of the cluster '{self.context}'"

    @property
    def calls(self) -> int:
        """How many requests were sent."""
        return self._transport.calls

    def get(self, kind: Kind, name: str) -> Manifest | None:
        """An object, or None."""
        try:
            return self._transport.json(Request("GET", kind.path(self.namespace, name)))
        except NotFoundError:
            return None

    def find(self, kind: Kind, labels: Mapping[str, str] | str = "", *, fields: str = "") -> Listing:
        """The objects that match labels (or a label selector) and a field selector."""
        found = self._transport.json(Request("GET", kind.path(self.namespace), _selectors(labels, fields)))
        stamp = {"apiVersion": kind.api_version, "kind": kind.kind}
        return Listing(
            tuple({**stamp, **item} for item in found.get("items") or ()), found["metadata"]["resourceVersion"]
        )

    def watch(
        self, kind: Kind, labels: Mapping[str, str] | str, resource_version: str, *, timeout_s: float = 240.0
    ) -> Stream[Change]:
        """Changes since `resource_version`, until the API ends the request (after `timeout_s`) or it is closed.

        Raises:
            ExpiredError: the API no longer keeps these changes.
        """
        query = {
            **_selectors(labels, ""),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(timeout_s)),
        }
        request = Request("GET", kind.path(self.namespace), query)

        def read(source: Source) -> Generator[Change, None, None]:
            for line in self._transport.lines(request, source, read_s=timeout_s + TIMEOUT_S):
                event = _event(line, request.path, self._transport.api)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise refusals.refusal("WATCH", request.path, status.get("code", 500), json.dumps(status).encode())
                yield Change(event["type"], event["object"])

        return Stream(read)

    def log(
        self,
        pod: str,
        container: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str | None = None,
        is_previous: bool = False,
        is_stamped: bool = False,
    ) -> Stream[str]:
        """Lines of a container's log.

        Args:
            follow: continue until the container ends.
            since: an RFC 3339 time.
            is_previous: read the run before the last restart.
            is_stamped: begin each line with its time.

        Raises:
            NotFoundError: there is no such pod.
            NotStartedError: the container has not run yet, or has no previous run.
        """
        query = {
            "container": container,
            **({"follow": "true"} if follow else {}),
            **({"tailLines": str(tail)} if tail is not None else {}),
            **({"sinceTime": since} if since is not None else {}),
            **({"previous": "true"} if is_previous else {}),
            **({"timestamps": "true"} if is_stamped else {}),
        }
        request = Request("GET", POD.path(self.namespace, pod, "log"), query)

        def read(source: Source) -> Generator[str, None, None]:
            try:
                # A worker that computes may print nothing for hours.
                for line in self._transport.lines(request, source, read_s=None if follow else TIMEOUT_S):
                    yield line.decode(errors="replace")
            except RefusedObjectError as error:
                raise NotStartedError(str(error)) from error

        return Stream(read)

    def events(self, about: Manifest) -> list[Manifest]:
        """Events about this very object, oldest first."""
        wanted = {"kind": about["kind"], "name": name_of(about), "uid": about["metadata"]["uid"]}
        fields = ",".join(f"involvedObject.{field}={value}" for field, value in wanted.items())
        return sorted(self.find(EVENT, fields=fields).items, key=_said_at)

    def is_allowed(self, verb: str, kind: Kind, subresource: str = "") -> bool:
        """Whether the caller may do this in the namespace."""
        attributes = {"namespace": self.namespace, "verb": verb, "group": kind.group, "resource": kind.plural}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**attributes, **({"subresource": subresource} if subresource else {})}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._transport.json(Request("POST", path, body=body))
        return bool(answer["status"]["allowed"])

    def apply(self, manifest: Manifest, *, is_dry_run: bool = False) -> Manifest:
        """Create or update an object by server-side apply, which takes over fields of other managers."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true", **_dry_run(is_dry_run)}
        path = kind_of(manifest).path(self.namespace, name_of(manifest))
        return self._put(Request("PATCH", path, query, manifest, _APPLY), manifest)

    def create(self, manifest: Manifest, *, is_dry_run: bool = False) -> Manifest:
        """Create an object. Raises ConflictError if the name is taken, RefusedObjectError for a wrong field."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **_dry_run(is_dry_run)}
        path = kind_of(manifest).path(self.namespace)
        return self._put(Request("POST", path, query, manifest, may_be_repeated=is_dry_run), manifest)

    def merge(self, kind: Kind, name: str, patch: Manifest, *, subresource: str = "") -> Manifest | None:
        """Change single fields by a merge patch (RFC 7386). Return the object, or None where there is none."""
        path = kind.path(self.namespace, name, subresource)
        try:
            return self._transport.json(Request("PATCH", path, {"fieldManager": FIELD_MANAGER}, patch, _MERGE))
        except NotFoundError:
            return None

    def delete(self, kind: Kind, name: str, *, propagation: str = "Background", uid: str | None = None) -> bool:
        """Delete an object; False where there is none.

        Args:
            propagation: Background, Foreground (after the objects that it owns) or Orphan.

        Raises:
            ConflictError: the object has another uid.
        """
        body = _delete_options(None, propagation, uid)
        try:
            self._transport.json(Request("DELETE", kind.path(self.namespace, name), body=body))
        except NotFoundError:
            return False
        return True

    def delete_all(
        self,
        kind: Kind,
        labels: Mapping[str, str] | str,
        *,
        grace_s: float | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete all objects with these labels, at least one, in one request; `grace_s` None: each pod's own."""
        if not labels:
            raise ValueError("expected labels, found none, which would mean every object of the namespace")
        body = _delete_options(grace_s, propagation, None)
        self._transport.json(Request("DELETE", kind.path(self.namespace), _selectors(labels, ""), body))

    def open(self, pod: str, port: int) -> PortStream:
        """A connection to a port of a pod, through the API server. Raises NotFoundError."""
        return self._transport.port(f"{POD.path(self.namespace, pod, 'portforward')}?ports={port}")

    def _put(self, request: Request, manifest: Manifest) -> Manifest:
        try:
            return self._transport.json(request)
        except NotFoundError as error:
            raise refusals.no_place(self.namespace, self.context, str(manifest["kind"]), error) from error


def _selectors(labels: Mapping[str, str] | str, fields: str) -> dict[str, str]:
    text = labels if isinstance(labels, str) else ",".join(f"{name}={value}" for name, value in labels.items())
    return {**({"labelSelector": text} if text else {}), **({"fieldSelector": fields} if fields else {})}


def _dry_run(is_dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if is_dry_run else {}


def _event(line: bytes, path: str, api: str) -> Manifest:
    try:
        event: Manifest = json.loads(line)
        event["type"], event["object"]
        return event
    except (ValueError, KeyError, TypeError) as error:
        raise refusals.not_its_own(path, api) from error


def _delete_options(grace_s: float | None, propagation: str, uid: str | None) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": propagation,
        **({"gracePeriodSeconds": int(grace_s)} if grace_s is not None else {}),
        **({"preconditions": {"uid": uid}} if uid is not None else {}),
    }


def _said_at(event: Manifest) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")
