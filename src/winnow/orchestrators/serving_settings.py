"""From the section `serving` to what deployers are given: pure but for the API key, which may be in a file."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Literal

from winnow.config.env_file import read_variables
from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_flag
from winnow.config.quantities import bytes_of, cpus_of
from winnow.config.serving import AutoscaleConfig, KeyConfig, RolloutConfig, ServingConfig, StageConfig
from winnow.config.serving_faults import deployment_name
from winnow.platforms.api_key import API_KEY, key_file, key_in
from winnow.routing import STDOUT, Entry, FeatureSettings, PredictionLogSettings, ReplicaSettings, Scale


@dataclass(frozen=True)
class ServedSettings:
    """How a deployment is served.

    Attributes:
        name: the deployment's: the model's, or `NAME-STAGE`.
        replicas: how each replica of a revision runs, with the fingerprint of no API key.
        scale: how many replicas.
        api_key: where the file says that the API key is; None leaves it to the environment.
        rollout: how requests move to a new revision.
        history: how many revisions are kept.
        routers: how many routers stand in the way during a rollout.
    """

    name: str
    replicas: ReplicaSettings
    scale: Scale
    entry: Entry
    api_key: KeyConfig | None
    rollout: RolloutConfig
    history: int
    routers: int


def served(
    config: ServingConfig,
    name: str,
    stage: str | None = None,
    *,
    has_ingress: bool = False,
    shares_files: bool = True,
    replicas: int | None = None,
    host: str | None = None,
    port: int | None = None,
) -> ServedSettings:
    """The settings of a deployment.

    Args:
        name: the model's name.
        has_ingress: the platform's `Capabilities.has_ingress`. With one, a host name in the file is its host, and an
            address is not used; elsewhere an address is listened on, and a host name is not used.
        shares_files: the platform's `Capabilities.shares_files`.
        replicas, host, port: flags, which override the file.

    Raises:
        InputError: there is no such stage, or a flag's value or the log's file cannot be used.
    """
    if stage is not None and stage not in config.known_stages:
        raise _unknown_stage(config, stage)
    if replicas is not None and replicas < 1:
        remedy = "To stop serving, remove the deployment."
        raise InputError(next_flag("replicas"), expected="1 or more", found=str(replicas), remedy=remedy)
    chosen, deployment = config.of_stage(stage), deployment_name(name, stage)
    if chosen.log is not None and chosen.log.to != STDOUT and not shares_files:
        remedy = "Write to `stdout`, which the platform's collector reads."
        expected = "`stdout`, because replicas in containers have files of their own"
        raise InputError("serving.log.to", expected=expected, found=f"'{chosen.log.to}'", remedy=remedy)
    return ServedSettings(
        deployment,
        _replica_settings(chosen),
        _scale(chosen, chosen.replicas if replicas is None else replicas),
        Entry(
            host=_host(chosen.host, host, has_ingress=has_ingress).replace("*", deployment),
            port=chosen.port if port is None else port,
            ingress_class=chosen.ingress_class,
            tls_secret=chosen.tls_secret,
            gateway=chosen.gateway,
        ),
        chosen.api_key,
        chosen.rollout.model_copy(update={"outcomes": tuple(map(_absolute, chosen.rollout.outcomes))}),
        chosen.history,
        chosen.rollout.routers,
    )


class Keep(Enum):
    """The API key of the serving revision stays."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


def key_of(config: KeyConfig | None, environment: Mapping[str, str]) -> str | Literal[Keep.KEEP] | None:
    """The API key that replicas ask for; None for none, and `KEEP` where no one says: that of the serving revision.

    Where the file names none, it is WINNOW_API_KEY_FILE's or WINNOW_API_KEY's; set and empty, there is none. Raises
    InputError if the file or the variable that is named has no key. No model is served without a key by mistake.
    """
    if config is None:
        found = key_file(environment)
        return found if found is not None else (environment[API_KEY] or None) if API_KEY in environment else KEEP
    if config.file:
        return key_in("serving.api_key.file", config.file, "Correct it.")
    name = config.env or ""
    if not environment.get(name):
        raise InputError(
            "serving.api_key.env",
            expected=f"the environment variable {name}, with the API key",
            found="an empty one" if name in environment else "none",
            remedy="Set it, or remove `api_key` from the file to keep the key that is in use.",
        )
    return environment[name]


def fingerprint(deployment: str, key: str | None) -> str:
    """What a record keeps of an API key: `ReplicaSettings.key`; empty for no key."""
    return "" if key is None else hashlib.sha256(f"{deployment}\n{key}".encode()).hexdigest()[:16]


def _replica_settings(config: StageConfig) -> ReplicaSettings:
    resources = config.resources
    limits = config.limits.model_dump(exclude_none=True)
    return ReplicaSettings(
        cpus=cpus_of(resources.cpu),
        memory_bytes=bytes_of(resources.memory),
        cpu_request=cpus_of(resources.cpu_request),
        memory_request_bytes=bytes_of(resources.memory_request),
        settle_s=config.settle_s,
        drain_s=float(config.drain_s),
        limits={name: float(limits[name]) for name in sorted(limits)},
        is_access_logged=config.access_log,
        log=None if config.log is None else PredictionLogSettings(**config.log.model_dump()),
        features=None if config.features is None else FeatureSettings(**config.features.model_dump()),
    )


def _scale(config: StageConfig, replicas: int) -> Scale:
    if config.autoscale is None:
        return Scale(replicas, max_unavailable=config.max_unavailable)
    autoscale: AutoscaleConfig = config.autoscale
    return Scale(
        replicas,
        max(replicas, autoscale.max or 2 * replicas),
        autoscale.cpu,
        autoscale.scale_down_after_s,
        config.max_unavailable,
    )


def _absolute(path: str) -> str:
    """A path that another process can read, wherever it runs on this machine."""
    return path if "://" in path else str(Path(path).absolute())


def _host(given: str | None, flag: str | None, *, has_ingress: bool) -> str:
    """The entry's host; empty for the platform's default."""
    if flag is None:
        return given if given is not None and _is_address(given) != has_ingress else ""
    if not has_ingress or not _is_address(flag):
        return flag
    if flag == "localhost" or ipaddress.ip_address(flag).is_loopback:
        return ""
    raise InputError(
        next_flag("host"),
        expected="the host name of an Ingress, such as cells.example.com",
        found=f"the address {flag}",
        remedy="Name a host, or leave it out for the Ingress to take any.",
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def stage_of(config: ServingConfig, stage: str | None) -> StageConfig:
    """The settings of a stage; None for the deployment without one. Raises InputError for an unknown one."""
    if stage is not None and stage not in config.known_stages:
        raise _unknown_stage(config, stage)
    return config.of_stage(stage)


def _unknown_stage(config: ServingConfig, stage: str) -> InputError:
    known = sorted(config.known_stages)
    return InputError(
        next_flag("stage"),
        expected=f"one of {', '.join(known)}" if config.stages else "staging, or a stage of `serving.stages`",
        found=f"'{stage}'",
        remedy=did_you_mean(stage, known) or "Add it to the file, or leave the stage out.",
    )


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

    `folder`: where `.env` is, unless WINNOW_ENV_FILE names another file. Raises InputError if some are set. It lists
    all of them, with the keys to write instead.
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
