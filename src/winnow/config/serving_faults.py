"""Check the section `serving` by the experiment file alone: what several keys say together.

As in `space`, these checks are not in the types, so that a stored study of another version can still be read.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.names import fault_in_study_name
from winnow.config.quantities import bytes_of, cpus_of, seconds_of
from winnow.config.serving import ConditionConfig, ResourcesConfig, RolloutConfig, StageConfig

LEAST_CPUS, LEAST_MEMORY = 0.01, 6 * 2**20
"""What Docker accepts at least."""
LARGEST_BODY = 32 * 2**20
"""The default of `limits.max_body_bytes`, as `serving.settings` has it."""

HEADER = re.compile(r"header:[A-Za-z0-9!#$%&'*+.^_`|~-]+")
GATEWAY = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_SHARES_SUM = 1e-9


def deployment_name(name: str, stage: str | None) -> str:
    """The deployment of a model, or of a stage of it."""
    return name if stage is None else f"{name}-{stage}"


def faults_in_serving(experiment: Experiment) -> Iterator[InputError]:
    """The faults in `serving` and in each of its stages, each with its key as the place."""
    serving = experiment.serving
    whole = list(_faults("serving", serving))
    yield from whole
    if experiment.monitoring.prometheus is None:
        configs = {"serving": serving, **{f"serving.stages.{each}": serving.of_stage(each) for each in serving.stages}}
        place = next((each for each, config in configs.items() if config.rollout.engine == "argo-rollouts"), None)
        if place is not None:
            expected = f"an address that Pods reach, because `{place}.rollout.engine` is `argo-rollouts`"
            yield _fault("monitoring.prometheus", expected, "none", "Its numbers are what the verdict rests on.")
    for stage in serving.stages:
        place, name = f"serving.stages.{stage}", deployment_name(experiment.name, stage)
        fault = fault_in_study_name(stage) or fault_in_study_name(name)
        if fault is not None:
            yield InputError(
                place, expected=fault, found=f"'{name}'", remedy="The stage's deployment is called NAME-STAGE."
            )
        elif not whole:  # a stage inherits what is wrong above it
            yield from _faults(place, serving.of_stage(stage))


def _faults(place: str, config: StageConfig) -> Iterator[InputError]:
    yield from _faults_in_resources(f"{place}.resources", config.resources)
    if config.autoscale is not None and (config.autoscale.max or config.replicas) < config.replicas:
        yield _fault(f"{place}.autoscale.max", f"at least `replicas`, {config.replicas}", config.autoscale.max)
    if config.gateway and GATEWAY.fullmatch(config.gateway) is None:
        yield _fault(f"{place}.gateway", "NAMESPACE/NAME of a Gateway", f"'{config.gateway}'")
    elif config.gateway and (config.ingress_class or config.tls_secret):
        key = "ingress_class" if config.ingress_class else "tls_secret"
        remedy = "An HTTPRoute has no such setting: remove it, or `gateway`; the Gateway has its own certificates."
        yield _fault(f"{place}.{key}", "nothing, because `gateway` is set", f"'{getattr(config, key)}'", remedy)
    if config.api_key is not None and bool(config.api_key.env) == bool(config.api_key.file):
        found = "both" if config.api_key.env else "neither"
        remedy = "Leave `api_key` out to keep the key that is in use."
        yield _fault(f"{place}.api_key", "one of `env` and `file`", found, remedy)
    inflight, body = config.limits.max_inflight_bytes, config.limits.max_body_bytes or LARGEST_BODY
    if inflight is not None and inflight < body:
        yield _fault(f"{place}.limits.max_inflight_bytes", f"at least `max_body_bytes`, {body}", inflight)
    if config.log is not None and config.log.to != "stdout" and not config.log.to.startswith("/"):
        remedy = "Every replica is to find the same file."
        yield _fault(f"{place}.log.to", "`stdout` or the absolute path of a file", f"'{config.log.to}'", remedy)
    yield from _faults_in_rollout(f"{place}.rollout", config.rollout)
    if config.rollout.engine == "argo-rollouts":
        yield from _faults_of_argo_rollouts(place, config)


def _faults_of_argo_rollouts(place: str, config: StageConfig) -> Iterator[InputError]:
    """What the controller of Argo Rollouts cannot do: it has whole percent, and a gateway in place of routers."""
    rollout, expected = config.rollout, "{}, because `engine` is `argo-rollouts`"
    if rollout.strategy != "canary":
        yield _fault(f"{place}.rollout.strategy", expected.format("`canary`"), f"'{rollout.strategy}'")
    if not config.gateway:
        yield _fault(f"{place}.gateway", expected.format("NAMESPACE/NAME of a Gateway"), "none")
    shares = [
        each for each in (rollout.initial_weight, *rollout.weight_steps) if abs(each * 100 - round(each * 100)) > 1e-9
    ]
    if shares:
        yield _fault(f"{place}.rollout.weight_steps", expected.format("whole percent"), _shown(shares))
    agreement = [each for each in rollout.conditions if each.type == "agreement"]
    if agreement:
        yield _fault(f"{place}.rollout.conditions", expected.format("none that needs a mirror"), "`agreement`")


def _faults_in_resources(place: str, resources: ResourcesConfig) -> Iterator[InputError]:
    limit, memory = cpus_of(resources.cpu), bytes_of(resources.memory)
    if limit < LEAST_CPUS:
        yield _fault(f"{place}.cpu", f"at least {LEAST_CPUS:g}", resources.cpu)
    elif not 0 < cpus_of(resources.cpu_request) <= limit:
        yield _fault(f"{place}.cpu_request", f"more than 0 and at most `cpu`, {resources.cpu}", resources.cpu_request)
    if memory < LEAST_MEMORY:
        yield _fault(f"{place}.memory", "at least 6Mi", resources.memory)
    elif not 0 < bytes_of(resources.memory_request) <= memory:
        expected = f"more than 0 and at most `memory`, {resources.memory}"
        yield _fault(f"{place}.memory_request", expected, resources.memory_request)


def _faults_in_rollout(place: str, rollout: RolloutConfig) -> Iterator[InputError]:
    is_canary = rollout.strategy == "canary" or (rollout.strategy == "shadow" and rollout.then == "canary")
    if is_canary:
        yield from _faults_in_steps(place, rollout)
    if rollout.strategy == "ab" and (
        len(rollout.weights) != 2 or min(rollout.weights) <= 0 or abs(sum(rollout.weights) - 1) > _SHARES_SUM
    ):
        yield _fault(f"{place}.weights", "two shares above 0 that sum to 1", _shown(rollout.weights))
    yield from _faults_of_outcomes(place, rollout)
    longest = rollout.max_step_duration_seconds
    if longest is not None and longest < rollout.step_duration_seconds:
        expected = f"at least `step_duration_seconds`, {rollout.step_duration_seconds:g}"
        yield _fault(f"{place}.max_step_duration_seconds", expected, f"{longest:g}")
    if rollout.unit != "request" and HEADER.fullmatch(rollout.unit) is None:
        yield _fault(f"{place}.unit", "`request`, or `header:NAME` with a request header's name", f"'{rollout.unit}'")
    if rollout.traffic == "gateway" or rollout.engine == "argo-rollouts":
        yield from _faults_of_gateways(place, rollout)
    for index, condition in enumerate(rollout.conditions):
        yield from _faults_in_condition(f"{place}.conditions[{index}]", condition)


def _faults_in_steps(place: str, rollout: RolloutConfig) -> Iterator[InputError]:
    steps = rollout.weight_steps
    if not steps or steps[-1] != 1 or any(later <= before for before, later in itertools.pairwise(steps)):
        yield _fault(f"{place}.weight_steps", "rising shares, of which the last one is 1", _shown(steps))
        return
    if rollout.initial_weight >= steps[0]:
        expected = f"less than the first of `weight_steps`, {steps[0]:g}"
        yield _fault(f"{place}.initial_weight", expected, f"{rollout.initial_weight:g}")
    weights = (rollout.initial_weight, *steps[:-1])
    unknown = [weight for weight in rollout.pause_at if weight not in weights]
    if unknown:
        yield _fault(f"{place}.pause_at", f"weights of its steps: {_shown(weights)}", _shown(unknown))


def _faults_of_outcomes(place: str, rollout: RolloutConfig) -> Iterator[InputError]:
    """What a comparison by outcomes cannot do. Only one fault is reported: the others follow from it."""
    if rollout.metric is None:
        if rollout.outcomes:
            found = ", ".join(f"'{path}'" for path in rollout.outcomes)
            yield _fault(f"{place}.outcomes", "nothing without `metric`", found)
    elif rollout.strategy != "ab":
        remedy = "Use `strategy: ab`, or remove `metric`."
        yield _fault(f"{place}.metric", "nothing, with another strategy than `ab`", f"'{rollout.metric}'", remedy)
    elif not rollout.outcomes:
        yield _fault(f"{place}.outcomes", "where the prediction log and its feedback are", "nothing")
    elif rollout.unit != "request":
        remedy = "Outcomes of one user depend on each other, which the test does not know: remove `unit` or `metric`."
        yield _fault(f"{place}.unit", "`request`, because `metric` is set", f"'{rollout.unit}'", remedy)
    elif rollout.traffic == "gateway":
        remedy = "A gateway does not mark which revision it has chosen: use `traffic: router`, or remove `metric`."
        yield _fault(f"{place}.traffic", "`router`, because `metric` is set", "'gateway'", remedy)
    elif seconds_of(rollout.max_duration) < rollout.step_duration_seconds:
        expected = f"at least `step_duration_seconds`, {rollout.step_duration_seconds:g} s"
        yield _fault(f"{place}.max_duration", expected, f"'{rollout.max_duration}'")


def _faults_of_gateways(place: str, rollout: RolloutConfig) -> Iterator[InputError]:
    needs = {
        "strategy": rollout.strategy == "shadow",
        "unit": rollout.unit != "request",
        "may_choose": rollout.may_choose,
    }
    for key in (key for key, is_needed in needs.items() if is_needed):
        remedy = "A gateway splits by weight alone: use `traffic: router`."
        yield _fault(f"{place}.{key}", "what a gateway can do", f"'{getattr(rollout, key)}'", remedy)


def _faults_in_condition(place: str, condition: ConditionConfig) -> Iterator[InputError]:
    if condition.type not in ("prometheus", "metric"):
        return
    missing = [key for key in ("url", "query") if not getattr(condition, key)]
    if condition.type == "metric":
        missing = [key for key in missing if key != "query"]
    if missing:
        yield _fault(f"{place}.{missing[0]}", f"a value, for `type: {condition.type}`", "nothing")
    elif condition.min is None and condition.max is None:
        yield _fault(place, "`min`, `max` or both", "neither")


def _shown(numbers: Sequence[float]) -> str:
    return f"[{', '.join(f'{number:g}' for number in numbers)}]"


def _fault(place: str, expected: str, found: object, remedy: str = "Correct it.") -> InputError:
    return InputError(place, expected=expected, found=str(found), remedy=remedy)
