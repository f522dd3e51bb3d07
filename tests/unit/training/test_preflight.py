"""What cannot be trained is refused with its place, before anything exists."""

import pytest
import torch

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.training.parameters import Slot
from winnow.training.preflight import MAX_DRAWS, check, corner_draws

PARTS = "tests.unit.training.parts"
LR = {"lr": {"float": [1e-4, 1e-1], "log": True}}


def _experiment(*, factory="winnow.models:mlp", space=None, metric="f1", source="sklearn:iris", **parts) -> Experiment:
    options = parts.pop("options", {})
    return Experiment.model_validate(
        {
            "name": "checked",
            "data": {"source": source, **parts.pop("data", {})},
            "model": {"factory": factory, "options": options},
            "search": {"space": LR if space is None else space, "metric": metric_of(metric), **parts.pop("search", {})},
            "execution": {"device": "cpu", **parts.pop("execution", {})},
            **parts,
        }
    )


def metric_of(metric):
    return metric if isinstance(metric, dict) else {"name": metric}


def _place(**parts) -> str:
    with pytest.raises(InputError) as refused:
        check(_experiment(**parts))
    return refused.value.place


def test_a_good_experiment_is_prepared():
    space = {**LR, "hidden": {"choice": [[8], [16, 8]]}, "batch_size": {"int": [8, 32]}, "dropout": {"float": [0, 0.5]}}
    prepared = check(_experiment(space=space, search={"metrics": ["accuracy"]}))
    assert (prepared.objective, prepared.goal) == ("f1", "maximize")
    assert [spec.name for spec in prepared.metrics] == ["f1", "accuracy", "loss"]
    assert len(prepared.folds) == 5
    assert (len(prepared.holdout.rest), len(prepared.holdout.holdout)) == (120, 30)
    assert prepared.routing.slots == {
        "lr": Slot("optimizer", "lr"),
        "hidden": Slot("model", "hidden"),
        "batch_size": Slot("training", "batch_size"),
        "dropout": Slot("model", "dropout"),
    }


@pytest.mark.parametrize(("source", "metric"), [("sklearn:digits", "accuracy"), ("sklearn:diabetes", "rmse")])
def test_tensors_and_regression_are_prepared(source, metric):
    factory = "winnow.models:cnn" if source == "sklearn:digits" else "winnow.models:linear"
    assert check(_experiment(source=source, metric=metric, factory=factory)).objective == metric


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"factory": "winnow.models:cnn", "source": "sklearn:digits", "metric": "accuracy"}, "kernel"),
        ({"training": {"scheduler": {"type": "StepLR", "step_size": 1}}}, "step_size"),
        ({"training": {"scheduler": "cosine"}}, "warmup_steps"),
    ],
)
def test_a_range_of_real_numbers_for_a_whole_one_is_refused(parts, name):
    with pytest.raises(InputError) as refused:
        check(_experiment(space={name: {"float": [1, 3]}}, **parts))
    assert (refused.value.place, refused.value.remedy) == (
        f"search.space.{name}.float",
        f"Write `{name}: {{int: [1, 3]}}`.",
    )


def test_nothing_of_a_large_model_is_allocated():
    check(_experiment(space={"hidden": {"choice": [[8], [10_000_000, 10_000_000]]}}))


def test_the_global_random_state_may_move_but_no_default_device_stays():
    check(_experiment())
    assert torch.zeros(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("fault", "found"),
    [("raise", "ValueError: no such network"), ("nothing", "NoneType from")],
)
def test_a_factory_that_builds_no_network_is_refused_with_what_it_did(fault, found):
    with pytest.raises(InputError) as refused:
        check(_experiment(factory=f"{PARTS}:build", options={"fault": fault}))
    assert refused.value.place == "model.factory"
    assert found in refused.value.found
    assert fault == "nothing" or "parts.py:" in refused.value.found


def test_a_factory_that_fails_for_one_choice_is_refused():
    with pytest.raises(InputError, match="no such network"):
        check(_experiment(factory=f"{PARTS}:build", space={"fault": {"choice": ["none", "none ", "raise"]}}))


def test_a_network_that_mixes_the_rows_of_a_batch_is_refused():
    with pytest.raises(InputError) as refused:
        check(_experiment(factory=f"{PARTS}:mixing"))
    assert (refused.value.place, refused.value.expected) == (
        "model.factory",
        "a network whose answer to a row does not depend on the other rows of its batch",
    )
    assert refused.value.found.startswith("row 0 alone gives [")


def test_a_network_that_draws_random_numbers_in_eval_mode_is_refused():
    with pytest.raises(InputError, match="answers that change from one call to the next"):
        check(_experiment(factory=f"{PARTS}:mixing", options={"how": "dropout"}))


def test_batch_norm_that_follows_the_training_mode_mixes_nothing():
    check(_experiment(factory=f"{PARTS}:mixing", options={"how": "batch norm"}))


