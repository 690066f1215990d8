"""From matched cells to sub-pixel points, as `micro` does it: a window around each cell of image_1 is searched.

The published form (expectation.py) takes the expectation over the whole window, whose far mass pulls every offset to
the centre. Here a pixel-level pick comes first (Efficient LoFTR's finding), then the expectation over its 3×3
neighbours and a small learned correction.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microloftr.model.backbone import Conv
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.presets import FINE_STRIDE
from microloftr.model.pyramid import UPSAMPLING, Pyramid
from microloftr.model.tokens import precise
from microloftr.model.windows import OUTSIDE, Refined, fine_cells, gather_windows


class FineFeatures(nn.Module):
    """Coarse features after the transformer, brought to 1/2 with the pyramid's finer maps: (B, F, H/2, W/2)."""

    def __init__(self, coarse_dim: int, fine_dim: int, upsampling: str = "exact", middle: int = 48) -> None:
        super().__init__()
        self.upsample = UPSAMPLING[upsampling]
        self.top = nn.Conv2d(coarse_dim, middle, 1)
        self.lateral_quarter = nn.Conv2d(24, middle, 1)
        self.mix_quarter = Conv(middle, middle)
        self.down = nn.Conv2d(middle, fine_dim, 1)
        self.lateral_half = nn.Conv2d(24, fine_dim, 1)
        self.mix_half = nn.Sequential(Conv(fine_dim, fine_dim), nn.Conv2d(fine_dim, fine_dim, 3, 1, 1))

    def forward(self, coarse: Tensor, pyramid: Pyramid) -> Tensor:
        """Coarse map (B, C, h, w) and the pyramid it came from → fine map (B, F, ceil(H/2), ceil(W/2))."""
        quarter = self.lateral_quarter(pyramid.quarter) + self.upsample(self.top(coarse), *pyramid.quarter.shape[-2:])
        quarter = self.mix_quarter(quarter.relu())
        half = self.lateral_half(pyramid.half) + self.upsample(self.down(quarter), *pyramid.half.shape[-2:])
        return self.mix_half(half.relu())


class Refinement(nn.Module):
    """Find the centre of each cell of image_0 within W×W fine cells around its match in image_1."""

    def __init__(self, fine_dim: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.log_scale = nn.Parameter(torch.tensor(math.log(8.0)))
        self.correct = nn.Sequential(nn.Linear(2 * fine_dim + 9, 64), nn.GELU(), nn.Linear(64, 2))
        nn.init.zeros_(self.correct[-1].weight)
        nn.init.zeros_(self.correct[-1].bias)

    def forward(
        self, fine_0: Tensor, fine_1: Tensor, coarse_0: Tensor, coarse_1: Tensor, matches: CoarseMatches
    ) -> Refined:
        """Fine maps (B, F, H/2, W/2), coarse maps (B, C, h, w), M matched cells → Refined.

        Places of the window outside image_1 have probability 0; nothing is padded.
        """
        centres_0 = fine_cells(matches.cells_0, coarse_0.shape[-1])
        centres_1 = fine_cells(matches.cells_1, coarse_1.shape[-1])
        centre_0 = fine_0[matches.batch_index, :, centres_0[:, 1], centres_0[:, 0]]  # (M, F)
        windows_1, inside = gather_windows(fine_1, matches.batch_index, centres_1, self.window)  # (M, W², F)
        centre_0, windows_1 = (F.normalize(precise(x), dim=-1) for x in (centre_0, windows_1))
        similarity = (windows_1 @ centre_0[:, :, None])[..., 0] * self.log_scale.exp()
        log_heat = similarity.masked_fill(~inside, OUTSIDE).log_softmax(1)
        return self.pick(log_heat, centre_0, windows_1)

    def pick(self, log_heat: Tensor, centre_0: Tensor, windows_1: Tensor) -> Refined:
        """The window's best place, then the expectation over its 3×3 neighbours, then the learned correction."""
        side, half = self.window, self.window // 2
        best = log_heat.argmax(1)
        row, column = best // side, best % side
        step = torch.arange(-1, 2, device=best.device)
        rows = (row[:, None, None] + step[:, None]).expand(-1, 3, 3)
        columns = (column[:, None, None] + step).expand(-1, 3, 3)
        inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        index = (rows.clamp(0, side - 1) * side + columns.clamp(0, side - 1)).flatten(1)
        local = log_heat.gather(1, index).masked_fill(~inside.flatten(1), OUTSIDE)  # (M, 9)
        weight = local.softmax(1).view(-1, 3, 3)
        expected = torch.stack(((weight.sum(1) * step).sum(1), (weight.sum(2) * step).sum(1)), -1)
        peak = torch.stack((column - half, row - half), -1).to(log_heat.dtype)
        seen = windows_1[torch.arange(len(best), device=best.device), best]
        relative = (local - local[:, 4:5]).clamp(min=-10)
        correction = self.correct(torch.cat((centre_0, seen, relative), 1)).tanh()
        offset = (peak + expected + correction) * FINE_STRIDE
        return Refined(offset, log_heat, peak * FINE_STRIDE, centre_0[:, None], windows_1)
