"""Layers that compute for many models at once.

Their inputs are [models × rows, …]: the rows of the first model, then those of the second, and so on. Whatever treats
rows alike and has no weights (activations, pooling, reshaping) therefore needs no layer of its own. Weights and buffers
are [models, …], and lie in the `Models` that the layers of a stack share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from winnow.training.dropout import Masks, scale, threshold

MaskStream = Masks | Generator
"""Of dropout masks: `Masks` on the CPU."""


class NotStackableError(Exception):
    """Networks cannot train as one. The message completes the sentence "not packed: …"."""


@dataclass(eq=False)
class Models:
    """What differs between the models of a stack, as its layers read it.

    Attributes:
        constants: frozen parameters and buffers, [models, *shape] each.
        generators: of the dropout masks, one a model. Models that share one drop in the same layers, with probabilities
            of their own.
        dropout: probabilities of each dropout layer, one a model.
        is_training: whether dropout drops and BatchNorm uses the statistics of the batch.
        rows: how many rows of the batch each model has; the others are padding. None: all of them.
    """

    weights: Sequence[Tensor]
    constants: Sequence[Tensor]
    generators: Sequence[MaskStream]
    dropout: dict[str, list[float]]
    is_training: bool = True
    rows: Sequence[int] | None = None
    drops: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    streams: dict[MaskStream, int] = field(init=False)
    stream_of: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Find the distinct generators, each with the first model that has it."""
        self.streams = {generator: self.generators.index(generator) for generator in self.generators}
        places = {generator: place for place, generator in enumerate(self.streams)}
        self.stream_of = torch.tensor([places[generator] for generator in self.generators])

    @property
    def count(self) -> int:
        """How many models."""
        return len(self.generators)


@dataclass(eq=False)
class Current:
    """The models that the layers of a stack compute for: all of them, or a part."""

    models: Models


@dataclass(frozen=True)
class Places:
    """Where the parameters and buffers of a layer lie in `Models`, by name."""

    name: str
    weights: Mapping[str, int]
    constants: Mapping[str, int]


class Layer(nn.Module):
    """A batched layer. `single` is that of the first model: settings other than weights are equal in all of them."""

    def __init__(self, single: nn.Module, places: Places, current: Current) -> None:
        super().__init__()
        self.settings: Any = _Plain(single)
        self.places, self._current = places, current

    @property
    def models(self) -> Models:
        """The models that compute now."""
        return self._current.models

    def tensor(self, name: str) -> Tensor | None:
        """A parameter or buffer [models, *shape]; None where the layer has none of that name."""
        if name in self.places.weights:
            return self.models.weights[self.places.weights[name]]
        if name in self.places.constants:
            return self.models.constants[self.places.constants[name]]
        return None

    def split(self, rows: Tensor) -> Tensor:
        """From [models × rows, …] to [models, rows, …]."""
        return rows.reshape(self.models.count, -1, *rows.shape[1:])

    def scaled(self, normal: Tensor, channels_first: bool) -> Tensor:
        """Normalized rows [models × rows, …] times the layer's weight plus its bias, where it has them."""
        weight, bias = self.tensor("weight"), self.tensor("bias")
        if weight is None:
            return normal
        rows = self.split(normal)
        after = rows.dim() - 3 if channels_first else 0
        before = rows.dim() - weight.dim() - after
        shape = (weight.shape[0], *[1] * before, *weight.shape[1:], *[1] * after)
        if bias is None:
            return (rows * weight.reshape(shape)).flatten(0, 1)
        return torch.addcmul(bias.reshape(shape), rows, weight.reshape(shape)).flatten(0, 1)


