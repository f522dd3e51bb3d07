"""`winnow monitor` with a real Prometheus, which scrapes replicas, and a real Alertmanager, which tells a webhook."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.prometheus_images import ALERTMANAGER, PROMETHEUS
from tests.unit.orchestrators.test_alert_delivery import Posted
from tests.unit.orchestrators.test_monitor import LIKE_TRAINING, SHIFTED, Replicas, Site
from winnow.config.monitoring import AlertConfig
from winnow.finding import Result
from winnow.monitoring.exposition import counted_since, replica_counts
from winnow.monitoring.notices import Notice
from winnow.monitoring.prometheus import replica_texts
from winnow.monitoring.report import Alarm
from winnow.orchestrators.alert_delivery import deliver
from winnow.platforms.ports import bound
from winnow.routing import Observation, Record

pytestmark = pytest.mark.docker

PATIENCE_S = 30.0


def until(is_done: Callable[[], Any]) -> Any:
    """What a question answers once it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := is_done()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


@contextmanager
def container(folder: Path, image: str, config: dict[str, Any], *options: str) -> Iterator[str]:
    """A container in the network of this machine, with a configuration file; gives its address when it is ready."""
    with bound("127.0.0.1", None) as free:
        port = free.getsockname()[1]
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump(config))
    file.chmod(0o644)
    name = f"winnow-test-monitor-{port}"
    run = (
        "docker",
        "run",
        "--detach",
        "--rm",
        "--name",
        name,
        "--network",
        "host",
        "--volume",
        f"{file}:/config.yml:ro",
    )
    address = f"127.0.0.1:{port}"
    subprocess.run(
        [*run, image, "--config.file=/config.yml", f"--web.listen-address={address}", *options],
        check=True,
        capture_output=True,
    )
    try:
        until(lambda: is_ready(f"http://{address}/-/ready"))
        yield f"http://{address}"
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def published(replicas: Replicas) -> Iterator[str]:
    """The metrics of each replica at `/NAME`, while it lives."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = replicas.metrics(Observation(Record("cells"))).get(self.path.removeprefix("/"))
            self.send_response(404 if text is None else 200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(f"{text}\n".encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def scraping(address: str, *names: str) -> dict[str, Any]:
    """A configuration by which two jobs scrape the replicas of the deployment `cells` every second."""
    jobs = [
        {
            "job_name": f"{name}-{job}",
            "metrics_path": f"/{name}",
            "static_configs": [{"targets": [address], "labels": {"deployment": "cells", "replica": name}}],
        }
        for name in names
        for job in ("first", "second")
    ]
    return {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}


def test_a_prometheus_gives_the_counts_of_replicas_also_of_those_that_have_ended(tmp_path: Path) -> None:
    replicas = Replicas()
    replicas.count(LIKE_TRAINING, "a")
    replicas.count(SHIFTED, "b")
    with (
        published(replicas) as address,
        container(tmp_path, PROMETHEUS, scraping(address, "a", "b"), "--storage.tsdb.path=/tmp/data") as url,
    ):

        def rows() -> dict[str, int]:
            now = time.time()
            texts, alive = replica_texts(url, "cells", now, 60.0, "PROMETHEUS=")
            found = {name: replica_counts(text, now).counts for name, text in texts.items()}
            return {f"{name.partition('@')[0]} {name in alive}": each.rows for name, each in found.items()}

        until(lambda: rows() == {"a True": 1000, "b True": 1000})
        del replicas.bins["b"]
        replicas.count(LIKE_TRAINING, "a")
        until(lambda: rows() == {"a True": 2000, "b False": 1000})
        now = time.time()
        texts, _ = replica_texts(url, "cells", now, 60.0, "PROMETHEUS=")
        (live,) = counted_since({}, {name: replica_counts(text, now) for name, text in texts.items()}).values()
        assert live.columns["age"].bins == (500, 600, 700, 1200)
        assert replica_texts(url, "wine", now, 60.0, "PROMETHEUS=") == ({}, frozenset())


def test_a_look_at_a_prometheus_finds_what_a_look_at_the_replicas_finds(tmp_path: Path) -> None:
    site = Site(tmp_path / "home", prometheus="http://replaced")
    site.replicas.started = time.time() - 600
    site.replicas.count(LIKE_TRAINING)
    with (
        published(site.replicas) as address,
        container(tmp_path, PROMETHEUS, scraping(address, "a"), "--storage.tsdb.path=/tmp/data") as url,
    ):
        site.prometheus = url
        until(lambda: replica_texts(url, "cells", time.time(), 60.0, "")[0])
        first = site.look(at=time.time())
        site.replicas.count(SHIFTED)
        second = until(lambda: (found := site.look(at=time.time())).alarms and found)
    assert (first.rows, first.result, first.source) == (1000, Result.PASS, url)
    assert [(each.name, each.subject) for each in second.alarms] == [("WinnowDrift", "age")]


def test_an_alertmanager_tells_people_once_of_an_alarm_that_every_look_repeats(tmp_path: Path) -> None:
    receiver = Posted(200)
    with receiver.listening() as hook:
        config = {
            "route": {"receiver": "hook", "group_wait": "0s", "group_interval": "1s", "repeat_interval": "4h"},
            "receivers": [{"name": "hook", "webhook_configs": [{"url": hook, "send_resolved": True}]}],
        }
        options = ("--storage.path=/tmp/data", "--cluster.listen-address=")
        with container(tmp_path, ALERTMANAGER, config, *options) as url:
            alert, now = AlertConfig(alertmanager=url), time.time()
            moved = Alarm("WinnowDrift", "age", "age moved by 0.6 sd.", now - 60, "3")
            firing = Notice("firing", moved, "cells", "cells", now)
            list(deliver(alert, [firing], [firing], now + 60))
            for _ in range(3):
                list(deliver(alert, [], [firing], now + 60))
                time.sleep(0.5)
            with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as answer:
                (active,) = json.load(answer)
            list(deliver(alert, [Notice("resolved", moved, "cells", "cells", time.time())], [], now + 60))
            until(lambda: len(receiver.requests) == 2)
    assert (active["status"]["state"], active["labels"]) == ("active", firing.labels)
    assert active["annotations"] == firing.annotations
    posted: list[Any] = [body for _, _, body in receiver.requests]
    assert [(body["status"], body["alerts"][0]["labels"]) for body in posted] == [
        ("firing", firing.labels),
        ("resolved", firing.labels),
    ]
