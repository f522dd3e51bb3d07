"""Where the API key comes from that replicas are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.platforms.api_key import key_file


def test_the_key_is_what_the_file_holds_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    assert key_file({"WINNOW_API_KEY_FILE": str(tmp_path / "key")}) == "s3cret"


def test_without_a_file_there_is_none() -> None:
    assert key_file({}) is None
    assert key_file({"WINNOW_API_KEY_FILE": ""}) is None


@pytest.mark.parametrize(("content", "found"), [(None, "no such file"), (b" \n", "empty"), (b"\xff\xfe", "no text")])
def test_a_file_without_a_key_is_refused_instead_of_opening_the_model(
    tmp_path: Path, content: bytes | None, found: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match=rf"WINNOW_API_KEY_FILE: expected .* found '.*' \({found}"):
        key_file({"WINNOW_API_KEY_FILE": str(tmp_path / "key")})
