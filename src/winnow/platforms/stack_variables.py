"""The settings of the stack: the tables from which flags and documents are generated, and how values are chosen.

A value comes from the caller (environment or flag), else from a person's own line in the environment file, else from
the block there, which keeps earlier settings. compose.yaml has the same defaults; those here are for people to read,
and for decisions of this program.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from winnow.config.addresses import with_driver
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Variable
from winnow.platforms.stack_env_file import EnvFile

SETTINGS = (
    Variable("WINNOW_PROJECT", "winnow", "Name of the Compose project: of all containers, volumes and networks."),
    Variable("WINNOW_BIND", "127.0.0.1", "Address that published ports bind to; 0.0.0.0 opens them to the network."),
    Variable("MLFLOW_PORT", "5000, or the next free one", "MLflow's port on this machine."),
    Variable("POSTGRES_PORT", "5532", "Postgres' port on this machine."),
    Variable(
        "MINIO_CONSOLE_PORT",
        "9001, or the next free one",
        "Port of MinIO's console on 127.0.0.1, whatever WINNOW_BIND says.",
    ),
    Variable("MLFLOW_WORKERS", "2", "Processes of the MLflow server."),
    Variable(
        "MLFLOW_SERVER_ALLOWED_HOSTS",
        "",
        "More Host headers that MLflow answers, separated by commas, whole: mlflow.example.com, 10.0.0.5:5000.",
    ),
    Variable(
        "MLFLOW_BACKEND_STORE_URI",
        "the stack's Postgres",
        "MLflow's own database: postgresql://, mysql:// or sqlite:////winnow/mlflow.db, as its container reaches it.",
    ),
    Variable(
        "MLFLOW_ARTIFACTS_DESTINATION",
        "the stack's MinIO",
        "Where artifacts are kept: s3://, wasbs://, gs://, or a path such as /winnow/artifacts.",
    ),
    Variable(
        "EXTRAS", "", "Extras of the image, separated by commas: mysql, azure, gcs. The addresses above add theirs."
    ),
    Variable("BASE_IMAGE", "python:3.11-slim-bookworm", "What the image is built on."),
    Variable(
        "TRACKING_IMAGE",
        "winnow-tracking",
        "MLflow's server, on Docker with WINNOW_PROJECT as its tag; an image of another name is not built but pulled.",
    ),
    Variable("POSTGRES_IMAGE", "postgres:15-bookworm", "Postgres' image, for a mirror or a digest."),
    Variable("MINIO_IMAGE", "minio/minio:RELEASE.2025-09-07T16-13-09Z", "MinIO's image, for a mirror or a digest."),
    Variable("MLFLOW_CPUS", "1", "CPUs that MLflow may use."),
    Variable("MLFLOW_MEMORY", "2g", "Memory that MLflow may use."),
    Variable("POSTGRES_CPUS", "1", "CPUs that Postgres may use."),
    Variable("POSTGRES_MEMORY", "1g", "Memory that Postgres may use."),
    Variable("MINIO_CPUS", "1", "CPUs that MinIO may use."),
    Variable("MINIO_MEMORY", "1g", "Memory that MinIO may use."),
)
"""Settings that may be shown and given as a flag; `ONLY_ON` says which of them one platform has alone."""

CLUSTER_SETTINGS = (
    Variable("POSTGRES_VOLUME", "10Gi", "Size of Postgres' volume, fixed once it is there."),
    Variable("MINIO_VOLUME", "20Gi", "Size of MinIO's volume, fixed once it is there."),
    Variable("STORAGE_CLASS", "the cluster's default", "Storage class of the volumes, fixed once they are there."),
    Variable(
        "TRACKING_OVERLAY",
        "",
        "A YAML file with parts of the manifests in k8s/tracking, each with its kind and name, to lay over them: "
        "requests, node selectors, pull secrets, whatever else pods can have.",
    ),
    Variable(
        "WORKER_EGRESS",
        "public",
        "What workers reach beside names, each other and the stack, where the network enforces policies: `public` "
        "addresses, networks such as 10.20.0.0/16, or `none`; several with commas.",
    ),
)
"""Settings that only a stack on a cluster has."""

ONLY_ON: Mapping[str, frozenset[str]] = {
    "docker": frozenset(
        {
            *("WINNOW_PROJECT", "WINNOW_ENV_FILE", "WINNOW_BIND"),
            *("MLFLOW_PORT", "POSTGRES_PORT", "MINIO_CONSOLE_PORT"),
        }
    ),
    "kubernetes": frozenset(one.name for one in CLUSTER_SETTINGS),
}
"""Names of the settings that the stack of one platform has alone."""

KEYS = (
    Variable("MLFLOW_S3_ENDPOINT_URL", "AWS' own", "An S3 service other than AWS', such as https://s3.example.com."),
    Variable("AWS_ACCESS_KEY_ID", "", "Its key."),
    Variable("AWS_SECRET_ACCESS_KEY", "", "Its key's secret."),
    Variable("AWS_SESSION_TOKEN", "", "Its key's session."),
    Variable("AWS_DEFAULT_REGION", "us-east-1", "Its region."),
    Variable("AZURE_STORAGE_CONNECTION_STRING", "", "How Azure Blob storage is opened."),
    Variable("AZURE_STORAGE_ACCESS_KEY", "", "Another way to open it."),
)
"""Keys of another artifact store than the stack's; used only with MLFLOW_ARTIFACTS_DESTINATION."""

