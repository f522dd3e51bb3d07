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

pytestmark = pytest.mark.tools("checkov")

FOLDER = Path(__file__).parents[2] / "terraform"
MIRRORS = ("~/.terraform.d/plugins", "~/.local/share/terraform/plugins", "/usr/local/share/terraform/plugins", "/opt/*")
"""Where images have providers, in the layout of Terraform's file system mirrors."""
META = frozenset({"count", "depends_on", "for_each", "lifecycle", "provider"})
"""Arguments that Terraform itself takes, in every resource."""

GOOGLE: dict[str, dict[str, Any]] = {
    "network": {"name": "winnow", "region": "europe-west3"},
    "gke": {
        "project": "acme-ml",
        "name": "winnow",
        "zones": ["europe-west3-a"],
        "network_id": "network",
        "subnetwork_id": "subnetwork",
        "pools": {"main": {"type": "e2-standard-2", "min": 1, "max": 2}},
    },
    "bucket": {"project": "acme-ml", "name": "acme-data", "location": "europe-west3"},
    "registry": {"project": "acme-ml", "name": "winnow", "location": "europe-west3", "readers": {}},
    "iam": {
        "project": "acme-ml",
        "project_number": "12",
        "workload_pool": "acme-ml.svc.id.goog",
        "location": "europe-west3",
        "repository": "winnow",
        "namespace": "winnow",
        "accounts": {"winnow-stack": {"write": ["artifacts"]}, "winnow-workers": {"read": ["data"]}},
        "builders": ["user:ana@example.com"],
        "builder_buckets": ["data"],
    },
}
"""Values that the modules take."""


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


@pytest.mark.parametrize(
    ("module", "wrong", "expected"),
    [
        (
            "network",
            {"cidrs": {"nodes": "52.0.0.0/20", "pods": "10.84.0.0/14", "services": "10.80.16.0/20"}},
            "RFC 1918",
        ),
        ("gke", {"zones": ["europe-west3-a", "europe-west1-b"]}, "zones of one region"),
        ("gke", {"name": "a-name-of-twenty-five-let"}, "of 30 at most"),
        ("gke", {"api_cidrs": ["0.0.0.0/0"]}, "which is everyone"),
        ("gke", {"control_plane_cidr": "172.16.0.0/24"}, "A /28"),
        ("gke", {"pools": {"main": {"type": "e2-standard-2", "min": 3, "max": 2}}}, "0 <= min <= max"),
        ("gke", {"pools": {"main": {"type": "e2-standard-2", "min": 1, "max": 2, "spot": True}}}, "neither spot nor"),
        ("bucket", {"name": "google-data"}, "not with 'goog'"),
        ("registry", {"untagged_days": 0.5}, "Whole days"),
        ("iam", {"namespace": "default"}, "A namespace of its own"),
        ("iam", {"accounts": {"default": {"read": ["data"]}}}, "replicas among them"),
        ("iam", {"accounts": {"winnow-replicas": {}}}, "leave it out"),
        ("iam", {"builders": ["allUsers"]}, "not allUsers"),
        ("iam", {"developers": ["group:team@example.com"]}, "Google Groups for RBAC"),
    ],
)
def test_rules_of_google_s_variables_refuse(
    terraform: str, tmp_path: Path, module: str, wrong: dict[str, Any], expected: str
) -> None:
    assert expected in _refused(terraform, tmp_path, module, wrong)


def _refused(terraform: str, folder: Path, module: str, wrong: dict[str, Any]) -> str:
    """What a plan says of wrong values, with the module's variables alone: they need no provider."""
    shutil.copy(FOLDER / "modules" / "gcp" / module / "variables.tf", folder)
    (folder / "terraform.tfvars.json").write_text(json.dumps(GOOGLE[module] | wrong))
    ran = subprocess.run(
        (terraform, "plan", "-input=false", "-no-color"), cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stdout
    return " ".join(ran.stderr.replace("│", " ").split())


def test_google_s_grants_are_to_single_accounts_and_buckets(terraform: str, tmp_path: Path) -> None:
    module = FOLDER / "modules" / "gcp" / "iam"
    shutil.copy(module / "variables.tf", tmp_path)
    code = re.search(r"^locals \{.*?^\}", (module / "main.tf").read_text(encoding="utf-8"), re.M | re.S)
    assert code is not None
    shown = 'output "grants" {\n  value = merge(local.grants, local.builders)\n}\n'
    (tmp_path / "main.tf").write_text(f"{code[0]}\n{shown}")
    (tmp_path / "terraform.tfvars.json").write_text(json.dumps(GOOGLE["iam"]))

    _run(terraform, "apply", "-auto-approve", "-input=false", folder=tmp_path)
    grants = json.loads(_run(terraform, "output", "-json", "grants", folder=tmp_path))

    pool = "principal://iam.googleapis.com/projects/12/locations/global/workloadIdentityPools/acme-ml.svc.id.goog"
    account = f"{pool}/subject/ns/winnow/sa"
    assert sorted((one["member"], one["bucket"], one["role"]) for one in grants.values()) == [
        (f"{account}/winnow-stack", "artifacts", "roles/storage.objectUser"),
        (f"{account}/winnow-workers", "data", "roles/storage.objectViewer"),
        ("user:ana@example.com", "data", "roles/storage.objectUser"),
    ]


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
