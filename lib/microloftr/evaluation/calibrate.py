"""`python -m microloftr calibrate`: the map from a matcher's confidence to the share of right matches, on validation.

The matcher runs without a map of its own and from a low threshold on. The error is measured on specimens that the map
was not fitted to: half of them each time. The map itself is fitted to all of them and written beside the weights.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import microloftr
from microloftr.calibration import Calibration, bin_sums, calibration_error, fit_calibration
from microloftr.evaluation.matchers import matcher_key
from microloftr.evaluation.metrics import distances
from microloftr.evaluation.predict import MATCH_CAP, pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs
from microloftr.matching import Matcher
from microloftr.results import write_result

CORRECT_PX = 3.0
PAIRS = 54  # of each level: every micrograph twice


def collect(matcher: Any, limit: int, split: str = "validation") -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """(confidence, right) of the matches of every pair, by specimen."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for level in LEVEL_NAMES:
        for pair in tqdm(MadePairs(level, split, limit, pairs_folder()), desc=level, leave=False, disable=None):
            matches = matcher.match(pair.image_0, pair.image_1).top(MATCH_CAP)
            right = distances(pair.homography, matches.points_0, matches.points_1) < CORRECT_PX
            found.setdefault(pair.source, []).append((matches.confidence, right))
    return found


def calibrate(found: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> tuple[Calibration, dict[str, Any]]:
    """The map fitted to all specimens, and the calibration error before, and after on specimens it has not seen."""
    names = sorted(found)
    halves = names[::2], names[1::2]
    sums = np.zeros((2,) + bin_sums(np.zeros(0), np.zeros(0)).shape)
    for fitted, told in (halves, halves[::-1]):
        calibration = fit_calibration(*_joined(found, fitted))
        confidence, right = _joined(found, told)
        sums += [bin_sums(confidence, right), bin_sums(calibration.apply(confidence), right)]
    before, after = calibration_error(sums)
    count = int(sums[0, :, 0].sum())
    return fit_calibration(*_joined(found, names)), {
        "matches": count, "specimens": len(names), "ece_before": round(float(before), 4),
        "ece_after": round(float(after), 4),
    }  # fmt: skip


def _joined(found: dict[str, list[tuple[np.ndarray, np.ndarray]]], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    pairs = [pair for name in names for pair in found[name]]
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


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
    values |= {"correct_px": CORRECT_PX, "pairs_per_level": options.limit, "threshold": options.threshold}
    values |= {"knots_x": calibration.knots_x, "knots_y": calibration.knots_y}
    command = f"python -m microloftr calibrate --limit {options.limit} --threshold {options.threshold:g}"
    command += f" --weights {Path(options.weights).name}" if options.weights != "micro" else ""
    stem = "calibration" if key == "micro" else f"calibration_{key}"
    print(write_result(stem, values, command=command, split="validation", folder=options.results))
    print(f"calibration error {values['ece_before']:.3f} before, {values['ece_after']:.3f} after on other specimens")
    return 0
