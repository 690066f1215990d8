"""What the rules of the coarse matching do, counted on pairs of known truth: threshold, mutual check, border, ties."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from microloftr.geometry import cell_points
from microloftr.matches import Matches
from microloftr.model.presets import COARSE_STRIDE, FINE_STRIDE
from microloftr.registration.transform import Transform
from microloftr.views.case import Case

RIGHT = 8.0  # pixels from the truth: a cell


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best cell of image_1 for each of N cells of image_0, over all pairs, before any rule.

    `error` in pixels from the truth, before refinement. `ring`: how many cells lie between the nearest edge and the
    nearer of both cells; 0 at the edge.
    """

    pair: np.ndarray
    cells_1: np.ndarray
    confidence: np.ndarray
    error: np.ndarray
    mutual: np.ndarray
    ring: np.ndarray

    def kept(self, threshold: float = 0.0, mutual: bool = True, border: int = 0) -> np.ndarray:
        """Which rows (N,) the rules leave."""
        return (self.confidence > threshold) & (self.mutual | (not mutual)) & (self.ring >= border)

    def share_right(self, kept: np.ndarray) -> float:
        """Share of the kept rows within RIGHT pixels of the truth; NaN where none is kept."""
        return float((self.error[kept] < RIGHT).mean()) if kept.any() else float("nan")

    def sharing(self, kept: np.ndarray) -> int:
        """How many of the kept rows share their cell of image_1 with another."""
        cells, counts = np.unique(np.stack((self.pair[kept], self.cells_1[kept])), axis=1, return_counts=True)
        return int(counts[counts > 1].sum()) if cells.size else 0


def candidates(cases: Sequence[Case]) -> Candidates:
    """One row for every cell of image_0 of every case."""
    columns = []
    for number, case in enumerate(cases):
        log_confidence = case.trace.log_confidence[0]
        best, cells_1 = log_confidence.max(1)
        cells_0 = torch.arange(len(cells_1))
        mutual = log_confidence.argmax(0)[cells_1] == cells_0
        error = errors(case, cells_0, _points(cells_1, case.trace.encoded.coarse_1))
        ring = torch.minimum(rings(cells_0, case.trace.encoded.coarse_0), rings(cells_1, case.trace.encoded.coarse_1))
        pair = np.full(len(cells_1), number)
        columns.append((pair, cells_1.numpy(), best.exp().numpy(), error, mutual.numpy(), ring.numpy()))
    return Candidates(*(np.concatenate(column) for column in zip(*columns, strict=True)))


@dataclass(frozen=True, eq=False)
class Windows:
    """M matches whose windows of fine features were searched twice: parts outside image_1 masked, or padded with zeros.

    `cut`: the share of the window's places that lie outside. `ring` as in Candidates. Errors (M,) in pixels.
    """

    pair: np.ndarray
    ring: np.ndarray
    cut: np.ndarray
    coarse: np.ndarray
    masked: np.ndarray
    padded: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Which matches (M,) have the right cell."""
        return self.coarse < RIGHT

    def lost(self, border: int, chosen: np.ndarray | None = None) -> float:
        """Share of the right matches (of the rows `chosen`, or all) that masking `border` cells of every edge loses."""
        ring = self.ring[self.right] if chosen is None else self.ring[chosen][self.right[chosen]]
        return float((ring < border).mean()) if len(ring) else float("nan")


def windows(cases: Sequence[Case]) -> Windows:
    """The matches of the cases' own traces, refined as the model does it and with zero padding as LoFTR's unfold."""
    columns = []
    for number, case in enumerate(cases):
        encoded, found, matches = case.trace.encoded, case.trace.coarse_matches, case.trace.matches
        truth = case.true_points(matches.points_0.numpy().astype(float))
        ring = torch.minimum(rings(found.cells_0, encoded.coarse_0), rings(found.cells_1, encoded.coarse_1))
        with torch.inference_mode():
            offset = padded_offsets(case)
        points = (matches.coarse_points_1, matches.points_1, matches.coarse_points_1 + offset)
        distance = [np.linalg.norm(point.numpy() - truth, axis=1) for point in points]
        columns.append((np.full(len(truth), number), ring.numpy(), _cut(case), *distance))
    return Windows(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def padded_offsets(case: Case) -> Tensor:
    """Offsets (M, 2) in pixels where the fine map of image_1 goes on as zeros beyond its edges."""
    encoded, found = case.trace.encoded, case.trace.coarse_matches
    width, ratio = encoded.coarse_1.shape[-1], COARSE_STRIDE // FINE_STRIDE
    around = -(-(case.model.config.window // 2) // ratio)  # coarse cells that a window reaches out
    larger = replace(
        encoded,
        coarse_1=F.pad(encoded.coarse_1, (around,) * 4),
        fine_1=F.pad(encoded.fine_1, (around * ratio,) * 4),
    )
    row, column = found.cells_1 // width + around, found.cells_1 % width + around
    moved = replace(found, cells_1=row * (width + 2 * around) + column)
    return case.model.refine(larger, moved).offset


def transform_of(case: Case, border: int, family: str = "homography") -> Transform | None:
    """The transform that a case's own matches agree on, those within `border` cells of an edge left out."""
    encoded, found, points = case.trace.encoded, case.trace.coarse_matches, case.trace.matches
    ring = torch.minimum(rings(found.cells_0, encoded.coarse_0), rings(found.cells_1, encoded.coarse_1))
    kept = ring >= border
    arrays = (x[kept].double().numpy() for x in (points.points_0, points.points_1, points.confidence))
    sizes = {f"size_{k}": image.pixels.shape[::-1] for k, image in enumerate((case.image_0, case.image_1))}
    return Matches(*arrays, **sizes).estimate(family)


