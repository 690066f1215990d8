"""Scores of pairs → their summary: every metric with a 95 % interval drawn by source (specimen)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from microloftr.evaluation import metrics
from microloftr.evaluation.matchers import matcher_key
from microloftr.evaluation.metrics_landmarks import mean_ranks

AUC_THRESHOLDS = (1, 3, 5, 10)  # px
PRECISION_THRESHOLDS = (1, 3, 5)  # px
FAILURE = 10.0  # px
CORRECT = 3.0  # px: a match nearer to the truth is correct
SEED = 0  # of the bootstrap
RESAMPLES = 1000
PHOTOGRAPHS = "generic"  # the group of real pairs that shows no micrographs: not part of "all"


@dataclass(frozen=True)
class PairScore:
    """What one matcher reached on one pair; `stage` is "final", or "coarse" for its points before refinement.

    error_px is infinite where there is no homography; precision_t are shares; median_correct_px is NaN without a
    correct match; tre, rtre, max_rtre, initial_tre and robustness are NaN without landmarks, truth_tre is what the
    truth reaches.
    """

    matcher: str
    stage: str
    group: str
    source: str
    modality: str
    id: str
    accuracy_px: float
    matches: int
    inliers: int
    error_px: float
    precision_1: float
    precision_3: float
    precision_5: float
    median_correct_px: float
    seconds: float
    tre: float = math.nan
    rtre: float = math.nan
    initial_tre: float = math.nan
    robustness: float = math.nan
    truth_tre: float = math.nan
    max_rtre: float = math.nan


def summarise(scores: Sequence[PairScore]) -> dict[str, Any]:
    """n, sources, and each metric with its 95 % interval (…_low, …_high), drawn by source; None where nothing is known.

    auc_t, precision_t over pairs whose truth is good to t/2 (n_t of them), failures to 5 px, median_error (the median
    over pairs of the median error of their correct matches) to 1.5 px; matches: mean; seconds: median over the
    `timed` pairs that were matched one after the other.
    """
    column = {field.name: np.array([getattr(score, field.name) for score in scores]) for field in fields(PairScore)}
    accuracy, errors = column["accuracy_px"], column["error_px"]

    def good_to(threshold: float, indices: np.ndarray) -> np.ndarray:
        return indices[accuracy[indices] <= threshold / 2]  # NaN, an unknown accuracy, is never good enough

    def statistics(indices: np.ndarray) -> np.ndarray:
        values = []
        for threshold in AUC_THRESHOLDS:
            kept = good_to(threshold, indices)
            values.append(metrics.auc(errors[kept], [threshold])[0] if kept.size else np.nan)
        kept = good_to(FAILURE, indices)
        values.append(metrics.failure_rate(errors[kept], FAILURE) if kept.size else np.nan)
        for threshold in PRECISION_THRESHOLDS:
            kept = good_to(threshold, indices)
            values.append(column[f"precision_{threshold}"][kept].mean() if kept.size else np.nan)
        medians = column["median_correct_px"][good_to(CORRECT, indices)]
        medians = medians[np.isfinite(medians)]
        values.append(np.median(medians) if medians.size else np.nan)
        values.append(column["matches"][indices].mean())
        return np.array(values)

    names = [f"auc_{t}" for t in AUC_THRESHOLDS] + ["failures"]
    names += [f"precision_{t}" for t in PRECISION_THRESHOLDS] + ["median_error", "matches"]
    everyone = np.arange(len(scores))
    summary: dict[str, Any] = {"n": len(scores), "sources": len(set(column["source"].tolist()))}
    summary |= {f"n_{t}": len(good_to(t, everyone)) for t in AUC_THRESHOLDS}
    interval = metrics.bootstrap_interval(statistics, column["source"], RESAMPLES, seed=SEED)
    low, high = interval if interval else (np.full(len(names), np.nan), np.full(len(names), np.nan))
    for name, value, *limits in zip(names, statistics(everyone), low, high, strict=True):
        summary |= {name: _number(value), f"{name}_low": _number(limits[0]), f"{name}_high": _number(limits[1])}
    timed = column["seconds"][np.isfinite(column["seconds"])]
    summary |= {"seconds": _number(np.median(timed)) if timed.size else None, "timed": int(timed.size)}
    marked = np.isfinite(column["tre"])
    if marked.any():
        summary["landmarks"] = {
            "n": int(marked.sum()),
            "tre": _number(np.median(column["tre"][marked])),
            "initial_tre": _number(np.median(column["initial_tre"][marked])),
            "truth_tre": _number(np.median(column["truth_tre"][marked])),
            "mean_rtre": _number(column["rtre"][marked].mean()),
            "median_rtre": _number(np.median(column["rtre"][marked])),
            "mean_max_rtre": _number(column["max_rtre"][marked].mean()),
            "robustness": _number(column["robustness"][marked].mean()),
        }
    return summary


def summarise_protocol(scores: Iterable[PairScore]) -> dict[str, dict[str, Any]]:
    """Summaries by matcher's key, the coarse points' inside as `coarse`."""
    by_matcher: dict[str, dict[str, list[PairScore]]] = {}
    for score in scores:
        by_matcher.setdefault(matcher_key(score.matcher), {}).setdefault(score.stage, []).append(score)
    return {
        key: summarise(stages["final"]) | ({"coarse": summarise(stages["coarse"])} if "coarse" in stages else {})
        for key, stages in by_matcher.items()
    }


def summarise_groups(scores: Sequence[PairScore]) -> dict[str, dict[str, dict[str, Any]]]:
    """Summaries of real pairs by group, and of all micrographs together as `all`."""
    groups = {score.group: [] for score in scores}
    for score in scores:
        groups[score.group].append(score)
    groups["all"] = [score for score in scores if score.group != PHOTOGRAPHS]
    return {group: summarise_protocol(members) for group, members in groups.items() if members}


def landmark_ranks(scores: Sequence[PairScore]) -> dict[str, float]:
    """ANHIR's mean rank of the median rTRE by matcher's key, among these matchers alone; 1 is the best."""
    medians: dict[str, list[float]] = {}
    for one in scores:
        if one.stage == "final":
            medians.setdefault(matcher_key(one.matcher), []).append(one.rtre)
    ranks = mean_ranks(np.array(list(medians.values())))
    return dict(zip(medians, np.round(ranks, 4).tolist(), strict=True))


def summarise_modalities(scores: Sequence[PairScore]) -> dict[str, dict[str, dict[str, Any]]]:
    """Summaries by modality, most pairs first, of the scores of all levels together."""
    modalities: dict[str, list[PairScore]] = {}
    for score in scores:
        modalities.setdefault(score.modality or "unknown", []).append(score)
    ordered = sorted(modalities, key=lambda name: (-len(modalities[name]), name))
    return {name: summarise_protocol(modalities[name]) for name in ordered}


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None
