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

GREY, GREEN = "#8a8a8a", "#009e73"
LABEL = {"boxstyle": "circle,pad=0.15", "facecolor": "#f0e442", "edgecolor": "none"}
STYLES = {
    "heeded": ("as trained", BARS, "-"),
    "no_temperature": ("no temperature: scale 1", LINE, "--"),
    "cold": ("scale 100", GREEN, "-."),
    "default_bias": ("default weights and bias", LINE, "--"),
    "rare_bias": ("bias of one match in all cells", GREEN, "-."),
    "clamped": ("clamped at 1e-6", GREEN, "-."),
    "not_heeded": ("clamp, scale 1, default bias", LINE, "--"),
    "real": ("real images and truth", BARS, "-"),
    "zeros": ("images of zeros", GREEN, "-."),
    "shuffled": ("truth of another pair", LINE, "--"),
}
MARKS = {"micro": ("o", BARS), "one_conv": ("s", GREEN), "loftr": ("^", LINE)}


def draw_starts(rows: Sequence[Mapping[str, Any]], ceiling: float) -> Figure:
    """Coarse loss before the first step against the number of cells: derived (lines), measured, on blank images."""
    figure, ((axes,),) = new_figure(height=5.2)
    for preset, (mark, colour) in MARKS.items():
        for training in (False, True):
            found = [row for row in rows if row["preset"] == preset and row["training"] == training]
            if not found:
                continue
            cells = [row["cells"] for row in found]
            name = f"{preset}, training" if training else preset
            full = colour if not training else "none"
            axes.plot(cells, [row["measured"]["coarse"] for row in found], mark, color=colour, markersize=11,
                      markerfacecolor=full, markeredgewidth=2, label=name)  # fmt: skip
            if not training:
                axes.plot(cells, [row["blank"] for row in found], "_", color=colour, markersize=22, markeredgewidth=3)
    even = np.geomspace(100, 2000, 50)
    axes.plot(even, 2 * np.log(even), color="black", linewidth=1.5, label="ln L0 + ln L1")
    pays = [row["derived"]["coarse"] for row in rows if row["preset"] == "micro"]
    cells = [row["cells"] for row in rows if row["preset"] == "micro"]
    more = pays[0] - 2 * np.log(cells[0])
    axes.plot(even, 2 * np.log(even) + more, color="black", linewidth=1.5, linestyle="--", label="with matchability")
    axes.axhline(ceiling, color=GREY, linewidth=1.5, linestyle=":", label="above: no slope with the clamp")
    axes.plot([], [], "_", color="black", markersize=22, markeredgewidth=3, label="blank images")
    axes.set(xscale="log", xlim=(100, 2000))
    axes.set_xticks(sorted({row["cells"] for row in rows}))
    axes.get_xaxis().set_major_formatter(lambda x, _: f"{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("cells of an image", fontsize=FONT)
    axes.set_ylabel("coarse loss before the first step, nats", fontsize=FONT)
    axes.legend(fontsize=FONT - 2, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def draw_curves(
    curves: Mapping[str, Mapping[str, Any]], groups: Sequence[tuple[str, Sequence[str]]], floor: float | None = None
) -> Figure:
    """A panel for each group (title, names of curves): loss on held-out pairs by step; `floor`: knowing nothing."""
    figure, axes = new_figure(1, len(groups), height=4.6, sharey=True)
    for axis, (title, names) in zip(axes[0], groups, strict=True):
        for name in names:
            label, colour, line = STYLES[name]
            axis.plot(curves[name]["steps"], curves[name]["total"], color=colour, linestyle=line, linewidth=2.5,
                      label=label)  # fmt: skip
        if floor is not None:
            axis.axhline(floor, color="black", linewidth=1, linestyle=":")
        axis.set_title(title, fontsize=FONT)
        axis.set_xlabel("steps", fontsize=FONT)
        axis.legend(fontsize=FONT - 3, frameon=False, loc="upper right", handlelength=3.2)
    shown = [value for _, names in groups for name in names for value in curves[name]["total"][1:]]
    axes[0, 0].set_ylim(min(shown) - 0.2, min(1.45 * max(shown) - 0.45 * min(shown), 2 * min(shown)))
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
    """Gradient of each pair's loss (row) in each sample's images (column); white with a 0 is exactly 0."""
    figure, axes = new_figure(1, len(charts), height=3.6)
    largest = max(chart.images_0.max() for chart in charts.values())
    for axis, (name, chart) in zip(axes[0], charts.items(), strict=True):
        both = np.sqrt(chart.images_0**2 + chart.images_1**2)
        shown = np.ma.masked_equal(both, 0)
        axis.imshow(shown, cmap="Blues", norm=LogNorm(largest / 1e4, largest * 3))
        for (row, column), value in np.ndenumerate(both):
            text = f"{value:.0f}" if value == 0 or value >= 100 else f"{value:.2g}"  # 190, not 1.9e+02
            dark = value > largest / 8
            axis.text(
                column, row, text, ha="center", va="center", fontsize=FONT - 2, color="white" if dark else "black"
            )
        axis.set_title(name, fontsize=FONT)
        axis.set_xticks(range(len(both)))
        axis.set_yticks(range(len(both)))
        axis.set_xlabel("images of pair", fontsize=FONT)
    axes[0, 0].set_ylabel("loss of pair", fontsize=FONT)
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
