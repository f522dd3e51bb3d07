"""The worker groups of a sweep, planned from the experiment and from what the groups find where they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from winnow.config.addresses import STARS
from winnow.config.env_file import read_variables
from winnow.config.errors import InputError
from winnow.config.experiment import ExecutionConfig
from winnow.config.inheritance import is_of_a_world
from winnow.config.quantities import bytes_of
from winnow.platforms.container import DEFAULT_CPUS, DEFAULT_MEMORY_BYTES
from winnow.platforms.executor import GroupResources, GroupSpec, Volume
from winnow.platforms.sweep import WorkerHost
from winnow.training.launch import plan_gpus
from winnow.worker.variables import CPUS, DATA_FILE, GPUS, RELAY_LOGS

LEAST_MEMORY_MIB = 384
"""With less, a supervisor is killed before it can report that its ranks had too little."""


def plan_groups(
    study: str,
    execution: ExecutionConfig,
    host: WorkerHost,
    *,
    environment: Mapping[str, str],
    data_file: str | None = None,
) -> tuple[GroupSpec, ...]:
    """The groups of a sweep.

    Args:
        environment: of this process, which holds the secrets that the experiment names.
        data_file: `SHA256/NAME` of the data in the artifact store, where groups fetch it from there.

    Raises:
        InputError: the platform lacks what the experiment asks for, or a secret is not set.
    """
    _check(execution, host)
    secrets = find_secrets(execution, environment)
    volumes = tuple(parse_volume(text) for text in execution.volumes)
    assigned = _gpus(execution, host)
    share = execution.resources.cpu or _share(execution, host)
    prefix, shares_files = host.capabilities.group_prefix, host.capabilities.shares_files
    settings = {
        "WINNOW_HOME": str(host.home),
        "WINNOW_STORAGE": host.storage_url,
        "MLFLOW_TRACKING_URI": host.tracking_uri,
        CPUS: str(max(1, int(share))),
        **({} if shares_files else {RELAY_LOGS: "1"}),
        **({} if data_file is None else {DATA_FILE: data_file}),
    }
    return tuple(
        GroupSpec(
            study=study,
            name=f"{prefix}{index}",
            argv=(host.python, "-P", "-m", "winnow.worker.group", "--study", study, "--group", f"{prefix}{index}"),
            env={**execution.env, **settings, GPUS: _visible(of_group, host)},
            secrets=secrets,
            nodes=execution.nodes,
            resources=GroupResources(
                cpus=share,
                memory_bytes=_memory_bytes(execution, host),
                shm_bytes=bytes_of(execution.resources.shm),
                gpus=of_group,
            ),
            volumes=volumes,
            options=execution.options_for(host.platform),
            start_timeout_s=execution.start_timeout_s,
        )
        for index, of_group in enumerate(assigned)
    )


def _gpus(execution: ExecutionConfig, host: WorkerHost) -> tuple[tuple[str, ...], ...]:
    """Each group's GPUs on each of its nodes, one for every rank."""
    if host.gpus is None:
        # The scheduler finds nodes that have as many GPUs as are asked for; a group counts those that it gets from 0.
        asked = range(execution.processes) if execution.device == "cuda" else ()
        return (tuple(map(str, asked)),) * execution.workers
    used = () if execution.device == "cpu" else host.gpus
    if used and execution.nodes > 1:
        raise InputError(
            "execution.nodes",
            expected="1 on a host with GPUs: the containers of a group would use the same ones, which NCCL refuses",
            found=str(execution.nodes),
            remedy="Set execution.processes for several ranks on one host, or execution.device: cpu.",
        )
    share = execution.share_gpus or execution.device == "auto"
    return plan_gpus(used, execution.workers, execution.processes, share)


def gpu_sharing(groups: Sequence[GroupSpec]) -> str | None:
    """That groups share GPUs, as a line for people; None where none does."""
    used = [gpu for group in groups for gpu in group.resources.gpus]
    count = len(set(used))
    if len(used) == count:
        return None
    gpus = "1 GPU" if count == 1 else f"{count} GPUs"
    alone = count // len(groups[0].resources.gpus)
    return f"{len(groups)} workers share {gpus}; execution.workers: {alone} gives each of them GPUs of its own"


