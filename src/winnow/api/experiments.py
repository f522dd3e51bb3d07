"""An experiment as it is given to `train`: a file, a mapping, an `Experiment`, or functions and values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from winnow.config.atomic_write import replace_text
from winnow.config.disk import home_of
from winnow.config.errors import InputError
from winnow.config.session_code import SessionCode, with_names

if TYPE_CHECKING:
    from winnow.config.loader import Given

Part: TypeAlias = Callable[..., Any] | str | Mapping[str, Any] | None
"""A part of an experiment: a function, its name, or the section of the file."""


@contextmanager
def as_given(
    config: Given | None,
    *,
    data: Part,
    model: Part,
    space: Mapping[str, Any] | None,
    metric: Part,
    study: str | None,
    sections: Mapping[str, Any],
) -> Iterator[Given]:
    """Yield the experiment that the arguments of `train` describe, with names in place of functions.

    Functions of a script or a notebook are copied into a file in WINNOW_HOME, which is removed again if the experiment
    is refused.
    """
    search = _given(space=space, metric=_section(metric, "name"))
    parts = _given(data=_section(data, "source"), model=_section(model, "factory"), search=search or None)
    parts = merged(sections, parts)
    if config is not None and not isinstance(config, Mapping):
        if not parts:
            yield config
            return
        raise InputError(
            "train",
            expected="an experiment, or its parts (data, model, space, metric, …)",
            found=f"an experiment and {', '.join(parts)}",
            remedy="Write the parts into the experiment, or give it as a mapping.",
        )
    whole = merged(config or {}, parts)
    name = study or whole.get("name")
    code = SessionCode(home_of() / "code" / f"{(name or 'session').replace('-', '_')}.py")
    content = with_names(whole, code)
    if name is not None:
        content = {"name": name, **content}
    else:
        digest = hashlib.sha256((json.dumps(content, sort_keys=True, default=str) + code.text).encode()).hexdigest()
        code.file = code.file.with_name(f"session_{digest[:8]}.py")
        content = {"name": f"session-{digest[:8]}", **with_names(whole, code)}
    with _written(code):
        yield content


def merged(config: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with the parts in place of its own; those of a section that both have are put together."""
    both = {
        name: {**config[name], **part}
        for name, part in parts.items()
        if isinstance(part, Mapping) and isinstance(config.get(name), Mapping)
    }
    return {**config, **parts, **both}


def _given(**parts: Any) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if part is not None}


def _section(part: Part, key: str) -> Any:
    return part if part is None or isinstance(part, Mapping) else {key: part}


@contextmanager
def _written(code: SessionCode) -> Iterator[None]:
    """Keep the copied functions' file, unless the experiment is refused: then what was there before."""
    if not code.text:
        yield
        return
    before = code.file.read_text(encoding="utf-8") if code.file.is_file() else None
    replace_text(code.file, code.text)
    try:
        yield
    except InputError:
        if before is None:
            code.file.unlink(missing_ok=True)
        else:
            replace_text(code.file, before)
        raise
