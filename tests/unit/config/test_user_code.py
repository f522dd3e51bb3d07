"""Which files are a person's own code, and what a change of one looks like."""

from __future__ import annotations

import hashlib
from pathlib import Path

from winnow.config.experiment import Experiment
from winnow.config.user_code import changed_files, code_of, digest_of_code, folder_of_code


def experiment(factory: str, source: str = "sklearn:iris", loop: str | None = None) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "a-study",
            "data": {"source": source},
            "model": {"factory": factory},
            "search": {"space": {"lr": {"float": [0.1, 1.0]}}, "metric": {"name": "f1"}},
            "training": {"loop": loop} if loop else {},
        }
    )


def write(folder: Path, **files: str) -> dict[str, str]:
    """Write `a__b="…"` as a/b.py; return the digests by name."""
    digests = {}
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        digests[path.relative_to(folder).as_posix()] = hashlib.sha256(text.encode()).hexdigest()
    return digests


def test_the_files_of_factory_data_and_loop_are_covered(tmp_path: Path) -> None:
    digests = write(tmp_path, net="a = 1", rows="b = 2", loops__own="c = 3", unused="d = 4")
    del digests["unused.py"]
    assert code_of(experiment("net.py:build", "rows:load", "loops/own.py:train"), tmp_path) == digests


def test_modules_that_they_import_from_their_folder_are_covered_and_no_others(tmp_path: Path) -> None:
    digests = write(
        tmp_path,
        models__net="import torch\nfrom blocks import conv\nfrom parts.heads import *",
        models__blocks="def f():\n    import parts.layers",
        models__parts__layers="from . import norm",
        models__parts__norm="",
        models__parts__heads="from ..json import x",
        models__random="never imported: a standard module has this name",
    )
    del digests["models/random.py"]
    assert code_of(experiment("models/net.py:build"), tmp_path) == digests


def test_winnow_and_installed_packages_are_no_code_of_a_persons_own(tmp_path: Path) -> None:
    assert code_of(experiment("winnow.models:mlp", "sklearn.datasets:load_iris"), tmp_path) == {}
    assert folder_of_code(experiment("winnow.models:mlp"), tmp_path) is None
    assert digest_of_code({}) == ""


def test_a_file_elsewhere_is_named_from_the_folder_that_holds_it(tmp_path: Path) -> None:
    (digest,) = write(tmp_path, lab__net="x = 1").values()
    away = tmp_path / "away"
    away.mkdir()
    assert code_of(experiment(f"{tmp_path}/lab/net.py:build"), away) == {"lab/net.py": digest}
    assert folder_of_code(experiment(f"{tmp_path}/lab/net.py:build"), away) == tmp_path / "lab"


def test_changed_added_and_missing_files_are_named() -> None:
    kept = {"a.py": "1", "b.py": "2", "c.py": "3"}
    assert changed_files(kept, {"a.py": "1", "b.py": "9", "d.py": "4"}) == ["b.py", "c.py", "d.py"]
    assert changed_files(kept, dict(kept)) == []
