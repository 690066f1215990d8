"""A LoFTR trained the naive way, and each of its causes of harm mended: truth, cells and losses of a `Recipe`.

The naive recipe is the published one as people write it down for pairs related by homographies: the homography counts
from the corners of pixels and the features from their centres, every cell's nearest one is its truth, offsets are in
units of the window and weighted by the heat's spread. Sources: LoFTR's code (supervision, losses), Sun et al. 2021,
§3.5.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from microloftr.data.pairs import PairBatch, true_points_0, true_points_1
from microloftr.evaluation.cell_choices import FineStage, Loss, Seen, choose
from microloftr.geometry import grid_points, grid_size, nearest_cell
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE, FINE_STRIDE, ModelConfig
from microloftr.model.pyramid import UPSAMPLING
from microloftr.model.refinement import Refinement
from microloftr.model.windows import Refined
from microloftr.training.losses import heat_loss, mean_by_pair, offset_loss
from microloftr.training.step import LossWeights
from microloftr.training.supervision import Truth, supervise

NAIVE = ModelConfig(
    upsampling="align_corners",
    transformer="sine",
    attention="linear",
    matching="dual_softmax",
    refinement="expectation",
    fine_dim=64,
    window=5,
    threshold=0.2,
)
HALF = 0.5  # px from the corner of a pixel to its centre
CLAMP, ALPHA, GAMMA = 1e-6, 0.25, 2.0  # of the published coarse loss
LEAST_SPREAD = 1e-5  # of the published fine loss, in half windows


@dataclass(frozen=True)
class Recipe:
    """What is mended, in the order in which it is tried; nothing: the naive way.

    frame: homographies take pixel centres, as everything else does. pyramid: maps are enlarged without moving. border:
    places outside the image take no part. one_to_one: only cells that find each other are true. cells: true cells are
    refined in training, some moved by a cell, instead of what is found, filled up with true ones. unit: the distance in
    pixels, averaged per pair. pick: the best place, then its 3×3 neighbours, taught by a cross-entropy as well. window:
    9 instead of 5 places wide.
    """

    frame: bool = False
    pyramid: bool = False
    border: bool = False
    one_to_one: bool = False
    cells: bool = False
    unit: bool = False
    pick: bool = False
    window: bool = False


MENDS = {
    "frame": "no half pixel in the homography",
    "pyramid": "maps enlarged without drift",
    "border": "nothing outside the image takes part",
    "one_to_one": "one-to-one truth",
    "cells": "true cells refined in training, some moved",
    "unit": "loss in pixels, averaged per pair",
    "pick": "best place, then its 3×3 neighbours",
    "window": "a window of 9 instead of 5",
}


def recipes() -> dict[str, Recipe]:
    """The naive recipe, then one mend after the other on top of those before."""
    found = {"naive": Recipe()}
    for field in fields(Recipe):
        found[field.name] = replace(list(found.values())[-1], **{field.name: True})
    return found


def truth_of(batch: PairBatch, recipe: Recipe) -> Truth:
    """Truth of B pairs by a recipe. A homography taken in the other frame moves points by (A − 1)·½ px, A its slope."""
    truth, shift = supervise(batch), 0.0 if recipe.frame else HALF
    if recipe.frame and recipe.one_to_one:
        return truth
    height, width = (grid_size(side, COARSE_STRIDE) for side in batch.images_1.shape[-2:])
    centres = grid_points(height, width, COARSE_STRIDE, batch.images_0.device).expand(len(batch), -1, -1) + shift
    points_1, points_0 = true_points_1(centres, batch) - shift, true_points_0(centres, batch) - shift
    cells_1 = nearest_cell(points_1, height, width, COARSE_STRIDE, ties="up")
    if recipe.one_to_one:
        back = nearest_cell(points_0, height, width, COARSE_STRIDE, ties="down")
        returns = back.gather(1, cells_1.clamp(min=0)) == torch.arange(height * width)
        cells_1 = torch.where(returns, cells_1, -1)
    return replace(truth, points_1=points_1, cells_1=cells_1)


def published_coarse_loss(log_confidence: Tensor, cells_1: Tensor) -> Tensor:
    """−α (1 − P)^γ log P of the true cells, P kept within 1e-6 of 0 and 1, averaged over all of the batch."""
    chosen = cells_1 >= 0
    values = log_confidence.gather(2, cells_1.clamp(min=0)[..., None])[..., 0][chosen]
    sure = values.exp().clamp(CLAMP, 1 - CLAMP)
    return (-ALPHA * (1 - sure) ** GAMMA * sure.log()).sum() / max(len(sure), 1)


def published_fine_loss(refined: Refined, target: Tensor) -> Tensor:
    """‖Δ‖² in half windows, weighted by 1/σ of the heat over its mean; cells whose truth is farther say nothing.

    refined: M windows; target (M, 2) px. The weights carry no gradient, and their mean is over all M, as published.
    """
    side = int(refined.log_heat.shape[1] ** 0.5)
    reach = side // 2 * FINE_STRIDE
    step = torch.arange(side, dtype=torch.float32) - side // 2
    heat = refined.log_heat.exp().view(-1, side, side)
    variance = sum(
        (marginal @ step**2 - (marginal @ step) ** 2).clamp(min=1e-10) for marginal in (heat.sum(1), heat.sum(2))
    )
    weight = 1 / (variance.sqrt() / (side // 2)).clamp(min=LEAST_SPREAD)
    weight = (weight / weight.mean()).detach()
    near = (target / reach).abs().amax(1) < 1
    error = (((refined.offset - target) / reach) ** 2).sum(1)
    return (weight * error)[near].sum() / near.sum().clamp(min=1)


def pixel_loss(refined: Refined, target: Tensor, pair: Tensor, pairs: int) -> Tensor:
    """Distance in px of offsets from the truth, where the window reaches it, averaged per pair and over pairs."""
    reach = int(refined.log_heat.shape[1] ** 0.5) // 2 * FINE_STRIDE
    error = (((refined.offset - target) ** 2).sum(1) + 1e-4).sqrt()
    return mean_by_pair(error, target.abs().amax(1) < reach, pair, pairs)


def fine_loss_of(recipe: Recipe, weights: LossWeights) -> Loss:
    """What a fine stage lowers by a recipe, on batches that the frozen rest has seen."""

    def loss(stage: FineStage, batch: Seen, generator: torch.Generator) -> Tensor:
        batch = replace(batch, truth=truth_of(batch.pairs, recipe))
        cells = choose("moved" if recipe.cells else "published", batch, weights, generator)
        refined = stage(batch.encoded, cells)
        return fine_part(recipe, refined, batch.target(cells), cells, len(batch.micrograph), weights)

    return loss


def fine_part(
    recipe: Recipe, refined: Refined, target: Tensor, cells: CoarseMatches, pairs: int, weights: LossWeights
) -> Tensor:
    """The fine loss of M refined cells by a recipe; target (M, 2) px."""
    if recipe.pick:
        heat = heat_loss(refined.log_heat, target, cells.batch_index, pairs)
        offset = offset_loss(refined.offset, target, refined.peak, cells.batch_index, pairs)
        return weights.heat * heat + weights.offset * offset
    if recipe.unit:
        return pixel_loss(refined, target, cells.batch_index, pairs)
    return published_fine_loss(refined, target)


def stage_of(model: LoFTR, recipe: Recipe, seed: int) -> FineStage:
    """A recipe's fine stage for the naive model, with the weights that the model has; a pick's few begin at random."""
    stage, window = FineStage(model), 9 if recipe.window else model.config.window
    stage.fine_features.upsample = UPSAMPLING["exact" if recipe.pyramid else "align_corners"]
    stage.refinement.masked = recipe.border
    if recipe.pick:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            stage.refinement = Refinement(model.config.fine_dim, window)
    return stage
