"""What the replicas of a deployment have counted: asked of them, or of a Prometheus that scrapes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import structs

from winnow.config.errors import InputError
from winnow.monitoring.exposition import ReplicaCounts, replica_counts
from winnow.monitoring.prometheus import replica_texts
from winnow.platforms.deployer import Deployer
from winnow.routing import Observation, Record

LEAST_LOOKBACK_S = 300.0
"""How far back a Prometheus is asked at least; it scrapes every minute or more often."""


@dataclass(frozen=True)
class ReplicaReader:
    """Reads the counts of one deployment's replicas.

    Attributes:
        prometheus: its address; None: the replicas are asked.
        place: what errors about it name.
    """

    deployer: Deployer
    observed: Observation
    prometheus: str | None
    place: str

    def read(self, at: float, since: float) -> dict[str, ReplicaCounts]:
        """What each replica has counted by now.

        Args:
            at: now, in seconds since the epoch.
            since: of the look before: a Prometheus knows replicas that have ended since then, too.

        Raises:
            InputError: a replica is none of this deployment, or a Prometheus knows none.
            UnreachableError: the Prometheus does not answer.
        """
        if self.prometheus is None:
            texts = self.deployer.metrics(self.observed)
            found = {identifier: self._counts(identifier, text, at) for identifier, text in texts.items()}
        else:
            found = self._scraped(self.prometheus, at, at - since + LEAST_LOOKBACK_S)
        check_models({name: each for name, each in found.items() if each.counts.replicas}, self.observed.record)
        return found

    def before(self, at: float) -> dict[str, ReplicaCounts] | None:
        """What each had counted at an earlier time; None where that is not known."""
        return (
            None if self.prometheus is None else self._scraped(self.prometheus, at, LEAST_LOOKBACK_S, is_needed=False)
        )

    def described(self, found: Mapping[str, ReplicaCounts]) -> str:
        """Where the counts come from, for people."""
        ready = sum(each.counts.replicas for each in found.values())
        return (f"{ready} replica{'' if ready == 1 else 's'}") if self.prometheus is None else self.prometheus

    def _scraped(
        self, address: str, at: float, lookback_s: float, *, is_needed: bool = True
    ) -> dict[str, ReplicaCounts]:
        name = self.observed.record.name
        texts, alive = replica_texts(address, name, at, lookback_s, self.place)
        if not texts and is_needed:
            raise InputError(
                self.place,
                expected=f'metrics of replicas with the label deployment="{name}" in {address}',
                found="none",
                remedy="Let it scrape the replicas, as docs/monitoring.md says, or leave it out to ask them directly.",
            )
        found = {identifier: self._counts(identifier, text, at) for identifier, text in texts.items()}
        return {identifier: each if identifier in alive else _ended(each) for identifier, each in found.items()}

    def _counts(self, identifier: str, text: str, at: float) -> ReplicaCounts:
        try:
            return replica_counts(text, at)
        except ValueError as error:
            raise InputError(
                f"replica {identifier} of '{self.observed.record.name}'",
                expected="the metrics of a model server",
                found=str(error),
                remedy="Look at what listens there.",
            ) from error


def check_models(found: Mapping[str, ReplicaCounts], record: Record) -> None:
    """Raise InputError where a replica serves a model that the deployment does not have.

    Its counts would be compared with the profile of another model.
    """
    known = {each.release.digest: each.release.version for each in record.revisions}
    for identifier, replica in found.items():
        counts = replica.counts
        if counts.digest not in known:
            versions = ", ".join(f"version {number} ({digest[:12]})" for digest, number in known.items())
            raise InputError(
                f"replica {identifier} of '{record.name}'",
                expected=f"a model of this deployment: {versions}",
                found=f"{counts.model} version {counts.version} ({counts.digest[:12]})",
                remedy="Its counts belong to another model's profile: deploy the model again, or correct what the "
                "metrics are read from.",
            )


def _ended(replica: ReplicaCounts) -> ReplicaCounts:
    return structs.replace(replica, counts=structs.replace(replica.counts, replicas=0))
