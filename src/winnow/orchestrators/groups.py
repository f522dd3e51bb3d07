"""Plan the worker groups of a sweep from the experiment and the host that they run on."""

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
"""With less memory, a supervisor is killed before it can report that its ranks had too little."""


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
        environment: contains the secrets that the experiment names.
        data_file: `SHA256/NAME` of the data in the artifact store, if groups download it from there.

    Raises:
        InputError: the platform lacks something that the experiment requests, or a secret is not set.
    """
    _check(execution, host)
    secrets = find_secrets(execution, environment)
    volumes = tuple(parse_volume(text) for text in execution.volumes)
    share = execution.resources.cpu
    if share is None:
        share = DEFAULT_CPUS if host.cpus is None else max(1, host.cpus // (execution.workers * execution.nodes))
    memory = None if execution.resources.memory is None else bytes_of(execution.resources.memory)
    if memory is None and host.capabilities.schedules_machines:
        memory = DEFAULT_MEMORY_BYTES
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
                memory_bytes=memory,
                shm_bytes=bytes_of(execution.resources.shm),
                gpus=of_group,
            ),
            volumes=volumes,
            options=execution.options_for(host.platform),
            start_timeout_s=execution.start_timeout_s,
        )
        for index, of_group in enumerate(_gpus(execution, host))
    )


def _gpus(execution: ExecutionConfig, host: WorkerHost) -> tuple[tuple[str, ...], ...]:
    """For each group, the GPUs on each of its nodes, one per rank."""
    if host.gpus is None:
        # The scheduler finds nodes with enough GPUs; a group numbers its own from 0.
        asked = range(execution.processes) if execution.device == "cuda" else ()
        return (tuple(map(str, asked)),) * execution.workers
    used = () if execution.device == "cpu" else host.gpus
    if used and execution.nodes > 1:
        raise InputError(
            "execution.nodes",
            expected="1 on a host with GPUs: the containers of a group would share them, which NCCL refuses",
            found=str(execution.nodes),
            remedy="For several ranks on one host set execution.processes, or set execution.device: cpu.",
        )
    share = execution.share_gpus or execution.device == "auto"
    return plan_gpus(used, execution.workers, execution.processes, share)


def gpu_sharing(groups: Sequence[GroupSpec]) -> str | None:
    """A line that groups share GPUs; None if they do not."""
    used = [gpu for group in groups for gpu in group.resources.gpus]
    count = len(set(used))
    if len(used) == count:
        return None
    gpus = "1 GPU" if count == 1 else f"{count} GPUs"
    alone = count // len(groups[0].resources.gpus)
    return f"{len(groups)} workers share {gpus}; with execution.workers: {alone} none would share"


def with_kept_secrets(execution: ExecutionConfig, environment: Mapping[str, str]) -> ExecutionConfig:
    """A stored study's execution, with the values that were replaced by stars taken from `environment`.

    Raises InputError if such a variable is not set there.
    """
    env = dict(execution.env)
    for name in [name for name, value in env.items() if STARS in value]:
        if name not in environment:
            raise InputError(
                f"execution.env.{name}",
                expected="a value for the worker, since secrets are not stored with a study",
                found="none in this shell",
                remedy=f"Export {name} with the value from the experiment file.",
            )
        env[name] = environment[name]
    return execution.model_copy(update={"env": env})


def find_secrets(execution: ExecutionConfig, environment: Mapping[str, str]) -> dict[str, str]:
    """The values of an experiment's secrets, from the environment or else from its file of secrets.

    Raises InputError if one is in neither, or the file does not exist.
    """
    found: dict[str, str] = {}
    if execution.secrets_file is not None:
        file = Path(execution.secrets_file).expanduser()
        if not file.is_file():
            raise InputError(
                "execution.secrets_file",
                expected="a file of NAME=value lines",
                found=f"'{file}', which is not a file",
                remedy="Write it, or remove the key and set the variables in the environment.",
            )
        found.update(read_variables(file.read_text(encoding="utf-8")))
    found.update({name: environment[name] for name in execution.secrets if name in environment})
    missing = [name for name in execution.secrets if name not in found]
    if missing:
        raise InputError(
            "execution.secrets",
            expected="names of variables that are set",
            found=f"{missing[0]!r}, which is not set",
            remedy=f"Export {missing[0]}, add it to execution.secrets_file, or remove it from the list.",
        )
    return {name: found[name] for name in execution.secrets}


def parse_volume(text: str) -> Volume:
    """A volume as for `docker run -v`, but read-only unless it ends in `:rw`.

    Raises InputError if it has another form, or its target is not absolute.
    """
    source, *rest = text.split(":")
    target, mode = (*rest, "ro")[:2] if rest else ("", "ro")
    if not source or not target.startswith("/") or mode not in ("ro", "rw") or len(rest) > 2:
        raise InputError(
            "execution.volumes",
            expected="SOURCE:TARGET or SOURCE:TARGET:rw with an absolute TARGET",
            found=repr(text),
            remedy="Write for example /srv/data:/srv/data.",
        )
    if source.startswith((".", "~")):
        source = str(Path(source).expanduser().absolute())
    return Volume(source, target, is_read_only=mode == "ro")


def _visible(gpus: tuple[str, ...], host: WorkerHost) -> str:
    """A group's GPUs as its ranks see them. A container numbers its own from 0."""
    return ",".join(gpus if host.capabilities.shares_files else map(str, range(len(gpus))))


def _check(execution: ExecutionConfig, host: WorkerHost) -> None:
    for place, names in (("execution.env", execution.env), ("execution.secrets", execution.secrets)):
        for name in filter(is_of_a_world, names):
            raise InputError(
                place,
                expected="no variables of torch.distributed, which winnow sets itself",
                found=repr(name),
                remedy="Remove it. execution.processes and execution.nodes set the number of ranks, and training.* how "
                "they train.",
            )
    if execution.nodes > 1 and not host.capabilities.has_nodes:
        raise InputError(
            "execution.nodes",
            expected="1 for a sweep on this machine",
            found=str(execution.nodes),
            remedy="For several ranks on one machine set execution.processes.",
        )
    if execution.share_gpus and host.capabilities.schedules_machines:
        raise InputError(
            "execution.share_gpus",
            expected="false on a cluster, which gives each worker its own GPUs",
            found="true",
            remedy="Remove it. To share GPUs, configure time slicing or MPS in the cluster, and name that resource in "
            "execution.kubernetes.gpu_resource.",
        )
    if execution.device == "cuda" and host.gpus == ():
        raise InputError(
            "execution.device",
            expected="a visible GPU",
            found="none",
            remedy="Set execution.device: auto, or check `nvidia-smi -L`, CUDA_VISIBLE_DEVICES, and whether the "
            "installed torch supports GPUs.",
        )
    if not host.capabilities.limits_resources:
        return
    cpu = execution.resources.cpu
    if cpu is not None and host.cpus is not None and cpu > host.cpus:
        raise InputError(
            "execution.resources.cpu",
            expected=f"at most {host.cpus}, as many as the host has",
            found=f"{cpu:g}",
            remedy="Lower it.",
        )
    memory = execution.resources.memory
    if memory is not None and bytes_of(memory) < LEAST_MEMORY_MIB * 2**20:
        raise InputError(
            "execution.resources.memory",
            expected=f"at least {LEAST_MEMORY_MIB}Mi: 230Mi for the supervisor and the rest for torch",
            found=memory,
            remedy="Raise it. Training needs more than the minimum.",
        )
