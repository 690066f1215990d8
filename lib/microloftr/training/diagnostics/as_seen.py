"""The batch exactly as the network sees it: what enters its first layer, taken there, and whether the truth fits it.

Karpathy, "A recipe for training neural networks" (2019), "visualize just before the net": everything before that may be
right and still be undone on the way.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microloftr.data.pairs import PairBatch
from microloftr.geometry import grid_points, grid_size, normalised
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE
from microloftr.training.supervision import Truth, supervise


@dataclass(frozen=True, eq=False)
class AsSeen:
    """B pairs at the door of the first convolution: inputs_0, inputs_1 (B, C, H, W), and their truth.

    cells_1 (B, L0): the true cell, −1 for none; points_0 (L0, 2), points_1 (B, L0, 2): cell centres and their true
    places in pixels. agreement (B,): correlation of both inputs around the true places, 0 by chance; NaN where no cell
    matches.
    """

    inputs_0: np.ndarray
    inputs_1: np.ndarray
    cells_1: np.ndarray
    points_0: np.ndarray
    points_1: np.ndarray
    agreement: np.ndarray

    @property
    def spread(self) -> float:
        """Standard deviation of all that enters; near 1 for the normalised inputs of `micro` and `one_conv`."""
        return float(np.concatenate((self.inputs_0, self.inputs_1)).std())

    @property
    def finite(self) -> bool:
        """Whether every value is a number."""
        return bool(np.isfinite(self.inputs_0).all() and np.isfinite(self.inputs_1).all())

    def holds(self, least: float = 0.3) -> bool:
        """Inputs are numbers of a sensible size, and at the truth both agree by `least` in the median pair."""
        return self.finite and 0.1 < self.spread < 3 and float(np.nanmedian(self.agreement)) >= least


def as_seen(model: LoFTR, batch: PairBatch, truth: Truth | None = None) -> AsSeen:
    """Run `model` on B pairs and keep what its first convolution was given. `truth`: what it would be taught."""
    truth = supervise(batch) if truth is None else truth
    kept: list[Tensor] = []
    first = next(module for module in model.backbone.modules() if isinstance(module, nn.Conv2d))
    handle = first.register_forward_pre_hook(lambda _, given: kept.append(given[0].detach().clone()))
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval().pyramids(batch.images_0, batch.images_1)
    finally:
        handle.remove()
        for module, training in modes.items():
            module.training = training
    inputs_0, inputs_1 = kept[0].chunk(2) if len(kept) == 1 else kept
    height, width = (grid_size(side, COARSE_STRIDE) for side in batch.images_0.shape[-2:])
    points_0 = grid_points(height, width, COARSE_STRIDE, batch.images_0.device).expand(len(batch), -1, -1)
    return AsSeen(
        *(values.cpu().numpy() for values in (inputs_0, inputs_1, truth.cells_1, points_0[0], truth.points_1)),
        _agreement(inputs_0[:, :1], inputs_1[:, :1], points_0, truth),
    )


def _agreement(inputs_0: Tensor, inputs_1: Tensor, points_0: Tensor, truth: Truth) -> np.ndarray:
    """Correlation over the matched cells of the 7×7 px means of both inputs; negative tones count as agreement too."""
    values_0, values_1 = (
        F.grid_sample(F.avg_pool2d(x, 7, 1, 3), normalised(p, *x.shape[-2:]).float()[:, None], align_corners=True)
        for x, p in ((inputs_0, points_0), (inputs_1, truth.points_1))
    )
    found = np.full(len(inputs_0), np.nan)
    for k, chosen in enumerate(truth.cells_1 >= 0):
        a, b = values_0[k, 0, 0][chosen], values_1[k, 0, 0][chosen]
        if len(a) > 2:
            a, b = a - a.mean(), b - b.mean()
            found[k] = abs(float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-9)))
    return found
