"""The settings of the stack on a cluster, and the content of its Secret: given, kept from the last start, or generated.

The Secret keeps the passwords that open the volumes and the settings, so that starting the stack again, from any
machine, starts the same stack. Names are those of the stack on Docker where they mean the same.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from winnow.config.addresses import with_driver
from winnow.config.errors import InputError
from winnow.config.quantities import QUANTITY
from winnow.config.stack_record import OWN_STORAGE, OWN_WORKER_STORAGE
from winnow.platforms import stack_variables as variables
from winnow.platforms.stack_variables import BACKEND, DESTINATION, ENDPOINT, KEYS, SECRETS, STUDIES, USER

REGION = "AWS_DEFAULT_REGION"
SETTINGS = variables.settings_of("kubernetes")

EGRESS = "WORKER_EGRESS"
_PUBLIC, _NOTHING = "public", "none"

KEPT = "settings"
"""The Secret's key for the settings, as JSON."""

_QUIET = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}) | {
    one.name for one in KEYS if one.name.startswith("AZURE_")
}
_DRIVER = "postgresql+psycopg"
_AMOUNTS = ("MLFLOW_MEMORY", "POSTGRES_MEMORY", "MINIO_MEMORY", "POSTGRES_VOLUME", "MINIO_VOLUME")
_CPUS = ("MLFLOW_CPUS", "POSTGRES_CPUS", "MINIO_CPUS")


@dataclass(frozen=True)
class Chosen:
    """What a stack is started with.

    Attributes:
        settings: those that are set and may be shown.
        secret: the Secret's values by key, without empty ones.
    """

    settings: Mapping[str, str]
    secret: Mapping[str, str] = field(repr=False)

    @property
    def has_own_backend(self) -> bool:
        """Whether MLflow's database is not the stack's."""
        return self.secret[BACKEND] != _backend(self.secret["MLFLOW_DB_PASSWORD"])

    @property
    def has_own_artifacts(self) -> bool:
        """Whether artifacts are kept in another store than the stack's."""
        return DESTINATION in self.settings

    @property
    def own_storage(self) -> str | None:
        """The database for studies, as workers reach it, where it is not the stack's."""
        return self.secret.get(OWN_WORKER_STORAGE) or self.secret.get(OWN_STORAGE)

    @property
    def extras(self) -> list[str]:
        """The image's extras."""
        return variables.extras({**self.settings, BACKEND: self.secret[BACKEND]})

    @property
    def has_postgres(self) -> bool:
        """Whether the stack needs a Postgres."""
        return not (self.has_own_backend and self.own_storage)


def choose(given: Mapping[str, str], secret: Mapping[str, str] | None, new_password: Callable[[], str]) -> Chosen:
    """What is given, else kept; existing passwords stay. A given empty value means the default again.

    Args:
        secret: the values of the existing Secret; None without one.

    Raises:
        InputError: a value is not one that the stack could be started with.
    """
    kept = dict(secret or {})
    settings = {**_kept_settings(kept), **{name: text for name, text in given.items() if name in _SHOWN}}
    if DESTINATION in settings:
        settings[DESTINATION] = with_driver(settings[DESTINATION])
    made = {name: kept.get(name) or new_password() for name in SECRETS}
    made[USER] = kept.get(USER) or "winnow"
    own = _own(given, kept)
    _check({**settings, **own}, made)
    settings = {name: text for name, text in settings.items() if text}
    if DESTINATION not in settings:
        settings = {name: text for name, text in settings.items() if name not in (ENDPOINT, REGION)}
    chosen = {
        **made,
        BACKEND: _backend(made["MLFLOW_DB_PASSWORD"]),
        **{name: text for name, text in own.items() if text},
        **_keys(given, kept, made, is_own=DESTINATION in settings),
        **({KEPT: json.dumps(settings, sort_keys=True)} if settings else {}),
    }
    return Chosen(settings, chosen)


def tracking_url(namespace: str) -> str:
    """MLflow's address inside the cluster."""
    return f"http://winnow-mlflow.{namespace}.svc:5000"


def storage_url(namespace: str) -> str:
    """The studies' database's address inside the cluster, without its password."""
    return f"{_DRIVER}://winnow@winnow-postgres.{namespace}.svc:5432/winnow"


_SHOWN = frozenset(one.name for one in SETTINGS) - {BACKEND} | {ENDPOINT, REGION}


