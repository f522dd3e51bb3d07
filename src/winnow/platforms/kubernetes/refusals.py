"""Errors of a cluster's API as errors for people; the request that was sent is never shown."""

from __future__ import annotations

import json
from typing import Any

from winnow.config.addresses import without_password
from winnow.config.errors import InputError, UnreachableError, WinnowError


class ClusterError(WinnowError):
    """The cluster failed at something that it was asked for."""


class ConflictError(ClusterError):
    """An object of that name exists already, or has been changed meanwhile."""


class NotFoundError(ClusterError):
    """There is no such object."""


class NoNamespaceError(NotFoundError):
    """There is no such namespace to make an object in."""


class NotStartedError(ClusterError):
    """A container that has no log yet, or none of a run before this one."""


class ExpiredError(ClusterError):
    """The version from which a watch was to go on is no longer kept: list again."""


class RefusedObjectError(InputError):
    """The cluster refuses an object: it has an unknown field, or a value that a field cannot have."""


class NotAdmittedError(InputError):
    """A rule of the namespace, most often a quota, keeps out an object that the credentials may make."""


SILENT_S = 120.0
"""How long the API may be silent: replacing a server takes about a minute."""
NOT_NOW = (UnreachableError, ClusterError, InputError)
"""Errors of a request while an API server restarts: no answer, a server error, or refused credentials."""


def refusal(method: str, path: str, status: int, body: bytes) -> WinnowError:
    """The error for a status above 400."""
    answer = _status(body)
    what, found = what_is_at(path), _message(body, answer)
    if status == 404 and (answer.get("details") or {}).get("kind") == "namespaces":
        return NoNamespaceError(f"{what}: expected its namespace, found none.")
    if status == 404:
        return NotFoundError(f"{what}: expected it, found none ({found}).")
    if status == 409:
        return ConflictError(f"{what}: expected to be the only one who changes it, found {found!r}.")
    if status == 410:
        return ExpiredError(f"{what}: expected changes, found {found!r}.")
    if status in (429, 502, 503, 504):
        return UnreachableError(f"{what}: expected an answer of the Kubernetes API, found {found!r}.")
    if status == 403 and _is_not_admitted(method, answer):
        return NotAdmittedError(
            what,
            expected="what the namespace's quota and rules let in",
            found=found,
            remedy="Ask for less or wait until there is room, or have its owner allow more; `kubectl describe quota` "
            "shows what is used.",
        )
    if status in (401, 403):
        return InputError(
            what,
            expected=f"credentials that may {method} it",
            found=found,
            remedy="Use others (KUBECONFIG), or have the Role in docs/security.md bound to them; an admission rule is "
            "its owner's to change.",
        )
    if status < 500:
        return RefusedObjectError(
            what, expected="an object that the cluster takes", found=found, remedy="Correct what it is made from."
        )
    return ClusterError(f"{what}: expected the Kubernetes API to do it, found {found!r}.")


def silence(path: str, api: str, error: Exception) -> UnreachableError:
    """The error where no answer came, or a part of one.

    Args:
        api: which API it is, as `api_at` says it.
    """
    return UnreachableError(
        f"{_what_is_at(path, api)}: expected an answer of the Kubernetes API, found {_root(error)}. "
        "Look whether `kubectl version` works, and run the same command again."
    )


def not_its_own(path: str, api: str) -> UnreachableError:
    """The error for an answer that no API gives: a proxy's page, or half of an answer."""
    return UnreachableError(
        f"{_what_is_at(path, api)}: expected an answer of the Kubernetes API, found something else. Look whether a "
        "proxy stands before it, and whether `kubectl version` works."
    )


def no_place(namespace: str, context: str, kind: str, found: Exception) -> InputError:
    """The error for an object whose namespace or kind does not exist."""
    if isinstance(found, NoNamespaceError):
        return InputError(
            "WINNOW_NAMESPACE",
            expected=f"a namespace of the cluster '{context}'",
            found=f"'{namespace}', which it does not have",
            remedy=f"Make it with `kubectl create namespace {namespace}`, or name another one.",
        )
    return InputError(
        f"the cluster '{context}'",
        expected=f"one that knows the kind {kind}",
        found=str(found).rstrip("."),
        remedy="Use Kubernetes 1.31 or newer.",
    )


def api_at(server: str, context: str) -> str:
    """A cluster's API for messages: kubeconfig's name for it, and its address."""
    return f"the cluster '{context}' at {without_password(server)}"


def what_is_at(path: str) -> str:
    """An object's path for messages: `jobs/a-name in namespace x`."""
    _, _, rest = path.partition("/namespaces/")
    namespace, _, what = rest.partition("/")
    return f"{what} in namespace {namespace}" if what else path


def _what_is_at(path: str, api: str) -> str:
    """The same with the API's name; only that for a path outside namespaces."""
    return f"{what_is_at(path)} of {api}" if "/namespaces/" in path else api


def _status(body: bytes) -> dict[str, Any]:
    """What an API says of a refusal, as https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
    has it; nothing where it is a proxy that answers."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _is_not_admitted(method: str, answer: dict[str, Any]) -> bool:
    """Whether a 403 is about a rule of the namespace and not about the credentials; both are `Forbidden`.

    Credentials are held against a request's path, which at a creation has no name, and rules against the object, which
    has one. Of other methods only the quota's own words tell (kubernetes, resourcequota/controller.go).
    """
    names_object = method == "POST" and bool((answer.get("details") or {}).get("name"))
    return names_object or "is forbidden: exceeded quota: " in str(answer.get("message"))


def _message(body: bytes, answer: dict[str, Any]) -> str:
    """The first line of what an API's answer says."""
    text = str(answer.get("message") or body[:500].decode(errors="replace"))
    return text.strip().partition("\n")[0]


def _root(error: BaseException) -> str:
    """The class of the first cause, with its text where it is about a certificate."""
    first: BaseException = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    name = type(first).__name__
    return f"{name} ({first})" if "SSL" in name else name
