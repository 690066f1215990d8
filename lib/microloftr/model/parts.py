"""Which part of the line a configuration asks for: the published one, `micro`'s, or none."""

from torch import Tensor, nn

from microloftr.model.backbone import MicroBackbone, OneConvBackbone
from microloftr.model.coarse_matching import DualSoftmax
from microloftr.model.expectation import Expectation
from microloftr.model.matchability import MatchableDualSoftmax
from microloftr.model.presets import ModelConfig
from microloftr.model.pyramid import Pyramid
from microloftr.model.refinement import FineFeatures, Refinement
from microloftr.model.resnet_fpn import ResNetFPN
from microloftr.model.sine_transformer import SineTransformer
from microloftr.model.transformer import Transformer


class FinestMap(nn.Module):
    """Fine features as published: the pyramid's map of 1/2 as it is; what the transformer found joins later."""

    def forward(self, coarse: Tensor, pyramid: Pyramid) -> Tensor:
        """Coarse map (B, C, h, w), not looked at, and its pyramid → (B, F, ceil(H/2), ceil(W/2))."""
        return pyramid.half


def backbone(config: ModelConfig) -> nn.Module:
    """Images (B, 1, H, W) → Pyramid."""
    if config.backbone == "resnet_fpn":
        return ResNetFPN(config.dim, config.upsampling)
    return MicroBackbone(config.dim, config.contrast) if config.backbone == "micro" else OneConvBackbone(config.dim)


def transformer(config: ModelConfig) -> nn.Module:
    """Coarse maps of both images → the same, each knowing the other."""
    size = config.dim, config.heads, config.layers, config.attention
    return SineTransformer(*size, config.released_position) if config.transformer == "sine" else Transformer(*size)


def coarse_matching(config: ModelConfig) -> nn.Module:
    """Coarse maps → CellScores."""
    return DualSoftmax() if config.matching == "dual_softmax" else MatchableDualSoftmax(config.dim)


def fine_features(config: ModelConfig) -> nn.Module | None:
    """Coarse map and pyramid → fine map; None where there is no refinement."""
    if not config.window:
        return None
    return (
        FinestMap() if config.backbone == "resnet_fpn" else FineFeatures(config.dim, config.fine_dim, config.upsampling)
    )


def refinement(config: ModelConfig) -> nn.Module | None:
    """Fine maps and matched cells → Refined; None where there is no refinement."""
    if not config.window:
        return None
    if config.refinement == "expectation":
        return Expectation(config.dim, config.fine_dim, config.fine_heads, config.window, config.attention)
    return Refinement(config.fine_dim, config.window)
