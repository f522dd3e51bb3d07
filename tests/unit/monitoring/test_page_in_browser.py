"""The page of a look in a browser, as narrow as a phone; skipped where there is none."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.monitoring.sample_report import sample_report
from tests.unit.report.test_in_browser import BROWSER, FLAGS
from winnow.monitoring.page import render_page

FRAME = """<p id="said"></p>
<iframe width="390" height="3000" style="border: 0" srcdoc="{page}"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {{
  const page = frame.contentDocument, root = page.documentElement;
  const color = () => frame.contentWindow.getComputedStyle(page.body).backgroundColor;
  const before = color();
  page.getElementById("theme").click();
  const heights = [...page.querySelectorAll("svg")].map((each) => each.getBoundingClientRect().height > 100);
  said.textContent = JSON.stringify([root.scrollWidth <= root.clientWidth, before !== color(), ...heights]);
}});
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_phone_shows_the_page_without_scrolling_sideways(tmp_path: Path) -> None:
    assert BROWSER is not None
    page = render_page(*sample_report(tmp_path))
    (tmp_path / "frame.html").write_text(FRAME.format(page=html.escape(page)), encoding="utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [BROWSER, *FLAGS, profile, "--virtual-time-budget=5000", "--dump-dom", (tmp_path / "frame.html").as_uri()]

    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert re.findall(r'<p id="said">(.*)</p>', shown) == ["[true,true,true,true,true,true]"]
