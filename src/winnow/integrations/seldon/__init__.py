"""Manifests of Seldon Core 2 for a registered model."""

from __future__ import annotations

from pathlib import Path


def seldon_manifests(
    config: Path | str,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    alias: str | None = None,
    version: str | None = None,
    replicas: int | None = None,
    storage: str = "",
) -> str:
    """Return the champion as a Model of Seldon Core 2, as YAML; nothing is asked but the registry.

    Another version, or another alias, is a candidate beside the champion: an Experiment has the first weights of
    `serving.rollout`, or its mirror. winnow does not drive it.

    Args:
        storage: where the MLflow model of the version lies; by default where MLflow keeps it. The champion's own place
            counts where both are rendered.

    Raises:
        InputError: there is no such version, the file is wrong, or the model does not lie in an object store.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(config)
    from winnow.api.arguments import model_name
    from winnow.config.serving_faults import deployment_name
    from winnow.integrations.seldon.manifests import StoredVersion, manifests
    from winnow.orchestrators.releases import choose_version
    from winnow.orchestrators.serving_settings import stage_of
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    model, settings = model_name(config, study, name), current()
    registry = Registry(settings.tracking_uri)
    found = [choose_version(registry, model, store=settings.tracking_uri)]
    chosen = choose_version(registry, model, store=settings.tracking_uri, alias=alias, number=version)
    if chosen != found[0]:
        found.append(chosen)
    stored = [StoredVersion(each.version, each.run_id, registry.model_uri(each)) for each in found]
    if storage:
        stored[-1] = StoredVersion(chosen.version, chosen.run_id, storage.rstrip("/"))
    candidate = stored[1] if len(stored) > 1 else None
    served = stage_of(experiment.serving, stage)
    return manifests(deployment_name(model, stage), served, stored[0], candidate, replicas)
