"""The page around the charts: every section as HTML, and all of them in one file.

Everything that comes from outside goes through `html.escape` here, or into JSON whose `<` are escaped.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from winnow.report import charts
from winnow.report.facts import STATES, Facts, TrialFacts, facts_of
from winnow.report.figure import Figure
from winnow.report.importances import FEWEST_TRIALS, importances_of
from winnow.report.parallel import parallel
from winnow.report.timeline import FEW_BARS, timeline
from winnow.report.timescale import Timescale
from winnow.study.formatting import duration, score, setting
from winnow.study.view import Champion, StudyView
from winnow.tracking.records import TrialState

_SECRET = "…"


def render_report(view: StudyView) -> str:
    """One self-contained HTML page about a study, at whatever stage it is."""
    facts = facts_of(view)
    shares = importances_of(view, facts.complete)
    drawn = {
        "history": charts.history(view, facts)
        if any(trial.record.state != "waiting" for trial in facts.trials)
        else None,
        "importances": charts.importances(shares) if shares else None,
        "parallel": parallel(view, facts),
        "heat_map": charts.heat_map(view, facts) if facts.folds_trained else None,
        "timeline": timeline(view, facts, Timescale.over(facts.sittings)) if facts.workers else None,
    }
    sections = [
        _winner(view, facts),
        _importances(shares, facts),
        _history(view, facts, drawn["history"]),
        _parallel(facts, drawn["parallel"]),
        _heat_map(view, facts, drawn["heat_map"]),
        _timeline(view, facts, drawn["timeline"]),
        _trials(view, facts),
        _meaning(view),
        _environment(view),
    ]
    body = f'{_header(view)}<main>{_tiles(view, facts)}<div class="grid">{"".join(sections)}</div></main>'
    parts = files(__package__)
    return Template((parts / "template.html").read_text("utf-8")).substitute(
        title=_e(f"{view.sweep.study}: report"),
        style=(parts / "report.css").read_text("utf-8"),
        body=body,
        charts=_json(drawn),
        plotly=get_plotlyjs(),
        script=(parts / "report.js").read_text("utf-8"),
    )


def _header(view: StudyView) -> str:
    sweep = view.sweep
    data = f"{_e(sweep.data_name)}, {sweep.data_rows:,} rows, sha256 <code>{_e(sweep.data_sha256[:12])}</code>"
    return (
        f"<header><div><h1>{_e(sweep.study)}</h1>"
        f'<p class="muted">{_e(sweep.task)} on {data} · {_e(sweep.metric)}, {_e(sweep.goal)}d over {sweep.folds} folds '
        f"· seed {sweep.seed} · as of {_when(view.generated_at_ms)}</p></div>"
        '<button id="theme" type="button">Dark / light</button></header>'
    )


def _tiles(view: StudyView, facts: Facts) -> str:
    best = facts.winner
    total = len(facts.trials)
    asked = f" of {facts.asked}" if facts.asked is not None and facts.asked != total else ""
    counts = "".join(_state(state, f"{facts.counts[state]} {state}") for state in STATES if facts.counts[state])
    pace = "–" if facts.trials_per_min is None else f"{facts.trials_per_min:.3g}"
    pauses = len(facts.sittings) - 1
    paused = f", {pauses} pause{_s(pauses)} left out" if pauses > 0 else ""
    lost = f", {len(view.incidents)} lost attempt{_s(len(view.incidents))}" if view.incidents else ""
    tiles = [
        (f"Best {_e(view.sweep.metric)}", score(best.mean if best else None), _best_note(best)),
        ("Trials", f"{total}{asked}", f'<span class="states">{counts}</span>'),
        (
            "Folds trained",
            f"{facts.folds_trained:,}",
            f"by {len(facts.workers)} worker{_s(len(facts.workers))}{lost}",
        ),
        ("Wall time", duration(facts.wall_s), f"since {_when(view.sweep.started_at_ms)}{paused}"),
        ("Trials per minute", pace, "ended trials by wall time, start-up included"),
    ]
    rows = (
        f'<div class="tile"><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>' for name, value, note in tiles
    )
    return f'<dl class="tiles" aria-label="Summary">{"".join(rows)}</dl>'


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


def _model(best: TrialFacts, champion: Champion | None) -> str:
    if champion is None:
        return "none is registered as champion"
    since = f" since {_when(champion.since_ms)}" if champion.since_ms is not None else ""
    named = f"{_e(champion.name)} version {_e(champion.version)}"
    if champion.trial == best.record.number:
        return f"{named}, @{_e(champion.alias)}{since}"
    origin = f", from trial {champion.trial}" if champion.trial is not None else ""
    return f"@{_e(champion.alias)} is {named}{origin}{since}"


def _history(view: StudyView, facts: Facts, drawn: Figure | None) -> str:
    notes = ["Higher is better." if view.sweep.goal == "maximize" else "Lower is better."]
    if facts.counts["pruned"]:
        notes.append("Pruned trials stand at an estimate of their mean over all folds.")
    if facts.counts["failed"]:
        notes.append("Failed trials stand on the lower edge.")
    if drawn is not None and (outside := charts.outside(drawn)):
        notes.append(f"{outside} trial{_s(outside)} far on the worse side: double-click to see all.")
    return _chart("history", "Optimization history", " ".join(notes), drawn, "No trial has begun yet.", "wide")


def _importances(shares: Mapping[str, float], facts: Facts) -> str:
    done = len(facts.complete)
    note = (
        "What separates the best tenth of the trials from the rest, by parameter (PED-ANOVA). "
        f"From {done} complete trials{': a hint, no more' if done < 50 else ''}."
    )
    empty = f"Needs {FEWEST_TRIALS} complete trials and two parameters that vary; {done} complete so far."
    return _chart("importances", "Parameter importances", note, shares or None, empty)


def _parallel(facts: Facts, drawn: Any) -> str:
    note = (
        "A line per trial: drag along an axis to keep a range, point at a line to read it. Better is up, on the right."
    )
    kinds: tuple[tuple[TrialState, str], ...] = (("pruned", "pruned, dotted"), ("failed", "failed, dashed"))
    legend = (
        '<p class="legend muted"><span>worse<span class="ramp"></span>better</span>'
        f"{''.join(_state(state, text) for state, text in kinds if facts.counts[state])}</p>"
    )
    chart = '<div id="parallel" class="parallel" role="img" aria-label="Parallel coordinates of all trials"></div>'
    body = f'{legend}{chart}<p id="parallel-readout" class="readout note" aria-live="polite"></p>'
    if drawn is None:
        note, body = "", _empty("Drawn from the first complete trial on.")
    return _section("parallel-section", "Parallel coordinates", f"{_note(note)}{body}", "wide")


def _heat_map(view: StudyView, facts: Facts, drawn: Any) -> str:
    buttons = (
        '<span role="group" aria-label="Order of the trials">'
        '<button type="button" data-order="number" aria-pressed="true">by number</button> '
        '<button type="button" data-order="mean" aria-pressed="false">best first</button></span>'
    )
    states = "".join(_state(state, state) for state in STATES if facts.counts[state])
    note = f"{_e(view.sweep.metric)} of every trial on every fold; brighter is better. Blank: not trained."
    body = f'<p class="states muted">{states}</p>{_plot("heat_map", "Heat map of trials and folds")}'
    if drawn is None:
        note, buttons, body = "", "", _empty("No fold is trained yet.")
    return _section("heat-map-section", "Trials × folds", f"{_note(note)}{body}", "wide", buttons)


def _timeline(view: StudyView, facts: Facts, drawn: Any) -> str:
    bar = "fold (its trial's number on it)" if facts.folds_trained <= FEW_BARS else "trial"
    note = f"Each bar is a {bar}; the space between bars is time without training."
    unseen = sum(trial.record.state == "failed" and not trial.record.folds for trial in facts.trials)
    if unseen:
        note += f" {unseen} trial{_s(unseen)} that failed in the first fold cannot be placed."
    body = _plot("timeline", "Timeline of the workers") if drawn else _empty("No fold is trained yet.")
    return _section("timeline-section", "Workers", f"{_note(note if drawn else '')}{body}{_incidents(view)}", "wide")


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
    return f'<h3>Lost attempts</h3><div class="scroll"><table><tr>{head}</tr><tbody>{rows}</tbody></table></div>'


_Column = tuple[str, Callable[[TrialFacts], tuple[Any, str]], str]
"""Heading, trial → (what to sort by, HTML), class of its cells."""


def _trials(view: StudyView, facts: Facts) -> str:
    if not facts.trials:
        return _section("trials", "Trials", _empty("The study holds no trial yet."), "wide")
    columns = _columns(view, facts)
    head = "".join(f'<th scope="col"><button type="button">{_e(name)}</button></th>' for name, _, _ in columns)
    rows = "".join(_row(trial, columns, is_winner=trial.record.number == view.winner) for trial in facts.trials)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    note = _note("Click a heading to sort.")
    return _section("trials", "All trials", f'{note}<div class="scroll" tabindex="0">{table}</div>', "wide")


def _row(trial: TrialFacts, columns: Iterable[_Column], *, is_winner: bool) -> str:
    cells = []
    for _, cell, kind in columns:
        key, shown = cell(trial)
        cells.append(f'<td class="{kind}" data-sort="{_e(_sort_key(key))}">{shown}</td>')
    return f"<tr{' class=is-winner' if is_winner else ''}>{''.join(cells)}</tr>"


def _columns(view: StudyView, facts: Facts) -> list[_Column]:
    names = dict.fromkeys([*view.space, *(name for trial in facts.trials for name in trial.record.params)])
    columns: list[_Column] = [
        ("trial", lambda trial: (trial.record.number, str(trial.record.number)), "number"),
        ("state", lambda trial: (STATES.index(trial.record.state), _ending(trial)), "ending"),
        (view.sweep.metric, lambda trial: (trial.mean, _value(trial)), "number"),
        ("±", lambda trial: (trial.std, score(trial.std)), "number"),
        *((name, _parameter(name), "number") for name in names),
        ("folds", lambda trial: (len(trial.scores), f"{len(trial.scores)}/{view.sweep.folds}"), "number"),
        ("training", lambda trial: (trial.train_s, duration(trial.train_s)), "number"),
        ("attempts", lambda trial: (trial.record.attempts, str(trial.record.attempts)), "number"),
    ]
    holdouts = dict.fromkeys(name for trial in facts.trials for name in trial.record.holdout)
    return columns + [(f"holdout {name}", _holdout(name), "number") for name in holdouts]


def _ending(trial: TrialFacts) -> str:
    """The trial's state and, under it, why it came to it, and whether its code is not the study's."""
    reason = f"<small>{_e(trial.record.reason)}</small>" if trial.record.reason else ""
    code = "<small>trained with other code</small>" if trial.record.has_other_code else ""
    return f"{_state(trial.record.state, trial.record.state)}{reason}{code}"


def _parameter(name: str) -> Callable[[TrialFacts], tuple[Any, str]]:
    def cell(trial: TrialFacts) -> tuple[Any, str]:
        if name not in trial.record.params:
            return None, "–"
        value = trial.record.params[name]
        return value if isinstance(value, int | float) else setting(value), _e(setting(value))

    return cell


def _holdout(name: str) -> Callable[[TrialFacts], tuple[Any, str]]:
    return lambda trial: (trial.record.holdout.get(name), score(trial.record.holdout.get(name)))


def _value(trial: TrialFacts) -> str:
    """The mean; in brackets where it is that of some folds only."""
    return score(trial.mean) if trial.record.state == "complete" or trial.mean is None else f"({score(trial.mean)})"


def _meaning(view: StudyView) -> str:
    sweep = view.sweep
    direction = "the highest" if sweep.goal == "maximize" else "the lowest"
    kept = (
        "The holdout was split off before the first trial; refitted trials are scored on it once, and it ranks nothing."
        if _has_holdout(view)
        else "No holdout was kept, so nothing here was measured on rows that the search has not seen."
    )
    return _section(
        "meaning",
        "What the value means",
        f"<p>A trial's value is the mean of <b>{_e(sweep.metric)}</b> over {sweep.folds} folds: each is scored by a "
        f"model that was trained on rows of the others. The winner has {direction}. Values in brackets are means over "
        "the folds that a trial was given before it ended, and do not compete.</p>"
        "<p>± is the sample standard deviation between the folds. It says how much one fold differs from another, not "
        "how well the mean is known: folds share training rows.</p>"
        f"<p>{kept} The best of many trials looks better than it is, the more so the more trials there are.</p>",
    )


def _environment(view: StudyView) -> str:
    sweep = view.sweep
    rows = [(_e(name), f"<code>{_e(value)}</code>") for name, value in sorted(sweep.environment.items())]
    rows += [
        ("data source", f"<code>{_e(sweep.data_source)}</code>"),
        ("data sha256", f"<code>{_e(sweep.data_sha256)}</code>"),
    ]
    rows += [(f"code {_e(name)}", f"<code>{_e(sha256[:12])}</code>") for name, sha256 in (sweep.code or {}).items()]
    rows += [(f"tag {_e(name)}", _e(value)) for name, value in sorted(sweep.tags.items())]
    experiment = json.dumps(_without_values(sweep.experiment), indent=2, ensure_ascii=False, default=str)
    body = f"{_facts(rows)}<details><summary>The experiment</summary><pre>{_e(experiment)}</pre></details>"
    return _section("environment", "Environment and data", body)


def _without_values(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment without the values of environment variables, which may be anybody's password."""
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


def _chart(name: str, title: str, note: str, drawn: Any, empty: str, kind: str = "") -> str:
    body = f"{_note(note)}{_plot(name, title)}" if drawn is not None else _empty(empty)
    return _section(f"{name}-section", title, body, kind)


def _plot(name: str, title: str) -> str:
    return f'<figure><div id="{name}" role="img" aria-label="{title}"></div></figure>'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>' if text else ""


def _empty(text: str) -> str:
    return f'<p class="empty">{text}</p>'


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    return f'<dl class="facts">{"".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)}</dl>'


def _state(state: str, text: str) -> str:
    return f'<span class="state state-{state}">{text}</span>'


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _sort_key(key: Any) -> str:
    return "" if key is None else str(float(key)) if isinstance(key, int | float) else str(key)


def _e(text: str) -> str:
    return html.escape(text)


def _json(value: Any) -> str:
    """JSON that no HTML parser can leave by."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
