"""A deployment's pods whenever one of them changes: a watch that outlives restarts of the API server.

What the pods mean is left to `observe`, and what is to be done about them to `deployer`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from winnow.config.clock import Clock
from winnow.platforms.kubernetes.client import Cluster, ExpiredError
from winnow.platforms.kubernetes.kinds import POD, Manifest, name_of
from winnow.platforms.kubernetes.refusals import NOT_NOW, SILENT_S

WATCHED_S = 4.0
"""How long pods are watched before the rest is looked at again."""

_PAUSE_S = 1.0


@dataclass(frozen=True)
class Sight:
    """Pods at one moment.

    Attributes:
        pods: by name.
        wanted: what `look` said last.
        heard_s: how long they have been watched; the time in which nobody could see them does not count.
    """

    pods: Mapping[str, Manifest]
    wanted: int
    heard_s: float


def sights(
    cluster: Cluster, labels: Mapping[str, str], clock: Clock, look: Callable[[], int], *, silent_s: float = SILENT_S
) -> Generator[Sight, None, None]:
    """The pods with these labels as they are, and again at every change and every `WATCHED_S`; for ever.

    Args:
        look: called before each watch, for what else has to be looked at (and renewed) all the time.

    Raises:
        UnreachableError, ClusterError, InputError: the API has given no other answer for `silent_s`.
        Whatever else `look` raises.
    """
    version, pods = "", dict[str, Manifest]()
    started = heard = clock.now()
    lost_s, is_silent = 0.0, False
    while True:
        began = clock.now()
        try:
            wanted = look()
            if not version:
                listing = cluster.find(POD, labels)
                version, pods = listing.resource_version, {name_of(each): each for each in listing.items}
            lost_s += clock.now() - heard if is_silent else 0.0
            heard, is_silent = clock.now(), False
            yield Sight(pods, wanted, clock.now() - started - lost_s)
            with contextlib.closing(cluster.watch(POD, labels, version, timeout_s=WATCHED_S)) as changes:
                for change in changes:
                    version = change.object["metadata"]["resourceVersion"]
                    if change.kind == "DELETED":
                        pods.pop(name_of(change.object), None)
                    elif change.kind != "BOOKMARK":
                        pods[name_of(change.object)] = change.object
                    heard = clock.now()
                    yield Sight(pods, wanted, heard - started - lost_s)
        except ExpiredError:
            version = ""
        except NOT_NOW:
            if clock.now() - heard > silent_s:
                raise
            version, is_silent = "", True
        # A proxy may end every watch at once, and whether it lets changes through nobody knows.
        if not version or clock.now() - began < _PAUSE_S:
            version = ""
            clock.sleep(_PAUSE_S)