def _share(execution: ExecutionConfig, host: WorkerHost) -> float:
    """CPUs of a node where the experiment does not say."""
    if host.cpus is None:
        return DEFAULT_CPUS
    return max(1, host.cpus // (execution.workers * execution.nodes))


def _memory_bytes(execution: ExecutionConfig, host: WorkerHost) -> int | None:
    """Memory of a node; None: no limit."""
    if execution.resources.memory is not None:
        return bytes_of(execution.resources.memory)
    return DEFAULT_MEMORY_BYTES if host.capabilities.schedules_machines else None


def with_kept_secrets(execution: ExecutionConfig, environment: Mapping[str, str]) -> ExecutionConfig:
    """The execution of a study as it was kept, with values of `environment` in place of those that are starred.

    Raises:
        InputError: a starred variable is not set there.
    """
    env = dict(execution.env)
    for name in [name for name, value in env.items() if STARS in value]:
        if name not in environment:
            raise InputError(
                f"execution.env.{name}",
                expected="a value for the worker; secrets are not kept with a study",
                found="none in this shell",
                remedy=f"Export {name} as the experiment file has it.",
            )
        env[name] = environment[name]
    return execution.model_copy(update={"env": env})


def find_secrets(execution: ExecutionConfig, environment: Mapping[str, str]) -> dict[str, str]:
    """The values of the secrets that an experiment names, from the environment, else from its file of secrets.

    Raises:
        InputError: one is in neither, or the file is not there.
    """
    found: dict[str, str] = {}
    if execution.secrets_file is not None:
        file = Path(execution.secrets_file).expanduser()
        if not file.is_file():
            raise InputError(
                "execution.secrets_file",
                expected="a file of NAME=value lines",
                found=f"'{file}', which is no file",
                remedy="Write it, or take the key away and set the variables in the environment.",
            )
        found.update(read_variables(file.read_text(encoding="utf-8")))
    found.update({name: environment[name] for name in execution.secrets if name in environment})
    missing = [name for name in execution.secrets if name not in found]
    if missing:
        raise InputError(
            "execution.secrets",
            expected="names of variables that are set",
            found=f"{missing[0]!r}, which is not set",
            remedy=f"Export {missing[0]}, write it into execution.secrets_file, or take it off the list.",
        )
    return {name: found[name] for name in execution.secrets}


def parse_volume(text: str) -> Volume:
    """A volume as `docker run -v` takes it, read-only unless it says `:rw`.

    Raises:
        InputError: it has another form, or its target is not absolute.
    """
    source, *rest = text.split(":")
    target, mode = (*rest, "ro")[:2] if rest else ("", "ro")
    if not source or not target.startswith("/") or mode not in ("ro", "rw") or len(rest) > 2:
        raise InputError(
            "execution.volumes",
            expected="SOURCE:TARGET or SOURCE:TARGET:rw, the target an absolute path",
            found=repr(text),
            remedy="Write for example /srv/data:/srv/data.",
        )
    if source.startswith((".", "~")):
        source = str(Path(source).expanduser().absolute())
    return Volume(source, target, is_read_only=mode == "ro")


def _visible(gpus: tuple[str, ...], host: WorkerHost) -> str:
    """A group's GPUs as its ranks see them: a container counts those that it was given from 0."""
    return ",".join(gpus if host.capabilities.shares_files else map(str, range(len(gpus))))


def _check(execution: ExecutionConfig, host: WorkerHost) -> None:
    for place, names in (("execution.env", execution.env), ("execution.secrets", execution.secrets)):
        for name in filter(is_of_a_world, names):
            raise InputError(
                place,
                expected="variables that say nothing of a world of ranks, which winnow makes itself",
                found=repr(name),
                remedy="Take it away; execution.processes and execution.nodes say how many ranks a group has, and "
                "training.* how they train.",
            )
    if execution.nodes > 1 and not host.capabilities.has_nodes:
        raise InputError(
            "execution.nodes",
            expected="1 for a sweep on this machine",
            found=str(execution.nodes),
            remedy="Set execution.processes for several ranks on one machine.",
        )
    if execution.share_gpus and host.capabilities.schedules_machines:
        raise InputError(
            "execution.share_gpus",
            expected="false where the cluster gives every worker GPUs of its own",
            found="true",
            remedy="Take it away; to share GPUs, have the cluster do it (time slicing, MPS) under a name of its own in "
            "execution.kubernetes.gpu_resource.",
        )
    if execution.device == "cuda" and host.gpus == ():
        raise InputError(
            "execution.device",
            expected="a visible GPU",
            found="none",
            remedy="Set execution.device: auto, or look at what `nvidia-smi -L` and CUDA_VISIBLE_DEVICES say, and "
            "whether the installed torch is a build for GPUs.",
        )
    if not host.capabilities.limits_resources:
        return
    cpu = execution.resources.cpu
    if cpu is not None and host.cpus is not None and cpu > host.cpus:
        raise InputError(
            "execution.resources.cpu",
            expected=f"at most {host.cpus}, which is what the host has",
            found=f"{cpu:g}",
            remedy="Lower it.",
        )
    memory = execution.resources.memory
    if memory is not None and bytes_of(memory) < LEAST_MEMORY_MIB * 2**20:
        raise InputError(
            "execution.resources.memory",
            expected=f"at least {LEAST_MEMORY_MIB}Mi, of which a supervisor takes some 230 and torch the rest",
            found=memory,
            remedy="Raise it; a rank that trains needs more than that.",
        )
