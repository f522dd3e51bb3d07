"""The commands that serve a registered model: `prod`, `prod-status`, `inference-one`, `rollback`, `prod-remove`."""

from __future__ import annotations

import json
import subprocess
import textwrap
import urllib.request
from collections.abc import Iterator

import pytest

from tests.e2e.models import Winnow, address, said, two_models
from tests.unit.serving import bundles
from winnow.tracking.history import RejectedRecord, RolloutRecord
from winnow.tracking.registry import Registry


@pytest.fixture
def winnow() -> Iterator[Winnow]:
    with two_models() as made:
        yield made


def test_a_champion_is_served_asked_replaced_rolled_back_and_removed(winnow: Winnow) -> None:
    refused = winnow.run("prod", "--study", "cells")
    assert (refused.returncode, "select-model" in refused.stderr) == (2, True)

    winnow.crown(0)
    planned = winnow.run("prod", "--study", "cells", "--dry-run")
    assert "-m winnow.serving" in planned.stdout
    assert "Nothing is being served" in winnow.run("prod-status").stdout

    served = winnow.run("prod", "--study", "cells")
    assert (served.returncode, "cells version 1 (1.0.0)" in served.stdout) == (0, True), served.stderr
    url = address(served.stdout)
    with urllib.request.urlopen(f"{url}/model") as card:
        assert json.load(card)["semantic_version"] == "1.0.0"
    asked = winnow.run("inference-one", "--study", "cells", "--json")
    assert set(json.loads(asked.stdout)) == {"predictions", "probabilities", "model", "request_id"}
    assert "nothing was changed" in winnow.run("prod", "--study", "cells").stdout

    winnow.crown(1)
    assert "cells version 2 (1.0.1)" in winnow.run("prod", "--study", "cells", "--version", "1.0.1").stdout
    assert "cells version 2 (1.0.1) (sha256" in winnow.run("prod-status").stdout
    rolled_back = winnow.run("rollback", "--study", "cells", "--reason", "complaints")
    assert "cells version 1" in rolled_back.stdout
    assert address(rolled_back.stdout) == url
    (status,) = json.loads(winnow.run("prod-status", "--json").stdout)
    assert (status["state"], status["release"]["version"], status["previous"]["version"]) == ("ready", "1", "2")

    refused = winnow.run("prod", "--study", "cells")
    assert (refused.returncode, "rolled it back: complaints" in refused.stderr) == (3, True), refused.stderr
    assert winnow.run("rollback", "--study", "cells").returncode == 3
    assert "rolled it back: complaints" in winnow.run("prod-status").stdout
    ((_, noted),) = Registry(winnow.uri).records("cells", RejectedRecord)
    assert (noted.version, noted.deployment) == ("2", "cells")
    assert "cells version 2" in winnow.run("prod", "--study", "cells", "--again").stdout
    moves = [each for _, each in Registry(winnow.uri).records("cells", RolloutRecord)]
    assert [(each.version, each.replaced) for each in moves] == [("1", ""), ("2", "1"), ("1", "2"), ("2", "1")]
    assert {(each.deployment, each.platform, each.state) for each in moves} == {("cells", "local", "promoted")}
    assert "rolled it back: complaints" in moves[2].reason
    why = winnow.run("why", "--study", "cells", "--version", "1.0.0", "--html", str(winnow.home / "why.html"))
    assert (why.returncode, "version 1 (1.0.0) took its place" in why.stdout) == (0, False), why.stderr
    assert "answers all requests to cells on local in place of version 2 (1.0.1): version 2 was sent away" in why.stdout
    assert "complaints" in (winnow.home / "why.html").read_text()
    run = Registry(winnow.uri).versions("cells")[0].run_id
    assert "cells version 2" in winnow.run("why", "--run", run).stdout
    assert winnow.run("why", "--study", "cells", "--version", "9").returncode == 2
    assert winnow.run("why", "--run", "unknown").returncode == 2

    assert "no longer served" in winnow.run("prod-remove", "--study", "cells").stdout
    assert winnow.run("prod-remove", "--study", "cells").returncode == 0
    assert winnow.run("inference-one", "--study", "cells").returncode == 2


