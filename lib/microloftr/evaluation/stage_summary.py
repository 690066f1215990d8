"""Scores by stage → numbers with intervals, and the paired difference fine − coarse with what it says.

Every interval draws whole sources with replacement, the same draw for both stages: a difference is one of pairs.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from microloftr.evaluation import metrics
from microloftr.evaluation.metrics_pose import POSE_THRESHOLDS, pose_auc
from microloftr.evaluation.stage_scores import COARSE, FINE, StageScore
from microloftr.evaluation.summary import (
    AUC_THRESHOLDS,
    CORRECT,
    FAILURE,
    PRECISION_THRESHOLDS,
    RESAMPLES,
    SEED,
)

MEANS = ("cells", "exact", "beside", "recall")  # shares, averaged over pairs
NUMBERS = (
    *MEANS,
    "mean_offset",
    "median_offset",
    *(f"precision_{t}" for t in PRECISION_THRESHOLDS),
    "matches",
    *(f"auc_{t}" for t in AUC_THRESHOLDS),
    "failures",
    "seconds",
)
LESS_IS_BETTER = {"mean_offset", "median_offset", "failures", "seconds"}
NEITHER = {"matches"}  # more of them is no merit by itself


def summarise_stages(scores: Sequence[StageScore], resamples: int = RESAMPLES) -> dict[str, Any]:
    """`levels`, `modalities` and `all`: of each n, sources, a row of NUMBERS with …_low and …_high for every stage,
    and, where both stages are there, their `difference`. Modalities with more pairs come first.
    """
    told: dict[str, Any] = {"levels": {}, "modalities": {}}
    for kind, name in (("levels", "group"), ("modalities", "modality")):
        parts: dict[str, list[StageScore]] = {}
        for one in scores:
            parts.setdefault(getattr(one, name) or "unknown", []).append(one)
        order = parts if kind == "levels" else sorted(parts, key=lambda value: (-len(parts[value]), value))
        told[kind] = {value: summarise_part(parts[value], resamples) for value in order}
    return told | {"all": summarise_part(scores, resamples)}


def summarise_part(scores: Sequence[StageScore], resamples: int = RESAMPLES) -> dict[str, Any]:
    """One part's rows: {"n", "sources", stage: {number, number_low, number_high}, "difference": …}."""
    by_stage: dict[str, list[StageScore]] = {}
    for one in scores:
        by_stage.setdefault(one.stage, []).append(one)
    columns = {stage: columns_of(rows) for stage, rows in by_stage.items()}
    sources = next(iter(columns.values()))["source"]

    def statistics(index: np.ndarray) -> np.ndarray:
        rows = np.array([numbers(column, index) for column in columns.values()])
        both = [rows[list(columns).index(FINE)] - rows[list(columns).index(COARSE)]] if paired else []
        return np.concatenate([*rows, *both])

    paired = {COARSE, FINE} <= set(columns)
    value = statistics(np.arange(len(sources)))
    limits = metrics.bootstrap_interval(statistics, sources.tolist(), resamples, seed=SEED)
    low, high = limits if limits else (np.full(len(value), np.nan),) * 2
    told: dict[str, Any] = {"n": len(sources), "sources": len(set(sources.tolist()))}
    names = [*columns, *(["difference"] if paired else [])]
    for k, name in enumerate(names):
        part = slice(k * len(NUMBERS), (k + 1) * len(NUMBERS))
        row = {}
        for number, *ends in zip(NUMBERS, value[part], low[part], high[part], strict=True):
            row[number], row[f"{number}_low"], row[f"{number}_high"] = map(_plain, ends)
            if name == "difference":
                row[f"{number}_verdict"] = verdict(number, *ends[1:])
        told[name] = row
    for stage, column in columns.items():
        if poses := pose_part(column["pose"], column["source"], resamples):
            told[stage]["pose"] = poses
    return told


def pose_part(errors: np.ndarray, sources: np.ndarray, resamples: int) -> dict[str, Any]:
    """Pose AUC at 5, 10 and 20°, with intervals, of the pairs whose cameras are known; nothing without any."""
    known = ~np.isnan(errors)
    if not known.any():
        return {}

    def statistics(index: np.ndarray) -> np.ndarray:
        return pose_auc(errors[known][index])

    value = statistics(np.arange(known.sum()))
    limits = metrics.bootstrap_interval(statistics, sources[known].tolist(), resamples, seed=SEED)
    low, high = limits if limits else (np.full(len(value), np.nan),) * 2
    told: dict[str, Any] = {"n": int(known.sum())}
    for degrees, *ends in zip(POSE_THRESHOLDS, value, low, high, strict=True):
        for end, number in zip(("", "_low", "_high"), ends, strict=True):
            told[f"auc_{degrees:g}{end}"] = _plain(number)
    return told


def columns_of(rows: Sequence[StageScore]) -> dict[str, np.ndarray]:
    """Every field as an array over pairs."""
    return {one.name: np.array([getattr(row, one.name) for row in rows]) for one in fields(StageScore)}


def numbers(column: dict[str, np.ndarray], index: np.ndarray) -> np.ndarray:
    """NUMBERS of the pairs `index`; NaN for what is not known.

    Shares are means over pairs; mean_offset is the mean over all near matches, median_offset the median over pairs of
    their median. auc_t and precision_t count pairs whose truth is good to t/2, failures to 5 px, cells and offsets to
    1.5 px.
    """
    accuracy, errors = column["accuracy_px"], column["error_px"]
    fine = index[accuracy[index] <= CORRECT / 2]
    values = [_mean(column[name][fine]) for name in MEANS]
    offset, near = column["mean_offset"][fine], column["near"][fine]
    some = near > 0
    values.append(float(np.average(offset[some], weights=near[some])) if some.any() else np.nan)
    medians = column["median_offset"][fine][some]
    values.append(float(np.median(medians)) if len(medians) else np.nan)
    for t in PRECISION_THRESHOLDS:
        values.append(_mean(column[f"precision_{t}"][index[accuracy[index] <= t / 2]]))
    values.append(_mean(column["matches"][index]))
    for t in AUC_THRESHOLDS:
        kept = index[accuracy[index] <= t / 2]
        values.append(float(metrics.auc(errors[kept], [t])[0]) if len(kept) else np.nan)
    kept = index[accuracy[index] <= FAILURE / 2]
    values.append(metrics.failure_rate(errors[kept], FAILURE) if len(kept) else np.nan)
    values.append(float(np.median(column["seconds"][index])))
    return np.array(values)


def verdict(number: str, low: float, high: float) -> str | None:
    """What the interval of fine − coarse says: better, worse, or a tie where it holds 0; None where there is none."""
    if number in NEITHER or not np.isfinite([low, high]).all():
        return None
    if low <= 0 <= high:
        return "tie"
    return "worse" if (low > 0) == (number in LESS_IS_BETTER) else "better"


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values.astype(float))]
    return float(known.mean()) if len(known) else np.nan


def _plain(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None
