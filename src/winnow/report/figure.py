"""What all figures share: colors by state, labels, the layout they start from.

Colors are written as `var(--name)` and resolved in the page, where report.css defines them for light and dark. Text
from outside is escaped, because plotly reads a little HTML in every label, and is never part of a template.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from winnow.report.facts import Facts, TrialFacts
from winnow.study.formatting import score, setting
from winnow.tracking.records import TrialState

Figure = dict[str, Any]

COLORS: Mapping[TrialState, str] = {
    "complete": "var(--complete)",
    "pruned": "var(--pruned)",
    "failed": "var(--failed)",
    "running": "var(--running)",
    "waiting": "var(--waiting)",
}


def layout_of(*, height: int, margin: Mapping[str, int], showlegend: bool = True) -> dict[str, Any]:
    axis = {"gridcolor": "var(--grid)", "zeroline": False, "linecolor": "var(--grid)", "tickfont": {"size": 11}}
    return {
        "height": height,
        "margin": dict(margin),
        "showlegend": showlegend,
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--text)", "family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--text)"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "var(--muted)", "activecolor": "var(--accent)"},
        "hovermode": "closest",
    }


def label(text: str, longest: int = 80) -> str:
    """Outside text for a plotly label: shortened, and escaped as far as plotly knows entities."""
    shown = " ".join(text.split())
    return html.escape(shown if len(shown) <= longest else shown[: longest - 1] + "…", quote=False)


def trial_text(trial: TrialFacts) -> str:
    """Hover text: the trial, its mean and spread, its parameters, and why it ended early."""
    record = trial.record
    between = f" ± {score(trial.std)}" if trial.std is not None else ""
    lines = [f"<b>trial {record.number}</b>: {record.state}"]
    if trial.mean is not None:
        lines.append(f"{score(trial.mean)}{between} over {len(trial.scores)} folds")
    lines += [f"{label(name)} = {label(setting(value))}" for name, value in record.params.items()]
    if record.reason:
        lines.append(f"<i>{label(record.reason)}</i>")
    return "<br>".join(lines)


def in_state(facts: Facts, state: TrialState) -> list[TrialFacts]:
    return [trial for trial in facts.trials if trial.record.state == state]
