"""The steps from a study to a served model, which `retrain` and `pipeline` share: sweep, selection, gates and rollout.

Each step does nothing where its result exists, so that what was interrupted goes on when it is called again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError, WinnowError
from winnow.config.experiment import Experiment
from winnow.config.next_command import next_command, next_flag
from winnow.config.settings import Settings
from winnow.config.user_code import changed_files, code_of
from winnow.config.version import __version__
from winnow.data.sources import load_data
from winnow.model_query.gates import STAGE_ALIASES, Stage
from winnow.model_query.rules import Rules
from winnow.orchestrators.data_source import resolve_source
from winnow.orchestrators.deploy import RolloutAbortedError
from winnow.orchestrators.model_history import RejectedVersionError
from winnow.orchestrators.opened_study import find_study
from winnow.orchestrators.preflight import check_data_files
from winnow.orchestrators.promote import Promotion
from winnow.orchestrators.select_model import Outcome
from winnow.study.database import Database, NoStudiesError
from winnow.study.store import study_names
from winnow.tracking.registry import Registry

StopAfter = Literal["train", "select", "promote", "deploy"]
Served = Literal["served", "unchanged", "begun", "paused"]
"""How serving ended; `begun`: another process goes on with the rollout."""
Tell = Callable[[str, str], None]
"""Is called with each step and what it did, in one line."""


class Steps(Protocol):
    """The verbs that the steps consist of. Each may be called again."""

    def sweep(self, study: str, *, is_retry: bool) -> int:
        """Run a study to its end; return how many trials are complete."""

    def select(self, study: str) -> Outcome:
        """Choose the study's best run by the rules."""

    def promote(self, stage: Stage, version: str) -> Promotion:
        """Judge a version by the gates of a stage."""

    def deploy(self) -> Served:
        """Serve the champion. Raises RolloutAbortedError and RejectedVersionError."""


@dataclass(frozen=True)
class Ending:
    """How far the steps came.

    Attributes:
        reason: one sentence.
        version: the number of the version; empty before the selection.
    """

    state: Literal["trained", "selected", "promoted", "deployed", "refused"]
    reason: str
    version: str = ""


def carry_out(
    study: str, settings: Settings, steps: Steps, stop_after: StopAfter, *, check: Callable[[], None], tell: Tell
) -> Ending:
    """Carry out the steps. No stage with gates is passed over.

    `check`: is called before each step but the first; raises where this process may not go on. Raises WinnowError if a
    step failed.
    """
    _sweep(study, settings, steps, tell)
    if stop_after == "train":
        return Ending("trained", f"study {study} is trained")
    check()
    outcome = steps.select(study)
    if outcome.selection.winner is None or outcome.version is None:
        return Ending("refused", f"no run of {study} passes the rules")
    version, label = outcome.version.version, outcome.version.label
    is_held = " and ".join(f"@{each}" for each in outcome.aliases)
    news = f"version {label} is {is_held}: {outcome.reason}"
    tell("select", news if outcome.is_new else f"nothing has changed: {news}")
    if stop_after == "select":
        return Ending("selected", f"version {label} was selected: {outcome.reason}", version)
    for stage in outcome.stages:
        check()
        promotion = steps.promote(stage, version)
        tell("promote", promotion.reason)
        if not promotion.is_promoted:
            return Ending("refused", promotion.reason, version)
    if outcome.stages and "production" not in outcome.stages:
        return Ending("promoted", f"version {label} is @staging; there are no gates that move @champion", version)
    if stop_after == "promote":
        return Ending("promoted", f"version {label} is @champion", version)
    check()
    return _deploy(outcome, version, steps)


def _sweep(study: str, settings: Settings, steps: Steps, tell: Tell) -> None:
    existing = find_study(settings, study)
    counts = {} if existing is None else existing.counts()
    before = counts.get("complete", 0)
    completed = steps.sweep(study, is_retry=bool(counts.get("failed")) and not before)
    if not completed:
        raise WinnowError(f"study {study}: no trial completed")
    is_same = before == completed
    tell("train", f"{'nothing has changed: ' if is_same else ''}study {study} has {completed} complete trials")


def _deploy(outcome: Outcome, version: str, steps: Steps) -> Ending:
    assert outcome.version is not None
    label = outcome.version.label
    try:
        served = steps.deploy()
    except (RolloutAbortedError, RejectedVersionError) as error:
        return Ending("refused", str(error), version)
    match served:
        case "paused":
            resume = next_command("rollout-resume", name=outcome.version.name)
            return Ending("promoted", f"the rollout of version {label} is paused until `{resume}`", version)
        case "begun":
            return Ending("deployed", f"version {label} is being rolled out", version)
        case "unchanged":
            return Ending("deployed", f"nothing has changed: version {label} is served", version)
    return Ending("deployed", f"version {label} is served", version)


def check_gates(name: str, rules: Rules, rules_file: Path, registry: Registry) -> None:
    """Refuse rules without the gates that the champion passed: a forgotten file must not replace it."""
    version = registry.champion(name)
    if version is None:
        return
    judged = registry.verdicts(version)
    lacking = [stage for stage in STAGE_ALIASES if stage in judged and not (rules.gates and rules.gates.of(stage))]
    if lacking:
        raise InputError(
            f"{rules_file}: gates.{lacking[0]}",
            expected=f"the gates of {lacking[0]}, by which version {version.version} became champion",
            found="none",
            remedy=f"Name the rules file with them: `retrain.rules` in the experiment file, or {next_flag('rules')}.",
        )


def continues(study: str, experiment: Experiment, digest: str, settings: Settings) -> bool:
    """Whether an existing study may go on: with the same definition, data and code. A new one may begin."""
    store = find_study(settings, study)
    if store is None:
        return True
    header = store.header
    experiment, _ = resolve_source(experiment, settings)
    is_same = header.experiment.definition() == experiment.definition() and header.sweep.data_sha256 == digest
    kept = header.sweep.code
    return is_same and (kept is None or not changed_files(kept, code_of(experiment, Path.cwd())))


def known_studies(settings: Settings) -> Sequence[str]:
    """The names of all studies."""
    try:
        return study_names(Database(settings.storage_url))
    except NoStudiesError:
        return []


def data_digest(experiment: Experiment, settings: Settings) -> str:
    """The sha256 that a study of the experiment would record for its data.

    Data functions, folders of images, databases and remote files are read each time, for nothing else says whether they
    have changed. Raises InputError if the data cannot be read.
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