STUDIES = (
    Variable("WINNOW_STORAGE", "the stack's Postgres", "A database of one's own for studies."),
    Variable("WINNOW_WORKER_STORAGE", "WINNOW_STORAGE", "The same as workers reach it."),
)

USER = "MINIO_ROOT_USER"
SECRETS = ("POSTGRES_PASSWORD", "MLFLOW_DB_PASSWORD", "WINNOW_DB_PASSWORD", "MINIO_ROOT_PASSWORD")
"""Generated on the first start, unless a person has written own lines for them before."""

NAMES = frozenset(variable.name for variable in (*SETTINGS, *KEYS, *STUDIES)) | {
    *SECRETS,
    USER,
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
}
"""Every variable of compose.yaml. They come from the environment file, never from the caller's environment."""

DESTINATION, BACKEND, ENDPOINT = "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_S3_ENDPOINT_URL"
_EXTRA_OF = {"mysql": "mysql", "wasbs": "azure", "abfss": "azure", "gs": "gcs"}
_OF_MINIO = frozenset({ENDPOINT, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})
_DEFAULTS = {variable.name: variable.default for variable in SETTINGS}


def settings_of(platform: str) -> tuple[Variable, ...]:
    """The settings of a platform's stack that may be shown."""
    strange = not_on(platform)
    return tuple(one for one in (*SETTINGS, *CLUSTER_SETTINGS) if one.name not in strange)


def not_on(platform: str) -> frozenset[str]:
    """Names of settings that other platforms' stacks have, and this one's has not."""
    return frozenset[str]().union(*(names for name, names in ONLY_ON.items() if name != platform))


def new_password() -> str:
    """A password that can stand in a URL: 192 random bits."""
    return secrets.token_urlsafe(24)


def default(name: str) -> str:
    """What compose.yaml takes where a setting is not given; ports that are chosen have no such value."""
    return _DEFAULTS[name]


