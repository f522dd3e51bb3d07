"""How ranks are started, as a plan."""

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.training.launch import GroupFiles, is_torch_for_gpus, plan_gpus, plan_ranks, threads_per_rank

FILES = GroupFiles(Path("/s/channel"), Path("/s/experiment.json"), Path("/s/logs"))


def test_a_lone_rank_needs_no_torchrun():
    launch = plan_ranks(FILES, processes=1, cpus=2, parent_pid=7)
    assert launch.argv == (sys.executable, "-P", "-u", "-m", "winnow.training.rank")
    assert launch.env == {
        "WINNOW_CHANNEL": "/s/channel",
        "WINNOW_EXPERIMENT": "/s/experiment.json",
        "WINNOW_LOG_DIR": "/s/logs",
        "WINNOW_PARENT_PID": "7",
        "WINNOW_THREADS": "2",
        "OMP_NUM_THREADS": "2",
        "MKL_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "RANK": "0",
        "WORLD_SIZE": "1",
    }


def test_several_ranks_are_torchruns_on_a_leash_and_never_restarted_by_it():
    launch = plan_ranks(FILES, processes=3, cpus=2, parent_pid=7, gpus=("0", "2", "3"))
    assert launch.argv == (
        *(sys.executable, "-P", "-m", "winnow.training.pdeathsig"),
        *(sys.executable, "-P", "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", "3", "--max-restarts", "0", "--no-python"),
        *(sys.executable, "-P", "-u", "-m", "winnow.training.rank"),
    )
    assert launch.env["OMP_NUM_THREADS"] == "1"
    assert launch.env["CUDA_VISIBLE_DEVICES"] == "0,2,3"


@pytest.mark.parametrize(("cpus", "processes", "threads"), [(1, 1, 1), (8, 1, 8), (8, 3, 2), (2, 4, 1)])
def test_ranks_share_the_cpus_of_their_group(cpus, processes, threads):
    assert threads_per_rank(cpus, processes) == threads


def test_each_group_has_gpus_of_its_own():
    assert plan_gpus(["0", "1", "2", "3"], workers=2, processes=2, share=False) == (("0", "1"), ("2", "3"))
    assert plan_gpus(["GPU-a", "GPU-b", "GPU-c"], workers=3, processes=1, share=False) == (
        ("GPU-a",),
        ("GPU-b",),
        ("GPU-c",),
    )


def test_groups_that_may_not_share_gpus_are_refused_where_there_are_too_few():
    with pytest.raises(InputError) as refused:
        plan_gpus(["0"], workers=2, processes=1, share=False)
    assert str(refused.value) == (
        "execution.workers: expected at most 1 of 1 rank, since each rank needs a GPU of its own and 1 GPU is visible, "
        "found 2. Lower it, or set execution.share_gpus: true (or execution.device: auto) to let groups share GPUs."
    )


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_groups_share_gpus_evenly_and_the_ranks_of_one_group_never_do(count, workers, processes):
    visible = [f"GPU-{index}" for index in range(count)]
    if processes > count:
        with pytest.raises(InputError, match=r"execution\.processes: .*execution\.device: cpu"):
            plan_gpus(visible, workers, processes, share=True)
        return
    groups = plan_gpus(visible, workers, processes, share=True)
    assert [len(set(group)) for group in groups] == [processes] * workers
    uses = [sum(gpu in group for group in groups) for gpu in visible]
    assert (sum(uses), max(uses) - min(uses) <= 1) == (workers * processes, True)


@pytest.mark.parametrize(
    ("version", "is_for_gpus"),
    [
        ("cuda: str | None = None\nhip = None\n", False),
        ("cuda = '13.0'\nhip = None\n", True),
        ("cuda = None\nhip = '7.1'\n", True),
    ],
)
def test_a_build_of_torch_for_the_cpu_is_told_without_importing_it(tmp_path, version, is_for_gpus):
    (tmp_path / "version.py").write_text(version)
    spec = ModuleSpec("torch", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    assert is_torch_for_gpus(spec) is is_for_gpus
    assert is_torch_for_gpus(None) is False


def test_without_gpus_no_group_has_any():
    assert plan_gpus([], workers=2, processes=4, share=False) == ((), ())


@pytest.mark.parametrize("module", ["launch", "pdeathsig", "messages", "rank_errors"])
def test_what_a_supervisor_needs_imports_no_torch(module):
    code = f"import sys, winnow.training.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
