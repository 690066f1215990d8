"""`python -m microloftr calibrate`: the map from a matcher's confidence to the share of right matches, on validation.

The matcher runs without a map of its own and from a low threshold on. The map is fitted to all specimens, every pair
weighing alike, and written beside the weights. What it is worth is measured by cross-fitting: the matches of one fifth
of the specimens after another are told by a map that was fitted to the other four.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import microloftr
from microloftr.calibration import Calibration, fit_calibration, pair_weights
from microloftr.evaluation.diagram import CORRECT_PX, diagram, map_record, sums_by_source
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.matchers import matcher_key
from microloftr.evaluation.metrics import distances
from microloftr.evaluation.predict import MATCH_CAP, pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs
from microloftr.matching import Matcher
from microloftr.results import write_result

FITTED_PX = 3.0  # the map tells the share of matches within so many px
PAIRS = 108  # of each level: all of them, for few pairs are in doubt
FOLDS = 5

Found = dict[str, list[tuple[np.ndarray, np.ndarray]]]  # by specimen, of each pair (confidence, error in px)


def collect(matcher: Any, limit: int, split: str = "validation") -> Found:
    """(confidence, error in px) of the matches of every pair, by specimen."""
    found: Found = {}
    for level in LEVEL_NAMES:
        for pair in tqdm(MadePairs(level, split, limit, pairs_folder()), desc=level, leave=False, disable=None):
            matches = matcher.match(pair.image_0, pair.image_1).top(MATCH_CAP)
            errors = distances(pair.homography, matches.points_0, matches.points_1)
            found.setdefault(pair.source, []).append((matches.confidence, errors))
    return found


def fitted(found: Found, names: list[str]) -> Calibration:
    """The map fitted to the pairs of these specimens."""
    pairs = [pair for name in names for pair in found[name]]
    confidence, errors = (np.concatenate([np.zeros(0), *(pair[k] for pair in pairs)]) for k in (0, 1))
    return fit_calibration(confidence, errors < FITTED_PX, pair_weights([len(pair[0]) for pair in pairs]))


def cross_fitted(found: Found, folds: int = FOLDS) -> Found:
    """The same pairs, each told by a map that was fitted without its specimen's fold."""
    names = sorted(found)
    told: Found = {}
    for first in range(min(folds, len(names))):
        fold = names[first :: min(folds, len(names))]
        calibration = fitted(found, [name for name in names if name not in fold])
        told |= {name: [(calibration.apply(said), errors) for said, errors in found[name]] for name in fold}
    return told


def calibrate(found: Found) -> tuple[Calibration, dict[str, Any]]:
    """The map fitted to all specimens, and the diagrams before, and after on specimens that it has not seen."""
    before, after = (_diagrams(one) for one in (found, cross_fitted(found)))
    within = f"within_{FITTED_PX:g}"
    values: dict[str, Any] = {
        "matches": before[within]["matches"],
        "pairs": sum(len(said) > 0 for pairs in found.values() for said, _ in pairs),
        "specimens": len(found),
        "folds": min(FOLDS, len(found)),
    }
    for name in ("ece", "ece_pairs", "ece_below"):
        values |= {f"{name}_before": before[within][name], f"{name}_after": after[within][name]}
    return fitted(found, sorted(found)), values | {"as_said": before, "cross_fitted": after}


def _diagrams(found: Found) -> dict[str, Any]:
    pairs = [(name, *pair) for name, pairs in found.items() for pair in pairs]
    return {f"within_{px}": diagram(sums_by_source(pairs, px)) for px in CORRECT_PX}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr calibrate", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="micro", help="a name or a file")
    parser.add_argument("--limit", type=int, default=PAIRS, help=f"pairs of each level ({PAIRS})")
    parser.add_argument("--threshold", type=float, default=0.02, help="least confidence of a match, before the map")
    parser.add_argument("--out", type=Path, default=None, help="the map's file (beside the shipped weights)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    matcher = Matcher.from_pretrained(options.weights, threshold=options.threshold)
    if getattr(matcher, "calibration", None) is not None:
        matcher.calibration = None
    calibration, values = calibrate(collect(matcher, options.limit))
    key = matcher_key(options.weights)
    path = options.out or Path(microloftr.__file__).parent / "weights" / f"{key}.calibration.json"
    calibration.save(path)
    print(path)
    values |= {"correct_px": FITTED_PX, "pairs_per_level": options.limit, "threshold": options.threshold}
    values |= {"weights": {"name": key, "weights_sha256": weights_sha256(matcher)}}
    values |= {"knots_x": calibration.knots_x, "knots_y": calibration.knots_y}
    command = f"python -m microloftr calibrate --limit {options.limit} --threshold {options.threshold:g}"
    command += f" --weights {Path(options.weights).name}" if options.weights != "micro" else ""
    print(write_result(map_record(key), values, command=command, split="validation", folder=options.results))
    print("calibration error before, and after on specimens that the map was not fitted to:")
    for name, words in (("ece", "by match"), ("ece_pairs", "by pair"), ("ece_below", "of the matches below .9")):
        print(f"{words:24} " + " → ".join(_three(values[f"{name}_{when}"]) for when in ("before", "after")))
    return 0


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
