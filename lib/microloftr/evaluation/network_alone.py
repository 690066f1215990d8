"""What a network alone says of a pair: one look, no search, no pixels followed, nothing aligned.

image_1 is turned by the quarters that leave at most 45° of the true rotation, as a good search would: `micro` was never
taught larger ones. One look serves every rule of choosing matches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microloftr.data.fixed import split_atlas
from microloftr.evaluation.ablation_judges import quarter_turns
from microloftr.evaluation.metrics import corner_error, precision
from microloftr.evaluation.predict import pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs, Pair
from microloftr.evaluation.score import THRESHOLD
from microloftr.geometry import cell_points
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.loftr import LoFTR
from microloftr.model.presets import COARSE_STRIDE
from microloftr.registration.families import find_homography
from microloftr.search import unturn

NEAR = 3.0  # px: a match this near to the truth is right
Levels = dict[str, list[Pair]]


@dataclass(frozen=True, eq=False)
class Partners:
    """Every cell of image_0 and its best partner, L of them: points in px, confidence, whether it is the best of both.

    `edge`: how many cells lie between the match and the nearest edge of either image.
    """

    points_0: np.ndarray
    coarse_1: np.ndarray
    points_1: np.ndarray
    confidence: np.ndarray
    mutual: np.ndarray
    edge: np.ndarray


@dataclass(frozen=True)
class Rule:
    """Which partners count as matches. border in cells; one_to_one: only those that are each other's best."""

    words: str
    threshold: float
    border: int = 0
    one_to_one: bool = True
    refined: bool = True

    def mask(self, confidence: Any, mutual: Any, edge: Any) -> Any:
        """Which partners (L,) count, of arrays or tensors."""
        which = (confidence > self.threshold) & (edge >= self.border)
        return which & mutual if self.one_to_one else which

    def chosen(self, partners: Partners) -> np.ndarray:
        """Numbers of the matches, the surest first."""
        index = np.flatnonzero(self.mask(partners.confidence, partners.mutual, partners.edge))
        return index[np.argsort(-partners.confidence[index], kind="stable")]


def fixed_levels(count: int) -> Levels:
    """The first `count` fixed validation pairs of every level, straightened; the same micrographs at each level."""
    every = {level: MadePairs(level, "validation", store=pairs_folder()) for level in LEVEL_NAMES}
    return {level: [straightened(pairs[k]) for k in range(count)] for level, pairs in every.items()}


def most_pairs() -> int:
    """Fixed pairs of a level that show every validation micrograph once."""
    return len(split_atlas("validation"))


def straightened(pair: Pair) -> Pair:
    """The pair with image_1 turned by quarters, so that at most 45° of the true rotation are left."""
    turns = quarter_turns(pair.homography, pair.size_0)
    image = np.ascontiguousarray(np.rot90(pair.image_1, turns))
    homography = np.linalg.inv(unturn(turns, pair.image_1.shape)) @ pair.homography
    return replace(pair, image_1=image, homography=homography, size_1=image.shape[::-1])


@torch.inference_mode()
def looked(models: Mapping[str, LoFTR], pair: Pair, only: Rule | None = None) -> dict[str, Partners]:
    """Partners by each of `models`, which differ in their fine stage alone: the coarse part is looked through once.

    only: the partners that this rule chooses, where no other one will be asked for; the rest is not refined.
    """
    first = next(iter(models.values()))
    pyramids = first.pyramids(*(_tensor(image) for image in (pair.image_0, pair.image_1)))
    coarse = first.transformer(*(pyramid.eighth for pyramid in pyramids))
    (height_0, width_0), (height_1, width_1) = (one.shape[-2:] for one in coarse)
    log_confidence = first.coarse_matching(*coarse).log_confidence[0]
    best, cells_1 = log_confidence.max(1)
    cells_0, nearest_0 = torch.arange(len(best)), log_confidence.argmax(0)
    confidence, mutual = best.exp(), nearest_0[cells_1] == cells_0
    edge = torch.minimum(_edge(cells_0, height_0, width_0), _edge(cells_1, height_1, width_1))
    if only is not None:
        kept = only.mask(confidence, mutual, edge)
        cells_0, cells_1, confidence, mutual, edge = (x[kept] for x in (cells_0, cells_1, confidence, mutual, edge))
    matches = CoarseMatches(torch.zeros_like(cells_0), cells_0, cells_1, confidence)
    coarse_1 = cell_points(cells_1, width_1, COARSE_STRIDE)
    points_0 = cell_points(cells_0, width_0, COARSE_STRIDE)
    found = {}
    for key, model in models.items():
        refined = coarse_1
        if model.refinement is not None:
            fine = (model.fine_features(*both) for both in zip(coarse, pyramids, strict=True))
            refined = coarse_1 + model.refinement(*fine, *coarse, matches).offset
        tensors = points_0, coarse_1, refined, confidence, mutual, edge
        arrays = (tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy() for tensor in tensors)
        found[key] = Partners(*arrays)
    return found


def judged(partners: Partners, rule: Rule, pair: Pair) -> dict[str, float]:
    """`error` (px, of the corners, by MAGSAC; infinite without a transform), `precision` at 3 px and `matches`."""
    index = rule.chosen(partners)
    points_0, points_1 = partners.points_0[index], (partners.points_1 if rule.refined else partners.coarse_1)[index]
    found, _ = find_homography(points_0, points_1, THRESHOLD)
    return {
        "error": corner_error(found, pair.homography, pair.size_0),
        "precision": float(precision(points_0, points_1, pair.homography, [NEAR])[0]),
        "matches": float(len(index)),
    }


def by_level(rows: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> dict[str, dict[str, Any]]:
    """{level: [{key: {name: value}} of each pair]} → {key: {name: {level: [values of all pairs]}}}; None: infinity."""
    one = next(iter(rows.values()))[0]
    return {
        key: {name: {level: [_plain(row[key][name]) for row in rows_of] for level, rows_of in rows.items()}
              for name in values}
        for key, values in one.items()
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _tensor(image: np.ndarray) -> Tensor:
    image = np.asarray(image, np.float32) / (255 if image.dtype == np.uint8 else 1)
    return torch.from_numpy(image)[None, None]


def _edge(cells: Tensor, height: int, width: int) -> Tensor:
    row, column = cells // width, cells % width
    return torch.stack((row, column, height - 1 - row, width - 1 - column)).amin(0)
