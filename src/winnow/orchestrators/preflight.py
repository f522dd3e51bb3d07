"""Checks before a sweep starts anything: the parts of the experiment, and whether workers can reach them.

Containers and pods see their image and the network, but not the files of this machine.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from winnow.bundle.manifest import sha256_of
from winnow.config.errors import InputError, UnavailableError
from winnow.config.experiment import Experiment
from winnow.config.functions import BUNDLED, IMAGES, names_function
from winnow.config.inheritance import inherited, is_inherited
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.data.array_files import is_array_file
from winnow.data.sql import sqlite_path
from winnow.data.table_files import local_files
from winnow.orchestrators.groups import find_secrets, parse_volume
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.images import with_route
from winnow.platforms.lookup import Lookup
from winnow.platforms.platform import Platform
from winnow.platforms.sweep import SweepPlatform, WorkerHost
from winnow.platforms.table import platform_for
from winnow.tracking.data_files import DataFiles
from winnow.training.fork_client import ForkServer
from winnow.training.fork_messages import Checked


@dataclass(frozen=True)
class DataFile:
    """A local file that workers download from the artifact store."""

    path: Path
    sha256: str

    @property
    def named(self) -> str:
        """`SHA256/NAME`, as in the workers' environment."""
        return f"{self.sha256}/{self.path.name}"

    def put(self, tracking_uri: str) -> None:
        """Upload it unless it is already stored. Raises TrackingUnavailableError."""
        DataFiles(tracking_uri).put(self.path)


def data_file(experiment: Experiment) -> DataFile | None:
    """The experiment's data, if it is a local file that remote workers have to download.

    Raises InputError if there is no such file, or there are several.
    """
    paths = check_data_files(experiment)
    targets = [PurePosixPath(parse_volume(text).target) for text in experiment.execution.volumes]

    def is_mounted(path: Path) -> bool:
        return path.is_absolute() and any(PurePosixPath(path).is_relative_to(target) for target in targets)

    images = experiment.data.shown_source.partition(IMAGES)[2]
    if Path(images).is_absolute() and not is_mounted(Path(images)):
        raise InputError(
            "data.source",
            expected="a folder of images that workers can reach",
            found=f"'{images}' of this machine",
            remedy="Mount it at the same path with `execution.volumes`, or put it into the project, whose files are in "
            "the workers' image, and name it by its relative path.",
        )
    if all(map(is_mounted, paths)):
        return None
    if len(paths) > 1:
        raise InputError(
            "data.source",
            expected="one file, or several that workers can reach",
            found=f"{len(paths)} files of this machine",
            remedy="Mount their folder with `execution.volumes` and name it by its absolute path, name an s3:// "
            "folder, or write them into one file.",
        )
    return DataFile(paths[0], sha256_of(paths[0]))


def check_data_files(experiment: Experiment) -> list[Path]:
    """The local files with the experiment's data; none if the data are elsewhere.

    Raises InputError if there is no such file.
    """
    data = experiment.data
    if data.function is not None or data.shown_source.startswith((BUNDLED, IMAGES)):
        return []
    named = [sqlite_path(source) or source for source in data.sources]
    parts = (data.target, data.group, data.time, data.weight) if is_array_file(data.shown_source) else ()
    return local_files([*named, *(part for part in parts if part is not None and is_array_file(part))])


def start_check(experiment: Experiment, host: WorkerHost, environment: Mapping[str, str] = os.environ) -> ForkServer:
    """Start the process that `check_training` uses, in the environment that local ranks will have.

    The variables of containers and pods are not set in it, since they may refer to other places. Raises InputError if a
    secret is not set.
    """
    if host.capabilities.shares_files:
        execution = experiment.execution
        environment = {**inherited(environment), **execution.env, **find_secrets(execution, environment)}
    return ForkServer.start(environment, ends_with_parent=False)


def check_training(
    server: ForkServer, experiment: Experiment, host: WorkerHost, show: Callable[[str], None] = lambda _what: None
) -> Checked:
    """Check an experiment in conditions as close as possible to those of its ranks.

    Args:
        server: from `start_check`.
        show: receives the name of each part before it is checked.

    Raises:
        InputError: a part does not work, or reads a variable that workers do not have.
        CheckCrashedError: the checking process crashed.
    """
    try:
        return server.check(experiment, has_gpu=host.has_gpu(experiment.execution), show=show)
    except InputError as error:
        missing = str(error.__cause__.args[0]) if isinstance(error.__cause__, KeyError) else ""
        if not host.capabilities.shares_files or missing not in os.environ or is_inherited(missing):
            raise
        raise InputError(
            error.place,
            expected="a function that only reads variables that the experiment names",
            found=f"{missing}, which is set in this shell but not inherited by workers",
            remedy=f"Add it to execution.env, or pass it on by name: execution.secrets: [{missing}].",
        ) from error


