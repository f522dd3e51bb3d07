"""Experiments as values, tables and a page."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from tests.unit.report.sample_study import SampleStudy
from winnow.report.sheets import render_sheets
from winnow.study.catalog import StudySummary
from winnow.study.experiments import (
    ChampionChange,
    ExperimentStudy,
    ExperimentVersion,
    TrackedExperiment,
    TrackedExperiments,
    compare_studies,
    study_of,
)


def _study(name: str = "one") -> ExperimentStudy:
    return ExperimentStudy(
        name=name,
        state="done",
        trials={"complete": 8, "pruned": 1, "failed": 1, "running": 0},
        target=10,
        metric="f1",
        goal="maximize",
        winner=3,
        metrics={"f1": (0.91, 0.02)},
        holdout={"f1": 0.9},
        params={"lr": 0.01},
        folds=5,
        splitter="stratified",
        holdout_share=0.2,
        seed=0,
        data_name="churn.csv",
        data_rows=5000,
        data_sha256="a" * 64,
        settings={"search.trials": 10, "training.epochs": 30},
        versions=("1", "2"),
        started_at_ms=1_795_000_000_000,
        changed_at_ms=1_795_000_065_000,
    )


def test_a_comparison_shows_only_the_settings_that_differ() -> None:
    other = replace(_study("two"), settings={"search.trials": 10, "training.epochs": 60, "model.depth": 2})
    found = compare_studies([_study(), other])
    assert found.settings == {"training.epochs": (30, 60), "model.depth": (None, 2)}
    assert found.metrics == {"f1": ((0.91, 0.02), (0.91, 0.02))}
    assert found.incomparable == ()


def test_scores_of_other_data_folds_metrics_and_seeds_are_not_comparable() -> None:
    other = replace(_study("two"), data_sha256="b" * 64, folds=10, metric="auroc", seed=1)
    assert compare_studies([_study(), other]).incomparable == (
        "the data differs (aaaaaaaaaaaa, bbbbbbbbbbbb)",
        "the number of folds differs (5, 10)",
        "the metric differs (f1, auroc)",
        "the seed differs (0, 1)",
    )


def test_the_tables_hold_studies_versions_champions_and_the_comparison() -> None:
    versions = (
        ExperimentVersion("2", ("candidate",), {"staging": "passed"}),
        ExperimentVersion("1", ("champion",), {}),
    )
    champions = (ChampionChange("1", "2026-11-18T11:06:40+00:00", "the highest"),)
    studies = (_study(), replace(_study("two"), winner=None, metrics={}, holdout={}, params={}, versions=(), seed=1))
    tracked = TrackedExperiments((TrackedExperiment("churn", studies, versions, champions),), compare_studies(studies))
    listed, registered, crowned, compared, params, settings = tracked.sheets()
    data, when = "aaaaaaaaaaaa, 5,000 rows", ("2026-11-18 11:06 UTC", "1 min 05 s")
    assert listed.rows == (
        ("one", "done", "10 of 10", "f1 0.9100 ± 0.0200 (trial 3)", "0.9000", data, *when, "1, 2"),
        ("two", "done", "10 of 10", "no complete trial", "–", data, *when, "–"),
    )
    assert registered.rows == (("2", "@candidate", "staging", "passed"), ("1", "@champion", "", ""))
    assert crowned.rows == (("2026-11-18 11:06", "1", "the highest"),)
    assert compared.notes == ("Their scores are NOT comparable: the seed differs (0, 1).",)
    assert compared.rows == (("f1", "0.9100 ± 0.0200", "–"), ("holdout.f1", "0.9000", "–"))
    assert (params.rows, settings.notes) == ((("lr", "0.01", "–"),), ("The experiment files do not differ.",))


def test_a_study_is_described_by_its_winner_and_shows_no_environment_variable() -> None:
    view = SampleStudy(trials=6).view()
    sweep = replace(
        view.sweep, experiment={"data": {"holdout": 0.2}, "execution": {"env": {"KEY": "secret"}, "cpus": 1}}
    )
    best = next(trial for trial in view.trials if trial.number == view.winner)
    summary = StudySummary("s", "done", {"complete": 6}, 6, "f1", best.value, best.number, 0, 1, ())
    found = study_of(summary, sweep, best, ["10", "9"])
    assert found.settings == {"data.holdout": 0.2, "execution.cpus": 1}
    assert (found.versions, found.holdout_share, found.params) == (("9", "10"), 0.2, dict(best.params))


def test_the_page_loads_nothing_and_shows_markup_as_text() -> None:
    studies = (_study(), replace(_study("two"), params={"lr": "<script src=x>"}))
    page = render_sheets(
        "Experiments", TrackedExperiments((TrackedExperiment("churn", studies),), compare_studies(studies)).sheets()
    )
    seen: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: seen.append((tag, dict(attributes)))  # type: ignore[method-assign]
    parser.feed(page)
    assert not [tag for tag, attributes in seen if {"src", "href"} & attributes.keys()]
    assert {attributes.get("scope") for tag, attributes in seen if tag == "th"} == {"row", "col"}
    assert "&lt;script src=x&gt;" in page
