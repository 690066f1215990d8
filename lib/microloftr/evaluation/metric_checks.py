"""The scores once more by other libraries, and scores broken on purpose that must be told apart.

Corner errors and precision by scikit-image's ProjectiveTransform, the area under the recall by SciPy's quadrature.
Notebook 09 shows it on live matches; tests/test_metrics_independent.py does it for every metric there is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation import metrics


@dataclass(frozen=True, eq=False)
class Judged:
    """A pair's estimate (3, 3) or None, its truth, the size (width, height) of image_0, and its matches (M, 2)."""

    estimate: np.ndarray | None
    truth: np.ndarray
    size_0: metrics.Size
    points_0: np.ndarray = field(repr=False)
    points_1: np.ndarray = field(repr=False)


def corner_error_elsewhere(pair: Judged) -> float:
    """Mean distance of the corners in px, infinity without an estimate; by scikit-image."""
    from skimage.transform import ProjectiveTransform

    if pair.estimate is None:
        return np.inf
    width, height = pair.size_0
    corners = [[x, y] for x in (0.0, width - 1.0) for y in (0.0, height - 1.0)]
    there = ProjectiveTransform(pair.truth)(corners)
    return float(ProjectiveTransform(pair.estimate).residuals(corners, there).mean())


def precision_elsewhere(pair: Judged, thresholds: Sequence[float]) -> np.ndarray:
    """Share of the matches within each threshold, 0 without any; by scikit-image."""
    from skimage.transform import ProjectiveTransform

    if not len(pair.points_0):
        return np.zeros(len(thresholds))
    error = ProjectiveTransform(pair.truth).residuals(pair.points_0, pair.points_1)
    return np.array([np.count_nonzero(error < threshold) / len(error) for threshold in thresholds])


def auc_elsewhere(errors: Sequence[float], threshold: float) -> float:
    """Area under the share of pairs below x, x from 0 to `threshold`, over it; by SciPy's adaptive quadrature."""
    from scipy import integrate

    below = sorted(error for error in errors if error < threshold)
    if not below:
        return 0.0
    share = np.arange(len(below) + 1) / len(errors)
    points = sorted(set(below))
    area, _ = integrate.quad(lambda x: np.interp(x, [0.0, *below], share), 0, threshold, points=points, limit=400)
    return area / threshold


def disagreement(pairs: Sequence[Judged], thresholds: Sequence[float]) -> dict[str, float]:
    """The largest difference of our corner errors (relative), AUC and precision from those of other libraries."""
    if not pairs:
        raise ParameterError("Scores are compared on one pair or more.")
    ours = np.array([metrics.corner_error(pair.estimate, pair.truth, pair.size_0) for pair in pairs])
    theirs = np.array([corner_error_elsewhere(pair) for pair in pairs])
    known = np.isfinite(theirs)
    apart = np.abs(ours[known] - theirs[known]) / np.maximum(theirs[known], 1e-9)
    auc = metrics.auc(ours.tolist(), thresholds) - [auc_elsewhere(theirs, t) for t in thresholds]
    shares = [metrics.precision(p.points_0, p.points_1, p.truth, thresholds) for p in pairs]
    others = [precision_elsewhere(pair, thresholds) for pair in pairs]
    return {
        "corner error": float(apart.max(initial=0.0)) if np.array_equal(np.isfinite(ours), known) else np.inf,
        "AUC": float(np.abs(auc).max()),
        "precision": float(np.abs(np.mean(shares, axis=0) - np.mean(others, axis=0)).max()),
    }


_AUC, _PRECISION = metrics.auc, metrics.precision
FAULTS: dict[str, tuple[str, Callable[..., Any]]] = {  # as scores have been broken before: which function, and how
    "AUC: thresholds ignored": ("auc", lambda errors, thresholds: _AUC(errors, [5.0] * len(thresholds))),
    "AUC: failures dropped": ("auc", lambda errors, t: _AUC([e for e in errors if np.isfinite(e)] or [0.0], t)),
    "corners: w for w − 1": (
        "corners",
        lambda size: np.array([[0, 0], [size[0], 0], list(size), [0, size[1]]], dtype=float),
    ),
    "precision: threshold ignored": ("precision", lambda p, q, truth, t: _PRECISION(p, q, truth, [3.0] * len(t))),
}


@contextmanager
def broken(fault: str) -> Iterator[None]:
    """One of FAULTS planted in `metrics`, taken out again afterwards."""
    if fault not in FAULTS:
        raise ParameterError(f"There is no fault {fault!r}; there are {', '.join(FAULTS)}.")
    name, wrong = FAULTS[fault]
    right = getattr(metrics, name)
    setattr(metrics, name, wrong)
    try:
        yield
    finally:
        setattr(metrics, name, right)
