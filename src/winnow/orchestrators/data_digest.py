"""The digest of an experiment's data as they are now. Local files are read again only where they were touched."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from winnow.config.atomic_write import replace_text
from winnow.config.experiment import Experiment
from winnow.config.settings import Settings
from winnow.config.version import __version__
from winnow.data.sources import load_data
from winnow.orchestrators.data_source import resolve_source
from winnow.orchestrators.preflight import check_data_files


def data_digest(experiment: Experiment, settings: Settings) -> str:
    """The sha256 that a study of the experiment would record for its data.

    Data functions, folders of images, databases and remote files are read each time, for nothing else says whether they
    have changed.

    Raises:
        InputError: the data cannot be read.
    """
    experiment, _ = resolve_source(experiment, settings)
    seen = _seen(experiment)
    file = settings.home / "retrain" / f"{experiment.name}.data.json"
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if seen is not None and kept.get("seen") == seen:
        return str(kept["sha256"])
    digest = load_data(experiment.data).sha256
    # Not touched while it was read; a dry run makes no folder.
    if seen is not None and seen == _seen(experiment) and file.parent.is_dir():
        replace_text(file, json.dumps({"seen": seen, "sha256": digest}))
    return digest


def _seen(experiment: Experiment) -> str | None:
    """What identifies the content of local files, and how they are read; None where files do not say it all."""
    files = check_data_files(experiment)
    data = experiment.data
    if not files or any("://" in each or each.startswith("sqlite:") for each in data.sources):
        return None
    stats = [(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino) for path in files if (stat := path.stat())]
    return hashlib.sha256(json.dumps([__version__, data.model_dump(mode="json"), stats]).encode()).hexdigest()
