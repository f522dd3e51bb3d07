"""Which environment variables a worker group on this machine inherits, and which no rank ever inherits.

A group does not inherit the whole shell that starts the sweep, only what `ALLOWED` and `ALLOWED_PREFIXES` name; user
code names other variables in `execution.env` and `execution.secrets`. A sweep then computes the same from every shell,
in containers and in pods.

Only winnow and torchrun set a rank's place in its world. Variables of other launchers are withheld from ranks on every
platform, because torchrun and Accelerate read them as their own settings.
"""

from __future__ import annotations

from collections.abc import Mapping


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ALLOWED = _words("""
    PATH HOME USER LOGNAME SHELL PWD HOSTNAME TZ TERM LANG LANGUAGE TMPDIR TEMP TMP
    VIRTUAL_ENV NO_COLOR FORCE_COLOR TOKENIZERS_PARALLELISM
    HTTP_PROXY HTTPS_PROXY FTP_PROXY ALL_PROXY NO_PROXY REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
""")
"""Names in upper case: `http_proxy` is allowed because `HTTP_PROXY` is."""

# In this order: the system, Python and its packages; addresses and credentials of winnow and MLflow; stores that data
# is read from; libraries' threads, devices and transports.
ALLOWED_PREFIXES = _words("""
    LC_ LD_ DYLD_ XDG_ SSL_CERT_ PYTHON CONDA_ MALLOC_ GIT_ TQDM_
    WINNOW_ MLFLOW_ DATABRICKS_ PG
    AWS_ S3_ MINIO_ GOOGLE_ GCS_ GCLOUD_ CLOUDSDK_ AZURE_ FSSPEC_ KAGGLE_
    HF_ HUGGINGFACE_ HUGGING_FACE_ TRANSFORMERS_ SCIKIT_LEARN_
    OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ BLIS_ VECLIB_ NUMEXPR_ NUMBA_ DNNL_ ONEDNN_ ATEN_
    CUDA_ CUDNN_ CUBLAS_ NVIDIA_ NCCL_ GLOO_ UCX_ HIP_ ROCR_ ROCM_ HSA_ MIOPEN_ RCCL_
    TORCH_ TORCHINDUCTOR_ TORCHDYNAMO_ PYTORCH_ TRITON_ ONNX_ ORT_
""")

_WORLD = _words("""
    RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE LOCAL_SIZE NODE_RANK CROSS_RANK CROSS_SIZE
    GROUP_RANK GROUP_WORLD_SIZE ROLE_NAME ROLE_RANK ROLE_WORLD_SIZE
    MASTER_ADDR MASTER_PORT NCCL_COMM_ID PYTHON_EXEC FORK_LAUNCHED
""")
# In this order: torchrun, where PET_* are defaults of its flags; MPI and batch systems, because Accelerate takes a lone
# rank for one of theirs; Accelerate's precision, accumulation and sharding, which the experiment does not know.
_WORLD_PREFIXES = _words("""
    PET_ TORCHELASTIC_ TORCH_ELASTIC_ TORCHX_
    PMI_ PMIX_ PALS_ OMPI_ OPAL_ PRTE_ MV2_ MPI_ I_MPI_ MPIR_ MPICH_ HYDRA_ HYDI_ SLURM_ FLUX_ LSB_ JSM_ CCL_
    ACCELERATE_ FSDP_ DEEPSPEED_ MEGATRON_ PARALLELISM_CONFIG_
""")


def is_of_a_world(name: str) -> bool:
    """Whether a variable describes a world of processes, or sets how one is trained: no rank inherits it."""
    return name in _WORLD or name.startswith(_WORLD_PREFIXES)


def is_inherited(name: str) -> bool:
    """Whether a worker group on this machine inherits a variable from the shell that starts it."""
    allowed = name.upper() in ALLOWED or name.startswith(ALLOWED_PREFIXES)
    return allowed and not is_of_a_world(name)


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of a shell's environment that worker groups on this machine inherit."""
    return {name: value for name, value in environment.items() if is_inherited(name)}
