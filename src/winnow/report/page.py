"""The HTML page of a report, section by section.

All text from outside is escaped with `html.escape`, or is in the packed JSON, which report.js inserts as text.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape as _e
from typing import Any

from winnow.report.charts import (
    Column,
    best_first,
    chart_data,
    columns_of,
    history_frame,
    notes_of,
    outside,
    score_range,
)
from winnow.report.facts import STATES, Facts, TrialFacts, facts_of
from winnow.report.frame import header, mark, page, part, plural, tiles, when
from winnow.report.importances import FEWEST_TRIALS, importances_of
from winnow.report.learning import MOST_FOLDS, MOST_TRIALS
from winnow.report.timeline import FEW_BARS, Job, jobs_of
from winnow.study.certainty import Certainty, Lead, certainty_of
from winnow.study.formatting import duration, score, setting
from winnow.study.view import Champion, StudyView
from winnow.tracking.records import TrialState, shown_lineage

_SECRET = "…"
_ZOOM = "Drag to enlarge, double-click to go back."
_FEW_ROWS = 200
"""Number of trials that the table shows initially."""


def render_report(view: StudyView) -> str:
    """One self-contained HTML page about a study, finished or not."""
    facts = facts_of(view)
    columns, jobs = columns_of(view, facts), jobs_of(facts)
    sections = [
        _winner(view, facts),
        _importances(importances_of(view, facts.complete), facts),
        _certainty(view),
        _history(view, facts),
        _parallel(view, facts),
        _heat_map(view, facts),
        _learning(facts),
        _timeline(view, facts, jobs),
        _trials(view, facts, columns),
        _meaning(view),
        _environment(view),
    ]
    body = f'{_header(view)}<main>{_tiles(view, facts)}<div class="grid">{"".join(sections)}</div></main>'
    data = _packed(chart_data(view, facts, columns, jobs))
    return page(f"{view.sweep.study}: report", body, data=data, script=part("report.js"))


def _header(view: StudyView) -> str:
    sweep = view.sweep
    data = f"{_e(sweep.data_name)}, {sweep.data_rows:,} rows, sha256 <code>{_e(sweep.data_sha256[:12])}</code>"
    return header(
        sweep.study,
        f"{_e(sweep.task)} on {data} · {_e(sweep.metric)}, {_e(sweep.goal)}d over {sweep.folds} folds "
        f"· seed {sweep.seed} · as of {_when(view.generated_at_ms)}",
    )


def _tiles(view: StudyView, facts: Facts) -> str:
    best = facts.winner
    total = len(facts.trials)
    asked = f" of {facts.asked}" if facts.asked is not None and facts.asked != total else ""
    counts = "".join(mark(state, f"{facts.counts[state]} {state}") for state in STATES if facts.counts[state])
    ended = f"ended because {_e(view.ended_by)}" if view.ended_by is not None else ""
    pace = "–" if facts.trials_per_min is None else f"{facts.trials_per_min:.3g}"
    pauses, workers = len(facts.sittings) - 1, len(facts.workers)
    paused = f", {pauses} pause{plural(pauses)} left out" if pauses > 0 else ""
    lost = f", {len(view.incidents)} lost attempt{plural(len(view.incidents))}" if view.incidents else ""
    shown = [
        (f"Best {_e(view.sweep.metric)}", score(best.mean if best else None), _best_note(best)),
        ("Trials", f"{total}{asked}", f'<span class="states">{counts}</span>{ended}'),
        ("Folds trained", f"{facts.folds_trained:,}", f"by {workers} worker{plural(workers)}{lost}"),
        ("Wall time", duration(facts.wall_s), f"since {_when(view.sweep.started_at_ms)}{paused}"),
        ("Trials per minute", pace, "ended trials by wall time, start-up included"),
    ]
    return tiles(shown)


def _best_note(best: TrialFacts | None) -> str:
    if best is None:
        return "no trial is complete yet"
    between = f"± {score(best.std)} between folds, " if best.std is not None else ""
    return f"{between}trial {best.record.number}"


def _winner(view: StudyView, facts: Facts) -> str:
    best = facts.winner
    if best is None:
        told = "All trials failed or were pruned: see the reasons in the table." if facts.trials else ""
        running = facts.counts["running"] + facts.counts["waiting"]
        return _section(
            "winner", "Winner", _empty("No trial is complete yet." if running or not facts.trials else told)
        )
    metric = view.sweep.metric
    between = f" ± {score(best.std)}" if best.std is not None else ""
    folds = " &nbsp;".join(score(best.scores[fold]) for fold in sorted(best.scores)[:20])
    more = " …" if len(best.scores) > 20 else ""
    holdout = ", ".join(f"{_e(name)} {score(value)}" for name, value in best.record.holdout.items())
    others = {name: value for name, value in _means(best).items() if name != metric}
    rows = [
        ("on each fold", folds + more),
        ("on the holdout", holdout or "not refitted yet" if _has_holdout(view) else "none was kept"),
        *_calibration(best.record.calibration),
        *((f"mean {_e(name)}", score(value)) for name, value in others.items()),
        ("trained for", f"{duration(best.train_s)} in {len(best.scores)} folds"),
        ("model", _model(best, view.champion)),
        ("run", f"<code>{_e(best.record.run_id)}</code>" if best.record.run_id else "–"),
    ]
    params = [(_e(name), f"<code>{_e(setting(value))}</code>") for name, value in best.record.params.items()]
    body = (
        f'<p class="big">{score(best.mean)}<small>{between} {_e(metric)}, mean over {len(best.scores)} folds</small>'
        f"</p><h3>Parameters</h3>{_facts(params) if params else _empty('none')}<h3>Results</h3>{_facts(rows)}"
    )
    return _section("winner", f"Winner: trial {best.record.number}", body, "winner")


def _certainty(view: StudyView) -> str:
    """How far the winner can be told from the others; nothing where too few trials are complete."""
    found, metric = certainty_of(view), _e(view.sweep.metric)
    if found is None:
        return ""
    bars = _bars({f"trial {number}": share for number, share in found.shares.items()})
    near = ", ".join(map(str, found.within_one_error[:20])) + (" …" if len(found.within_one_error) > 20 else "")
    rows = [
        (f"{metric} less its luck", f"{score(found.expected)}: the best of many trials looks better than it is"),
        *(
            (f"lead over {name}", f"{lead.estimate:+.3g}, 95 % interval {lead.low:+.3g} to {lead.high:+.3g}")
            for name, lead in _leads(found)
        ),
        ("within one standard error", f"{len(found.within_one_error)} of {found.trials} trials: {near}"),
        ("noise", f"{found.noise:.0%} of the spread between the trials"),
    ]
    alarms = "".join(f'<p class="alarm">{_e(each)}</p>' for each in found.alarms)
    body = (
        f"<p>{_e(found.verdict)}</p>{alarms}<h3>Probability of being the best</h3>"
        f'<dl class="bars">{bars}</dl>{_facts(rows)}'
    )
    return _section("certainty", "How sure the winner is", body, "wide")


def _leads(found: Certainty) -> Iterator[tuple[str, Lead]]:
    if found.runner_up is not None:
        yield f"trial {found.runner_up.trial}, the next", found.runner_up
    if found.champion is not None:
        yield f"trial {found.champion.trial}, the champion's", found.champion


def _calibration(found: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """The threshold and the temperature of the refitted model."""
    meanings = {
        "threshold": "the positive class is predicted from this probability on, also on the holdout",
        "temperature": "divides the logits",
    }
    for name, meaning in meanings.items():
        value = found.get(f"calibration.{name}")
        if value is not None:
            yield name, f"{score(value)}: {meaning}"


def _model(best: TrialFacts, champion: Champion | None) -> str:
    if champion is None:
        return "none is registered as champion"
    since = f" since {_when(champion.since_ms)}" if champion.since_ms is not None else ""
    named = f"{_e(champion.name)} version {_e(champion.label)}"
    if champion.trial == best.record.number:
        return f"{named}, @{_e(champion.alias)}{since}"
    origin = f", from trial {champion.trial}" if champion.trial is not None else ""
    return f"@{_e(champion.alias)} is {named}{origin}{since}"


def _history(view: StudyView, facts: Facts) -> str:
    if all(trial.record.state == "waiting" for trial in facts.trials):
        return _section("history-section", "Optimization history", _empty("No trial has started yet."), "wide")
    notes = ["Higher is better." if view.sweep.goal == "maximize" else "Lower is better."]
    if facts.counts["pruned"]:
        notes.append("Pruned trials are drawn at an estimate of their mean over all folds.")
    if facts.counts["failed"]:
        notes.append("Failed trials are drawn on the lower edge.")
    if count := outside(facts, history_frame(view, facts)):
        notes.append(f"{count} trial{plural(count)} far on the worse side: double-click to see all.")
    keys: list[tuple[str, str]] = [(state, state) for state in STATES if facts.counts[state] and state != "waiting"]
    if facts.winner is not None:
        keys += [("best", "best so far"), ("winner", f"winner: trial {facts.winner.record.number}")]
    body = f"{_note(' '.join([*notes, _ZOOM]))}{_legend(keys)}{_plot('history', 'Optimization history')}"
    return _section("history-section", "Optimization history", body, "wide")


def _importances(shares: Mapping[str, float], facts: Facts) -> str:
    done = len(facts.complete)
    if not shares:
        empty = f"Needs {FEWEST_TRIALS} complete trials and two parameters that vary; {done} complete so far."
        return _section("importances-section", "Parameter importances", _empty(empty))
    note = (
        "How much each parameter separates the best tenth of the trials from all trials (PED-ANOVA), as shares of the "
        f"total. From {done} complete trials{': only a hint' if done < 50 else ''}."
    )
    body = f'{_note(note)}<dl id="importances" class="bars">{_bars(shares)}</dl>'
    return _section("importances-section", "Parameter importances", body)


def _bars(shares: Mapping[str, float]) -> str:
    longest = max(shares.values()) or 1.0
    return "".join(
        f'<dt>{_e(name)}</dt><dd><span style="width:{80 * share / longest:.1f}%"></span>{share:.0%}</dd>'
        for name, share in shares.items()
    )


def _parallel(view: StudyView, facts: Facts) -> str:
    if not facts.complete or not view.space:
        return _section("parallel-section", "Parallel coordinates", _empty("No trial is complete yet."), "wide")
    note = "One line per trial. Drag along an axis to select a range; point at a line to read it. Better is up."
    body = (
        f"{_note(note)}{_lines_legend(facts)}{_plot('parallel', 'Parallel coordinates of all trials')}"
        '<p id="parallel-readout" class="readout note" aria-live="polite"></p>'
    )
    return _section("parallel-section", "Parallel coordinates", body, "wide")


def _heat_map(view: StudyView, facts: Facts) -> str:
    if not facts.folds_trained:
        return _section("heat-map-section", "Trials × folds", _empty("No fold is trained yet."), "wide")
    buttons = (
        '<span role="group" aria-label="Order of the trials">'
        '<button type="button" data-order="number" aria-pressed="true">by number</button> '
        '<button type="button" data-order="mean" aria-pressed="false">best first</button></span>'
    )
    states = "".join(mark(state, state) for state in STATES if facts.counts[state])
    low, high = score_range(view, facts) or (None, None)
    worst, best = (low, high) if view.sweep.goal == "maximize" else (high, low)
    ramp = f'<span>{score(worst)}<span class="ramp"></span>{score(best)}</span>'
    note = f"{_e(view.sweep.metric)} of every trial on every fold; brighter is better. Blank: not trained. {_ZOOM}"
    body = f'<p class="legend muted">{states}{ramp}</p>{_plot("heat-map", "Heat map of trials and folds")}'
    return _section("heat-map-section", "Trials × folds", f"{_note(note)}{body}", "wide", buttons)


def _learning(facts: Facts) -> str:
    title = "Learning curves"
    names = sorted(
        {name for trial in facts.trials for curves in trial.record.curves.values() for name in curves},
        key=lambda name: (not name.startswith("val_"), name),
    )
    if not names:
        return _section("learning-section", title, _empty("No epoch was recorded (training.curves)."), "wide")
    buttons = "".join(
        f'<button type="button" data-curve="{_e(name)}" aria-pressed="{str(place == 0).lower()}">{_e(name)}</button> '
        for place, name in enumerate(names)
    )
    shown = f"The {MOST_TRIALS} best trials" if len(facts.trials) > MOST_TRIALS else "All trials"
    folds = max(fold for trial in facts.trials for fold in trial.record.curves) + 1
    more = f" The first {MOST_FOLDS} of {folds} folds." if folds > MOST_FOLDS else ""
    note = f"{shown}, a panel for each fold; the winner is thick.{more} Point at a line to read it."
    body = f"{_lines_legend(facts)}{_plot('learning', 'Learning curves of every fold')}"
    tools = f'<span role="group" aria-label="What the curves show">{buttons}</span>'
    return _section("learning-section", title, f"{_note(note)}{body}", "wide", tools)


def _timeline(view: StudyView, facts: Facts, jobs: Sequence[Job]) -> str:
    if not facts.workers:
        return _section("timeline-section", "Workers", _empty("No fold is trained yet."), "wide")
    bar = "fold (its trial's number on it)" if len(jobs) <= FEW_BARS else "trial"
    note = f"Each bar is a {bar}; gaps are time without training."
    if any(len(job.members) > 1 for job in jobs):
        note += " × is the number of folds that trained together as one model."
    unseen = sum(trial.record.state == "failed" and not trial.record.folds for trial in facts.trials)
    if unseen:
        note += f" {unseen} trial{plural(unseen)} that failed in the first fold cannot be shown."
    trained = {trial.record.state for trial in facts.trials if trial.record.folds}
    keys: list[tuple[str, str]] = [(state, state) for state in STATES if state in trained]
    keys += [("lost", "lost attempt")] if view.incidents else []
    keys += [("failure", "failure")] if "failed" in trained else []
    body = f"{_note(f'{note} {_ZOOM}')}{_legend(keys)}{_plot('timeline', 'Timeline of the workers')}"
    return _section("timeline-section", "Workers", f"{body}{_incidents(view)}", "wide")


def _incidents(view: StudyView) -> str:
    if not view.incidents:
        return ""
    rows = "".join(
        f"<tr><td>{_when(each.at_ms)}</td><td>{each.trial}</td><td>{each.attempt}</td><td>{_e(each.worker)}</td>"
        f'<td>{"–" if each.fold is None else each.fold + 1}</td><td class="reason">{_e(each.what)}</td></tr>'
        for each in sorted(view.incidents, key=lambda incident: incident.at_ms)
    )
    head = "".join(
        f"<th scope=col>{name}</th>" for name in ("when", "trial", "attempt", "worker", "fold", "what happened")
    )
    table = f'<table class="incidents"><tr>{head}</tr><tbody>{rows}</tbody></table>'
    return f'<h3>Lost attempts</h3><div class="scroll">{table}</div>'


def _trials(view: StudyView, facts: Facts, columns: Sequence[Column]) -> str:
    if not facts.trials:
        return _section("trials", "Trials", _empty("The study holds no trial yet."), "wide")
    head = "".join(f'<th scope="col"><button type="button">{_e(column.name)}</button></th>' for column in columns)
    order, total = best_first(view, facts), len(facts.trials)
    rows = "".join(_row(index, facts.trials[index], columns, view.winner) for index in order[:_FEW_ROWS])
    table = f'<table id="table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    more = (
        f'<button type="button" id="all-rows">Show all {total:,} ({_FEW_ROWS} shown)</button>'
        if total > _FEW_ROWS
        else ""
    )
    note = _note("Best first. Click a heading to sort.")
    return _section("trials", "All trials", f'{note}<div class="scroll" tabindex="0">{table}</div>', "wide", more)


def _row(index: int, trial: TrialFacts, columns: Sequence[Column], winner: int | None) -> str:
    """A row of the table, as report.js makes them, too. HTML does not require the cells' end tags."""
    notes = "".join(f"<small>{_e(note)}</small>" for note in notes_of(trial))
    state = trial.record.state
    cells = [
        f'<td class="ending">{mark(state, state)}{notes}'
        if column.name == "state" and place == 1
        else f"<td>{_e(column.texts[index])}"
        for place, column in enumerate(columns)
    ]
    return f"<tr{' class=is-winner' if trial.record.number == winner else ''}>{''.join(cells)}"


