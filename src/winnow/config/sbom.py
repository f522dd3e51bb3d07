"""CycloneDX documents: which software something is made of (a bill of materials, SBOM).

As a program, it prints the document of the machine that it runs on: the packages of all its Python environments, and
those of Debian. Dockerfile.prod runs it in an image that has nothing else of winnow, so it stands alone (standard
library only). Equal software gives equal text: nothing in it depends on the time.

Source of the format: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

IMAGE = "winnow-image"
"""What a document of an image calls it: its name and tag are no part of what it holds."""
_PASSED_OVER = frozenset({"dev", "proc", "sys", "tmp"})
_LICENSE_LENGTH = 80

Component = Mapping[str, Any]
"""A component as CycloneDX writes it."""


def document(kind: Literal["application", "container"], name: str, components: Iterable[Component]) -> str:
    """The document of something that is made of these components, each of them once."""
    # The same package of two environments may say different things of itself.
    once = {each["purl"]: each for each in sorted(components, key=lambda each: json.dumps(each, sort_keys=True))}
    listed = [once[purl] for purl in sorted(once)]
    content = json.dumps([kind, name, listed], sort_keys=True)
    found = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": {"type": kind, "bom-ref": name, "name": name}},
        "components": listed,
    }
    return json.dumps(found, indent=1) + "\n"


def python_package(name: str, version: str, about: metadata.PackageMetadata | None = None) -> Component:
    """A package of the Python index. `about`: where it is installed, what it says about itself."""
    component = _component(name, version, f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}")
    if about is None or not (found := licenses_of(about)):
        return component
    if "License-Expression" in about:
        return {**component, "licenses": [{"expression": found[0]}]}
    return {**component, "licenses": [{"license": {"name": each}} for each in found]}


def licenses_of(about: metadata.PackageMetadata) -> list[str]:
    """What a Python package says about its licence: an SPDX expression, else its classifiers, else its own words."""
    if "License-Expression" in about:
        return [about["License-Expression"]]
    classified = [each.rpartition(" :: ")[2] for each in about.get_all("Classifier") or () if each[:9] == "License :"]
    words = "".join(about.get_all("License") or ()).strip().partition("\n")[0][:_LICENSE_LENGTH]
    # "OSI Approved" says no more than that there is one.
    known = [each for each in classified if each != "OSI Approved"]
    return known or ([words] if words else [])


def python_packages(root: Path) -> Iterator[Component]:
    """The packages of all Python environments below a folder."""
    for place, folders, files in os.walk(root):
        if Path(place) == root:
            folders[:] = [name for name in folders if name not in _PASSED_OVER]
        for name in (*folders, *files):
            found = Path(place, name)
            # An interrupted removal leaves a folder without a description. An old package's description is a file.
            if name.endswith((".dist-info", ".egg-info")) and any(
                each.is_file() for each in (found, found / "METADATA", found / "PKG-INFO")
            ):
                about = metadata.PathDistribution(found).metadata
                yield python_package(about["Name"], about["Version"], about)


def debian_packages(root: Path) -> Iterator[Component]:
    """The packages of a Debian, or of a distribution made from one, below a folder; none on others."""
    release = root / "etc/os-release"
    facts = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release.read_text("utf-8"), re.M)) if release.is_file() else {}
    system = facts.get("ID", "debian")
    about = f"distro={quote(system + '-' + facts.get('VERSION_ID', ''), safe='')}"
    database = root / "var/lib/dpkg"
    for file in (database / "status", *sorted((database / "status.d").glob("*"))):
        text = file.read_text("utf-8") if file.is_file() and file.suffix != ".md5sums" else ""
        for paragraph in text.split("\n\n"):
            fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", paragraph, re.M))
            is_installed = fields.get("Status", " installed").endswith(" installed")
            if is_installed and "Package" in fields and "Version" in fields:
                purl = f"pkg:deb/{system}/{fields['Package']}"
                end = f"?arch={fields.get('Architecture', '')}&{about}"
                yield _component(fields["Package"], fields["Version"], purl, end)


def _component(name: str, version: str, purl: str, end: str = "") -> Component:
    whole = f"{purl}@{quote(version, safe=':~')}{end}"
    return {"type": "library", "bom-ref": whole, "name": name, "version": version, "purl": whole}


def main(root: Path = Path("/")) -> int:
    """Print the document of this machine, with the interpreter that runs this."""
    python = _component("python", platform.python_version(), "pkg:generic/python")
    sys.stdout.write(document("container", IMAGE, (python, *python_packages(root), *debian_packages(root))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
