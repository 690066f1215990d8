"""What passes through every layer: size of activations and of their gradients, and how much of them is dead.

Hooks are put on for one forward and one backward pass and taken off again; nothing stays on the modules.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from microloftr.data.pairs import PairBatch
from microloftr.model.loftr import LoFTR
from microloftr.training.diagnostics.stages import loss_of_pair, stages

SPREADS = (0.03, 30.0)  # standard deviation of a layer's outputs: those of the presets are 0.05 to 9


@dataclass(frozen=True)
class LayerStatistics:
    """One layer's outputs over all its calls: mean and spread, share that is exactly 0, gradient of the loss in them.

    A ReLU with zeros 1 is dead; a gradient of 0 means that the loss does not reach the layer.
    """

    name: str
    kind: str
    calls: int
    mean: float
    spread: float
    zeros: float
    gradient: float  # root mean square


def layer_statistics(model: LoFTR, batch: PairBatch) -> tuple[LayerStatistics, ...]:
    """Statistics of every layer without parts of its own, in order of first call, from the loss of all pairs.

    Running statistics, modes and the parameters' gradients are left as they were.
    """
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {}
    kinds: dict[str, str] = {}
    gradients: dict[str, list[Tensor]] = {}

    def watch(name: str, module: nn.Module):
        def hook(_: nn.Module, __: tuple, output: object) -> None:
            if not isinstance(output, Tensor):  # the published coarse matching has no layers within
                return
            values = output.detach()
            moments = torch.stack((values.mean(), (values**2).mean(), (values == 0).float().mean()))
            calls.setdefault(name, []).append((moments, torch.tensor(float(values.numel()))))
            kinds[name] = type(module).__name__
            if output.requires_grad:
                output.register_hook(lambda g: gradients.setdefault(name, []).append((g.detach() ** 2).mean()))

        return module.register_forward_hook(hook)

    buffers = {name: value.clone() for name, value in model.named_buffers()}
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [watch(name, module) for name, module in leaves]
    try:
        with torch.enable_grad():
            seen = stages(model, batch)
            loss = sum(loss_of_pair(seen, k) for k in range(len(batch))) / len(batch)
            torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for name, value in model.named_buffers():
                value.copy_(buffers[name])
    return tuple(_statistics(name, kinds[name], calls[name], gradients.get(name, [])) for name in calls)


def dead(statistics: tuple[LayerStatistics, ...]) -> tuple[str, ...]:
    """Names of layers that give nothing but zeros, or that no gradient reaches."""
    return tuple(s.name for s in statistics if s.zeros == 1 or s.gradient == 0)


def faults(statistics: tuple[LayerStatistics, ...], spreads: tuple[float, float] = SPREADS) -> tuple[str, ...]:
    """Names of layers that are dead, or whose outputs spread too little or too much; none of a trained model.

    Normalised inputs have a spread of 1, and normalisations and initial weights are there to keep it near 1 at any
    depth. A spread above the range multiplies from layer to layer (exploding), below it the image is lost in rounding.
    """
    low, high = spreads
    still = dead(statistics)
    return (*still, *(s.name for s in statistics if s.name not in still and not low <= s.spread <= high))


def _statistics(name: str, kind: str, calls: list[tuple[Tensor, Tensor]], gradients: list[Tensor]) -> LayerStatistics:
    weights = torch.stack([count for _, count in calls])
    mean, square, zeros = ((torch.stack([m for m, _ in calls]) * weights[:, None]).sum(0) / weights.sum()).tolist()
    gradient = float(torch.stack(gradients).mean().sqrt()) if gradients else 0.0
    return LayerStatistics(name, kind, len(calls), mean, max(square - mean**2, 0.0) ** 0.5, zeros, gradient)
