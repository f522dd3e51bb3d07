"""What an engine says of containers, and what it means."""

from __future__ import annotations

import pytest

from winnow.platforms.docker.group_state import Node, group_status
from winnow.platforms.executor import GroupState, GroupStatus


def node(state: str, code: int | None = None, index: int = 0, count: int = 1) -> Node:
    return Node("id", f"winnow-a-study-c0-{index}", "a-study", "c0", index, count, state, code, 1000)


def status(state: GroupState, code: int | None = None, *, lacks_nodes: bool = False) -> GroupStatus:
    return GroupStatus(
        "a-study", "c0", state, code, started_at_ms=1000, lacks_nodes=lacks_nodes, has_remains=state.is_over
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (node("created"), status(GroupState.RUNNING)),
        (node("running"), status(GroupState.RUNNING)),
        (node("paused"), status(GroupState.RUNNING)),
        (node("restarting"), status(GroupState.RUNNING)),
        (node("exited", 0), status(GroupState.SUCCEEDED, 0)),
        (node("exited", 3), status(GroupState.FAILED, 3)),
        (node("exited", 137), status(GroupState.FAILED, -9)),
        (node("exited", 143), status(GroupState.FAILED, 143)),
        (node("dead", 1), status(GroupState.FAILED, 1)),
        (node("removing"), status(GroupState.ENDED)),
    ],
)
def test_a_group_does_what_its_container_does(said: Node, meant: GroupStatus) -> None:
    assert group_status({0: said}) == meant


@pytest.mark.parametrize(
    ("second", "lacks_nodes"),
    [
        (node("running", index=1, count=2), False),
        (node("restarting", index=1, count=2), False),
        (node("exited", 0, index=1, count=2), False),
        (node("exited", 137, index=1, count=2), True),
        (None, True),
    ],
)
def test_a_further_node_that_is_lost_is_missed(second: Node | None, lacks_nodes: bool) -> None:
    nodes = {0: node("running", count=2)} | ({1: second} if second is not None else {})
    assert group_status(nodes) == status(GroupState.RUNNING, lacks_nodes=lacks_nodes)


def test_the_first_node_decides_whether_a_group_is_over() -> None:
    nodes = {0: node("exited", 137, count=2), 1: node("running", index=1, count=2)}
    assert group_status(nodes) == status(GroupState.FAILED, -9)


def test_a_group_without_its_first_node_is_over() -> None:
    assert group_status({1: node("running", index=1, count=2)}) == status(GroupState.ENDED)
