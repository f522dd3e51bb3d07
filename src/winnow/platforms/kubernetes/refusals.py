"""Errors of a cluster's API as errors for people; the request that was sent is never shown."""

from __future__ import annotations

import json
from typing import Any

from winnow.config.addresses import without_password
from winnow.config.errors import InputError, UnreachableError, WinnowError


class ClusterError(WinnowError):
    """The cluster failed to carry out a request."""


class ConflictError(ClusterError):
    """An object of that name exists already, or has been changed meanwhile."""


class NotFoundError(ClusterError):
    """There is no such object."""


class NoNamespaceError(NotFoundError):
    """There is no such namespace to make an object in."""


class NotStartedError(ClusterError):
    """A container that has no log yet, or no previous run."""


class ExpiredError(ClusterError):
    """The API no longer keeps the version from which a watch was to continue: list again."""


class RefusedObjectError(InputError):
    """An object has an unknown field, or a wrong value."""


class NotAdmittedError(InputError):
    """A rule of the namespace, most often a quota, refuses an object that the credentials may make."""


SILENT_S = 120.0
"""How long the API may not answer: replacing a server takes about a minute."""
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
            expected="an object that the namespace's quota and rules admit",
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
            what, expected="an object that the cluster accepts", found=found, remedy="Correct what it is made from."
        )
    return ClusterError(f"{what}: expected the Kubernetes API to do it, found {found!r}.")


def silence(path: str, api: str, error: Exception) -> UnreachableError:
    """The error for a missing or incomplete answer; `api` is from `api_at`."""
    return UnreachableError(
        f"{_what_is_at(path, api)}: expected an answer of the Kubernetes API, found {_root(error)}. "
        "Check that `kubectl version` works, and run the same command again."
    )


def not_its_own(path: str, api: str) -> UnreachableError:
    """The error for an answer that is not the API's, such as a proxy's page."""
    return UnreachableError(
        f"{_what_is_at(path, api)}: expected an answer of the Kubernetes API, found something else. Check whether a "
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
    """A cluster's API in messages: kubeconfig's name for it, and its address."""
    return f"the cluster '{context}' at {without_password(server)}"


def what_is_at(path: str) -> str:
    """An object's path in messages: `jobs/a-name in namespace x`."""
    _, _, rest = path.partition("/namespaces/")
    namespace, _, what = rest.partition("/")
    return f"{what} in namespace {namespace}" if what else path


def _what_is_at(path: str, api: str) -> str:
    """The path with the API's name, or only that name for a path outside namespaces."""
    return f"{what_is_at(path)} of {api}" if "/namespaces/" in path else api


def _status(body: bytes) -> dict[str, Any]:
    """The API's `Status` object; empty where a proxy answers."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _is_not_admitted(method: str, answer: dict[str, Any]) -> bool:
    """Whether a 403 is about a rule of the namespace and not about the credentials; both are `Forbidden`.

    Credentials are checked against a request's path, which has no name at a creation, and rules against the object,
    which has one. For other methods only the quota's text differs (kubernetes, resourcequota/controller.go).
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
