"""Figures of the training recipe's checks: where losses start, what each rule is worth, one batch by heart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from microloftr.views.figures import BARS, FONT, LINE, new_figure

if TYPE_CHECKING:
    from microloftr.training.diagnostics.as_seen import AsSeen
    from microloftr.training.diagnostics.dependency import Dependencies
    from microloftr.training.diagnostics.layers import LayerStatistics

GREY, GREEN = "#8a8a8a", "#009e73"
PART_COLOURS = ("#0072b2", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#56b4e9")
LABEL = {"boxstyle": "circle,pad=0.15", "facecolor": "#f0e442", "edgecolor": "none"}
STYLES = {
    "heeded": ("as trained", BARS, "-"),
    "no_temperature": ("no temperature: scale 1", LINE, "--"),
    "cold": ("scale 100", GREEN, "-."),
    "default_bias": ("default weights and bias", LINE, "--"),
    "rare_bias": ("bias of one match in all cells", GREEN, "-."),
    "clamped": ("clamped at 1e-6", GREEN, "-."),
    "not_heeded": ("clamp, scale 1, default bias", LINE, "--"),
    "large_heeded": ("micro as trained", BARS, "-"),
    "large_not_heeded": ("clamp and default head", LINE, "--"),
    "blind_real": ("micro, real images", BARS, "-"),
    "blind_zeros": ("micro, images of zeros", GREEN, "-."),
    "real": ("real images and truth", BARS, "-"),
    "zeros": ("images of zeros", GREEN, "-."),
    "shuffled": ("truth of another pair", LINE, "--"),
}
SHIFTS = {"micro": 0.96, "one_conv": 1.04, "loftr": 1.0}  # of cells, so that marks lie beside each other
MARKS = {"micro": ("o", BARS), "one_conv": ("s", GREEN), "loftr": ("^", LINE)}


def draw_starts(rows: Sequence[Mapping[str, Any]], ceiling: float) -> Figure:
    """Coarse loss before the first step less the derived value, by the number of cells, and what is lost to a clamp.

    Left: measured (marks) and on blank images (bars); above 40 the axis is logarithmic, so that a start several times
    too high is seen beside one that is right. Right: share of the true cells without a slope under the published clamp,
    at −ln 1e-6 = `ceiling` nats, by the derived value.
    """
    figure, ((above, lost),) = new_figure(1, 2, height=4.8, width_ratios=(3, 2))
    for preset, (mark, colour) in MARKS.items():
        for training in (False, True):
            found = [row for row in rows if row["preset"] == preset and row["training"] == training]
            if not found:
                continue
            cells = np.array([row["cells"] for row in found]) * SHIFTS[preset]
            style = {"color": colour, "markersize": 11, "markerfacecolor": "none" if training else colour}
            name = f"{preset}, training" if training else preset
            gap = [row["measured"]["coarse"] - row["derived"]["coarse"] for row in found]
            above.plot(cells, gap, mark, markeredgewidth=2, label=name, **style)
            if not training:
                blank = [row["blank"] - row["derived"]["coarse"] for row in found]
                above.plot(cells, blank, "_", color=colour, markersize=22, markeredgewidth=3)
                lost.plot([row["derived"]["coarse"] for row in found], [row["clamped_dead"] for row in found], mark,
                          **style)  # fmt: skip
    above.plot([], [], "_", color="black", markersize=22, markeredgewidth=3, label="blank images")
    above.axhline(0, color="black", linewidth=1.5)
    above.set_yscale("symlog", linthresh=4, linscale=1.6)
    above.set_ylim(-4, 60)
    above.set_yticks([-4, -2, 0, 2, 4, 10, 20, 40])
    above.set(xscale="log", xlim=(110, 2100))
    above.set_xticks(sorted({row["cells"] for row in rows}))
    for axis in (above.get_xaxis(), above.get_yaxis()):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    above.minorticks_off()
    above.set_xlabel("cells of an image", fontsize=FONT)
    above.set_title("start, nats above derived", fontsize=FONT)
    above.grid(axis="y", color="#dddddd", linewidth=0.6)
    lost.axvline(ceiling, color=GREY, linewidth=1.5, linestyle=":")
    lost.text(ceiling + 0.15, 0.03, "−ln 1e-6", fontsize=FONT - 2, color=GREY)
    lost.set_ylim(-0.03, 1.03)
    lost.set_xlabel("derived coarse loss, nats", fontsize=FONT)
    lost.set_title("share without slope if clamped", fontsize=FONT)
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=FONT - 2,
                  frameon=False)  # fmt: skip
    return figure


def draw_curves(
    curves: Mapping[str, Mapping[str, Any]], groups: Sequence[tuple[str, Sequence[str]]], floors: Sequence[float] = ()
) -> Figure:
    """A panel for each group (title, names of curves): loss on held-out pairs by step; `floors`: knowing nothing.

    One value of `floors` is every panel's, and all share their axis; with one for each, each has its own.
    """
    figure, axes = new_figure(1, len(groups), height=4.6, sharey=len(floors) < 2)
    for number, (axis, (title, names)) in enumerate(zip(axes[0], groups, strict=True)):
        for name in names:
            label, colour, line = STYLES[name]
            axis.plot(curves[name]["steps"], curves[name]["total"], color=colour, linestyle=line, linewidth=2.5,
                      label=label)  # fmt: skip
        if floors:
            axis.axhline(floors[number % len(floors)], color="black", linewidth=1, linestyle=":")
        axis.set_title(title, fontsize=FONT)
        axis.set_xlabel("steps", fontsize=FONT)
        axis.legend(fontsize=FONT - 3, frameon=False, loc="upper right", handlelength=3.2)
    shared = [name for _, names in groups for name in names]
    for axis, (_, names) in zip(axes[0], groups, strict=True):
        shown = [value for name in (names if len(floors) > 1 else shared) for value in curves[name]["total"][1:]]
        axis.set_ylim(min(shown) - 0.2, min(1.45 * max(shown) - 0.45 * min(shown), 2 * min(shown)))
    axes[0, 0].set_ylabel("coarse + matchability, nats", fontsize=FONT)
    return figure


def draw_overfit(found: Mapping[str, Mapping[str, Any]], goal: float) -> Figure:
    """Of one batch learnt by heart: share of the cells that are right, and the fine error, by step."""
    figure, axes = new_figure(1, 2, height=4.2)
    for name, curve in found.items():
        _, colour = MARKS[name]
        line = "-" if name == "micro" else "--"
        axes[0, 0].plot(curve["step"], curve["right"], line, color=colour, linewidth=2.5, marker="o", label=name)
        if curve["fine"][0] is not None:
            axes[0, 1].plot(curve["step"], curve["fine"], color=colour, linewidth=2.5, marker="o", label="mean")
            axes[0, 1].plot(curve["step"], curve["farthest"], ":", color=colour, linewidth=2, label="farthest cell")
    axes[0, 0].set_ylim(0, 1.04)
    axes[0, 0].set_ylabel("share of the cells that are right", fontsize=FONT)
    axes[0, 1].axhline(goal, color="black", linewidth=1)
    axes[0, 1].text(0, goal * 0.85, f"{goal:g} px", fontsize=FONT - 2, va="top")
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_ylabel("fine error of micro, px", fontsize=FONT)
    for axis in axes[0]:
        axis.set_xlabel("steps", fontsize=FONT)
        axis.legend(fontsize=FONT - 2, frameon=False, loc="best")
    return figure


def draw_dependencies(charts: Mapping[str, "Dependencies"]) -> Figure:
    """Gradient of each pair's loss (row) in each sample's images (column); white with a 0 is exactly 0.

    A row of panels for image_0 and one for image_1: a side that carries no gradient would show in one of them alone.
    """
    figure, axes = new_figure(2, len(charts), height=4.2)
    largest = max(max(chart.images_0.max(), chart.images_1.max()) for chart in charts.values())
    for column, (name, chart) in enumerate(charts.items()):
        for side, values in enumerate((chart.images_0, chart.images_1)):
            axis = axes[side, column]
            axis.imshow(np.ma.masked_equal(values, 0), cmap="Blues", norm=LogNorm(largest / 1e4, largest * 3))
            for (row, place), value in np.ndenumerate(values):
                text = f"{value:.0f}" if value == 0 or value >= 100 else f"{value:.2g}"  # 190, not 1.9e+02
                colour = "white" if value > largest / 8 else "black"
                axis.text(place, row, text, ha="center", va="center", fontsize=FONT - 4, color=colour)
            axis.set_xticks(range(len(values)))
            axis.set_yticks(range(len(values)))
            if not side:
                axis.set_title(name.replace(", ", "\n"), fontsize=FONT - 1)
            if not column:
                axis.set_ylabel(f"image_{side}\nloss of pair", fontsize=FONT - 1)
    figure.supxlabel("images of pair", fontsize=FONT - 1)
    return figure


def draw_layers(statistics: Sequence["LayerStatistics"], spreads: tuple[float, float]) -> Figure:
    """Spread of every layer's outputs, and size of the loss's gradient in them, from the image to the last layer.

    statistics as `diagnostics.layers.layer_statistics` gives them, in order of call; `spreads`: what is allowed.
    """
    figure, axes = new_figure(2, 1, height=4.8, sharex=True)
    parts = list(dict.fromkeys(one.name.split(".")[0] for one in statistics))
    for number, part in enumerate(parts):
        places = [k for k, one in enumerate(statistics) if one.name.split(".")[0] == part]
        style = {"color": PART_COLOURS[number % len(PART_COLOURS)], "s": 26}
        axes[0, 0].scatter(places, [statistics[k].spread for k in places], label=part.replace("_", " "), **style)
        axes[1, 0].scatter(places, [statistics[k].gradient for k in places], **style)
    axes[0, 0].axhspan(*spreads, color="#eeeeee", zorder=0)
    axes[0, 0].set_ylabel("spread", fontsize=FONT)
    axes[1, 0].set_ylabel("gradient, RMS", fontsize=FONT)
    axes[1, 0].set_xlabel("layer, in order of call", fontsize=FONT)
    for axis in axes.flat:
        axis.set_yscale("log")
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=len(parts), fontsize=FONT - 2, frameon=False, handletextpad=0.1)
    return figure


def draw_moving(values: Mapping[str, Any]) -> Figure:
    """results/recipe.json, moving: ratio of update to weight of each part by step; grey: where it should be."""
    figure, ((axes,),) = new_figure(height=3.6)
    for number, (part, ratios) in enumerate(values["ratios"].items()):
        colour = PART_COLOURS[number % len(PART_COLOURS)]
        axes.plot(values["steps"], ratios, "o-", color=colour, linewidth=2, markersize=4, label=part.replace("_", " "))
    axes.axhspan(*values["band"], color="#eeeeee", zorder=0)
    axes.axvline(values["settled"], color=GREY, linewidth=1.5, linestyle=":")
    axes.set_yscale("log")
    axes.set_ylim(values["band"][0] / 3, values["band"][1] * 3)
    axes.set_xlabel("step; judged from the dotted line on", fontsize=FONT)
    axes.set_ylabel("update / weight", fontsize=FONT)
    axes.legend(fontsize=FONT - 2, frameon=False, ncols=3, loc="lower center")
    return figure


def draw_as_seen(seen: "AsSeen", pairs: int = 2, points: int = 12) -> Figure:
    """Both channels of both images at the first convolution, with some true matches: same number, same place."""
    pairs = min(pairs, len(seen.inputs_0))
    figure, axes = new_figure(pairs, 4, height=2.6 * pairs + 0.2)
    for k in range(pairs):
        matched = np.flatnonzero(seen.cells_1[k] >= 0)
        some = matched[np.linspace(0, len(matched) - 1, min(points, len(matched))).astype(int)]
        panels = [(inputs[k, c], places) for inputs, places in
                  ((seen.inputs_0, seen.points_0), (seen.inputs_1, seen.points_1[k])) for c in range(2)]  # fmt: skip
        titles = ("image_0, whole", "image_0, local", "image_1, whole", "image_1, local")
        for axis, (values, places), title in zip(axes[k], panels, titles, strict=True):
            _panel(axis, values, title if k == 0 else "")
            for number, cell in enumerate(some):
                x, y = places[cell]
                axis.text(x, y, f"{number + 1}", fontsize=FONT - 4, ha="center", va="center", bbox=LABEL)
        axes[k, 0].set_ylabel(f"pair {k}", fontsize=FONT)
    return figure


def _panel(axis: Axes, values: np.ndarray, title: str) -> None:
    axis.imshow(values, cmap="gray", vmin=-2.5, vmax=2.5)
    axis.set_title(title, fontsize=FONT)
    axis.set_xticks([])
    axis.set_yticks([])
