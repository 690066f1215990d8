"""Whether it matters which image comes first: match(a, b) against match(b, a)."""

from dataclasses import dataclass, replace

import torch

from microloftr.data.pairs import PairBatch
from microloftr.model.coarse_matching import select
from microloftr.model.loftr import LoFTR


@dataclass(frozen=True)
class SwapGap:
    """gap: largest |log P(a, b) − log P(b, a)ᵀ| in nats; mean: its mean; shared: matches found both ways, of all."""

    gap: float
    mean: float
    shared: float

    def holds(self, tolerance: float = 1e-3) -> bool:
        """Whether both orders say the same but for rounding."""
        return self.gap <= tolerance


@torch.no_grad()
def swap_gap(model: LoFTR, batch: PairBatch, threshold: float = 0.0) -> SwapGap:
    """Exchange the images of B pairs. `micro` is symmetric: both directions of a cross layer read what was before it.

    As published, image_1 reads what image_0 has become (LoFTR's code), so the order matters there.
    """
    swapped = replace(batch, images_0=batch.images_1, images_1=batch.images_0)
    there, back = (
        model.match_cells(model.encode(*model.pyramids(b.images_0, b.images_1))).log_confidence
        for b in (batch, swapped)
    )
    apart = (there - back.transpose(1, 2)).abs()
    side = int(there.shape[1] ** 0.5), int(there.shape[2] ** 0.5)
    matches = []
    for values, first, second in ((there, *side), (back, *side[::-1])):
        found = select(values, (first, first), (second, second), threshold)
        matches.append((found.batch_index, found.cells_0, found.cells_1))
    one = set(zip(*(x.tolist() for x in matches[0]), strict=True))
    other = {(k, j, i) for k, i, j in zip(*(x.tolist() for x in matches[1]), strict=True)}
    return SwapGap(float(apart.max()), float(apart.mean()), len(one & other) / max(len(one | other), 1))
