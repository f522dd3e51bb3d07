"""The report as a page: complete, self-contained, escaped, and quick to make."""

import base64
import json
import re
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.unit.report.sample_study import SPACE, SampleStudy
from winnow.report import render_report
from winnow.study.certainty import certainty_of
from winnow.study.view import StudyView

NO_CURVES = "No epoch was recorded (training.curves)."
EVIL = "</script><img src=x onerror=alert(1)>"

STUDIES: dict[str, SampleStudy] = {
    "usual": SampleStudy(pruned=frozenset({9, 14}), failed=frozenset({5}), lost=frozenset({7})),
    "empty": SampleStudy(trials=0),
    "one trial": SampleStudy(trials=1, refitted=0),
    "all failed": SampleStudy(trials=4, failed=frozenset(range(4))),
    "all pruned": SampleStudy(trials=4, pruned=frozenset(range(4))),
    "running": SampleStudy(trials=6, running=frozenset({4, 5}), pause_before=3),
    "minimized": SampleStudy(goal="minimize", metric="rmse", folds=10, diverged=frozenset({4})),
    "one parameter": SampleStudy(space={"lr": SPACE["lr"]}),
    "constant parameters": SampleStudy(space={"a": {"choice": ["x"]}, "b": {"float": [0.5, 0.5]}}),
    "no parameters": SampleStudy(space={}),
    "two folds": SampleStudy(folds=2),
    "names with HTML": SampleStudy(
        trials=12,
        study=EVIL,
        metric="<b>f1</b>",
        reason=EVIL,
        failed=frozenset({3}),
        space={EVIL: {"float": [1e-4, 0.1], "log": True}, "c": {"choice": ["<b>a</b>", EVIL, [1, 2]]}},
    ),
}


