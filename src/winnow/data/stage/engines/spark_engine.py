"""Prepare rows by Spark, in a process of an interpreter that has pyspark.

That process (`spark_job`) and its JVM end with the call, whatever ends it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.config.errors import InputError
from winnow.config.tools import tool_folder, tool_python
from winnow.data.stage.engines import Recipe

JOB = Path(__file__).with_name("spark_job.py")
TIMEOUT_S = 60
WAKE_S = 3600
PLACE = "the engine spark"
SMALLEST_MIB = 1024
"""Spark refuses a heap of less than 471 MiB, and is slow in one that is hardly larger."""
LOG_LINES = 10
STDERR = 2
LOCAL_IP = "SPARK_LOCAL_IP"
LOCAL_DIR = "spark"
OLDEST_JAVA = 17
"""The oldest one that Spark 4 runs on: https://spark.apache.org/docs/latest/#downloading"""
JAVA_S, CONNECT_S = 30.0, 5.0
_JAVA_VERSION = re.compile(r'version "(?:1\.)?([0-9]+)')
VARIABLE = "SPARK_MASTER"
ALL_CORES = "local[*]"
CONF_DIR = "SPARK_CONF_DIR"
"""Spark's own variable: the folder with `spark-defaults.conf`."""
_LOCAL = re.compile(r"local(\[(\*|[1-9][0-9]*)(,\s*[1-9][0-9]*)?\])?")
_STANDALONE = re.compile(r"spark://([^:/,@?#]+:[0-9]{1,5})(,[^:/,@?#]+:[0-9]{1,5})*")
_KUBERNETES = re.compile(r"k8s://(https?://)?[^:/]+(:[0-9]{1,5})?")


@dataclass(frozen=True)
class SparkMaster:
    """A master that a session is opened with. Spark runs in the job's process, there, or in the pods of a cluster."""

    address: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> SparkMaster:
        """The master that SPARK_MASTER names; by default all cores of this machine.

        Raises:
            InputError: it has another form.
        """
        address = environment.get(VARIABLE) or ALL_CORES
        if not any(form.fullmatch(address) for form in (_LOCAL, _STANDALONE, _KUBERNETES)):
            raise InputError(
                VARIABLE,
                expected="local[*], local[CORES], spark://HOST:PORT or k8s://https://HOST:PORT",
                found=f"'{address}'",
                remedy="Correct it.",
            )
        return cls(address)

    @property
    def is_local(self) -> bool:
        """Whether the job's own process computes."""
        return _LOCAL.fullmatch(self.address) is not None

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports that answer; none for a local one."""
        if self.is_local:
            return ()
        _, _, rest = self.address.rpartition("://")
        default = 80 if "http://" in self.address else 443
        found = (each.partition(":") for each in rest.split(","))
        return tuple((host, int(port or default)) for host, _, port in found)

    def check(self) -> None:
        """Raises InputError where none of its addresses takes a connection."""
        reasons = []
        for place in self.places:
            try:
                socket.create_connection(place, timeout=CONNECT_S).close()
                return
            except (OSError, OverflowError) as error:
                reasons.append(f"{(getattr(error, 'strerror', None) or str(error)).lower()} at {place[0]}:{place[1]}")
        if reasons:
            raise silent(self, "; ".join(reasons))

    @property
    def own_address(self) -> str:
        """The address of this machine at which the master's side reaches it."""
        if self.is_local:
            return "127.0.0.1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sent:
            sent.connect(self.places[0])  # sends nothing
            return str(sent.getsockname()[0])


def silent(master: SparkMaster, found: str) -> InputError:
    """The error for a master that does not answer."""
    return InputError(
        VARIABLE,
        expected=f"a master that answers at {master.address}",
        found=found,
        remedy="Start it, correct the address, or leave SPARK_MASTER out to compute on this machine.",
    )


def stack_conf(home: Path) -> Path:
    """The folder of the configuration with which sessions open the master that `winnow spark-init` starts."""
    return home / "spark" / "conf"


def version(home: Path, environment: Mapping[str, str]) -> str:
    """The version of pyspark. Raises InputError where it is not installed."""
    own = _own_version()
    if own is not None:
        return own
    python(home, environment)
    folders = [str(each) for each in tool_folder("spark", home, environment).glob("lib/python*/site-packages")]
    return next(iter(importlib.metadata.distributions(name="pyspark", path=folders))).version


def python(home: Path, environment: Mapping[str, str]) -> Path:
    """The interpreter that has pyspark: winnow's own, else the tool environment's.

    Raises:
        InputError: neither has it.
    """
    if _own_version() is not None:
        return Path(sys.executable)
    try:
        return tool_python("spark", home, PLACE, environment)
    except InputError as error:
        error.remedy += " Or beside winnow: `pip install 'winnow[spark]'`."
        error.move_to(error.place)
        raise


def run(recipe: Recipe, timeout_s: int = TIMEOUT_S) -> None:
    """Write the result of a query or function to a folder.

    Args:
        timeout_s: how long a master on another machine may take to open a session, and then to find executors for it.

    Raises:
        InputError: pyspark or Java is not there, the master does not answer or has no workers, they see other files,
            the query or function fails, or the process was killed.
    """
    interpreter, master = python(recipe.home, recipe.environment), SparkMaster.from_environment(recipe.environment)
    check_java(recipe.environment)
    master.check()
    (recipe.temporary / LOCAL_DIR).mkdir(parents=True, exist_ok=True)
    log = recipe.temporary / "spark.log"
    request = request_of(recipe, master, timeout_s)
    answer, status = _answer(interpreter, request, environment_of(recipe, master, interpreter), log)
    if answer is None:
        raise _killed(f"a process that ended with status {status}{_end(log)}")
    if answer:
        raise _refusal(recipe, master, answer["kind"], answer["text"])


