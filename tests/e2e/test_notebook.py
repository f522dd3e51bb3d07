"""A sweep in a real Jupyter kernel: functions of the notebook, progress in one output, results as tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from winnow.orchestrators.progress import PRE

IMPORTS = "from sklearn.datasets import load_iris\nfrom torch import nn\nimport winnow\nSCALE = 2.0"
FUNCTIONS = """
def load():
    iris = load_iris()
    return {"X": iris.data * SCALE, "y": iris.target}

def build(input_shape, outputs, width):
    return nn.Sequential(nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, outputs))
"""
SWEEP = """
sweep = winnow.train(
    data=load, model=build, space={"width": {"choice": [4, 8]}}, metric="f1", trials=3,
    training={"epochs": 2}, cross_validation={"folds": 2}, execution={"workers": 1}, refit={"top": 1},
)
"""
LAMBDA = """
winnow.train(data=load, model=lambda input_shape, outputs: None, space={}, metric="f1")
"""


@pytest.mark.slow
def test_a_notebook_sweeps_its_own_functions(tmp_path: Path) -> None:
    cells = [IMPORTS, FUNCTIONS, SWEEP, "sweep", "list(sweep.trials_dataframe())", LAMBDA]
    outputs = run(cells, tmp_path)
    assert outputs[:2] == [[], []]
    # Everything that the sweep printed is one output, which was replaced in place.
    (progress,) = outputs[2]
    text = progress["data"]["text/plain"]
    assert "3/3 trials" in text.splitlines()[-1]
    assert "\x1b" not in text and "\r" not in text
    assert progress["data"]["text/html"] == f"{PRE}{text}</pre>"
    (result,) = outputs[3]
    assert result["data"]["text/plain"].startswith("<SweepResult of session-")
    assert result["data"]["text/html"].count("<tr>") == 4
    (columns,) = outputs[4]
    assert "'params_width'" in columns["data"]["text/plain"]
    (refused,) = outputs[5]
    assert refused["traceback"] == [f"InputError: {refused['evalue']}"]
    assert refused["evalue"] == (
        "model.factory: expected a function that other processes can import, found a lambda. "
        "Define it with `def` or `class` at the top level; fixed arguments are options."
    )


def run(cells: list[str], folder: Path) -> list[list[dict[str, Any]]]:
    """The outputs of a notebook's cells, run by this interpreter's kernel in a folder."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "p"}
    kernels = folder / "jupyter" / "kernels" / "own"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text(json.dumps({**spec, "language": "python"}))
    client = NotebookClient(notebook, timeout=120, kernel_name="own", allow_errors=True)
    client.km = client.create_kernel_manager()
    client.km.kernel_spec_manager.kernel_dirs = [str(kernels.parent)]
    client.execute(cwd=str(folder))
    return [list(cell.outputs) for cell in notebook.cells]
