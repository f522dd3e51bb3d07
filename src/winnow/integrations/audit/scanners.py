"""Programs of others that look for faults, as processes: bandit, pip-audit, trivy and cosign.

Each check says so where its program is not there, or where it ends without a report: no message of a program is read
for what it means.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.tools import tool_python
from winnow.integrations.audit.checks import Check, CheckState

TOOL = "audit"
"""The environment of bandit and pip-audit."""
LONGEST_S = 900
NOT_SCANNED = "./.*,./tests,./build,./dist"
"""What bandit passes over: tests assert and make up passwords."""
SEVERE = frozenset({"HIGH", "CRITICAL"})
"""The severities of an image's vulnerabilities that fail an audit."""
NO_SIGNATURE = frozenset({10, 12})
"""cosign's exit codes for an image without a signature, and without one by this signer.

https://github.com/sigstore/cosign/blob/main/doc/cosign_exit_codes.md
"""
_SHOWN, _LINE = 20, 200


@dataclass(frozen=True)
class Signer:
    """By whom images have to be signed: a key, or an identity that an issuer vouches for.

    Raises:
        InputError: an identity without its issuer, or the other way round, or the key is no file.
    """

    key: str = ""
    identity: str = ""
    issuer: str = ""

    def __post_init__(self) -> None:
        if bool(self.identity) != bool(self.issuer) or (self.key and self.identity):
            raise InputError(
                "audit",
                expected=f"{next_flag('key')}, or both {next_flag('identity')} and {next_flag('issuer')}",
                found="some of them",
                remedy="Name one way in which images are signed.",
            )
        if self.key and "://" not in self.key and not Path(self.key).is_file():
            raise InputError(
                next_flag("key"),
                expected="the file of a public key, or the address of one at a KMS",
                found=f"'{self.key}'",
                remedy="Name one that is there.",
            )

    @property
    def arguments(self) -> tuple[str, ...]:
        """The flags of `cosign verify`; empty where no signer is named."""
        if self.key:
            return ("--key", self.key)
        named = ("--certificate-identity", self.identity, "--certificate-oidc-issuer", self.issuer)
        return named if self.identity else ()


def check_code(folder: Path, home: Path, report: Path) -> Check:
    """bandit on a project's Python files. Findings below medium severity are counted, and fail nothing."""
    name = "code, by bandit"
    if isinstance(python := _tool(name, home), Check):
        return python
    pyproject = folder / "pyproject.toml"
    has_own = pyproject.is_file() and "bandit" in tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {})
    command = [str(python), "-m", "bandit", "--recursive", ".", "--exclude", NOT_SCANNED, "--quiet", "--exit-zero"]
    command += ["--format", "json", "--output", str(report), *(["--configfile", "pyproject.toml"] if has_own else [])]

    def read(found: Any) -> tuple[str, list[str]]:
        results = found["results"]
        severe = [each for each in results if each["issue_severity"] != "LOW"]
        unread = [f"{each['filename']}: {each['reason']}" for each in found["errors"]]
        lines = [
            f"{each['filename'].removeprefix('./')}:{each['line_number']} {each['test_id']} {each['issue_text']}"
            for each in severe
        ]
        return f"{len(severe)} of medium or high severity, {len(results) - len(severe)} of low", [*lines, *unread]

    return _reported(name, command, folder, report, read)


def check_advisories(lock: Path, home: Path, report: Path) -> Check:
    """pip-audit on a lock: known vulnerabilities of its packages.

    An index without advisories (a mirror) knows none of the packages: pip-audit calls that clean, this does not.
    """
    name = "known vulnerabilities, by pip-audit"
    if isinstance(python := _tool(name, home), Check):
        return python
    command = [str(python), "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json", "--output", str(report)]

    def read(found: Any) -> tuple[str | None, list[str]]:
        packages = found["dependencies"]
        faults = [(each, one) for each in packages for one in each.get("vulns", ())]
        lines = [
            f"{each['name']} {each['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'no version'}"
            for each, one in faults
        ]
        unknown = [each["name"] for each in packages if "skip_reason" in each]
        if len(unknown) == len(packages):
            return None, [f"no advisories are to be had: the index knows none of {len(packages)} packages"]
        end = f"; not known there: {', '.join(unknown)}" if unknown else ""
        return f"{len(faults)} in {len(packages)} packages{end}", lines

    return _reported(name, command, lock.parent, report, read)


