"""Models that train as one end as they end one after another, in float64 to 1e-6, whatever their architecture."""

import copy
import dataclasses
import math

import pytest
import torch
from torch import nn

from tests.unit.training.stacking import networks
from winnow.config.experiment import TrainingConfig
from winnow.models import cnn, linear, mlp
from winnow.training.failures import DivergedError
from winnow.training.loop import Rows, predict, train
from winnow.training.losses import row_loss
from winnow.training.optimization import make_optimizer
from winnow.training.stacking.layers import NotStackableError
from winnow.training.stacking.probe import reason_against
from winnow.training.stacking.stack import structure_of
from winnow.training.stacking.training import FoldRows, Gather, Member, predict_stack, train_stack

PARTS = "tests.unit.training.losses"
CPU = torch.device("cpu")
SETTINGS = {"epochs": 3, "batch_size": 8, "optimizer": {"type": "adamw", "lr": 0.01, "weight_decay": 0.1}}


def fold(number, shape, rows, dtype, *, watched=0, task="classification"):
    """Rows of a fold: inputs are scaled differently in each, as they are by its own mean and spread."""
    draw = torch.Generator().manual_seed(0)
    inputs = (torch.randn(60, *shape, generator=draw) * (1 + number / 10)).to(dtype)
    target = torch.randint(0, 3, (60,), generator=draw)
    if task == "regression":
        target = torch.randn(60, 3, generator=draw).to(dtype)
    order = torch.randperm(60, generator=draw.manual_seed(number))
    return FoldRows(Rows(inputs, target), order[:rows], order[60 - watched :] if watched else None, 100 + number)


def members(
    builds, rows=(33, 33, 31), training=(SETTINGS,), shape=(6,), dtype=torch.float64, watched=0, task="classification"
):
    """A member for each build, rows and settings; lists repeat."""
    made = []
    for number in range(max(len(builds), len(rows), len(training))):
        torch.manual_seed(number)
        network = builds[number % len(builds)]().to(dtype)
        own = fold(number, shape, rows[number % len(rows)], dtype, watched=watched, task=task)
        made.append(Member(network, own, TrainingConfig.model_validate(training[number % len(training)])))
    return made


def one_by_one(made, world, task="classification"):
    """State, epochs, outputs and error of each member that trains alone."""
    results = []
    for member in made:
        network, training, losses = copy.deepcopy(member.network), member.training, []
        optimizer = make_optimizer(training.optimizer, network, CPU, is_scaled=False)
        rows, order, loss = member.fold.rows, member.fold.order, row_loss(training.loss, task)
        try:
            trained = train(
                *(network, optimizer, rows, order, member.fold.watch, loss, training, member.fold.seed, world),
                on_epoch=lambda _epoch, _of, mean, losses=losses, **_: losses.append(mean),
            )
        except DivergedError as error:
            results.append((None, None, None, str(error), losses))
            continue
        outputs = predict(network, rows.inputs, order, 8, world)
        results.append((network.state_dict(), trained.epochs, outputs, None, losses))
    return results


def stacked(made, task="classification"):
    """The same of members that train as one; losses are the mean of all."""
    losses: list[float] = []
    loss = row_loss(made[0].training.loss, task)
    trained = train_stack(made, loss, CPU, lambda _epoch, _of, mean: losses.append(mean))
    index = [member.fold.order for member in made]
    gather = Gather([member.fold for member in made])
    outputs = predict_stack(trained.stack, gather, gather.index(range(len(made)), index), 8)
    results = []
    for place, failure in enumerate(trained.failures):
        if failure is not None:
            results.append((None, None, None, str(failure)))
        else:
            results.append((trained.stack.state(place), trained.epochs[place], outputs[place], None))
    return results, losses


