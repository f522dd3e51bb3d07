"""`winnow inference-one`: one request to whatever is being served, and the curl that does the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import deployment_option, json_option, named_study, platform_option, study_option
from winnow.config.next_command import next_command, next_flag

if TYPE_CHECKING:
    from winnow.platforms.deployer import Deployment, Endpoint
    from winnow.serving.client import Asked

MOST_CLASSES = 5
MOST_ROWS = 20


@click.command("inference-one")
@deployment_option
@click.option(
    "--input", "source", type=click.Path(path_type=Path), help="JSON file to send; by default the model's example."
)
@click.option("--url", help="Address of a server; by default that of the deployment.")
@platform_option
@study_option
@json_option
def command(
    config: Path | None, source: Path | None, url: str | None, platform: str | None, study: str | None, as_json: bool
) -> None:
    """Ask what is being served for one prediction; an answer of another model than the deployment's is an error.

    Without a name it means the only deployment.

    The file may hold {"rows": […]}, one row or a list of rows, any of MLflow's forms, or an inference request.
    """
    named = named_study(config, study) if url is None else None
    import msgspec

    from winnow.config.errors import InputError
    from winnow.serving.client import NoAnswerError, ask, card

    with _endpoint(named, platform, url) as (endpoint, deployment):
        address = endpoint.url.rstrip("/")
        try:
            body = _read(source) if source is not None else msgspec.json.encode(card(address)["input_example"])
            asked = ask(address, body, key=_key())
        except NoAnswerError as error:
            raise InputError(
                f"server {address}",
                expected="a model server that answers",
                found=endpoint.diagnosis() or str(error),
                remedy=f"Start one (`{next_command('prod', platform='local')}`), or name another with "
                f"{next_flag('url')}; WINNOW_INGRESS_URL says where an Ingress controller is reached from here.",
            ) from error
    if deployment is not None:
        check_model(asked, deployment)
    if asked.status != 200:
        raise _refused(asked, source)
    if as_json:
        click.echo(msgspec.json.encode(asked.answer).decode())
        return
    for line in describe_answer(asked.answer):
        click.echo(line)
    if endpoint.manual is not None:
        asked = replace(asked, address=asked.address.replace(address, endpoint.manual.url, 1))
        click.echo(f"\nThe same with curl, beside this command:\n{endpoint.manual.command}")
    else:
        click.echo("\nThe same with curl:")
    click.echo(_curl(asked, source))


@contextmanager
def _endpoint(named: str | None, platform: str | None, url: str | None) -> Iterator[tuple[Endpoint, Deployment | None]]:
    """Where the server answers, and the deployment that it has to serve; None where an address was given."""
    from winnow.cli.prod import answering_deployers, command_for
    from winnow.config.settings import Settings
    from winnow.orchestrators.deployments import find_deployment
    from winnow.platforms.deployer import Endpoint

    if url is not None:
        yield Endpoint(url), None
        return
    deployers, _ = answering_deployers(Settings.from_environment(), platform)
    found_on, name = find_deployment(deployers, named, command_for)
    deployment = deployers[found_on].status(name)
    with deployers[found_on].endpoint(deployment) as endpoint:
        if endpoint.manual is not None:
            click.echo(f"{endpoint.manual.reason} This goes through the cluster's API server.", err=True)
        yield endpoint, deployment


def check_model(asked: Asked, deployment: Deployment) -> None:
    """Refuse the answer of another model: something else has the deployment's address.

    An answer that names none passes, since a proxy may drop the header; and so does the release before, while some
    replica still is of it.

    Raises:
        InputError: another model answered.
    """
    from winnow.config.errors import InputError
    from winnow.platforms.readiness import ServedModel, model_of

    release, old = deployment.release, deployment.previous
    is_changing = old is not None and any(each.version == old.version for each in deployment.replicas)
    known = [release, *([old] if old is not None and is_changing else [])]
    found = model_of(asked.model)
    if found is not None and not any(found.is_of(each) for each in known):
        raise InputError(
            asked.address,
            expected=f"an answer of {ServedModel(release.model, release.version, release.digest)}, which "
            f"'{deployment.name}' serves",
            found=f"one of {found}",
            remedy="Something else has its address: look at the Ingress's class and host (`kubectl describe ingress`), "
            "or at what listens there. A change that is just being made takes a few seconds to arrive everywhere: "
            "then ask again.",
        )


def _key() -> bytes | None:
    from winnow.serving.settings import from_environment

    return from_environment().api_key


def _read(source: Path) -> bytes:
    import msgspec

    from winnow.config.errors import InputError

    try:
        body = source.read_bytes()
        msgspec.json.decode(body)
    except (OSError, msgspec.DecodeError) as error:
        found = (error.strerror or str(error)).lower() if isinstance(error, OSError) else f"no JSON: {error}"
        raise InputError(str(source), expected="a JSON file", found=found, remedy="Name another file.") from error
    return body


def _refused(asked: Asked, source: Path | None) -> Exception:
    from winnow.config.errors import InputError, WinnowError

    problem = asked.answer if isinstance(asked.answer, dict) else {}
    detail = str(problem.get("detail", asked.answer))
    if asked.status == 401:
        return InputError(asked.address, expected="its API key", found="none or another", remedy="Set WINNOW_API_KEY.")
    if asked.status < 500:
        place = str(source) if source is not None else "the model's input example"
        remedy = "Correct the rows; the server's /docs lists the columns."
        return InputError(place, expected="rows that fit the model", found=f"'{detail}'", remedy=remedy)
    return WinnowError(f"{asked.address} answered {asked.status}: {detail} (request {problem.get('request_id')})")


def describe_answer(answer: Any) -> list[str]:
    """An answer of `/predict` as one line per row; of another protocol as it is."""
    import msgspec

    if not isinstance(answer, dict) or not isinstance(answer.get("model"), dict):
        return [msgspec.json.format(msgspec.json.encode(answer)).decode()]
    model = answer["model"]
    lines = [f"{model['name']} version {model['version']}, request {answer['request_id']}"]
    named = answer.get("probabilities") or answer["values"]
    width = max(len(str(each)) for each in answer["predictions"])
    for row, (prediction, numbers) in enumerate(zip(answer["predictions"], named, strict=True)):
        if row == MOST_ROWS:
            lines.append(f"  … and {len(named) - MOST_ROWS} more")
            break
        lines.append(f"  row {row}: {_row_text(prediction, numbers, width, is_class='probabilities' in answer)}")
    return lines


def _row_text(prediction: Any, numbers: dict[str, float], width: int, *, is_class: bool) -> str:
    if not is_class:
        return "  ".join(f"{name} {value:.6g}" for name, value in numbers.items())
    best = sorted(numbers.items(), key=lambda item: -item[1])[:MOST_CLASSES]
    return f"{prediction:<{width}}  (" + "  ".join(f"{name} {value:.4f}" for name, value in best) + ")"


def _curl(asked: Asked, source: Path | None) -> str:
    from winnow.serving.examples import curl

    is_sent_whole = source is not None and source.read_bytes() == asked.body
    body = f"@{source}" if is_sent_whole else asked.body.decode()
    return curl(asked.address, body, needs_key=_key() is not None)
