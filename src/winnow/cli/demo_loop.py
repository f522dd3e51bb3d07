"""`winnow demo-loop`: from a sweep over drift and an alarm to a new champion, with the commands that you would type."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from winnow.cli.demo import step
from winnow.cli.options import say
from winnow.config.disk import home_of
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from winnow.api import SweepResult

NAME = "churn-loop"
STEPS = 8
OTHERS = ("MLFLOW_TRACKING_URI", "WINNOW_STORAGE", "WINNOW_API_KEY")
"""Variables that would lead out of the demo's own folder, or into its deployment."""
ROWS, ASKED = 2000, 1500
REQUESTS_PER_S, ASKED_PER_S = 150.0, 400.0
COUNTED_WITHIN_S = 1.5
"""How long replicas may take until their counters have all that they were asked."""

EXPERIMENT = """\
# Which customers leave, from the latest month's rows. docs/configuration.md explains every key.
name: churn-loop
data:
  source: {folder}/customers.csv
  target: churned
  positive: "yes"
  columns: {{customer_id: drop, comment: drop, last_call: drop, sales_channel: category}}
  holdout: 0.3
model: {{factory: "winnow.models:mlp"}}
search:
  space:
    lr: {{float: [3.0e-3, 3.0e-2], log: true}}
    hidden: {{choice: [[16], [32]]}}
  trials: 4
  metric: {{name: auroc}}
cross_validation: {{splitter: stratified, folds: 3}}
training: {{epochs: 8, batch_size: 64}}
refit: {{top: 2}}
serving:
  rollout:
    strategy: canary            # a quarter of the requests, then half, then all, if errors and answer times allow it
    initial_weight: 0.25
    weight_steps: [0.5, 1.0]
    step_duration_seconds: 2
    max_step_duration_seconds: 90
    conditions: [{{type: errors, margin: 0.05}}, {{type: latency, margin: 9, quantile: 0.9}}]
monitoring:
  every: 1h
  false_alarms_per_month: 1
  alert: {{command: "tee -a {folder}/alarms.jsonl"}}
retrain: {{rules: {folder}/rules.yaml}}
"""
RULES = """\
# What a version has to show before it serves. docs/gates.md explains every gate.
gates:
  staging:
  - {type: metric, metric: auroc, min: 0.55}
  production:
  - {type: metric, metric: auroc, min: 0.55}
  - {type: champion, metric: auroc}             # better than the champion, on rows that neither was trained on
"""


@click.command("demo-loop")
@click.option("--keep", is_flag=True, help="Keep serving the model, and the demo's folder, at the end.")
def command(keep: bool) -> None:
    """Sweep, judge by gates, serve by canary; then drift is found, and a new champion is trained and takes over.

    Everything is local, in a folder of its own, which is removed at the end.
    """
    folder = home_of() / "demo-loop"
    with _own_home(folder) as config:
        try:
            _loop(folder, config)
        finally:
            if not keep:
                _remove(folder)
    if keep:
        stop = next_command("prod-remove", name=NAME)
        click.echo(f"\nKept: {folder}. The model serves until `{stop}`.")


def _loop(folder: Path, config: Path) -> None:
    click.echo("winnow demo-loop: a model is trained, served, watched, and trained again. No server, no account.")
    with step(
        1, STEPS, "January: rows with known outcomes, and a sweep over them", next_command("train", config=config)
    ):
        _generate(folder, "January", seed=1, drifted=False)
        sweep = _sweep(config)
    rules = folder / "rules.yaml"
    with step(
        2,
        STEPS,
        "Gates: a version has to show what it can",
        next_command("promote-model", stage="production", config=config, rules=rules),
    ):
        _call("select-model", config, "--rules", str(rules))
        for stage in ("staging", "production"):
            _call("promote-model", config, "--stage", stage, "--rules", str(rules))
    other = next(each.version for each in sweep.refits if sweep.best is None or each.trial != sweep.best.number)
    with step(
        3, STEPS, "Canary: it takes over from an earlier version", next_command("prod", platform="local", config=config)
    ):
        _call("prod", config, "--version", str(other), quiet=True)
        with _customers(seed=11, drifted=False):
            _call("prod", config, quiet=True)
    with step(4, STEPS, "Look: what customers ask is like the training rows", next_command("monitor", config=config)):
        _ask(seed=12, drifted=False)
        _expect(_call("monitor", config), 0, "no alarm")
    with step(
        5, STEPS, "Drift: in February prices rise, and other customers leave", next_command("monitor", config=config)
    ):
        _ask(seed=13, drifted=True)
        _expect(_call("monitor", config), 3, "an alarm")
    again = next_command("retrain", config=config, if_due=True)
    with step(6, STEPS, "Retrain: February's outcomes are known, and a new version has to beat the champion", again):
        _generate(folder, "February", seed=2, drifted=True)
        with _customers(seed=14, drifted=True):
            _expect(_call("retrain", config, "--if-due"), 0, "a new champion")
    with step(7, STEPS, "Look again: the new champion knows February, and nothing is due", again):
        _ask(seed=15, drifted=True)
        _expect(_call("monitor", config), 0, "no alarm")
        _expect(_call("retrain", config, "--if-due"), 0, "nothing to do")
    with step(8, STEPS, "Why: where the champion comes from, and what happened", next_command("why", config=config)):
        _expect(_call("why", config), 0, "a history")


