"""Figures of the coarse matching: the matrix of a known warp, its rules, the border, ties, nothing to match."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from microloftr.images import Image
from microloftr.model.coarse_matching import select
from microloftr.model.presets import COARSE_STRIDE
from microloftr.views.case import Case
from microloftr.views.coarse_study import RIGHT, Candidates, Windows, first_of_row, mutual_mask
from microloftr.views.figures import BARS, FONT, LINE, draw_image, new_figure
from microloftr.views.model_figures import HEAT, TRUE

GREY = "#777777"
SMALL = FONT - 2


def draw_matrix(case: Case, cells_1: np.ndarray, decades: float = 4.0) -> Figure:
    """A small pair with its grids, and its confidence matrix with the true entries ringed.

    `cells_1` (L0,): the true cell of image_1 for each cell of image_0, −1 where there is none.
    """
    figure, _ = new_figure(height=5.4)
    figure.clear()
    places = figure.add_gridspec(2, 2, width_ratios=(0.42, 1))
    for k, (image, coarse) in enumerate(zip(_images(case), _grids(case), strict=True)):
        axes = figure.add_subplot(places[k, 0])
        height, width = coarse
        draw_image(axes, image, f"image_{k}: {height} × {width} cells")
        _draw_grid(axes, image)
    axes = figure.add_subplot(places[:, 1])
    log_confidence = case.trace.log_confidence[0].numpy() / np.log(10)
    drawn = axes.imshow(log_confidence, cmap=HEAT, vmin=-decades, vmax=0, interpolation="nearest")
    true = np.flatnonzero(cells_1 >= 0)
    axes.plot(cells_1[true], true, "s", color=TRUE, markersize=7, markerfacecolor="none", markeredgewidth=1.2)
    axes.set_xlabel("cell of image_1", fontsize=FONT)
    axes.set_ylabel("cell of image_0", fontsize=FONT)
    axes.tick_params(labelsize=SMALL)
    axes.set_title(f"confidence matrix; squares: the {len(true)} true pairs of cells", fontsize=FONT)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("log10 confidence", fontsize=FONT)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


RULES = {
    "best of its row": ({"mutual": False}, GREY),
    "mutual": ({}, BARS),
    "mutual, border 2": ({"border": 2}, LINE),
}


def draw_rules(table: Candidates, threshold: float, chosen: float) -> Figure:
    """Matches a pair and the share of right ones against the threshold, by rule; `chosen` is Matcher's threshold."""
    figure, axes = new_figure(1, 2, height=3.9)
    thresholds = np.geomspace(1e-4, 0.9, 60)
    pairs = len(np.unique(table.pair))
    for name, (rule, colour) in RULES.items():
        kept = [table.kept(value, **rule) for value in thresholds]
        axes[0, 0].plot(thresholds, [k.sum() / pairs for k in kept], color=colour, linewidth=2.5, label=name)
        axes[0, 1].plot(thresholds, [table.share_right(k) for k in kept], color=colour, linewidth=2.5, label=name)
    for axis in axes.flat:
        axis.set_xscale("log")
        axis.set_xlabel("confidence threshold", fontsize=FONT)
        axis.axvline(chosen, color="black", linewidth=1, linestyle=":")
        axis.text(chosen, 0.03, " Matcher's", fontsize=SMALL, transform=axis.get_xaxis_transform())
        if threshold != chosen:
            axis.axvline(threshold, color="black", linewidth=1)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("matches a pair", fontsize=FONT)
    axes[0, 0].set_ylim(0, None)
    axes[0, 0].legend(fontsize=SMALL)
    axes[0, 1].set_ylabel(f"share within {RIGHT:g} px of the truth", fontsize=FONT)
    axes[0, 1].set_ylim(None, 1.01)
    return figure


def draw_border(table: Windows, rings: int = 6) -> Figure:
    """What stands to be lost and gained at the border: matches by their distance from it, and their errors."""
    figure, axes = new_figure(1, 3, height=3.9, width_ratios=(1, 1.1, 0.95))
    figure.get_layout_engine().set(wspace=0.06)
    right = table.coarse < RIGHT
    steps = np.arange(rings)
    groups = [(table.ring == ring) if ring < rings - 1 else (table.ring >= ring) for ring in steps]
    names = [*map(str, steps[:-1]), f"{rings - 1}+"]
    pairs = len(np.unique(table.pair))
    inner = [float((g & right).sum()) / pairs for g in groups[:-1]]
    axes[0, 0].bar(names[:-1], inner, color=BARS)
    axes[0, 0].set_ylabel("right matches a pair", fontsize=FONT)
    wrong = [_share(~right, g) * 100 for g in groups]
    axes[0, 1].plot(names, [_median(table.masked, g & right) for g in groups], "o-", color=BARS, label="refined")
    axes[0, 1].plot(names, [_median(table.coarse, g & right) for g in groups], "s-", color=GREY, label="coarse")
    axes[0, 1].set_ylabel("median error of right ones, px", fontsize=FONT)
    axes[0, 1].set_ylim(0, None)
    axes[0, 1].legend(fontsize=SMALL)
    for axis in axes[0, :2]:
        axis.set_xlabel("cells between match and edge", fontsize=FONT)
    twin = axes[0, 0].twinx()
    twin.plot(names[:-1], wrong[:-1], "o-", color=LINE)
    twin.set_ylabel("wrong, %", fontsize=FONT, color=LINE)
    twin.tick_params(labelsize=SMALL, colors=LINE)
    twin.set_ylim(0, None)
    cut, whole = right & (table.cut > 0), right & (table.cut == 0) & (table.ring == 0)
    bars = {
        f"cut\nmasked\n({cut.sum()})": (table.masked, cut, BARS),
        f"cut\nzeros\n({cut.sum()})": (table.padded, cut, LINE),
        f"whole,\nat an edge\n({whole.sum()})": (table.masked, whole, GREY),
    }
    for name, (values, chosen, colour) in bars.items():
        axes[0, 2].bar(name, _median(values, chosen), color=colour)
    axes[0, 2].set_title("windows (matches)", fontsize=FONT)
    axes[0, 2].set_ylabel("median error, px", fontsize=FONT)
    return figure


