"""What Google's provider takes, from the typings of `@cdktf/provider-google`, since the provider itself is large.

    npm pack @cdktf/provider-google && tar xzf cdktf-provider-google-*.tgz
    python -m tests.terraform.google_arguments package

writes google_arguments.json for the resources in RESOURCES. The links in the typings name the provider's version.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ARGUMENTS = Path(__file__).with_name("google_arguments.json")
RESOURCES = (
    "google_artifact_registry_repository",
    "google_artifact_registry_repository_iam_member",
    "google_compute_network",
    "google_compute_router",
    "google_compute_router_nat",
    "google_compute_subnetwork",
    "google_container_cluster",
    "google_container_node_pool",
    "google_project_iam_member",
    "google_project_service",
    "google_service_account",
    "google_storage_bucket",
    "google_storage_bucket_iam_member",
    "data.google_compute_machine_types",
    "data.google_project",
)
_INTERFACE = re.compile(r"^export interface (\w+)[^{\n]*\{\n(.*?)^\}", re.M | re.S)
_CLASS = re.compile(
    r"^export declare class \w+ extends cdktf\.Terraform(?:Resource|DataSource) \{\n(.*?)^\}", re.M | re.S
)
_PROPERTY = re.compile(r"/docs/[\w-]+/\w+#(\w+) [^\n]*\}(?:(?!\*/).)*?\*/\s*readonly \w+(\??): \W*(\w+)", re.S)


def arguments_of(typings: str) -> dict[str, Any]:
    """The arguments of the typings' first interface, by name: `required`, and the arguments of a block, or None."""
    interfaces = {found[1]: found[2] for found in _INTERFACE.finditer(typings)}

    def nested(name: str) -> dict[str, Any]:
        return {
            argument: {"required": optional == "", "block": nested(kind) if kind in interfaces else None}
            for argument, optional, kind in _PROPERTY.findall(interfaces[name])
        }

    return nested(next(iter(interfaces)))


def attributes_of(typings: str) -> list[str]:
    """What can be read of a resource, computed attributes included."""
    found = _CLASS.search(typings)
    names = re.findall(r"^    get (\w+)\(\)", found[1] if found else "", re.M)
    return sorted({re.sub(r"([A-Z])", lambda each: f"_{each[1].lower()}", name) for name in names})


def _main(package: Path) -> None:
    found: dict[str, Any] = {}
    for resource in RESOURCES:
        is_data = resource.startswith("data.")
        folder = "data-google-" * is_data + resource.split("google_", 1)[1].replace("_", "-")
        text = (package / "lib" / folder / "index.d.ts").read_text(encoding="utf-8")
        found[resource] = {"arguments": arguments_of(text), "attributes": attributes_of(text)}
        version = re.search(r"providers/hashicorp/google/([\d.]+)/", text)
        found["version"] = version[1] if version else None
    ARGUMENTS.write_text(json.dumps(found, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