def test_inference_one_shows_the_answer_and_the_curl_that_gets_it(winnow: Winnow) -> None:
    winnow.crown(0)
    url = address(winnow.run("prod", "--study", "cells").stdout)
    shown = winnow.run("inference-one", "--url", url).stdout
    assert "row 0: " in shown
    by_curl = subprocess.run(["bash", "-c", shown[shown.index("curl ") :]], capture_output=True, text=True, check=True)
    assert json.loads(by_curl.stdout)["model"]["version"] == "1"

    rows = winnow.home / "rows.json"
    for content, expected in (
        ([1, 2, 3], "row 0"),
        ([[1, 2, 3], [4, 5, 6]], "row 1"),
        (dict.fromkeys(bundles.COLUMNS, 1), "row 0"),
        ({"instances": [[1, 2, 3]]}, "probability.benign"),
        ({"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}, "model_version"),
    ):
        rows.write_text(json.dumps(content))
        assert expected in winnow.run("inference-one", "--url", url, "--input", str(rows)).stdout
    rows.write_text('{"rows": [[1, "x", 3]]}')
    refused = winnow.run("inference-one", "--url", url, "--input", str(rows))
    assert (refused.returncode, 'column "mean texture"' in refused.stderr) == (2, True)
    rows.write_text("{")
    assert winnow.run("inference-one", "--url", url, "--input", str(rows)).returncode == 2


def test_a_program_serves_asks_and_stops_a_model(winnow: Winnow) -> None:
    winnow.crown(0)
    program = """
        import winnow

        served = winnow.serve(study="cells")
        answer = winnow.predict(served.url, [[1.0, 2.0, 3.0]])
        (found,) = winnow.status(study="cells", platform="local").deployments
        removed = winnow.remove_deployment(study="cells")
        print(answer["model"]["version"], found.champion, found.deployment == served, removed.is_removed)
    """
    ran = winnow.python(textwrap.dedent(program))
    assert ran.stdout == "1 1 True True\n", ran.stderr


def test_an_alert_rolls_back_once_and_the_history_says_why(winnow: Winnow) -> None:
    for number in (0, 1):
        winnow.crown(number)
        served = winnow.run("prod", "--study", "cells")
        assert served.returncode == 0, served.stderr
    assert winnow.run("serve-hooks", "--action", "rollback", "--name", "cells").returncode == 2  # no token
    token = {"WINNOW_HOOKS_TOKEN": "a-token-that-is-long-enough"}
    unknown = winnow.run("serve-hooks", "--action", "rollback", "--name", "wine", **token)
    assert (unknown.returncode, "'wine'" in unknown.stderr) == (2, True), unknown.stderr
    with winnow.running("serve-hooks", "--action", "rollback", "--name", "cells", "--port", "0", **token) as receiver:
        url = said(receiver, "listening on (http://[^ ]+) for alerts")
        labels = {"alertname": "Errors", "deployment": "cells"}
        alert = {"status": "firing", "labels": labels, "annotations": {"summary": "5 % fail"}}
        for fingerprint in ("a", "b", "a"):
            alert |= {"startsAt": "2026-11-29T05:00:00.123Z", "fingerprint": fingerprint}
            body = json.dumps({"version": "4", "alerts": [alert]}).encode()
            headers = {"authorization": f"Bearer {token['WINNOW_HOOKS_TOKEN']}"}
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
                assert answer.status == 202
        said(receiver, "alert Errors: (done)")
        for _ in range(2):
            said(receiver, "(nothing to do), it ")
    (status,) = json.loads(winnow.run("prod-status", "--name", "cells", "--json").stdout)
    assert status["release"]["version"] == "1"
    ((_, noted),) = Registry(winnow.uri).records("cells", RejectedRecord)
    assert (noted.version, noted.reason) == ("2", "the alert Errors rolled it back: 5 % fail")
    assert winnow.run("prod", "--study", "cells").returncode == 3
