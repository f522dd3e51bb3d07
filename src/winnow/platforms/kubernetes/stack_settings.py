"""The settings of the stack on a cluster, and the content of its Secret: given, kept from the last start, or generated.

The Secret keeps the passwords that open the volumes and the settings, so that starting the stack again, from any
machine, starts the same stack.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from winnow.config.addresses import with_driver
from winnow.config.errors import InputError
from winnow.config.stack_record import OWN_STORAGE, OWN_WORKER_STORAGE
from winnow.platforms import stack_variables as variables
from winnow.platforms.kubernetes.overlay import account_of
from winnow.platforms.stack_variables import BACKEND, DESTINATION, ENDPOINT, SECRET_KEYS, SECRETS, STUDIES, USER

REGION = "AWS_DEFAULT_REGION"
KEPT = "settings"
"""The Secret's key for the settings, as JSON."""

_DRIVER = "postgresql+psycopg"
_STUDIES = tuple(one.name for one in STUDIES)
_SHOWN = frozenset(one.name for one in variables.settings_of("kubernetes")) - {BACKEND} | {ENDPOINT, REGION}


@dataclass(frozen=True)
class Chosen:
    """What a stack is started with.

    Attributes:
        settings: those that are set and may be shown.
        secret: the Secret's values by key, without empty ones.
        unused: the keys that were given and are not used, and why, as text.
    """

    settings: Mapping[str, str]
    secret: Mapping[str, str] = field(repr=False)
    unused: str = ""

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
        return self.secret[BACKEND] == _backend(self.secret["MLFLOW_DB_PASSWORD"]) or not self.own_storage


def choose(given: Mapping[str, str], secret: Mapping[str, str] | None, new_password: Callable[[], str]) -> Chosen:
    """Merge what is given with what is kept; existing passwords stay. A given empty value restores the default.

    Args:
        secret: the values of the existing Secret; None without one.

    Raises:
        InputError: a value is not one that the stack could be started with.
    """
    kept = dict(secret or {})
    made = {name: kept.get(name) or new_password() for name in SECRETS}
    made[USER] = kept.get(USER) or "winnow"
    known = {*_SHOWN, BACKEND, *_STUDIES, *SECRET_KEYS}
    values = {**_kept_values(kept), **{name: text for name, text in given.items() if name in known}}
    values = {name: with_driver(text) if name in (BACKEND, *_STUDIES) else text for name, text in values.items()}
    _check(values)
    variables.check_passwords(made)
    values = {name: text for name, text in values.items() if text}
    account = account_of(values.get("TRACKING_OVERLAY", "")) if ENDPOINT not in values else ""
    unused: tuple[str, ...] = ()
    if DESTINATION in values:
        opening = variables.keys_of(values[DESTINATION])
        keys = {name: values[name] for name in sorted(SECRET_KEYS & opening) if name in values}
        if account:
            # A key would override the identity that the cloud gives to the account's pods.
            keys, unused = {}, tuple(name for name in keys if given.get(name))
        else:
            variables.check_keys(values[DESTINATION], values)
        values = {name: text for name, text in values.items() if name not in (ENDPOINT, REGION) or name in opening}
    else:
        values = {name: text for name, text in values.items() if name not in (ENDPOINT, REGION)}
        keys = {"AWS_ACCESS_KEY_ID": made[USER], "AWS_SECRET_ACCESS_KEY": made["MINIO_ROOT_PASSWORD"]}
    settings = {name: text for name, text in values.items() if name in _SHOWN}
    chosen = {
        **made,
        BACKEND: values.get(BACKEND) or _backend(made["MLFLOW_DB_PASSWORD"]),
        **{name: values[name] for name in _STUDIES if name in values},
        **keys,
        **({KEPT: json.dumps(settings, sort_keys=True)} if settings else {}),
    }
    why = f"{', '.join(unused)} of this shell: MLflow has the ServiceAccount {account}" if unused else ""
    return Chosen(settings, chosen, why)


def tracking_url(namespace: str) -> str:
    """MLflow's address inside the cluster."""
    return f"http://winnow-mlflow.{namespace}.svc:5000"


def storage_url(namespace: str) -> str:
    """The studies' database's address inside the cluster, without its password."""
    return f"{_DRIVER}://winnow@winnow-postgres.{namespace}.svc:5432/winnow"


def _backend(password: str) -> str:
    return f"{_DRIVER}://mlflow:{password}@winnow-postgres:5432/mlflow"


def _kept_values(secret: Mapping[str, str]) -> dict[str, str]:
    """The settings, stores and keys that a Secret names, without those of the stack's own services."""
    try:
        settings = {str(name): str(text) for name, text in json.loads(secret.get(KEPT) or "{}").items()}
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"the Secret's key '{KEPT}'",
            expected="a JSON object of what was set, as `make mlflow-init` writes it",
            found="something else",
            remedy="Remove that key, and set again what is not the default.",
        ) from error
    found = {name: text for name, text in settings.items() if name in _SHOWN}
    found |= {name: secret[name] for name in (*_STUDIES, *SECRET_KEYS) if name in secret}
    if secret.get(BACKEND) != _backend(secret.get("MLFLOW_DB_PASSWORD", "")):
        found[BACKEND] = secret.get(BACKEND, "")
    if secret.get("AWS_SECRET_ACCESS_KEY") == secret.get("MINIO_ROOT_PASSWORD"):
        # MinIO's key must not be sent to another store.
        found = {name: text for name, text in found.items() if not (name in SECRET_KEYS and name.startswith("AWS_"))}
    return found


def _check(values: Mapping[str, str]) -> None:
    variables.check(values)
    backend, destination = values.get(BACKEND, ""), values.get(DESTINATION, "")
    outlives = "a database that outlives its pod: postgresql:// or mysql://"
    variables.require(BACKEND, "sqlite://…", not backend.startswith("sqlite"), outlives, "")
    outlives = "a store that outlives MLflow's pod: s3://, wasbs:// or gs://"
    variables.require(DESTINATION, destination, not destination.startswith(("/", "file:")), outlives, "s3://my-bucket")
    for name in _STUDIES:
        scheme = variables.scheme_of(values.get(name, ""))
        variables.require(name, f"{scheme}://…", scheme in ("", "postgresql"), "a postgresql:// URL", "")
