"""The page of a look: what it shows, and that nothing from outside becomes markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from tests.unit.monitoring.sample_report import ALPHA, sample_live, sample_report
from winnow.bundle.profile import ColumnCounts, ColumnProfile, Profile
from winnow.monitoring.charts import Bar, bars_of, percent
from winnow.monitoring.drift import find_drift
from winnow.monitoring.page import render_page
from winnow.monitoring.report import MonitoringReport

VOID = {"meta", "circle", "path"}


class Outline(HTMLParser):
    """The page's text by tag, and whether its tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.drawings: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "svg":
            self.drawings.append(dict(attrs)["aria-label"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.texts.append((self.open[-1], data.strip()))

    def text(self) -> str:
        return " ".join(text for _, text in self.texts)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[MonitoringReport, Profile]:
    return sample_report(tmp_path_factory.mktemp("sample"))


def test_the_page_says_what_moved_how_and_how_much_it_matters(sample: tuple[MonitoringReport, Profile]) -> None:
    page = Outline(render_page(*sample))

    assert page.open == []
    assert [text for tag, text in page.texts if tag == "h2"][:2] == ["What moved", "Quality"]
    cards = [text for tag, text in page.texts if tag == "h3"][:5]
    assert cards == ["prediction", "mean radius", "mean area", "region", "mean concave points"]
    assert "6 alarms" in page.text()
    for said in (
        "1st of 31 in importance (0.03 f1)",
        "mean 14.13 → 15.75 (+0.46 standard deviations), spread 3.521 → 3.457",
        "Ask whether the unit or the source of this column has changed (the mean is 9.8 times that of training).",
        "0% → 7.5% of the rows of a category that training did not have",
        "0% → 8.6% of the rows without a value",
        "Accuracy is 0.7682 (0.7081 to 0.8191, 220 outcomes) since 2024-10-02 00:03 UTC",
        "Since 2024-10-02 00:00 UTC. Bold: the whole interval is beyond what is allowed.",
        "Not judged: importances: the reference rows cannot be read.",
    ):
        assert said in page.text()


def test_every_drawing_says_what_it_shows(sample: tuple[MonitoringReport, Profile]) -> None:
    page = Outline(render_page(*sample))

    assert len(page.drawings) == 4
    assert page.drawings[0].startswith("mean radius: ")
    assert page.drawings[1].startswith("mean area: above 1310 5.1% in training, 100% live; ")
    assert page.drawings[3] == "accuracy of 22 windows"


def test_nothing_from_outside_is_markup_and_nothing_is_loaded(sample: tuple[MonitoringReport, Profile]) -> None:
    report, profile = sample
    report = replace(report, deployment="<img src=x>", source="<script>1</script>", skipped=("<b>no</b>",))

    page = render_page(report, profile)

    assert "<img" not in page
    assert "<b>no</b>" not in page
    assert "<b>isles" not in page
    assert page.count("<script") == 2
    assert re.findall(r'(?:src|href)="', page) == []


def test_a_quiet_look_and_one_with_too_few_rows_say_so(sample: tuple[MonitoringReport, Profile]) -> None:
    report, profile = sample
    same = sample_live(profile, 1200)
    same = replace(
        same,
        columns={each.name: each.counts for each in profile.columns},
        outputs={each.name: each.counts for each in profile.outputs},
    )
    quiet = replace(report, drift=find_drift(profile, same, ALPHA), alarms=(), quality=None, rules=(), joint=None)
    assert "No alarm" in Outline(render_page(quiet, profile)).text()
    assert "Nothing: rows look like those of the training." in Outline(render_page(quiet, profile)).text()

    few = replace(quiet, drift=find_drift(profile, replace(same, columns={}, outputs={}), ALPHA), rows=9)
    shown = Outline(render_page(few, profile)).text()
    assert "Not enough data to judge" in shown
    assert f"drift is judged from {report.needed_rows} rows on" in shown


def test_quality_without_outcomes_or_reference_is_shown(sample: tuple[MonitoringReport, Profile]) -> None:
    report, profile = sample
    assert report.quality is not None
    bare = replace(report.quality, reference=None, allowed=None, since=None, windows=(), slices=(), lag_s=None)

    page = Outline(render_page(replace(report, quality=bare, drift=()), profile))

    assert page.drawings == []
    assert page.open == []


def test_many_alarms_are_folded(sample: tuple[MonitoringReport, Profile]) -> None:
    report, profile = sample
    page = Outline(render_page(replace(report, alarms=report.alarms * 4), profile))

    assert ("summary", "16 more") in page.texts


def test_bars_are_shares_of_all_rows_and_the_rest_of_many_categories_is_one() -> None:
    age = ColumnProfile("age", "number", ColumnCounts((50, 30, 10), 10), (40.0, 60.5))
    assert bars_of(age, age.counts, ColumnCounts((0, 0, 5), 5)) == (
        Bar("up to 40", 0.5, 0.0),
        Bar("40 to 60.5", 0.3, 0.0),
        Bar("above 60.5", 0.1, 0.5),
        Bar("missing", 0.1, 0.5),
    )
    many = ColumnProfile("stays", "number", ColumnCounts((0, 6, 3, 1)), (-1e-45, 0.0, 5.0))
    assert [bar.name for bar in bars_of(many, many.counts, many.counts)] == ["below 0", "0", "0 to 5", "above 5"]
    few = ColumnProfile("stays", "number", ColumnCounts((0, 6, 4, 0)), (-1e-45, 0.0, 5.0))
    assert [bar.name for bar in bars_of(few, few.counts, few.counts)] == ["below 0", "0", "5", "above 5"]
    shops = tuple(f"s{index:02d}" for index in range(14))
    shop = ColumnProfile("shop", "category", ColumnCounts((1,) * 14), labels=shops)
    bars = bars_of(shop, shop.counts, ColumnCounts((0,) * 13 + (12,), unknown=2))
    assert [bar.name for bar in bars] == ["s13", *shops[:9], "4 others", "new"]
    assert bars[0].live == 12 / 14
    assert [percent(share) for share in (0.0, 0.0004, 0.004, 0.0996, 1.0)] == ["0%", "<0.1%", "0.4%", "10%", "100%"]