def _meaning(view: StudyView) -> str:
    sweep = view.sweep
    direction = "the highest" if sweep.goal == "maximize" else "the lowest"
    kept = (
        "The holdout was split off before the first trial. Refitted trials are scored on it once; it never ranks them."
        if _has_holdout(view)
        else "There is no holdout, so nothing here was measured on rows that the search has not seen."
    )
    return _section(
        "meaning",
        "What the value means",
        f"<p>A trial's value is the mean of <b>{_e(sweep.metric)}</b> over {sweep.folds} folds. Each fold is scored by "
        f"a model that was trained on the other folds. The winner has {direction} value. Values in brackets are means "
        "over the folds that a trial finished before it ended, and are not ranked.</p>"
        "<p>± is the sample standard deviation between the folds. It shows how much folds differ, not how precise the "
        "mean is, because folds share training rows.</p>"
        f"<p>{kept} The best of many trials looks better than it is, and more so the more trials there are.</p>",
    )


def _environment(view: StudyView) -> str:
    sweep = view.sweep
    rows = [(_e(name), f"<code>{_e(value)}</code>") for name, value in sorted(sweep.environment.items())]
    rows += [
        ("data source", f"<code>{_e(sweep.data_source)}</code>"),
        ("data sha256", f"<code>{_e(sweep.data_sha256)}</code>"),
        *((f"lineage {_e(name)}", f"<code>{_e(value)}</code>") for name, value in shown_lineage(sweep.lineage).items()),
    ]
    rows += [(f"code {_e(name)}", f"<code>{_e(sha256[:12])}</code>") for name, sha256 in (sweep.code or {}).items()]
    rows += [(f"tag {_e(name)}", _e(value)) for name, value in sorted(sweep.tags.items())]
    experiment = json.dumps(_without_values(sweep.experiment), indent=2, ensure_ascii=False, default=str)
    body = f"{_facts(rows)}<details><summary>The experiment</summary><pre>{_e(experiment)}</pre></details>"
    return _section("environment", "Environment and data", body)


