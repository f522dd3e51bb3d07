"""The tracking stack: MLflow with its database and artifact store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow.orchestrators.pages import TrackingPages


@dataclass(frozen=True)
class StackStatus:
    """The stack in use.

    Attributes:
        name: the stack, as messages name it.
        platform: "docker" or "kubernetes".
        tracking_url: MLflow's address; on Kubernetes the one inside the cluster.
        ending: the command that ends its use.
        diagnosis: why the stack takes no connections and what to do about it; None where it answers.
    """

    name: str
    platform: str
    tracking_url: str
    ending: str
    diagnosis: str | None


def mlflow_status() -> StackStatus | None:
    """Say which stack is in use, and whether it answers.

    Returns:
        The stack; None where none is in use, so that runs and studies are kept in files.

    Raises:
        InputError: the stack's record or its secrets cannot be read.
    """
    from winnow.config.settings import Settings
    from winnow.orchestrators.settings import silent_stack

    settings = Settings.from_environment()
    stack = settings.stack
    if stack is None:
        return None
    return StackStatus(stack.shown, stack.platform, stack.tracking_url, stack.ending, silent_stack(settings))


def ui(*, port: int | None = None, dry_run: bool = False) -> TrackingPages:
    """Find out where MLflow shows the runs.

    A tracking server in use shows them itself. Otherwise `server` in what is returned is the command that shows them.

    Args:
        port: on which the pages are shown; by default 5000, or a free one where that is taken.
        dry_run: open no port, and change no file.

    Returns:
        The address, a page for each of the latest studies, and the command of the server, if one is needed.

    Raises:
        InputError: the port is taken, or there are no runs yet.
    """
    from winnow.orchestrators.pages import find_pages

    return find_pages(port, dry_run=dry_run)
