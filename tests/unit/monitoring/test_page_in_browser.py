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

CHECK = """<script>
const root = document.documentElement, charts = [...document.querySelectorAll("svg")];
const before = getComputedStyle(document.body).backgroundColor;
document.getElementById("theme").click();
const isSwitched = before !== getComputedStyle(document.body).backgroundColor;
const heights = charts.map((each) => each.getBoundingClientRect().height > 100);
parent.postMessage(JSON.stringify([root.scrollWidth <= root.clientWidth, isSwitched, ...heights]), "*");
</script></body>"""
FRAME = """<p id="said"></p>
<script>addEventListener("message", ({{ data }}) => {{ said.textContent = data; }});</script>
<iframe sandbox="allow-scripts" width="390" height="3000" style="border: 0" srcdoc="{page}"></iframe>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_phone_shows_the_page_without_scrolling_sideways(tmp_path: Path) -> None:
    assert BROWSER is not None
    page = render_page(*sample_report(tmp_path)).replace("</body>", CHECK)
    (tmp_path / "frame.html").write_text(FRAME.format(page=html.escape(page)), encoding="utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [BROWSER, *FLAGS, profile, "--virtual-time-budget=5000", "--dump-dom", (tmp_path / "frame.html").as_uri()]

    said = [""]
    for _ in range(3):  # on a busy machine Chromium may give up before the frame has said anything
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        said = re.findall(r'<p id="said">(.*)</p>', shown)
        if said != [""]:
            break
    assert said == ["[true,true,true,true,true,true]"]
