"""What attention, fine stages and rules of matching are worth, as a figure: differences and their intervals."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from microloftr.views.ablation_figures import COLOURS, Line
from microloftr.views.figures import FONT, new_figure

MORE = {"more": "tie", "fewer": "tie"}
PANELS = (  # title, its rows, and the metric of the second column
    ("attention", "right_cells", "right cells"),
    ("width", "own", "median px, own cell"),
    ("reading", "own", "median px, own cell"),
    ("switches", "precision_3", "precision at 3 px"),
)


def draw_architecture(values: dict[str, Any]) -> Figure | None:
    """A panel per group of rows: the difference of AUC@3 and of a second metric to what each row is compared with.

    Filled: better (green) or worse (orange); hollow: a tie. None where the record has nothing to compare.
    """
    panels = [(lines, *told[1:]) for told in PANELS if (lines := lines_of(values, told[0]))]
    if not panels:
        return None
    counts = [len(lines) for lines, *_ in panels]
    height = 0.7 * len(panels) + 0.3 * sum(counts)
    figure, axes = new_figure(len(panels), 2, height=height, height_ratios=[count + 1 for count in counts])
    for (first, second), (lines, metric, title) in zip(axes, panels, strict=True):
        for axis, name, said in ((first, "auc_3", "AUC@3 px, network alone"), (second, metric, title)):
            _draw(axis, lines, name)
            axis.set_title(f"Δ {said}", fontsize=FONT)
        first.set_yticks(np.arange(len(lines)), [label for label, _ in lines], fontsize=FONT - 2)
        for label, (_, row) in zip(first.get_yticklabels(), lines, strict=True):
            label.set_fontweight("bold" if row is None else "normal")
        second.set_yticks(np.arange(len(lines)), [])
    return figure


def lines_of(values: dict[str, Any], group: str) -> list[Line]:
    """The rows of a group that are compared with another one, below a line that names it; of fine stages those of the
    first seed."""
    if group in ("width", "reading"):
        seeds = values.get("fine", {}).get("seeds", {})
        rows = [row for row in next(iter(seeds.values()), {}).values() if row["group"] == group]
    else:
        rows = list(values.get(group, {}).get("rows", {}).values())
    lines: list[Line] = []
    before = None
    for row in rows:
        if "difference" in row["auc_3"]:
            if row["against"] != before:
                lines.append((f"against {row['against'].partition(':')[0]}:", None))
            lines.append((row["words"], row))
            before = row["against"]
    return lines


def _draw(axis: Any, lines: list[Line], metric: str) -> None:
    axis.axvline(0, color="#000000", linewidth=0.8)
    for place, (_, row) in enumerate(lines):
        if row is None:
            continue
        told = row[metric]
        said = MORE.get(told["verdict"], told["verdict"])
        colour = COLOURS[said]
        axis.plot((told["difference_low"], told["difference_high"]), (place, place), color=colour, linewidth=1.8)
        inside = "#ffffff" if said == "tie" else colour
        axis.plot(
            told["difference"], place, "o", color=colour, markerfacecolor=inside, markersize=7, markeredgewidth=1.6
        )
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
