"""`python -m microloftr reliability`: does the confidence mean anything, and is "no match" said when it is true?

From files of predictions on the made levels: the share of right matches by confidence, for matches within 1 and 3 px
of the truth, and the expected calibration error; of a matcher with a map of its own also as it is on specimens that
the map was not fitted to. And the verdict that users get: how often a transform is given, and how often it is right,
on matching pairs, on pairs that show nothing in common, and on real pairs where there are some.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.calibration import BINS, SURE, Calibration
from microloftr.errors import MicroLoFTRError
from microloftr.evaluation.diagram import CORRECT_PX, diagram, map_record, sums_by_source
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.matchers import get_matcher, matcher_key
from microloftr.evaluation.metrics import distances
from microloftr.evaluation.predict import pairs_folder, predict, predictions_folder
from microloftr.evaluation.predictions import Predictions, load_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, FolderPairs, MadePairs, Pair, real_folder
from microloftr.evaluation.summary import FAILURE, RESAMPLES, SEED
from microloftr.evaluation.tables import reliability as reliability_table
from microloftr.evaluation.unrelated import UnrelatedPairs
from microloftr.evaluation.verdicts import RIGHT, shares, shares_of_groups, verdicts
from microloftr.results import read_result, results_folder, write_result
from microloftr.views.figures import save_figure
from microloftr.views.reliability_figures import draw_reliability

MATCHERS = ("micro", "one_conv", "rootsift", "xfeat", "phase_correlation")
FIGURE = Path("docs_obsidian/attachments/reliability.png")


def told_matches(predictions: Predictions, pairs: Sequence[Pair]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Of each pair its source, and its matches' confidence and error in px."""
    for number, pair in enumerate(pairs):
        errors = distances(pair.homography, *predictions.points(number))
        yield pair.source, np.clip(predictions.confidences(number), 0, 1), errors


def measure(
    name: str, split: str, predictions: Path, store: Path, jobs: int = 1, real: str | None = None
) -> dict[str, Any]:
    """Reliability by level and the verdicts of one matcher, on the folder of real pairs `real`, too; predicts where no
    current file is there.
    """
    matcher = get_matcher(name)
    told: dict[str, Any] = {"name": Path(name).name, "levels": {}, "verdicts": {}}
    told["weights_sha256"] = weights_sha256(matcher)
    every, said = [], []
    for level in LEVEL_NAMES:
        pairs = MadePairs(level, split, store=store)
        file = load_predictions(predict(name, pairs, predictions, matcher=matcher, jobs=jobs))
        matches = list(told_matches(file, pairs))
        told["levels"][level] = {f"within_{px}": diagram(sums_by_source(matches, px)) for px in CORRECT_PX}
        every += matches
        of_level = verdicts(file, MadePairs(level, split, count_micrographs(pairs), store))
        told["verdicts"][level] = shares(of_level)
        said += of_level
    told["levels"]["all"] = {f"within_{px}": diagram(sums_by_source(every, px)) for px in CORRECT_PX}
    told["verdicts"]["all"] = shares(said)
    strangers = UnrelatedPairs(split, store=store)
    file = load_predictions(predict(name, strangers, predictions, matcher=matcher, jobs=jobs))
    told["verdicts"]["unrelated"] = shares(verdicts(file, strangers))
    if real:
        folder = FolderPairs(real)
        file = load_predictions(predict(name, folder, predictions, matcher=matcher, jobs=jobs))
        told["real"] = shares_of_groups(verdicts(file, folder, "overlap"))
    return told


def cross_fitted(name: str, calibration: Calibration | None, folder: Path) -> dict[str, Any]:
    """What the record of `calibrate` says of other specimens than those fitted to, where it is of this very map; else
    nothing: a matcher without a map was fitted to none.
    """
    if calibration is None:
        return {}
    try:
        values = read_result(map_record(matcher_key(name)), folder)["values"]
    except MicroLoFTRError:
        return {}
    same = (values["knots_x"], values["knots_y"]) == (list(calibration.knots_x), list(calibration.knots_y))
    return {"cross_fitted": values["cross_fitted"]} if same and "cross_fitted" in values else {}


def count_micrographs(pairs: MadePairs) -> int:
    """How many of the first pairs show each micrograph once."""
    return len({pair.id.split("-", 1)[1] for pair in pairs})


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr reliability", description="Is the confidence to be trusted?")
    parser.add_argument("--matchers", default=",".join(MATCHERS), help="comma-separated names or paths")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--real", default=None, help="folder with pairs.json (else what MICROLOFTR_PAIRS names)")
    parser.add_argument("--jobs", type=int, default=1, help="processes that match side by side, of one thread each (1)")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    parser.add_argument("--figure", type=Path, default=None, help=f"the figure ({FIGURE})")
    options = parser.parse_args(argv)
    names = options.matchers.split(",")
    folder = options.results or (results_folder() if tuple(names) == MATCHERS else results_folder().parent / "runs")
    real = real_folder(options.real)
    values: dict[str, Any] = {"bins": BINS, "below": SURE, "correct_px": CORRECT_PX, "resamples": RESAMPLES}
    values |= {"right_px": RIGHT, "wrong_px": FAILURE, "matchers": {}}
    for name in names:
        told = measure(name, options.split, predictions_folder(), pairs_folder(), options.jobs, real)
        calibration = getattr(get_matcher(name), "calibration", None)
        told |= cross_fitted(name, calibration, options.results or results_folder())
        values["matchers"][matcher_key(name)] = told
    command = "python -m microloftr reliability"
    command += f" --matchers {','.join(Path(name).name for name in names)}" if tuple(names) != MATCHERS else ""
    command += f" --split {options.split}" if options.split != "validation" else ""
    command += " --real FOLDER" if real else ""
    print(write_result("reliability", values, command=command, seed=SEED, split=options.split, folder=folder))
    figure = options.figure or (
        results_folder().parent / FIGURE if folder == results_folder() else folder / FIGURE.name
    )
    save_figure(draw_reliability(values), figure)
    print(figure)
    print(reliability_table({"values": values}))
    return 0
