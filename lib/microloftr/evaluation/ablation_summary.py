"""Numbers of an ablation → its distance from what it is compared with, with intervals, and a verdict.

Pairs are compared one by one, and specimens drawn: a difference whose interval holds 0 is a tie.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from microloftr.evaluation import metrics
from microloftr.evaluation.summary import RESAMPLES, SEED

FAILURE = 10.0  # px
BETTER = {"right_cells": 1, "auc_3": 1, "auc_5": 1, "failures": -1}  # the sign of an improvement

ByLevel = dict[str, list[float | None]]


def stored(errors: dict[str, list[float]]) -> ByLevel:
    """Errors as JSON holds them: None for infinity."""
    return {level: [round(e, 4) if np.isfinite(e) else None for e in row] for level, row in errors.items()}


def table_of(values: ByLevel) -> np.ndarray:
    """Stored values as (levels, pairs); None is infinity again."""
    return np.array([[np.inf if value is None else value for value in row] for row in values.values()])


def mean_auc(errors: np.ndarray, threshold: float) -> float:
    """AUC at a threshold of errors (levels, pairs), averaged over the levels."""
    return float(np.mean([metrics.auc(row, [threshold])[0] for row in errors]))


STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "right_cells": lambda cells: float(cells.mean()),
    "auc_3": lambda errors: mean_auc(errors, 3),
    "auc_5": lambda errors: mean_auc(errors, 5),
    "failures": lambda errors: float((errors > FAILURE).mean()),
}


def compared(
    entry: dict[str, ByLevel], other: dict[str, ByLevel] | None, sources: dict[str, Sequence[str]]
) -> dict[str, Any]:
    """Each metric of an entry, all levels together, and `difference` to another's with its 95 % interval and verdict.

    entry: `errors` by level and, of a network, `cells`; sources: the specimens of both. AUC@3 by level as `levels`.
    """
    row: dict[str, Any] = {}
    for metric, statistic in STATISTICS.items():
        part = "cells" if metric == "right_cells" else "errors"
        if part not in entry:
            continue
        comparable = other is not None and entry is not other and part in other
        mine = table_of(entry[part])
        row[metric] = {"value": _short(statistic(mine))}
        if comparable:
            row[metric] |= difference(mine, table_of(other[part]), metric, sources[part])
    by_level = zip(entry["errors"], table_of(entry["errors"]), strict=True) if "errors" in entry else ()
    row["levels"] = {name: _short(mean_auc(errors[None], 3)) for name, errors in by_level}
    return row


def over_seeds(rows: dict[str, dict[str, Any]], metric: str = "right_cells") -> dict[str, dict[str, Any]]:
    """Of each variant trained with several seeds the difference by seed, each to the base of its seed, and a verdict: a
    tie unless all seeds say the same of it."""
    found: dict[str, dict[str, Any]] = {}
    for key, row in rows.items():
        if "difference" in row.get(metric, {}) and not key.startswith("base"):
            told = found.setdefault(key.split("-seed-")[0], {"differences": [], "verdicts": []})
            told["differences"].append(row[metric]["difference"])
            told["verdicts"].append(row[metric]["verdict"])
    several = {key: told for key, told in found.items() if len(told["verdicts"]) > 1}
    return {
        key: told | {"verdict": told["verdicts"][0] if len(set(told["verdicts"])) == 1 else "tie"}
        for key, told in several.items()
    }


def difference(mine: np.ndarray, others: np.ndarray, metric: str, sources: Sequence[str]) -> dict[str, Any]:
    """The metric of one minus that of the other over the same pairs (levels, pairs), its interval drawn by specimen."""
    return dict(_difference(mine.tobytes(), others.tobytes(), mine.shape, metric, tuple(sources)))


@cache  # rows are made anew after every entry
def _difference(mine: bytes, others: bytes, shape: tuple, metric: str, sources: tuple[str, ...]) -> dict[str, Any]:
    tables, statistic = [np.frombuffer(table).reshape(shape) for table in (mine, others)], STATISTICS[metric]

    def between(indices: np.ndarray) -> float:
        one, other = (statistic(table[:, indices]) for table in tables)
        return one - other

    interval = metrics.bootstrap_interval(between, sources, RESAMPLES, seed=SEED)
    value = between(np.arange(shape[1]))
    if interval is None:
        return {"difference": _short(value), "low": None, "high": None, "verdict": "tie"}
    low, high = (float(limit[0]) for limit in interval)
    verdict = "tie" if low <= 0 <= high else "better" if value * BETTER[metric] > 0 else "worse"
    return {"difference": _short(value), "low": _short(low), "high": _short(high), "verdict": verdict}


def _short(value: float) -> float:
    return round(float(value), 4)
