"""The clusters in terraform/, held against Terraform itself, AWS' provider, checkov, and the typings of Google's."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.terraform.google_arguments import ARGUMENTS
from tests.tools import installed

pytestmark = pytest.mark.tools

FOLDER = Path(__file__).parents[2] / "terraform"
MIRRORS = ("~/.terraform.d/plugins", "~/.local/share/terraform/plugins", "/usr/local/share/terraform/plugins", "/opt/*")
"""Where images have providers, in the layout of Terraform's file system mirrors."""
META = frozenset({"count", "depends_on", "for_each", "lifecycle", "provider"})
"""Arguments that Terraform itself takes, in every resource."""


@pytest.fixture(scope="session")
def terraform() -> str:
    """The program."""
    found = shutil.which("terraform")
    if found is None:
        pytest.skip("no terraform on this machine's path")
    return found


@pytest.fixture(scope="session")
def mirror() -> Path:
    """A folder with AWS' provider."""
    folders = (Path("/").joinpath(Path(pattern).expanduser()) for pattern in MIRRORS)
    for folder in (found for each in folders for found in Path("/").glob(str(each).lstrip("/"))):
        if any(folder.glob("registry.terraform.io/hashicorp/aws/*/linux_*")):
            return folder
    pytest.skip(f"no mirror with AWS' provider in {', '.join(MIRRORS)}")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The folder as a fresh checkout has it."""
    ignored = shutil.ignore_patterns(".terraform", ".terraform.lock.hcl", "*.tfstate*", "*.tfvars")
    return Path(shutil.copytree(FOLDER, tmp_path / "terraform", ignore=ignored))


def _run(*command: str | Path, folder: Path, **variables: str) -> str:
    """What a command prints, which must succeed."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("TF_")}
    ran = subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_every_file_is_formatted(terraform: str) -> None:
    assert _run(terraform, "fmt", "-check", "-diff", "-recursive", folder=FOLDER) == ""


def test_the_aws_example_is_valid_and_passes_its_tests(terraform: str, mirror: Path, copy: Path) -> None:
    settings = copy / "mirror.tfrc"
    settings.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
    example, variables = copy / "examples" / "aws", {"TF_CLI_CONFIG_FILE": str(settings)}

    _run(terraform, "init", "-backend=false", "-input=false", folder=example, **variables)
    _run(terraform, "validate", folder=example, **variables)
    tested = _run(terraform, "test", "-no-color", folder=example, **variables)

    assert re.search(r"Success! \d+ passed, 0 failed\.", tested), tested


def test_the_hand_over_passes_its_tests(terraform: str, copy: Path) -> None:
    folder = copy / "modules" / "handover"

    _run(terraform, "init", "-input=false", folder=folder)
    tested = _run(terraform, "test", "-no-color", folder=folder)

    assert re.search(r"Success! \d+ passed, 0 failed\.", tested), tested


def test_checkov_finds_nothing_but_what_is_skipped_for_a_reason() -> None:
    python = installed("checkov")

    found = json.loads(
        _run(
            python.with_name("checkov"), "--config-file", "terraform/.checkov.yaml", "-o", "json", folder=FOLDER.parent
        )
    )

    assert found["summary"] | {"passed": 0, "checkov_version": "", "resource_count": 0} == {
        "passed": 0, "failed": 0, "skipped": 0, "parsing_errors": 0, "resource_count": 0, "checkov_version": "",
    }  # fmt: skip
    assert found["summary"]["passed"] > 100


def test_google_s_provider_knows_every_argument_and_attribute() -> None:
    known, unknown = json.loads(ARGUMENTS.read_text(encoding="utf-8")), list[str]()
    for path, content in _parsed("gcp").items():
        for kind in ("resource", "data"):
            for block in content.get(kind, []):
                for name, instances in block.items():
                    address = f"data.{name}" * (kind == "data") or name
                    for given in instances.values():
                        arguments = {one: value for one, value in given.items() if one not in META}
                        unknown += _unknown(arguments, known[address]["arguments"], f"{path}: {address}")
        text = (FOLDER / path).read_text(encoding="utf-8")
        for address, attribute in re.findall(r"((?:data\.)?google_\w+)\.\w+(?:\[[^\]]+\])?\.(\w+)", text):
            if attribute not in known[address]["attributes"]:
                unknown.append(f"{path}: {address} has no {attribute}")

    assert unknown == []


