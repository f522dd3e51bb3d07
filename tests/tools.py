"""Tools in environments of their own, for tests marked `tools`."""

import os
from pathlib import Path

from winnow.config.tools import FOLDER, TOOLS, tool_folder
from winnow.orchestrators.install_tool import install_tool


def installed(name: str) -> Path:
    """The interpreter of a tool, which is installed if it is not there; WINNOW_TOOLS is set for verbs and this process.

    Tests at the same time wait for one another. `make test-tools` names the folder, too.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    os.environ.setdefault(FOLDER, str(cache / "winnow" / "tools"))
    return install_tool(tool_folder(name, Path()), TOOLS[name], print)
