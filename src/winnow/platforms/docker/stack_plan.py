"""What `mlflow-init` starts on a Docker engine, decided without asking one: services, commands, files, addresses.

Compose gets every variable of compose.yaml from the environment file, and none from the caller's environment, so that
starting a stack twice starts the same stack.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.config.addresses import STARS, without_password
from winnow.config.errors import InputError
from winnow.config.own_files import own_folder
from winnow.config.stack_record import OWN_STORAGE, AnyStack, StackRecord
from winnow.platforms import stack_variables as variables
from winnow.platforms.docker import env_file, train_image
from winnow.platforms.docker.build import BuildPlan
from winnow.platforms.docker.env_file import EnvFile
from winnow.platforms.docker.stack_settings import CONSOLE_ADDRESS
from winnow.platforms.images import TRACKING, BuildOptions
from winnow.platforms.stack import MINIO, MLFLOW, POSTGRES
from winnow.platforms.stack_variables import (
    BACKEND,
    CONSOLE_PORT,
    DESTINATION,
    ENV_FILE,
    MLFLOW_PORT,
    POSTGRES_PORT,
    PROJECT,
    SECRET_KEYS,
    SECRETS,
)
from winnow.platforms.sweep import CONTAINER_PYTHON

COMPOSE_FILE = "compose.yaml"
OVERRIDE = "compose.override.yaml"
BUCKET = "bucket"

# Compose would take files, projects and profiles from these variables.
_COMPOSE = ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES")


@dataclass(frozen=True)
class Port:
    """A published port, and the setting that moves it."""

    service: str
    address: str
    number: int
    setting: str


@dataclass(frozen=True)
class Project:
    """A Compose project: its name, its files, the environment file that opens it."""

    name: str
    compose_file: Path
    env_file: Path

    def command(self, *arguments: str, profiles: tuple[str, ...] = ("*",), env_file: Path | None = None) -> list[str]:
        """A `docker compose` command for the project."""
        override = self.compose_file.with_name(OVERRIDE)
        files = [self.compose_file, *([override] if override.is_file() else [])]
        return [
            *("docker", "compose", "--project-name", self.name, "--project-directory", str(self.compose_file.parent)),
            *(part for file in files for part in ("--file", str(file))),
            *("--env-file", str(env_file or self.env_file)),
            *(part for profile in profiles for part in ("--profile", profile)),
            *arguments,
        ]


@dataclass(frozen=True)
class DockerStackPlan:
    """A stack to start; implements `winnow.platforms.stack.StackPlan`.

    Attributes:
        file: the environment file to write.
        image: how the server's image is built; None where another image is named.
    """

    project: Project
    file: EnvFile
    image: BuildPlan | None
    services: tuple[str, ...]
    ports: tuple[Port, ...]
    record: StackRecord
    unknown: tuple[str, ...] = ()

    @property
    def endpoints(self) -> Mapping[str, str]:
        storage_url = self.record.storage_url
        console = [f"http://{port.address}:{port.number}" for port in self.ports if port.service == MINIO]
        return {
            "MLflow": self.record.tracking_url,
            **({"Postgres": storage_url} if storage_url is not None else {"Studies": OWN_STORAGE}),
            **({"MinIO": console[0]} if console else {}),
            "Secrets": self.record.env_file,
        }

    @property
    def profiles(self) -> tuple[str, ...]:
        """Compose's profiles for the optional services."""
        return tuple(service for service in (POSTGRES, MINIO) if service in self.services)

    @property
    def starts(self) -> list[str]:
        """The command that starts the services and waits until they are healthy."""
        # The image is built before, with its own options; missing images are pulled.
        wanted = ("up", "--detach", "--wait", "--no-build", "--quiet-pull", "--remove-orphans")
        return self.project.command(*wanted, profiles=self.profiles)

    @property
    def checks_store(self) -> list[str]:
        """The command that opens the artifact store in a container that is like MLflow's, and is gone afterwards."""
        wanted = ("run", "--rm", "--no-deps", "--no-TTY", "--quiet-pull")
        return self.project.command(*wanted, MLFLOW, CONTAINER_PYTHON, "-c", variables.STORE_CHECK)

    def render(self) -> str:
        values = self.file.variables()
        destination = values.get(DESTINATION, "")
        studies = self.record.storage_url or without_password(values.get(OWN_STORAGE, ""))
        return "\n".join(
            [
                f"write {self.project.env_file} (0600):",
                *(f"  {name}={_starred(name, text)}" for name, text in values.items() if name in variables.NAMES),
                *([f"run {self.image.render()}"] if self.image is not None else []),
                *([f"open {destination} in MLflow's image"] if variables.can_check(destination) else []),
                f"run {shlex.join(self.starts)}",
                *(f"publish {port.service} at {port.address}:{port.number}" for port in self.ports),
                f"wait until healthy: {', '.join(self.services)}",
                f"use it from then on: runs in {self.record.tracking_url}, studies in {studies}",
            ]
        )