@contextmanager
def _own_home(folder: Path) -> Iterator[Path]:
    """Make the demo's folder the home of everything that the verbs write; yield the experiment file."""
    before = dict(os.environ)
    os.environ["WINNOW_HOME"] = str(folder)
    for name in OTHERS:
        os.environ.pop(name, None)
    try:
        if folder.is_dir():  # an earlier demo was killed, or kept
            _remove(folder)
        folder.mkdir(parents=True)
        config = folder / "experiment.yaml"
        config.write_text(EXPERIMENT.format(folder=folder), encoding="utf-8")
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        yield config
    finally:
        os.environ.clear()
        os.environ.update(before)


def _remove(folder: Path) -> None:
    from winnow import api

    api.remove_deployment(name=NAME, platform="local")
    shutil.rmtree(folder)


def _call(verb: str, config: Path, *flags: str, quiet: bool = False) -> int:
    """Run a verb as the command line does; return its exit status."""
    from winnow.cli import winnow

    arguments = [verb, "--config", str(config), *flags]
    if not quiet:
        return winnow.main(arguments, standalone_mode=False) or 0
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - its address is on the screen already
        from contextlib import redirect_stdout

        with redirect_stdout(nowhere):
            return winnow.main(arguments, standalone_mode=False) or 0


def _expect(status: int, expected: int, what: str) -> None:
    if status != expected:
        raise click.ClickException(f"the demo expected {what}, and found exit status {status}")


def _sweep(config: Path) -> SweepResult:
    from winnow import api
    from winnow.cli.train import describe

    result = api.train(config)
    while result.refits_left:
        result = api.train(config)
    click.echo(describe(result, config))
    return result


def _generate(folder: Path, month: str, *, seed: int, drifted: bool) -> None:
    from winnow import api

    file = folder / "customers.csv"
    made = api.generate_data(file, kind="churn", rows=ROWS, seed=seed, drifted=drifted, force=True)
    say(f"{file}: {made.rows} customers of {month}, of whom it is known who left")


def _bodies(seed: int, *, drifted: bool) -> list[bytes]:
    """What customers ask: one row each."""
    import pandas as pd

    from winnow import api

    asked = home_of() / "asked.csv"
    api.generate_data(asked, kind="churn", rows=ASKED, seed=seed, drifted=drifted, force=True)
    frame = pd.read_csv(asked).drop(columns=["churned", "customer_id", "comment", "last_call"])
    return [json.dumps({"rows": [row]}).encode() for row in json.loads(frame.to_json(orient="records"))]


def _ask(seed: int, *, drifted: bool) -> None:
    """Send all requests of a batch, one after the other."""
    client = _Client()
    for body in _bodies(seed, drifted=drifted):
        client.send(body)
        time.sleep(1 / ASKED_PER_S)
    time.sleep(COUNTED_WITHIN_S)
    say(client.told)


@contextmanager
def _customers(seed: int, *, drifted: bool) -> Iterator[None]:
    """Customers who keep asking meanwhile."""
    bodies, client, ended = _bodies(seed, drifted=drifted), _Client(), threading.Event()

    def ask() -> None:
        place = 0
        while not ended.wait(1 / REQUESTS_PER_S):
            client.send(bodies[place % len(bodies)])
            place += 1

    thread = threading.Thread(target=ask, name="customers", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        say(f"meanwhile {client.told}")


class _Client:
    """One connection to the deployment, which is made again where it was closed."""

    def __init__(self) -> None:
        from winnow import api

        (served,) = api.status(name=NAME, platform="local").deployments
        self._address = urlsplit(served.deployment.url)
        self._connection = self._connected()
        self._sent = self._failed = 0

    @property
    def told(self) -> str:
        """How many requests were sent, and how many of them failed."""
        return f"customers asked {self._sent} times; {self._failed} requests failed"

    def send(self, body: bytes) -> None:
        """Ask for one prediction."""
        self._sent += 1
        for is_last in (False, True):
            with suppress(OSError, http.client.HTTPException):
                self._connection.request("POST", "/predict", body, {"content-type": "application/json"})
                answer = self._connection.getresponse()
                answer.read()
                self._failed += answer.status != 200
                return
            self._connection.close()
            self._connection = self._connected()
            self._failed += is_last

    def _connected(self) -> http.client.HTTPConnection:
        assert self._address.hostname is not None
        return http.client.HTTPConnection(self._address.hostname, self._address.port, timeout=30)
