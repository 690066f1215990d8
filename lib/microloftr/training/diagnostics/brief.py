"""Short trainings that differ in one thing: same batches, same seed, same judge."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from microloftr.config.plain import TrainConfig
from microloftr.data.pairs import PairBatch
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import ModelConfig
from microloftr.training.descent import clip, laid_out, make_optimizer, set_rate
from microloftr.training.diagnostics.initial_loss import CoarseLoss
from microloftr.training.losses import coarse_loss, matchability_loss
from microloftr.training.step import cell_accuracy
from microloftr.training.supervision import Truth, supervise


@dataclass(frozen=True)
class Curve:
    """A short training, judged on held-out pairs before the first step and every some steps.

    coarse, matchability: unclamped losses in nats, whatever was trained on; accuracy: share of the true cells found;
    scale, bias: of the last layer, at the end (None where a preset has none).
    """

    steps: tuple[int, ...]
    coarse: tuple[float, ...]
    matchability: tuple[float, ...]
    accuracy: tuple[float, ...]
    scale: float | None = None
    bias: float | None = None

    @property
    def total(self) -> tuple[float, ...]:
        """coarse + matchability."""
        return tuple(a + b for a, b in zip(self.coarse, self.matchability, strict=True))

    def steps_to(self, total: float) -> float | None:
        """The first step at which the loss is down to `total`, between two looks by a straight line; None for never."""
        for k, value in enumerate(self.total):
            if value <= total:
                if k == 0:
                    return float(self.steps[0])
                before = self.total[k - 1]
                part = (before - total) / max(before - value, 1e-12)
                return self.steps[k - 1] + part * (self.steps[k] - self.steps[k - 1])
        return None


def fresh(config: ModelConfig, seed: int, scale: float | None = None, bias: float | str | None = None) -> LoFTR:
    """A model with random weights from a seed, its last layer set otherwise where that is said.

    scale: what the cosine is multiplied with, 1/temperature. bias: of the matchability; "default" for the weights and
    bias that torch gives a linear layer.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LoFTR(config)
        head = model.coarse_matching
        if scale is not None:
            head.log_scale.fill_(math.log(scale))
        if bias == "default":
            head.matchability.reset_parameters()
        elif bias is not None:
            head.matchability.bias.fill_(bias)
    return model


def zeros(batch: PairBatch) -> PairBatch:
    """The same truth over images that show nothing."""
    return replace(batch, images_0=torch.zeros_like(batch.images_0), images_1=torch.zeros_like(batch.images_1))


def shuffled(batch: PairBatch) -> PairBatch:
    """The same images, each pair with the truth of the next one. Needs two pairs."""
    replaced = None if batch.replaced is None else batch.replaced.roll(1, 0)
    return replace(
        batch,
        homography=batch.homography.roll(1, 0),
        displacement=batch.displacement.roll(1, 0),
        overlap=batch.overlap.roll(1, 0),
        replaced=replaced,
    )


def train_briefly(
    model: LoFTR,
    batches: Sequence[PairBatch],
    held: PairBatch,
    train: TrainConfig,
    every: int,
    loss: CoarseLoss = coarse_loss,
    change: Callable[[PairBatch], PairBatch] = lambda batch: batch,
) -> Curve:
    """Train the coarse stage over `batches`, each passed through `change`, with the optimizer of training.

    `held` is judged every `every` steps as it is, with its own images and truth. The refinement is not trained.
    """
    model = laid_out(model).train()
    optimizer = make_optimizer(model, train)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    truth, rows = supervise(held), []
    for step in range(len(batches) + 1):
        if step % every == 0 or step == len(batches):
            rows.append((step, *_judge(model, held, truth)))
        if step < len(batches):
            batch = change(batches[step])
            coarse, matchability, _ = _parts(model, batch, supervise(batch), loss)
            optimizer.zero_grad()
            (coarse + matchability).backward()
            clip(parameters, train.clip)
            set_rate(optimizer, step, train)
            optimizer.step()
    head = model.coarse_matching
    scale = float(head.log_scale.detach().exp()) if hasattr(head, "log_scale") else None
    bias = float(head.matchability.bias.detach()) if hasattr(head, "matchability") else None
    return Curve(*(tuple(column) for column in zip(*rows, strict=True)), scale, bias)


@torch.no_grad()
def _judge(model: LoFTR, held: PairBatch, truth: Truth) -> tuple[float, float, float]:
    model.eval()
    values = tuple(float(value) for value in _parts(model, held, truth, coarse_loss))
    model.train()
    return values


def _parts(model: LoFTR, batch: PairBatch, truth: Truth, loss: CoarseLoss) -> tuple[Tensor, Tensor, Tensor]:
    scores = model.match_cells(model.encode(*model.pyramids(batch.images_0, batch.images_1)))
    coarse = loss(scores.log_confidence, truth.cells_1)
    matchability = torch.zeros(())
    if scores.matchability_0 is not None:
        sides = (scores.matchability_0, truth.unmatchable_0), (scores.matchability_1, truth.unmatchable_1)
        matchability = sum(matchability_loss(*side) for side in sides) / 2
    return coarse, matchability, cell_accuracy(scores.log_confidence.detach(), truth)
