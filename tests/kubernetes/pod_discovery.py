"""Prometheus' discovery of pods, for a Prometheus that is built without it, as Debian's is.

The server below answers Prometheus' `http_sd_configs` with the targets and `__meta_kubernetes_pod_*` labels that
`kubernetes_sd_configs` has for `role: pod`, by the same account:
https://prometheus.io/docs/prometheus/latest/configuration/configuration/#pod
"""

from __future__ import annotations

import subprocess
from typing import Any

import yaml

from tests.docker.prometheus_images import PROMETHEUS
from tests.kubernetes.pods import pod_spec

NAME, PORT = "pod-discovery", 8000
ACCOUNT = "winnow-prometheus"
SERVER = """
import http.server, json, re, ssl, urllib.request

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount/"
NAMESPACE = open(PLACE + "namespace").read()

def pods():
    request = urllib.request.Request(
        f"https://kubernetes.default.svc/api/v1/namespaces/{NAMESPACE}/pods",
        headers={"authorization": "Bearer " + open(PLACE + "token").read()},
    )
    context = ssl.create_default_context(cafile=PLACE + "ca.crt")
    return json.load(urllib.request.urlopen(request, context=context, timeout=5))["items"]

def targets():
    for pod in pods():
        address = pod["status"].get("podIP")
        own = {
            "__meta_kubernetes_pod_name": pod["metadata"]["name"],
            "__meta_kubernetes_pod_phase": pod["status"]["phase"],
            **{
                "__meta_kubernetes_pod_label_" + re.sub("[^a-zA-Z0-9_]", "_", name): value
                for name, value in pod["metadata"].get("labels", {}).items()
            },
        }
        for port in [each for one in pod["spec"]["containers"] for each in one.get("ports", [])]:
            labels = {**own, "__meta_kubernetes_pod_container_port_name": port.get("name", "")}
            if address:
                yield {"targets": [f"{address}:{port['containerPort']}"], "labels": labels}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(list(targets())).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


def is_needed() -> bool:
    """Whether the image's Prometheus does not know `kubernetes_sd_configs`."""
    config = yaml.safe_dump({"scrape_configs": [{"job_name": "pods", "kubernetes_sd_configs": [{"role": "pod"}]}]})
    run = ("docker", "run", "--rm", "--interactive", "--network", "none", "--entrypoint", "/bin/promtool", PROMETHEUS)
    checked = subprocess.run([*run, "check", "config", "/dev/stdin"], input=config, capture_output=True, text=True)
    return checked.returncode != 0


def manifests() -> list[dict[str, Any]]:
    """The server and its Service."""
    labels = {"winnow.test": NAME}
    spec = {**pod_spec(SERVER), "serviceAccountName": ACCOUNT, "automountServiceAccountToken": True}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": labels, "ports": [{"port": PORT}]},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": labels}, "spec": spec},
    ]


def replaced(manifest: str) -> str:
    """A manifest whose Prometheus asks the server instead of the API."""
    found = "kubernetes_sd_configs: [{role: pod, namespaces: {own_namespace: true}}]"
    assert found in manifest
    url = f"http://{NAME}:{PORT}/"
    return manifest.replace(found, f'http_sd_configs: [{{url: "{url}", refresh_interval: 1s}}]')
