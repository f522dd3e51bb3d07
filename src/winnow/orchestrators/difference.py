"""What the verbs that act on a cluster would change there, as unified diffs: the stack's part and the deployment's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from winnow.config.errors import WinnowError
from winnow.config.settings import Settings
from winnow.orchestrators.deploy import ServeRequest, checked_deployer, shown_request
from winnow.orchestrators.releases import ModelRegistry, NoChampionError
from winnow.platforms.table import platform_for


@dataclass(frozen=True)
class Difference:
    """What would change in one part of a cluster.

    Attributes:
        part: "stack" or "prod".
        text: a unified diff; empty where nothing would change, or nothing could be compared.
        error: why the part could not be compared; None where it was.
        has_nothing_yet: it was not compared because no model has been selected yet.
    """

    part: str
    text: str
    error: WinnowError | None = None
    has_nothing_yet: bool = False


def compare(parts: Mapping[str, Callable[[], str]]) -> tuple[Difference, ...]:
    """Compare each part, also where another one cannot be compared."""
    return tuple(_compared(name, difference) for name, difference in parts.items())


def _compared(part: str, difference: Callable[[], str]) -> Difference:
    try:
        return Difference(part, difference())
    except WinnowError as error:
        return Difference(part, "", error, isinstance(error, NoChampionError))


def stack_difference(say: Callable[[str], None]) -> str:
    """What `mlflow-init` on Kubernetes would change, with what the environment sets.

    Raises:
        InputError: a setting is wrong, or the cluster cannot be asked.
    """
    from winnow.orchestrators.stack import difference

    return difference("kubernetes", say=say)


def prod_difference(platform: str, settings: Settings, registry: ModelRegistry, request: ServeRequest) -> str:
    """What `prod` would change on a platform; no image is built for it.

    Raises:
        NoChampionError: no version is chosen yet.
        InputError, UnreachableError: the platform, the engine or the store cannot be asked.
    """
    chosen = platform_for(platform, settings, request.environment)
    deployer = checked_deployer(chosen, is_read_only=True)
    return deployer.difference(deployer.plan(shown_request(chosen, settings, registry, request)))
