"""The process that an executor starts for a worker group: `python -m winnow.worker.group --study NAME --group NAME`.

The study and the environment (`config.settings`, `variables`) say everything else. On a further node of a group that
spans several (`WINNOW_NODE` above 0) it obeys the supervisor on the first one. It exits with a `GroupExit`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError, WinnowError
from winnow.config.exit_codes import GroupExit, leave
from winnow.config.file_lock import try_locked
from winnow.config.private import restrict_umask
from winnow.config.settings import Settings
from winnow.config.streams import write_utf8
from winnow.study.champion import champion_of
from winnow.study.database import Database
from winnow.study.retry import Retry
from winnow.study.store import StudyStore
from winnow.tracking.data_files import DataFiles
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.training.fork_client import FORK_SERVER
from winnow.training.launch import Node, plan_ranks
from winnow.worker.experiment_file import fetch_data, write_experiment
from winnow.worker.heartbeat import Identity
from winnow.worker.log_relay import LogRelay
from winnow.worker.node import RemoteNode, SupervisorGoneError
from winnow.worker.nodes import CALL_PORT_OFFSET, Nodes
from winnow.worker.rank_starter import RankStarter
from winnow.worker.ranks import Planner, Ranks
from winnow.worker.standby import STANDBY, await_start
from winnow.worker.stop import Stop, StopRequestedError
from winnow.worker.variables import CPUS, DATA_FILE, GPUS, MASTER, MASTER_PORT, NODE, NODES, RELAY_LOGS
from winnow.worker.worker import NodesGoneError, Worker
from winnow.worker.world import CannotStartError

LONE_ENDS = 5
"""How often a node may lose its group while the study makes no progress; after that it is not started again."""
ASKED_WITHIN_S = 0.75
"""How long a group waits for its lock: longer than a process holds it that only checks whether the group lives."""
OPEN_PATIENCE_S = 300.0
"""How long to wait for a study whose own patience was not read yet."""

_log = logging.getLogger(__name__)


def group_folder(home: Path, study: str, group: str) -> Path:
    """Where a group keeps its lock and its logs."""
    return home / "studies" / study / "groups" / group


def main(arguments: Sequence[str] | None = None) -> int:
    """Be one worker group until its study is finished."""
    if (sys.argv[1:] if arguments is None else arguments) == [STANDBY]:
        arguments = await_start()
        if arguments is None:
            return GroupExit.DONE
    parser = argparse.ArgumentParser(prog="winnow.worker.group")
    parser.add_argument("--study", required=True)
    parser.add_argument("--group", required=True)
    asked = parser.parse_args(arguments)
    restrict_umask()
    write_utf8()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    settings = Settings.from_environment()
    folder = group_folder(settings.home, asked.study, asked.group)
    folder.mkdir(parents=True, exist_ok=True)
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.request())
    # The lock shows others that the group lives. A process that only checks it holds it for a moment.
    with try_locked(folder / "lock", within_s=ASKED_WITHIN_S) as is_only_one:
        if not is_only_one:
            return GroupExit.ALREADY_RUNNING
        stop.watch(folder / "lock")
        try:
            with LogRelay(folder) if os.environ.get(RELAY_LOGS) else contextlib.nullcontext():
                return _work(settings, asked.study, asked.group, folder, stop)
        except StopRequestedError:
            return GroupExit.STOPPED
        except WinnowError as error:
            _log.error("%s", error)
            return error.exit_code


def _work(settings: Settings, study: str, group: str, folder: Path, stop: Stop) -> int:
    retrying = Retry(OPEN_PATIENCE_S, stop.check)
    store = retrying(_open, settings.storage_url, study)
    refusal = retrying(store.refusal)
    if refusal is not None:
        # An executor may restart groups unattended, and each would end as the last one did.
        raise refusal
    try:
        return _work_on(store, settings, group, folder, stop)
    except InputError as error:
        retrying(store.set_refusal, error)
        raise


def _work_on(store: StudyStore, settings: Settings, group: str, folder: Path, stop: Stop) -> int:
    execution = store.header.experiment.execution
    patience_s = execution.storage_patience_s
    data = None
    if named := os.environ.get(DATA_FILE):
        data = fetch_data(named, settings.home / "data", DataFiles(settings.tracking_uri), patience_s, stop.check)
    write_experiment(folder / "experiment.json", store, data)
    node = _node()
    plan = _plan(execution.processes, node)
    try:
        if node.index > 0:
            supervisor = (node.address, node.port + CALL_PORT_OFFSET)
            RemoteNode(node.index, supervisor, plan, folder, os.environ, patience_s, stop.check).run()
        else:
            _supervise(store, settings, group, folder, node, plan, stop)
    except CannotStartError as error:
        _log.error("the ranks do not come up: %s; log: %s", error, error.ended.log)
        return GroupExit.CANNOT_START
    except (SupervisorGoneError, NodesGoneError) as error:
        _log.error("%s", error)
        times = Retry(patience_s, stop.check)(store.count_lone_end, group, node.index)
        if times <= LONE_ENDS:
            return GroupExit.LOST_NODES
        _log.error("%d times without progress of the study: this node is not started again by itself", times)
        return GroupExit.CANNOT_START
    return GroupExit.DONE


def _supervise(
    store: StudyStore, settings: Settings, group: str, folder: Path, node: Node, plan: Planner, stop: Stop
) -> None:
    nodes = Nodes(node.port + CALL_PORT_OFFSET, count=node.count - 1)
    with contextlib.closing(RankStarter(os.environ.get(FORK_SERVER))) as starter:
        worker = Worker(
            store,
            Ranks(plan, folder / "experiment.json", folder, os.environ, nodes, starter),
            functools.partial(MlflowTracker, settings.tracking_uri),
            functools.partial(_write_report, settings),
            Identity(group=group, owner=f"{group}/{uuid.uuid4().hex[:12]}", host=socket.gethostname()),
            stop,
            settings.home / "studies" / store.name,
            is_dead=lambda other: _is_dead(group_folder(settings.home, store.name, other)),
        )
        worker.run()
    nodes.dismiss()


def _open(url: str, study: str) -> StudyStore:
    """Open the study and read its header: an open database does not show that the study is there."""
    store = StudyStore(Database(url), study)
    _ = store.header
    return store


def _node() -> Node:
    """Which of the group's machines this is."""
    count = int(os.environ.get(NODES) or 1)
    if count == 1:
        return Node()
    return Node(int(os.environ[NODE]), count, os.environ[MASTER], int(os.environ[MASTER_PORT]))


def _plan(processes: int, node: Node) -> Planner:
    gpus = os.environ.get(GPUS)
    return functools.partial(
        plan_ranks,
        processes=processes,
        cpus=int(os.environ.get(CPUS, "0")) or os.cpu_count() or 1,
        parent_pid=os.getpid(),
        gpus=None if gpus is None else tuple(gpu for gpu in gpus.split(",") if gpu),
        node=node,
    )


def _is_dead(folder: Path) -> bool:
    """Whether no process of this machine holds a group's lock; False if this machine does not have the group."""
    try:
        with try_locked(folder / "lock", is_shared=True) as is_free:
            return is_free
    except OSError:
        return False


def _write_report(settings: Settings, store: StudyStore, path: Path) -> None:
    """Write the report to `path`, for the tracking store, and into this machine's home, for people."""
    from winnow.report import render_report

    view = store.view()
    page = render_report(replace(view, champion=champion_of(view, settings.tracking_uri)))
    path.write_text(page, encoding="utf-8")
    replace_text(settings.home / "studies" / store.name / "report.html", page)


if __name__ == "__main__":
    leave(main())
