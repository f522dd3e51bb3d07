"""An A/B test on local processes: predictions, their outcomes, the verdict, and the winner that serves."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.models import Winnow, address, said, two_models
from tests.e2e.outcomes import batch
from winnow.tracking.history import RejectedRecord
from winnow.tracking.registry import Registry

MOST_REQUESTS = 12_000


@pytest.fixture
def winnow() -> Iterator[Winnow]:
    with two_models() as made:
        yield made


def served(winnow: Winnow) -> str:
    """Serve version 1 as an experiment file says, and make version 2 the champion. Gives the address."""
    log = str(winnow.home / "log.jsonl")
    keys = {
        "metric": "accuracy",
        "min_effect": 0.05,
        "max_duration": "10m",
        "outcomes": log,
        "step_duration_seconds": 2,
        "conditions": [],
    }
    experiment = {
        "name": "cells",
        "data": {"source": "sklearn:breast_cancer"},
        "search": {"metric": "f1", "space": {"lr": {"float": [0.001, 0.1]}}},
        "serving": {"log": {"to": log}, "rollout": {"strategy": "ab", **keys}},
    }
    (winnow.home / "cells.yaml").write_text(yaml.safe_dump(experiment))
    winnow.crown(0)
    done = winnow.run("prod", "--config", str(winnow.home / "cells.yaml"))
    assert done.returncode == 0, done.stderr
    winnow.crown(1)
    return address(done.stdout)


def ask(url: str, driver: subprocess.Popen[str], accuracy: dict[str, float]) -> None:
    """Send requests and their outcomes until the test has ended."""
    said(driver, "0.5 (go to revision)")
    rng, sent = random.Random(0), 0
    while driver.poll() is None and sent < MOST_REQUESTS:
        sent += batch(url, rng, accuracy)
    driver.wait(60)


def test_the_version_with_the_better_outcomes_is_promoted_and_a_worse_one_sent_away(winnow: Winnow) -> None:
    url = served(winnow)
    command = ("prod", "--config", str(winnow.home / "cells.yaml"))
    with winnow.running(*command) as driver:
        ask(url, driver, {"1": 0.97, "2": 0.8})
    assert driver.returncode == 1, winnow.run("rollout-status", "--name", "cells").stdout
    refused = winnow.run(*command)
    assert (refused.returncode, "the candidate is not better by 0.05: accuracy is 0." in refused.stderr) == (3, True)

    with winnow.running(*command, "--again") as driver:
        ask(url, driver, {"1": 0.8, "2": 0.97})
    assert driver.returncode == 0
    status = json.loads(winnow.run("rollout-status", "--name", "cells", "--json").stdout)
    assert status["state"] == "promoted"
    assert status["reason"].startswith("the candidate wins: accuracy is 0.")
    (deployment,) = json.loads(winnow.run("prod-status", "--name", "cells", "--json").stdout)
    assert (deployment["release"]["version"], deployment["rejected"]) == ("2", [])
    ((_, noted),) = Registry(winnow.uri).records("cells", RejectedRecord)
    assert noted.version == "2"
    shown = winnow.run("outcomes", "--input", str(winnow.home / "log.jsonl"), "--json")
    assert shown.returncode == 0, shown.stderr
