"""Datasets and augmentations as a person would write them; the tests of augmentation name them."""

import random

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

SEEN = []
"""Of each row that training got: its index."""


class Marked(Dataset):
    """Rows that carry their index; with `is_random` also a random number."""

    def __init__(self, rows=60, is_random=False):
        self.rows, self.is_random, self.targets = rows, is_random, [index % 2 for index in range(rows)]

    def __len__(self):
        return self.rows

    def __getitem__(self, index):
        drawn = (random.random() + np.random.rand() + float(torch.rand(()))) if self.is_random else 0.0
        return torch.tensor([float(index), drawn, float(index % 2)]), index % 2


def plain(**options):
    return Marked(**options)


def table():
    rows = range(60)
    plans = [f"plan {row % 3}" for row in rows]
    return pd.DataFrame({"age": [row / 7 for row in rows], "plan": plans}), [row % 2 for row in rows]


def unsteady():
    return Marked(is_random=True)


def two():
    return {"dataset": Marked(), "train_dataset": Marked(is_random=True)}


def unequal():
    return {"dataset": Marked(), "train_dataset": Marked(rows=59)}


def misspelt():
    return {"dataset": Marked(), "train_datset": Marked()}


def with_function():
    rows = torch.stack([Marked()[index][0] for index in range(60)])
    return {"X": rows, "y": Marked().targets, "augment": note}


def note(rows, by=0.0):
    SEEN.append((rows[:, 0].tolist(), rows[:, 1].tolist()))
    return rows + by * torch.rand(len(rows), 1)


def doubled(rows):
    return torch.cat([rows, rows])


def failing(rows):
    raise ValueError("no augmentation")