def choose(given: Mapping[str, str], file: EnvFile, new_password: Callable[[], str]) -> EnvFile:
    """The environment file with everything that the stack needs; own lines stay as they are.

    Raises:
        InputError: the stack cannot start with one of the values.
    """
    own, kept = file.own, file.block

    def value(name: str) -> str:
        return given.get(name) or own.get(name) or kept.get(name, "")

    block = {one.name: value(one.name) for one in (*SETTINGS, *STUDIES)}
    for name in (BACKEND, DESTINATION):
        block[name] = with_driver(block[name])
    block["EXTRAS"] = ",".join(extras(block))
    block["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(_hosts(block))
    block["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins(block["MLFLOW_SERVER_ALLOWED_HOSTS"]))
    keys = _artifact_keys(block[DESTINATION], value, own)
    check({**block, **keys})
    block = {name: text for name, text in block.items() if text and text != own.get(name)}
    passwords = {name: kept.get(name) or new_password() for name in SECRETS if name not in own}
    user = {} if USER in own else {USER: kept.get(USER, "winnow")}
    check_passwords({**own, **passwords})
    return EnvFile(file.own_text, {**block, **keys, **user, **passwords})


def missing_secrets(values: Mapping[str, str] | None) -> list[str]:
    """The generated passwords that an environment file or a Secret lacks; all of them where there is none."""
    return [name for name in SECRETS if not (values or {}).get(name)]


def secrets_lost(place: str, volumes: Sequence[str], found: str, *, platform: str) -> InputError:
    """The error where volumes exist and the secrets that open them do not.

    Args:
        place: where the secrets should be.
        found: what is there.
    """
    return InputError(
        place,
        expected=f"the secrets that open the volumes {', '.join(volumes)}",
        found=found,
        remedy="Bring it back from a copy, or delete the data: "
        f"`{next_command('mlflow-remove', platform=platform, volumes=True)}`.",
    )


def check(values: Mapping[str, str]) -> None:
    """Refuse values with which the stack cannot start.

    Raises:
        InputError: names the variable.
    """
    _check_ports(values)
    workers = values.get("MLFLOW_WORKERS") or "1"
    require("MLFLOW_WORKERS", workers, workers.isdecimal() and int(workers) > 0, "a whole number from 1", "2")
    project = values.get("WINNOW_PROJECT") or default("WINNOW_PROJECT")
    is_name = re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project) is not None
    require("WINNOW_PROJECT", project, is_name, "lower-case letters, digits, '-' and '_'", "winnow")
    bind = values.get("WINNOW_BIND") or default("WINNOW_BIND")
    require("WINNOW_BIND", bind, _is_address(bind), "an IPv4 address", "127.0.0.1")
    _check_backend(values.get(BACKEND, ""))
    _check_destination(values.get(DESTINATION, ""))
    _check_host(ENDPOINT, values.get(ENDPOINT, ""))


def _check_ports(values: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for name in ("MLFLOW_PORT", "POSTGRES_PORT", "MINIO_CONSOLE_PORT"):
        text = values.get(name) or (default(name) if name == "POSTGRES_PORT" else "")
        if not text:
            continue
        require(name, text, text.isdecimal() and 0 < int(text) < 65536, "a port, 1 to 65535", "5600")
        require(name, text, text not in seen, f"another port than {seen.get(text)}", "5532")
        seen[text] = name


def _artifact_keys(destination: str, value: Callable[[str], str], own: Mapping[str, str]) -> dict[str, str]:
    """The keys of another artifact store. Those that default to MinIO's are written even where they are empty."""
    if destination:
        found = {one.name: value(one.name) for one in KEYS}
        return {name: text for name, text in found.items() if (text or name in _OF_MINIO) and text != own.get(name)}
    stray = next((one.name for one in KEYS if one.name in own), None)
    if stray is not None:
        raise InputError(
            f"{stray} in the environment file",
            expected=f"{DESTINATION} beside it, for it opens an artifact store of your own",
            found="none, which means the stack's MinIO",
            remedy=f"Add {DESTINATION}, or remove the line.",
        )
    return {}


def extras(values: Mapping[str, str]) -> list[str]:
    """The image's extras: those that are named, and those that a database or store needs."""
    given = [extra.strip() for extra in values.get("EXTRAS", "").split(",") if extra.strip()]
    schemes = [urlsplit(values.get(name, "")).scheme.partition("+")[0] for name in (BACKEND, DESTINATION)]
    return sorted({*given, *(_EXTRA_OF[scheme] for scheme in schemes if scheme in _EXTRA_OF)})


def _hosts(values: Mapping[str, str]) -> list[str]:
    """Host headers to allow besides compose.yaml's own: those given, and the address that ports bind to."""
    given = [host.strip() for host in values["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",") if host.strip()]
    bind = values["WINNOW_BIND"] or default("WINNOW_BIND")
    bound = [] if bind.startswith(("127.", "0.")) else [f"{bind}:*"]
    return list(dict.fromkeys([*given, *bound]))


def origins(allowed_hosts: str) -> list[str]:
    """The origins that MLflow's own pages send when they write."""
    hosts = [host.strip() for host in allowed_hosts.split(",") if host.strip() not in ("", "*")]
    return [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]


def _check_backend(uri: str) -> None:
    if not uri:
        return
    scheme = urlsplit(uri).scheme.partition("+")[0]
    databases = ("postgresql", "mysql", "mssql", "sqlite")
    shown = f"{scheme}://…" if scheme else "no URL"
    require(BACKEND, shown, scheme in databases, f"a URL of one of {', '.join(databases)}", "postgresql://me@db/mlflow")
    if scheme == "sqlite":
        is_kept = uri.startswith("sqlite:////")
        require(BACKEND, uri, is_kept, "an absolute path in MLflow's container", "sqlite:////winnow/mlflow.db")
    _check_host(BACKEND, uri)


def _check_destination(uri: str) -> None:
    if not uri:
        return
    scheme = urlsplit(uri).scheme
    known = ("s3", "gs", "wasbs", "abfss", "hdfs", "sftp", "ftp", "file")
    is_known = scheme in known or uri.startswith("/")
    require(DESTINATION, uri, is_known, f"an absolute path, or a URL of one of {', '.join(known)}", "s3://my-bucket")


def _check_host(name: str, uri: str) -> None:
    host = urlsplit(uri).hostname
    require(
        name,
        f"the host {host}",
        host not in ("localhost", "127.0.0.1", "::1"),
        "a host that MLflow's container can reach, where localhost is the container itself",
        "host.docker.internal, which is this machine",
    )


def check_passwords(values: Mapping[str, str]) -> None:
    """Refuse a password that no URL can hold. Raises InputError, which does not show it."""
    for name in SECRETS:
        text = values[name]
        is_safe = re.fullmatch(r"[A-Za-z0-9._~-]{8,}", text) is not None
        require(
            name, "another", is_safe, "at least 8 letters, digits, '-', '.', '_' and '~', which are safe in a URL", ""
        )


def _is_address(text: str) -> bool:
    try:
        return ip_address(text).version == 4
    except ValueError:
        return False


def require(name: str, found: str, is_met: bool, expected: str, example: str) -> None:
    """Raises InputError unless the condition is met."""
    if not is_met:
        remedy = f"Correct it, for example: {example}." if example else "Correct it."
        raise InputError(name, expected=expected, found=f"'{found}'", remedy=remedy)
