"""systemd units that call `winnow monitor` and `winnow retrain --if-due`. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from winnow.platforms.regular_calls import RegularCalls

_HEAD = """\
# For systemd's user manager; as root, for the system's in /etc/systemd/system, with `User=` in both services:
#     winnow render --kind timer > units; mkdir -p ~/.config/systemd/user
#     awk '/^# FILE /{{file = $3; next}} file {{print > ENVIRON["HOME"] "/.config/systemd/user/" file}}' units
#     systemctl --user daemon-reload
#     systemctl --user enable --now winnow-{name}-monitor.timer winnow-{name}-retrain.timer
#     loginctl enable-linger        # so that they run while you are not logged in
# `journalctl --user -u winnow-{name}-monitor` shows what they said. Addresses of stores of your own
# (MLFLOW_TRACKING_URI, WINNOW_STORAGE), tokens and keys belong into a file that `EnvironmentFile=` names.
"""
_SERVICE = """\
# FILE winnow-{name}-{verb}.service
[Unit]
Description={description}
After=network-online.target{after}

[Service]
Type=oneshot
WorkingDirectory={folder}
Environment={home}
ExecStart={command}
# 3: an alarm, or a version that did not pass. It was said, and is no failure of the unit.
SuccessExitStatus=3
# Replicas and workers on this machine outlive the call.
KillMode=process
"""
_TIMER = """\
# FILE winnow-{name}-{verb}.timer
[Unit]
Description={description}

[Timer]
OnActiveSec=1min
{interval}={every_s:.0f}s
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def units(calls: RegularCalls, home: Path, python: str = sys.executable) -> str:
    """Two services with their timers as one text, in which a line `# FILE NAME` begins each file."""
    name = calls.name
    monitor = [python, "-m", "winnow", "monitor", "--config", str(calls.config)]
    retrain = [python, "-m", "winnow", "retrain", "--if-due", "--config", str(calls.config)]
    shared = {"name": name, "folder": _escaped(str(calls.folder)), "home": _quoted(f"WINNOW_HOME={home}")}
    watch, train = f"Look at the model of {name}", f"Train the model of {name} again where that is due"
    after = f" winnow-{name}-monitor.service"
    files = [
        _SERVICE.format(**shared, verb="monitor", description=watch, after="", command=_command(monitor)),
        _TIMER.format(name=name, verb="monitor", description=watch, interval="OnUnitActiveSec", every_s=calls.every_s),
        _SERVICE.format(**shared, verb="retrain", description=train, after=after, command=_command(retrain)),
        _TIMER.format(
            name=name, verb="retrain", description=train, interval="OnUnitInactiveSec", every_s=calls.every_s
        ),
    ]
    return "\n".join([_HEAD.format(name=name), *files])


def _command(words: Sequence[str]) -> str:
    return " ".join(_quoted(word).replace("$", "$$") for word in words)


def _quoted(word: str) -> str:
    """A word as systemd reads it (systemd.syntax(7))."""
    if re.fullmatch(r"[\w@%+=:,./-]+", word):
        return _escaped(word)
    return '"' + _escaped(word).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