def mutual_mask(confidence: Tensor) -> Tensor:
    """Where a confidence (B, L0, L1) is the maximum of its row and of its column: LoFTR's test, ties included."""
    return (confidence == confidence.amax(2, keepdim=True)) & (confidence == confidence.amax(1, keepdim=True))


def first_of_row(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Matched cells (M,), (M,) of one mask (L0, L1) as `mask.max(dim=1)` gives them: the first True of each row."""
    found, cells_1 = mask.max(1)
    return found.nonzero()[:, 0], cells_1[found]


def ties(cases: Sequence[Case], kind: torch.dtype, threshold: float) -> tuple[int, int]:
    """Entries that pass the mutual test with confidences rounded to `kind`, and how many of them share a row or column.

    Over all cases, above `threshold`.
    """
    passed = tied = 0
    for case in cases:
        confidence = case.trace.log_confidence.exp().to(kind)
        mask = mutual_mask(confidence) & (confidence > threshold)
        passed += int(mask.sum())
        tied += int((mask & ((mask.sum(2, keepdim=True) > 1) | (mask.sum(1, keepdim=True) > 1))).sum())
    return passed, tied


def rings(cells: Tensor, coarse: Tensor) -> Tensor:
    """How many cells of the grid of `coarse` (B, C, h, w) lie between flat cells and the nearest edge."""
    height, width = coarse.shape[-2:]
    row, column = cells // width, cells % width
    return torch.stack((row, column, height - 1 - row, width - 1 - column)).amin(0)


def errors(case: Case, cells_0: Tensor, points_1: Tensor) -> np.ndarray:
    """Distances (M,) in pixels of points_1 (M, 2) from where the centres of cells_0 (M,) truly lie."""
    points_0 = _points(cells_0, case.trace.encoded.coarse_0).numpy().astype(float)
    return np.linalg.norm(points_1.numpy() - case.true_points(points_0), axis=1)


def _points(cells: Tensor, coarse: Tensor) -> Tensor:
    return cell_points(cells, coarse.shape[-1], COARSE_STRIDE)


def _cut(case: Case) -> np.ndarray:
    """Share of each match's window that lies outside image_1."""
    fine, found = case.trace.encoded.fine_1, case.trace.coarse_matches
    centre = (_points(found.cells_1, case.trace.encoded.coarse_1) / FINE_STRIDE).long()
    side = case.model.config.window
    step = torch.arange(side) - side // 2
    inside = [
        ((centre[:, k, None] + step >= 0) & (centre[:, k, None] + step < fine.shape[-1 - k])).float().mean(1)
        for k in (0, 1)
    ]
    return (1 - inside[0] * inside[1]).numpy()
