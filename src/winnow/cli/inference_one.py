"""`winnow inference-one`: send one request to a served model, and print the curl command that does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from winnow.cli.options import candidates_as_commands, deployment_options, json_option, say

MOST_CLASSES = 5
MOST_ROWS = 20


@click.command("inference-one")
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    help="JSON file or image to send; by default the model's example.",
)
@click.option("--url", help="Address of a server, instead of a deployment.")
@deployment_options
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Get one prediction from a served model, and check that it comes from the right model.

    By default the request goes to the only deployment. The file may hold {"rows": […]}, one row or a list of rows, any
    of MLflow's forms, or an inference request.
    """
    from winnow import api

    with candidates_as_commands():
        made = api.inference_one(**options, say=say)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(made.answer).decode())
        return
    for line in describe_answer(made.answer):
        click.echo(line)
    click.echo(f"\nThe same with curl, while this runs:\n{made.access}" if made.access else "\nThe same with curl:")
    click.echo(made.curl)


def describe_answer(answer: Any) -> list[str]:
    """An answer of `/predict` as one line per row; the answer of another protocol as JSON."""
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
