"""Send one request to a model server, and check which model answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from winnow.bundle.manifest import EXAMPLE
from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_command, next_flag
from winnow.config.settings import Settings
from winnow.orchestrators.deployments import ask_deployers, find_deployment
from winnow.platforms.deployer import Endpoint, Say
from winnow.platforms.readiness import ServedModel, model_of
from winnow.routing import Observation, Release
from winnow.serving.client import Asked, NoAnswerError, ask, card, media_type_of
from winnow.serving.codec import JSON
from winnow.serving.examples import curl
from winnow.serving.settings import from_environment


@dataclass(frozen=True)
class Inference:
    """A request to a model server, and its answer.

    Attributes:
        answer: the answer's JSON.
        curl: the command that sends the same request.
        access: the command to run alongside `curl`; empty if the server's own address answers from this machine.
    """

    answer: Any
    curl: str
    access: str = ""


def infer_once(
    settings: Settings, name: str | None, platform: str | None, *, url: str | None, source: Path | None, say: Say
) -> Inference:
    """Send one request to a deployment, or to the server at `url`. See `winnow.api.inference_one`."""
    with _endpoint(settings, name, platform, url, say) as (endpoint, observed):
        address, key = endpoint.url.rstrip("/"), endpoint.key.encode() or from_environment().api_key
        try:
            body = _example(endpoint, observed) if source is None else _read(source)
            asked = ask(address, body, key=key)
        except NoAnswerError as error:
            raise InputError(
                f"server {address}",
                expected="a model server that answers",
                found=endpoint.diagnosis() or str(error),
                remedy=f"Start one (`{next_command('prod', platform='local')}`), or name another with "
                f"{next_flag('url')}. WINNOW_INGRESS_URL sets the Ingress controller's address as seen from here.",
            ) from error
    if observed is not None:
        check_model(asked, observed)
    if asked.status != 200:
        raise _refused(asked, source)
    manual = endpoint.manual
    shown = asked.address if manual is None else asked.address.replace(address, manual.url, 1)
    is_sent_whole = source is not None and body == asked.body
    sent = f"@{source}" if is_sent_whole else asked.body.decode()
    command = curl(shown, sent, media_type_of(asked.body), needs_key=key is not None)
    return Inference(asked.answer, command, "" if manual is None else manual.command)


def _example(endpoint: Endpoint, observed: Observation | None) -> bytes:
    """The model's own example: as it says itself, or else from the bundle."""
    if endpoint.has_card or observed is None or observed.record.serving is None:
        return msgspec.json.encode(card(endpoint.url.rstrip("/"))["input_example"])
    return _read(observed.record.serving.release.bundle / EXAMPLE)


@contextmanager
def _endpoint(
    settings: Settings, name: str | None, platform: str | None, url: str | None, say: Say
) -> Iterator[tuple[Endpoint, Observation | None]]:
    """The server's address, and its deployment unless an address was given."""
    if url is not None:
        yield Endpoint(url), None
        return
    deployers, _ = ask_deployers(settings, platform, say)
    found_on, chosen = find_deployment(deployers, name)
    observed = deployers[found_on].observe(chosen)
    with deployers[found_on].endpoint(observed) as endpoint:
        if endpoint.manual is not None:
            say(endpoint.manual.reason)
        yield endpoint, observed


def check_model(asked: Asked, observed: Observation) -> None:
    """Check that one of the deployment's revisions answered. Raises InputError.

    An answer that names no model passes, because a proxy may drop the header. So does one of a revision that requests
    no longer go to, while it still has replicas.
    """
    record = observed.record
    ending = [each for each in record.revisions if observed.of(each.number) and each not in record.routed]
    known = [each.release for each in (*record.routed, *ending)]
    found = model_of(asked.model)
    if found is not None and not any(found.is_of(each) for each in known):
        raise InputError(
            asked.address,
            expected=f"an answer of {' or '.join(map(_shown, known))}, which '{record.name}' serves",
            found=f"one of {found}",
            remedy="Something else has its address. Check the Ingress's class and host (`kubectl describe ingress`), "
            "or which process listens there. If a change is in progress, try again in a few seconds.",
        )


def _shown(release: Release) -> str:
    return str(ServedModel(release.model, release.version, release.digest))


def _read(source: Path) -> bytes:
    try:
        body = source.read_bytes()
        if media_type_of(body) == JSON:
            msgspec.json.decode(body)
    except (OSError, msgspec.DecodeError) as error:
        found = (error.strerror or str(error)).lower() if isinstance(error, OSError) else f"invalid JSON: {error}"
        raise InputError(
            str(source), expected="a JSON file, or an image", found=found, remedy="Name another file."
        ) from error
    return body


def _refused(asked: Asked, source: Path | None) -> Exception:
    problem = asked.answer if isinstance(asked.answer, dict) else {}
    detail = str(problem.get("detail", asked.answer))
    if asked.status == 401:
        return InputError(asked.address, expected="its API key", found="none or another", remedy="Set WINNOW_API_KEY.")
    if asked.status < 500:
        place = str(source) if source is not None else "the model's input example"
        remedy = "Correct the rows; the server's /docs lists the columns."
        return InputError(place, expected="rows that fit the model", found=f"'{detail}'", remedy=remedy)
    return WinnowError(f"{asked.address} answered {asked.status}: {detail} (request {problem.get('request_id')})")
