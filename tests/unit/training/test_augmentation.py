"""Augmentation: training rows alone, anew in each epoch, and the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.training import augmented
from winnow import augment
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.data.rows import RowSource
from winnow.training.jobs import Jobs
from winnow.training.messages import FoldJob, FoldScored
from winnow.training.packs import Alone
from winnow.training.preflight import check
from winnow.training.preparation import prepare
from winnow.training.world import World

HERE = "tests.unit.training.augmented"


def experiment(function: str, data: dict[str, Any] | None = None, **training: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "augmented",
            "data": {"source": f"{HERE}:{function}", **(data or {})},
            "model": {"factory": "winnow.models:linear"},
            "search": {"space": {"lr": {"float": [1e-3, 1e-1]}}, "metric": {"name": "accuracy"}, "trials": 1},
            "cross_validation": {"folds": 2},
            "training": {"epochs": 2, "batch_size": 8, **training},
        }
    )


def trained(world: World, tried: Experiment) -> tuple[FoldScored, list[tuple[list[float], list[float]]]]:
    jobs = Jobs(prepare(tried), world, lambda _message: None)
    augmented.SEEN.clear()
    return jobs.train_fold(FoldJob(trial=0, fold=0, params={"lr": 0.01})), [*augmented.SEEN]


@pytest.mark.parametrize("load", ["memory", "lazy"])
def test_only_rows_to_train_on_are_augmented(world: World, load: str) -> None:
    tried = experiment("plain", {"augment": f"{HERE}:note", "load": load}, early_stopping={"patience": 5})
    _, seen = trained(world, tried)
    fold = prepare(tried).folds[0]
    rows = {int(index) for indexes, _ in seen for index in indexes}
    assert rows < set(fold.train.tolist())
    # A tenth of the training rows is watched.
    assert len(rows) < len(fold.train)
    assert sum(len(indexes) for indexes, _ in seen) == 2 * len(rows)


def test_random_items_are_read_anew_in_each_epoch_and_alike_for_a_seed(world: World) -> None:
    tried = experiment("two", {"augment": [f"{HERE}:note"]})
    (one, seen), (again, seen_again) = (trained(world, tried) for _ in range(2))
    assert seen == seen_again
    assert one.metrics == again.metrics
    drawn: dict[float, set[float]] = {}
    for indexes, numbers in seen:
        for index, number in zip(indexes, numbers, strict=True):
            drawn.setdefault(index, set()).add(number)
    assert {len(numbers) for numbers in drawn.values()} == {2}


def test_augmentation_leaves_the_global_generators_alone(world: World) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    expected = float(torch.rand(())), np.random.rand()
    tried = experiment("two", {"augment": {"type": f"{HERE}:note", "by": 0.1}})
    jobs = Jobs(prepare(tried), world, lambda _message: None)
    inputs: Any = jobs._data.rows(jobs._data.learned(np.arange(20), 0, None)).inputs
    torch.manual_seed(3)
    np.random.seed(3)
    list(inputs.for_training([torch.arange(5)], (0, 1, 0)))
    assert (float(torch.rand(())), np.random.rand()) == expected


def test_a_data_function_may_return_the_augmentation(world: World) -> None:
    assert trained(world, experiment("with_function"))[1]


def test_augmented_rows_form_no_stack(world: World) -> None:
    jobs = Jobs(prepare(experiment("with_function")), world, lambda _message: None)
    members = [FoldJob(trial=0, fold=fold, params={"lr": 0.01}) for fold in range(2)]
    assert list(jobs.packs(members)) == [Alone(member, "augmentation") for member in members]


def test_a_large_dataset_is_read_item_by_item(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("items", "features"):
        monkeypatch.setattr(f"winnow.data.{module}.IN_MEMORY_BYTES", 60 * 3 * 4 - 1)
    data = prepare(experiment("plain")).data
    assert isinstance(data.features, RowSource)
    assert data.target.tolist() == [index % 2 for index in range(60)]
    assert data.features[np.array([7, 3])][:, 0].tolist() == [7, 3]


@pytest.mark.parametrize(
    ("function", "data", "training", "place", "found"),
    [
        ("unsteady", {}, {}, "data.source", "item 0 with other values when it is read again"),
        ("unequal", {}, {}, "data.source", "59 of shape (3,)"),
        ("misspelt", {}, {}, "data.source", "the unknown key 'train_datset'"),
        ("plain", {"augment": f"{HERE}:doubled"}, {}, "data.augment", "[4, 3] of torch.float32"),
        (
            "plain",
            {"augment": f"{HERE}:failing"},
            {},
            "data.augment",
            "ValueError: no augmentation (augmented.py, line ",
        ),
        ("plain", {"augment": {"type": f"{HERE}:note", "bye": 1}}, {}, "data.augment", "TypeError"),
        ("plain", {"augment": f"{HERE}:nothing"}, {}, "data.augment", "no such name"),
        ("plain", {"augment": "winnow.augment:flip"}, {}, "data.augment", "it changes images, and these are rows of"),
        ("plain", {"augment": "winnow.augment:crop"}, {}, "data.augment", "it changes images, and these are rows of"),
        ("table", {"augment": "winnow.augment:noise"}, {}, "data.augment", "in column 'plan', which is no code of a"),
        ("two", {}, {"loop": "tests.unit.training.parts:train_fold"}, "data.augment", "a Dataset for training"),
    ],
)
def test_what_cannot_be_augmented_is_refused_before_the_sweep(
    function: str, data: dict[str, Any], training: dict[str, Any], place: str, found: str
) -> None:
    with pytest.raises(InputError) as caught:
        check(experiment(function, data, **training))
    assert caught.value.place == place
    assert found in caught.value.found


def test_ready_made_augmentations_change_each_row_by_itself() -> None:
    torch.manual_seed(0)
    rows = torch.arange(64.0 * 2 * 3 * 5).reshape(64, 2, 3, 5)
    flipped = augment.flip(rows)
    are_flipped = [torch.equal(row, before.flip(-1)) for row, before in zip(flipped, rows, strict=True)]
    assert all(is_flipped or torch.equal(flipped[i], rows[i]) for i, is_flipped in enumerate(are_flipped))
    assert 16 < sum(are_flipped) < 48
    assert torch.equal(augment.crop(rows, padding=0), rows)
    cropped = augment.crop(rows + 1, padding=1)
    assert cropped.shape == rows.shape
    assert len({tuple(torch.nonzero(row[0] == 0)[0].tolist()) if (row == 0).any() else () for row in cropped}) > 3
    assert float((augment.noise(rows, std=0.5) - rows).std()) == pytest.approx(0.5, rel=0.1)
