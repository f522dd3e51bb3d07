"""The network: `build` is called once for each fold, with the parameters that experiment.yaml searches."""

from torch import nn


def build(input_shape, outputs, width, dropout):
    """A network with one hidden layer. `width` and `dropout` are names in `search.space`.

    Args:
        input_shape: shape of one row: `(columns,)` for a table.
        outputs: number of classes; 1 for a regression.
    """
    return nn.Sequential(
        nn.Linear(input_shape[0], width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, outputs),
    )
