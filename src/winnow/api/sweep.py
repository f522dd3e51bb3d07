"""Run a sweep, continue one, or show what one would start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.api.arguments import silent
from winnow.config.names import check_study_name

if TYPE_CHECKING:
    from winnow.api.experiments import Part
    from winnow.config.experiment import Experiment
    from winnow.config.loader import Given
    from winnow.orchestrators.train import SweepResult


def train(
    config: Path | str | Mapping[str, Any] | Experiment | None = None,
    *,
    data: Part = None,
    model: Part = None,
    space: Mapping[str, Any] | None = None,
    metric: Part = None,
    study: str | None = None,
    trials: int | None = None,
    workers: int | None = None,
    platform: str = "local",
    image: str | None = None,
    registry: str = "",
    image_load: str = "",
    allow_changed_code: bool = False,
    is_retry: bool = False,
    **sections: Any,
) -> SweepResult:
    """Run a study's trials until all are done and the best one is refitted. Progress goes to standard error.

        winnow.train("experiment.yaml", trials=40)
        winnow.train(data=load, model=build, space={"lr": {"float": [1e-3, 0.1], "log": True}}, metric="f1", trials=20)

    In a notebook, progress is shown in place below the cell. Functions may be defined in a script or a notebook; they
    are then copied, with what they use, into a file in WINNOW_HOME/code that the workers import.

    An existing study is resumed; if its workers are running, this attaches to them. Workers may still be refitting
    other trials when the function returns; call it again to wait for them.

    Args:
        config: the experiment: the path of its file, its content as a mapping, or an `Experiment`. A mapping may have
            functions where a file has their names.
        data: the data function, another `data.source`, or the whole section `data`.
        model: the factory, its name, or the whole section `model`.
        space: `search.space`.
        metric: the metric's name, a function, or the whole section `search.metric`.
        study: name of the study; by default the experiment's. Without one, it is made from what is computed: the same
            call continues the same study, and another space, function or setting makes a new one.
        platform: where workers run: "local" processes, "docker" containers or "kubernetes" pods.
        is_retry: train failed trials again, as `retry` does.
        sections: other sections of the file, such as `training={"epochs": 10}`.

    Returns:
        The counts of trials by state, the best trial, the finished refits and those still to come.

    Raises:
        InputError: the file, or something it needs, has to change; nothing was created.
        SweepFailedError: the workers do not start, or keep dying.
        KeyboardInterrupt: Ctrl-C. Local workers were stopped and their trials returned; other workers keep running.
    """
    from winnow.api.experiments import as_given

    overrides = _overrides(trials, workers)
    how = {
        "study_name": study if study is None else check_study_name(study, "study"),
        "platform": platform,
        "image": image,
        "registry": registry,
        "image_load": image_load,
        "allow_changed_code": allow_changed_code,
        "is_retry": is_retry,
    }
    with as_given(
        config, data=data, model=model, space=space, metric=metric, study=study, sections=sections
    ) as experiment:
        return _train(experiment, overrides, how)


def _train(given: Given, overrides: Mapping[str, Any], how: Mapping[str, Any]) -> SweepResult:
    """Train an experiment. `how`: the other attributes of the request."""
    from winnow.config.loader import load_experiment, located

    # Read the file before other imports, so that a mistake in it is reported at once.
    experiment = load_experiment(given, overrides)
    from winnow.orchestrators.preflight import start_check, sweep_platform
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.sweep_request import SweepRequest
    from winnow.platforms.lookup import Lookup

    settings = current()
    folder = Path(given).absolute().parent if isinstance(given, Path | str) else Path.cwd()
    with located(given, overrides):
        request = SweepRequest(experiment, folder=folder, **how).resolved(settings)
        experiment = request.experiment
        target = sweep_platform(request, settings, Lookup())
        with contextlib.closing(start_check(experiment, target.host)) as server:
            target.warm_up(min(experiment.execution.workers, request.trials))
            # The server imports torch while this process imports what manages studies.
            from winnow.orchestrators.progress import progress_view

            view = progress_view(experiment.search.metric.key)
            with view.checking() as show:
                show(f"{request.study}: loading PyTorch and scikit-learn")
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
        platform: as for `train`.

    Returns:
        The same as `train`.

    Raises:
        InputError: the file has to change, there is no such study, or its workers are running.
        SweepFailedError, KeyboardInterrupt: as for `train`.
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
    name = study if study is None else check_study_name(study, "study")
    overrides = _overrides(trials, workers)
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
        lines = plan_sweep(SweepRequest(experiment, name, platform=platform, image=image), settings, lookup)
    for fact in lookup.unknown:
        say(f"not looked up: {fact}")
    return lines


def _overrides(trials: int | None, workers: int | None) -> dict[str, Any]:
    return {"search.trials": trials, "execution.workers": workers}
