"""Runs in the environment that has tritonclient: asks a server by the Open Inference Protocol, and prints JSON.

`python oip_client.py HOST:PORT MODEL`
"""

from __future__ import annotations

import json
import sys

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

address, model = sys.argv[1:3]
client = InferenceServerClient(address)


def tensor(name: str, values: np.ndarray, datatype: str) -> InferInput:
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=False)
    return made


def asked(*inputs: InferInput, outputs: tuple[str, ...] = ("output", "prediction"), **more: str) -> dict[str, object]:
    wanted = [InferRequestedOutput(name, binary_data=False) for name in outputs]
    answer = client.infer(model, list(inputs), outputs=wanted, **more)
    whole = answer.get_response()
    found = {name: answer.as_numpy(name) for name in outputs}
    return {
        "id": whole["id"],
        "model": [whole["model_name"], whole["model_version"]],
        "datatypes": {each["name"]: each["datatype"] for each in whole["outputs"]},
        "values": {
            name: [each.decode() if isinstance(each, bytes) else each for each in values.tolist()]
            for name, values in found.items()
        },
    }


def refusal(call: str, *arguments: object) -> str:
    try:
        getattr(client, call)(*arguments)
    except InferenceServerException as error:
        return error.message()
    return ""


rows = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
metadata = client.get_model_metadata(model)
print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": [client.is_server_ready(), client.is_model_ready(model), client.is_model_ready("another")],
            "server": client.get_server_metadata()["name"],
            "inputs": metadata["inputs"],
            "outputs": [each["name"] for each in metadata["outputs"]],
            "version_ready": client.is_model_ready(model, metadata["versions"][0]),
            "one": asked(tensor("input", rows, "FP32"), request_id="42"),
            "doubles": asked(tensor("input", rows.astype(np.float64), "FP64")),
            "whole": asked(tensor("input", rows.astype(np.int64), "INT64"), outputs=("prediction",)),
            "wrong_name": refusal("infer", model, [tensor("nothing", rows, "FP32")]),
            "wrong_shape": refusal("infer", model, [tensor("input", rows[:, :2], "FP32")]),
            "wrong_model": refusal("infer", "another", [tensor("input", rows, "FP32")]),
        }
    )
)
