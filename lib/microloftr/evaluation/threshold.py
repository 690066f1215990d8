"""`python -m microloftr choose-threshold`: AUC against the confidence threshold, on the fixed validation pairs.

One run at a very low threshold serves all of them: a higher one keeps fewer of the same matches. (The Matcher's search
has a threshold of its own, which this leaves as it is.)
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from microloftr.errors import ParameterError
from microloftr.evaluation.matchers import matcher_key
from microloftr.evaluation.metrics import auc, corner_error, failure_rate
from microloftr.evaluation.predict import pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs
from microloftr.matching import Matcher
from microloftr.registration.families import find_homography
from microloftr.results import write_result

THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)


def by_threshold(matcher: Any, pairs: Sequence[Any], thresholds: Sequence[float]) -> list[dict[str, float]]:
    """AUC@3 px, failures (> 10 px) and matches a pair at each threshold; MAGSAC, 2 px, as in every table."""
    errors: list[list[float]] = [[] for _ in thresholds]
    counts: list[list[int]] = [[] for _ in thresholds]
    for pair in tqdm(pairs, leave=False, disable=None):
        matches = matcher.match(pair.image_0, pair.image_1)
        for number, threshold in enumerate(thresholds):
            kept = matches.above(threshold)
            found, _ = find_homography(kept.points_0, kept.points_1, 2.0)
            errors[number].append(corner_error(found, pair.homography, pair.size_0))
            counts[number].append(len(kept))
    return [
        {
            "threshold": threshold,
            "auc_3": round(float(auc(error, [3])[0]), 4),
            "failures": round(failure_rate(error), 4),
            "matches": float(np.median(count)),
        }
        for threshold, error, count in zip(thresholds, errors, counts, strict=True)
    ]


def choose(
    levels: dict[str, list[dict[str, float]]], thresholds: Sequence[float] = THRESHOLDS, slack: float = 0.01
) -> dict[str, Any]:
    """The threshold that fails least among those within `slack` of the best AUC@3 px, both averaged over the levels."""
    means = {}
    for name in ("auc_3", "failures"):
        columns = zip(*([row[name] for row in rows] for rows in levels.values()), strict=True)
        means[name] = [round(float(np.mean(column)), 4) for column in columns]
    good = [k for k, value in enumerate(means["auc_3"]) if value >= max(means["auc_3"]) - slack]
    best = min(good, key=lambda k: means["failures"][k])
    return {"best": thresholds[best], "mean_auc_3": means["auc_3"], "mean_failures": means["failures"]}


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr choose-threshold", description=__doc__)
    parser.add_argument("--weights", default="micro", help="a name or a file")
    parser.add_argument("--limit", type=int, default=54, help="pairs per level")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    parser.add_argument("--thresholds", default=",".join(map(str, THRESHOLDS)), help="confidences, rising")
    options = parser.parse_args(argv)
    thresholds = _thresholds(options.thresholds)
    matcher = Matcher.from_pretrained(options.weights, threshold=min(thresholds), align=False)
    values: dict[str, Any] = {"pairs": options.limit, "levels": {}}
    for level in LEVEL_NAMES:
        rows = by_threshold(matcher, MadePairs(level, limit=options.limit, store=pairs_folder()), thresholds)
        values["levels"][level] = rows
        for row in rows:
            print(f"{level:8} {row['threshold']:g}  AUC@3 {row['auc_3']:.3f}  failures {row['failures']:.0%}")
    values |= choose(values["levels"], thresholds)
    command, stem = f"python -m microloftr choose-threshold --limit {options.limit}", "threshold"
    if options.weights != "micro":
        command += f" --weights {Path(options.weights).name}"
        stem += f"_{matcher_key(options.weights)}"
    command += f" --thresholds {options.thresholds}" if thresholds != THRESHOLDS else ""
    write_result(stem, values, command=command, split="validation", folder=options.results)
    print(f"best: {values['best']}")
    return 0


def _thresholds(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or list(values) != sorted(set(values)) or not 0 <= values[0] <= values[-1] < 1:
        raise ParameterError(
            f"Thresholds are numbers of 0 or more and below 1 that rise, separated by commas: {text!r}."
        )
    return values
