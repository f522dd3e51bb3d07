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
    """Run a study's trials until all are done and the best one is refitted. Progress goes to standard error.

    An existing study is resumed; if its workers are running, this attaches to them. Workers may still be refitting
    other trials when the function returns; call it again to wait for them.

    Args:
        platform: where workers run: "local" processes, "docker" containers or "kubernetes" pods.
        is_retry: train failed trials again, as `retry` does.

    Returns:
        The counts of trials by state, the best trial, the finished refits and those still to come.

    Raises:
        InputError: the file, or something it needs, has to change; nothing was created.
        SweepFailedError: the workers do not start, or keep dying.
        KeyboardInterrupt: Ctrl-C. Local workers were stopped and their trials returned; other workers keep running.
    """
    overrides = _overrides(study, trials, workers)
    from winnow.config.loader import load_experiment, located

    # Read the file before other imports, so that a mistake in it is reported at once.
    experiment = load_experiment(Path(config), overrides)
    from winnow.orchestrators.preflight import start_check
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.sweep_platform import sweep_platform
    from winnow.orchestrators.sweep_request import SweepRequest
    from winnow.platforms.lookup import Lookup

    settings = current()
    request = SweepRequest(
        experiment,
        folder=Path(config).absolute().parent,
        platform=platform,
        image=image,
        registry=registry,
        image_load=image_load,
        allow_changed_code=allow_changed_code,
        is_retry=is_retry,
    )
    with located(Path(config), overrides):
        target = sweep_platform(request, settings, Lookup())
        with contextlib.closing(start_check(experiment, target.host)) as server:
            target.warm_up(min(experiment.execution.workers, request.trials))
            # The server imports torch while this process imports what manages studies.
            from winnow.orchestrators.progress import ProgressView

            view = ProgressView(metric=experiment.search.metric.key)
            with view.checking() as show:
                show(f"{experiment.name}: loading PyTorch and scikit-learn")
                from winnow.orchestrators.train import train as run
            return run(request, settings, target, server, view)


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
    """Train a study's failed trials again with the same numbers and parameters, then whatever else is left.

    Failed refits are tried again too.

    Args:
        platform: where workers run: "local" processes, "docker" containers or "kubernetes" pods.

    Returns:
        The same as `train`.

    Raises:
        InputError: the file has to change, there is no such study, or its workers are running.
        SweepFailedError: the workers do not start, or keep dying.
        KeyboardInterrupt: Ctrl-C. Local workers were stopped and their trials returned; other workers keep running.
    """
    return train(
        config,
        study=study,
        workers=workers,
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
    """Show what `train` would start, without starting it.

    This needs no Docker engine and no cluster: placeholders stand for facts that cannot be looked up.

    Args:
        platform: where workers would run: "local", "docker" or "kubernetes".
        say: is called with a line for each fact that could not be looked up.

    Returns:
        The command or manifest of each worker group, as lines of text.

    Raises:
        InputError: the file, or something it needs, has to change.
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


def _overrides(study: str | None, trials: int | None, workers: int | None) -> dict[str, Any]:
    return {"search.trials": trials, "execution.workers": workers, "name": study}
