"""Turns answers of a cluster's API into errors. The body of the request is never shown."""

from __future__ import annotations

import json
from typing import Any

from winnow.config.addresses import without_password
from winnow.config.errors import InputError, UnreachableError, WinnowError


class ClusterError(WinnowError):
    """The cluster failed to carry out a request."""


class ConflictError(ClusterError):
    """An object of that name exists, or has changed meanwhile."""


class NotFoundError(ClusterError):
    """There is no such object."""


class NoNamespaceError(NotFoundError):
    """There is no such namespace."""


class NotStartedError(ClusterError):
    """A container has no log yet, or no previous run."""


class ExpiredError(ClusterError):
    """The API no longer keeps the version from which a watch continues: list again."""


class RefusedObjectError(InputError):
    """An object has an unknown field, or a wrong value."""


class NotAdmittedError(InputError):
    """A rule of the namespace, most often a quota, refuses an object; the credentials are sufficient."""


SILENT_S = 120.0
"""How long to wait for an API that does not answer: replacing a server takes about a minute."""
NOT_NOW = (UnreachableError, ClusterError, InputError)
"""Errors of a request while an API server restarts: no answer, a server error, or refused credentials."""


def refusal(method: str, path: str, status: int, body: bytes) -> WinnowError:
    """The error for a status above 400."""
    answer = _status(body)
    what, found = what_is_at(path), _message(body, answer)
    if status == 404 and (answer.get("details") or {}).get("kind") == "namespaces":
        return NoNamespaceError(f"{what}: expected its namespace, found none.")
    if status == 404:
        return NotFoundError(f"{what}: expected this object, found none ({found}).")
    if status == 409:
        return ConflictError(f"{what}: expected no other change at the same time, found {found!r}.")
    if status == 410:
        return ExpiredError(f"{what}: expected changes, found {found!r}.")
    if status in (429, 502, 503, 504):
        return UnreachableError(f"{what}: expected an answer of the Kubernetes API, found {found!r}.")
    if status == 403 and _is_not_admitted(method, answer):
        return NotAdmittedError(
            what,
            expected="an object that the namespace's quota and rules admit",
            found=found,
            remedy="Request less, wait until there is room, or ask its owner to allow more; `kubectl describe quota` "
            "shows what is used.",
        )
    if status in (401, 403):
        return InputError(
            what,
            expected=f"credentials that may {method} it",
            found=found,
            remedy="Use others (KUBECONFIG), or ask the cluster's owner to bind the Role in docs/security.md to them, "
            "or to change the admission rule.",
        )
    if status < 500:
        return RefusedObjectError(
            what, expected="an object that the cluster accepts", found=found, remedy="Correct its manifest or settings."
        )
    return ClusterError(f"{what}: expected success of the Kubernetes API, found {found!r}.")


def silence(path: str, api: str, error: Exception) -> UnreachableError:
    """The error for a missing or incomplete answer; `api` comes from `api_at`."""
    return UnreachableError(
        f"{_what_is_at(path, api)}: expected an answer of the Kubernetes API, found {_root(error)}. "
        "Check that `kubectl version` works, and run the same command again."
    )


def not_its_own(path: str, api: str) -> UnreachableError:
    """The error for an answer that is not the API's, such as a proxy's page."""
    return UnreachableError(
        f"{_what_is_at(path, api)}: expected an answer of the Kubernetes API, found something else. Check whether a "
        "proxy answers in its place, and whether `kubectl version` works."
    )


def no_place(namespace: str, context: str, kind: str, found: Exception) -> InputError:
    """The error for an object whose namespace or kind does not exist."""
    if isinstance(found, NoNamespaceError):
        return InputError(
            "WINNOW_NAMESPACE",
            expected=f"a namespace of the cluster '{context}'",
            found=f"'{namespace}', which does not exist there",
            remedy=f"Create it with `kubectl create namespace {namespace}`, or name another one.",
        )
    return InputError(
        f"the cluster '{context}'",
        expected=f"support for the kind {kind}",
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
    """Whether a 403 is due to a rule of the namespace and not to the credentials; both have the reason `Forbidden`.

    Credentials are checked against the path of the request, which has no name for a POST; rules are checked against the
    object, which has one. For other methods only the quota's text differs (kubernetes, resourcequota/controller.go).
    """
    names_object = method == "POST" and bool((answer.get("details") or {}).get("name"))
    return names_object or "is forbidden: exceeded quota: " in str(answer.get("message"))


def _message(body: bytes, answer: dict[str, Any]) -> str:
    text = str(answer.get("message") or body[:500].decode(errors="replace"))
    return text.strip().partition("\n")[0]


def _root(error: BaseException) -> str:
    """The class of the first cause, with its text if it is about a certificate."""
    first: BaseException = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    name = type(first).__name__
    return f"{name} ({first})" if "SSL" in name else name
