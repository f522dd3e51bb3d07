"""What the verbs that act on a cluster would change there, as unified diffs: the stack's part and the deployment's."""

from __future__ import annotations

from collections.abc import Callable

from winnow.config.settings import Settings
from winnow.orchestrators.deploy import Champions, Wanted, plan_champion


def stack_difference(say: Callable[[str], None]) -> str:
    """What `mlflow-init` on Kubernetes would change. Raises InputError where the cluster cannot be asked."""
    from winnow.orchestrators.kubernetes_stack import difference

    return difference(say)


def prod_difference(settings: Settings, registry: Champions, wanted: Wanted) -> str:
    """What `prod` on Kubernetes would change for a study's champion; no image is built for it.

    Raises:
        InputError: there is no champion, or the cluster cannot be asked.
    """
    from winnow.deployers.kubernetes import KubernetesDeployer
    from winnow.deployers.kubernetes_plan import KubernetesPlan

    deployer, plan = plan_champion("kubernetes", settings, registry, wanted, is_kept=False)
    assert isinstance(deployer, KubernetesDeployer)
    assert isinstance(plan, KubernetesPlan)
    return deployer.difference(plan)
