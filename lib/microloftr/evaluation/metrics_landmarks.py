"""Landmarks as the ANHIR challenge scores them (Borovec et al., IEEE TMI 2020), over a data set and between matchers.

TRE is the distance in px of image_1 (ANHIR's target) between a moved landmark of image_0 and its partner; rTRE is that
over the diagonal √(w² + h²) of image_1. A pair without a transform keeps its landmarks where they were.
"""

from collections.abc import Sequence

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.metrics import Size, distances


def relative_errors(estimated: np.ndarray | None, landmarks: np.ndarray, size_1: Size) -> np.ndarray:
    """rTRE (K,) of landmarks (K, 4) of x_0, y_0, x_1, y_1 after a homography; where they were, if there is none."""
    landmarks = np.asarray(landmarks, np.float64).reshape(-1, 4)
    moved = distances(np.eye(3) if estimated is None else estimated, landmarks[:, :2], landmarks[:, 2:])
    return moved / np.hypot(*size_1)


def over_pairs(errors: Sequence[np.ndarray]) -> dict[str, float]:
    """The challenge's averages of rTRE, from one array (K,) per pair.

    `AMrTRE`, `MMrTRE`: mean and median over pairs of each pair's median; `AMxrTRE`, `MMxrTRE`: of its largest.
    Raises ParameterError for no pairs.
    """
    if not len(errors) or not all(len(one) for one in errors):
        raise ParameterError("Averages over pairs need one pair or more, each with landmarks.")
    medians, largest = np.array([np.median(one) for one in errors]), np.array([np.max(one) for one in errors])
    return {
        "AMrTRE": float(medians.mean()),
        "MMrTRE": float(np.median(medians)),
        "AMxrTRE": float(largest.mean()),
        "MMxrTRE": float(np.median(largest)),
    }


def mean_ranks(medians: np.ndarray) -> np.ndarray:
    """ANHIR's main ranking (methods,): of median rTRE (methods, pairs) the rank of each method, averaged over pairs.

    The best has rank 1; methods that tie on a pair share the mean of their ranks.
    """
    medians = np.asarray(medians, np.float64)
    if medians.ndim != 2 or not medians.size or np.isnan(medians).any():
        raise ParameterError("Ranks need a table of median errors, methods by pairs, without NaN.")
    better = (medians[None] < medians[:, None]).sum(axis=1)  # of each method: how many others lie before it
    equal = (medians[None] == medians[:, None]).sum(axis=1)  # and how many beside it, itself among them
    return (better + (equal + 1) / 2).mean(axis=1)
