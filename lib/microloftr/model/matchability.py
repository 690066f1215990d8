"""`micro`'s coarse matching: the dual softmax, and for each cell whether the other image shows it at all."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microloftr.model.coarse_matching import CellScores, dual_log_softmax
from microloftr.model.tokens import precise, tokens_of


class MatchableDualSoftmax(nn.Module):
    """log P = the dual softmax (LoFTR §3.3) + log of both cells' matchability (LightGlue, eq. 8).

    The similarity is the cosine times a learned scale; it starts at `SCALE`, flat enough that the loss begins near
    ln L0 + ln L1.
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

    def forward(
        self, coarse_0: Tensor, coarse_1: Tensor, mask_0: Tensor | None = None, mask_1: Tensor | None = None
    ) -> CellScores:
        """Coarse maps (B, C, h0, w0), (B, C, h1, w1), masks (B, L0), (B, L1) → CellScores."""
        x_0, x_1 = (precise(tokens_of(x)) for x in (coarse_0, coarse_1))
        similarity = self.log_scale.exp() * (
            F.normalize(self.project(x_0), dim=-1) @ F.normalize(self.project(x_1), dim=-1).transpose(1, 2)
        )
        logits_0, logits_1 = self.matchability(x_0)[..., 0], self.matchability(x_1)[..., 0]
        log_confidence = dual_log_softmax(similarity, mask_0, mask_1)
        log_confidence += F.logsigmoid(logits_0)[:, :, None]  # in place: these matrices are what takes the memory
        log_confidence += F.logsigmoid(logits_1)[:, None, :]
        return CellScores(log_confidence, logits_0, logits_1)
