"""A confidence that means a share: how well it does (reliability), and a monotone map that mends it (calibration).

A confidence is calibrated where of the matches that say 0.7 seven in ten are right. The map is fitted by isotonic
regression: pool adjacent violators (Ayer et al. 1955; for classifiers Zadrozny and Elkan, KDD 2002).
"""

import os
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.files import write_json

BINS = 10  # of a reliability diagram, equally wide
GROUPS = 25  # of equally many matches, from which a map is fitted


@dataclass(frozen=True)
class Calibration:
    """A map from a confidence to the share of right matches: straight lines between knots, x and y rising from 0 to 1.

    Raises ParameterError where the knots are no such map.
    """

    knots_x: tuple[float, ...]
    knots_y: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            x, y = (np.array(knots, dtype=np.float64) for knots in (self.knots_x, self.knots_y))
            good = x.shape == y.shape and x.ndim == 1 and len(x) >= 2 and (x[0], x[-1]) == (0, 1)
            good = good and bool((np.diff(x) > 0).all() and (np.diff(y) >= 0).all() and y[0] >= 0 and y[-1] <= 1)
        except (TypeError, ValueError):
            good = False
        if not good:
            raise ParameterError("A calibration needs knots: x that rise from 0 to 1, and y in 0..1 that never fall.")
        object.__setattr__(self, "knots_x", tuple(x.tolist()))
        object.__setattr__(self, "knots_y", tuple(y.tolist()))

    def apply(self, confidence: np.ndarray) -> np.ndarray:
        """Confidences (M,) in 0..1 as shares of right matches (M,), their order kept."""
        return np.interp(confidence, self.knots_x, self.knots_y)

    def save(self, path: str | os.PathLike) -> None:
        """Write the knots as JSON, atomically."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Calibration":
        """Read what `save` wrote; ParameterError where it is missing or something else."""
        try:
            values = loads(Path(path).read_text(encoding="utf-8"))
            return cls(values["knots_x"], values["knots_y"])
        except (OSError, JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ParameterError(f"{path} is no calibration ({error.__class__.__name__}).") from error


def shipped_calibration(name: str) -> Calibration | None:
    """The map that comes with shipped weights, None where there is none."""
    with as_file(files("microloftr") / "weights" / f"{name}.calibration.json") as path:
        return Calibration.load(path) if path.is_file() else None


def fit_calibration(confidence: np.ndarray, correct: np.ndarray, groups: int = GROUPS) -> Calibration:
    """The map fitted to matches (M,) of known truth: confidence in 0..1, correct bool.

    The matches, in order of confidence, in groups of equally many; adjacent groups whose shares fall are pooled. From
    (0, 0) the line rises to the first group; beyond the last one it stays. ParameterError for no match or bad values.
    """
    confidence, correct = _checked(confidence, correct)
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, groups) if len(part)]
    means = np.array([(confidence[part].mean(), correct[part].mean(), len(part)) for part in parts])
    blocks = pool_adjacent_violators(means[:, 1], means[:, 2])
    knots = [(0.0, 0.0)]
    for block in blocks:
        x, y = np.average(means[block, :2], axis=0, weights=means[block, 2])
        if knots[-1][0] + 1e-6 < x < 1 - 1e-6:
            knots.append((float(x), float(y)))
        elif x >= 1 - 1e-6:  # all of them are wholly sure
            knots.append((1.0, float(y)))
    if knots[-1][0] < 1:
        knots.append((1.0, knots[-1][1]))
    return Calibration(*zip(*knots, strict=True))


def pool_adjacent_violators(values: np.ndarray, weights: np.ndarray) -> list[slice]:
    """The blocks of `values` (K,), in order, whose weighted means rise strictly: the isotonic regression."""
    blocks: list[tuple[int, int, float, float]] = []  # start, stop, mean, weight
    for k, (value, weight) in enumerate(zip(values.tolist(), weights.tolist(), strict=True)):
        blocks.append((k, k + 1, value, weight))
        while len(blocks) > 1 and blocks[-2][2] >= blocks[-1][2]:
            (start, _, mean_0, weight_0), (_, stop, mean_1, weight_1) = blocks[-2:]
            weight = weight_0 + weight_1
            blocks[-2:] = [(start, stop, (mean_0 * weight_0 + mean_1 * weight_1) / weight, weight)]
    return [slice(start, stop) for start, stop, _, _ in blocks]


def bin_sums(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(bins, 3): of each bin of equal width its number of matches, their summed confidence, and how many are right."""
    confidence, correct = _checked(confidence, correct, may_be_empty=True)
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    columns = (np.ones(len(confidence)), confidence, correct)
    return np.stack([np.bincount(number, weights=column, minlength=bins) for column in columns], axis=-1)


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error (Naeini et al. 2015) of sums (..., bins, 3) from `bin_sums`, (...); NaN for no match.

    The mean distance between a bin's mean confidence and its share of right matches, weighted by its matches.
    """
    total = sums[..., 0].sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.abs(sums[..., 1] - sums[..., 2]).sum(axis=-1) / np.where(total > 0, total, np.nan)


def _checked(confidence: Any, correct: Any, may_be_empty: bool = False) -> tuple[np.ndarray, np.ndarray]:
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if confidence.shape != correct.shape or confidence.ndim != 1 or not (may_be_empty or len(confidence)):
        raise ParameterError("Calibration needs one or more matches, each with a confidence and whether it is right.")
    if len(confidence) and not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ParameterError("Confidences must lie in 0..1.")
    return confidence, correct
