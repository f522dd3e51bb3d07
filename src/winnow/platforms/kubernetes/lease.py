"""A lock for all processes of a namespace: a Lease, which its holder renews and which expires after a crash.

As in client-go's leader election, a waiting process looks for renewals; it never compares clocks of two machines.
"""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnreachableError
from winnow.platforms.deployer import OvertakenError
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.kinds import LEASE, Manifest
from winnow.platforms.kubernetes.permissions import verbs
from winnow.platforms.kubernetes.refusals import ClusterError, ConflictError

DURATION_S, RENEWED_EVERY_S = 15.0, 4.0
PERMISSIONS = verbs("get create patch delete", LEASE)


class HeldLease:
    """A lease that this process holds until it fails to renew it for `DURATION_S`."""

    def __init__(self, cluster: Cluster, name: str, holder: str, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._name = name
        self._holder = holder
        self._now = now
        self._renewed = now()

    def renew(self) -> None:
        """Renew the lease if it is time; call it every few seconds. Raises OvertakenError."""
        if self._now() - self._renewed >= RENEWED_EVERY_S:
            self.confirm()

    def confirm(self) -> None:
        """Renew the lease before a step that only its holder may take. Raises OvertakenError."""
        lease = self._cluster.merge(LEASE, self._name, {"spec": {"renewTime": _time()}})
        if lease is None or lease["spec"].get("holderIdentity") != self._holder:
            raise OvertakenError(f"leases/{self._name}: expected to hold it still, found that it was taken over.")
        self._renewed = self._now()

    def release(self) -> None:
        """Give the lease back; if that fails, others wait until it expires."""
        # An error here would hide the result of the work.
        with contextlib.suppress(ClusterError, InputError, UnreachableError):
            lease = self._cluster.get(LEASE, self._name)
            if lease is not None and lease["spec"].get("holderIdentity") == self._holder:
                self._cluster.delete(LEASE, self._name, uid=lease["metadata"]["uid"])


@contextlib.contextmanager
def held(
    cluster: Cluster, name: str, labels: Mapping[str, str], what: str, clock: Clock | None = None
) -> Iterator[HeldLease]:
    """Hold a lease, and take over a dead process's; `what` names it in messages. Raises InputError where it is held."""
    time_of = clock if clock is not None else Clock()
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    while True:
        with contextlib.suppress(ConflictError):
            spec: Manifest = {"holderIdentity": holder, "leaseDurationSeconds": int(DURATION_S)}
            spec |= {"acquireTime": _time(), "renewTime": _time()}
            cluster.create(LEASE.manifest(name, labels, spec=spec))
            break
        _wait_for_end(cluster, name, what, time_of)
    lease = HeldLease(cluster, name, holder, time_of.now)
    try:
        yield lease
    finally:
        lease.release()


def holder(cluster: Cluster, name: str) -> tuple[str, str] | None:
    """The host and the process that hold a lease, for people; None where it is free or has expired by this clock."""
    found = cluster.get(LEASE, name)
    if found is None:
        return None
    renewed = datetime.fromisoformat(found["spec"]["renewTime"])
    if (datetime.now(UTC) - renewed).total_seconds() > DURATION_S:
        return None
    host, process, _ = found["spec"]["holderIdentity"].rsplit("-", 2)
    return host, process


def _wait_for_end(cluster: Cluster, name: str, what: str, clock: Clock) -> None:
    """Return when the lease is gone. Raises InputError where its holder renews it."""
    found = cluster.get(LEASE, name)
    if found is None:
        return
    deadline = clock.now() + DURATION_S
    while clock.now() < deadline:
        clock.sleep(1.0)
        now = cluster.get(LEASE, name)
        if now is None:
            return
        if now["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise InputError(
                what,
                expected="no other process that changes it",
                found=f"{now['spec'].get('holderIdentity')}, since {now['spec'].get('acquireTime')}",
                remedy="Wait until it has finished, and run the command again.",
            )
    with contextlib.suppress(ConflictError):
        cluster.delete(LEASE, name, uid=found["metadata"]["uid"])


def _time() -> str:
    """The current time as a MicroTime of the API."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
