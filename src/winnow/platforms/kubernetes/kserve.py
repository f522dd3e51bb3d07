"""`Deployer` on KServe: one InferenceService for each deployment; see `kserve_plan`.

Pods, logs, metrics and the lease are those of the cluster: `KubernetesDeployer` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError, WinnowError
from winnow.platforms import labels
from winnow.platforms.deployer import ManualAccess, OvertakenError, UnknownDeploymentError
from winnow.platforms.kubernetes import cluster_deployment as on_cluster
from winnow.platforms.kubernetes import kserve_plan, lease, revision_plan
from winnow.platforms.kubernetes.deployer import FORWARDED_PORT, INGRESS_URL, KubernetesDeployer, check_next
from winnow.platforms.kubernetes.difference import difference
from winnow.platforms.kubernetes.forward import is_ready
from winnow.platforms.kubernetes.kinds import EVENT, INFERENCE_SERVICE, POD, SECRET, Manifest, annotations_on, name_of
from winnow.platforms.kubernetes.manifests import merged, to_yaml
from winnow.platforms.kubernetes.permissions import check, verbs
from winnow.platforms.kubernetes.refusals import ConflictError
from winnow.platforms.kubernetes.revision_plan import KEY, MANAGED_BY, RECORD, WISH, labels_of
from winnow.platforms.readiness import is_answering
from winnow.routing import Entry, Observation, Record, ReplicaObserved, RouterReport, record_of, to_json

VERSION, LATEST = "KSERVE_VERSION", "0.20"
READ_PERMISSIONS = (
    *verbs("get list", INFERENCE_SERVICE, SECRET),
    *verbs("list", POD, EVENT),
    *verbs("get", POD, subresource="log"),
)
PERMISSIONS = (
    *READ_PERMISSIONS,
    *verbs("create patch delete", INFERENCE_SERVICE, SECRET),
    *lease.PERMISSIONS,
)


class KserveDeployer(KubernetesDeployer):
    """`Deployer` on KServe; the environment names its release, and the address of its gateway."""

    @property
    def place(self) -> str:
        return f"on KServe, {self.cluster.place}"

    def check(self, *, is_read_only: bool = False) -> None:
        check(self.cluster, READ_PERMISSIONS if is_read_only else PERMISSIONS, "serving on KServe")

    def check_change(self, record: Record, number: int) -> None:
        """See `Deployer.check_change`. The cluster itself checks the InferenceService, by a dry run."""
        revision = revision_plan.revision_in(record, number)
        kserve_plan.check(record)
        if on_cluster.find(self.cluster, record.name, has_pods=False) is not None:
            raise InputError(
                f"deployment '{record.name}'",
                expected="a name that `prod --platform kubernetes` does not serve in this namespace",
                found="one that it does",
                remedy="Remove that deployment, or serve in another namespace.",
            )
        made = self._made(record, {number: revision.scale.replicas})
        live = self.cluster.get(INFERENCE_SERVICE, name_of(made))
        if live is not None:
            on_cluster.check_is_of(live, record.name)
        self.cluster.apply(made, is_dry_run=True)

    def names(self) -> tuple[str, ...]:
        chosen = ",".join([*(f"{key}={value}" for key, value in MANAGED_BY.items()), labels.DEPLOYMENT])
        found = self.cluster.find(INFERENCE_SERVICE, chosen).items
        return tuple(sorted(on_cluster.mark(each, labels.DEPLOYMENT) for each in found))

    def observe(self, name: str) -> Observation:
        service, record = self._found(name)
        pods = [each for each in on_cluster.living(self.cluster, name) if on_cluster.revision_of(each)]
        routed = kserve_plan.routed_in(service)
        uncreated = [
            ReplicaObserved(kserve_plan.predictor_name(number), number, is_ready=False)
            for number, wanted in kserve_plan.alive_in(service).items()
            if on_cluster.lacks_pods(pods, number, wanted)
        ]
        return Observation(
            record=record,
            replicas=(*on_cluster.observed(self.cluster, pods), *uncreated),
            entry_serial=record.route.serial if routed == record.route.serial else None,
            wish=annotations_on(service).get(WISH, ""),
            url=self._address(service) if record.serving is not None else "",
        )

    def write(self, record: Record) -> None:
        """See `Deployer.write`. Before the first start it is kept in the home: KServe has none without a predictor."""
        service = self._service(record.name)
        if service is None:
            self._draft(record.name).parent.mkdir(parents=True, exist_ok=True)
            check_next(self._drafted(record.name), record)
            replace_text(self._draft(record.name), to_json(record))
        else:
            self._apply(service, record, kserve_plan.alive_in(service), kserve_plan.routed_in(service))

    def wish(self, name: str, wish: str) -> None:
        service, _ = self._found(name)
        patch = {"metadata": {"annotations": {WISH: wish or None}}}
        self.cluster.merge(INFERENCE_SERVICE, name_of(service), patch)

    def start(self, record: Record, number: int, key: str | None) -> None:
        revision = revision_plan.revision_in(record, number)
        if revision.settings.key and key is not None:
            self.cluster.apply(revision_plan.key_secret(record.name, revision.settings.key, key))
        self._have(record, {number: revision.scale.replicas})

    def scale(self, record: Record, number: int, replicas: int) -> None:
        if not replicas:
            self._keep_logs(record.name, number)
        self._have(record, {number: replicas})
        if not replicas:
            self._await_gone(record.name, number)

    def route(self, record: Record) -> None:
        """See `Deployer.route`: the shares and the record change in one request."""
        service, stored = self._found(record.name)
        check_next(stored, record)
        pods = on_cluster.living(self.cluster, record.name)
        stable = record.route.stable
        if not any(is_ready(each) for each in pods if on_cluster.revision_of(each) == stable):
            raise WinnowError(f"deployment '{record.name}': no replica of revision {stable} is ready.")
        alive = kserve_plan.alive_in(service)
        if record.route.candidate is None:
            # KServe turns the predictor into the stable revision; another one that is kept would be a canary of it.
            alive = {stable: alive[stable]}
        self._apply(service, record, alive, record.route.serial)

    def renew(self, record: Record, *, is_read_only: bool = False) -> tuple[RouterReport, ...]:
        """See `Deployer.renew`: KServe's gateway splits requests and reports nothing."""
        return ()

    def retire(self, record: Record, number: int) -> None:
        self.scale(record, number, 0)
        used = {each.settings.key for each in record.revisions}
        for each in self.cluster.find(SECRET, labels_of(record.name)).items:
            if on_cluster.mark(each, KEY) and on_cluster.mark(each, KEY) not in used:
                self.cluster.delete(SECRET, name_of(each))

    def remove(self, name: str) -> bool:
        """See `Deployer.remove`. Images and the ends of logs stay."""
        self._draft(name).unlink(missing_ok=True)
        service = self._service(name)
        if service is None:
            return False
        self._keep_logs(name, None)
        self.cluster.delete(INFERENCE_SERVICE, name_of(service))
        for each in self.cluster.find(SECRET, labels_of(name)).items:
            self.cluster.delete(SECRET, name_of(each))
        self._await_gone(name, None)
        return True

    def render(self, record: Record, number: int) -> str:
        revision = revision_plan.revision_in(record, number)
        release, made = revision.release, self._made(record, {number: revision.scale.replicas}, record.route.serial)
        head = f"# {record.name}: {release.model} version {release.label} (sha256 {release.digest[:12]})"
        return f"{head}\n{to_yaml((made,))}"

    def difference(self, record: Record, number: int) -> str:
        """See `Deployer.difference`: by a dry run."""
        replicas = revision_plan.revision_in(record, number).scale.replicas
        made = self._made(record, {number: replicas})
        stored = annotations_on(self._service(record.name))
        # Every step changes the record, so it is not compared.
        kept = {key: stored[key] for key in (RECORD, kserve_plan.ROUTED) if key in stored}
        wanted = merged(made, {"metadata": {"annotations": kept}})
        return difference(self.cluster, [wanted], labels_of(record.name), ())

    def manual_access(self, observed: Observation) -> ManualAccess | None:
        """See `Deployer.manual_access`: where the address in the InferenceService's status does not answer."""
        if self._environment.get(INGRESS_URL) or is_answering(observed.url):
            return None
        service, namespace = kserve_plan.service_name(observed.record.name), self.cluster.namespace
        command = f"kubectl port-forward --namespace {namespace} service/{service}-predictor {FORWARDED_PORT}:80"
        reason = f"KServe's address does not answer from here. {INGRESS_URL} names its gateway's from here."
        return ManualAccess(reason, command, f"http://127.0.0.1:{FORWARDED_PORT}")

    def address_hint(self, observed: Observation) -> str:
        where = f"--namespace {self.cluster.namespace} {kserve_plan.service_name(observed.record.name)}"
        return f"Look at `kubectl describe inferenceservice {where}`."

    def logs(self, name: str, number: int | None = None, lines: int = 20) -> list[str]:
        try:
            return super().logs(name, number, lines)
        except UnknownDeploymentError:
            if self._service(name) is None:
                raise UnknownDeploymentError(name, self.names()) from None
            return []

    def _have(self, record: Record, replicas: Mapping[int, int]) -> None:
        """Give revisions so many replicas; 0 for none."""
        service = self._service(record.name)
        before = kserve_plan.alive_in(service)
        alive = {number: count for number, count in {**before, **replicas}.items() if count}
        if alive == before:
            return
        if alive:
            self._apply(service, record, alive, kserve_plan.routed_in(service))
            self._draft(record.name).unlink(missing_ok=True)
        elif service is not None:
            # The last predictor: KServe has no InferenceService without one.
            self.cluster.delete(INFERENCE_SERVICE, name_of(service))

    def _apply(self, service: Manifest | None, record: Record, alive: Mapping[int, int], routed: int | None) -> None:
        """Send the InferenceService. Raises OvertakenError where another process has written since it was read."""
        made = self._made(record, alive, routed)
        while True:
            if service is not None:
                check_next(_record(service), record)
                made = merged(made, {"metadata": {"resourceVersion": service["metadata"]["resourceVersion"]}})
            try:
                self.cluster.apply(made)
                return
            except ConflictError:  # KServe writes its status, and people leave wishes
                service = self._service(record.name)
                if service is None:
                    raise OvertakenError(record.name) from None

    def _made(self, record: Record, alive: Mapping[int, int], routed: int | None = None) -> Manifest:
        is_list = kserve_plan.has_list(self._environment.get(VERSION) or LATEST)
        return kserve_plan.inference_service(self._files, record, alive, routed, is_list=is_list)

    def _service(self, name: str) -> Manifest | None:
        live = self.cluster.get(INFERENCE_SERVICE, kserve_plan.service_name(name))
        is_ours = live is not None and on_cluster.mark(live, labels.DEPLOYMENT) == name
        return live if is_ours else None

    def _found(self, name: str) -> tuple[Manifest, Record]:
        """The InferenceService and its record; before the first start an empty one with the record of the home."""
        service = self._service(name)
        if service is not None:
            return service, _record(service)
        draft = self._drafted(name)
        if draft is None:
            raise UnknownDeploymentError(name, self.names())
        return {"metadata": {"name": kserve_plan.service_name(name)}}, draft

    def _draft(self, name: str) -> Path:
        if Path(name).name != name:
            raise UnknownDeploymentError(name, self.names())
        return self._home / "deployments" / "kserve" / f"{name}.json"

    def _drafted(self, name: str) -> Record | None:
        path = self._draft(name)
        return record_of(path.read_text(encoding="utf-8")) if path.is_file() else None

    def _address(self, service: Manifest) -> str:
        address = str((service.get("status") or {}).get("url", ""))
        host = urlsplit(address).netloc
        gateway = self._environment.get(INGRESS_URL, "")
        if gateway and host:
            return revision_plan.url_of("", "", Entry(host=host), None, gateway)
        return address or f"http://{name_of(service)}-predictor.{self.cluster.namespace}.svc"


def _record(service: Manifest) -> Record:
    try:
        return record_of(annotations_on(service).get(RECORD, ""))
    except ValueError as error:
        raise InputError(
            f"InferenceService '{name_of(service)}'",
            expected=f"winnow's record in its annotation {RECORD}",
            found="none, or a changed one",
            remedy="Delete it, and deploy again.",
        ) from error
