"""What is asked of a cluster's API: get, list, watch, apply, create, delete, logs, connections to pods.

One namespace, plain objects. What the API answers is turned into errors for a person here; what it was sent is never
shown. Reading manifests is left to `manifests`, finding the cluster to `connection`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from winnow.cluster.kinds import EVENT, POD, Kind, Manifest, kind_of, name_of
from winnow.config.errors import InputError, UnreachableError, WinnowError

if TYPE_CHECKING:
    import socket

    from kubernetes.client import ApiClient

FIELD_MANAGER = "winnow"
"""Who applies: fields that somebody else sets beside ours are left to them."""
TIMEOUT_S = 30.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class ClusterError(WinnowError):
    """The cluster did not do what it should."""


class ConflictError(ClusterError):
    """An object of that name is there already, or has been changed by somebody else meanwhile."""


class NotFoundError(ClusterError):
    """There is no such object."""


class ExpiredError(ClusterError):
    """What a watch was to go on from is no longer kept: list again."""


@dataclass(frozen=True)
class Listing:
    """Objects as they were at one moment; a watch goes on from `resource_version`."""

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
        client: the SDK's connection.
        namespace: where all objects are.
        context: what kubeconfig calls the cluster, for people.
    """

    def __init__(self, client: ApiClient, namespace: str, context: str) -> None:
        self._client = client
        self.namespace = namespace
        self.context = context
        self.calls = 0
        """Requests so far, for whoever counts them."""

    # Reading

    def get(self, kind: Kind, name: str) -> Manifest | None:
        """One object; None where there is none."""
        try:
            return self._json("GET", kind.path(self.namespace, name))
        except NotFoundError:
            return None

    def find(
        self, kind: Kind, labels: Mapping[str, str] | str = "", *, fields: str = "", is_recent_enough: bool = False
    ) -> Listing:
        """The objects with these labels.

        Args:
            labels: equal to these, or a label selector as text.
            fields: a field selector.
            is_recent_enough: what the API server has at hand will do, which spares its database.
        """
        query = {**_selectors(labels, fields), **({"resourceVersion": "0"} if is_recent_enough else {})}
        found = self._json("GET", kind.path(self.namespace), query=query)
        stamp = {"apiVersion": kind.api_version, "kind": kind.kind}
        return Listing(
            tuple({**stamp, **item} for item in found.get("items") or ()), found["metadata"]["resourceVersion"]
        )

    def watch(
        self, kind: Kind, labels: Mapping[str, str] | str, resource_version: str, *, timeout_s: float = 240.0
    ) -> Iterator[Change]:
        """What changes from there on, until the API ends it, at the latest after `timeout_s`.

        Raises:
            ExpiredError: changes since then are no longer kept.
        """
        query = {
            **_selectors(labels, ""),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(timeout_s)),
        }
        for line in self._lines("GET", kind.path(self.namespace), query, read_s=timeout_s + TIMEOUT_S):
            event = json.loads(line)
            if event["type"] == "ERROR":
                if event["object"].get("code") == 410:
                    raise ExpiredError(f"{kind.plural}: expected changes, found that they are no longer kept.")
                raise ClusterError(f"{kind.plural}: expected changes, found {event['object'].get('message')!r}.")
            yield Change(event["type"], event["object"])

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
    ) -> Iterator[str]:
        """Lines of a container's log.

        Args:
            follow: go on until it ends.
            since: RFC 3339; lines from then on.
            is_previous: of the run before the last restart.
            is_stamped: each line begins with its time, by which one that is read again is known.

        Raises:
            NotFoundError: there is no such pod.
        """
        query = {
            "container": container,
            **({"follow": "true"} if follow else {}),
            **({"tailLines": str(tail)} if tail is not None else {}),
            **({"sinceTime": since} if since is not None else {}),
            **({"previous": "true"} if is_previous else {}),
            **({"timestamps": "true"} if is_stamped else {}),
        }
        # A worker that computes may say nothing for hours.
        read_s = None if follow else TIMEOUT_S
        for line in self._lines("GET", POD.path(self.namespace, pod, "log"), query, read_s=read_s):
            yield line.decode(errors="replace")

    def events(self, kind: Kind, name: str) -> list[Manifest]:
        """What the cluster's parts have said of one object, oldest first."""
        found = self.find(EVENT, fields=f"involvedObject.kind={kind.kind},involvedObject.name={name}").items
        return sorted(found, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")

    def is_allowed(self, verb: str, kind: Kind, subresource: str = "") -> bool:
        """Whether whoever asks may do this in the namespace."""
        attributes = {"namespace": self.namespace, "verb": verb, "group": kind.group, "resource": kind.plural}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**attributes, **({"subresource": subresource} if subresource else {})}},
        }
        answer = self._json("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
        return bool(answer["status"]["allowed"])

    # Changing

    def apply(
        self, manifest: Manifest, *, is_dry_run: bool = False, is_forced: bool = True, manager: str = FIELD_MANAGER
    ) -> Manifest:
        """Make an object be as described, by server-side apply; fields that are not described are left alone.

        Args:
            is_forced: take over fields that somebody else set.

        Raises:
            ConflictError: not forced, and somebody else set one of the fields.
        """
        query = {
            "fieldManager": manager,
            "force": "true" if is_forced else "false",
            **({"dryRun": "All"} if is_dry_run else {}),
        }
        path = kind_of(manifest).path(self.namespace, name_of(manifest))
        return self._json("PATCH", path, query=query, body=manifest, content_type=_APPLY)

    def create(self, manifest: Manifest, *, is_dry_run: bool = False) -> Manifest:
        """Make an object. Raises ConflictError where there is one of that name."""
        query = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if is_dry_run else {})}
        return self._json("POST", kind_of(manifest).path(self.namespace), query=query, body=manifest)

    def merge(self, kind: Kind, name: str, patch: Manifest, *, subresource: str = "") -> Manifest | None:
        """Change single fields (RFC 7386); None where there is no such object."""
        try:
            path = kind.path(self.namespace, name, subresource)
            return self._json("PATCH", path, query={"fieldManager": FIELD_MANAGER}, body=patch, content_type=_MERGE)
        except NotFoundError:
            return None

    def delete(
        self,
        kind: Kind,
        name: str,
        *,
        grace_s: float | None = None,
        propagation: str = "Background",
        uid: str | None = None,
    ) -> bool:
        """Remove an object; False where there is none.

        Args:
            grace_s: what a pod gets to end; None: what it says itself.
            propagation: Background, Foreground (it goes after what it owns) or Orphan.
            uid: only this very one, not another of its name.

        Raises:
            ConflictError: it is another one.
        """
        try:
            body = _delete_options(grace_s, propagation, uid)
            self._json("DELETE", kind.path(self.namespace, name), body=body)
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
        """Remove all objects with these labels in one request. Raises ValueError where no label is given."""
        if not labels:
            raise ValueError("expected labels, found none, which would mean every object of the namespace")
        body = _delete_options(grace_s, propagation, None)
        self._json("DELETE", kind.path(self.namespace), query=_selectors(labels, ""), body=body)

    def open(self, pod: str, port: int) -> socket.socket:
        """A connection to a port of a pod, through the API server.

        Raises:
            UnreachableError: the pod, or the API server, does not take it.
        """
        from kubernetes.client import CoreV1Api
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import portforward

        self.calls += 1
        try:
            forward = portforward(
                CoreV1Api(self._client).connect_get_namespaced_pod_portforward, pod, self.namespace, ports=str(port)
            )
        except ApiException as error:
            raise UnreachableError(f"pod {pod}: expected a connection to port {port}, found {error.reason}.") from error
        opened: socket.socket = forward.socket(port)
        return opened

    # How

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Manifest:
        with self._answer(method, path, query or {}, body, content_type, TIMEOUT_S) as response:
            found: Manifest = json.loads(response.read() or b"{}")
            return found

    def _lines(self, method: str, path: str, query: Mapping[str, str], *, read_s: float | None) -> Iterator[bytes]:
        import urllib3.exceptions

        with self._answer(method, path, query, None, "application/json", read_s) as response:
            unread = b""
            try:
                # Pieces as they come: a read of a fixed size would wait until it is full.
                while piece := response.read1():
                    *lines, unread = (unread + piece).split(b"\n")
                    yield from lines
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _silent(path, error) from error
            if unread:
                yield unread

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any,
        content_type: str,
        read_s: float | None,
    ) -> Iterator[Any]:
        """The response, once it is known to be a good one. Raises what the class says."""
        import urllib3.exceptions

        self.calls += 1
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            request = self._client.param_serialize(
                method, path, query_params=list(query.items()), header_params=headers, auth_settings=["BearerToken"]
            )
            address, sent = request[1], request[2]
            response = self._client.rest_client.request(
                method, address, headers=sent, body=body, _request_timeout=(10.0, read_s)
            ).response
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _silent(path, error) from error
        try:
            if response.status >= 400:
                raise _refused(method, path, response.status, response.read())
            yield response
        finally:
            # One that was not read to its end is of no use to another request.
            response.close()
            response.release_conn()


