"""What the functions of the API share: which study they mean, and how they report nothing."""

from __future__ import annotations

from pathlib import Path

from winnow.config.names import check_study_name


def study_name(config: Path | str | None, study: str | None) -> str:
    """The study that is named, else that of the experiment file.

    Raises:
        InputError: the file is missing or wrong, or no study can have that name.
        TypeError: neither is given.
    """
    if study is not None:
        return check_study_name(study, "study")
    if config is None:
        raise TypeError("either config or study is needed")
    from winnow.config.loader import load_experiment

    return load_experiment(Path(config)).name


def silent(_message: object) -> None:
    """The default of `say` and `show`: ignore the message."""
