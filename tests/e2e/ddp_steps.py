"""Trains a few models in worlds of several sizes and writes down every step, for `test_ddp_parity`.

Called with a folder. Rank 0 of each world writes an .npz file there: for each case the loss of every optimizer step
over all ranks, the final weights, and the metrics. The ranks are forks of this process, which spares each the imports.
"""

import gc
import os
import sys
import traceback
import types
from pathlib import Path

import accelerate  # noqa: F401 (imported once, before the ranks are forked)
import numpy as np
import torch
import torch._dynamo
import torch.distributed.tensor
import torchmetrics  # noqa: F401

from tests.mlflow_server import free_port
from winnow.config.experiment import Experiment
from winnow.models import mlp
from winnow.training.fold_data import FoldData
from winnow.training.jobs import fit
from winnow.training.preparation import prepare
from winnow.training.world import World, settle

STEP = {"epochs": 2, "batch_size": 64, "optimizer": {"type": "sgd", "lr": 0.2, "momentum": 0.9}}
CASES = {
    "batches": ("breast_cancer", None, {**STEP, "scheduler": {"type": "cosine", "warmup_steps": 4}}),
    "one row left": ("breast_cancer", 65, STEP),
    "accumulated and clipped": ("breast_cancer", None, {**STEP, "batch_size": 20, "accumulation": 3, "clip_norm": 0.3}),
    "accumulated, one row left": ("breast_cancer", 65, {**STEP, "accumulation": 2, "clip_norm": 0.3}),
    "stopped early": ("breast_cancer", None, {**STEP, "epochs": 12, "early_stopping": {"patience": 1}}),
    "a layer left out": ("breast_cancer", None, STEP),
    "weighted": ("breast_cancer", 65, {**STEP, "batch_size": 20, "accumulation": 2, "class_weights": "balanced"}),
    "weighted, focal, stopped early": (
        "breast_cancer",
        None,
        {
            **STEP,
            "epochs": 12,
            "class_weights": {"malignant": 3.5},
            "loss": {"type": "focal", "gamma": 1.5, "label_smoothing": 0.1},
            "early_stopping": {"patience": 1},
        },
    ),
    "embedded columns": ("tests.unit.training.mixed:load", None, STEP),
    "adam on regression": ("diabetes", None, {"epochs": 2, "optimizer": {"type": "adamw", "lr": 0.003}}),
}


WORLDS = (1, 2, 3)
"""Ranks of each world."""


def main(folder: Path) -> None:
    gc.freeze()  # The ranks' garbage collections need not look at what they share.
    for processes in WORLDS:
        port = free_port()
        ranks = [fork(rank, processes, port, folder / f"{processes}.npz") for rank in range(processes)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in ranks]
        if any(codes):
            sys.exit(f"the exit codes of {processes} ranks: {codes}")


def fork(rank: int, processes: int, port: int, path: Path) -> int:
    """Start a rank as torchrun does; the process id."""
    if pid := os.fork():
        return pid
    if processes > 1:
        of_world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        os.environ |= {name: str(value) for name, value in of_world.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        train(path)
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)


def train(path: Path) -> None:
    settle(1, Experiment.model_validate(_experiment("breast_cancer", STEP)).training)
    world = World("no", on_cpu=True)
    found: dict[str, np.ndarray] = {}
    for name, (source, rows, training) in CASES.items():
        factory = f"{__file__}:with_a_layer_left_out" if name == "a layer left out" else "winnow.models:mlp"
        prepared = prepare(Experiment.model_validate(_experiment(source, training, factory)))
        every = np.arange(prepared.data.rows)
        learned = every if rows is None else np.random.default_rng(0).permutation(every)[:rows]
        shares: list[torch.Tensor] = []
        fitted, trained = fit(
            *(prepared, world, FoldData(prepared, world.device), {}, learned, 0),
            on_epoch=lambda epoch, epochs, loss, **_: None,
            on_step=shares.append,
        )
        # A gradient step is as large as its loss is steep: both must be those of all rows.
        found[f"{name}: steps"] = world.gather(shares).sum(0).numpy()
        found[f"{name}: epochs"] = np.array([trained.epochs])
        for number, weights in enumerate(fitted.network.parameters()):
            found[f"{name}: weights {number}"] = weights.detach().numpy()
        for metric, value in fitted.score(prepared, every, world).items():
            found[f"{name}: {metric}"] = np.array([value])
        world.free_memory()
    if world.is_first:
        np.savez(path, **found)
    world.leave()


def with_a_layer_left_out(input_shape, outputs, hidden):
    """A network one of whose layers no row ever passes: DDP would wait for its gradient."""
    network = mlp(input_shape, outputs, hidden=hidden)
    network.register_module("left_out", torch.nn.Linear(2, 2))
    network.forward = types.MethodType(_without_the_last, network)
    return network


def _without_the_last(network: torch.nn.Sequential, inputs: torch.Tensor) -> torch.Tensor:
    for layer in list(network)[:-1]:
        inputs = layer(inputs)
    return inputs


def _experiment(source: str, training: dict, factory: str = "winnow.models:mlp") -> dict:
    is_regression = source == "diabetes"
    return {
        "name": "parity",
        "data": {"source": source if ":" in source else f"sklearn:{source}"},
        "model": {"factory": factory, "options": {"hidden": [16]}},
        "search": {
            "space": {},
            "metric": {"name": "r2" if is_regression else "auroc"},
            "metrics": ["rmse", "mae"] if is_regression else ["accuracy", "f1", "mcc"],
        },
        "training": training,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
