"""Prediction dynamics: what a model says of a fixed batch of pairs, looked at again and again while it trains.

Karpathy, "A recipe for training neural networks" (2019), "visualize prediction dynamics": how the predictions of one
fixed batch move says whether training is stuck, unstable, or still going somewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from microloftr.data.pairs import PairBatch
from microloftr.errors import ParameterError
from microloftr.geometry import cell_points
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE
from microloftr.training.supervision import Truth, supervise


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What a model says at a step of every cell of B images_0 (L0 cells), beside the truth; NumPy, pixels.

    cells_1 (B, L0): the best cell of image_1; points_1 (B, L0, 2): its place after refinement, where the preset has
    one; confidence (B, L0) of that cell, 0..1; true_cells_1 (B, L0), −1 where a cell has no match;
    true_points_1 (B, L0, 2).
    """

    step: int
    cells_1: np.ndarray
    points_1: np.ndarray
    confidence: np.ndarray
    true_cells_1: np.ndarray
    true_points_1: np.ndarray

    @property
    def matched(self) -> np.ndarray:
        """Which cells (B, L0) have a match: all the numbers below are of these alone."""
        return self.true_cells_1 >= 0

    @property
    def right(self) -> np.ndarray:
        """Which cells (B, L0) are given their true cell."""
        return self.matched & (self.cells_1 == self.true_cells_1)

    @property
    def errors(self) -> np.ndarray:
        """Distance (B, L0) in px between the predicted and the true place, NaN where there is no match."""
        distance = np.hypot(*np.moveaxis(self.points_1 - self.true_points_1, -1, 0))
        return np.where(self.matched, distance, np.nan)

    def numbers(self) -> dict[str, float]:
        """Of all matched cells: share that is right, median error in px, mean confidence; 0, ∞, 0 where none is."""
        if not self.matched.any():
            return {"accuracy": 0.0, "error": float("inf"), "confidence": 0.0}
        return {
            "accuracy": float(self.right.sum() / self.matched.sum()),
            "error": float(np.median(self.errors[self.matched])),
            "confidence": float(self.confidence[self.matched].mean()),
        }


@torch.no_grad()
def observe(model: LoFTR, batch: PairBatch, step: int = 0) -> Dynamics:
    """What `model` says of `batch` as it would at test time, in float32.

    Every module gets back the mode it was in; no statistics, no gradients and no random numbers are touched.
    """
    truth = supervise(batch)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.autocast(batch.images_0.device.type, enabled=False):
            encoded = model.encode(*model.pyramids(batch.images_0, batch.images_1))
            log_confidence, cells_1 = model.match_cells(encoded).log_confidence.max(2)
            points_1 = cell_points(cells_1, encoded.coarse_1.shape[-1], COARSE_STRIDE)
            pair, cells_0 = (truth.cells_1 >= 0).nonzero(as_tuple=True)
            found = CoarseMatches(pair, cells_0, cells_1[pair, cells_0], log_confidence[pair, cells_0].exp())
            refined = model.refine(encoded, found) if len(pair) else None
            if refined is not None:
                points_1[pair, cells_0] += refined.offset
    finally:
        _put_back(modes)
    arrays = (cells_1, points_1, log_confidence.exp(), truth.cells_1, truth.points_1)
    return Dynamics(step, *(values.cpu().numpy().copy() for values in arrays))


def _put_back(modes: dict[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training


def packed(dynamics: Dynamics) -> dict[str, Any]:
    """For a record: `numbers()`, and of each pair's matched cells what is predicted, as numbers in one text.

    {"step", "accuracy", "error", "confidence", "pairs": [{"cells_1", "points_1", "sure"}, …]}; points in tenths of a
    pixel, sureness in per cent.
    """
    pairs = []
    for k, matched in enumerate(dynamics.matched):
        tenths = np.rint(10 * dynamics.points_1[k][matched]).astype(int).ravel()
        sure = np.rint(100 * dynamics.confidence[k][matched]).astype(int)
        texts = (" ".join(map(str, values)) for values in (dynamics.cells_1[k][matched], tenths, sure))
        pairs.append(dict(zip(("cells_1", "points_1", "sure"), texts, strict=True)))
    numbers = {name: round(value, 4) for name, value in dynamics.numbers().items()}
    return {"step": dynamics.step, **numbers, "pairs": pairs}


def unpacked(values: dict[str, Any], batch: PairBatch, truth: Truth | None = None) -> Dynamics:
    """What `packed` kept, with the truth of the same batch; cells without a match hold zeros.

    Raises ParameterError where the batch is another one.
    """
    truth = supervise(batch) if truth is None else truth
    true_cells_1 = truth.cells_1.cpu().numpy()
    matched = true_cells_1 >= 0
    cells_1 = np.zeros(matched.shape, dtype=np.int64)
    points_1, confidence = np.zeros((*matched.shape, 2)), np.zeros(matched.shape)
    if len(values["pairs"]) != len(matched):
        raise ParameterError(f"the record is of {len(values['pairs'])} pairs, and the batch has {len(matched)}")
    for k, pair in enumerate(values["pairs"]):
        kept = {name: np.array(text.split(), dtype=np.int64) for name, text in pair.items()}
        if len(kept["cells_1"]) != matched[k].sum():
            raise ParameterError(f"pair {k} of the batch is not the pair that the record is of")
        cells_1[k, matched[k]] = kept["cells_1"]
        points_1[k, matched[k]] = kept["points_1"].reshape(-1, 2) / 10
        confidence[k, matched[k]] = kept["sure"] / 100
    return Dynamics(values["step"], cells_1, points_1, confidence, true_cells_1, truth.points_1.cpu().numpy())


def moved(before: Dynamics, after: Dynamics) -> float:
    """Share of the matched cells whose best cell changed between two looks at one batch; 0 where none is matched.

    A share that stays high says that the rate is too high; one that falls, that training settles.
    """
    changed = (before.cells_1 != after.cells_1) & before.matched
    return float(changed.sum() / max(before.matched.sum(), 1))


def settles(looks: Sequence[Dynamics], least: float = 0.05) -> bool:
    """Whether training goes somewhere and comes to rest: at least three looks at one batch, in order.

    Something moves at first (`least` of the cells from the first look to the second: a frozen model moves none), the
    last two looks differ in at most half as many cells (with a rate that is too high they keep jumping), and more cells
    are right at the end than at the start.
    """
    if len(looks) < 3:
        raise ParameterError(f"{len(looks)} looks cannot tell whether training settles; take 3 or more")
    changes = [moved(before, after) for before, after in pairwise(looks)]
    gained = looks[-1].numbers()["accuracy"] > looks[0].numbers()["accuracy"]
    return changes[0] >= least and changes[-1] <= changes[0] / 2 and gained
