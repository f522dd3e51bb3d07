"""What worker groups of this machine inherit from a shell."""

import pytest

from winnow.config.inheritance import inherited, is_of_a_world

SHELL = {
    "PATH": "/bin",
    "HOME": "/home/ada",
    "LC_ALL": "C.UTF-8",
    "http_proxy": "http://proxy:3128",
    "NO_PROXY": "10.0.0.0/8",
    "SSL_CERT_FILE": "/etc/ca.pem",
    "PYTHONPATH": "/src",
    "AWS_ACCESS_KEY_ID": "key",
    "MLFLOW_TRACKING_TOKEN": "token",
    "PGPASSFILE": "/home/ada/.pgpass",
    "OMP_PROC_BIND": "close",
    "NCCL_DEBUG": "INFO",
    "TORCH_HOME": "/models",
    "CUDA_VISIBLE_DEVICES": "1",
    "WINNOW_HOME": "/winnow",
}
OTHERS = {
    "PET_NNODES": "2",
    "PMI_SIZE": "4",
    "PMIX_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "4",
    "MV2_COMM_WORLD_SIZE": "4",
    "MPI_LOCALRANKID": "3",
    "SLURM_NTASKS": "8",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "8",
    "ACCELERATE_MIXED_PRECISION": "fp16",
    "FSDP_OFFLOAD_PARAMS": "true",
    "DEEPSPEED_USE_HPU": "1",
    "TORCHELASTIC_RUN_ID": "x",
    "PYTHON_EXEC": "/usr/bin/python2",
    "NCCL_COMM_ID": "10.0.0.1:4000",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "3",
    "MASTER_ADDR": "10.0.0.1",
}


def test_a_group_inherits_from_a_shell_only_what_the_list_allows() -> None:
    assert inherited(SHELL | OTHERS | {"MY_DATABASE": "db", "LEARNING_RATE": "1", "OMPSIM": "x"}) == SHELL


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_what_describes_another_world_reaches_no_rank_on_any_tier(name: str) -> None:
    assert is_of_a_world(name)
