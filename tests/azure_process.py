"""Stands in for the interpreter with azure-ai-ml: the same requests and answers, of a workspace that is kept in a file.

`python azure_process.py STATE`: as `winnow.platforms.azure.sdk_process`. Requests arrive where they are counted.
"""

from __future__ import annotations

import json
import pickle
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from winnow.config.errors import WinnowError
from winnow.platforms.azure.online import OnlineDeployment, OnlineEndpoint
from winnow.testing.azure import MemoryWorkspace

ARRIVING = 20_000


def answer_of(workspace: MemoryWorkspace, request: dict[str, Any]) -> Any:
    call = request.pop("call")
    if call == "put_endpoint":
        return workspace.put_endpoint(OnlineEndpoint(**request["endpoint"]))
    if call == "put_deployment":
        given = {
            name: value for name, value in request["deployment"].items() if name in OnlineDeployment.__annotations__
        }
        return workspace.put_deployment(OnlineDeployment(**given))
    if call == "counts":
        for _ in range(ARRIVING):
            workspace.ask(request["endpoint"])
        return {name: [each.requests, each.errors] for name, each in workspace.counts(**request).items()}
    found = getattr(workspace, call)(**request)
    return [asdict(each) for each in found] if call in ("endpoints", "deployments") else found


def main(state: Path) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        workspace = pickle.loads(state.read_bytes())  # noqa: S301 - the test's own
        if request["call"] == "connect":
            answer: dict[str, Any] = {"ok": None}
        else:
            try:
                answer = {"ok": answer_of(workspace, request)}
            except WinnowError as error:
                answer = {"error": str(error), "kind": "refused"}
        state.write_bytes(pickle.dumps(workspace))
        print(json.dumps(answer), flush=True)


main(Path(sys.argv[1]))