def check_code(experiment: Experiment, project: Path) -> None:
    """Refuse functions in files outside the folder that images are built from. Raises InputError."""
    named = {
        "data.source": experiment.data.function,
        "model.factory": experiment.model.factory,
        "training.loop": experiment.training.loop,
        "search.sampler.type": experiment.search.sampler.type,
        "search.pruner.type": experiment.search.pruner.type,
    }
    augments = [("data.augment", augment.type) for augment in experiment.data.augment]
    for place, spec in (*named.items(), *augments):
        file = (spec or "").rpartition(":")[0]
        if not file.endswith(".py") or not names_function(spec or ""):
            continue
        path = Path(file)
        is_hidden = any(part.startswith(".") and part.strip(".") for part in path.parts)
        if path.is_absolute() or is_hidden or not (project / path).resolve().is_relative_to(project.resolve()):
            raise InputError(
                place,
                expected=f"the relative path of a file in {project} that is not hidden, which is copied to the image",
                found=f"'{file}'",
                remedy="Move the file there, or use its relative path.",
            )


def check_secrets_file(experiment: Experiment, project: Path) -> None:
    """Refuse a file of secrets that would be copied to the image: `.dockerignore` does not exclude its name.

    Raises InputError if it is such a file.
    """
    named = experiment.execution.secrets_file
    if named is None:
        return
    file = Path(named).expanduser()
    is_inside = (project / file).resolve().is_relative_to(project.resolve())
    if is_inside and not file.name.startswith(".") and file.suffix != ".env":
        raise InputError(
            "execution.secrets_file",
            expected="a hidden file or one named *.env, which is not copied to images",
            found=f"'{named}', which would be copied to the workers' image",
            remedy=f"Rename it or move it to another folder, and run `{next_command('build-train')}` again.",
        )


def checked_stores(settings: Settings, init: str) -> Settings:
    """The settings, if containers can reach their stores. `init`: the command that starts such stores.

    Raises UnavailableError if a store is a local file; InputError if a store's address is localhost, which in a
    container is the container itself.
    """
    stores = (
        ("WINNOW_WORKER_STORAGE", "WINNOW_STORAGE", "the studies' database", settings.worker_storage_url),
        ("WINNOW_WORKER_TRACKING_URI", "MLFLOW_TRACKING_URI", "MLflow", settings.worker_tracking_uri),
    )
    for variable, usual, what, url in stores:
        host = urlsplit(url).hostname
        if host is None:
            raise UnavailableError(
                what,
                expected="a server that remote workers can reach",
                found=f"a file of this machine ({url})",
                remedy=f"Run `{init}`, or set WINNOW_STORAGE and MLFLOW_TRACKING_URI to your own servers.",
            )
        if _is_loopback(host):
            raise InputError(
                variable,
                expected=f"an address of {what} that remote workers can reach",
                found=f"'{host}', which for a remote worker is the worker itself",
                remedy=f"Set {variable} to an address that works from there, or unset {usual} and use what "
                f"`{init}` starts.",
            )
    return settings


def check_side(settings: Settings, platform: Platform) -> None:
    """Refuse the stores of a stack on another platform, whose names only resolve there.

    Raises InputError if workers would use such a store.
    """
    stack = settings.stack
    if stack is None or stack.platform == platform.name:
        return
    storage = stack.worker_storage_url
    is_its_database = storage is not None and _host(settings.worker_storage_url) == _host(storage)
    if settings.worker_tracking_uri == stack.worker_tracking_url or is_its_database:
        raise InputError(
            stack.shown,
            expected=f"stores that {platform.capabilities.workers} can reach",
            found=stack.reachable_from,
            remedy=f"Train on its platform (`{next_command('train', platform=stack.platform)}`), or end its use with "
            f"`{stack.ending}` and start another one with `{next_command('mlflow-init', platform=platform.name)}`.",
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


STUDIES, RUNS = "postgresql://STUDIES-DATABASE", "http://MLFLOW"
"""Placeholders for the addresses of stores that do not exist yet."""


def sweep_platform(
    request: SweepRequest, settings: Settings, lookup: Lookup, environment: Mapping[str, str] = os.environ
) -> SweepPlatform:
    """The object that plans and starts a sweep's groups.

    Args:
        lookup: looks up facts; a plan that is only shown may lack those of an absent platform.
        environment: names the engine or the cluster, and how images reach the cluster's nodes.

    Raises:
        InputError: there is no such platform, it is absent, a permission is missing, or its workers could not reach
            the stores, the code or the secrets.
        UnreachableError: it does not answer.
    """
    experiment, project = request.experiment, Path.cwd()
    environment = with_route(environment, registry=request.registry, load=request.image_load)
    platform = platform_for(request.platform, settings, environment)
    if not platform.capabilities.shares_files:
        check_side(settings, platform)
        stores = lookup(
            "the addresses of MLflow and of the studies' database",
            lambda: checked_stores(settings, next_command("mlflow-init", platform=platform.name)),
            replace(settings, worker_storage_url=STUDIES, worker_tracking_uri=RUNS),
        )
        check_code(experiment, project)
        check_secrets_file(experiment, project)
        platform = platform_for(request.platform, stores, environment)
    return platform.sweep(request.image, lookup)