def _selectors(labels: Mapping[str, str] | str, fields: str) -> dict[str, str]:
    text = labels if isinstance(labels, str) else ",".join(f"{name}={value}" for name, value in labels.items())
    return {**({"labelSelector": text} if text else {}), **({"fieldSelector": fields} if fields else {})}


def _delete_options(grace_s: float | None, propagation: str, uid: str | None) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": propagation,
        **({"gracePeriodSeconds": int(grace_s)} if grace_s is not None else {}),
        **({"preconditions": {"uid": uid}} if uid is not None else {}),
    }


def _what(path: str) -> str:
    """An object's path as people name it: `jobs/a-name in namespace x`."""
    _, _, rest = path.partition("/namespaces/")
    namespace, _, what = rest.partition("/")
    return f"{what} in namespace {namespace}" if what else path


def _silent(path: str, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"{_what(path)}: expected an answer of the Kubernetes API, found {type(error).__name__}. "
        "Look whether `kubectl version` works, and run the same command again."
    )


def _refused(method: str, path: str, status: int, body: bytes) -> WinnowError:
    """The error for an answer that is none of what was asked for."""
    try:
        answer = json.loads(body)
        message = str(answer.get("message") or body[:200])
    except ValueError:
        message = body[:200].decode(errors="replace")
    what = _what(path)
    found = message.strip().partition("\n")[0]
    if status == 404:
        return NotFoundError(f"{what}: expected it, found none ({found}).")
    if status == 409:
        return ConflictError(f"{what}: expected to be the only one who changes it, found {found!r}.")
    if status == 410:
        return ExpiredError(f"{what}: expected changes, found {found!r}.")
    if status in (429, 503, 504):
        return UnreachableError(f"{what}: expected an answer of the Kubernetes API, found {found!r}.")
    if status in (401, 403):
        return InputError(
            what,
            expected=f"credentials that may {method} it",
            found=found,
            remedy="Use others (KUBECONFIG), or have the Role in docs/security.md bound to them.",
        )
    if status < 500:
        return InputError(
            what, expected="an object that the cluster takes", found=found, remedy="Correct what it is made from."
        )
    return ClusterError(f"{what}: expected the Kubernetes API to do it, found {found!r}.")
