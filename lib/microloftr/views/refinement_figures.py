"""Figures of refinement: windows with their heat and the way to the point, errors, two readings of a heat, cells."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from microloftr.model.presets import FINE_STRIDE
from microloftr.views.case import Case
from microloftr.views.figures import BARS, FONT, LINE, draw_image, new_figure
from microloftr.views.model_figures import HEAT, TRUE
from microloftr.views.refinement_study import (
    AROUND_PEAK,
    AS_READ,
    BESIDE,
    KINDS,
    OWN,
    STAGES,
    WHOLE,
    Errors,
    expectation,
    planted_heat,
    readings,
)

AROUND = 14  # pixels of the image shown on either side of a window's centre
GREY, GREEN = "#8a8a8a", "#009e73"
STAGE_COLOURS = dict(zip(STAGES, (LINE, GREY, BARS), strict=True))
KIND_COLOURS = dict(zip(KINDS, (BARS, "#a9c7e8", GREEN, LINE, "#b3282d"), strict=True))
READINGS = {WHOLE: LINE, AROUND_PEAK: GREY, AS_READ: BARS}
CURVES = (("-", BARS), ("--", GREY), ("-.", GREEN), (":", "black"))
OUTLINE = [patheffects.withStroke(linewidth=5, foreground="black")]


def chosen_matches(case: Case, errors: Errors, ranks: Sequence[float] = (0.95, 0.5, 0.05)) -> list[int]:
    """Matches to show: by rank of confidence (1 the surest), then the one with the farthest truth still in its window.

    By rank and place, not by how well they came out. `errors` must be those of this case alone.
    """
    order = np.argsort(-case.trace.matches.confidence.numpy(), kind="stable")
    picked = [int(order[min(int((1 - rank) * len(order)), len(order) - 1)]) for rank in ranks] if len(order) else []
    distance = np.abs(errors.truth).max(1, initial=0.0)
    inside = np.flatnonzero(distance < _reach(errors.log_heat))
    return picked + ([int(inside[distance[inside].argmax()])] if len(inside) else [])


def draw_windows(case: Case, indices: Sequence[int]) -> Figure:
    """A column for each match: its place in image_0, the window in image_1, and the heat with the way to the point."""
    figure, axes = new_figure(3, max(len(indices), 1), height=8.2)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    matches, refined = case.trace.matches, case.trace.refined
    for column, index in enumerate(indices):
        point_0, coarse = matches.points_0[index].numpy(), matches.coarse_points_1[index].numpy()
        true = case.true_points(point_0[None].astype(float))[0] - coarse
        found, peak = refined.offset[index].numpy(), refined.peak[index].numpy()
        above, middle, below = axes[:, column]
        _surroundings(above, case.image_0.pixels, point_0, f"confidence {float(matches.confidence[index]):.2f}")
        _cross(above, point_0)
        _surroundings(middle, case.image_1.pixels, coarse, "")
        edge = _reach(refined.log_heat) + FINE_STRIDE / 2
        middle.add_patch(Rectangle(coarse - edge, 2 * edge, 2 * edge, fill=False, edgecolor="white", linewidth=2))
        _cross(middle, coarse)
        _ring(middle, coarse + true)
        _draw_heat(below, refined.log_heat[index], peak, found, true)
        below.set_xlabel(f"{np.hypot(*true):.1f} px off → {np.hypot(*(found - true)):.1f} px", fontsize=FONT)
    for axis, label in zip(axes[:, 0], ("image_0", "image_1, the window", "heat over the window"), strict=True):
        axis.set_ylabel(label, fontsize=FONT)
    outlined = {"path_effects": OUTLINE}
    handles = [
        Line2D([], [], linestyle="none", marker="+", color="white", markersize=12, markeredgewidth=3,
               label="the cell's centre", **outlined),
        Line2D([], [], color=LINE, linewidth=3, label="to the peak", **outlined),
        Line2D([], [], linestyle="none", marker="x", color="white", markersize=9, markeredgewidth=3,
               label="refined", **outlined),
        Line2D([], [], linestyle="none", marker="o", color=TRUE, markersize=13, markerfacecolor="none",
               markeredgewidth=3, label="truth"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=FONT, frameon=False)
    return figure


def draw_errors(errors: Errors) -> Figure:
    """Found − true by axis for cells, peaks and refined points, with mean and spread; and the share within x px."""
    figure, axes = new_figure(1, 3, height=4.6)
    near, bins = errors.near(), np.arange(-6, 6.01, 0.25)
    for axis, k, name in zip(axes[0, :2], (0, 1), ("x", "y"), strict=True):
        for stage, colour in STAGE_COLOURS.items():
            values = errors.by_stage[stage][near, k]
            label = f"{stage}: {values.mean():+.2f} ± {values.std():.2f}".replace("-", "−")
            axis.hist(values, bins=bins, histtype="step", linewidth=2.5, color=colour, label=label)
        axis.axvline(0, ymax=0.72, color="black", linewidth=0.8)
        axis.set_xlabel(f"found − true in {name}, px", fontsize=FONT)
        axis.set_ylim(0, axis.get_ylim()[1] * 1.45)
        axis.legend(fontsize=FONT - 3, loc="upper left", title="mean ± spread", title_fontsize=FONT - 3, frameon=False)
    axes[0, 0].set_ylabel("matches", fontsize=FONT)
    for stage, colour in STAGE_COLOURS.items():
        distance = np.sort(np.hypot(*errors.by_stage[stage].T))
        share = np.arange(1, len(distance) + 1) / max(len(distance), 1)
        axes[0, 2].plot(
            distance, share, color=colour, linewidth=2.5, label=f"{stage}: median {errors.median(stage):.2f}"
        )
    axes[0, 2].set(xlim=(0, 6), ylim=(0, 1.02))
    axes[0, 2].set_xlabel("px from the truth", fontsize=FONT)
    axes[0, 2].set_ylabel("share of the matches within", fontsize=FONT)
    axes[0, 2].legend(fontsize=FONT - 3, loc="lower right", frameon=False)
    axes[0, 2].grid(alpha=0.3)
    return figure


def draw_readings(truth: Tensor, even: float, errors: Errors, side: int = 9, bins: int = 16) -> Figure:
    """The same heat read in several ways, found − true in x against the true x: planted left, a model's heat right.

    `truth` (K, 2) px are the offsets planted; `even` the share of the heat that lies anywhere. Right: medians over
    the matches in each of `bins` steps of the true x.
    """
    figure, axes = new_figure(1, 2, height=4.6, sharey=True)
    log_heat = planted_heat(truth, side, even)
    reach = _reach(log_heat)
    for name, found in ((WHOLE, expectation(log_heat)), (AROUND_PEAK, expectation(log_heat, 1))):
        axes[0, 0].plot(truth[:, 0], (found - truth)[:, 0], color=READINGS[name], linewidth=3, label=name)
    axes[0, 0].set_title(f"planted: {1 - even:.0%} at the truth, {even:.0%} anywhere", fontsize=FONT)
    axes[0, 0].set_ylabel("found − true in x, px", fontsize=FONT)
    near = errors.near(reach)
    true = errors.truth[near, 0]
    edges = np.linspace(-reach, reach, bins + 1)
    step = np.digitize(true, edges) - 1
    used = [k for k in range(bins) if (step == k).sum() >= 20]
    for name, found in readings(errors).items():
        values = found[near, 0] - true
        medians = [np.median(values[step == k]) for k in used]
        centres = (edges[:-1] + edges[1:])[used] / 2
        axes[0, 1].plot(centres, medians, "o-", color=READINGS[name], linewidth=2.5, label=name)
    axes[0, 1].set_title(f"the trained heat of {len(true)} matches, medians", fontsize=FONT)
    for axis in axes.flat:
        axis.axhline(0, color="black", linewidth=0.8)
        axis.axvspan(-OWN, OWN, color="#eeeeee", zorder=0)
        axis.text(0, 0.02, "the cell itself", transform=axis.get_xaxis_transform(), ha="center", fontsize=FONT - 2)
        axis.set_xlabel("true x from the cell's centre, px", fontsize=FONT)
        axis.set_xlim(-reach, reach)
        axis.grid(alpha=0.3)
    axes[0, 1].legend(fontsize=FONT - 2, loc="upper right")
    return figure


def draw_cells(
    shares: Mapping[str, Mapping[str, float]], offsets: Mapping[str, Tensor], reaches: Mapping[str, float]
) -> Figure:
    """Which cells are refined: the share of each kind by rule, and how far their truth lies from them.

    `shares`: rule → kind → share; `offsets`: rule → true offsets (M, 2) px; `reaches`: window → px it reaches.
    """
    figure, axes = new_figure(1, 2, height=5.2)
    left, right = axes[0]
    names = list(shares)
    start = np.zeros(len(names))
    for kind, colour in KIND_COLOURS.items():
        values = np.array([shares[name][kind] for name in names])
        left.barh(names, values, left=start, color=colour, label=kind, edgecolor="white")
        for row, value in enumerate(values):
            if value >= 0.04:
                text = "black" if colour == "#a9c7e8" else "white"
                left.text(
                    start[row] + value / 2, row, f"{value:.0%}", ha="center", va="center", color=text, fontsize=11
                )
        start += values
    left.invert_yaxis()
    left.set(xlim=(0, 1.04), xticks=[])
    left.spines[:].set_visible(False)
    left.tick_params(axis="y", length=0, labelsize=FONT - 1)
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=FONT - 2, frameon=False
    )
    for (name, offset), (style, colour) in zip(offsets.items(), CURVES, strict=False):
        far = np.sort(offset.abs().amax(1).numpy())
        share = np.arange(1, len(far) + 1) / max(len(far), 1)
        right.plot(far, share, style, color=colour, linewidth=2.5, label=name.replace("\n", " "))
    for name, reach in reaches.items():
        right.axvline(reach, color="black", linewidth=1)
        right.text(reach + 0.15, 0.36, name, rotation=90, ha="left", va="bottom", fontsize=FONT - 2)
    right.set(xlim=(0, BESIDE), ylim=(0, 1.02))
    right.set_xlabel("truth from the cell, px (larger axis)", fontsize=FONT)
    right.set_ylabel("share of the refined cells within", fontsize=FONT)
    right.legend(fontsize=FONT - 3, loc="lower right", framealpha=1)
    return figure


def _draw_heat(axes: Axes, log_heat: Tensor, peak: np.ndarray, found: np.ndarray, true: np.ndarray) -> None:
    side, edge = int(len(log_heat) ** 0.5), _reach(log_heat) + FINE_STRIDE / 2
    heat = log_heat.exp().reshape(side, side).numpy()
    axes.imshow(heat**0.5, cmap=HEAT, extent=(-edge, edge, edge, -edge), interpolation="nearest")
    _cross(axes, np.zeros(2))
    style = {"arrowstyle": "-|>", "color": LINE, "linewidth": 2.5, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}
    arrow = axes.annotate("", peak, (0, 0), arrowprops=style)
    arrow.arrow_patch.set_path_effects(OUTLINE)
    _ring(axes, true)
    axes.plot(*found, "x", color="white", markersize=9, markeredgewidth=3, path_effects=OUTLINE)


def _surroundings(axes: Axes, pixels: np.ndarray, centre: np.ndarray, title: str) -> None:
    draw_image(axes, pixels, title)
    x, y = (int(np.clip(round(float(c)), 0, side - 1)) for c, side in zip(centre, pixels.shape[::-1], strict=True))
    shown = pixels[max(y - AROUND, 0) : y + AROUND + 1, max(x - AROUND, 0) : x + AROUND + 1]
    axes.images[0].set_clim(*np.percentile(shown, (1, 99)))
    axes.set_axis_on()
    axes.set_xlim(centre[0] - AROUND, centre[0] + AROUND)
    axes.set_ylim(centre[1] + AROUND, centre[1] - AROUND)


def _cross(axes: Axes, point: np.ndarray) -> None:
    axes.plot(*point, "+", color="white", markersize=14, markeredgewidth=3, path_effects=OUTLINE)


def _ring(axes: Axes, point: np.ndarray) -> None:
    axes.plot(*point, "o", color=TRUE, markersize=15, markerfacecolor="none", markeredgewidth=3)


def _reach(log_heat: Tensor) -> float:
    """How far a window (…, W²) reaches from its centre to the middle of its outermost places, in px."""
    return int(log_heat.shape[-1] ** 0.5) // 2 * FINE_STRIDE
