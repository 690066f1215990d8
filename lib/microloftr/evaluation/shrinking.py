"""`python -m microloftr shrinking`: does the filter that shrinks the images change the matches? On validation.

Made pairs of large crops are shrunk by each of the eight filters and matched as small images: errors are pixels of the
small image_1, the estimator is MAGSAC at 2 px as in every table. The Matcher's search is off, so that the network sees
what the filter made and nothing else. All filters see the same pairs, so their differences are taken pair by pair.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from microloftr.data.fixed import BATCH, PER_MICROGRAPH, SEEDS, split_atlas
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.evaluation.baselines import RootSIFT
from microloftr.evaluation.filters import FILTERS, OURS, Filter
from microloftr.evaluation.matchers import MatcherLike
from microloftr.evaluation.metrics import auc, bootstrap_interval, corner_error, failure_rate
from microloftr.evaluation.protocols import Pair
from microloftr.matching import Matcher
from microloftr.registration.families import find_homography
from microloftr.results import write_result

LEVELS = ("easy", "medium")  # the levels that need no search for the turn
LARGE, SMALL = 640, 176  # px: as read, and as matched; no whole factor
THRESHOLDS = (1, 3)  # px of the small image


def large_pairs(level: str, count: int, side: int = LARGE, split: str = "validation") -> Iterator[Pair]:
    """The first `count` made pairs of a level with crops of side × side pixels, of every micrograph equally many."""
    atlas = split_atlas(split)
    if not 1 <= count <= len(atlas) * PER_MICROGRAPH:
        raise ParameterError(f"pairs must be 1 to {len(atlas) * PER_MICROGRAPH}, not {count}")
    for first in range(0, count, BATCH):  # whole batches always: the noise is keyed by them
        batch = make_pairs(atlas, level, SEEDS[split], np.arange(first, first + BATCH), side)
        for k, m in enumerate(batch.micrograph.tolist()[: count - first]):
            images = (images[k, 0].numpy() for images in (batch.images_0, batch.images_1))
            name, truth = f"{level}/{first + k:04d}-{atlas.names[m]}", batch.homography[k].numpy()
            yield Pair(name, level, atlas.specimens[m], *images, truth, 0.0, (side, side), (side, side))


def turned_pair(pixels: np.ndarray, degrees: float, side: int) -> Pair:
    """The middle side × side pixels of an image (H, W) in 0..1, and the same place turned about its centre (bicubic).

    Raises ParameterError where the image is smaller.
    """
    if min(pixels.shape) < side:
        raise ParameterError(f"a window of {side} px does not fit an image of {pixels.shape[1]}×{pixels.shape[0]} px")
    top, left = ((n - side) // 2 for n in pixels.shape)
    middle = (side - 1) / 2
    to_image = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0) + [[0, 0, left], [0, 0, top]]
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    turned = cv2.warpAffine(pixels, to_image, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    to_image[:, 2] -= left, top
    homography = np.linalg.inv(np.vstack((to_image, (0, 0, 1))))
    images = pixels[top : top + side, left : left + side], np.clip(turned, 0, 1)
    return Pair(f"turned {degrees:g}°", "turned", "one image", *images, homography, 0.0, (side, side), (side, side))


def shrunk(pair: Pair, shrink: Filter, side: int) -> Pair:
    """The pair as small images of side × side pixels, its homography in their frame: x ↦ (x + ½)·s − ½."""
    images = [np.clip(shrink(image, (side, side)), 0, 1) for image in (pair.image_0, pair.image_1)]
    frames = []
    for width, height in (pair.size_0, pair.size_1):
        x, y = side / width, side / height
        frames.append(np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]]))
    homography = frames[1] @ pair.homography @ np.linalg.inv(frames[0])
    sizes = {"size_0": (side, side), "size_1": (side, side)}
    return replace(pair, image_0=images[0], image_1=images[1], homography=homography, **sizes)


def error_of(matcher: MatcherLike, pair: Pair) -> tuple[float, int]:
    """Mean corner error in px of image_1, infinite without a homography, and the number of matches."""
    matches = matcher.match(pair.image_0, pair.image_1)
    found, _ = find_homography(matches.points_0, matches.points_1, 2.0)
    return corner_error(found, pair.homography, pair.size_0), len(matches)


def compare(errors: Mapping[str, np.ndarray], sources: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By filter: AUC@t, failures (> 10 px), and by how much `OURS` is better in AUC@t on these pairs (ours_better_t).

    errors: by filter's key, (N,) px. Each value has its 95 % interval (…_low, …_high), drawn by source. Raises
    ParameterError for pairs of one source alone.
    """
    names = [*(f"auc_{t}" for t in THRESHOLDS), *(f"ours_better_{t}" for t in THRESHOLDS), "failures"]

    def statistics(indices: np.ndarray) -> np.ndarray:
        areas = {key: auc(column[indices], THRESHOLDS) for key, column in errors.items()}
        better = {key: areas[OURS.key] - area for key, area in areas.items()}
        return np.concatenate([[*areas[k], *better[k], failure_rate(errors[k][indices])] for k in errors])

    interval = bootstrap_interval(statistics, sources)
    if interval is None:
        raise ParameterError("an interval needs pairs of two specimens or more; compare more pairs")
    columns = [*names, *(f"{name}_low" for name in names), *(f"{name}_high" for name in names)]
    parts = [part.reshape(len(errors), -1) for part in (statistics(np.arange(len(sources))), *interval)]
    return {
        key: dict(zip(columns, row.round(4).tolist(), strict=True))
        for key, row in zip(errors, np.hstack(parts), strict=True)
    }


