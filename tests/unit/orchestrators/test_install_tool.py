import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.tools import READY
from winnow.orchestrators.install_tool import install_tool

pytestmark = pytest.mark.slow


def wheel(folder: Path, version: str) -> str:
    """A package without dependencies, whose module `tiny` has its version."""
    path = folder / f"tiny-{version}-py3-none-any.whl"
    about = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny.py", f"version = '{version}'\n")
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    return str(path)


def installed_version(python: Path) -> str:
    return subprocess.check_output([python, "-c", "import tiny; print(tiny.version)"], text=True).strip()


def test_an_environment_is_made_once_and_anew_where_requirements_differ_or_it_is_broken(tmp_path):
    folder, said = tmp_path / "tools" / "tiny", []
    first, second = [wheel(tmp_path, "1.0")], [wheel(tmp_path, "2.0")]
    with ThreadPoolExecutor() as pool:
        python, same = pool.map(lambda _: install_tool(folder, first, said.append), range(2))
    assert python == same and installed_version(python) == "1.0"
    assert sorted(said) == [
        f"installing tiny at {folder} (a minute or so, once)",
        "tiny is installed",
        f"tiny is installed at {folder}",
        "waiting for another process that installs tiny",
    ]
    assert installed_version(install_tool(folder, second, said.append)) == "2.0"
    python.unlink()
    python.symlink_to("/removed/python3")
    assert installed_version(install_tool(folder, second, said.append)) == "2.0"


def test_a_failing_pip_is_one_error_and_leaves_nothing_that_counts_as_installed(tmp_path):
    folder = tmp_path / "tools" / "tiny"
    with pytest.raises(InputError) as caught:
        install_tool(folder, [str(tmp_path / "missing-1.0-py3-none-any.whl")], lambda line: None)
    assert str(caught.value).startswith("install-tool: tiny: expected `") and "found 'ERROR: " in str(caught.value)
    assert not (folder / READY).exists()
