"""Serving on Azure ML, against a workspace in memory: rollouts end to end, and what is refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnavailableError, WinnowError
from winnow.config.serving import RolloutConfig
from winnow.orchestrators.deploy import check_plan
from winnow.orchestrators.drive import Driver, End, observe
from winnow.orchestrators.judge import StepJudge
from winnow.platforms.azure import revision_plan
from winnow.platforms.azure.deployer import AzureDeployer
from winnow.platforms.azure.online import OnlineDeployment, OnlineEndpoint
from winnow.platforms.azure.platform import AzurePlatform
from winnow.platforms.azure.workspace import Workspace, workspace_of
from winnow.platforms.deployer import DeploymentFailedError
from winnow.rollout.plan import steps_of
from winnow.rollout.step import Aborted, Desired, Done, revision_for
from winnow.rollout.verdict import Verdict
from winnow.routing import (
    Entry,
    Record,
    Release,
    ReplicaSettings,
    Revision,
    Rollout,
    RolloutState,
    Route,
    RouterReport,
    Scale,
)
from winnow.testing.azure import MemoryWorkspace

NAME = "churn"
CANARY = RolloutConfig(strategy="canary", initial_weight=0.1, weight_steps=(0.5, 1.0), step_duration_seconds=60)
PLACE = {"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "g", "AZURE_WORKSPACE": "w"}


@dataclass
class Site:
    """A workspace, and drivers that serve on it. Requests arrive while drivers sleep."""

    home: Path
    workspace: MemoryWorkspace = field(default_factory=lambda: MemoryWorkspace(ready_after=2))
    where: Workspace = field(default_factory=lambda: Workspace("s", "g", "w"))
    now: float = 1_000_000.0
    answered: list[tuple[str, int]] = field(default_factory=list)

    def deployer(self) -> AzureDeployer:
        return AzureDeployer(
            self.home, workspace=lambda: self.where, online=lambda: self.workspace, wall=lambda: self.now
        )

    def serve(self, version: str, rollout: RolloutConfig | None = None, **settings: object) -> End:
        deployer = self.deployer()
        release = Release(NAME, version, f"digest-{version}", Path("bundle"), f"r.azurecr.io/churn@sha256:{version}")
        wanted = Revision(0, release, ReplicaSettings(**settings), Scale(2))  # type: ignore[arg-type]
        observed = observe(deployer, NAME)
        steps = () if rollout is None else steps_of(rollout, AzurePlatform.capabilities.gateway_conditions)
        strategy = "rolling" if rollout is None else rollout.strategy
        desired = Desired(revision_for(observed, wanted), steps, strategy, started=self.now, ready_within_s=1800)
        check_plan(deployer, observed, desired)
        return self.drive(desired)

    def back(self) -> End:
        observed = self.deployer().observe(NAME)
        previous = observed.record.revision(observed.record.previous)
        assert previous is not None
        target = revision_for(observed, previous)
        return self.drive(Desired(target, started=self.now, ready_within_s=1800, rejecting="a person"))

    def drive(self, desired: Desired) -> End:
        judged = StepJudge()

        def judge(rollout: Rollout, reports: Sequence[RouterReport]) -> Verdict:
            return judged(rollout, reports)

        def sleep(seconds: float) -> None:
            self.now += seconds * 10
            for _ in range(200):
                self.answered.append(self.workspace.ask(NAME))

        clock = Clock(lambda: self.now, sleep)
        return Driver(self.deployer(), NAME, desired, judge=judge, clock=clock, wall=lambda: self.now).drive()

    def versions(self) -> set[str]:
        return {self.workspace.ask(NAME)[0].rpartition("/")[2] for _ in range(50)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_first_model_serves_behind_an_endpoint_of_its_own(site: Site) -> None:
    assert site.serve("1") == Done()
    (endpoint,) = site.workspace.endpoints()
    (blue,) = site.workspace.deployments(NAME)
    assert (endpoint.name, endpoint.traffic, blue.name, blue.instances) == (NAME, {"blue-1": 100}, "blue-1", 2)
    assert (blue.machine, blue.image) == ("Standard_DS1_v2", "r.azurecr.io/churn@sha256:1")
    observed = site.deployer().observe(NAME)
    assert (observed.url, observed.ready(1)) == (f"https://{NAME}.memory.inference.ml.azure.com", 2)
    with site.deployer().endpoint(observed) as way:
        assert (way.key, way.has_card) == (f"key of {NAME}", False)


def test_a_canary_moves_by_whole_percents_and_is_judged_by_the_monitors_counts(site: Site) -> None:
    site.serve("1")
    assert site.serve("2", CANARY) == Done()
    record = site.deployer().observe(NAME).record
    assert record.rollout is not None
    assert (record.rollout.state, record.route.stable, site.versions()) == (RolloutState.PROMOTED, 2, {"2"})
    (endpoint,) = site.workspace.endpoints()
    assert (endpoint.traffic, [each.name for each in site.workspace.deployments(NAME)]) == (
        {"green-2": 100},
        ["green-2"],
    )


def test_a_candidate_that_errs_is_sent_away(site: Site) -> None:
    site.serve("1")
    site.workspace.erring.add("digest-2")
    end = site.serve("2", CANARY)
    assert isinstance(end, Aborted)
    assert "requests failed" in end.reason
    assert site.versions() == {"1"}
    assert [each.name for each in site.workspace.deployments(NAME)] == ["blue-1"]


def test_a_candidate_that_never_becomes_ready_gets_no_request_and_leaves_its_log(site: Site) -> None:
    site.serve("1")
    site.workspace.unready.add("digest-2")
    with pytest.raises(DeploymentFailedError, match="did not become ready") as caught:
        site.serve("2", CANARY)
    assert caught.value.lines[-1] == "the container did not become ready"
    assert {version for version, _ in site.answered} <= {"", f"{NAME}/1"}
    assert site.versions() == {"1"}
    assert [each.name for each in site.workspace.deployments(NAME)] == ["blue-1"]
    assert site.deployer().logs(NAME, 2)[-1] == "the container did not become ready"


def test_a_shadow_gets_copies_and_then_all_requests(site: Site) -> None:
    site.serve("1")
    seen: list[OnlineEndpoint] = []
    put = site.workspace.put_endpoint

    def noted(endpoint: OnlineEndpoint) -> None:
        seen.append(endpoint)
        put(endpoint)

    site.workspace.put_endpoint = noted  # type: ignore[method-assign]
    assert site.serve("2", RolloutConfig(strategy="shadow", mirror=0.5, step_duration_seconds=60)) == Done()
    assert {"green-2": 50} in [each.mirror for each in seen]
    assert site.versions() == {"2"}


def test_a_rollback_makes_the_earlier_deployment_anew(site: Site) -> None:
    site.serve("1")
    site.serve("2")
    assert site.versions() == {"2"}
    assert site.back() == Done()
    assert site.versions() == {"1"}
    assert [each.name for each in site.workspace.deployments(NAME)] == ["blue-1"]


def test_a_record_survives_the_tags(site: Site) -> None:
    for version in "1234":
        site.serve(version)
    (endpoint,) = site.workspace.endpoints()
    assert max(map(len, endpoint.tags.values())) <= 256
    record = revision_plan.record_in(endpoint.tags)
    assert record == site.deployer().observe(NAME).record
    assert revision_plan.record_in({"team": "risk"}) is None


def test_tags_of_users_stay(site: Site) -> None:
    site.serve("1")
    site.workspace.kept[NAME] = replace(
        site.workspace.kept[NAME], tags={**site.workspace.kept[NAME].tags, "team": "risk"}
    )
    site.serve("2")
    assert site.workspace.kept[NAME].tags["team"] == "risk"


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        (CANARY.model_copy(update={"initial_weight": 0.005}), "whole percents"),
        (RolloutConfig(strategy="shadow"), "at most 0.5 on Azure"),
        (CANARY.model_copy(update={"unit": "header:x-user"}), "nothing on Azure"),
        (CANARY.model_copy(update={"may_choose": True}), "nothing on Azure"),
    ],
)
def test_a_rollout_that_azure_cannot_make_is_refused(site: Site, rollout: RolloutConfig, expected: str) -> None:
    site.serve("1")
    before = site.workspace.deployments(NAME)
    with pytest.raises(InputError, match=expected):
        site.serve("2", rollout)
    assert site.workspace.deployments(NAME) == before


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Record(NAME, entry=Entry(port=8080)), "serving.port"),
        (Record("x"), "3 to 32 letters"),
        (Record("a" * 40), "ENDPOINT_NAME"),
    ],
)
def test_settings_that_azure_does_not_have_are_refused(site: Site, record: Record, expected: str) -> None:
    revision = Revision(1, Release(NAME, "1", "d", Path("b"), "image"), ReplicaSettings(), Scale())
    with pytest.raises(InputError, match=expected):
        site.deployer().check_change(Record(record.name, 1, (revision,), Route(1, 1), entry=record.entry), 1)
    assert site.workspace.endpoints() == ()


@pytest.mark.parametrize(
    ("settings", "scale", "expected"),
    [
        (ReplicaSettings(key="fingerprint"), Scale(), "serving.api_key"),
        (ReplicaSettings(cpus=64), Scale(), "at most 32 CPUs"),
    ],
)
def test_replicas_that_azure_cannot_have_are_refused(
    site: Site, settings: ReplicaSettings, scale: Scale, expected: str
) -> None:
    revision = Revision(1, Release(NAME, "1", "d", Path("b"), "image"), settings, scale)
    with pytest.raises(InputError, match=expected):
        site.deployer().check_change(Record(NAME, 1, (revision,), Route(1, 1)), 1)


def test_an_endpoint_of_others_is_left_alone(site: Site) -> None:
    site.workspace.put_endpoint(OnlineEndpoint(NAME, {"team": "risk"}))
    with pytest.raises(InputError, match="one that winnow has not made"):
        site.serve("1")
    assert site.workspace.endpoints()[0].tags == {"team": "risk"}
    assert site.deployer().names() == ()


def test_a_name_of_another_workspace_leaves_nothing(site: Site) -> None:
    site.workspace.elsewhere.add(NAME)
    with pytest.raises(InputError, match="in use in this region"):
        site.serve("1")
    assert site.workspace.endpoints() == ()


def test_a_refused_quota_leaves_what_serves_and_says_what_was_made(site: Site) -> None:
    site.serve("1")
    site.workspace.quota = 3
    with pytest.raises(WinnowError, match="quota of Standard_DS1_v2"):
        site.serve("2")
    assert [each.name for each in site.workspace.deployments(NAME)] == ["blue-1"]
    assert site.versions() == {"1"}


def test_names_are_those_of_the_environment(site: Site) -> None:
    site.where = replace(site.where, endpoint="churn-prod", deployment="churn")
    release = Release(NAME, "1", "d", Path("b"), "image")
    record = Record(NAME, 1, (Revision(1, release, ReplicaSettings(), Scale()),), Route(1, 1))
    endpoint, deployment = yaml.safe_load_all(site.deployer().render(record, 1))
    assert (endpoint["name"], endpoint["traffic"]) == ("churn-prod", {"churn-1": 100})
    assert (deployment["name"], deployment["endpoint_name"]) == ("churn-1", "churn-prod")


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no AZURE_RESOURCE_GROUP and no AZURE_WORKSPACE"):
        workspace_of({"AZURE_SUBSCRIPTION_ID": "s"})
    with pytest.raises(InputError, match="no AZURE_TENANT_ID"):
        workspace_of({**PLACE, "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "x"})
    principal = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "x"}
    found = workspace_of({**PLACE, **principal, "ENDPOINT_NAME": "churn"})
    assert found == Workspace("s", "g", "w", has_principal=True, endpoint="churn")


def retag(site: Site, **tags: str) -> None:
    endpoint = site.workspace.kept[NAME]
    site.workspace.kept[NAME] = replace(endpoint, tags={**endpoint.tags, **tags})


def test_a_record_that_was_changed_by_hand_is_one_error(site: Site) -> None:
    site.serve("1")
    retag(site, **{"winnow.record.00": site.workspace.kept[NAME].tags["winnow.record.00"][:-8]})
    with pytest.raises(InputError, match="They were changed by hand"):
        site.deployer().observe(NAME)


def test_other_tags_that_were_changed_by_hand_end_nothing(site: Site) -> None:
    site.serve("1")
    serial = site.deployer().observe(NAME).record.route.serial
    retag(site, **{"winnow.routed": f"{serial}@soon"})
    assert site.deployer().observe(NAME).entry_serial is None
    blue = site.workspace.below[NAME]["blue-1"]
    site.workspace.below[NAME]["blue-1"] = replace(blue, tags={**blue.tags, "winnow.revision": "first"})
    assert site.deployer().observe(NAME).replicas == ()
    assert site.deployer().logs(NAME) != []


def test_another_deployment_name_does_not_lose_what_serves(site: Site) -> None:
    site.serve("1")
    site.where = replace(site.where, deployment="churn")
    assert site.serve("2", CANARY) == Done()
    assert (site.versions(), list(site.workspace.below[NAME])) == ({"2"}, ["churn-2"])


def test_a_step_lists_the_deployments_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.serve("1")
    deployer = site.deployer()
    record, listed = deployer.observe(NAME).record, 0
    deployments = site.workspace.deployments

    def counted(endpoint: str) -> tuple[OnlineDeployment, ...]:
        nonlocal listed
        listed += 1
        return deployments(endpoint)

    monkeypatch.setattr(site.workspace, "deployments", counted)
    deployer.start(record, 1, None)
    deployer.route(record)
    assert listed == 2


def test_a_deployment_without_a_log_can_be_removed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> list[str]:
        raise InputError("Azure ML, logs", expected="a container", found="none", remedy="Wait.")

    site.serve("1")
    monkeypatch.setattr(site.workspace, "logs", refuse)
    assert site.deployer().remove(NAME) is True
    assert site.workspace.endpoints() == ()


def test_tags_beyond_azures_limit_are_refused_before_anything_is_made(site: Site) -> None:
    site.serve("1")
    retag(site, **{f"team-{number}": "risk" for number in range(44)})
    with pytest.raises(InputError, match="at most 50 tags"):
        site.serve("2")
    assert list(site.workspace.below[NAME]) == ["blue-1"]
