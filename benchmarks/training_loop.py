"""What the training loop costs: one fold, one process, one thread, against the loops that people write.

All sides train the same fold of the same model on the same rows for the same epochs, and score it. They take turns, so
that a slow minute of the machine meets all of them. Printed are medians over the rounds: CPU seconds (on a GPU seconds)
per fold, and how many times the time of winnow's fold each other loop takes.

    script     a DataLoader over a TensorDataset, torch.optim.Adam as it is made by default
    slicing    the rows on the device, an index tensor per batch, a fused Adam: the least that a plain loop does
    winnow     `training.jobs.Jobs.train_fold`, with all that belongs to it: standardization, scoring, checks

Run it with `python benchmarks/training_loop.py [--rounds N] [--works small,large,digits,pictures] [--device cpu|cuda]`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sklearn.datasets
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional

from winnow.config.experiment import Experiment
from winnow.training.jobs import Jobs
from winnow.training.messages import FoldJob
from winnow.training.preparation import Prepared, prepare
from winnow.training.world import World, settle, wants_cpu

EPOCHS = 20
PARAMS = {"hidden": 64, "dropout": 0.2, "lr": 3e-3, "weight_decay": 1e-5}
BATCH_SIZES = {"small": 64, "large": 256, "digits": 64, "pictures": 128}


def small() -> dict[str, Any]:
    """569 rows of 30 columns, two classes."""
    inputs, target = sklearn.datasets.load_breast_cancer(return_X_y=True)
    return {"X": inputs.astype("f4"), "y": target}


def large() -> dict[str, Any]:
    """10,000 rows of 30 columns, two classes."""
    shape = {"n_samples": 10_000, "n_features": 30, "n_informative": 12, "n_redundant": 6}
    inputs, target = sklearn.datasets.make_classification(**shape, n_clusters_per_class=4, flip_y=0.03, random_state=0)
    return {"X": inputs.astype("f4"), "y": target}


def digits() -> dict[str, Any]:
    """1,797 images of 1 × 8 × 8, ten classes."""
    inputs, target = sklearn.datasets.load_digits(return_X_y=True)
    return {"X": inputs.reshape(-1, 1, 8, 8).astype("f4"), "y": target}


def pictures() -> dict[str, Any]:
    """10,000 noisy images of 3 × 32 × 32, ten classes; made for GPUs."""
    random = np.random.default_rng(0)
    target = random.integers(10, size=10_000)
    means = random.normal(size=(10, 3, 32, 32)).astype("f4")
    return {"X": means[target] / 4 + random.normal(size=(10_000, 3, 32, 32)).astype("f4"), "y": target}


def mlp(input_shape: tuple[int, ...], outputs: int, hidden: int, dropout: float) -> nn.Module:
    """Two hidden layers."""
    layers: list[nn.Module] = [nn.Linear(input_shape[0], hidden), nn.ReLU(), nn.Dropout(dropout)]
    layers += [nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


def cnn(input_shape: tuple[int, ...], outputs: int, hidden: int, dropout: float) -> nn.Module:
    """Two convolutions for images of 8 × 8."""
    layers: list[nn.Module] = [nn.Conv2d(input_shape[0], hidden // 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(hidden // 4, hidden // 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(dropout), nn.Linear(hidden // 2 * 4, outputs))


def deep_cnn(input_shape: tuple[int, ...], outputs: int, hidden: int, dropout: float) -> nn.Module:
    """Six convolutions for images of 32 × 32: 1.1 million parameters with `hidden` 64."""
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for width in (hidden, 2 * hidden, 4 * hidden):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        ]
        layers += [nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(channels, outputs)
    )


FACTORIES = {"small": mlp, "large": mlp, "digits": cnn, "pictures": deep_cnn}


@dataclass(frozen=True, eq=False)
class Fold:
    """Standardized rows of one fold, on the device."""

    inputs: Tensor
    target: Tensor
    validation_inputs: Tensor
    validation_target: Tensor


Loop = Callable[[nn.Module, Fold, int], None]


def script(network: nn.Module, fold: Fold, batch_size: int) -> None:
    """Train with a DataLoader."""
    device = next(network.parameters()).device
    rows = torch.utils.data.TensorDataset(fold.inputs.cpu(), fold.target.cpu())
    loader = torch.utils.data.DataLoader(rows, batch_size, shuffle=True)
    optimizer = torch.optim.Adam(network.parameters(), PARAMS["lr"], weight_decay=PARAMS["weight_decay"])
    for _ in range(EPOCHS):
        for inputs, target in loader:
            loss = functional.cross_entropy(network(inputs.to(device)), target.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def slicing(network: nn.Module, fold: Fold, batch_size: int) -> None:
    """Train on rows of the device, with a fused optimizer."""
    settings = {"lr": PARAMS["lr"], "weight_decay": PARAMS["weight_decay"], "fused": True}
    optimizer = torch.optim.Adam(network.parameters(), **settings)
    for _ in range(EPOCHS):
        order = torch.randperm(len(fold.target)).to(fold.target.device)
        for index in order.split(batch_size):
            loss = functional.cross_entropy(network(fold.inputs[index]), fold.target[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def score(network: nn.Module, fold: Fold) -> float:
    """The macro-averaged F1 on the validation rows."""
    network.eval()
    with torch.no_grad():
        guesses = network(fold.validation_inputs).argmax(1)
    return float(f1_score(fold.validation_target.cpu(), guesses.cpu(), average="macro"))


def experiment(work: str, device: str, pack: int | str = "auto") -> Experiment:
    """The work as winnow gets it."""
    this = Path(__file__).resolve()
    return Experiment.model_validate(
        {
            "name": work,
            "data": {"source": f"{this}:{work}", "holdout": 0.2},
            "model": {"factory": f"{this}:{FACTORIES[work].__name__}"},
            "search": {
                "space": {name: {"choice": [value]} for name, value in PARAMS.items()},
                "metric": {"name": "f1"},
            },
            "training": {"epochs": EPOCHS, "batch_size": BATCH_SIZES[work], "optimizer": "adam"},
            "execution": {"device": device, "pack": pack},
        }
    )


def folds(prepared: Prepared, device: torch.device) -> Iterator[Fold]:
    """The same folds, standardized beforehand, as a script would do once."""
    features, target = prepared.data.features, prepared.data.target
    for fold in prepared.folds:
        axes = (0,) if features.ndim == 2 else (0, 2, 3)
        learned = features[fold.train]
        mean, std = learned.mean(axes, keepdims=True), learned.std(axes, keepdims=True) + 1e-8
        scaled = ((features - mean) / std).astype(np.float32)
        parts = (scaled[fold.train], target[fold.train], scaled[fold.validation], target[fold.validation])
        yield Fold(*(torch.from_numpy(part).to(device) for part in parts))


def clock_of(world: World) -> Callable[[], float]:
    """CPU seconds; on a GPU, for which the processor only waits, seconds."""
    return time.process_time if world.device.type == "cpu" else time.perf_counter


def measure(work: str, rounds: int, world: World) -> dict[str, float]:
    """Seconds per fold of each side, medians over the rounds."""
    clock = clock_of(world)
    prepared = prepare(experiment(work, world.device.type))
    jobs = Jobs(prepared, world, send=lambda _message: None)
    dealt = list(folds(prepared, world.device))
    factory = FACTORIES[work]

    def plain(loop: Loop, index: int) -> float:
        torch.manual_seed(index)
        model = {"hidden": PARAMS["hidden"], "dropout": PARAMS["dropout"]}
        network = factory(prepared.data.input_shape, prepared.data.outputs, **model).to(world.device)
        loop(network, dealt[index], BATCH_SIZES[work])
        return score(network, dealt[index])

    def winnow(index: int) -> float:
        metrics = jobs.train_fold(FoldJob(0, index, PARAMS)).metrics
        world.free_memory()
        return metrics["f1"]

    sides = {
        "script": lambda index: plain(script, index),
        "slicing": lambda index: plain(slicing, index),
        "winnow": winnow,
    }
    for side in sides.values():
        side(0)
    World.freeze_garbage()
    spent: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            began = clock()
            scores[name].append(side(number % len(dealt)))
            spent[name].append(clock() - began)
    found = {name: statistics.median(times) for name, times in spent.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(spent[name], spent["winnow"], strict=True)) for name in sides
    }
    print(
        f"{work:<8}"
        + "  ".join(f"{name} {1000 * found[name]:7.1f} ms (f1 {statistics.mean(scores[name]):.3f})" for name in sides)
        + f"  script/winnow {ratios['script']:.2f}  winnow/slicing {1 / ratios['slicing']:.2f}",
        flush=True,
    )
    return found


def main() -> None:
    """Measure the works and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="folds of each side")
    parser.add_argument("--works", default="small,large,digits", help="which of small, large, digits and pictures")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "auto"], help="as execution.device")
    asked = parser.parse_args()
    first = experiment(asked.works.split(",")[0], asked.device)
    settle(1, first.training)
    world = World(first.training.precision, on_cpu=wants_cpu(asked.device))
    print(f"{world.device}, torch {torch.__version__}, {asked.rounds} rounds", file=sys.stderr)
    for work in asked.works.split(","):
        measure(work, asked.rounds, world)


if __name__ == "__main__":
    main()