def project_for(environment: Mapping[str, str], record: AnyStack | None, folder: Path) -> Project:
    """The project that the settings name, else the one in use, else the one of this folder.

    Raises InputError where the environment file is another project's.
    """
    asked = environment.get(ENV_FILE)
    in_use = record if isinstance(record, StackRecord) else None
    if in_use is not None and not Path(in_use.compose_file).is_file():
        in_use = None  # the folder was moved, and is this one, or was removed
    if in_use is not None and not asked and environment.get(PROJECT, in_use.project) == in_use.project:
        return Project(in_use.project, Path(in_use.compose_file), Path(in_use.env_file))
    path = (folder / Path(asked or ".env").expanduser()).absolute()
    file = env_file.read(path) or EnvFile()
    theirs = file.variables().get(PROJECT) or variables.default(PROJECT)
    name = environment.get(PROJECT) or theirs
    if name != theirs and not variables.missing_secrets(file.variables()):
        raise InputError(
            str(path),
            expected=f"the environment file of the project '{name}'",
            found=f"the one that opens the project '{theirs}'",
            remedy="Set WINNOW_ENV_FILE to another path for another stack, or WINNOW_PROJECT to this one's.",
        )
    return Project(name, (own_folder(folder, COMPOSE_FILE, train_image.DOCKERFILE) / COMPOSE_FILE).absolute(), path)


def plan_stack(project: Project, file: EnvFile, options: BuildOptions) -> DockerStackPlan:
    """The plan for a project whose environment file is complete, ports included.

    Raises InputError where the project's folder has no Dockerfile, or an extra is none of pyproject.toml's.
    """
    values = file.variables()
    has_postgres = not (values.get(BACKEND) and values.get(OWN_STORAGE))
    has_minio = not values.get(DESTINATION)
    bind = values.get("WINNOW_BIND") or variables.default("WINNOW_BIND")
    host = "127.0.0.1" if bind.startswith("0.") else bind
    postgres_port = int(values.get(POSTGRES_PORT) or variables.default(POSTGRES_PORT))
    database, inside = f"{host}:{postgres_port}", f"{POSTGRES}:5432"
    return DockerStackPlan(
        project,
        file,
        _image(project, values, options),
        services=(*((POSTGRES,) if has_postgres else ()), *((MINIO, BUCKET) if has_minio else ()), MLFLOW),
        ports=(
            *((Port(POSTGRES, bind, postgres_port, POSTGRES_PORT),) if has_postgres else ()),
            Port(MLFLOW, bind, int(values[MLFLOW_PORT]), MLFLOW_PORT),
            *((Port(MINIO, CONSOLE_ADDRESS, int(values[CONSOLE_PORT]), CONSOLE_PORT),) if has_minio else ()),
        ),
        record=StackRecord(
            project=project.name,
            network=f"{project.name}_inside",
            compose_file=str(project.compose_file),
            env_file=str(project.env_file),
            tracking_url=f"http://{host}:{values[MLFLOW_PORT]}",
            worker_tracking_url=f"http://{MLFLOW}:5000",
            storage_url=None if values.get(OWN_STORAGE) else f"postgresql+psycopg://winnow@{database}/winnow",
            worker_storage_url=None if values.get(OWN_STORAGE) else f"postgresql+psycopg://winnow@{inside}/winnow",
        ),
    )


def _image(project: Project, values: Mapping[str, str], options: BuildOptions) -> BuildPlan | None:
    # compose.yaml has the same default.
    name, _, tag = (values.get("TRACKING_IMAGE") or f"{TRACKING}:{project.name}").partition(":")
    if name != TRACKING:
        return None
    options = replace(options, base_image=values.get("BASE_IMAGE") or options.base_image)
    extras = [extra for extra in values.get("EXTRAS", "").split(",") if extra]
    return train_image.plan_tracking(project.compose_file.parent, options, extras, tag or "latest")


def subprocess_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what compose.yaml or Compose would take from it."""
    return {name: value for name, value in environment.items() if name not in variables.NAMES and name not in _COMPOSE}


def to_end(environment: Mapping[str, str], file: EnvFile | None) -> dict[str, str]:
    """The environment for removing a stack: compose.yaml requires variables that the file may lack."""
    values = file.variables() if file is not None else {}
    missing = dict.fromkeys((*variables.missing_secrets(values), variables.USER), "gone")
    return {**missing, **subprocess_environment(environment)}


def secrets_of(file: EnvFile) -> list[str]:
    """The secrets of a stack, which no log may show."""
    hidden = {*SECRETS, *SECRET_KEYS} - {"AWS_ACCESS_KEY_ID"}
    return [text for name, text in file.variables().items() if name in hidden]


def _starred(name: str, text: str) -> str:
    return STARS if text and name in {*SECRETS, *SECRET_KEYS} else without_password(text)
