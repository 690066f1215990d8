"""Figures of a pair to play with: its matches, the overlay with both outlines, the verdict; and what breaks it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from microloftr.registration.export import reason_for_none
from microloftr.registration.overlay import overlay
from microloftr.registration.plausible import a_family
from microloftr.registration.transform import Transform
from microloftr.views.figures import BARS, FONT, LINE, draw_image, new_figure
from microloftr.views.playground_pairs import Pair
from microloftr.views.playground_study import FAILED, RIGHT, Found, Rules, plain

MOST_LINES = 60  # matches joined by a line; more would hide the images
MOST_DOTS = 600
GOOD, BAD = "#2aa7dd", "#e8590c"  # of matches; told apart with any colour vision
LEAST, MOST = 0.01, 3000.0  # px: the errors that are drawn; no transform stands at the top


def draw_play(pair: Pair, found: Found, rules: Rules) -> Figure:
    """Both images with their matches, the overlay with the outlines of image_1, and the verdict in two lines."""
    figure, axes = new_figure(1, 2, height=4.1, width_ratios=(2.05, 1))
    _matches(axes[0, 0], pair, found)
    _overlay(axes[0, 1], pair, found)
    figure.suptitle("\n".join(verdict(pair, found, rules)), fontsize=FONT)
    return figure


def verdict(pair: Pair, found: Found, rules: Rules) -> tuple[str, str]:
    """What was found, and what is true."""
    transform = found.transform
    if transform is None:
        first = f"No transform. {reason_for_none(found.matches, threshold=rules.tolerance)}"
    else:
        first = (
            f"{a_family(transform.family)[0].upper()}{a_family(transform.family)[1:]}: {transform.n_inliers} of "
            f"{transform.n_matches} matches agree; {_words(transform)}"
        )
    if pair.true is None:
        return first, "The truth is not known: look whether the overlay is grey where both show the specimen"
    if transform is None:
        judged = "nothing is claimed, so nothing is wrong"
    elif found.error < RIGHT:
        judged = f"corners {found.error:.2f} px off: right"
    elif found.error <= FAILED:
        judged = f"corners {found.error:.1f} px off: near"
    else:
        judged = f"corners {found.error:.0f} px off: wrong" if math.isfinite(found.error) else "wrong"
    return first, f"True: {_words(pair.true)}; {judged}"


def _words(transform: Transform) -> str:
    turn = f"{transform.rotation_deg:.1f}".replace("-", "−")
    return f"turned {turn}°, {transform.scale:.2f} times as large, {transform.overlap:.0%} shared"


def _matches(axes: Axes, pair: Pair, found: Found) -> None:
    """Both images in one frame, image_1 as high as image_0, and what was matched."""
    height, width = pair.image_0.shape
    height_1, width_1 = pair.image_1.shape
    scale, left = height / height_1, width * 1.03
    right = left + width_1 * scale
    draw_image(axes, pair.image_0)
    low, high = np.percentile(pair.image_1, (0.5, 99.5))
    high = high if high > low else low + 1
    extent = (left - 0.5, right - 0.5, height - 0.5, -0.5)
    axes.imshow(pair.image_1, cmap="gray", vmin=low, vmax=high, extent=extent)
    axes.set(xlim=(-0.5, right - 0.5), ylim=(height - 0.5, -0.5))
    matches, count = found.matches, len(found.matches)
    good = found.right
    if good is None:
        good = np.ones(count, dtype=bool) if found.transform is None else found.transform.inliers
    ends = np.stack((matches.points_0, (matches.points_1 + 0.5) * scale - 0.5 + [left, 0]), 1)
    colours = np.where(good, GOOD, BAD)
    dots, lines = (
        np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)) for most in (MOST_DOTS, MOST_LINES)
    )
    for k in range(2 if count else 0):
        axes.scatter(*ends[dots, k].T, s=5, c=colours[dots], linewidths=0)
    axes.add_collection(LineCollection(ends[lines], colors=colours[lines], linewidths=0.9, alpha=0.9))
    right_ones = "" if found.right is None else f": {int(good.sum())} right (blue), {int((~good).sum())} wrong (red)"
    axes.set_title(f"{count} matches{right_ones}", fontsize=FONT)


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of `count` numbers, from the surest match to the least sure."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _overlay(axes: Axes, pair: Pair, found: Found) -> None:
    """Image_1 laid over image_0, its outline as found and, dashed, as it truly lies."""
    if found.transform is None:
        draw_image(axes, pair.image_0, "nothing to lay over")
    else:
        draw_image(axes, overlay(pair.image_0, pair.image_1, found.transform).pixels, "overlay; outline of image_1")
    limits = axes.get_xlim(), axes.get_ylim()
    for transform, colour, style in ((found.transform, "white", "-"), (pair.true, "#ffd43b", (0, (4, 3)))):
        if transform is not None:
            axes.plot(*_outline(transform).T, color=colour, linestyle=style, linewidth=2)
    axes.set(xlim=limits[0], ylim=limits[1])


def _outline(transform: Transform) -> np.ndarray:
    """The border (K, 2) of image_1 in pixels of image_0, closed."""
    x, y = (side - 1 for side in transform.size_1)
    corners = np.array([[0, 0], [x, 0], [x, y], [0, y], [0, 0]], dtype=float)
    return transform.inverse().apply(corners)


@dataclass(frozen=True)
class Line:
    """One way of matching over the values of a knob: error in px each, infinite without a transform."""

    label: str
    errors: Sequence[float]

    @property
    def right(self) -> int:
        """At how many values the transform is right."""
        return sum(error < RIGHT for error in self.errors)


@dataclass(frozen=True)
class Knob:
    """One thing that was changed alone: its name with its unit, the values in the order drawn, a line for each way."""

    name: str
    values: Sequence[float]
    lines: Sequence[Line]


def draw_scans(knobs: Sequence[Knob]) -> Figure:
    """The error over every knob, on a logarithmic scale; crosses at the top: no transform was given."""
    columns = 3
    rows = -(-len(knobs) // columns)
    figure, axes = new_figure(rows, columns, height=3.2 * rows + 0.4, sharey=True)
    for axis in axes.flat[len(knobs) :]:
        axis.set_axis_off()
    for axis, knob in zip(axes.flat, knobs, strict=False):
        x = np.arange(len(knob.values))
        axis.axhspan(LEAST / 2, RIGHT, color="#e7f2e4", linewidth=0)
        for line, colour, marker, size in zip(knob.lines, (LINE, BARS), "so", (9, 7), strict=False):
            errors = np.asarray(line.errors, dtype=float)
            given = np.isfinite(errors)
            shown = np.where(given, np.clip(errors, LEAST, MOST / 4), np.nan)
            axis.plot(x, shown, f"{marker}-", color=colour, linewidth=2.5, markersize=size, label=line.label)
            axis.plot(x[~given], np.full((~given).sum(), MOST / 1.6), "x", color=colour, markersize=size, mew=2.5)
        axis.set(yscale="log", ylim=(LEAST / 2, MOST), xticks=x)
        axis.set_xticklabels([plain(value) for value in knob.values], fontsize=FONT - 2)
        axis.set_yticks([0.01, 0.1, 1, 10, 100], labels=["0.01", "0.1", "1", "10", "100"], fontsize=FONT - 2)
        axis.minorticks_off()
        axis.set_xlabel(knob.name, fontsize=FONT)
        axis.grid(color="#dddddd", linewidth=0.6)
    for axis in axes[:, 0]:
        axis.set_ylabel("error in px", fontsize=FONT)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=FONT, frameon=False)
    return figure
