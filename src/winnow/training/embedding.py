"""Vectors for the categories of columns with many of them, learned with the network that a model's factory builds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from winnow.data.inputs import InputPlan

SPREAD = 0.01
"""Of the vectors' first values. Small, so that each category begins as the unknown ones do and moves by its rows."""


class EmbeddedColumns(nn.Module):
    """A network behind embedded columns: preprocessed rows, [batch, plan.prepared], to the network's outputs.

    Code 0 stands for rare and unknown categories. It begins at 0 and is moved by rare categories of the training rows;
    without any it stays 0, so that an unknown category adds nothing.
    """

    def __init__(self, plan: InputPlan, network: nn.Module) -> None:
        super().__init__()
        self.dense, self.columns = plan.dense, len(plan.embedded)
        self.tables = nn.ModuleList(nn.Embedding(column.codes, column.dimensions) for column in plan.embedded)
        for table in self.tables:
            nn.init.normal_(table.weight, std=SPREAD)  # type: ignore[arg-type]
            with torch.no_grad():
                table.weight[0] = 0.0  # type: ignore[operator]
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        codes = inputs.narrow(1, self.dense, self.columns).long()
        vectors = [table(codes.select(1, column)) for column, table in enumerate(self.tables)]
        outputs: Tensor = self.network(torch.cat([inputs.narrow(1, 0, self.dense), *vectors], 1))
        return outputs