def assert_equal(alone, together):
    for one, other in zip(alone, together, strict=True):
        assert (one[1], one[3]) == (other[1], other[3])
        if one[0] is not None:
            torch.testing.assert_close(dict(one[0]), dict(other[0]), rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(one[2], other[2], rtol=1e-5, atol=1e-6)


def dense(p=0.0, **options):
    return lambda: mlp((6,), 3, hidden=(7, 5), dropout=p, **options)


ARCHITECTURES = {
    "linear": ([lambda: linear((6,), 3)], (6,)),
    "mlp": ([dense()], (6,)),
    "mlp with dropout": ([dense(0.1), dense(0.5), dense(0.3)], (6,)),
    "mlp with batch norm": ([dense(0.2, norm="batch")], (6,)),
    "mlp with layer norm": ([dense(0.2, norm="layer", activation="leaky_relu")], (6,)),
    "cnn": ([lambda: cnn((2, 6, 6), 3, channels=(3, 4), dropout=0.2, hidden=5)], (2, 6, 6)),
    "cnn of one channel": ([lambda: cnn((6, 6), 3, channels=(3,), hidden=0)], (6, 6)),
    "cnn with batch norm": (
        [
            lambda: nn.Sequential(
                *(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4), nn.SiLU(), nn.GroupNorm(2, 4)),
                *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
            )
        ],
        (2, 6, 6),
    ),
    "conv1d": (
        [lambda: nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 3, 2), nn.Flatten(), nn.Linear(4, 3))],
        (6,),
    ),
    "embedding": ([networks.Tokens], (6,)),
    "a forward of one's own": ([lambda: networks.Residual(6)], (6,)),
    "a layer used twice": ([networks.Tied], (6,)),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_learns_the_same_as_one_after_another(world, name):
    builds, shape = ARCHITECTURES[name]
    made = members(builds, shape=shape)
    assert len({structure_of(member.network) for member in made}) == 1
    alone = one_by_one(made, world)
    together, losses = stacked(made)
    assert_equal(alone, together)
    means = [sum(own[4][epoch] for own in alone) / len(alone) for epoch in range(3)]
    assert losses == pytest.approx(means, rel=1e-6)


def test_trials_of_one_fold_draw_the_same_masks_as_one_after_another(world):
    probabilities = (0.1, 0.5, 0.0, 0.1, 1.0)
    made = members([lambda p=p: nn.Sequential(nn.Dropout(p), *dense(0.2)()) for p in probabilities], rows=(33,))
    shared = [Member(member.network, made[number % 2].fold, member.training) for number, member in enumerate(made)]
    assert_equal(one_by_one(shared, world), stacked(shared)[0])


