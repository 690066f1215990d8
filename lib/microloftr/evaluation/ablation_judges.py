"""How an ablation is judged on validation: the network alone by its right cells, a Matcher by its errors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from microloftr.data.fixed import split_atlas
from microloftr.data.levels import LEVELS
from microloftr.data.pairs import PairBatch, make_pairs
from microloftr.evaluation.metrics import corner_error
from microloftr.evaluation.predict import MATCH_CAP, pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs, Pair
from microloftr.evaluation.score import THRESHOLD
from microloftr.matches import Matches
from microloftr.model.loftr import LoFTR
from microloftr.registration.families import find_homography
from microloftr.search import unturn
from microloftr.training.supervision import supervise
from microloftr.training.validation import VALIDATION_SEED

CROP = 128  # pixels, as in the training
TWICE = 2  # crops of every micrograph and level for the network alone

Levels = dict[str, list[Pair]]


def validation_pairs(count: int) -> Levels:
    """`count` fixed pairs of every level, of every second micrograph first: the same micrographs at each level."""
    order = np.argsort(np.arange(len(split_atlas("validation"))) % 2, kind="stable")[:count]
    every = {level: MadePairs(level, "validation", store=pairs_folder()) for level in LEVEL_NAMES}
    return {level: [pairs[k] for k in np.sort(order).tolist()] for level, pairs in every.items()}


def over_pairs(levels: Levels, judge: Callable[[Pair], Any], words: str) -> dict[str, list[Any]]:
    """judge(pair) of every pair, by level."""
    return {
        level: [judge(pair) for pair in tqdm(pairs, desc=f"{words}, {level}", leave=False, disable=None)]
        for level, pairs in levels.items()
    }


def error_of(matches: Matches, pair: Pair) -> float:
    """Mean corner error (px) of the homography by matches, as in every table; infinity where there is none."""
    kept = matches.top(MATCH_CAP)
    return error_by(kept.points_0, kept.points_1, pair)


def error_by(points_0: np.ndarray, points_1: np.ndarray, pair: Pair) -> float:
    """The same by matched points (M, 2)."""
    found, _ = find_homography(points_0, points_1, THRESHOLD)
    return corner_error(found, pair.homography, pair.size_0)


def cell_sources() -> list[str]:
    """The specimens of the pairs that `right_cells` looks at, in their order, the same at every level."""
    return list(split_atlas("validation").specimens) * TWICE


def right_cells(model: LoFTR, turned: bool = True) -> dict[str, list[float]]:
    """By level, of each pair the share of the truly matched cells whose best cell of image_1 is the true one.

    turned: image_1 is turned by the quarters that leave at most 45° of the true rotation, as a good search would.
    """
    atlas, shares = split_atlas("validation"), {}
    for level in LEVELS:
        shares[level] = []
        for first in range(0, TWICE * len(atlas), len(atlas)):
            batch = make_pairs(atlas, level, VALIDATION_SEED, np.arange(first, first + len(atlas)), CROP)
            shares[level] += cells_right(model, turned_back(batch) if turned else batch)
    return shares


def cells_right(model: LoFTR, batch: PairBatch) -> list[float]:
    """The share of right cells of each pair of a batch; 0 where no cell truly matches."""
    with torch.inference_mode():
        scores = model.match_cells(model.encode(*model.pyramids(batch.images_0, batch.images_1)))
    true = supervise(batch).cells_1
    right = (scores.log_confidence.argmax(2) == true) & (true >= 0)
    return (right.sum(1) / (true >= 0).sum(1).clamp(min=1)).tolist()


def turned_back(batch: PairBatch) -> PairBatch:
    """The pairs of a level with every image_1 turned by quarters so that at most 45° are left; nothing is resampled.

    For pairs without local displacement, as the levels' are.
    """
    images, homographies = [], []
    height, width = batch.images_1.shape[-2:]
    for image, homography in zip(batch.images_1, batch.homography.numpy(), strict=True):
        turns = quarter_turns(homography, (width, height))
        images.append(torch.rot90(image, turns, (1, 2)))
        homographies.append(np.linalg.inv(unturn(turns, (height, width))) @ homography)
    return replace(batch, images_1=torch.stack(images), homography=torch.from_numpy(np.stack(homographies)))


def quarter_turns(homography: np.ndarray, size_0: tuple[int, int]) -> int:
    """How often np.rot90 turns image_1 so that at most 45° of the rotation at the middle of image_0 are left."""
    x, y = (np.array(size_0) - 1) / 2
    around = np.array([[x, y, 1], [x + 1, y, 1], [x, y + 1, 1]]) @ homography.T
    middle, right, below = around[:, :2] / around[:, 2:]
    (a, c), (b, d) = right - middle, below - middle
    return round(np.degrees(np.arctan2(c - b, a + d)) / 90) % 4
