"""Refuse what cannot be trained before a study, a run or a worker exists.

At each corner of the search space a model is built, two rows pass through it, and the optimizer and the schedule are
made. A large model is built on torch's meta device, which has shapes but no memory, where the model allows that.
"""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from winnow.bundle.columns import UNKNOWN, slices_of
from winnow.config.conditions import activating, active_values
from winnow.config.errors import InputError
from winnow.config.experiment import (
    ChoiceParameter,
    Experiment,
    FloatParameter,
    IntParameter,
    OptimizerConfig,
    SchedulerConfig,
)
from winnow.config.functions import line_in
from winnow.config.nearest import did_you_mean
from winnow.config.space import float_for_whole_numbers
from winnow.data.dataset import DataSet
from winnow.data.preprocessing import TargetScale, fit_preprocessing
from winnow.data.rows import spread
from winnow.data.splits import split_watch
from winnow.training.calibration import threshold_spec
from winnow.training.fitting import build_network
from winnow.training.fold_data import FoldData
from winnow.training.independence import CAUSE, dependence
from winnow.training.losses import check_loss, row_loss
from winnow.training.metrics import LOSS
from winnow.training.optimization import (
    make_optimizer,
    make_schedule,
    optimizer_settings,
    scheduler_class,
    scheduler_settings,
)
from winnow.training.packs import Packs
from winnow.training.parameters import Slot, TrialSettings, factory_takes, possible_optimizers
from winnow.training.preparation import Prepared, prepare
from winnow.training.weights import named_weights
from winnow.training.world import World

MAX_DRAWS = 16
MAX_PARAMETERS = 5_000_000
"""Of a network that is built with its weights before the sweep: 20 MB."""
ROWS_TRIED = 4
ROUNDING = 1e-3
"""How far answers may be apart before the sweep, relative to the largest; the check at the refit is stricter."""


def check(
    experiment: Experiment, *, has_gpu: bool | None = None, show: Callable[[str], None] = lambda _what: None
) -> Prepared:
    """Prepare an experiment and refuse what cannot be trained.

    Args:
        has_gpu: whether the ranks will have a GPU; None: they run on this machine.
        show: called with the name of each part before it is checked.

    Raises:
        InputError: the first thing that has to change, with its place in the experiment.
    """
    _check_device(experiment, has_gpu)
    show("factory, data and folds")
    prepared = prepare(experiment)
    _check_watch(prepared)
    _check_pruning(prepared)
    _check_augmentation(prepared)
    _check_class_weights(prepared)
    if prepared.loop is None:
        _check_loss(prepared)
        _check_fixed_settings(experiment)
        _check_options(prepared)
        _check_whole_numbers(prepared)
        draws = corner_draws(experiment)
        for number, params in enumerate(draws, start=1):
            show(f"corner {number} of {len(draws)} of the search space")
            _check_draw(prepared, params)
    _check_pack(prepared)
    return prepared


def corner_draws(experiment: Experiment) -> list[dict[str, Any]]:
    """Draws that hold both ends of every range, and every choice (up to `MAX_DRAWS` of them), at least once.

    Conditional parameters are in the draws in which they are active; further draws hold what the first ones lack.
    """
    space = experiment.search.space
    ends = {name: _ends(parameter) for name, parameter in space.items()}
    count = min(max([2, *map(len, ends.values())]), MAX_DRAWS)
    whole = [{name: values[draw % len(values)] for name, values in ends.items()} for draw in range(count)]
    draws = [active_values(space, draw) for draw in whole]
    for name, values in ends.items():
        for value in values[:MAX_DRAWS] if space[name].when else ():
            if not any(name in draw and draw[name] == value for draw in draws):
                draws.append(active_values(space, {**whole[0], **activating(space, name), name: value}))
    return draws


def _ends(parameter: ChoiceParameter | FloatParameter | IntParameter) -> tuple[Any, ...]:
    return parameter.choices if isinstance(parameter, ChoiceParameter) else parameter.bounds


def _check_device(experiment: Experiment, has_gpu: bool | None) -> None:
    precision, device = experiment.training.precision, experiment.execution.device
    is_there = torch.cuda.is_available() if has_gpu is None else has_gpu
    if device == "cuda" and not is_there:
        raise InputError(
            "execution.device",
            expected="a device that this machine has",
            found="'cuda', and torch sees no GPU",
            remedy="Set execution.device: auto (or cpu), or install a build of torch for your GPU.",
        )
    on_cpu = device == "cpu" or not is_there
    if precision == "fp16" and on_cpu:
        raise InputError(
            "training.precision",
            expected="'no' or 'bf16' without a GPU",
            found="'fp16', which would silently train in float32",
            remedy="Set training.precision: bf16 or 'no', or run on a GPU (execution.device: cuda).",
        )
    if precision == "bf16" and has_gpu is None and not on_cpu and not torch.cuda.is_bf16_supported():
        raise InputError(
            "training.precision",
            expected="'no' or 'fp16' on a GPU without bfloat16",
            found="'bf16'",
            remedy="Set training.precision: fp16.",
        )


