"""Where a report is written, and what happens where it cannot be."""

from pathlib import Path

import pytest

from tests.unit.report.sample_study import SampleStudy
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.report import report_path, write_page, write_report


def settings_in(home: Path) -> Settings:
    return Settings.from_environment({"WINNOW_HOME": str(home)})


def test_a_report_lies_with_its_study(tmp_path: Path) -> None:
    assert report_path(settings_in(tmp_path), "iris") == tmp_path / "studies" / "iris" / "report.html"


def test_a_report_replaces_the_last_one_whole(tmp_path: Path) -> None:
    page = tmp_path / "new" / "folder" / "report.html"
    for trials in (3, 1):
        write_page(SampleStudy(trials=trials).view(), page)
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match=f"found a folder at {tmp_path}"):
        write_page(SampleStudy(trials=1).view(), tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_page_where_no_file_can_be_is_refused() -> None:
    with pytest.raises(InputError, match=r"/proc/none/report\.html: expected a file that can be written"):
        write_page(SampleStudy(trials=1).view(), Path("/proc/none/report.html"))


def test_a_study_that_does_not_exist_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        write_report(settings_in(tmp_path / "home"), "iris")
    assert list(tmp_path.iterdir()) == []
