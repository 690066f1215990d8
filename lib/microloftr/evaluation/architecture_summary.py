"""Numbers of kinds of model or rules of matching → values and differences, each with its interval and a verdict.

Pairs are compared one by one, and specimens drawn: a difference whose interval holds 0 is a tie.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation.ablation_summary import FAILURE, mean_auc, table_of
from microloftr.evaluation.metrics import bootstrap_interval
from microloftr.evaluation.refined_cells import Judged
from microloftr.evaluation.summary import RESAMPLES, SEED
from microloftr.views.refinement_study import BESIDE, OWN

BETTER = {  # the sign of an improvement; 0: neither more nor less is better
    "right_cells": 1, "auc_3": 1, "failures": -1, "precision_3": 1, "matches": 0,
    "median": -1, "own": -1, "within": 1,
}  # fmt: skip
OF_PAIRS = {
    "auc_3": ("error", lambda table: mean_auc(table, 3)),
    "failures": ("error", lambda table: float((table > FAILURE).mean())),
    "precision_3": ("precision", lambda table: float(table.mean())),
    "matches": ("matches", lambda table: float(table.mean())),
}
WITHIN = 1.0  # px
Entries = Mapping[str, Mapping[str, Mapping[str, Sequence[float | None]]]]


def compared_pairs(entries: Entries, reference: str, sources: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rows of AUC@3 (mean over levels), failures, precision@3 and matches, with the differences from `reference`'s.

    entries: {key: {error, precision, matches: {level: [value of each pair]}}}, the same pairs in the same order at
    every level; sources: their specimens.
    """
    tables = {key: {name: table_of(dict(entry[name])) for name in ("error", "precision", "matches")}
              for key, entry in entries.items()}  # fmt: skip

    def statistics(index: np.ndarray) -> np.ndarray:
        return np.array(
            [[make(table[name][:, index]) for name, make in OF_PAIRS.values()] for table in tables.values()]
        )

    rows = _rows(statistics, list(entries), list(OF_PAIRS), reference, sources)
    for key, table in tables.items():
        levels = zip(entries[key]["error"], table["error"], strict=True)
        rows[key]["levels"] = {level: round(mean_auc(errors[None], 3), 4) for level, errors in levels}
    return rows


def compared_cells(shares: Mapping[str, Mapping[str, Sequence[float]]], reference: str, sources: Sequence[str]) -> dict:
    """Rows of `right_cells`, the mean share of right cells by level and pair, likewise."""
    tables = {key: table_of({level: list(row) for level, row in levels.items()}) for key, levels in shares.items()}

    def statistics(index: np.ndarray) -> np.ndarray:
        return np.array([[float(table[:, index].mean())] for table in tables.values()])

    return _rows(statistics, list(shares), ["right_cells"], reference, sources)


def compared_stages(judged: Mapping[str, Judged], reference: str) -> dict[str, dict[str, Any]]:
    """Rows of fine stages on the same matches: `median` error (px) of what was found in the own cell or one beside,
    `own` of the own cell alone, and the share `within` 1 px, likewise."""
    one = next(iter(judged.values()))
    near, own = one.distance <= BESIDE, one.distance <= OWN

    def statistics(index: np.ndarray) -> np.ndarray:
        rows = []
        for given in judged.values():
            error = given.error[index]
            close = error[near[index]]
            rows.append([np.median(close), np.median(error[own[index]]), float(np.mean(close < WITHIN))])
        return np.array(rows)

    return _rows(statistics, list(judged), ["median", "own", "within"], reference, one.specimen)


def verdict_of(metric: str, low: float, high: float) -> str:
    """What the interval of a difference says: a tie, better or worse; of `matches`, more or fewer."""
    if low <= 0 <= high:
        return "tie"
    if not BETTER[metric]:
        return "more" if low > 0 else "fewer"
    return "better" if (low > 0) == (BETTER[metric] > 0) else "worse"


def _rows(
    statistics: Any, keys: list[str], metrics: list[str], reference: str, sources: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """statistics(indices) → (keys, metrics): rows of values and differences, one bootstrap for all of them."""
    if reference not in keys:
        raise ParameterError(f"there is no {reference!r} to compare with; there are {', '.join(keys)}")
    place = keys.index(reference)

    def both(index: np.ndarray) -> np.ndarray:
        values = statistics(index)
        return np.stack((values, values - values[place])).ravel()

    interval = bootstrap_interval(both, sources, RESAMPLES, seed=SEED)
    if interval is None:
        raise ParameterError("an interval needs pairs of two specimens or more; judge more pairs")
    shape = 2, len(keys), len(metrics)
    (values, differences), (low, low_of), (high, high_of) = (
        part.reshape(shape) for part in (both(np.arange(len(sources))), *interval)
    )
    rows: dict[str, dict[str, Any]] = {}
    for k, key in enumerate(keys):
        rows[key] = {}
        for m, metric in enumerate(metrics):
            told = {"value": values[k, m], "low": low[k, m], "high": high[k, m]}
            if key != reference:
                told |= {"difference": differences[k, m], "difference_low": low_of[k, m]}
                told |= {"difference_high": high_of[k, m]}
            rows[key][metric] = {name: round(float(value), 4) for name, value in told.items()}
            said = "reference" if key == reference else verdict_of(metric, low_of[k, m], high_of[k, m])
            rows[key][metric]["verdict"] = said
    return rows
