"""The files of user code that an experiment runs, and their digests.

A study keeps the digests, so that trials of changed code are not mixed with trials of the old code. They cover the
files of the model factory, the data function, the training loop, the loss and the metrics, and the modules that these
import, directly or indirectly, from their own folder or the working directory. Imports are read from the source text;
nothing is imported. Not covered: installed packages, modules named at run time (`importlib.import_module(name)`), and
files that the code reads.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from winnow.config.experiment import Experiment
from winnow.config.functions import names_data_function

_OWN_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = frozenset({"site-packages", "dist-packages"})

_ModuleName = tuple[str, ...]
"""The parts of a module's name."""


def code_of(experiment: Experiment, folder: Path) -> dict[str, str]:
    """The sha256 of every file of user code, by its name.

    A name is the path from the working directory, or from the parent of the file's folder if it is outside.

    Args:
        folder: the working directory, where files and modules are looked up.
    """
    return _digests(_code_files(experiment, folder))


def code_of_function(spec: str, folder: Path) -> dict[str, str]:
    """The same for one function, as `path/file.py:function` or `package.module:function`."""
    return _digests(_files_of([spec], folder))


def folder_of_code(experiment: Experiment, folder: Path) -> Path | None:
    """The folder of the first file of user code that the experiment names; None without one."""
    return next((path.parent for path in _code_files(experiment, folder)), None)


def digest_of_code(code: Mapping[str, str]) -> str:
    """One digest of all files, twelve hexadecimal digits; empty without files."""
    return hashlib.sha256(json.dumps(sorted(code.items())).encode()).hexdigest()[:12] if code else ""


def changed_files(kept: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of the files that differ; changed files first, then added and removed ones."""
    changed = [name for name in sorted(kept) if name in found and kept[name] != found[name]]
    return changed + sorted(kept.keys() ^ found.keys())


def _code_files(experiment: Experiment, folder: Path) -> dict[Path, str]:
    """Names of the files by their paths, in the order in which they are reached from the experiment."""
    training = experiment.training
    augments = (augment.type for augment in experiment.data.augment)
    metrics = (metric.name for metric in (experiment.search.metric, *experiment.search.metrics))
    functions = (experiment.model.factory, experiment.data.function, training.loop, training.loss.type)
    return _files_of([spec for spec in (*functions, *metrics, *augments) if spec is not None], folder)


def _digests(files: Mapping[Path, str]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for path, name in files.items()}


def _files_of(specs: Sequence[str], folder: Path) -> dict[Path, str]:
    found: dict[Path, str] = {}
    for spec in specs:
        if names_data_function(spec):
            start, roots = _start(spec.rpartition(":")[0], folder)
            if start is not None:
                _collect(start, roots, folder, found)
    return found


def _start(origin: str, folder: Path) -> tuple[Path | None, Sequence[Path]]:
    """The file or module of a function, and the folders where its imports are looked up."""
    if origin.endswith(".py"):
        path = (folder / Path(origin).expanduser()).resolve()
        return (path if path.is_file() else None), (path.parent, folder)
    for root in (folder, *map(Path, filter(None, sys.path))):
        module = _module(root, origin.split("."))
        if module is not None:
            return module, (root, folder)
    return None, ()


def _collect(path: Path, roots: Sequence[Path], folder: Path, found: dict[Path, str]) -> None:
    path = path.resolve()
    if path in found or not _is_user_code(path):
        return
    found[path] = _name(path, roots[0].resolve(), folder.resolve())
    for name, root in _imports(path):
        # The packages around a module run first.
        for depth in range(1, len(name) + 1):
            places = roots if root is None else (root,)
            file = next(filter(None, (_module(place, name[:depth]) for place in places)), None)
            if file is not None:
                _collect(file, roots, folder, found)


def _name(path: Path, root: Path, folder: Path) -> str:
    base = next((base for base in (folder, root.parent) if path.is_relative_to(base)), path.parent)
    return path.relative_to(base).as_posix()


def _is_user_code(path: Path) -> bool:
    """Whether a file belongs neither to winnow, nor to Python, nor to an installed package."""
    if path.is_relative_to(_OWN_PACKAGE) or not _INSTALLED.isdisjoint(path.parts):
        return False
    return not path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())


def _imports(path: Path) -> Iterator[tuple[_ModuleName, Path | None]]:
    """The modules that a file may import anywhere in its text; for a relative import with the folder that it is in."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        names: list[_ModuleName] = []
        root = None
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            names = [module, *((*module, alias.name) for alias in node.names)]
            # One dot is the file's own folder, each further one the folder above.
            root = path.parents[node.level - 1] if node.level else None
        # User code cannot replace a standard module.
        yield from ((name, root) for name in names if root or name[0] not in sys.stdlib_module_names)


def _module(root: Path, name: Sequence[str]) -> Path | None:
    """The file of a module below a folder; None without one, as for a package without `__init__.py`."""
    path = root.joinpath(*name)
    candidates = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
