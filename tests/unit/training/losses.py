"""Losses and metrics of a person's own, as tests name them."""

import numpy as np
import torch
from torch.nn import functional


def absolute(outputs, target, power=1.0):
    """A loss for each row."""
    right = functional.one_hot(target, outputs.shape[1])
    return ((outputs.softmax(1) - right).abs() ** power).sum(1)


def mean_of_rows(outputs, target):
    return functional.cross_entropy(outputs, target)


def of_pairs(outputs, target):
    """Mixes rows."""
    losses = functional.cross_entropy(outputs, target, reduction="none")
    return losses - losses.mean().detach()


def per_class(outputs, target):
    return outputs.softmax(1) - functional.one_hot(target, outputs.shape[1])


def not_a_number(outputs, target):
    return functional.cross_entropy(outputs, target, reduction="none") * torch.nan


def raises(outputs, target):
    raise ValueError("no such target")


def without_gradient(outputs, target):
    return functional.cross_entropy(outputs.detach(), target, reduction="none")


def profit(outputs, target, gain=1.0, weights=None):
    """Gain for each right row less 1 for each wrong one."""
    right = outputs.argmax(1) == target
    weights = np.ones(len(target)) if weights is None else weights
    return float((np.where(right, gain, -1.0) * weights).sum() / weights.sum())


def raising_metric(outputs, target):
    raise ZeroDivisionError("no rows")


def of_text(outputs, target):
    return "high"
