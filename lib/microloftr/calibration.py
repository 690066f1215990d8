"""A confidence that means a share: how well it does (reliability), and a monotone map that mends it (calibration).

A confidence is calibrated where of the matches that say 0.7 seven in ten are right. The map is fitted by isotonic
regression: pool adjacent violators (Ayer et al. 1955; for classifiers Zadrozny and Elkan, KDD 2002).

Nearly all matches of a good matcher are sure, and a pair that it knows has hundreds of them. Where every match weighed
alike, the few unsure ones, which are those that a user asks about, would count for nothing: every pair weighs alike.
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
SURE = 0.9  # below it groups are of fixed width, from it on of equal weight
WIDTH = 0.1  # of the groups below SURE
LEAST = 0.005  # a group of less than this share of the whole weight joins the next
GROUPS = 10  # of the matches from SURE on


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


def pair_weights(counts: list[int]) -> np.ndarray:
    """The weights (M,) of the matches of pairs that have so many: every pair with any weighs 1."""
    return np.concatenate([np.zeros(0), *(np.full(count, 1 / count) for count in counts if count)])


def fit_calibration(confidence: np.ndarray, correct: np.ndarray, weight: np.ndarray | None = None) -> Calibration:
    """The map fitted to matches (M,) of known truth: confidence in 0..1, correct bool, weight above 0 (None: alike).

    The shares of `groups`; adjacent ones whose shares fall are pooled, and the map is flat over them. From (0, 0) the
    line rises to the first group; beyond the last one it stays. ParameterError for no match or bad values.
    """
    confidence, correct, weight = _checked(confidence, correct, weight)
    parts = groups(confidence, weight)
    means = np.array(
        [(*(np.average(of[part], weights=weight[part]) for of in (confidence, correct)), weight[part].sum())
         for part in parts]
    )  # fmt: skip
    knots = [(0.0, 0.0)]
    for block in pool_adjacent_violators(means[:, 1], means[:, 2]):
        share = float(np.average(means[block, 1], weights=means[block, 2]))
        for x in dict.fromkeys((float(means[block, 0][0]), float(means[block, 0][-1]))):  # flat from group to group
            if knots[-1][0] + 1e-6 < x < 1 - 1e-6:
                knots.append((x, share))
            elif knots[-1][0] < 1 and x >= 1 - 1e-6:  # all of them are wholly sure
                knots.append((1.0, share))
    if knots[-1][0] < 1:
        knots.append((1.0, knots[-1][1]))
    return Calibration(*zip(*knots, strict=True))


def groups(confidence: np.ndarray, weight: np.ndarray) -> list[np.ndarray]:
    """Indices of the matches (M,), those of a confidence together, in order of confidence.

    Below SURE they are WIDTH wide, and too light ones join the next; from SURE on there are GROUPS of equal weight.
    What is too light at the end of either part joins the group before it. Nothing joins across SURE.
    """
    order = np.argsort(confidence, kind="stable")
    unsure, sure = order[confidence[order] < SURE], order[confidence[order] >= SURE]
    heaped = np.cumsum(weight[sure])
    numbers = (
        np.floor(confidence[unsure] / WIDTH + 1e-9),
        np.floor((heaped - weight[sure] / 2) / heaped[-1] * GROUPS) if len(sure) else heaped,
    )
    found = []
    for part, number in zip((unsure, sure), numbers, strict=True):
        found += _joined(np.split(part, np.flatnonzero(np.diff(number)) + 1), weight, LEAST * weight.sum())
    return found


def _joined(parts: list[np.ndarray], weight: np.ndarray, least: float) -> list[np.ndarray]:
    """Neighbours put together until each weighs at least so much, empty ones left out."""
    found: list[np.ndarray] = []
    for part in (part for part in parts if len(part)):
        if found and weight[found[-1]].sum() < least:
            found[-1] = np.concatenate([found[-1], part])
        else:
            found.append(part)
    if len(found) > 1 and weight[found[-1]].sum() < least:
        found[-2:] = [np.concatenate(found[-2:])]
    return found


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


def bin_sums(
    confidence: np.ndarray, correct: np.ndarray, weight: np.ndarray | None = None, bins: int = BINS
) -> np.ndarray:
    """(bins, 3): of each bin of equal width the weight of its matches (None: each 1), their summed confidence, and how
    many are right.
    """
    confidence, correct, weight = _checked(confidence, correct, weight, may_be_empty=True)
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    columns = (weight, weight * confidence, weight * correct)
    return np.stack([np.bincount(number, weights=column, minlength=bins) for column in columns], axis=-1)


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error (Naeini et al. 2015) of sums (..., bins, 3) from `bin_sums`, (...); NaN for no match.

    The mean distance between a bin's mean confidence and its share of right matches, by the weight of its matches. Of
    a part of the bins, `sums[..., :9, :]`, it is the error of the matches in these.
    """
    total = sums[..., 0].sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.abs(sums[..., 1] - sums[..., 2]).sum(axis=-1) / np.where(total > 0, total, np.nan)


def _checked(
    confidence: Any, correct: Any, weight: Any = None, may_be_empty: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    weight = np.ones_like(confidence) if weight is None else np.asarray(weight, np.float64)
    same = confidence.shape == correct.shape == weight.shape and confidence.ndim == 1
    if not same or not (may_be_empty or len(confidence)):
        raise ParameterError("Calibration needs one or more matches, each with a confidence and whether it is right.")
    if len(confidence) and not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ParameterError("Confidences must lie in 0..1.")
    if len(weight) and not (np.isfinite(weight).all() and weight.min() > 0):
        raise ParameterError("Weights of matches must be numbers above 0.")
    return confidence, correct, weight