class _Plain:
    """Keeps a module out of the tree of modules of the one that holds it."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class Linear(Layer):
    """`nn.Linear`."""

    def forward(self, rows: Tensor) -> Tensor:
        weight, bias = self.tensor("weight"), self.tensor("bias")
        assert weight is not None, "a linear layer has a weight"
        many = rows.reshape(self.models.count, -1, rows.shape[-1])
        out = many @ weight.mT if bias is None else torch.baddbmm(bias.unsqueeze(1), many, weight.mT)
        return out.view(*rows.shape[:-1], out.shape[-1])


_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
    nn.Conv3d: functional.conv3d,
}


class Convolution(Layer):
    """`nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d`."""

    def __init__(self, single: nn.Module, places: Places, current: Current) -> None:
        super().__init__(single, places, current)
        if self.settings.padding_mode != "zeros":
            raise NotStackableError(f"a convolution with the padding mode {self.settings.padding_mode!r}")
        self._function = _CONVOLUTIONS[type(single)]

    def forward(self, rows: Tensor) -> Tensor:
        weight, bias = self.tensor("weight"), self.tensor("bias")
        assert weight is not None, "a convolution has a weight"
        many, count = self.split(rows), self.models.count
        if rows.device.type == "cpu":
            biases = [None] * count if bias is None else bias.unbind()
            outs = map(self._convolve, many.unbind(), map(_channels_last, weight.unbind()), biases)
            return torch.cat(list(outs))
        biases_as_one = None if bias is None else bias.flatten(0, 1)
        out = self._convolve(many.transpose(0, 1).flatten(1, 2), weight.flatten(0, 1), biases_as_one, count)
        return out.view(len(out), count, -1, *out.shape[2:]).transpose(0, 1).flatten(0, 1)

    def _convolve(self, rows: Tensor, weight: Tensor, bias: Tensor | None, models: int = 1) -> Tensor:
        """One convolution: of a model, or of several whose channels lie side by side as groups."""
        own = self.settings
        return self._function(rows, weight, bias, own.stride, own.padding, own.dilation, models * own.groups)


def _channels_last(weight: Tensor) -> Tensor:
    """The weight of a 2-d convolution with the channels last, as torch's CPU kernels for images are fastest."""
    return weight.clone(memory_format=torch.channels_last) if weight.dim() == 4 else weight


class BatchNorm(Layer):
    """`nn.BatchNorm1d`, `nn.BatchNorm2d` and `nn.BatchNorm3d`: the channels of all models side by side."""

    def __init__(self, single: nn.Module, places: Places, current: Current) -> None:
        super().__init__(single, places, current)
        if not self.settings.track_running_stats or self.settings.momentum is None:
            raise NotStackableError("BatchNorm without running statistics or without a momentum")

    def forward(self, rows: Tensor) -> Tensor:
        many = self.split(rows)
        mean, variance, seen = (self.tensor(name) for name in ("running_mean", "running_var", "num_batches_tracked"))
        weight, bias = self.tensor("weight"), self.tensor("bias")
        assert mean is not None and variance is not None and seen is not None
        # One row has no spread: it is normalized by the running statistics, as in the loop for one network.
        is_training = self.models.is_training and many.shape[1] > 1
        if is_training:
            seen += 1
        out = functional.batch_norm(
            many.transpose(0, 1).flatten(1, 2),
            mean.view(-1),
            variance.view(-1),
            None if weight is None else weight.flatten(),
            None if bias is None else bias.flatten(),
            is_training,
            self.settings.momentum,
            self.settings.eps,
        )
        return out.view(len(out), self.models.count, -1, *out.shape[2:]).transpose(0, 1).flatten(0, 1)


class LayerNorm(Layer):
    """`nn.LayerNorm`."""

    def forward(self, rows: Tensor) -> Tensor:
        normal = functional.layer_norm(rows, self.settings.normalized_shape, eps=self.settings.eps)
        return self.scaled(normal, channels_first=False)


class GroupNorm(Layer):
    """`nn.GroupNorm`."""

    def forward(self, rows: Tensor) -> Tensor:
        normal = functional.group_norm(rows, self.settings.num_groups, eps=self.settings.eps)
        return self.scaled(normal, channels_first=True)


