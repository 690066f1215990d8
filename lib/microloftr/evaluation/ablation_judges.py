"""How an ablation is judged on fixed validation pairs: the network alone by its right cells, a Matcher by its errors."""

from collections.abc import Callable

import numpy as np
import torch
from tqdm import tqdm

from microloftr.data.pairs import DISPLACEMENT_GRID, PairBatch
from microloftr.evaluation.metrics import corner_error
from microloftr.evaluation.predict import MATCH_CAP, pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs, Pair
from microloftr.evaluation.score import THRESHOLD
from microloftr.images import as_image
from microloftr.model.loftr import LoFTR
from microloftr.registration.families import find_homography
from microloftr.search import unturn
from microloftr.training.step import cell_accuracy
from microloftr.training.supervision import supervise

PAIRS = 27  # of each level: every micrograph once

Levels = dict[str, list[Pair]]


def validation_pairs(limit: int = PAIRS) -> Levels:
    """The first pairs of every level: the same micrographs in the same order at each."""
    return {level: list(MadePairs(level, "validation", limit, pairs_folder())) for level in LEVEL_NAMES}


def over_pairs(levels: Levels, judge: Callable[[Pair], float], words: str = "") -> dict[str, list[float]]:
    """judge(pair) of every pair, by level."""
    return {
        level: [judge(pair) for pair in tqdm(pairs, desc=f"{words} {level}", leave=False, disable=None)]
        for level, pairs in levels.items()
    }


def right_cells(model: LoFTR, pair: Pair, turned: bool = True) -> float:
    """Share of the truly matched cells whose best cell of image_1 is the true one.

    turned: image_1 is turned by the quarters that leave at most 45° of the true rotation, as a search would find them.
    """
    pixels_0, pixels_1 = (as_image(image).pixels for image in (pair.image_0, pair.image_1))
    turns = quarter_turns(pair.homography, pair.size_0) if turned else 0
    homography = np.linalg.inv(unturn(turns, pixels_1.shape)) @ pair.homography
    images = [torch.from_numpy(np.ascontiguousarray(p))[None, None] for p in (pixels_0, np.rot90(pixels_1, turns))]
    none = torch.zeros(1, dtype=torch.long)
    still = torch.zeros(1, 2, DISPLACEMENT_GRID, DISPLACEMENT_GRID)
    batch = PairBatch(*images, torch.from_numpy(homography)[None], still, none, none, torch.ones(1))
    with torch.inference_mode():
        scores = model.match_cells(model.encode(*model.pyramids(*images)))
        return float(cell_accuracy(scores.log_confidence, supervise(batch)))


def quarter_turns(homography: np.ndarray, size_0: tuple[int, int]) -> int:
    """How often np.rot90 turns image_1 so that at most 45° of the rotation at the middle of image_0 are left."""
    x, y = (np.array(size_0) - 1) / 2
    corners = np.array([[x, y, 1], [x + 1, y, 1], [x, y + 1, 1]]) @ homography.T
    middle, right, below = corners[:, :2] / corners[:, 2:]
    (a, c), (b, d) = right - middle, below - middle
    return round(np.degrees(np.arctan2(c - b, a + d)) / 90) % 4


def error_of(matches, pair: Pair) -> float:
    """Mean corner error (px) of the homography by `Matches`, as in every table; infinity where there is none."""
    kept = matches.top(MATCH_CAP)
    return error_by(kept.points_0, kept.points_1, pair)


def error_by(points_0: np.ndarray, points_1: np.ndarray, pair: Pair) -> float:
    """The same by matched points (M, 2)."""
    found, _ = find_homography(points_0, points_1, THRESHOLD)
    return corner_error(found, pair.homography, pair.size_0)
