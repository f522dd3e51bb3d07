"""What the verbs that act on a cluster would change there, as unified diffs: the stack's part and the deployment's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.deploy import Champions, Wanted, plan_champion
from winnow.tracking.tracker import TrackingUnavailableError


class NoChampionError(InputError):
    """There is nothing to serve yet, and so nothing to compare."""


def stack_difference(say: Callable[[str], None]) -> str:
    """What `mlflow-init` on Kubernetes would change, with what the environment sets.

    Raises:
        InputError: a setting is wrong, or the cluster cannot be asked.
    """
    from winnow.orchestrators.stack import difference

    return difference("kubernetes", say=say)


def prod_difference(settings: Settings, registry: Champions, wanted: Wanted) -> str:
    """What `prod` on Kubernetes would change for a study's champion; no image is built for it.

    Raises:
        NoChampionError: there is no champion.
        InputError: the cluster or the store cannot be asked.
    """
    from winnow.platforms.kubernetes.deployer import KubernetesDeployer
    from winnow.platforms.kubernetes.deployment_plan import KubernetesPlan

    try:
        deployer, plan = plan_champion("kubernetes", settings, registry, wanted, is_kept=False)
    except InputError as error:
        if not _has_no_champion(settings, registry, wanted):
            raise
        told = {"expected": error.expected, "found": error.found, "remedy": error.remedy}
        raise NoChampionError(error.place, **told) from error
    assert isinstance(deployer, KubernetesDeployer)
    assert isinstance(plan, KubernetesPlan)
    return deployer.difference(plan)


def _has_no_champion(settings: Settings, registry: Champions, wanted: Wanted) -> bool:
    """None is chosen; a store that does not answer may have one, and one in a file comes with the first study."""
    database = settings.tracking_uri.removeprefix("sqlite:///")
    if database != settings.tracking_uri and not Path(database).is_file():
        return True
    try:
        return registry.champion(wanted.name, wanted.alias) is None
    except TrackingUnavailableError:
        return False
