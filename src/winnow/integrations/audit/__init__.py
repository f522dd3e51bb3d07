"""What a project and its images are made of, and what is known to be wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from winnow.integrations.audit.checks import Audit, Check, CheckState

__all__ = ["Audit", "Check", "CheckState", "audit"]


def audit(
    *,
    images: Sequence[str] = (),
    output: Path | str | None = None,
    key: str = "",
    identity: str = "",
    issuer: str = "",
    strict: bool = False,
) -> Audit:
    """List the software and the licences of this folder's project and its images, and look for known faults.

    The reports are `lock.cdx.json` and `IMAGE.cdx.json` (CycloneDX), `licenses.md`, `bandit.json`, `pip-audit.json`,
    `IMAGE.trivy.json`, and `audit.json` with all checks. A program that is not there is a check that did not run.

    Args:
        images: on the engine; by default those that were built for this folder.
        output: the folder for the reports; by default `audit` in WINNOW_HOME.
        key: a public key, or its KMS address, with which cosign verifies the images' signatures.
        identity, issuer: who has to have signed them without a key, and the OIDC issuer that vouches for it.
        strict: a check that did not run is a failure.

    Returns:
        What was found.

    Raises:
        InputError: an image that was named is not on the engine, a key is no file, or the folder cannot be written.
            Nothing has been written then.
    """
    from winnow.integrations.audit.project import audited
    from winnow.integrations.audit.scanners import Signer

    return audited(Path.cwd(), images, output, Signer(key, identity, issuer), is_strict=strict)
