"""What is true of a pair: which cells match, which cannot, and where a cell's centre lies in the other image."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from microloftr.data.pairs import PairBatch, true_points_0, true_points_1
from microloftr.geometry import grid_points, grid_size, nearest_cell, normalised
from microloftr.model.presets import COARSE_STRIDE

REPLACED_SOME, REPLACED_MOST = (
    0.25,
    0.75,
)  # shares of a cell: below the first it still matches, above the last it cannot


@dataclass(frozen=True)
class Truth:
    """Ground truth of B pairs on their coarse grids.

    points_1 (B, L0, 2): where each cell centre of image_0 lies in image_1, pixels, float64.
    cells_1 (B, L0): the one cell of image_1 that matches, −1 where there is none.
    unmatchable_0 (B, L0), unmatchable_1 (B, L1): cells whose centre the other image does not show, or shows replaced
    by other content. Cells that are neither (their match went to a neighbour, they lie on the rim beyond the last cell
    or are replaced in part) count nowhere.
    """

    points_1: Tensor
    cells_1: Tensor
    unmatchable_0: Tensor
    unmatchable_1: Tensor


def supervise(batch: PairBatch, stride: int = COARSE_STRIDE, beyond: float = 4.0) -> Truth:
    """One-to-one truth: a cell matches the cell nearest to its moved centre if that one's way back returns to it.

    Forward, ties go up, back they go down (geometry.nearest_cell), so a shift of exactly half a cell loses none.
    A centre more than `beyond` pixels outside the other image is not matchable.
    """
    height_0, width_0, height_1, width_1 = (
        grid_size(side, stride) for images in (batch.images_0, batch.images_1) for side in images.shape[-2:]
    )
    device = batch.images_0.device
    count = len(batch)
    centres_0 = grid_points(height_0, width_0, stride, device).expand(count, -1, -1)
    centres_1 = grid_points(height_1, width_1, stride, device).expand(count, -1, -1)
    points_1, points_0 = true_points_1(centres_0, batch), true_points_0(centres_1, batch)
    forward = nearest_cell(points_1, height_1, width_1, stride, ties="up")
    back = nearest_cell(points_0, height_0, width_0, stride, ties="down")
    start = torch.arange(height_0 * width_0, device=device)
    returns = back.gather(1, forward.clamp(min=0)) == start
    cells_1 = torch.where((forward >= 0) & returns, forward, -1)
    unmatchable_0 = _outside(points_1, batch.images_1, beyond)
    unmatchable_1 = _outside(points_0, batch.images_0, beyond)
    if batch.replaced is not None:
        share_0, share_1 = (_share_at(batch.replaced, points) for points in (points_1, centres_1))
        cells_1 = torch.where(share_0 < REPLACED_SOME, cells_1, -1)
        unmatchable_0 = unmatchable_0 | (share_0 > REPLACED_MOST)
        unmatchable_1 = unmatchable_1 | (share_1 > REPLACED_MOST)
    return Truth(points_1, cells_1, unmatchable_0, unmatchable_1)


def _share_at(mask: Tensor, points: Tensor) -> Tensor:
    """Share (B, K) of the 9×9 pixels around points (B, K, 2) that a mask (B, 1, H, W) covers; 0 outside it."""
    share = F.avg_pool2d(mask.float(), 9, 1, 4, count_include_pad=False)
    grid = normalised(points, *mask.shape[-2:]).float()[:, None]
    return F.grid_sample(share, grid, align_corners=True)[:, 0, 0]


def _outside(points: Tensor, images: Tensor, beyond: float) -> Tensor:
    height, width = images.shape[-2:]
    x, y = points[..., 0], points[..., 1]
    inside = (x >= -beyond) & (x <= width - 1 + beyond) & (y >= -beyond) & (y <= height - 1 + beyond)
    return ~inside
