"""Ready-made augmentations of images for `data.augment`: each row is changed by chance of its own.

They take and give rows [rows, channels, height, width], as they are before they are scaled, on any device. They draw
from torch's global generator, which winnow seeds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def flip(rows: Tensor, p: float = 0.5) -> Tensor:
    """Mirror images from left to right with probability `p`."""
    _check_images(rows)
    is_flipped = torch.rand(len(rows), device=rows.device) < p
    return torch.where(is_flipped.view(-1, *[1] * (rows.dim() - 1)), rows.flip(-1), rows)


def crop(rows: Tensor, padding: int = 4) -> Tensor:
    """Pad images with zeros on all sides, and cut out their own size somewhere."""
    _check_images(rows)
    count, _, height, width = rows.shape
    padded = functional.pad(rows, [padding] * 4)
    top, left = torch.randint(2 * padding + 1, (2, count), device=rows.device)
    down = (top[:, None] + torch.arange(height, device=rows.device))[:, :, None]
    along = (left[:, None] + torch.arange(width, device=rows.device))[:, None, :]
    which = torch.arange(count, device=rows.device)[:, None, None]
    return padded[which, :, down, along].permute(0, 3, 1, 2).contiguous()


def noise(rows: Tensor, std: float = 0.1) -> Tensor:
    """Add normal noise of a standard deviation."""
    return rows + std * torch.randn_like(rows)


def _check_images(rows: Tensor) -> None:
    if rows.dim() != 4:
        raise ValueError(f"it changes images, and these are rows of shape {list(rows.shape[1:])}")