def test_a_network_of_the_wrong_width_is_refused_with_both_shapes():
    with pytest.raises(InputError) as refused:
        check(_experiment(factory=f"{PARTS}:wide"))
    assert refused.value.expected == "outputs of shape [2, 3] for 2 rows: one per class"
    assert refused.value.found.startswith("[2, 4]")


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"space": {"nonsense": {"int": [1, 2]}}}, "search.space.nonsense"),
        ({"space": {"precision": {"choice": ["no", "bf16"]}}}, "search.space.precision"),
        ({"space": {"optimizer": {"choice": ["adam", "adamm"]}}}, "search.space.optimizer.choice[1]"),
        ({"space": {"optimizer": {"int": [1, 2]}}}, "search.space.optimizer"),
        ({"space": {"batch_size": {"int": [0, 8]}}}, "search.space"),
        ({"space": {"weight_decay": {"float": [-1, 0]}}}, "training.optimizer"),
        ({"metric": "rmse"}, "search.metric.name"),
        ({"search": {"metrics": ["f11"]}}, "search.metrics"),
        ({"training": {"precision": "fp16"}}, "training.precision"),
        ({"training": {"loss": "mse"}}, "training.loss"),
        ({"training": {"optimizer": {"type": "sgd", "momentun": 0.9}}}, "training.optimizer.momentun"),
        ({"training": {"scheduler": "steplr"}}, "training.scheduler"),
        ({"training": {"scheduler": {"type": "cosine", "warmup": 1}}}, "training.scheduler.warmup"),
        ({"options": {"hiden": [1]}}, "model.options.hiden"),
        ({"factory": "winnow.models:mpl"}, "model.factory"),
        ({"data": {"holdout": 0.99}}, "data.holdout"),
        ({"cross_validation": {"folds": 1000}}, "cross_validation.folds"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_at_its_place(parts, place):
    assert _place(**parts) == place


@pytest.mark.parametrize("changes", [{}, {"training": {"precision": "fp16"}}], ids=str)
def test_ranks_that_run_elsewhere_may_have_a_gpu_that_this_machine_has_not(changes):
    asked = _experiment(execution={"device": "cuda"}, **changes)
    assert check(asked, has_gpu=True).folds
    with pytest.raises(InputError):
        check(asked, has_gpu=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    assert _place(execution={"device": "cuda"}) == "execution.device"


def test_a_metric_without_a_direction_needs_one():
    name = "CriticalSuccessIndex"
    with pytest.raises(InputError):
        check(_experiment(source="sklearn:diabetes", metric=name))
    assert check(_experiment(source="sklearn:diabetes", metric={"name": "rmse", "goal": "maximize"})).goal == "maximize"


def test_a_setting_that_only_one_of_the_optimizers_takes_is_fine():
    space = {"optimizer": {"choice": ["adamw", "sgd"]}, "momentum": {"float": [0, 0.9]}, **LR}
    assert check(_experiment(space=space)).routing.slots["momentum"] == Slot("optimizer", "momentum")


def test_a_loop_of_ones_own_takes_any_parameter_and_reports_any_metric():
    space = {"ridge": {"float": [0, 1]}, "anything": {"int": [1, 2]}}
    training = {"loop": f"{PARTS}:train_fold"}
    prepared = check(_experiment(space=space, training=training, metric={"name": "mine", "goal": "maximize"}))
    assert prepared.routing.slots == {}
    assert prepared.loop is not None
    assert _place(space=space, training=training, metric="mine") == "search.metric.goal"
    assert _place(space=space, training={"loop": f"{PARTS}:nope"}) == "training.loop"


def test_draws_hold_both_ends_and_every_choice():
    space = {"a": {"float": [0, 1]}, "b": {"int": [3, 5]}, "c": {"choice": ["x", "y", "z"]}}
    assert corner_draws(_experiment(space=space)) == [
        {"a": 0.0, "b": 3, "c": "x"},
        {"a": 1.0, "b": 5, "c": "y"},
        {"a": 0.0, "b": 3, "c": "z"},
    ]
    assert corner_draws(_experiment(space={})) == [{}, {}]
    assert len(corner_draws(_experiment(space={"c": {"choice": list(range(100))}}))) == MAX_DRAWS


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ({"factory": f"{PARTS}:unstackable"}, "8 (a layer of type PReLU)"),
        ({"execution": {"pack": 8, "processes": 2}}, "8 (several ranks, or a precision other than float32)"),
    ],
)
def test_a_number_of_models_that_cannot_train_as_one_is_refused_with_the_reason(parts, found):
    with pytest.raises(InputError) as refused:
        check(_experiment(**{"execution": {"pack": 8}, **parts}))
    assert (refused.value.place, refused.value.found) == ("execution.pack", found)


def test_models_that_train_as_one_may_be_asked_for_by_number():
    check(_experiment(execution={"pack": 8}, options={"norm": "batch", "dropout": 0.2}))


def test_both_ends_of_a_conditional_parameter_are_tried_where_it_is_active():
    space = {
        "optimizer": {"choice": ["sgd", "adamw"]},
        "momentum": {"float": [0.0, 0.9], "when": {"optimizer": "sgd"}},
        "nesterov": {"choice": [False, True], "when": {"momentum": [0.9]}},
    }
    space["momentum"]["step"] = 0.9
    draws = corner_draws(_experiment(space=space))
    assert {draw.get("momentum") for draw in draws} == {None, 0.0, 0.9}
    assert {draw.get("nesterov") for draw in draws} == {None, False, True}
    assert all(("momentum" in draw) == (draw["optimizer"] == "sgd") for draw in draws)
    check(_experiment(space=space))


def test_an_argument_that_is_missing_where_its_parameter_is_inactive_is_found_before_the_sweep():
    space = {"kind": {"choice": ["a", "b"]}, "width": {"int": [2, 4], "when": {"kind": "a"}}}
    assert _place(factory=f"{PARTS}:of_width", space=space) == "model.factory"