def _backend(password: str) -> str:
    return f"{_DRIVER}://mlflow:{password}@winnow-postgres:5432/mlflow"


def _kept_settings(secret: Mapping[str, str]) -> dict[str, str]:
    try:
        found = json.loads(secret.get(KEPT) or "{}")
        return {str(name): str(text) for name, text in found.items() if name in _SHOWN}
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"the Secret's key '{KEPT}'",
            expected="a JSON object of what was set, as `make mlflow-init` writes it",
            found="something else",
            remedy="Remove that key, and set again what is not the default.",
        ) from error


def _own(given: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str]:
    """Databases other than the stack's: given, else those that the Secret names."""
    found = {name: given[name] if name in given else kept.get(name, "") for name in (BACKEND, *_STUDIES)}
    if BACKEND not in given and found[BACKEND] == _backend(kept.get("MLFLOW_DB_PASSWORD", "")):
        found[BACKEND] = ""
    return {name: with_driver(text) for name, text in found.items()}


_STUDIES = tuple(one.name for one in STUDIES)


def _keys(
    given: Mapping[str, str], kept: Mapping[str, str], made: Mapping[str, str], *, is_own: bool
) -> dict[str, str]:
    """The keys of the artifact store: MinIO's, or those given for another store."""
    if not is_own:
        return {"AWS_ACCESS_KEY_ID": made[USER], "AWS_SECRET_ACCESS_KEY": made["MINIO_ROOT_PASSWORD"]}
    # MinIO's key must not be sent to another store.
    was_minio = kept.get("AWS_SECRET_ACCESS_KEY") == kept.get("MINIO_ROOT_PASSWORD")
    usable = {name: text for name, text in kept.items() if not (was_minio and name.startswith("AWS_"))}
    found = {name: given[name] if name in given else usable.get(name, "") for name in sorted(_QUIET)}
    return {name: text for name, text in found.items() if text}


def _check(values: Mapping[str, str], passwords: Mapping[str, str]) -> None:
    variables.check(values)
    variables.check_passwords(passwords)
    backend, destination = values.get(BACKEND, ""), values.get(DESTINATION, "")
    variables.require(
        BACKEND,
        backend,
        not backend.startswith("sqlite"),
        "a database that does not end with its pod: postgresql:// or mysql://",
        "",
    )
    variables.require(
        DESTINATION,
        destination,
        not destination.startswith(("/", "file:")),
        "a store that does not end with MLflow's pod: s3://, wasbs:// or gs://",
        "s3://my-bucket",
    )
    for name in _AMOUNTS:
        text = values.get(name, "")
        is_amount = not text or re.fullmatch(QUANTITY, quantity(text)) is not None
        variables.require(name, text, is_amount, "an amount such as 512Mi or 2Gi", "2Gi")
    egress = values.get(EGRESS, "")
    variables.require(EGRESS, egress, _is_egress(egress), "public, none or networks", "public,10.20.0.0/16")
    for name in _CPUS:
        text = values.get(name, "")
        is_number = not text or re.fullmatch(r"[0-9]+m|[0-9]+(\.[0-9]+)?", text) is not None
        variables.require(name, text, is_number, "CPUs such as 2, 0.5 or 500m", "0.5")
    for name in _STUDIES:
        scheme = urlsplit(values.get(name, "")).scheme.partition("+")[0]
        variables.require(name, f"{scheme}://…", scheme in ("", "postgresql"), "a postgresql:// URL", "")


def egress_of(text: str) -> tuple[bool, list[str]]:
    """What WORKER_EGRESS opens: whether public addresses, and which networks. Empty means the default."""
    parts = [part.strip() for part in text.split(",") if part.strip()] or [_PUBLIC]
    return _PUBLIC in parts, [part for part in parts if part not in (_PUBLIC, _NOTHING)]


def _is_egress(text: str) -> bool:
    is_public, networks = egress_of(text)
    if _NOTHING in text and (is_public or networks):
        return False
    try:
        return all("/" in network and ipaddress.ip_network(network) for network in networks)
    except ValueError:
        return False


def quantity(text: str) -> str:
    """Memory as Kubernetes writes it; `2g`, which Docker takes, means `2Gi`."""
    match = re.fullmatch(r"([0-9.]+)([kmgt])b?", text)
    return f"{match[1]}{match[2].upper()}i" if match is not None else text