RULES = {
    "each its own learning rate, decay and clipping": [
        {"optimizer": {"type": "adam", "lr": 0.01}},
        {"optimizer": {"type": "adam", "lr": 0.03, "weight_decay": 0.1}, "clip_norm": 0.2},
    ],
    "sgd with momentum": [{"optimizer": {"type": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True}}],
    "rmsprop": [{"optimizer": {"type": "rmsprop", "lr": 0.01}}],
    "cosine by step": [{"scheduler": {"type": "cosine", "warmup_steps": 3}}],
    "one cycle": [{"scheduler": {"type": "onecyclelr"}, "optimizer": {"type": "adam", "lr": lr}} for lr in (0.1, 0.2)],
    "step by epoch": [{"scheduler": {"type": "steplr", "step_size": 1, "gamma": gamma}} for gamma in (0.5, 0.1)],
    "plateau": [{"scheduler": {"type": "reducelronplateau", "patience": 0, "threshold": 0.5}}],
    "accumulation": [{"accumulation": 3}],
    "one large batch": [{"batch_size": 100}],
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_every_rule_of_the_loop_holds(world, name, norm):
    training = [{**SETTINGS, **rule} for rule in RULES[name]]
    made = members([dense(0.3, norm=norm)], rows=(33, 31, 33, 40), training=training)
    assert_equal(one_by_one(made, world), stacked(made)[0])


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("scheduler", [None, {"type": "reducelronplateau", "patience": 0}])
def test_each_member_stops_early_by_its_own_rows_and_keeps_its_best_weights(world, norm, scheduler):
    training = {
        **SETTINGS,
        "epochs": 40,
        "scheduler": scheduler,
        "early_stopping": {"patience": 1},
        "optimizer": {"type": "adam", "lr": 0.01},
    }
    made = members([dense(0.2, norm=norm)], rows=(33, 31, 33, 40), training=[training], watched=9)
    alone = one_by_one(made, world)
    assert len({own[1] for own in alone}) > 1
    assert_equal(alone, stacked(made)[0])


def test_regression_on_several_targets(world):
    made = members([dense()], task="regression")
    assert_equal(one_by_one(made, world, "regression"), stacked(made, "regression")[0])


WEIGHTED = {
    "cross-entropy": {},
    "focal, smoothed": {"loss": {"type": "focal", "gamma": 1.5, "label_smoothing": 0.1}},
    "accumulation": {"accumulation": 3},
    "plateau": {"scheduler": {"type": "reducelronplateau", "patience": 0, "threshold": 0.5}},
    "a loss of one's own": {"loss": {"type": f"{PARTS}:absolute", "power": 1.5}},
}


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_weighted_rows_count_as_one_after_another(world, name, norm):
    stops = {"early_stopping": {"patience": 2}, "optimizer": {"type": "adam", "lr": 0.02}}
    made = members([dense(0.2, norm=norm)], (33, 31, 33, 40), [{**SETTINGS, **WEIGHTED[name], **stops}], watched=9)
    weights = torch.rand(60, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    weights[weights < 0.2] = 0
    weighted = [
        dataclasses.replace(one, fold=dataclasses.replace(one.fold, rows=dataclasses.replace(one.fold.rows, weights=w)))
        for one, w in zip(made, (weights, weights.flip(0), weights, weights.roll(7)), strict=True)
    ]
    alone = one_by_one(weighted, world)
    together, losses = stacked(weighted)
    assert_equal(alone, together)
    first = [own[4][0] for own in alone]
    assert losses[0] == pytest.approx(sum(first) / len(first), rel=1e-6)
    assert reason_against(weighted, row_loss(made[0].training.loss, "classification"), world) is None


def test_a_loss_that_gives_a_mean_is_not_stacked(world):
    made = members([dense()], training=[{**SETTINGS, "loss": f"{PARTS}:mean_of_rows"}])
    assert reason_against(made, row_loss(made[0].training.loss, "classification"), world) == (
        "a loss that gives the mean of its rows"
    )


def test_a_member_that_diverges_fails_alone(world):
    rates = [{**SETTINGS, "optimizer": {"type": "sgd", "lr": lr}} for lr in (0.01, 1e200, 0.02)]
    made = members([dense(0.2)], training=rates)
    alone = one_by_one(made, world)
    together, _ = stacked(made)
    assert [own[3] is None for own in together] == [True, False, True]
    assert_equal(alone, together)


def test_members_may_all_diverge(world):
    made = members([dense()], training=[{**SETTINGS, "optimizer": {"type": "sgd", "lr": 1e300}}])
    assert_equal(one_by_one(made, world), stacked(made)[0])


def test_float32_drifts_no_further_than_weights_perturbed_by_1e_7(world):
    training = [{**SETTINGS, "epochs": 20, "optimizer": {"type": "adam", "lr": 0.01}}]
    made = members([dense()], rows=(33, 31, 33, 40), training=training, dtype=torch.float32)
    alone, (together, _) = one_by_one(made, world), stacked(made)
    perturbed = copy.deepcopy(made)
    with torch.no_grad():
        for parameter in (p for member in perturbed for p in member.network.parameters()):
            parameter += 1e-7 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))

    def drift(others):
        return max(float((one[2] - other[2]).abs().max()) for one, other in zip(alone, others, strict=True))

    assert drift(together) <= drift(one_by_one(perturbed, world))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_probe_lets_every_architecture_pass(world, name):
    builds, shape = ARCHITECTURES[name]
    made = members(builds, shape=shape, dtype=torch.float32, watched=5)
    assert reason_against(made, row_loss(made[0].training.loss, "classification"), world) is None


REFUSED = {
    networks.Branching: "a forward that cannot be traced (TraceError)",
    networks.MixesRows: "its weights differ from those of training one after another",
    networks.Scaled: "a forward that reads factor outside a layer",
    networks.Recurrent: "a layer of type GRUCell",
}


@pytest.mark.parametrize("build", REFUSED)
def test_the_probe_names_what_cannot_be_stacked(world, build):
    made = members([build], dtype=torch.float32)
    assert reason_against(made, row_loss(made[0].training.loss, "classification"), world) == REFUSED[build]


def test_an_optimizer_that_sees_whole_matrices_is_refused(world):
    made = members([dense()], training=[{**SETTINGS, "optimizer": {"type": "adafactor", "lr": 0.01}}])
    with pytest.raises(NotStackableError, match="the optimizer adafactor"):
        stacked(made)


def test_structures_differ_by_all_but_probabilities_of_dropout():
    same = [dense(0.1)(), dense(0.4)()]
    others = [dense(0.1, activation="tanh")(), mlp((6,), 3, hidden=(7, 6), dropout=0.1), networks.Residual(6)]
    assert structure_of(same[0]) == structure_of(same[1])
    assert len({structure_of(network) for network in (*same, *others)}) == 4


def test_a_stack_leaves_the_networks_of_its_members_untouched():
    made = members([dense()])
    before = copy.deepcopy(made[0].network.state_dict())
    stacked(made)
    assert all(torch.equal(before[name], value) for name, value in made[0].network.state_dict().items())
    assert not math.isnan(sum(float(value.sum()) for value in before.values()))
