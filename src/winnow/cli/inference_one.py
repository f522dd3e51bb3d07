"""`winnow inference-one`: one request to whatever is being served, and the curl that does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from winnow.cli.options import (
    candidates_as_commands,
    deployment_option,
    json_option,
    named_study,
    platform_option,
    say,
    study_option,
)

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

    from winnow import api

    with candidates_as_commands():
        made = api.inference_one(study=named, platform=platform, url=url, source=source, say=say)
    if as_json:
        click.echo(msgspec.json.encode(made.answer).decode())
        return
    for line in describe_answer(made.answer):
        click.echo(line)
    click.echo(f"\nThe same with curl, beside this command:\n{made.access}" if made.access else "\nThe same with curl:")
    click.echo(made.curl)


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
