"""The line put together: two images in, matched points out, in five steps."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from microloftr.geometry import cell_points
from microloftr.model.backbone import MicroBackbone, OneConvBackbone, Pyramid
from microloftr.model.coarse_matching import CoarseMatches, CoarseMatching, select
from microloftr.model.presets import COARSE_STRIDE, ModelConfig
from microloftr.model.refinement import FineFeatures, Refined, Refinement
from microloftr.model.transformer import Transformer


@dataclass(frozen=True)
class Encoded:
    """Both images after the transformer; fine maps are None where there is no refinement."""

    pyramid_0: Pyramid
    pyramid_1: Pyramid
    coarse_0: Tensor  # (B, C, h0, w0)
    coarse_1: Tensor
    fine_0: Tensor | None  # (B, F, H0/2, W0/2)
    fine_1: Tensor | None


@dataclass(frozen=True)
class MatchedPoints:
    """M matches of a batch, in pixels of the images given."""

    batch_index: Tensor  # (M,)
    points_0: Tensor  # (M, 2) x, y
    points_1: Tensor  # (M, 2)
    coarse_points_1: Tensor  # (M, 2) before refinement
    confidence: Tensor  # (M,)


@dataclass(frozen=True)
class Trace:
    """Every stage's result of one forward pass."""

    encoded: Encoded
    log_confidence: Tensor  # (B, L0, L1)
    matchability_0: Tensor  # (B, L0) logits
    matchability_1: Tensor
    coarse_matches: CoarseMatches
    refined: Refined | None
    matches: MatchedPoints


class LoFTR(nn.Module):
    """Detector-free matching of two images after LoFTR (Sun et al., CVPR 2021), as `config` puts it together."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = (MicroBackbone if config.backbone == "micro" else OneConvBackbone)(config.dim)
        self.transformer = Transformer(config.dim, config.heads, config.layers, config.attention)
        self.coarse_matching = CoarseMatching(config.dim)
        self.fine_features = FineFeatures(config.dim, config.fine_dim) if config.window else None
        self.refinement = Refinement(config.fine_dim, config.window) if config.window else None

    def forward(self, image_0: Tensor, image_1: Tensor, threshold: float = 0.2, border: int = 0) -> MatchedPoints:
        """Images (B, 1, H0, W0) and (B, 1, H1, W1) in 0..1, any sizes → matches above `threshold`."""
        return self.trace(image_0, image_1, threshold, border).matches

    def trace(self, image_0: Tensor, image_1: Tensor, threshold: float = 0.2, border: int = 0) -> Trace:
        """The same as `forward`, with every stage's result."""
        encoded = self.encode(image_0, image_1)
        log_confidence, matchability_0, matchability_1 = self.coarse_matching(encoded.coarse_0, encoded.coarse_1)
        shape_0, shape_1 = encoded.coarse_0.shape[-2:], encoded.coarse_1.shape[-2:]
        coarse = select(log_confidence, shape_0, shape_1, threshold, border)
        refined = self.refine(encoded, coarse)
        matches = to_points(coarse, refined, shape_0[1], shape_1[1])
        return Trace(encoded, log_confidence, matchability_0, matchability_1, coarse, refined, matches)

    def encode(self, image_0: Tensor, image_1: Tensor) -> Encoded:
        """Backbone (both images at once where their sizes agree), transformer, fine features."""
        if image_0.shape == image_1.shape:
            both = self.backbone(torch.cat((image_0, image_1)))
            pyramid_0, pyramid_1 = _halves(both)
        else:
            pyramid_0, pyramid_1 = self.backbone(image_0), self.backbone(image_1)
        coarse_0, coarse_1 = self.transformer(pyramid_0.eighth, pyramid_1.eighth)
        fine_0 = fine_1 = None
        if self.fine_features is not None:
            fine_0, fine_1 = self.fine_features(coarse_0, pyramid_0), self.fine_features(coarse_1, pyramid_1)
        return Encoded(pyramid_0, pyramid_1, coarse_0, coarse_1, fine_0, fine_1)

    def refine(self, encoded: Encoded, matches: CoarseMatches) -> Refined | None:
        """Sub-pixel offsets of matched cells; None where the preset has no refinement."""
        if self.refinement is None:
            return None
        widths = encoded.coarse_0.shape[-1], encoded.coarse_1.shape[-1]
        return self.refinement(encoded.fine_0, encoded.fine_1, matches, widths)


def to_points(matches: CoarseMatches, refined: Refined | None, width_0: int, width_1: int) -> MatchedPoints:
    """Matched cells and their offsets as points in pixels."""
    points_0 = cell_points(matches.cells_0, width_0, COARSE_STRIDE)
    coarse_1 = cell_points(matches.cells_1, width_1, COARSE_STRIDE)
    points_1 = coarse_1 if refined is None else coarse_1 + refined.offset
    return MatchedPoints(matches.batch_index, points_0, points_1, coarse_1, matches.confidence)


def _halves(pyramid: Pyramid) -> tuple[Pyramid, Pyramid]:
    parts = [(None, None) if x is None else x.chunk(2) for x in (pyramid.half, pyramid.quarter, pyramid.eighth)]
    return Pyramid(*(part[0] for part in parts)), Pyramid(*(part[1] for part in parts))
