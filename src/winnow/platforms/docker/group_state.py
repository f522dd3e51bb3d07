"""What an engine says of a group's containers, and what it means for the group: one table and pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from winnow.config.exit_codes import group_exit_of_container
from winnow.platforms.executor import GroupState, GroupStatus

_STATES = {
    "created": GroupState.RUNNING,
    "running": GroupState.RUNNING,
    "paused": GroupState.RUNNING,
    # Its process has died, and the engine will restart it.
    "restarting": GroupState.RUNNING,
    "exited": GroupState.FAILED,
    "dead": GroupState.FAILED,
    "removing": GroupState.ENDED,
}
"""Docker's states (https://docs.docker.com/reference/api/engine/version/v1.41/, `State.Status`) as ours; an exited
container that ended with 0 has succeeded. `OOMKilled` is not asked: it stays set after a process recovered from it."""


@dataclass(frozen=True)
class Node:
    """One container of a group.

    Attributes:
        state: in Docker's words.
        exit_code: as Docker says it; None where it does not matter yet.
        created_at_ms: since the epoch, by the engine's clock.
        count: nodes of its group.
    """

    id: str
    name: str
    study: str
    group: str
    index: int
    count: int
    state: str
    exit_code: int | None
    created_at_ms: int

    @property
    def is_over(self) -> bool:
        """It does not run, and the engine will not restart it."""
        return _STATES[self.state].is_over

    @property
    def has_failed(self) -> bool:
        """It is over, with another exit code than 0."""
        return self.is_over and self.exit_code != 0


def group_status(nodes: Mapping[int, Node]) -> GroupStatus:
    """What a group is doing: the state of its first node, on which its supervisor is.

    Args:
        nodes: its containers by index, at least one.
    """
    first = nodes.get(0)
    some = first or next(iter(nodes.values()))
    if first is None:
        # A person has removed the first node.
        return GroupStatus(some.study, some.group, GroupState.ENDED, started_at_ms=some.created_at_ms, has_remains=True)
    state = _STATES[first.state]
    if state is GroupState.FAILED and first.exit_code == 0:
        state = GroupState.SUCCEEDED
    return GroupStatus(
        first.study,
        first.group,
        state,
        group_exit_of_container(first.exit_code) if state in (GroupState.SUCCEEDED, GroupState.FAILED) else None,
        started_at_ms=first.created_at_ms,
        lacks_nodes=not state.is_over and any(_is_lost(nodes.get(index)) for index in range(first.count)),
        has_remains=state.is_over,
    )


def _is_lost(node: Node | None) -> bool:
    return node is None or node.has_failed
