"""The settings of a stack on Docker: given, else kept in the environment file, else generated or chosen.

A value comes from the caller (environment or flag), else from a person's own line in the environment file, else from
the block there, which keeps earlier settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from winnow.config.addresses import with_driver
from winnow.config.errors import InputError
from winnow.platforms import stack_variables as variables
from winnow.platforms.docker.env_file import EnvFile
from winnow.platforms.stack_variables import (
    ALLOWED_HOSTS,
    ALLOWED_ORIGINS,
    BACKEND,
    CONSOLE_PORT,
    DESTINATION,
    ENDPOINT,
    KEYS,
    MLFLOW_PORT,
    POSTGRES_PORT,
    SECRETS,
    STUDIES,
    USER,
    default,
)

CONSOLE_ADDRESS = "127.0.0.1"
"""MinIO's console answers on this machine only, whatever WINNOW_BIND says: its user may change any artifact."""

_USUAL_PORTS = {MLFLOW_PORT: 5000, CONSOLE_PORT: 9001}
_FORMER_MLFLOW_PORT = "5500"
"""MLflow's port in a stack whose environment file names none: that was the default once."""

_LAST_PORT = 65535
_OF_MINIO = frozenset({ENDPOINT, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})


def choose(given: Mapping[str, str], file: EnvFile, new_password: Callable[[], str]) -> EnvFile:
    """The environment file with all that the stack needs. Raises InputError where it cannot start with a value."""
    own = file.own
    values = _merged(given, file)
    block = {one.name: values.get(one.name, "") for one in (*variables.settings_of("docker"), *STUDIES)}
    block[BACKEND] = with_driver(block[BACKEND])
    block["EXTRAS"] = ",".join(variables.extras(block))
    block[ALLOWED_HOSTS] = ",".join(_hosts(block))
    block[ALLOWED_ORIGINS] = variables.origins(block[ALLOWED_HOSTS])
    keys = _artifact_keys(block[DESTINATION], values, own)
    variables.check({**block, **keys})
    variables.check_keys(block[DESTINATION], values)
    _check_ports(block)
    block = {name: text for name, text in block.items() if text and text != own.get(name)}
    passwords = {name: file.block.get(name) or new_password() for name in SECRETS if name not in own}
    user = {} if USER in own else {USER: file.block.get(USER, "winnow")}
    variables.check_passwords({**own, **passwords})
    return EnvFile(file.own_text, {**block, **keys, **user, **passwords})


def choose_ports(
    given: Mapping[str, str], file: EnvFile, is_free: Callable[[str, int], bool]
) -> tuple[dict[str, str], list[str]]:
    """The ports of MLflow and MinIO's console, by setting, and a line about each that is not the usual one.

    Args:
        file: the environment file. A stack that exists has a block there, and keeps its ports.
        is_free: whether a port of an address can be listened on.
    """
    values = _merged(given, file)
    addresses = {MLFLOW_PORT: values.get("WINNOW_BIND") or default("WINNOW_BIND"), CONSOLE_PORT: CONSOLE_ADDRESS}
    if values.get(DESTINATION):
        del addresses[CONSOLE_PORT]
    named = {name: values[name] for name in (MLFLOW_PORT, CONSOLE_PORT, POSTGRES_PORT) if values.get(name)}
    if file.block:
        named.setdefault(MLFLOW_PORT, _FORMER_MLFLOW_PORT)
    used = {named.get(POSTGRES_PORT, default(POSTGRES_PORT)), *named.values()}
    lines = []
    for name, address in addresses.items():
        if name in named:
            continue
        usual = _USUAL_PORTS[name]
        candidates = (port for port in range(usual, _LAST_PORT) if str(port) not in used and is_free(address, port))
        port = next(candidates, usual)
        if port != usual:
            lines.append(f"port {usual} of {address} is taken: {name} is {port}")
        named[name] = str(port)
        used.add(str(port))
    return {name: named[name] for name in addresses}, lines


def _merged(given: Mapping[str, str], file: EnvFile) -> dict[str, str]:
    layers = (file.block, file.own, given)
    return {name: text for layer in layers for name, text in layer.items() if text}


def _check_ports(values: Mapping[str, str]) -> None:
    """Refuse two services at one port."""
    seen: dict[str, str] = {}
    for name in (MLFLOW_PORT, POSTGRES_PORT, CONSOLE_PORT):
        text = values[name] or (default(name) if name == POSTGRES_PORT else "")
        if text:
            variables.require(name, text, text not in seen, f"another port than {seen.get(text)}", "5532")
        seen[text] = name


def _artifact_keys(destination: str, values: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The keys of another artifact store. Those that default to MinIO's are written even where they are empty."""
    if destination:
        opening = variables.keys_of(destination)
        found = {one.name: values.get(one.name, "") if one.name in opening else "" for one in KEYS}
        return {name: text for name, text in found.items() if (text or name in _OF_MINIO) and text != own.get(name)}
    stray = next((one.name for one in KEYS if one.name in own), None)
    if stray is not None:
        raise InputError(
            f"{stray} in the environment file",
            expected=f"{DESTINATION} beside it, which names the artifact store that it opens",
            found="none, which means the stack's MinIO",
            remedy=f"Add {DESTINATION}, or remove the line.",
        )
    return {}


def _hosts(values: Mapping[str, str]) -> list[str]:
    """Host headers to allow besides compose.yaml's own: those given, and the address that ports bind to."""
    given = [host.strip() for host in values[ALLOWED_HOSTS].split(",") if host.strip()]
    bind = values["WINNOW_BIND"]
    bound = [] if not bind or bind.startswith(("127.", "0.")) else [f"{bind}:*"]
    return list(dict.fromkeys([*given, *bound]))