def _check_class_weights(prepared: Prepared) -> None:
    """Refuse weights of classes that are not there."""
    weights, data = prepared.experiment.training.class_weights, prepared.data
    if weights is not None and data.class_names is None:
        remedy = "Remove it; rows can have weights of their own (data.weight)."
        expected = "a target of classes"
        raise InputError("training.class_weights", expected=expected, found="regression", remedy=remedy)
    if isinstance(weights, Mapping):
        named_weights(data, weights)


def _check_loss(prepared: Prepared) -> None:
    """Refuse an objective that is another loss in each trial, and a metric that can choose no threshold."""
    threshold_spec(prepared)
    searched = next((name for name, slot in prepared.routing.slots.items() if slot.place == "loss"), None)
    if searched is not None and prepared.objective == LOSS:
        raise InputError(
            "search.metric.name",
            expected="a metric that does not depend on the parameters of the loss",
            found=f"'{LOSS}', while the space holds {searched}",
            remedy="Take log_loss or another metric.",
        )


def _check_pruning(prepared: Prepared) -> None:
    """Refuse pruning by epoch where ranks could not stop together: a function of one's own may report on one alone."""
    experiment = prepared.experiment
    if experiment.search.pruner.every == "epoch" and prepared.loop is not None and experiment.execution.processes > 1:
        raise InputError(
            "search.pruner.every",
            expected="'fold' for a training.loop on several processes",
            found="'epoch'",
            remedy="Set search.pruner.every: fold, or execution.processes: 1.",
        )


def _check_augmentation(prepared: Prepared) -> None:
    """Change two rows of the data by chance, and refuse functions that give others back."""
    augmentation, data = prepared.augmentation, prepared.data
    if augmentation is None:
        return
    if prepared.loop is not None:
        raise InputError(
            "data.augment",
            expected="no augmentation beside `training.loop`, which gets rows as they are",
            found="a function, or a Dataset for training",
            remedy="Change the rows in the training function itself.",
        )
    index = torch.from_numpy(prepared.holdout.rest[:2])
    try:
        plain = augmentation.rows is None
        rows = torch.from_numpy(data.features[index.numpy()]) if plain else augmentation.read(index, [0])
        found = augmentation.apply(rows, [0])
        is_alike = isinstance(found, torch.Tensor) and (found.shape, found.dtype) == (rows.shape, rows.dtype)
        kind = f"{list(found.shape)} of {found.dtype}" if isinstance(found, torch.Tensor) else type(found).__name__
        problem = _broken_codes(data, found) if is_alike else kind
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - a function of the user's may raise anything
        problem = f"{type(error).__name__}: {error}{line_in(None, error)}"
    if problem is not None:
        raise InputError(
            "data.augment",
            expected=f"rows of float32 and of the shape {[len(index), *data.raw_shape]} that it gets",
            found=problem,
            remedy="It gets a batch of rows as they were loaded, before they are scaled, and returns one.",
        )


def _broken_codes(data: DataSet, rows: Tensor) -> str | None:
    """The first column of categories with numbers that are no codes of theirs."""
    columns = data.columns or ()
    for column, part in zip(columns, slices_of(columns), strict=True):
        codes = rows[:, part][~rows[:, part].isnan()]
        known = (codes == codes.round()) & (codes >= UNKNOWN) & (codes < len(column.categories))
        if column.kind == "category" and not known.all():
            return f"{float(codes[~known][0]):.4g} in column '{column.name}', which is no code of a category"
    return None


def _check_watch(prepared: Prepared) -> None:
    """Split the watched rows of early stopping from every fold, which raises where a fold has too few rows."""
    stopping = prepared.experiment.training.early_stopping
    if stopping is None:
        return
    splitter, seed = prepared.experiment.cross_validation.splitter, prepared.experiment.search.seed
    for rows in (prepared.holdout.rest, *(fold.train for fold in prepared.folds)):
        split_watch(prepared.data, rows, stopping.fraction, splitter, seed)


def _check_fixed_settings(experiment: Experiment) -> None:
    """Refuse settings in the file that no optimizer or scheduler takes."""
    training = experiment.training
    known = frozenset[str]().union(*(optimizer_settings(name) for name in possible_optimizers(experiment)))
    _check_extras("training.optimizer", training.optimizer, known)
    if training.scheduler is not None:
        _check_extras("training.scheduler", training.scheduler, scheduler_settings(training.scheduler.type))


