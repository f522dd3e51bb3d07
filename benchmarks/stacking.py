"""What a model costs when several train as one: one thread, winnow's own loop for one model beside stacks of it.

Both sides train folds of the works of `training_loop.py`, from the factory to the metrics, and take turns, so that a
slow minute of the machine meets both. Printed are CPU milliseconds (on a GPU milliseconds) per model, medians over the
rounds, and how many times as long a model takes alone. A stack of 5 holds the folds of one trial; larger ones hold
trials with learning rates and dropout of their own.

Run it with `python benchmarks/stacking.py [--rounds N] [--works small,large,digits] [--widths 5,20,80]
[--device cpu|cuda]`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from training_loop import PARAMS, clock_of, experiment

from winnow.training.fold_data import FoldData
from winnow.training.jobs import Jobs
from winnow.training.messages import FoldJob
from winnow.training.packs import Packed, Packs
from winnow.training.preparation import prepare
from winnow.training.world import World, settle, wants_cpu


def jobs_of(width: int) -> list[FoldJob]:
    """All folds of as many trials as make `width` models."""
    trials = [
        {**PARAMS, "lr": PARAMS["lr"] * (1 + number / 50), "dropout": 0.1 + number / 100}
        for number in range(max(1, width // 5))
    ]
    return [FoldJob(number, fold, params) for number, params in enumerate(trials) for fold in range(5)]


def measure(work: str, rounds: int, widths: Sequence[int], world: World) -> None:
    """Print a line for one work."""
    prepared = prepare(experiment(work, world.device.type, pack=max(widths)))
    clock = clock_of(world)
    jobs = Jobs(prepared, world, send=lambda _message: None)
    packs = Packs(prepared, world, FoldData(prepared, world.device), lambda *_: None)

    def alone() -> None:
        for job in jobs_of(5):
            jobs.train_fold(job)

    def stack(width: int) -> None:
        for part in packs.train(jobs_of(width)):
            if not isinstance(part, Packed):
                raise TypeError(f"not packed: {part.reason}")

    alone()
    list(packs.train(jobs_of(5)))
    World.freeze_garbage()
    spent: dict[int, list[float]] = {width: [] for width in (1, *widths)}
    for _ in range(rounds):
        spent[1].append(_seconds(clock, alone) / 5)
        for width in widths:
            spent[width].append(_seconds(clock, lambda width=width: stack(width)) / len(jobs_of(width)))
    columns = [f"{work:<8} alone {1000 * statistics.median(spent[1]):7.1f} ms"]
    for width in widths:
        ratio = statistics.median(a / b for a, b in zip(spent[1], spent[width], strict=True))
        columns.append(f"{width} as one {1000 * statistics.median(spent[width]):7.1f} ms ({ratio:.2f}×)")
    print("  ".join(columns), flush=True)


def _seconds(clock: Callable[[], float], act: Callable[[], None]) -> float:
    began = clock()
    act()
    return clock() - began


def main() -> None:
    """Measure the works and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="stacks of each width")
    parser.add_argument("--works", default="small,large,digits", help="which of small, large and digits")
    parser.add_argument("--widths", default="5,20,80", help="models in a stack, multiples of 5")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "auto"], help="as execution.device")
    asked = parser.parse_args()
    settle(1, experiment("small", asked.device).training)
    world = World("no", on_cpu=wants_cpu(asked.device))
    for work in asked.works.split(","):
        measure(work, asked.rounds, [int(width) for width in asked.widths.split(",")], world)


if __name__ == "__main__":
    main()
