"""Figures of attention: where one cell of a real pair looks, how sharply, and what it costs as the image grows."""

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from microloftr.geometry import cell_points
from microloftr.model.presets import COARSE_STRIDE
from microloftr.views.attention_cost import FUSED, LINEAR, REST, WRITTEN, Cost
from microloftr.views.attention_study import Call, Look, asked_by_image_0, attention_weights, kind_of, sharpest
from microloftr.views.case import Case
from microloftr.views.figures import FONT, draw_image, new_figure
from microloftr.views.model_figures import FOUND, TRUE, cell_point, draw_map

ARROWS = 12  # cells that an arrow points to: those with the most weight
SELF, CROSS = "#f0e442", FOUND  # yellow and orange (Okabe & Ito)
STYLES = {
    WRITTEN: ("#d55e00", "s", "full, written out\n(as in training)"),
    FUSED: (FOUND, "o", "full, fused kernel"),
    LINEAR: ("#0072b2", "^", "linear"),
    REST: ("#777777", "", "the layer's other products"),
}


def draw_arrows(case: Case, calls: Sequence[Call], rows: Sequence[Look]) -> Figure:
    """One cell of image_0 (above) in every layer: where it looks within its image, and in image_1 (below).

    Of each layer and kind the sharpest head; arrows go to the ARROWS cells with the most weight, wider for more. The
    ring marks where the cell truly lies in image_1.
    """
    calls = asked_by_image_0(list(calls))
    layers = len(calls) // 2
    cell, point = case.centre_of_overlap(), cell_point(case, case.centre_of_overlap())
    figure, axes = new_figure(1, layers, height=6.25)
    below = np.array([0.0, case.image_0.pixels.shape[0] * 1.05])
    for call in calls:
        kind, layer = kind_of(call)
        axis, head = axes[0, layer - 1], sharpest(list(rows), layer, kind).head
        weights = attention_weights(call.query[0, head - 1, cell][None], call.key[0, head - 1])[0]
        values, best = weights.topk(ARROWS)
        width = (case.trace.encoded.coarse_0 if kind == "self" else case.trace.encoded.coarse_1).shape[-1]
        ends = cell_points(best, width, COARSE_STRIDE).numpy()
        held = f"{kind}, head {head}: {100 * float(values.sum()):.0f} % of the weight"
        if kind == "self":
            _two_images(axis, case, below)
            axis.set_title(f"layer {layer}\n{held}", fontsize=FONT - 2)
            _arrows(axis, point, ends, values.numpy(), SELF)
        else:
            _arrows(axis, point, ends + below, values.numpy(), CROSS)
            axis.text(0.5, -0.01, held, transform=axis.transAxes, ha="center", va="top", fontsize=FONT - 2)
            true = case.true_points(point[None])[0] + below
            axis.plot(*true, "o", color=TRUE, markersize=22, markerfacecolor="none", markeredgewidth=2.5)
        axis.plot(*point, "s", color="white", markersize=9, markerfacecolor="none", markeredgewidth=2.5, zorder=5)
    axes[0, 0].text(-0.02, 0.76, "image_0", transform=axes[0, 0].transAxes, rotation=90, ha="right", fontsize=FONT)
    axes[0, 0].text(-0.02, 0.2, "image_1", transform=axes[0, 0].transAxes, rotation=90, ha="right", fontsize=FONT)
    return figure


def draw_sharpness(case: Case, call: Call, rows: Sequence[Look]) -> Figure:
    """Every head of a cross layer: a cell's weights over image_1 by full and by linear attention of the same Q and K.

    Weights are shown in units of what a cell would get if all got the same, on a logarithmic scale.
    """
    cell = case.centre_of_overlap()
    shape, (kind, layer) = case.trace.encoded.coarse_1.shape[-2:], kind_of(call)
    looks = [row for row in rows if (row.layer, row.kind) == (layer, kind)]
    figure, axes = new_figure(2, len(looks), height=4.9)
    true = case.true_points(cell_point(case, cell)[None])[0]
    for row, name in enumerate(("full", "linear")):
        weights = attention_weights(call.query[0, :, cell][:, None], call.key[0], name)[:, 0].numpy()
        for head, look in enumerate(looks):
            half = look.half if name == "full" else look.half_linear
            title = f"head {look.head}\n" if row == 0 else ""
            ratio = np.log10(weights[head] * weights.shape[1]).reshape(shape)
            drawn = draw_map(axes[row, head], ratio, f"{title}half in {half:.0f} cells", (-2.0, 2.7))
            axes[row, head].title.set_fontsize(FONT - 1)
            axes[row, head].plot(*true, "o", color=TRUE, markersize=16, markerfacecolor="none", markeredgewidth=2)
        axes[row, 0].text(-0.05, 0.5, name, transform=axes[row, 0].transAxes, rotation=90, ha="right", va="center",
                          fontsize=FONT)  # fmt: skip
    bar = figure.colorbar(drawn, ax=list(axes.flat), fraction=0.02, pad=0.01, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["0.01", "0.1", "1", "10", "100"])
    bar.set_label("weight, 1: all cells alike", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT - 2)
    return figure


