"""One pair through the network alone, and its points scored before refinement and after it.

No search over turns, no second look, no pixels followed: what the weights say of the two images as they are given.
"""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from microloftr.data.pairs import PairBatch
from microloftr.evaluation import metrics
from microloftr.evaluation.metrics_pose import pose_error, relative_pose
from microloftr.evaluation.predict import MATCH_CAP
from microloftr.evaluation.protocols import Pair
from microloftr.evaluation.score import transform_by, transform_error
from microloftr.evaluation.summary import CORRECT, PRECISION_THRESHOLDS, PairScore
from microloftr.matches import Matches
from microloftr.matching import Matcher
from microloftr.model.coarse_matching import select
from microloftr.model.loftr import LoFTR, to_points
from microloftr.model.presets import COARSE_STRIDE
from microloftr.model.trace import Encoded
from microloftr.search import frame, shrunk, unshrunk
from microloftr.training.supervision import supervise

COARSE, FINE, FINAL = "coarse", "fine", "final"
BESIDE = 1.5 * COARSE_STRIDE  # px on the larger axis: the truth lies in the matched cell or in one beside it
NETWORK_SIDE = 640  # larger images are shrunk to this


@dataclass(frozen=True)
class StageScore(PairScore):
    """What one stage reached on one pair, beside what every table tells (`PairScore`).

    cells: share of the cells with a true partner whose best partner is the true one (the network's alone, else NaN);
    exact, beside: share of the matches whose point lies in the true cell, in it or a neighbour; recall: share of the
    cells with a true partner that are among the matches, with the point in the true cell; mean_offset, median_offset:
    px from the truth, of the `near` matches whose coarse point is at most a cell and a half off (NaN without any);
    turns: quarters by which image_1 was turned; number: of the pair in its dataset; pose: error of the relative pose in
    degrees, infinite without one, NaN without cameras. Of a scene with depth only matches and pose are known.
    """

    cells: float = np.nan
    exact: float = 0.0
    beside: float = 0.0
    recall: float = 0.0
    mean_offset: float = np.nan
    median_offset: float = np.nan
    near: int = 0
    turns: int = 0
    number: int = 0
    pose: float = np.nan


@dataclass(frozen=True, eq=False)
class Points:
    """What a stage says of a pair: points (M, 2) in px as read, the surest first, and the seconds that it took.

    best: (L0,) the best cell of image_1 of every cell of image_0, above any threshold or not; None from strangers.
    cpu: seconds of this process alone, without what other programs took meanwhile.
    """

    points_0: np.ndarray = field(repr=False)
    points_1: np.ndarray = field(repr=False)
    seconds: float
    best: np.ndarray | None = field(default=None, repr=False)
    cpu: float = 0.0