def draw_ties(matrices: dict[str, Tensor], threshold: float) -> Figure:
    """Small log confidences (1, L0, L1) by title: entries that pass the mutual test, and those that are kept.

    Kept by LoFTR's `mask.max`, and by `select`; every grid is one row of cells.
    """
    figure, axes = new_figure(1, len(matrices), height=4.3)
    for axis, (title, log_confidence) in zip(axes.flat, matrices.items(), strict=True):
        confidence = log_confidence[0].exp()
        mask = (mutual_mask(confidence[None]) & (confidence > threshold))[0]
        published = first_of_row(mask)
        ours = select(log_confidence, *((1, side) for side in confidence.shape), threshold)
        axis.imshow(confidence.numpy(), cmap="Greys", vmin=0, vmax=1.6)
        for row, column in mask.nonzero().tolist():
            value = f"{confidence[row, column]:.2f}".removeprefix("0")
            axis.text(column, row, value, ha="center", va="center", fontsize=SMALL)
        axis.plot(*reversed(published), "s", color=LINE, markersize=25, markerfacecolor="none", markeredgewidth=2.5)
        axis.plot(
            ours.cells_1, ours.cells_0, "o", color=BARS, markersize=21, markerfacecolor="none", markeredgewidth=2.5
        )
        axis.set_title(title, fontsize=FONT)
        axis.set_xlabel("cell of image_1", fontsize=FONT)
    axes[0, 0].set_ylabel("cell of image_0", fontsize=FONT)
    line = {"linestyle": "none", "markerfacecolor": "none", "markersize": 12, "markeredgewidth": 2.5}
    handles = [
        Line2D([], [], linestyle="none", marker="$.5$", markersize=14, color="black", label="passes the mutual test"),
        Line2D([], [], marker="s", color=LINE, label="kept by mask.max", **line),
        Line2D([], [], marker="o", color=BARS, label="kept by select", **line),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=FONT, frameon=False)
    return figure


@dataclass(frozen=True, eq=False)
class Nothing:
    """A pair that shares nothing, and what came of it."""

    title: str
    image_0: np.ndarray
    image_1: np.ndarray
    matches: int
    transform: bool


def draw_nothing(rows: Sequence[Nothing]) -> Figure:
    """Pairs without common content, each with its number of matches and whether a transform came of them."""
    figure, axes = new_figure(2, len(rows), height=5.1)
    for column, row in enumerate(rows):
        found = f"{row.matches} matches,\n{'a' if row.transform else 'no'} transform"
        for axis, pixels, title in zip(axes[:, column], (row.image_0, row.image_1), (row.title, found), strict=True):
            axis.imshow(pixels, cmap="gray", vmin=0, vmax=1)
            axis.set_title(title, fontsize=FONT)
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


def _images(case: Case) -> tuple[Image, Image]:
    return case.image_0, case.image_1


def _grids(case: Case) -> list[tuple[int, int]]:
    return [tuple(coarse.shape[-2:]) for coarse in (case.trace.encoded.coarse_0, case.trace.encoded.coarse_1)]


def _draw_grid(axes: Axes, image: Image) -> None:
    """The edges between cells: a cell's centre lies on its stride, so its edges half a stride beside."""
    height, width = image.pixels.shape
    for x in np.arange(COARSE_STRIDE / 2, width - 0.5, COARSE_STRIDE):
        axes.axvline(x, color="white", linewidth=0.5, alpha=0.7)
    for y in np.arange(COARSE_STRIDE / 2, height - 0.5, COARSE_STRIDE):
        axes.axhline(y, color="white", linewidth=0.5, alpha=0.7)


def _median(values: np.ndarray, chosen: np.ndarray) -> float:
    return float(np.median(values[chosen])) if chosen.any() else float("nan")


def _share(flags: np.ndarray, chosen: np.ndarray) -> float:
    return float(flags[chosen].mean()) if chosen.any() else float("nan")
