"""Plan the commands and environments of a worker group's ranks. Nothing here imports torch or starts a process.

Start the ranks from a thread that outlives them (see `pdeathsig`).
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.inheritance import is_of_a_world
from winnow.training.pdeathsig import PARENT

CHANNEL, EXPERIMENT, LOG_DIR, THREADS = "WINNOW_CHANNEL", "WINNOW_EXPERIMENT", "WINNOW_LOG_DIR", "WINNOW_THREADS"
THREAD_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", THREADS)
PYTHON = (sys.executable, "-P")
"""Without the working directory on Python's path: a `random.py` there would hide the standard module."""


@dataclass(frozen=True)
class GroupFiles:
    """Where one group talks and writes.

    Attributes:
        channel: the unix socket on which the supervisor listens; at most 107 bytes long.
        experiment: an `Assignment` as JSON: the experiment and the digest of its rows.
        logs: folder of `rank-N.log` and `rank-N.error.json`.
    """

    channel: Path
    experiment: Path
    logs: Path


@dataclass(frozen=True)
class Launch:
    """What to start: a command, and the variables to set for it beside those that it inherits.

    Attributes:
        forked_ranks: how many ranks a fork server can start in its place; 0: none, since the world has several nodes.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    forked_ranks: int = 0


@dataclass(frozen=True)
class Node:
    """One of the machines that a group's ranks are spread over.

    Attributes:
        index, count: which of how many; rank 0 is on the first.
        address, port: where the first one's rendezvous is reached by the others.
    """

    index: int = 0
    count: int = 1
    address: str = "localhost"
    port: int = 0


RENDEZVOUS_TIMEOUT_S = 600
"""How long a node waits for the others of its world: as long as a group may take to come up."""


def threads_per_rank(cpus: int, processes: int) -> int:
    """Threads of one rank where a group has `cpus`: more ranks than CPUs still get one each."""
    return max(1, cpus // processes)


def plan_ranks(
    files: GroupFiles,
    *,
    processes: int,
    cpus: int,
    parent_pid: int,
    gpus: tuple[str, ...] | None = None,
    node: Node = Node(),
) -> Launch:
    """The command and environment of one group's ranks on this machine.

    Args:
        processes: ranks of the group on each of its nodes.
        cpus: CPUs that they may use here.
        parent_pid: id of the process that starts them; they end with it.
        gpus: this group's GPUs as `plan_gpus` gives them; empty: none; None: leave what is visible as it is.
    """
    threads = str(threads_per_rank(cpus, processes))
    env = {
        CHANNEL: str(files.channel),
        EXPERIMENT: str(files.experiment),
        LOG_DIR: str(files.logs),
        PARENT: str(parent_pid),
        **dict.fromkeys(THREAD_POOLS, threads),
    }
    if gpus is not None:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    rank = (*PYTHON, "-u", "-m", "winnow.training.rank")
    if processes == 1 and node.count == 1:
        return Launch(rank, {**env, "RANK": "0", "WORLD_SIZE": "1"}, forked_ranks=1)
    pdeathsig = (*PYTHON, "-m", "winnow.training.pdeathsig")
    torchrun = (*PYTHON, "-m", "torch.distributed.run", *_rendezvous(node))
    size = ("--nproc-per-node", str(processes), "--max-restarts", "0")
    # torchrun would start Python itself, with the working directory on its path.
    argv = (*pdeathsig, *torchrun, *size, "--no-python", *rank)
    return Launch(argv, env, forked_ranks=processes if node.count == 1 else 0)


def rank_environments(launch: Launch, inherited: Mapping[str, str], port: int) -> tuple[dict[str, str], ...]:
    """The whole environment of each rank that a fork server starts; torchrun's variables where there are several.

    Args:
        inherited: the supervisor's environment.
        port: a free port of this machine, on which the ranks meet.
    """
    size = launch.forked_ranks
    common = {name: value for name, value in inherited.items() if not is_of_a_world(name)} | launch.env
    if size == 1:
        return (common,)
    world = {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return tuple({**common, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size))


def _rendezvous(node: Node) -> tuple[str, ...]:
    if node.count == 1:
        return ("--standalone",)
    # Static, since only so does rank 0 certainly come to the first node, where the supervisor is.
    return (
        *("--nnodes", str(node.count), "--node-rank", str(node.index)),
        *("--rdzv-backend", "static", "--rdzv-conf", f"timeout={RENDEZVOUS_TIMEOUT_S}"),
        *("--master-addr", node.address, "--master-port", str(node.port)),
    )


def plan_gpus(visible: Sequence[str], workers: int, processes: int, share: bool) -> tuple[tuple[str, ...], ...]:
    """The GPUs of each group, one per rank.

    Left to itself every group of one rank would take the first GPU of the machine. Groups that share GPUs are spread
    over them as evenly as the numbers allow.

    Args:
        visible: the GPUs' indexes or ids, as CUDA_VISIBLE_DEVICES takes them; empty: the groups run on the CPU.
        share: several groups may use one GPU. The ranks of one group never do, since NCCL refuses it.

    Raises:
        InputError: there are fewer GPUs than that needs.
    """
    if not visible:
        return ((),) * workers
    count = len(visible)
    there_are = "1 GPU is visible" if count == 1 else f"{count} GPUs are visible"
    if processes > count:
        raise InputError(
            "execution.processes",
            expected=f"at most {count}, since each rank of a group needs a GPU of its own and {there_are}",
            found=str(processes),
            remedy="Lower it, or set execution.device: cpu.",
        )
    if not share and workers * processes > count:
        raise InputError(
            "execution.workers",
            expected=f"at most {count // processes} of {_ranks(processes)}, since each rank needs a GPU of its own and "
            f"{there_are}",
            found=str(workers),
            remedy="Lower it, or set execution.share_gpus: true (or execution.device: auto) to let groups share GPUs.",
        )
    return tuple(
        tuple(visible[(group * processes + rank) % count] for rank in range(processes)) for group in range(workers)
    )


def _ranks(count: int) -> str:
    return "1 rank" if count == 1 else f"{count} ranks"


def is_torch_for_gpus(spec: ModuleSpec | None) -> bool:
    """Whether the torch that is installed here was built for GPUs; read from its version file, without importing it.

    Args:
        spec: where torch is; None: it is not installed.
    """
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    for folder in folders:
        version = Path(folder) / "version.py"
        if version.is_file():
            built = runpy.run_path(str(version))
            return built.get("cuda") is not None or built.get("hip") is not None
    return False
