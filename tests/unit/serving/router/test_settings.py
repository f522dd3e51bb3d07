"""What a router's environment may say."""

from __future__ import annotations

import pytest

from winnow.serving.router.__main__ import main


@pytest.mark.parametrize(
    ("settings", "token", "expected"),
    [
        ("", "x", "WINNOW_ROUTER: expected the router's settings as JSON, found none"),
        ("{}", "x", "WINNOW_ROUTER: expected the router's settings as JSON, found other content"),
        ('{"name": "a", "route": {}, "stable": [], "candidate": []}', "x", "an address of the stable revision"),
        ('{"name": "a", "route": {}, "stable": ["a"], "candidate": []}', "x", "expected addresses HOST:PORT"),
        ('{"name": "a", "route": {"candidate": 2}, "stable": ["a:1"], "candidate": []}', "x", "of the candidate"),
        ('{"name": "a", "route": {"weight": 2}, "stable": ["a:1"], "candidate": []}', "x", "a weight from 0 to 1"),
        ("{}", "", "WINNOW_ROUTER_TOKEN: expected a secret text, found none"),
    ],
)
def test_wrong_settings_are_one_error(
    settings: str, token: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WINNOW_ROUTER", settings)
    monkeypatch.setenv("WINNOW_ROUTER_TOKEN", token)
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
