"""The families of transforms: what each may do, its least-squares fit, and the fit in the presence of wrong matches.

Points are (x, y) in pixels and every error is the distance in image_1 between the moved point of image_0 and its match.
"""

from dataclasses import dataclass

import cv2
import numpy as np

MAX_SCALE = 8.0  # two micrographs whose scales differ by more than this share too little structure to be matched
CONFIDENCE = 0.9999  # probability that at least one sample of a robust fit holds right matches only
MAX_SAMPLES = 5000
SCORED_MATCHES = 500  # samples are ranked on at most so many matches; the refinement uses all of them


@dataclass(frozen=True)
class Family:
    """sample: matches that determine it; parameters: its degrees of freedom."""

    sample: int
    parameters: int


FAMILIES = {
    "translation": Family(sample=1, parameters=2),
    "rigid": Family(sample=2, parameters=3),  # rotation and translation, in pixels
    "similarity": Family(sample=2, parameters=4),  # and one scale
    "affine": Family(sample=3, parameters=6),  # and two shears
    "homography": Family(sample=4, parameters=8),  # and perspective
}


def move_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., M, 2) moved by matrices (..., 3, 3); NaN for points on or behind the horizon."""
    moved = points @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]
    depth = np.where(moved[..., 2:] > 0, moved[..., 2:], np.nan)
    return moved[..., :2] / depth


def residuals(points_0: np.ndarray, points_1: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Distance (..., M) in pixels of image_1 between moved points and their matches; inf where a point has no image."""
    distance = np.linalg.norm(move_points(points_0, matrix) - points_1, axis=-1)
    return np.where(np.isfinite(distance), distance, np.inf)


