"""A trained network together with what belongs before and after it, as it is exported."""

from __future__ import annotations

from torch import Tensor, nn


class ExportModule(nn.Module):
    """Raw rows, float32 [batch, *input_shape], to class probabilities or values in the target's own units."""

    def __init__(self, preprocess: nn.Module, network: nn.Module, head: nn.Module) -> None:
        """Put a network between its preprocessing and its head (softmax, or the target's scale)."""
        super().__init__()
        self.preprocess, self.network, self.head = preprocess, network, head

    def forward(self, input: Tensor) -> Tensor:
        """The outputs, float32 [batch, outputs]."""
        output: Tensor = self.head(self.network(self.preprocess(input)))
        return output
