"""The messages between a fork server and its clients: one JSON object a line over a socket.

A connection asks for one thing at a time: a check, or a world of ranks.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True, tag="check"):
    """Prepare an experiment (as JSON) and refuse what cannot be trained; answered by `Checked`, `Refused` or `Crashed`.

    `has_gpu` says whether ranks will have one where they run; None: they run here.
    """

    experiment: msgspec.Raw
    has_gpu: bool | None


class StartWorld(msgspec.Struct, frozen=True, tag="start_world"):
    """Fork ranks; answered by `CannotFork`, or by `WorldEnded` once all have ended.

    Attributes:
        ranks: the whole environment of each rank.
        log: file that what the server prints meanwhile is appended to.
    """

    ranks: tuple[dict[str, str], ...]
    log: str


class SignalWorld(msgspec.Struct, frozen=True, tag="signal_world"):
    """Send a signal to the ranks. The end of the connection kills them."""

    signal: int


class Checking(msgspec.Struct, frozen=True, tag="checking"):
    """What is being checked, for people."""

    what: str


class Checked(msgspec.Struct, frozen=True, tag="checked"):
    """What a sweep is described by, of an experiment that can be trained.

    Attributes:
        objective: name of the metric that is optimized, and `goal` its direction.
        notes: what a user should know before the sweep, a line each.
    """

    objective: str
    goal: Literal["maximize", "minimize"]
    task: Literal["classification", "regression"]
    folds: int
    splitter: str
    data_name: str
    data_rows: int
    data_sha256: str
    notes: tuple[str, ...] = ()


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """An `InputError`. `missing_key` is the argument of the KeyError that caused it, if one did."""

    place: str
    expected: str
    found: str
    remedy: str
    missing_key: str | None


class Crashed(msgspec.Struct, frozen=True, tag="crashed"):
    """The check raised something else; `detail` is the traceback."""

    detail: str


class CannotFork(msgspec.Struct, frozen=True, tag="cannot_fork"):
    """The ranks have to be started as processes of their own."""

    why: str


class WorldEnded(msgspec.Struct, frozen=True, tag="world_ended"):
    """All ranks have ended. `code` is that of the first to end badly (−N: killed by signal N), else 0."""

    code: int


ToServer = Check | StartWorld | SignalWorld
FromServer = Checking | Checked | Refused | Crashed | CannotFork | WorldEnded