def _check_extras(place: str, config: OptimizerConfig | SchedulerConfig, known: frozenset[str]) -> None:
    for name in config.model_extra or {}:
        if name not in known:
            raise _unknown_setting(f"{place}.{name}", name, known, f"a setting of {config.type}")


def _check_options(prepared: Prepared) -> None:
    taken, takes_rest = factory_takes(prepared.factory)
    for name in prepared.experiment.model.options:
        if name not in taken and not takes_rest:
            factory = prepared.experiment.model.factory
            raise _unknown_setting(f"model.options.{name}", name, taken, f"an argument of {factory}")


def _check_whole_numbers(prepared: Prepared) -> None:
    """Refuse a range of real numbers for an argument that is annotated as `int`.

    The ends of such a range are often whole, so that the draws below would pass where most trials fail.
    """
    experiment = prepared.experiment
    for name, parameter in experiment.search.space.items():
        slot = prepared.routing.slots.get(name)
        if slot is not None and isinstance(parameter, FloatParameter) and _takes_int(prepared, slot):
            raise float_for_whole_numbers(name, parameter)


def _takes_int(prepared: Prepared, slot: Slot) -> bool:
    scheduler = prepared.experiment.training.scheduler
    takers: dict[str, Callable[..., Any]] = {"model": prepared.factory}
    if scheduler is not None:
        takers["scheduler"] = scheduler_class(scheduler.type)
    taker = takers.get(slot.place)
    argument = inspect.signature(taker).parameters.get(slot.setting) if taker is not None else None
    return argument is not None and argument.annotation in (int, "int")


def _check_pack(prepared: Prepared) -> None:
    """Refuse a fixed pack size where models cannot train as one; with `auto` they train one after another."""
    execution = prepared.experiment.execution
    if execution.pack in ("auto", "off", 1):
        return
    world, ranks = World("no", on_cpu=True), execution.processes * execution.nodes
    packs = Packs(prepared, world, FoldData(prepared, world.device), lambda *_, **_metrics: None)
    reasons = (packs.reason_against(params, ranks) for params in corner_draws(prepared.experiment))
    reason = next((found for found in reasons if found is not None), None)
    if reason is not None:
        raise InputError(
            "execution.pack",
            expected="auto or off, since models of this experiment cannot train as one",
            found=f"{execution.pack} ({reason})",
            remedy="Set execution.pack: auto.",
        )


def _check_draw(prepared: Prepared, params: Mapping[str, Any]) -> None:
    experiment = prepared.experiment
    try:
        settings = prepared.routing.settings(params, experiment.model.options, experiment.training)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            "search.space",
            expected=f"values that training.{'.'.join(map(str, first['loc']))} takes ({first['msg']})",
            found=repr(first["input"]),
            remedy="Change the bounds or the choices.",
        ) from error
    network = _check_network(prepared, settings.model)
    _check_rows(prepared, settings.model, network)
    # Try the loss of a draw on a few rows.
    config = settings.training.loss
    data, rest = prepared.data, prepared.holdout.rest
    rows = rest[spread(len(rest), ROWS_TRIED)]
    target = torch.from_numpy(data.target[rows])
    if data.task == "regression":
        target = TargetScale.fit(data.target[rest]).scale(target)
    outputs = torch.randn(len(rows), data.outputs, generator=torch.Generator().manual_seed(0))
    is_weighted = data.weights is not None or prepared.experiment.training.class_weights is not None
    check_loss(row_loss(config, data.task), outputs, target, config.type, is_weighted=is_weighted)
    _check_training(prepared, settings, network)


def _check_network(prepared: Prepared, arguments: Mapping[str, Any]) -> nn.Module:
    """A network of the right shape: on the CPU where it is small, otherwise on the meta device where it can live there.

    Operations on the meta device import torch._dynamo and sympy (1.2 CPU seconds).
    """
    failure: Exception | None = None
    # Some models fail on the meta device alone, so the CPU decides.
    for device in ("cpu",) if _is_small_on_meta(prepared, arguments) else ("meta", "cpu"):
        try:
            return _probed(prepared, arguments, torch.device(device))
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 - a factory may raise anything
            failure = error
    assert failure is not None
    where = traceback.extract_tb(failure.__traceback__)[-1]
    raise InputError(
        "model.factory",
        expected=f"a factory whose network takes rows of shape {list(prepared.data.input_shape)}",
        found=f"{type(failure).__name__}: {failure} ({where.filename}:{where.lineno}) with {dict(arguments)}",
        remedy=f"Correct {prepared.experiment.model.factory}, or the space.",
    ) from failure


def _is_small_on_meta(prepared: Prepared, arguments: Mapping[str, Any]) -> bool:
    """Whether the network can be made without memory and has few parameters."""
    try:
        with torch.device("meta"):
            return _is_small(prepared.factory(prepared.data.input_shape, prepared.data.outputs, **arguments))
    except Exception:  # noqa: BLE001 - a factory may raise anything; it is tried again
        return False


