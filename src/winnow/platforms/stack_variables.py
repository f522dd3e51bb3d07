"""The settings of the stack on every platform: one table, with the rule that each value has to meet.

Flags and documents are generated from the table. `docker.stack_settings` and `kubernetes.stack_settings` merge what is
given with what was kept. The defaults are those of compose.yaml and k8s/tracking; here they are for people to read.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from winnow.config.addresses import without_password
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.quantities import QUANTITY
from winnow.config.settings import Variable
from winnow.tracking import store_check

BACKEND, DESTINATION, ENDPOINT = "MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_S3_ENDPOINT_URL"
MLFLOW_PORT, POSTGRES_PORT, CONSOLE_PORT = "MLFLOW_PORT", "POSTGRES_PORT", "MINIO_CONSOLE_PORT"
ALLOWED_HOSTS, ALLOWED_ORIGINS = "MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
PROJECT, ENV_FILE, EGRESS = "WINNOW_PROJECT", "WINNOW_ENV_FILE", "WORKER_EGRESS"

_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
STORE_CHECK = Path(store_check.__file__).read_text(encoding="utf-8")
"""The program that opens the artifact store in that image."""

_DATABASES = ("postgresql", "mysql", "mssql", "sqlite")
_STORES = ("s3", "gs", "wasbs", "abfss", "hdfs", "sftp", "ftp", "file")
_HOST_OF = {"wasbs": "blob", "abfss": "dfs"}
_EXTRA_OF = {"mysql": "mysql", "wasbs": "azure", "abfss": "azure", "gs": "gcs"}


class Rule(NamedTuple):
    """What a value has to be, an example of one, and the test."""

    expected: str
    example: str
    is_met: Callable[[str], object]


@dataclass(frozen=True)
class Setting(Variable):
    """A setting of the stack.

    Attributes:
        platform: the only platform whose stack has it; empty for every platform.
        rules: what a value that is not empty has to meet.
    """

    platform: str = ""
    rules: tuple[Rule, ...] = ()


def quantity(text: str) -> str:
    """Memory as Kubernetes writes it. Docker's `2g` and `2GB` mean `2Gi`."""
    match = re.fullmatch(r"([0-9.]+)([kmgt]b?|[KMGT]B)", text)
    return f"{match[1]}{match[2][0].upper()}i" if match is not None else text


def egress_of(text: str) -> tuple[bool, list[str]]:
    """What WORKER_EGRESS permits: whether public addresses, and which networks. Empty means the default."""
    parts = [part.strip() for part in text.split(",") if part.strip()] or ["public"]
    return "public" in parts, [part for part in parts if part not in ("public", "none")]


def _is_egress(text: str) -> bool:
    is_public, networks = egress_of(text)
    if "none" in text and (is_public or networks):
        return False
    try:
        return all("/" in network and ipaddress.ip_network(network) for network in networks)
    except ValueError:
        return False


