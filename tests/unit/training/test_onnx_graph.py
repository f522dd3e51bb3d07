"""A graph of well-known layers answers as torch does, for batches of any size; anything else is refused by name."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow import models
from winnow.data.inputs import Category, InputPlan
from winnow.data.preprocessing import Impute, Standardize, TargetScale, fit_preprocessing
from winnow.training.fitting import EmbeddedColumns, ExportModule
from winnow.training.onnx_graph import UnknownLayerError, graph_of


class Residual(nn.Module):
    """A forward of a person's own: functions, methods, and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(16, 3)
        self.shift = nn.Parameter(torch.rand(8))

    def forward(self, rows: Tensor) -> Tensor:
        hidden = functional.relu(self.first(rows))
        hidden = hidden + torch.tanh(hidden) * 0.5 - self.shift
        hidden = functional.dropout(hidden, 0.5, self.training)
        both = torch.cat([hidden, functional.silu(hidden).view(hidden.size(0), -1)], dim=1)
        return self.last(functional.gelu(both))


class Words(nn.Module):
    """Whole numbers to the mean of their embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.last = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, rows: Tensor) -> Tensor:
        return self.last(self.embedding(rows.long()).mean(1))


class Waves(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return torch.tan(rows)


def image_network(pool: nn.Module, features: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.LeakyReLU(), pool),
        *(nn.Flatten(), nn.Linear(features, 3)),
    )


NETWORKS = {
    "linear": (models.linear((5,), 3), (5,)),
    "mlp": (models.mlp((5,), 3, (8, 4), 0.3), (5,)),
    "mlp of images": (models.mlp((2, 3), 3, (8,), activation="silu"), (2, 3)),
    "cnn": (models.cnn((1, 9, 8), 3, (4, 6), dropout=0.2), (1, 9, 8)),
    "cnn of one channel": (models.cnn((8, 8), 3, (4,), hidden=0), (8, 8)),
    **{f"{norm} norm": (models.mlp((5,), 3, (8,), norm=norm), (5,)) for norm in ("batch", "layer")},
    **{kind: (models.mlp((5,), 3, (8,), activation=kind), (5,)) for kind in models.ACTIVATIONS},
    "residual": (Residual(), (5,)),
    "embedding": (Words(), (6,)),
    "maximum": (image_network(nn.MaxPool2d(3, 2, 1), 36), (3, 12, 12)),
    "average": (image_network(nn.AvgPool2d(2), 36), (3, 12, 12)),
    "global average": (image_network(nn.AdaptiveAvgPool2d(1), 4), (3, 12, 12)),
    "sequence": (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ELU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(12, 3)), (2, 9)),
}


def rows_of(shape: tuple[int, ...], count: int) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(count)) * 9


@pytest.mark.parametrize("name", NETWORKS)
def test_a_graph_answers_as_torch_does_whatever_the_size_of_the_batch(name: str) -> None:
    torch.manual_seed(0)
    network, shape = NETWORKS[name]
    network.train()(rows_of(shape, 16))
    present = rows_of(shape, 16)
    missing = Standardize(present.mean(0, keepdim=True), present.std(0, keepdim=True)[:1] + 1)
    model = ExportModule(missing if name != "embedding" else nn.Identity(), network, nn.Softmax(-1)).eval()
    graph = graph_of(model, rows_of(shape, 2)).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for count in (1, 2, 7):
        rows = rows_of(shape, count)
        if name != "embedding":
            rows.view(count, -1)[0, 0] = torch.nan
        with torch.no_grad():
            expected = model(rows).numpy()
        found = session.run(["output"], {"input": rows.numpy()})[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_columns_of_a_table_have_a_graph() -> None:
    torch.manual_seed(0)
    plan = InputPlan(
        scaled=(0, 1),
        indicated=(1,),
        cycles=((2, 7.0),),
        one_hot=(Category(3, 3, True),),
        embedded=(Category(4, 20, False),),
    )
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(size=(60, 2)), *(rng.integers(0, most, 60) for most in (7, 3, 20))])
    rows[::5, (1, 3)] = np.nan
    rows[::7, 4] = -1
    features = rows.astype(np.float32)
    preprocess = fit_preprocessing(features, plan, "standard")
    network = EmbeddedColumns(plan, models.mlp((plan.dense + plan.embedded[0].dimensions,), 3, (8,)))
    model = ExportModule(preprocess, network, nn.Softmax(-1)).eval()
    graph = graph_of(model, torch.from_numpy(features[:2]))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(session.run(["output"], {"input": features})[0], expected, rtol=1e-5, atol=1e-6)


def test_a_regression_answers_in_the_target_s_own_units() -> None:
    torch.manual_seed(0)
    head = TargetScale(torch.tensor([100.0]), torch.tensor([25.0]))
    model = ExportModule(Impute(torch.ones(1, 5)), models.mlp((5,), 1), head).eval()
    session = onnxruntime.InferenceSession(graph_of(model, rows_of((5,), 2)).SerializeToString())
    rows = rows_of((5,), 3)
    with torch.no_grad():
        expected = model(rows).numpy()
    np.testing.assert_allclose(session.run(["output"], {"input": rows.numpy()})[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (Waves(), "tan"),
        (nn.Sequential(nn.PReLU()), "PReLU"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))), "ParametrizedLinear"),
    ],
)
def test_what_is_not_known_is_refused_by_name(network: nn.Module, named: str) -> None:
    with pytest.raises(UnknownLayerError, match=named):
        graph_of(network.eval(), rows_of((5,), 2))


def test_a_layer_with_a_hook_is_refused() -> None:
    network = nn.Sequential(nn.Linear(5, 3))
    network[0].register_forward_hook(lambda _module, _inputs, output: output * 2)
    with pytest.raises(UnknownLayerError, match="Linear"):
        graph_of(network.eval(), rows_of((5,), 2))
