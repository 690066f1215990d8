"""What training lowers. Every loss is averaged over each pair first, then over the pairs that have anything to say.

The published fine loss, ‖ĵ' − ĵ'_gt‖² / σ² with σ² the variance of the heat map (LoFTR §3.5), is replaced by two: a
cross-entropy for the heat itself, and a distance where its peak is near the truth.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from microloftr.model.presets import FINE_STRIDE
from microloftr.model.windows import OUTSIDE
from microloftr.training.supervision import Truth


def coarse_loss(log_confidence: Tensor, cells_1: Tensor) -> Tensor:
    """Mean −log confidence of the true cells (LoFTR §3.5): log_confidence (B, L0, L1), cells_1 (B, L0), −1 for none.

    In log space and without a clamp: the published clamp at 1e-6 leaves a cell that is very wrong without a gradient.
    """
    chosen = cells_1 >= 0
    values = -log_confidence.gather(2, cells_1.clamp(min=0)[..., None])[..., 0]
    return mean_per_pair(values, chosen)


def matchability_loss(logits: Tensor, unmatchable: Tensor) -> Tensor:
    """Mean −log(1 − σ) over cells (B, L) that the other image does not show (LightGlue, eq. 11)."""
    return mean_per_pair(F.softplus(logits), unmatchable)


def heat_loss(log_heat: Tensor, offset: Tensor, pair: Tensor, pairs: int) -> Tensor:
    """Cross-entropy of windows (M, W²) against the true offset (M, 2) in pixels, spread bilinearly over four places.

    Matches whose true place is outside the window or the image say nothing.
    """
    side = int(log_heat.shape[1] ** 0.5)
    place = offset / FINE_STRIDE + side // 2
    inside = ((place > 0) & (place < side - 1)).all(1)
    low = place.floor().clamp(0, side - 2)
    part = (place - low).clamp(0, 1)
    low = low.long()
    values = torch.zeros(len(log_heat), device=log_heat.device)
    for dy in (0, 1):
        for dx in (0, 1):
            weight = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1])
            heat = log_heat.gather(1, ((low[:, 1] + dy) * side + low[:, 0] + dx)[:, None])[:, 0]
            inside = inside & (heat > OUTSIDE / 2)
            values = values - weight * heat
    return mean_by_pair(values, inside, pair, pairs)


def offset_loss(offset: Tensor, truth: Tensor, peak: Tensor, pair: Tensor, pairs: int, reach: float = 4.0) -> Tensor:
    """Mean distance in pixels of offsets (M, 2) from the truth, where the window's peak is within `reach` of it.

    A wrong peak is the cross-entropy's matter: pulling at its neighbourhood would only blur the heat.
    """
    error = (((offset - truth) ** 2).sum(1) + 1e-4).sqrt()
    return mean_by_pair(error, ((peak - truth).abs() < reach).all(1), pair, pairs)


def mean_per_pair(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of values (B, L) over the chosen of each pair, then over the pairs that have any; 0 where none has."""
    counts = chosen.sum(1)
    means = torch.where(chosen, values, 0).sum(1) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


def mean_by_pair(values: Tensor, chosen: Tensor, pair: Tensor, pairs: int) -> Tensor:
    """As `mean_per_pair`, for values (M,) that each belong to pair number `pair` (M,)."""
    zeros = torch.zeros(pairs, device=values.device, dtype=values.dtype)
    counts = zeros.index_add(0, pair, chosen.to(values.dtype))
    sums = zeros.index_add(0, pair, torch.where(chosen, values, 0))
    return (sums / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


def cells_to_refine(
    truth: Truth, width_1: int, height_1: int, per_pair: int, jitter: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Matched cells for the fine loss: up to `per_pair` true ones a pair, a share `jitter` moved by −1 … 1 cells.

    At test time the cell found may be one beside the true one; a refinement that only ever saw true cells would not
    know what to do there. Returns (batch_index, cells_0, cells_1), each (M,).
    """
    device = truth.cells_1.device
    order = torch.rand(truth.cells_1.shape, device=device, generator=generator)
    order = torch.where(truth.cells_1 >= 0, order, 2.0)
    cells_0 = order.topk(min(per_pair, order.shape[1]), dim=1, largest=False).indices
    batch_index = torch.arange(len(order), device=device)[:, None].expand_as(cells_0)
    keep = order.gather(1, cells_0) < 2
    batch_index, cells_0 = batch_index[keep], cells_0[keep]
    cells_1 = truth.cells_1[batch_index, cells_0]
    step = torch.randint(-1, 2, (2, len(cells_1)), device=device, generator=generator)
    moved = torch.rand(len(cells_1), device=device, generator=generator) < jitter
    row = (cells_1 // width_1 + step[0] * moved).clamp(0, height_1 - 1)
    column = (cells_1 % width_1 + step[1] * moved).clamp(0, width_1 - 1)
    return batch_index, cells_0, row * width_1 + column
