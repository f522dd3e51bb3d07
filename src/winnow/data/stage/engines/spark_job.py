"""The job that Spark's engine starts as a process of the interpreter that has pyspark.

It needs pyspark and the standard library alone, since a tool environment has no winnow. It reads a request as one line
of JSON from its standard input, and writes an answer as JSON to a file: `{}` or `{"kind": …, "text": …}`. It ends
when the input is closed, and takes Spark's JVM with it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SESSION: Mapping[str, str] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.runSQLOnFiles": "false",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.executorEnv.TZ": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""What makes a query mean the same everywhere: no zone of the machine, no silent overflow, no text for a column.

No table but `raw` is read."""
LOCAL = "local"
JVM_END_S, JVM_DEATH_S = 10.0, 0.5


class RefusedError(Exception):
    """What keeps the job from its end, by its kind: master, workers, files, query, function or jvm."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def main() -> None:
    """Run one job."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    try:
        _run(request)
        answer = {}
    except RefusedError as error:
        answer = {"kind": error.kind, "text": str(error)}
    if answer and (status := _jvm_status()) is not None:
        answer = {"kind": "jvm", "text": f"its JVM ended with status {status}"}
    Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    _leave(0)


def _run(request: Mapping[str, Any]) -> None:
    session = _session(request)
    try:
        raw = session.read.parquet(*request["raw"])
    except Exception as error:
        raise RefusedError("files", first_line(error)) from error
    raw.createOrReplaceTempView("raw")
    if request["function"] is not None:
        table = _call(session, raw, request["function"])
    else:
        try:
            table = session.sql(request["sql"])
        except Exception as error:
            raise RefusedError("query", first_line(error)) from error
    kind = "query" if request["function"] is None else "function"
    if not table.columns:
        raise RefusedError(kind, "it gives no columns")
    try:
        table.write.mode("append").parquet(request["output"])
    except Exception as error:
        raise RefusedError(kind, first_line(error)) from error
    # Executors that see other files than this process commit nothing here, and Spark does not notice.
    if not any(Path(request["output"]).rglob("*.parquet")):
        raise RefusedError("files", f"no file in {request['output']}")


def _session(request: Mapping[str, Any]) -> Any:
    """A session with executors. Raises RefusedError where the master gives none in time."""
    from py4j.protocol import Py4JError
    from pyspark.sql import SparkSession

    master, seconds = request["master"], request["timeout_s"]
    is_local = master.startswith(LOCAL)
    builder = SparkSession.builder.master(master).appName(request["name"])
    for name, value in {**SESSION, **request["settings"]}.items():
        builder = builder.config(name, value)
    if not is_local:  # A slow start on this machine is no sign of a wrong address.
        signal.signal(signal.SIGALRM, _too_late)
        signal.alarm(seconds)
    try:
        session = builder.getOrCreate()
        context = session.sparkContext
        context.setLogLevel("ERROR")
        signal.alarm(0)
    except Exception as error:
        # Py4J replaces the alarm's error by one of its own; then no second of it is left.
        text = first_line(error) if is_local or signal.alarm(0) else f"no session within {seconds} s"
        raise RefusedError("master", text) from error
    deadline = time.monotonic() + seconds
    try:
        # The first one is the driver itself.
        while not is_local and context._jsc.sc().getExecutorMemoryStatus().size() < 2:
            if time.monotonic() > deadline:
                raise RefusedError("workers", f"no executor within {seconds} s")
            time.sleep(0.2)
    except Py4JError as error:  # Spark ends the session when executors fail again and again
        raise RefusedError("workers", first_line(error)) from error
    return session


def _call(session: Any, raw: Any, spec: str) -> Any:
    """What the user's function makes of the raw rows."""
    origin, _, name = spec.rpartition(":")
    try:
        if origin.endswith(".py"):
            function = _function_of_file(session, Path(origin), name)
        else:
            sys.path.insert(0, str(Path.cwd()))
            function = getattr(importlib.import_module(origin), name)
        table = function(raw)
    except Exception as error:
        raise RefusedError("function", f"{type(error).__name__}: {first_line(error)}") from error
    if not hasattr(table, "write"):
        raise RefusedError("function", f"it returns a {type(table).__name__}, no DataFrame of Spark")
    return table


def _function_of_file(session: Any, path: Path, name: str) -> Callable[[Any], Any]:
    session.sparkContext.addPyFile(str(path))  # functions that it registers run in the executors
    sys.path.insert(0, str(path.parent))
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None and found.loader is not None  # a .py file always has a loader
    module = importlib.util.module_from_spec(found)
    sys.modules[path.stem] = module
    found.loader.exec_module(module)
    return getattr(module, name)  # type: ignore[no-any-return]


def first_line(error: BaseException) -> str:
    """What an error of Spark says, without the plan, the query and the trace of the JVM."""
    text = str(error)
    java = getattr(error, "java_exception", None)
    if java is not None:
        cause = java
        while cause.getCause() is not None:
            cause = cause.getCause()
        text = cause.getMessage() or cause.toString()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # Of Python's own trace the last line is the error.
    return lines[-1] if any(line.startswith("Traceback (most recent call last)") for line in lines) else lines[0]


def _too_late(_number: int, _frame: Any) -> None:
    raise TimeoutError


def _end_with_the_input() -> None:
    sys.stdin.read()
    _leave(1)


def _leave(status: int) -> None:
    """End the JVM, which removes its temporary files, and this process, whatever its threads wait for."""
    sys.stdout.flush()
    jvm = _jvm()
    if jvm is not None:
        jvm.stdin.close()
        try:
            jvm.wait(JVM_END_S)
        except subprocess.TimeoutExpired:
            jvm.kill()
    os._exit(status)


def _jvm_status() -> int | None:
    """The exit status of the JVM; None while it runs, and before it does."""
    jvm = _jvm()
    try:
        # A connection ends a moment before the process that had it.
        return None if jvm is None else int(jvm.wait(JVM_DEATH_S))
    except subprocess.TimeoutExpired:
        return None


def _jvm() -> Any:
    from pyspark import SparkContext

    return getattr(SparkContext._gateway, "proc", None)


if __name__ == "__main__":
    main()
