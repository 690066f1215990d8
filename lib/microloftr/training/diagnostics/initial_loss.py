"""The loss before the first step: what a model that knows nothing must pay, derived, beside what this one pays.

With L0 and L1 cells and similarities that are all alike, both softmaxes of the dual softmax are even: a true cell costs
ln L0 + ln L1 nats. Matchability with bias b and no weights adds −ln σ(b) for each of the two cells, 2·softplus(−b), and
a cell that the other image does not show costs −ln(1 − σ(b)) = softplus(b). An even heat over a window costs the
logarithm of the number of its places that lie inside the image. The offset loss counts where the peak lies within
4 px of the truth on both axes: for a peak anywhere, the difference is even over a square of ±4 px, and its mean length
is 4·(√2 + ln(1 + √2))/3 = 3.06 px for `micro`, which follows the peak; `loftr` says 0 and pays the length of the true
offset itself.

A head that is set wrongly would pass a comparison with what its own bias derives, so it is also held to what a model
that knows nothing pays at its *best* bias, ln 2, and its scale to a range: `scale_range`.

Karpathy, "A recipe for training neural networks" (2019), "verify loss @ init".
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from microloftr.data.pairs import PairBatch
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import FINE_STRIDE
from microloftr.model.windows import OUTSIDE, window_places
from microloftr.training.diagnostics.stages import Stages, stages
from microloftr.training.losses import coarse_loss, heat_loss, matchability_loss, mean_by_pair, offset_loss

REACH = 4.0  # pixels on each axis within which the offset loss counts (losses.offset_loss)
ABOVE, SPREAD = 1.5, 5.0  # nats or pixels above the derived value; nats that uneven similarities may cost
FLAT_OFFSET = REACH * (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 3
CoarseLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Parts:
    """coarse, matchability and heat in nats, offset in pixels; None for a part that a preset does not have."""

    coarse: float
    matchability: float | None = None
    heat: float | None = None
    offset: float | None = None


@dataclass(frozen=True)
class InitialLoss:
    """Derived and measured loss at initialisation, and why they differ.

    derived, measured: the parts for a model that knows nothing, and for this one on these pairs; blank: the coarse loss
    of the same pairs as grey images without content. spread_cost: what a truth chosen at random costs above the derived
    value, because similarities are not all alike (never negative, by Jensen's inequality); known: what the true cells
    cost less than random ones, because features tell something before any training. So measured.coarse is
    derived.coarse + spread_cost − known, for a loss that is not clamped. dead: share of the true cells whose loss has
    no slope; clamped_dead: the share there would be with the published clamp.

    Of the last layer, None where a preset has none: bias of the matchability, and `uneven`, the spread of its logits
    over the cells; scale of the cosine, and `channels` of the descriptors it compares.
    """

    cells: int
    derived: Parts
    measured: Parts
    blank: float
    spread_cost: float
    known: float
    dead: float
    clamped_dead: float
    bias: float | None = None
    uneven: float | None = None
    scale: float | None = None
    channels: int | None = None

    def holds(self, above: float = ABOVE) -> bool:
        """Whether the loss starts where it should: `faults` finds nothing."""
        return not self.faults(above)

    def faults(self, above: float = ABOVE) -> tuple[str, ...]:
        """What is wrong with the start, in words.

        Blank images give the derived coarse loss within 2 nats (to the digit where nothing tells the rim from the
        middle; padding does in `micro`, the encoding of places in `loftr`); no part starts more than `above` nats or
        pixels above its derived value, nor the sum of coarse loss and matchability above what knowing nothing pays at
        the best bias; a random truth costs at most 5 nats more than with similarities that are all alike; and no true
        cell is without a slope. The last layer says the same of every cell, with a bias within 1 of the best one, and
        a scale in its range. A part that starts lower shows what random features know, which is no fault.
        """
        known = {name: value for name, value in asdict(self.derived).items() if value is not None}
        found = [f"{name} starts high" for name, value in known.items() if getattr(self.measured, name) > value + above]
        wrong = {
            "blank images": abs(self.blank - self.derived.coarse) > 2,
            "similarities spread": self.spread_cost > SPREAD,
            "cells without a slope": self.dead > 0,
        }
        if self.bias is not None:
            best = derived_coarse(self.cells, self.cells, best_bias()) + derived_matchability(best_bias())
            wrong["more than knowing nothing"] = self.measured.coarse + self.measured.matchability > best + above
            wrong["bias"] = abs(self.bias - best_bias()) >= 1
            wrong["matchability is not silent"] = self.uneven > 1e-3
        if self.scale is not None:
            low, high = scale_range(self.cells, self.channels)
            wrong["scale"] = not low <= self.scale <= high
        return (*found, *(name for name, is_wrong in wrong.items() if is_wrong))


def scale_range(cells: int, channels: int) -> tuple[float, float]:
    """Between which scales of the cosine, 1/temperature, a last layer of C channels may start, for L cells.

    At least ln L: a cell whose cosine with its partner is 1 and 0 with the L − 1 others gets the probability
    e^s/(e^s + L − 1), half at s = ln(L − 1); with less, even perfect descriptors could not say which cell is right.
    At most √(5 C): cosines of random descriptors have the variance 1/C, and log-sum-exp of Gaussian similarities lies
    s²/(2C) above their mean, in each of the two softmaxes: s²/C nats that a random truth pays, 5 at most.
    """
    return math.log(cells), math.sqrt(SPREAD * channels)


def derived_coarse(cells_0: int, cells_1: int, bias: float | None = None) -> float:
    """ln L0 + ln L1 + 2·softplus(−b) nats; without the last term where a model has no matchability (bias None)."""
    return math.log(cells_0) + math.log(cells_1) + (0.0 if bias is None else 2 * _softplus(-bias))


def derived_matchability(bias: float) -> float:
    """softplus(b) nats."""
    return _softplus(bias)


def best_bias(coarse: float = 1.0, matchability: float = 1.0) -> float:
    """The matchability bias at which a model that knows nothing pays least: ln(2·coarse / matchability).

    Both losses are means over their own cells, so how many cells are matchable does not come in, unlike in the usual
    ln(π/(1 − π)). Of w·2·softplus(−b) + v·softplus(b) the slope −2w·σ(−b) + v·σ(b) is 0 at σ(b)/σ(−b) = 2w/v = e^b.
    """
    return math.log(2 * coarse / matchability)


def initial_loss(model: LoFTR, batch: PairBatch, loss: CoarseLoss = coarse_loss) -> InitialLoss:
    """Derived and measured loss of `model` on B pairs, in the mode it is in; `loss` is what training would use."""
    with torch.no_grad():
        seen = stages(model, batch)
        blank = replace(batch, images_0=batch.images_0 * 0 + 0.5, images_1=batch.images_1 * 0 + 0.5)
        blank_coarse = float(loss(stages(model, blank, seen.truth).scores.log_confidence, seen.truth.cells_1))
        log_confidence, cells_1 = seen.scores.log_confidence, seen.truth.cells_1
        cells = log_confidence.shape[1:]
        head = model.coarse_matching
        bias = getattr(getattr(head, "matchability", None), "bias", None)
        scale = getattr(head, "log_scale", None)
        derived = Parts(derived_coarse(*cells, None if bias is None else float(bias)))
        measured = Parts(float(loss(log_confidence, cells_1)))
        if bias is not None:
            derived = replace(derived, matchability=derived_matchability(float(bias)))
            sides = (seen.scores.matchability_0, seen.truth.unmatchable_0), (
                seen.scores.matchability_1, seen.truth.unmatchable_1)  # fmt: skip
            measured = replace(measured, matchability=float(sum(matchability_loss(*side) for side in sides) / 2))
        if seen.refined is not None:
            derived, measured = _fine(model, seen, len(batch), derived, measured)
        at_random = float(-log_confidence.mean())
        true = float(coarse_loss(log_confidence, cells_1))
    return InitialLoss(
        cells=cells[1],
        derived=derived,
        measured=measured,
        blank=blank_coarse,
        spread_cost=at_random - derived.coarse,
        known=at_random - true,
        dead=dead_share(log_confidence, cells_1, loss),
        clamped_dead=dead_share(log_confidence, cells_1, clamped_loss),
        bias=None if bias is None else float(bias.detach()),
        uneven=None if bias is None else float(seen.scores.matchability_0.std()),
        scale=None if scale is None else float(scale.detach().exp()),
        channels=None if scale is None else head.project.out_features,
    )


def dead_share(log_confidence: Tensor, cells_1: Tensor, loss: CoarseLoss = coarse_loss) -> float:
    """Share of the true cells whose log confidence has no gradient from `loss`."""
    leaf = log_confidence.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(leaf, cells_1), leaf)
    chosen = cells_1 >= 0
    of_true = gradient.gather(2, cells_1.clamp(min=0)[..., None])[..., 0][chosen]
    return float((of_true == 0).float().mean()) if len(of_true) else 0.0


def clamped_loss(log_confidence: Tensor, cells_1: Tensor, least: float = 1e-6) -> Tensor:
    """The coarse loss with the published clamp of the confidence to 1e-6 … 1 − 1e-6, for comparison.

    Below the clamp it is −ln 1e-6 = 13.82 nats and has no slope. With 1,000 cells in each image and more, ln L0 + ln L1
    lies above that, and a model that finds all cells alike gets no slope from any; what is left to learn from are the
    cells that random features happen to tell (`python -m microloftr recipe`, curves of `micro`, measures it).
    """
    return coarse_loss(log_confidence.exp().clamp(least, 1 - least).log(), cells_1)


def _fine(model: LoFTR, seen: Stages, pairs: int, derived: Parts, measured: Parts) -> tuple[Parts, Parts]:
    refined, target, pair = seen.refined, seen.target, seen.pair
    even = refined.log_heat.masked_fill(refined.log_heat > OUTSIDE / 2, 0.0).log_softmax(1)
    heat, heat_derived = (float(heat_loss(x, target, pair, pairs)) for x in (refined.log_heat, even))
    offset = float(offset_loss(refined.offset, target, refined.peak, pair, pairs, REACH))
    places = window_places(model.config.window, target) * FINE_STRIDE
    apart = places - target[:, None]  # (M, W², 2)
    near = (apart.abs() < REACH).all(2) & (even > OUTSIDE / 2)
    length = apart.norm(dim=2) if model.config.refinement == "pick" else target.norm(dim=1)[:, None].expand_as(near)
    rows = pair[:, None].expand_as(near)
    offset_derived = float(mean_by_pair(length.flatten(), near.flatten(), rows.flatten(), pairs))
    return replace(derived, heat=heat_derived, offset=offset_derived), replace(measured, heat=heat, offset=offset)


def _softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)