def _without_values(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment without the values of environment variables, which may be passwords."""
    execution = dict(experiment.get("execution") or {})
    if execution.get("env"):
        execution["env"] = dict.fromkeys(execution["env"], _SECRET)
    return {**experiment, "execution": execution} if execution else dict(experiment)


def _has_holdout(view: StudyView) -> bool:
    data = view.sweep.experiment.get("data")
    return not isinstance(data, Mapping) or data.get("holdout") != 0


def _means(trial: TrialFacts) -> dict[str, float]:
    names = dict.fromkeys(name for fold in trial.record.folds for name in fold.metrics)
    values = {name: [fold.metrics[name] for fold in trial.record.folds if name in fold.metrics] for name in names}
    return {name: math.fsum(each) / len(each) for name, each in values.items()}


def _section(name: str, title: str, body: str, kind: str = "", tools: str = "") -> str:
    head = f'<div class="head"><h2 id="{name}-title">{title}</h2>{tools}</div>'
    return f'<section class="{kind}" aria-labelledby="{name}-title">{head}{body}</section>'


def _plot(name: str, title: str) -> str:
    return f'<figure id="{name}" role="img" aria-label="{title}"></figure>'


def _legend(keys: Iterable[tuple[str, str]]) -> str:
    """A button for each kind of mark that shows or hides it."""
    buttons = "".join(
        f'<button type="button" class="state state-{key}" data-key="{key}" aria-pressed="true">{text}</button>'
        for key, text in keys
    )
    return f'<p class="legend">{buttons}</p>'


def _lines_legend(facts: Facts) -> str:
    """What the lines of trials look like."""
    kinds: tuple[tuple[TrialState, str], ...] = (("pruned", "pruned, dotted"), ("failed", "failed, dashed"))
    states = "".join(mark(state, text) for state, text in kinds if facts.counts[state])
    return f'<p class="legend muted"><span>worse<span class="ramp"></span>better</span>{states}</p>'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>' if text else ""


def _empty(text: str) -> str:
    return f'<p class="empty">{text}</p>'


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    return f'<dl class="facts">{"".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)}</dl>'


def _when(ms: int) -> str:
    return when(ms / 1000)


def _packed(value: Any) -> str:
    """Compressed JSON in base 64: a third of the size, without markup."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode())).decode()
