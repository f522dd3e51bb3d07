"""The report in a browser, sandboxed as MLflow shows it; skipped where there is none."""

import html
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.report.test_page import STUDIES
from winnow.report import render_report

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--virtual-time-budget=10000",
)

CHECK = """<script>
const shown = [...document.querySelectorAll("figure > div")].map((div) => [div.id, !!div.querySelector(".main-svg")]);
const parallel = document.getElementById("parallel");
if (parallel) shown.push(["parallel", parallel.querySelectorAll("path").length > 0]);
document.querySelectorAll("thead button")[0]?.click();
document.querySelector("[data-order=mean]")?.click();
document.getElementById("theme").click();
console.log("drawn: " + JSON.stringify(Object.fromEntries(shown)));
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.parametrize("name", ["usual", "one trial", "all failed", "names with HTML"])
def test_every_chart_is_drawn_in_a_sandboxed_frame(name: str, tmp_path: Path) -> None:
    assert BROWSER is not None
    report = render_report(STUDIES[name].view()).replace("</body>", CHECK)
    frame = f'<iframe sandbox="allow-scripts" width="1200" height="3000" srcdoc="{html.escape(report)}"></iframe>'
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    address = (tmp_path / "frame.html").as_uri()
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [BROWSER, *FLAGS, profile, "--enable-logging=stderr", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(said) == 1, said
    assert "drawn: " in said[0]
    assert "false" not in said[0]
