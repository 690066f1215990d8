"""The scores: pure functions over points (x, y), 3×3 homographies and sizes (width, height); pixel centres at integers.

A homography takes points of image_0 to image_1. Errors are pixels of image_1. A pair without a transform has the error
infinity and stays in every average: dropping failures is the commonest way to flatter a matcher.
"""

from collections.abc import Callable, Sequence

import numpy as np

from microloftr.errors import ParameterError

Size = tuple[int, int]


def apply_homography(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (K, 2) of image_0 moved to image_1, (K, 2); infinity for those beyond the horizon from most of the others.

    Only points on both sides of it are implausible: a homography fitted to a thin strip of overlap may well have its
    horizon elsewhere in the image.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    homography = np.asarray(homography, dtype=np.float64)
    mapped = points @ homography[:, :2].T + homography[:, 2]
    depth = mapped[:, 2] * (np.sign(np.median(mapped[:, 2])) if len(mapped) else 1.0)
    with np.errstate(all="ignore"):
        moved = mapped[:, :2] / mapped[:, 2:]
    return np.where((depth > 0)[:, None] & np.isfinite(moved), moved, np.inf)


def distances(homography: np.ndarray, points_0: np.ndarray, points_1: np.ndarray) -> np.ndarray:
    """Distance (K,) in px of image_1 between the moved points_0 (K, 2) and points_1 (K, 2)."""
    points_1 = np.asarray(points_1, dtype=np.float64).reshape(-1, 2)
    moved = apply_homography(homography, points_0)
    difference = np.where(np.isfinite(moved), moved - np.where(np.isfinite(points_1), points_1, 0.0), np.inf)
    return np.hypot(difference[:, 0], difference[:, 1])


def corners(size: Size) -> np.ndarray:
    """Centres of the four corner pixels (4, 2): (0, 0), (w − 1, 0), (w − 1, h − 1), (0, h − 1)."""
    width, height = size
    return np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float64)


def corner_error(estimated: np.ndarray | None, true: np.ndarray, size: Size) -> float:
    """Mean distance of the four corners of image_0 of `size`, moved by both homographies (DeTone et al. 2016).

    Pixels of image_1. Infinity where there is no estimate, or where its horizon crosses the image.
    """
    return _mean_error(estimated, true, corners(size))


def overlap_points(true: np.ndarray, size_0: Size, size_1: Size, steps: int = 64) -> np.ndarray:
    """Points (K, 2) of a grid of steps × steps over image_0 that image_1 shows, after the true homography.

    Raises ParameterError where the two images share nothing.
    """
    x, y = (np.linspace(0, side - 1, steps) for side in size_0)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    moved = apply_homography(true, grid)
    inside = ((moved >= -0.5) & (moved <= np.array(size_1) - 0.5)).all(axis=1)
    if not inside.any():
        raise ParameterError("The true homography gives the two images no overlap, so no error over it can be taken.")
    return grid[inside]


def overlap_error(estimated: np.ndarray | None, true: np.ndarray, size_0: Size, size_1: Size) -> float:
    """Mean distance over the points of image_0 that image_1 shows: what counts where little overlaps.

    Pixels of image_1. Infinity where there is no estimate.
    """
    return _mean_error(estimated, true, overlap_points(true, size_0, size_1))


def _mean_error(estimated: np.ndarray | None, true: np.ndarray, points: np.ndarray) -> float:
    if estimated is None:
        return float("inf")
    error = float(np.mean(distances(estimated, points, apply_homography(true, points))))
    return error if np.isfinite(error) else float("inf")


