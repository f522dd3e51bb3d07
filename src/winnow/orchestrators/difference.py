"""What `mlflow-init` and `prod` would change in a cluster, as unified diffs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from winnow.config.errors import WinnowError
from winnow.config.settings import Settings
from winnow.orchestrators.deploy import ServeRequest, shown_plan
from winnow.orchestrators.releases import NoChampionError
from winnow.platforms.table import serving_platform_for
from winnow.tracking.registry import Registry


@dataclass(frozen=True)
class Difference:
    """What would change in one part of a cluster.

    Attributes:
        part: "stack" or "prod".
        text: a unified diff; empty if nothing would change or nothing could be compared.
        error: why the part could not be compared; None if it was.
        has_nothing_yet: it was not compared because no model has been selected yet.
    """

    part: str
    text: str
    error: WinnowError | None = None
    has_nothing_yet: bool = False


def compare(parts: Mapping[str, Callable[[], str]]) -> tuple[Difference, ...]:
    """Compare each part, even if another one cannot be compared."""
    differences = []
    for name, difference in parts.items():
        try:
            differences.append(Difference(name, difference()))
        except WinnowError as error:
            differences.append(Difference(name, "", error, isinstance(error, NoChampionError)))
    return tuple(differences)


def prod_difference(platform: str, settings: Settings, registry: Registry, request: ServeRequest) -> str:
    """What `prod` would change on a platform. No image is built.

    Raises:
        NoChampionError: no version has been selected yet.
        InputError, UnreachableError: the platform, the engine or the store does not answer.
    """
    plan = shown_plan(serving_platform_for(platform, settings, request.environment), settings, registry, request)
    return plan.deployer.difference(plan.record, plan.driver.desired.target.number)
