"""Audits with programs that stand in for others; `tests/e2e/test_audit.py` runs bandit and pip-audit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.lock import Locked, licenses_page, locked
from winnow.integrations.audit import project
from winnow.integrations.audit.checks import Audit, Check, CheckState
from winnow.integrations.audit.scanners import Signer, check_image, check_signature

CLEAN, FINDINGS, NOT_RUN = CheckState


def program(folder: Path, script: str) -> str:
    """A shell script that stands in for a program."""
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def trivy(folder: Path, report: object) -> str:
    """Writes a report to the file that `--output` names."""
    (folder / "found.json").write_text(json.dumps(report))
    return program(folder, f'while [ "$1" != --output ]; do shift; done; cp {folder}/found.json "$2"')


@pytest.mark.parametrize(
    ("states", "is_strict", "is_passed"),
    [
        ([CLEAN, CLEAN], True, True),
        ([CLEAN, NOT_RUN], False, True),
        ([CLEAN, NOT_RUN], True, False),
        ([CLEAN, FINDINGS], False, False),
    ],
)
def test_only_a_strict_audit_fails_where_a_check_did_not_run(
    states: list[CheckState], is_strict: bool, is_passed: bool
) -> None:
    checks = tuple(Check("one", state, "") for state in states)
    assert Audit(Path(), checks, is_strict).is_passed == is_passed


def test_a_lock_is_read_with_the_licences_of_what_is_installed() -> None:
    text = (
        "click==8.0.0\n    # via flask==1.0\nnot-there[extra]==1.0.post1 ; python_version < '4'\n    --hash=sha256:ab\n"
    )
    found = locked(text)
    assert [(each.name, each.version, each.licenses) for each in found] == [
        ("click", "8.0.0", "BSD-3-Clause"),
        ("not-there", "1.0.post1", ""),
    ]
    assert found[0].component["licenses"] == [{"expression": "BSD-3-Clause"}]
    assert licenses_page([Locked("not-there", "1.0")]).splitlines() == [
        "| licence, as the package words it | packages |",
        "| --- | --- |",
        "| not stated | 1 |",
        "",
        "| package | version | licence | address |",
        "| --- | --- | --- | --- |",
        "| not-there | 1.0 | not stated |  |",
    ]


def test_high_and_critical_vulnerabilities_of_an_image_are_findings(tmp_path: Path) -> None:
    package = {"PkgName": "openssl", "InstalledVersion": "3.0.1"}
    low = {**package, "VulnerabilityID": "CVE-1", "Severity": "LOW"}
    critical = {**package, "VulnerabilityID": "CVE-2", "Severity": "CRITICAL", "FixedVersion": "3.0.2"}
    results = [{"Target": "debian", "Vulnerabilities": [low, critical]}, {"Target": "python"}]
    report = tmp_path / "report.json"
    found = check_image("a:1", report, trivy(tmp_path, {"Results": results}))
    assert (found.state, found.says) == (FINDINGS, "1 of high or critical severity, 1 of less")
    assert (found.findings, found.file) == (("openssl 3.0.1: CVE-2 CRITICAL, mended in 3.0.2",), report)
    assert check_image("a:1", report, trivy(tmp_path, {"Results": [{"Vulnerabilities": [low]}]})).state == CLEAN


@pytest.mark.parametrize("report", [{"Results": []}, {"Results": None}, {}])
def test_an_image_in_which_trivy_knows_no_package_was_not_looked_at(tmp_path: Path, report: object) -> None:
    found = check_image("a:1", tmp_path / "report.json", trivy(tmp_path, report))
    assert (found.state, found.says) == (NOT_RUN, "it finds no packages that it knows in the image")


@pytest.mark.parametrize(
    ("packages", "state"),
    [
        ((*locked("click==8.0.0\n"), Locked("not-there", "1.0")), CLEAN),
        ((Locked("not-there", "1.0"),), NOT_RUN),
        ((), CLEAN),
    ],
)
def test_licences_of_packages_of_which_none_is_installed_were_not_looked_at(
    packages: tuple[Locked, ...], state: CheckState
) -> None:
    assert project._licences(packages, Path()).state == state


def test_a_folder_without_images_is_not_one_with_clean_images() -> None:
    assert [(each.name, each.state) for each in project._sboms((), lambda: [])[1]] == [("images", NOT_RUN)]


def test_a_program_that_ends_without_a_report_did_not_run(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text('{"Results": []}')
    failing = program(tmp_path, "echo 'FATAL: no database' >&2; exit 1")
    name = "image a:1, by trivy"
    assert check_image("a:1", report, failing) == Check(name, NOT_RUN, "it ended with status 1: FATAL: no database")
    gone = check_image("a:1", report, str(tmp_path / "gone"))
    assert (gone.state, gone.says) == (NOT_RUN, f"{tmp_path}/gone: No such file or directory")


def test_an_image_is_signed_by_the_named_signer_or_that_is_a_finding(tmp_path: Path) -> None:
    key = tmp_path / "cosign.pub"
    key.touch()
    cosign = program(tmp_path, f'test "$*" = "verify --key {key} a:1" && exit 0; echo "no signatures" >&2; exit 10')
    name = "signature of a:1, by cosign"
    assert check_signature("a:1", Signer(str(key)), cosign) == Check(name, CLEAN, "signed")
    other = Signer(identity="https://ci.example/release", issuer="https://ci.example")
    unsigned = Check(name, FINDINGS, "it is not signed so", ("it ended with status 10: no signatures",))
    assert check_signature("a:1", other, cosign) == unsigned
    away = program(tmp_path, "echo 'registry: connection refused' >&2; exit 1")
    refused = Check(name, NOT_RUN, "it ended with status 1: registry: connection refused")
    assert check_signature("a:1", other, away) == refused
    assert check_signature("a:1", Signer(), away).state == NOT_RUN


@pytest.mark.parametrize(
    "given",
    [{"key": "none.pub"}, {"identity": "me@example.org"}, {"key": "kms://a", "identity": "a", "issuer": "b"}],
)
def test_a_signer_is_a_key_that_exists_or_an_identity_with_its_issuer(given: dict[str, str]) -> None:
    with pytest.raises(InputError):
        Signer(**given)
