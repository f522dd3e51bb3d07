"""The ports of a stack on Docker: those that it has, else the usual ones, else the next free ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from winnow.platforms.stack_env_file import EnvFile
from winnow.platforms.stack_variables import DESTINATION, default

MLFLOW_PORT, POSTGRES_PORT, CONSOLE_PORT = "MLFLOW_PORT", "POSTGRES_PORT", "MINIO_CONSOLE_PORT"
USUAL: Mapping[str, int] = {MLFLOW_PORT: 5000, CONSOLE_PORT: 9001}
FORMER_MLFLOW_PORT = "5500"
"""Where MLflow answers in a stack whose environment file names no port: that was the default once."""

CONSOLE_ADDRESS = "127.0.0.1"
"""MinIO's console answers on this machine only, whatever WINNOW_BIND says: its user may change any artifact."""

_LAST_PORT = 65535


def choose_ports(
    given: Mapping[str, str], file: EnvFile, is_free: Callable[[str, int], bool]
) -> tuple[dict[str, str], list[str]]:
    """The ports that nothing names yet, by setting, and what to say about those that are not the usual ones.

    Args:
        file: the environment file. The one of a stack that exists has a block, and keeps its ports.
        is_free: whether a port of an address can be listened on.
    """
    values = {**file.variables(), **{name: text for name, text in given.items() if text}}
    wanted = {MLFLOW_PORT: values.get("WINNOW_BIND") or default("WINNOW_BIND"), CONSOLE_PORT: CONSOLE_ADDRESS}
    named = {name: values[name] for name in (*wanted, POSTGRES_PORT) if values.get(name)}
    if file.block:
        named.setdefault(MLFLOW_PORT, FORMER_MLFLOW_PORT)
    if values.get(DESTINATION):
        del wanted[CONSOLE_PORT]
    used = {named.get(POSTGRES_PORT, default(POSTGRES_PORT)), *named.values()}
    said = []
    for name, address in wanted.items():
        if name in named:
            continue
        usual = USUAL[name]
        port = next(
            (each for each in range(usual, _LAST_PORT) if str(each) not in used and is_free(address, each)), usual
        )
        if port != usual:
            said.append(f"port {usual} of {address} is taken: {name} is {port}")
        named[name] = str(port)
        used.add(str(port))
    return {name: named[name] for name in wanted}, said
