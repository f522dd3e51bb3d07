"""Where winnow runs."""

from __future__ import annotations

import pytest

from winnow.config.errors import InputError
from winnow.config.system import check_system


def test_linux_and_macos_are_accepted() -> None:
    check_system("linux")
    check_system("darwin")


def test_windows_is_refused_and_wsl_is_named() -> None:
    with pytest.raises(InputError) as refused:
        check_system("win32")
    assert str(refused.value) == (
        "this machine: expected Linux or macOS, found Windows. "
        "Run winnow in WSL2 (`wsl --install`), where it runs as on Linux."
    )
