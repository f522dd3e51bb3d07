"""What holds for all tests.

Tools are installed before the first test, so that no test's time limit counts their downloads.
"""

import gc

import pytest

from tests.tools import installed

# As in `winnow.cli.main`: the libraries' objects make looking for garbage slow.
gc.set_threshold(100_000, 20, 20)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what the chosen tests name, as `tools("feast")` or `spark`."""
    if session.config.option.collectonly:
        return
    named = {str(name) for test in session.items for mark in test.iter_markers("tools") for name in mark.args}
    spark = {"spark"} if any(test.get_closest_marker("spark") for test in session.items) else set()
    for name in sorted(named | spark):
        installed(name)
