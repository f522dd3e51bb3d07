"""Train a model again where that is due: a study, a selection, the gates and a rollout, one after the other.

`due` decides; the steps are those of the verbs. Each of them does nothing where its result exists, so that a retraining
that was killed goes on when this is called again. The registered model's history keeps what was started and how it
ended.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from winnow.bundle.manifest import read_manifest
from winnow.config.errors import WinnowError
from winnow.config.experiment import Experiment
from winnow.config.file_lock import try_locked
from winnow.config.settings import Settings
from winnow.model_query.rules import Rules
from winnow.orchestrators.due import Champion, Decision, Facts, decide, next_study
from winnow.orchestrators.model_steps import Steps, carry_out, check_gates, continues, data_digest, known_studies
from winnow.orchestrators.opened_study import find_study
from winnow.orchestrators.releases import fetch_release
from winnow.platforms.deployer import Say, mute
from winnow.study.claims import Claim, ClaimLostError, claimed
from winnow.study.database import Database
from winnow.tracking.history import AlertRecord, ModelRecord, RejectedRecord, RetrainRecord
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import NoStoreError

Kept = TypeVar("Kept", bound=ModelRecord)
State = Literal["nothing", "waiting", "busy", "planned", "selected", "promoted", "deployed", "refused"]


@dataclass(frozen=True)
class RetrainRequest:
    """What a caller asks for.

    Attributes:
        rules_file: of `rules`, for errors.
        is_forced: train again even if nothing says that it is due; a pause after failures does not count then.
        by: who asks, for the history.
        stop_after: the last step.
    """

    experiment: Experiment
    rules: Rules
    rules_file: Path
    is_forced: bool
    by: str
    stop_after: Literal["select", "promote", "deploy"]


class Retraining(Struct, frozen=True):
    """What `retrain` did, or why it did nothing.

    Attributes:
        model: the name of the registered model.
        state: `nothing` is due; `waiting` after failures; `busy`: another process retrains the model; `planned` by a
            dry run; `selected`, `promoted` or `deployed` as asked for; `refused` by rules, gates or the rollout.
        reason: one sentence: why nothing was done, or how it ended.
        due: why it is due, as clauses.
        against: what was looked at and is no reason, as clauses.
        study: that it trained, or would train.
        version: the number of the version that it registered; empty before.
    """

    model: str
    state: State
    reason: str
    due: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    study: str = ""
    version: str = ""


def retrain(
    request: RetrainRequest,
    settings: Settings,
    registry: Registry,
    steps: Steps,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    say: Say = mute,
) -> Retraining:
    """Train a model again if that is due. Of all processes with the same study database one at a time does.

    Raises:
        InputError: the data cannot be read, or the champion passed gates that the rules lack. Nothing was started.
        WinnowError: a step failed, which is recorded; the next calls wait, and then go on with the same study.
    """
    model = request.experiment.name
    folder = settings.home / "retrain"
    folder.mkdir(parents=True, exist_ok=True)
    with try_locked(folder / f"{model}.lock") as is_held:
        if not is_held:
            return _busy(model, "another process of this machine")
        database, owner = Database(settings.storage_url, create=True), f"{socket.gethostname()}:{settings.home}"
        with claimed(database, f"retrain:{model}", owner) as claim:
            if claim.other is not None:
                return _busy(model, claim.other.partition(":")[0])
            planned = plan(request, settings, registry, now())
            if planned.state != "planned":
                return planned
            return _run(request, planned, settings, registry, steps, claim, now, say)


def plan(request: RetrainRequest, settings: Settings, registry: Registry, at: datetime) -> Retraining:
    """What `retrain` would do, without doing it.

    Raises:
        InputError: as `retrain`.
    """
    experiment = request.experiment
    model = experiment.name
    try:
        champion = _champion(registry, model, settings)
        check_gates(model, request.rules, request.rules_file, registry)
        history = registry.records(model, RetrainRecord), registry.records(model, AlertRecord)
    except NoStoreError:  # the first sweep makes it
        champion, history = None, ([], [])
    facts = Facts(at, champion, data_digest(experiment, settings), *history)
    decision = decide(facts, experiment)
    if request.is_forced:
        decision = Decision((*decision.reasons, f"{request.by} asked for it"), decision.against, decision.study)
    if not decision.reasons:
        nothing = f"nothing is due: {'; '.join(decision.against)}"
        return Retraining(model, "nothing", nothing, against=decision.against)
    if decision.waits_until is not None:
        reason = f"it waits until {decision.waits_until:%Y-%m-%d %H:%M} UTC, because the last attempt failed"
        return Retraining(model, "waiting", reason, decision.reasons, decision.against, decision.study)
    study = decision.study
    if not study or not continues(study, experiment, facts.data_sha256, settings):
        kept = [record.study for _, record in facts.retrainings]
        study = next_study(model, [*known_studies(settings), *kept])
    return Retraining(model, "planned", "; ".join(decision.reasons), decision.reasons, decision.against, study)


def _run(
    request: RetrainRequest,
    planned: Retraining,
    settings: Settings,
    registry: Registry,
    steps: Steps,
    claim: Claim,
    now: Callable[[], datetime],
    say: Say,
) -> Retraining:
    """Carry out a plan, and note its start and its end in the model's history."""
    model, study = planned.model, planned.study
    digest = data_digest(request.experiment, settings)

    def note(state: Literal["started", "failed", "selected", "promoted", "deployed", "refused"], why: str) -> None:
        store = find_study(settings, study)
        trained = digest if store is None else store.header.sweep.data_sha256
        registry.note(model, RetrainRecord(study, state, why, end.version, trained), now())

    end = planned
    say(f"retraining {model} as study {study}: {planned.reason}")
    note("started", planned.reason)
    try:
        done = carry_out(study, settings, steps, request.stop_after, check=claim.check, tell=lambda _, said: say(said))
        assert done.state != "trained", "it stops after the selection at the earliest"
        end = replace(planned, state=done.state, reason=done.reason, version=done.version)
    except ClaimLostError as error:
        raise WinnowError(
            f"retraining of {model}: the study database was away for so long that another process has taken over"
        ) from error
    except Exception as error:
        note("failed", (str(error) or type(error).__name__).splitlines()[0])
        raise
    assert end.state in ("selected", "promoted", "deployed", "refused")
    note(end.state, end.reason)
    return end


def _champion(registry: Registry, model: str, settings: Settings) -> Champion | None:
    version = registry.champion(model)
    if version is None:
        return None
    manifest = read_manifest(fetch_release(registry, version, settings.home, store=settings.tracking_uri).bundle)
    rejected = {record.version for _, record in registry.records(model, RejectedRecord)}
    trained_at = datetime.fromisoformat(manifest.created_at).astimezone(UTC)
    return Champion(version.version, trained_at, manifest.data_sha256, version.version in rejected)


def _busy(model: str, who: str) -> Retraining:
    return Retraining(model, "busy", f"{who} is retraining {model} now")
