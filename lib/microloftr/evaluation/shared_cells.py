"""Several cells of image_0 on one of image_1: how often that is true, what one-to-one keeps, how they are refined."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from microloftr.data.pairs import PairBatch
from microloftr.errors import ParameterError
from microloftr.evaluation.metrics import bootstrap_interval
from microloftr.geometry import grid_size, nearest_cell
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE
from microloftr.training.supervision import supervise
from microloftr.views.pairs_study import sharing
from microloftr.views.refinement_study import true_offset

CELLS_0, SIZE_1 = 16, 512  # a crop 16 cells wide, whole within an image_1 that shows it at twice its scale
GROUPS = ("alone", "kept", "left out")
RIGHT = 3.0  # px: a match this near is right
LEAST = 10  # cells of a kind in a pair, to compare kinds within it
RESAMPLES = 400


@dataclass(frozen=True)
class Sharing:
    """Of all cells of image_0 that image_1 shows: how many share their cell with others, and how many truth keeps.

    most: the most cells that fall on one.
    """

    scale: float
    degrees: float
    shared: float
    kept: float
    most: int


@dataclass(frozen=True, eq=False)
class Judged:
    """M refined cells or matches: error (M,) px, and the group, number of the pair and specimen (M,) of each."""

    error: np.ndarray
    group: np.ndarray
    pair: np.ndarray
    specimen: np.ndarray

    def median(self, group: str) -> float:
        """Median error of a group in px, NaN where it is empty."""
        return _median(self.error[self.group == group])

    def right(self, group: str) -> float:
        """Share of a group nearer to the truth than RIGHT px."""
        return float(np.mean(self.error[self.group == group] < RIGHT))


def sharing_at(scale: float, degrees: float, shifts: int = 12, seed: int = 0) -> Sharing:
    """What happens to a grid of cells at one scale and rotation, over random shifts within a cell."""
    generator = np.random.default_rng(seed)
    size_0 = CELLS_0 * COARSE_STRIDE
    turn = scale * np.exp(1j * np.deg2rad(degrees))
    homography = np.tile(np.eye(3), (shifts, 1, 1))
    homography[:, :2, :2] = [[turn.real, -turn.imag], [turn.imag, turn.real]]
    centre = homography[:, :2, :2] @ np.full(2, (size_0 - COARSE_STRIDE) / 2)
    homography[:, :2, 2] = SIZE_1 / 2 + COARSE_STRIDE * generator.random((shifts, 2)) - centre
    images = (torch.zeros(shifts, 1, side, side) for side in (size_0, SIZE_1))
    number = torch.arange(shifts)
    pairs = PairBatch(*images, torch.from_numpy(homography), torch.zeros(shifts, 2, 2, 2), number, number, number)
    truth = supervise(pairs)
    cells_1 = grid_size(SIZE_1, COARSE_STRIDE)
    counts = sharing(truth.points_1, (cells_1, cells_1))
    kept = (truth.cells_1 >= 0).float().mean()
    return Sharing(scale, degrees, float((counts > 1).float().mean()), float(kept), int(counts.max()))


@torch.inference_mode()
def judge(
    model: LoFTR, batches: Iterable[PairBatch], specimens: Sequence[str], threshold: float
) -> tuple[Judged, Judged]:
    """What a model makes of cells that share one: (cells of known truth, matches without the mutual check).

    Cells: all of image_0 that image_1 shows (not where it shows other content), refined around the cell on which their
    centre truly falls. Groups: alone on it; sharing it, kept by one-to-one truth; sharing it, left out.
    Matches: every cell's best partner above the threshold, refined. Groups: "mutual" where the partner's best is the
    cell itself, else "extra": its partner is another cell's.
    """
    cells, matches, first = [], [], 0
    for pairs in batches:
        truth, encoded = supervise(pairs), model.encode(*model.pyramids(pairs.images_0, pairs.images_1))
        log_confidence, shape = model.match_cells(encoded).log_confidence, tuple(encoded.coarse_1.shape[-2:])

        def refined(
            which: Tensor, partner: Tensor, group: np.ndarray, truth=truth, encoded=encoded, pairs=pairs, n=first
        ):
            batch, cells_0 = which.nonzero(as_tuple=True)
            chosen = CoarseMatches(batch, cells_0, partner[which], torch.ones(len(batch)))
            target = true_offset(chosen, truth.points_1, encoded.coarse_1.shape[-1])
            error = (model.refine(encoded, chosen).offset - target).norm(dim=1).numpy()
            names = np.array(specimens)[pairs.micrograph[batch].numpy()]
            return error, group[which.numpy()], batch.numpy() + n, names

        counts = sharing(truth.points_1, shape)
        nearest = nearest_cell(truth.points_1, *shape, COARSE_STRIDE)
        group = np.array(GROUPS)[torch.where(counts == 1, 0, torch.where(truth.cells_1 >= 0, 1, 2)).numpy()]
        cells.append(refined((counts > 0) & ~truth.unmatchable_0, nearest, group))
        best, partner = log_confidence.max(2)
        mutual = log_confidence.argmax(1).gather(1, partner) == torch.arange(partner.shape[1])
        matches.append(refined(best > np.log(threshold), partner, np.where(mutual.numpy(), "mutual", "extra")))
        first += len(pairs)
    return tuple(Judged(*(np.concatenate(column) for column in zip(*parts, strict=True))) for parts in (cells, matches))


def compare(judged: Judged) -> dict[str, tuple[float, float, float]]:
    """Median error (px) of cells, each with its 95 % interval over specimens: alone, shared, difference, left_out.

    difference: shared less alone within one pair, the median over pairs that have LEAST of both, so that a smaller
    scale, where more cells share, does not count as sharing. left_out: left out less kept, likewise. Raises
    ParameterError for too few pairs of either kind, or pairs of one specimen alone.
    """
    groups = {"alone": judged.group == "alone", "shared": judged.group != "alone"}
    sides = {"difference": ("shared", "alone"), "left_out": ("left out", "kept")}
    chosen = groups | {name: judged.group == name for name in GROUPS[1:]}
    numbers = np.unique(judged.pair)
    rows = []
    for number in numbers:
        here = judged.pair == number
        medians = {name: _median(judged.error[which & here], LEAST) for name, which in chosen.items()}
        rows.append([medians[more] - medians[less] for more, less in sides.values()])
    within = np.array(rows)
    if np.isnan(within).all(0).any():
        raise ParameterError(f"no pair has {LEAST} cells of each kind to compare; take more pairs")
    specimen = judged.specimen[np.unique(judged.pair, return_index=True)[1]]
    of_pair = np.searchsorted(numbers, judged.pair)
    members = [np.flatnonzero(of_pair == k) for k in range(len(numbers))]

    def statistics(index: np.ndarray) -> np.ndarray:
        cells = np.concatenate([members[k] for k in index])
        medians = [_median(judged.error[cells[which[cells]]]) for which in groups.values()]
        given = within[index]
        typical = [np.nan if np.isnan(column).all() else np.nanmedian(column) for column in given.T]
        return np.array([*medians, *typical])

    interval = bootstrap_interval(statistics, specimen, resamples=RESAMPLES)
    if interval is None:
        raise ParameterError("an interval needs pairs of two specimens or more; take more of them")
    whole = statistics(np.arange(len(numbers)))
    values = zip(whole.tolist(), interval[0].tolist(), interval[1].tolist(), strict=True)
    return dict(zip((*groups, *sides), values, strict=True))


def _median(values: np.ndarray, least: int = 1) -> float:
    return float(np.median(values)) if len(values) >= least else float("nan")
