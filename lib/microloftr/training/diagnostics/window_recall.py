"""How much refinement could mend at best: whether the truth lies in the window that a coarse match cuts out."""

from dataclasses import dataclass

import torch

from microloftr.data.pairs import PairBatch
from microloftr.geometry import cell_points
from microloftr.model.coarse_matching import select
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE, FINE_STRIDE
from microloftr.training.supervision import supervise


@dataclass(frozen=True)
class WindowRecall:
    """Of the n matches that a model finds where image_1 shows their place, above its threshold.

    own, beside: share with the true cell, and one cell beside it; inside: share whose true place lies in the window,
    the upper bound of refinement; refined: share within 1 px after it; reach: half the window in pixels.
    """

    n: int
    own: float
    beside: float
    inside: float
    refined: float
    reach: float

    def holds(self, least: float = 0.95) -> bool:
        """Something is found, and at least `least` of the true places lie in the window and in reach of one cell.

        Nothing that is left outside can be mended: a window too small for neighbouring cells, or a coarse map that
        lies beside the fine one, shows here before any training.
        """
        return self.n > 0 and self.inside >= least and self.own + self.beside >= least


@torch.no_grad()
def window_recall(model: LoFTR, batch: PairBatch, threshold: float | None = None) -> WindowRecall:
    """What the windows of `model` hold over B pairs, in the mode it is in.

    A true match one cell off lies up to 12 px away on each axis; a window of W places of 2 px holds what is within
    W − 1 px, so that 5×5 cannot hold what 9×9 mostly can.
    """
    truth = supervise(batch)
    encoded = model.encode(*model.pyramids(batch.images_0, batch.images_1))
    shapes = encoded.coarse_0.shape[-2:], encoded.coarse_1.shape[-2:]
    threshold = model.config.threshold if threshold is None else threshold
    found = select(model.match_cells(encoded).log_confidence, *shapes, threshold)
    shown = ~truth.unmatchable_0[found.batch_index, found.cells_0]
    places = truth.points_1[found.batch_index, found.cells_0]
    apart = (places - cell_points(found.cells_1, shapes[1][1], COARSE_STRIDE)).float()
    far = apart.abs().amax(1)[shown]
    reach = float(model.config.window // 2 * FINE_STRIDE)
    refined = model.refine(encoded, found)
    left = (apart if refined is None else apart - refined.offset).norm(dim=1)[shown]
    half = COARSE_STRIDE / 2
    shares = [far <= half, (far > half) & (far <= 3 * half), far <= reach, left <= 1.0]
    return WindowRecall(len(far), *(float(share.float().mean()) if len(far) else 0.0 for share in shares), reach)
