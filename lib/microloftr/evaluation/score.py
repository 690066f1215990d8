"""Step two of two: files of predictions and the truth → scores per pair (CSV) and their summary with intervals (JSON).

One estimator for every matcher: `find_homography` (OpenCV's USAC_MAGSAC) at 2 px; HPatches has its published one too.
Made pairs are judged by their mean corner error, real ones by the mean error over the overlap, with AUC@t, precision@t
and the like only over pairs whose truth is good to t/2, and by landmarks where they have some.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation import metrics
from microloftr.evaluation.matchers import DEFAULT_MATCHERS, get_matcher, matcher_key, public_name
from microloftr.evaluation.pair import Pair
from microloftr.evaluation.predict import (
    MATCH_CAP,
    describe,
    is_current,
    pairs_folder,
    predictions_folder,
    predictions_path,
)
from microloftr.evaluation.predictions import Predictions, load_predictions
from microloftr.evaluation.protocols import LEVEL_NAMES, PairSource, fingerprint, get_protocol
from microloftr.evaluation.score_rows import ROWS, kept, write_kept, write_lines
from microloftr.evaluation.summary import (
    CORRECT,
    PRECISION_THRESHOLDS,
    RESAMPLES,
    SEED,
    PairScore,
    landmark_ranks,
    summarise_groups,
    summarise_modalities,
    summarise_protocol,
)
from microloftr.registration.families import find_homography
from microloftr.results import results_folder, write_result

THRESHOLD = 2.0  # px, of the estimator
ESTIMATOR = {"estimator": "OpenCV USAC_MAGSAC", "threshold_px": THRESHOLD, "match_cap": MATCH_CAP}
ESTIMATORS = {"magsac": ESTIMATOR, "ransac": {"estimator": "OpenCV RANSAC", "threshold_px": 3.0, "match_cap": 1000}}


def transform_by(estimator: str, points_0: np.ndarray, points_1: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """The homography (3, 3) or None by one of ESTIMATORS, and which matches agree with it (M,), most confident first.

    ransac is what LoFTR's paper used on HPatches: OpenCV's first method with its defaults, of the best 1000 matches.
    """
    if estimator == "magsac":
        return find_homography(points_0, points_1, THRESHOLD)
    inliers, settings = np.zeros(len(points_0), dtype=bool), ESTIMATORS[estimator]
    best = slice(settings["match_cap"])
    if len(points_0) < 4:
        return None, inliers
    found, mask = cv2.findHomography(points_0[best], points_1[best], cv2.RANSAC, settings["threshold_px"])
    if found is not None:
        inliers[: len(mask)] = mask[:, 0] > 0
    return found, inliers


def transform_error(found: np.ndarray | None, pair: Pair, error: str) -> float:
    """Mean error in px of a homography over the corners of image_0, or over the overlap; NaN of a scene with depth."""
    if not pair.planar:
        return math.nan
    if error == "corners":
        return metrics.corner_error(found, pair.homography, pair.size_0)
    return metrics.overlap_error(found, pair.homography, pair.size_0, pair.size_1)


def score_pairs(
    predictions: Predictions, protocol: PairSource, pairs_sha256: str | None = None, estimator: str = "magsac"
) -> list[PairScore]:
    """Scores of one file of predictions, pair by pair, final and (where it has them) coarse points.

    Raises ParameterError where the predictions are of other pairs than the protocol now has.
    """
    name = predictions.header["matcher"]
    if predictions.header["pairs_sha256"] != (pairs_sha256 or fingerprint(protocol)):
        raise ParameterError(f"The predictions of {name} on {protocol.name} are of other pairs; predict again.")
    stages = ("final",) if predictions.coarse_points_1 is None else ("final", "coarse")
    scores = []
    for number, pair in enumerate(protocol):
        for stage in stages:
            points_0, points_1 = predictions.points(number, coarse=stage == "coarse")
            found, inliers = transform_by(estimator, points_0, points_1)
            truth = pair.homography
            error = transform_error(found, pair, protocol.error)
            landmarks = {}
            if pair.landmarks is not None:
                values = metrics.landmark_scores(found, pair.landmarks, pair.size_1)
                landmarks = {"initial_tre": values.pop("initial"), **values}
                landmarks["truth_tre"] = metrics.landmark_scores(truth, pair.landmarks, pair.size_1)["tre"]
            scores.append(
                PairScore(
                    name,
                    stage,
                    pair.group,
                    pair.source,
                    pair.modality or "",
                    pair.id,
                    math.nan if pair.accuracy_px is None else pair.accuracy_px,
                    len(points_0),
                    int(inliers.sum()),
                    error,
                    *metrics.precision(points_0, points_1, truth, PRECISION_THRESHOLDS).tolist(),
                    metrics.median_correct(points_0, points_1, truth, CORRECT),
                    float(predictions.seconds[number]),
                    **landmarks,
                )
            )
    return scores


def score(
    matchers: Sequence[str],
    protocols: Sequence[PairSource],
    *,
    predictions: Path,
    tables: Path,
    results: Path | None,
    command: str,
    fingerprints: dict[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Score every matcher on every protocol from the files in `predictions`.

    Writes one CSV per protocol into `tables` and, where `results` is a folder, one record per kind of protocol with its
    rows in short (score_rows.py): evaluate.json (made pairs), evaluate_real.json and the like; made pairs of another
    split than validation go to evaluate_SPLIT.json. Returns the values of all of them by that name.
    """
    names = {matcher_key(name): name for name in matchers}
    if len(names) < len(matchers):
        raise ParameterError(f"Two of the matchers {', '.join(matchers)} have the same key; rename one's file.")
    values: dict[str, dict[str, Any]] = {}
    splits, made, rows = {}, {}, {}
    for protocol in protocols:
        record = protocol.record
        record += f"_{protocol.split}" if protocol.made and protocol.split != "validation" else ""
        pairs_sha256 = (fingerprints or {}).get(protocol.name) or fingerprint(protocol)
        scores: list[PairScore] = []
        by_others: dict[str, list[PairScore]] = {estimator: [] for estimator in protocol.estimators[1:]}
        first = {**ESTIMATORS[protocol.estimators[0]], "resamples": RESAMPLES, "matchers": {}, "pairs_sha256": {}}
        into = values.setdefault(record, first)
        for key, name in names.items():
            file = load_predictions(predictions_path(predictions, name, protocol))
            scores += score_pairs(file, protocol, pairs_sha256, protocol.estimators[0])
            for estimator, others in by_others.items():
                others += score_pairs(file, protocol, pairs_sha256, estimator)
            told = {k: file.header[k] for k in ("weights_sha256", "resize", "device", "threads", "commit")}
            into["matchers"][key] = {"name": public_name(name), **told}
        write_table(tables / f"{protocol.name}_{protocol.split}.csv", scores)
        rows.setdefault(record, []).extend(kept(scores))
        for estimator, others in by_others.items():
            write_table(tables / f"{protocol.name}_{protocol.split}_{estimator}.csv", others)
            told = {**ESTIMATORS[estimator], "groups": summarise_groups(others)}
            into.setdefault("estimators", {})[estimator] = told
        into["pairs_sha256"][protocol.name] = pairs_sha256
        if protocol.made:
            into.setdefault("levels", {})[protocol.name] = summarise_protocol(scores)
            made.setdefault(record, []).extend(one for one in scores if one.stage == "final")
        else:
            into["groups"] = summarise_groups(scores)
            if protocol.record == "evaluate_landmarks":
                into["mean_rank"] = landmark_ranks(scores)
        splits[record] = protocol.split
    for record, scores in made.items():
        values[record]["modalities"] = summarise_modalities(scores)
    for record, contents in values.items():
        if results is not None:
            devices = sorted({told["device"] for told in contents["matchers"].values()})
            options = {"seed": SEED, "device": ", ".join(devices), "split": splits[record], "folder": results}
            write_kept(results / f"{record}{ROWS}.csv", rows[record])
            print(write_result(record, contents, command=command, **options))
    return values


