"""Optuna's dashboard: beside a study that trains, read-only, on this machine alone."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.study.studies import claim, fold, leases_of, make_study, record_fold
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.dashboard import Dashboard, open_dashboard
from winnow.study.store import StudyStore


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return make_study(tmp_path)


@pytest.fixture
def dashboard(store: StudyStore, tmp_path: Path) -> Iterator[Dashboard]:
    opened = open_dashboard(Settings.from_environment({"WINNOW_HOME": str(tmp_path)}), 0)
    threading.Thread(target=opened.serve, daemon=True).start()
    yield opened
    opened.server.shutdown()


def ask(dashboard: Dashboard, path: str, method: str = "GET") -> Any:
    """The answer to a request, as JSON."""
    request = urllib.request.Request(dashboard.address.replace("/dashboard", path), method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_it_shows_the_studies_on_this_machine_only(dashboard: Dashboard, tmp_path: Path) -> None:
    assert dashboard.address.startswith("http://127.0.0.1:")
    assert (dashboard.storage, dashboard.studies) == (f"sqlite:///{tmp_path}/studies.db", ("a-study",))
    assert [each["study_name"] for each in ask(dashboard, "/api/studies")["study_summaries"]] == ["a-study"]


def test_a_study_trains_on_while_its_pages_are_read(dashboard: Dashboard, store: StudyStore) -> None:
    leases = leases_of(store)
    lease = claim(leases)
    record_fold(leases, lease, fold(0), 0.25)
    (trial,) = ask(dashboard, "/api/studies/1?after=0")["trials"]
    assert trial["intermediate_values"] == [{"step": 0, "value": 0.25}]
    record_fold(leases, lease, fold(1), 0.5)
    assert store.trial(0).folds == (fold(0), fold(1))


def test_it_changes_nothing(dashboard: Dashboard) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        ask(dashboard, "/api/studies/1", "DELETE")
    assert ask(dashboard, "/api/studies")["study_summaries"] != []


def test_without_studies_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"studies\.db: expected the study's database"):
        open_dashboard(Settings.from_environment({"WINNOW_HOME": str(tmp_path)}))
    assert list(tmp_path.iterdir()) == []
