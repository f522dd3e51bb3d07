from __future__ import annotations

import json
from pathlib import Path

from winnow.config.sbom import debian_packages, document, python_package, python_packages


def distribution(folder: Path, name: str, version: str, *headers: str) -> None:
    about = folder / f"{name}-{version}.dist-info" / "METADATA"
    about.parent.mkdir(parents=True)
    lines = ("Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *headers, "", "What it is for.")
    about.write_text("\n".join(lines))


def test_the_packages_of_all_environments_are_found_with_their_licences(tmp_path: Path) -> None:
    distribution(tmp_path / "opt/venv/lib", "Typing_Things", "4.1", "License-Expression: PSF-2.0")
    distribution(tmp_path / "opt/airflow/lib", "torch", "2.13.0+cpu", "License: BSD-3-Clause\n of many\n lines")
    distribution(
        tmp_path / "usr/lib",
        "both",
        "1.0",
        "Classifier: License :: OSI Approved",
        "Classifier: License :: OSI Approved :: MIT License",
        "Classifier: Programming Language :: Python",
    )
    distribution(tmp_path / "usr/lib", "silent", "0.1", "Classifier: License :: OSI Approved")
    distribution(tmp_path / "proc/1/root", "elsewhere", "1.0")
    (tmp_path / "usr/lib/left-1.0.dist-info").mkdir()
    found = sorted(python_packages(tmp_path), key=lambda each: each["purl"])
    assert [(each["purl"], each.get("licenses")) for each in found] == [
        ("pkg:pypi/both@1.0", [{"license": {"name": "MIT License"}}]),
        ("pkg:pypi/silent@0.1", None),
        ("pkg:pypi/torch@2.13.0%2Bcpu", [{"license": {"name": "BSD-3-Clause"}}]),
        ("pkg:pypi/typing-things@4.1", [{"expression": "PSF-2.0"}]),
    ]


def test_debians_packages_are_those_that_are_installed(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('NAME="Debian"\nID=debian\nVERSION_ID="12"\n')
    (tmp_path / "var/lib/dpkg/status.d").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\n"
        "Description: GNU C Library\n Status: of a child\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1:2.0\n\n"
    )
    (tmp_path / "var/lib/dpkg/status.d/tzdata").write_text("Package: tzdata\nVersion: 1:2025b\nArchitecture: all\n")
    assert [each["purl"] for each in debian_packages(tmp_path)] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
        "pkg:deb/debian/tzdata@1:2025b?arch=all&distro=debian-12",
    ]
    assert list(debian_packages(tmp_path / "elsewhere")) == []


def test_equal_software_is_the_same_document_and_other_software_another() -> None:
    click, numpy = python_package("click", "8.3.1"), python_package("numpy", "2.3.5")
    one, same = document("container", "image", [click, numpy]), document("container", "image", [numpy, click, numpy])
    other = json.loads(document("container", "image", [click]))
    assert one == same
    assert json.loads(one)["serialNumber"] != other.pop("serialNumber")
    purl = "pkg:pypi/click@8.3.1"
    assert other == {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": "image", "name": "image"}},
        "components": [{"type": "library", "bom-ref": purl, "name": "click", "version": "8.3.1", "purl": purl}],
    }