def draw_costs(costs: Sequence[Cost], seconds: dict[tuple[str, int], Sequence[float]]) -> Figure:
    """Products, memory and time of each kind of attention against the side of a square image, one layer, one image.

    `seconds` holds the repeated times by kind and side; the least of them is drawn. Dotted: where the written-out form
    was not run, its last value times the growth of L².
    """
    figure, axes = new_figure(1, 3, height=4.6)
    sides = sorted({cost.side for cost in costs})
    for kind, (colour, marker, label) in STYLES.items():
        style = {"color": colour, "marker": marker or None, "markersize": 7, "linewidth": 2.2, "label": label}
        style["linestyle"] = "--" if kind == REST else "-"
        counted = sorted((cost for cost in costs if cost.kind == kind), key=lambda cost: cost.side)
        products = [(cost.side, cost.products / 1e9) for cost in counted if cost.products is not None]
        memory = [(cost.side, cost.bytes / 1e6) for cost in counted]
        times = [(side, 1e3 * min(seconds[kind, side])) for side in sides if (kind, side) in seconds]
        for axis, values in zip(axes.flat, (products, memory, times), strict=True):
            if values:
                axis.plot(*zip(*values, strict=True), **style)
            if values and kind == WRITTEN:
                last, value = values[-1]
                beyond = [side for side in sides if side >= last]
                axis.plot(beyond, [value * (side / last) ** 4 for side in beyond], ":", color=colour, linewidth=2.2)
    for axis, title in zip(axes.flat, ("products, 10⁹", "memory at its peak, MB", "time, ms"), strict=True):
        axis.set_title(title, fontsize=FONT)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks(sides, [str(side) for side in sides], rotation=45)
        axis.minorticks_off()
        axis.set_xlabel("side of the image, px", fontsize=FONT)
        axis.grid(alpha=0.3)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=FONT - 1, frameon=False)
    return figure


def draw_products(cells: int, channels: int) -> Figure:
    """The products of one head as areas, to scale: full goes through L × L numbers, linear through D × D."""
    figure, axes = new_figure(1, 2, height=3.0, width_ratios=(1.2, 1))
    sides = {"L": 1.0, "D": channels / cells}
    rows = {
        "full: 2·L²·D products a head": ["Q L D", "·", "Kᵀ D L", "=", "softmax L L", "·", "V L D", "=", "answer L D"],
        "linear: 2·L·D² products a head": ["φ(Q) L D", "·", "(", "φ(K)ᵀ D L", "·", "V L D", ")", "=", "answer L D"],
    }
    for axis, (title, row) in zip(axes.flat, rows.items(), strict=True):
        left = 0.0
        for part in row:
            if " " not in part:
                axis.text(left + 0.02, 0, part, ha="center", va="center", fontsize=FONT + 4)
                left += 0.13
                continue
            name, height, width = part.split()
            colour = {"softmax": CROSS, "answer": "#cccccc"}.get(name, SELF)
            left = _matrix(axis, left, sides[width], sides[height], f"{name}\n{height} × {width}", colour)
        if title.startswith("linear"):
            _matrix(axis, 0.78, sides["D"], sides["D"], "φ(K)ᵀV\nD × D", CROSS, below=-0.95)
            axis.annotate("", (0.84, -0.85), (0.84, -0.45), arrowprops={"arrowstyle": "->"})
        axis.set_xlim(-0.05, left)
        axis.set_ylim(-1.35, 0.55)
        axis.set_aspect("equal")
        axis.set_title(title, fontsize=FONT)
        axis.set_axis_off()
    return figure


def _matrix(
    axes: Axes, left: float, width: float, height: float, text: str, colour: str, below: float | None = None
) -> float:
    """A matrix drawn as a box with its name, centred on the line or with its top at `below`; returns where it ends."""
    bottom = -height / 2 if below is None else below - height
    axes.add_patch(Rectangle((left, bottom), width, height, facecolor=colour, edgecolor="black"))
    if min(width, height) > 0.5:
        axes.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=FONT - 1)
    else:
        axes.text(left + width / 2, bottom - 0.05, text, ha="center", va="top", fontsize=FONT - 3)
    return left + width + 0.16


def _two_images(axes: Axes, case: Case, below: np.ndarray) -> None:
    """image_0, and image_1 below it, in one frame."""
    draw_image(axes, case.image_1)
    height, width = case.image_1.pixels.shape
    x, y = below
    axes.images[0].set_extent((x - 0.5, x + width - 0.5, y + height - 0.5, y - 0.5))
    draw_image(axes, case.image_0)
    axes.set_xlim(-0.5, max(width + x, case.image_0.pixels.shape[1]) - 0.5)
    axes.set_ylim(y + height - 0.5, -0.5)


def _arrows(axes: Axes, start: np.ndarray, ends: np.ndarray, weights: np.ndarray, colour: str) -> None:
    """Arrows from one point to several, the wider the more weight; a cell that looks at itself gets a dot."""
    for end, weight in zip(ends, weights / weights.max(), strict=True):
        if np.hypot(*(end - start)) < COARSE_STRIDE / 2:
            axes.plot(*end, ".", color=colour, markersize=8, zorder=4)
            continue
        arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, shrinkA=3, shrinkB=0, color=colour)
        line = 1.4 + 1.8 * weight
        outline = [patheffects.Stroke(linewidth=line + 1.2, foreground="black"), patheffects.Normal()]
        arrow.set(linewidth=line, zorder=3, path_effects=outline)
        axes.add_patch(arrow)
