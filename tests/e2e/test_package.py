"""The distributions that are published: the wheel is built from the sdist, installed, and run without a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = "1.2.3"
DATA = ("*.py", "*.yaml", "*.html", "*.css", "*.js", "py.typed")


@pytest.mark.slow
def test_an_installed_wheel_runs_with_all_its_files(tmp_path: Path) -> None:
    checkout, built, installed = tmp_path / "checkout", tmp_path / "built", tmp_path / "installed"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, checkout / name)
    shutil.copytree(ROOT / "src" / "winnow", checkout / "src" / "winnow", ignore=shutil.ignore_patterns("__pycache__"))
    env = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_WINNOW": VERSION}
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built)], checkout, env)
    sdist, wheel = sorted(built.iterdir(), key=lambda path: path.suffix)
    assert (sdist.name, wheel.name) == (f"winnow-{VERSION}.tar.gz", f"winnow-{VERSION}-py3-none-any.whl")

    venv.create(installed, with_pip=False, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(installed), "platbase": str(installed)})
    run(
        [sys.executable, "-m", "pip", "--python", str(installed), "install", "--quiet", "--no-deps", str(wheel)],
        tmp_path,
    )
    # The dependencies are this environment's. Python does not read path files there, so its editable install stays out.
    (Path(paths["purelib"]) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    winnow = str(installed / "bin" / "winnow")
    assert run([winnow, "--version"], tmp_path) == f"winnow, version {VERSION}\n"
    assert files(Path(paths["purelib"]) / "winnow") == files(ROOT / "src" / "winnow")
    program = "import winnow; print(winnow.__file__, winnow.__version__, callable(winnow.train))"
    place = Path(paths["purelib"]) / "winnow" / "__init__.py"
    assert run([str(installed / "bin" / "python"), "-c", program], tmp_path) == f"{place} {VERSION} True\n"
    assert "experiment" in run([winnow, "train", "--help"], tmp_path)


def files(package: Path) -> set[str]:
    return {path.relative_to(package).as_posix() for pattern in DATA for path in package.rglob(pattern)}


def run(command: list[str], folder: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