def request_of(recipe: Recipe, master: SparkMaster, timeout_s: int) -> dict[str, Any]:
    """What the job is told."""
    # Workers reach this machine at its address towards the master, or at what Spark's own variable says.
    host = master.own_address if master.is_local else recipe.environment.get(LOCAL_IP) or master.own_address
    settings = {"spark.driver.host": host, "spark.sql.warehouse.dir": str(recipe.temporary / "warehouse")}
    if master.is_local:
        settings["spark.driver.bindAddress"] = host
    if "SPARK_DRIVER_MEMORY" not in recipe.environment:
        settings["spark.driver.memory"] = f"{max(recipe.memory_mib, SMALLEST_MIB)}m"
    function = recipe.function
    if function is not None and function.rpartition(":")[0].endswith(".py"):
        function = str(Path(function).expanduser().absolute())
    return {
        "name": "winnow prepare",
        "raw": [str(each.absolute()) for each in recipe.raw],
        "output": str(recipe.output.absolute()),
        "sql": recipe.sql,
        "function": function,
        "master": master.address,
        "timeout_s": timeout_s,
        "settings": settings,
        "answer": str((recipe.temporary / "answer.json").absolute()),
    }


def environment_of(recipe: Recipe, master: SparkMaster, interpreter: Path) -> dict[str, str]:
    """The variables of the job: the caller's, and where Spark finds its configuration, Python and disk."""
    conf = stack_conf(recipe.home)
    own = {
        "TZ": "UTC",
        # A folder of its own: in pods, an empty volume is mounted at this path.
        "SPARK_LOCAL_DIRS": str((recipe.temporary / LOCAL_DIR).absolute()),
        # Executors elsewhere have an interpreter of their own.
        "PYSPARK_PYTHON": recipe.environment.get("PYSPARK_PYTHON")
        or (str(interpreter) if master.is_local else "python3"),
        "PYSPARK_DRIVER_PYTHON": str(interpreter),
    }
    if master.is_local:
        own[LOCAL_IP] = master.own_address
    elif CONF_DIR not in recipe.environment and conf.is_dir():
        own[CONF_DIR] = str(conf)
    return {**recipe.environment, **own}


def _answer(
    interpreter: Path, request: Mapping[str, Any], environment: dict[str, str], log: Path
) -> tuple[dict[str, str] | None, int]:
    """The job's answer, None where it gave none, and its exit status."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [interpreter, "-P", JOB],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=STDERR,  # what a function prints; the caller's own output may be JSON
            stderr=errors,
            start_new_session=True,  # Ctrl-C comes by its input, at which it ends its JVM first
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            status = _ended(process)
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a JVM that was only just starting, or whose job was killed
    answer = Path(request["answer"])
    return (json.loads(answer.read_bytes()) if answer.is_file() else None), status


def _ended(process: subprocess.Popen[str]) -> int:
    """Wait for the exit status. Without a time limit, a Ctrl-C that another thread gets would not end the wait."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(WAKE_S)


def _refusal(recipe: Recipe, master: SparkMaster, kind: str, text: str) -> InputError:
    """The error for an answer of the job."""
    if kind == "master":
        return silent(master, text)
    if kind == "jvm":
        return _killed(text)
    if kind == "workers":
        expected, remedy = "a worker with a free core and memory", "Start one, or wait until others' jobs have ended."
        return InputError(f"the master {master.address}", expected=expected, found=text, remedy=remedy)
    if kind == "files":
        return InputError(
            f"the workers of {master.address}",
            expected=f"the files of {recipe.home / 'data'} at the same path as here",
            found=text,
            remedy="Mount the folder in the workers at this path, for reading and writing.",
        )
    what = "a query that Spark can run" if recipe.function is None else "a function that returns a table"
    return InputError(recipe.place, expected=what, found=f"'{text}'", remedy="Correct it; nothing was changed.")


def check_java(environment: Mapping[str, str]) -> None:
    """Raise InputError unless there is a Java that is new enough, in JAVA_HOME or on the PATH."""
    home = environment.get("JAVA_HOME")
    java = shutil.which(str(Path(home) / "bin" / "java") if home else "java", path=environment.get("PATH", ""))
    if java is None:
        raise _other_java(f"none in JAVA_HOME={home}" if home else "none on the PATH")
    try:
        done = subprocess.run(
            [java, "-version"],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=JAVA_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _other_java(f"{java}, which does not start ({error})") from error
    version = _JAVA_VERSION.search(done.stderr + done.stdout)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise _other_java(f"{java}, " + (f"which is Java {version[1]}" if version else "which is none"))


def _other_java(found: str) -> InputError:
    package = "`brew install openjdk@17`" if sys.platform == "darwin" else "`apt-get install openjdk-17-jre-headless`"
    remedy = f"Install one, on this machine with {package}, or name another by JAVA_HOME."
    return InputError(PLACE, expected=f"Java {OLDEST_JAVA} or newer, which Spark runs on", found=found, remedy=remedy)


def _killed(found: str) -> InputError:
    remedy = (
        "Call it again; give Spark more memory (SPARK_DRIVER_MEMORY=4g) if it was short of it. Nothing was changed."
    )
    return InputError(PLACE, expected="a job that ends by itself", found=found, remedy=remedy)


def _end(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "".join(f"\n    {line}" for line in lines[-LOG_LINES:])


def _own_version() -> str | None:
    try:
        return importlib.metadata.version("pyspark")
    except importlib.metadata.PackageNotFoundError:
        return None
