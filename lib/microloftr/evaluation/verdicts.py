"""Whether a transform is given, and whether it is right: what a user of a matcher meets.

On matching pairs a transform should be given and lie near the truth; on pairs that show nothing in common it should
not be given. The transform is the one that users get, `matches.estimate("auto")` with its defaults.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from microloftr.evaluation.metrics import bootstrap_interval, corner_error
from microloftr.evaluation.predictions import Predictions
from microloftr.evaluation.protocols import Pair
from microloftr.evaluation.summary import FAILURE, RESAMPLES, SEED
from microloftr.matches import Matches

RIGHT = 3.0  # px of the mean corner error


@dataclass(frozen=True)
class Verdict:
    """One matcher on one pair: the family of the transform that was given (None: none), and its mean corner error."""

    id: str
    level: str
    source: str
    family: str | None
    error_px: float


def verdicts(predictions: Predictions, pairs: Iterable[Pair]) -> list[Verdict]:
    """What the user is told about each pair; error_px is infinite without a transform, NaN without a truth."""
    number_of = {name: number for number, name in enumerate(predictions.ids)}
    found = []
    for pair in pairs:
        number = number_of[pair.id]
        points = predictions.points(number)
        matches = Matches(*points, np.clip(predictions.confidences(number), 0, 1), pair.size_0, pair.size_1)
        transform = matches.estimate("auto")
        error = np.nan
        if np.isfinite(pair.homography).all():
            error = corner_error(None if transform is None else transform.matrix, pair.homography, pair.size_0)
        found.append(Verdict(pair.id, pair.group, pair.source, transform.family if transform else None, error))
    return found


def shares(found: list[Verdict]) -> dict[str, Any]:
    """n; the share of pairs with a transform (`given`), with one to 3 px (`right`) and beyond 10 px (`wrong`), each
    with its 95 % interval, drawn by source. right and wrong are None where there is no truth.
    """
    given = np.array([verdict.family is not None for verdict in found], dtype=float)
    errors = np.array([verdict.error_px for verdict in found])
    columns = {"given": given}
    known = bool(np.isfinite(errors).any() or np.isinf(errors).any())
    if known:
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
