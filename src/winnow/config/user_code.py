"""The files of a person's own code that an experiment runs, and their digests.

A study keeps the digests, so that trials of changed code are not mistaken for trials of the same study. They cover the
files of the model factory, the data function and the training loop, and the modules that these import, directly or
indirectly, from their own folder or from the working directory. Imports are read from the source text; nothing is
imported. They do not cover installed packages, modules named at run time (`importlib.import_module(name)`), and files
that the code reads.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from winnow.config.experiment import Experiment
from winnow.config.functions import names_data_function

_OWN_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class CodeFile:
    """One file. `name` is its path from the working directory, or from its folder's parent where it lies elsewhere."""

    name: str
    path: Path


def code_of(experiment: Experiment, folder: Path) -> dict[str, str]:
    """sha256 of every file of a person's code, by its name.

    Args:
        experiment: names the functions.
        folder: the working directory, from which files and modules are looked for.
    """
    files = code_files(experiment, folder)
    return {file.name: hashlib.sha256(file.path.read_bytes()).hexdigest() for file in files}


def folder_of_code(experiment: Experiment, folder: Path) -> Path | None:
    """The folder of the first file that the experiment names; None where it names none of a person's own."""
    return next((file.path.parent for file in code_files(experiment, folder)), None)


def digest_of_code(code: Mapping[str, str]) -> str:
    """One digest of all files, twelve hexadecimal digits; empty where there are none."""
    return hashlib.sha256(json.dumps(sorted(code.items())).encode()).hexdigest()[:12] if code else ""


def changed_files(kept: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of the files that differ; files that both have come first."""
    changed = [name for name in sorted(kept) if name in found and kept[name] != found[name]]
    return changed + sorted(kept.keys() ^ found.keys())


def code_files(experiment: Experiment, folder: Path) -> list[CodeFile]:
    """The files; those that the experiment names come first."""
    specs = (experiment.model.factory, experiment.data.source, experiment.training.loop)
    found: dict[Path, CodeFile] = {}
    for spec in specs:
        if spec is None or not names_data_function(spec):
            continue
        origin = spec.rpartition(":")[0]
        start, roots = _start(origin, folder)
        if start is not None:
            _collect(start, roots, folder, found)
    return list(found.values())


def _start(origin: str, folder: Path) -> tuple[Path | None, Sequence[Path]]:
    """The file that a function's name names, and the folders from which its imports are looked for."""
    if origin.endswith(".py"):
        path = (folder / Path(origin).expanduser()).resolve()
        return (path if path.is_file() else None), (path.parent, folder)
    for root in (folder, *map(Path, filter(None, sys.path))):
        module = _module(root, origin.split("."))
        if module is not None:
            return module, (root, folder)
    return None, ()


def _collect(path: Path, roots: Sequence[Path], folder: Path, found: dict[Path, CodeFile]) -> None:
    path = path.resolve()
    if path in found or not _is_of_a_person(path):
        return
    found[path] = CodeFile(_name(path, roots[0].resolve(), folder.resolve()), path)
    for module in _imports(path):
        for name in _with_parents(module.names):
            for root in (module.root,) if module.root is not None else roots:
                file = _module(root, name)
                if file is not None:
                    _collect(file, roots, folder, found)
                    break


def _name(path: Path, root: Path, folder: Path) -> str:
    for base in (folder, root.parent):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return path.name


def _is_of_a_person(path: Path) -> bool:
    """Whether a file belongs neither to winnow, nor to Python, nor to an installed package."""
    if path.is_relative_to(_OWN_PACKAGE) or not _INSTALLED.isdisjoint(path.parts):
        return False
    return not path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())


@dataclass(frozen=True)
class _Import:
    """Modules that one statement may import, as parts of their names. `root`: of a relative import, where they lie."""

    names: tuple[tuple[str, ...], ...]
    root: Path | None = None


def _imports(path: Path) -> Iterator[_Import]:
    """What a file imports, at its top or anywhere else."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (_Import((tuple(alias.name.split(".")),)) for alias in node.names if _is_free(alias.name))
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            names = (module, *((*module, alias.name) for alias in node.names))
            if node.level > 0:
                # One dot is the file's own folder, each further one the folder above.
                yield _Import(names, path.parents[node.level - 1])
            elif node.module is not None and _is_free(node.module):
                yield _Import(names)


def _is_free(module: str) -> bool:
    """Whether a person's file can have this name: a standard module is always the standard one."""
    return module.split(".")[0] not in sys.stdlib_module_names


def _with_parents(names: tuple[tuple[str, ...], ...]) -> list[tuple[str, ...]]:
    """The modules with the packages around them, whose `__init__.py` run first."""
    return list(dict.fromkeys(name[:depth] for name in names for depth in range(1, len(name) + 1)))


def _module(root: Path, name: Sequence[str]) -> Path | None:
    """The file of a module below a folder; None where there is none, as for a package without `__init__.py`."""
    path = root.joinpath(*name)
    candidates = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