def check_image(image: str, report: Path, program: str | None = None) -> Check:
    """trivy on an image. `program`: where it is; by default on the PATH."""
    name = f"image {image}, by trivy"
    found = program or shutil.which("trivy")
    if found is None:
        return Check(name, CheckState.NOT_RUN, "trivy is not on the PATH")
    command = [found, "image", "--quiet", "--scanners", "vuln", "--format", "json", "--output", str(report), image]

    def read(found: Any) -> tuple[str | None, list[str]]:
        if not found.get("Results"):  # trivy calls that clean
            return None, ["it finds no packages that it knows in the image"]
        faults = [one for each in found.get("Results") or () for one in each.get("Vulnerabilities") or ()]
        severe = [
            f"{one['PkgName']} {one['InstalledVersion']}: {one['VulnerabilityID']} {one['Severity']}, mended in "
            f"{one.get('FixedVersion') or 'no version'}"
            for one in faults
            if one["Severity"] in SEVERE
        ]
        return f"{len(severe)} of high or critical severity, {len(faults) - len(severe)} of less", severe

    return _reported(name, command, report.parent, report, read)


def check_signature(image: str, signer: Signer, program: str | None = None) -> Check:
    """cosign on an image in a registry. `program`: where it is; by default on the PATH."""
    name = f"signature of {image}, by cosign"
    found = program or shutil.which("cosign")
    if found is None:
        return Check(name, CheckState.NOT_RUN, "cosign is not on the PATH")
    if not signer.arguments:
        ways = f"{next_flag('key')}, or {next_flag('identity')} and {next_flag('issuer')}"
        return Check(name, CheckState.NOT_RUN, f"no signer is named ({ways})")
    done = _run([found, "verify", *signer.arguments, image], Path())
    if isinstance(done, str):
        return Check(name, CheckState.NOT_RUN, done)
    if done.returncode in NO_SIGNATURE:
        return Check(name, CheckState.FINDINGS, "it is not signed so", (_last_line(done),))
    is_signed = done.returncode == 0
    return Check(name, CheckState.CLEAN, "signed") if is_signed else Check(name, CheckState.NOT_RUN, _last_line(done))


def _tool(name: str, home: Path) -> Path | Check:
    try:
        return tool_python(TOOL, home, name)
    except InputError:
        return Check(name, CheckState.NOT_RUN, f"not installed: `{next_command('install-tool', tool=TOOL)}`")


def _reported(
    name: str, command: Sequence[str], folder: Path, report: Path, read: Callable[[Any], tuple[str | None, list[str]]]
) -> Check:
    """Run a program that writes a report in JSON.

    Args:
        folder: the working directory.
        read: the report's sum, and its findings; no sum, and the reason, where nothing was checked.
    """
    report.unlink(missing_ok=True)
    done = _run(command, folder)
    if isinstance(done, str):
        return Check(name, CheckState.NOT_RUN, done)
    try:
        found: Mapping[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Check(name, CheckState.NOT_RUN, _last_line(done))
    says, lines = read(found)
    if says is None:
        return Check(name, CheckState.NOT_RUN, lines[0])
    shown = lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"]
    return Check(name, CheckState.FINDINGS if lines else CheckState.CLEAN, says, tuple(shown), report)


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str] | str:
    """The ended process, or why there is none."""
    try:
        return subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {LONGEST_S // 60} minutes"
    except OSError as error:
        return f"{command[0]}: {error.strerror}"


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"]
    return f"it ended with status {done.returncode}: {lines[-1].strip()[:_LINE]}"
