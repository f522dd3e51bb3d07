"""The checks of one project: its lock, its code and its images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from winnow.api import image_sbom, project_images
from winnow.config.errors import InputError, UnavailableError
from winnow.config.lock import LOCK, Locked, licenses_page, locked
from winnow.config.next_command import next_flag
from winnow.config.own_files import own_folder
from winnow.config.sbom import document
from winnow.config.settings import home_folder
from winnow.integrations.audit.checks import Audit, Check, CheckState
from winnow.integrations.audit.scanners import Signer, check_advisories, check_code, check_image, check_signature
from winnow.integrations.rendered import write_rendered

COPYLEFT = re.compile(r"GPL|General Public License|EUPL|SSPL")
"""Licences that ask something of programs that are passed on with the package."""


def audited(
    folder: Path, images: Sequence[str], output: Path | str | None, signer: Signer, *, is_strict: bool
) -> Audit:
    """See `winnow.integrations.audit`."""
    home = home_folder(os.environ)
    place = (home / "audit" if output is None else Path(output)).absolute()
    lock = own_folder(folder, LOCK) / LOCK
    held, missing = _sboms(images)
    files: dict[str, str] = {f"{_file_name(image)}.cdx.json": text for image, text in held.items()}
    checks = [_listed(f"software of image {name}", place / f"{_file_name(name)}.cdx.json", held[name]) for name in held]
    if lock.is_file():
        packages = locked(lock.read_text(encoding="utf-8"))
        files["lock.cdx.json"] = document("application", _project(lock.parent), (each.component for each in packages))
        files["licenses.md"] = f"# Licences of {LOCK}\n\n{licenses_page(packages)}\n"
        software = _listed(f"software of {LOCK}", place / "lock.cdx.json", files["lock.cdx.json"])
        checks = [software, _licences(packages, place / "licenses.md"), *checks]
    else:
        checks = [Check("software and licences", CheckState.NOT_RUN, f"there is no {LOCK}"), *checks]
    write_rendered(files, place, is_forced=True)
    checks += [*missing, check_code(folder, home, place / "bandit.json")]
    if lock.is_file():
        checks.append(check_advisories(lock, home, place / "pip-audit.json"))
    for image in held:
        checks.append(check_image(image, place / f"{_file_name(image)}.trivy.json"))
        checks.append(check_signature(image, signer))
    found = Audit(place, tuple(checks), is_strict)
    write_rendered({"audit.json": f"{as_json(found)}\n"}, place, is_forced=True)
    return found


def as_json(audit: Audit) -> str:
    """An audit for programs."""
    checks = [
        {**dataclasses.asdict(each), "state": each.state.value, "file": None if each.file is None else each.file.name}
        for each in audit.checks
    ]
    return json.dumps({"is_passed": audit.is_passed, "checks": checks}, indent=2)


def _sboms(
    images: Sequence[str], of_project: Callable[[], Sequence[str]] = project_images
) -> tuple[Mapping[str, str], list[Check]]:
    """What the images hold, by their names, and what could not be looked at."""
    if images:
        return {image: image_sbom(image) for image in images}, []
    try:
        found = of_project()
    except UnavailableError as error:
        return {}, [Check("images", CheckState.NOT_RUN, str(error))]
    held: dict[str, str] = {}
    nothing = f"none was built for this folder; {next_flag('image')} names others"
    missing = [] if found else [Check("images", CheckState.NOT_RUN, nothing)]
    for image in found:
        try:
            held[image] = image_sbom(image)
        except InputError as error:
            missing.append(Check(f"software of image {image}", CheckState.NOT_RUN, str(error)))
    return held, missing


def _listed(name: str, file: Path, text: str) -> Check:
    count, digest = len(json.loads(text)["components"]), hashlib.sha256(text.encode()).hexdigest()
    return Check(name, CheckState.CLEAN, f"{count} packages, sha256 {digest}", file=file)


def _licences(packages: Sequence[Locked], file: Path) -> Check:
    is_any_here = any(each.about is not None for each in packages)
    state = CheckState.CLEAN if is_any_here or not packages else CheckState.NOT_RUN
    return Check("licences", state, "; ".join(_of_licences(packages)), file=file)


def _of_licences(packages: Sequence[Locked]) -> Iterator[str]:
    yield f"{len(packages)} packages"
    if copyleft := [f"{each.name} ({each.licenses})" for each in packages if COPYLEFT.search(each.licenses)]:
        yield f"copyleft: {', '.join(copyleft)}"
    if silent := [each.name for each in packages if each.about is not None and not each.licenses]:
        yield f"states none: {', '.join(silent)}"
    if absent := [each.name for each in packages if each.about is None]:
        yield f"not installed here: {', '.join(absent)}"


def _project(folder: Path) -> str:
    """The name of the project whose lock it is: that of its pyproject.toml, else its folder's."""
    file = folder / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}) if file.is_file() else {}
    return str(project.get("name", folder.name))


def _file_name(image: str) -> str:
    return re.sub(r"[^\w.-]+", "-", image)
