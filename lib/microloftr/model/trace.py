"""What one forward pass makes, stage by stage: small frozen results that notebooks and diagrams read."""

from dataclasses import dataclass

from torch import Tensor

from microloftr.model.coarse_matching import CellScores, CoarseMatches
from microloftr.model.pyramid import Pyramid
from microloftr.model.windows import Refined


@dataclass(frozen=True)
class Encoded:
    """Both images after the transformer; fine maps are None where there is no refinement, masks where none is given."""

    pyramid_0: Pyramid
    pyramid_1: Pyramid
    coarse_0: Tensor  # (B, C, h0, w0)
    coarse_1: Tensor
    fine_0: Tensor | None  # (B, F, ceil(H0/2), ceil(W0/2))
    fine_1: Tensor | None
    mask_0: Tensor | None = None  # (B, L0), False where a cell is padding
    mask_1: Tensor | None = None


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
    scores: CellScores
    coarse_matches: CoarseMatches
    refined: Refined | None
    matches: MatchedPoints

    @property
    def log_confidence(self) -> Tensor:
        """log P_c (B, L0, L1)."""
        return self.scores.log_confidence

    @property
    def matchability_0(self) -> Tensor | None:
        """Logits (B, L0); None as published."""
        return self.scores.matchability_0

    @property
    def matchability_1(self) -> Tensor | None:
        """Logits (B, L1); None as published."""
        return self.scores.matchability_1

    @property
    def confidence_matrix(self) -> Tensor:
        """P_c (B, L0, L1)."""
        return self.log_confidence.exp()
