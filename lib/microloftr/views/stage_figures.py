"""Coarse only beside coarse + refinement: numbers with their intervals, and what the difference says."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from microloftr.views.figures import BARS, FONT, LINE, new_figure
from microloftr.views.inspect_figures import ERRORS, WORDS

COLOURS = {"coarse": LINE, "fine": BARS, "final": BARS}
MARKS = {"coarse": "o", "fine": "s", "final": "s"}
VERDICTS = {"better": "#0072b2", "worse": "#d55e00", "tie": "#888888"}
SHOWN = {"median_offset": "median offset, px", "auc_3": "AUC@3 px of the {error}"}
DIFFERENCE = {"auc_3": "difference in AUC@3"}


def draw_stages(values: dict[str, Any]) -> Figure:
    """A row per level, for all of them, and per modality: median offset, AUC@3 px, and the difference in it.

    values: as `evaluate` gives them. A part of a single source has no interval; a matcher without stages no
    difference. Differences: blue better, grey a tie, vermilion worse.
    """
    parts = {**values["levels"], "all": values["all"]}
    modalities = values["modalities"] if len(values["modalities"]) > 1 else {}
    parts |= {name.replace("_", " "): part for name, part in modalities.items()}
    paired = "difference" in values["all"]
    figure, axes = new_figure(1, 3 if paired else 2, height=1.5 + 0.42 * len(parts), sharey=True)
    for axis, (number, title) in zip(axes[0], SHOWN.items(), strict=False):
        for k, stage in enumerate(values["stages"]):
            shift = (k - (len(values["stages"]) - 1) / 2) * 0.3
            _points(axis, parts, stage, number, shift, COLOURS[stage], MARKS[stage])
        axis.set_title(title.format(error=ERRORS[values.get("error", "corners")]), fontsize=FONT)
        axis.set_xlim(left=0)
    if paired:
        _difference(axes[0, 2], parts)
    for axis in axes[0]:
        axis.set_yticks(np.arange(len(parts)), [f"{name} ({part['n']})" for name, part in parts.items()])
        axis.set_ylim(len(parts) - 0.5, -0.5)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        for line in (len(values["levels"]) - 0.5, len(values["levels"]) + 0.5):
            axis.axhline(line, color="#bbbbbb", linewidth=0.8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=FONT - 1, frameon=False, loc="outside lower center", ncols=len(labels))
    return figure


def _points(axis: Axes, parts: dict, stage: str, number: str, shift: float, colour: str, mark: str) -> None:
    known = [(place, part[stage]) for place, part in enumerate(parts.values()) if part[stage][number] is not None]
    values = np.array([row[number] for _, row in known])
    axis.errorbar(
        values, [place + shift for place, _ in known], xerr=_limits([row for _, row in known], number), fmt=mark,
        color=colour, markersize=6, elinewidth=1.4, label=WORDS[stage],
    )  # fmt: skip


def _difference(axis: Axes, parts: dict) -> None:
    number, title = next(iter(DIFFERENCE.items()))
    axis.axvline(0, color="black", linewidth=1)
    for place, part in enumerate(parts.values()):
        row = part["difference"]
        if row[number] is not None:
            colour = VERDICTS.get(row[f"{number}_verdict"], "#bbbbbb")
            limits = _limits([row], number)
            axis.errorbar([row[number]], [place], xerr=limits, fmt="D", color=colour, markersize=6, elinewidth=1.6)
    axis.set_title(title, fontsize=FONT)


def _limits(rows: list[dict], number: str) -> np.ndarray:
    """Distances (2, n) of both ends of the intervals from the values; 0 where there is none."""
    ends = [[row[number] if row[f"{number}_{side}"] is None else row[f"{number}_{side}"] for row in rows]
            for side in ("low", "high")]  # fmt: skip
    return np.abs(np.array(ends) - np.array([row[number] for row in rows]))
