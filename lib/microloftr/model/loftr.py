"""The line put together: two images in, matched points out (LoFTR, Sun et al., CVPR 2021, §3).

The paper's letters: I^A and I^B are image_0 and image_1; F̃ is `pyramid.eighth`, F̂ the fine map; coarse_0 and coarse_1
are F̃_tr; P_c is the confidence matrix, M_c `coarse_matches`, (î, ĵ') ∈ M_f points_0 and points_1 of `matches`.
The preset `loftr` is the published one; `micro` is the same line of other parts.
"""

import torch
from torch import Tensor, nn

from microloftr.geometry import cell_points
from microloftr.model import parts
from microloftr.model.coarse_matching import CellScores, CoarseMatches, select
from microloftr.model.presets import COARSE_STRIDE, ModelConfig
from microloftr.model.pyramid import Pyramid
from microloftr.model.trace import Encoded, MatchedPoints, Trace
from microloftr.model.windows import Refined


class LoFTR(nn.Module):
    """Detector-free matching of two images, as `config` puts it together."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = parts.backbone(config)
        self.transformer = parts.transformer(config)
        self.coarse_matching = parts.coarse_matching(config)
        self.fine_features = parts.fine_features(config)
        self.refinement = parts.refinement(config)

    def forward(
        self,
        image_0: Tensor,
        image_1: Tensor,
        threshold: float | None = None,
        border: int = 0,
        mask_0: Tensor | None = None,
        mask_1: Tensor | None = None,
    ) -> MatchedPoints:
        """Images (B, 1, H0, W0) and (B, 1, H1, W1) in 0..1, any sizes → matches above `threshold` (None: the config's).

        `border`: cells at the edges that do not match. Masks (B, H0, W0) and (B, H1, W1) are False where an image is
        padding: no cell there takes part.
        """
        return self.trace(image_0, image_1, threshold, border, mask_0, mask_1).matches

    def trace(
        self,
        image_0: Tensor,
        image_1: Tensor,
        threshold: float | None = None,
        border: int = 0,
        mask_0: Tensor | None = None,
        mask_1: Tensor | None = None,
    ) -> Trace:
        """The same as `forward`, with every stage's result."""
        threshold = self.config.threshold if threshold is None else threshold
        pyramid_0, pyramid_1 = self.pyramids(image_0, image_1)  # local features, §3.1
        encoded = self.encode(pyramid_0, pyramid_1, mask_0, mask_1)  # the cells of both images look at each other, §3.2
        scores = self.match_cells(encoded)  # how sure of which pair of cells, §3.3
        shape_0, shape_1 = encoded.coarse_0.shape[-2:], encoded.coarse_1.shape[-2:]
        masks = encoded.mask_0, encoded.mask_1
        coarse_matches = select(scores.log_confidence, shape_0, shape_1, threshold, border, *masks)  # §3.3
        refined = self.refine(encoded, coarse_matches)  # sub-pixel, §3.4
        matches = to_points(coarse_matches, refined, shape_0[1], shape_1[1])
        return Trace(encoded, scores, coarse_matches, refined, matches)

    def pyramids(self, image_0: Tensor, image_1: Tensor) -> tuple[Pyramid, Pyramid]:
        """Backbone: both images at once where their sizes agree, else one after the other."""
        if image_0.shape == image_1.shape:
            return _halves(self.backbone(torch.cat((image_0, image_1))))
        return self.backbone(image_0), self.backbone(image_1)

    def encode(
        self, pyramid_0: Pyramid, pyramid_1: Pyramid, mask_0: Tensor | None = None, mask_1: Tensor | None = None
    ) -> Encoded:
        """Transformer over the coarse maps, and fine maps for the refinement. Masks (B, H, W) as in `forward`."""
        mask_0, mask_1 = _cell_mask(mask_0), _cell_mask(mask_1)
        coarse_0, coarse_1 = self.transformer(pyramid_0.eighth, pyramid_1.eighth, mask_0, mask_1)
        fine_0 = fine_1 = None
        if self.refinement is not None:
            fine_0, fine_1 = self.fine_features(coarse_0, pyramid_0), self.fine_features(coarse_1, pyramid_1)
        return Encoded(pyramid_0, pyramid_1, coarse_0, coarse_1, fine_0, fine_1, mask_0, mask_1)

    def match_cells(self, encoded: Encoded) -> CellScores:
        """How sure the model is of every pair of cells."""
        return self.coarse_matching(encoded.coarse_0, encoded.coarse_1, encoded.mask_0, encoded.mask_1)

    def refine(self, encoded: Encoded, matches: CoarseMatches) -> Refined | None:
        """Sub-pixel offsets of M matched cells; None where the preset has no refinement."""
        if self.refinement is None:
            return None
        return self.refinement(encoded.fine_0, encoded.fine_1, encoded.coarse_0, encoded.coarse_1, matches)


def to_points(matches: CoarseMatches, refined: Refined | None, width_0: int, width_1: int) -> MatchedPoints:
    """M matched cells and their offsets (M, 2) as points in pixels; widths of both coarse grids."""
    points_0 = cell_points(matches.cells_0, width_0, COARSE_STRIDE)
    coarse_1 = cell_points(matches.cells_1, width_1, COARSE_STRIDE)
    points_1 = coarse_1 if refined is None else coarse_1 + refined.offset
    return MatchedPoints(matches.batch_index, points_0, points_1, coarse_1, matches.confidence)


def _cell_mask(mask: Tensor | None) -> Tensor | None:
    """Mask (B, H, W) → (B, L): a cell is what the pixel at its centre is."""
    return None if mask is None else mask[:, ::COARSE_STRIDE, ::COARSE_STRIDE].flatten(1).bool()


def _halves(pyramid: Pyramid) -> tuple[Pyramid, Pyramid]:
    maps = [(None, None) if x is None else x.chunk(2) for x in (pyramid.half, pyramid.quarter, pyramid.eighth)]
    return Pyramid(*(two[0] for two in maps)), Pyramid(*(two[1] for two in maps))