class Page(HTMLParser):
    """The tags, text and data of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.data: dict[str, Any] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if attributes.get("id") == "data" and not self.data:
            self.data = json.loads(zlib.decompress(base64.b64decode(data)))
        if tag not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def cells(self) -> int:
        """Cells of the table of trials, whose cells are the only ones without end tags."""
        tags = [tag for tag, _ in self.tags]
        start = tags.index(
            "table", next(place for place, (_, each) in enumerate(self.tags) if each.get("id") == "table")
        )
        return tags[start:].count("td")

    def column(self, name: str) -> list[str]:
        return next(column["texts"] for column in self.data["columns"] if column["name"] == name)


def view_of(name: str) -> StudyView:
    return STUDIES[name].view()


@pytest.mark.parametrize("name", STUDIES)
def test_the_data_of_every_chart_are_in_the_page(name: str) -> None:
    view = view_of(name)
    data = Page(render_report(view)).data
    assert data["numbers"] == [trial.number for trial in view.trials]
    assert [len([score for score in scores if score is not None]) for scores in data["scores"]] == [
        len(trial.folds) for trial in view.trials
    ]
    assert [column["name"] for column in data["columns"]][4 : 4 + data["parameters"]] == list(view.space)
    assert {len(column["texts"]) for column in data["columns"]} == {len(view.trials)}
    bars = [bar for stretch in (data["timeline"] or {"stretches": []})["stretches"] for bar in stretch["bars"]]
    assert sum(count for _, _, count, _ in bars) == sum(len(trial.folds) for trial in view.trials)


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_asks_nothing_of_the_network(name: str) -> None:
    page = Page(render_report(view_of(name)))
    links = [(tag, key) for tag, attributes in page.tags for key in attributes if key in ("src", "href", "srcset")]
    assert links == []
    policy = next(attributes for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert (policy["content"] or "").startswith("default-src 'none'; ")


@pytest.mark.parametrize("name", STUDIES)
def test_every_chart_and_every_section_has_a_name(name: str) -> None:
    page = Page(render_report(view_of(name)))
    assert all(attributes["aria-label"] for tag, attributes in page.tags if tag == "figure")
    titles = {attributes.get("id") for tag, attributes in page.tags if tag == "h2"}
    assert {attributes.get("aria-labelledby") for tag, attributes in page.tags if tag == "section"} == titles


def test_the_variables_of_all_colors_are_defined() -> None:
    text = render_report(view_of("usual"))
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", text)) - {"--dot", "--color"}
    assert used <= set(re.findall(r"^  (--[a-z0-9-]+):", text, re.MULTILINE))


def test_names_from_outside_are_text_and_never_markup() -> None:
    text = render_report(view_of("names with HTML"))
    page = Page(text)
    assert [tag for tag, _ in page.tags if tag == "img"] == []
    assert EVIL in page.text
    assert EVIL not in text
    assert page.data["columns"][4]["name"] == EVIL


def test_the_summary_says_what_happened() -> None:
    text = Page(render_report(view_of("usual"))).text
    for fact in ("27 complete", "2 pruned", "1 failed", "by 2 workers , 1 lost attempt", "killed by signal 9"):
        assert fact.replace(" ,", ",") in text
    assert "Winner: trial" in text
    assert "ValueError: expected 30 inputs, found 31" in text
    assert "version 3, @champion since" in text


def test_the_winner_tells_its_threshold_and_temperature() -> None:
    view = view_of("usual")
    found = {"calibration.threshold": 0.31, "calibration.temperature": 1.25}
    trials = tuple(replace(each, calibration=found) for each in view.trials)
    text = Page(render_report(replace(view, trials=trials))).text
    assert "threshold 0.3100: the positive class is predicted from this probability on" in text
    assert "temperature 1.2500: divides the logits" in text


def test_the_report_says_how_sure_the_winner_is() -> None:
    view = SampleStudy(trials=12).view()
    found = certainty_of(view)
    assert found is not None
    page = render_report(view)
    assert found.verdict in page and f"{found.within_one_error[0]}" in page
    assert "How sure the winner is" not in render_report(SampleStudy(trials=2).view())


def test_the_table_is_sorted_and_holds_every_trial() -> None:
    view = view_of("usual")
    page = Page(render_report(view))
    assert page.cells() == 30 * len(page.data["columns"])
    assert page.data["bestFirst"][0] == view.winner
    assert page.data["bestFirst"][-3:] == [5, 9, 14]


def test_a_long_table_shows_its_best_rows_at_first() -> None:
    page = Page(render_report(SampleStudy(trials=230).view()))
    assert page.cells() == 200 * len(page.data["columns"])
    assert "Show all 230 (200 shown)" in page.text
    assert len(page.column("lr")) == 230


def test_the_lineage_of_the_data_is_shown() -> None:
    view = view_of("usual")
    lineage = {"winnow.data.source": "dvc:data/raw.csv rev=v2", "winnow.data.dvc": "22e4c1d09b7f"}
    text = render_report(replace(view, sweep=replace(view.sweep, lineage=lineage)))
    assert "<dt>lineage dvc</dt><dd><code>22e4c1d09b7f</code></dd>" in text
    assert "<dt>lineage source</dt><dd><code>dvc:data/raw.csv rev=v2</code></dd>" in text


def test_values_of_environment_variables_stay_out() -> None:
    text = render_report(view_of("usual"))
    assert "API_TOKEN" in text
    assert "hunter2" not in text


def test_the_best_trial_is_first_where_less_is_better() -> None:
    view = view_of("minimized")
    order = Page(render_report(view)).data["bestFirst"]
    assert order[0] == view.winner
    assert order[-1] == 4


def test_folds_that_were_not_trained_are_blank() -> None:
    scores = Page(render_report(view_of("usual"))).data["scores"][9]
    assert [score is None for score in scores] == [False, True, True, True, True]


def test_the_reason_of_a_pruned_trial_is_shown() -> None:
    page = Page(render_report(view_of("usual")))
    assert page.data["notes"][9] == ["worse than the median after fold 1"]
    assert page.text.count("worse than the median after fold 1") == 2


def test_a_lost_attempt_parts_the_bars_of_its_trial() -> None:
    timeline = Page(render_report(view_of("usual"))).data["timeline"]
    assert [text for *_, text in timeline["lost"]] == ["trial 7, attempt 1: killed by signal 9"]
    trials = [stretch["trials"] for stretch in timeline["stretches"]]
    assert trials.count([7]) == 2
    assert trials.count([8]) == 1


def test_folds_that_trained_at_once_are_one_bar() -> None:
    view = packed(SampleStudy(trials=2, folds=5).view())
    page = Page(render_report(view))
    bars = [(stretch["trials"], stretch["bars"]) for stretch in page.data["timeline"]["stretches"]]
    assert [(trials, [bar[2:] for bar in found]) for trials, found in bars] == [
        ([0, 1], [[10, "10 folds at once: 2.0 s"]]),
    ]
    assert "× is the number of folds that trained together" in page.text


def packed(view: StudyView) -> StudyView:
    """The study as if all its folds had trained as one model."""
    began_ms = view.sweep.started_at_ms
    trials = tuple(
        replace(
            trial,
            folds=tuple(
                replace(fold, started_at_ms=began_ms, ended_at_ms=began_ms + 2000, worker="group-0")
                for fold in trial.folds
            ),
        )
        for trial in view.trials
    )
    return replace(view, trials=trials)


def test_every_kind_of_mark_can_be_hidden() -> None:
    tags = Page(render_report(view_of("usual"))).tags
    keys = [attributes["data-key"] for _, attributes in tags if "data-key" in attributes]
    in_history = ["complete", "pruned", "failed", "best", "winner"]
    assert keys == [*in_history, "complete", "pruned", "failed", "lost", "failure"]


def test_lines_through_a_choice_are_spread_best_on_top() -> None:
    page = Page(render_report(view_of("usual")))
    chart, states = page.data["parallel"], page.column("state")
    names = [axis["name"] for axis in chart["axes"]]
    assert names == [*SPACE, "f1"]
    place = names.index("optimizer") + 1
    lines = [line for line in chart["lines"] if line[place] < 0.5 and states[line[0]] == "complete"]
    by_value = sorted(lines, key=lambda line: (line[-1], -line[0]))
    assert by_value == sorted(lines, key=lambda line: line[place])


def test_a_report_is_the_same_for_the_same_view() -> None:
    view = view_of("usual")
    assert render_report(view) == render_report(view)


def test_a_large_study_stays_quick_and_small() -> None:
    view = SampleStudy(trials=5000, workers=4, pruned=frozenset(range(50, 5000, 7))).view()
    started_s = time.process_time()
    text = render_report(view)
    assert time.process_time() - started_s < 5
    assert len(text.encode()) < 1_000_000


def test_a_report_imports_neither_optuna_nor_pandas() -> None:
    code = "import sys, winnow.report; print(sorted({'optuna', 'pandas', 'numpy', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_curves_of_the_best_trials_are_drawn_on_one_scale_for_all_folds() -> None:
    view = SampleStudy(trials=40, pruned=frozenset({9})).view()
    page = Page(render_report(view))
    learning = page.data["learning"]
    drawn = {index for curve in learning["curves"] for index, _, _ in curve["lines"]}
    assert drawn == set(page.data["bestFirst"][:30])
    assert [curve["name"] for curve in learning["curves"]] == ["train_loss", "val_f1", "val_loss"]
    assert (learning["folds"], learning["shares"][str(view.winner)]) == (5, 1)
    best = next(trial for trial in view.trials if trial.number == view.winner)
    line = next(points for index, fold, points in learning["curves"][1]["lines"] if (index, fold) == (view.winner, 2))
    assert [epoch for epoch, _ in line] == [epoch for epoch, _ in best.curves[2]["val_f1"]]


def test_a_study_without_curves_says_so() -> None:
    page = Page(render_report(SampleStudy(has_curves=False).view()))
    assert page.data["learning"] is None
    assert NO_CURVES in page.texts
