"""A reliability diagram in numbers: of matches that say so much, how many are right, and how far the two are apart.

Every bin is told twice: with every match weighing alike, and with every pair weighing alike. A matcher that is good has
most of its matches in the last bin, and the error by match is then that bin's alone; the error of the matches below
SURE is therefore told as well.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from microloftr.calibration import BINS, SURE, bin_sums, calibration_error
from microloftr.evaluation.summary import RESAMPLES, SEED

CORRECT_PX = (1, 3)  # a match is right within so many px of the truth
BELOW = round(SURE * BINS)  # so many bins lie below SURE
MATCHES, PAIRS, SEEN = slice(0, 3), slice(3, 6), 6  # columns of the sums


def pair_sums(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(bins, 7) of one pair's matches: `bin_sums` by match, the same where the pair weighs 1, and whether the pair has
    any match there.
    """
    by_match = bin_sums(confidence, right)
    return np.concatenate([by_match, by_match / max(len(confidence), 1), by_match[:, :1] > 0], axis=1)


def sums_by_source(pairs: Iterable[tuple[str, np.ndarray, np.ndarray]], correct_px: float) -> dict[str, np.ndarray]:
    """The sums (bins, 7) of each source over its pairs (source, confidence (M,), errors in px (M,))."""
    sums: dict[str, np.ndarray] = {}
    for source, confidence, errors in pairs:
        sums[source] = sums.get(source, 0) + pair_sums(confidence, errors < correct_px)
    return sums


def diagram(sums: dict[str, np.ndarray], resamples: int = RESAMPLES) -> dict[str, Any]:
    """From sums by source: mean confidence and share that is right by match; the calibration error by match (`ece`), by
    pair (`ece_pairs`) and of the matches below SURE (`ece_below`, by pair), which weigh as much as `weight_below`
    pairs; and of each bin its counts, and confidence and share by pair. Intervals are drawn by source. A bin without a
    match has None.
    """
    table = np.stack([sums[name] for name in sorted(sums)])  # (sources, bins, 7)
    draws = np.random.default_rng(SEED).integers(len(table), size=(resamples, len(table)))
    drawn = np.stack([table[draw].sum(axis=0) for draw in draws])
    total = table.sum(axis=0)
    count, confidence, right = total[:, MATCHES].sum(axis=0)
    told: dict[str, Any] = {"matches": int(count), "sources": len(table)}
    told |= {"confidence": _share(confidence, count), "right": _share(right, count)}
    for name, bins, columns in (
        ("ece", slice(None), MATCHES), ("ece_pairs", slice(None), PAIRS), ("ece_below", slice(BELOW), PAIRS)
    ):  # fmt: skip
        told[name] = _rounded(calibration_error(total[bins, columns]))
        told |= _limits(name, calibration_error(drawn[:, bins, columns]))
    told["matches_below"] = int(total[:BELOW, 0].sum())
    told["weight_below"] = round(float(total[:BELOW, PAIRS.start].sum()), 2)
    weight, said, share = total[:, PAIRS].T
    shares = drawn[:, :, PAIRS.start + 2] / _or_nan(drawn[:, :, PAIRS.start])
    told["bins"] = [
        {
            "from": round(k / len(total), 4),
            "matches": int(total[k, 0]),
            "pairs": int(total[k, SEEN]),
            "weight": round(float(weight[k]), 3),
            "confidence": _share(said[k], weight[k]),
            "right": _share(share[k], weight[k]),
            **_limits("right", shares[:, k]),
        }
        for k in range(len(total))
    ]
    return told


def map_record(key: str) -> str:
    """The name of the record of a matcher's map from confidence to share."""
    return "calibration" if key == "micro" else f"calibration_{key}"


def _or_nan(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def _share(part: float, whole: float) -> float | None:
    return _rounded(part / whole) if whole else None


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _limits(name: str, drawn: np.ndarray) -> dict[str, float | None]:
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return {f"{name}_low": _rounded(low), f"{name}_high": _rounded(high)}
