"""Which coarse cell of image_0 shows the same place as which of image_1: a dual softmax, then mutual nearest cells.

LoFTR §3.3, in the paper's letters: S is `similarity`, τ `TEMPERATURE`, P_c the confidence matrix (here its logarithm),
MNN `mutual`, θ_c `threshold`, and (ĩ, j̃) ∈ M_c are cells_0 and cells_1.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microloftr.model.tokens import precise, tokens_of

MASKED = -1e9  # similarity of cells that are padding


@dataclass(frozen=True)
class CoarseMatches:
    """M matched cells: which pair of the batch, flat cells of both images, confidence (M,)."""

    batch_index: Tensor
    cells_0: Tensor
    cells_1: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class CellScores:
    """How sure the model is of every pair of cells, in logarithms, and of each cell that it has a match at all."""

    log_confidence: Tensor  # (B, L0, L1)
    matchability_0: Tensor | None = None  # (B, L0) logits; None as published
    matchability_1: Tensor | None = None  # (B, L1)


class DualSoftmax(nn.Module):
    """The published form: P_c(i, j) = softmax(S(i, ·))_j · softmax(S(·, j))_i with S(i, j) = ⟨F̃_tr(i), F̃_tr(j)⟩ / τ.

    That τ is 0.1, and that the inner product is divided by C, the number of channels, stands in the code alone.
    """

    TEMPERATURE = 0.1

    def forward(
        self, coarse_0: Tensor, coarse_1: Tensor, mask_0: Tensor | None = None, mask_1: Tensor | None = None
    ) -> CellScores:
        """Coarse maps (B, C, h0, w0), (B, C, h1, w1), masks (B, L0), (B, L1) → CellScores."""
        x_0, x_1 = (precise(tokens_of(x)) / x.shape[1] ** 0.5 for x in (coarse_0, coarse_1))  # (B, L, C)
        similarity = x_0 @ x_1.transpose(1, 2) / self.TEMPERATURE
        return CellScores(dual_log_softmax(similarity, mask_0, mask_1))


def dual_log_softmax(similarity: Tensor, mask_0: Tensor | None = None, mask_1: Tensor | None = None) -> Tensor:
    """Similarity (B, L0, L1) → log softmax over image_1's cells + over image_0's; −inf where a cell is padding."""
    padding = None
    if mask_0 is not None or mask_1 is not None:
        padding = torch.zeros_like(similarity, dtype=torch.bool)
        if mask_0 is not None:
            padding |= ~mask_0[:, :, None]
        if mask_1 is not None:
            padding |= ~mask_1[:, None, :]
        similarity = similarity.masked_fill(padding, MASKED)
    log_confidence = similarity.log_softmax(2) + similarity.log_softmax(1)
    return log_confidence if padding is None else log_confidence.masked_fill(padding, -math.inf)


def select(
    log_confidence: Tensor,
    shape_0: tuple[int, int],
    shape_1: tuple[int, int],
    threshold: float,
    border: int = 0,
    mask_0: Tensor | None = None,
    mask_1: Tensor | None = None,
) -> CoarseMatches:
    """M_c from log_confidence (B, L0, L1): mutual nearest cells above `threshold` (the paper has ≥, its code >).

    None lies within `border` cells of an edge or of padding; shapes are (h, w), masks (B, L0) and (B, L1). Each cell
    of either image is in one match at most, ties included: of equal confidences the first counts.
    """
    best_0, cells_1 = log_confidence.max(2)  # (B, L0)
    nearest_0 = log_confidence.argmax(1)  # (B, L1)
    mutual = nearest_0.gather(1, cells_1) == torch.arange(cells_1.shape[1], device=cells_1.device)
    chosen = mutual & (best_0 > (math.log(threshold) if threshold > 0 else -math.inf))
    if border:
        chosen &= inner(shape_0, border, mask_0, chosen.device)
        chosen &= inner(shape_1, border, mask_1, chosen.device).expand(len(chosen), -1).gather(1, cells_1)
    batch_index, cells_0 = chosen.nonzero(as_tuple=True)
    return CoarseMatches(batch_index, cells_0, cells_1[chosen], best_0[chosen].exp())


def inner(
    shape: tuple[int, int], border: int, mask: Tensor | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Which cells (1 or B, L) of an h×w grid lie at least `border` cells from every edge and from padding."""
    mask = torch.ones(1, *shape, device=device) if mask is None else mask.unflatten(1, shape).float()
    outside = F.pad(1 - mask, (border,) * 4, value=1.0)
    return F.max_pool2d(outside, 2 * border + 1, 1).flatten(1) == 0
