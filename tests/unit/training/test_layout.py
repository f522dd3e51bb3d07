"""Which networks are laid out with the channels last."""

import pytest
import torch
from torch import nn

from winnow.training.jobs import prefer_channels_last


class _Views(nn.Module):
    """A forward that views images as rows, which needs the usual layout."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.convolution(images).view(len(images), -1)


class _TwoAndThreeDimensions(nn.Module):
    """A forward of two convolutions, one of which has no layout with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.deep = nn.Conv2d(3, 4, 3), nn.Conv3d(1, 1, 1)

    def forward(self, images):
        return self.deep(self.flat(images)[:, None]).flatten(1)


NETWORKS = {
    "convolutions": (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), True),
    "a view of the channels": (_Views(), False),
    "convolutions of volumes beside": (_TwoAndThreeDimensions(), True),
    "no convolutions": (nn.Flatten(), False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_have_their_channels_last_where_the_forward_allows_it(name):
    network, expected = NETWORKS[name]
    images = torch.randn(2, 3, 5, 5)
    before = network(images)
    prefer_channels_last(network, images)
    weights = [weight for weight in network.parameters() if weight.dim() == 4]
    assert any(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights) is expected
    assert network.training
    torch.testing.assert_close(network(images), before)
