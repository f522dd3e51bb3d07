"""Run a script by the interpreter of a tool's environment: JSON goes in and comes back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.config.errors import WinnowError


def ask_tool(python: Path, script: Path, request: Mapping[str, Any], timeout_s: float | None = None) -> Any:
    """What the script writes on standard output, for a request on its standard input.

    Args:
        python: the interpreter, as `tool_python` returns it.
        script: a file that imports nothing of winnow.
        timeout_s: how long it may take; None where it moves data of any size.

    Raises:
        WinnowError: the process fails, gives no JSON, or takes too long.
    """
    command, asked = [str(python), "-I", str(script)], json.dumps(request)
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise WinnowError(f"{python}: no answer within {timeout_s:g} s") from error
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WinnowError(f"{python} ended with status {done.returncode}: {last}") from error
