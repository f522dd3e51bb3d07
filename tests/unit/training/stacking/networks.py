"""Networks that stacks meet in tests."""

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """A forward of one's own, with functional dropout, a reshape by the number of rows, and a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.p = nn.Linear(width, width), nn.Linear(width, 3), 0.25

    def forward(self, x):
        x = x.view(x.size(0), -1)
        hidden = functional.dropout(functional.gelu(self.first(x)), self.p, self.training)
        return self.second(torch.cat([x + hidden, hidden], 1)[:, : x.shape[1]])


class Tokens(nn.Module):
    """Embeds whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(5, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.table(x.long().abs() % 5).mean(1))


class Tied(nn.Module):
    """Uses one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.inner(torch.relu(self.inner(x))))


class Branching(nn.Module):
    """Decides by its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(x) if x.sum() > 0 else -self.last(x)


class MixesRows(nn.Module):
    """Subtracts the mean of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        return self.last(x - x.mean(0))


class Scaled(nn.Module):
    """Has a parameter outside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.factor, self.last = nn.Parameter(torch.ones(3)), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(x) * self.factor


class Recurrent(nn.Module):
    """Has a layer that is not batched."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRUCell(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.cell(x))
