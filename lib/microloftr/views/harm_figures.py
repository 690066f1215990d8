"""Matches that refinement made worse, as figures: where the point was, where it went, and the heat that sent it."""

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from microloftr.model.presets import FINE_STRIDE
from microloftr.views.case import Case
from microloftr.views.figures import FONT, LINE, draw_image, new_figure
from microloftr.views.model_figures import HEAT, TRUE

AROUND = 16  # px shown on either side
OUTLINE = [patheffects.withStroke(linewidth=5, foreground="black")]
MARKS = {  # of a point: how it is drawn, and what it is called
    "cell": ({"marker": "+", "color": "white", "markersize": 14, "markeredgewidth": 3}, "the cell's centre"),
    "refined": ({"marker": "x", "color": LINE, "markersize": 11, "markeredgewidth": 3.5}, "refined"),
    "truth": (
        {"marker": "o", "color": TRUE, "markersize": 15, "markerfacecolor": "none", "markeredgewidth": 3},
        "truth",
    ),
}


def draw_harmed(cases: Sequence[Case], matches: Sequence[tuple[int, int]], names: Sequence[str]) -> Figure:
    """A column for each match (number of its case, index in it): its place in image_0, in image_1, and its heat.

    `names` are of the cases. The heat is in the same frame as image_1 above it; the white square is the window.
    """
    figure, axes = new_figure(3, max(len(matches), 1), height=8.6)
    for column, (number, index) in enumerate(matches):
        case, (above, middle, below) = cases[number], axes[:, column]
        found, refined = case.trace.matches, case.trace.refined
        point_0, cell = found.points_0[index].numpy(), found.coarse_points_1[index].numpy()
        true = case.true_points(point_0[None].astype(float))[0]
        points = {"cell": cell, "refined": cell + refined.offset[index].numpy(), "truth": true}
        confidence = float(found.confidence[index])
        _around(above, case.image_0.pixels, point_0, f"{names[number]}\nconfidence {confidence:.2f}")
        _mark(above, {"cell": point_0})
        _around(middle, case.image_1.pixels, cell, "")
        _around(below, np.zeros_like(case.image_1.pixels), cell, "")
        side = int(refined.log_heat.shape[1] ** 0.5)
        edge = side * FINE_STRIDE / 2
        heat = refined.log_heat[index].exp().reshape(side, side).numpy()
        extent = (cell[0] - edge, cell[0] + edge, cell[1] + edge, cell[1] - edge)
        below.imshow(heat**0.5, cmap=HEAT, extent=extent, interpolation="nearest")
        for axis in (middle, below):
            axis.add_patch(Rectangle(cell - edge, 2 * edge, 2 * edge, fill=False, edgecolor="white", linewidth=1.5))
            _mark(axis, points)
            _frame(axis, cell)
        off = [np.hypot(*(points[name] - true)) for name in ("cell", "refined")]
        below.set_xlabel(f"{off[0]:.1f} px off → {off[1]:.1f} px", fontsize=FONT)
    for axis, label in zip(axes[:, 0], ("image_0", "image_1", "heat"), strict=True):
        axis.set_ylabel(label, fontsize=FONT)
    handles = [
        Line2D([], [], linestyle="none", **style, label=words, path_effects=OUTLINE if name != "truth" else None)
        for name, (style, words) in MARKS.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=FONT, frameon=False)
    return figure


def _mark(axis: Axes, points: dict[str, np.ndarray]) -> None:
    for name, point in points.items():
        axis.plot(*point, linestyle="none", **MARKS[name][0], path_effects=None if name == "truth" else OUTLINE)


def _around(axis: Axes, pixels: np.ndarray, centre: np.ndarray, title: str) -> None:
    """The pixels around a point, in the grey values that they have there."""
    draw_image(axis, pixels, title)
    x, y = (int(np.clip(round(float(c)), 0, side - 1)) for c, side in zip(centre, pixels.shape[::-1], strict=True))
    shown = pixels[max(y - AROUND, 0) : y + AROUND + 1, max(x - AROUND, 0) : x + AROUND + 1]
    low, high = np.percentile(shown, (1, 99))
    axis.images[0].set_clim(low, max(high, low + 1e-3))
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[], facecolor="#dddddd")
    _frame(axis, centre)


def _frame(axis: Axes, centre: np.ndarray) -> None:
    axis.set_xlim(centre[0] - AROUND, centre[0] + AROUND)
    axis.set_ylim(centre[1] + AROUND, centre[1] - AROUND)
