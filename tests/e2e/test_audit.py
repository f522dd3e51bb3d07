"""`winnow audit` with bandit and pip-audit, in a folder with a lock of one package, without an engine and a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from tests.tools import installed
from winnow.integrations.audit.checks import CheckState
from winnow.integrations.audit.scanners import check_code

pytestmark = pytest.mark.tools("audit")

ROOT = Path(__file__).parents[2]

WEAK = "import hashlib\n\nDIGEST = hashlib.md5(b'')\n"


def audit(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and the checks by name."""
    nowhere = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        "WINNOW_HOME": str(folder / "home"),
        "DOCKER_HOST": f"unix://{folder}/none.sock",
        "HTTPS_PROXY": nowhere,
        "https_proxy": nowhere,
    }
    command = [sys.executable, "-m", "winnow", "audit", "--json", "--output", "audit", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads((folder / "audit" / "audit.json").read_text())
    return done.returncode, {each["name"]: each for each in found["checks"]}


def check_schema(document: Path, schemas: Path) -> None:
    """Raises where it is no CycloneDX document; the schemas are those of the Python library."""
    found = json.loads(document.read_text())
    texts = {file.name: json.loads(file.read_text()) for file in schemas.glob("*.schema.json")}
    base = found["$schema"].rpartition("/")[0]
    registry: Registry[Any] = Registry().with_resources(
        (f"{base}/{name}", Resource.from_contents(text)) for name, text in texts.items()
    )
    jsonschema.Draft7Validator(texts["bom-1.6.SNAPSHOT.schema.json"], registry=registry).validate(found)


def test_an_audit_says_what_it_found_and_what_it_could_not_look_at(tmp_path: Path) -> None:
    python = installed("audit")
    (tmp_path / "requirements.lock").write_text("click==8.3.1\n")
    (tmp_path / "model.py").write_text(WEAK)
    status, checks = audit(tmp_path)
    assert {name: each["state"] for name, each in checks.items()} == {
        "software of requirements.lock": "clean",
        "licences": "clean",
        "images": "not run",
        "code, by bandit": "findings",
        "known vulnerabilities, by pip-audit": "not run",
    }
    assert status == 1
    assert [each.partition(" Use")[0] for each in checks["code, by bandit"]["findings"]] == ["model.py:3 B324"]
    schemas = next((python.parents[1] / "lib").glob("python3*/site-packages/cyclonedx/schema/_res"))
    check_schema(tmp_path / "audit" / "lock.cdx.json", schemas)

    (tmp_path / "pyproject.toml").write_text('[project]\nname = "rain"\n\n[tool.bandit]\nskips = ["B324"]\n')
    status, checks = audit(tmp_path)
    assert (status, checks["code, by bandit"]["says"]) == (0, "0 of medium or high severity, 0 of low")
    assert audit(tmp_path, "--strict")[0] == 1
    document = json.loads((tmp_path / "audit" / "lock.cdx.json").read_text())
    assert document["metadata"]["component"]["name"] == "rain"


def test_bandit_finds_nothing_of_medium_severity_in_winnow(tmp_path: Path) -> None:
    home = installed("audit").parents[2]  # WINNOW_TOOLS names its folder
    found = check_code(ROOT, home, tmp_path / "bandit.json")
    assert (found.state, found.findings) == (CheckState.CLEAN, ())
