"""One forward pass as training makes it, kept in stages, so that each check can ask for the part it needs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from microloftr.data.pairs import PairBatch
from microloftr.geometry import cell_points
from microloftr.model.coarse_matching import CellScores, CoarseMatches
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE
from microloftr.model.windows import Refined
from microloftr.training.losses import coarse_loss, heat_loss, matchability_loss, offset_loss
from microloftr.training.supervision import Truth, supervise


@dataclass(frozen=True, eq=False)
class Stages:
    """What training compares of B pairs: `truth`, `scores`, and of M refined cells `refined` with its truth.

    pair, cells_0, cells_1 (M,): every truly matched cell, none moved to a neighbour; target (M, 2): true offsets in
    pixels. `refined` is None where the preset has no refinement.
    """

    truth: Truth
    scores: CellScores
    pair: Tensor
    cells_0: Tensor
    cells_1: Tensor
    target: Tensor
    refined: Refined | None


def stages(model: LoFTR, batch: PairBatch, truth: Truth | None = None) -> Stages:
    """`model` on a batch, in the mode it is in; gradients are kept where they are on."""
    truth = supervise(batch) if truth is None else truth
    encoded = model.encode(*model.pyramids(batch.images_0, batch.images_1))
    scores = model.match_cells(encoded)
    pair, cells_0 = (truth.cells_1 >= 0).nonzero(as_tuple=True)
    cells_1 = truth.cells_1[pair, cells_0]
    centres = cell_points(cells_1, encoded.coarse_1.shape[-1], COARSE_STRIDE)
    target = (truth.points_1[pair, cells_0] - centres).float()
    refined = model.refine(encoded, CoarseMatches(pair, cells_0, cells_1, torch.ones(len(pair), device=pair.device)))
    return Stages(truth, scores, pair, cells_0, cells_1, target, refined)


def loss_of_pair(seen: Stages, k: int) -> Tensor:
    """The whole loss of pair k alone, all parts with weight 1."""
    one = slice(k, k + 1)
    loss = coarse_loss(seen.scores.log_confidence[one], seen.truth.cells_1[one])
    if seen.scores.matchability_0 is not None:
        loss = loss + matchability_loss(seen.scores.matchability_0[one], seen.truth.unmatchable_0[one]) / 2
        loss = loss + matchability_loss(seen.scores.matchability_1[one], seen.truth.unmatchable_1[one]) / 2
    if seen.refined is not None:
        here = seen.pair == k
        first = torch.zeros(int(here.sum()), dtype=torch.long, device=here.device)
        heat, offset, peak = (x[here] for x in (seen.refined.log_heat, seen.refined.offset, seen.refined.peak))
        target = seen.target[here]
        loss = loss + heat_loss(heat, target, first, 1) + offset_loss(offset, target, peak, first, 1)
    return loss
