"""The report in a browser, sandboxed as MLflow shows it; skipped where there is none."""

import html
import shutil
import subprocess
import threading
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
)

CHECK = """<script>
const shown = () => [...document.querySelectorAll("figure")].map((each) => [each.id, !!each.querySelector("path")]);
const check = (tries) => {
  const before = shown();
  if (tries && before.some(([, isDrawn]) => !isDrawn)) return setTimeout(check, 20, tries - 1);
  document.querySelectorAll("#table thead button")[0]?.click();
  document.querySelector("[data-order=mean]")?.click();
  document.querySelectorAll("[data-key]").forEach((button) => { button.click(); button.click(); });
  document.getElementById("theme").click();
  console.log("drawn: " + JSON.stringify([before, shown()]));
};
check(100);
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
    command = [BROWSER, *FLAGS, profile, "--enable-logging=stderr", address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as browser:
        assert browser.stderr is not None
        timer = threading.Timer(60, browser.kill)
        timer.start()
        said = next((line for line in browser.stderr if "CONSOLE" in line), "")
        timer.cancel()
        browser.kill()
    assert "drawn: " in said
    assert "false" not in said
