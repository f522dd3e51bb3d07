"""The Java that Spark runs on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError

OLDEST = 17
"""The oldest one that Spark 4 runs on: https://spark.apache.org/docs/latest/#downloading"""
_ANSWER_S = 30.0
_VERSION = re.compile(r'version "(?:1\.)?([0-9]+)')


def check_java(environment: Mapping[str, str], place: str) -> None:
    """Raise InputError unless there is a Java that is new enough, in JAVA_HOME or on the PATH.

    Args:
        place: what needs it, for messages.
    """
    home = environment.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java") if home else "java", path=environment.get("PATH", ""))
    if java is None:
        raise _refused(place, f"none in JAVA_HOME={home}" if home else "none on the PATH")
    try:
        done = subprocess.run(
            [java, "-version"], env=dict(environment), capture_output=True, text=True, timeout=_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _refused(place, f"{java}, which does not start ({error})") from error
    version = _VERSION.search(done.stderr + done.stdout)
    if version is None or int(version[1]) < OLDEST:
        raise _refused(place, f"{java}, " + (f"which is Java {version[1]}" if version else "which is none"))


def _refused(place: str, found: str) -> InputError:
    package = "`brew install openjdk@17`" if sys.platform == "darwin" else "`apt-get install openjdk-17-jre-headless`"
    remedy = f"Install one, on this machine with {package}, or name another by JAVA_HOME."
    return InputError(place, expected=f"Java {OLDEST} or newer, which Spark runs on", found=found, remedy=remedy)
