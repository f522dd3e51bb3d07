"""README's own project, exactly as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?:python|yaml)\n(# (\S+)\n.*?)^```$", re.DOTALL | re.MULTILINE)


def write_files(folder: Path) -> list[str]:
    """Write the files that README shows, those whose first line is their name."""
    blocks = [(match[2], match[1]) for match in BLOCK.finditer(README)]
    for name, text in blocks:
        (folder / name).write_text(text, encoding="utf-8")
    return [name for name, _ in blocks]


def test_the_pair_of_functions_is_short(tmp_path: Path) -> None:
    assert write_files(tmp_path) == ["wine.py", "wine.yaml"]
    code = [line for line in (tmp_path / "wine.py").read_text().splitlines() if line and not line.startswith("#")]
    assert len(code) <= 15


@pytest.mark.slow
def test_the_example_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    write_files(tmp_path)
    train = [sys.executable, "-m", "winnow", "train", "--config", "wine.yaml", "--trials", "2", "--workers", "1"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WINNOW_", "MLFLOW_"))}
    done = subprocess.run(
        train, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "study wine: 2 trials done (2 complete, 0 pruned, 0 failed)" in done.stdout
    assert list((tmp_path / ".winnow").glob("**/model.onnx"))
