"""What each ingredient is worth, as a figure: the difference to what it is compared with, and its interval."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from microloftr.views.figures import FONT, new_figure

COLOURS = {"better": "#009e73", "worse": "#d55e00", "tie": "#666666"}  # Okabe & Ito
COLUMNS = {
    "trained": {"right_cells": "right cells, network alone", "auc_3": "AUC@3 px, Matcher"},
    "inference": {"auc_3": "AUC@3 px", "failures": "share of pairs above 10 px"},
}

Line = tuple[str, dict[str, Any] | None]  # a row in words with its numbers, or what the rows below are compared with


def draw_ablations(values: dict[str, Any]) -> Figure | None:
    """A line per row of `trained` and of `inference` that is compared with another; None where there is none.

    Filled: better (green) or worse (orange); hollow: a tie. The grey band is as wide as another seed of the base.
    """
    parts = {part: lines_of(values[part]["rows"]) for part in COLUMNS}
    parts = {part: lines for part, lines in parts.items() if lines}
    if not parts:
        return None
    counts = [len(lines) for lines in parts.values()]
    height = 0.9 * len(parts) + 0.32 * sum(counts)
    figure, axes = new_figure(len(parts), 2, height=height, height_ratios=[count + 1 for count in counts])
    for both, (part, lines) in zip(axes, parts.items(), strict=True):
        for axis, (metric, title) in zip(both, COLUMNS[part].items(), strict=True):
            if part == "trained":
                axis.axvspan(*seed_band(values[part]["rows"], metric), color="#dddddd", linewidth=0)
            _draw(axis, lines, metric)
            axis.set_title(f"Δ {title}", fontsize=FONT)
        both[0].set_yticks(np.arange(len(lines)), [label for label, _ in lines], fontsize=FONT - 2)
        for label, (_, row) in zip(both[0].get_yticklabels(), lines, strict=True):
            label.set_fontweight("bold" if row is None else "normal")
        both[1].set_yticks(np.arange(len(lines)), [])
    return figure


def lines_of(rows: dict[str, dict[str, Any]]) -> list[Line]:
    """Every row that has a difference, below a line that names what it and its neighbours are compared with."""
    lines: list[Line] = []
    before = None
    for row in rows.values():
        if any("difference" in row.get(metric, {}) for metric in ("right_cells", "auc_3")):
            if row["against"] != before:
                lines.append((f"{row['against']}:", None))
            lines.append((row["words"], row))
            before = row["against"]
    return lines


def seed_band(rows: dict[str, dict[str, Any]], metric: str) -> tuple[float, float]:
    """From − to + the largest difference that another seed of the base makes; 0 to 0 where there is no other seed."""
    told = [row.get(metric, {}) for key, row in rows.items() if key.startswith("base-seed-")]
    seeds = [abs(one["difference"]) for one in told if "difference" in one]
    widest = max(seeds, default=0.0)
    return -widest, widest


def _draw(axis: Any, lines: list[Line], metric: str) -> None:
    axis.axvline(0, color="#000000", linewidth=0.8)
    for place, (_, row) in enumerate(lines):
        told = (row or {}).get(metric)
        if told is None or "difference" not in told:
            continue
        colour = COLOURS[told["verdict"]]
        if told["low"] is not None:
            axis.plot((told["low"], told["high"]), (place, place), color=colour, linewidth=1.8)
        inside = "#ffffff" if told["verdict"] == "tie" else colour
        axis.plot(
            told["difference"], place, "o", color=colour, markerfacecolor=inside, markersize=7, markeredgewidth=1.6
        )
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
