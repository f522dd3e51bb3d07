"""What the verbs that act on a cluster would change there, as unified diffs: the stack's part and the deployment's."""

from __future__ import annotations

from collections.abc import Callable

from winnow.config.settings import Settings
from winnow.orchestrators.deploy import ServeRequest, checked_deployer, shown_request
from winnow.orchestrators.releases import ModelRegistry
from winnow.platforms.table import platform_for


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
