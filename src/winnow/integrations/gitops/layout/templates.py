"""The templates of the rendered files."""

from __future__ import annotations

from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parents[1] / "templates"


def template(file: str, **values: str) -> str:
    """The text of a template with its values, and one newline at its end."""
    text = (TEMPLATES / f"{file}.template").read_text(encoding="utf-8")
    return Template(text).substitute(values).rstrip() + "\n"