class Network:
    """A model alone, with a threshold, a border in cells and the side to which larger images are shrunk."""

    def __init__(self, model: LoFTR, threshold: float | None = None, border: int = 0, side: int = NETWORK_SIDE) -> None:
        self.model, self.border, self.side = model.eval(), border, side
        self.threshold = model.config.threshold if threshold is None else threshold
        self.stages = (COARSE, FINE) if model.refinement is not None else (COARSE,)

    @torch.inference_mode()
    def __call__(self, pair: Pair) -> dict[str, Points]:
        """Both stages' points of one pair; the coarse stage's seconds are part of the fine one's."""
        device = next(self.model.parameters()).device
        (small_0, scale_0), (small_1, scale_1) = (shrunk(grey(x), self.side) for x in (pair.image_0, pair.image_1))
        images = [torch.from_numpy(np.ascontiguousarray(x))[None, None].to(device) for x in (small_0, small_1)]
        start = clocks()
        pyramid_0, pyramid_1 = self.model.pyramids(*images)
        maps = self.model.transformer(pyramid_0.eighth, pyramid_1.eighth)
        encoded = Encoded(pyramid_0, pyramid_1, *maps, None, None)
        log_confidence = self.model.match_cells(encoded).log_confidence
        shape_0, shape_1 = (tuple(x.shape[-2:]) for x in maps)
        found = select(log_confidence, shape_0, shape_1, self.threshold, self.border)
        taken, refined = [since(start)], None
        if FINE in self.stages:
            fine = (self.model.fine_features(*x) for x in zip(maps, (pyramid_0, pyramid_1), strict=True))
            refined = self.model.refine(Encoded(pyramid_0, pyramid_1, *maps, *fine), found)
            taken.append(since(start))
        matched = to_points(found, refined, shape_0[1], shape_1[1])
        order = torch.argsort(-matched.confidence, stable=True)[:MATCH_CAP]
        centre = self.model.config.pixel_centre
        points_0, coarse_1, fine_1 = (
            unshrunk(points[order].double().cpu().numpy() - centre, scale)
            for points, scale in (
                (matched.points_0, scale_0),
                (matched.coarse_points_1, scale_1),
                (matched.points_1, scale_1),
            )
        )
        best = log_confidence[0].argmax(1).cpu().numpy()
        ends = {COARSE: coarse_1, FINE: fine_1}
        return {
            stage: Points(points_0, ends[stage], wall, best, cpu)
            for stage, (wall, cpu) in zip(self.stages, taken, strict=True)
        }


class Stranger:
    """Any object with match(image_0, image_1): one column, its points as they are."""

    stages = (FINAL,)
    side = NETWORK_SIDE

    def __init__(self, matcher: Any) -> None:
        self.matcher = matcher

    def __call__(self, pair: Pair) -> dict[str, Points]:
        start = clocks()
        matches: Matches = self.matcher.match(pair.image_0, pair.image_1)
        wall, cpu = since(start)
        kept = matches.top(MATCH_CAP)
        return {FINAL: Points(kept.points_0, kept.points_1, wall, cpu=cpu)}


def clocks() -> tuple[float, float]:
    """Seconds on the wall and of this process."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Both since then."""
    wall, cpu = clocks()
    return wall - start[0], cpu - start[1]


def runner_of(matcher: Any) -> Network | Stranger:
    """How a model, a Matcher (its network, threshold and border) or a stranger is run."""
    if isinstance(matcher, LoFTR):
        return Network(matcher)
    if isinstance(matcher, Matcher):
        options = matcher.options
        return Network(matcher.model, options.threshold, options.border, options.network_side)
    return Stranger(matcher)


