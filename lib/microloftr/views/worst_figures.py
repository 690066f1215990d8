"""Pairs where a matcher went wrong: both images, what it made of them, and what is true."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microloftr.registration.families import move_points
from microloftr.registration.overlay import overlay
from microloftr.views.figures import DPI, FONT, WIDTH, draw_image

TRUE, FOUND = "#00e5ff", "#ffb000"  # outlines on grey images, told apart with any colour vision
COLUMNS = ("image_0", "image_1", "by the estimate", "by the truth")
ROW = 2.75  # inches


@dataclass(frozen=True, eq=False)
class Shown:
    """A pair as a row of the figure. error_px is infinite without an estimate; precision_3: share of right matches."""

    id: str
    level: str
    modality: str
    image_0: np.ndarray = field(repr=False)
    image_1: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)
    estimate: np.ndarray | None = field(repr=False)
    error_px: float
    matches: int
    inliers: int
    precision_3: float
    overlap: float | None

    def told(self) -> dict[str, Any]:
        """The row in plain values for a record; no error where there is no estimate."""
        error = round(self.error_px, 2) if np.isfinite(self.error_px) else None
        told = {"id": self.id, "level": self.level, "modality": self.modality, "error_px": error}
        told |= {"matches": self.matches, "inliers": self.inliers, "precision_3": round(self.precision_3, 3)}
        return told | {"overlap": None if self.overlap is None else round(self.overlap, 3)}


def draw_worst(shown: Sequence[Shown]) -> Figure:
    """A row per pair: image_0 (cyan: what image_1 shows of it), image_1, the overlays by the estimate and by the truth.

    Overlays are in the frame of image_0: image_0 magenta, image_1 green, grey where they agree.
    """
    height = ROW * len(shown) + 0.2
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)  # no layout engine: a row's words are wider than its first image
    axes = figure.subplots(len(shown), 4, squeeze=False)
    figure.subplots_adjust(0.005, 0.1 / height, 0.995, 1 - 0.35 / height, wspace=0.02, hspace=0.12)
    for number, (row, pair) in enumerate(zip(axes, shown, strict=True)):
        draw_image(row[0], pair.image_0, "")
        draw_image(row[1], pair.image_1, "")
        _outline(row[0], np.linalg.inv(pair.truth), pair.image_1.shape, TRUE)
        _overlaid(row[2], pair, pair.estimate, "no transform")
        _overlaid(row[3], pair, pair.truth, "")
        row[0].set_title(_words(number, pair), fontsize=FONT - 2, loc="left")
        if number == 0:
            for axis, word in zip(row[1:], COLUMNS[1:], strict=True):
                axis.text(
                    0.5, 0.02, word, transform=axis.transAxes, ha="center", va="bottom", fontsize=FONT - 2, **BOXED
                )
    return figure


BOXED = {"bbox": {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}}


def _words(number: int, pair: Shown) -> str:
    folded = "no transform" if pair.estimate is None else "its transform turns image_0 inside out"
    error = f"{pair.error_px:.0f} px off" if np.isfinite(pair.error_px) else folded
    overlap = "" if pair.overlap is None else f", {100 * pair.overlap:.0f} % overlap"
    modality = pair.modality.replace("_", " ")
    return (
        f"{number + 1}. {pair.level}, {modality}{overlap}: {error}; "
        f"{pair.matches} matches, {100 * pair.precision_3:.0f} % within 3 px; {pair.inliers} agree"
    )


def _overlaid(axis: Axes, pair: Shown, matrix: np.ndarray | None, without: str) -> None:
    if matrix is None:
        draw_image(axis, np.ones_like(pair.image_0, dtype=float), "")
        axis.text(0.5, 0.5, without, transform=axis.transAxes, ha="center", va="center", fontsize=FONT)
        return
    with np.errstate(invalid="ignore"):  # an estimate that folds the image
        laid = overlay(_grey(pair.image_0), _grey(pair.image_1), matrix)
    draw_image(axis, laid.pixels, "")


def _grey(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels


def _outline(axis: Axes, back: np.ndarray, shape: tuple[int, ...], colour: str) -> None:
    """The frame of image_1 in image_0."""
    height, width = shape[:2]
    frame = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1], [0, 0]], dtype=float)
    with np.errstate(invalid="ignore"):
        moved = move_points(frame, back)
    limits = axis.get_xlim(), axis.get_ylim()
    axis.plot(*moved.T, color=colour, linewidth=2)
    axis.set(xlim=limits[0], ylim=limits[1])