def _is_ipv4(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False


def scheme_of(uri: str) -> str:
    """A URL's scheme without its driver; empty where it is no URL."""
    return urlsplit(uri).scheme.partition("+")[0]


def _account(destination: str) -> str:
    """The storage account of an address of Azure; empty where it names none."""
    parts = urlsplit(destination)
    host = rf"{_HOST_OF.get(parts.scheme, '')}\.core\.(windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)"
    match = re.fullmatch(rf"[a-z0-9$][a-z0-9-]{{2,62}}@([a-z0-9]{{3,24}})\.{host}", parts.netloc)
    return match[1] if match is not None else ""


_PORT = Rule("a port, 1 to 65535", "5600", lambda text: text.isdecimal() and 0 < int(text) < 65536)
_COUNT = Rule("a whole number from 1", "2", lambda text: text.isdecimal() and int(text) > 0)
_NAME = Rule(
    "lower-case letters, digits, '-' and '_'", "winnow", lambda text: re.fullmatch(r"[a-z0-9][a-z0-9_-]*", text)
)
_ADDRESS = Rule("an IPv4 address", "127.0.0.1", _is_ipv4)
_CPUS = Rule("CPUs such as 2, 0.5 or 500m", "0.5", lambda text: re.fullmatch(r"[0-9]+m|[0-9]*\.?[0-9]+", text))
_AMOUNT = Rule("an amount such as 512Mi or 2Gi", "2Gi", lambda text: re.fullmatch(QUANTITY, quantity(text)))
_EGRESS = Rule("public, none or networks", "public,10.20.0.0/16", _is_egress)
_REACHABLE = Rule(
    "a host that MLflow's container can reach, where localhost is the container itself",
    "host.docker.internal, which is this machine",
    lambda text: urlsplit(text).hostname not in ("localhost", "127.0.0.1", "::1"),
)
_DATABASE = Rule(
    f"a URL of one of {', '.join(_DATABASES)}",
    "postgresql://me@db/mlflow",
    lambda text: scheme_of(text) in _DATABASES,
)
_KEPT_FILE = Rule(
    "an absolute path in MLflow's container",
    "sqlite:////winnow/mlflow.db",
    lambda text: scheme_of(text) != "sqlite" or text.startswith("sqlite:////"),
)
_STORE = Rule(
    f"an absolute path, or a URL of one of {', '.join(_STORES)}",
    "s3://my-bucket",
    lambda text: urlsplit(text).scheme in _STORES or text.startswith("/"),
)

_BUCKET = Rule(
    "a bucket's name after the scheme: 3 letters or more of a-z, 0-9, '.', '_' and '-'",
    "s3://my-bucket/mlflow",
    lambda text: (
        urlsplit(text).scheme not in ("s3", "gs")
        or re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", urlsplit(text).netloc)
    ),
)
# Other addresses are refused by MLflow itself, but only once it is asked for an artifact.
_CONTAINER = Rule(
    "wasbs://CONTAINER@ACCOUNT.blob.core.windows.net or abfss://CONTAINER@ACCOUNT.dfs.core.windows.net",
    "wasbs://mlflow@myaccount.blob.core.windows.net/path",
    lambda text: urlsplit(text).scheme not in _HOST_OF or _account(text),
)

SETTINGS = (
    Setting(
        PROJECT, "winnow", "Name of the Compose project: of all containers, volumes and networks.", "docker", (_NAME,)
    ),
    Setting(
        "WINNOW_BIND",
        "127.0.0.1",
        "Address that published ports bind to; 0.0.0.0 opens them to the network.",
        "docker",
        (_ADDRESS,),
    ),
    Setting(MLFLOW_PORT, "5000, or the next free one", "MLflow's port on this machine.", "docker", (_PORT,)),
    Setting(POSTGRES_PORT, "5532", "Postgres' port on this machine.", "docker", (_PORT,)),
    Setting(
        CONSOLE_PORT,
        "9001, or the next free one",
        "Port of MinIO's console on 127.0.0.1, whatever WINNOW_BIND says.",
        "docker",
        (_PORT,),
    ),
    Setting("MLFLOW_WORKERS", "2", "Processes of the MLflow server.", rules=(_COUNT,)),
    Setting(
        ALLOWED_HOSTS,
        "",
        "More Host headers that MLflow answers, separated by commas, whole: mlflow.example.com, 10.0.0.5:5000.",
    ),
    Setting(
        BACKEND,
        "the stack's Postgres",
        "MLflow's own database: postgresql://, mysql:// or sqlite:////winnow/mlflow.db, as its container reaches it.",
        rules=(_DATABASE, _KEPT_FILE, _REACHABLE),
    ),
    Setting(
        DESTINATION,
        "the stack's MinIO",
        "Where artifacts are kept: s3://, wasbs://, gs://, or a path such as /winnow/artifacts.",
        rules=(_STORE, _BUCKET, _CONTAINER),
    ),
    Setting(
        "EXTRAS", "", "Extras of the image, separated by commas: mysql, azure, gcs. The addresses above add theirs."
    ),
    Setting("BASE_IMAGE", "python:3.11-slim-bookworm", "Base of the tracking server's image."),
    Setting(
        "TRACKING_IMAGE",
        "winnow-tracking",
        "MLflow's server, on Docker with WINNOW_PROJECT as its tag; an image of another name is not built but pulled.",
    ),
    Setting("POSTGRES_IMAGE", "postgres:15-bookworm", "Postgres' image, for a mirror or a digest."),
    Setting("MINIO_IMAGE", "minio/minio:RELEASE.2025-09-07T16-13-09Z", "MinIO's image, for a mirror or a digest."),
    Setting("MLFLOW_CPUS", "1", "CPUs that MLflow may use.", rules=(_CPUS,)),
    Setting("MLFLOW_MEMORY", "2g", "Memory that MLflow may use.", rules=(_AMOUNT,)),
    Setting("POSTGRES_CPUS", "1", "CPUs that Postgres may use.", rules=(_CPUS,)),
    Setting("POSTGRES_MEMORY", "1g", "Memory that Postgres may use.", rules=(_AMOUNT,)),
    Setting("MINIO_CPUS", "1", "CPUs that MinIO may use.", rules=(_CPUS,)),
    Setting("MINIO_MEMORY", "1g", "Memory that MinIO may use.", rules=(_AMOUNT,)),
    Setting(
        "POSTGRES_VOLUME", "10Gi", "Size of Postgres' volume, fixed once the volume exists.", "kubernetes", (_AMOUNT,)
    ),
    Setting("MINIO_VOLUME", "20Gi", "Size of MinIO's volume, fixed once the volume exists.", "kubernetes", (_AMOUNT,)),
    Setting(
        "STORAGE_CLASS",
        "the cluster's default",
        "Storage class of the volumes, fixed once the volumes exist.",
        "kubernetes",
    ),
    Setting(
        "TRACKING_OVERLAY",
        "",
        "A YAML file that is merged into the manifests in k8s/tracking. Each document names the kind and the name of "
        "the manifest that it changes: requests, node selectors, pull secrets, and all else that pods can have.",
        "kubernetes",
    ),
    Setting(
        EGRESS,
        "public",
        "What workers may reach besides DNS, each other and the stack, if the network enforces policies: `public` "
        "addresses, networks such as 10.20.0.0/16, or `none`. Separate several with commas.",
        "kubernetes",
        (_EGRESS,),
    ),
)
"""Settings that may be shown and given as a flag."""

KEYS = (
    Setting(
        ENDPOINT,
        "AWS' own",
        "An S3 service other than AWS', such as https://s3.example.com.",
        rules=(_REACHABLE,),
    ),
    Setting("AWS_ACCESS_KEY_ID", "", "Access key of that service."),
    Setting("AWS_SECRET_ACCESS_KEY", "", "Secret of the access key."),
    Setting("AWS_SESSION_TOKEN", "", "Session token of the access key."),
    Setting("AWS_DEFAULT_REGION", "us-east-1", "Region of that service."),
    Setting(_CONNECTION, "", "Connection string of Azure Blob storage."),
    Setting("AZURE_STORAGE_ACCESS_KEY", "", "Access key of Azure Blob storage, instead of a connection string."),
)
"""Keys of another artifact store than the stack's; used only with MLFLOW_ARTIFACTS_DESTINATION."""

STUDIES = (
    Setting("WINNOW_STORAGE", "the stack's Postgres", "Your own database for studies."),
    Setting("WINNOW_WORKER_STORAGE", "WINNOW_STORAGE", "The address of that database for workers."),
)

USER = "MINIO_ROOT_USER"
SECRETS = ("POSTGRES_PASSWORD", "MLFLOW_DB_PASSWORD", "WINNOW_DB_PASSWORD", "MINIO_ROOT_PASSWORD")
"""Generated on the first start, unless the environment file has lines for them."""

SECRET_KEYS = frozenset(one.name for one in KEYS if one.name not in (ENDPOINT, "AWS_DEFAULT_REGION"))
"""The keys that only a Secret may hold."""

_ALL = {one.name: one for one in (*SETTINGS, *KEYS, *STUDIES)}
NAMES = frozenset({*_ALL, *SECRETS, USER, ALLOWED_ORIGINS})
"""Every variable of compose.yaml. They come from the environment file, never from the caller's environment."""


def settings_of(platform: str) -> tuple[Setting, ...]:
    """The settings of a platform's stack that may be shown."""
    return tuple(one for one in SETTINGS if one.platform in ("", platform))


def not_on(platform: str) -> frozenset[str]:
    """Names of settings that only other platforms' stacks have."""
    others = {one.name for one in SETTINGS if one.platform not in ("", platform)}
    return frozenset(others if platform == "docker" else {*others, ENV_FILE})


def default(name: str) -> str:
    """The value of a setting that is not given; ports that are chosen have none."""
    return _ALL[name].default


def new_password() -> str:
    """A password that can stand in a URL: 192 random bits."""
    return secrets.token_urlsafe(24)


def check(values: Mapping[str, str]) -> None:
    """Raises InputError, which names the variable, where a value breaks its rules."""
    for name, text in values.items():
        for rule in _ALL[name].rules if text and name in _ALL else ():
            require(name, _shown(name, text), bool(rule.is_met(text)), rule.expected, rule.example)


def can_check(destination: str) -> bool:
    """Whether the artifact store is one of a cloud, which is opened before MLflow's server starts."""
    return scheme_of(destination) in ("s3", "gs", *_HOST_OF)


def closed_store(destination: str, found: str, *, lacks_package: bool) -> InputError:
    """The error for an artifact store that MLflow's container cannot open; `found` is what it says of it."""
    remedy = f"Correct {DESTINATION}, or what opens it ({', '.join(sorted(keys_of(destination))) or 'see the page'})"
    if lacks_package:
        extra = _EXTRA_OF.get(scheme_of(destination), "s3")
        remedy = f"Leave TRACKING_IMAGE out, or add winnow's extra '{extra}' to your own image"
    return InputError(
        DESTINATION,
        expected=f"a store that MLflow's container can open: {destination}",
        found=f"'{found}'",
        remedy=f"{remedy}; docs/stores.md shows what each store needs.",
    )


def keys_of(destination: str) -> frozenset[str]:
    """The names of the keys that open an artifact store; those of other stores are not for it."""
    if scheme_of(destination) == "s3":
        return frozenset(one.name for one in KEYS if one.name == ENDPOINT or one.name.startswith("AWS_"))
    return frozenset({_CONNECTION, "AZURE_STORAGE_ACCESS_KEY"}) if scheme_of(destination) == "wasbs" else frozenset()


def check_keys(destination: str, values: Mapping[str, str]) -> None:
    """Raises InputError, which shows no secret, where keys do not open the store: half a key, another account's."""
    names = keys_of(destination)
    pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for one, other in (pair, pair[::-1]):
        if one in names and values.get(one) and not values.get(other):
            raise InputError(
                other,
                expected=f"the other half of {one}",
                found="none",
                remedy=f"Set both, or neither where MLflow has an identity of its own: `{one}= {other}= …`.",
            )
    connection = values.get(_CONNECTION, "") if _CONNECTION in names else ""
    parts = dict(part.partition("=")[::2] for part in connection.split(";"))
    if connection and not (parts.get("AccountName") or parts.get("BlobEndpoint")):
        raise InputError(
            _CONNECTION,
            expected="a connection string with AccountName or BlobEndpoint",
            found="another text",
            remedy="Copy it: `az storage account show-connection-string --name ACCOUNT`.",
        )
    account = parts.get("AccountName")
    if account and account != _account(destination):
        raise InputError(
            _CONNECTION,
            expected=f"one of the account '{_account(destination)}', which {DESTINATION} names",
            found=f"one of '{account}'",
            remedy="Correct the one or the other.",
        )


def _shown(name: str, text: str) -> str:
    """A wrong value as its error shows it. A mistyped address of a database may hold a password anywhere."""
    if name == BACKEND:
        return f"{scheme_of(text)}://…" if scheme_of(text) else "no URL"
    return without_password(text)


def check_passwords(values: Mapping[str, str]) -> None:
    """Raises InputError, which does not show the password, where a URL cannot hold one."""
    expected = "at least 8 letters, digits, '-', '.', '_' and '~', which are safe in a URL"
    for name in SECRETS:
        require(name, "another", re.fullmatch(r"[A-Za-z0-9._~-]{8,}", values[name]) is not None, expected, "")


def require(name: str, found: str, is_met: bool, expected: str, example: str) -> None:
    """Raises InputError unless the condition is met."""
    if not is_met:
        remedy = f"Correct it, for example: {example}." if example else "Correct it."
        raise InputError(name, expected=expected, found=f"'{found}'", remedy=remedy)


def missing_secrets(values: Mapping[str, str] | None) -> list[str]:
    """The generated passwords that an environment file or a Secret lacks; all of them where there is none."""
    return [name for name in SECRETS if not (values or {}).get(name)]


def secrets_lost(place: str, volumes: Sequence[str], found: str, *, platform: str) -> InputError:
    """The error where volumes exist and the secrets that open them are not in their `place`."""
    return InputError(
        place,
        expected=f"the secrets that open the volumes {', '.join(volumes)}",
        found=found,
        remedy="Restore it from a copy, or delete the data: "
        f"`{next_command('mlflow-remove', platform=platform, volumes=True)}`.",
    )


def extras(values: Mapping[str, str]) -> list[str]:
    """The image's extras: those that are named, and those that a database or store needs."""
    schemes = (scheme_of(values.get(name, "")) for name in (BACKEND, DESTINATION))
    return sorted({*_parts(values.get("EXTRAS", "")), *(_EXTRA_OF[each] for each in schemes if each in _EXTRA_OF)})


def origins(allowed_hosts: str) -> str:
    """The origins that MLflow's own pages send when they write, separated by commas."""
    hosts = (host for host in _parts(allowed_hosts) if host != "*")
    return ",".join(f"{scheme}://{host}" for host in hosts for scheme in ("http", "https"))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
