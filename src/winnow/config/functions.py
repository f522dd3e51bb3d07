"""Import the functions that an experiment file names.

User code is named `package.module:function` or `path/file.py:function`. Files and packages are looked up from the
working directory. A file imports its neighbours as under `python file.py`, except those with the name of a standard
module. The caller checks arguments and results.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from winnow.config.errors import InputError
from winnow.config.hidden_packages import hidden_package
from winnow.config.nearest import did_you_mean

BUNDLED = "sklearn:"
"""Prefix of a `data.source` that names a data set of scikit-learn."""
SQLITE = "sqlite:"
"""Prefix of a `data.source` that names a file with an SQLite database."""
IMAGES = "images:"
"""Prefix of a `data.source` that names a folder of images."""
PREPARED, DVC, FEAST = "prepared", "dvc:", "feast:"
"""Sources that are resolved to files before a sweep: a `data.source` that is the first, or begins with the others."""
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
FORMS = "`package.module:function` or `path/file.py:function`"


def load_function(spec: str, place: str) -> Callable[..., Any]:
    """Import a function or class that an experiment file names.

    The module is registered in `sys.modules`, so that it runs only once and its objects can be pickled. Its folder (for
    a file) or the working directory (for a module) is added to `sys.path`.

    Args:
        spec: `package.module:function` or `path/file.py:function`.

    Raises:
        InputError: it has another form, the file, module or name does not exist, the import fails, the name is not
            callable, or a file next to it has the name of a package that winnow needs.
    """
    origin, _, name = spec.rpartition(":")
    if not origin or not name.isidentifier():
        raise InputError(
            place,
            expected=FORMS,
            found=repr(spec),
            remedy="Write the file or module, a colon, and the function's name.",
        )
    module = _module_of_file(origin, place) if origin.endswith(".py") else _module_of_package(origin, place)
    if not hasattr(module, name):
        raise _no_such_name(module, name, origin, place)
    function = getattr(module, name)
    if not callable(function):
        raise InputError(
            place,
            expected=f"a function '{name}' in {origin}",
            found=f"a value of type {type(function).__name__}",
            remedy="Name a function or a class.",
        )
    return function  # type: ignore[no-any-return]  # callable() gives mypy no signature


def names_function(spec: str) -> bool:
    """Whether a text has the form of a function's name. The function need not exist."""
    origin, _, name = spec.rpartition(":")
    is_module = all(part.isidentifier() for part in origin.split("."))
    return name.isidentifier() and bool(origin) and (origin.endswith(".py") or is_module)


def names_data_function(source: str) -> bool:
    """Whether a `data.source` names a function, and not a bundled set, a file or a URL."""
    return not source.startswith((BUNDLED, SQLITE, IMAGES, DVC, FEAST)) and names_function(source)


def line_in(file: str | None, error: Exception) -> str:
    """The line of a user's file that raised an error, as " (net.py, line 12)"; "" if another file raised it.

    Args:
        file: its path as in `__file__` or `co_filename`; None for the first file in the traceback that belongs neither
            to winnow nor to Python nor to an installed package.
    """
    foreign = ("<frozen", str(Path(__file__).parents[1]), *_INSTALLED)
    line = 0
    trace = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if file is None and not name.startswith(foreign):
            file = name
        if name == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" ({Path(file).name}, line {line})" if file is not None and line else ""


def _module_of_package(origin: str, place: str) -> ModuleType:
    _join_path(Path.cwd(), place)
    try:
        return importlib.import_module(origin)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not f"{origin}.".startswith(f"{missing}."):
            raise _failed_inside(origin, error, place) from error
        raise InputError(
            place,
            expected=f"a module '{origin}' that can be imported from {Path.cwd()}",
            found=f"no module named '{missing}'",
            remedy="Correct the name, install the package, or name the file itself: path/file.py:function.",
        ) from error
    except Exception as error:
        raise _failed_inside(origin, error, place) from error


def _module_of_file(origin: str, place: str) -> ModuleType:
    path = Path(origin).expanduser().resolve()
    if not path.is_file():
        raise InputError(
            place,
            expected=f"a Python file at {path}",
            found="a folder" if path.is_dir() else "no such file",
            remedy=_nearest_file(path),
        )
    name = _module_name(path)
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    _join_path(path.parent, place)
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None and module_spec.loader is not None  # a .py file always has a loader
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed_inside(origin, error, place) from error
    return module


def _module_name(path: Path) -> str:
    """The name under which the file's neighbours import it, unless another module already has that name.

    A spawned process inherits `sys.path` and finds the module by this name too.
    """
    name = path.stem.replace(".", "_")
    taken = sys.modules.get(name)
    origin = getattr(taken, "__file__", None) if taken is not None else _origin_of(name)
    is_free = taken is None and origin is None
    if is_free or (origin is not None and Path(origin).resolve() == path):
        return name
    return f"{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _origin_of(name: str) -> str | None:
    """The file that `import name` would load now, or None."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return found.origin if found is not None else None


def _join_path(folder: Path, place: str) -> None:
    """Put a folder before installed packages and after the standard library.

    Torch imports parts of the standard library late: a user's `statistics.py` must not replace the standard one.
    """
    if str(folder) in sys.path:
        return
    hiding = hidden_package(folder)
    if hiding is not None:
        raise InputError(
            place,
            expected=f"no file in {folder} with the name of a package that winnow needs",
            found=f"{hiding.name}, which would be imported instead of the installed {hiding.stem}",
            remedy="Rename it.",
        )
    standard = (sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED"))
    places = [index for index, entry in enumerate(sys.path) if entry in standard]
    sys.path.insert(max(places, default=-1) + 1, str(folder))


def _failed_inside(origin: str, error: Exception, place: str) -> InputError:
    return InputError(
        place,
        expected=f"'{origin}' to be imported without an error",
        found=f"{type(error).__name__}: {error}{line_in(None, error)}",
        remedy="Correct it, or install what it needs.",
    )


def _no_such_name(module: ModuleType, name: str, origin: str, place: str) -> InputError:
    own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    nearest = difflib.get_close_matches(name, own, n=3)
    if nearest:
        remedy = f"Did you mean {' or '.join(repr(one) for one in nearest)}?"
    else:
        remedy = f"It holds {', '.join(sorted(own)[:10])}." if own else "It holds no functions."
    return InputError(place, expected=f"a function '{name}' in {origin}", found="no such name", remedy=remedy)


def _nearest_file(path: Path) -> str:
    names = [file.name for file in path.parent.glob("*.py")] if path.parent.is_dir() else []
    return did_you_mean(path.name, names) or f"Paths count from the working directory, {Path.cwd()}."
