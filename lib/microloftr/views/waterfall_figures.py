"""Does refinement help? As figures: the waterfall of causes, how errors average out, where refinement still hurts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from microloftr.views.figures import BARS, FONT, LINE, new_figure

GREY = "#666666"
COLOURS = {"shifted": BARS, "turned": LINE}
PANELS = {"median": "median error of the matches, px", "auc_3": "AUC@3 px of the transform"}


@dataclass(frozen=True, eq=False)
class Averaged:
    """A pair's matches, found − true (M, 2) px as cells and refined, and the corner error (px) of each transform."""

    name: str
    residuals: dict[str, np.ndarray]
    corner: dict[str, float]


def draw_waterfall(values: Mapping[str, Any]) -> Figure:
    """A line per row of the record: median error and AUC@3 px with their intervals, shifted and turned pairs apart.

    The dashed lines are what the cells alone give, with the naive LoFTR's matches; hollow dots are of other seeds.
    """
    probes = values["probes"]
    rows = next(iter(probes.values()))
    figure, axes = new_figure(1, 2, height=1.2 + 0.36 * len(rows))
    for axis, (name, words) in zip(axes[0], PANELS.items(), strict=True):
        for k, (probe, told) in enumerate(probes.items()):
            colour = COLOURS[probe]
            axis.axvline(told["coarse"][name], color=colour, linewidth=1.0, linestyle="--")
            for place, row in enumerate(told.values()):
                height = place + (k - 0.5) * 0.28
                axis.plot((row[f"{name}_low"], row[f"{name}_high"]), (height, height), color=colour, linewidth=1.8)
                axis.plot(row[name], height, "o", color=colour, markersize=6, label=probe if not place else None)
                for other in row.get("again", ()):
                    axis.plot(other[name], height, "o", color=colour, markersize=6, markerfacecolor="#ffffff")
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(left=0)
        axis.set_title(words, fontsize=FONT)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.tick_params(axis="y", length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0, 0].set_yticks(np.arange(len(rows)), [row["words"] for row in rows.values()], fontsize=FONT - 2)
    axes[0, 1].set_yticks(np.arange(len(rows)), [])
    axes[0, 1].legend(fontsize=FONT - 2, frameon=False, loc="upper right", title="pairs", title_fontsize=FONT - 2)
    return figure


def draw_averaged(cases: Sequence[Averaged]) -> Figure:
    """One panel per pair: found − true of every match, as cells and refined, and what is left in the transform."""
    figure, axes = new_figure(1, len(cases), height=5.0)
    for axis, case in zip(axes[0], cases, strict=True):
        for name, colour, size in (("coarse", GREY, 5), ("fine", LINE, 4)):
            x, y = case.residuals[name].T
            label = f"{name}: transform off by {case.corner[name]:.2f} px"
            axis.plot(x, y, ".", color=colour, markersize=size, alpha=0.6, label=label)
        axis.set_xlim(-8, 8)
        axis.set_ylim(8, -8)
        axis.set_aspect("equal")
        axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.set_title(f"{case.name} pair: found − true, px", fontsize=FONT)
        axis.legend(fontsize=FONT - 2, loc="upper left", markerscale=2)
    return figure


def draw_harm(harm: Mapping[str, Any]) -> Figure:
    """Medians as cells and refined, share made worse, by the truth's distance from the cell; that share by level."""
    bins, levels = harm["by_distance"], harm["levels"]
    figure, ((errors, shares, by_level),) = new_figure(1, 3, height=4.2)
    places, names = np.arange(len(bins)), [f"{row['from']:g}–{row['to']:g}" for row in bins]
    for name, colour, words in (("coarse", GREY, "as cells"), ("fine", LINE, "refined")):
        errors.plot(places, [row[name] for row in bins], "o-", color=colour, label=words)
    errors.set_title("median error, px", fontsize=FONT)
    errors.legend(fontsize=FONT - 2, frameon=False)
    shares.bar(places, [100 * row["worse"] for row in bins], color=LINE)
    shares.set_title("made worse, %", fontsize=FONT)
    for axis in (errors, shares):
        axis.set_xticks(places, names, fontsize=FONT - 4, rotation=30)
        axis.set_xlabel("truth's distance from the cell, px", fontsize=FONT - 1)
    by_level.bar(range(len(levels)), [100 * row["worse"] for row in levels.values()], color=BARS)
    by_level.set_xticks(range(len(levels)), list(levels), fontsize=FONT - 3, rotation=30)
    by_level.set_title("made worse, %, by level", fontsize=FONT)
    for axis in (errors, shares, by_level):
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
