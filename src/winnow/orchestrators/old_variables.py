"""Refuse environment variables that once said what is served: the experiment file says it now.

The environment says where things are and who asks, so that what is served can be rendered, stored and compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from winnow.config.env_file import read_variables
from winnow.config.errors import InputError

KEYS: Mapping[str, str] = {
    "WINNOW_REPLICA_CPUS": "serving.resources.cpu",
    "WINNOW_REPLICA_MEMORY": "serving.resources.memory",
    "WINNOW_REPLICA_CPU_REQUEST": "serving.resources.cpu_request",
    "WINNOW_REPLICA_MEMORY_REQUEST": "serving.resources.memory_request",
    "WINNOW_MAX_REPLICAS": "serving.autoscale.max",
    "WINNOW_REPLICA_CPU_TARGET": "serving.autoscale.cpu",
    "WINNOW_SCALE_DOWN_AFTER_S": "serving.autoscale.scale_down_after_s",
    "WINNOW_INGRESS_HOST": "serving.host",
    "WINNOW_INGRESS_CLASS": "serving.ingress_class",
    "WINNOW_INGRESS_TLS_SECRET": "serving.tls_secret",
    "WINNOW_SETTLE_S": "serving.settle_s",
    "WINNOW_DRAIN_S": "serving.drain_s",
    "WINNOW_ACCESS_LOG": "serving.access_log",
    "WINNOW_MAX_BODY_BYTES": "serving.limits.max_body_bytes",
    "WINNOW_MAX_ROWS": "serving.limits.max_rows",
    "WINNOW_MAX_HEADER_BYTES": "serving.limits.max_header_bytes",
    "WINNOW_MAX_CONNECTIONS": "serving.limits.max_connections",
    "WINNOW_MAX_INFLIGHT_BYTES": "serving.limits.max_inflight_bytes",
    "WINNOW_HEADER_TIMEOUT_S": "serving.limits.header_timeout_s",
    "WINNOW_BODY_TIMEOUT_S": "serving.limits.body_timeout_s",
}
"""Each variable with the key of the experiment file that replaces it."""


def refuse_old_variables(environment: Mapping[str, str], folder: Path = Path()) -> None:
    """Refuse the variables of `KEYS`, in the environment and in `.env`.

    Args:
        folder: where `.env` is, unless WINNOW_ENV_FILE names another file.

    Raises:
        InputError: some are set. It lists all of them, with the keys to write instead.
    """
    file = folder / (environment.get("WINNOW_ENV_FILE") or ".env")
    found = [*_found(environment, ""), *_found(_variables(file), f" in {file}")]
    if found:
        raise InputError(
            "the environment",
            expected="no variables that say what is served, since the experiment file does",
            found=", ".join(f"{name}{place}" for name, place in found),
            remedy="Unset them and write instead: "
            + ", ".join(f"`{KEYS[name]}` for {name}" for name in dict.fromkeys(name for name, _ in found))
            + ".",
        )


def _found(variables: Mapping[str, str], place: str) -> Iterator[tuple[str, str]]:
    yield from ((name, place) for name in KEYS if variables.get(name))


def _variables(file: Path) -> Mapping[str, str]:
    """Those of an environment file; none where it cannot be read, which the verbs that need it say better."""
    try:
        return read_variables(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}
