"""Whether a transform is given, and whether it is right: what a user of a matcher meets.

On matching pairs a transform should be given and lie near the truth; on pairs that show nothing in common it should
not be given. The transform is the one that users get, `matches.estimate("auto")` with its defaults. Made pairs are
judged by their corners, real ones over the overlap, and only where their truth is good enough to tell.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from microloftr.evaluation.metrics import bootstrap_interval, corner_error, overlap_error
from microloftr.evaluation.predictions import Predictions
from microloftr.evaluation.protocols import Pair
from microloftr.evaluation.summary import FAILURE, PHOTOGRAPHS, RESAMPLES, SEED
from microloftr.matches import Matches

RIGHT = 3.0  # px of the mean error


@dataclass(frozen=True)
class Verdict:
    """One matcher on one pair: the family of the transform that was given (None: none), and its mean error."""

    id: str
    level: str
    source: str
    family: str | None
    error_px: float


def verdicts(predictions: Predictions, pairs: Iterable[Pair], error: str = "corners") -> list[Verdict]:
    """What the user is told about each pair; error_px, of the corners or over the overlap, is infinite without a
    transform, NaN without a truth, or with one that is not good to half of RIGHT.
    """
    number_of = {name: number for number, name in enumerate(predictions.ids)}
    found = []
    for pair in pairs:
        number = number_of[pair.id]
        points = predictions.points(number)
        matches = Matches(*points, np.clip(predictions.confidences(number), 0, 1), pair.size_0, pair.size_1)
        transform = matches.estimate("auto")
        family, matrix = (None, None) if transform is None else (transform.family, transform.matrix)
        found.append(Verdict(pair.id, pair.group, pair.source, family, _error(matrix, pair, error)))
    return found


def _error(matrix: np.ndarray | None, pair: Pair, error: str) -> float:
    if not np.isfinite(pair.homography).all() or pair.accuracy_px is None or not pair.accuracy_px <= RIGHT / 2:
        return np.nan
    if error == "corners":
        return corner_error(matrix, pair.homography, pair.size_0)
    return overlap_error(matrix, pair.homography, pair.size_0, pair.size_1)


def shares(found: list[Verdict]) -> dict[str, Any]:
    """n; the share of pairs with a transform (`given`), with one to 3 px (`right`) and beyond 10 px (`wrong`), each
    with its 95 % interval, drawn by source; over the pairs whose truth is known, where there are any. Else there is no
    right and no wrong.
    """
    known = [verdict for verdict in found if not np.isnan(verdict.error_px)]
    found = known or found
    given = np.array([verdict.family is not None for verdict in found], dtype=float)
    columns = {"given": given}
    if known:
        errors = np.array([verdict.error_px for verdict in found])
        columns |= {"right": (errors <= RIGHT).astype(float), "wrong": given * (errors > FAILURE)}
    table = np.stack(list(columns.values()), axis=-1)
    limits = bootstrap_interval(
        lambda index: table[index].mean(axis=0), [verdict.source for verdict in found], RESAMPLES, seed=SEED
    )
    told: dict[str, Any] = {"n": len(found)}
    for k, (name, values) in enumerate(columns.items()):
        low, high = (None, None) if limits is None else (round(float(limits[side][k]), 4) for side in (0, 1))
        told |= {name: round(float(values.mean()), 4), f"{name}_low": low, f"{name}_high": high}
    return told


def shares_of_groups(found: list[Verdict]) -> dict[str, dict[str, Any]]:
    """`shares` of each group of real pairs, and of all micrographs together as `all`; `of`: with those of coarse
    truth.
    """
    groups: dict[str, list[Verdict]] = {}
    for verdict in found:
        groups.setdefault(verdict.level, []).append(verdict)
    groups["all"] = [verdict for verdict in found if verdict.level != PHOTOGRAPHS]
    return {group: {"of": len(members), **shares(members)} for group, members in groups.items() if members}
