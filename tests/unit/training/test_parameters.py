"""Every name of the space goes to exactly one place, or is refused before the first trial."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from winnow.config.errors import InputError
from winnow.config.experiment import TrainingConfig
from winnow.training.parameters import SEARCHED, Slot, Takers, factory_takes, route

TAKERS = Takers(
    optimizer=frozenset({"lr", "weight_decay", "betas"}),
    scheduler=frozenset({"warmup_steps"}),
    model=frozenset({"hidden", "dropout"}),
)
words = st.sampled_from(["a", "b", "c", "d", "e", "f"])
takers = st.builds(
    Takers,
    optimizer=st.frozensets(words),
    scheduler=st.frozensets(words),
    model=st.frozensets(words),
    model_takes_rest=st.booleans(),
)
names = st.lists(
    words | st.builds("{}.{}".format, st.sampled_from(["model", "optimizer", "scheduler", "training", "x"]), words),
    unique=True,
    max_size=4,
)


def _routed(names, takers):
    try:
        return dict(route(names, takers).slots)
    except InputError as error:
        return error.place


@given(names, takers)
def test_what_is_routed_goes_where_it_is_taken_and_no_slot_twice(names, takers):
    slots = _routed(names, takers)
    if isinstance(slots, str):
        return
    assert set(slots) == set(names)
    assert len(set(slots.values())) == len(slots)
    for name, slot in slots.items():
        assert takers.takes(slot.place, slot.setting)
        assert name in (slot.setting, f"{slot.place}.{slot.setting}")


@given(names, takers)
def test_a_bare_name_is_routed_only_where_no_second_place_names_it(names, takers):
    slots = _routed(names, takers)
    if isinstance(slots, str):
        return
    for name in names:
        if "." not in name:
            naming = [place for place in ("model", "optimizer", "scheduler") if name in getattr(takers, place)]
            assert naming in ([], [slots[name].place])


@given(names, takers)
def test_the_order_of_the_names_changes_nothing(names, takers):
    forwards, backwards = _routed(names, takers), _routed(names[::-1], takers)
    assert isinstance(forwards, str) == isinstance(backwards, str)
    assert isinstance(forwards, str) or forwards == backwards


def test_names_find_their_places():
    space = ["lr", "hidden", "batch_size", "warmup_steps", "optimizer.weight_decay", "model.dropout", "optimizer"]
    assert route(space, TAKERS).slots == {
        "lr": Slot("optimizer", "lr"),
        "hidden": Slot("model", "hidden"),
        "batch_size": Slot("training", "batch_size"),
        "warmup_steps": Slot("scheduler", "warmup_steps"),
        "optimizer.weight_decay": Slot("optimizer", "weight_decay"),
        "model.dropout": Slot("model", "dropout"),
        "optimizer": Slot("training", "optimizer"),
    }


def test_a_name_that_two_places_take_is_refused_with_both_and_the_remedy():
    both = Takers(optimizer=frozenset({"lr"}), model=frozenset({"lr"}))
    with pytest.raises(InputError) as refused:
        route(["lr"], both)
    assert refused.value.found == "'lr', which the model's factory and the optimizer take"
    assert refused.value.remedy == "Write model.lr or optimizer.lr instead."
    assert route(["model.lr"], both).slots == {"model.lr": Slot("model", "lr")}


def test_a_name_that_nothing_takes_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'dropout'") as refused:
        route(["dropuot"], TAKERS)
    assert refused.value.place == "search.space.dropuot"
    with pytest.raises(InputError, match=r"Did you mean 'optimizer\.lr'"):
        route(["optimiser.lr"], TAKERS)


def test_a_factory_with_keyword_arguments_takes_only_what_nobody_else_takes():
    greedy = Takers(optimizer=frozenset({"lr"}), model=frozenset({"hidden"}), model_takes_rest=True)
    slots = route(["lr", "depth", "hidden"], greedy).slots
    assert {name: slot.place for name, slot in slots.items()} == {
        "lr": "optimizer",
        "depth": "model",
        "hidden": "model",
    }


@pytest.mark.parametrize("name", ["precision", "accumulation", "training.precision", "loss", "early_stopping", "loop"])
def test_a_setting_that_is_fixed_per_study_is_refused_with_the_reason(name):
    with pytest.raises(InputError, match="a setting that may differ between trials"):
        route([name], TAKERS)


def test_two_names_of_one_setting_are_refused():
    with pytest.raises(InputError, match="every setting once"):
        route(["lr", "optimizer.lr"], TAKERS)


def test_a_loop_of_ones_own_takes_everything():
    assert route(["precision", "anything"], Takers(loop_takes_all=True)).slots == {}


def test_a_factory_says_what_it_takes():
    def build(input_shape, outputs, hidden, *, dropout=0.0, **rest): ...

    assert factory_takes(build) == (frozenset({"hidden", "dropout"}), True)


def test_values_from_the_space_replace_those_in_the_file():
    routing = route(["lr", "batch_size", "hidden", "warmup_steps"], TAKERS)
    training = TrainingConfig.model_validate(
        {"optimizer": {"type": "sgd", "lr": 1.0, "momentum": 0.9}, "scheduler": {"type": "cosine", "warmup_steps": 1}}
    )
    params = {"lr": 0.1, "batch_size": 16, "hidden": [8], "warmup_steps": 5}
    settings = routing.settings(params, {"hidden": [1], "norm": True}, training)
    assert settings.model == {"hidden": [8], "norm": True}
    assert settings.training == training.model_copy(
        update={
            "batch_size": 16,
            "optimizer": type(training.optimizer)(type="sgd", lr=0.1, momentum=0.9),
            "scheduler": type(training.scheduler)(type="cosine", warmup_steps=5),
        }
    )


def test_an_optimizer_may_be_a_choice():
    settings = route(["optimizer", "lr"], TAKERS).settings({"optimizer": "sgd", "lr": 0.5}, {}, TrainingConfig())
    assert settings.training.optimizer.model_dump() == {"type": "sgd", "lr": 0.5}


def test_a_value_that_training_does_not_take_is_refused():
    with pytest.raises(ValidationError):
        route(["epochs"], TAKERS).settings({"epochs": 0}, {}, TrainingConfig())


def test_every_setting_of_training_is_either_searched_or_fixed_with_a_reason():
    from winnow.training.parameters import FIXED

    assert SEARCHED | set(FIXED) == set(TrainingConfig.model_fields)


def test_a_condition_on_the_optimizer_must_name_one_that_has_the_setting():
    takers = Takers(
        optimizer=frozenset({"lr", "momentum", "betas"}),
        by_optimizer={"sgd": frozenset({"lr", "momentum"}), "adamw": frozenset({"lr", "betas"})},
    )
    names = ["optimizer", "momentum"]
    assert route(names, takers, {"momentum": {"optimizer": ("sgd",)}}).slots["momentum"] == Slot(
        "optimizer", "momentum"
    )
    with pytest.raises(InputError, match=r"search.space.momentum.when.optimizer.*have the setting momentum: sgd"):
        route(names, takers, {"momentum": {"optimizer": ("sgd", "adamw")}})


def test_two_names_of_one_setting_are_taken_if_no_trial_has_both():
    conditions = {"lr": {"optimizer": ("sgd",)}, "optimizer.lr": {"optimizer": ("adamw",)}}
    assert set(route(["lr", "optimizer.lr"], TAKERS, conditions).slots.values()) == {Slot("optimizer", "lr")}
    with pytest.raises(InputError, match="every setting once"):
        route(["lr", "optimizer.lr"], TAKERS, {"lr": {"optimizer": ("sgd",)}})
