"""What every backbone gives: maps of 1/2, 1/4 and 1/8; and how a map is enlarged without moving."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Pyramid:
    """Feature maps of one batch of images, h×w the coarse grid (ceil(H/8), ceil(W/8))."""

    half: Tensor | None  # (B, 24 or 128, ceil(H/2), ceil(W/2)); None where there is no refinement
    quarter: Tensor | None  # (B, 24 or 196, ceil(H/4), ceil(W/4))
    eighth: Tensor  # (B, C, h, w)


def upsample(images: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, C, h, w) enlarged to height×width of half the stride: output i reads input position i/2 exactly.

    The common align_corners=True to size 2n reads i(n−1)/(2n−1), up to half a cell off at the far edge, and
    align_corners=False reads i/2 − 1/4 everywhere.
    """
    exact = F.interpolate(
        images, (2 * images.shape[-2] - 1, 2 * images.shape[-1] - 1), mode="bilinear", align_corners=True
    )
    missing_y, missing_x = max(height - exact.shape[-2], 0), max(width - exact.shape[-1], 0)
    for dim, missing in ((-2, missing_y), (-1, missing_x)):  # F.pad's backward pass breaks torch.compile here
        if missing:
            last = exact.narrow(dim, exact.shape[dim] - 1, 1)
            exact = torch.cat([exact, *[last] * missing], dim)
    return exact[..., :height, :width]


def align_corners(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, C, h, w) enlarged twice as published: output i reads input i(n−1)/(2n−1), up to half a cell too low."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=True)[..., :height, :width]


UPSAMPLING = {"exact": upsample, "align_corners": align_corners}