def fit_family(
    family: str, points_0: np.ndarray, points_1: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Weighted least squares: matrices (..., 3, 3) that move points_0 (..., M, 2) nearest to points_1.

    Rigid and similarity are Umeyama's closed form (PAMI 1991) in complex numbers, which in the plane needs no singular
    values and never mirrors. Where the points do not determine the family the matrix is NaN. Not for homographies.
    """
    weights = np.ones(points_0.shape[:-1]) if weights is None else weights
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = weights / weights.sum(axis=-1, keepdims=True)
        mean_0 = np.einsum("...m,...md->...d", weights, points_0)
        mean_1 = np.einsum("...m,...md->...d", weights, points_1)
        centred_0, centred_1 = points_0 - mean_0[..., None, :], points_1 - mean_1[..., None, :]
        if family == "translation":
            linear = np.broadcast_to(np.eye(2), (*mean_0.shape[:-1], 2, 2))
        elif family in ("rigid", "similarity"):
            complex_0, complex_1 = (points[..., 0] + 1j * points[..., 1] for points in (centred_0, centred_1))
            turn = np.einsum("...m,...m->...", weights * complex_0.conj(), complex_1)
            spread = np.einsum("...m,...m->...", weights, np.abs(complex_0) ** 2)
            turn = turn / (spread if family == "similarity" else np.abs(turn))
            linear = np.stack([turn.real, -turn.imag, turn.imag, turn.real], axis=-1).reshape(*turn.shape, 2, 2)
        elif family == "affine":
            spread = np.einsum("...m,...mi,...mj->...ij", weights, centred_0, centred_0)
            mixed = np.einsum("...m,...mi,...mj->...ij", weights, centred_1, centred_0)
            a, b, d = spread[..., 0, 0], spread[..., 0, 1], spread[..., 1, 1]
            determinant = a * d - b * b
            determinant = np.where(determinant > 1e-12 * (a + d) ** 2, determinant, np.nan)
            adjugate = np.stack([d, -b, -b, a], axis=-1).reshape(*a.shape, 2, 2)
            linear = mixed @ (adjugate / determinant[..., None, None])
        else:
            raise ValueError(f"no closed form for {family!r}")
    matrix = np.zeros((*linear.shape[:-2], 3, 3))
    matrix[..., :2, :2] = linear
    matrix[..., :2, 2] = mean_1 - np.einsum("...ij,...j->...i", linear, mean_0)
    matrix[..., 2, 2] = 1
    return matrix


def fit_robust(family: str, points_0: np.ndarray, points_1: np.ndarray, threshold: float) -> np.ndarray | None:
    """The matrix (3, 3) of a family in the presence of wrong matches (M, 2), or None; the same every time.

    Homographies by `find_homography`. The others: random minimal samples (fixed seed) ranked by MSAC (Torr and
    Zisserman 2000), then least squares with Tukey's weights, which fall to 0 at the threshold.
    """
    if family == "homography":
        return find_homography(points_0, points_1, threshold)[0]
    best = _best_sample(family, points_0, points_1, threshold)
    for width in (2.0, 1.5, *[1.0] * 20):
        if best is None:
            return None
        error = residuals(points_0, points_1, best) / (width * threshold)
        weights = np.clip(1 - error**2, 0, None) ** 2
        if np.count_nonzero(weights) < FAMILIES[family].sample:
            return None
        refined = fit_family(family, points_0, points_1, weights)
        if not np.isfinite(refined).all():
            return None
        settled = width == 1 and np.allclose(refined, best, rtol=0, atol=1e-12)
        best = refined
        if settled:
            break
    return best


def _best_sample(family: str, points_0: np.ndarray, points_1: np.ndarray, threshold: float) -> np.ndarray | None:
    """The matrix of the minimal sample with the lowest MSAC cost; None when no sample gives a possible matrix."""
    number, sample = len(points_0), FAMILIES[family].sample
    if number < sample:
        return None
    generator = np.random.default_rng(0)
    scored = generator.permutation(number)[:SCORED_MATCHES]
    best, best_cost, drawn, needed = None, np.inf, 0, float(MAX_SAMPLES)
    while drawn < min(needed, MAX_SAMPLES):
        batch = min(max(250, drawn), 1000)
        index = generator.integers(number, size=(batch, sample))  # a match drawn twice gives NaN, which never wins
        drawn += len(index)
        matrices = fit_family(family, points_0[index], points_1[index])
        area = matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]
        matrices = matrices[(area > MAX_SCALE**-2) & (area < MAX_SCALE**2)]  # neither NaN nor mirrored
        if not len(matrices):
            continue
        error = residuals(points_0[scored], points_1[scored], matrices) / threshold
        cost = np.minimum(error**2, 1).sum(axis=1)
        winner = int(cost.argmin())
        if cost[winner] < best_cost:
            best, best_cost = matrices[winner], cost[winner]
            right = np.mean(error[winner] < 1) ** sample
            needed = np.log(1 - CONFIDENCE) / np.log1p(-min(right, 1 - 1e-9)) if right > 0 else np.inf
    return best


def find_homography(
    points_0: np.ndarray, points_1: np.ndarray, threshold: float = 2.0
) -> tuple[np.ndarray | None, np.ndarray]:
    """The one robust homography of the project: every matcher's scores use it, at 2 px.

    points_0, points_1 (M, 2), any float type; threshold in pixels of image_1. Returns the matrix (3, 3) float64 with
    [2, 2] = 1, or None, and inliers (M,) bool. MAGSAC (Barath, Noskova, Matas, CVPR 2019) as OpenCV has it, with its
    settings of USAC_MAGSAC but up to 100 000 samples and a seed of our own, so that every call gives the same.
    """
    points_0, points_1 = np.asarray(points_0, dtype=np.float64), np.asarray(points_1, dtype=np.float64)
    nothing = None, np.zeros(len(points_0), dtype=bool)
    if len(points_0) < FAMILIES["homography"].sample:
        return nothing
    settings = cv2.UsacParams()
    settings.threshold = threshold
    settings.confidence = CONFIDENCE
    settings.maxIterations = 100_000
    settings.sampler = cv2.SAMPLING_UNIFORM
    settings.score = cv2.SCORE_METHOD_MAGSAC
    settings.loMethod = cv2.LOCAL_OPTIM_SIGMA
    settings.loSampleSize = 75
    settings.loIterations = 15
    settings.final_polisher = cv2.MAGSAC
    settings.final_polisher_iterations = 3
    settings.isParallel = False
    settings.randomGeneratorState = 7
    matrix, mask = cv2.findHomography(points_0, points_1, settings)
    if matrix is None or not np.isfinite(matrix).all() or abs(matrix[2, 2]) < 1e-12:
        return nothing
    return matrix / matrix[2, 2], mask.ravel().astype(bool)
