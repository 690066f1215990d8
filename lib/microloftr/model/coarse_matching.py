"""Which coarse cell of image_0 shows the same place as which of image_1: a dual softmax and mutual nearest cells."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class CoarseMatches:
    """M matched cells: which pair of the batch, flat cells of both images, confidence (M,)."""

    batch_index: Tensor
    cells_0: Tensor
    cells_1: Tensor
    confidence: Tensor


class CoarseMatching(nn.Module):
    """Log confidences of all pairs of cells.

    log P = log softmax over image_1's cells + log softmax over image_0's cells (LoFTR, eq. 3) + log of each cell's
    matchability (LightGlue, eq. 8), which lets a cell say that the other image does not show it. The similarity is
    the cosine times a learned scale; it starts at `SCALE`, flat enough that the loss begins near ln L0 + ln L1.
    """

    SCALE = 12.0

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, dim, bias=False)
        self.matchability = nn.Linear(dim, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.SCALE)))
        nn.init.eye_(self.project.weight)
        nn.init.zeros_(self.matchability.weight)
        nn.init.constant_(self.matchability.bias, 1.0)  # about 3/4 of the cells of a training pair are matchable

    def forward(self, coarse_0: Tensor, coarse_1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coarse maps (B, C, h, w) → log confidence (B, L0, L1) and matchability logits (B, L0), (B, L1)."""
        x_0, x_1 = (x.flatten(2).transpose(1, 2).float() for x in (coarse_0, coarse_1))  # (B, L, C)
        similarity = self.log_scale.exp() * (
            F.normalize(self.project(x_0), dim=-1) @ F.normalize(self.project(x_1), dim=-1).transpose(1, 2)
        )
        logits_0, logits_1 = self.matchability(x_0)[..., 0], self.matchability(x_1)[..., 0]
        log_confidence = similarity.log_softmax(2) + similarity.log_softmax(1)
        log_confidence += F.logsigmoid(logits_0)[:, :, None]  # in place: these matrices are what takes the memory
        log_confidence += F.logsigmoid(logits_1)[:, None, :]
        return log_confidence, logits_0, logits_1


def select(
    log_confidence: Tensor, shape_0: tuple[int, int], shape_1: tuple[int, int], threshold: float, border: int = 0
) -> CoarseMatches:
    """Mutual nearest cells above `threshold`, none within `border` cells of an edge; empty where there are none.

    Each cell of either image is in one match at most, ties included: of equal confidences the first counts.
    """
    best_0, cells_1 = log_confidence.max(2)  # (B, L0)
    nearest_0 = log_confidence.argmax(1)  # (B, L1)
    cells_0 = torch.arange(cells_1.shape[1], device=cells_1.device)
    chosen = (nearest_0.gather(1, cells_1) == cells_0) & (best_0 > math.log(max(threshold, 1e-30)))
    chosen = chosen & inner(shape_0, border, cells_0) & inner(shape_1, border, cells_1)
    batch_index, cells_0 = chosen.nonzero(as_tuple=True)
    return CoarseMatches(batch_index, cells_0, cells_1[chosen], best_0[chosen].exp())


def inner(shape: tuple[int, int], border: int, cells: Tensor) -> Tensor:
    """Whether flat cells lie at least `border` cells from every edge of an h×w grid."""
    height, width = shape
    row, column = cells // width, cells % width
    return (row >= border) & (row < height - border) & (column >= border) & (column < width - border)