def grey(pixels: np.ndarray) -> np.ndarray:
    """Pixels (H, W), uint8 or float, as float32 in 0..1."""
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def true_cells(pair: Pair, side: int = NETWORK_SIDE) -> tuple[np.ndarray, tuple[int, int], np.ndarray, np.ndarray]:
    """The cell of image_1 that truly matches each of image_0 (L0,), −1 for none; both grids' widths; the scales."""
    (small_0, scale_0), (small_1, scale_1) = (shrunk(grey(x), side) for x in (pair.image_0, pair.image_1))
    homography = torch.from_numpy(frame(scale_1) @ pair.homography @ np.linalg.inv(frame(scale_0)))[None]
    zero, none = torch.zeros(1), torch.zeros(1, 2, 2, 2)
    images = (torch.empty(1, 1, *x.shape) for x in (small_0, small_1))
    truth = supervise(PairBatch(*images, homography, none, zero, zero, zero))
    widths = tuple(-(-x.shape[1] // COARSE_STRIDE) for x in (small_0, small_1))
    return truth.cells_1[0].numpy(), widths, scale_0, scale_1


def score_stages(
    name: str, pair: Pair, found: dict[str, Points], side: int, error: str = "corners", turns: int = 0, number: int = 0
) -> list[StageScore]:
    """A score for each stage of one pair."""
    cells_1, widths, scale_0, scale_1 = true_cells(pair, side)
    has_partner = cells_1 >= 0
    first = next(iter(found.values()))
    truth = metrics.apply_homography(pair.homography, first.points_0)
    off = np.abs((first.points_1 - np.where(np.isfinite(truth), truth, np.inf)) * scale_1)
    near = (off <= BESIDE).all(1)
    scores = []
    for stage, points in found.items():
        cell_0 = cell_of(points.points_0, scale_0)
        cell_1, true_1 = cell_of(points.points_1, scale_1), cell_of(truth, scale_1)
        apart = np.abs(cell_1 - true_1).max(1, initial=0.0)
        flat_0, flat_1 = (flat_index(cells, width) for cells, width in zip((cell_0, cell_1), widths, strict=True))
        inside = (flat_0 >= 0) & (flat_0 < len(cells_1))
        right = np.zeros(len(cells_1), dtype=bool)
        hit = inside.copy()
        hit[inside] = cells_1[flat_0[inside]] == flat_1[inside]
        right[flat_0[hit]] = True
        distance = metrics.distances(pair.homography, points.points_0, points.points_1)
        matrix, inliers = transform_by("magsac", points.points_0, points.points_1)
        judged = transform_error(matrix, pair, error)
        close = distance[near]
        best = np.nan
        if points.best is not None and has_partner.any():
            best = float((points.best[has_partner] == cells_1[has_partner]).mean())
        scores.append(
            StageScore(
                name,
                stage,
                pair.group,
                pair.source,
                pair.modality or "",
                pair.id,
                np.nan if pair.accuracy_px is None else pair.accuracy_px,
                len(points.points_0),
                int(inliers.sum()),
                judged,
                *metrics.precision(points.points_0, points.points_1, pair.homography, PRECISION_THRESHOLDS).tolist(),
                metrics.median_correct(points.points_0, points.points_1, pair.homography, CORRECT),
                points.seconds,
                cells=best,
                exact=float((apart == 0).mean()) if len(apart) else 0.0,
                beside=float((apart <= 1).mean()) if len(apart) else 0.0,
                recall=float(right[has_partner].mean()) if has_partner.any() else np.nan,
                mean_offset=float(close.mean()) if close.size else np.nan,
                median_offset=float(np.median(close)) if close.size else np.nan,
                near=int(near.sum()),
                turns=turns,
                number=number,
                pose=pose_of(pair, points),
            )
        )
    return scores if pair.planar else [pose_alone(score) for score in scores]


def pose_of(pair: Pair, points: Points) -> float:
    """Error of the relative pose in degrees by the published protocol (metrics_pose.py); NaN without cameras."""
    if pair.cameras is None:
        return np.nan
    camera_0, camera_1, *true = pair.cameras
    return pose_error(relative_pose(points.points_0, points.points_1, camera_0, camera_1), tuple(true))


def pose_alone(score: StageScore) -> StageScore:
    """What is known of a pair without a true homography: its matches, its pose and its time."""
    unknown = (
        "error_px", "precision_1", "precision_3", "precision_5", "median_correct_px", "cells", "exact", "beside",
        "recall", "mean_offset", "median_offset",
    )  # fmt: skip
    return replace(score, near=0, **dict.fromkeys(unknown, np.nan))


def cell_of(points: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Column and row (M, 2) of the cell in which points as read lie, on an image shrunk by `scale`; beyond it as well.

    Infinity stays infinite.
    """
    small = (np.asarray(points, dtype=float).reshape(-1, 2) + 0.5) * scale - 0.5
    return np.floor(small / COARSE_STRIDE + 0.5)


def flat_index(cells: np.ndarray, width: int) -> np.ndarray:
    """Flat index (M,) of columns and rows (M, 2); −1 outside the grid's columns or above it."""
    column, row = cells[:, 0], cells[:, 1]
    on = np.isfinite(cells).all(1) & (column >= 0) & (column < width) & (row >= 0)
    return np.where(on, np.where(on, row, 0) * width + np.where(on, column, 0), -1).astype(int)
