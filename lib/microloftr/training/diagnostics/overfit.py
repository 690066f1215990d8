"""One small batch, taught until every coarse prediction is right and refinement errs by less than 0.05 px.

Karpathy, "A recipe for training neural networks" (2019), "overfit one batch": a model that cannot learn a handful of
pairs by heart has a fault in its truth, its loss or its gradient, and no amount of data will mend that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from microloftr.config.plain import TrainConfig
from microloftr.data.pairs import PairBatch
from microloftr.geometry import grid_size
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import FINE_STRIDE
from microloftr.training.descent import clip, laid_out, make_optimizer, set_rate
from microloftr.training.diagnostics.stages import Stages, stages
from microloftr.training.losses import coarse_loss, heat_loss, matchability_loss, offset_loss
from microloftr.training.step import LossWeights
from microloftr.training.supervision import Truth, supervise

FINE_GOAL = 0.05  # pixels, mean over all true cells


@dataclass(frozen=True)
class Look:
    """After `step` steps: the loss; of all true cells the share whose row and whose column both name their partner;
    mean and largest distance in pixels of the refined points from the truth (None without refinement).

    Cells whose true place lies beyond the last place of the fine map, on the outermost two pixels of an image, are left
    out of the distances: no loss speaks of them (losses.heat_loss).
    """

    step: int
    loss: float
    right: float
    fine: float | None
    farthest: float | None

    def holds(self, fine_goal: float = FINE_GOAL) -> bool:
        """Every coarse prediction right, and the mean fine error below the goal."""
        return self.right == 1 and (self.fine is None or self.fine < fine_goal)


@dataclass(frozen=True)
class Overfit:
    """The looks of a run on one batch, `cells` true cells in all."""

    cells: int
    looks: tuple[Look, ...]

    def holds(self, fine_goal: float = FINE_GOAL) -> bool:
        """Whether the last look is right in every cell and near enough."""
        return self.looks[-1].holds(fine_goal)


def overfit(
    model: LoFTR,
    batch: PairBatch,
    train: TrainConfig,
    every: int = 10,
    truth: Truth | None = None,
    look: Callable[[Look], None] = lambda _: None,
) -> Overfit:
    """Teach `model` the batch for at most `train.steps` steps, all its true cells refined and none of them moved.

    The parts of the loss count as in training, by `train.loss`. Looked at every `every` steps, in eval mode; stops at
    the first look that holds. `truth`: what is taught, the batch's own by default; what is judged is always its own.
    """
    model, own = laid_out(model).train(), supervise(batch)
    taught = own if truth is None else truth
    optimizer = make_optimizer(model, train)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    looks: list[Look] = []
    for step in range(train.steps + 1):
        if step % every == 0 or step == train.steps:
            looks.append(_look(model, batch, own, step, train.loss))
            look(looks[-1])
            if looks[-1].holds() or step == train.steps:
                break
        loss = _loss(stages(model, batch, taught), len(batch), train.loss)
        optimizer.zero_grad()
        loss.backward()
        clip(parameters, train.clip)
        set_rate(optimizer, step, train)
        optimizer.step()
    return Overfit(int((own.cells_1 >= 0).sum()), tuple(looks))


def _loss(seen: Stages, pairs: int, weights: LossWeights) -> torch.Tensor:
    loss = weights.coarse * coarse_loss(seen.scores.log_confidence, seen.truth.cells_1)
    if seen.scores.matchability_0 is not None:
        sides = (seen.scores.matchability_0, seen.truth.unmatchable_0), (
            seen.scores.matchability_1, seen.truth.unmatchable_1)  # fmt: skip
        loss = loss + weights.matchability * sum(matchability_loss(*side) for side in sides) / 2
    if seen.refined is not None:
        loss = loss + weights.heat * heat_loss(seen.refined.log_heat, seen.target, seen.pair, pairs)
        offset = offset_loss(seen.refined.offset, seen.target, seen.refined.peak, seen.pair, pairs)
        loss = loss + weights.offset * offset
    return loss


@torch.no_grad()
def _look(model: LoFTR, batch: PairBatch, truth: Truth, step: int, weights: LossWeights) -> Look:
    was = model.training
    seen = stages(model.eval(), batch, truth)
    model.train(was)
    log_confidence = seen.scores.log_confidence
    row = log_confidence.argmax(2)[seen.pair, seen.cells_0] == seen.cells_1
    column = log_confidence.argmax(1)[seen.pair, seen.cells_1] == seen.cells_0
    right = float((row & column).float().mean()) if len(row) else 0.0
    loss = float(_loss(seen, len(batch), weights))
    if seen.refined is None:
        return Look(step, loss, right, None, None)
    points = truth.points_1[seen.pair, seen.cells_0]
    height, width = (FINE_STRIDE * (grid_size(side, FINE_STRIDE) - 1) for side in batch.images_1.shape[-2:])
    told = ((points >= 0) & (points < torch.tensor((width, height), device=points.device))).all(1)
    error = (seen.refined.offset - seen.target).norm(dim=1)[told]
    return Look(step, loss, right, float(error.mean()), float(error.max()))
