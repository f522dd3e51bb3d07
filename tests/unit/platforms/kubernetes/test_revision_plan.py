"""What a revision, an entry and routers are made of on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from winnow.config.errors import InputError
from winnow.platforms.kubernetes import revision_plan
from winnow.platforms.kubernetes.kinds import DISRUPTION_BUDGET, Manifest, kind_of, name_of
from winnow.platforms.kubernetes.manifests import changed, load
from winnow.platforms.kubernetes.revision_plan import FOLDER
from winnow.routing import Entry, PredictionLogSettings, Record, Release, ReplicaSettings, Revision, Route, Scale

FILES = load(Path(__file__).parents[4] / FOLDER)


def revision(number: int, scale: Scale | None = None, **settings: Any) -> Revision:
    release = Release("wine", str(number), "d" * 64, Path("bundle"), f"wine:{number}")
    return Revision(number, release, ReplicaSettings(**settings), scale or Scale())


def record(route: Route | None = None, **others: Any) -> Record:
    return Record("wine", 3, (revision(1, key="abc"), revision(2, key="def")), route or Route(3, 1), **others)


def names(objects: tuple[Manifest, ...]) -> list[str]:
    return [f"{kind_of(each).kind} {name_of(each)}" for each in objects]


def container(objects: tuple[Manifest, ...]) -> dict[str, Any]:
    (made,) = (each for each in objects if each["kind"] == "Deployment")
    found: dict[str, Any] = made["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_revision_has_objects_of_its_own_and_an_autoscaler_only_where_it_may_grow() -> None:
    fixed = revision_plan.revision_objects(FILES, "wine", revision(2))
    assert names(fixed) == [f"{kind} winnow-prod-wine-2" for kind in ("Service", "PodDisruptionBudget", "Deployment")]
    grown = revision_plan.revision_objects(FILES, "wine", revision(2, Scale(2, most=5)))
    scaler = grown[-1]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert scaler["scaleTargetRef"]["name"] == "winnow-prod-wine-2"


def test_a_replica_gets_its_settings_in_one_variable_and_its_key_from_a_secret() -> None:
    made = container(revision_plan.revision_objects(FILES, "wine", revision(2, key="abc", settle_s=2.5, drain_s=9)))
    sentry = {"secretKeyRef": {"name": "winnow-sentry", "key": "SENTRY_DSN", "optional": True}}
    assert made["env"] == [
        {"name": "SENTRY_DSN", "valueFrom": sentry},
        {"name": "WINNOW_SERVING", "value": '{"drain_s":9,"is_access_logged":false,"settle_s":1}'},
        {
            "name": "WINNOW_API_KEY",
            "valueFrom": {"secretKeyRef": {"name": "winnow-prod-wine-key-abc", "key": "WINNOW_API_KEY"}},
        },
    ]
    assert made["lifecycle"] == {"preStop": {"sleep": {"seconds": 3}}}
    assert (made["image"], made["args"]) == ("wine:2", ["--model-version", "2"])


def test_a_replicas_log_names_its_deployment_and_revision_and_a_router_has_none() -> None:
    logged = [revision(number, log=PredictionLogSettings()) for number in (1, 2)]
    made = container(revision_plan.revision_objects(FILES, "wine", logged[1]))
    log = {"sample": 1.0, "fields": [], "to": "stdout", "deployment": "wine", "revision": 2}
    assert msgspec.json.decode(made["env"][1]["value"])["log"] == log
    routed = Record("wine", 3, tuple(logged), Route(3, 1, candidate=2, weight=0.1))
    assert '"log"' not in container(revision_plan.router_objects(FILES, routed, "token"))["env"][1]["value"]


@pytest.mark.parametrize(
    ("route", "selected"),
    [
        (Route(), {"winnow.deployment": "wine", "winnow.revision": "0"}),
        (Route(3, 2), {"winnow.deployment": "wine", "winnow.revision": "2"}),
        (
            Route(3, 1, candidate=2, weight=0.1),
            {"winnow.deployment": "wine", "winnow.role": "router", "winnow.serial": "3"},
        ),
        (Route(3, 1, candidate=2, is_gateway=True), {"winnow.deployment": "wine", "winnow.revision": "1"}),
    ],
)
def test_the_entry_selects_no_pods_one_revision_or_the_routers(route: Route, selected: dict[str, str]) -> None:
    made = revision_plan.entry_service(FILES, record(route))
    assert (name_of(made), made["spec"]["selector"]) == ("winnow-prod-wine", selected)


def test_routers_reach_both_revisions_and_are_ended_by_no_silent_replica() -> None:
    route = Route(3, 1, candidate=2, weight=0.1)
    made = revision_plan.router_objects(FILES, record(route, router_replicas=2), "token")
    assert names(made) == [f"{kind} winnow-prod-wine-router-3" for kind in ("Secret", "NetworkPolicy", "Deployment")]
    router = container(made)
    (settings,) = (each["value"] for each in router["env"] if each["name"] == "WINNOW_ROUTER")
    assert '"stable":["winnow-prod-wine-1:80"]' in settings
    assert '"candidate":["winnow-prod-wine-2:80"]' in settings
    assert (router["image"], made[-1]["spec"]["replicas"]) == ("wine:1", 2)
    assert "httpGet" not in router["livenessProbe"]


def test_an_entry_is_an_ingress_or_the_route_of_a_gateway() -> None:
    ingress = revision_plan.shared(FILES, record(entry=Entry("a.example", None, "nginx", "tls")))
    assert names(ingress) == ["NetworkPolicy winnow-prod-wine", "Ingress winnow-prod-wine"]
    assert ingress[-1]["spec"] == {
        "rules": [
            {
                "host": "a.example",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "winnow-prod-wine", "port": {"name": "http"}}},
                        }
                    ]
                },
            }
        ],
        "ingressClassName": "nginx",
        "tls": [{"hosts": ["a.example"], "secretName": "tls"}],
    }
    split = Route(3, 1, candidate=2, weight=0.25, is_gateway=True)
    gateway = revision_plan.shared(FILES, record(split, entry=Entry("a.example", gateway="edge/public")))
    assert names(gateway) == ["NetworkPolicy winnow-prod-wine", "HTTPRoute winnow-prod-wine"]
    assert gateway[-1]["spec"]["parentRefs"] == [{"name": "public", "namespace": "edge"}]
    (rule,) = gateway[-1]["spec"]["rules"]
    assert [(each["name"], each["weight"]) for each in rule["backendRefs"]] == [
        ("winnow-prod-wine-1", 3),
        ("winnow-prod-wine-2", 1),
    ]


def test_what_a_record_no_longer_lists_is_not_kept() -> None:
    stored = record()
    own = revision_plan.revision_objects(FILES, "wine", revision(1)), revision_plan.shared(FILES, stored)
    gone = (
        *revision_plan.revision_objects(FILES, "wine", revision(3)),
        *revision_plan.router_objects(FILES, record(Route(2, 1, candidate=2)), ""),
        revision_plan.key_secret("wine", "old", "secret"),
    )
    kept = (*own[0], *own[1], revision_plan.key_secret("wine", "abc", "secret"))
    assert all(revision_plan.is_kept(each, stored) for each in kept)
    assert not any(revision_plan.is_kept(each, stored) for each in gone)


def test_names_of_objects_are_dns_labels_however_long_the_deployments_is() -> None:
    name = "n" * 80
    assert all(len(revision_plan.object_name(name, what)) <= 63 for what in ("", "99999", "router-99999"))
    assert len({revision_plan.object_name("n" * length, "1") for length in range(60, 80)}) == 20


def test_rendering_is_pure_and_shows_no_key() -> None:
    rendered = revision_plan.render(FILES, record(), 2)
    assert rendered == revision_plan.render(FILES, record(), 2)
    assert rendered.startswith("# wine: wine version 2 (sha256 dddddddddddd), replicas: 1\n")
    assert "WINNOW_API_KEY: '***'" in rendered


def test_a_kind_that_a_deployment_cannot_have_is_refused() -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "extra"}}
    with pytest.raises(InputError, match="extra"):
        revision_plan.shared((*FILES, job), record())


def test_a_disruption_budget_keeps_what_its_file_selects_besides() -> None:
    beyond = [{"key": "tier", "operator": "In", "values": ["serving"]}]
    files = tuple(
        changed(each, {("spec", "selector", "matchExpressions"): beyond})
        if kind_of(each) == DISRUPTION_BUDGET
        else each
        for each in FILES
    )
    made = revision_plan.revision_objects(files, "wine", revision(2, Scale(3, max_unavailable=2)))
    (budget,) = (each["spec"] for each in made if kind_of(each) == DISRUPTION_BUDGET)
    selected = {"winnow.deployment": "wine", "winnow.revision": "2"}
    assert budget["selector"] == {"matchLabels": selected, "matchExpressions": beyond}
    assert budget["maxUnavailable"] == 2
