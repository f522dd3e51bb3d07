"""What is checked before a sweep starts anything: the experiment's parts, and what workers can reach of them.

A container or a pod has its image and the network, and not the files of the terminal that started it. Code, data and
stores that it cannot reach are refused here.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from winnow.bundle.manifest import sha256_of
from winnow.config.errors import InputError, UnavailableError
from winnow.config.experiment import DataConfig, Experiment
from winnow.config.functions import BUNDLED, names_function
from winnow.config.inheritance import inherited, is_inherited
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.orchestrators.groups import find_secrets, parse_volume
from winnow.platforms.platform import Platform
from winnow.platforms.sweep import WorkerHost
from winnow.tracking.data_files import DataFiles
from winnow.training.fork_client import ForkServer
from winnow.training.fork_messages import Checked


@dataclass(frozen=True)
class DataFile:
    """A file of this machine that workers fetch from the artifact store."""

    path: Path
    sha256: str

    @property
    def named(self) -> str:
        """As workers are told: `SHA256/NAME`."""
        return f"{self.sha256}/{self.path.name}"

    def put(self, tracking_uri: str) -> None:
        """Store it, unless it is there already. Raises TrackingUnavailableError."""
        DataFiles(tracking_uri).put(self.path)


def data_file(experiment: Experiment) -> DataFile | None:
    """The experiment's data, if it is a file that workers elsewhere have to fetch; None for anything they have.

    Raises:
        InputError: there is no such file.
    """
    path = check_data_file(experiment)
    if path is None:
        return None
    if path.is_absolute():
        targets = [parse_volume(text).target for text in experiment.execution.volumes]
        if any(PurePosixPath(path).is_relative_to(target) for target in targets):
            return None
    return DataFile(path, sha256_of(path))


def check_data_file(experiment: Experiment) -> Path | None:
    """The file that holds the experiment's data; None where no file of this machine does.

    Raises:
        InputError: there is no such file.
    """
    path = _local_path(experiment.data)
    if path is not None and not path.is_file():
        raise InputError(
            "data.source",
            expected="a file that can be read",
            found=f"'{path}', which is none",
            remedy="Correct the path, which counts from the working directory.",
        )
    return path


def _local_path(data: DataConfig) -> Path | None:
    source = data.source
    if source.startswith(BUNDLED) or names_function(source):
        return None
    return None if "://" in source else Path(source).expanduser()


def start_check(experiment: Experiment, host: WorkerHost, environment: Mapping[str, str] = os.environ) -> ForkServer:
    """Start the process that `check_training` asks, in the environment that ranks on this machine will have.

    Containers and pods may find their data elsewhere than this terminal does, so their variables are not set there.

    Raises:
        InputError: a secret is not set.
    """
    if host.capabilities.shares_files:
        execution = experiment.execution
        environment = {**inherited(environment), **execution.env, **find_secrets(execution, environment)}
    return ForkServer.start(environment, ends_with_parent=False)


def check_training(
    server: ForkServer, experiment: Experiment, host: WorkerHost, show: Callable[[str], None] = lambda _what: None
) -> Checked:
    """Check an experiment where its ranks would run, or as near as this machine comes to it.

    Args:
        server: from `start_check`.
        show: receives the name of each part before it is checked.

    Raises:
        InputError: a part does not work, or reads a variable that workers do not have.
        CheckCrashedError: the check gave no verdict.
    """
    try:
        return server.check(experiment, has_gpu=host.has_gpu(experiment.execution), show=show)
    except InputError as error:
        missing = str(error.__cause__.args[0]) if isinstance(error.__cause__, KeyError) else ""
        if not host.capabilities.shares_files or missing not in os.environ or is_inherited(missing):
            raise
        raise InputError(
            error.place,
            expected="a function that reads only variables that the experiment names",
            found=f"{missing}, which is set in this shell and which workers do not inherit",
            remedy=f"Write it into execution.env, or pass it on by name: execution.secrets: [{missing}].",
        ) from error


def check_code(experiment: Experiment, project: Path) -> None:
    """Refuse a person's function in a file outside the folder that images are built from.

    Raises:
        InputError: such a function; it would not be found in the image.
    """
    named = {
        "data.source": experiment.data.source,
        "model.factory": experiment.model.factory,
        "training.loop": experiment.training.loop,
    }
    for place, spec in named.items():
        file = (spec or "").rpartition(":")[0]
        if not file.endswith(".py") or not names_function(spec or ""):
            continue
        if Path(file).is_absolute() or not (project / file).resolve().is_relative_to(project.resolve()):
            raise InputError(
                place,
                expected=f"a file below {project}, which the image holds, by its path from there",
                found=f"'{file}'",
                remedy="Move it there, or name it by its relative path.",
            )


def check_secrets_file(experiment: Experiment, project: Path) -> None:
    """Refuse a file of secrets that would be built into the image.

    Raises:
        InputError: it lies below the folder that images are built from, under a name that `.dockerignore` lets in.
    """
    named = experiment.execution.secrets_file
    if named is None:
        return
    file = Path(named).expanduser()
    is_inside = (project / file).resolve().is_relative_to(project.resolve())
    if is_inside and not file.name.startswith(".") and file.suffix != ".env":
        raise InputError(
            "execution.secrets_file",
            expected="a hidden file or one named *.env, which enter no image",
            found=f"'{named}', which would be built into the workers' image",
            remedy=f"Rename it, or keep it in another folder, and run `{next_command('build-train')}` again.",
        )


def checked_stores(settings: Settings, init: str) -> Settings:
    """The settings, unless their stores are out of a container's reach.

    Args:
        init: the command that starts stores that it reaches.

    Raises:
        UnavailableError: a store is a file of this machine.
        InputError: a store's address means the container itself.
    """
    stores = (
        ("WINNOW_WORKER_STORAGE", "WINNOW_STORAGE", "the studies' database", settings.worker_storage_url),
        ("WINNOW_WORKER_TRACKING_URI", "MLFLOW_TRACKING_URI", "MLflow", settings.worker_tracking_uri),
    )
    for variable, usual, what, url in stores:
        host = urlsplit(url).hostname
        if host is None:
            raise _no_stack(what, f"a file of this machine ({url})", init)
        if _is_loopback(host):
            raise InputError(
                variable,
                expected=f"an address of {what} that workers elsewhere reach",
                found=f"'{host}', which there is the worker itself",
                remedy=f"Set {variable} to the address to use from there, or unset {usual} and use what "
                f"`{init}` starts.",
            )
    return settings


def check_side(settings: Settings, platform: Platform) -> None:
    """Refuse the stores of a stack in use that workers of this platform cannot reach.

    Inside, each kind of stack has names that are unknown outside: a Docker network's, a namespace's.

    Raises:
        InputError: workers are to use such a store.
    """
    stack = settings.stack
    if stack is None or stack.platform == platform.name:
        return
    storage = stack.worker_storage_url
    is_its_database = storage is not None and _host(settings.worker_storage_url) == _host(storage)
    if settings.worker_tracking_uri == stack.worker_tracking_url or is_its_database:
        raise InputError(
            stack.shown,
            expected=f"stores that {platform.capabilities.workers} reach",
            found=stack.reachable_from,
            remedy=f"Train beside them (`{next_command('train', platform=stack.platform)}`), or end its use with "
            f"`{stack.ending}` and start others with `{next_command('mlflow-init', platform=platform.name)}`.",
        )


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _no_stack(what: str, found: str, init: str) -> UnavailableError:
    return UnavailableError(
        what,
        expected="a server that workers elsewhere reach",
        found=found,
        remedy=f"Run `{init}`, or set WINNOW_STORAGE and MLFLOW_TRACKING_URI to servers of your own.",
    )
