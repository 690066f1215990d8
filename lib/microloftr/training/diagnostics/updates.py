"""How far one step moves every weight, as a share of its size: about 1e-3 in a training that goes well.

Much more and the weights are thrown about, much less and they stand still; exactly 0 where nothing reaches them. The
first step of Adam moves every number by the rate, whatever its gradient: what the ratio says of a training can only be
seen after some steps, when the averages of gradients and squares have filled (β₁ = 0.9: 20 steps forget 88 %).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from microloftr.data.pairs import PairBatch
from microloftr.training.stepper import Stepper

STILL = 1e-5  # below this a weight stands still; weight decay alone moves it by lr · 0.01, 6e-6 at the default rate

BAND = (1e-4, 1e-2)  # of a part's ratio in a training that goes well: a tenth of 1e-3, and ten times as much
SETTLED = 20  # steps before the ratio says anything


@dataclass(frozen=True)
class Update:
    """One parameter's step: norms of the change and of the weight, `ratio` of both (None for a weight of zeros)."""

    name: str
    change: float
    weight: float

    @property
    def ratio(self) -> float | None:
        """‖Δw‖ / ‖w‖."""
        return self.change / self.weight if self.weight else None

    @property
    def still(self) -> bool:
        """Whether the step did not move it, or no more than weight decay does."""
        return self.change <= STILL * self.weight


def update_ratios(stepper: Stepper, batch: PairBatch) -> tuple[Update, ...]:
    """Take one step of training on `batch`; the update of every parameter, in the model's order."""
    before = {name: value.detach().clone() for name, value in stepper.model.named_parameters()}
    result = stepper.forward(batch)
    stepper.backward(result)
    stepper.descend()
    return tuple(
        Update(name, float((value.detach() - before[name]).norm()), float(before[name].norm()))
        for name, value in stepper.model.named_parameters()
    )


def still(updates: tuple[Update, ...]) -> tuple[str, ...]:
    """Names of the parameters that stand still; none may, once the layers that start at zero have moved."""
    return tuple(update.name for update in updates if update.still)


def by_part(updates: tuple[Update, ...]) -> dict[str, float]:
    """Ratio of each part of the line: norms over all its parameters together."""
    parts: dict[str, list[Update]] = {}
    for update in updates:
        parts.setdefault(update.name.split(".")[0], []).append(update)
    norm = {
        name: [sum(getattr(u, of) ** 2 for u in group) ** 0.5 for of in ("change", "weight")]
        for name, group in parts.items()
    }
    return {name: change / max(weight, 1e-12) for name, (change, weight) in norm.items()}


def ratios_through(stepper: Stepper, batches: Iterable[PairBatch], every: int = 10) -> dict[int, dict[str, float]]:
    """Train over `batches`; the ratio of each part in every `every`-th step, by the number of the step."""
    found: dict[int, dict[str, float]] = {}
    for batch in batches:
        if (stepper.step + 1) % every == 0:
            ratios = by_part(update_ratios(stepper, batch))
            found[stepper.step] = ratios
        else:
            stepper.backward(stepper.forward(batch))
            stepper.descend()
    return found


def outside(ratios: dict[int, dict[str, float]], band: tuple[float, float] = BAND) -> tuple[str, ...]:
    """Parts whose ratio, the largest of the looks from step SETTLED on, is outside the band; none in a good training.

    The largest, since weights that are thrown about grow, and the ratio falls again. For steps at the full rate.
    """
    later = [parts for step, parts in ratios.items() if step >= SETTLED]
    largest = {part: max(parts[part] for parts in later) for part in later[0]} if later else {}
    return tuple(part for part, ratio in largest.items() if not band[0] <= ratio <= band[1])


def frozen(model: nn.Module) -> tuple[str, ...]:
    """Names of the parameters that are told not to learn."""
    return tuple(name for name, value in model.named_parameters() if not value.requires_grad)


def gradient_norms(model: nn.Module, loss: torch.Tensor) -> dict[str, float]:
    """Norm of the gradient of `loss` in every parameter, 0 where it does not reach; none is kept on the model."""
    names, values = zip(*((n, v) for n, v in model.named_parameters() if v.requires_grad), strict=True)
    gradients = torch.autograd.grad(loss, values, retain_graph=True, allow_unused=True)
    return {n: 0.0 if g is None else float(g.norm()) for n, g in zip(names, gradients, strict=True)}