def study(matchers: Mapping[str, MatcherLike], limit: int) -> dict[str, Any]:
    """The record's values: by level (and "both"), matcher and filter what `compare` gives, and the median of matches.

    Every matcher sees the same small pairs.
    """
    groups: list[str] = []
    sources: list[str] = []
    found: dict[str, dict[str, list[tuple[float, int]]]] = {m: {f.key: [] for f in FILTERS} for m in matchers}
    pairs = chain.from_iterable(large_pairs(level, limit) for level in LEVELS)
    for pair in tqdm(pairs, total=limit * len(LEVELS), unit="pair", disable=None):
        groups.append(pair.group)
        sources.append(pair.source)
        for shrink in FILTERS:
            small = shrunk(pair, shrink, SMALL)
            for name, matcher in matchers.items():
                found[name][shrink.key].append(error_of(matcher, small))
    values: dict[str, Any] = {"large_px": LARGE, "small_px": SMALL, "pairs": {}, "sources": {}, "levels": {}}
    for group in (*LEVELS, "both"):
        chosen = [k for k, level in enumerate(groups) if group in (level, "both")]
        names = [sources[k] for k in chosen]
        values["pairs"][group], values["sources"][group] = len(chosen), len(set(names))
        values["levels"][group] = {}
        for matcher, columns in found.items():
            rows = {key: np.array(column)[chosen] for key, column in columns.items()}
            table = compare({key: row[:, 0] for key, row in rows.items()}, names)
            values["levels"][group][matcher] = {
                key: table[key] | {"matches": float(np.median(row[:, 1]))} for key, row in rows.items()
            }
    return values


def main(argv: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m microloftr shrinking", description=__doc__)
    parser.add_argument("--weights", default="micro", help="a name or a file")
    parser.add_argument("--limit", type=int, default=108, help="pairs per level")
    parser.add_argument("--results", type=Path, default=None, help="folder of the record (results)")
    options = parser.parse_args(argv)
    matchers = {"micro": Matcher.from_pretrained(options.weights, search=False), "rootsift": RootSIFT()}
    values = study(matchers, options.limit)
    for group, level in values["levels"].items():
        for matcher, rows in level.items():
            numbers = (f"{row['auc_1']:.2f}/{row['auc_3']:.2f} {key}" for key, row in rows.items())
            print(f"{group}, {matcher}: AUC@1/3 px {', '.join(numbers)}")
    command = f"python -m microloftr shrinking --limit {options.limit}"
    seed = SEEDS["validation"]
    print(write_result("shrinking", values, command=command, seed=seed, split="validation", folder=options.results))
    return 0