class Embedding(Layer):
    """`nn.Embedding`: one table that holds those of all models."""

    def __init__(self, single: nn.Module, places: Places, current: Current) -> None:
        super().__init__(single, places, current)
        settings = self.settings
        if settings.padding_idx is not None or settings.max_norm is not None:
            raise NotStackableError("an Embedding with padding_idx or max_norm")
        if settings.sparse or settings.scale_grad_by_freq:
            raise NotStackableError("an Embedding with sparse or scaled gradients")

    def forward(self, rows: Tensor) -> Tensor:
        table = self.tensor("weight")
        assert table is not None, "an embedding has a weight"
        many = self.split(rows)
        first = torch.arange(self.models.count, device=rows.device).view(-1, *[1] * (many.dim() - 1))
        return functional.embedding(many + first * table.shape[1], table.flatten(0, 1)).flatten(0, 1)


class MaxPool2d(Layer):
    """`nn.MaxPool2d` with the channels last: torch has a vector kernel for that alone on CPUs, 2 to 5 times as fast."""

    def forward(self, rows: Tensor) -> Tensor:
        settings = self.settings
        largest: Tensor = functional.max_pool2d(
            rows.contiguous(memory_format=torch.channels_last) if rows.dim() == 4 else rows,
            settings.kernel_size,
            settings.stride,
            settings.padding,
            settings.dilation,
            settings.ceil_mode,
            settings.return_indices,
        )
        return largest


class Dropout(Layer):
    """`nn.Dropout`: each model gets the mask that it would draw alone."""

    def forward(self, rows: Tensor) -> Tensor:
        models = self.models
        if not models.is_training or not any(models.dropout[self.places.name]):
            return rows
        many = rows.reshape(models.count, -1)
        per_row = many.shape[1] * models.count // len(rows)
        mask = self._masks_on_cpu(many, per_row) if rows.device.type == "cpu" else self._masks(many, per_row)
        return (many * mask).view(rows.shape)

    def _masks_on_cpu(self, many: Tensor, per_row: int) -> Tensor:
        """Models of one stream compare the same numbers with thresholds of their own."""
        models, probabilities = self.models, self.models.dropout[self.places.name]
        bits = torch.zeros(len(models.streams), many.shape[1], dtype=torch.int16)
        for own, (stream, model) in zip(bits.unbind(), models.streams.items(), strict=True):
            assert isinstance(stream, Masks)
            if 0 < probabilities[model] < 1:
                size = len(own) if models.rows is None else models.rows[model] * per_row
                own[:size] = stream.bits(size)
        if len(models.streams) < models.count:
            bits = bits.index_select(0, models.stream_of)
        thresholds, scales = self._settings_of(probabilities, many)
        return torch.le(bits, thresholds, out=torch.empty_like(many)).mul_(scales)

    def _masks(self, many: Tensor, per_row: int) -> Tensor:
        models, masks = self.models, torch.zeros_like(many)
        probabilities = models.dropout[self.places.name]
        for model, (part, probability) in enumerate(zip(masks.unbind(), probabilities, strict=True)):
            drawn = part if models.rows is None else part[: models.rows[model] * per_row]
            stream = models.generators[model]
            if 0 < probability < 1 and isinstance(stream, Generator):
                drawn.bernoulli_(1 - probability, generator=stream).div_(1 - probability)
            else:
                drawn.fill_(1 - probability)
        return masks

    def _settings_of(self, probabilities: Sequence[float], like: Tensor) -> tuple[Tensor, Tensor]:
        """Thresholds and scales, [models, 1] each."""
        name = self.places.name
        if name not in self.models.drops:
            thresholds = torch.tensor([threshold(p) for p in probabilities], dtype=torch.int16).unsqueeze(1)
            self.models.drops[name] = thresholds, torch.tensor([scale(p) for p in probabilities]).to(like).unsqueeze(1)
        return self.models.drops[name]


LAYERS: dict[type[nn.Module], type[Layer]] = {
    nn.Linear: Linear,
    nn.Conv1d: Convolution,
    nn.Conv2d: Convolution,
    nn.Conv3d: Convolution,
    nn.BatchNorm1d: BatchNorm,
    nn.BatchNorm2d: BatchNorm,
    nn.BatchNorm3d: BatchNorm,
    nn.LayerNorm: LayerNorm,
    nn.GroupNorm: GroupNorm,
    nn.Embedding: Embedding,
    nn.MaxPool2d: MaxPool2d,
    nn.Dropout: Dropout,
}
"""What batches which layer of torch."""
