"""The published refinement: the expectation over a w×w window of image_1 (LoFTR §3.4; coarse features joined: §3.6).

For each coarse match (ĩ, j̃): crop both fine maps around it, let the two windows attend to each other N_f times, compare
the centre of the one with every place of the other, and take the mean place ĵ' under the softmax of that comparison.
The point of image_0 stays on the centre of its cell.
"""

import torch
from torch import Tensor, nn

from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.presets import FINE_STRIDE
from microloftr.model.sine_transformer import PublishedTransformer
from microloftr.model.tokens import precise
from microloftr.model.windows import OUTSIDE, Refined, fine_cells, gather_windows, window_places


class Expectation(nn.Module):
    """Windows, a fine transformer, expectation."""

    LAYERS = 1  # N_f, each one self- and one cross-attention

    def __init__(
        self, coarse_dim: int, fine_dim: int, heads: int, window: int, attention: str, masked: bool = False
    ) -> None:
        """masked: places outside an image take no part; as published they are zeros that compete with the others."""
        super().__init__()
        self.window, self.masked = window, masked
        self.context = nn.Linear(coarse_dim, fine_dim)
        self.merge = nn.Linear(2 * fine_dim, fine_dim)
        self.transformer = PublishedTransformer(fine_dim, heads, self.LAYERS, attention)
        for linear in (self.context, self.merge):
            nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, fine_0: Tensor, fine_1: Tensor, coarse_0: Tensor, coarse_1: Tensor, matches: CoarseMatches
    ) -> Refined:
        """Fine maps (B, F, H/2, W/2), coarse maps (B, C, h, w), M matched cells → Refined."""
        windows_0, inside_0 = self.windows(fine_0, coarse_0, matches.batch_index, matches.cells_0)
        windows_1, inside_1 = self.windows(fine_1, coarse_1, matches.batch_index, matches.cells_1)
        masks = (inside_0, inside_1) if self.masked else (None, None)
        windows_0, windows_1 = self.transformer(windows_0, windows_1, *masks)  # (M, W², F) each
        centre_0 = windows_0[:, self.window**2 // 2]  # (M, F)
        similarity = (windows_1 @ centre_0[:, :, None])[..., 0] / centre_0.shape[-1] ** 0.5
        if self.masked:
            similarity = similarity.masked_fill(~inside_1, OUTSIDE)
        log_heat = similarity.log_softmax(1)
        places = window_places(self.window, log_heat) * FINE_STRIDE
        return Refined(log_heat.exp() @ places, log_heat, places[log_heat.argmax(1)], windows_0, windows_1)

    def windows(self, fine: Tensor, coarse: Tensor, batch_index: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Fine features (M, W², F) around cells, each told the coarse feature of its cell, and which places (M, W²) lie
        inside the image; the others are zeros."""
        centres = fine_cells(cells, coarse.shape[-1])
        windows, inside = gather_windows(fine, batch_index, centres, self.window)
        context = self.context(precise(coarse.flatten(2)[batch_index, :, cells]))  # (M, F)
        context = context[:, None].expand(-1, self.window**2, -1)
        return self.merge(torch.cat((precise(windows) * inside[..., None], context), -1)), inside
