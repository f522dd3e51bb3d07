"""Promote a version to a stage: judge it by the stage's gates, and move the stage's alias where it passes them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.config.settings import Settings
from winnow.finding import Finding, Result
from winnow.model_query.gate_verdicts import judge
from winnow.model_query.gates import STAGE_ALIASES, CrossValidationGate, LatencyGate, Stage
from winnow.model_query.rules import Rules
from winnow.orchestrators import evidence
from winnow.orchestrators.releases import CHAMPION, choose_version
from winnow.orchestrators.select_model import CANDIDATE
from winnow.routing import Versioned, version_label
from winnow.tracking.history import GateRecord
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import ModelVersion


@dataclass(frozen=True)
class Promotion(Versioned):
    """What the gates said of a version.

    Attributes:
        name: the model's.
        stage: staging or production.
        alias: that the stage moves.
        version: the number of the version that was judged.
        champion: the number of the version that it was compared with; None where there is no champion yet.
        source: the rows that it was judged on.
        findings: one per gate, in their order.
        is_promoted: every gate passed, so that the version has the alias.
        is_new: the alias was moved to it.
        reason: one sentence, as it is kept in the alias's history.
        semantic, champion_semantic: the semantic versions of both; empty where they are not known.
    """

    name: str
    stage: Stage
    alias: str
    version: str
    champion: str | None
    source: str
    findings: tuple[Finding, ...]
    is_promoted: bool
    is_new: bool
    reason: str
    semantic: str = ""
    champion_semantic: str = ""

    @property
    def champion_label(self) -> str:
        """The same of the champion."""
        return version_label(self.champion or "", self.champion_semantic)


def promote(
    name: str,
    stage: Stage,
    rules: Rules,
    registry: Registry,
    settings: Settings,
    *,
    place: str,
    version: str | None = None,
    source: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Promotion:
    """Judge a version by the gates of a stage, and move the stage's alias to it where it passes them all.

    A version that has the alias is judged only if it never passed: selection gives aliases, too.

    Args:
        place: of the rules, for errors: the file.
        version: its number; by default that of `@candidate`.
        source: rows to judge on; by default the holdout of the candidate's study.

    Raises:
        InputError: the stage has no gates, there is no such version, a gate names what does not exist, or the rows do
            not fit. No alias has moved then.
    """
    gates = () if rules.gates is None else rules.gates.of(stage)
    if not gates:
        raise InputError(
            f"{place}: gates.{stage}",
            expected="the gates that a version has to pass",
            found="none",
            remedy=f"List them in a rules file, and name it with {next_flag('rules')}.",
        )
    store, alias = settings.tracking_uri, STAGE_ALIASES[stage]
    chosen = choose_version(registry, name, store=store, alias=CANDIDATE, number=version)
    champion = registry.champion(name, CHAMPION)
    number = None if champion is None else champion.version
    semantics = chosen.semantic, "" if champion is None else champion.semantic
    if registry.champion(name, alias) == chosen and _has_passed(registry, chosen, stage):
        held = f"version {chosen.label} is @{alias} already"
        return Promotion(name, stage, alias, chosen.version, number, "", (), True, False, held, *semantics)
    candidate = evidence.load_version(registry, chosen, settings)
    other = None if champion is None or champion == chosen else evidence.load_version(registry, champion, settings)
    rows = evidence.rows_for(source, candidate, settings)
    needs_latency = any(isinstance(each, LatencyGate) for each in gates)
    found = evidence.gather(rows, candidate, other, is_chosen=source is not None, latency=needs_latency)
    if any(isinstance(each, CrossValidationGate) for each in gates):
        found = evidence.with_folds(found, candidate, other, registry, settings)
    findings = judge(gates, found, f"{place}: gates.{stage}")
    is_promoted = all(each.result is Result.PASS for each in findings)
    against = "there is no champion yet" if champion is None else "it is the champion"
    if other is not None:
        against = f"compared with version {other.registered.label}"
    reason = _reason(stage, chosen.label, against, findings)
    judged = (found.source, findings, is_promoted)
    promotion = Promotion(name, stage, alias, chosen.version, number, *judged, False, reason, *semantics)
    at = now()
    kept = {"at": at.astimezone(UTC).isoformat(timespec="seconds"), **msgspec.to_builtins(promotion)}
    registry.keep_verdict(chosen, stage, msgspec.json.encode(kept).decode())  # for MLflow and for `/model`
    registry.note(name, GateRecord(chosen.version, stage, is_promoted, reason), at)
    if not is_promoted:
        return promotion
    return replace(promotion, is_new=registry.crown(chosen, reason, alias))


def _has_passed(registry: Registry, version: ModelVersion, stage: Stage) -> bool:
    kept = registry.verdicts(version).get(stage)
    return kept is not None and bool(msgspec.json.decode(kept).get("is_promoted"))


def _reason(stage: Stage, version: str, against: str, findings: tuple[Finding, ...]) -> str:
    lacking = [each for each in findings if each.result is not Result.PASS]
    if not lacking:
        count = "the gate" if len(findings) == 1 else f"all {len(findings)} gates"
        return f"version {version} passed {count} of {stage}; {against}"
    said = "; ".join(f"{each.condition}: {each.result}" for each in lacking)
    return f"version {version} did not pass {len(lacking)} of {len(findings)} gates of {stage}: {said}"
