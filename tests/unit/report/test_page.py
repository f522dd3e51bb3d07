"""The report as a page: complete, self-contained, escaped, and quick to make."""

import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go
import pytest

from tests.unit.report.sample_study import SPACE, SampleStudy
from winnow.report import render_report
from winnow.study.view import StudyView

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
    """The tags, text and charts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._in_script = False
        self.charts: dict[str, Any] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if attributes.get("id") == "charts" and data.startswith("{"):
            self.charts = json.loads(data)
        if tag not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def rows(self) -> int:
        return sum(tag == "td" and "data-sort" in attributes for tag, attributes in self.tags)


def values_in(figure: Any) -> Iterator[str]:
    """Every text in a figure."""
    if isinstance(figure, str):
        yield figure
    elif isinstance(figure, dict):
        for value in figure.values():
            yield from values_in(value)
    elif isinstance(figure, list):
        for value in figure:
            yield from values_in(value)


def resolved(figure: Any) -> Any:
    """A figure with a plain color for each of the page's variables, as plotly's own validators need it."""
    return json.loads(re.sub(r"var\(--[a-z0-9-]+\)", "#123456", json.dumps(figure)))


def view_of(name: str) -> StudyView:
    return STUDIES[name].view()


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_a_page_whose_figures_are_valid(name: str) -> None:
    page = Page(render_report(view_of(name)))
    for chart in ("history", "importances", "heat_map", "timeline"):
        if page.charts[chart] is not None:
            figure = resolved(page.charts[chart])
            go.Figure(data=figure["data"], layout=figure["layout"])


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_asks_nothing_of_the_network(name: str) -> None:
    page = Page(render_report(view_of(name)))
    links = [(tag, key) for tag, attributes in page.tags for key in attributes if key in ("src", "href", "srcset")]
    assert links == []
    policy = next(attributes for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert (policy["content"] or "").startswith("default-src 'none'; ")


@pytest.mark.parametrize("name", STUDIES)
def test_every_chart_that_is_drawn_has_a_place_and_a_name(name: str) -> None:
    page = Page(render_report(view_of(name)))
    places = {attributes["id"]: attributes.get("aria-label") for _, attributes in page.tags if attributes.get("id")}
    for chart, figure in page.charts.items():
        assert (chart in places) == (figure is not None)
        assert figure is None or places[chart]
    titles = {attributes.get("id") for tag, attributes in page.tags if tag == "h2"}
    assert {attributes.get("aria-labelledby") for tag, attributes in page.tags if tag == "section"} == titles


def test_the_variables_of_all_colors_are_defined() -> None:
    text = render_report(view_of("usual"))
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", text)) - {"--dot"}
    assert used <= set(re.findall(r"^  (--[a-z0-9-]+):", text, re.MULTILINE))


def test_names_from_outside_are_text_and_never_markup() -> None:
    page = Page(render_report(view_of("names with HTML")))
    assert [tag for tag, _ in page.tags if tag == "img"] == []
    assert EVIL in page.text
    labels = list(values_in(page.charts["history"])) + list(values_in(page.charts["importances"]))
    assert not any("<img" in label for label in labels)
    assert any("&lt;img" in label for label in labels)


def test_the_summary_says_what_happened() -> None:
    text = Page(render_report(view_of("usual"))).text
    for fact in ("27 complete", "2 pruned", "1 failed", "by 2 workers , 1 lost attempt", "killed by signal 9"):
        assert fact.replace(" ,", ",") in text
    assert "Winner: trial" in text
    assert "ValueError: expected 30 inputs, found 31" in text
    assert "version 3, @champion since" in text


def test_all_trials_are_in_the_table() -> None:
    page = Page(render_report(view_of("usual")))
    columns = sum(tag == "th" and attributes.get("scope") == "col" for tag, attributes in page.tags)
    lost_attempts_columns = 6
    assert page.rows() == 30 * (columns - lost_attempts_columns)


def test_values_of_environment_variables_stay_out() -> None:
    text = render_report(view_of("usual"))
    assert "API_TOKEN" in text
    assert "hunter2" not in text


def test_the_heat_map_can_be_ordered_both_ways() -> None:
    view = view_of("minimized")
    orders = Page(render_report(view)).charts["heat_map"]["meta"]
    assert orders["number"] == [str(number) for number in range(30)]
    assert orders["mean"][0] == str(view.winner)
    assert sorted(orders["mean"]) == sorted(orders["number"])


def test_folds_that_were_not_trained_are_blank() -> None:
    folds = Page(render_report(view_of("usual"))).charts["heat_map"]["data"][0]["z"]
    assert [row[9] is None for row in folds] == [False, True, True, True, True]


def test_a_lost_attempt_parts_the_bars_of_its_trial() -> None:
    bars = Page(render_report(view_of("usual"))).charts["timeline"]["data"]
    lost = next(trace for trace in bars if trace.get("name") == "lost attempt")
    assert lost["text"] == ["trial 7, attempt 1: killed by signal 9"]
    labels = next(trace for trace in bars if trace.get("insidetextanchor"))
    assert labels["text"].count("7") == 2
    assert labels["text"].count("8") == 1


def test_every_state_is_in_the_legend_once() -> None:
    bars = Page(render_report(view_of("usual"))).charts["timeline"]["data"]
    shown = [trace["name"] for trace in bars if trace.get("showlegend", True)]
    assert shown == ["complete", "pruned", "failed", "lost attempt", "failure"]


def test_lines_through_a_choice_are_spread_best_on_top() -> None:
    view = view_of("usual")
    chart = Page(render_report(view)).charts["parallel"]
    names = [axis["name"] for axis in chart["axes"]]
    assert names == [*SPACE, "f1"]
    place = names.index("optimizer")
    lines = [line for line in chart["lines"] if line["places"][place] < 0.5 and line["state"] == "complete"]
    by_value = sorted(lines, key=lambda line: (line["places"][-1], -line["trial"]))
    assert by_value == sorted(lines, key=lambda line: line["places"][place])


def test_parameters_that_explain_nothing_have_no_ranking() -> None:
    for name in ("one parameter", "constant parameters", "no parameters", "one trial", "empty"):
        assert Page(render_report(view_of(name))).charts["importances"] is None


def test_importances_add_up_to_one() -> None:
    shares = Page(render_report(view_of("usual"))).charts["importances"]["data"][0]["x"]
    assert len(shares) == len(SPACE)
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares)


def test_a_report_is_the_same_for_the_same_view() -> None:
    view = view_of("usual")
    assert render_report(view) == render_report(view)


def test_a_large_study_stays_quick_and_small() -> None:
    view = SampleStudy(trials=2000, workers=4, pruned=frozenset(range(50, 2000, 7))).view()
    started = time.perf_counter()
    text = render_report(view)
    assert time.perf_counter() - started < 10
    assert len(text) < 12_000_000
