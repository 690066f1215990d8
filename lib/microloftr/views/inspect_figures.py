"""The pair behind a number: the worst, the median or the best of many rows, and what was made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microloftr.errors import ParameterError
from microloftr.registration.families import move_points
from microloftr.registration.overlay import overlay
from microloftr.views.figures import FONT, draw_image, new_figure

WHICH = ("worst", "median", "best")
MORE_IS_BETTER = {
    "recall", "exact", "beside", "cells", "precision_1", "precision_3", "precision_5", "inliers", "matches",
}  # fmt: skip
ERRORS = {"corners": "corner error", "overlap": "error over the overlap"}  # by what a protocol judges its transforms
WORDS = {"coarse": "coarse only", "fine": "coarse + refinement", "final": "the matcher's points"}
RIGHT, CLOSE, WRONG = "#00a0ff", "#ffd000", "#ff3b00"  # to 1 px, to 3 px, beyond; bright on grey images
UNKNOWN = "#ffffff"
LIMITS = (1.0, 3.0)  # px
LOST = 8.0  # px, a cell: from here on a ring says where the point should be


@dataclass(frozen=True, eq=False)
class Way:
    """What one stage made of a pair: points (M, 2) in both images, the transform (3, 3) or None, its error in px."""

    points_0: np.ndarray = field(repr=False)
    points_1: np.ndarray = field(repr=False)
    estimate: np.ndarray | None = field(repr=False)
    error_px: float


@dataclass(frozen=True, eq=False)
class Opened:
    """A pair as it was judged, image_1 turned by so many quarters, and each stage's way with it."""

    id: str
    group: str
    modality: str
    image_0: np.ndarray = field(repr=False)
    image_1: np.ndarray = field(repr=False)
    truth: np.ndarray | None = field(repr=False)  # None of a scene with depth
    ways: Mapping[str, Way]
    turns: int = 0
    error: str = ERRORS["corners"]  # what the ways' error_px is


def pick(
    rows: Sequence[Any],
    which: str,
    *,
    by: str = "error_px",
    stage: str = "final",
    group: str = "all",
    modality: str = "all",
) -> Any:
    """The worst, the median or the best of the rows of a stage, group and modality, by one of their numbers.

    Rows have the attributes stage, group, matches and `by`, and may have a modality. What is not known counts as worst,
    and of equals the one with fewer matches. Of an even number the worse of the two in the middle. Raises
    ParameterError.
    """
    if which not in WHICH:
        raise ParameterError(f"There is no {which!r} pair; there are {', '.join(WHICH)}.")
    kept = [row for row in rows if row.stage == stage and group in ("all", row.group)]
    kept = [row for row in kept if modality in ("all", getattr(row, "modality", ""))]
    if not kept:
        raise ParameterError(
            f"There is no row of the stage {stage!r}, the group {group!r} and the modality {modality!r}."
        )
    if not isinstance(getattr(kept[0], by, None), int | float):
        raise ParameterError(f"Rows have no number {by!r}.")

    def badness(row: Any) -> tuple[float, int]:
        value = getattr(row, by)
        return (np.inf if np.isnan(value) else -value if by in MORE_IS_BETTER else value, -row.matches)

    ordered = sorted(kept, key=badness, reverse=True)
    return ordered[{"worst": 0, "median": (len(ordered) - 1) // 2, "best": -1}[which]]


def draw_opened(pair: Opened, stage: str, note: str = "") -> Figure:
    """Both images with a stage's points by their error, and image_1 laid over image_0 by its transform and the truth.

    Blue: to 1 px, yellow: to 3 px, red: beyond, white: nobody knows; rings in image_1: where points more than a cell
    off should lie.
    """
    if stage not in pair.ways:
        raise ParameterError(f"The pair has no stage {stage!r}; it has {', '.join(pair.ways)}.")
    way = pair.ways[stage]
    figure, axes = new_figure(1, 4, height=3.7)
    with np.errstate(invalid="ignore"):
        known = pair.truth is not None and len(way.points_0)
        true = move_points(way.points_0, pair.truth) if known else np.full_like(way.points_0, np.nan)
    error = np.linalg.norm(way.points_1 - true, axis=1)
    colours = np.select([np.isnan(error), error <= LIMITS[0], error <= LIMITS[1]], [UNKNOWN, RIGHT, CLOSE], WRONG)
    size = float(np.clip(3000 / max(len(error), 1), 4, 26))
    for axis, image, points, title in (
        (axes[0, 0], pair.image_0, way.points_0, "image_0"),
        (axes[0, 1], pair.image_1, way.points_1, f"image_1, turned {90 * pair.turns}°" if pair.turns else "image_1"),
    ):
        draw_image(axis, image, title)
        limits = axis.get_xlim(), axis.get_ylim()
        if points is way.points_1 and len(error):
            off = error > LOST
            axis.scatter(*true[off].T, s=18, facecolors="none", edgecolors=RIGHT, linewidths=0.8)
        if len(error):
            axis.scatter(*points.T, s=size, c=colours, linewidths=0)
        axis.set(xlim=limits[0], ylim=limits[1])
    _laid(axes[0, 2], pair, way.estimate, "by its transform")
    _laid(axes[0, 3], pair, pair.truth, "by the truth", "a scene with depth" if pair.truth is None else "no transform")
    others = [f"{WORDS.get(name, name)} {_px(one.error_px)}" for name, one in pair.ways.items()]
    shares = f"{len(error)} matches" + (f", {np.mean(error <= LIMITS[1]):.0%} to 3 px" if known else "")
    kind = f"{pair.group}, {pair.modality.replace('_', ' ')}" if pair.modality else pair.group
    head = f"{note + ': ' if note else ''}{kind}; shown: {WORDS.get(stage, stage)}"
    judged = "no homography is its truth" if pair.truth is None else f"{pair.error}: {', '.join(others)}"
    figure.suptitle(f"{head}\n{shares}; {judged}", fontsize=FONT)
    return figure


def _px(error: float) -> str:
    return f"{error:.2f} px" if np.isfinite(error) else "no transform"


def _laid(axis: Axes, pair: Opened, matrix: np.ndarray | None, title: str, none: str = "no transform") -> None:
    if matrix is None:
        draw_image(axis, np.ones_like(pair.image_0, dtype=float), title)
        axis.text(0.5, 0.5, none, transform=axis.transAxes, ha="center", va="center", fontsize=FONT)
        return
    with np.errstate(invalid="ignore"):  # an estimate that folds the image
        laid = overlay(_grey(pair.image_0), _grey(pair.image_1), matrix)
    draw_image(axis, laid.pixels, title)


def _grey(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels.astype(np.float32)
