"""`python -m microloftr corners`: how much of an error lies outside of what both images show?

The tables of made pairs count the mean error at the corners of image_0. Where image_1 shows a fifth of image_0, the
corners lie far from every pixel that both share, and an error within the overlap is magnified on the way there. Here
the same transforms are judged by both, by level and by the share that image_1 shows.
"""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from microloftr.errors import ParameterError
from microloftr.evaluation import metrics
from microloftr.evaluation.identity import weights_sha256
from microloftr.evaluation.matchers import get_matcher, matcher_key, public_name
from microloftr.evaluation.pair import Pair
from microloftr.evaluation.predict import MATCH_CAP, pairs_folder
from microloftr.evaluation.protocols import LEVEL_NAMES, MadePairs
from microloftr.evaluation.score import ESTIMATOR, transform_by
from microloftr.evaluation.summary import FAILURE, RESAMPLES, SEED
from microloftr.evaluation.tables_corners import KINDS, corners_table
from microloftr.results import write_result

MATCHERS = ("micro", "rootsift")
PAIRS = 54  # of every level
ENDS = (0.0, 0.2, 0.3, 0.5, 0.7, 1.0)  # of the shares of image_0 that image_1 shows


def both_errors(matcher: Any, pair: Pair) -> tuple[float, float]:
    """Mean error in px at the corners of image_0 and over the overlap; infinity without a transform."""
    kept = matcher.match(pair.image_0, pair.image_1).top(MATCH_CAP)
    found, _ = transform_by("magsac", kept.points_0, kept.points_1)
    corners = metrics.corner_error(found, pair.homography, pair.size_0)
    return corners, metrics.overlap_error(found, pair.homography, pair.size_0, pair.size_1)


def told(errors: np.ndarray, sources: Sequence[str]) -> dict[str, Any]:
    """AUC@3 px with its interval, median of the pairs with a transform to 10 px, of errors (pairs, 2), and failures."""
    values: dict[str, Any] = {"n": len(errors), "sources": len(set(sources))}
    for kind, column in zip(KINDS, errors.T, strict=True):

        def area(index: np.ndarray, column: np.ndarray = column) -> float:
            return float(metrics.auc(column[index], [3.0])[0])

        interval = metrics.bootstrap_interval(area, list(sources), RESAMPLES, seed=SEED)
        right = column[column <= FAILURE]
        values[kind] = {
            "auc_3": round(area(np.arange(len(column))), 4),
            **{f"auc_3_{side}": interval and round(float(interval[k][0]), 4) for k, side in enumerate(("low", "high"))},
            "median": round(float(np.median(right)), 4) if len(right) else None,
            "failures": round(metrics.failure_rate(column, FAILURE), 4),
        }
    return values


def study(name: str, protocols: Sequence[MadePairs]) -> dict[str, Any]:
    """A matcher's errors by level, and by the share that image_1 shows, all levels together."""
    matcher = get_matcher(name)
    pairs = [pair for protocol in protocols for pair in protocol]
    errors = np.array([both_errors(matcher, pair) for pair in tqdm(pairs, desc=name, mininterval=10, disable=None)])
    sources, levels = [pair.source for pair in pairs], np.array([pair.group for pair in pairs])
    shares = np.array([pair.overlap for pair in pairs])

    def part(chosen: np.ndarray) -> dict[str, Any]:
        return told(errors[chosen], [sources[k] for k in np.flatnonzero(chosen)])

    bins = [(low, high, (shares > low) & (shares <= high)) for low, high in pairwise(ENDS)]
    return {
        "name": public_name(name),
        "weights_sha256": weights_sha256(matcher),
        "levels": {protocol.name: part(levels == protocol.name) for protocol in protocols},
        "shares": [{"from": low, "to": high, **part(chosen)} for low, high, chosen in bins if chosen.any()],
    }


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser("python -m microloftr corners", description=__doc__.splitlines()[0])
    parser.add_argument("--matchers", default=",".join(MATCHERS), help="comma-separated names or paths")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"fixed pairs of every level ({PAIRS})")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    if options.pairs < 2:
        raise ParameterError(f"Intervals need two pairs of a level or more, not {options.pairs}.")
    protocols = [MadePairs(level, limit=options.pairs, store=pairs_folder()) for level in LEVEL_NAMES]
    names = options.matchers.split(",")
    values = {**ESTIMATOR, "pairs": options.pairs, "matchers": {matcher_key(n): study(n, protocols) for n in names}}
    words = [f"--pairs {options.pairs}"] * (options.pairs != PAIRS)
    words += [f"--matchers {','.join(map(public_name, names))}"] * (tuple(names) != MATCHERS)
    command = " ".join(["python -m microloftr corners", *words])
    path = write_result("corners", values, command=command, seed=SEED, split="validation", folder=options.results)
    print(corners_table({"values": values, "commit": "", "split": "validation"}))
    print(path)
    return 0
