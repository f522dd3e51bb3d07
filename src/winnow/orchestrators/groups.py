"""Which worker groups a sweep needs: a plan, from the experiment, the place where they run and what it has to give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from winnow.config.addresses import STARS
from winnow.config.env_file import read_variables
from winnow.config.errors import InputError
from winnow.config.experiment import ExecutionConfig
from winnow.config.inheritance import is_of_a_world
from winnow.config.quantities import bytes_of
from winnow.platforms.container import DEFAULT_CPUS, DEFAULT_MEMORY_BYTES
from winnow.platforms.executor import GroupResources, GroupSpec, Volume
from winnow.training.launch import plan_gpus
from winnow.worker.experiment_file import DATA_FILE
from winnow.worker.group import CPUS, GPUS, RELAY_LOGS

LEAST_MEMORY_MIB = 384
"""With less a supervisor does not live to say that its ranks had too little."""


@dataclass(frozen=True)
class Site:
    """Where groups run, as far as planning them depends on it.

    Attributes:
        tier: its name: local, docker, …
        prefix: of its groups' names, so that groups of two tiers that work on one study are told apart.
        python: the interpreter there.
        home, storage_url, tracking_uri: winnow's folder and the two stores as they are reached from there.
        cpus, gpus: what there is; GPUs as CUDA_VISIBLE_DEVICES names them. None: a scheduler finds a machine for
            every group, which has to say what it needs.
        sees_files: groups see this machine's files: the person's code, the data, the logs they write.
        is_left_by_interrupt: Ctrl-C leaves the groups at work.
        look_every_s: how often it is asked whether the groups are alive.
    """

    tier: str
    prefix: str
    python: str
    home: Path
    storage_url: str = field(repr=False)
    tracking_uri: str = field(repr=False)
    cpus: int | None
    gpus: tuple[str, ...] | None
    sees_files: bool
    is_left_by_interrupt: bool
    look_every_s: float

    def has_gpu(self, execution: ExecutionConfig) -> bool | None:
        """Whether ranks have a GPU; None: the machine that they and this process share says so itself."""
        if self.sees_files:
            return None
        return execution.device == "cuda" if self.gpus is None else bool(self.gpus)


def plan_groups(
    study: str,
    execution: ExecutionConfig,
    site: Site,
    *,
    environment: Mapping[str, str],
    data_file: str | None = None,
) -> tuple[GroupSpec, ...]:
    """The groups of a sweep.

    Args:
        environment: the caller's, which holds the secrets that the experiment names.
        data_file: `SHA256/NAME` of the data in the artifact store, where groups fetch it from there.

    Raises:
        InputError: the place cannot give what the experiment asks for, or a secret is nowhere.
    """
    _check(execution, site)
    secrets = find_secrets(execution, environment)
    volumes = tuple(parse_volume(text) for text in execution.volumes)
    assigned = _gpus(execution, site)
    share = execution.resources.cpu or _share(execution, site)
    settings = {
        "WINNOW_HOME": str(site.home),
        "WINNOW_STORAGE": site.storage_url,
        "MLFLOW_TRACKING_URI": site.tracking_uri,
        CPUS: str(max(1, int(share))),
        **({} if site.sees_files else {RELAY_LOGS: "1"}),
        **({} if data_file is None else {DATA_FILE: data_file}),
    }
    return tuple(
        GroupSpec(
            study=study,
            name=f"{site.prefix}{index}",
            argv=(site.python, "-P", "-m", "winnow.worker.group", "--study", study, "--group", f"{site.prefix}{index}"),
            env={**execution.env, **settings, GPUS: _visible(of_group, site)},
            secrets=secrets,
            nodes=execution.nodes,
            resources=GroupResources(
                cpus=share,
                memory_bytes=_memory_bytes(execution, site),
                shm_bytes=bytes_of(execution.resources.shm),
                gpus=of_group,
            ),
            volumes=volumes,
            options=execution.options_for(site.tier),
            start_timeout_s=execution.start_timeout_s,
        )
        for index, of_group in enumerate(assigned)
    )


def _gpus(execution: ExecutionConfig, site: Site) -> tuple[tuple[str, ...], ...]:
    """Each group's GPUs on each of its nodes, one for every rank."""
    if site.gpus is None:
        # A pod counts what it was given from 0. Which nodes have GPUs only the scheduler knows: they are asked for.
        asked = range(execution.processes) if execution.device == "cuda" else ()
        return (tuple(map(str, asked)),) * execution.workers
    used = () if execution.device == "cpu" else site.gpus
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


def _share(execution: ExecutionConfig, site: Site) -> float:
    """CPUs of a node where the experiment does not say."""
    return DEFAULT_CPUS if site.cpus is None else max(1, site.cpus // (execution.workers * execution.nodes))


def _memory_bytes(execution: ExecutionConfig, site: Site) -> int | None:
    """Memory of a node; None: no limit."""
    if execution.resources.memory is not None:
        return bytes_of(execution.resources.memory)
    return DEFAULT_MEMORY_BYTES if site.cpus is None else None


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


def _visible(gpus: tuple[str, ...], site: Site) -> str:
    """A group's GPUs as its ranks see them: a container counts those that it was given from 0."""
    return ",".join(gpus if site.sees_files else map(str, range(len(gpus))))


def _check(execution: ExecutionConfig, site: Site) -> None:
    for place, names in (("execution.env", execution.env), ("execution.secrets", execution.secrets)):
        for name in filter(is_of_a_world, names):
            raise InputError(
                place,
                expected="variables that say nothing of a world of ranks, which winnow makes itself",
                found=repr(name),
                remedy="Take it away; execution.processes and execution.nodes say how many ranks a group has, and "
                "training.* how they train.",
            )
    if execution.nodes > 1 and site.tier == "local":
        raise InputError(
            "execution.nodes",
            expected="1 for a sweep on this machine",
            found=str(execution.nodes),
            remedy="Set execution.processes for several ranks on one machine.",
        )
    if execution.share_gpus and site.gpus is None:
        raise InputError(
            "execution.share_gpus",
            expected="false for pods, to each of which the cluster gives GPUs of its own",
            found="true",
            remedy="Take it away; to share GPUs, have the cluster do it (time slicing, MPS) under a name of its own in "
            "execution.kubernetes.gpu_resource.",
        )
    if execution.device == "cuda" and site.gpus == ():
        raise InputError(
            "execution.device",
            expected="a visible GPU",
            found="none",
            remedy="Set execution.device: auto, or look at what `nvidia-smi -L` and CUDA_VISIBLE_DEVICES say, and "
            "whether the installed torch is a build for GPUs.",
        )
    cpu = execution.resources.cpu
    if cpu is not None and site.cpus is not None and cpu > site.cpus and site.tier != "local":
        raise InputError(
            "execution.resources.cpu",
            expected=f"at most {site.cpus}, which is what the Docker host has",
            found=f"{cpu:g}",
            remedy="Lower it.",
        )
    memory = execution.resources.memory
    if memory is not None and bytes_of(memory) < LEAST_MEMORY_MIB * 2**20 and site.tier != "local":
        raise InputError(
            "execution.resources.memory",
            expected=f"at least {LEAST_MEMORY_MIB}Mi, of which a supervisor takes some 230 and torch the rest",
            found=memory,
            remedy="Raise it; a rank that trains needs more than that.",
        )
