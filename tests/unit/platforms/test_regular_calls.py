"""systemd units and CronJobs call `monitor` and `retrain`, as often as the experiment says."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from winnow.config.errors import InputError
from winnow.platforms.kubernetes.cron_jobs import cron_expression, cron_jobs
from winnow.platforms.regular_calls import RegularCalls
from winnow.platforms.systemd import units

IMAGE = f"registry.example/winnow-train@sha256:{'a' * 64}"
CALLS = RegularCalls("churn", Path("experiments/churn.yaml"), Path("/srv/churn"), 3600.0, "deploy", IMAGE)


def files(text: str) -> dict[str, str]:
    parts = re.split(r"^# FILE (\S+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def lines(file: str) -> list[str]:
    return [line for line in file.splitlines() if line and not line.startswith("#")]


def test_units_call_monitor_and_retrain_and_leave_replicas_alone() -> None:
    found = files(units(CALLS, Path("/srv/churn/.winnow"), "/opt/venv/bin/python"))
    assert list(found) == [
        f"winnow-churn-{each}" for each in ("monitor.service", "monitor.timer", "retrain.service", "retrain.timer")
    ]
    assert lines(found["winnow-churn-retrain.service"]) == [
        "[Unit]",
        "Description=Train the model of churn again where that is due",
        "After=network-online.target winnow-churn-monitor.service",
        "[Service]",
        "Type=oneshot",
        "WorkingDirectory=/srv/churn",
        "Environment=WINNOW_HOME=/srv/churn/.winnow",
        "ExecStart=/opt/venv/bin/python -m winnow retrain --if-due --config experiments/churn.yaml",
        "SuccessExitStatus=3",
        "KillMode=process",
    ]
    assert "OnUnitActiveSec=3600s" in lines(found["winnow-churn-monitor.timer"])
    assert "OnUnitInactiveSec=3600s" in lines(found["winnow-churn-retrain.timer"])


def test_odd_paths_are_quoted_as_systemd_reads_them() -> None:
    odd = dataclasses.replace(CALLS, config=Path('a 100% "$odd" file.yaml'))
    service = files(units(odd, Path("/home/a b/.winnow"), "/opt/venv/bin/python"))["winnow-churn-monitor.service"]
    assert r'--config "a 100%% \"$$odd\" file.yaml"' in service
    assert 'Environment="WINNOW_HOME=/home/a b/.winnow"' in service


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    calls = dataclasses.replace(CALLS, folder=tmp_path)
    for name, text in files(units(calls, tmp_path)).items():
        (tmp_path / name).write_text(text)
    paths = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "winnow-churn" in line]
    assert said == []


def test_cron_jobs_call_them_from_the_image_and_end_with_the_gates() -> None:
    text = cron_jobs(CALLS)
    volume, monitor, retrain = yaml.safe_load_all(text)
    assert volume["metadata"]["name"] == "winnow-churn-monitor"
    assert [each["spec"]["schedule"] for each in (monitor, retrain)] == ["0 * * * *"] * 2
    containers = [
        each["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0] for each in (monitor, retrain)
    ]
    calls = [each["command"][2].partition("; status")[0] for each in containers]
    assert [each["image"] for each in containers] == [IMAGE, IMAGE]
    assert calls == [
        "/opt/venv/bin/python -m winnow monitor --config experiments/churn.yaml --platform kubernetes",
        "/opt/venv/bin/python -m winnow retrain --if-due --config experiments/churn.yaml --platform local "
        "--stop-after promote",
    ]
    assert "no pod has an engine" in text
    assert "no pod has an engine" not in cron_jobs(dataclasses.replace(CALLS, stop_after="select"))


@pytest.mark.parametrize(("status", "ends"), [(0, 0), (1, 1), (2, 2), (3, 0)])
def test_a_verdict_does_not_fail_the_job(status: int, ends: int) -> None:
    retrain = list(yaml.safe_load_all(cron_jobs(CALLS)))[2]
    command = retrain["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    call = command[2].replace("/opt/venv/bin/python -m winnow", f"sh -c {shlex.quote(f'exit {status}')}")
    assert subprocess.run([*command[:2], call], check=False).returncode == ends


def test_names_fit_what_a_cron_job_may_be_called() -> None:
    long = dataclasses.replace(CALLS, name="a" * 63)
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(cron_jobs(long))]
    assert max(map(len, names)) <= 52
    assert len(set(names[1:])) == 2


@pytest.mark.parametrize(
    ("every_s", "expression"),
    [(60, "* * * * *"), (900, "*/15 * * * *"), (3600, "0 * * * *"), (4 * 3600, "0 */4 * * *"), (86400, "0 0 * * *")],
)
def test_what_cron_can_express_is_expressed(every_s: float, expression: str) -> None:
    assert cron_expression(every_s) == expression


@pytest.mark.parametrize("every_s", [30, 5400, 25 * 60, 5 * 3600, 2 * 86400])
def test_what_cron_cannot_express_is_refused(every_s: float) -> None:
    with pytest.raises(InputError, match=r"monitoring\.every: expected what a CronJob can do"):
        cron_expression(every_s)


@pytest.mark.parametrize(
    ("change", "place"),
    [({"image": ""}, "image"), ({"config": Path("../x.yaml")}, "config"), ({"config": Path("/etc/x.yaml")}, "config")],
)
def test_a_cron_job_needs_an_image_with_the_file(change: dict[str, object], place: str) -> None:
    with pytest.raises(InputError, match=f"^{place}: "):
        cron_jobs(dataclasses.replace(CALLS, **change))
