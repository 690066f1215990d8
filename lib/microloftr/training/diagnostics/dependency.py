"""Which images a pair's loss depends on, found by backprop: its own two and no other.

Karpathy, "A recipe for training neural networks" (2019), "use backprop to chart dependencies": a sum over the wrong
axis, a normalisation over the batch, or a reshape that mixes samples trains without an error and is seen here.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from microloftr.data.pairs import PairBatch
from microloftr.model.loftr import LoFTR
from microloftr.training.diagnostics.stages import loss_of_pair, stages


@dataclass(frozen=True, eq=False)
class Dependencies:
    """Norms (B, B) of the gradient of pair k's loss (row) in the pixels of sample n (column), for both images."""

    images_0: np.ndarray
    images_1: np.ndarray

    @property
    def leak(self) -> float:
        """The largest gradient in another pair's images; must be exactly 0."""
        apart = ~np.eye(len(self.images_0), dtype=bool)
        return float(max(self.images_0[apart].max(initial=0.0), self.images_1[apart].max(initial=0.0)))

    @property
    def least(self) -> float:
        """The smallest gradient in one of a pair's own images; must not be 0."""
        return float(min(self.images_0.diagonal().min(), self.images_1.diagonal().min()))

    def holds(self) -> bool:
        """Every pair depends on both of its images and on nothing else."""
        return self.leak == 0 and self.least > 0


def dependencies(model: LoFTR, batch: PairBatch) -> Dependencies:
    """The chart of B pairs, in the mode (train or eval) that `model` is in; it is left as it was.

    B backward passes. Nothing is added to the parameters' gradients.
    """
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    images = [x.detach().clone().requires_grad_(True) for x in (batch.images_0, batch.images_1)]
    with torch.enable_grad():
        seen = stages(model, replace(batch, images_0=images[0], images_1=images[1]))
        norms = np.zeros((2, len(batch), len(batch)))
        for k in range(len(batch)):
            gradients = torch.autograd.grad(loss_of_pair(seen, k), images, retain_graph=True, allow_unused=True)
            for side, gradient in enumerate(gradients):
                norms[side, k] = 0.0 if gradient is None else gradient.flatten(1).norm(dim=1).cpu().numpy()
    with torch.no_grad():  # a batch normalisation in train mode has moved its statistics
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    return Dependencies(*norms)
