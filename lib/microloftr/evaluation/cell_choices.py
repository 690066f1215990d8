"""Which cells are refined in training, by five rules, and a fine stage trained with each of them on a frozen rest.

Backbone, transformer and coarse matching do not move, so all rules see the same features, predictions and pairs, and
what differs in the end is what the choice of cells has taught.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from microloftr.data.atlas import Atlas
from microloftr.data.pairs import PairBatch, make_pairs
from microloftr.errors import ParameterError
from microloftr.model.coarse_matching import CoarseMatches, select
from microloftr.model.loftr import LoFTR
from microloftr.model.trace import Encoded
from microloftr.model.windows import Refined
from microloftr.training.losses import cells_to_refine, heat_loss, offset_loss
from microloftr.training.step import LossWeights
from microloftr.training.supervision import Truth, supervise
from microloftr.views.refinement_study import published_cells, true_offset

RULES = {
    "true": "true cells",
    "moved": "true cells, some moved (micro's rule)",
    "found": "what the model finds",
    "published": "found, filled up with true cells (published)",
    "random": "cells at random",
}
LEAST_TRUE = 200  # of the published rule
MIXTURE = "train"


@dataclass(frozen=True)
class Schedule:
    """A short training of fine stages: `pairs` a step of crops of `crop` px, `per_pair` cells refined of each."""

    steps: int = 150
    pairs: int = 8
    crop: int = 128
    rate: float = 1e-3  # falls along a half cosine to 0, after `warmup` steps on which it rises
    warmup: int = 0
    mixture: str = MIXTURE
    clip: float = 1.0
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)
    precision: str = "32"  # or bf16, half the time where the processor knows it


@dataclass(frozen=True)
class Seen:
    """A batch of B pairs as the frozen part sees it: features, the truth, and the cells found above the threshold."""

    encoded: Encoded
    truth: Truth
    found: CoarseMatches
    width: int  # coarse cells along a side of either crop
    micrograph: np.ndarray  # (B,) index into the atlas
    pairs: PairBatch

    def target(self, cells: CoarseMatches) -> Tensor:
        """Where the truth lies from chosen cells (M, 2) px."""
        return true_offset(cells, self.truth.points_1, self.width)


class FineStage(nn.Module):
    """The part of a model that a fine loss alone moves: fine map and refinement."""

    def __init__(self, model: LoFTR) -> None:
        super().__init__()
        if model.refinement is None or model.fine_features is None:
            raise ParameterError(f"the preset {model.config.preset} has no fine map of its own to train")
        self.fine_features, self.refinement = copy.deepcopy(model.fine_features), copy.deepcopy(model.refinement)

    def forward(self, encoded: Encoded, cells: CoarseMatches) -> Refined:
        """Offsets of M chosen cells."""
        grids = (encoded.coarse_0, encoded.coarse_1), (encoded.pyramid_0, encoded.pyramid_1)
        fine_0, fine_1 = (self.fine_features(coarse, pyramid) for coarse, pyramid in zip(*grids, strict=True))
        return self.refinement(fine_0, fine_1, encoded.coarse_0, encoded.coarse_1, cells)


Loss = Callable[[FineStage, Seen, torch.Generator], Tensor]  # of one stage and batch; the generator draws its cells


@torch.no_grad()
def seen(
    model: LoFTR,
    atlas: Atlas,
    seed: int,
    indices: np.ndarray,
    crop: int,
    threshold: float,
    mixture: str = MIXTURE,
) -> Seen:
    """Pairs `indices` of a seed, through all of the model but its fine stage."""
    batch = make_pairs(atlas, mixture, seed, indices, crop)
    pyramid_0, pyramid_1 = model.pyramids(batch.images_0, batch.images_1)
    coarse_0, coarse_1 = model.transformer(pyramid_0.eighth, pyramid_1.eighth)
    encoded = Encoded(pyramid_0, pyramid_1, coarse_0, coarse_1, None, None)
    shape = tuple(coarse_1.shape[-2:])
    found = select(model.match_cells(encoded).log_confidence, shape, shape, threshold)
    return Seen(encoded, supervise(batch), found, shape[1], batch.micrograph.numpy(), batch)


def choose(rule: str, batch: Seen, weights: LossWeights, generator: torch.Generator) -> CoarseMatches:
    """About `weights.refined_per_pair` cells a pair to refine, by a rule of RULES.

    true: true cells. moved: a share `weights.jitter` of them moved by −1 … 1 cells each way. found: the model's own
    mutual cells, drawn from where there are more. published: the same, filled up with true cells (`published_cells`).
    random: true cells of image_0, each with any cell of image_1. Raises ParameterError for an unknown rule.
    """
    if rule not in RULES:
        raise ParameterError(f"there is no rule {rule!r} for the cells to refine; there are {', '.join(RULES)}")
    cells_1, per_pair = batch.truth.cells_1, weights.refined_per_pair
    if rule == "published":
        total = per_pair * len(cells_1)
        return published_cells(batch.found, cells_1, total, min(LEAST_TRUE, total // 2), generator)[0]
    if rule == "found":
        return _some(batch.found, per_pair, len(cells_1), generator)
    jitter = weights.jitter if rule == "moved" else 0.0
    cells = cells_to_refine(batch.truth, batch.width, batch.width, per_pair, jitter, generator)
    chosen = CoarseMatches(*cells, torch.ones(len(cells[0])))
    if rule == "random":
        anywhere = torch.randint(batch.width**2, cells[2].shape, generator=generator)
        chosen = replace(chosen, cells_1=anywhere)
    return chosen


def train_stages(
    model: LoFTR,
    starts: Mapping[str, FineStage],
    atlas: Atlas,
    schedule: Schedule,
    progress: Callable = iter,
    losses: Mapping[str, Loss] | None = None,
) -> dict[str, FineStage]:
    """A trained copy of every stage of `starts`, on the same pairs; `progress` wraps the steps, as tqdm does.

    `losses`: what each lowers; without it each name is a rule of RULES, whose cells micro's fine loss is taken of.
    """
    losses = losses or {rule: fine_loss(rule, schedule.weights) for rule in starts}
    stages = {name: copy.deepcopy(stage).train() for name, stage in starts.items()}
    optimizers = {name: torch.optim.AdamW(stage.parameters(), schedule.rate) for name, stage in stages.items()}
    generators = {name: torch.Generator().manual_seed(schedule.seed) for name in stages}
    for step, batch in enumerate(progress(_batches(model, atlas, schedule))):
        for name, stage in stages.items():
            with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bf16"):
                loss = losses[name](stage, batch, generators[name])
            optimizer = optimizers[name]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(stage.parameters(), schedule.clip)
            share = min(1.0, (step + 1) / (schedule.warmup + 1)) * 0.5 * (1 + np.cos(np.pi * step / schedule.steps))
            optimizer.param_groups[0]["lr"] = schedule.rate * share
            optimizer.step()
    return {name: stage.eval() for name, stage in stages.items()}


def fine_loss(rule: str, weights: LossWeights) -> Loss:
    """micro's fine loss of the cells that a rule of RULES chooses."""

    def loss(stage: FineStage, batch: Seen, generator: torch.Generator) -> Tensor:
        cells = choose(rule, batch, weights, generator)
        refined, target, count = stage(batch.encoded, cells), batch.target(cells), len(batch.micrograph)
        heat = heat_loss(refined.log_heat, target, cells.batch_index, count)
        return weights.heat * heat + weights.offset * offset_loss(
            refined.offset, target, refined.peak, cells.batch_index, count
        )

    return loss


def _batches(model: LoFTR, atlas: Atlas, schedule: Schedule) -> Iterator[Seen]:
    for step in range(schedule.steps):
        indices = np.arange(step * schedule.pairs, (step + 1) * schedule.pairs)
        threshold, mixture = model.config.threshold, schedule.mixture
        yield seen(model, atlas, schedule.seed, indices, schedule.crop, threshold, mixture)


def _some(found: CoarseMatches, per_pair: int, pairs: int, generator: torch.Generator) -> CoarseMatches:
    """At most `per_pair` matches of each pair, drawn without replacement."""
    kept = []
    for k in range(pairs):
        here = (found.batch_index == k).nonzero()[:, 0]
        kept.append(here[torch.randperm(len(here), generator=generator)[:per_pair]])
    index = torch.cat(kept)
    return CoarseMatches(*(values[index] for values in (found.batch_index, found.cells_0, found.cells_1)),
                         found.confidence[index])  # fmt: skip