def _is_small(network: nn.Module) -> bool:
    return sum(parameter.numel() for parameter in network.parameters() if not is_lazy(parameter)) <= MAX_PARAMETERS


def _probed(prepared: Prepared, arguments: Mapping[str, Any], device: torch.device) -> nn.Module:
    data, factory = prepared.data, prepared.experiment.model.factory
    with device:
        built = prepared.factory(data.input_shape, data.outputs, **arguments)
        if not isinstance(built, nn.Module):
            raise InputError(
                "model.factory",
                expected="a function that returns an nn.Module",
                found=f"{type(built).__name__} from {factory}",
                remedy="Return the network itself.",
            )
        with torch.no_grad():
            outputs = built.eval()(torch.zeros(2, *data.input_shape))
    expected, found = (2, data.outputs), tuple(getattr(outputs, "shape", ()))
    if found != expected:
        raise InputError(
            "model.factory",
            expected=f"outputs of shape {list(expected)} for 2 rows: one per {_unit(prepared)}",
            found=f"{list(found) if found else type(outputs).__name__} from {factory} with {dict(arguments)}",
            remedy="Let the last layer have `outputs` outputs.",
        )
    return built


def _check_rows(prepared: Prepared, arguments: Mapping[str, Any], network: nn.Module) -> None:
    """Refuse a network whose output for a row depends on the other rows of its batch, or is random.

    Small networks only, with untrained weights and a few rows of the data. The refit checks every network.
    """
    data, rest = prepared.data, prepared.holdout.rest
    if not _is_small(network) or len(rest) < 2:
        return
    raw = data.features[rest[spread(len(rest), ROWS_TRIED)]]
    rows = fit_preprocessing(raw, data.inputs, prepared.scaling)(torch.from_numpy(raw)).numpy()
    try:
        built = build_network(prepared.factory, data, arguments).eval()
        answer = functools.partial(_answer, built)
        together, again = answer(rows), answer(rows)
    except Exception:  # noqa: BLE001 - it may be made for a device that is not here
        return
    tolerance = ROUNDING * float(np.nanmax(np.abs(together), initial=np.finfo(np.float32).tiny))
    is_random = not np.allclose(together, again, rtol=0, atol=tolerance, equal_nan=True)
    found = dependence(answer, rows, together, tolerance)
    if not is_random and found is None:
        return
    factory = prepared.experiment.model.factory
    if is_random:
        raise InputError(
            "model.factory",
            expected="a network that answers a row the same way each time in eval mode",
            found=f"answers that change from one call to the next, from {factory} with {dict(arguments)}",
            remedy="Draw random numbers in training mode alone: F.dropout(x, training=self.training), or nn.Dropout.",
        )
    raise InputError(
        "model.factory",
        expected="a network whose answer to a row does not depend on the other rows of its batch",
        found=f"{found}, from {factory} with {dict(arguments)}",
        remedy=f"Look in its forward for {CAUSE}.",
    )


@torch.no_grad()
def _answer(network: nn.Module, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    outputs: NDArray[np.float32] = network(torch.from_numpy(rows)).float().numpy()
    return outputs


def _check_training(prepared: Prepared, settings: TrialSettings, network: nn.Module) -> None:
    """Make the optimizer and the schedule that this draw asks for."""
    training = settings.training
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        optimizer = make_optimizer(training.optimizer, network, device, is_scaled=False)
    except (TypeError, ValueError) as error:
        place, remedy = "training.optimizer", "Correct its settings, in training.optimizer or in the space."
        raise _not_made(place, training.optimizer, error, remedy) from error
    if training.scheduler is None:
        return
    steps = -(-len(prepared.holdout.rest) // (training.batch_size * training.accumulation)) * training.epochs
    try:
        make_schedule(training.scheduler, optimizer, steps=steps, epochs=training.epochs)
    except (TypeError, ValueError) as error:
        place, remedy = "training.scheduler", "Correct its settings, in training.scheduler or in the space."
        raise _not_made(place, training.scheduler, error, remedy) from error


def _not_made(place: str, config: OptimizerConfig | SchedulerConfig, error: Exception, remedy: str) -> InputError:
    return InputError(
        place,
        expected=f"settings with which {config.type} can be made",
        found=f"{config.model_extra or {}} ({type(error).__name__}: {error})",
        remedy=remedy,
    )


def _unknown_setting(place: str, name: str, known: frozenset[str], expected: str) -> InputError:
    remedy = f"{did_you_mean(name, sorted(known))} Known names: {', '.join(sorted(known)) or 'none'}.".lstrip()
    return InputError(place, expected=expected, found=repr(name), remedy=remedy)


def _unit(prepared: Prepared) -> str:
    return "class" if prepared.data.task == "classification" else "target"