def refuse_stale(matchers: Sequence[str], protocols: Sequence[PairSource], predictions: Path) -> None:
    """ParameterError where a file of predictions is not what its matcher would say now."""
    for name in matchers:
        matcher = get_matcher(name)
        for protocol in protocols:
            path = predictions_path(predictions, name, protocol)
            load_predictions(path)
            if not is_current(path, describe(name, matcher, protocol, fingerprint(protocol))):
                raise ParameterError(
                    f"The predictions of {name} on {protocol.name} were made by other weights, code or pairs; predict "
                    "again, or score them --as-they-are."
                )


def write_table(path: Path, scores: Sequence[PairScore]) -> None:
    """One row per matcher, stage and pair."""
    write_lines(path, scores, [field.name for field in fields(PairScore)], 6)


def default_results(matchers: Sequence[str], limit: int | None = None) -> Path | None:
    """results/ for the project's own list of matchers, runs/ for another list, None (nowhere) for a quick look."""
    if limit is not None:
        return None
    complete = set(DEFAULT_MATCHERS) <= set(matchers)
    return results_folder() if complete else results_folder().parent / "runs"


def command_of(name: str, matchers: Sequence[str], split: str, real: bool, more: Sequence[str] = ()) -> str:
    """The command that a record tells: what differs from its defaults, and no path of this machine.

    `more`: further words of it.
    """
    words = ["python -m microloftr", name]
    if tuple(matchers) != DEFAULT_MATCHERS:
        words += ["--matchers", ",".join(map(public_name, matchers))]
    words += ["--split", split] if split != "validation" else []
    words += [("--real" if name == "evaluate" else "--pairs"), "FOLDER"] if real else []
    return " ".join([*words, *more])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr score", description="Score files of predictions.")
    parser.add_argument("--matchers", default=",".join(DEFAULT_MATCHERS), help="names as given to predict")
    parser.add_argument(
        "--pairs", default=",".join(LEVEL_NAMES), help="levels, folders with pairs.json, hpatches:FOLDER …"
    )
    parser.add_argument("--split", default="validation")
    parser.add_argument("--predictions", type=Path, default=None, help="folder that predict wrote (runs/predictions)")
    parser.add_argument("--tables", type=Path, default=None, help="folder for the CSV files (runs/scores)")
    parser.add_argument("--results", type=Path, default=None, help="folder for the JSON files (results, or runs)")
    parser.add_argument("--as-they-are", action="store_true", help="also files that other weights or code made")
    options = parser.parse_args(argv)
    matchers = options.matchers.split(",")
    predictions = options.predictions or predictions_folder()
    protocols = [get_protocol(name, options.split, store=pairs_folder()) for name in options.pairs.split(",")]
    if not options.as_they_are:
        refuse_stale(matchers, protocols, predictions)
    score(
        matchers,
        protocols,
        predictions=predictions,
        tables=options.tables or predictions_folder().parent / "scores",
        results=options.results or default_results(matchers),
        command=command_of("score", matchers, options.split, any(not protocol.made for protocol in protocols)),
    )
    return 0
