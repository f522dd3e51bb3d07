"""Which environment variables reach worker groups of this machine, and which never reach a rank.

A group of this machine would inherit the whole shell that started the sweep. It inherits only what `ALLOWED` and
`ALLOWED_PREFIXES` name; everything else that user code reads is named in the experiment (`execution.env`,
`execution.secrets`). A sweep then computes the same from every shell, in containers and in pods. Containers and pods
inherit nothing from a shell: what they hold is set on purpose, by an image or a manifest.

A rank's place in its world is set by winnow and torchrun alone. Variables of other launchers are withheld from ranks on
every platform, because torchrun and Accelerate read them as settings of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

ALLOWED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "HOSTNAME", "TZ", "TERM", "LANG", "LANGUAGE"),
        *("TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV", "NO_COLOR", "FORCE_COLOR", "TOKENIZERS_PARALLELISM"),
        *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    }
)
"""Names of variables, in upper case: `http_proxy` is allowed as `HTTP_PROXY` is."""

ALLOWED_PREFIXES = (
    # The system, Python and its packages.
    *("LC_", "LD_", "DYLD_", "XDG_", "SSL_CERT_", "PYTHON", "CONDA_", "MALLOC_", "GIT_", "TQDM_"),
    # winnow and MLflow, whose addresses and credentials groups need.
    *("WINNOW_", "MLFLOW_", "DATABRICKS_", "PG"),
    # Stores that data is read from.
    *("AWS_", "S3_", "MINIO_", "GOOGLE_", "GCS_", "GCLOUD_", "CLOUDSDK_", "AZURE_", "FSSPEC_", "KAGGLE_"),
    *("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "SCIKIT_LEARN_"),
    # How libraries compute: threads, devices, transports.
    *(
        "OMP_",
        "GOMP_",
        "KMP_",
        "MKL_",
        "OPENBLAS_",
        "BLIS_",
        "VECLIB_",
        "NUMEXPR_",
        "NUMBA_",
        "DNNL_",
        "ONEDNN_",
        "ATEN_",
    ),
    *("CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "GLOO_", "UCX_"),
    *("HIP_", "ROCR_", "ROCM_", "HSA_", "MIOPEN_", "RCCL_"),
    *("TORCH_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "PYTORCH_", "TRITON_", "ONNX_", "ORT_"),
)

_WORLD = frozenset(
    {
        *(
            "RANK",
            "WORLD_SIZE",
            "LOCAL_RANK",
            "LOCAL_WORLD_SIZE",
            "LOCAL_SIZE",
            "NODE_RANK",
            "CROSS_RANK",
            "CROSS_SIZE",
        ),
        *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE"),
        *("MASTER_ADDR", "MASTER_PORT", "NCCL_COMM_ID", "PYTHON_EXEC", "FORK_LAUNCHED"),
    }
)
_WORLD_PREFIXES = (
    # torchrun: PET_* are defaults of its own flags.
    *("PET_", "TORCHELASTIC_", "TORCH_ELASTIC_", "TORCHX_"),
    # MPI and batch systems: Accelerate takes a lone rank for one of theirs.
    *(
        "PMI_",
        "PMIX_",
        "PALS_",
        "OMPI_",
        "OPAL_",
        "PRTE_",
        "MV2_",
        "MPI_",
        "I_MPI_",
        "MPIR_",
        "MPICH_",
        "HYDRA_",
        "HYDI_",
    ),
    *("SLURM_", "FLUX_", "LSB_", "JSM_", "CCL_"),
    # Accelerate: precision, accumulation and sharding that the experiment does not know of.
    *("ACCELERATE_", "FSDP_", "DEEPSPEED_", "MEGATRON_", "PARALLELISM_CONFIG_"),
)


def is_of_a_world(name: str) -> bool:
    """Whether a variable describes a world of processes, or sets how one is trained: no rank inherits it."""
    return name in _WORLD or name.startswith(_WORLD_PREFIXES)


def is_inherited(name: str) -> bool:
    """Whether a worker group of this machine inherits a variable from the shell that starts it."""
    allowed = name.upper() in ALLOWED or name.startswith(ALLOWED_PREFIXES)
    return allowed and not is_of_a_world(name)


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of a shell's environment that worker groups of this machine inherit."""
    return {name: value for name, value in environment.items() if is_inherited(name)}
