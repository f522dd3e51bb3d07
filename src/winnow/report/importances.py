"""Each parameter's share of the metric's variation, by PED-ANOVA.

Optuna's evaluator imports scikit-learn and pandas, which takes longer than writing the whole report.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist
from typing import Any

from winnow.report.axes import choice_text
from winnow.report.facts import TrialFacts
from winnow.study.view import StudyView

FEWEST_TRIALS = 8
"""With fewer complete trials, a ranking of parameters would be noise."""

_BEST_SHARE = 0.1
_CELLS = 50
"""Number of cells of a continuous parameter."""


def importances_of(view: StudyView, complete: Sequence[TrialFacts]) -> dict[str, float]:
    """Each parameter's share, most important first; shares add up to 1.

    Method: PED-ANOVA (Watanabe et al., IJCAI 2023, https://arxiv.org/abs/2304.10255) as in Optuna's
    `PedAnovaImportanceEvaluator` with its defaults: the Pearson divergence between the density of the best tenth of the
    trials and that of all. As there, conditional parameters are left out, because not all trials have them. Empty with
    fewer than `FEWEST_TRIALS` complete trials, with one parameter, or if all values are equal.
    """
    grids = {name: _grid(parameter) for name, parameter in view.space.items() if not parameter.get("when")}
    rows = [
        (trial.mean, cells)
        for trial in complete
        if trial.mean is not None and (cells := _cells(grids, trial.record.params)) is not None
    ]
    if len(rows) < FEWEST_TRIALS or len({value for value, _ in rows}) < 2:
        return {}
    sign = -1.0 if view.sweep.goal == "maximize" else 1.0
    worst_of_best = sorted(sign * value for value, _ in rows)[math.ceil(_BEST_SHARE * len(rows)) - 1]
    best = [cells for value, cells in rows if sign * value <= worst_of_best]
    divergences = {}
    for name, grid in grids.items():
        everywhere = Counter(cells[name] for _, cells in rows)
        if len({str(trial.record.params.get(name)) for trial in complete}) > 1 and grid.size > 1:
            top, all_ = grid.density(Counter(cells[name] for cells in best)), grid.density(everywhere)
            divergences[name] = math.fsum(q * (p / q - 1) ** 2 for p, q in zip(top, all_, strict=True))
    if len(divergences) < 2:
        return {}
    total = math.fsum(divergences.values())
    shares = {name: each / total if total else 1 / len(divergences) for name, each in divergences.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class _Grid:
    """The cells of one parameter: one per choice, or evenly spaced from `low` to `high`."""

    size: int
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False

    def cell(self, value: Any) -> int | None:
        """The cell of a value; None if it is outside."""
        if self.choices:
            text = choice_text(value)
            return self.choices.index(text) if text in self.choices else None
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        if self.size == 1:
            return 0
        log = math.log if self.is_log else float
        place = (log(value) - log(self.low)) / ((log(self.high) - log(self.low)) / (self.size - 1))
        return min(max(math.ceil(place - 0.5), 0), self.size - 1)

    def density(self, counts: Mapping[int, int]) -> list[float]:
        """Probability of each cell: a kernel at each cell with trials, and a prior with the weight of one trial."""
        total = sum(counts.values()) + 1
        kernels = [(count / total, cell) for cell, count in sorted(counts.items())]
        if self.choices:
            smoothing = 1 / (len(kernels) + 1)
            scale = 1 + self.size * smoothing
            base = 1 / total / self.size + (1 - 1 / total) * smoothing / scale
            shares = {cell: weight / scale for weight, cell in kernels}
            return [base + shares.get(cell, 0.0) + 1e-12 for cell in range(self.size)]
        sigma = max(_scott(sorted(counts.items())), 0.5 / 1.64)
        normals = [(weight, NormalDist(cell, sigma)) for weight, cell in kernels]
        normals.append((1 / total, NormalDist((self.size - 1) / 2, self.size)))
        density = [1e-12] * self.size
        for weight, normal in normals:
            edges = [normal.cdf(edge - 0.5) for edge in range(self.size + 1)]
            for cell in range(self.size):
                density[cell] += weight * (edges[cell + 1] - edges[cell]) / (edges[-1] - edges[0])
        return density


def _cells(grids: Mapping[str, _Grid], params: Mapping[str, Any]) -> dict[str, int] | None:
    """The cell of each parameter; None if the trial is outside the space."""
    cells = {name: grid.cell(params.get(name)) for name, grid in grids.items()}
    known = {name: cell for name, cell in cells.items() if cell is not None}
    return known if len(known) == len(cells) else None


def _grid(parameter: Mapping[str, Any]) -> _Grid:
    choices = parameter.get("choice", parameter.get("choices"))
    if choices is not None:
        texts = tuple(dict.fromkeys(map(choice_text, choices)))
        return _Grid(len(texts), texts)
    is_log = bool(parameter.get("log", False))
    low, high = parameter["int" if "int" in parameter else "float"]
    if low == high:
        return _Grid(1, (), low, high)
    step = parameter.get("step") or (1 if "int" in parameter else None)
    size = _CELLS
    if is_log and "int" in parameter:
        size = min(math.ceil(math.log2(high - low + 1)) + 1, _CELLS)
    elif step is not None and not is_log:
        steps = math.floor((high - low) / step + 1e-9)
        size, high = min(steps + 1, _CELLS), low + steps * step
    return _Grid(size, (), low, high, is_log)


def _scott(counts: Sequence[tuple[int, int]]) -> float:
    """Bandwidth by Scott's rule (Scott, Multivariate Density Estimation, 1992) for (cell, count) pairs in order."""
    total = sum(count for _, count in counts)
    mean = sum(cell * count for cell, count in counts) / total
    deviation = math.sqrt(sum((cell - mean) ** 2 * count for cell, count in counts) / max(1, total - 1))
    so_far = list(accumulate(count for _, count in counts))
    first = counts[bisect_left(so_far, total // 4)][0]
    third = counts[min(bisect_right(so_far, total * 3 // 4), len(counts) - 1)][0]
    return float(1.059 * min((third - first) / 1.34, deviation) * total**-0.2)
