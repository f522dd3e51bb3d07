"""Ask an address whether a model is ready there, and which one, as a client would.

Ready replicas do not prove that clients reach them: a wrong host or Ingress class sends requests nowhere, or to another
deployment. Every answer of a model server names its model in a header.
"""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urlsplit

from winnow.config.addresses import reached
from winnow.routing import Release
from winnow.serving.signature import MODEL_HEADER

READY_PATH = "/readyz"
ASKED_WITHIN_S = 5.0
_DIGEST = " sha256:"


@dataclass(frozen=True)
class ServedModel:
    """What an answer says it is of; the digest is the bundle's (`Manifest.digest`)."""

    name: str
    version: str
    digest: str

    def is_of(self, release: Release) -> bool:
        """The answer comes from this very release."""
        return (self.version, self.digest) == (release.version, release.digest)

    def __str__(self) -> str:
        return f"{self.name} version {self.version} (sha256 {self.digest[:12]})"


class NoModelError(Exception):
    """Nothing answers at the address, or something that is no model server."""


@dataclass(frozen=True)
class ReadyAnswer:
    """An answer of `READY_PATH`."""

    status: int
    headers: Message

    @property
    def is_ready(self) -> bool:
        """Whether what answered takes requests."""
        return self.status == http.client.OK

    @property
    def model(self) -> ServedModel | None:
        """The model that answered; None where the answer names none."""
        return model_of(self.headers.get(MODEL_HEADER, ""))


def model_of(header: str) -> ServedModel | None:
    """The model in a `MODEL_HEADER`, `NAME/VERSION sha256:DIGEST`; None where there is none."""
    named, found, digest = header.rpartition(_DIGEST)
    name, _, version = named.rpartition("/")
    return ServedModel(name, version, digest) if found else None


def ask_ready(url: str, *, timeout_s: float = 2.0, is_proxied: bool = True) -> ReadyAnswer:
    """Ask a server, or what stands before it, whether it is ready. Raises NoModelError where nothing speaks HTTP.

    `is_proxied`: go through the proxy that the environment names; not for an address of this machine.
    """
    address, headers = reached(f"{url}{READY_PATH}")
    opener = urllib.request.build_opener(*([] if is_proxied else [urllib.request.ProxyHandler({})]))
    try:
        with opener.open(urllib.request.Request(address, headers=headers), timeout=timeout_s) as response:
            return ReadyAnswer(response.status, response.headers)
    except urllib.error.HTTPError as error:
        with error:
            return ReadyAnswer(error.code, error.headers)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoModelError(str(getattr(error, "reason", "") or error or type(error).__name__)) from error


def ask_own(url: str) -> ReadyAnswer | None:
    """The ready answer of a server at an address of this machine; None where it is not ready."""
    try:
        answer = ask_ready(url, is_proxied=False)
    except NoModelError:
        return None
    return answer if answer.is_ready else None


def own_answer(url: str, *, timeout_s: float = ASKED_WITHIN_S) -> str | None:
    """What a server at an address of this machine answers; None where it does not, or with an error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as response:
            return str(response.read().decode())
    except (OSError, http.client.HTTPException, ValueError):
        return None


def model_at(url: str, *, timeout_s: float = 2.0) -> ServedModel:
    """The model that is ready to answer at an address. Raises NoModelError, which says what there is instead."""
    answer = ask_ready(url, timeout_s=timeout_s)
    found = answer.model
    if not answer.is_ready:
        raise NoModelError(f"status {answer.status} {f'of {found}' if found else 'without a model'}")
    if found is None:
        raise NoModelError("an answer that names no model")
    return found


def is_answering(url: str) -> bool:
    """Whether a model answers at an address."""
    try:
        model_at(url, timeout_s=ASKED_WITHIN_S)
    except NoModelError:
        return False
    return True


def is_known(url: str) -> bool:
    """Whether this machine resolves the host's name. A name may exist inside a cluster only, or not be in DNS yet."""
    try:
        socket.getaddrinfo(urlsplit(reached(url)[0]).hostname, None)
    except OSError:
        return False
    return True