def auc(errors: Sequence[float], thresholds: Sequence[float]) -> np.ndarray:
    """Area under the recall curve up to each threshold, divided by it: (len(thresholds),) in 0..1.

    The convention of LoFTR's published figures (utils/metrics.py, `error_auc`), with the thresholds honoured: errors
    are sorted behind a leading 0, recall rises linearly between them from 0 to 1, the curve is cut at the last error
    below the threshold and its recall held up to it. Infinite errors (failures) count in the denominator.
    Raises ParameterError for no errors, or NaN.
    """
    ordered = np.sort(np.asarray(errors, dtype=np.float64))
    if ordered.size == 0 or np.isnan(ordered).any():
        raise ParameterError("AUC needs at least one error, and every error a number or infinity, not NaN.")
    ordered = np.concatenate([[0.0], ordered])
    recall = np.linspace(0.0, 1.0, ordered.size)
    areas = []
    for threshold in thresholds:
        if not threshold > 0:
            raise ParameterError(f"AUC needs thresholds above 0 px, not {threshold}.")
        last = max(int(np.searchsorted(ordered, threshold)), 1)
        x = np.append(ordered[:last], threshold)
        y = np.append(recall[:last], recall[last - 1])
        areas.append(np.trapezoid(y, x) / threshold)
    return np.array(areas)


def failure_rate(errors: Sequence[float], threshold: float = 10.0) -> float:
    """Share of pairs whose error is above `threshold` px; infinite errors are failures."""
    return float(np.mean(np.asarray(errors, dtype=np.float64) > threshold))


def precision(
    points_0: np.ndarray, points_1: np.ndarray, homography: np.ndarray, thresholds: Sequence[float]
) -> np.ndarray:
    """Share of the matches nearer to the truth than each threshold (px of image_1); 0 for a pair without matches."""
    errors = distances(homography, points_0, points_1)
    return np.array([np.mean(errors < threshold) if errors.size else 0.0 for threshold in thresholds])


def median_correct(points_0: np.ndarray, points_1: np.ndarray, homography: np.ndarray, threshold: float = 3.0) -> float:
    """Median distance (px) of the matches that lie within `threshold` of the truth; NaN where none does."""
    errors = distances(homography, points_0, points_1)
    correct = errors[errors < threshold]
    return float(np.median(correct)) if correct.size else float("nan")


def landmark_scores(estimated: np.ndarray | None, landmarks: np.ndarray, size_1: Size) -> dict[str, float]:
    """Scores of one pair with landmarks (K, 4) of x_0, y_0, x_1, y_1, as in ANHIR (Borovec et al. 2020).

    `tre`: median distance of the landmarks after the transform, px; `rtre`: the same over the diagonal of image_1,
    `max_rtre` of the worst landmark; `initial`: median distance before it; `robustness`: share of the landmarks that
    came nearer. A pair without a transform keeps its landmarks where they were and has robustness 0.
    """
    landmarks = np.asarray(landmarks, dtype=np.float64).reshape(-1, 4)
    if len(landmarks) == 0:
        raise ParameterError("Landmark scores need at least one row of x0, y0, x1, y1.")
    before = distances(np.eye(3), landmarks[:, :2], landmarks[:, 2:])
    after = before if estimated is None else distances(estimated, landmarks[:, :2], landmarks[:, 2:])
    return {
        "tre": float(np.median(after)),
        "rtre": float(np.median(after) / np.hypot(*size_1)),
        "max_rtre": float(np.max(after) / np.hypot(*size_1)),
        "initial": float(np.median(before)),
        "robustness": float(np.mean(after < before)),
    }


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray | float],
    sources: Sequence[str],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Percentile interval (low, high) of `statistic(indices)`, drawing whole sources (specimens) with replacement.

    Pairs of one specimen succeed and fail together, so that drawing pairs would promise too much. None for fewer than
    two sources: nothing can be said then. NaN values of the statistic are left out of the percentiles.
    """
    names = sorted(set(sources))
    if len(names) < 2:
        return None
    sources = np.asarray(sources)
    members = [np.flatnonzero(sources == name) for name in names]
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(names), size=(resamples, len(names)))
    values = np.array([np.atleast_1d(statistic(np.concatenate([members[k] for k in draw]))) for draw in draws])
    tail = 50.0 * (1.0 - level)
    columns = [column[~np.isnan(column)] for column in values.T]
    limits = [
        np.percentile(column, [tail, 100.0 - tail], method="inverted_cdf") if column.size else [np.nan, np.nan]
        for column in columns
    ]
    low, high = np.transpose(limits)
    return low, high
