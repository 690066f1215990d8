"""One training step's loss, from a batch of pairs to a scalar and what to log (torch only)."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from microloftr.data.pairs import PairBatch
from microloftr.geometry import cell_points, grid_size
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE
from microloftr.training.losses import cells_to_refine, coarse_loss, heat_loss, matchability_loss, offset_loss
from microloftr.training.supervision import Truth, supervise


@dataclass(frozen=True)
class LossWeights:
    """How much each part of the loss counts, and which cells are refined in training."""

    coarse: float = 1.0
    matchability: float = 1.0
    heat: float = 0.5
    offset: float = 0.5
    refined_per_pair: int = 64
    jitter: float = 0.3


@dataclass(frozen=True)
class StepResult:
    """The loss and its parts: coarse, matchability and heat in nats, offset in pixels, accuracy of the coarse cells."""

    loss: Tensor
    parts: dict[str, Tensor]


def pair_loss(
    model: LoFTR,
    batch: PairBatch,
    weights: LossWeights,
    generator: torch.Generator,
    autocast: torch.dtype | None = None,
    share: slice = slice(None),
) -> StepResult:
    """Forward pass over a batch of pairs, against its truth.

    share: the pairs that count here, where several processes have a part of the batch each; which cells are refined is
    drawn for the whole batch, so that a pair is taught the same in any part.
    """
    truth = supervise(batch)
    device = batch.images_0.device
    if model.refinement is not None:
        height_1, width_1 = (grid_size(side, COARSE_STRIDE) for side in batch.images_1.shape[-2:])
        cells = cells_to_refine(truth, width_1, height_1, weights.refined_per_pair, weights.jitter, generator)
    whole = truth
    if share != slice(None):
        if model.refinement is not None:
            first, last, _ = share.indices(len(batch))
            own = (cells[0] >= first) & (cells[0] < last)
            cells = cells[0][own] - first, cells[1][own], cells[2][own]
        batch, truth = _part(batch, share), _part(truth, share)
    with torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
        encoded = model.encode(*model.pyramids(batch.images_0, batch.images_1))
    scores = model.match_cells(encoded)
    parts = {"coarse": coarse_loss(scores.log_confidence, truth.cells_1) * _counted(whole.cells_1 >= 0, share)}
    loss = weights.coarse * parts["coarse"]
    if scores.matchability_0 is not None:
        both = (scores.matchability_0, truth.unmatchable_0), (scores.matchability_1, truth.unmatchable_1)
        sides = _counted(whole.unmatchable_0, share), _counted(whole.unmatchable_1, share)
        parts["matchability"] = sum(matchability_loss(*s) * counted for s, counted in zip(both, sides, strict=True)) / 2
        loss = loss + weights.matchability * parts["matchability"]
    if model.refinement is not None:
        matches = CoarseMatches(*cells, torch.ones(len(cells[0]), device=device))
        refined = model.refine(encoded, matches)
        target = (truth.points_1[cells[0], cells[1]] - cell_points(cells[2], width_1, COARSE_STRIDE)).float()
        parts["heat"] = heat_loss(refined.log_heat, target, cells[0], len(batch))
        parts["offset"] = offset_loss(refined.offset, target, refined.peak, cells[0], len(batch))
        loss = loss + weights.heat * parts["heat"] + weights.offset * parts["offset"]
    parts["accuracy"] = cell_accuracy(scores.log_confidence.detach(), truth)
    return StepResult(loss, {"loss": loss.detach(), **{name: value.detach() for name, value in parts.items()}})


def _counted(chosen: Tensor, share: slice) -> float:
    """What a share's mean over its pairs counts in the mean of all shares' means, that this is the mean over all pairs.

    Losses are means over the pairs that have any cell `chosen` (B, L), and one share may have more of these.
    """
    if share == slice(None):
        return 1.0
    has = chosen.any(1)
    own = has[share]
    return float(own.sum() / has.sum().clamp(min=1) * len(has) / len(own))


def _part(values: Any, share: slice) -> Any:
    """A dataclass of tensors (B, …) with some of its rows."""
    taken = {field.name: getattr(values, field.name) for field in fields(values)}
    return replace(values, **{name: value[share] for name, value in taken.items() if value is not None})


def cell_accuracy(log_confidence: Tensor, truth: Truth) -> Tensor:
    """Share of the truly matched cells whose best cell of image_1 is the true one."""
    chosen = truth.cells_1 >= 0
    return ((log_confidence.argmax(2) == truth.cells_1) & chosen).sum() / chosen.sum().clamp(min=1)