def _parsed(cloud: str) -> dict[str, Any]:
    """The files of one cloud's modules and example by path, read by checkov's parser."""
    paths = [str(path.relative_to(FOLDER)) for path in sorted(FOLDER.glob(f"*/{cloud}/**/*.tf"))]
    program = "import hcl2, json, sys\nprint(json.dumps({p: hcl2.loads(open(p).read()) for p in sys.argv[1:]}))"
    return dict(json.loads(_run(installed("checkov"), "-c", program, *paths, folder=FOLDER)))


def _unknown(arguments: dict[str, Any], known: dict[str, Any], place: str) -> list[str]:
    """What is wrong with a block's arguments: unknown ones, and missing ones that are required."""
    dynamic = {name: body["content"] for block in arguments.get("dynamic", []) for name, body in block.items()}
    given = {name: value for name, value in arguments.items() if name != "dynamic" and not name.startswith("__")}
    given |= dynamic
    wrong = [f"{place} takes no {name}" for name in given if name not in known]
    wrong += [f"{place} wants {name}" for name, one in known.items() if one["required"] and name not in given]
    for name, value in given.items():
        if block := known.get(name, {}).get("block"):
            wrong += [each for one in value for each in _unknown(one, block, f"{place}.{name}")]
    return wrong


def test_the_stack_takes_what_terraform_hands_over(terraform: str, copy: Path, tmp_path: Path) -> None:
    folder = copy / "modules" / "handover"
    values = {
        "namespace": "team-a", "registry": "registry.example.com/winnow", "artifacts": "s3://acme/mlflow",
        "stack_account": "winnow-stack", "worker_account": "winnow-workers", "identity_networks": ["169.254.170.23/32"],
        "settings": {"AWS_DEFAULT_REGION": "eu-central-1"},
        "storage_class": {"provisioner": "ebs.csi.aws.com", "parameters": {"type": "gp3", "encrypted": "true"}},
    }  # fmt: skip
    (folder / "terraform.tfvars.json").write_text(json.dumps(values))
    _run(terraform, "init", "-input=false", folder=folder)
    _run(terraform, "apply", "-auto-approve", "-input=false", folder=folder)
    (tmp_path / "winnow-overlay.yaml").write_text(_run(terraform, "output", "-raw", "overlay", folder=folder))
    (tmp_path / "environment").write_text(_run(terraform, "output", "-raw", "environment", folder=folder))

    shell = f". ./environment && {sys.executable} -m winnow mlflow-init --platform kubernetes --dry-run"
    shown = _run("bash", "-c", shell, folder=tmp_path, KUBECONFIG="/nowhere", WINNOW_HOME=str(tmp_path / "home"))

    manifests = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(shown) if one}
    pod = manifests["Deployment", "winnow-mlflow"]["spec"]["template"]["spec"]
    server = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    claims = manifests["StatefulSet", "winnow-postgres"]["spec"]["volumeClaimTemplates"]
    networks = [
        target["ipBlock"]["cidr"]
        for rule in manifests["NetworkPolicy", "winnow-workers"]["spec"]["egress"]
        for target in rule.get("to", []) if "ipBlock" in target
    ]  # fmt: skip
    assert pod["serviceAccountName"] == "winnow-stack"
    assert server["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://acme/mlflow"
    assert server["AWS_DEFAULT_REGION"] == "eu-central-1"
    assert [claim["spec"]["storageClassName"] for claim in claims] == ["winnow"]
    assert networks == ["0.0.0.0/0", "::/0", "169.254.170.23/32"]
    assert not any(name == "winnow-minio" for _, name in manifests)
