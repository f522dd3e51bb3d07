"""Which model answers at an address, asked as a client would: that replicas are ready does not say that they are asked.

A host or Ingress class that is wrong leads requests to nobody, or to another deployment. Every answer of a model server
names its model in a header, which is read here; predictions are asked for in `winnow.serving.client`.
"""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from winnow.config.addresses import reached
from winnow.platforms.deployer import Release

MODEL_HEADER = "x-winnow-model"
ASKED_WITHIN_S = 5.0
"""How long an address is given to answer where it is asked once."""
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
    """Nobody answers, or something that is no model server."""


def model_of(header: str) -> ServedModel | None:
    """The model in a `MODEL_HEADER`, `NAME/VERSION sha256:DIGEST`; None where there is none."""
    named, found, digest = header.rpartition(_DIGEST)
    name, _, version = named.rpartition("/")
    return ServedModel(name, version, digest) if found else None


def model_at(url: str, *, timeout_s: float = 2.0) -> ServedModel:
    """The model that is ready to answer at an address.

    Raises:
        NoModelError: there is none; the message says what there is instead.
    """
    address, headers = reached(f"{url}/readyz")
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            found = model_of(response.headers.get(MODEL_HEADER, ""))
    except urllib.error.HTTPError as error:
        with error:
            whose = model_of(error.headers.get(MODEL_HEADER, ""))
        raise NoModelError(f"status {error.code} {f'of {whose}' if whose else 'without a model'}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoModelError(str(getattr(error, "reason", "") or error or type(error).__name__)) from error
    if found is None:
        raise NoModelError("an answer that names no model")
    return found


def is_answering(url: str) -> bool:
    """A model answers at an address."""
    try:
        model_at(url, timeout_s=ASKED_WITHIN_S)
    except NoModelError:
        return False
    return True


def is_known(url: str) -> bool:
    """This terminal knows the name: one of a cluster's own, or one that is not in the DNS yet, it does not."""
    try:
        socket.getaddrinfo(urlsplit(reached(url)[0]).hostname, None)
    except OSError:
        return False
    return True
