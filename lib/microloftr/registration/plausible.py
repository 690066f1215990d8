"""Reasons not to believe a transform: its inliers could be chance, do not determine it, or it is no view of a specimen.

Each check returns None, or the reason as one sentence.
"""

import numpy as np
from scipy.special import gammaln

from microloftr.registration.families import FAMILIES, MAX_SCALE, move_points

EXTRA_INLIERS = 4  # inliers wanted beyond the minimal sample, which any transform fits
CELLS = 16  # cells along the longer side of an image when matches are counted as independent
LOG10_CHANCE = -4.0  # accept when at most one in 10 000 sets of unrelated matches would agree so well


def too_few(family: str, inliers: np.ndarray) -> str | None:
    """At least EXTRA_INLIERS beyond the minimal sample."""
    if not len(inliers):
        return "there are no matches."
    needed, found = FAMILIES[family].sample + EXTRA_INLIERS, int(inliers.sum())
    if found < needed:
        return f"only {found} of {len(inliers)} matches agree on {a_family(family)}; {needed} or more are needed."
    return None


def by_chance(
    family: str,
    points_0: np.ndarray,
    points_1: np.ndarray,
    inliers: np.ndarray,
    threshold: float,
    size_0: tuple[int, int],
    size_1: tuple[int, int],
) -> str | None:
    """The number of inliers must be more than unrelated matches would give."""
    chance = log10_chance(FAMILIES[family].sample, points_0, points_1, inliers, threshold, size_0, size_1)
    if chance > LOG10_CHANCE:
        found = f"{int(inliers.sum())} of {len(inliers)} matches"
        return f"{found} agree on {a_family(family)}, which chance alone could give."
    return None


def log10_chance(
    sample: int,
    points_0: np.ndarray,
    points_1: np.ndarray,
    inliers: np.ndarray,
    threshold: float,
    size_0: tuple[int, int],
    size_1: tuple[int, int],
) -> float:
    """log10 of the expected number of transforms with as many inliers if points_1 had nothing to do with points_0.

    The number of false alarms of a-contrario RANSAC (Moisan and Stival, IJCV 2004):
    (n − s) · C(n, k) · C(k, s) · p^(k − s) with n matches, k inliers, s matches in a minimal sample and p the
    probability that a random point falls within the threshold of a given one, π threshold² / area of image_1.
    Two changes make it hold for what matchers give:
    - neighbours err together, so n and k count cells of image_0 that hold matches and inliers, 16 cells along its
      longer side, and p grows by the mean number of matches in such a cell;
    - matches avoid empty background, so the area in p is that of the cells of image_1 that hold matches.
    """
    cells_0, _ = _cells(points_0, size_0)
    cells_1, area_1 = _cells(points_1, size_1)
    n, k = len(np.unique(cells_0)), len(np.unique(cells_0[inliers]))
    if k <= sample:
        return np.inf
    p = np.pi * threshold**2 / (len(np.unique(cells_1)) * area_1) * len(points_0) / n
    if p >= 1:
        return np.inf
    log_nfa = np.log(max(n - sample, 1)) + _log_choose(n, k) + _log_choose(k, sample) + (k - sample) * np.log(p)
    return float(log_nfa / np.log(10))


def undetermined(family: str, points_0: np.ndarray, inliers: np.ndarray, threshold: float) -> str | None:
    """Inliers at one spot do not fix an angle, inliers on one line do not fix an affine map or a homography."""
    if family == "translation":
        return None
    centred = points_0[inliers] - points_0[inliers].mean(axis=0)
    along = np.linalg.svd(centred, full_matrices=False)[2]
    across = np.abs(centred @ along[1] if family in ("affine", "homography") else np.linalg.norm(centred, axis=1))
    if np.count_nonzero(across > 2 * threshold) < FAMILIES[family].sample:
        where = "on one line" if family in ("affine", "homography") else "at one spot"
        return f"the matches that agree lie {where}, which does not determine {a_family(family)}."
    return None


def impossible(matrix: np.ndarray, size_0: tuple[int, int], size_1: tuple[int, int]) -> str | None:
    """No horizon inside either image, no mirror image, no scale beyond 1/8..8 at a corner of image_0."""
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        return "the transform squeezes the image to a line."
    if np.linalg.det(matrix) < 0:
        return "the transform mirrors the image; mirror one of the images first if the specimen was turned over."
    corners_0, corners_1 = corner_points(size_0), corner_points(size_1)
    back = move_points(corners_1, np.linalg.inv(matrix))
    if not (np.isfinite(move_points(corners_0, matrix)).all() and np.isfinite(back).all()):
        return "the transform folds the image: its horizon crosses one of the images."
    scales = np.linalg.svd(local_linear(corners_0, matrix), compute_uv=False)
    if scales.max() > MAX_SCALE or scales.min() < 1 / MAX_SCALE:
        return f"the transform scales by {scales.min():.3g} to {scales.max():.3g}; 1/8 to 8 is possible."
    return None


def corner_points(size: tuple[int, int]) -> np.ndarray:
    """The centres (4, 2) of the corner pixels of an image of (width, height)."""
    right, bottom = size[0] - 1.0, size[1] - 1.0
    return np.array([[0.0, 0.0], [right, 0.0], [right, bottom], [0.0, bottom]])


def local_linear(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The Jacobians (M, 2, 2) of the map at points (M, 2): how it turns and scales there."""
    depth = points @ matrix[2, :2] + matrix[2, 2]
    moved = move_points(points, matrix)
    return (matrix[:2, :2] - moved[:, :, None] * matrix[2, :2]) / depth[:, None, None]


def a_family(family: str) -> str:
    """The family with its article, for sentences."""
    return {"rigid": "a rigid transform", "affine": "an affine transform"}.get(family, f"a {family}")


def _cells(points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """The cell (M,) of each point in a grid of square cells, and the area of a cell in pixels."""
    side = max(size) / CELLS
    column, row = np.clip(np.floor((points + 0.5) / side), 0, CELLS - 1).astype(int).T
    return row * CELLS + column, side**2


def _log_choose(n: int, k: int) -> float:
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
