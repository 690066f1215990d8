"""Step two of two: files of predictions and the truth → scores per pair (CSV) and their summary with intervals (JSON).

One estimator for every matcher: `find_homography` (OpenCV's USAC_MAGSAC) at 2 px. Made pairs are judged by their mean
corner error, real ones by the mean error over the overlap, with AUC@t, precision@t and the like only over pairs whose
truth is good to t/2, and by landmarks where they have some.
"""

import argparse
import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from microloftr.errors import ParameterError
from microloftr.evaluation import metrics
from microloftr.evaluation.baselines import DEFAULT_MATCHERS, matcher_key
from microloftr.evaluation.predict import (
    MATCH_CAP,
    Predictions,
    load_predictions,
    predictions_folder,
    predictions_path,
)
from microloftr.evaluation.protocols import LEVEL_NAMES, PairSource, fingerprint, get_protocol
from microloftr.files import atomic_write
from microloftr.registration.families import find_homography
from microloftr.results import results_folder, write_result

THRESHOLD = 2.0  # px, of the estimator
AUC_THRESHOLDS = (1, 3, 5, 10)  # px
PRECISION_THRESHOLDS = (1, 3, 5)  # px
FAILURE = 10.0  # px
CORRECT = 3.0  # px: a match nearer to the truth is correct
SEED = 0  # of the bootstrap
RESAMPLES = 1000
ESTIMATOR = {"estimator": "OpenCV USAC_MAGSAC, homography", "threshold_px": THRESHOLD, "match_cap": MATCH_CAP}
PHOTOGRAPHS = "generic"  # the group of real pairs that shows no micrographs: not part of "all"


@dataclass(frozen=True)
class PairScore:
    """What one matcher reached on one pair; `stage` is "final", or "coarse" for its points before refinement.

    error_px is infinite where there is no homography; precision_t are shares; median_correct_px is NaN without a
    correct match; tre, rtre, initial_tre and robustness are NaN without landmarks, truth_tre is what the truth reaches.
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


def score_pairs(predictions: Predictions, protocol: PairSource, pairs_sha256: str | None = None) -> list[PairScore]:
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
            found, inliers = find_homography(points_0, points_1, THRESHOLD)
            truth = pair.homography
            error = (
                metrics.corner_error(found, truth, pair.size_0)
                if protocol.made
                else metrics.overlap_error(found, truth, pair.size_0, pair.size_1)
            )
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


def summarise(scores: Sequence[PairScore]) -> dict[str, Any]:
    """n, sources, and each metric with its 95 % interval (…_low, …_high), drawn by source; None where nothing is known.

    auc_t, precision_t over pairs whose truth is good to t/2 (n_t of them), failures to 5 px, median_error (the median
    over pairs of the median error of their correct matches) to 1.5 px; matches: mean; seconds: median.
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
    summary["seconds"] = _number(np.median(column["seconds"]))
    marked = np.isfinite(column["tre"])
    if marked.any():
        summary["landmarks"] = {
            "n": int(marked.sum()),
            "tre": _number(np.median(column["tre"][marked])),
            "initial_tre": _number(np.median(column["initial_tre"][marked])),
            "truth_tre": _number(np.median(column["truth_tre"][marked])),
            "mean_rtre": _number(column["rtre"][marked].mean()),
            "median_rtre": _number(np.median(column["rtre"][marked])),
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


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


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

    Writes one CSV per protocol into `tables` and, where `results` is a folder, evaluate.json (made pairs; of another
    split than validation evaluate_SPLIT.json) and evaluate_real.json. Returns the values of both by that name.
    """
    names = {matcher_key(name): name for name in matchers}
    if len(names) < len(matchers):
        raise ParameterError(f"Two of the matchers {', '.join(matchers)} have the same key; rename one's file.")
    values: dict[str, dict[str, Any]] = {}
    splits = {}
    for protocol in protocols:
        record = "evaluate_real" if not protocol.made else "evaluate"
        record += f"_{protocol.split}" if protocol.made and protocol.split != "validation" else ""
        pairs_sha256 = (fingerprints or {}).get(protocol.name) or fingerprint(protocol)
        scores: list[PairScore] = []
        into = values.setdefault(record, {**ESTIMATOR, "resamples": RESAMPLES, "matchers": {}, "pairs_sha256": {}})
        for key, name in names.items():
            file = load_predictions(predictions_path(predictions, name, protocol))
            scores += score_pairs(file, protocol, pairs_sha256)
            told = {k: file.header[k] for k in ("weights_sha256", "resize", "device", "threads", "commit")}
            into["matchers"][key] = {"name": Path(name).name, **told}
        write_table(tables / f"{protocol.name}_{protocol.split}.csv", scores)
        into["pairs_sha256"][protocol.name] = pairs_sha256
        if protocol.made:
            into.setdefault("levels", {})[protocol.name] = summarise_protocol(scores)
        else:
            into["groups"] = summarise_groups(scores)
        splits[record] = protocol.split
    for record, contents in values.items():
        if results is not None:
            devices = sorted({told["device"] for told in contents["matchers"].values()})
            options = {"seed": SEED, "device": ", ".join(devices), "split": splits[record], "folder": results}
            print(write_result(record, contents, command=command, **options))
    return values


def write_table(path: Path, scores: Sequence[PairScore]) -> None:
    """One row per matcher, stage and pair."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(PairScore)], lineterminator="\n")
        writer.writeheader()
        for row in map(asdict, scores):
            writer.writerow({key: f"{v:.6g}" if isinstance(v, float) else v for key, v in row.items()})


def default_results(matchers: Sequence[str], limit: int | None = None) -> Path | None:
    """results/ for the project's own list of matchers, runs/ for another list, None (write nothing) for a quick look."""
    if limit is not None:
        return None
    complete = set(DEFAULT_MATCHERS) <= set(matchers)
    return results_folder() if complete else results_folder().parent / "runs"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m microloftr score", description="Score files of predictions.")
    parser.add_argument("--matchers", default=",".join(DEFAULT_MATCHERS), help="names as given to predict")
    parser.add_argument("--pairs", default=",".join(LEVEL_NAMES), help="levels, or folders with pairs.json")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--predictions", type=Path, default=None, help="folder that predict wrote (runs/predictions)")
    parser.add_argument("--tables", type=Path, default=None, help="folder for the CSV files (runs/scores)")
    parser.add_argument("--results", type=Path, default=None, help="folder for the JSON files (results, or runs)")
    options = parser.parse_args(argv)
    matchers = options.matchers.split(",")
    protocols = [get_protocol(name, options.split) for name in options.pairs.split(",")]
    score(
        matchers,
        protocols,
        predictions=options.predictions or predictions_folder(),
        tables=options.tables or predictions_folder().parent / "scores",
        results=options.results or default_results(matchers),
        command=" ".join(["python -m microloftr score", *(argv or [])]),
    )
    return 0
