"""Heavy tools, each in an environment of its own, which winnow calls as a process.

Their dependencies conflict with winnow's, or are larger than winnow. `winnow install-tool NAME` makes an environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_command

TOOLS: Mapping[str, tuple[str, ...]] = {
    "dvc": ("dvc[s3]>=3.67,<4",),
    "feast": ("feast>=0.67,<0.68",),
    "spark": ("pyspark>=4.1,<5",),
    "evidently": ("evidently>=0.7.23,<0.8", "pandas<3", "pyarrow"),
}
"""What is installed in each environment."""
FOLDER = "WINNOW_TOOLS"
"""The variable with the folder of all environments; by default `HOME/tools`."""
READY = ".ready"


def tool_folder(name: str, home: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of a tool's environment; it need not exist."""
    return (Path(environment[FOLDER]) if environment.get(FOLDER) else home / "tools") / name


def tool_python(name: str, home: Path, place: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The interpreter of a tool's environment.

    Args:
        place: what needs the tool, for messages.

    Raises:
        InputError: it is not installed.
    """
    folder = tool_folder(name, home, environment)
    if not (folder / READY).is_file():
        raise InputError(
            place,
            expected=f"{name} in an environment of its own at {folder}",
            found="none",
            remedy=f"Install it: `{next_command('install-tool', tool=name)}`.",
        )
    return folder / "bin" / "python"
