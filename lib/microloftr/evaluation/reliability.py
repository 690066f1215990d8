"""`python -m microloftr reliability`: does the confidence mean anything, and is "no match" said when it is true?

From files of predictions on the made levels: the share of right matches by confidence, for matches within 1 and 3 px
of the truth, and the expected calibration error. And the verdict that users get: how often a transform is given, and
how often it is right, on matching pairs and on pairs that show nothing in common.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.calibration import BINS, bin_sums, calibration_error
from microloftr.evaluation.matchers import get_matcher, matcher_key
from microloftr.evaluation.metrics import distances
from microloftr.evaluation.predict import pairs_folder, predict, predictions_folder
from microloftr.evaluation.predictions import Predictions, load_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs, Pair
from microloftr.evaluation.summary import FAILURE, RESAMPLES, SEED
from microloftr.evaluation.tables import reliability as reliability_table
from microloftr.evaluation.unrelated import UnrelatedPairs
from microloftr.evaluation.verdicts import RIGHT, shares, verdicts
from microloftr.results import results_folder, write_result
from microloftr.views.figures import save_figure
from microloftr.views.reliability_figures import draw_reliability

MATCHERS = ("micro", "one_conv", "rootsift", "xfeat", "phase_correlation")
CORRECT_PX = (1, 3)
FIGURE = Path("docs_obsidian/attachments/reliability.png")


def sums_by_source(predictions: Predictions, pairs: Sequence[Pair], correct_px: float) -> dict[str, np.ndarray]:
    """`bin_sums` (bins, 3) of the matches of each source; a match is right within `correct_px` of the truth."""
    sums: dict[str, np.ndarray] = {}
    for number, pair in enumerate(pairs):
        errors = distances(pair.homography, *predictions.points(number))
        found = bin_sums(np.clip(predictions.confidences(number), 0, 1), errors < correct_px)
        sums[pair.source] = sums.get(pair.source, 0) + found
    return sums


def reliability(sums: dict[str, np.ndarray], resamples: int = RESAMPLES) -> dict[str, Any]:
    """From sums by source: matches, mean confidence, share that is right, calibration error, and each bin's; intervals
    are drawn by source. A bin without a match has None.
    """
    table = np.stack([sums[name] for name in sorted(sums)])  # (sources, bins, 3)
    draws = np.random.default_rng(SEED).integers(len(table), size=(resamples, len(table)))
    drawn = np.stack([table[draw].sum(axis=0) for draw in draws])
    total = table.sum(axis=0)
    count, confidence, right = total.sum(axis=0)
    told: dict[str, Any] = {"matches": int(count), "sources": len(table)}
    told |= {"confidence": _share(confidence, count), "right": _share(right, count)}
    told |= {"ece": _rounded(calibration_error(total))} | _limits("ece", calibration_error(drawn))
    told["bins"] = [
        {
            "from": round(k / len(total), 4),
            "matches": int(total[k, 0]),
            "confidence": _share(total[k, 1], total[k, 0]),
            "right": _share(total[k, 2], total[k, 0]),
            **_limits("right", drawn[:, k, 2] / np.where(drawn[:, k, 0] > 0, drawn[:, k, 0], np.nan)),
        }
        for k in range(len(total))
    ]
    return told


def measure(name: str, split: str, predictions: Path, store: Path, jobs: int = 1) -> dict[str, Any]:
    """Reliability by level and the verdicts of one matcher; predicts where no current file is there."""
    matcher = get_matcher(name)
    told: dict[str, Any] = {"name": Path(name).name, "levels": {}, "verdicts": {}}
    summed: dict[int, dict[str, np.ndarray]] = {px: {} for px in CORRECT_PX}
    said = []
    for level in LEVEL_NAMES:
        pairs = MadePairs(level, split, store=store)
        file = load_predictions(predict(name, pairs, predictions, matcher=matcher, jobs=jobs))
        told["levels"][level] = {}
        for px in CORRECT_PX:
            sums = sums_by_source(file, pairs, px)
            told["levels"][level][f"within_{px}"] = reliability(sums)
            for source, values in sums.items():
                summed[px][source] = summed[px].get(source, 0) + values
        of_level = verdicts(file, MadePairs(level, split, count_micrographs(pairs), store))
        told["verdicts"][level] = shares(of_level)
        said += of_level
    told["levels"]["all"] = {f"within_{px}": reliability(summed[px]) for px in CORRECT_PX}
    told["verdicts"]["all"] = shares(said)
    strangers = UnrelatedPairs(split, store=store)
    file = load_predictions(predict(name, strangers, predictions, matcher=matcher, jobs=jobs))
    told["verdicts"]["unrelated"] = shares(verdicts(file, strangers))
    return told


def count_micrographs(pairs: MadePairs) -> int:
    """How many of the first pairs show each micrograph once."""
    return len({pair.id.split("-", 1)[1] for pair in pairs})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr reliability", description="Is the confidence to be trusted?")
    parser.add_argument("--matchers", default=",".join(MATCHERS), help="comma-separated names or paths")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--jobs", type=int, default=1, help="processes that match side by side, of one thread each (1)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    parser.add_argument("--figure", type=Path, default=None, help=f"the figure ({FIGURE})")
    options = parser.parse_args(argv)
    names = options.matchers.split(",")
    values: dict[str, Any] = {"bins": BINS, "correct_px": CORRECT_PX, "resamples": RESAMPLES}
    values |= {"right_px": RIGHT, "wrong_px": FAILURE}
    values["matchers"] = {
        matcher_key(name): measure(name, options.split, predictions_folder(), pairs_folder(), options.jobs)
        for name in names
    }
    command = "python -m microloftr reliability"
    command += f" --matchers {','.join(Path(name).name for name in names)}" if tuple(names) != MATCHERS else ""
    command += f" --split {options.split}" if options.split != "validation" else ""
    folder = options.results or (results_folder() if tuple(names) == MATCHERS else results_folder().parent / "runs")
    print(write_result("reliability", values, command=command, seed=SEED, split=options.split, folder=folder))
    figure = options.figure or (
        results_folder().parent / FIGURE if folder == results_folder() else folder / FIGURE.name
    )
    save_figure(draw_reliability(values), figure)
    print(figure)
    print(reliability_table({"values": values}))
    return 0


def _share(part: float, whole: float) -> float | None:
    return _rounded(part / whole) if whole else None


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _limits(name: str, drawn: np.ndarray) -> dict[str, float | None]:
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return {f"{name}_low": _rounded(low), f"{name}_high": _rounded(high)}
