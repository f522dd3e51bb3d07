"""The public images of Prometheus and Alertmanager that the tests run, as compose.monitoring.yaml names them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PROMETHEUS = "prom/prometheus:v2.42.0"
ALERTMANAGER = "prom/alertmanager:v0.25.0"


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the image's promtool in a folder."""
    mount = ("--volume", f"{folder}:/rules:ro", "--workdir", "/rules")
    user = ("--user", f"{os.getuid()}:{os.getgid()}")
    run = ("docker", "run", "--rm", "--network", "none", *user, *mount, "--entrypoint", "/bin/promtool", PROMETHEUS)
    return subprocess.run([*run, *arguments], capture_output=True, text=True, timeout=120, check=False)
