"""A watch that outlives its requests: the objects of a kind, and then all their changes.

A request that the API ends is sent again from the last `resourceVersion`. After a failure the objects are listed again.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Generator, Mapping

from winnow.config.clock import Clock
from winnow.platforms.kubernetes.client import Change, Cluster, Listing
from winnow.platforms.kubernetes.kinds import Kind
from winnow.platforms.kubernetes.refusals import ExpiredError
from winnow.platforms.kubernetes.transport import Stream

RETRY_S = 1.0
"""Pause after a shorter round, which failed or ended at once."""


class Watch:
    """The objects of a kind with some labels. One thread reads it, any thread may close it.

    A round is a call of `refresh` and then of `changes`. Both raise the errors of `Cluster`.
    """

    def __init__(self, cluster: Cluster, kind: Kind, labels: Mapping[str, str], *, clock: Clock | None = None) -> None:
        self._cluster = cluster
        self._kind = kind
        self._labels = labels
        self._clock = clock if clock is not None else Clock()
        self._began_at = -math.inf
        self._version: str | None = None
        self._stream: Stream[Change] | None = None
        self._is_closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        return self._is_closed.is_set()

    def close(self) -> None:
        """End the current request, and every later one."""
        # First, for a thread that is just sending a request, whose stream is not known here yet.
        self._is_closed.set()
        if self._stream is not None:
            self._stream.close()

    def refresh(self) -> Listing | None:
        """All objects if changes may have been missed; None if `changes` continues from the last one."""
        if self._clock.now() - self._began_at < RETRY_S:
            # Some proxies end every request at once, and may withhold changes.
            self._version = None
            self._clock.sleep(RETRY_S)
        self._began_at = self._clock.now()
        if self._version is not None:
            return None
        listing = self._cluster.find(self._kind, self._labels)
        self._version = listing.resource_version
        return listing

    def changes(self) -> Generator[Change, None, None]:
        """Changes until the round ends; none if the objects have to be listed first."""
        # Forgotten unless the reader reads every change.
        version, self._version = self._version, None
        if version is None:
            return
        stream = self._stream = self._cluster.watch(self._kind, self._labels, version)
        if self.is_closed:
            stream.close()
        with contextlib.closing(stream), contextlib.suppress(ExpiredError):
            for change in stream:
                version = change.object["metadata"]["resourceVersion"]
                if change.kind != "BOOKMARK":
                    yield change
            self._version = version
