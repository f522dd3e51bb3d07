"""Sends single requests to a served model, for the command line."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import msgspec

from winnow.config.addresses import reached
from winnow.config.errors import UnreachableError
from winnow.serving.codec import JSON
from winnow.serving.signature import MODEL_HEADER

_IMAGES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
MLFLOW_FORMS = frozenset(("dataframe_split", "dataframe_records", "instances", "inputs"))


@dataclass(frozen=True)
class Asked:
    """A request as it was sent, and the answer's status and JSON.

    Attributes:
        model: the header `x-winnow-model`, which names the model that answered; empty if there is none.
    """

    address: str
    body: bytes
    status: int
    answer: Any
    model: str = ""


class NoAnswerError(UnreachableError):
    """Nothing at the address speaks HTTP and JSON."""


def ask(url: str, body: bytes, *, key: bytes | None = None, timeout_s: float = 30.0) -> Asked:
    """Send a body to the route that takes its form; the answer may be a problem.

    `{"rows": …}` goes to `/predict`, MLflow's forms to `/invocations`, an inference request to `/v2`; a bare row or
    list of rows is wrapped as `rows`. The bytes of a PNG or JPEG image go to `/predict` as they are.

    Raises:
        NoAnswerError: nothing answers, or what answers is no model server.
        msgspec.DecodeError: the body is neither JSON nor an image.
    """
    media_type = media_type_of(body)
    if media_type != JSON:
        return _send(f"{url}/predict", body, key, timeout_s, media_type)
    content = msgspec.json.decode(body)
    inputs = content.get("inputs") if isinstance(content, dict) else None
    if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict) and "datatype" in inputs[0]:
        path = f"/v2/models/{card(url, timeout_s=timeout_s)['name']}/infer"
    elif isinstance(content, dict) and MLFLOW_FORMS & content.keys():
        path = "/invocations"
    else:
        path = "/predict"
        if not isinstance(content, dict) or "rows" not in content:
            is_many = isinstance(content, list) and bool(content) and isinstance(content[0], (list, dict))
            body = msgspec.json.encode({"rows": content if is_many else [content]})
    return _send(url + path, body, key, timeout_s)


def media_type_of(body: bytes) -> str:
    """The type of a body that `ask` takes, by its first bytes."""
    return next((media_type for start, media_type in _IMAGES.items() if body.startswith(start)), JSON)


def card(url: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
    """The served model's card: its manifest, version, and `input_example`, a body for `/predict`.

    Raises NoAnswerError where nothing answers, or what answers is no model server.
    """
    asked = _send(f"{url}/model", b"", None, timeout_s)
    if asked.status != http.client.OK or not isinstance(asked.answer, dict) or "input_example" not in asked.answer:
        raise NoAnswerError(f"{url}/model: expected a model's card, found status {asked.status}")
    return asked.answer


def _send(address: str, body: bytes, key: bytes | None, timeout_s: float, media_type: str = JSON) -> Asked:
    """Post a body, or get what is at the address if it is empty."""
    headers = {"content-type": media_type}
    if key is not None:
        headers["authorization"] = f"Bearer {key.decode()}"
    try:
        if not address.startswith(("http://", "https://")):
            raise ValueError("expected an address that begins with http:// or https://")
        there, named = reached(address)
        request = urllib.request.Request(there, data=body or None, headers=headers | named)
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # nosec B310 (checked above)
            model, content = response.headers.get(MODEL_HEADER, ""), response.read()
            return Asked(address, body, response.status, msgspec.json.decode(content), model)
    except urllib.error.HTTPError as error:
        with error:
            model, content = error.headers.get(MODEL_HEADER, ""), error.read()
        try:
            return Asked(address, body, error.code, msgspec.json.decode(content), model)
        except msgspec.DecodeError:
            raise NoAnswerError(f"{address}: expected JSON, found status {error.code} with something else") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NoAnswerError(f"{address}: {getattr(error, 'reason', error)}") from error
