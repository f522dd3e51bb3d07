"""Run a sweep, continue one, or show what one would start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.api.arguments import silent

if TYPE_CHECKING:
    from winnow.orchestrators.train import SweepResult


def train(
    config: Path | str,
    *,
    study: str | None = None,
    trials: int | None = None,
    workers: int | None = None,
    platform: str = "local",
    image: str | None = None,
    registry: str = "",
    image_load: str = "",
    allow_changed_code: bool = False,
    is_retry: bool = False,
) -> SweepResult:
    """Run a study's trials until all are done, and the best one is refitted. Progress goes to standard error.

    A study that exists is resumed where it stands; one whose workers are running is attached to. Workers may have
    refits left when it returns: the same call waits for them.

    Args:
        config: the experiment file.
        study: name of the study; by default the experiment's.
        trials: how many trials the study holds when it is done; by default as many as the file says.
        workers: worker groups that run at once; by default as many as the file says.
        platform: where workers run: "local" processes, "docker" containers or "kubernetes" pods.
        image: the containers' image; by default the one that `build_train` made.
        registry: HOST/PATH that the image is pushed to, for a cluster; by default WINNOW_REGISTRY.
        image_load: command that loads the image onto a cluster's nodes; by default WINNOW_IMAGE_LOAD.
        allow_changed_code: continue a study although a file of your own code has changed; its trials are marked.
        is_retry: train failed trials again, as `retry` does.

    Returns:
        The counts of trials by state, the best trial, what became of the refits, and which are left.

    Raises:
        InputError: the file, or something that it needs, has to change; nothing was created.
        SweepFailedError: the workers do not come up, or die again and again.
        KeyboardInterrupt: Ctrl-C. Local workers were stopped and their trials handed back; other workers go on.
    """
    return _run(
        config,
        _overrides(study, trials, workers),
        platform=platform,
        image=image,
        registry=registry,
        image_load=image_load,
        allow_changed_code=allow_changed_code,
        is_retry=is_retry,
    )


def retry(
    config: Path | str,
    *,
    study: str | None = None,
    workers: int | None = None,
    platform: str = "local",
    image: str | None = None,
    registry: str = "",
    image_load: str = "",
    allow_changed_code: bool = False,
) -> SweepResult:
    """Train a study's failed trials again under their numbers, then whatever else is left of it.

    Trials keep their parameters. Failed refits are tried again, too.

    Args:
        config: the experiment file.
        study: name of the study; by default the experiment's.
        workers: worker groups that run at once; by default as many as the file says.
        platform: where workers run: "local" processes, "docker" containers or "kubernetes" pods.
        image: the containers' image; by default the one that `build_train` made.
        registry: HOST/PATH that the image is pushed to, for a cluster; by default WINNOW_REGISTRY.
        image_load: command that loads the image onto a cluster's nodes; by default WINNOW_IMAGE_LOAD.
        allow_changed_code: continue a study although a file of your own code has changed; its trials are marked.

    Returns:
        The same as `train`.

    Raises:
        InputError: the file has to change, there is no such study, or its workers are running.
        SweepFailedError: the workers do not come up, or die again and again.
        KeyboardInterrupt: Ctrl-C. Local workers were stopped and their trials handed back; other workers go on.
    """
    return _run(
        config,
        _overrides(study, None, workers),
        platform=platform,
        image=image,
        registry=registry,
        image_load=image_load,
        allow_changed_code=allow_changed_code,
        is_retry=True,
    )


def plan(
    config: Path | str,
    *,
    study: str | None = None,
    trials: int | None = None,
    workers: int | None = None,
    platform: str = "local",
    image: str | None = None,
    say: Callable[[str], None] = silent,
) -> list[str]:
    """Say what `train` would start; start nothing.

    It needs no Docker engine and no cluster: placeholders stand for facts that could not be looked up.

    Args:
        config: the experiment file.
        study: name of the study; by default the experiment's.
        trials: how many trials the study holds when it is done; by default as many as the file says.
        workers: worker groups that run at once; by default as many as the file says.
        platform: where workers would run: "local", "docker" or "kubernetes".
        image: the containers' image; by default the one that `build_train` made.
        say: is called with a line for each fact that could not be looked up.

    Returns:
        Lines for a person: a command or manifest for each worker group.

    Raises:
        InputError: the file, or something that it needs, has to change.
    """
    overrides = _overrides(study, trials, workers)
    from winnow.config.loader import load_experiment, located

    experiment = load_experiment(Path(config), overrides)
    from winnow.config.settings import Settings
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.sweep_request import SweepRequest
    from winnow.orchestrators.train import plan as plan_sweep
    from winnow.platforms.lookup import Lookup

    lookup = Lookup(is_optional=True)
    settings = lookup("the stack's addresses on this machine", current, Settings.from_environment())
    with located(Path(config), overrides):
        lines = plan_sweep(SweepRequest(experiment, platform=platform, image=image), settings, lookup)
    for fact in lookup.unknown:
        say(f"not looked up: {fact}")
    return lines


def _run(config: Path | str, overrides: dict[str, Any], **options: Any) -> SweepResult:
    """Run a sweep. `options` are the fields of a `SweepRequest`."""
    from winnow.config.loader import load_experiment, located

    # The file is read before anything else is imported, so that a mistake in it is an error at once.
    experiment = load_experiment(Path(config), overrides)
    from winnow.orchestrators.preflight import start_check
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.sweep_platform import sweep_platform
    from winnow.orchestrators.sweep_request import SweepRequest
    from winnow.platforms.lookup import Lookup

    settings = current()
    request = SweepRequest(experiment, folder=Path(config).absolute().parent, **options)
    with located(Path(config), overrides):
        platform = sweep_platform(request, settings, Lookup())
        with contextlib.closing(start_check(experiment, platform.host)) as server:
            platform.warm_up(min(experiment.execution.workers, experiment.search.trials))
            # The server imports torch while this process imports what manages studies.
            from winnow.orchestrators.progress import ProgressView

            view = ProgressView(metric=experiment.search.metric.name)
            with view.checking() as show:
                show(f"{experiment.name}: loading PyTorch and scikit-learn")
                from winnow.orchestrators.train import train as run
            return run(request, settings, platform, server, view)


def _overrides(study: str | None, trials: int | None, workers: int | None) -> dict[str, Any]:
    return {"search.trials": trials, "execution.workers": workers, "name": study}
