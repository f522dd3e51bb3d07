"""The InferenceService of a deployment on KServe: pure functions.

A deployment of winnow is one InferenceService in KServe's standard mode, which runs the model's image. Its predictor is
the stable revision; a revision beside it is an entry of `spec.canary` (KServe 0.20), or, before, the predictor with
`canaryTrafficPercent`. The pod is that of `k8s/prod/deployment.yaml`. Each predictor has its revision's name, so that
KServe promotes a canary by pointing at its pods, without a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from winnow.config.errors import InputError
from winnow.config.quantities import whole_percent
from winnow.platforms import labels
from winnow.platforms.kubernetes import kinds, revision_plan
from winnow.platforms.kubernetes.kinds import Manifest, annotations_on, kind_of, shortened
from winnow.platforms.kubernetes.revision_plan import CONTAINER, RECORD, labels_of, revision_in
from winnow.routing import Record, to_json

KSERVE_CONTAINER = "kserve-container"
"""The name that KServe asks of the container that serves."""
MODE, STANDARD, KNATIVE = "serving.kserve.io/deploymentMode", "RawDeployment", "Serverless"
"""Newer releases call them Standard and Knative, and take these names too."""
ALIVE, ROUTED = "winnow.alive", "winnow.routed"
"""Annotations: which revisions have how many replicas (`1=2,3=1`), and the serial of the route that is followed."""
WEIGHT = "serving.rollout: a weight"
LIST_SINCE = (0, 20)
"""The release that takes canaries as a list."""
_LONGEST_NAME = 40
"""KServe appends up to 23 characters to a name that is a DNS label."""
_POD = (
    *("automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds", "securityContext"),
    *("topologySpreadConstraints", "volumes", "nodeSelector", "tolerations", "affinity", "imagePullSecrets"),
    *("serviceAccountName", "priorityClassName"),
)


def service_name(name: str) -> str:
    """The InferenceService's name."""
    return shortened(name.replace("_", "-").replace(".", "-").lower(), _LONGEST_NAME)


def has_list(version: str) -> bool:
    """Whether a release of KServe, such as `0.20` or `v0.19.1`, takes canaries as a list. Raises InputError."""
    try:
        major, minor = (int(part) for part in version.removeprefix("v").split(".")[:2])
    except ValueError as error:
        raise InputError(
            "KSERVE_VERSION", expected="the release of KServe, such as 0.20", found=f"'{version}'", remedy="Correct it."
        ) from error
    return (major, minor) >= LIST_SINCE


def inference_service(
    files: Sequence[Manifest], record: Record, alive: Mapping[int, int], routed: int | None, *, is_list: bool = True
) -> Manifest:
    """The InferenceService with the record.

    Args:
        alive: the number of replicas of each revision that has some, by the revision's number; not empty.
        routed: serial of the route that it follows; None before the first.
        is_list: `has_list` of the cluster's KServe.

    Raises:
        InputError: shares are no whole percents, or KServe would get more than two revisions without the list.
    """
    stable = record.route.stable if record.route.stable in alive else min(alive)
    others = [number for number in sorted(alive) if number != stable]
    shares = {number: percent(record, number) for number in others}
    if is_list:
        spec: dict[str, Any] = {"predictor": predictor(files, record, stable, alive[stable])}
        if others:
            spec["canary"] = [
                {"trafficPercent": shares[each], "predictor": predictor(files, record, each, alive[each])}
                for each in others
            ]
    else:
        newest = others[-1] if others else stable
        spec = {"predictor": predictor(files, record, newest, alive[newest])}
        # A name would keep KServe from seeing the other revision as an earlier one of the same predictor.
        del spec["predictor"]["name"]
        if others:
            spec["predictor"]["canaryTrafficPercent"] = shares[newest]
    notes = {
        MODE: STANDARD if is_list else KNATIVE,
        RECORD: to_json(record),
        ALIVE: ",".join(f"{number}={count}" for number, count in sorted(alive.items())),
        **({} if routed is None else {ROUTED: str(routed)}),
    }
    return kinds.INFERENCE_SERVICE.manifest(
        service_name(record.name), labels_of(record.name), annotations=notes, spec=spec
    )


def predictor(files: Sequence[Manifest], record: Record, number: int, replicas: int) -> dict[str, Any]:
    """What runs a revision: the pod of `k8s/prod/deployment.yaml` in KServe's words."""
    revision = revision_in(record, number)
    made = revision_plan.revision_objects(files, record.name, revision)
    template = next(each for each in made if kind_of(each) == kinds.DEPLOYMENT)["spec"]["template"]
    pod = template["spec"]
    containers = [
        {**each, "name": KSERVE_CONTAINER} if each["name"] == CONTAINER else each for each in pod["containers"]
    ]
    return {
        "name": predictor_name(number),
        "labels": {**revision_plan.labels_of_revision(record.name, number), labels.ROLE: revision_plan.REPLICA},
        "annotations": dict(annotations_on(template)),
        "minReplicas": replicas,
        "maxReplicas": replicas,
        "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        **{key: pod[key] for key in _POD if key in pod},
        "containers": containers,
    }


def predictor_name(number: int) -> str:
    """The name of a revision's predictor."""
    return f"r{number}"


def percent(record: Record, number: int) -> int:
    """The percent of the requests that a revision beside the stable one gets. Raises InputError for a fraction."""
    share = record.route.weight if number == record.route.candidate else 0.0
    return whole_percent(share, WEIGHT, "KServe")


def alive_in(service: Manifest | None) -> dict[int, int]:
    """The replicas that each revision is to have. What was changed by hand into something else counts as none."""
    text = annotations_on(service).get(ALIVE, "")
    pairs = re.findall(r"(?:^|,)(\d+)=(\d+)(?=,|$)", text)
    return {int(number): int(count) for number, count in pairs}


def routed_in(service: Manifest | None) -> int | None:
    """The serial of the route that the InferenceService follows; None before the first."""
    found = annotations_on(service).get(ROUTED, "")
    return int(found) if found.isdecimal() else None


def check(record: Record) -> None:
    """Check what KServe cannot do. Raises InputError where a setting cannot be had on KServe."""
    for place, expected, found, remedy in _faults(record):
        raise InputError(place, expected=expected, found=found, remedy=remedy)


def _faults(record: Record) -> Iterator[tuple[str, str, str, str]]:
    if record.entry.port is not None:
        yield "serving.port", "none on KServe", str(record.entry.port), "Leave it out: KServe makes the address."
    rollout = record.rollout
    if rollout is None or not rollout.is_open:
        return
    for step in rollout.steps:
        whole_percent(step["weight"], WEIGHT, "KServe")
        for key in ("mirror", "unit", "may_choose"):
            if step[key]:
                remedy = "Remove it: KServe splits requests by weight alone."
                yield f"serving.rollout.{key}", "nothing on KServe", f"'{step[key]}'", remedy
        if any(each["type"] == "outcomes" for each in step["conditions"]):
            remedy = "Remove it: KServe does not tell which revision it has chosen."
            yield "serving.rollout.metric", "nothing on KServe", "a metric", remedy
